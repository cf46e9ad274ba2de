"""Pooling: a smaller picture of the largest or mean values."""

from __future__ import annotations

from typing import Any

import jax

from ..kernels.pooling import average_pool, max_pool
from .base import Layer
from .check import channels_last, floating, padding, pair, rank

__all__ = ["AveragePooling2D", "GlobalAveragePooling2D", "MaxPooling2D"]

_check_padding = padding


class _Pool2D(Layer):
    """What pooling layers share: a window that moves over the picture."""

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        channels_last(self, data_format)
        self.pool_size = pair(self, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else pair(self, "strides", strides)
        self.padding = _check_padding(self, padding)

    def _picture(self, x: Any) -> jax.Array:
        x = floating(x)
        rank(self, x, 4, "(batch, height, width, channel)", "add a channel axis, layers.Reshape((height, width, 1))")
        if self.padding == "valid" and any(n < k for n, k in zip(x.shape[1:3], self.pool_size, strict=True)):
            raise ValueError(
                f"{type(self).__name__} with a window of {self.pool_size} finds no room in a picture of {x.shape[1:3]}: use "
                f"padding='same', or fewer pooling layers before it"
            )
        return x


class MaxPooling2D(_Pool2D):
    """The largest value in each window: (batch, height, width, channel) -> (batch, height / 2, width / 2, channel) by default.

    >>> import numpy as np
    >>> MaxPooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    def forward(self, x: Any) -> jax.Array:
        return max_pool(self._picture(x), self.pool_size, self.strides, self.padding)


class AveragePooling2D(_Pool2D):
    """The mean of each window; padding does not count.

    >>> import numpy as np
    >>> AveragePooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """

    def forward(self, x: Any) -> jax.Array:
        return average_pool(self._picture(x), self.pool_size, self.strides, self.padding)


class GlobalAveragePooling2D(Layer):
    """The mean of each channel over the whole picture: (batch, height, width, channel) -> (batch, channel).

    ``keepdims`` keeps height and width as axes of size 1.
    Source: Lin et al. 2013, "Network in network", arXiv:1312.4400.

    >>> import numpy as np
    >>> GlobalAveragePooling2D()(np.ones((2, 4, 4, 3))).shape
    (2, 3)
    """

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        channels_last(self, data_format)
        self.keepdims = keepdims

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        rank(self, x, 4, "(batch, height, width, channel)")
        mean = x.reshape(x.shape[0], -1, x.shape[-1]).mean(1)
        return mean[:, None, None, :] if self.keepdims else mean
