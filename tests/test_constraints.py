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
