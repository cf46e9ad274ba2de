"""Embedding: a vector for each word number, alone, in bags, and back from vectors to numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import annotate
from ..core.errors import unknown
from .base import Layer
from .check import floating, positive, rank

__all__ = ["Embedding", "EmbeddingBag", "ReversibleEmbedding"]


class Embedding(Layer):
    """A table of vectors, looked up by number: ``y = table[x]``.

    Args: ``input_dim`` numbers (0 up to it, not including it) and ``output_dim`` features; ``mask_zero`` makes 0 stand for
    padding, which later layers pass over; ``weights`` is a table to begin with, ``[array]`` or an array. ``lora_rank`` freezes
    the table and trains ``table + lora_alpha / lora_rank * lora_a @ lora_b`` instead, two thin matrices.
    Shapes: (batch, ...) of whole numbers -> (batch, ..., output_dim).
    Raises: ValueError for a number outside the table. Compiled code cannot raise: there such a number takes the nearest row.
    Source: low rank: Hu et al. 2021, arXiv:2106.09685.

    >>> import numpy as np
    >>> Embedding(10, 4).build(np.ones((2, 5), "int32"))(np.ones((2, 5), "int32")).shape
    (2, 5, 4)
    """

    weight_options = {"embeddings": "table"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        self.mask_zero = mask_zero
        self.lora_rank = None if lora_rank is None else positive(self, "lora_rank", lora_rank)
        self.lora_scale = 1.0 if lora_rank is None or lora_alpha is None else lora_alpha / lora_rank
        self.start = None if weights is None else _given_table(self, weights)

    def forward(self, x: Any) -> jax.Array:
        numbers = _numbers(self, x, self.input_dim)
        y = self._rows(numbers)
        return annotate(y, "mask", numbers != 0) if self.mask_zero else y

    def _rows(self, numbers: jax.Array) -> jax.Array:
        table, low, high = self._tables()
        y = jnp.take(table, numbers, axis=0, mode="clip")
        return y if low is None else y + jnp.take(low, numbers, axis=0, mode="clip") @ high

    def _tables(self) -> tuple[jax.Array, Any, Any]:
        """The table, and the two factors of what is added to it."""
        shape = (self.input_dim, self.output_dim)
        table = self.param("table", shape, _Start(self.start) if self.start is not None else "uniform", **self._frozen())
        if self.lora_rank is None:
            return table, None, None
        low = self.param("lora_a", (self.input_dim, self.lora_rank), "he_uniform")
        high = self.param("lora_b", (self.lora_rank, self.output_dim), "zeros")
        return table, low * self.lora_scale, high

    def _frozen(self) -> dict[str, bool]:
        return {} if self.lora_rank is None else {"trainable": False}


class ReversibleEmbedding(Embedding):
    """An Embedding that also goes back, from features to a logit for each number: ``logits = x @ table^T``.

    ``layer(numbers)`` embeds, ``layer(x, reverse=True)`` goes back, so that a language model reads and writes with one table.
    Args: those of `Embedding`; ``tie_weights=False`` goes back by a ``kernel`` of its own; ``reverse_dtype`` of that product;
    ``logit_soft_cap`` bounds the logits: ``cap * tanh(logits / cap)``.
    Shapes: (batch, ...) of whole numbers -> (batch, ..., output_dim); back (batch, ..., output_dim) -> (batch, ..., input_dim).
    Source: Press and Wolf 2016, arXiv:1608.05859.

    >>> import numpy as np
    >>> layer = ReversibleEmbedding(10, 4).build(np.ones((2, 5), "int32"))
    >>> layer(np.ones((2, 5, 4), "float32"), reverse=True).shape
    (2, 5, 10)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        *,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(input_dim, output_dim, **options)
        if logit_soft_cap is not None and not logit_soft_cap > 0:
            raise ValueError(f"ReversibleEmbedding needs logit_soft_cap above 0, or None, got {logit_soft_cap!r}")
        self.tie_weights, self.logit_soft_cap = tie_weights, logit_soft_cap
        self.reverse_dtype = reverse_dtype

    def forward(self, x: Any, reverse: bool = False) -> jax.Array:
        kernel = None
        if not self.tie_weights:  # declared on every call, whether it is used or not
            init = self.options.get("table", {}).get("initializer") or "uniform"
            kernel = self.param("kernel", (self.output_dim, self.input_dim), init)
        if not reverse:
            return super().forward(x)
        table, low, high = self._tables()
        x = floating(x)
        if x.ndim < 1 or x.shape[-1] != self.output_dim:
            raise ValueError(
                f"ReversibleEmbedding goes back from (batch, ..., {self.output_dim}), but the input has shape {x.shape}"
            )
        kernel = table.T if kernel is None else kernel
        if self.reverse_dtype is not None:
            x, kernel = x.astype(self.reverse_dtype), kernel.astype(self.reverse_dtype)
        logits = (x.reshape(-1, self.output_dim) @ kernel).reshape(*x.shape[:-1], -1)  # two axes: its gradient is faster
        if self.tie_weights and low is not None:
            logits = logits + (x @ high.T.astype(x.dtype)) @ low.T.astype(x.dtype)
        cap = self.logit_soft_cap
        return logits if cap is None else jnp.tanh(logits / cap) * cap


