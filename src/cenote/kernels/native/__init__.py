"""Kernels in C++ for the CPU, where plain XLA is far from what the processor can do: used if they are there, missed by nobody.

Each function here is what the C++ does and no more; the formulations that choose between them and plain JAX, and say how they
are differentiated, are in the modules of `cenote.kernels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .build import library, loaded, status

__all__ = [
    "adam",
    "attention_backward",
    "attention_forward",
    "columns_backward",
    "columns_forward",
    "convolution",
    "dense",
    "dense_gradient",
    "fits",
    "gelu",
    "gru_backward",
    "gru_forward",
    "joined",
    "library",
    "loaded",
    "lstm_backward",
    "lstm_forward",
    "operations",
    "pooled_input",
    "pooled_kernel",
    "rows_backward",
    "rows_forward",
    "standing_for",
    "status",
]


def fits(source: str, *arrays: Any) -> bool:
    """Whether the kernels of a source (`build.SOURCES`) are here, for arrays of this kind: float32, on the CPU.

    >>> fits("convolution", jnp.zeros(1, jnp.int32))
    False
    """
    suited = all(a.dtype == jnp.float32 and a.size for a in arrays) and jax.default_backend() == "cpu"
    return suited and library(source) is not None


def operations(target: str, shapes: list[tuple[int, ...]], result: tuple[int, ...]) -> int:
    """The floating-point operations of a forward kernel's products, from the shapes of what goes in and of what comes out.

    >>> none = (0, 0)
    >>> operations("cenote_lstm_forward", [(1, 28, 512), none, none, (1, 128), (1, 128), (128, 512), none], (1, 28, 128))
    3670016
    """
    if target in ("cenote_convolution_forward", "cenote_depthwise_forward"):
        return 2 * math.prod(result) * math.prod(shapes[1][:-1])
    if target in ("cenote_lstm_forward", "cenote_gru_forward"):
        steps, kernel, recurrent = shapes[0][:2], shapes[1], shapes[5 if "lstm" in target else 4]
        return 2 * math.prod(steps) * (math.prod(kernel) + math.prod(recurrent))
    return 0


def convolution(
    part: str, a: jax.Array, b: jax.Array, shape: tuple[int, ...], strides: Any, pads: Any, kind: str = "convolution"
) -> jax.Array:
    """A convolution of pictures ("forward": picture, kernel), its gradient by the picture ("input": dy, kernel), or by the
    kernel ("kernel": picture, dy). ``shape`` is that of the result; ``pads`` may be negative nowhere; ``kind`` may be
    "depthwise"."""
    return _call(f"cenote_{kind}_{part}", [shape], a, b, **_placed(strides, pads))[0]


def joined(
    x: Any, kernel: Any, bias: Any, *, shape: Any, strides: Any, pads: Any, rectify: bool, windows: bool, keep: bool
) -> tuple:
    """``(y, places)``: a convolution with its bias (or an empty one) and rectifier, and the largest of each 2x2 if asked for by
    ``windows``; with ``keep`` which of the four places it was, 4 for none."""
    places = jax.ShapeDtypeStruct(shape if keep else (0,), jnp.uint8)
    options = {"rectify": np.int64(rectify), "windows": np.int64(windows)}
    return _call("cenote_convolution_joined", [shape, places], x, kernel, bias, **_placed(strides, pads), **options)


def pooled_input(dy: Any, places: Any, kernel: Any, *, shape: Any, size: Any, strides: Any, pads: Any) -> jax.Array:
    """The gradient by the picture, from that of the windows of `joined`; ``size`` is that of the convolution's output."""
    return _call("cenote_convolution_pooled_input", [shape], dy, places, kernel, **_placed(strides, pads, size))[0]


def pooled_kernel(x: Any, dy: Any, places: Any, *, shape: Any, size: Any, strides: Any, pads: Any) -> tuple:
    """The gradients by the kernel and by the bias, from that of the windows of `joined`."""
    return _call("cenote_convolution_pooled_kernel", [shape, shape[-1:]], x, dy, places, **_placed(strides, pads, size))


def _placed(strides: Any, pads: Any, size: Any = None) -> dict[str, np.int64]:
    numbers = {"down": strides[0], "across": strides[1], "above": pads[0][0], "before": pads[1][0]}
    numbers |= {} if size is None else {"rows": size[0], "columns": size[1]}
    return {k: np.int64(v) for k, v in numbers.items()}


