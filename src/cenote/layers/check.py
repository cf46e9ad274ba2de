"""Checks of constructor arguments that many layers share, and of inputs; each says what came in and what to do."""

from __future__ import annotations

import numbers
from typing import Any

import jax.numpy as jnp

from ..core.errors import unknown


def positive(layer: Any, name: str, value: Any) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{type(layer).__name__} needs {name} to be a whole number of at least 1, got {value!r}")
    return int(value)


def fraction(layer: Any, name: str, value: Any) -> float:
    """A number from 0 up and below 1."""
    if not isinstance(value, numbers.Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{type(layer).__name__} needs {name} from 0 up and below 1, got {value!r}")
    return float(value)


def pair(layer: Any, name: str, value: Any) -> tuple[int, int]:
    """One size for both axes, or one for each."""
    return sizes(layer, name, value, 2)  # type: ignore[return-value]


def sizes(layer: Any, name: str, value: Any, n: int) -> tuple[int, ...]:
    """One size for all of n axes, or one for each."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) != n:
        several = {1: "", 2: " or two of them", 3: " or three of them"}[n]
        raise ValueError(f"{type(layer).__name__} needs {name} to be a whole number{several}, got {value!r}")
    return tuple(positive(layer, name, v) for v in values)


def axes(layer: Any, value: Any) -> tuple[int, ...]:
    """One axis or several, as whole numbers."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not values or any(isinstance(v, bool) or not hasattr(v, "__index__") for v in values):
        raise ValueError(f"{type(layer).__name__} needs axis to be a whole number or several of them, got {value!r}")
    return tuple(int(v) for v in values)


def inside(layer: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Those axes of an input, counted from the front and in order; an axis that it lacks, or named twice, is an error."""
    found = sorted(a + len(shape) if a < 0 else a for a in axes)
    shown = f"{type(layer).__name__}(axis={axes[0] if len(axes) == 1 else axes})"
    if not all(0 <= a < len(shape) for a in found):
        raise ValueError(
            f"{shown} names an axis that an input of shape {shape} lacks: it has axes 0 to {len(shape) - 1}, and -1 is the last"
        )
    if len(set(found)) < len(found):
        raise ValueError(f"{shown} names one axis of an input of shape {shape} twice: leave one of them out")
    return found


def padding(layer: Any, value: str, known: tuple[str, ...] = ("valid", "same")) -> str:
    if not isinstance(value, str) or value.lower() not in known:
        raise unknown(f"padding of {type(layer).__name__}", value, known)
    return value.lower()


def channels_last(layer: Any, data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"{type(layer).__name__} works on (batch, ..., channel); data_format={data_format!r} is not supported: move the "
            f"channels to the last axis, e.g. numpy.moveaxis(x, 1, -1)"
        )


def rank(layer: Any, x: Any, wanted: int, axes: str, hint: str = "") -> None:
    """The number of axes of an input."""
    if jnp.ndim(x) != wanted:
        raise ValueError(
            f"{type(layer).__name__} takes {axes}, {wanted} axes, but the input has shape {jnp.shape(x)}"
            + (f": {hint}" if hint else "")
        )


_SPACES = {
    1: ("sequence", "(batch, time, channel)", "layers.Reshape((time, 1))"),
    2: ("picture", "(batch, height, width, channel)", "layers.Reshape((height, width, 1))"),
    3: ("volume", "(batch, depth, height, width, channel)", "layers.Reshape((depth, height, width, 1))"),
}


def space(layer: Any, x: Any, n: int) -> Any:
    """An input with n axes between batch and channel, as floats."""
    x = floating(x)
    _, axes, reshape = _SPACES[n]
    rank(layer, x, n + 2, axes, f"add a channel axis, {reshape}")
    return x


def room(layer: Any, what: str, window: tuple[int, ...], size: tuple[int, ...], reach: tuple[int, ...] | None = None) -> None:
    """A window that fits into the input; ``reach`` is its size with holes, where it has some."""
    if any(n < k for n, k in zip(size, reach or window, strict=True)):
        raise ValueError(
            f"{type(layer).__name__} with a {what} of {window} finds no room in a {_SPACES[len(size)][0]} of {size}: use "
            f"padding='same', or fewer pooling layers before it"
        )


def floating(x: Any) -> Any:
    """Whole numbers (pixels, counts) as float32; floats as they are."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)
