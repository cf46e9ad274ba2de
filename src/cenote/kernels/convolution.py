"""Convolution of pictures, with backward passes that XLA's CPU backend runs fast, inside a loop, too.

XLA derives the gradients of a convolution as convolutions of unusual layout, which on the CPU fall to a naive loop inside a
``while`` (measured 50 times slower). Here every convolution, backward ones too, is stated channels last, and small cases
become products or shifted sums. On other devices the derivative is XLA's own.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Pads = tuple[tuple[int, int], tuple[int, int]]


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> jax.Array:
    """Slide a kernel over a picture: ``y[b, i, j, o] = sum_{u, v, c} x[b, s i + d u, s j + d v, c] kernel[u, v, c, o]``.

    Shapes: x (batch, height, width, channel), kernel (height, width, channel / groups, filter).

    >>> conv2d(jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 2)), padding="same").shape
    (1, 5, 5, 2)
    """
    x, kernel = (a.astype(jnp.promote_types(x.dtype, kernel.dtype)) for a in (x, kernel))
    pads = pads_for(x.shape[1:3], kernel.shape[:2], strides, dilation, padding)
    if jax.default_backend() != "cpu":
        return _conv(x, kernel, strides, pads, dilation, groups)
    if groups == x.shape[-1] and groups > 1:
        return _depthwise(x, kernel, strides, pads, dilation)
    if groups > 1:
        # Each group apart: grouped convolutions fall to the naive loop, and groups are few.
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([_fast(a, k, strides, pads, dilation) for a, k in parts], axis=-1)
    return _fast(x, kernel, strides, pads, dilation)


def pads_for(size: Any, kernel: Any, strides: Any, dilation: Any, padding: str) -> Pads:
    """Zeros before and after each axis; "same" gives ceil(size / stride) outputs, the odd zero behind."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    result = []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        result.append((total // 2, total - total // 2))
    return tuple(result)  # type: ignore[return-value]


def _conv(x: Any, kernel: Any, strides: Any, pads: Any, dilation: Any, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, strides, pads, rhs_dilation=dilation, dimension_numbers=_DIMENSIONS, feature_group_count=groups
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _fast(x: jax.Array, kernel: jax.Array, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """Forward: a product for 1x1, a sum of shifted pictures for one channel, else XLA's convolution."""
    if kernel.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0)):
        x = x[:, :: strides[0], :: strides[1]]
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], kernel.shape[-1])
    if x.shape[-1] == 1 and kernel.shape[0] * kernel.shape[1] <= 25 and strides == (1, 1):
        shifted = _shifts(x, kernel.shape[:2], strides, pads, dilation)
        return functools.reduce(jnp.add, (s * kernel[u, v, 0] for (u, v), s in shifted))
    return _conv(x, kernel, strides, pads, dilation)


def _forward(x: Any, kernel: Any, strides: Any, pads: Any, dilation: Any) -> tuple:
    return _fast(x, kernel, strides, pads, dilation), (x, kernel)


def _backward(strides: Any, pads: Pads, dilation: Any, saved: tuple, dy: jax.Array) -> tuple:
    x, kernel = saved
    return _input_gradient(x, kernel, strides, pads, dilation, dy), _kernel_gradient(x, kernel, strides, pads, dilation, dy)


_fast.defvjp(_forward, _backward)


def _input_gradient(x: Any, kernel: Any, strides: Any, pads: Pads, dilation: Any, dy: jax.Array) -> jax.Array:
    kh, kw, ci, co = kernel.shape
    if strides == (1, 1):
        # The convolution of dy with the kernel turned round; its zeros make up for those of the forward pass.
        turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return _conv(dy, turned, (1, 1), _turned_pads((kh, kw), pads, dilation), dilation)
    # Strided: what each tap contributes, as one product, added up where the tap has looked.
    columns = (dy.reshape(-1, co) @ kernel.reshape(-1, co).T).reshape(*dy.shape[:3], kh, kw, ci)
    places = [(u, v) for u in range(kh) for v in range(kw)]
    return functools.reduce(
        jnp.add, (put_back(columns[:, :, :, u, v], (u, v), x.shape, strides, pads, dilation) for u, v in places)
    )


def _turned_pads(kernel: Any, pads: Pads, dilation: Any) -> Pads:
    return tuple(((k - 1) * d - a, (k - 1) * d - b) for k, d, (a, b) in zip(kernel, dilation, pads, strict=True))  # type: ignore[return-value]


