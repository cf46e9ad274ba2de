"""Pooling along one, two or three axes: fewer places, each with the largest value or the mean of several."""

from __future__ import annotations

import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp

from ..core import annotation
from ..kernels import pooling
from ..kernels.joined import WINDOW
from . import check
from .base import Layer

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "LPPool1D",
    "LPPool2D",
    "LPPool3D",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "MaxUnpool1D",
    "MaxUnpool2D",
    "MaxUnpool3D",
]

Size = int | tuple[int, ...]


class _Pool(Layer):
    """What pooling layers share: a window that moves along ``n`` axes, by its own size unless ``strides`` says otherwise."""

    n = 2

    def __init__(
        self,
        pool_size: Size = 2,
        strides: Size | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check.channels_last(self, data_format)
        self.pool_size = check.sizes(self, "pool_size", pool_size, self.n)
        self.strides = self.pool_size if strides is None else check.sizes(self, "strides", strides, self.n)
        self.padding = check.padding(self, padding)

    def _input(self, x: Any) -> jax.Array:
        x = check.space(self, x, self.n)
        if self.padding == "valid":
            check.room(self, "window", self.pool_size, x.shape[1:-1])
        return x


class _MaxPooling(_Pool):
    looks_once = True

    def __init__(
        self,
        pool_size: Size = 2,
        strides: Size | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        *,
        return_indices: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **options)
        self.return_indices = return_indices

    def forward(self, x: Any) -> Any:
        joined = annotation(x, "largest of 2x2") if annotation(x, "only here") else None
        x = self._input(x)
        window = self.pool_size, self.strides, self.padding
        even = self.padding == "valid" or not any(n % 2 for n in x.shape[1:-1])
        if joined is not None and window[:2] == (WINDOW, WINDOW) and even and not self.return_indices:
            return joined()  # by the convolution that x comes from, in its own pass
        y = pooling.max_pool(x, *window)
        return (y, pooling.max_pool_places(x, *window)) if self.return_indices else y


class MaxPooling1D(_MaxPooling):
    """The largest value in each window: (batch, time, channel) -> (batch, time / 2, channel) by default; as `MaxPooling2D`.

    >>> import numpy as np
    >>> MaxPooling1D()(np.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [1.0, 3.0]
    """

    n = 1


class MaxPooling2D(_MaxPooling):
    """The largest value in each window: (batch, height, width, channel) -> (batch, height / 2, width / 2, channel) by default.

    Args: ``pool_size`` and ``strides`` (the same by default) a number or (height, width); ``padding`` "valid" or "same";
    ``return_indices`` gives (values, places) for `MaxUnpool2D`: the number of each value's place in its picture, row by row.
    Of equal values the first gets the gradient.
    Raises: ValueError for pictures without a channel axis or smaller than the window.

    >>> import numpy as np
    >>> MaxPooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    n = 2


class MaxPooling3D(_MaxPooling):
    """The largest value in each window of volumes (batch, depth, height, width, channel); as `MaxPooling2D`.

    >>> import numpy as np
    >>> MaxPooling3D()(np.arange(8.0).reshape(1, 2, 2, 2, 1)).ravel().tolist()
    [7.0]
    """

    n = 3


class _AveragePooling(_Pool):
    def forward(self, x: Any) -> jax.Array:
        return pooling.average_pool(self._input(x), self.pool_size, self.strides, self.padding)


class AveragePooling1D(_AveragePooling):
    """The mean of each window: (batch, time, channel) -> (batch, time / pool_size, channel); as `AveragePooling2D`.

    >>> import numpy as np
    >>> AveragePooling1D(2)(np.arange(4.0).reshape(1, 4, 1)).ravel().tolist()
    [0.5, 2.5]
    """

    n = 1


class AveragePooling2D(_AveragePooling):
    """The mean of each window; padding does not count.

    Shapes: (batch, height, width, channel) -> (batch, height / pool_size, width / pool_size, channel) if not ``strides``.
    Raises: ValueError for pictures without a channel axis or smaller than the window.

    >>> import numpy as np
    >>> AveragePooling2D(2)(np.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """

    n = 2


class AveragePooling3D(_AveragePooling):
    """The mean of each window of volumes (batch, depth, height, width, channel); as `AveragePooling2D`.

    >>> import numpy as np
    >>> AveragePooling3D(2)(np.arange(8.0).reshape(1, 2, 2, 2, 1)).ravel().tolist()
    [3.5]
    """

    n = 3


class _LPPool(_Pool):
    def __init__(
        self,
        norm_type: float,
        pool_size: Size,
        strides: Size | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **options)
        if isinstance(norm_type, bool) or not isinstance(norm_type, numbers.Real) or not norm_type > 0:
            raise ValueError(f"{type(self).__name__} needs norm_type to be a number above 0, got {norm_type!r}")
        self.norm_type = int(norm_type) if float(norm_type).is_integer() else float(norm_type)

    def forward(self, x: Any) -> jax.Array:
        return pooling.lp_pool(self._input(x), self.norm_type, self.pool_size, self.strides, self.padding)


class LPPool1D(_LPPool):
    """The p-norm of each window of sequences (batch, time, channel); as `LPPool2D`.

    >>> import numpy as np
    >>> LPPool1D(2, 2)(np.array([3.0, 4.0]).reshape(1, 2, 1)).ravel().tolist()
    [5.0]
    """

    n = 1


class LPPool2D(_LPPool):
    """The p-norm of each window: ``y = (sum over the window of x^p)^(1 / p)``, p being ``norm_type``; PyTorch's LPPool2d.

    As in PyTorch the powers are not of absolute values: a negative sum, possible for odd p, gives nan.
    Shapes: (batch, height, width, channel) -> (batch, height / pool_size, width / pool_size, channel) if not ``strides``.
    Raises: ValueError for a ``norm_type`` that is not above 0.

    >>> import numpy as np
    >>> LPPool2D(2, (1, 2))(np.array([3.0, 4.0]).reshape(1, 1, 2, 1)).ravel().tolist()
    [5.0]
    """

    n = 2


class LPPool3D(_LPPool):
    """The p-norm of each window of volumes (batch, depth, height, width, channel); as `LPPool2D`.

    >>> import numpy as np
    >>> LPPool3D(2, (1, 1, 2))(np.array([3.0, 4.0]).reshape(1, 1, 1, 2, 1)).ravel().tolist()
    [5.0]
    """

    n = 3


class _MaxUnpool(_Pool):
    def forward(self, x: Any, indices: Any, output_size: Size | None = None) -> jax.Array:
        x, indices = check.space(self, x, self.n), jnp.asarray(indices)
        if indices.shape != x.shape:
            raise ValueError(
                f"{type(self).__name__} takes values and their places in one shape, got {x.shape} and {indices.shape}: pass "
                f"what MaxPooling{self.n}D(return_indices=True) gave, layer(values, places)"
            )
        if output_size is not None:
            size = check.sizes(self, "output_size", output_size, self.n)
        else:
            extra = self.strides if self.padding == "same" else self.pool_size
            size = tuple((n - 1) * s + e for n, s, e in zip(x.shape[1:-1], self.strides, extra, strict=True))
        return pooling.unpool(x, indices.astype(jnp.int32), size)


class MaxUnpool1D(_MaxUnpool):
    """The values of a `MaxPooling1D` back where they came from, zeros elsewhere; as `MaxUnpool2D`.

    >>> import numpy as np
    >>> MaxUnpool1D()(*MaxPooling1D(return_indices=True)(np.arange(4.0).reshape(1, 4, 1))).ravel().tolist()
    [0.0, 1.0, 0.0, 3.0]
    """

    n = 1


class MaxUnpool2D(_MaxUnpool):
    """The values of a `MaxPooling2D` back where they came from, zeros elsewhere: ``layer(values, places)``.

    Args: those of the pooling. The result has the smallest size from which that pooling makes such an input, or the
    ``output_size`` given in the call: say it where the pooling left places over, since places are counted row by row.
    Shapes: (batch, height, width, channel), twice -> (batch, height * 2, width * 2, channel) by default.
    Raises: ValueError for values and places of different shapes.
    Source: Zeiler and Fergus 2013, arXiv:1311.2901.

    >>> import numpy as np
    >>> values, places = MaxPooling2D(return_indices=True)(np.arange(4.0).reshape(1, 2, 2, 1))
    >>> MaxUnpool2D()(values, places)[0, :, :, 0].tolist()
    [[0.0, 0.0], [0.0, 3.0]]
    """

    n = 2


class MaxUnpool3D(_MaxUnpool):
    """The values of a `MaxPooling3D` back where they came from, zeros elsewhere; as `MaxUnpool2D`.

    >>> import numpy as np
    >>> MaxUnpool3D()(*MaxPooling3D(return_indices=True)(np.arange(8.0).reshape(1, 2, 2, 2, 1))).ravel().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 7.0]
    """

    n = 3


class _GlobalPooling(Layer):
    n = 2

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        check.channels_last(self, data_format)
        self.keepdims = keepdims

    def _places(self, x: Any) -> jax.Array:
        """All places of an example on one axis: (batch, place, channel)."""
        x = check.space(self, x, self.n)
        return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])

    def _kept(self, y: jax.Array) -> jax.Array:
        return y.reshape(y.shape[0], *(1,) * self.n, y.shape[-1]) if self.keepdims else y


class _GlobalMaxPooling(_GlobalPooling):
    def forward(self, x: Any) -> jax.Array:
        return self._kept(self._places(x).max(1))


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The largest value of each channel over time: (batch, time, channel) -> (batch, channel).

    >>> import numpy as np
    >>> GlobalMaxPooling1D()(np.arange(6.0).reshape(1, 3, 2)).tolist()
    [[4.0, 5.0]]
    """

    n = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The largest value of each channel over the whole picture: (batch, height, width, channel) -> (batch, channel).

    ``keepdims`` keeps height and width as axes of size 1. Equal values share the gradient.

    >>> import numpy as np
    >>> GlobalMaxPooling2D()(np.ones((2, 4, 4, 3))).shape
    (2, 3)
    """

    n = 2


class GlobalMaxPooling3D(_GlobalMaxPooling):
    """The largest value of each channel over the whole volume: (batch, depth, height, width, channel) -> (batch, channel).

    >>> import numpy as np
    >>> GlobalMaxPooling3D(keepdims=True)(np.ones((2, 4, 4, 4, 3))).shape
    (2, 1, 1, 1, 3)
    """

    n = 3


class _GlobalAveragePooling(_GlobalPooling):
    def forward(self, x: Any) -> jax.Array:
        return self._kept(self._places(x).mean(1))


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The mean of each channel over time, or over the steps that the mask of the sequence leaves.

    ``y = sum_t mask[t] x[t] / sum_t mask[t]``: (batch, time, channel) -> (batch, channel); without any step it is nan.

    >>> import numpy as np
    >>> GlobalAveragePooling1D()(np.arange(6.0).reshape(1, 3, 2)).tolist()
    [[2.0, 3.0]]
    """

    n = 1

    def forward(self, x: Any) -> jax.Array:
        mask = self.mask(x)
        if mask is None:
            return super().forward(x)
        x, valid = self._places(x), mask.astype(bool)[..., None]
        total = jnp.where(valid, x, jnp.zeros((), x.dtype)).sum(1)
        return self._kept(total / valid.sum(1).astype(x.dtype))


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The mean of each channel over the whole picture: (batch, height, width, channel) -> (batch, channel).

    ``keepdims`` keeps height and width as axes of size 1.
    Source: Lin et al. 2013, "Network in network", arXiv:1312.4400.

    >>> import numpy as np
    >>> GlobalAveragePooling2D()(np.ones((2, 4, 4, 3))).shape
    (2, 3)
    """

    n = 2


class GlobalAveragePooling3D(_GlobalAveragePooling):
    """The mean of each channel over the whole volume: (batch, depth, height, width, channel) -> (batch, channel).

    >>> import numpy as np
    >>> GlobalAveragePooling3D()(np.ones((2, 4, 4, 4, 3))).shape
    (2, 3)
    """

    n = 3


class _AdaptivePooling(Layer):
    n = 2

    def __init__(self, output_size: Size, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        check.channels_last(self, data_format)
        self.output_size = check.sizes(self, "output_size", output_size, self.n)


class _AdaptiveMaxPooling(_AdaptivePooling):
    def forward(self, x: Any) -> jax.Array:
        return pooling.adaptive_max_pool(check.space(self, x, self.n), self.output_size)


class AdaptiveMaxPooling1D(_AdaptiveMaxPooling):
    """The largest value of each of ``output_size`` windows: (batch, time, channel) -> (batch, output_size, channel).

    >>> import numpy as np
    >>> AdaptiveMaxPooling1D(2)(np.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [2.0, 4.0]
    """

    n = 1


class AdaptiveMaxPooling2D(_AdaptiveMaxPooling):
    """The largest value of each of as many windows as ``output_size``, a number or (height, width), says.

    Window i of m along an axis of n places reaches from floor(i n / m) up to ceil((i + 1) n / m).
    Shapes: (batch, height, width, channel) -> (batch, *output_size, channel).

    >>> import numpy as np
    >>> AdaptiveMaxPooling2D((1, 3))(np.ones((2, 4, 5, 3))).shape
    (2, 1, 3, 3)
    """

    n = 2


class AdaptiveMaxPooling3D(_AdaptiveMaxPooling):
    """The largest value of each of ``output_size`` windows of volumes (batch, depth, height, width, channel).

    >>> import numpy as np
    >>> AdaptiveMaxPooling3D(2)(np.ones((2, 4, 5, 3, 1))).shape
    (2, 2, 2, 2, 1)
    """

    n = 3


class _AdaptiveAveragePooling(_AdaptivePooling):
    def forward(self, x: Any) -> jax.Array:
        return pooling.adaptive_average_pool(check.space(self, x, self.n), self.output_size)


class AdaptiveAveragePooling1D(_AdaptiveAveragePooling):
    """The mean of each of ``output_size`` windows: (batch, time, channel) -> (batch, output_size, channel).

    >>> import numpy as np
    >>> AdaptiveAveragePooling1D(2)(np.arange(5.0).reshape(1, 5, 1)).ravel().tolist()
    [1.0, 3.0]
    """

    n = 1


class AdaptiveAveragePooling2D(_AdaptiveAveragePooling):
    """The mean of each of as many windows as ``output_size`` says, those of `AdaptiveMaxPooling2D`.

    Shapes: (batch, height, width, channel) -> (batch, *output_size, channel).

    >>> import numpy as np
    >>> AdaptiveAveragePooling2D(2)(np.ones((2, 4, 5, 3))).shape
    (2, 2, 2, 3)
    """

    n = 2


class AdaptiveAveragePooling3D(_AdaptiveAveragePooling):
    """The mean of each of ``output_size`` windows of volumes (batch, depth, height, width, channel).

    >>> import numpy as np
    >>> AdaptiveAveragePooling3D(2)(np.ones((2, 4, 5, 3, 1))).shape
    (2, 2, 2, 2, 1)
    """

    n = 3


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D
