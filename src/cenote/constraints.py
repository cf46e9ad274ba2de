"""Constraints on weights: an array to the allowed array nearest to it, applied after each optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.configurable import Configurable, family, plain, resolve

# Keeps the division defined for a vector of zeros; Keras's value.
EPSILON = 1e-7


class Constraint(Configurable):
    """Base of constraints: write ``__call__(self, w) -> w`` of the same shape."""

    def __call__(self, w: Any) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, w): write the projection there")


def _norms(w: jax.Array, axis: int | Sequence[int]) -> jax.Array:
    axis = axis if isinstance(axis, int) else tuple(axis)
    return jnp.sqrt(jnp.sum(jnp.square(w), axis=axis, keepdims=True))


class NonNeg(Constraint):
    """``max(w, 0)``.

    >>> NonNeg()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def __call__(self, w: Any) -> jax.Array:
        return jnp.maximum(jnp.asarray(w), 0)


class MaxNorm(Constraint):
    """Shortens vectors along ``axis`` that are longer than ``max_value``: ``w min(|w|, max) / |w|``.

    For a Dense kernel (inputs, outputs) axis 0 takes the weights into each unit; for a Conv2D kernel give (0, 1, 2).
    Source: Srivastava et al. 2014, JMLR 15.

    >>> [round(v, 3) for v in MaxNorm(1.0)([[3.0], [4.0]]).ravel().tolist()]
    [0.6, 0.8]
    """

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> jax.Array:
        w = jnp.asarray(w)
        norms = _norms(w, self.axis)
        return w * (jnp.clip(norms, 0, self.max_value) / (EPSILON + norms))


class UnitNorm(Constraint):
    """Scales vectors along ``axis`` to length one: ``w / |w|``.

    >>> [round(v, 3) for v in UnitNorm()([[3.0], [4.0]]).ravel().tolist()]
    [0.6, 0.8]
    """

    def __init__(self, axis: int | Sequence[int] = 0):
        self.axis = axis

    def __call__(self, w: Any) -> jax.Array:
        w = jnp.asarray(w)
        return w / (EPSILON + _norms(w, self.axis))


class MinMaxNorm(Constraint):
    """Brings the length along ``axis`` into [min_value, max_value], by the part ``rate`` of the way at each step.

    >>> MinMaxNorm(5.0, 10.0)([[0.6], [0.8]]).round(2).tolist()
    [[3.0], [4.0]]
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> jax.Array:
        w = jnp.asarray(w)
        norms = _norms(w, self.axis)
        wanted = self.rate * jnp.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (EPSILON + norms))


NAMES = family(NonNeg, MaxNorm, UnitNorm, MinMaxNorm)

# Keras also shows the classes under snake-case names.
non_neg, max_norm, unit_norm, min_max_norm = NonNeg, MaxNorm, UnitNorm, MinMaxNorm


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Callable | None:
    """The constraint that a name, a config dict, a class or a function stands for; None stays None.

    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("max_norm").max_value
    2
    """
    return None if identifier is None else resolve("constraint", identifier, NAMES, custom=custom)


def serialize(constraint: Any) -> Any:
    """Keras's word for ``constraint.config()``: the class and its arguments as plain values.

    >>> serialize(UnitNorm()) == {"class": "UnitNorm", "axis": 0}
    True
    """
    return plain(constraint)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Keras's word for `get`.

    >>> deserialize(serialize(UnitNorm()))
    UnitNorm()
    """
    return get(config, custom_objects)
