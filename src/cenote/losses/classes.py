"""The losses as objects, with Keras's names, arguments and defaults."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from . import functions
from .base import FunctionLoss


class MeanSquaredError(FunctionLoss):
    """Mean of the squared errors, in the square of the target's unit: see `mean_squared_error`.

    >>> MeanSquaredError()([[1.0], [2.0]], [[0.0], [0.0]]).item()
    2.5
    """

    function = staticmethod(functions.mean_squared_error)

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)


class MeanAbsoluteError(MeanSquaredError):
    """Mean of the absolute errors, in the target's unit: see `mean_absolute_error`."""

    function = staticmethod(functions.mean_absolute_error)


class MeanAbsolutePercentageError(MeanSquaredError):
    """Mean of the relative errors in percent: see `mean_absolute_percentage_error`."""

    function = staticmethod(functions.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(MeanSquaredError):
    """Mean of the squared errors of log(1 + y): see `mean_squared_logarithmic_error`."""

    function = staticmethod(functions.mean_squared_logarithmic_error)


class LogCosh(MeanSquaredError):
    """Squared near zero, absolute far away, smooth between: see `log_cosh`."""

    function = staticmethod(functions.log_cosh)


class KLDivergence(MeanSquaredError):
    """How far one distribution is from another, in nats: see `kl_divergence`."""

    function = staticmethod(functions.kl_divergence)


class Poisson(MeanSquaredError):
    """Counts against their predicted rate: see `poisson`."""

    function = staticmethod(functions.poisson)


class Hinge(MeanSquaredError):
    """The margin of a two-class score: see `hinge`."""

    function = staticmethod(functions.hinge)


class SquaredHinge(MeanSquaredError):
    """The squared margin of a two-class score: see `squared_hinge`."""

    function = staticmethod(functions.squared_hinge)


class CategoricalHinge(MeanSquaredError):
    """The margin between the right class and the best wrong one: see `categorical_hinge`."""

    function = staticmethod(functions.categorical_hinge)


class Huber(FunctionLoss):
    """Squared up to ``delta``, absolute beyond: see `huber`."""

    function = staticmethod(functions.huber)

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, delta=delta)


class SmoothL1(FunctionLoss):
    """Squared below ``beta``, absolute beyond: see `smooth_l1`."""

    function = staticmethod(functions.smooth_l1)

    def __init__(
        self,
        beta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, beta=beta)


class CosineSimilarity(FunctionLoss):
    """Minus the cosine between target and prediction: see `cosine_similarity`."""

    function = staticmethod(functions.cosine_similarity)

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, axis=axis)


class BinaryCrossentropy(FunctionLoss):
    """Yes-or-no targets against one probability (or logit) for each: see `binary_crossentropy`.

    >>> BinaryCrossentropy(from_logits=True)([[1.0], [0.0]], [[1000.0], [1000.0]]).item()
    500.0
    """

    function = staticmethod(functions.binary_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        pos_weight: Any = None,
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis, "pos_weight": pos_weight}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)


class CategoricalCrossentropy(FunctionLoss):
    """One-hot targets against probabilities (or logits) of classes: see `categorical_crossentropy`.

    PyTorch's mean over ``class_weights`` is ``reduction="mean_with_sample_weight"``.

    >>> CategoricalCrossentropy(from_logits=True)([[0.0, 1.0]], [[1000.0, -1000.0]]).item()
    2000.0
    """

    function = staticmethod(functions.categorical_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        class_weights: Any = None,
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        self.class_weights = class_weights
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis, "class_weights": class_weights}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)

    def own_weights(self, y_true: Any, y_pred: Any) -> Any:
        if self.class_weights is None:
            return None
        y_true = jnp.asarray(y_true, jnp.float32)
        weights = functions.by_class(self.class_weights, y_true.shape[self.axis], self.name)
        return jnp.sum(y_true * functions.along(weights, self.axis, y_true.ndim), axis=self.axis)


class SparseCategoricalCrossentropy(FunctionLoss):
    """Class numbers against probabilities (or logits) of classes: see `sparse_categorical_crossentropy`.

    Targets equal to ``ignore_class`` count neither in the sum nor in what it is divided by. PyTorch's mean over
    ``class_weights`` is ``reduction="mean_with_sample_weight"``.

    >>> SparseCategoricalCrossentropy(from_logits=True)([1, 0], [[0.0, 1000.0], [0.0, 1000.0]]).item()
    500.0
    """

    function = staticmethod(functions.sparse_categorical_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
        label_smoothing: float = 0.0,
        class_weights: Any = None,
    ):
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
        self.class_weights = class_weights
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        options |= {"label_smoothing": label_smoothing, "class_weights": class_weights}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)

    def mask(self, y_true: Any, y_pred: Any) -> Any:
        mask, ignored = super().mask(y_true, y_pred), self.ignore_class
        if ignored is None:
            return mask
        kept = self._labels(y_true, y_pred) != ignored
        return kept if mask is None else kept & mask

    def own_weights(self, y_true: Any, y_pred: Any) -> Any:
        if self.class_weights is None:
            return None
        weights = functions.by_class(self.class_weights, np.shape(y_pred)[self.axis], self.name)
        return jnp.sum(jnp.where(self._labels(y_true, y_pred)[..., None] == jnp.arange(len(weights)), weights, 0), axis=-1)

    def _labels(self, y_true: Any, y_pred: Any) -> Any:
        y_true = jnp.asarray(y_true)
        return jnp.squeeze(y_true, self.axis) if y_true.ndim == np.ndim(y_pred) else y_true
