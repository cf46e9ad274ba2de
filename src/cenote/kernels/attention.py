"""Dot-product attention as products over (batch, head), which is how the CPU runs them fastest; by blocks where it is long.

Keys may have fewer heads than queries (grouped heads): the queries of the heads that share a key stand one below the other in
one product, and no key is repeated in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import native
from .answers import asked_for_answers
from .random import bits, thin

MASKED = -1e9  # the logit where attention is not allowed; a row without any allowed place attends evenly, as in Keras
LOWEST = -1e30  # below every logit, and finite, so that differences from it are numbers
BLOCK = 256  # queries, and keys, of a block
# From this many queries by as many keys on, weights are made block by block. On the CPU that is where blocks, which stay in the
# caches, become the faster way; elsewhere it is where kept weights would fill the memory, since small steps are slow there.
LONG, LONG_ON_ACCELERATORS = 512, 2048


def by_blocks(queries: int, keys: int) -> bool:
    """Whether attention of this size goes by blocks: the one place where that is decided.

    Kept weights take ``batch * head * queries * keys`` numbers; blocks take memory in proportion to the sequence, and compute
    the weights a second time for the gradient.

    >>> by_blocks(256, 256), by_blocks(1, 100_000), by_blocks(4096, 4096)
    (False, False, True)
    """
    long = LONG if jax.default_backend() == "cpu" else LONG_ON_ACCELERATORS
    return queries > 1 and queries * keys >= long * long


@partial(jax.tree_util.register_dataclass, data_fields=["parts", "first"], meta_fields=["causal", "window"])
@dataclass(frozen=True)
class Allowed:
    """Where attention is allowed: where all that it holds allow it.

    ``parts`` are masks that broadcast to (batch, head, query, key), True where allowed; ``causal`` lets no query see a later
    key; ``window`` lets it see keys fewer than so many places away, to both sides. ``first`` is the place of the first query
    among the keys: not 0 where earlier keys come from a cache. Only ``parts`` take memory.
    """

    parts: tuple[Any, ...] = ()
    first: Any = 0
    causal: bool = False
    window: int | None = None

    def block(self, row: Any, column: Any, rows: int, columns: int) -> Any:
        """The mask of ``rows`` queries from ``row`` on and ``columns`` keys from ``column`` on; None where all is allowed."""
        found = [_cut(_cut(part, 2, row, rows), 3, column, columns) for part in self.parts]
        if self.causal or self.window:
            apart = (self.first + row + jnp.arange(rows))[:, None] - (column + jnp.arange(columns))
            found += [apart >= 0] if self.causal else []
            found += [jnp.abs(apart) < self.window] if self.window else []
        mask = None
        for part in found:
            mask = part if mask is None else mask & part
        return mask

    def reaches(self, row: Any, column: Any, rows: int, columns: int) -> Any:
        """Whether ``causal`` and ``window`` allow anything in a block; None where they do not say."""
        nearest, farthest = self.first + row - (column + columns - 1), self.first + row + rows - 1 - column
        if self.window:
            return (nearest < self.window) & (farthest > (-1 if self.causal else -self.window))
        return farthest >= 0 if self.causal else None


def scores(query: jax.Array, key: jax.Array, mask: Any = None, *, scale: float | None = None) -> jax.Array:
    """Attention weights ``softmax(scale q k^T)``: (batch, head, time, width) twice -> (batch, head, query, key).

    ``mask`` is True where attention is allowed, broadcast to the weights, or an `Allowed`; ``scale`` is ``1 / sqrt(width)``
    unless told. The key may have fewer heads, of which each serves several of the query's. In half precision, logits and
    softmax are float32.
    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> scores(jnp.zeros((1, 1, 2, 3)), jnp.zeros((1, 1, 2, 3))).tolist()
    [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    logits = _logits(query * (query.shape[-1] ** -0.5 if scale is None else scale), key)
    return weigh(logits, _allowed(mask).block(0, 0, *logits.shape[-2:])).astype(query.dtype)


def weigh(logits: jax.Array, mask: Any = None) -> jax.Array:
    """``softmax(logits)`` where the mask is True, in float32 at least; even where a row has no allowed place.

    >>> weigh(jnp.array([[1.0, 1.0, 9.0]]), jnp.array([True, True, False])).tolist()
    [[0.5, 0.5, 0.0]]
    """
    logits = logits.astype(_exact(logits.dtype))
    return jax.nn.softmax(logits if mask is None else jnp.where(mask, logits, jnp.asarray(MASKED, logits.dtype)))


def mix(weights: jax.Array, value: jax.Array) -> jax.Array:
    """``weights @ value``: (batch, head, query, key) and (batch, key head, key, wide) -> (batch, head, query, wide).

    >>> mix(jnp.ones((1, 2, 1, 3)), jnp.ones((1, 1, 3, 1))).tolist()
    [[[[3.0]], [[3.0]]]]
    """
    y = jnp.matmul(_fold(weights, value.shape[1]), value)
    return y.reshape(*weights.shape[:-1], value.shape[-1])


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: Any = None,
    rate: float = 0.0,
    seed: Any = None,
    *,
    scale: float | None = None,
    blocks: bool | None = None,
) -> jax.Array:
    """``dropout(scores(query, key, mask)) @ value``, with a gradient that keeps only the weights, or not even them.

    Shapes: query (batch, head, query, width), key (batch, key head, key, width), value (batch, key head, key, wide) ->
    (batch, head, query, wide); the heads are a multiple of the key heads. ``rate`` of the weights are dropped, drawn from the
    JAX key ``seed``; the backward pass draws their mask again instead of keeping it. ``blocks`` says whether weights are made
    block by block and computed again for the gradient, which takes memory in proportion to the sequence; ``None`` lets
    `by_blocks` decide.
    Sources: Vaswani et al. 2017, arXiv:1706.03762; blocks: Rabe and Staats 2021, arXiv:2112.05682, Dao et al. 2022,
    arXiv:2205.14135; grouped heads: Ainslie et al. 2023, arXiv:2305.13245.

    >>> attend(jnp.zeros((1, 1, 2, 3)), jnp.zeros((1, 1, 2, 3)), jnp.eye(2)[None, None]).tolist()
    [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    scale = float(query.shape[-1] ** -0.5 if scale is None else scale)
    queries, keys = query.shape[2], key.shape[2]
    drops = seed is not None and rate > 0
    if by_blocks(queries, keys) if blocks is None else blocks:
        words = bits(seed, (_count(queries), _count(keys), 2)) if drops else None
        return _attend_blocks(float(rate), scale, query, key, value, _allowed(mask), words)
    words = jax.random.key_data(seed) if drops else None  # pyright: ignore[reportArgumentType]
    allowed = _allowed(mask)
    fast = _in_cpp(query, key, value, allowed)
    arrays = float(rate), scale, fast, query, key, value, allowed, words
    return _forward(*arrays)[0] if fast and asked_for_answers() else _attend(*arrays)


# -- weights that are kept -------------------------------------------------------------------------------------------------


def _in_cpp(query: Any, key: Any, value: Any, allowed: Allowed) -> bool:
    """Whether C++ knows this attention: as many heads of keys as of queries, causal from the start, keys hidden for all."""
    hides = all(part.shape[1:] == (1, 1, key.shape[2]) and part.shape[0] == key.shape[0] for part in allowed.parts)
    starts = not allowed.causal or (isinstance(allowed.first, int) and allowed.first == 0)
    usual = hides and starts and not allowed.window and query.shape[1] == key.shape[1] and min(query.shape[2], key.shape[2]) > 1
    return usual and native.fits("attention", query, key, value)


# What is called without a derivative (by explanations) is the plain formulation; derivatives use C++.
@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _attend(rate: float, scale: float, fast: bool, query: Any, key: Any, value: Any, allowed: Allowed, words: Any) -> jax.Array:
    return _weighted(rate, scale, query, key, value, allowed, words)[0]


def _weighted(rate: float, scale: float, query: Any, key: Any, value: Any, allowed: Allowed, words: Any) -> tuple:
    weights = scores(query, key, allowed, scale=scale)
    return mix(_drop(rate, weights, words), value), weights


def _forward(rate: float, scale: float, fast: bool, query: Any, key: Any, value: Any, allowed: Allowed, words: Any) -> tuple:
    if fast:
        causal, shown, drawn = allowed.causal, _shown(allowed), _drawn(words)
        call = partial(native.attention_forward, scale=scale, rate=rate, causal=causal)
        turned = (x.swapaxes(1, 2) for x in (query, key, value))  # as projections left them: XLA moves nothing
        y, weights = native.standing_for(partial(_plain_forward, rate, scale, causal), call)(*turned, shown, drawn)
        y = y.swapaxes(1, 2)
    else:
        y, weights = _weighted(rate, scale, query, key, value, allowed, words)
    return y, (query, key, value, allowed, words, weights, y)


def _backward(rate: float, scale: float, fast: bool, saved: tuple, dy: jax.Array) -> tuple:
    query, key, value, allowed, words, weights, y = saved
    if not fast:
        return (*_slopes(rate, scale, dy, query, key, value, allowed, words, weights, y), None, None)
    causal, shown, drawn = allowed.causal, _shown(allowed), _drawn(words)
    call = partial(native.attention_backward, scale=scale, rate=rate, causal=causal)
    turned = (x.swapaxes(1, 2) for x in (dy, query, key, value))
    slopes = native.standing_for(partial(_plain_backward, rate, scale, causal), call)(*turned, shown, drawn, weights)
    return (*(x.swapaxes(1, 2) for x in slopes), None, None)


def _slopes(
    rate: float, scale: float, dy: Any, query: Any, key: Any, value: Any, allowed: Allowed, words: Any, weights: Any, y: Any
) -> tuple:
    heads, exact = key.shape[1], _exact(query.dtype)
    dvalue = _gather(_drop(rate, weights, words), dy, heads)
    dweights = _drop(rate, mix(dy, value.swapaxes(-1, -2)), words).astype(exact)
    # The softmax takes away the mean of dweights under the weights, which is dy . y, whatever was dropped.
    mean = (dy.astype(exact) * y.astype(exact)).sum(-1, keepdims=True)
    dlogits = weights * (dweights - mean)
    mask = allowed.block(0, 0, *weights.shape[-2:])
    if mask is not None:
        dlogits = jnp.where(mask, dlogits, 0)  # matters where nothing is allowed: those weights are even, not zero
    dlogits = dlogits.astype(query.dtype)
    return mix(dlogits, key) * scale, _gather(dlogits, query * scale, heads), dvalue


_attend.defvjp(_forward, _backward)


def _shown(allowed: Allowed) -> jax.Array:
    """The keys that may be seen, (batch, key); empty for all."""
    if not allowed.parts:
        return jnp.zeros((0, 0), jnp.float32)
    return reduce(jnp.logical_and, (part[:, 0, 0] for part in allowed.parts)).astype(jnp.float32)


def _drawn(words: Any) -> jax.Array:
    return jnp.zeros(0, jnp.uint32) if words is None else words.reshape(-1)


def _as_before(causal: bool, shown: Any, drawn: Any) -> tuple[Allowed, Any]:
    """The inverse of `_shown` and `_drawn`."""
    return Allowed((shown[:, None, None] > 0,) if shown.size else (), 0, causal), drawn if drawn.size else None


def _plain_forward(rate: float, scale: float, causal: bool, q: Any, k: Any, v: Any, shown: Any, drawn: Any) -> tuple:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    allowed, words = _as_before(causal, shown, drawn)
    y, weights = _weighted(rate, scale, q, k, v, allowed, words)
    return y.swapaxes(1, 2), weights


def _plain_backward(
    rate: float, scale: float, causal: bool, dy: Any, q: Any, k: Any, v: Any, shown: Any, drawn: Any, weights: Any
) -> tuple:
    dy, q, k, v = (x.swapaxes(1, 2) for x in (dy, q, k, v))
    allowed, words = _as_before(causal, shown, drawn)
    y = mix(_drop(rate, weights, words), v)
    return tuple(x.swapaxes(1, 2) for x in _slopes(rate, scale, dy, q, k, v, allowed, words, weights, y))


# -- weights block by block ------------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend_blocks(rate: float, scale: float, query: Any, key: Any, value: Any, allowed: Allowed, words: Any) -> jax.Array:
    return _blocks_forward(rate, scale, query, key, value, allowed, words)[0]


def _blocks_forward(rate: float, scale: float, query: Any, key: Any, value: Any, allowed: Allowed, words: Any) -> tuple:
    """Each block of queries goes over the blocks of keys, with the largest logit and the sums so far."""
    exact, keys, wide = _exact(query.dtype), key.shape[2], value.shape[-1]
    even = _each_head(value.astype(exact).mean(2, keepdims=True), query.shape[1])
    padded = _pad_mask(allowed, keys)
    against = (jnp.arange(_count(keys)), _split(key), _split(value))

    def row(_: None, block: tuple) -> tuple:
        i, q = block

        def step(carry: tuple, other: tuple) -> tuple:
            j, k, v = other

            def visit(carry: tuple) -> tuple:
                top, total, y = carry
                logits = _block_logits(q, k, padded, i, j)
                higher = jnp.maximum(top, logits.max(-1, keepdims=True))
                weights, shrink = jnp.exp(logits - higher), jnp.exp(top - higher)
                dropped = _drop(rate, weights, None if words is None else words[i, j])
                more = mix(dropped.astype(v.dtype), v).astype(exact)
                return higher, total * shrink + weights.sum(-1, keepdims=True), y * shrink + more

            return _where_reached(padded, i, j, visit, lambda carry: carry, carry), None

        lead = q.shape[:-1]
        start = (jnp.full((*lead, 1), LOWEST, exact), jnp.zeros((*lead, 1), exact), jnp.zeros((*lead, wide), exact))
        (top, total, y), _ = lax.scan(step, start, against)
        lost = total == 0  # a row without any allowed place
        y = jnp.where(lost, even, y / jnp.where(lost, 1, total))
        return None, (y.astype(query.dtype), jnp.where(lost, jnp.inf, top + jnp.log(jnp.where(lost, 1, total))))

    _, (y, log_total) = lax.scan(row, None, (jnp.arange(_count(query.shape[2])), _split(query * scale)))
    y = _join(y, query.shape[2])
    return y, (query, key, value, allowed, words, y, log_total)


def _blocks_backward(rate: float, scale: float, saved: tuple, dy: jax.Array) -> tuple:
    query, key, value, allowed, words, y, log_total = saved
    exact, heads, keys = _exact(query.dtype), key.shape[1], key.shape[2]
    mean = (dy.astype(exact) * y.astype(exact)).sum(-1, keepdims=True)
    padded = _pad_mask(allowed, keys)
    ks, vs = _split(key), _split(value)

    def row(sums: tuple, block: tuple) -> tuple:
        i, q, g, log, m = block

        def step(dq: jax.Array, other: tuple) -> tuple:
            j, k, v = other

            def visit(dq: jax.Array) -> tuple:
                weights = jnp.exp(_block_logits(q, k, padded, i, j) - log)
                word = None if words is None else words[i, j]
                dweights = _drop(rate, mix(g, v.swapaxes(-1, -2)).astype(exact), word)
                dlogits = (weights * (dweights - m)).astype(q.dtype)
                dv = _gather(_drop(rate, weights, word).astype(g.dtype), g, heads).astype(exact)
                return dq + mix(dlogits, k).astype(exact), (_gather(dlogits, q, heads).astype(exact), dv)

            nothing = jnp.zeros(k.shape, exact), jnp.zeros(v.shape, exact)
            return _where_reached(padded, i, j, visit, lambda dq: (dq, nothing), dq)

        dq, more = lax.scan(step, jnp.zeros(q.shape, exact), (jnp.arange(_count(keys)), ks, vs))
        return jax.tree.map(jnp.add, sums, more), dq

    parts = (jnp.arange(_count(query.shape[2])), _split(query * scale), _split(dy), log_total, _split(mean))
    start = jnp.zeros(ks.shape, exact), jnp.zeros(vs.shape, exact)
    (dkey, dvalue), dquery = lax.scan(row, start, parts)
    lost = _join(log_total, query.shape[2]) == jnp.inf
    even = jnp.where(lost, dy.astype(exact), 0).sum(2, keepdims=True) / keys  # (batch, head, 1, wide)
    even = even.reshape(even.shape[0], heads, -1, even.shape[-1]).sum(2, keepdims=True)
    dquery, dkey, dvalue = _join(dquery, query.shape[2]) * scale, _join(dkey, keys), _join(dvalue, keys) + even
    return dquery.astype(query.dtype), dkey.astype(key.dtype), dvalue.astype(value.dtype), None, None


_attend_blocks.defvjp(_blocks_forward, _blocks_backward)


def _block_logits(q: jax.Array, k: jax.Array, allowed: Allowed, i: Any, j: Any) -> jax.Array:
    """Logits of a block, -inf where attention is not allowed: rows without any allowed place are mended afterwards."""
    logits = _logits(q, k)
    mask = allowed.block(i * BLOCK, j * BLOCK, BLOCK, BLOCK)
    return logits if mask is None else jnp.where(mask, logits, -jnp.inf)


def _where_reached(allowed: Allowed, i: Any, j: Any, visit: Any, skip: Any, carry: Any) -> Any:
    """``visit(carry)``, or ``skip(carry)`` for a block in which nothing is allowed, half of them if causal."""
    reached = allowed.reaches(i * BLOCK, j * BLOCK, BLOCK, BLOCK)
    return visit(carry) if reached is None else lax.cond(reached, visit, skip, carry)


def _count(length: int) -> int:
    return -(-length // BLOCK)


def _split(x: jax.Array) -> jax.Array:
    """(batch, head, time, width) -> (block, batch, head, BLOCK, width), filled up with zeros."""
    batch, heads, length, width = x.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -length % BLOCK), (0, 0)))
    return x.reshape(batch, heads, -1, BLOCK, width).transpose(2, 0, 1, 3, 4)


def _join(x: jax.Array, length: int) -> jax.Array:
    """The inverse of `_split`."""
    count, batch, heads, block, width = x.shape
    return x.transpose(1, 2, 0, 3, 4).reshape(batch, heads, count * block, width)[:, :, :length]


def _pad_mask(allowed: Allowed, keys: int) -> Allowed:
    """The same for whole blocks: what fills the last one up is not allowed."""

    def padded(part: Any) -> Any:
        sizes = [1, 1, *part.shape[2:]]
        return jnp.pad(part, [(0, -size % BLOCK if size > 1 else 0) for size in sizes])

    parts = tuple(padded(part) for part in allowed.parts)
    if keys % BLOCK:
        parts += (padded(jnp.ones((1, 1, 1, keys), bool)),)
    return replace(allowed, parts=parts)


# -- pieces ----------------------------------------------------------------------------------------------------------------


def _allowed(mask: Any) -> Allowed:
    if isinstance(mask, Allowed):
        return mask
    if mask is None:
        return Allowed()
    mask = jnp.asarray(mask)
    return Allowed((mask.reshape((1,) * (4 - mask.ndim) + mask.shape),))


def _exact(dtype: Any) -> Any:
    return jnp.promote_types(dtype, jnp.float32)


def _fold(x: jax.Array, key_heads: int) -> jax.Array:
    """(batch, head, query, ...) -> (batch, key head, heads of it * query, ...): no data moves."""
    return x.reshape(x.shape[0], key_heads, -1, x.shape[-1])


def _logits(query: jax.Array, key: jax.Array) -> jax.Array:
    exact = _exact(query.dtype)
    logits = jnp.matmul(_fold(query, key.shape[1]), key.swapaxes(-1, -2), preferred_element_type=exact)
    return logits.reshape(*query.shape[:-1], key.shape[2])


def _gather(weights: jax.Array, x: jax.Array, key_heads: int) -> jax.Array:
    """``weights^T @ x``, summed over the heads that share a key: (batch, head, query, ...) twice -> (batch, key head, ...)."""
    return jnp.matmul(_fold(weights, key_heads).swapaxes(-1, -2), _fold(x, key_heads))


def _each_head(x: jax.Array, heads: int) -> jax.Array:
    return jnp.repeat(x, heads // x.shape[1], axis=1)


def _drop(rate: float, weights: jax.Array, words: Any) -> jax.Array:
    return weights if words is None else thin(weights, rate, words)


def _cut(part: jax.Array, axis: int, start: Any, size: int) -> jax.Array:
    """Some places along an axis of a mask, which may stand for any number of them."""
    if part.shape[axis] in (1, size):
        return part
    return lax.dynamic_slice_in_dim(part, start, size, axis)
