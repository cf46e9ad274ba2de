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


def _rows_forward(x: jax.Array, epsilon: float) -> tuple:
    centred = x - x.mean(-1, keepdims=True)
    r = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + epsilon)
    y = centred * r
    return y, (y, r)


def _rows_backward(epsilon: float, saved: tuple, g: jax.Array) -> tuple:
    y, r = saved
    return (r * (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)),)


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
    # A row of the data as origin: the one-pass variance then loses no digits to a large mean.
    origin = lax.stop_gradient(x[0])
    shifted = x - origin
    offset = shifted.mean(0)
    variance = jnp.maximum((shifted * shifted).mean(0) - offset * offset, 0)
    r = lax.rsqrt(variance + epsilon)
    y = (shifted - offset) * r
    return (y, origin + offset, variance), (y, r)


def _columns_backward(epsilon: float, saved: tuple, grads: Any) -> tuple:
    y, r = saved
    g = grads[0]
    return (r * (g - g.mean(0) - y * (g * y).mean(0)),)


standardize_columns.defvjp(_columns_forward, _columns_backward)
