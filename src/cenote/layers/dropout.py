"""Dropout: noise against overfitting, in training only."""

from __future__ import annotations

from typing import Any

import jax

from ..kernels import random
from .base import Layer
from .check import floating, fraction


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
        shape = x.shape if self.noise_shape is None else self.noise_shape
        return random.dropout(x, self.rate, key, tuple(x.shape[i] if s is None else s for i, s in enumerate(shape)))
