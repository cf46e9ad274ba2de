"""Losses of a predicted distribution: what it said of the value that came (PyTorch's negative log likelihoods)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.notes import graph_function

from .base import FunctionLoss
from .functions import averaged, pair, real


@graph_function
def gaussian_nll(y_true: Any, y_pred: Any, full: bool = False, eps: float = 1e-6) -> jax.Array:
    """``mean((log(v) + (y - m)^2 / v) / 2)`` over the last axis, for a mean m and a variance v of each value.

    ``full`` adds log(2 pi) / 2. Variances below ``eps`` count as eps, with the slope as if they were not.
    Shapes: y_true (batch, features), y_pred (batch, 2 features), first the means, then the variances; or a tuple of both.
    Source: Nix and Weigend 1994, ICNN.

    >>> gaussian_nll([[1.0]], [[0.0, 1.0]]).tolist()
    [0.5]
    """
    if isinstance(y_pred, tuple):
        mean, var = (real(part) for part in y_pred)
    else:
        y_pred = real(y_pred)
        if y_pred.shape[-1] % 2:
            raise ValueError(
                f"gaussian_nll: predictions of shape {y_pred.shape} need an even last axis, first the means and then the "
                f"variances: end the model in {y_pred.shape[-1]} + {y_pred.shape[-1]} outputs, the second half through softplus"
            )
        mean, var = jnp.split(y_pred, 2, axis=-1)
    y_true, mean = pair(y_true, mean, "gaussian_nll")
    var = jnp.broadcast_to(var.reshape(mean.shape) if var.size == mean.size else var, mean.shape)
    var = var + jax.lax.stop_gradient(jnp.maximum(var, eps) - var)
    values = 0.5 * (jnp.log(var) + jnp.square(y_true - mean) / var)
    values = values + 0.5 * math.log(2 * math.pi) if full else values
    return jnp.mean(values, axis=-1) if values.ndim > 1 else values


@averaged
def poisson_nll(y_true: Any, y_pred: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> jax.Array:
    """``mean(exp(x) - y x)`` over the last axis, for counts y and x the logarithm of their rate.

    ``log_input=False``: x is the rate, and the value ``x - y log(x + eps)``. ``full`` adds Stirling's formula for log(y!)
    where y > 1.

    >>> poisson_nll([[2.0]], [[0.0]]).tolist()
    [1.0]
    """
    y, x = pair(y_true, y_pred, "poisson_nll")
    values = jnp.exp(x) - y * x if log_input else x - y * jnp.log(x + eps)
    if not full:
        return values
    large = jnp.where(y > 1, y, 1)
    return values + jnp.where(y > 1, large * jnp.log(large) - large + 0.5 * jnp.log(2 * math.pi * large), 0)


class GaussianNLL(FunctionLoss):
    """A mean and a variance against the value that came: see `gaussian_nll`."""

    function = staticmethod(gaussian_nll)

    def __init__(
        self,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, full=full, eps=eps)


class PoissonNLL(FunctionLoss):
    """The logarithm of a rate against the count that came: see `poisson_nll`."""

    function = staticmethod(poisson_nll)

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, log_input=log_input, full=full, eps=eps)
