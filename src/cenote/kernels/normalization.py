"""Normalisation over rows and over columns of a matrix, each with a backward pass of a few sums."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def standardize_rows(x: jax.Array, epsilon: float) -> jax.Array:
    """Each row with mean 0 and variance 1: ``(x - mean) / sqrt(variance + epsilon)``, (row, feature).

    The gradient is ``r (g - mean(g) - y mean(g y))`` with ``r = 1 / sqrt(variance + epsilon)``.

    >>> standardize_rows(jnp.array([[1.0, 3.0]]), 0.0).tolist()
    [[-1.0, 1.0]]
    """
    return _rows_forward(x, epsilon)[0]


def _row_means(x: jax.Array) -> jax.Array:
    """The mean of each row, (row, 1): on the CPU as a product, where a sum along a row runs one number at a time."""
    if jax.default_backend() != "cpu":
        return x.mean(-1, keepdims=True)
    return x @ jnp.ones((x.shape[-1], 1), x.dtype) / x.shape[-1]


def _rows_forward(x: jax.Array, epsilon: float) -> tuple:
    centred = x - _row_means(x)
    r = lax.rsqrt(_row_means(centred * centred) + epsilon)
    y = centred * r
    return y, (y, r)


def _rows_backward(epsilon: float, saved: tuple, g: jax.Array) -> tuple:
    y, r = saved
    return (r * (g - _row_means(g) - y * _row_means(g * y)),)


standardize_rows.defvjp(_rows_forward, _rows_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def standardize_columns(x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each column with mean 0 and variance 1, and that mean and variance: for batch normalisation, (row, feature).

    The statistics carry no gradient of their own: they are for the running averages.

    >>> [v.tolist() for v in standardize_columns(jnp.array([[1.0], [3.0]]), 0.0)]
    [[[-1.0], [1.0]], [2.0], [1.0]]
    """
    return _columns_forward(x, epsilon)[0]


def _columns_forward(x: jax.Array, epsilon: float) -> tuple:
    # Two passes, mean first: one pass over squares is no faster here and loses its digits to a mean far from zero.
    mean = x.mean(0)
    centred = x - mean
    variance = (centred * centred).mean(0)
    r = lax.rsqrt(variance + epsilon)
    y = centred * r
    return (y, mean, variance), (y, r)


def _columns_backward(epsilon: float, saved: tuple, grads: Any) -> tuple:
    y, r = saved
    g = grads[0]
    return (r * (g - g.mean(0) - y * (g * y).mean(0)),)


standardize_columns.defvjp(_columns_forward, _columns_backward)
