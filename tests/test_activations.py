"""Activations: values and slopes against Keras, slopes against finite differences."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import activations
from cenote.core.notes import annotation, collecting

X = np.concatenate([np.linspace(-8, 8, 38), [0.1, -0.1]]).reshape(4, 10).astype("float32")

NEEDS = {"threshold": {"threshold": 0.3, "default_value": -1.5}}
CASES = [
    *[(name, NEEDS.get(name, {})) for name in activations.NAMES if name not in ("identity", "swish", "hard_swish")],
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 3.0}),
    ("relu", {"threshold": 1.5, "negative_slope": 0.2, "max_value": 4.0}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {"alpha": 0.5}),
    ("celu", {"alpha": 1.4}),
    ("gelu", {"approximate": True}),
    ("glu", {"axis": 0}),
    ("hard_shrink", {"threshold": 1.2}),
    ("soft_shrink", {"threshold": 1.2}),
    ("squareplus", {"b": 1.5}),
    ("softmax", {"axis": 0}),
    ("softmax", {"axis": (0, 1)}),
    ("log_softmax", {"axis": 0}),
]
# PyTorch's, and Keras's sparsemax, which leaves the simplex: see below and tests/parity/activations.json.
OURS = ("softmin", "sparsemax")


def marked(ys):
    return sum(jnp.vdot(y, jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype)) for y in ys)


@pytest.fixture(scope="module")
def results():
    """Values and slopes of every case, ours and Keras's, from one compilation each."""
    keras = pytest.importorskip("keras")
    cases = [c for c in CASES if c[0] not in OURS]
    found = []
    for module in (activations, keras.activations):

        def run(xs, module=module):
            ys = [getattr(module, name)(x, **options) for (name, options), x in zip(cases, xs, strict=True)]
            return marked(ys), ys

        slopes, ys = jax.jit(jax.grad(run, has_aux=True))([jnp.asarray(X)] * len(cases))
        found.append({str(case): (np.asarray(y), np.asarray(s)) for case, y, s in zip(cases, ys, slopes, strict=True)})
    return found


@pytest.mark.parametrize("case", [c for c in CASES if c[0] not in OURS], ids=str)
def test_values_and_slopes_are_those_of_keras(case, results):
    (value, slope), (expected, its_slope) = (r[str(case)] for r in results)
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-6)
    # XLA loses digits of the tanh form's slope in the tails (3e-6 to 7e-6; ours 1.4e-7 against float64)
    inexact = case == ("gelu", {"approximate": True})
    np.testing.assert_allclose(slope, its_slope, rtol=1e-5, atol=1e-5 if inexact else 2e-6)


def test_slopes_against_finite_differences():
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64) / 2 + 0.0123  # away from the corners
        chosen = ("relu", "softplus", "gelu", "glu", "log_softmax", "soft_shrink", "sparse_plus", "threshold", *OURS)
        cases = [c for c in CASES if c[0] in chosen]
        cases += [("softplus", {"beta": 2.0, "threshold": 3.0}), ("hard_tanh", {"min_val": -2.0, "max_val": 0.5})]
        direction = jnp.cos(jnp.arange(x.size, dtype=jnp.float64)).reshape(x.shape)

        @jax.jit
        def values(xs):
            return jnp.stack([marked([activations.get(n)(x, **o)]) for (n, o), x in zip(cases, xs, strict=True)])

        slopes = jax.jit(jax.grad(lambda xs: values(xs).sum()))([x] * len(cases))
        ahead, behind = (values([x + s * 1e-6 * direction] * len(cases)) for s in (1, -1))
        for case, slope, high, low in zip(cases, slopes, ahead, behind, strict=True):
            np.testing.assert_allclose(jnp.vdot(slope, direction), (high - low) / 2e-6, rtol=1e-5, atol=1e-7, err_msg=str(case))


