"""Normalisation against the obvious formulas, in hard cases too: a mean far from zero, an outlier in front, equal values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels.normalization import standardize_columns, standardize_rows

RNG = np.random.default_rng(0)


def obvious(x, axis):
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-3)


@pytest.mark.parametrize("shape", [(6, 4), (1, 7), (33, 130)])
def test_values_and_gradients(shape):
    x, mark = (RNG.normal(size=shape).astype("float32") for _ in range(2))
    for kernel, axis in ((standardize_rows, -1), (lambda x, e: standardize_columns(x, e)[0], 0)):
        np.testing.assert_allclose(kernel(x, 1e-3), obvious(x, axis), atol=2e-5)

        def naive(x, axis=axis):
            return (x - x.mean(axis, keepdims=True)) / jnp.sqrt(x.var(axis, keepdims=True) + 1e-3)

        ours = jax.grad(lambda x, f=kernel: jnp.vdot(f(x, 1e-3), mark))(x)
        np.testing.assert_allclose(ours, jax.grad(lambda x, f=naive: jnp.vdot(f(x), mark))(x), atol=3e-4)


def test_statistics_hold_when_the_mean_is_far_from_zero():
    x = RNG.normal(size=(1000, 3))
    x[:, 1] += 3000
    x[0] = [-500, 0, 1000]  # a first row unlike the others must not serve as origin
    x = x.astype("float32")
    _, mean, variance = standardize_columns(x, 1e-3)
    exact = x.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, exact.var(0), rtol=1e-4)


def test_equal_values_become_zero():
    x = np.full((7, 7), 1234.5, "float32")
    for y in (standardize_rows(x, 1e-3), standardize_columns(x, 1e-3)[0]):
        assert np.abs(y).max() < 0.01
