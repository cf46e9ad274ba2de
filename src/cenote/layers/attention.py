"""Attention: every place looks at every other, as far as it may."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import annotate
from ..core.errors import unknown
from ..kernels import attention, random
from ..kernels.attention import Allowed
from .base import Layer
from .check import axes as whole_axes
from .check import floating, fraction, positive, rank
from .positions import RotaryEmbedding

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]


class _Projection(Layer):
    """The last axes of an input to other ones: kernel (*inputs, *outputs), bias (*outputs)."""

    weight_options = {"kernel": "kernel", "bias": "bias"}

    def __init__(self, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.use_bias = use_bias

    def forward(self, x: jax.Array, outputs: tuple[int, ...], axes: int = 1) -> jax.Array:
        lead, inputs = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
        kernel = self.param("kernel", (*inputs, *outputs))
        size = math.prod(inputs)
        y = x.reshape(-1, size) @ kernel.reshape(size, -1)
        if self.use_bias:  # added to rows: its gradient is a sum over one axis, which XLA is fast with
            y = y + self.param("bias", outputs, "zeros").reshape(-1)
        return y.reshape(*lead, *outputs)


@dataclass(frozen=True)
class _Places:
    """Which axes of (batch, ..., feature) attend, and which others only stand beside each other, like the batch."""

    axes: tuple[int, ...]
    others: tuple[int, ...]

    def sizes(self, x: Any) -> list[int]:
        return [x.shape[a] for a in self.axes]

    def rows(self, x: jax.Array) -> jax.Array:
        """(batch, ..., head, width) -> (batch * others, head, time, width), time being all the axes that attend."""
        moved = x.transpose(0, *self.others, x.ndim - 2, *self.axes, x.ndim - 1)
        return moved.reshape(math.prod(moved.shape[: 1 + len(self.others)]), x.shape[-2], -1, x.shape[-1])

    def back(self, y: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The inverse of `rows`, to an array of that shape."""
        order = (0, *self.others, len(shape) - 2, *self.axes, len(shape) - 1)
        return y.reshape([shape[a] for a in order]).transpose(np.argsort(order))

    def sequence(self, mask: Any, x: Any) -> Any:
        """A mask (batch, axis 1) of x as (batch * others, time); None where axis 1 does not attend: then it hides nothing."""
        if mask is None or 1 not in self.axes:
            return None
        order = (0, *self.others, *self.axes)
        spread = mask.reshape([x.shape[a] if a in (0, 1) else 1 for a in range(x.ndim - 1)]).transpose(order)
        spread = jnp.broadcast_to(spread, [x.shape[a] for a in order])
        return spread.reshape(math.prod(spread.shape[: 1 + len(self.others)]), -1)


