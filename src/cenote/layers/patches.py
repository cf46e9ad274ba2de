"""Pictures to patches and back: Unfold, Fold; channels to places and back: PixelShuffle, PixelUnshuffle, ChannelShuffle."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.convolution import places, put_back, shifts
from . import check
from .base import Layer

__all__ = ["ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold"]

Size = int | tuple[int, int]


class _Patches(Layer):
    """What Unfold and Fold share: a window that slides over a picture."""

    def _slides(self, kernel_size: Size, dilation: Size, padding: Size, stride: Size) -> None:
        self.kernel_size = check.pair(self, "kernel_size", kernel_size)
        self.dilation = check.pair(self, "dilation", dilation)
        self.stride = check.pair(self, "stride", stride)
        around = tuple(padding) if isinstance(padding, (tuple, list)) else (padding, padding)
        if len(around) != 2 or not all(hasattr(p, "__index__") and p >= 0 for p in around):
            raise ValueError(
                f"{type(self).__name__} needs padding to be a whole number of zeros round the picture, or two of them, "
                f"got {padding!r}"
            )
        self.padding = int(around[0]), int(around[1])

    @property
    def _pads(self) -> tuple:
        return tuple((p, p) for p in self.padding)

    def _steps(self, size: tuple[int, ...]) -> tuple[int, int]:
        """How many patches stand below and beside each other in a picture of this size."""
        all_of_them = zip(size, self.kernel_size, self.dilation, self.padding, self.stride, strict=True)
        rows, columns = ((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, d, p, s in all_of_them)
        if rows < 1 or columns < 1:
            raise ValueError(
                f"{type(self).__name__} with a kernel of {self.kernel_size} finds no room in a picture of {size}: give a "
                f"smaller kernel_size, or more padding"
            )
        return rows, columns


class Unfold(_Patches):
    """Each patch of a picture as a row of numbers, PyTorch's Unfold with the channels last.

    Args: ``kernel_size`` the size of a patch; ``dilation`` the distance of its pixels; ``padding`` zeros on each side;
    ``stride`` the distance of patches; each a number or (height, width).
    Shapes: (batch, height, width, channel) -> (batch, patch, channel * patch height * patch width). The patches are in order of
    rows; in a patch the channel is slowest and the column fastest, so that ``torch.nn.Unfold`` of the same picture is this with
    the last two axes exchanged.
    Raises: ValueError for pictures smaller than the patch.

    >>> import numpy as np
    >>> Unfold(2, stride=2)(np.arange(16.0).reshape(1, 4, 4, 1))[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1, **options: Any) -> None:
        super().__init__(**options)
        self._slides(kernel_size, dilation, padding, stride)

    def forward(self, x: Any) -> jax.Array:
        x = check.space(self, x, 2)
        self._steps(x.shape[1:-1])
        seen = [part for _, part in shifts(x, self.kernel_size, self.stride, self._pads, self.dilation)]
        # (batch, rows, columns, channel, place in the patch)
        return jnp.stack(seen, -1).reshape(x.shape[0], -1, x.shape[-1] * len(seen))


