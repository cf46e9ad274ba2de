"""Losses: what training makes smaller.

Functions (``mean_squared_error(y_true, y_pred)``) give one value per example; classes (``MeanSquaredError()``) reduce
them to a scalar, with weights; `get` finds either by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cenote.core.configurable import resolve, tidy

from .base import FunctionLoss, Loss, spread
from .classes import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from .functions import (
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)

CLASSES: tuple[type[FunctionLoss], ...] = (
    MeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    Huber,
    LogCosh,
    CosineSimilarity,
    KLDivergence,
    Poisson,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    Hinge,
    SquaredHinge,
    CategoricalHinge,
)

# Every loss under the name of its function (and so of its class), and as people shorten them.
NAMES: dict[str, type[Loss]] = {
    **{cls.function.__name__: cls for cls in CLASSES},
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "kullback_leibler_divergence": KLDivergence,
    "logcosh": LogCosh,
    "huber_loss": Huber,
    "function_loss": FunctionLoss,
}

FUNCTIONS = {cls.function.__name__: cls.function for cls in CLASSES}

mse, mae, mape, msle = (
    mean_squared_error,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_logarithmic_error,
)


def get(
    identifier: Any,
    custom: Mapping[str, Any] | None = None,
    *,
    target_shape: tuple | None = None,
    output_shape: tuple | None = None,
) -> Loss | None:
    """The loss for a name, a config dict, a class, a function ``(y_true, y_pred)`` or a `Loss`; None stays None.

    "crossentropy" (or "ce") is chosen by the shapes of target and output: binary for one output, sparse when targets
    have an axis less (or one of size one), else categorical.
    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("mse"), get({"class": "Huber", "delta": 2.0}).options
    (MeanSquaredError(), {'delta': 2.0})
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and tidy(identifier) in ("crossentropy", "ce"):
        if target_shape is None or output_shape is None:
            raise ValueError(f"loss {identifier!r} is chosen by the shapes of target and output, which are not known here")
        identifier = kind_of_target(target_shape, output_shape) + "_crossentropy"
    if callable(identifier) and not isinstance(identifier, type):
        identifier = next((cls for cls in CLASSES if cls.function is identifier), identifier)
    found = resolve("loss", identifier, NAMES, custom=custom, within=[FUNCTIONS])
    return found if isinstance(found, Loss) else FunctionLoss(found)


def kind_of_target(target_shape: tuple, output_shape: tuple) -> str:
    """What targets of a classifier are, as Keras tells it from the shapes: binary, sparse_categorical or categorical.

    >>> kind_of_target((32,), (32, 1)), kind_of_target((32, 1), (32, 10)), kind_of_target((32, 10), (32, 10))
    ('binary', 'sparse_categorical', 'categorical')
    """
    if output_shape[-1:] == (1,) or len(output_shape) < 2:
        return "binary"
    if len(target_shape) < len(output_shape) or target_shape[-1:] == (1,):
        return "sparse_categorical"
    return "categorical"


__all__ = [
    "CLASSES",
    "FUNCTIONS",
    "NAMES",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "categorical_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "get",
    "hinge",
    "huber",
    "kind_of_target",
    "kl_divergence",
    "log_cosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "sparse_categorical_crossentropy",
    "spread",
    "squared_hinge",
]
