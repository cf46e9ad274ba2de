"""Normalisation against the obvious formulas, in hard cases too: a mean far from zero, an outlier in front, equal values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels.normalization import (
    largest_singular,
    neighbour_sums,
    scale_rows,
    standardize_columns,
    standardize_groups,
    standardize_rows,
    standardize_some,
    unit_length,
)

RNG = np.random.default_rng(0)


def obvious(x, axis):
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-3)


@pytest.mark.parametrize("shape", [(6, 4), (1, 7), (33, 130)])
def test_values_and_gradients(shape):
    x, mark = (RNG.normal(size=shape).astype("float32") for _ in range(2))
    for kernel, axis in ((standardize_rows, -1), (lambda x, e: standardize_columns(x, e)[0], 0)):

        def naive(x, axis=axis):
            return (x - x.mean(axis, keepdims=True)) / jnp.sqrt(x.var(axis, keepdims=True) + 1e-3)

        def all_of_it(x, kernel=kernel, naive=naive):
            slopes = (jax.grad(lambda x, f=f: jnp.vdot(f(x), mark))(x) for f in (lambda x: kernel(x, 1e-3), naive))
            return kernel(x, 1e-3), *slopes

        y, ours, theirs = jax.jit(all_of_it)(x)
        np.testing.assert_allclose(y, obvious(x, axis), atol=2e-5)
        np.testing.assert_allclose(ours, theirs, atol=3e-4)


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


def groups(x, groups):
    apart = x.reshape(*x.shape[:2], groups, -1)
    mean, var = (f(apart, (1, 3), keepdims=True) for f in (jnp.mean, jnp.var))
    return ((apart - mean) / jnp.sqrt(var + 1e-3)).reshape(x.shape)


@pytest.mark.parametrize(
    ("kernel", "naive", "shape"),
    [
        (lambda x: standardize_groups(x, 2, 1e-3), lambda x: groups(x, 2), (2, 5, 6)),
        (lambda x: standardize_groups(x, 6, 1e-3), lambda x: groups(x, 6), (2, 1, 6)),
        (lambda x: scale_rows(x, 1e-3), lambda x: x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-3), (4, 7)),
        (lambda x: unit_length(x, -1), lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True), (4, 7)),
        (lambda x: standardize_some(x, jnp.ones(x.shape, bool), 1e-3)[0], lambda x: standardize_columns(x, 1e-3)[0], (4, 7)),
    ],
    ids=["groups", "channels", "rms", "unit", "some"],
)
def test_other_forms(kernel, naive, shape):
    x, mark = (jnp.asarray(RNG.normal(size=shape) + 1, jnp.float32) for _ in range(2))
    ours, theirs = (jax.jit(jax.value_and_grad(lambda x, f=f: jnp.vdot(f(x), mark))) for f in (kernel, naive))
    for a, b in zip(ours(x), theirs(x), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-5, rtol=1e-4)


def test_neighbours_and_singular_values():
    x = RNG.normal(size=(2, 7)).astype("float32")
    sizes = (1, 4, 5, 9)
    for size, found in zip(sizes, jax.jit(lambda x: [neighbour_sums(x, each) for each in sizes])(x), strict=True):
        wide = np.pad(x, ((0, 0), (size // 2, size)))
        expected = [wide[:, i : i + size].sum(-1) for i in range(7)]
        np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-5)
    matrix = RNG.normal(size=(6, 4)).astype("float32")
    sigma, u = jax.jit(lambda matrix: largest_singular(matrix, jnp.ones((1, 4)), 30))(matrix)
    assert float(sigma) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-4)
    assert abs(np.linalg.svd(matrix)[2][0] @ u[0]) == pytest.approx(1, rel=1e-4)