def lstm_forward(
    x: Any, kernel: Any, bias: Any, h: Any, c: Any, recurrent: Any, mask: Any = None, *, keep: bool = True, last: bool = False
) -> tuple:
    """``(h, c, gates)`` of all steps, batch first: (batch, time, unit) twice, and (batch, time, 4 unit) activated gates.

    ``x`` (batch, time, feature) with ``kernel`` and ``bias``, or what inputs give to all gates, with None for both. Without
    ``keep`` there are no gates, c is that of the last step, (batch, 1, unit), and so is h with ``last``.
    """
    shapes = _kept_shapes(x, h, keep, last)
    return _call("cenote_lstm_forward", shapes, x, _or_none(kernel), _or_none(bias), h, c, recurrent, _mask(mask))


def lstm_backward(dhs: Any, dh: Any, dc: Any, cs: Any, c0: Any, gates: Any, recurrent: Any, mask: Any = None) -> tuple:
    """``(dxp, dh0, dc0)`` from the gradients of all outputs (None: zeros) and of the last state."""
    shapes = [gates.shape, dh.shape, dc.shape]
    return _call("cenote_lstm_backward", shapes, _or_none(dhs), dh, dc, cs, c0, gates, recurrent, _mask(mask))


def gru_forward(
    x: Any, kernel: Any, bias: Any, h: Any, recurrent: Any, after: Any, mask: Any, *, keep: bool = True, last: bool = False
) -> tuple:
    """``(h, kept)`` as `lstm_forward`; kept are z, r, g and the candidate's part of u, (batch, time, 4 unit)."""
    states, _, kept = _kept_shapes(x, h, keep, last)
    arrays = x, _or_none(kernel), _or_none(bias), h, recurrent, _or_none(after), _mask(mask)
    return _call("cenote_gru_forward", [states, kept], *arrays)


def gru_backward(dhs: Any, dh: Any, hs: Any, h0: Any, kept: Any, recurrent: Any, mask: Any = None) -> tuple:
    """``(du, dg, dh0)``: gradients of ``u = h @ recurrent + after``, of the candidate's input, and of the first state."""
    shapes = [(*hs.shape[:2], 3 * hs.shape[2]), hs.shape, dh.shape]
    return _call("cenote_gru_backward", shapes, _or_none(dhs), dh, hs, h0, kept, recurrent, _mask(mask))


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


def dense(x: Any, kernel: Any, bias: Any) -> jax.Array:
    """``x @ kernel`` plus the bias, if it is not empty."""
    return _call("cenote_dense", [(x.shape[0], kernel.shape[1])], x, kernel, bias)[0]


def dense_gradient(x: Any, dy: Any, bias: tuple[int, ...]) -> tuple:
    """``(x.T @ dy, the sums of dy's rows)``; the latter empty where the shape of the ``bias`` says so."""
    return _call("cenote_dense_gradient", [(x.shape[1], dy.shape[1]), bias], x, dy)


def adam(rates: Any, decays: Any, *arrays: Any, beta_1: float, beta_2: float, epsilon: float) -> tuple:
    """New weights, means and mean squares, in place of the old ones; ``arrays`` are these and the gradients, each in turn.

    ``beta_1`` and ``beta_2`` are what is missing from one in the decay of the means.
    """
    options = {"beta_1": np.float32(beta_1), "beta_2": np.float32(beta_2), "epsilon": np.float32(epsilon)}
    count = len(arrays) // 4 * 3
    places = {2 + i: i for i in range(count)}
    return _call("cenote_adam", [a.shape for a in arrays[:count]], rates, decays, *arrays, places=places, **options)


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


def _kept_shapes(x: Any, h: Any, keep: bool, last: bool) -> list[tuple[int, ...]]:
    """Of h, c and gates."""
    (batch, time, _), units = x.shape, h.shape[1]
    states = [(batch, time if wanted else 1, units) for wanted in (keep or not last, keep)]
    return [*states, (batch, time, 4 * units) if keep else (0, 0, 0)]


def _or_none(array: Any) -> jax.Array:
    return jnp.zeros(0, jnp.float32) if array is None else array


def _mask(mask: Any) -> jax.Array:
    return jnp.zeros((0, 0), jnp.float32) if mask is None else mask.astype(jnp.float32)


def _call(name: str, shapes: list[Any], *arrays: Any, **numbers: Any) -> tuple:
    """Among the numbers ``places`` may say which arrays' memory takes which results."""
    places = numbers.pop("places", None)
    results = [s if isinstance(s, jax.ShapeDtypeStruct) else jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    call = jax.ffi.ffi_call(name, results, vmap_method="sequential", input_output_aliases=places)
    return tuple(call(*arrays, **numbers))
