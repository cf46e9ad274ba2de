"""Metrics: what is told about a model, added up inside the compiled epoch. `get` finds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cenote import losses
from cenote.core.configurable import family, resolve, tidy
from cenote.losses import kind_of_target

from .accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .base import Mean, MeanMetricWrapper, Metric, Sum
from .confusion import AUC, Precision, Recall
from .errors import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CosineSimilarity,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)

# Names that are not here are looked up among the losses.
NAMES = family(
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    TopKCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    AUC,
    Precision,
    Recall,
    MeanSquaredError,
    RootMeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    CosineSimilarity,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    Mean,
    Sum,
    MeanMetricWrapper,
    mse=MeanSquaredError,
    rmse=RootMeanSquaredError,
    mae=MeanAbsoluteError,
    mape=MeanAbsolutePercentageError,
    msle=MeanSquaredLogarithmicError,
    bce=BinaryCrossentropy,
)

FUNCTIONS = {
    f.__name__: f
    for f in (
        accuracy,
        binary_accuracy,
        categorical_accuracy,
        sparse_categorical_accuracy,
        top_k_categorical_accuracy,
        sparse_top_k_categorical_accuracy,
        *(cls.function for cls in losses.CLASSES),
    )
}


def get(
    identifier: Any,
    custom: Mapping[str, Any] | None = None,
    *,
    loss: losses.Loss | None = None,
    target_shape: tuple | None = None,
    output_shape: tuple | None = None,
) -> Metric | None:
    """The metric for a name, a config dict, a class, a function ``(y_true, y_pred)``, a loss or a `Metric`; None stays None.

    "accuracy" (or "acc") and "crossentropy" (or "ce") are chosen as Keras does, by the shapes of target and output (or
    else by the loss): binary for one output, sparse when targets have an axis less (or one of size one), else
    categorical. Logits into a binary loss are compared with 0 in place of 0.5. A metric found by name is called so.
    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("accuracy", target_shape=(32,), output_shape=(32, 10)), get("acc").name
    (SparseCategoricalAccuracy(name='accuracy'), 'acc')
    >>> get("huber").name, get({"class": "Recall", "thresholds": 0.3})
    ('huber', Recall(thresholds=0.3))
    """
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, losses.Loss):
        return MeanMetricWrapper(identifier)
    if isinstance(identifier, str):
        return _named(identifier, custom, loss, target_shape, output_shape)
    if isinstance(identifier, Mapping) and "function" in identifier:
        return MeanMetricWrapper(resolve("metric", identifier, FUNCTIONS, custom=custom))
    found = resolve("metric", identifier, NAMES, custom=custom, within=[losses.NAMES, FUNCTIONS])
    return found if isinstance(found, Metric) else MeanMetricWrapper(found)


def _named(
    name: str, custom: Mapping[str, Any] | None, loss: Any, target_shape: tuple | None, output_shape: tuple | None
) -> Metric:
    wanted = tidy(name)
    if wanted in ("accuracy", "acc", "crossentropy", "ce") and name not in (custom or ()):
        from_logits = bool(getattr(loss, "options", {}).get("from_logits"))
        kind = _kind(loss, target_shape, output_shape)
        if wanted in ("accuracy", "acc"):
            if kind == "binary":
                return BinaryAccuracy(name, threshold=0.0 if from_logits else 0.5)
            return {"sparse_categorical": SparseCategoricalAccuracy, "categorical": CategoricalAccuracy, "": Accuracy}[kind](
                name
            )
        if kind:
            return NAMES[f"{kind}_crossentropy"](name, from_logits=from_logits)
    known = {**losses.NAMES, **NAMES}
    found = resolve("metric", name, known, custom=custom)
    if not isinstance(found, Metric):
        found = MeanMetricWrapper(found)
    if not (custom and name in custom):
        found.name = name
    return found


def _kind(loss: Any, target_shape: tuple | None, output_shape: tuple | None) -> str:
    if target_shape is not None and output_shape is not None:
        return kind_of_target(target_shape, output_shape)
    kinds = ("binary", "sparse_categorical", "categorical")
    return next((kind for kind in kinds if getattr(loss, "name", "").startswith(f"{kind}_crossentropy")), "")
