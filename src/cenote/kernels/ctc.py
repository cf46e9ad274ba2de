"""Connectionist temporal classification: the likelihood of a label sequence, summed over all its alignments.

Alignments are paths through the labels with blanks between, before and after them (``2 labels + 1`` states). The sum over
paths runs forward in time in log space; the derivative needs the sum from the other end, and one more scan backward, in
which the share of paths through each state is at hand. Source: Graves et al. 2006, ICML.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Stands for log(0): finite, so that differences of two such are no NaN, and sums with real logarithms stay what they are.
NEVER = -1e30


def ctc_loss(
    log_probs: jax.Array, labels: jax.Array, logit_length: jax.Array, label_length: jax.Array, blank: int = 0
) -> jax.Array:
    """``-log sum over alignments of prod p``: one value per example, infinite where no alignment fits.

    Its slope at an infinite value is zero. Shapes: log_probs (batch, time, classes), labels (batch, labels), lengths (batch,).

    >>> ctc_loss(jnp.log(jnp.full((1, 2, 2), 0.5)), jnp.array([[1]]), jnp.array([2]), jnp.array([1])).tolist()
    [0.287682...]
    """
    batch, time, _ = log_probs.shape
    labels = jnp.where(jnp.arange(labels.shape[1]) < label_length[:, None], labels, blank).astype(jnp.int32)
    states = 2 * labels.shape[1] + 1
    path = jnp.full((batch, states), blank, jnp.int32).at[:, 1::2].set(labels)
    emitted = jnp.take_along_axis(log_probs, jnp.broadcast_to(path[:, None], (batch, time, states)), axis=2)
    # From label to label without a blank between, unless they are the same.
    skips = jnp.zeros((batch, states), bool).at[:, 3::2].set(labels[:, 1:] != labels[:, :-1])
    total = paths(jnp.swapaxes(emitted, 0, 1), skips, logit_length.astype(jnp.int32), label_length.astype(jnp.int32))
    return jnp.where(total > NEVER / 2, -total, jnp.inf)


@jax.custom_vjp
def paths(emitted: jax.Array, skips: jax.Array, logit_length: jax.Array, label_length: jax.Array) -> jax.Array:
    """Log of the sum over paths of the product of what their states emit: (time, batch, states) to (batch,)."""
    return _forward(emitted, skips, logit_length, label_length)[0]


def _log_add(*terms: jax.Array) -> jax.Array:
    top = functools.reduce(jnp.maximum, terms)
    return top + jnp.log(functools.reduce(jnp.add, [jnp.exp(t - top) for t in terms]))


def _shift(x: jax.Array, by: int) -> jax.Array:
    """States moved by so many places; what comes in is never."""
    if x.shape[1] <= abs(by):
        return jnp.full_like(x, NEVER)
    pad = ((0, 0), (by, 0)) if by > 0 else ((0, 0), (0, -by))
    return jnp.pad(x[:, :-by] if by > 0 else x[:, -by:], pad, constant_values=NEVER)


def _ends(states: int, label_length: jax.Array, dtype: Any) -> jax.Array:
    """0 at the two states where a path may end (the last label and the blank after it), never elsewhere."""
    place = jnp.arange(states)
    last = 2 * label_length[:, None]
    return jnp.where((place == last) | (place == last - 1), 0, NEVER).astype(dtype)


def _forward(emitted: Any, skips: Any, logit_length: Any, label_length: Any) -> tuple[jax.Array, jax.Array]:
    time, batch, states = emitted.shape
    emitted = jnp.maximum(emitted, NEVER)

    def step(alpha: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        t, emits = now
        two = jnp.where(skips, _shift(alpha, 2), NEVER)
        moved = jnp.maximum(_log_add(alpha, _shift(alpha, 1), two) + emits, NEVER)
        alpha = jnp.where((t < logit_length)[:, None], moved, alpha)
        return alpha, alpha

    # Before the first frame all paths are in the first blank, from where both starts are one step away.
    start = jnp.full((batch, states), NEVER, emitted.dtype).at[:, 0].set(0)
    last, alphas = jax.lax.scan(step, start, (np.arange(time), emitted))
    reached = last + _ends(states, label_length, emitted.dtype)
    top = jnp.max(reached, axis=1, keepdims=True)
    total = jnp.log(jnp.sum(jnp.exp(reached - top), axis=1)) + top[:, 0]
    return jnp.maximum(total, NEVER), alphas


def _paths_forward(emitted: Any, skips: Any, logit_length: Any, label_length: Any) -> tuple[jax.Array, tuple]:
    total, alphas = _forward(emitted, skips, logit_length, label_length)
    return total, (emitted, skips, logit_length, label_length, total, alphas)


def _paths_backward(kept: tuple, slope: jax.Array) -> tuple:
    """Each state's share of the paths is the derivative of the log of their sum."""
    emitted, skips, logit_length, label_length, total, alphas = kept
    time, _, states = emitted.shape
    possible = (total > NEVER / 2)[:, None]

    def step(beta: jax.Array, now: tuple) -> tuple[jax.Array, jax.Array]:
        t, emits, alpha = now
        inside = (t < logit_length)[:, None]
        share = jnp.where(inside & possible, jnp.exp(jnp.minimum(alpha + beta - total[:, None], 0)), 0)
        onward = beta + emits
        two = _shift(jnp.where(skips, onward, NEVER), -2)
        before = jnp.maximum(_log_add(onward, _shift(onward, -1), two), NEVER)
        return jnp.where(inside, before, beta), share

    ends = _ends(states, label_length, emitted.dtype)
    now = (np.arange(time), jnp.maximum(emitted, NEVER), alphas)
    _, shares = jax.lax.scan(step, ends, now, reverse=True)
    zero = [np.zeros(a.shape, jax.dtypes.float0) for a in (skips, logit_length, label_length)]
    return (jnp.where(possible, shares * jnp.where(possible, slope[:, None], 0), 0), *zero)


paths.defvjp(_paths_forward, _paths_backward)
