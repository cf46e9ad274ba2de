"""A convolution of pictures with what follows it in one pass over memory: bias, rectifier, the largest of each 2x2.

C++ on the CPU. The layers choose it in training, and where they are traced only for answers (`answers`); who walks a program
that he traced himself finds the convolution and what follows apart.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from . import native
from .convolution import convolved, in_cpp, one_by_one, places, put_back, shifts, slide, to_input, to_kernel

WINDOW = (2, 2)
_NONE = 4  # the mark of a window whose gradient goes nowhere


def can_join(x: jax.Array, kernel: jax.Array, strides: Any, pads: Any) -> bool:
    """Whether `conv_joined` takes these: pictures in float32 on the CPU where there is C++, and a kernel that is no product.

    >>> can_join(jnp.ones((1, 5, 5, 1)), jnp.ones((1, 1, 1, 3)), (1, 1), ((0, 0), (0, 0)))
    False
    """
    return not one_by_one(kernel, pads, strides) and in_cpp(x, kernel, pads, (1, 1))


def conv_joined(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, strides: Any, pads: Any, *, rectify: bool, windows: bool = False
) -> jax.Array:
    """``max(conv(x, kernel) + bias, 0)``, or without the rectifier; with ``windows`` the largest of each 2x2 side by side.

    Shapes: as those of `conv` and `max_pool`; bias (filter) or None. See `can_join`.

    >>> x, kernel, how = jnp.ones((1, 5, 5, 1)), jnp.ones((2, 2, 1, 3)), ((1, 1), ((0, 0), (0, 0)))
    >>> conv_joined(x, kernel, None, *how, rectify=True).shape if can_join(x, kernel, *how) else (1, 4, 4, 3)
    (1, 4, 4, 3)
    """
    bias = jnp.zeros(0, x.dtype) if bias is None else bias
    return _joined(tuple(strides), tuple(pads), rectify, windows, x, kernel, bias)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _joined(strides: Any, pads: Any, rectify: bool, windows: bool, x: Any, kernel: Any, bias: Any) -> jax.Array:
    return _with_places(strides, pads, rectify, windows, False, x, kernel, bias)[0]


def _with_places(strides: Any, pads: Any, rectify: bool, windows: bool, keep: bool, x: Any, kernel: Any, bias: Any) -> tuple:
    """The value, and which place of each window it came from, if that is to be kept; else nothing."""
    size = convolved(x, kernel, strides, pads)
    shape = (x.shape[0], *(n // (2 if windows else 1) for n in size), kernel.shape[-1])
    how = {"rectify": rectify, "windows": windows, "keep": keep}
    fast = functools.partial(native.joined, shape=shape, strides=strides, pads=pads, **how)
    return native.standing_for(functools.partial(_plain, strides, pads, **how), fast)(x, kernel, bias)


def _plain(strides: Any, pads: Any, x: Any, kernel: Any, bias: Any, *, rectify: bool, windows: bool, keep: bool) -> tuple:
    y: Any = slide(x, kernel, strides, pads, (1, 1))
    y = y + bias if bias.size else y
    y, none = jax.nn.relu(y) if rectify else y, jnp.zeros(0, jnp.uint8)
    if not windows:
        return y, none
    seen = [s for _, s in shifts(y, WINDOW, WINDOW, ((0, 0), (0, 0)), (1, 1))]
    largest = functools.reduce(jnp.maximum, seen)
    if not keep:
        return largest, none
    at = jnp.full(largest.shape, _NONE, jnp.uint8)
    for k in reversed(range(len(seen))):  # of equal ones the first
        at = jnp.where(seen[k] == largest, jnp.uint8(k), at)
    return largest, jnp.where(largest > 0, at, jnp.uint8(_NONE)) if rectify else at


def _forward(strides: Any, pads: Any, rectify: bool, windows: bool, x: Any, kernel: Any, bias: Any) -> tuple:
    y, at = _with_places(strides, pads, rectify, windows, windows, x, kernel, bias)
    return y, (x, kernel, bias, y if rectify and not windows else None, at)


def _backward(strides: Any, pads: Any, rectify: bool, windows: bool, saved: tuple, dy: jax.Array) -> tuple:
    x, kernel, bias, y, at = saved
    if not windows:
        dy = jnp.where(y > 0, dy, 0) if rectify else dy
        dx = to_input(dy, kernel, x.shape[1:-1], strides, pads, (1, 1))
        dkernel = to_kernel(x, dy, kernel.shape, strides, pads, (1, 1))
        return dx, dkernel, dy.sum((0, 1, 2)) if bias.size else bias
    size = convolved(x, kernel, strides, pads)

    def plain_input(dy: jax.Array, at: jax.Array, kernel: jax.Array) -> jax.Array:
        return to_input(_spread(dy, at, size), kernel, x.shape[1:-1], strides, pads, (1, 1))

    def plain_kernel(x: jax.Array, dy: jax.Array, at: jax.Array) -> tuple:
        dy = _spread(dy, at, size)
        return to_kernel(x, dy, kernel.shape, strides, pads, (1, 1)), dy.sum((0, 1, 2))

    how = {"size": size, "strides": strides, "pads": pads}
    by_input = functools.partial(native.pooled_input, shape=x.shape, **how)
    by_kernel = functools.partial(native.pooled_kernel, shape=kernel.shape, **how)
    dx = native.standing_for(plain_input, by_input)(dy, at, kernel)
    dkernel, dbias = native.standing_for(plain_kernel, by_kernel)(x, dy, at)
    return dx, dkernel, dbias if bias.size else bias


def _spread(dy: jax.Array, at: jax.Array, size: Any) -> jax.Array:
    """The gradient of the largest of each window at the place that it came from."""
    shape, none = (dy.shape[0], *size, dy.shape[-1]), ((0, 0), (0, 0))
    parts = (put_back(jnp.where(at == k, dy, 0), place, shape, WINDOW, none) for k, place in enumerate(places(WINDOW)))
    return functools.reduce(jnp.add, parts)


_joined.defvjp(_forward, _backward)
