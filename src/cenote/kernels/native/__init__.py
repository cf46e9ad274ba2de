"""Kernels in C++ for the CPU, where plain XLA is far from what the processor can do: used if they are there, missed by nobody.

Each function here is what the C++ does and no more; the formulations that choose between them and plain JAX, and say how they
are differentiated, are in `cenote.kernels.convolution` and `cenote.kernels.recurrence`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .build import library, status

__all__ = [
    "convolution",
    "fits",
    "gru_backward",
    "gru_forward",
    "library",
    "lstm_backward",
    "lstm_forward",
    "operations",
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


def _mask(mask: Any) -> jax.Array:
    return jnp.zeros((0, 0), jnp.float32) if mask is None else mask.astype(jnp.float32)


def _call(name: str, shapes: list[tuple[int, ...]], *arrays: Any, **numbers: Any) -> tuple:
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return tuple(jax.ffi.ffi_call(name, results, vmap_method="sequential")(*arrays, **numbers))
