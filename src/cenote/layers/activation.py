"""Activation functions as layers."""

from __future__ import annotations

from typing import Any

import jax

from .. import activations
from .base import Layer
from .check import axes, floating, inside

__all__ = ["Activation", "ReLU", "Softmax"]


class Activation(Layer):
    """An activation function as a layer: ``y = activation(x)``, of any shape.

    >>> import numpy as np
    >>> Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def forward(self, x: Any) -> jax.Array:
        return self.activation(floating(x))


class ReLU(Layer):
    """The rectifier with Keras's knobs: ``y = min(max(x, 0), max_value)``, with ``negative_slope`` below ``threshold``.

    >>> import numpy as np
    >>> ReLU(max_value=1.0)(np.array([[-1.0, 0.5, 2.0]])).tolist()
    [[0.0, 0.5, 1.0]]
    """

    supports_masking = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if value is not None and not value >= 0:
                raise ValueError(f"ReLU needs {name} of 0 or more, got {value!r}")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: Any) -> jax.Array:
        return activations.relu(
            floating(x), negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )


class Softmax(Layer):
    """Probabilities along an axis: ``y_i = exp(x_i) / sum_j exp(x_j)``.

    >>> import numpy as np
    >>> Softmax()(np.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    supports_masking = True

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        if len(axes(self, axis)) > 1:
            raise ValueError(f"Softmax takes one axis, got axis={axis!r}: reshape those axes to one before it")
        self.axis = axes(self, axis)[0]

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        inside(self, (self.axis,), x.shape)
        return activations.softmax(x, axis=self.axis)
