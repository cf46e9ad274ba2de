"""Normalisation between layers: over the batch, over the features."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..kernels.normalization import standardize_columns, standardize_rows
from .base import Layer
from .check import axes, floating, fraction, inside

__all__ = ["BatchNormalization", "LayerNormalization"]


def _center_and_scale(layer: Any, y: jax.Array, size: int) -> jax.Array:
    """``y * scale + bias`` over (row, feature), as far as the layer has them."""
    if layer.scale:
        y = y * layer.param("scale", (size,), "ones")
    if layer.center:
        y = y + layer.param("bias", (size,), "zeros")
    return y


def _positive_epsilon(layer: Any, epsilon: float) -> float:
    if not epsilon > 0:
        raise ValueError(f"{type(layer).__name__} needs epsilon above 0, got {epsilon!r}")
    return float(epsilon)


class BatchNormalization(Layer):
    """Each channel with mean 0 and variance 1 over the batch: ``y = scale (x - mean) / sqrt(variance + epsilon) + bias``.

    In training, mean and variance are those of the batch, and running averages are kept: ``mean <- momentum mean + (1 -
    momentum) batch mean``, the same for the variance (biased, as in Keras). Otherwise the running averages are used; so they
    are in a frozen layer (``trainable=False``). ``synchronized`` is accepted and changes nothing: a batch that is spread over
    several devices is one batch in one program here, so its statistics are always those of the whole.
    Shapes: (batch, ..., channel) -> the same; scale, bias, mean, var (channel).
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    >>> import numpy as np
    >>> BatchNormalization().build(np.ones((4, 3)))(np.ones((4, 3))).shape
    (4, 3)
    """

    weights = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        synchronized: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(axes(self, axis)) > 1:
            raise ValueError(f"BatchNormalization takes one axis, that of the channels, got axis={axis!r}")
        self.axis = axes(self, axis)[0]
        self.synchronized = synchronized
        self.momentum = fraction(self, "momentum", momentum)
        self.epsilon = _positive_epsilon(self, epsilon)
        self.center, self.scale = center, scale

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        (axis,) = inside(self, (self.axis,), x.shape)
        moved = jnp.moveaxis(x, axis, -1)
        size = moved.shape[-1]
        rows = moved.reshape(-1, size)
        mean, var = self.state("mean", (size,), "zeros"), self.state("var", (size,), "ones")
        if self.train and self.trainable:
            y, batch_mean, batch_var = standardize_columns(rows.astype(mean.dtype), self.epsilon)
            for name, old, new in (("mean", mean, batch_mean), ("var", var, batch_var)):
                self.set_state(name, old * self.momentum + jax.lax.stop_gradient(new) * (1 - self.momentum))
        else:
            y = (rows - mean) * jax.lax.rsqrt(var + self.epsilon)
        y = _center_and_scale(self, y.astype(x.dtype), size)
        return jnp.moveaxis(y.reshape(moved.shape), -1, axis)


class LayerNormalization(Layer):
    """Each example's features with mean 0 and variance 1: ``y = scale (x - mean) / sqrt(variance + epsilon) + bias``.

    ``axis`` names the axes that are normalised together, the last by default; scale and bias have their shape.
    Source: Ba et al. 2016, arXiv:1607.06450.

    >>> import numpy as np
    >>> LayerNormalization().build(np.ones((4, 3)))(np.ones((4, 3))).shape
    (4, 3)
    """

    weights = {"gamma": "scale", "beta": "bias"}
    supports_masking = True

    def __init__(
        self,
        axis: int | tuple[int, ...] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.axis = axes(self, axis)
        self.epsilon = _positive_epsilon(self, epsilon)
        self.center, self.scale = center, scale

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        together = inside(self, self.axis, x.shape)
        last = list(range(x.ndim - len(together), x.ndim))
        moved = jnp.moveaxis(x, together, last)
        shape = moved.shape[x.ndim - len(together) :]
        rows = moved.reshape(-1, math.prod(shape))
        y = standardize_rows(rows.astype(jnp.promote_types(x.dtype, jnp.float32)), self.epsilon).astype(x.dtype)
        if self.scale:
            y = y * self.param("scale", shape, "ones").reshape(-1)
        if self.center:
            y = y + self.param("bias", shape, "zeros").reshape(-1)
        return jnp.moveaxis(y.reshape(moved.shape), last, together)
