"""Kernels in C++ for the CPU, where plain XLA is far from what the processor can do: used if they are there, missed by nobody.

Each function here is what the C++ does and no more; the formulations that choose between them and plain JAX, and say how they
are differentiated, are in `cenote.kernels.convolution` and `cenote.kernels.recurrence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .build import library, status

__all__ = [
    "attention_backward",
    "attention_forward",
    "columns_backward",
    "columns_forward",
    "convolution",
    "fits",
    "gelu",
    "gru_backward",
    "gru_forward",
    "library",
    "lstm_backward",
    "lstm_forward",
    "operations",
    "rows_backward",
    "rows_forward",
    "standing_for",
    "status",
]


def fits(*arrays: Any) -> bool:
    """Whether the kernels are here, for arrays of this kind: float32, on the CPU.

    >>> fits(jnp.zeros(1, jnp.int32))
    False
    """
    return all(a.dtype == jnp.float32 and a.size for a in arrays) and jax.default_backend() == "cpu" and library() is not None


def operations(target: str, shapes: list[tuple[int, ...]], result: tuple[int, ...]) -> int:
    """The floating-point operations of a forward kernel's products, from the shapes of what goes in and of what comes out.

    >>> operations("cenote_lstm_forward", [(28, 1, 512), (1, 128), (1, 128), (128, 512), (0, 0)], (28, 1, 128))
    3670016
    """
    if target == "cenote_convolution_forward":
        return 2 * math.prod(result) * math.prod(shapes[1][:-1])
    if target == "cenote_lstm_forward":
        return 2 * math.prod(shapes[0]) * shapes[3][0]
    if target == "cenote_gru_forward":
        return 2 * math.prod(shapes[0]) * shapes[2][0]
    return 0


def convolution(part: str, a: jax.Array, b: jax.Array, shape: tuple[int, ...], strides: Any, pads: Any) -> jax.Array:
    """A convolution of pictures ("forward": picture, kernel), its gradient by the picture ("input": dy, kernel), or by the
    kernel ("kernel": picture, dy). ``shape`` is that of the result; ``pads`` may be negative nowhere."""
    numbers = {"down": strides[0], "across": strides[1], "above": pads[0][0], "before": pads[1][0]}
    return _call(f"cenote_convolution_{part}", [shape], a, b, **{k: np.int64(v) for k, v in numbers.items()})[0]


def lstm_forward(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any = None) -> tuple:
    """``(h, c, gates)`` of all steps: (time, batch, unit) twice, and (time, batch, 4 unit) after their activations."""
    time, batch, wide = xp.shape
    states = (time, batch, wide // 4)
    return _call("cenote_lstm_forward", [states, states, xp.shape], xp, h, c, recurrent, _mask(mask))


def lstm_backward(dhs: Any, dh: Any, dc: Any, cs: Any, c0: Any, gates: Any, recurrent: Any, mask: Any = None) -> tuple:
    """``(dxp, dh0, dc0)`` from the gradients of all outputs and of the last state."""
    shapes = [gates.shape, dh.shape, dc.shape]
    return _call("cenote_lstm_backward", shapes, dhs, dh, dc, cs, c0, gates, recurrent, _mask(mask))


def gru_forward(xp: Any, h: Any, recurrent: Any, after: Any, mask: Any = None) -> tuple:
    """``(h, kept)`` of all steps: (time, batch, unit), and (time, batch, 4 unit) of z, r, g and the candidate's part of u."""
    time, batch, wide = xp.shape
    units = wide // 3
    bias = jnp.zeros(0, jnp.float32) if after is None else after
    return _call("cenote_gru_forward", [(time, batch, units), (time, batch, 4 * units)], xp, h, recurrent, bias, _mask(mask))


def gru_backward(dhs: Any, dh: Any, hs: Any, h0: Any, kept: Any, recurrent: Any, mask: Any = None) -> tuple:
    """``(du, dg, dh0)``: gradients of ``u = h @ recurrent + after``, of the candidate's input, and of the first state."""
    time, batch, units = dhs.shape
    shapes = [(time, batch, 3 * units), dhs.shape, dh.shape]
    return _call("cenote_gru_backward", shapes, dhs, dh, hs, h0, kept, recurrent, _mask(mask))


