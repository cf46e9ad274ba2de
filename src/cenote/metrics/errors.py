"""Losses looked at as metrics: mean errors and cross-entropies over all examples."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from cenote.losses import classes, functions

from .base import MeanMetricWrapper


class MeanSquaredError(MeanMetricWrapper):
    """Mean of ``(y_true - y_pred)^2``, in the square of the target's unit.

    >>> MeanSquaredError()([[0.0], [0.0]], [[1.0], [3.0]]).item()
    5.0
    """

    direction = "down"

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None):
        super().__init__(functions.mean_squared_error, name, dtype)


class RootMeanSquaredError(MeanMetricWrapper):
    """``sqrt(mean((y_true - y_pred)^2))``, in the target's unit.

    >>> RootMeanSquaredError()([[0.0], [0.0]], [[3.0], [3.0]]).item()
    3.0
    """

    direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None):
        super().__init__(functions.mean_squared_error.elements, name, dtype)

    def compute(self, sums: Any) -> jax.Array:
        return jnp.sqrt(super().compute(sums))


class MeanAbsoluteError(MeanMetricWrapper):
    """Mean of ``|y_true - y_pred|``, in the target's unit."""

    direction = "down"

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None):
        super().__init__(functions.mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(MeanMetricWrapper):
    """Mean of ``100 |y_true - y_pred| / |y_true|``, in percent."""

    direction = "down"

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None):
        super().__init__(functions.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """Mean of ``(log(1 + y_true) - log(1 + y_pred))^2``."""

    direction = "down"

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None):
        super().__init__(functions.mean_squared_logarithmic_error, name, dtype)


def cosine(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """The cosine of the angle between the vectors: 1 when they point the same way (the loss has the other sign)."""
    return -functions.cosine_similarity(y_true, y_pred, axis=axis)


class CosineSimilarity(MeanMetricWrapper):
    """Mean cosine between target and prediction, 1 when they point the same way.

    >>> CosineSimilarity()([[0.0, 1.0]], [[0.0, 2.0]]).item()
    1.0
    """

    direction = "up"

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1):
        super().__init__(cosine, name, dtype, axis=axis)


class BinaryCrossentropy(MeanMetricWrapper):
    """Mean of `cenote.losses.binary_crossentropy`."""

    direction = "down"

    def __init__(
        self, name: str = "binary_crossentropy", dtype: Any = None, from_logits: bool = False, label_smoothing: float = 0.0
    ):
        super().__init__(functions.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(MeanMetricWrapper):
    """Mean of `cenote.losses.categorical_crossentropy`."""

    direction = "down"

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ):
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(functions.categorical_crossentropy, name, dtype, **options)


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """Mean of `cenote.losses.sparse_categorical_crossentropy` over the targets other than ``ignore_class``."""

    direction = "down"

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        loss = classes.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis)
        super().__init__(loss, name, dtype)


class KLDivergence(MeanMetricWrapper):
    """Mean of `cenote.losses.kl_divergence`."""

    direction = "down"

    def __init__(self, name: str = "kl_divergence", dtype: Any = None):
        super().__init__(functions.kl_divergence, name, dtype)


class Poisson(MeanMetricWrapper):
    """Mean of `cenote.losses.poisson`."""

    direction = "down"

    def __init__(self, name: str = "poisson", dtype: Any = None):
        super().__init__(functions.poisson, name, dtype)


class LogCoshError(MeanMetricWrapper):
    """Mean of `cenote.losses.log_cosh`."""

    direction = "down"

    def __init__(self, name: str = "logcosh", dtype: Any = None):
        super().__init__(functions.log_cosh, name, dtype)


class Hinge(MeanMetricWrapper):
    """Mean of `cenote.losses.hinge`."""

    direction = "down"

    def __init__(self, name: str = "hinge", dtype: Any = None):
        super().__init__(functions.hinge, name, dtype)


class SquaredHinge(MeanMetricWrapper):
    """Mean of `cenote.losses.squared_hinge`."""

    direction = "down"

    def __init__(self, name: str = "squared_hinge", dtype: Any = None):
        super().__init__(functions.squared_hinge, name, dtype)


class CategoricalHinge(MeanMetricWrapper):
    """Mean of `cenote.losses.categorical_hinge`."""

    direction = "down"

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None):
        super().__init__(functions.categorical_hinge, name, dtype)