def put_back(part: jax.Array, tap: Any, shape: Any, strides: Any, pads: Pads, dilation: Any = (1, 1)) -> jax.Array:
    """What one tap saw, (batch, out height, out width, channel), back where it saw it; zeros elsewhere."""
    config = [(0, 0, 0)]
    for axis in (0, 1):
        low = tap[axis] * dilation[axis] - pads[axis][0]
        reach = (part.shape[axis + 1] - 1) * strides[axis] + 1
        config.append((low, shape[axis + 1] - low - reach, strides[axis] - 1))
    return lax.pad(part, jnp.zeros((), part.dtype), [*config, (0, 0, 0)])


def _kernel_gradient(x: Any, kernel: Any, strides: Any, pads: Pads, dilation: Any, dy: jax.Array) -> jax.Array:
    kh, kw, ci, co = kernel.shape
    if (kh, kw) == (1, 1) and pads == ((0, 0), (0, 0)):
        seen = x[:, :: strides[0], :: strides[1]]
        return (seen.reshape(-1, ci).T @ dy.reshape(-1, co)).reshape(1, 1, ci, co)
    # A convolution in which channels are the batch and the batch is summed over.
    grad = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        dy.transpose(1, 2, 0, 3),
        dilation,
        pads,
        rhs_dilation=strides,
        dimension_numbers=_DIMENSIONS,
    )
    return grad[:, :kh, :kw].transpose(1, 2, 0, 3)


def _shifts(x: jax.Array, kernel: Any, strides: Any, pads: Pads, dilation: Any) -> list:
    """What each tap of a kernel sees: ``((u, v), picture)``, each (batch, out height, out width, channel)."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[1:3], kernel, dilation, strides, strict=True)]
    found = []
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            low = (0, u * dilation[0], v * dilation[1], 0)
            high = [low[i + 1] + (out[i] - 1) * strides[i] + 1 for i in (0, 1)]
            found.append(((u, v), lax.slice(x, low, (x.shape[0], *high, x.shape[3]), (1, *strides, 1))))
    return found


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise(x: jax.Array, kernel: jax.Array, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """Every channel with kernels of its own: a sum of shifted pictures, one fused loop."""
    channels, multiple = x.shape[-1], kernel.shape[-1] // x.shape[-1]
    taps = kernel.reshape(*kernel.shape[:2], channels, multiple)
    shifted = _shifts(x, kernel.shape[:2], strides, pads, dilation)
    y = functools.reduce(jnp.add, (s[..., None] * taps[u, v] for (u, v), s in shifted))
    return y.reshape(*y.shape[:3], channels * multiple)


def _depthwise_forward(x: Any, kernel: Any, strides: Any, pads: Any, dilation: Any) -> tuple:
    return _depthwise(x, kernel, strides, pads, dilation), (x, kernel)


def _depthwise_backward(strides: Any, pads: Pads, dilation: Any, saved: tuple, dy: jax.Array) -> tuple:
    x, kernel = saved
    (kh, kw), channels = kernel.shape[:2], x.shape[-1]
    dy = dy.reshape(*dy.shape[:3], channels, -1)
    taps = kernel.reshape(kh, kw, channels, -1)
    if strides == (1, 1):
        # As in `_input_gradient`, with sums over the kernels of a channel instead of products.
        back = _turned_pads((kh, kw), pads, dilation)
        flat = dy.reshape(*dy.shape[:3], -1)
        seen = _shifts(flat, (kh, kw), (1, 1), back, dilation)
        parts = [(s.reshape(*s.shape[:3], channels, -1) * taps[kh - 1 - u, kw - 1 - v]).sum(-1) for (u, v), s in seen]
    else:
        places = [(u, v) for u in range(kh) for v in range(kw)]
        parts = [put_back((dy * taps[p]).sum(-1), p, x.shape, strides, pads, dilation) for p in places]
    dx = functools.reduce(jnp.add, parts)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    reach = [(n - 1) * s + 1 for n, s in zip(dy.shape[1:3], strides, strict=True)]

    def tap(place: Any) -> jax.Array:
        start = (0, place // kw * dilation[0], place % kw * dilation[1], 0)
        seen = lax.dynamic_slice(padded, start, (x.shape[0], *reach, channels))[:, :: strides[0], :: strides[1]]
        return (seen[..., None] * dy).reshape(-1, kernel.shape[-1]).sum(0)

    # With stride 1 a loop over the taps, for the sake of its boundaries: XLA would fuse all taps with their sums, and then add
    # one number at a time (3 times slower).
    sums = lax.map(tap, jnp.arange(kh * kw)) if strides == (1, 1) else jnp.stack([tap(place) for place in range(kh * kw)])
    return dx, sums.reshape(kernel.shape)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)
