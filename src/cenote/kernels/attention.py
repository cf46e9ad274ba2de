"""Dot-product attention as products over (batch * head), which is how the CPU runs them fastest."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

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
