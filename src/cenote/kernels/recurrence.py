"""Recurrence over time: input projections are done before the loop, weight gradients after it.

All functions take time first: inputs already projected ``xp`` (time, batch, gates * unit), the start state (batch, unit), and a
mask (time, batch) or None; a masked step leaves the state as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def sigmoid(x: jax.Array) -> jax.Array:
    """The logistic function by way of tanh, which the CPU has vectorised."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def lstm(xp: jax.Array, h: jax.Array, c: jax.Array, recurrent: jax.Array, mask: Any = None) -> tuple:
    """A long short-term memory with the usual activations: ``(outputs, (h, c))``, outputs (time, batch, unit).

    Gates in Keras's order input, forget, candidate, output: ``z = xp + h @ recurrent``, ``c = f c + i g``, ``h = o tanh(c)``.
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """
    if mask is None:
        mask = jnp.ones((xp.shape[0], 1), bool)
    return _lstm(xp, h, c, recurrent, mask)


@jax.custom_vjp
def _lstm(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    outputs, _, _, last = _lstm_loop(xp, h, c, recurrent, mask)
    return outputs, last


def _lstm_loop(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    def step(carry: tuple, each: tuple) -> tuple:
        (h, c), (x, m) = carry, each
        i, f, g, o = jnp.split(x + h @ recurrent, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        new_c = jnp.where(m[:, None], f * c + i * g, c)
        new_h = jnp.where(m[:, None], o * jnp.tanh(new_c), h)
        return (new_h, new_c), (new_h, new_c, jnp.concatenate([i, f, g, o], -1))

    last, (hs, cs, gates) = lax.scan(step, (h, c), (xp, mask))
    return hs, cs, gates, last


def _lstm_forward(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    hs, cs, gates, last = _lstm_loop(xp, h, c, recurrent, mask)
    return (hs, last), (h, c, recurrent, mask, hs, cs, gates)


def _lstm_backward(saved: tuple, grads: tuple) -> tuple:
    h0, c0, recurrent, mask, hs, cs, gates = saved
    dhs, (dh, dc) = grads
    before_h, before_c = (jnp.concatenate([first[None], rest[:-1]]) for first, rest in ((h0, hs), (c0, cs)))
    back = recurrent.T

    def step(carry: tuple, each: tuple) -> tuple:
        dh, dc = carry
        dout, gate, c, old_c, m = each
        i, f, g, o = jnp.split(gate, 4, axis=-1)
        keep, dh = m[:, None], dh + dout
        t = jnp.tanh(c)
        dnew_c = jnp.where(keep, dc + dh * o * (1 - t * t), 0)
        dz = jnp.concatenate(
            [dnew_c * g * i * (1 - i), dnew_c * old_c * f * (1 - f), dnew_c * i * (1 - g * g), dh * t * o * (1 - o)], -1
        )
        dz = jnp.where(keep, dz, 0)
        return (jnp.where(keep, dz @ back, dh), jnp.where(keep, dnew_c * f, dc)), dz

    (dh0, dc0), dz = lax.scan(step, (dh, dc), (dhs, gates, cs, before_c, mask), reverse=True)
    units = h0.shape[-1]
    drecurrent = before_h.reshape(-1, units).T @ dz.reshape(-1, 4 * units)
    return dz, dh0, dc0, drecurrent, None


_lstm.defvjp(_lstm_forward, _lstm_backward)


def scan_cell(cell: Callable, xp: jax.Array, state: tuple, mask: Any = None) -> tuple:
    """Any cell ``(x, state) -> state`` over time, its first state the output: ``(outputs, state)``."""

    def step(state: tuple, each: Any) -> tuple:
        x, m = each if mask is not None else (each, None)
        new = cell(x, state)
        if m is not None:
            new = tuple(jnp.where(m[:, None], a, b) for a, b in zip(new, state, strict=True))
        return new, new[0]

    last, outputs = lax.scan(step, state, xp if mask is None else (xp, mask))
    return outputs, last
