"""Products of inputs with a kernel, where XLA's CPU backend is slow with the plain one: in training.

The gradient of a kernel is ``x.T @ dy``. With ten classes that has ten columns, and most of each vector of the processor is
empty. As ``(dy.T @ x).T`` it is two to four times as fast; XLA would turn that into the former again, but for barriers.
With many features, a power of two, all numbers of a column of x fall onto a few lines of the caches, and the product runs at
half the processor's speed; turned round first, in one sweep, it runs at two thirds.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

NARROW = 32  # outputs, at most
FEW = 8192  # numbers in x below which nothing is gained
MANY = 1024  # rows from which on x is turned round


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``x @ kernel``, for training: derivatives of every order and both modes are those of the plain product.

    Shapes: (row, feature), (feature, unit) -> (row, unit).

    >>> product(jnp.ones((2, 3)), jnp.ones((3, 4))).tolist()[0]
    [3.0, 3.0, 3.0, 3.0]
    """
    usual = x.dtype == kernel.dtype == jnp.float32 and jax.default_backend() == "cpu" and x.size >= FEW
    return _product(x, kernel) if usual and (_narrow(kernel) or _aliased(x, kernel)) else x @ kernel


def _narrow(kernel: jax.Array) -> bool:
    return 1 < kernel.shape[1] <= NARROW  # one column is a vector, which XLA knows about


def _aliased(x: jax.Array, kernel: jax.Array) -> bool:
    features, units = kernel.shape
    return len(x) >= MANY and features >= max(512, 4 * units) and features & (features - 1) == 0


@jax.custom_jvp
def _product(x: Any, kernel: Any) -> jax.Array:
    return x @ kernel


def _tangent(primals: tuple, tangents: tuple) -> tuple:
    """What the kernel's tangent gives is written so that its transposition is the gradient in the wanted form."""
    (x, kernel), (dx, dkernel) = primals, tangents
    y, parts = x @ kernel, []
    if not isinstance(dx, SymbolicZero):
        parts.append(dx @ kernel)
    if not isinstance(dkernel, SymbolicZero) and not _narrow(kernel):
        parts.append(lax.dot_general(lax.optimization_barrier(x.T), dkernel, (((0,), (0,)), ((), ()))))
    elif not isinstance(dkernel, SymbolicZero):
        side = lax.dot_general(lax.optimization_barrier(dkernel.T), x, (((1,), (1,)), ((), ())))
        parts.append(lax.optimization_barrier(side).T)
    return y, sum(parts) if parts else jnp.zeros_like(y)


_product.defjvp(_tangent, symbolic_zeros=True)
