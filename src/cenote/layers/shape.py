"""Layers that only move numbers: Flatten, Reshape."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from .base import Layer
from .check import channels_last

__all__ = ["Flatten", "Reshape"]


class Flatten(Layer):
    """All axes of an example in one: (batch, a, b, ...) -> (batch, a * b * ...).

    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 28, 28))).shape
    (2, 784)
    """

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        channels_last(self, data_format)

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(Layer):
    """Another shape for each example, one size of which may be -1: (batch, ...) -> (batch, *target_shape).

    Raises: ValueError where the number of values does not fit.

    >>> import numpy as np
    >>> Reshape((7, -1))(np.zeros((2, 28, 28))).shape
    (2, 7, 112)
    """

    def __init__(self, target_shape: tuple[int, ...], **options: Any) -> None:
        super().__init__(**options)
        self.target_shape = tuple(target_shape) if isinstance(target_shape, (tuple, list)) else (target_shape,)
        if any(not hasattr(size, "__index__") or size < -1 for size in self.target_shape):
            raise ValueError(f"Reshape needs target_shape to be whole numbers, -1 for one to infer, got {target_shape!r}")
        if sum(size == -1 for size in self.target_shape) > 1:
            raise ValueError(f"Reshape can infer one size, but target_shape={self.target_shape} has several -1")

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        size, known = math.prod(x.shape[1:]), math.prod(s for s in self.target_shape if s != -1)
        fits = (known and size % known == 0) if -1 in self.target_shape else size == known
        if not fits:
            raise ValueError(f"Reshape cannot turn an example of shape {x.shape[1:]} ({size} values) into {self.target_shape}")
        shape = tuple(size // known if s == -1 else s for s in self.target_shape)
        return x.reshape(x.shape[0], *shape)
