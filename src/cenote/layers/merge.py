"""Several inputs into one: sums, products, means, extremes, concatenation, dot products."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core import annotate, annotation
from .base import Layer
from .check import floating

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


def _several(layer: Layer, inputs: Any, least: int = 1, most: int | None = None) -> list[jax.Array]:
    """The list of inputs, of one type; anything else is an error."""
    wanted = f"{least} inputs" if least == most else f"at least {least} inputs" if least > 1 else "inputs"
    if not isinstance(inputs, (list, tuple)) or not least <= len(inputs) <= (most or len(inputs)):
        got = f"{len(inputs)} of them" if isinstance(inputs, (list, tuple)) else f"one array of shape {jnp.shape(inputs)}"
        raise ValueError(f"{type(layer).__name__} takes a list of {wanted}, {type(layer).__name__}()([a, b]); got {got}")
    arrays = [jnp.asarray(x) for x in inputs]
    dtype = jnp.result_type(*arrays)
    return [x.astype(dtype) for x in arrays]


class _Merge(Layer):
    """Position by position. Inputs with fewer axes get axes of size 1 after the batch; sizes of 1 are stretched."""

    least = 1

    def forward(self, inputs: Any) -> jax.Array:
        arrays = _several(self, inputs, self.least, 2 if self.least == 2 else None)
        axes = max(x.ndim for x in arrays)
        arrays = [x.reshape(*x.shape[:1], *[1] * (axes - x.ndim), *x.shape[1:]) for x in arrays]
        try:
            jnp.broadcast_shapes(*(x.shape for x in arrays))
        except ValueError:
            shapes = ", ".join(str(jnp.shape(x)) for x in inputs)
            raise ValueError(f"{type(self).__name__} cannot put inputs of shapes {shapes} together: sizes differ") from None
        y = self.merge(arrays)
        masks = [annotation(x, "mask") for x in inputs]
        if not any(m is None for m in masks):  # as in Keras: a step counts that counts in one of them
            annotate(y, "mask", functools.reduce(jnp.logical_or, masks))
        return y

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        raise NotImplementedError


class Add(_Merge):
    """The sum of the inputs: ``a + b + ...``.

    >>> Add()([jnp.array([[1.0]]), jnp.array([[2.0]])]).tolist()
    [[3.0]]
    """

    def forward(self, inputs: Any) -> jax.Array:
        y = super().forward(inputs)
        if len(inputs) == 2:
            for x, other in (inputs, inputs[::-1]):
                rectified = annotation(x, "rectified")
                if rectified is not None and x.shape == other.shape:  # a normalisation that can take the sum into its pass
                    annotate(y, "rectified", functools.partial(rectified, other))
                    break
        return y

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        return functools.reduce(jnp.add, arrays)


class Subtract(_Merge):
    """The first of two inputs less the second: ``a - b``.

    >>> Subtract()([jnp.array([[1.0]]), jnp.array([[2.0]])]).tolist()
    [[-1.0]]
    """

    least = 2

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        return arrays[0] - arrays[1]


class Multiply(_Merge):
    """The product of the inputs: ``a * b * ...``.

    >>> Multiply()([jnp.array([[3.0]]), jnp.array([[2.0]])]).tolist()
    [[6.0]]
    """

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        return functools.reduce(jnp.multiply, arrays)


class Average(_Merge):
    """The mean of the inputs.

    >>> Average()([jnp.array([[3.0]]), jnp.array([[2.0]])]).tolist()
    [[2.5]]
    """

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        return functools.reduce(jnp.add, [floating(x) for x in arrays]) / len(arrays)


class Maximum(_Merge):
    """The largest of the inputs, position by position.

    >>> Maximum()([jnp.array([[3.0]]), jnp.array([[2.0]])]).tolist()
    [[3.0]]
    """

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        return functools.reduce(jnp.maximum, arrays)


class Minimum(_Merge):
    """The smallest of the inputs, position by position.

    >>> Minimum()([jnp.array([[3.0]]), jnp.array([[2.0]])]).tolist()
    [[2.0]]
    """

    def merge(self, arrays: list[jax.Array]) -> jax.Array:
        return functools.reduce(jnp.minimum, arrays)


class Concatenate(Layer):
    """The inputs one after the other along ``axis``: (batch, a), (batch, b) -> (batch, a + b).

    Masks: a step counts if it counts in one of the inputs; along the time axis the masks are put one after the other.
    Raises: ValueError for shapes that differ elsewhere than in ``axis``.

    >>> Concatenate()([jnp.zeros((2, 3)), jnp.ones((2, 1))]).shape
    (2, 4)
    """

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def forward(self, inputs: Any) -> jax.Array:
        arrays = _several(self, inputs)
        shapes = [x.shape for x in arrays]
        first = arrays[0]
        axis = self.axis + first.ndim if self.axis < 0 else self.axis
        if not 0 < axis < first.ndim:
            raise ValueError(f"Concatenate(axis={self.axis}) names no axis after the batch of inputs of shapes {shapes}")
        if len({(*s[:axis], *s[axis + 1 :]) for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
            raise ValueError(f"Concatenate needs shapes that are equal but for axis {axis}, got {', '.join(map(str, shapes))}")
        y = jnp.concatenate(arrays, axis)
        masks = [annotation(x, "mask") for x in inputs]
        if any(m is not None for m in masks):
            whole = [jnp.ones(x.shape[:2], bool) if m is None else m for x, m in zip(arrays, masks, strict=True)]
            if axis == 1:
                mask = jnp.concatenate(whole, 1)
            else:
                mask = functools.reduce(jnp.logical_or, whole)
            annotate(y, "mask", mask)
        return y


class Dot(Layer):
    """Sums of products over an axis of each of two inputs, example by example.

    ``axes``: one number for both, or a pair. ``normalize`` divides by the lengths first: cosine similarity.
    Shapes: (batch, a, n), (batch, b, n) with axes=2 -> (batch, a, b); (batch, n), (batch, n) with axes=1 -> (batch, 1).
    Raises: ValueError for axis 0 (the batch), for axes of other sizes.

    >>> Dot(axes=1)([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[11.0]]
    """

    def __init__(self, axes: int | tuple[int, int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.axes = tuple(axes) if isinstance(axes, (list, tuple)) else (axes, axes)
        self.normalize = normalize
        if len(self.axes) != 2 or any(isinstance(a, bool) or not hasattr(a, "__index__") for a in self.axes):
            raise ValueError(f"Dot needs axes to be a whole number or two of them, got {axes!r}")

    def forward(self, inputs: Any) -> jax.Array:
        arrays = _several(self, inputs, 2, 2)
        moved = []
        for x, axis in zip(arrays, self.axes, strict=True):
            if not -x.ndim < axis < x.ndim or axis == 0:
                raise ValueError(f"Dot(axes={self.axes}) names no axis after the batch of an input of shape {x.shape}")
            x = jnp.moveaxis(x, axis, -1)
            if self.normalize:
                x = x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))
            moved.append(x)
        a, b = moved
        if a.shape[-1] != b.shape[-1] or a.shape[0] != b.shape[0]:
            raise ValueError(
                f"Dot(axes={self.axes}) needs sizes that are equal, got shapes {arrays[0].shape}, {arrays[1].shape}"
            )
        rows = [x.reshape(x.shape[0], -1, x.shape[-1]) for x in moved]
        y = jnp.einsum("bin,bjn->bij", *rows).reshape(a.shape[0], *a.shape[1:-1], *b.shape[1:-1])
        return y[:, None] if y.ndim == 1 else y


def _function(layer: type[Layer]) -> Callable:
    def merged(inputs: Any, **options: Any) -> Any:
        return layer(**options)(inputs)

    merged.__name__ = merged.__qualname__ = layer.__name__.lower()
    merged.__doc__ = f"``{layer.__name__}(**options)(inputs)``, as Keras's functional form has it."
    return merged


add, subtract, multiply, average = map(_function, (Add, Subtract, Multiply, Average))
maximum, minimum, concatenate, dot = map(_function, (Maximum, Minimum, Concatenate, Dot))
