"""Transposed convolution: from few places to many, the way back through a convolution."""

from __future__ import annotations

from typing import Any

import jax

from ..kernels.convolution import conv_transpose, transposed_sizes
from . import check
from .conv import Convolution, Size

__all__ = [
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "Convolution1DTranspose",
    "Convolution2DTranspose",
    "Convolution3DTranspose",
]


class _ConvTranspose(Convolution):
    paddings = ("valid", "same")

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        output_padding: Size | None = None,
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = check.positive(self, "filters", filters)
        self._slides(kernel_size, strides, padding, data_format, dilation_rate)
        self._ends(activation, use_bias)
        self._not_both()
        self.output_padding = self._extra(output_padding)

    def _extra(self, value: Any) -> tuple[int, ...] | None:
        if value is None:
            return None
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.n
        whole = len(values) == self.n and all(hasattr(v, "__index__") for v in values)
        if not whole or not all(0 <= v < s for v, s in zip(values, self.strides, strict=True)):
            raise ValueError(
                f"{type(self).__name__} needs output_padding to be whole numbers from 0 up and below the strides "
                f"{self.strides}, got {value!r}"
            )
        return tuple(int(v) for v in values)

    def forward(self, x: Any) -> jax.Array:
        x = check.space(self, x, self.n)
        kernel = self.param("kernel", (*self.kernel_size, self.filters, x.shape[-1]))
        how = {"strides": self.strides, "padding": self.padding, "dilation": self.dilation_rate}
        size, _ = transposed_sizes(x.shape[1:-1], self.kernel_size, output_padding=self.output_padding, **how)
        if min(size) < 1:
            raise ValueError(
                f"{type(self).__name__} with output_padding={self.output_padding} makes {size} of an input of "
                f"{x.shape[1:-1]}: leave output_padding out, or use padding='valid'"
            )
        return self._finish(conv_transpose(x, kernel, output_padding=self.output_padding, **how))


class Conv1DTranspose(_ConvTranspose):
    """The transpose of a convolution along a sequence; as `Conv2DTranspose`.

    Shapes: (batch, time, channel) -> (batch, new time, filter); kernel (time, filter, channel), bias (filter).

    >>> import numpy as np
    >>> Conv1DTranspose(4, 3, strides=2).build(np.ones((1, 8, 2)))(np.ones((1, 8, 2))).shape
    (1, 17, 4)
    """

    n = 1


class Conv2DTranspose(_ConvTranspose):
    """The transpose of a convolution, to larger pictures: ``y[s i + d u] += x[i] kernel[u]``, then bias and activation.

    With stride s, dilation d and a kernel that reaches over k = (kernel_size - 1) d + 1 places, an axis of n places becomes
    (n - 1) s + max(k, s) places with "valid" and n s with "same"; with ``output_padding`` (below s) it becomes (n - 1) s + k +
    output_padding with "valid" and (n - 1) s + k % 2 + output_padding with "same".
    Shapes: (batch, height, width, channel) -> (batch, new height, new width, filter); kernel (height, width, filter, channel),
    bias (filter).
    Raises: ValueError for strides and dilation together, and for ``output_padding`` that is not below the strides.
    Source: Zeiler et al. 2010, "Deconvolutional networks"; Dumoulin and Visin 2016, arXiv:1603.07285.

    >>> import numpy as np
    >>> Conv2DTranspose(4, 3, strides=2, padding="same").build(np.ones((1, 8, 8, 2)))(np.ones((1, 8, 8, 2))).shape
    (1, 16, 16, 4)
    """

    n = 2


class Conv3DTranspose(_ConvTranspose):
    """The transpose of a convolution through a volume; as `Conv2DTranspose`, but ``data_format`` before ``output_padding``.

    Shapes: (batch, depth, height, width, channel) -> (batch, new depth, new height, new width, filter); kernel (depth, height,
    width, filter, channel), bias (filter).

    >>> import numpy as np
    >>> Conv3DTranspose(4, 2, strides=2).build(np.ones((1, 2, 3, 4, 2)))(np.ones((1, 2, 3, 4, 2))).shape
    (1, 4, 6, 8, 4)
    """

    n = 3

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        data_format: str | None = None,
        output_padding: Size | None = None,  # Keras has these two the other way round in 1D and 2D
        dilation_rate: Size = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            output_padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            **options,
        )


Convolution1DTranspose, Convolution2DTranspose, Convolution3DTranspose = Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
