"""Dense: every output is a weighted sum of every input."""

from __future__ import annotations

from typing import Any

import jax

from .. import activations
from .base import Layer
from .check import floating, positive

__all__ = ["Dense"]


class Dense(Layer):
    """A fully connected layer: ``y = activation(x @ kernel + bias)``.

    Args: ``units`` outputs; ``activation`` by name or function; ``use_bias``; initializers, regularizers and constraints of
    ``kernel`` and ``bias``.
    Shapes: (batch, ..., feature) -> (batch, ..., unit); kernel (feature, unit), bias (unit).
    Raises: ValueError for an input without a feature axis.

    >>> import numpy as np
    >>> Dense(4, "relu").build(np.ones((2, 3)))(np.ones((2, 3))).shape
    (2, 4)
    """

    weights = {"kernel": "kernel", "bias": "bias"}
    supports_masking = True

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        if x.ndim < 2:
            raise ValueError(
                f"Dense takes (batch, ..., feature), but the input has shape {x.shape}: give each a row, x.reshape(-1, 1)"
            )
        kernel = self.param("kernel", (x.shape[-1], self.units))
        # One product of two matrices: more axes make XLA choose slower forms of it.
        y = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], self.units)
        if self.use_bias:
            y = y + self.param("bias", (self.units,), "zeros")
        return self.activation(y)
