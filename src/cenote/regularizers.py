"""Penalties on weights and outputs: an array to a scalar that is added to the training loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.configurable import Configurable, family, resolve


class Regularizer(Configurable):
    """Base of penalties: write ``__call__(self, x) -> scalar``."""

    def __call__(self, x: Any) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, x): write the penalty there")


def _factor(name: str, value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name}={value}: give a number from 0 up, such as 0.01")
    return float(value)


class L1(Regularizer):
    """``l1 sum(|x|)``, which drives small weights to zero. Source: Tibshirani 1996.

    >>> L1(0.5)([1.0, -3.0]).item()
    2.0
    """

    def __init__(self, l1: float = 0.01):
        self.l1 = _factor("l1", l1)

    def __call__(self, x: Any) -> jax.Array:
        return self.l1 * jnp.sum(jnp.abs(jnp.asarray(x)))


class L2(Regularizer):
    """``l2 sum(x^2)``, which keeps weights small. Source: Hoerl and Kennard 1970.

    >>> L2(0.5)([1.0, -3.0]).item()
    5.0
    """

    def __init__(self, l2: float = 0.01):
        self.l2 = _factor("l2", l2)

    def __call__(self, x: Any) -> jax.Array:
        return self.l2 * jnp.sum(jnp.square(jnp.asarray(x)))


class L1L2(Regularizer):
    """``l1 sum(|x|) + l2 sum(x^2)``. Source: Zou and Hastie 2005.

    >>> L1L2(1.0, 0.5)([1.0, -3.0]).item()
    9.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = _factor("l1", l1), _factor("l2", l2)

    def __call__(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        return self.l1 * jnp.sum(jnp.abs(x)) + self.l2 * jnp.sum(jnp.square(x))


NAMES = family(L1, L2, L1L2)

# Keras also shows the classes under lower-case names.
l1, l2, l1_l2 = L1, L2, L1L2


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Callable | None:
    """The penalty that a name, a config dict, a class or a function stands for; None stays None.

    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("l2").l2
    0.01
    """
    return None if identifier is None else resolve("regularizer", identifier, NAMES, custom=custom)
