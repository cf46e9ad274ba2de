"""Convolution along one axis (time), two (pictures) or three (volumes): plain, depthwise and separable."""

from __future__ import annotations

from typing import Any

import jax

from .. import activations
from ..core import annotate
from ..kernels.answers import asked_for_answers
from ..kernels.convolution import MODES, conv, pads_for
from ..kernels.joined import can_join, conv_joined
from . import check
from .base import Layer

__all__ = [
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Convolution1D",
    "Convolution2D",
    "Convolution3D",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
]

Size = int | tuple[int, ...]


class Convolution(Layer):
    """What all convolutions share: a kernel that slides along ``n`` axes, a bias, an activation.

    ``padding`` is "valid" (the kernel stays inside), "same" (zeros, ceil(size / stride) outputs) or, in 1D, "causal" (zeros in
    front: no output sees later steps). Beyond Keras there are PyTorch's "reflect", "replicate" and "circular": as many places
    as for "same", with the picture mirrored, its border repeated, or its other end.
    """

    weight_options = {"kernel": "kernel", "bias": "bias"}
    n = 2
    paddings: tuple[str, ...] = ("valid", "same", *MODES)

    def _slides(self, kernel_size: Size, strides: Size, padding: str, data_format: str | None, dilation_rate: Size) -> None:
        check.channels_last(self, data_format)
        self.kernel_size = check.sizes(self, "kernel_size", kernel_size, self.n)
        self.strides = check.sizes(self, "strides", strides, self.n)
        self.dilation_rate = check.sizes(self, "dilation_rate", dilation_rate, self.n)
        self.padding = check.padding(self, padding, self.paddings)
        # How far a kernel with its holes reaches.
        self.reach = tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True))

    def _ends(self, activation: Any, use_bias: bool) -> None:
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def _not_both(self) -> None:
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{type(self).__name__} takes strides or dilation_rate, not both: got {self.strides}, {self.dilation_rate}"
            )

    def _input(self, x: Any) -> jax.Array:
        x = check.space(self, x, self.n)
        size = x.shape[1:-1]
        if self.padding == "valid":
            check.room(self, "kernel", self.kernel_size, size, self.reach)
        if self.padding in MODES:
            for have, pads in zip(size, self._pads(size), strict=True):
                if max(pads) > have - (self.padding == "reflect"):
                    raise ValueError(
                        f"{type(self).__name__}(padding={self.padding!r}) with a kernel of {self.kernel_size} takes "
                        f"{max(pads)} places from an axis of {have}, which has too few: use padding='same', or a smaller kernel"
                    )
        return x

    def _pads(self, size: tuple[int, ...]) -> tuple:
        return pads_for(size, self.kernel_size, self.strides, self.dilation_rate, self.padding)

    def _slide(self, x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
        how = {"strides": self.strides, "padding": self.padding, "dilation": self.dilation_rate}
        return conv(x, kernel, groups=groups, **how)

    def _finish(self, y: jax.Array) -> jax.Array:
        if self.use_bias:
            y = y + self.param("bias", (y.shape[-1],), "zeros")
        return self.activation(y)


class _Conv(Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = check.positive(self, "filters", filters)
        self.groups = check.positive(self, "groups", groups)
        self._slides(kernel_size, strides, padding, data_format, dilation_rate)
        self._ends(activation, use_bias)
        self._not_both()
        if self.filters % self.groups:
            raise ValueError(f"{type(self).__name__} needs filters to divide by groups, got filters={filters}, groups={groups}")

    def forward(self, x: Any) -> jax.Array:
        x = self._input(x)
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"{type(self).__name__} with groups={self.groups} needs channels that divide by it, the input has {channels}"
            )
        kernel = self.param("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        if self.n == 2 and (self.train or asked_for_answers()) and (y := self._joined(x, kernel)) is not None:
            return y
        return self._finish(self._slide(x, kernel, self.groups))

    def _joined(self, x: jax.Array, kernel: jax.Array) -> jax.Array | None:
        """With bias and rectifier in one pass, where there is such a kernel. Notes on the output say how what may follow, a
        normalisation of known numbers, a rectifier, the largest of each 2x2, is done in that pass, too."""
        if self.groups > 1 or self.padding in MODES or max(self.dilation_rate) > 1:
            return None
        if not isinstance(x, jax.core.Tracer) or self.activity_regularizer is not None:
            return None  # it would be computed twice: for the note, and as it is
        pads = self._pads(x.shape[1:-1])
        if not can_join(x, kernel, self.strides, pads):
            return None
        bias = self.param("bias", (self.filters,), "zeros") if self.use_bias else None

        def whole(kernel: Any, bias: Any, rectify: bool, windows: bool = False) -> jax.Array:
            y = conv_joined(x, kernel, bias, self.strides, pads, rectify=rectify, windows=windows)
            if not windows:
                annotate(y, "largest of 2x2", lambda: whole(kernel, bias, rectify, windows=True))
            return y

        def sums(kernel: Any, bias: Any) -> jax.Array:
            return annotate(whole(kernel, bias, False), "rectified alone", lambda: whole(kernel, bias, True))

        def scaled(by: jax.Array, plus: jax.Array) -> jax.Array:
            return sums(kernel * by, plus if bias is None else bias * by + plus)

        if self.activation is activations.relu:
            return whole(kernel, bias, True)
        if self.activation is activations.linear:
            y = sums(kernel, bias)
            return annotate(y, "scaled", scaled) if asked_for_answers() else y
        return self.activation(whole(kernel, bias, False))


class Conv1D(_Conv):
    """Small kernels slid along a sequence: ``y = activation(conv(x, kernel) + bias)``; arguments as in `Conv2D`.

    ``padding="causal"`` lets no output see later steps.
    Shapes: (batch, time, channel) -> (batch, new time, filter); kernel (time, channel / groups, filter), bias (filter).
    Raises: ValueError as `Conv2D`.
    Source: Waibel et al. 1989, "Phoneme recognition using time-delay neural networks".

    >>> import numpy as np
    >>> Conv1D(4, 3, padding="causal").build(np.ones((1, 8, 2)))(np.ones((1, 8, 2))).shape
    (1, 8, 4)
    """

    n = 1
    paddings = (*Convolution.paddings, "causal")


class Conv2D(_Conv):
    """Small kernels slid over a picture: ``y = activation(conv(x, kernel) + bias)``.

    Args: ``filters`` outputs a place; ``kernel_size``, ``strides``, ``dilation_rate`` a number or (height, width); ``padding``
    "valid", "same", "reflect", "replicate" or "circular"; ``groups`` of channels that are convolved apart; ``activation``;
    ``use_bias``.
    Shapes: (batch, height, width, channel) -> (batch, new height, new width, filter); kernel (height, width, channel / groups,
    filter), bias (filter).
    Raises: ValueError for pictures without a channel axis, for channels that do not divide by ``groups``, for strides and
    dilation together.
    Source: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition".

    >>> import numpy as np
    >>> Conv2D(4, 3, padding="same").build(np.ones((1, 8, 8, 1)))(np.ones((1, 8, 8, 1))).shape
    (1, 8, 8, 4)
    """

    n = 2


class Conv3D(_Conv):
    """Small kernels slid through a volume: ``y = activation(conv(x, kernel) + bias)``; arguments as in `Conv2D`.

    Shapes: (batch, depth, height, width, channel) -> (batch, new depth, new height, new width, filter); kernel (depth, height,
    width, channel / groups, filter), bias (filter).
    Raises: ValueError as `Conv2D`.
    Source: Ji et al. 2013, "3D convolutional neural networks for human action recognition".

    >>> import numpy as np
    >>> Conv3D(4, 3).build(np.ones((1, 5, 6, 7, 2)))(np.ones((1, 5, 6, 7, 2))).shape
    (1, 3, 4, 5, 4)
    """

    n = 3


class _DepthwiseConv(Convolution):
    weight_options = {"depthwise": "kernel", "bias": "bias"}

    def __init__(
        self,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.depth_multiplier = check.positive(self, "depth_multiplier", depth_multiplier)
        self._slides(kernel_size, strides, padding, data_format, dilation_rate)
        self._ends(activation, use_bias)

    def forward(self, x: Any) -> jax.Array:
        x = self._input(x)
        return self._finish(_each_channel(self, x, "kernel"))


def _each_channel(layer: Any, x: jax.Array, name: str) -> jax.Array:
    """Each channel with its own kernels; the outputs of one channel stand together."""
    channels = x.shape[-1]
    kernel = layer.param(name, (*layer.kernel_size, channels, layer.depth_multiplier))
    return layer._slide(x, kernel.reshape(*layer.kernel_size, 1, -1), channels)


class DepthwiseConv1D(_DepthwiseConv):
    """Each channel of a sequence convolved with kernels of its own; as `DepthwiseConv2D`, and with "causal" padding.

    Shapes: (batch, time, channel) -> (batch, new time, channel * depth_multiplier); kernel (time, channel, depth_multiplier),
    bias (channel * depth_multiplier).

    >>> import numpy as np
    >>> DepthwiseConv1D(3, depth_multiplier=2).build(np.ones((1, 8, 4)))(np.ones((1, 8, 4))).shape
    (1, 6, 8)
    """

    n = 1
    paddings = Conv1D.paddings


class DepthwiseConv2D(_DepthwiseConv):
    """Each channel convolved with its own kernels: ``y[..., c m + j] = activation(conv(x[..., c], kernel[..., c, j]) + bias)``.

    Args: ``depth_multiplier`` (m) kernels a channel; the others as in `Conv2D`.
    Shapes: (batch, height, width, channel) -> (batch, new height, new width, channel * depth_multiplier); kernel (height,
    width, channel, depth_multiplier), bias (channel * depth_multiplier).
    Raises: ValueError for pictures without a channel axis or smaller than the kernel.
    Source: Howard et al. 2017, "MobileNets", arXiv:1704.04861.

    >>> import numpy as np
    >>> DepthwiseConv2D(3, padding="same").build(np.ones((1, 8, 8, 4)))(np.ones((1, 8, 8, 4))).shape
    (1, 8, 8, 4)
    """

    n = 2


class _SeparableConv(Convolution):
    weight_options = {"depthwise": "depthwise_kernel", "pointwise": "pointwise_kernel", "bias": "bias"}

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = check.positive(self, "filters", filters)
        self.depth_multiplier = check.positive(self, "depth_multiplier", depth_multiplier)
        self._slides(kernel_size, strides, padding, data_format, dilation_rate)
        self._ends(activation, use_bias)

    def forward(self, x: Any) -> jax.Array:
        y = _each_channel(self, self._input(x), "depthwise_kernel")
        return self._finish(conv(y, self.param("pointwise_kernel", (*(1,) * self.n, y.shape[-1], self.filters))))


class SeparableConv1D(_SeparableConv):
    """Each channel of a sequence convolved apart, then the channels mixed step by step; as `SeparableConv2D`.

    Shapes: (batch, time, channel) -> (batch, new time, filter).

    >>> import numpy as np
    >>> SeparableConv1D(4, 3).build(np.ones((1, 8, 2)))(np.ones((1, 8, 2))).shape
    (1, 6, 4)
    """

    n = 1
    paddings = Conv1D.paddings


class SeparableConv2D(_SeparableConv):
    """Each channel convolved apart, then all mixed at each place: ``y = activation(depthwise(x) @ pointwise + bias)``.

    Args: ``filters`` outputs a place; ``depth_multiplier`` kernels a channel; the others as in `Conv2D`.
    Shapes: (batch, height, width, channel) -> (batch, new height, new width, filter); depthwise_kernel (height, width, channel,
    depth_multiplier), pointwise_kernel (1, 1, channel * depth_multiplier, filter), bias (filter).
    Raises: ValueError for pictures without a channel axis or smaller than the kernel.
    Source: Chollet 2017, "Xception", arXiv:1610.02357.

    >>> import numpy as np
    >>> SeparableConv2D(4, 3).build(np.ones((1, 8, 8, 2)))(np.ones((1, 8, 8, 2))).shape
    (1, 6, 6, 4)
    """

    n = 2


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
