"""Penalties on weights and outputs: an array to a scalar that is added to the training loss."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.configurable import Configurable, family, plain, resolve
from cenote.kernels.normalization import unit_length


class Regularizer(Configurable):
    """Base of penalties: write ``__call__(self, x) -> scalar``."""

    def __call__(self, x: Any) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, x): write the penalty there")


def _factor(name: str, value: float) -> float:
    if not isinstance(value, numbers.Real) or not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}={value}: give a number from 0 up, such as 0.01")
    return float(value)


class L1(Regularizer):
    """``l1 sum(|x|)``, which drives small weights to zero. Source: Tibshirani 1996.

    >>> L1(0.5)([1.0, -3.0]).item()
    2.0
    """

    def __init__(self, l1: float | None = 0.01):
        self.l1 = _factor("l1", 0.01 if l1 is None else l1)

    def __call__(self, x: Any) -> jax.Array:
        return self.l1 * jnp.sum(jnp.abs(jnp.asarray(x)))


class L2(Regularizer):
    """``l2 sum(x^2)``, which keeps weights small. Source: Hoerl and Kennard 1970.

    >>> L2(0.5)([1.0, -3.0]).item()
    5.0
    """

    def __init__(self, l2: float | None = 0.01):
        self.l2 = _factor("l2", 0.01 if l2 is None else l2)

    def __call__(self, x: Any) -> jax.Array:
        return self.l2 * jnp.sum(jnp.square(jnp.asarray(x)))


class L1L2(Regularizer):
    """``l1 sum(|x|) + l2 sum(x^2)``. Source: Zou and Hastie 2005.

    >>> L1L2(1.0, 0.5)([1.0, -3.0]).item()
    9.0
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0):
        self.l1, self.l2 = _factor("l1", l1 or 0.0), _factor("l2", l2 or 0.0)

    def __call__(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        return self.l1 * jnp.sum(jnp.abs(x)) + self.l2 * jnp.sum(jnp.square(x))


class OrthogonalRegularizer(Regularizer):
    """``factor mean |a_i . a_j|`` over the pairs of rows (or columns) of a matrix, each at length 1: 0 at right angles.

    ``mode`` is "rows" or "columns". A single row has no pair, and the penalty 0.
    Raises: ValueError for a weight that is not a matrix.

    >>> OrthogonalRegularizer(1.0)([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]]).round(4).item()
    0.33329999446868896
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        self.factor = _factor("factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode={mode!r}: give 'rows' or 'columns'")
        self.mode = mode

    def __call__(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        if x.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer takes a matrix, the weight has shape {x.shape}: use it on a Dense kernel")
        rows = unit_length(x if self.mode == "rows" else x.T, -1, 1e-7)
        count = len(rows)
        apart = jnp.abs(rows @ rows.T) * (1 - jnp.eye(count, dtype=x.dtype))
        return self.factor * apart.sum() / max(count * (count - 1), 1)


NAMES = family(L1, L2, L1L2, OrthogonalRegularizer)

# Keras also shows the classes under lower-case names.
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Callable | None:
    """The penalty that a name, a config dict, a class or a function stands for; None stays None.

    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("l2").l2
    0.01
    """
    return None if identifier is None else resolve("regularizer", identifier, NAMES, custom=custom)


def serialize(regularizer: Any) -> Any:
    """Keras's word for ``regularizer.config()``: the class and its arguments as plain values.

    >>> serialize(L2(0.5)) == {"class": "L2", "l2": 0.5}
    True
    """
    return plain(regularizer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Keras's word for `get`.

    >>> deserialize(serialize(L2(0.5)))
    L2(l2=0.5)
    """
    return get(config, custom_objects)
