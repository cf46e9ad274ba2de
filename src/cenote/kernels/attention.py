"""Dot-product attention as products over (batch, head), which is how the CPU runs them fastest."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .random import thin

MASKED = -1e9  # the logit where attention is not allowed; a row without any allowed place attends evenly, as in Keras


def scores(query: jax.Array, key: jax.Array, mask: Any = None) -> jax.Array:
    """Attention weights ``softmax(q k^T / sqrt(width))``: (batch, head, time, width) twice -> (batch, head, query, key).

    ``mask`` is True where attention is allowed, broadcast to the weights.
    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> scores(jnp.zeros((1, 1, 2, 3)), jnp.zeros((1, 1, 2, 3))).tolist()
    [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    logits = jnp.matmul(query * query.shape[-1] ** -0.5, key.swapaxes(-1, -2))
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.asarray(MASKED, logits.dtype))
    return jax.nn.softmax(logits).astype(query.dtype)


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: Any = None, rate: float = 0.0, seed: Any = None
) -> jax.Array:
    """``dropout(scores(query, key, mask)) @ value``, with a gradient that keeps only the weights.

    Shapes: query (batch, head, query, width), key (batch, head, key, width), value (batch, head, key, wide) ->
    (batch, head, query, wide). ``rate`` of the weights are dropped, drawn from the JAX key ``seed``; the backward pass draws
    their mask again instead of keeping it.
    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> attend(jnp.zeros((1, 1, 2, 3)), jnp.zeros((1, 1, 2, 3)), jnp.eye(2)[None, None]).tolist()
    [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    words = None if rate <= 0 or seed is None else jax.random.key_data(seed)
    return _attend(float(rate), query, key, value, mask, words)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(rate: float, query: Any, key: Any, value: Any, mask: Any, words: Any) -> jax.Array:
    return _forward(rate, query, key, value, mask, words)[0]


def _drop(rate: float, weights: jax.Array, words: Any) -> jax.Array:
    return weights if words is None else thin(weights, rate, words)


def _forward(rate: float, query: Any, key: Any, value: Any, mask: Any, words: Any) -> tuple:
    weights = scores(query, key, mask)
    y = jnp.matmul(_drop(rate, weights, words), value)
    return y, (query, key, value, mask, words, weights, y)


def _backward(rate: float, saved: tuple, dy: jax.Array) -> tuple:
    query, key, value, mask, words, weights, y = saved
    scale, exact = query.shape[-1] ** -0.5, jnp.promote_types(query.dtype, jnp.float32)
    dvalue = jnp.matmul(_drop(rate, weights, words).swapaxes(-1, -2), dy)
    dweights = _drop(rate, jnp.matmul(dy, value.swapaxes(-1, -2)), words).astype(exact)
    # The softmax takes away the mean of dweights under the weights, which is dy . y, whatever was dropped.
    mean = (dy.astype(exact) * y.astype(exact)).sum(-1, keepdims=True)
    dlogits = weights * (dweights - mean)
    if mask is not None:
        dlogits = jnp.where(mask, dlogits, 0)  # matters where nothing is allowed: those weights are even, not zero
    dlogits = dlogits.astype(query.dtype)
    dquery = jnp.matmul(dlogits, key) * scale
    dkey = jnp.matmul(dlogits.swapaxes(-1, -2), query * scale)
    return dquery, dkey, dvalue, None, None


_attend.defvjp(_forward, _backward)
