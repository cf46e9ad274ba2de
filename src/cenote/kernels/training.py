"""What training steps spend their time on, in C++ on the CPU: products of few rows, their gradients, and Adam.

Only inside `stepping`, which the step of `fit` opens, and there not in transformations of a user's own: so nobody asks for more
than first derivatives, and seconds spent once on a compiler are worth it. Who traces a model himself finds plain operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from . import native

ENOUGH = 1 << 14  # trained numbers from which on C++ is asked for: below, a step is a few microseconds of anything
MOST_ROWS = 512  # of a batch, above which XLA's products are as fast
MOST_NUMBERS = 1 << 19  # of a kernel, above which XLA's product is as fast: it no longer fits the cache of one core
TURNED = 1 << 13  # numbers of a kernel that costs little to transpose

_stepping: ContextVar[bool] = ContextVar("cenote_stepping", default=False)


@contextmanager
def stepping(numbers: int) -> Iterator[None]:
    """What is traced inside this block is a step of training a model of so many trained numbers."""
    token = _stepping.set(numbers >= ENOUGH)
    try:
        yield
    finally:
        _stepping.reset(token)


def takes_dense(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether `dense` is the way for these: in `stepping`, few rows, float32 on the CPU, and there is C++.

    >>> takes_dense(jnp.ones((2, 3)), jnp.ones((3, 4)))
    False
    """
    # One row or one unit is a vector, which XLA knows about.
    suits = _stepping.get() and 1 < x.shape[0] <= MOST_ROWS and kernel.shape[1] > 1
    return suits and native.fits("training", x, kernel)


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """``x @ kernel + bias``, whose gradients by kernel and bias are found in one pass of C++. See `takes_dense`.

    Features that are zero in all rows are left out of the sums, so that a weight which is not finite goes unseen there.
    Shapes: (row, feature), (feature, unit), (unit) or None -> (row, unit).
    """
    return _dense(x, kernel, jnp.zeros(0, x.dtype) if bias is None else bias)


def _value(x: Any, kernel: Any, bias: Any) -> jax.Array:
    def plain(x: Any, kernel: Any, bias: Any) -> jax.Array:
        y = x @ kernel
        return y + bias if bias.size else y

    # XLA does small products on one thread, and large ones as fast as we.
    fast = kernel.size <= MOST_NUMBERS
    return native.standing_for(plain, native.dense)(x, kernel, bias) if fast else plain(x, kernel, bias)


def _forward(x: Any, kernel: Any, bias: Any) -> tuple:
    return _value(x, kernel, bias), (x, kernel, bias)


def _backward(saved: tuple, dy: Any) -> tuple:
    x, kernel, bias = saved

    def plain(x: Any, dy: Any) -> tuple:
        return x.T @ dy, dy.sum(0) if bias.size else bias

    if dy.size > MOST_NUMBERS:  # C++ lays it out anew as a whole
        dkernel, dbias = plain(x, dy)
    else:
        dkernel, dbias = native.standing_for(plain, lambda x, dy: native.dense_gradient(x, dy, bias.shape))(x, dy)
    dx = _value(dy, kernel.T, jnp.zeros(0, dy.dtype)) if kernel.size <= TURNED else dy @ kernel.T
    return dx, dkernel, dbias


_dense = jax.custom_vjp(_value)
_dense.defvjp(_forward, _backward)


def takes_adam(arrays: list[Any]) -> bool:
    """Whether `adam` is the way for these weights: in `stepping`, all of them float32 on the CPU, and there is C++.

    >>> takes_adam([jnp.ones(3)])
    False
    """
    return _stepping.get() and native.fits("training", *arrays)


def adam(
    p: list, m: list, v: list, g: list, rates: list, decays: list, *, beta_1: float, beta_2: float, epsilon: float
) -> tuple[list, list, list]:
    """Adam's step for lists of weights, means, mean squares and gradients: what all but the last are after it.

    ``p -= decay p + rate m / (sqrt(v) + epsilon)``, with one of the ``rates`` and ``decays`` for each array. See `takes_adam`.
    """
    count = len(p)
    numbers = (jnp.stack([jnp.asarray(n, jnp.float32) for n in given]) for given in (rates, decays))
    found = native.adam(*numbers, *p, *m, *v, *g, beta_1=1 - beta_1, beta_2=1 - beta_2, epsilon=epsilon)
    return list(found[:count]), list(found[count : 2 * count]), list(found[2 * count :])
