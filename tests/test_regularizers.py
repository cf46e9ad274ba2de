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
CASES = [
    ("OrthogonalRegularizer", ()),
    ("OrthogonalRegularizer", (0.3, "columns")),
    ("L1", (0.03,)),
    ("L2", (0.2,)),
    ("L1L2", (0.1, 0.3)),
    ("L1", ()),
    ("L2", ()),
    ("L1L2", ()),
]


@pytest.mark.parametrize(("name", "args"), CASES)
def test_values_are_those_of_keras(name, args):
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(regularizers, name)(*args), getattr(keras.regularizers, name)(*args)
    np.testing.assert_allclose(ours(X), theirs(jnp.asarray(X)), rtol=1e-6)


def test_slopes_against_finite_differences():
    with jax.enable_x64(True):
        all_of = jax.jit(lambda x: sum(getattr(regularizers, name)(*args)(x) for name, args in CASES))
        check_grads(all_of, (jnp.asarray(X, jnp.float64),), order=1, modes=["rev"])


def test_orthogonal_knows_right_angles_and_its_limits():
    penalty = regularizers.OrthogonalRegularizer(1.0)
    assert float(penalty(np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0])) < 1e-6
    assert float(penalty(np.ones((3, 5)))) == pytest.approx(1)
    assert float(penalty(np.ones((1, 5)))) == 0  # Keras divides by no pairs and gives nan
    assert np.isfinite(jax.jit(jax.grad(penalty))(jnp.zeros((3, 2)))).all()
    with pytest.raises(ValueError, match="takes a matrix, the weight has shape"):
        penalty(np.ones((3, 2, 2)))
    with pytest.raises(ValueError, match="mode='row'"):
        regularizers.OrthogonalRegularizer(mode="row")


def test_every_name_of_keras_is_here():
    keras = pytest.importorskip("keras")
    assert [n for n in dir(keras.regularizers) if n[0] != "_" and not hasattr(regularizers, n)] == []
    assert regularizers.deserialize(regularizers.serialize(regularizers.L1L2(0.1, 0.2))).l2 == 0.2
    assert regularizers.L1(None).l1 == 0.01 and regularizers.L1L2(l1=None, l2=0.1).l1 == 0


def test_names():
    assert regularizers.get("l1").l1 == regularizers.get("L2").l2 == 0.01
    assert isinstance(regularizers.get("l1_l2"), regularizers.L1L2)
    assert regularizers.get(jnp.sum) is jnp.sum


def test_bad_factors():
    with pytest.raises(ValueError, match=r"l2=-1.*from 0 up"):
        regularizers.L2(-1)
    with pytest.raises(ValueError, match="factor=much"):
        regularizers.OrthogonalRegularizer("much")
