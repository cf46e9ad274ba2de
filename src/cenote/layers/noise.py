"""What regularises beside dropout: noise that is added, a penalty on what passes through."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp

from .. import regularizers
from ..kernels import random
from .base import Layer
from .check import floating
from .dropout import Noisy

__all__ = ["ActivityRegularization", "GaussianNoise"]


class GaussianNoise(Noisy):
    """In training, ``x + stddev n`` with n standard normal; otherwise nothing.

    The draws follow from the seed of the run, to which ``seed`` adds. Keras refuses a ``stddev`` above 1; here inputs may be of
    any scale.

    >>> import numpy as np
    >>> GaussianNoise(0.1)(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    strength = "stddev"

    def __init__(self, stddev: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(stddev, numbers.Real) or not 0 <= float(stddev) < float("inf"):
            raise ValueError(f"GaussianNoise needs stddev of 0 or more, got {stddev!r}")
        self.stddev, self.seed = float(stddev), seed

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return (exact + self.stddev * random.normal(key, x.shape)).astype(x.dtype)


class ActivityRegularization(Layer):
    """The input unchanged; ``l1 sum(|x|) + l2 sum(x^2)``, divided by the batch size, is added to the training loss.

    >>> import numpy as np
    >>> ActivityRegularization(l1=0.01)(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **options)
        self.l1, self.l2 = l1, l2

    def forward(self, x: Any) -> jax.Array:
        return floating(x)
