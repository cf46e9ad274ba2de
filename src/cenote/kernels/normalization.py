"""Normalisation over rows, columns and groups of channels, each with a backward pass of a few sums."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import native
from .answers import asked_for_answers

# What Keras adds to the number of unmasked positions, so that a batch without any does not divide by zero.
NONE_LEFT = 1e-7


def _plain(x: jax.Array, means: Callable, epsilon: float, centre: bool) -> tuple[jax.Array, ...]:
    """``(x - mean) / sqrt(variance + epsilon)``, the mean and the variance, where ``means`` averages what belongs together.

    The gradient is ``r (g - mean(g) - y mean(g y))`` with ``r = 1 / sqrt(variance + epsilon)``; without ``centre`` the mean is
    left in, and its term falls away. The statistics carry no gradient of their own: they are for running averages.
    """
    return _forward(x, means, epsilon, centre)[0]


def _forward(x: jax.Array, means: Callable, epsilon: float, centre: bool) -> tuple:
    # Two passes, mean first: one pass over squares is no faster here and loses its digits to a mean far from zero.
    mean = means(x) if centre else jnp.zeros((), x.dtype)
    centred = x - mean if centre else x
    variance = means(centred * centred)
    r = lax.rsqrt(variance + epsilon)
    y = centred * r
    return (y, mean, variance), (y, r)


def _backward(means: Callable, epsilon: float, centre: bool, saved: tuple, grads: Any) -> tuple:
    y, r = saved
    g = grads[0]
    return (r * ((g - means(g) if centre else g) - y * means(g * y)),)


_standardize: Any = jax.custom_vjp(_plain, nondiff_argnums=(1, 2, 3))
_standardize.defvjp(_forward, _backward)


def _row_means(x: jax.Array) -> jax.Array:
    """The mean of each row, (row, 1): on the CPU as a product, where a sum along a row runs one number at a time."""
    if jax.default_backend() != "cpu":
        return x.mean(-1, keepdims=True)
    return x @ jnp.ones((x.shape[-1], 1), x.dtype) / x.shape[-1]


def _column_means(x: jax.Array) -> jax.Array:
    return x.mean(0)


@functools.cache
def _group_means(groups: int) -> Callable:
    """Means of (example, place, channel) over the places and the channels of a group: (example, 1, channel)."""

    def means(x: jax.Array) -> jax.Array:
        each = x.mean(1)
        if groups < x.shape[-1]:
            each = jnp.repeat(each.reshape(x.shape[0], groups, -1).mean(-1), x.shape[-1] // groups, axis=-1)
        return each[:, None]

    return means


def standardize_rows(x: jax.Array, epsilon: float) -> jax.Array:
    """Each row with mean 0 and variance 1: ``(x - mean) / sqrt(variance + epsilon)``, (row, feature).

    >>> standardize_rows(jnp.array([[1.0, 3.0]]), 0.0).tolist()
    [[-1.0, 1.0]]
    """
    return _standardize(x, _row_means, epsilon, True)[0]


def scale_rows(x: jax.Array, epsilon: float) -> jax.Array:
    """Each row with mean square 1: ``x / sqrt(mean(x^2) + epsilon)``, (row, feature).

    >>> scale_rows(jnp.array([[2.0, 2.0]]), 0.0).tolist()
    [[1.0, 1.0]]
    """
    return _standardize(x, _row_means, epsilon, False)[0]


def standardize_columns(x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each column with mean 0 and variance 1, and that mean and variance: for batch normalisation, (row, feature).

    >>> [v.tolist() for v in standardize_columns(jnp.array([[1.0], [3.0]]), 0.0)]
    [[[-1.0], [1.0]], [2.0], [1.0]]
    """
    return _standardize(x, _column_means, epsilon, True)


# -- with scale and bias, which C++ does in the same pass ------------------------------------------------------------------


def normalize_rows(x: jax.Array, scale: Any, bias: Any, epsilon: float, centre: bool = True) -> jax.Array:
    """Each row with mean 0 and variance 1, times ``scale`` plus ``bias``, (row, feature); either may be None.

    Without ``centre`` the mean is left in: `scale_rows`.

    >>> normalize_rows(jnp.array([[1.0, 3.0]]), jnp.full(2, 2.0), None, 0.0).tolist()
    [[-2.0, 2.0]]
    """
    if x.shape[-1] >= NARROWEST and native.fits("normalization", x):
        arrays = float(epsilon), centre, x, *_filled(x, scale, bias)
        return _rows_forward(*arrays)[0] if asked_for_answers() else _rows(*arrays)
    return finish((standardize_rows if centre else scale_rows)(x, epsilon), scale, bias)