def columns_forward(x: Any, scale: Any, bias: Any, rest: Any, *, epsilon: float, rectify: bool) -> tuple:
    """``(y, mean, variance)`` of normalised columns; ``rest`` is added, if not empty; ``rectify`` cuts what is below 0."""
    options = {"epsilon": np.float32(epsilon), "rectify": np.int64(rectify)}
    return _call("cenote_columns_forward", [x.shape, scale.shape, scale.shape], x, scale, bias, rest, **options)


def columns_backward(dy: Any, x: Any, y: Any, mean: Any, variance: Any, scale: Any, *, epsilon: float, adds: bool) -> tuple:
    """``(dx, dscale, dbias, drest)``; ``y`` is empty where nothing was cut, ``drest`` where it is not asked for by ``adds``."""
    shapes = [x.shape, scale.shape, scale.shape, x.shape if adds else (0, 0)]
    return _call("cenote_columns_backward", shapes, dy, x, y, mean, variance, scale, epsilon=np.float32(epsilon))


def rows_forward(x: Any, scale: Any, bias: Any, *, epsilon: float, centre: bool) -> tuple:
    """``(y, mean, 1 / deviation)`` of normalised rows."""
    shapes = [x.shape, x.shape[:1], x.shape[:1]]
    return _call("cenote_rows_forward", shapes, x, scale, bias, epsilon=np.float32(epsilon), centre=np.int64(centre))


def rows_backward(dy: Any, x: Any, mean: Any, inverse: Any, scale: Any, *, centre: bool) -> tuple:
    """``(dx, dscale, dbias)``."""
    shapes = [x.shape, scale.shape, scale.shape]
    return _call("cenote_rows_backward", shapes, dy, x, mean, inverse, scale, centre=np.int64(centre))


def gelu(x: Any, *, approximate: bool) -> tuple[jax.Array, jax.Array]:
    """GELU and its slope."""
    y, slope = _call("cenote_gelu", [x.shape, x.shape], x, approximate=np.int64(approximate))
    return y, slope


def attention_forward(q: Any, k: Any, v: Any, shown: Any, words: Any, *, scale: float, rate: float, causal: bool) -> tuple:
    """``(y, weights)``: arrays (batch, time, head, width), weights (batch, head, query, key); ``shown`` (batch, key) hides keys
    where it is zero; ``words`` of a random key for dropout. Both may be empty."""
    weights = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    options = {"scale": np.float32(scale), "rate": np.float32(rate), "causal": np.int64(causal)}
    return _call("cenote_attention_forward", [(*q.shape[:3], v.shape[3]), weights], q, k, v, shown, words, **options)


def attention_backward(
    dy: Any, q: Any, k: Any, v: Any, shown: Any, words: Any, weights: Any, *, scale: float, rate: float, causal: bool
) -> tuple:
    """``(dq, dk, dv)``."""
    options = {"scale": np.float32(scale), "rate": np.float32(rate), "causal": np.int64(causal)}
    return _call("cenote_attention_backward", [q.shape, k.shape, v.shape], dy, q, k, v, shown, words, weights, **options)


def standing_for(plain: Callable, fast: Callable) -> Callable:
    """``fast``, from C++, with the derivatives of the plain function that it stands for; under `jax.vmap` the plain one."""

    @jax.custom_batching.custom_vmap
    def alone(*arrays: Any) -> Any:
        return fast(*arrays)

    @alone.def_vmap
    def _(size: int, batched: list, *arrays: Any) -> tuple:
        found = jax.vmap(plain, [0 if b else None for b in batched], axis_size=size)(*arrays)
        return found, jax.tree.map(lambda _: True, found)

    function = jax.custom_jvp(lambda *arrays: alone(*arrays))
    function.defjvp(lambda arrays, tangents: (alone(*arrays), jax.jvp(plain, arrays, tangents)[1]))
    return function


def _mask(mask: Any) -> jax.Array:
    return jnp.zeros((0, 0), jnp.float32) if mask is None else mask.astype(jnp.float32)


def _call(name: str, shapes: list[tuple[int, ...]], *arrays: Any, **numbers: Any) -> tuple:
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return tuple(jax.ffi.ffi_call(name, results, vmap_method="sequential")(*arrays, **numbers))