class Heads(Layer):
    """Several attentions side by side, each on a projection of its own: what the layers with heads share.

    ``key_heads`` may be fewer than ``num_heads``; ``key_dim=None`` shares the features of the query out among the heads.
    """

    weight_options = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        num_heads: int,
        key_heads: int,
        key_dim: int | None,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | tuple[int, ...] | None = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        *,
        use_gate: bool = False,
        seed: int | None = None,
        rotary: bool | RotaryEmbedding | None = None,
        **options: Any,
    ) -> None:
        kinds = ("kernel", "bias", "activity")
        shared = {k: v for k, v in options.items() if k.rpartition("_")[0] in kinds}
        super().__init__(**options)
        self.activity_regularizer = None  # it acts on what each projection gives, as in Keras
        self.num_heads, self.key_heads = num_heads, key_heads
        self.key_dim, self.value_dim = key_dim, key_dim if value_dim is None else value_dim
        self.dropout = fraction(self, "dropout", dropout)
        self.output_shape = (output_shape,) if isinstance(output_shape, int) else output_shape
        self.attention_axes = None if attention_axes is None else self._checked_axes(attention_axes)
        self.sliding_window = None if sliding_window is None else positive(self, "sliding_window", sliding_window)
        self.flash_attention, self.use_bias, self.use_gate, self.seed = flash_attention, use_bias, use_gate, seed
        self.rotary = RotaryEmbedding() if rotary is True else rotary or None
        if self.rotary is not None and not isinstance(self.rotary, RotaryEmbedding):
            raise ValueError(f"{type(self).__name__} needs rotary to be True, None or a RotaryEmbedding, got {rotary!r}")
        self.query = _Projection(use_bias, **shared)
        self.key = _Projection(use_bias, **shared)
        self.gate = _Projection(use_bias, **shared) if use_gate else None
        self.value = _Projection(use_bias, **shared)
        self.output = _Projection(use_bias, **shared)

    def _checked_axes(self, value: Any) -> tuple[int, ...]:
        found = whole_axes(self, value)
        if any(a in (0, -1) for a in found):
            raise ValueError(f"{type(self).__name__}(attention_axes={value!r}) names the batch, 0, or the features, -1")
        return found

    def forward(
        self,
        query: Any,
        value: Any = None,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        cache: dict[str, jax.Array] | None = None,
    ) -> Any:
        own = self._mask_of(query, query_mask)
        masks = [self._mask_of(value, value_mask)] + ([] if key is None else [self._mask_of(key, key_mask)])
        masks = masks[:1] if len(masks) > 1 and masks[0] is masks[1] else masks
        query = floating(query)
        value = None if value is None else floating(value)
        key = value if key is None else floating(key)
        places = self._places(query, value, key, cache)
        first = 0 if cache is None or value is None else cache["index"]  # where in its sequence the query begins
        if (use_causal_mask or self.sliding_window) and len(places.axes) > 1:
            raise ValueError(
                f"{type(self).__name__} attends over the axes {places.axes}, between which there is no before and after: for "
                f"use_causal_mask and sliding_window, name one of them by attention_axes="
            )
        q, k, v, gate = self._projected(places, query, key, value, first)
        if cache is None:
            keys, masks = places.sizes(value), [places.sequence(m, value) for m in masks]
        else:
            cache = cache if value is None else _remember(cache, k, v, masks)
            k, v = cache["key"].astype(q.dtype), cache["value"].astype(q.dtype)
            keys, masks = [k.shape[2]], [cache["mask"]]
        parts = [] if attention_mask is None else [self._given(attention_mask, query, keys, places)]
        parts += [m[:, None, None, :] for m in masks if m is not None]
        parts += [m[:, None, :, None] for m in (places.sequence(own, query),) if m is not None]
        allowed = Allowed(tuple(parts), first, use_causal_mask, self.sliding_window)
        rate = self.dropout if self.train else 0.0
        seed = self.seeded_key() if rate else None
        results = []
        if return_attention_scores:
            weights = attention.scores(q, k, allowed)
            heads = attention.mix(random.dropout(weights, rate, seed), v)
            lead = [query.shape[a] for a in (0, *places.others)]
            results.append(weights.reshape(*lead, self.num_heads, *places.sizes(query), *keys))
        else:
            heads = attention.attend(q, k, v, allowed, rate, seed, blocks=self.flash_attention or None)
        heads = places.back(heads, (*query.shape[:-1], self.num_heads, v.shape[-1]))
        y = self.output(heads if gate is None else heads * gate, self.output_shape or (query.shape[-1],), axes=2)
        annotate(y, "mask", own)
        results += [] if cache is None else [cache]
        return (y, *results) if results else y

    def _projected(self, places: _Places, query: jax.Array, key: Any, value: Any, first: Any) -> tuple[Any, ...]:
        """Query, key and value of each head as the kernel takes them, and the gate; None for what is not there."""
        width, wide = self._widths(query)
        q = self.query(query, (self.num_heads, width))
        k = None if key is None else self.key(key, (self.key_heads, width))
        gate = None if self.gate is None else jax.nn.sigmoid(self.gate(query, (self.num_heads, wide)))
        v = None if value is None else self.value(value, (self.key_heads, wide))
        if self.rotary is not None:
            q, k = self.rotary(q, first), None if k is None else self.rotary(k, first)
        return (*[None if x is None else places.rows(x) for x in (q, k, v)], gate)

    def new_cache(self, batch: int, length: int, *, dtype: Any = jnp.float32, width: int | None = None) -> dict[str, jax.Array]:
        """An empty cache for sequences of up to ``length`` tokens: keys, values, which of them count, and how many there are.

        ``layer(x, x, cache=cache)`` puts the keys and values of x behind those in it, lets x attend to all of them, and
        returns the output and the new cache: a plain dict of arrays, which fits into `jax.jit` and `jax.lax.scan`. Without a
        value, ``layer(x, cache=cache)``, a cache is only read. ``width`` is the number of features of the query, for a layer
        whose heads share it and that has no weights yet.
        """
        key_dim, value_dim = self.key_dim, self.value_dim
        if key_dim is None:
            built = self.query._weights.get("kernel")
            if width is None and built is None:
                raise ValueError("the attention has no weights yet: build it first, or say new_cache(..., width=features)")
            key_dim = value_dim = built.shape[-1] if width is None and built is not None else (width or 0) // self.num_heads
        shape = (positive(self, "batch", batch), self.key_heads, positive(self, "length", length))
        return {
            "key": jnp.zeros((*shape, key_dim), dtype),
            "value": jnp.zeros((*shape, value_dim), dtype),
            "mask": jnp.zeros((shape[0], shape[2]), bool),
            "index": jnp.zeros((), jnp.int32),
        }

    def _mask_of(self, x: Any, given: Any) -> Any:
        """The mask (batch, time) that was given, or that came with the sequence."""
        if given is None:
            return None if x is None else self.mask(x)
        given = jnp.asarray(given).astype(bool)
        if x is not None and given.shape != jnp.shape(x)[:2]:
            raise ValueError(
                f"{type(self).__name__} needs a mask (batch, time) of shape {jnp.shape(x)[:2]} for an input of {jnp.shape(x)}, "
                f"True where a place counts, got {given.shape}"
            )
        return given

    def _widths(self, query: jax.Array) -> tuple[int, int]:
        if self.key_dim is not None:
            return self.key_dim, self.value_dim or self.key_dim
        width = query.shape[-1] // self.num_heads
        if width == 0:
            raise ValueError(
                f"{self.num_heads} heads cannot share {query.shape[-1]} features: take fewer heads, or more features"
            )
        return width, width

    def _places(self, query: jax.Array, value: Any, key: Any, cache: Any) -> _Places:
        """Which axes attend, once the shapes are found to fit."""
        name, rows = type(self).__name__, query.ndim
        if value is None and cache is None:
            raise ValueError(f"{name} takes a query and a value: for self-attention, say layer(x, x)")
        simple = "a cache and rotary positions know one axis of time" if cache is not None or self.rotary is not None else ""
        for x in (x for x in (query, value, key) if x is not None):
            if x.ndim < 3 or (simple and x.ndim > 3):
                rank(self, x, 3, "(batch, time, feature)", simple)
        axes = tuple(range(1, rows - 1))
        if self.attention_axes is not None:
            axes = tuple(a + rows if a < 0 else a for a in self.attention_axes)
        if not all(1 <= a < rows - 1 for a in axes) or len(set(axes)) < len(axes):
            raise ValueError(
                f"{name}(attention_axes={self.attention_axes}) does not name axes between the first and the last of a query of "
                f"shape {query.shape}, each once"
            )
        found = _Places(axes, tuple(a for a in range(1, rows - 1) if a not in axes))
        if value is not None:
            beside = value.ndim == rows and all(value.shape[a] == query.shape[a] for a in (0, *found.others))
            if key.shape[:-1] != value.shape[:-1] or not beside:
                raise ValueError(
                    f"{name} needs a key for every value and the same batch in all, got query {query.shape}, "
                    f"value {value.shape}, key {key.shape}"
                )
        return found

    def _given(self, mask: Any, query: jax.Array, keys: list[int], places: _Places) -> jax.Array:
        """The ``attention_mask`` as the kernel takes it."""
        mask = jnp.asarray(mask).astype(bool)
        lead, queries = [query.shape[a] for a in (0, *places.others)], places.sizes(query)
        full = [*lead, self.num_heads, *queries, *keys]
        front = mask.ndim - len(queries) - len(keys)  # of the axes before (query, key)
        wide = mask
        if 0 <= front <= len(lead):  # what is missing stands between the batch and the query
            wide = mask.reshape(*mask.shape[:front], *(1,) * (len(full) - mask.ndim), *mask.shape[front:])
        if wide.ndim != len(full) or any(m not in (1, n) for m, n in zip(wide.shape, full, strict=True)):
            raise ValueError(
                f"attention_mask of {type(self).__name__} says where attention is allowed, by (batch, query, key) = "
                f"{(query.shape[0], *queries, *keys)}, but has shape {mask.shape}: a mask of keys (batch, key) is "
                f"mask[:, None, :]"
            )
        groups = (lead, [self.num_heads], queries, keys)
        sizes, at = [], 0
        for group in groups:  # of each group, all or one
            part = wide.shape[at : at + len(group)]
            sizes.append([1] * len(group) if math.prod(part) == 1 else group)
            at += len(group)
        return jnp.broadcast_to(wide, [n for group in sizes for n in group]).reshape([math.prod(group) for group in sizes])


