"""Activations that take long in plain XLA on the CPU, with derivatives of their own."""

from __future__ import annotations

import functools
from typing import Any

import jax

from . import native


def gelu(x: jax.Array, approximate: bool = False) -> jax.Array:
    """``x P(X <= x)`` for a standard normal X, or its tanh form; the slope is found with the value.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.

    >>> [round(float(y), 4) for y in gelu(jax.numpy.array([-1.0, 0.0, 1.0]))]
    [-0.1587, 0.0, 0.8413]
    """
    return _gelu(bool(approximate), x) if native.fits("normalization", x) else jax.nn.gelu(x, approximate)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gelu(approximate: bool, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate)  # what is called without a derivative: prediction, explanations


@_gelu.defjvp
def _(approximate: bool, primals: tuple, tangents: tuple) -> tuple:
    function = functools.partial(jax.nn.gelu, approximate=approximate)

    def plain(x: Any) -> tuple:
        return jax.jvp(function, (x,), (jax.numpy.ones_like(x),))

    y, slope = native.standing_for(plain, functools.partial(native.gelu, approximate=approximate))(*primals)
    return y, slope * tangents[0]
