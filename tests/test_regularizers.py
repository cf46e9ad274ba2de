"""Penalties against Keras, and their slopes against finite differences."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cenote import regularizers

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
CASES = [("L1", (0.03,)), ("L2", (0.2,)), ("L1L2", (0.1, 0.3)), ("L1", ()), ("L2", ()), ("L1L2", ())]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_values_are_those_of_keras(name, args):
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(regularizers, name)(*args), getattr(keras.regularizers, name)(*args)
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-6)


def test_slopes_against_finite_differences():
    with jax.enable_x64(True):
        for name, args in CASES:
            check_grads(getattr(regularizers, name)(*args), (jnp.asarray(X, jnp.float64),), order=1, modes=["rev"])


def test_names():
    assert regularizers.get("l1").l1 == regularizers.get("L2").l2 == 0.01
    assert isinstance(regularizers.get("l1_l2"), regularizers.L1L2)
    assert regularizers.get(jnp.sum) is jnp.sum


def test_bad_factors():
    with pytest.raises(ValueError, match=r"l2=-1.*from 0 up"):
        regularizers.L2(-1)
