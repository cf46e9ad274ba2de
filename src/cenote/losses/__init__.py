"""Losses: what training makes smaller.

Functions (``mean_squared_error(y_true, y_pred)``) give one value per example; classes (``MeanSquaredError()``) reduce
them to a scalar, with weights; `get` finds either by name. Beside Keras's there are PyTorch's and those of contrastive
learning, in Keras's order of arguments: a loss of several vectors takes one prediction that stacks them along axis 1, as
(batch, 2, features), or a tuple of them; PyTorch's ``weight`` is ``class_weights``, its ``ignore_index`` ``ignore_class``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cenote.core.configurable import plain, resolve, tidy

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
    SmoothL1,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from .embedding import (
    Circle,
    Contrastive,
    CosineEmbedding,
    InfoNCE,
    NTXent,
    SupervisedContrastive,
    TripletMargin,
    circle,
    contrastive,
    cosine_embedding,
    info_nce,
    nt_xent,
    pairwise_distance,
    supervised_contrastive,
    triplet_margin,
)
from .focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    binary_focal_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
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
    smooth_l1,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from .likelihood import (
    GaussianNLL,
    PoissonNLL,
    gaussian_nll,
    poisson_nll,
)
from .margins import (
    HingeEmbedding,
    MarginRanking,
    MultiLabelMargin,
    MultiLabelSoftMargin,
    MultiMargin,
    SoftMargin,
    hinge_embedding,
    margin_ranking,
    multi_label_margin,
    multi_label_soft_margin,
    multi_margin,
    soft_margin,
)
from .overlap import (
    Dice,
    Tversky,
    dice,
    tversky,
)
from .sequence import (
    CTC,
    ctc,
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
    SmoothL1,
    Circle,
    Contrastive,
    CosineEmbedding,
    InfoNCE,
    NTXent,
    SupervisedContrastive,
    TripletMargin,
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    GaussianNLL,
    PoissonNLL,
    HingeEmbedding,
    MarginRanking,
    MultiLabelMargin,
    MultiLabelSoftMargin,
    MultiMargin,
    SoftMargin,
    Dice,
    Tversky,
    CTC,
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


def serialize(loss: Any) -> dict[str, Any]:
    """A loss as plain values, as Keras calls it.

    >>> deserialize(serialize(Huber(2.0))).options
    {'delta': 2.0}
    """
    return plain(get(loss))


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Loss | None:
    """The loss that `serialize` wrote down; ``custom_objects`` are your own by name."""
    return get(config, custom_objects)


__all__ = [
    "CLASSES",
    "CTC",
    "FUNCTIONS",
    "NAMES",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "Contrastive",
    "CosineEmbedding",
    "CosineSimilarity",
    "Dice",
    "FunctionLoss",
    "GaussianNLL",
    "Hinge",
    "HingeEmbedding",
    "Huber",
    "InfoNCE",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MarginRanking",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "MultiLabelMargin",
    "MultiLabelSoftMargin",
    "MultiMargin",
    "NTXent",
    "Poisson",
    "PoissonNLL",
    "SmoothL1",
    "SoftMargin",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "SupervisedContrastive",
    "TripletMargin",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "contrastive",
    "cosine_embedding",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "gaussian_nll",
    "get",
    "hinge",
    "hinge_embedding",
    "huber",
    "info_nce",
    "kind_of_target",
    "kl_divergence",
    "log_cosh",
    "mae",
    "mape",
    "margin_ranking",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "multi_label_margin",
    "multi_label_soft_margin",
    "multi_margin",
    "nt_xent",
    "pairwise_distance",
    "poisson",
    "poisson_nll",
    "serialize",
    "smooth_l1",
    "soft_margin",
    "sparse_categorical_crossentropy",
    "spread",
    "squared_hinge",
    "supervised_contrastive",
    "triplet_margin",
    "tversky",
]