class EmbeddingBag(Layer):
    """One vector for a bag of numbers: the sum, mean or maximum of their rows of a table.

    Args: ``input_dim`` numbers and ``output_dim`` features; ``mode`` is "sum", "mean" or "max"; ``padding_idx`` is a number
    that counts as not there. An empty bag gives zeros.
    Call: ``layer(x, offsets=None, per_sample_weights=None)``; ``offsets`` says where each bag begins in one long x;
    ``per_sample_weights``, shaped like x, multiply the rows of a sum.
    Shapes: (batch, bag) of whole numbers -> (batch, output_dim); with offsets (number) and (bag) -> (bag, output_dim);
    table (input_dim, output_dim).
    Raises: ValueError for a number outside the table, as far as that is known outside compiled code.

    >>> import numpy as np
    >>> bags = np.array([[1, 2, 0], [4, 0, 0]])
    >>> EmbeddingBag(5, 3, padding_idx=0).build(bags)(bags).shape
    (2, 3)
    """

    weight_options = {"embeddings": "table"}

    def __init__(
        self, input_dim: int, output_dim: int, mode: str = "mean", *, padding_idx: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        if mode not in ("sum", "mean", "max"):
            raise unknown("mode of EmbeddingBag", mode, ["sum", "mean", "max"])
        if padding_idx is not None and not -self.input_dim <= padding_idx < self.input_dim:
            raise ValueError(f"EmbeddingBag(padding_idx={padding_idx}) is not a row of a table of {self.input_dim}")
        self.mode = mode
        self.padding_idx = None if padding_idx is None else padding_idx % self.input_dim

    def forward(self, x: Any, offsets: Any = None, per_sample_weights: Any = None) -> jax.Array:
        numbers = _numbers(self, x, self.input_dim)
        if offsets is None:
            rank(self, numbers, 2, "(batch, bag)", "or, with offsets=, one long row of numbers")
        else:
            rank(self, numbers, 1, "one long row of numbers with offsets=", "or bags (batch, bag) without offsets")
        table = self.param("table", (self.input_dim, self.output_dim), "normal")
        rows = jnp.take(table, numbers, axis=0, mode="clip")
        there = jnp.ones(numbers.shape, bool) if self.padding_idx is None else numbers != self.padding_idx
        if per_sample_weights is not None:
            if self.mode != "sum" or jnp.shape(per_sample_weights) != numbers.shape:
                raise ValueError(
                    f"EmbeddingBag(mode={self.mode!r}) was given per_sample_weights of shape {jnp.shape(per_sample_weights)}: "
                    f"they multiply the rows of mode='sum', one for each number of an input of shape {numbers.shape}"
                )
            rows = rows * jnp.asarray(per_sample_weights, rows.dtype)[..., None]
        total, most = _over_bags(offsets, numbers.shape)
        there = there[..., None]
        count = total(there.astype(rows.dtype))
        if self.mode == "max":
            return jnp.where(count > 0, most(jnp.where(there, rows, -jnp.inf)), 0)
        y = total(jnp.where(there, rows, 0))
        return y / jnp.maximum(count, 1) if self.mode == "mean" else y


def _over_bags(offsets: Any, shape: tuple[int, ...]) -> tuple[Callable, Callable]:
    """The sum and the maximum over each bag."""
    if offsets is None:
        return partial(jnp.sum, axis=1), partial(jnp.max, axis=1, initial=-jnp.inf)
    bag = jnp.searchsorted(jnp.asarray(offsets), jnp.arange(shape[0]), side="right") - 1
    where = {"segment_ids": bag, "num_segments": jnp.shape(offsets)[0], "indices_are_sorted": True}
    return partial(jax.ops.segment_sum, **where), partial(jax.ops.segment_max, **where)


class _Start:
    """An initializer that gives a table as it is."""

    def __init__(self, table: jax.Array) -> None:
        self.table = table

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jnp.asarray(self.table, dtype)


def _given_table(layer: Embedding, weights: Any) -> jax.Array:
    table = np.asarray(weights[0] if isinstance(weights, (list, tuple)) and len(weights) == 1 else weights)
    if table.shape != (layer.input_dim, layer.output_dim):
        raise ValueError(
            f"{type(layer).__name__}(input_dim={layer.input_dim}, output_dim={layer.output_dim}) was given weights of shape "
            f"{table.shape}: give [array] with an array of shape {(layer.input_dim, layer.output_dim)}"
        )
    return jnp.asarray(table)


def _numbers(layer: Layer, x: Any, count: int) -> jax.Array:
    """Rows of a table, as whole numbers from 0 up to ``count``, not including it: checked where they are known."""
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(jnp.int32)
    if not isinstance(x, jax.core.Tracer) and x.size:
        seen = np.asarray(x)  # in NumPy: nothing is compiled
        least, most = int(seen.min()), int(seen.max())
        if least < 0 or most >= count:
            raise ValueError(
                f"{type(layer).__name__} looks up numbers from 0 to {count - 1}, but the input holds "
                f"{least if least < 0 else most}: mend the input"
                + (f", or give the layer an input_dim of {most + 1}" if most >= count else "")
            )
    return x
