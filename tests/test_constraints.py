"""Constraints against Keras."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

from cenote import constraints

W = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
CASES = [
    ("NonNeg", {}),
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 1.2, "axis": (0, 1)}),
    ("UnitNorm", {"axis": 1}),
    ("MinMaxNorm", {}),
    ("MinMaxNorm", {"min_value": 1.5, "max_value": 2.0, "rate": 0.3, "axis": [0, 1]}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_values_are_those_of_keras(name, options):
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(constraints, name)(**options), getattr(keras.constraints, name)(**options)
    np.testing.assert_allclose(ours(W), theirs(W), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", constraints.NAMES)
def test_zeros_stay_finite(name):
    assert np.isfinite(constraints.get(name)(np.zeros((3, 2), "float32"))).all()


def test_every_name_of_keras_is_here():
    keras = pytest.importorskip("keras")
    assert [n for n in dir(keras.constraints) if n[0] != "_" and not hasattr(constraints, n)] == []
    again = constraints.deserialize(constraints.serialize(constraints.MinMaxNorm(0.5, axis=[0, 1])))
    assert again.min_value == 0.5 and again.axis == [0, 1]
    with pytest.raises(ValueError, match="did you mean 'max_norm'"):
        constraints.get("maxnor")


def test_vectors_inside_the_bounds_stay():
    short = np.full((2, 3), 0.1, "float32")
    np.testing.assert_allclose(constraints.MaxNorm(1.0)(short), short, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(constraints.UnitNorm()(short), axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(constraints.MinMaxNorm(0.5, 1.0)(short), axis=0), 0.5, rtol=1e-5)
    assert constraints.MaxNorm()(short.astype("float16")).dtype == "float16"