class MultiHeadAttention(Heads):
    """Several attentions side by side: ``concat_h(softmax(q_h k_h^T / sqrt(key_dim)) v_h) @ kernel + bias``.

    Args: ``num_heads``; ``key_dim`` and ``value_dim`` of a head; ``dropout`` of attention weights; ``use_bias``;
    ``output_shape`` (that of the query by default); ``attention_axes``, the axes of (batch, ..., feature) that attend, all by
    default; ``sliding_window``, which lets a place see only those fewer than so many away; ``flash_attention=True``, which
    makes weights block by block also for short sequences (long ones do anyway); ``use_gate``, which multiplies what each head
    gives by a sigmoid of the query; ``rotary=True``, or a `RotaryEmbedding`, which turns queries and keys by their positions;
    ``seed``, which adds to the seed of the run for the dropout.
    Call: ``layer(query, value, key=None, query_mask=None, value_mask=None, key_mask=None, attention_mask=None,
    return_attention_scores=False, use_causal_mask=False, cache=None)``; ``attention_mask`` (batch, query, key), or (batch,
    head, query, key), is True where attention is allowed; the other masks are (batch, time), and those that came with the
    sequences count unless they are given. With a ``cache`` from `new_cache`, the new one is returned last.
    Shapes: query (batch, query, feature), value (batch, key, feature) -> (batch, query, output).
    Raises: ValueError for shapes and masks that do not fit, and for more tokens than the cache was made for.
    Sources: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762; gate: Qiu et al. 2025, arXiv:2505.06708.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> layer = MultiHeadAttention(2, 4).build(x, x)
    >>> layer(x, x).shape
    (2, 5, 8)
    >>> y, cache = layer(x[:, :1], x[:, :1], use_causal_mask=True, cache=layer.new_cache(2, 5))
    >>> y.shape, int(cache["index"])
    ((2, 1, 8), 1)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | tuple[int, ...] | None = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        **options: Any,
    ) -> None:
        heads = positive(self, "num_heads", num_heads)
        width = positive(self, "key_dim", key_dim)
        wide = width if value_dim is None else positive(self, "value_dim", value_dim)
        said = (dropout, use_bias, output_shape, attention_axes, sliding_window, flash_attention)
        super().__init__(heads, heads, width, wide, *said, **options)


class GroupQueryAttention(Heads):
    """Multi-head attention with fewer heads for keys and values than for queries: smaller caches, nearly the same quality.

    Query head h attends with key head ``h // (num_query_heads / num_key_value_heads)``; one key head makes it multi-query
    attention. Keys and values are not repeated in memory.
    Args: ``head_dim``; ``num_query_heads``, a multiple of ``num_key_value_heads``; the others as in `MultiHeadAttention`.
    Call and shapes: as `MultiHeadAttention`.
    Raises: ValueError for heads that cannot be shared out.
    Source: Ainslie et al. 2023, arXiv:2305.13245.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> GroupQueryAttention(4, 4, 2).build(x, x)(x, x).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        **options: Any,
    ) -> None:
        width = positive(self, "head_dim", head_dim)
        heads = positive(self, "num_query_heads", num_query_heads)
        key_heads = positive(self, "num_key_value_heads", num_key_value_heads)
        if heads % key_heads:
            raise ValueError(
                f"GroupQueryAttention needs num_query_heads, {heads}, to be a multiple of num_key_value_heads, {key_heads}"
            )
        said = {"sliding_window": sliding_window, "flash_attention": flash_attention}
        super().__init__(heads, key_heads, width, width, dropout, use_bias, **said, **options)


