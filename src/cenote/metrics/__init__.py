"""Metrics: what is told about a model, added up inside the compiled epoch. `get` finds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cenote import losses
from cenote.core.configurable import family, plain, resolve, tidy
from cenote.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kind_of_target,
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
from .base import Mean, MeanMetricWrapper, Metric, Sum, Wide
from .confusion import (
    AUC,
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from .errors import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from .fscore import F1Score, FBetaScore
from .matrix import BinaryIoU, CohenKappa, ConfusionMatrix, IoU, MatthewsCorrelation, MeanIoU, OneHotIoU, OneHotMeanIoU
from .probability import BrierScore, ExpectedCalibrationError, Perplexity, brier_score
from .regression import ConcordanceCorrelation, PearsonCorrelation, R2Score, concordance_correlation, pearson_correlation
from .text import BLEU, CharacterErrorRate, ChrF, TextMetric, WordErrorRate, edit_distance

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
    KLDivergence,
    Poisson,
    LogCoshError,
    Hinge,
    SquaredHinge,
    CategoricalHinge,
    TruePositives,
    TrueNegatives,
    FalsePositives,
    FalseNegatives,
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    F1Score,
    FBetaScore,
    IoU,
    BinaryIoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
    ConfusionMatrix,
    MatthewsCorrelation,
    CohenKappa,
    R2Score,
    PearsonCorrelation,
    ConcordanceCorrelation,
    BrierScore,
    ExpectedCalibrationError,
    Perplexity,
    BLEU,
    ChrF,
    WordErrorRate,
    CharacterErrorRate,
    Mean,
    Sum,
    MeanMetricWrapper,
    mse=MeanSquaredError,
    rmse=RootMeanSquaredError,
    mae=MeanAbsoluteError,
    mape=MeanAbsolutePercentageError,
    msle=MeanSquaredLogarithmicError,
    bce=BinaryCrossentropy,
    kld=KLDivergence,
    f1=F1Score,
    r2=R2Score,
    mcc=MatthewsCorrelation,
    ece=ExpectedCalibrationError,
    wer=WordErrorRate,
    cer=CharacterErrorRate,
    log_cosh=LogCoshError,
    logcosh=LogCoshError,
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
        pearson_correlation,
        concordance_correlation,
        brier_score,
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
    found = None if identifier is None else _found(identifier, custom, loss, target_shape, output_shape)
    # Metrics that keep a sum a column learn here how many columns the output has.
    return found.fitted(output_shape) if isinstance(found, Wide) and output_shape is not None else found


def _found(identifier: Any, custom: Mapping[str, Any] | None, loss: Any, target_shape: Any, output_shape: Any) -> Metric:
    if isinstance(identifier, Metric):
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


def serialize(metric: Any) -> dict[str, Any]:
    """A metric as plain values, as Keras calls it.

    >>> deserialize(serialize(MeanIoU(3)))
    MeanIoU(num_classes=3)
    """
    return plain(get(metric))


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Metric | None:
    """The metric that `serialize` wrote down; ``custom_objects`` are your own by name."""
    return get(config, custom_objects)


__all__ = [
    "AUC",
    "BLEU",
    "FUNCTIONS",
    "NAMES",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "BrierScore",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CharacterErrorRate",
    "ChrF",
    "CohenKappa",
    "ConcordanceCorrelation",
    "ConfusionMatrix",
    "CosineSimilarity",
    "ExpectedCalibrationError",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "MatthewsCorrelation",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Perplexity",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TextMetric",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "WordErrorRate",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "brier_score",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "deserialize",
    "edit_distance",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]
