"""The blocks of transformers: attention and a small network on each place, each with a way round it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import activations
from ..core import annotate
from .attention import Heads, _Projection
from .base import Layer
from .check import floating, positive, rank
from .dropout import Dropout
from .norm import LayerNormalization
from .positions import RotaryEmbedding

__all__ = ["TransformerDecoder", "TransformerEncoder"]


class _Block(Layer):
    """What both blocks share: ``x + dropout(part(x))``, normalised before the part or after the sum."""

    weight_options = {"kernel": "kernel", "bias": "bias"}
    supports_masking = True
    crosses = False  # whether there is a second sequence to attend to

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0,
        activation: Any = "relu",
        layer_norm_epsilon: float = 1e-05,
        normalize_first: bool = False,
        *,
        rotary: bool | RotaryEmbedding | None = None,
        **options: Any,
    ) -> None:
        shared = {k: v for k, v in options.items() if k.rpartition("_")[0] in ("kernel", "bias")}
        super().__init__(**options)
        self.intermediate_dim = positive(self, "intermediate_dim", intermediate_dim)
        self.num_heads = positive(self, "num_heads", num_heads)
        self.activation = activations.get(activation)
        self.normalize_first, self.layer_norm_epsilon = normalize_first, layer_norm_epsilon
        heads = (self.num_heads, self.num_heads, None, None, dropout)
        self.attention = Heads(*heads, rotary=rotary, **shared)
        self.attention_norm = LayerNormalization(epsilon=layer_norm_epsilon)
        if self.crosses:
            self.cross_attention = Heads(*heads, **shared)
            self.cross_attention_norm = LayerNormalization(epsilon=layer_norm_epsilon)
        self.dropout = Dropout(dropout)
        self.inner = _Projection(**shared)
        self.outer = _Projection(**shared)
        self.feedforward_norm = LayerNormalization(epsilon=layer_norm_epsilon)

    def _round(self, x: jax.Array, norm: Layer, part: Callable[[jax.Array], Any]) -> tuple:
        """The sum with what the part makes of x, and what else the part returns."""
        y = part(norm(x) if self.normalize_first else x)
        y, *more = y if isinstance(y, tuple) else (y,)
        y = x + self.dropout(y)
        return (y if self.normalize_first else norm(y), *more)

    def _feedforward(self, x: jax.Array) -> jax.Array:
        return self.outer(self.activation(self.inner(x, (self.intermediate_dim,))), (x.shape[-1],))


class TransformerEncoder(_Block):
    """A block that lets every place of a sequence see every other, and then think for itself.

    ``h = norm(x + attention(x))``, ``y = norm(h + dense(activation(dense(h))))``; with ``normalize_first``
    ``h = x + attention(norm(x))``, ``y = h + dense(activation(dense(norm(h))))``.
    Args: ``intermediate_dim`` features of the inner dense layer; ``num_heads``, which share the features of the input;
    ``dropout`` of attention weights and of what both parts add; ``activation``; ``layer_norm_epsilon``; ``normalize_first``;
    initializers, regularizers and constraints of ``kernel`` and ``bias``; ``rotary``, as in `MultiHeadAttention`.
    Call: ``layer(x, padding_mask=None, attention_mask=None, return_attention_scores=False)``; ``padding_mask`` (batch, time) is
    False for padding, in place of the mask that came with the sequence; ``attention_mask`` as in `MultiHeadAttention`.
    Shapes: (batch, time, feature) -> the same.
    Sources: Vaswani et al. 2017, arXiv:1706.03762; normalised first: Xiong et al. 2020, arXiv:2002.04745.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> TransformerEncoder(16, 2).build(x)(x).shape
    (2, 5, 8)
    """

    def forward(
        self, x: Any, padding_mask: Any = None, attention_mask: Any = None, return_attention_scores: bool = False
    ) -> Any:
        mask = self.mask(x) if padding_mask is None else padding_mask
        x = floating(x)
        rank(self, x, 3, "(batch, time, feature)")

        def attend(h: jax.Array) -> Any:
            h = _plain(h)
            return self.attention(
                h,
                h,
                value_mask=mask,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
            )

        h, *weights = self._round(x, self.attention_norm, attend)
        (y,) = self._round(h, self.feedforward_norm, self._feedforward)
        annotate(y, "mask", mask)
        return (y, *weights) if weights else y


class TransformerDecoder(_Block):
    """A block that continues a sequence: causal attention, attention to an encoder's output if there is one, a small network.

    ``h = norm(x + attention(x))``, ``h = norm(h + attention(h, encoder))``, ``y = norm(h + dense(activation(dense(h))))``;
    with ``normalize_first`` as in `TransformerEncoder`, whose arguments it takes.
    Call: ``layer(decoder_sequence, encoder_sequence=None, decoder_padding_mask=None, decoder_attention_mask=None,
    encoder_padding_mask=None, encoder_attention_mask=None, use_causal_mask=True, cache=None)``. A layer that is built without
    an encoder's sequence has no attention to it.
    Generation: ``y, cache = layer(tokens, cache=layer.new_cache(batch, length))`` takes the first tokens, and further calls
    one or some tokens each. The encoder's sequence is given to the first call only: its keys and values are kept in the cache
    that ``new_cache(batch, length, encoder_length)`` makes.
    Shapes: (batch, time, feature), and the encoder's (batch, place, any) -> (batch, time, feature).
    Sources: as `TransformerEncoder`.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> layer = TransformerDecoder(16, 2).build(x)
    >>> y, cache = layer(x[:, :1], cache=layer.new_cache(2, 5))
    >>> bool(np.allclose(y, layer(x)[:, :1], atol=1e-6))
    True
    """

    crosses = True

    def forward(
        self,
        decoder_sequence: Any,
        encoder_sequence: Any = None,
        decoder_padding_mask: Any = None,
        decoder_attention_mask: Any = None,
        encoder_padding_mask: Any = None,
        encoder_attention_mask: Any = None,
        use_causal_mask: bool = True,
        cache: dict[str, Any] | None = None,
    ) -> Any:
        mask = self.mask(decoder_sequence) if decoder_padding_mask is None else decoder_padding_mask
        x = floating(decoder_sequence)
        rank(self, x, 3, "(batch, time, feature)")
        kept = {} if cache is None else cache

        def attend(h: jax.Array) -> Any:
            h = _plain(h)
            return self.attention(
                h,
                h,
                value_mask=mask,
                attention_mask=decoder_attention_mask,
                use_causal_mask=use_causal_mask,
                cache=kept.get("self"),
            )

        def cross(h: jax.Array) -> Any:
            return self.cross_attention(
                _plain(h),
                encoder_sequence,
                value_mask=encoder_padding_mask,
                attention_mask=encoder_attention_mask,
                cache=kept.get("cross"),
            )

        h, *own = self._round(x, self.attention_norm, attend)
        others = []
        if encoder_sequence is not None or "cross" in kept:
            h, *others = self._round(h, self.cross_attention_norm, cross)
        (y,) = self._round(h, self.feedforward_norm, self._feedforward)
        annotate(y, "mask", mask)
        if cache is None:
            return y
        return y, {"self": own[0]} | ({"cross": others[0]} if others else {})

    def new_cache(
        self,
        batch: int,
        length: int,
        encoder_length: int | None = None,
        *,
        dtype: Any = jnp.float32,
        width: int | None = None,
    ) -> dict[str, Any]:
        """An empty cache for sequences of up to ``length`` tokens, and for an encoder's output of ``encoder_length`` places.

        ``width`` is the number of features, for a layer that has no weights yet. See `MultiHeadAttention`.
        """
        cache = {"self": self.attention.new_cache(batch, length, dtype=dtype, width=width)}
        if encoder_length is not None:
            cache["cross"] = self.cross_attention.new_cache(batch, encoder_length, dtype=dtype, width=width)
        return cache


def _plain(x: jax.Array) -> jax.Array:
    """The array without the note of its mask: padding is hidden as a key, and what stands at its places does not matter."""
    return x + 0