class Attention(Layer):
    """Attention without projections: ``softmax(q k^T) v``, on ``[query, value]`` or ``[query, value, key]``.

    Args: ``use_scale`` learns a factor of the scores; ``score_mode`` "dot" multiplies query and key, "concat" adds them:
    ``sum(tanh(scale (q + k)))`` times a learned factor; ``dropout`` of attention weights; ``seed``, which adds to that of the
    run.
    Call: ``layer(inputs, mask=None, return_attention_scores=False, use_causal_mask=False)``; ``mask`` is a list like the
    inputs, (batch, time) each, in place of the masks that came with the sequences: values that it hides are not attended to,
    and the output is zero where it hides the query.
    Shapes: query (batch, query, feature), value (batch, key, wide), key (batch, key, feature) -> (batch, query, wide).
    Raises: ValueError for inputs that are no such list.
    Source: Luong et al. 2015, arXiv:1508.04025.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> Attention()([x, x]).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if score_mode not in ("dot", "concat"):
            raise unknown(f"score_mode of {type(self).__name__}", score_mode, ["dot", "concat"])
        self.use_scale, self.score_mode = use_scale, score_mode
        self.dropout, self.seed = fraction(self, "dropout", dropout), seed

    def forward(
        self, inputs: Any, mask: Any = None, return_attention_scores: bool = False, use_causal_mask: bool = False
    ) -> Any:
        query, value, key = self._inputs(inputs)
        query_mask, value_mask = self._masks(inputs, mask)
        lead, batch = query.shape[:-2], query.shape[0]
        q, v, k = (x.reshape(-1, 1, *x.shape[-2:]) for x in (query, value, key))  # one head
        parts = ()
        if value_mask is not None:
            parts = (jnp.repeat(value_mask, q.shape[0] // batch, axis=0)[:, None, None, :],)
        allowed = Allowed(parts, 0, use_causal_mask)
        rate = self.dropout if self.train else 0.0
        seed = self.seeded_key() if rate else None
        scale = self._scale(query.shape[-1]) if self.use_scale else None
        if self.score_mode == "dot" and not return_attention_scores:
            weights, y = None, attention.attend(q if scale is None else q * scale, k, v, allowed, rate, seed, scale=1.0)
        else:
            weights = self._shares(q, k, scale, allowed)
            y = attention.mix(random.dropout(weights, rate, seed), v)
        y = y.reshape(*lead, *y.shape[-2:])
        if query_mask is not None:
            y = jnp.where(query_mask.reshape(batch, *(1,) * (len(lead) - 1), -1, 1), y, 0)
            annotate(y, "mask", query_mask)
        if not return_attention_scores or weights is None:
            return y
        return y, weights.reshape(*lead, *weights.shape[-2:])

    def _scale(self, width: int) -> jax.Array:
        return self.param("scale", (), "ones")

    def _shares(self, q: jax.Array, k: jax.Array, scale: Any, allowed: Allowed) -> jax.Array:
        """The attention weights, (batch, 1, query, key)."""
        if self.score_mode == "dot":
            return attention.scores(q if scale is None else q * scale, k, allowed, scale=1.0)
        logits = self._added(q[..., :, None, :] + k[..., None, :, :], scale)
        return attention.weigh(logits, allowed.block(0, 0, *logits.shape[-2:])).astype(q.dtype)

    def _added(self, total: jax.Array, scale: Any) -> jax.Array:
        """The logits of sums (..., query, key, feature)."""
        return self.param("concat_score_weight", (), "ones") * _total(jnp.tanh(total if scale is None else scale * total))

    def _inputs(self, inputs: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
            raise ValueError(
                f"{type(self).__name__} takes a list, [query, value] or [query, value, key]: for self-attention, say "
                f"layer([x, x])"
            )
        query, value, *more = map(floating, inputs)
        key = more[0] if more else value
        shapes = f"query {query.shape}, value {value.shape}, key {key.shape}"
        if query.ndim < 3 or query.shape[:-2] != value.shape[:-2]:
            raise ValueError(f"{type(self).__name__} takes (batch, time, feature) with the same batch in all, got {shapes}")
        if key.shape[:-1] != value.shape[:-1] or key.shape[-1] != query.shape[-1]:
            raise ValueError(f"{type(self).__name__} needs a key for every value, as wide as the query, got {shapes}")
        return query, value, key

    def _masks(self, inputs: Any, given: Any) -> tuple[Any, Any]:
        if given is None:
            return self.mask(inputs[0]), self.mask(inputs[1])
        if not isinstance(given, (list, tuple)) or len(given) not in (2, 3):
            raise ValueError(f"{type(self).__name__} takes a list of masks, [query_mask, value_mask], None where there is none")
        query_mask, value_mask = (None if m is None else jnp.asarray(m).astype(bool) for m in given[:2])
        for mask, x in ((query_mask, inputs[0]), (value_mask, inputs[1])):
            if mask is not None and mask.shape != (jnp.shape(x)[0], jnp.shape(x)[-2]):
                raise ValueError(
                    f"{type(self).__name__} needs masks (batch, time), got {mask.shape} for an input of {jnp.shape(x)}"
                )
        return query_mask, value_mask


class AdditiveAttention(Attention):
    """Attention by sums in place of products: ``softmax(sum(scale tanh(q + k))) v``, on ``[query, value]``, or with a key.

    Args: ``use_scale`` learns a factor for each feature, without which it is 1; ``dropout`` of attention weights. Call and
    shapes: as `Attention`, but query, value and key are equally wide where they are added.
    Source: Bahdanau et al. 2014, arXiv:1409.0473.

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> AdditiveAttention(use_scale=False)([x, x]).shape
    (2, 5, 8)
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(use_scale, "concat", dropout, **options)

    def _scale(self, width: int) -> jax.Array:
        return self.param("scale", (width,))

    def _added(self, total: jax.Array, scale: Any) -> jax.Array:
        return _total(jnp.tanh(total) if scale is None else scale * jnp.tanh(total))


