"""Activations: values and slopes against Keras, slopes against finite differences."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cenote import activations
from cenote.core.notes import annotation, collecting

X = np.concatenate([np.linspace(-8, 8, 38), [0.1, -0.1]]).reshape(4, 10).astype("float32")

CASES = [
    *[(name, {}) for name in activations.NAMES if name != "identity"],
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 3.0}),
    ("relu", {"threshold": 1.5, "negative_slope": 0.2, "max_value": 4.0}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {"alpha": 0.5}),
    ("gelu", {"approximate": True}),
    ("softmax", {"axis": 0}),
    ("log_softmax", {"axis": 0}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_values_and_slopes_are_those_of_keras(name, options):
    keras = pytest.importorskip("keras")
    ours, theirs = activations.get(name), getattr(keras.activations, name)
    np.testing.assert_allclose(ours(X, **options), theirs(X, **options), rtol=2e-6, atol=1e-6)

    def slope(f):
        return jax.grad(lambda x: jnp.sum(f(x, **options) * jnp.cos(jnp.arange(40.0).reshape(4, 10))))(jnp.asarray(X))

    np.testing.assert_allclose(slope(ours), slope(theirs), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_slopes_against_finite_differences(name, options):
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64) / 2 + 0.0123  # away from the corners
        check_grads(lambda x: activations.get(name)(x, **options), (x,), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.parametrize("name", activations.NAMES)
def test_far_out_nothing_breaks(name):
    x = jnp.array([[-1000.0, 1000.0, 0.0]])
    if name == "exponential":
        x = x / 20
    f = activations.get(name)
    assert np.isfinite(f(x)).all()
    assert np.isfinite(jax.grad(lambda x: f(x)[0, 1])(x)).all()


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


def test_names():
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.get("silu") is activations.silu
    assert activations.get(jnp.tanh) is jnp.tanh
    with pytest.raises(ValueError, match=r"unknown activation 'rellu': did you mean .*'relu'"):
        activations.get("rellu")
