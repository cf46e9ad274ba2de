"""Attention with its gradient written by hand against softmax and products that JAX differentiates itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels import attention, random
from cenote.kernels.attention import Allowed, attend, scores

RNG = np.random.default_rng(0)
QUERIES, KEYS = 5, 7
CAUSAL = np.tril(np.ones((QUERIES, KEYS), bool))
HOLES = RNG.random((2, 1, QUERIES, KEYS)) < 0.6
HOLES[0, 0, 2] = False  # a row that may attend to nothing


def compiled(function, *args):
    """A program, made without the passes that small arrays do not need."""
    return jax.jit(function).lower(*args).compile(compiler_options={"xla_backend_optimization_level": 0})


def obvious(q, k, v, mask=None, rate=0.0, seed=None):
    k, v = (jnp.repeat(x, q.shape[1] // k.shape[1], 1) for x in (k, v))
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
        run = lambda f: jax.value_and_grad(lambda *a: jnp.vdot(f(*a, mask, rate, seed), mark), (0, 1, 2))  # noqa: E731
        ours, expected = compiled(lambda *a: (run(attend)(*a), run(obvious)(*a)), q, k, v)(q, k, v)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_row_without_any_place_attends_evenly_and_stays_finite(dtype):
    q, k, v = (jnp.asarray(RNG.normal(size=(1, 1, 4, 2)) * 100, dtype) for _ in range(3))
    nothing = jnp.zeros((4, 4), bool)
    assert np.allclose(scores(q, k, nothing), 0.25)
    y, grads = jax.value_and_grad(lambda *a: attend(*a, nothing).astype("float32").sum(), (0, 1, 2))(q, k, v)
    assert np.isfinite(y) and all(np.isfinite(np.asarray(g, "float32")).all() for g in grads)
    assert not np.asarray(grads[0], "float32").any()  # what may not be attended to moves no query


def where(first, causal, window, parts):
    """The mask that an `Allowed` stands for, written out."""
    apart = first + np.arange(QUERIES)[:, None] - np.arange(KEYS)
    mask = np.ones((2, 4, QUERIES, KEYS), bool)
    mask &= (apart >= 0) | (not causal)
    mask &= abs(apart) < (window or 99)
    for part in parts:
        mask &= np.asarray(part)
    return mask


PADDING = RNG.random((2, 1, 1, KEYS)) < 0.7
PADDING[0] = False  # an example that is all padding
MASKS = {
    "open": Allowed(),
    "causal": Allowed(first=jnp.asarray(1), causal=True),
    "window": Allowed(window=2),
    "causal window, padding": Allowed((jnp.asarray(PADDING),), jnp.asarray(2), True, 3),
    "holes": Allowed((jnp.asarray(PADDING), jnp.asarray(HOLES), jnp.ones((1, 1, QUERIES, 1), bool))),
}


@pytest.mark.parametrize("name", MASKS)
def test_blocks_and_grouped_heads(name, monkeypatch):
    """Kept weights, blocks of weights, and heads that share a key, against repeated keys and a mask written out."""
    monkeypatch.setattr(attention, "BLOCK", 3)
    allowed = MASKS[name]
    mask = where(int(allowed.first), allowed.causal, allowed.window, allowed.parts)
    with jax.enable_x64(True):
        shapes = [(2, 4, QUERIES, 4), (2, 2, KEYS, 4), (2, 2, KEYS, 3)]
        q, k, v, mark = (jnp.asarray(RNG.normal(size=s)) for s in [*shapes, (2, 4, QUERIES, 3)])
        run = lambda f: jax.value_and_grad(lambda *a: jnp.vdot(f(*a), mark), (0, 1, 2))  # noqa: E731
        functions = [lambda *a: obvious(*a, mask), *[lambda *a, b=b: attend(*a, allowed, blocks=b) for b in (False, True)]]
        expected, *found = compiled(lambda *a: [run(f)(*a) for f in functions], q, k, v)(q, k, v)
        for ours in found:
            for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("blocks", [False, True])
def test_derivatives_are_the_slopes(blocks, monkeypatch):
    """First and second derivatives, with dropout, which draws the same weights again for the same seed."""
    monkeypatch.setattr(attention, "BLOCK", 2)
    with jax.enable_x64(True):
        shapes = [(1, 2, 3, 2), (1, 1, 3, 2), (1, 1, 3, 2)]
        point, first, second = ([jnp.asarray(RNG.normal(size=s)) for s in shapes] for _ in range(3))
        options = {"mask": Allowed(causal=True), "rate": 0.3, "seed": jax.random.key(1), "blocks": blocks}

        def value(point):
            return (attend(*point, **options) ** 3).sum()

        def slope(point, direction):
            return sum(jnp.vdot(g, d) for g, d in zip(jax.grad(value)(point), direction, strict=True))

        def all_of_it(point):
            grads = jax.grad(lambda p: slope(p, first))(point)
            return value(point), slope(point, first), sum(jnp.vdot(g, d) for g, d in zip(grads, second, strict=True))

        all_of_it = compiled(all_of_it, point)

        def along(index, direction, step=1e-5):
            ahead, behind = ([p + s * step * d for p, d in zip(point, direction, strict=True)] for s in (1, -1))
            return (all_of_it(ahead)[index] - all_of_it(behind)[index]) / (2 * step)

        found = all_of_it(point)
        np.testing.assert_allclose(found[1], along(0, first), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found[2], along(1, second), rtol=1e-6, atol=1e-8)


def test_dropout_by_blocks_drops_the_share_it_was_told(monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 16)
    q = k = jnp.zeros((2, 2, 60, 4))
    value = jnp.broadcast_to(jnp.eye(60), (2, 2, 60, 60))  # the output is then the weights themselves
    run = lambda seed: attend(q, k, value, None, 0.25, seed, blocks=True)  # noqa: E731
    weights = np.asarray(compiled(run, jax.random.key(0))(jax.random.key(0))) * 60
    assert np.allclose(np.unique(weights.round(4)), [0, np.float32(1 / 0.75).round(4)], atol=1e-4)
    assert abs((weights == 0).mean() - 0.25) < 0.02
    assert not np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[..., :16, :16], weights[..., 16:32, :16])


def test_long_sequences_take_memory_in_proportion_to_their_length():
    def memory(length, blocks=None):
        x = jax.ShapeDtypeStruct((1, 2, length, 8), jnp.float32)
        run = jax.grad(lambda q, k, v: attend(q, k, v, Allowed(causal=True), blocks=blocks).sum(), (0, 1, 2))
        return compiled(run, x, x, x).memory_analysis().temp_size_in_bytes

    short, long = 2048, 8192
    assert memory(long) < 5 * memory(short)
    assert memory(long) < memory(long, blocks=False) / 20


def test_grouped_heads_repeat_no_key_in_memory():
    q, k = (jax.ShapeDtypeStruct((2, heads, time, 3), jnp.float32) for heads, time in ((4, 5), (2, 7)))
    program = str(jax.make_jaxpr(lambda *a: jax.grad(lambda *b: attend(*b).sum(), (0, 1, 2))(*a))(q, k, k))
    assert "f32[2,2,7,3]" in program and "f32[2,4,7,3]" not in program and "f32[2,2,2,7,3]" not in program


def test_half_precision_keeps_logits_and_softmax_exact():
    q, k = (jnp.asarray(RNG.normal(size=(1, 1, 64, 16)) * 2, jnp.bfloat16) for _ in range(2))
    exact = jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", *(x.astype(jnp.float32) for x in (q, k))) / 4)
    found = scores(q, k)
    assert found.dtype == jnp.bfloat16
    assert np.abs(np.asarray(found, "float32") / exact - 1).max() < 2**-8 + 1e-4  # that of rounding the result alone
