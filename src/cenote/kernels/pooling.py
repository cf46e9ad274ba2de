"""Pooling along one, two or three axes by slices: XLA's window reductions have a gradient twenty times slower on the CPU.

The same form serves every device: slices fuse into one pass, and their second derivatives exist. Whatever can be done axis by
axis is, the last one first: fewer slices, and of equal values the first in a window still wins.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .convolution import Pads, pads_for, places, put_back, shifts

_MANY = 16  # from so many values in a window on, they are gathered: as many slices take long to compile
Sizes = tuple[int, ...]


def max_pool(x: jax.Array, window: Sizes, strides: Sizes, padding: str = "valid") -> jax.Array:
    """The largest value in each window; its gradient goes to the first place where the largest value stands.

    Shapes: (batch, one to three axes, channel) -> the same with fewer places.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), (2, 2))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    size, n = x.shape[1:-1], x.ndim - 2
    pads = pads_for(size, window, strides, (1,) * n, padding)
    if math.prod(window) <= 4:
        return _max_pool(x, tuple(window), tuple(strides), pads)
    for axis in reversed(range(n)):
        if window[axis] <= _MANY:
            alone = _only(axis, window, 1), _only(axis, strides, 1), _only(axis, pads, (0, 0))
            x = x if alone[:2] == ((1,) * n, (1,) * n) else _max_pool(x, *alone)
        else:
            starts = np.arange(_count(size[axis], window[axis], strides[axis], pads[axis])) * strides[axis] - pads[axis][0]
            x = _max_between(x, axis, starts, starts + window[axis])
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: Any, strides: Any, pads: Pads) -> jax.Array:
    return functools.reduce(jnp.maximum, _slices(x, window, strides, pads, _lowest(x)))


def _forward(x: Any, window: Any, strides: Any, pads: Any) -> tuple:
    y = _max_pool(x, window, strides, pads)
    return y, (x, y)


def _backward(window: Any, strides: Any, pads: Pads, saved: tuple, dy: jax.Array) -> tuple:
    x, y = saved
    parts, taken = [], jnp.zeros(y.shape, bool)
    for seen in _slices(x, window, strides, pads, _lowest(x)):
        here = (seen == y) & ~taken
        taken = taken | here
        parts.append(jnp.where(here, dy, jnp.zeros((), dy.dtype)))
    return (_scatter(parts, x.shape, window, strides, pads),)


_max_pool.defvjp(_forward, _backward)


