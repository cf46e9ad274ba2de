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

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction=reduction, name=name)


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

    def __init__(self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = "huber_loss"):
        super().__init__(reduction=reduction, name=name, delta=delta)


class CosineSimilarity(FunctionLoss):
    """Minus the cosine between target and prediction: see `cosine_similarity`."""

    function = staticmethod(functions.cosine_similarity)

    def __init__(self, axis: int = -1, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction=reduction, name=name, axis=axis)


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
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(reduction=reduction, name=name, **options)


class CategoricalCrossentropy(FunctionLoss):
    """One-hot targets against probabilities (or logits) of classes: see `categorical_crossentropy`.

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
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(reduction=reduction, name=name, **options)


class SparseCategoricalCrossentropy(FunctionLoss):
    """Class numbers against probabilities (or logits) of classes: see `sparse_categorical_crossentropy`.

    Targets equal to ``ignore_class`` count neither in the sum nor in what it is divided by.

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
    ):
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(reduction=reduction, name=name, **options)

    def mask(self, y_true: Any, y_pred: Any) -> Any:
        mask, ignored = super().mask(y_true, y_pred), self.ignore_class
        if ignored is None:
            return mask
        y_true = jnp.asarray(y_true)
        kept = (y_true[..., 0] if y_true.ndim == np.ndim(y_pred) else y_true) != ignored
        return kept if mask is None else kept & mask
