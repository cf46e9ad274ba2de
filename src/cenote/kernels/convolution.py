"""Convolution along one, two or three axes, with backward passes that XLA's CPU backend runs fast, inside a loop, too.

XLA derives the gradients of a convolution as convolutions of unusual layout, which on the CPU fall to a naive loop inside a
``while`` (measured 50 times slower). Here every convolution, backward ones too, is stated channels last, and small cases
become products or shifted sums. Where a C++ compiler is at hand, pictures are convolved by `native` kernels. The three
functions of a convolution (forward, towards the input, towards the kernel) are each other's derivatives, so that any order of
derivative stays among them. On other devices the derivative is XLA's own.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import native

_DIMENSIONS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
# What stands beyond the border: PyTorch's names of it, and NumPy's.
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
Pads = tuple[tuple[int, int], ...]


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | tuple[int, ...] = 1,
    padding: str | Pads = "valid",
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> jax.Array:
    """Slide a kernel over each example: ``y[b, i, o] = sum_{u, c} x[b, s i + d u, c] kernel[u, c, o]``, i and u one per axis.

    ``padding`` is "valid", "same", "causal", "reflect", "replicate", "circular", or zeros before and after each axis.
    Shapes: x (batch, one to three axes, channel), kernel (the same axes, channel / groups, filter).

    >>> conv(jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 2)), padding="same").shape
    (1, 5, 5, 2)
    """
    x, kernel = (a.astype(jnp.promote_types(x.dtype, kernel.dtype)) for a in (x, kernel))
    n = x.ndim - 2
    strides, dilation = _each(strides, n), _each(dilation, n)
    pads = pads_for(x.shape[1:-1], kernel.shape[:n], strides, dilation, padding)
    if isinstance(padding, str) and padding in MODES:
        x, pads = jnp.pad(x, ((0, 0), *pads, (0, 0)), mode=MODES[padding]), ((0, 0),) * n
    if n == 1:  # a sequence is a picture of height one
        return _conv_any(x[:, None], kernel[None], (1, *strides), ((0, 0), *pads), (1, *dilation), groups)[:, 0]
    return _conv_any(x, kernel, strides, pads, dilation, groups)


def _conv_any(x: Any, kernel: Any, strides: Any, pads: Pads, dilation: Any, groups: int) -> jax.Array:
    if jax.default_backend() != "cpu":
        return _conv(x, kernel, strides, pads, dilation, groups)
    if x.ndim == 5:
        # A volume plane by plane: XLA is fast with pictures only (measured 7 times faster, with the gradients).
        along, over = _depth(kernel, strides, pads, dilation)
        planes = (_conv_any(_planes(seen), kernel[place[0]], *over, groups=groups) for place, seen in shifts(x, *along))
        return _volume(functools.reduce(jnp.add, planes), x.shape[0])
    if groups == x.shape[-1] and groups > 1:
        return _depthwise(x, kernel, strides, pads, dilation)
    if groups > 1:
        # Each group apart: grouped convolutions fall to the naive loop, and groups are few.
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([slide(a, k, strides, pads, dilation) for a, k in parts], axis=-1)
    return slide(x, kernel, strides, pads, dilation)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | tuple[int, ...] = 1,
    padding: str = "valid",
    output_padding: tuple[int, ...] | None = None,
    dilation: int | tuple[int, ...] = 1,
) -> jax.Array:
    """The transpose of `conv`: ``y[b, s i + d u, o] += x[b, i, c] kernel[u, o, c]``, cut or filled to the size of the padding.

    Shapes: x (batch, one to three axes, channel), kernel (the same axes, filter, channel); sizes by `transposed_sizes`.

    >>> conv_transpose(jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 2, 1)), strides=2, padding="same").shape
    (1, 10, 10, 2)
    """
    x, kernel = (a.astype(jnp.promote_types(x.dtype, kernel.dtype)) for a in (x, kernel))
    n = x.ndim - 2
    strides, dilation = _each(strides, n), _each(dilation, n)
    size, pads = transposed_sizes(x.shape[1:-1], kernel.shape[:n], strides, dilation, padding, output_padding)
    if n == 1:
        whole = ((0, 0), *pads)
        return _transpose_any(x[:, None], kernel[None], (1, *size), (1, *strides), whole, (1, *dilation))[:, 0]
    return _transpose_any(x, kernel, size, strides, pads, dilation)


def _transpose_any(x: Any, kernel: Any, size: Any, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    shape = (x.shape[0], *size, kernel.shape[-2])
    if jax.default_backend() != "cpu":
        there = jax.linear_transpose(lambda a: _conv(a, kernel, strides, pads, dilation), jax.ShapeDtypeStruct(shape, x.dtype))
        return there(x)[0]
    if x.ndim == 5:
        (window, *along), over = _depth(kernel, strides, pads, dilation)
        parts = (_volume(to_input(_planes(x), flat, size[1:], *over), x.shape[0]) for flat in kernel)
        back = (put_back(part, place, shape, *along) for place, part in zip(places(window), parts, strict=True))
        return functools.reduce(jnp.add, back)
    return to_input(x, kernel, size, strides, pads, dilation)


def _depth(kernel: Any, strides: Any, pads: Pads, dilation: Any) -> tuple[tuple, tuple]:
    """How a kernel moves along the first axis of a volume, and how over its planes."""
    along = (kernel.shape[0], 1, 1), (strides[0], 1, 1), (pads[0], (0, 0), (0, 0)), (dilation[0], 1, 1)
    return along, (strides[1:], pads[1:], dilation[1:])


def _planes(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])


def _volume(x: jax.Array, batch: int) -> jax.Array:
    return x.reshape(batch, -1, *x.shape[1:])


def pads_for(size: Any, kernel: Any, strides: Any, dilation: Any, padding: str | Pads) -> Pads:
    """Places before and after each axis; "same" gives ceil(size / stride) outputs, the odd place behind."""
    if not isinstance(padding, str):
        return tuple(padding)
    if padding == "valid":
        return ((0, 0),) * len(size)
    result = []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        total = (k - 1) * d if padding == "causal" else max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        before = total if padding == "causal" else total // 2
        result.append((before, total - before))
    return tuple(result)


def transposed_sizes(
    size: Any, kernel: Any, strides: Any, dilation: Any, padding: str, output_padding: Any = None
) -> tuple[tuple[int, ...], Pads]:
    """Sizes that a transposed convolution gives, and the pads of the convolution that leads back from them; Keras's rules."""
    sizes, pads = [], []
    for i, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilation, strict=True)):
        reach, extra = (k - 1) * d + 1, None if output_padding is None else output_padding[i]
        if padding == "valid":
            new, before = (n - 1) * s + (max(reach, s) if extra is None else reach + extra), 0
        else:
            new = n * s if extra is None else (n - 1) * s + reach % 2 + extra
            # Of the places that the values spread to, these are cut off in front; the other half behind.
            total = new - 1 - (n - 1) * s + reach - 1
            before = reach - 1 - min(-(-total // 2), reach - 1)
        sizes.append(new)
        pads.append((before, max((n - 1) * s + reach - new - before, 0)))
    return tuple(sizes), tuple(pads)


def _each(value: int | tuple[int, ...], n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


def _conv(x: Any, kernel: Any, strides: Any, pads: Any, dilation: Any, groups: int = 1) -> jax.Array:
    numbers = _DIMENSIONS[x.ndim - 2]
    return lax.conv_general_dilated(
        x, kernel, strides, pads, rhs_dilation=dilation, dimension_numbers=numbers, feature_group_count=groups
    )


def one_by_one(kernel: Any, pads: Pads, strides: Any) -> bool:
    """Whether a convolution is a product of what lies in memory already. With strides it is so only after a copy."""
    return math.prod(kernel.shape[:-2]) == 1 and not any(any(p) for p in pads) and max(strides) == 1


def convolved(x: Any, kernel: Any, strides: Any, pads: Pads) -> tuple[int, ...]:
    """Places along each axis after a convolution without holes.

    >>> convolved(jnp.ones((1, 5, 6, 2)), jnp.ones((3, 2, 2, 4)), (2, 1), ((1, 1), (0, 0)))
    (3, 5)
    """
    sizes = zip(x.shape[1:-1], kernel.shape[:-2], strides, pads, strict=True)
    return tuple((n + sum(pad) - k) // s + 1 for n, k, s, pad in sizes)


def _every(x: jax.Array, strides: Any) -> jax.Array:
    """What a kernel of one place sees."""
    return x[(slice(None), *(slice(None, None, s) for s in strides))]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def slide(x: jax.Array, kernel: jax.Array, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """Forward: a product for 1x1, C++ where it is, else a sum of shifted pictures for one channel, else XLA's convolution."""
    ci, co = kernel.shape[-2:]
    if not one_by_one(kernel, pads, strides) and in_cpp(x, kernel, pads, dilation):
        return native.convolution("forward", x, kernel, (x.shape[0], *convolved(x, kernel, strides, pads), co), strides, pads)
    if one_by_one(kernel, pads, (1,)):
        x = _every(x, strides)
        return (x.reshape(-1, ci) @ kernel.reshape(ci, co)).reshape(*x.shape[:-1], co)
    if ci == 1 and math.prod(kernel.shape[:-2]) <= 25 and max(strides) == 1:
        shifted = shifts(x, kernel.shape[:-2], strides, pads, dilation)
        return functools.reduce(jnp.add, (s * kernel[place][0] for place, s in shifted))
    return _conv(x, kernel, strides, pads, dilation)


def in_cpp(x: Any, kernel: Any, pads: Pads, dilation: Any, kind: str = "convolution") -> bool:
    """Whether C++ is there for two arrays of a convolution of pictures."""
    return x.ndim == 4 and max(dilation) == 1 and min(map(min, pads)) >= 0 and native.fits(kind, x, kernel)


def _forward(x: Any, kernel: Any, strides: Any, pads: Any, dilation: Any) -> tuple:
    return slide(x, kernel, strides, pads, dilation), (x, kernel)


def _backward(strides: Any, pads: Pads, dilation: Any, saved: tuple, dy: jax.Array) -> tuple:
    x, kernel = saved
    dx = to_input(dy, kernel, x.shape[1:-1], strides, pads, dilation)
    return dx, to_kernel(x, dy, kernel.shape, strides, pads, dilation)


slide.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def to_input(dy: jax.Array, kernel: jax.Array, size: Any, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """From the output of a convolution to its input, of this size: the gradient of one, and the transposed convolution."""
    *window, ci, co = kernel.shape
    if not one_by_one(kernel, pads, strides) and in_cpp(dy, kernel, pads, dilation):
        return native.convolution("input", dy, kernel, (dy.shape[0], *size, ci), strides, pads)
    if max(strides) == 1 and math.prod(window) > 1:
        # The convolution of dy with the kernel turned round; its zeros make up for those of the forward pass.
        turned = jnp.flip(kernel, tuple(range(len(window)))).swapaxes(-2, -1)
        return _conv(dy, turned, strides, _turned_pads(window, pads, dilation), dilation)
    # Strided: what each tap contributes, as one product, added up where the tap has looked.
    columns = (dy.reshape(-1, co) @ kernel.reshape(-1, co).T).reshape(*dy.shape[:-1], *window, ci)
    shape = (dy.shape[0], *size, ci)
    every = (slice(None),) * (dy.ndim - 1)
    return functools.reduce(
        jnp.add, (put_back(columns[(*every, *tap)], tap, shape, strides, pads, dilation) for tap in places(window))
    )


def _to_input_forward(dy: Any, kernel: Any, size: Any, strides: Any, pads: Any, dilation: Any) -> tuple:
    return to_input(dy, kernel, size, strides, pads, dilation), (dy, kernel)


def _to_input_backward(size: Any, strides: Any, pads: Pads, dilation: Any, saved: tuple, g: jax.Array) -> tuple:
    dy, kernel = saved
    return slide(g, kernel, strides, pads, dilation), to_kernel(g, dy, kernel.shape, strides, pads, dilation)


to_input.defvjp(_to_input_forward, _to_input_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def to_kernel(x: jax.Array, dy: jax.Array, shape: Any, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """From the input and the gradient of the output to the gradient of the kernel, of this shape."""
    *window, ci, co = shape
    n, single = len(window), math.prod(window) == 1 and not any(any(p) for p in pads)
    if not (single and max(strides) == 1) and in_cpp(x, dy, pads, dilation):
        return native.convolution("kernel", x, dy, shape, strides, pads)
    if single:
        return (_every(x, strides).reshape(-1, ci).T @ dy.reshape(-1, co)).reshape(shape)
    # A convolution in which channels are the batch and the batch is summed over.
    axes = range(1, n + 1)
    grad = _conv(x.transpose(n + 1, *axes, 0), dy.transpose(*axes, 0, n + 1), dilation, pads, strides)
    return grad[(slice(None), *(slice(k) for k in window))].transpose(*axes, 0, n + 1)


def _to_kernel_forward(x: Any, dy: Any, shape: Any, strides: Any, pads: Any, dilation: Any) -> tuple:
    return to_kernel(x, dy, shape, strides, pads, dilation), (x, dy)


def _to_kernel_backward(shape: Any, strides: Any, pads: Pads, dilation: Any, saved: tuple, g: jax.Array) -> tuple:
    x, dy = saved
    return to_input(dy, g, x.shape[1:-1], strides, pads, dilation), slide(x, g, strides, pads, dilation)


to_kernel.defvjp(_to_kernel_forward, _to_kernel_backward)


def _turned_pads(window: Any, pads: Pads, dilation: Any) -> Pads:
    return tuple(((k - 1) * d - a, (k - 1) * d - b) for k, d, (a, b) in zip(window, dilation, pads, strict=True))


def places(window: Any) -> list[tuple[int, ...]]:
    """The places of a window, the last axis fastest."""
    return list(itertools.product(*map(range, window)))


def shifts(x: jax.Array, window: Any, strides: Any, pads: Pads, dilation: Any, fill: Any = 0) -> list:
    """What stands at each place of a window that moves: ``(place, values)``, each (batch, sizes of the output, channel)."""
    if any(any(p) for p in pads):
        x = lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)])
    sizes = zip(x.shape[1:-1], window, dilation, strides, strict=True)
    reach = [(n - (k - 1) * d - 1) // s * s + 1 for n, k, d, s in sizes]
    found = []
    for place in places(window):
        low = [p * d for p, d in zip(place, dilation, strict=True)]
        high = [a + r for a, r in zip(low, reach, strict=True)]
        found.append((place, lax.slice(x, (0, *low, 0), (x.shape[0], *high, x.shape[-1]), (1, *strides, 1))))
    return found


def put_back(part: jax.Array, place: Any, shape: Any, strides: Any, pads: Pads, dilation: Any = None) -> jax.Array:
    """What one place of a window saw, back where it saw it, in an array of this shape; zeros elsewhere."""
    config = [(0, 0, 0)]
    for axis, (p, s, (before, _)) in enumerate(zip(place, strides, pads, strict=True)):
        low = p * (dilation[axis] if dilation else 1) - before
        reach = (part.shape[axis + 1] - 1) * s + 1
        config.append((low, shape[axis + 1] - low - reach, s - 1))
    return lax.pad(part, jnp.zeros((), part.dtype), [*config, (0, 0, 0)])


# -- every channel with kernels of its own ---------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise(x: jax.Array, kernel: jax.Array, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """C++ where it is, else a sum of shifted pictures, one fused loop."""
    if in_cpp(x, kernel, pads, dilation, "depthwise"):
        shape = (x.shape[0], *convolved(x, kernel, strides, pads), kernel.shape[-1])
        return native.convolution("forward", x, kernel, shape, strides, pads, kind="depthwise")
    taps = kernel.reshape(*kernel.shape[:-2], x.shape[-1], -1)
    shifted = shifts(x, kernel.shape[:-2], strides, pads, dilation)
    y = functools.reduce(jnp.add, (s[..., None] * taps[place] for place, s in shifted))
    return y.reshape(*y.shape[:-2], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _depthwise_input(dy: jax.Array, kernel: jax.Array, shape: Any, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """From the output to the input, of this shape."""
    if in_cpp(dy, kernel, pads, dilation, "depthwise"):
        return native.convolution("input", dy, kernel, shape, strides, pads, kind="depthwise")
    window, channels = kernel.shape[:-2], shape[-1]
    taps = kernel.reshape(*window, channels, -1)
    if max(strides) == 1:
        # As in `to_input`, with sums over the kernels of a channel instead of products.
        back = shifts(dy, window, strides, _turned_pads(window, pads, dilation), dilation)
        turned = jnp.flip(taps, tuple(range(len(window))))
        parts = [(s.reshape(*s.shape[:-1], channels, -1) * turned[place]).sum(-1) for place, s in back]
    else:
        dy = dy.reshape(*dy.shape[:-1], channels, -1)
        parts = [put_back((dy * taps[p]).sum(-1), p, shape, strides, pads, dilation) for p in places(window)]
    return functools.reduce(jnp.add, parts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _depthwise_kernel(x: jax.Array, dy: jax.Array, shape: Any, strides: Any, pads: Pads, dilation: Any) -> jax.Array:
    """From the input and the gradient of the output to the gradient of the kernel, of this shape."""
    if in_cpp(x, dy, pads, dilation, "depthwise"):
        return native.convolution("kernel", x, dy, shape, strides, pads, kind="depthwise")
    window, channels = shape[:-2], x.shape[-1]
    dy = dy.reshape(*dy.shape[:-1], channels, -1)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    reach = [(n - 1) * s + 1 for n, s in zip(dy.shape[1:-2], strides, strict=True)]

    def tap(low: Any) -> jax.Array:
        seen = _every(lax.dynamic_slice(padded, (0, *low, 0), (x.shape[0], *reach, channels)), strides)
        return (seen[..., None] * dy).reshape(-1, shape[-1]).sum(0)

    starts = [[p * d for p, d in zip(place, dilation, strict=True)] for place in places(window)]
    # With stride 1 a loop over the taps, for the sake of its boundaries: XLA would fuse all taps with their sums, and then add
    # one number at a time (3 times slower).
    sums = lax.map(tap, jnp.asarray(starts)) if max(strides) == 1 else jnp.stack([tap(start) for start in starts])
    return sums.reshape(shape)


def _depthwise_forward(x: Any, kernel: Any, *how: Any) -> tuple:
    return _depthwise(x, kernel, *how), (x, kernel)


def _depthwise_backward(strides: Any, pads: Pads, dilation: Any, saved: tuple, dy: jax.Array) -> tuple:
    (x, kernel), how = saved, (strides, pads, dilation)
    return _depthwise_input(dy, kernel, x.shape, *how), _depthwise_kernel(x, dy, kernel.shape, *how)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _depthwise_input_forward(dy: Any, kernel: Any, *how: Any) -> tuple:
    return _depthwise_input(dy, kernel, *how), (dy, kernel)


def _depthwise_input_backward(shape: Any, strides: Any, pads: Pads, dilation: Any, saved: tuple, g: jax.Array) -> tuple:
    (dy, kernel), how = saved, (strides, pads, dilation)
    return _depthwise(g, kernel, *how), _depthwise_kernel(g, dy, kernel.shape, *how)


_depthwise_input.defvjp(_depthwise_input_forward, _depthwise_input_backward)


def _depthwise_kernel_forward(x: Any, dy: Any, *how: Any) -> tuple:
    return _depthwise_kernel(x, dy, *how), (x, dy)


def _depthwise_kernel_backward(shape: Any, strides: Any, pads: Pads, dilation: Any, saved: tuple, g: jax.Array) -> tuple:
    (x, dy), how = saved, (strides, pads, dilation)
    return _depthwise_input(dy, g, x.shape, *how), _depthwise(x, g, *how)


_depthwise_kernel.defvjp(_depthwise_kernel_forward, _depthwise_kernel_backward)