class Fold(_Patches):
    """The way back of `Unfold`: patches put where they were, and added up where they overlap.

    Args: ``output_size`` of the picture, a number or (height, width); the others as in `Unfold`.
    Shapes: (batch, patch, channel * patch height * patch width) -> (batch, height, width, channel), in the order of `Unfold`.
    Raises: ValueError where the number of patches or of their values does not fit.

    >>> import numpy as np
    >>> Fold(3, 2)(np.ones((1, 4, 4)))[0, :, :, 0].tolist()
    [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Size = 0,
        stride: Size = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.output_size = check.pair(self, "output_size", output_size)
        self._slides(kernel_size, dilation, padding, stride)
        self._steps(self.output_size)

    def forward(self, x: Any) -> jax.Array:
        x = check.floating(x)
        check.rank(self, x, 3, "(batch, patch, value)")
        (rows, columns), taps = self._steps(self.output_size), math.prod(self.kernel_size)
        if x.shape[1] != rows * columns or x.shape[2] % taps:
            raise ValueError(
                f"Fold takes (batch, {rows * columns}, channel * {taps}) for a picture of {self.output_size} of {rows} by "
                f"{columns} patches of {self.kernel_size}, but the input has shape {x.shape}"
            )
        parts = x.reshape(x.shape[0], rows, columns, -1, taps)
        shape = (x.shape[0], *self.output_size, parts.shape[-2])
        back = (
            put_back(parts[..., i], place, shape, self.stride, self._pads, self.dilation)
            for i, place in enumerate(places(self.kernel_size))
        )
        return functools.reduce(jnp.add, back)


class PixelShuffle(Layer):
    """Channels to places: each r * r channels become r rows and r columns of one.

    ``y[r i + u, r j + v, c] = x[i, j, c r^2 + u r + v]``, r being ``upscale_factor``. The order of channels is PyTorch's, the
    new channel slowest; TensorFlow's depth_to_space has it fastest.
    Shapes: (batch, height, width, channel * r * r) -> (batch, height * r, width * r, channel).
    Raises: ValueError for channels that do not divide by r * r.
    Source: Shi et al. 2016, "Real-time single image and video super-resolution", arXiv:1609.05158.

    >>> import numpy as np
    >>> PixelShuffle(2)(np.arange(4.0).reshape(1, 1, 1, 4))[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """

    def __init__(self, upscale_factor: int, **options: Any) -> None:
        super().__init__(**options)
        self.upscale_factor = check.positive(self, "upscale_factor", upscale_factor)

    def forward(self, x: Any) -> jax.Array:
        x, r = check.space(self, x, 2), self.upscale_factor
        batch, height, width, channel = x.shape
        if channel % (r * r):
            raise ValueError(f"PixelShuffle({r}) needs channels that divide by {r * r}, the input has {channel}")
        parts = x.reshape(batch, height, width, -1, r, r).transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(batch, height * r, width * r, -1)


class PixelUnshuffle(Layer):
    """Places to channels, the way back of `PixelShuffle`: ``y[i, j, c r^2 + u r + v] = x[r i + u, r j + v, c]``.

    Shapes: (batch, height * r, width * r, channel) -> (batch, height, width, channel * r * r), r being ``downscale_factor``.
    Raises: ValueError for pictures whose height or width does not divide by r.

    >>> import numpy as np
    >>> PixelUnshuffle(2)(np.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, downscale_factor: int, **options: Any) -> None:
        super().__init__(**options)
        self.downscale_factor = check.positive(self, "downscale_factor", downscale_factor)

    def forward(self, x: Any) -> jax.Array:
        x, r = check.space(self, x, 2), self.downscale_factor
        batch, height, width, channel = x.shape
        if height % r or width % r:
            raise ValueError(
                f"PixelUnshuffle({r}) needs a height and a width that divide by {r}, the input has {height} by {width}: crop "
                f"or pad it before"
            )
        parts = x.reshape(batch, height // r, r, width // r, r, channel).transpose(0, 1, 3, 5, 2, 4)
        return parts.reshape(batch, height // r, width // r, channel * r * r)


class ChannelShuffle(Layer):
    """The channels of several groups taken in turn: ``y[..., i groups + g] = x[..., g (channels / groups) + i]``.

    It lets grouped convolutions exchange what they know. Shapes: (batch, ..., channel) -> the same.
    Raises: ValueError for channels that do not divide by ``groups``.
    Source: Zhang et al. 2018, "ShuffleNet", arXiv:1707.01083.

    >>> import numpy as np
    >>> ChannelShuffle(2)(np.arange(4.0).reshape(1, 4)).tolist()
    [[0.0, 2.0, 1.0, 3.0]]
    """

    supports_masking = True

    def __init__(self, groups: int, **options: Any) -> None:
        super().__init__(**options)
        self.groups = check.positive(self, "groups", groups)

    def forward(self, x: Any) -> jax.Array:
        x = check.floating(x)
        if x.shape[-1] % self.groups:
            raise ValueError(f"ChannelShuffle({self.groups}) needs channels that divide by it, the input has {x.shape[-1]}")
        return x.reshape(*x.shape[:-1], self.groups, -1).swapaxes(-2, -1).reshape(x.shape)
