"""The slope of a function of one number between two points, ``(f(a) - f(b)) / (a - b)``, without loss of digits.

Where a form without cancellation is known it is used. Elsewhere the difference quotient is taken, and for points so close that
rounding would spoil it, the derivative half way, whose error is of the second order: at a distance of two cube roots of the
precision both are right to some 1e-5 in float32, and their contribution ``slope (a - b)`` to 1e-7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .interpreter import real


def difference(a: Any, b: Any) -> Any:
    """``a - b``, and 0 where both are the same infinity."""
    a, b = real(a), real(b)
    return jnp.where(a == b, jnp.zeros((), a.dtype), a - b)


def middle(a: Any, b: Any) -> Any:
    a, b = real(a), real(b)
    return 0.5 * a + 0.5 * b


def over(f: Callable, d: Any) -> Any:
    """``f(d) / d`` for a function with ``f(0) = 0`` and the slope 1 there.

    >>> over(jnp.tanh, jnp.array([0.0, 64.0])).tolist()
    [1.0, 0.015625]
    """
    still = d == 0
    safe = jnp.where(still, 1, d)
    return jnp.where(still, jnp.ones((), d.dtype), f(safe) / safe)


def _exp(a: Any, b: Any) -> Any:
    return jnp.exp(jnp.maximum(a, b)) * over(lambda d: -jnp.expm1(-d), jnp.abs(difference(a, b)))


def _log(a: Any, b: Any) -> Any:
    low = jnp.minimum(a, b)
    return over(jnp.log1p, jnp.abs(difference(a, b)) / low) / low


def _tanh(a: Any, b: Any) -> Any:
    return over(jnp.tanh, difference(a, b)) * (1 - jnp.tanh(a) * jnp.tanh(b))


def _sqrt(a: Any, b: Any) -> Any:
    return 1 / (jnp.sqrt(a) + jnp.sqrt(b))


def _rsqrt(a: Any, b: Any) -> Any:
    a, b = jax.lax.rsqrt(a), jax.lax.rsqrt(b)
    return -((a * b) ** 2) / (a + b)


def _integer_pow(a: Any, b: Any, y: int) -> Any:
    total = sum(a**i * b ** (abs(y) - 1 - i) for i in range(abs(y)))
    return total if y >= 0 else -total / (a * b) ** -y


EXACT: dict[str, Callable] = {
    "exp": _exp,
    "expm1": _exp,
    "exp2": lambda a, b: _exp(a * jnp.log(2.0), b * jnp.log(2.0)) * jnp.log(2.0).astype(a.dtype),
    "log": _log,
    "log1p": lambda a, b: _log(1 + a, 1 + b),
    "tanh": _tanh,
    "logistic": lambda a, b: 0.25 * _tanh(a / 2, b / 2),
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "square": lambda a, b: a + b,
    "integer_pow": _integer_pow,
    "sin": lambda a, b: jnp.cos(middle(a, b)) * over(jnp.sin, difference(a, b) / 2),
    "cos": lambda a, b: -jnp.sin(middle(a, b)) * over(jnp.sin, difference(a, b) / 2),
}


def slope(f: Callable[[Any], Any], a: Any, b: Any, exact: Callable | None = None, *, kinked: bool = False) -> Any:
    """The slope between ``a`` and ``b``, which have one shape; ``kinked`` says that f is made of straight pieces.

    Of straight pieces differences lose nothing, while the derivative half way may be that of another piece.

    >>> slope(jnp.abs, jnp.array([3.0, 1.0]), jnp.array([-1.0, 1.0]), kinked=True).tolist()
    [0.5, 1.0]
    """
    d = difference(a, b)
    still = d == 0
    if exact is not None:
        m = exact(real(a), real(b))
    else:
        safe = jnp.where(still, 1, d)
        m = difference(f(a), f(b)) / safe
        near = still
        if not kinked:
            scale = jnp.minimum(jnp.minimum(jnp.abs(a), jnp.abs(b)), 1)
            near = still | (jnp.abs(d) <= 2 * jnp.finfo(d.dtype).eps ** (1 / 3) * scale)
        m = jnp.where(near, _derivative(f, a if kinked else middle(a, b).astype(a.dtype), m), m)
    return jnp.where(still & ~jnp.isfinite(m), jnp.zeros((), m.dtype), m)


def _derivative(f: Callable, a: Any, like: Any) -> Any:
    if not jnp.issubdtype(a.dtype, jnp.inexact) or not jnp.issubdtype(jax.eval_shape(f, a).dtype, jnp.inexact):
        return jnp.zeros_like(like)
    return jax.jvp(f, (a,), (jnp.ones_like(a),))[1].astype(like.dtype)
