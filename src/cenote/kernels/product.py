"""Products of inputs with a kernel, where XLA's CPU backend is slow with the plain one: in training and in serving.

The gradient of a kernel is ``x.T @ dy``. With ten classes that has ten columns, and most of each vector of the processor is
empty. As ``(dy.T @ x).T`` it is two to four times as fast; XLA would turn that into the former again, but for the barriers.
A product of a hundred rows XLA does on one thread; a serving handle has C++ that shares it, with bias and rectifier in the same
pass. A plain `predict` does not: an MLP should need no compiler's seconds on a fresh machine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from . import native

NARROW = 32  # outputs, at most
FEW = 8192  # numbers in x below which nothing is gained
MANY = 1 << 18  # numbers of a kernel that no longer fits the cache of one core, which C++ reads where it lies


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``x @ kernel``, for training: derivatives of every order and both modes are those of the plain product.

    Shapes: (row, feature), (feature, unit) -> (row, unit).

    >>> product(jnp.ones((2, 3)), jnp.ones((3, 4))).tolist()[0]
    [3.0, 3.0, 3.0, 3.0]
    """
    return _product(x, kernel) if _suits(x, kernel) else x @ kernel


def _suits(x: jax.Array, kernel: jax.Array) -> bool:
    usual = x.dtype == kernel.dtype == jnp.float32 and jax.default_backend() == "cpu"
    return usual and x.size >= FEW and 1 < kernel.shape[1] <= NARROW  # one column is a vector, which XLA knows about


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, *, rectify: bool) -> jax.Array:
    """``x @ kernel + bias``, or the larger of that and 0, in one pass where there is C++ (`affine_fits`).

    Shapes: (row, feature), (feature, unit), (unit) or None -> (row, unit).

    >>> x, kernel = jnp.ones((2, 3)), -jnp.ones((3, 4))
    >>> affine(x, kernel, None, rectify=True).tolist()[0] if affine_fits(x, kernel) else [0.0] * 4
    [0.0, 0.0, 0.0, 0.0]
    """
    bias = jnp.zeros(0, x.dtype) if bias is None else bias
    how = {"rectify": rectify}
    return native.standing_for(partial(_affine, **how), partial(native.dense, **how))(x, kernel, bias)


def affine_fits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether `affine` takes these: several rows, float32 on the CPU, a kernel that is not too large, and there is C++.

    >>> affine_fits(jnp.ones((2, 3)), jnp.ones((3, 4), jnp.int32))
    False
    """
    return x.shape[0] > 1 and kernel.size <= MANY and native.fits("dense", x, kernel)


def _affine(x: Any, kernel: Any, bias: Any, *, rectify: bool) -> jax.Array:
    y = x @ kernel
    y = y + bias if bias.size else y
    return jax.nn.relu(y) if rectify else y


@jax.custom_jvp
def _product(x: Any, kernel: Any) -> jax.Array:
    return x @ kernel


def _tangent(primals: tuple, tangents: tuple) -> tuple:
    """What the kernel's tangent gives is written so that its transposition is the gradient in the wanted form."""
    (x, kernel), (dx, dkernel) = primals, tangents
    y, parts = x @ kernel, []
    if not isinstance(dx, SymbolicZero):
        parts.append(dx @ kernel)
    if not isinstance(dkernel, SymbolicZero):
        side = lax.dot_general(lax.optimization_barrier(dkernel.T), x, (((1,), (1,)), ((), ())))
        parts.append(lax.optimization_barrier(side).T)
    return y, sum(parts) if parts else jnp.zeros_like(y)


_product.defjvp(_tangent, symbolic_zeros=True)
