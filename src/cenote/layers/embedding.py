"""Embedding: a vector for each word number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core import annotate
from .base import Layer
from .check import positive

__all__ = ["Embedding"]


class Embedding(Layer):
    """A table of vectors, looked up by number: ``y = table[x]``.

    Args: ``input_dim`` numbers (0 up to it, not including it) and ``output_dim`` features; ``mask_zero`` makes 0 stand for
    padding, which later layers pass over. A number outside the table takes the nearest row: compiled code cannot raise.
    Shapes: (batch, ...) of whole numbers -> (batch, ..., output_dim).

    >>> import numpy as np
    >>> Embedding(10, 4).build(np.ones((2, 5), "int32"))(np.ones((2, 5), "int32")).shape
    (2, 5, 4)
    """

    weights = {"embeddings": "table"}

    def __init__(self, input_dim: int, output_dim: int, *, mask_zero: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        self.mask_zero = mask_zero

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        numbers = x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(jnp.int32)
        table = self.param("table", (self.input_dim, self.output_dim), "uniform")
        y = jnp.take(table, numbers, axis=0, mode="clip")
        return annotate(y, "mask", numbers != 0) if self.mask_zero else y
