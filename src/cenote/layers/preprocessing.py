"""Preparation as layers: it is part of the model, is compiled with it and saved with it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .base import Layer
from .check import floating


class Rescaling(Layer):
    """Another scale: ``y = x * scale + offset``; pixels from 0 to 255 become 0 to 1 by ``Rescaling(1 / 255)``.

    >>> import numpy as np
    >>> Rescaling(1 / 255)(np.array([[0, 255]], "uint8")).tolist()
    [[0.0, 1.0]]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale, self.offset = scale, offset

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        return x * jnp.asarray(self.scale, x.dtype) + jnp.asarray(self.offset, x.dtype)


class Normalization(Layer):
    """Mean 0 and variance 1 for each feature: ``y = (x - mean) / sqrt(variance)``.

    The statistics come from ``adapt(data)``, or are given as ``mean`` and ``variance``. ``axis`` names the axes that keep their
    own statistics (the features; None: one mean for all). ``invert`` goes the other way. Adapted statistics are state: they are
    saved with the model and are not trained.
    Raises: ValueError when it is used before ``adapt``.

    >>> import numpy as np
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[1.0], [3.0]]))
    >>> layer.build(np.zeros((1, 1)))(np.array([[5.0]])).tolist()
    [[3.0]]
    """

    supports_masking = True

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization needs both mean and variance, or neither: then call adapt(data)")
        self.axis = axis if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.invert = invert
        self._statistics = None if mean is None else (np.asarray(mean, "float32"), np.asarray(variance, "float32"))

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data: an array, or an iterable of arrays (batches)."""
        batches = [data] if hasattr(data, "shape") or isinstance(data, (list, tuple)) else data
        count, total, squares = 0, 0.0, 0.0
        for batch in batches:
            batch = np.asarray(batch, "float64")
            if batch.size == 0:
                continue
            over = self._others(batch.ndim)
            size = int(np.prod([batch.shape[i] for i in over]))
            mean, variance = batch.mean(over), batch.var(over)
            # Means and squared distances of parts add up without loss (Chan et al. 1983).
            both = count + size
            squares = squares + variance * size + (mean - total) ** 2 * (count * size / both)
            total = total + (mean - total) * (size / both)
            count = both
        if not count:
            raise ValueError("Normalization.adapt was given no data")
        self._statistics = (np.asarray(total, "float32"), np.asarray(squares / count, "float32"))
        if self._arrays:
            for name, value in zip(("mean", "variance"), self._statistics, strict=True):
                self._arrays[name] = jnp.asarray(value).reshape(self._arrays[name].shape)

    def _others(self, ndim: int) -> tuple[int, ...]:
        kept = set() if self.axis is None else {a % ndim for a in self.axis}
        return tuple(i for i in range(ndim) if i not in kept)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        kept = () if self.axis is None else tuple(sorted(a % x.ndim for a in self.axis))
        shape = tuple(x.shape[i] for i in kept)
        mean, variance = (self.state(name, shape, self._start(i)) for i, name in enumerate(("mean", "variance")))
        spread = tuple(x.shape[i] if i in kept else 1 for i in range(x.ndim))
        mean, variance = mean.reshape(spread).astype(x.dtype), variance.reshape(spread).astype(x.dtype)
        deviation = jnp.maximum(jnp.sqrt(variance), 1e-7)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def _start(self, which: int) -> Any:
        def start(key: Any, shape: tuple, dtype: Any) -> Any:
            if self._statistics is None:
                raise ValueError("Normalization has no statistics yet: call adapt(data) first, or give mean= and variance=")
            return np.broadcast_to(self._statistics[which], shape).astype(dtype)

        return start
