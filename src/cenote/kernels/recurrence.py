"""Recurrence over time: input projections are done before the loop, weight gradients after it.

All functions take time first: inputs already projected ``xp`` (time, batch, gates * unit), the start state (batch, unit), and a
mask (time, batch) or None; a masked step leaves the state as it was.

What a loop reads is cut into one array per gate before the loop: a step that cuts its gates out of one wide row makes XLA's CPU
backend address every number for itself, which nearly doubles the time of a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def sigmoid(x: jax.Array) -> jax.Array:
    """The logistic function by way of tanh, which the CPU has vectorised.

    >>> sigmoid(jnp.zeros(2)).tolist()
    [0.5, 0.5]
    """
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def lstm(xp: jax.Array, h: jax.Array, c: jax.Array, recurrent: jax.Array, mask: Any = None) -> tuple:
    """A long short-term memory with the usual activations: ``(outputs, (h, c))``, outputs (time, batch, unit).

    Gates in Keras's order input, forget, candidate, output: ``z = xp + h @ recurrent``, ``c = f c + i g``, ``h = o tanh(c)``.
    The forward pass keeps the gates, so that the backward pass computes none again, and the gradient of ``recurrent`` is one
    product over all steps.
    Shapes: xp (time, batch, 4 unit), h and c (batch, unit), recurrent (unit, 4 unit), mask (time, batch) or None.
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.

    >>> zeros = jnp.zeros((1, 2))
    >>> outputs, (h, c) = lstm(jnp.zeros((3, 1, 8)), zeros, zeros, jnp.zeros((2, 8)))
    >>> outputs.shape, h.shape
    ((3, 1, 2), (1, 2))
    """
    return _lstm(xp, h, c, recurrent, mask)


@jax.custom_vjp
def _lstm(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    last, (outputs, *_) = _lstm_loop(xp, h, c, recurrent, mask)
    return outputs, last


def _lstm_loop(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    def step(carry: tuple, each: tuple) -> tuple:
        (h, c), (x, m) = carry, each
        i, f, g, o = (a + b for a, b in zip(x, gates(h @ recurrent, 4), strict=True))
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = _where(m, f * c + i * g, c)
        h = _where(m, o * jnp.tanh(c), h)
        return (h, c), (h, c, i, f, g, o)

    return lax.scan(step, (h, c), (gates(xp, 4), mask))


def _lstm_forward(xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    last, kept = _lstm_loop(xp, h, c, recurrent, mask)
    return (kept[0], last), (h, c, recurrent, mask, kept)


def _lstm_backward(saved: tuple, grads: tuple) -> tuple:
    h0, c0, recurrent, mask, (hs, cs, *gates) = saved
    dhs, (dh, dc) = grads
    before_h, before_c, back = _before(h0, hs), _before(c0, cs), recurrent.T

    def step(carry: tuple, each: tuple) -> tuple:
        dh, dc = carry
        dout, (i, f, g, o), c, old_c, m = each
        dh = dh + dout
        t = jnp.tanh(c)
        through_h = _where(m, dh, 0)  # what goes through the cell; the rest passes a masked step by
        through_c = _where(m, dc + dh * o * (1 - t * t), 0)
        dz = jnp.concatenate(
            [
                through_c * g * i * (1 - i),
                through_c * old_c * f * (1 - f),
                through_c * i * (1 - g * g),
                through_h * t * o * (1 - o),
            ],
            axis=-1,
        )
        return (_where(m, dz @ back, dh), _where(m, through_c * f, dc)), dz

    (dh, dc), dz = lax.scan(step, (dh, dc), (dhs, gates, cs, before_c, mask), reverse=True)
    return dz, dh, dc, _product(before_h, dz), None


_lstm.defvjp(_lstm_forward, _lstm_backward)


def simple(xp: jax.Array, h: jax.Array, recurrent: jax.Array, mask: Any = None) -> tuple:
    """The plain recurrence ``h = tanh(xp + h @ recurrent)``: ``(outputs, (h,))``, outputs (time, batch, unit).

    Shapes: xp (time, batch, unit), h (batch, unit), recurrent (unit, unit), mask (time, batch) or None.
    Source: Elman 1990, "Finding structure in time".

    >>> simple(jnp.zeros((3, 1, 2)), jnp.zeros((1, 2)), jnp.zeros((2, 2)))[0].shape
    (3, 1, 2)
    """
    return _simple(xp, h, recurrent, mask)


@jax.custom_vjp
def _simple(xp: Any, h: Any, recurrent: Any, mask: Any) -> tuple:
    def step(h: Any, each: tuple) -> tuple:
        x, m = each
        h = _where(m, jnp.tanh(x + h @ recurrent), h)
        return h, h

    last, outputs = lax.scan(step, h, (xp, mask))
    return outputs, (last,)


def _simple_forward(xp: Any, h: Any, recurrent: Any, mask: Any) -> tuple:
    outputs, last = _simple(xp, h, recurrent, mask)
    return (outputs, last), (h, recurrent, mask, outputs)


def _simple_backward(saved: tuple, grads: tuple) -> tuple:
    first, recurrent, mask, outputs = saved
    douts, (dlast,) = grads
    back = recurrent.T

    def step(dh: Any, each: tuple) -> tuple:
        dout, h, m = each
        dh = dh + dout
        dz = _where(m, dh * (1 - h * h), 0)
        return _where(m, dz @ back, dh), dz

    dh, dz = lax.scan(step, dlast, (douts, outputs, mask), reverse=True)
    return dz, dh, _product(_before(first, outputs), dz), None


_simple.defvjp(_simple_forward, _simple_backward)


def gru(xp: jax.Array, h: jax.Array, recurrent: jax.Array, after: Any = None, mask: Any = None) -> tuple:
    """A gated recurrence with the usual activations, reset after the product: ``(outputs, (h,))``.

    Gates in Keras's order update, reset, candidate: ``u = h @ recurrent + after``, ``z = sigmoid(x_z + u_z)``,
    ``r = sigmoid(x_r + u_r)``, ``g = tanh(x_g + r u_g)``, ``h = z h + (1 - z) g``.
    Shapes: xp (time, batch, 3 unit), h (batch, unit), recurrent (unit, 3 unit), after (3 unit) or None, mask (time, batch) or
    None.
    Source: Cho et al. 2014, arXiv:1406.1078.

    >>> gru(jnp.zeros((3, 1, 6)), jnp.zeros((1, 2)), jnp.zeros((2, 6)))[0].shape
    (3, 1, 2)
    """
    return _gru(xp, h, recurrent, after, mask)


@jax.custom_vjp
def _gru(xp: Any, h: Any, recurrent: Any, after: Any, mask: Any) -> tuple:
    last, (outputs, *_) = _gru_loop(xp, h, recurrent, after, mask)
    return outputs, (last,)


def _gru_loop(xp: Any, h: Any, recurrent: Any, after: Any, mask: Any) -> tuple:
    def step(h: Any, each: tuple) -> tuple:
        (xz, xr, xg), m = each
        u = h @ recurrent
        uz, ur, ug = gates(u if after is None else u + after, 3)
        z, r = sigmoid(xz + uz), sigmoid(xr + ur)
        g = jnp.tanh(xg + r * ug)
        h = _where(m, z * h + (1 - z) * g, h)
        return h, (h, z, r, g, ug)

    return lax.scan(step, h, (gates(xp, 3), mask))


def _gru_forward(xp: Any, h: Any, recurrent: Any, after: Any, mask: Any) -> tuple:
    last, kept = _gru_loop(xp, h, recurrent, after, mask)
    return (kept[0], (last,)), (h, recurrent, after, mask, kept)


def _gru_backward(saved: tuple, grads: tuple) -> tuple:
    first, recurrent, after, mask, (hs, *kept) = saved
    douts, (dlast,) = grads
    back, before = recurrent.T, _before(first, hs)

    def step(dh: Any, each: tuple) -> tuple:
        dout, old, (z, r, g, ug), m = each
        dh = dh + dout
        through = _where(m, dh, 0)
        dg = through * (1 - z) * (1 - g * g)
        du = jnp.concatenate([through * (old - g) * z * (1 - z), dg * ug * r * (1 - r), dg * r], axis=-1)
        return _where(m, through * z + du @ back, dh), (du, dg)

    dh, (du, dg) = lax.scan(step, dlast, (douts, before, kept, mask), reverse=True)
    dxp = jnp.concatenate([du[..., : 2 * first.shape[-1]], dg], axis=-1)
    dafter = None if after is None else du.reshape(-1, du.shape[-1]).sum(0)
    return dxp, dh, _product(before, du), dafter, None


_gru.defvjp(_gru_forward, _gru_backward)


def scan_cell(cell: Callable, xs: Any, state: tuple, mask: Any = None) -> tuple:
    """Any cell ``(x, state) -> state`` over time, its first state the output: ``(outputs, state)``.

    ``xs`` is an array, or a tuple of them (as `gates` gives), time first; the cell gets one step of it.

    >>> total, last = scan_cell(lambda x, state: (state[0] + x,), jnp.ones((3, 1, 1)), (jnp.zeros((1, 1)),))
    >>> total.ravel().tolist()
    [1.0, 2.0, 3.0]
    """

    def step(state: tuple, each: tuple) -> tuple:
        x, m = each
        new = tuple(_where(m, a, b) for a, b in zip(cell(x, state), state, strict=True))
        return new, new[0]

    last, outputs = lax.scan(step, state, (xs, mask))
    return outputs, last


def gates(z: jax.Array, count: int) -> tuple:
    """The gates that stand side by side on the last axis, each for itself.

    >>> [g.shape for g in gates(jnp.zeros((3, 1, 8)), 4)]
    [(3, 1, 2), (3, 1, 2), (3, 1, 2), (3, 1, 2)]
    """
    return tuple(jnp.split(z, count, axis=-1))


def _where(mask: Any, new: Any, old: Any) -> jax.Array:
    return new if mask is None else jnp.where(mask[:, None], new, old)


def _before(first: jax.Array, rest: jax.Array) -> jax.Array:
    """The state each step began with."""
    return jnp.concatenate([first[None], rest[:-1]])


def _product(states: jax.Array, dz: jax.Array) -> jax.Array:
    """The gradient of a recurrent kernel: one product over all steps and examples."""
    return states.reshape(-1, states.shape[-1]).T @ dz.reshape(-1, dz.shape[-1])