def _total(x: jax.Array) -> jax.Array:
    """The sum over features, in float32 at least."""
    return x.sum(-1, dtype=jnp.promote_types(x.dtype, jnp.float32))


def _remember(cache: dict[str, jax.Array], k: jax.Array, v: jax.Array, masks: list) -> dict[str, jax.Array]:
    """The cache with more keys and values behind those that are in it."""
    index, new, length = cache["index"], k.shape[2], cache["key"].shape[2]
    begun = 0 if isinstance(index, jax.core.Tracer) else int(index)
    if begun + new > length or k.shape[0] != cache["key"].shape[0]:
        raise ValueError(
            f"the cache was made for {cache['key'].shape[0]} sequences of {length} tokens and holds {begun}, "
            f"but {k.shape[0]} sequences of {new} more came in: ask new_cache for more"
        )
    counts = jnp.ones((k.shape[0], new), bool)
    for mask in masks:
        counts = counts if mask is None else counts & mask
    put = jax.lax.dynamic_update_slice_in_dim
    return {
        "key": put(cache["key"], k.astype(cache["key"].dtype), index, 2),
        "value": put(cache["value"], v.astype(cache["value"].dtype), index, 2),
        "mask": put(cache["mask"], counts, index, 1),
        "index": index + new,
    }