def _max_between(x: jax.Array, axis: int, starts: np.ndarray, ends: np.ndarray) -> jax.Array:
    """The largest value from each start up to its end along one axis; of equal ones the first gets the gradient."""
    starts, ends = np.maximum(starts, 0), np.minimum(ends, x.shape[axis + 1])
    # The shorter windows see their last value several times, which changes nothing.
    seen = np.minimum(starts[:, None] + np.arange((ends - starts).max()), ends[:, None] - 1)
    return _first_max(jnp.take(x, seen, axis=axis + 1, mode="clip"), axis + 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _first_max(x: jax.Array, axis: int) -> jax.Array:
    return x.max(axis)


def _first_max_forward(x: Any, axis: int) -> tuple:
    return x.max(axis), (jnp.argmax(x, axis, keepdims=True), jnp.arange(x.shape[axis]))


def _first_max_backward(axis: int, saved: tuple, dy: jax.Array) -> tuple:
    first, numbers = saved
    here = first == numbers.reshape(-1, *(1,) * (dy.ndim - axis))
    return (jnp.where(here, jnp.expand_dims(dy, axis), jnp.zeros((), dy.dtype)),)


_first_max.defvjp(_first_max_forward, _first_max_backward)


def max_pool_places(x: jax.Array, window: Sizes, strides: Sizes, padding: str = "valid") -> jax.Array:
    """Where the largest value of each window stands: its number among the places of the example, row by row.

    >>> max_pool_places(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), (2, 2))[0, :, :, 0].tolist()
    [[5, 7], [13, 15]]
    """
    size, n = x.shape[1:-1], x.ndim - 2
    pads = pads_for(size, window, strides, (1,) * n, padding)
    number = jnp.broadcast_to(jnp.arange(math.prod(size), dtype=jnp.int32).reshape(1, *size, 1), x.shape)

    def larger(a: tuple, b: tuple) -> tuple:
        later = b[0] > a[0]
        return jnp.where(later, b[0], a[0]), jnp.where(later, b[1], a[1])

    for axis in reversed(range(n)):
        alone = _only(axis, window, 1), _only(axis, strides, 1), _only(axis, pads, (0, 0))
        pairs = zip(_slices(x, *alone, _lowest(x)), _slices(number, *alone, 0), strict=True)
        x, number = functools.reduce(larger, pairs)
    return number


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def unpool(x: jax.Array, number: jax.Array, size: Sizes) -> jax.Array:
    """Each value at its place, as `max_pool_places` counts them, in an example of this size; zeros elsewhere.

    >>> unpool(jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), 2), (4,)).ravel().tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    batch, channel = x.shape[0], x.shape[-1]
    empty = jnp.zeros((batch, math.prod(size), channel), x.dtype)
    there = _address(number.reshape(batch, -1, channel))
    return empty.at[there].set(x.reshape(batch, -1, channel), mode="drop").reshape(batch, *size, channel)


def _address(number: jax.Array) -> tuple:
    return jnp.arange(number.shape[0])[:, None, None], number, jnp.arange(number.shape[-1])


def _unpool_forward(x: Any, number: Any, size: Any) -> tuple:
    return unpool(x, number, size), number


def _unpool_backward(size: Any, number: Any, dy: jax.Array) -> tuple:
    batch, channel = dy.shape[0], dy.shape[-1]
    there = _address(number.reshape(batch, -1, channel))
    return dy.reshape(batch, -1, channel).at[there].get(mode="fill", fill_value=0).reshape(number.shape), None


unpool.defvjp(_unpool_forward, _unpool_backward)


def average_pool(x: jax.Array, window: Sizes, strides: Sizes, padding: str = "valid") -> jax.Array:
    """The mean of each window; zeros that pad it do not count.

    >>> average_pool(jnp.ones((1, 3, 3, 1)), (2, 2), (2, 2), "same")[0, :, :, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    pads = pads_for(x.shape[1:-1], window, strides, (1,) * (x.ndim - 2), padding)
    counts = (seen.sum(1) for seen in _seen(x.shape[1:-1], window, strides, pads))
    return sum_pool(x, window, strides, padding) / jnp.asarray(
        functools.reduce(np.multiply.outer, counts)[None, ..., None], x.dtype
    )


def sum_pool(x: jax.Array, window: Sizes, strides: Sizes, padding: str = "valid") -> jax.Array:
    """The sum of each window.

    >>> sum_pool(jnp.ones((1, 3, 1)), (2,), (2,), "same").ravel().tolist()
    [2.0, 1.0]
    """
    size, n = x.shape[1:-1], x.ndim - 2
    pads = pads_for(size, window, strides, (1,) * n, padding)
    if math.prod(window) > 4 and tuple(window) == tuple(strides) and not any(any(p) for p in pads):
        # Windows side by side: a view with the places of a window on axes of their own.
        count = [s // k for s, k in zip(size, window, strict=True)]
        x = x[(slice(None), *(slice(c * k) for c, k in zip(count, window, strict=True)))]
        split = [a for pair in zip(count, window, strict=True) for a in pair]
        return x.reshape(x.shape[0], *split, x.shape[-1]).sum(tuple(range(2, 2 * n + 1, 2)))
    if max(window) <= 4:
        for axis in reversed(range(n)):
            alone = _only(axis, window, 1), _only(axis, strides, 1), _only(axis, pads, (0, 0))
            x = functools.reduce(jnp.add, _slices(x, *alone, 0))
        return x
    return _weigh(x, _seen(size, window, strides, pads))  # large windows that overlap


def adaptive_average_pool(x: jax.Array, output_size: Sizes) -> jax.Array:
    """The mean of as many windows as ``output_size`` says: window i of m reaches from floor(i n / m) to ceil((i + 1) n / m).

    >>> adaptive_average_pool(jnp.arange(5.0).reshape(1, 5, 1), (2,)).ravel().tolist()
    [1.0, 3.0]
    """
    size = x.shape[1:-1]
    if not any(n % m for n, m in zip(size, output_size, strict=True)):
        window = tuple(n // m for n, m in zip(size, output_size, strict=True))
        return average_pool(x, window, window)
    shares = []
    for n, m in zip(size, output_size, strict=True):
        starts, ends = _even_windows(n, m)
        inside = (np.arange(n) >= starts[:, None]) & (np.arange(n) < ends[:, None])
        shares.append(inside / inside.sum(1, keepdims=True))
    return _weigh(x, shares)


def adaptive_max_pool(x: jax.Array, output_size: Sizes) -> jax.Array:
    """The largest value of each of the windows of `adaptive_average_pool`.

    >>> adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), (2,)).ravel().tolist()
    [2.0, 4.0]
    """
    size = x.shape[1:-1]
    if not any(n % m for n, m in zip(size, output_size, strict=True)):
        window = tuple(n // m for n, m in zip(size, output_size, strict=True))
        return max_pool(x, window, window)
    for axis in reversed(range(len(size))):
        x = _max_between(x, axis, *_even_windows(size[axis], output_size[axis]))
    return x


def lp_pool(x: jax.Array, p: float, window: Sizes, strides: Sizes, padding: str = "valid") -> jax.Array:
    """The p-th root of the sum of p-th powers in each window; where the sum is 0, so is the gradient.

    >>> lp_pool(jnp.asarray([3.0, 4.0]).reshape(1, 2, 1), 2, (2,), (2,)).ravel().tolist()
    [5.0]
    """
    total = sum_pool(x**p, window, strides, padding)
    empty = total == 0
    return jnp.where(empty, jnp.zeros((), x.dtype), jnp.where(empty, jnp.ones((), x.dtype), total) ** (1 / p))


def _even_windows(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


def _weigh(x: jax.Array, weights: list[np.ndarray]) -> jax.Array:
    """Along each axis a product with the weights (window, place)."""
    for axis, weight in enumerate(weights, 1):
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        rows = x.reshape(math.prod(before), x.shape[axis], -1)
        sums = jnp.einsum("wp,bpc->bwc", jnp.asarray(weight, x.dtype), rows, precision=lax.Precision.HIGHEST)
        x = sums.reshape(*before, len(weight), *after)
    return x


def _seen(size: Any, window: Any, strides: Any, pads: Pads) -> list[np.ndarray]:
    """Which places of each axis its windows hold: (window, place), 1 or 0."""
    found = []
    for n, k, s, p in zip(size, window, strides, pads, strict=True):
        offset = np.arange(n) + p[0] - np.arange(_count(n, k, s, p))[:, None] * s
        found.append(((offset >= 0) & (offset < k)).astype("float64"))
    return found


def _count(size: int, window: int, stride: int, pads: tuple[int, int]) -> int:
    return (size + sum(pads) - window) // stride + 1


def _only(axis: int, values: Any, other: Any) -> tuple:
    """The value of this axis, and for the others one that changes nothing."""
    return tuple(value if i == axis else other for i, value in enumerate(values))


def _lowest(x: jax.Array) -> Any:
    return -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min


def _slices(x: jax.Array, window: Any, strides: Any, pads: Pads, fill: Any) -> list[jax.Array]:
    return [seen for _, seen in shifts(x, window, strides, pads, (1,) * len(window), fill)]


def _scatter(parts: list[jax.Array], shape: Any, window: Any, strides: Any, pads: Pads) -> jax.Array:
    """The transpose of `_slices`: each place's values back to where they were read."""
    if tuple(window) == tuple(strides) and not any(any(p) for p in pads):
        # Windows that do not overlap: interleave the parts.
        count, n = parts[0].shape[1:-1], len(window)
        grid = jnp.stack(parts, -2).reshape(shape[0], *count, *window, shape[-1])
        grid = grid.transpose(0, *(a for i in range(n) for a in (1 + i, 1 + n + i)), 2 * n + 1)
        whole = [c * k for c, k in zip(count, window, strict=True)]
        rest = [(0, size - used) for size, used in zip(shape[1:-1], whole, strict=True)]
        return jnp.pad(grid.reshape(shape[0], *whole, shape[-1]), ((0, 0), *rest, (0, 0)))
    back = (put_back(part, place, shape, strides, pads) for place, part in zip(places(window), parts, strict=True))
    return functools.reduce(jnp.add, back)