def normalize_columns(
    x: jax.Array, scale: Any, bias: Any, epsilon: float, rest: Any = None, rectify: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each column with mean 0 and variance 1, times ``scale`` plus ``bias``, and that mean and variance, (row, feature).

    ``rest`` is added, and ``rectify`` puts 0 where the sum is not above it: what follows a BatchNorm in a residual network,
    in the same pass. Each may be None. Mean and variance carry no gradient: they are for running averages.

    >>> [v.tolist() for v in normalize_columns(jnp.array([[1.0], [3.0]]), None, None, 0.0, rectify=True)]
    [[[0.0], [1.0]], [2.0], [1.0]]
    """
    if x.shape[-1] >= NARROWEST and native.fits("normalization", x):
        return _columns(float(epsilon), rectify, x, *_filled(x, scale, bias), rest)
    return _plain_columns(epsilon, rectify, x, scale, bias, rest)


def finish(y: jax.Array, scale: Any, bias: Any) -> jax.Array:
    """``y * scale + bias`` as far as there are any."""
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


NARROWEST = 8  # features of a row from which on C++ is the faster one


def _filled(x: jax.Array, scale: Any, bias: Any) -> tuple[jax.Array, jax.Array]:
    wide = x.shape[-1:]
    return jnp.ones(wide, x.dtype) if scale is None else scale, jnp.zeros(wide, x.dtype) if bias is None else bias


def _plain_columns(epsilon: float, rectify: bool, x: Any, scale: Any, bias: Any, rest: Any = None) -> tuple:
    y, mean, variance = standardize_columns(x, epsilon)
    y = finish(y, scale, bias)
    y = y if rest is None else y + rest
    return jax.nn.relu(y) if rectify else y, mean, variance


# What is called without a derivative (by explanations) is the plain formulation; derivatives use C++.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _columns(epsilon: float, rectify: bool, x: Any, scale: Any, bias: Any, rest: Any) -> tuple:
    return _plain_columns(epsilon, rectify, x, scale, bias, rest)


def _columns_forward(epsilon: float, rectify: bool, x: Any, scale: Any, bias: Any, rest: Any) -> tuple:
    def plain(x: Any, scale: Any, bias: Any, rest: Any) -> tuple:
        return _plain_columns(epsilon, rectify, x, scale, bias, rest if rest.size else None)

    fast = native.standing_for(plain, functools.partial(native.columns_forward, epsilon=epsilon, rectify=rectify))
    none = jnp.zeros((0, 0), x.dtype)
    y, mean, variance = fast(x, scale, bias, none if rest is None else rest)
    return (y, mean, variance), (x, y if rectify else none, mean, variance, scale, rest)


def _columns_backward(epsilon: float, rectify: bool, saved: tuple, grads: tuple) -> tuple:
    x, y, mean, variance, scale, rest = saved
    adds = rest is not None and rectify
    plain = functools.partial(_plain_columns_backward, epsilon, adds)
    fast = native.standing_for(plain, functools.partial(native.columns_backward, epsilon=epsilon, adds=adds))
    dx, dscale, dbias, drest = fast(grads[0], x, y, mean, variance, scale)
    return dx, dscale, dbias, drest if adds else None if rest is None else grads[0]


def _plain_columns_backward(epsilon: float, adds: bool, dy: Any, x: Any, y: Any, mean: Any, variance: Any, scale: Any) -> tuple:
    g = jnp.where(y > 0, dy, 0) if y.size else dy
    # Written out from x, on which mean and variance depend, for derivatives of a higher order.
    del mean, variance
    _, back = jax.vjp(lambda x, scale, bias: finish(standardize_columns(x, epsilon)[0], scale, bias), x, scale, scale * 0)
    return *back(g), g if adds else jnp.zeros((0, 0), x.dtype)


_columns.defvjp(_columns_forward, _columns_backward)


def _plain_rows(epsilon: float, centre: bool, x: Any, scale: Any, bias: Any) -> jax.Array:
    return finish((standardize_rows if centre else scale_rows)(x, epsilon), scale, bias)


_rows: Any = jax.custom_vjp(_plain_rows, nondiff_argnums=(0, 1))


def _rows_forward(epsilon: float, centre: bool, x: Any, scale: Any, bias: Any) -> tuple:
    def plain(x: Any, scale: Any, bias: Any) -> tuple:
        mean = x.mean(-1) if centre else jnp.zeros(x.shape[:1], x.dtype)
        variance = ((x - mean[:, None]) ** 2).mean(-1)
        return _plain_rows(epsilon, centre, x, scale, bias), mean, lax.rsqrt(variance + epsilon)

    fast = native.standing_for(plain, functools.partial(native.rows_forward, epsilon=epsilon, centre=centre))
    y, mean, inverse = fast(x, scale, bias)
    return y, (x, mean, inverse, scale)


def _rows_backward(epsilon: float, centre: bool, saved: tuple, dy: jax.Array) -> tuple:
    def plain(dy: Any, x: Any, mean: Any, inverse: Any, scale: Any) -> tuple:
        del mean, inverse  # as above
        return jax.vjp(functools.partial(_plain_rows, epsilon, centre), x, scale, scale * 0)[1](dy)

    return native.standing_for(plain, functools.partial(native.rows_backward, centre=centre))(dy, *saved)


_rows.defvjp(_rows_forward, _rows_backward)


# -- other normalisations --------------------------------------------------------------------------------------------------


def standardize_groups(x: jax.Array, groups: int, epsilon: float) -> jax.Array:
    """Each group of channels of each example with mean 0 and variance 1, (example, place, channel).

    >>> standardize_groups(jnp.array([[[1.0, 3.0], [3.0, 1.0]]]), 1, 0.0).tolist()
    [[[-1.0, 1.0], [1.0, -1.0]]]
    """
    return _standardize(x, _group_means(groups), epsilon, True)[0]


def standardize_some(x: jax.Array, allowed: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`standardize_columns` with the statistics of the allowed entries only; both arrays (row, feature).

    >>> [v.round().tolist() for v in standardize_some(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([[1], [1], [0]]) > 0, 0.0)]
    [[[-1.0], [1.0], [7.0]], [2.0], [1.0]]
    """
    count = allowed.sum(0).astype(x.dtype) + NONE_LEFT
    mean = jnp.where(allowed, x, 0).sum(0) / count
    apart = jnp.where(allowed, x - mean, 0)
    variance = (apart * apart).sum(0) / count
    return (x - mean) * lax.rsqrt(variance + epsilon), mean, variance


def unit_length(x: jax.Array, axis: Any, epsilon: float = 1e-12) -> jax.Array:
    """``x / max(|x|, epsilon)`` along axes; a vector of zeros stays zero, and has the slope zero instead of ``1 / epsilon``.

    >>> unit_length(jnp.array([[3.0, 4.0], [0.0, 0.0]]), -1).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    squares = (x * x).sum(axis, keepdims=True)
    inverse = lax.rsqrt(jnp.where(squares > 0, squares, 1))
    return jnp.where(squares > 0, x * jnp.minimum(inverse, 1 / epsilon), 0)


def neighbour_sums(x: jax.Array, size: int) -> jax.Array:
    """Sums over ``size`` neighbours along the last axis, ``size // 2`` of them before; zeros beyond the ends.

    >>> neighbour_sums(jnp.array([1.0, 2.0, 3.0, 4.0]), 2).tolist()
    [1.0, 3.0, 5.0, 7.0]
    """
    width = x.shape[-1]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)])
    return functools.reduce(jnp.add, (padded[..., i : i + width] for i in range(size)))


def largest_singular(matrix: jax.Array, u: jax.Array, iterations: int) -> tuple[jax.Array, jax.Array]:
    """The largest singular value by power iteration from the row ``u`` (1, columns), and the next ``u``.

    Its gradient is that of ``v W u``, with v and u held fixed. Source: Miyato et al. 2018, arXiv:1802.05957.

    >>> largest_singular(jnp.diag(jnp.array([3.0, 1.0])), jnp.ones((1, 2)), 9)[0].round().item()
    3.0
    """
    fixed, v = lax.stop_gradient(matrix), jnp.zeros((1, matrix.shape[0]), matrix.dtype)
    for _ in range(iterations):
        v = unit_length(u @ fixed.T, None, 1e-7)
        u = unit_length(v @ fixed, None, 1e-7)
    return (v @ matrix @ u.T)[0, 0], u
