"""Pooling of pictures by slices: XLA's window reductions have a gradient that is twenty times slower on the CPU."""

from __future__ import annotations

import functools
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
    return _max_pool(x, window, strides, pads)


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
    total = functools.reduce(jnp.add, _slices(x, window, strides, pads, 0))
    ones = np.pad(np.ones(x.shape[1:3]), pads)
    rows, columns = (range(0, n - k + 1, s) for n, k, s in zip(ones.shape, window, strides, strict=True))
    counts = np.array([[ones[i : i + window[0], j : j + window[1]].sum() for j in columns] for i in rows])
    return total / jnp.asarray(counts[None, :, :, None], x.dtype)


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
