"""Attention: every place looks at every other, as far as it may."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..core import annotate
from ..kernels import attention, random
from .base import Layer
from .check import floating, fraction, positive, rank

__all__ = ["MultiHeadAttention"]


class _Projection(Layer):
    """The last axes of an input to other ones: kernel (*inputs, *outputs), bias (*outputs)."""

    weights = {"kernel": "kernel", "bias": "bias"}

    def __init__(self, outputs: tuple[int, ...] | None, axes: int = 1, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.outputs, self.axes, self.use_bias = outputs, axes, use_bias

    def forward(self, x: jax.Array, width: int = 0) -> jax.Array:
        outputs = (width,) if self.outputs is None else tuple(self.outputs)
        lead, inputs = x.shape[: x.ndim - self.axes], x.shape[x.ndim - self.axes :]
        kernel = self.param("kernel", (*inputs, *outputs))
        size = math.prod(inputs)
        y = (x.reshape(-1, size) @ kernel.reshape(size, -1)).reshape(*lead, *outputs)
        return y + self.param("bias", outputs, "zeros") if self.use_bias else y


class MultiHeadAttention(Layer):
    """Several attentions side by side: ``concat_h(softmax(q_h k_h^T / sqrt(key_dim)) v_h) @ kernel + bias``.

    Args: ``num_heads``; ``key_dim`` and ``value_dim`` of a head; ``dropout`` of attention weights; ``use_bias``;
    ``output_shape`` (that of the query by default); ``seed``, which adds to the seed of the run for the dropout.
    Call: ``layer(query, value, key=None, attention_mask=None, return_attention_scores=False, use_causal_mask=False)``;
    ``attention_mask`` (batch, query, key), or (batch, head, query, key), is True where attention is allowed. Masks that came
    with the sequences count, too.
    Shapes: query (batch, query, feature), value (batch, key, feature) -> (batch, query, output).
    Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> MultiHeadAttention(2, 4).build(x, x)(x, x).shape
    (2, 5, 8)
    """

    weights = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | tuple[int, ...] | None = None,
        attention_axes: Any = None,
        *,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        shared = {k: v for k, v in options.items() if k.rpartition("_")[0] in ("kernel", "bias")}
        super().__init__(**options)
        if attention_axes not in (None, (1,), [1], 1):
            raise ValueError(
                f"MultiHeadAttention attends over time, axis 1; attention_axes={attention_axes!r} is not supported"
            )
        self.num_heads = positive(self, "num_heads", num_heads)
        self.key_dim = positive(self, "key_dim", key_dim)
        self.value_dim = positive(self, "value_dim", key_dim if value_dim is None else value_dim)
        self.dropout = fraction(self, "dropout", dropout)
        self.output_shape = (output_shape,) if isinstance(output_shape, int) else output_shape
        self.use_bias, self.seed = use_bias, seed
        keys, values = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim)
        self.query = _Projection(keys, use_bias=use_bias, **shared)
        self.key = _Projection(keys, use_bias=use_bias, **shared)
        self.value = _Projection(values, use_bias=use_bias, **shared)
        self.output = _Projection(self.output_shape, axes=2, use_bias=use_bias, **shared)

    def forward(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        key = value if key is None else key
        mask = self._allowed(query, value, key, attention_mask, use_causal_mask)
        query_mask = self.mask(query)
        query, value, key = floating(query), floating(value), floating(key)
        q, k, v = (p(x).swapaxes(1, 2) for p, x in ((self.query, query), (self.key, key), (self.value, value)))
        rate = self.dropout if self.train else 0.0
        seed = self._key() if rate else None
        weights = None
        if return_attention_scores:
            weights = attention.scores(q, k, mask)
            heads = jnp.matmul(random.dropout(weights, rate, seed), v)
        else:
            heads = attention.attend(q, k, v, mask, rate, seed)
        y = self.output(heads.swapaxes(1, 2), query.shape[-1])  # from (batch, query, head, value)
        annotate(y, "mask", query_mask)
        return (y, weights) if return_attention_scores else y

    def _key(self) -> jax.Array:
        key = self.next_key()
        return key if self.seed is None else jax.random.fold_in(key, self.seed)

    def _allowed(self, query: Any, value: Any, key: Any, given: Any, causal: bool) -> Any:
        """All masks in one, (batch, 1, query, key), True where attention is allowed; None if it is everywhere."""
        for x in (query, value, key):
            rank(self, x, 3, "(batch, time, feature)")
        if key.shape[:2] != value.shape[:2] or key.shape[0] != query.shape[0]:
            raise ValueError(
                f"MultiHeadAttention needs a key for every value and the same batch in all, got query {query.shape}, "
                f"value {value.shape}, key {key.shape}"
            )
        parts = []
        if (m := self.mask(query)) is not None:
            parts.append(m[:, None, :, None])
        parts += [m[:, None, None, :] for x in (value, key) if (m := self.mask(x)) is not None]
        if causal:
            rows, columns = query.shape[1], value.shape[1]
            parts.append(jnp.tril(jnp.ones((rows, columns), bool))[None, None])
        if given is not None:
            given = jnp.asarray(given).astype(bool)
            given = given[:, None] if given.ndim == 3 else given
            full = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
            if given.ndim not in (2, 4) or any(m not in (1, n) for m, n in zip(given.shape[::-1], full[::-1], strict=False)):
                raise ValueError(
                    f"attention_mask of MultiHeadAttention says where attention is allowed, by (batch, query, key) = "
                    f"{(full[0], *full[2:])}, but has shape {given.shape}: a mask of keys (batch, key) is mask[:, None, :]"
                )
            parts.append(given)
        allowed = None
        for part in parts:
            allowed = part if allowed is None else allowed & part
        return allowed
