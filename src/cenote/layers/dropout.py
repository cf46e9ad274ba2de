"""Dropout and its kin: noise on what passes through, in training only, around the same mean."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels import random
from .base import Layer
from .check import channels_last, floating, fraction, rank

__all__ = [
    "AlphaDropout",
    "DropPath",
    "Dropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]


class Noisy(Layer):
    """The base of layers that add noise in training: write ``disturb(x, key)``; ``seed`` is added to the seed of the run."""

    supports_masking = True
    seed: int | None = None
    strength: str = "rate"  # the attribute that is 0 where there is no noise

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        raise NotImplementedError

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        if not self.train or getattr(self, self.strength) == 0:
            return x
        return self.disturb(x, self.seeded_key())


class Dropout(Noisy):
    """In training, zeros with probability ``rate`` and ``x / (1 - rate)`` elsewhere; otherwise nothing.

    ``noise_shape`` is the shape of the mask, with 1 or None for the axes that share a draw or keep their size. The draws follow
    from the seed of the run; ``seed`` is accepted for Keras's sake and adds to it.
    Source: Srivastava et al. 2014, JMLR 15.

    >>> import numpy as np
    >>> Dropout(0.5)(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(
        self, rate: float, noise_shape: tuple[int | None, ...] | None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.rate = fraction(self, "rate", rate)
        self.noise_shape, self.seed = noise_shape, seed

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        return random.dropout(x, self.rate, key, self._noise(x.shape))

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        wanted = shape if self.noise_shape is None else tuple(self.noise_shape)
        if len(wanted) != len(shape) or any(n not in (None, 1, size) for n, size in zip(wanted, shape, strict=True)):
            raise ValueError(
                f"{type(self).__name__}(noise_shape={self.noise_shape}) does not fit an input of shape {shape}: give each axis "
                f"None for its own size, or 1 where it shares one draw"
            )
        return tuple(size if n is None else n for n, size in zip(wanted, shape, strict=True))


class _Spatial(Dropout):
    axes: str = "(batch, time, channel)"

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, seed=seed, **options)
        channels_last(self, data_format)

    def forward(self, x: Any) -> jax.Array:
        rank(self, x, self.axes.count(",") + 1, self.axes)
        return super().forward(x)

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *[1] * (len(shape) - 2), shape[-1])


class SpatialDropout1D(_Spatial):
    """Dropout of whole channels of a sequence: a channel of an example is dropped at all times or at none.

    Shapes: (batch, time, channel) -> the same. Source: Tompson et al. 2015, arXiv:1411.4280.

    >>> import numpy as np
    >>> SpatialDropout1D(0.5)(np.ones((1, 4, 2))).shape
    (1, 4, 2)
    """

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, seed=seed, **options)


class SpatialDropout2D(_Spatial):
    """Dropout of whole channels of a picture: a channel of an example is dropped at all places or at none.

    Shapes: (batch, height, width, channel) -> the same. Source: Tompson et al. 2015, arXiv:1411.4280.

    >>> import numpy as np
    >>> SpatialDropout2D(0.5)(np.ones((1, 4, 4, 2))).shape
    (1, 4, 4, 2)
    """

    axes = "(batch, height, width, channel)"


class SpatialDropout3D(_Spatial):
    """Dropout of whole channels of a volume: a channel of an example is dropped at all places or at none.

    Shapes: (batch, depth, height, width, channel) -> the same. Source: Tompson et al. 2015, arXiv:1411.4280.

    >>> import numpy as np
    >>> SpatialDropout3D(0.5)(np.ones((1, 2, 4, 4, 2))).shape
    (1, 2, 4, 4, 2)
    """

    axes = "(batch, depth, height, width, channel)"


class DropPath(Dropout):
    """Stochastic depth: in training, a whole example becomes 0 with probability ``rate``, else ``x / (1 - rate)``.

    It stands at the end of a residual branch, before the sum: ``x + DropPath(0.1)(branch(x))``. As in PyTorch's timm.
    Source: Huang et al. 2016, arXiv:1603.09382.

    >>> import numpy as np
    >>> DropPath(0.5)(np.ones((2, 3))).shape
    (2, 3)
    """

    def __init__(self, rate: float = 0.0, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, seed=seed, **options)

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *[1] * (len(shape) - 1))


# Where SELU ends far below zero: -alpha scale.
_FLOOR = -1.6732632423543772 * 1.0507009873554805


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, for SELU layers: ``a (x or -1.758 with probability rate) + b``.

    ``a = ((1 - rate) (1 + rate 1.758^2))^(-1/2)`` and ``b = 1.758 a rate``; -1.758 is where SELU ends far below zero.
    ``noise_shape`` and ``seed`` as in Dropout.
    Source: Klambauer et al. 2017, arXiv:1706.02515.

    >>> import numpy as np
    >>> AlphaDropout(0.5)(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        a = ((1 - self.rate) * (1 + self.rate * _FLOOR**2)) ** -0.5
        keep = random.kept(jax.random.key_data(key), self.rate, self._noise(x.shape))
        exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return (a * jnp.where(keep, exact, _FLOOR) - a * _FLOOR * self.rate).astype(x.dtype)


class FeatureAlphaDropout(AlphaDropout):
    """AlphaDropout of whole channels: a channel of an example is dropped at all places or at none. PyTorch's layer.

    Shapes: (batch, ..., channel) -> the same. Source: Klambauer et al. 2017, arXiv:1706.02515.

    >>> import numpy as np
    >>> FeatureAlphaDropout(0.5)(np.ones((1, 4, 2))).shape
    (1, 4, 2)
    """

    def __init__(self, rate: float = 0.5, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, seed=seed, **options)

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *[1] * (len(shape) - 2), shape[-1])


class GaussianDropout(Noisy):
    """In training, ``x n`` with n normal of mean 1 and standard deviation ``sqrt(rate / (1 - rate))``: Dropout's moments.

    Source: Srivastava et al. 2014, JMLR 15, section 10.

    >>> import numpy as np
    >>> GaussianDropout(0.5)(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.seed = fraction(self, "rate", rate), seed

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return (exact * (1 + math.sqrt(self.rate / (1 - self.rate)) * random.normal(key, x.shape))).astype(x.dtype)
