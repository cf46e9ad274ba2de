"""Layers that only move numbers: other shapes, margins, repetition."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..core.errors import unknown
from .base import Layer
from .check import channels_last, floating, positive, rank

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Flatten",
    "Permute",
    "RepeatVector",
    "Reshape",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]


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


class Permute(Layer):
    """The axes of an example in another order, counted from 1: (batch, a, b) with dims=(2, 1) -> (batch, b, a).

    >>> import numpy as np
    >>> Permute((2, 1))(np.zeros((2, 3, 4))).shape
    (2, 4, 3)
    """

    def __init__(self, dims: tuple[int, ...], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute needs dims to be the numbers from 1 to the number of axes, each once; got {dims!r}")

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        rank(self, x, len(self.dims) + 1, "(batch, " + ", ".join(f"axis {d}" for d in sorted(self.dims)) + ")")
        return x.transpose(0, *self.dims)


class RepeatVector(Layer):
    """Each example ``n`` times, as the steps of a sequence: (batch, feature) -> (batch, n, feature).

    >>> import numpy as np
    >>> RepeatVector(3)(np.zeros((2, 4))).shape
    (2, 3, 4)
    """

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = positive(self, "n", n)

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        rank(self, x, 2, "(batch, feature)")
        return jnp.repeat(x[:, None], self.n, 1)


_AXES = {1: "(batch, time, channel)", 2: "(batch, height, width, channel)", 3: "(batch, depth, height, width, channel)"}


def _margins(layer: Any, name: str, value: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """Before and after each axis: from one number, from one a axis, or from pairs."""
    given = value
    if not isinstance(value, (tuple, list)):
        value = (value,) * axes if axes > 1 else ((value, value),)
    elif axes == 1 and len(value) == 2 and not isinstance(value[0], (tuple, list)):
        value = (value,)
    pairs = [tuple(v) if isinstance(v, (tuple, list)) else (v, v) for v in value]
    whole = all(len(p) == 2 and all(hasattr(n, "__index__") and n >= 0 for n in p) for p in pairs)
    if len(pairs) != axes or not whole:
        raise ValueError(
            f"{type(layer).__name__} needs {name} to be a whole number from 0 up, one for each of {axes} axes, or a pair "
            f"(before, after) for each; got {given!r}"
        )
    return tuple((int(a), int(b)) for a, b in pairs)


class _Margins(Layer):
    """What layers that take off or put on margins share."""

    spatial = 1
    default: Any = 1

    def _setup(self, name: str, value: Any, data_format: str | None) -> tuple[tuple[int, int], ...]:
        channels_last(self, data_format)
        return _margins(self, name, self.default if value is None else value, self.spatial)

    def _rank(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        rank(self, x, self.spatial + 2, _AXES[self.spatial])
        return x


class Cropping2D(_Margins):
    """Margins off a picture: ``cropping`` ((top, bottom), (left, right)), or one number for each axis, or one for all.

    Shapes: (batch, height, width, channel) -> (batch, height - top - bottom, width - left - right, channel). None: nothing.
    Raises: ValueError where nothing would be left.

    >>> import numpy as np
    >>> Cropping2D(((1, 0), (2, 1)))(np.zeros((1, 5, 5, 3))).shape
    (1, 4, 2, 3)
    """

    spatial, default = 2, 0

    def __init__(self, cropping: Any = None, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.cropping = self._setup("cropping", cropping, data_format)

    def forward(self, x: Any) -> jax.Array:
        x = self._rank(x)
        if any(a + b >= size for size, (a, b) in zip(x.shape[1:-1], self.cropping, strict=True)):
            raise ValueError(f"{type(self).__name__} would cut {self.cropping} off {x.shape[1:-1]}: nothing would be left")
        return x[(slice(None), *(slice(a, n - b) for n, (a, b) in zip(x.shape[1:-1], self.cropping, strict=True)))]


class Cropping1D(Cropping2D):
    """Steps off both ends of a sequence: (batch, time, channel); ``cropping`` a number or (before, after); None: one each.

    >>> import numpy as np
    >>> Cropping1D((1, 2))(np.zeros((1, 5, 3))).shape
    (1, 2, 3)
    """

    spatial, default = 1, 1


class Cropping3D(Cropping2D):
    """Margins off a volume: (batch, depth, height, width, channel); ``cropping`` as in Cropping2D; None: one on each side.

    >>> import numpy as np
    >>> Cropping3D()(np.zeros((1, 5, 5, 4, 3))).shape
    (1, 3, 3, 2, 3)
    """

    spatial, default = 3, 1


class ZeroPadding2D(_Margins):
    """Zeros round a picture: ``padding`` ((top, bottom), (left, right)), or one number for each axis, or one for all (1).

    Shapes: (batch, height, width, channel) -> (batch, top + height + bottom, left + width + right, channel).

    >>> import numpy as np
    >>> ZeroPadding2D((1, 2))(np.zeros((1, 5, 5, 3))).shape
    (1, 7, 9, 3)
    """

    spatial = 2

    def __init__(self, padding: Any = None, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.padding = self._setup("padding", padding, data_format)

    def forward(self, x: Any) -> jax.Array:
        return jnp.pad(self._rank(x), ((0, 0), *self.padding, (0, 0)))


class ZeroPadding1D(ZeroPadding2D):
    """Zeros before and after a sequence: (batch, time, channel); ``padding`` a number or (before, after).

    >>> import numpy as np
    >>> ZeroPadding1D((2, 0))(np.zeros((1, 5, 3))).shape
    (1, 7, 3)
    """

    spatial = 1


class ZeroPadding3D(ZeroPadding2D):
    """Zeros round a volume: (batch, depth, height, width, channel); ``padding`` as in ZeroPadding2D.

    >>> import numpy as np
    >>> ZeroPadding3D()(np.zeros((1, 2, 2, 2, 3))).shape
    (1, 4, 4, 4, 3)
    """

    spatial = 3


_RESIZE = {"bilinear": "linear", "bicubic": "cubic", "lanczos3": "lanczos3", "lanczos5": "lanczos5"}


class UpSampling2D(Layer):
    """A picture ``size`` times as large: each place repeated ("nearest"), or resampled.

    ``size`` a number or (height, width); ``interpolation`` "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5".
    Shapes: (batch, height, width, channel) -> (batch, height * size, width * size, channel).

    >>> import numpy as np
    >>> UpSampling2D((1, 2))(np.array([1.0, 2.0]).reshape(1, 1, 2, 1)).ravel().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """

    spatial = 2

    def __init__(self, size: Any = 2, data_format: str | None = None, interpolation: str = "nearest", **options: Any) -> None:
        super().__init__(**options)
        channels_last(self, data_format)
        sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * self.spatial
        if len(sizes) != self.spatial:
            raise ValueError(f"{type(self).__name__} needs size to be a whole number or {self.spatial} of them, got {size!r}")
        self.size = tuple(positive(self, "size", n) for n in sizes)
        if interpolation != "nearest" and interpolation not in _RESIZE:
            raise unknown(f"interpolation of {type(self).__name__}", interpolation, ["nearest", *_RESIZE])
        self.interpolation = interpolation

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        rank(self, x, self.spatial + 2, _AXES[self.spatial])
        if self.interpolation == "nearest":
            for axis, times in enumerate(self.size, 1):
                x = jnp.repeat(x, times, axis)
            return x
        larger = (n * times for n, times in zip(x.shape[1:-1], self.size, strict=True))
        return jax.image.resize(floating(x), (x.shape[0], *larger, x.shape[-1]), _RESIZE[self.interpolation])


class UpSampling1D(UpSampling2D):
    """Each step of a sequence ``size`` times: (batch, time, channel) -> (batch, time * size, channel).

    >>> import numpy as np
    >>> UpSampling1D(2)(np.zeros((1, 3, 2))).shape
    (1, 6, 2)
    """

    spatial = 1

    def __init__(self, size: int = 2, **options: Any) -> None:
        super().__init__(size, **options)


class UpSampling3D(UpSampling2D):
    """Each place of a volume ``size`` times along each axis: (batch, depth, height, width, channel).

    >>> import numpy as np
    >>> UpSampling3D((1, 2, 3))(np.zeros((1, 2, 2, 2, 1))).shape
    (1, 2, 4, 6, 1)
    """

    spatial = 3

    def __init__(self, size: Any = 2, data_format: str | None = None, **options: Any) -> None:
        super().__init__(size, data_format, **options)
