"""Recurrence over time: input projections are done before the loop, weight gradients after it.

All functions take time first: inputs already projected ``xp`` (time, batch, gates * unit), the start state (batch, unit), and a
mask (time, batch) or None; a masked step leaves the state as it was. `lstm` and `gru` take the inputs as they are, too, with
their ``kernel`` and ``bias``.

What a loop reads is cut into one array per gate before the loop: a step that cuts its gates out of one wide row makes XLA's CPU
backend address every number for itself, which nearly doubles the time of a forward pass.

The rules of one step, `lstm_rule` and `gru_rule`, are written once: the loops here, cells, and convolutional layers share them.
Where a C++ compiler is at hand, LSTM and GRU run as `native` kernels, a whole sequence in one call, inputs projected step by
step in the cache. Those take the batch first, as layers do: their transpositions and those of the layer cancel. Where no
derivative is asked for, neither gates nor, with ``last``, outputs of all steps are written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from . import native
from .convolution import conv


def sigmoid(x: jax.Array) -> jax.Array:
    """The logistic function by way of tanh, which the CPU has vectorised.

    >>> sigmoid(jnp.zeros(2)).tolist()
    [0.5, 0.5]
    """
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def lstm_rule(z: tuple, c: jax.Array, activation: Callable = jnp.tanh, gate: Callable = sigmoid) -> tuple:
    """One step from the sums of its gates: ``(h, c, (i, f, g, o))`` with ``c = f c + i g``, ``h = o activation(c)``.

    Gates in Keras's order input, forget, candidate, output.

    >>> h, c, _ = lstm_rule((jnp.zeros(1),) * 4, jnp.ones(1))
    >>> c.tolist()
    [0.5]
    """
    i, f, g, o = gate(z[0]), gate(z[1]), activation(z[2]), gate(z[3])
    c = f * c + i * g
    return o * activation(c), c, (i, f, g, o)


def gru_rule(
    x: tuple, u: tuple, h: jax.Array, inner: Callable, activation: Callable = jnp.tanh, gate: Callable = sigmoid
) -> tuple:
    """One step from what the input and the state give to each gate: ``(h, (z, r, g))`` with ``h = z h + (1 - z) g``.

    Gates in Keras's order update, reset, candidate; ``g = activation(x_g + inner(r))``: ``inner`` says what the reset gate
    acts on: the product of state and kernel, or the state before it.

    >>> h, _ = gru_rule((jnp.zeros(1),) * 3, (jnp.zeros(1),) * 2, jnp.ones(1), lambda r: r)
    >>> round(float(h[0]), 4)
    0.7311
    """
    z, r = gate(x[0] + u[0]), gate(x[1] + u[1])
    g = activation(x[2] + inner(r))
    return z * h + (1 - z) * g, (z, r, g)


def lstm(
    x: jax.Array,
    h: jax.Array,
    c: jax.Array,
    recurrent: jax.Array,
    mask: Any = None,
    *,
    kernel: Any = None,
    bias: Any = None,
    last: bool = False,
) -> tuple:
    """A long short-term memory with the usual activations: ``(outputs, (h, c))``, outputs (time, batch, unit).

    Gates in Keras's order input, forget, candidate, output: ``z = xp + h @ recurrent``, ``c = f c + i g``, ``h = o tanh(c)``,
    where xp is ``x``, or with a ``kernel`` ``x @ kernel + bias``. With ``last`` the outputs are those of the last step only,
    (1, batch, unit). The forward pass keeps the gates, so that the backward pass computes none again, and the gradient of
    ``recurrent`` is one product over all steps.
    Shapes: x (time, batch, 4 unit), or (time, batch, feature) with kernel (feature, 4 unit) and bias (4 unit) or None; h and c
    (batch, unit), recurrent (unit, 4 unit), mask (time, batch) or None.
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.

    >>> zeros = jnp.zeros((1, 2))
    >>> outputs, (h, c) = lstm(jnp.zeros((3, 1, 8)), zeros, zeros, jnp.zeros((2, 8)))
    >>> outputs.shape, h.shape
    ((3, 1, 2), (1, 2))
    """
    x, kernel, bias = _unless_inside(x, kernel, bias, h, c, recurrent)
    return _lstm(_MATRIX, last, x, kernel, bias, h, c, recurrent, mask)


def conv_lstm(xp: jax.Array, h: jax.Array, c: jax.Array, recurrent: jax.Array, mask: Any = None) -> tuple:
    """The same for pictures, with a convolution that keeps the size ("same") in place of the product with ``recurrent``.

    Shapes: xp (time, batch, ..., 4 filter), h and c (batch, ..., filter), recurrent (..., filter, 4 filter), with one, two or
    three axes in place of the dots; mask (time, batch) or None.
    Source: Shi et al. 2015, arXiv:1506.04214.

    >>> zeros = jnp.zeros((1, 4, 4, 2))
    >>> conv_lstm(jnp.zeros((3, 1, 4, 4, 8)), zeros, zeros, jnp.zeros((3, 3, 2, 8)))[0].shape
    (3, 1, 4, 4, 2)
    """
    return _lstm(_CONVOLUTION, False, xp, None, None, h, c, recurrent, mask)


class _Product(NamedTuple):
    """How a state meets its kernel: ``of(h, w)``, ``back(h, w)(dy)`` towards h, ``gradient(h of all steps, w, dy)`` of w."""

    of: Callable
    back: Callable
    gradient: Callable


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _lstm(product: _Product, last: bool, x: Any, kernel: Any, bias: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    if product is _MATRIX and native.fits("recurrence", x, h, c, recurrent):
        hs, cs, _ = _lstm_native(x, kernel, bias, h, c, recurrent, mask, keep=False, last=last)
        return _turned(hs), (hs[:, -1], cs[:, -1])
    state, (outputs, *_) = _lstm_scan(product, x, h, c, recurrent, mask)
    return (state[0][None] if last else outputs), state


def _lstm_native(x: Any, kernel: Any, bias: Any, h: Any, c: Any, recurrent: Any, mask: Any, **asked: bool) -> tuple:
    """``(hs, cs, gates)``, batch first."""
    run = _as_plain(functools.partial(native.lstm_forward, **asked), functools.partial(lstm_arrays, **asked))
    return run(_turned(x), kernel, bias, h, c, recurrent, _turned(mask))


def _lstm_scan(product: _Product, xp: Any, h: Any, c: Any, recurrent: Any, mask: Any) -> tuple:
    def step(carry: tuple, each: tuple) -> tuple:
        (h, c), (x, m) = carry, each
        z = tuple(a + b for a, b in zip(x, gates(product.of(h, recurrent), 4), strict=True))
        new_h, new_c, kept = lstm_rule(z, c)
        h, c = _where(m, new_h, h), _where(m, new_c, c)
        return (h, c), (h, c, *kept)

    return lax.scan(step, (h, c), (gates(xp, 4), mask))


def _lstm_forward(
    product: _Product, last: bool, x: Any, kernel: Any, bias: Any, h: Any, c: Any, recurrent: Any, mask: Any
) -> tuple:
    if product is _MATRIX and native.fits("recurrence", x, h, c, recurrent):
        hs, cs, kept = _lstm_native(x, kernel, bias, h, c, recurrent, mask, keep=True, last=last)
        outputs, state = _turned(hs[:, -1:] if last else hs), (hs[:, -1], cs[:, -1])
        return (outputs, state), (x, kernel, bias, h, c, recurrent, mask, (hs, cs, kept))
    state, kept = _lstm_scan(product, x, h, c, recurrent, mask)
    outputs = state[0][None] if last else kept[0]
    return (outputs, state), (None, None, None, h, c, recurrent, mask, kept)


def _lstm_backward(product: _Product, last: bool, saved: tuple, grads: tuple) -> tuple:
    x, kernel, bias, h0, c0, recurrent, mask, (hs, cs, *gates) = saved
    dhs, (dh, dc) = grads
    if last:
        dhs, dh = None, dh + dhs[0]
    if x is None:
        dz, dh, dc = _lstm_back(product, dhs, dh, dc, cs, c0, gates, recurrent, mask)
        return dz, None, None, dh, dc, product.gradient(_before(h0, hs), recurrent, dz), None
    way_back = _as_plain(native.lstm_backward, _lstm_back_arrays)
    dz, dh, dc = way_back(_turned(dhs), dh, dc, cs, c0, *gates, recurrent, _turned(mask))
    return *_project_back(x, kernel, bias, dz), dh, dc, _product(_before(h0, hs, axis=1), dz), None


def _lstm_back(product: _Product, dhs: Any, dh: Any, dc: Any, cs: Any, c0: Any, gates: Any, recurrent: Any, mask: Any) -> tuple:
    """``(dxp, dh0, dc0)``."""
    before_c, back = _before(c0, cs), product.back(dh, recurrent)

    def step(carry: tuple, each: tuple) -> tuple:
        dh, dc = carry
        dout, (i, f, g, o), c, old_c, m = each
        dh = dh if dout is None else dh + dout
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
        return (_where(m, back(dz), dh), _where(m, through_c * f, dc)), dz

    (dh, dc), dz = lax.scan(step, (dh, dc), (dhs, tuple(gates), cs, before_c, mask), reverse=True)
    return dz, dh, dc


def lstm_arrays(
    x: Any, kernel: Any, bias: Any, h: Any, c: Any, recurrent: Any, mask: Any, *, keep: bool = True, last: bool = False
) -> tuple:
    """What `native.lstm_forward` gives, by the plain loop."""
    xp, mask = _project(_turned(x), kernel, bias), _turned(mask)
    hs, cs, *kept = _lstm_scan(_MATRIX, xp, h, c, recurrent, mask)[1]
    return _as_asked(keep, last, hs, cs, kept)


def _lstm_back_arrays(dhs: Any, dh: Any, dc: Any, cs: Any, c0: Any, kept: Any, recurrent: Any, mask: Any) -> tuple:
    dhs, cs, kept, mask = map(_turned, (dhs, cs, kept, mask))
    dz, dh, dc = _lstm_back(_MATRIX, dhs, dh, dc, cs, c0, gates(kept, 4), recurrent, mask)
    return _turned(dz), dh, dc


def _as_plain(fast: Callable, plain: Callable) -> Callable:
    """A function from C++ with the derivatives of the plain one that it stands for: for derivatives of a higher order."""

    @jax.custom_vjp
    def function(*arrays: Any) -> Any:
        return fast(*arrays)

    def backward(arrays: tuple, grads: Any) -> tuple:
        *varied, mask = arrays
        return *jax.vjp(lambda *varied: plain(*varied, mask), *varied)[1](grads), None

    function.defvjp(lambda *arrays: (fast(*arrays), arrays), backward)
    return function


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


def gru(
    x: jax.Array,
    h: jax.Array,
    recurrent: jax.Array,
    after: Any = None,
    mask: Any = None,
    *,
    kernel: Any = None,
    bias: Any = None,
    last: bool = False,
) -> tuple:
    """A gated recurrence with the usual activations, reset after the product: ``(outputs, (h,))``.

    Gates in Keras's order update, reset, candidate: ``u = h @ recurrent + after``, ``z = sigmoid(x_z + u_z)``,
    ``r = sigmoid(x_r + u_r)``, ``g = tanh(x_g + r u_g)``, ``h = z h + (1 - z) g``. ``kernel``, ``bias``, ``last`` as in `lstm`.
    Shapes: x (time, batch, 3 unit), or (time, batch, feature) with kernel (feature, 3 unit) and bias (3 unit) or None; h
    (batch, unit), recurrent (unit, 3 unit), after (3 unit) or None, mask (time, batch) or None.
    Source: Cho et al. 2014, arXiv:1406.1078.

    >>> gru(jnp.zeros((3, 1, 6)), jnp.zeros((1, 2)), jnp.zeros((2, 6)))[0].shape
    (3, 1, 2)
    """
    x, kernel, bias = _unless_inside(x, kernel, bias, h, recurrent, *([] if after is None else [after]))
    return _gru(last, x, kernel, bias, h, recurrent, after, mask)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gru(last: bool, x: Any, kernel: Any, bias: Any, h: Any, recurrent: Any, after: Any, mask: Any) -> tuple:
    if native.fits("recurrence", x, h, recurrent, *([] if after is None else [after])):
        hs, _ = _gru_native(x, kernel, bias, h, recurrent, after, mask, keep=False, last=last)
        return _turned(hs), (hs[:, -1],)
    state, (outputs, *_) = _gru_scan(x, h, recurrent, after, mask)
    return (state[None] if last else outputs), (state,)


def _gru_native(x: Any, kernel: Any, bias: Any, h: Any, recurrent: Any, after: Any, mask: Any, **asked: bool) -> tuple:
    """``(hs, gates)``, batch first."""
    run = _as_plain(functools.partial(native.gru_forward, **asked), functools.partial(gru_arrays, **asked))
    return run(_turned(x), kernel, bias, h, recurrent, after, _turned(mask))


def _gru_scan(xp: Any, h: Any, recurrent: Any, after: Any, mask: Any) -> tuple:
    def step(h: Any, each: tuple) -> tuple:
        x, m = each
        u = h @ recurrent
        uz, ur, ug = gates(u if after is None else u + after, 3)
        new, (z, r, g) = gru_rule(x, (uz, ur), h, lambda r: r * ug)
        h = _where(m, new, h)
        return h, (h, z, r, g, ug)

    return lax.scan(step, h, (gates(xp, 3), mask))


def _gru_forward(last: bool, x: Any, kernel: Any, bias: Any, h: Any, recurrent: Any, after: Any, mask: Any) -> tuple:
    if native.fits("recurrence", x, h, recurrent, *([] if after is None else [after])):
        hs, kept = _gru_native(x, kernel, bias, h, recurrent, after, mask, keep=True, last=last)
        outputs = _turned(hs[:, -1:] if last else hs)
        return (outputs, (hs[:, -1],)), (x, kernel, bias, h, recurrent, after, mask, (hs, kept))
    state, kept = _gru_scan(x, h, recurrent, after, mask)
    return (state[None] if last else kept[0], (state,)), (None, None, None, h, recurrent, after, mask, kept)


def _gru_backward(last: bool, saved: tuple, grads: tuple) -> tuple:
    x, kernel, bias, h0, recurrent, after, mask, (hs, *kept) = saved
    dhs, (dh,) = grads
    if last:
        dhs, dh = None, dh + dhs[0]
    if x is None:
        du, dg, dh = _gru_back(dhs, dh, hs, h0, kept, recurrent, mask)
    else:
        way_back = _as_plain(native.gru_backward, _gru_back_arrays)
        du, dg, dh = way_back(_turned(dhs), dh, hs, h0, *kept, recurrent, _turned(mask))
    dxp = jnp.concatenate([du[..., : 2 * dg.shape[-1]], dg], axis=-1)
    of_input = (dxp, None, None) if x is None else _project_back(x, kernel, bias, dxp)
    dafter = None if after is None else du.reshape(-1, du.shape[-1]).sum(0)
    return *of_input, dh, _product(_before(h0, hs, axis=0 if x is None else 1), du), dafter, None


def _gru_back(douts: Any, dlast: Any, hs: Any, first: Any, kept: Any, recurrent: Any, mask: Any) -> tuple:
    """``(du, dg, dh0)``, with u the product of state and kernel."""
    back, before = recurrent.T, _before(first, hs)

    def step(dh: Any, each: tuple) -> tuple:
        dout, old, (z, r, g, ug), m = each
        dh = dh if dout is None else dh + dout
        through = _where(m, dh, 0)
        dg = through * (1 - z) * (1 - g * g)
        du = jnp.concatenate([through * (old - g) * z * (1 - z), dg * ug * r * (1 - r), dg * r], axis=-1)
        return _where(m, through * z + du @ back, dh), (du, dg)

    dh, (du, dg) = lax.scan(step, dlast, (douts, before, tuple(kept), mask), reverse=True)
    return du, dg, dh


def gru_arrays(
    x: Any, kernel: Any, bias: Any, h: Any, recurrent: Any, after: Any, mask: Any, *, keep: bool = True, last: bool = False
) -> tuple:
    """What `native.gru_forward` gives, by the plain loop."""
    xp, mask = _project(_turned(x), kernel, bias), _turned(mask)
    hs, *kept = _gru_scan(xp, h, recurrent, after, mask)[1]
    hs, _, kept = _as_asked(keep, last, hs, hs, kept)
    return hs, kept


def _gru_back_arrays(dhs: Any, dh: Any, hs: Any, h0: Any, kept: Any, recurrent: Any, mask: Any) -> tuple:
    dhs, hs, kept, mask = map(_turned, (dhs, hs, kept, mask))
    du, dg, dh = _gru_back(dhs, dh, hs, h0, gates(kept, 4), recurrent, mask)
    return _turned(du), _turned(dg), dh


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
    return new if mask is None else jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _before(first: jax.Array, rest: jax.Array, axis: int = 0) -> jax.Array:
    """The state each step began with; ``axis`` is that of time."""
    return jnp.concatenate([jnp.expand_dims(first, axis), lax.slice_in_dim(rest, 0, rest.shape[axis] - 1, axis=axis)], axis)


def _turned(array: Any) -> Any:
    """Batch first for time first, and back."""
    return None if array is None else jnp.swapaxes(array, 0, 1)


def _as_asked(keep: bool, last: bool, hs: Any, cs: Any, kept: Any) -> tuple:
    """``(h, c, gates)``, batch first, with the steps that `native.lstm_forward` is asked for."""
    hs, cs = (a if wanted else a[-1:] for a, wanted in ((hs, keep or not last), (cs, keep)))
    return _turned(hs), _turned(cs), _turned(jnp.concatenate(kept, -1)) if keep else jnp.zeros((0, 0, 0), hs.dtype)


def _project(x: Any, kernel: Any, bias: Any) -> Any:
    """What inputs (..., feature) give to all gates; without a kernel they are that already."""
    if kernel is None:
        return x
    y = x.reshape(-1, x.shape[-1]) @ kernel
    return (y if bias is None else y + bias).reshape(*x.shape[:-1], y.shape[-1])


def _project_back(x: Any, kernel: Any, bias: Any, dxp: Any) -> tuple:
    """The gradients of inputs (time, batch, feature), kernel and bias, from that of their product, batch first."""
    if kernel is None:
        return _turned(dxp), None, None
    flat = dxp.reshape(-1, dxp.shape[-1])
    dx = (flat @ kernel.T).reshape(*dxp.shape[:2], x.shape[-1])
    return _turned(dx), _product(_turned(x), dxp), None if bias is None else flat.sum(0)


def _unless_inside(x: Any, kernel: Any, bias: Any, *others: Any) -> tuple:
    """Inputs with their kernel and bias for the kernels in C++, which project them; elsewhere projected, in one product."""
    arrays = [a for a in (x, kernel, bias, *others) if a is not None]
    if kernel is not None and native.fits("recurrence", *arrays):
        return x, kernel, bias
    return _project(x, kernel, bias), None, None


def _product(states: jax.Array, dz: jax.Array) -> jax.Array:
    """The gradient of a recurrent kernel: one product over all steps and examples."""
    return states.reshape(-1, states.shape[-1]).T @ dz.reshape(-1, dz.shape[-1])


def _matrix_back(h: jax.Array, kernel: jax.Array) -> Callable:
    back = kernel.T  # before the loop
    return lambda dz: dz @ back


_MATRIX = _Product(jnp.matmul, _matrix_back, lambda states, kernel, dz: _product(states, dz))


def _same(h: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv(h, kernel, padding="same")


def _same_back(h: jax.Array, kernel: jax.Array) -> Callable:
    return lambda dz: jax.vjp(lambda h: _same(h, kernel), jnp.zeros_like(h))[1](dz)[0]


def _same_gradient(states: jax.Array, kernel: jax.Array, dz: jax.Array) -> jax.Array:
    """All steps are one batch, outside the loop."""
    states, dz = (a.reshape(-1, *a.shape[2:]) for a in (states, dz))
    return jax.vjp(lambda kernel: _same(states, kernel), kernel)[1](dz)[0]


_CONVOLUTION = _Product(_same, _same_back, _same_gradient)