def test_far_out_nothing_breaks():
    def all_of(x):
        return [
            activations.get(name)(x / 20 if name == "exponential" else x, **NEEDS.get(name, {})) for name in activations.NAMES
        ]

    x = jnp.array([[-1000.0, 1000.0, 0.0, 3.0]])
    for ys in (jax.jit(all_of)(x), [jax.jit(jax.grad(lambda x: sum(y.sum() for y in all_of(x))))(x)]):
        assert all(np.isfinite(y).all() for y in ys)


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    # Keras 3.15 adds up cumulative sums, so that its rows leave the simplex where more than one entry stays.
    x = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    y = np.asarray(activations.sparsemax(x))
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)
    assert y.min() == 0 and 1 < (y > 0).sum(-1).mean() < 6
    # The condition of Karush, Kuhn and Tucker: x - y is the same wherever y > 0, and no more elsewhere.
    gap = np.where(y > 0, x - y, np.nan)
    np.testing.assert_allclose(np.nanmax(gap, -1), np.nanmin(gap, -1), atol=1e-5)
    assert np.all((x <= np.nanmin(gap, -1, keepdims=True) + 1e-5) | (y > 0))
    np.testing.assert_allclose(activations.sparsemax(x.T, axis=0).T, y, atol=1e-6)
    assert activations.sparsemax([[1.0, 1.0, 0.0]]).tolist() == [[0.5, 0.5, 0.0]]
    stairs = np.linspace(1, 12, num=12)  # from Keras's tests
    assert activations.sparsemax(stairs).tolist() == [0] * 11 + [1]
    assert activations.sparsemax(stairs.reshape(-1, 1, 3), axis=-3).tolist() == [[[0] * 3]] * 3 + [[[1] * 3]]


def test_every_name_of_keras_is_here():
    keras = pytest.importorskip("keras")
    names = [n for n in dir(keras.activations) if not n.startswith("_")]
    assert len(names) == 35 and [n for n in names if not callable(getattr(activations, n, None))] == []
    for name in set(names) - {"get", "serialize", "deserialize"}:
        assert activations.get(name) is getattr(activations, name)
        assert activations.get(activations.serialize(activations.get(name))) is activations.get(name)


def test_half_and_double_precision_stay():
    for name in activations.NAMES:
        f = activations.get(name)
        for dtype in ("bfloat16", "float16"):
            given = jax.ShapeDtypeStruct((2, 4), dtype)
            assert jax.eval_shape(lambda x, f=f, n=name: f(x, **NEEDS.get(n, {})), given).dtype == dtype, name
        with jax.enable_x64(True):
            given = jax.ShapeDtypeStruct((2, 4), "float64")
            assert jax.eval_shape(lambda x, f=f, n=name: f(x, **NEEDS.get(n, {})), given).dtype == "float64", name


def test_glu_needs_halves():
    with pytest.raises(ValueError, match=r"halves axis -1 of an input of shape \(2, 3\)"):
        activations.glu(np.ones((2, 3)))


def test_whole_numbers_and_lists_are_taken():
    assert activations.sigmoid([0]).tolist() == [0.5]
    assert activations.relu(np.array([-1, 2])).tolist() == [0.0, 2.0]
    assert activations.gelu(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_probabilities_carry_their_logits():
    x = jnp.ones((2, 3))
    with collecting():
        y, z = activations.softmax(x), activations.sigmoid(x)
        assert annotation(y, "logits") is x
        assert (annotation(y, "link"), annotation(z, "link")) == ("softmax", "sigmoid")
        assert annotation(activations.softmax(x, axis=0), "logits") is None
        least = activations.softmin(x)
        assert annotation(least, "link") == "softmax" and np.array_equal(annotation(least, "logits"), -x)


def test_names():
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.get("silu") is activations.silu
    assert activations.get(jnp.tanh) is jnp.tanh
    with pytest.raises(ValueError, match=r"unknown activation 'rellu': did you mean .*'relu'"):
        activations.get("rellu")
