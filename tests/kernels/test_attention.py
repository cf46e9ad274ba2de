"""Attention with its gradient written by hand against softmax and products that JAX differentiates itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels import random
from cenote.kernels.attention import attend, scores

RNG = np.random.default_rng(0)
QUERIES, KEYS = 5, 7
CAUSAL = np.tril(np.ones((QUERIES, KEYS), bool))
HOLES = RNG.random((2, 1, QUERIES, KEYS)) < 0.6
HOLES[0, 0, 2] = False  # a row that may attend to nothing


def obvious(q, k, v, mask=None, rate=0.0, seed=None):
    logits = jnp.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(q.shape[-1])
    weights = jax.nn.softmax(logits if mask is None else jnp.where(mask, logits, -1e9))
    return jnp.einsum("bhqk,bhkd->bhqd", weights if seed is None else random.dropout(weights, rate, seed), v)


@pytest.mark.parametrize(
    ("mask", "rate"), [(None, 0.0), (CAUSAL, 0.0), (HOLES, 0.0), (HOLES, 0.4)], ids=["open", "causal", "holes", "dropout"]
)
def test_attention_and_its_gradient(mask, rate):
    with jax.enable_x64(True):
        q, k, v = (jnp.asarray(RNG.normal(size=(2, 3, n, d))) for n, d in ((QUERIES, 4), (KEYS, 4), (KEYS, 6)))
        mark = jnp.asarray(RNG.normal(size=(2, 3, QUERIES, 6)))
        seed = jax.random.key(3) if rate else None
        run = lambda f: jax.jit(jax.value_and_grad(lambda *a: jnp.vdot(f(*a, mask, rate, seed), mark), (0, 1, 2)))  # noqa: E731
        ours, expected = run(attend)(q, k, v), run(obvious)(q, k, v)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(attend(q, k, v, mask), scores(q, k, mask) @ v, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_row_without_any_place_attends_evenly_and_stays_finite(dtype):
    q, k, v = (jnp.asarray(RNG.normal(size=(1, 1, 4, 2)) * 100, dtype) for _ in range(3))
    nothing = jnp.zeros((4, 4), bool)
    assert np.allclose(scores(q, k, nothing), 0.25)
    y, grads = jax.value_and_grad(lambda *a: attend(*a, nothing).astype("float32").sum(), (0, 1, 2))(q, k, v)
    assert np.isfinite(y) and all(np.isfinite(np.asarray(g, "float32")).all() for g in grads)
    assert not np.asarray(grads[0], "float32").any()  # what may not be attended to moves no query
