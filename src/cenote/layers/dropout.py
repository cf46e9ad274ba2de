"""Dropout: noise against overfitting, in training only."""

from __future__ import annotations

from typing import Any

import jax

from ..kernels import random
from .base import Layer
from .check import floating, fraction

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training, zeros with probability ``rate`` and ``x / (1 - rate)`` elsewhere; otherwise nothing.

    ``noise_shape`` is the shape of the mask, with 1 or None for the axes that share a draw or keep their size. The draws follow
    from the seed of the run; ``seed`` is accepted for Keras's sake and adds to it.
    Source: Srivastava et al. 2014, JMLR 15.

    >>> import numpy as np
    >>> Dropout(0.5)(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    supports_masking = True

    def __init__(
        self, rate: float, noise_shape: tuple[int | None, ...] | None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.rate = fraction(self, "rate", rate)
        self.noise_shape, self.seed = noise_shape, seed

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        if not self.train or self.rate == 0:
            return x
        key = self.next_key()
        if self.seed is not None:
            key = jax.random.fold_in(key, self.seed)
        return random.dropout(x, self.rate, key, self._noise(x.shape))

    def _noise(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        wanted = shape if self.noise_shape is None else tuple(self.noise_shape)
        if len(wanted) != len(shape) or any(n not in (None, 1, size) for n, size in zip(wanted, shape, strict=True)):
            raise ValueError(
                f"Dropout(noise_shape={self.noise_shape}) does not fit an input of shape {shape}: give each axis None for its "
                f"own size, or 1 where it shares one draw"
            )
        return tuple(size if n is None else n for n, size in zip(wanted, shape, strict=True))
