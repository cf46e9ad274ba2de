"""Convolution of pictures."""

from __future__ import annotations

from typing import Any

import jax

from .. import activations
from ..kernels.convolution import conv2d
from .base import Layer
from .check import channels_last, floating, padding, pair, positive, rank

__all__ = ["Conv2D"]


class Conv2D(Layer):
    """Small kernels slid over a picture: ``y = activation(conv2d(x, kernel) + bias)``.

    Args: ``filters`` outputs a place; ``kernel_size``, ``strides``, ``dilation_rate`` a number or (height, width); ``padding``
    "valid" or "same"; ``groups`` of channels that are convolved apart; ``activation``; ``use_bias``.
    Shapes: (batch, height, width, channel) -> (batch, new height, new width, filter); kernel (height, width, channel / groups,
    filter), bias (filter).
    Raises: ValueError for pictures without a channel axis, for channels that do not divide by ``groups``, for strides and
    dilation together.
    Source: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition".

    >>> import numpy as np
    >>> Conv2D(4, 3, padding="same").build(np.ones((1, 8, 8, 1)))(np.ones((1, 8, 8, 1))).shape
    (1, 8, 8, 4)
    """

    weights = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        channels_last(self, data_format)
        self.filters = positive(self, "filters", filters)
        self.kernel_size = pair(self, "kernel_size", kernel_size)
        self.strides = pair(self, "strides", strides)
        self.padding = _padding(self, padding)
        self.dilation_rate = pair(self, "dilation_rate", dilation_rate)
        self.groups = positive(self, "groups", groups)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"Conv2D takes strides or dilation_rate, not both: got {self.strides}, {self.dilation_rate}")
        if self.filters % self.groups:
            raise ValueError(f"Conv2D needs filters to divide by groups, got filters={filters}, groups={groups}")

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        rank(self, x, 4, "(batch, height, width, channel)", "add a channel axis, layers.Reshape((height, width, 1))")
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"Conv2D with groups={self.groups} needs channels that divide by it, the input has {channels}")
        kernel = self.param("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        for size, k, d in zip(x.shape[1:3], self.kernel_size, self.dilation_rate, strict=True):
            if self.padding == "valid" and size < (k - 1) * d + 1:
                raise ValueError(
                    f"Conv2D with a kernel of {self.kernel_size} finds no room in a picture of {x.shape[1:3]}: use "
                    f"padding='same', or fewer pooling layers before it"
                )
        y = conv2d(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation_rate,
            groups=self.groups,
        )
        if self.use_bias:
            y = y + self.param("bias", (self.filters,), "zeros")
        return self.activation(y)


_padding = padding  # the constructor's argument has the same name
