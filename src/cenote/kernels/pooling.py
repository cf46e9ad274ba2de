"""Pooling of pictures by slices: XLA's window reductions have a gradient that is twenty times slower on the CPU.

The same form serves every device: slices fuse into one pass, and their second derivatives exist.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .convolution import Pads, pads_for, put_back


def max_pool(x: jax.Array, window: tuple[int, int], strides: tuple[int, int], padding: str = "valid") -> jax.Array:
    """The largest value in each window; its gradient goes to the first place where the largest value stands.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), (2, 2))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    pads = pads_for(x.shape[1:3], window, strides, (1, 1), padding)
    if math.prod(window) <= 4:
        return _max_pool(x, window, strides, pads)
    # Along the width, then along the height: fewer slices, and the first of equal values still wins.
    x = _max_pool(x, (1, window[1]), (1, strides[1]), ((0, 0), pads[1]))
    return _max_pool(x, (window[0], 1), (strides[0], 1), (pads[0], (0, 0)))


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


def average_pool(x: jax.Array, window: tuple[int, int], strides: tuple[int, int], padding: str = "valid") -> jax.Array:
    """The mean of each window; zeros that pad it do not count.

    >>> average_pool(jnp.ones((1, 3, 3, 1)), (2, 2), (2, 2), "same")[0, :, :, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    pads = pads_for(x.shape[1:3], window, strides, (1, 1), padding)
    batch, height, width, channel = x.shape
    rows, columns = (_seen(*each) for each in zip((height, width), window, strides, pads, strict=True))
    if math.prod(window) > 4 and tuple(window) == tuple(strides) and not any(any(p) for p in pads):
        # Windows side by side: a view with the places of a window on axes of their own.
        x = x[:, : len(rows) * window[0], : len(columns) * window[1]]
        return x.reshape(batch, len(rows), window[0], len(columns), window[1], channel).mean((2, 4))
    if max(window) <= 4:
        x = functools.reduce(jnp.add, _slices(x, (1, window[1]), (1, strides[1]), ((0, 0), pads[1]), 0))
        x = functools.reduce(jnp.add, _slices(x, (window[0], 1), (strides[0], 1), (pads[0], (0, 0)), 0))
        return x / jnp.asarray(np.outer(rows.sum(1), columns.sum(1))[None, :, :, None], x.dtype)
    # Large windows that overlap: a product with the shares of each value, first down the columns, then along the rows.
    rows, columns = (jnp.asarray(seen / seen.sum(1, keepdims=True), x.dtype) for seen in (rows, columns))
    exact = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    x = exact("ph,bhm->bpm", rows, x.reshape(batch, height, -1)).reshape(-1, width, channel)
    return exact("qw,bwc->bqc", columns, x).reshape(batch, len(rows), len(columns), channel)


def _seen(size: int, window: int, stride: int, pads: tuple[int, int]) -> np.ndarray:
    """Which values of an axis each window holds: (window, value), 1 or 0."""
    count = (size + sum(pads) - window) // stride + 1
    offset = np.arange(size) + pads[0] - np.arange(count)[:, None] * stride
    return ((offset >= 0) & (offset < window)).astype("float64")


def _lowest(x: jax.Array) -> Any:
    return -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min


def _slices(x: jax.Array, window: Any, strides: Any, pads: Pads, fill: Any) -> list[jax.Array]:
    """What stands at each place of the windows, each (batch, out height, out width, channel)."""
    if any(any(p) for p in pads):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=True)]
    return [
        lax.slice(
            x,
            (0, u, v, 0),
            (x.shape[0], u + (out[0] - 1) * strides[0] + 1, v + (out[1] - 1) * strides[1] + 1, x.shape[3]),
            (1, *strides, 1),
        )
        for u in range(window[0])
        for v in range(window[1])
    ]


def _scatter(parts: list[jax.Array], shape: Any, window: Any, strides: Any, pads: Pads) -> jax.Array:
    """The transpose of `_slices`: each place's values back to where they were read."""
    batch, height, width, channel = shape
    oh, ow = parts[0].shape[1:3]
    if tuple(window) == tuple(strides) and not any(any(p) for p in pads):
        # Windows that do not overlap: interleave the parts.
        kh, kw = window
        grid = jnp.stack(parts, axis=3).reshape(batch, oh, ow, kh, kw, channel).transpose(0, 1, 3, 2, 4, 5)
        grid = grid.reshape(batch, oh * kh, ow * kw, channel)
        return jnp.pad(grid, ((0, 0), (0, height - oh * kh), (0, width - ow * kw), (0, 0)))
    places = [(u, v) for u in range(window[0]) for v in range(window[1])]
    back = (put_back(part, p, shape, strides, pads) for p, part in zip(places, parts, strict=True))
    return functools.reduce(jnp.add, back)
