"""Activations that take long in plain XLA on the CPU, with derivatives of their own."""

from __future__ import annotations

import functools
from typing import Any

import jax

from . import native
from .answers import asked_for_answers


def gelu(x: jax.Array, approximate: bool = False) -> jax.Array:
    """``x P(X <= x)`` for a standard normal X, or its tanh form; the slope is found with the value.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.

    >>> [round(float(y), 4) for y in gelu(jax.numpy.array([-1.0, 0.0, 1.0]))]
    [-0.1587, 0.0, 0.8413]
    """
    if not native.fits("normalization", x):
        return jax.nn.gelu(x, approximate)
    return _with_slope(bool(approximate), x)[0] if asked_for_answers() else _gelu(bool(approximate), x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gelu(approximate: bool, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate)  # what is called without a derivative: by explanations


@_gelu.defjvp
def _(approximate: bool, primals: tuple, tangents: tuple) -> tuple:
    y, slope = _with_slope(approximate, *primals)
    return y, slope * tangents[0]


def _with_slope(approximate: bool, x: Any) -> tuple:
    function = functools.partial(jax.nn.gelu, approximate=approximate)

    def plain(x: Any) -> tuple:
        return jax.jvp(function, (x,), (jax.numpy.ones_like(x),))

    return native.standing_for(plain, functools.partial(native.gelu, approximate=approximate))(x)
