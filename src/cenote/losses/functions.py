"""Loss functions: a target and a prediction to one value per example.

Each is the mean (or sum) over the last axis, as in Keras. Cross-entropies of a softmax or sigmoid output are computed
from its logits when the output carries them (within one call), else from probabilities clipped at 1e-7.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.notes import annotation, graph_function

# Probabilities are kept this far from 0 and 1; Keras's value.
EPSILON = 1e-7

SPARSE = "use loss='sparse_categorical_crossentropy'"


# -- how targets and predictions are brought together ------------------------------------------------------------------


def real(x: Any) -> jax.Array:
    """As an array of real numbers of at least 32 bits, so that sums are exact enough under mixed precision."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def pair(y_true: Any, y_pred: Any, where: str, sparse: str = SPARSE) -> tuple[jax.Array, jax.Array]:
    """Target and prediction of one dtype and shape; a last axis of size one is added or dropped where only one has it.

    Raises: ValueError for shapes that differ otherwise, saying what to do; ``sparse`` is the advice for class numbers.

    >>> [a.shape for a in pair([1.0, 2.0], [[1.0], [2.0]], "mse")]
    [(2, 1), (2, 1)]
    """
    y_pred = real(y_pred)
    y_true = jnp.asarray(y_true).astype(y_pred.dtype)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true, y_pred = (y_true, y_pred[:, None]) if y_pred.ndim == 1 else (y_true[..., 0], y_pred)
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true, y_pred = (y_true[:, None], y_pred) if y_true.ndim == 1 else (y_true, y_pred[..., 0])
    if y_true.shape != y_pred.shape:
        raise ValueError(_mismatch(y_true.shape, y_pred.shape, where, sparse))
    return y_true, y_pred


def _mismatch(true: tuple[int, ...], pred: tuple[int, ...], where: str, sparse: str) -> str:
    text = f"{where}: targets of shape {true} do not fit predictions of shape {pred}; they must have the same shape. "
    width = pred[-1] if pred else 1
    if true and pred and true[0] != pred[0]:
        return text + f"There are {true[0]} targets for {pred[0]} examples: give one target for each."
    if len(pred) > 1 and true in (pred[:-1], (*pred[:-1], 1)):
        return text + (
            f"If the targets are class numbers, {sparse}; if they are single values, end the model in Dense(1); "
            f"else give {width} targets an example."
        )
    if true and len(true) == len(pred) and true[:-1] == pred[:-1]:
        return text + f"End the model in Dense({true[-1]}), or give {width} targets an example."
    return text + f"Give targets of shape {pred}, or change the last layers of the model to give {true}."


def logits_of(y_pred: Any, from_logits: bool, link: str) -> Any:
    """The logits of a prediction, if it is or carries those of this link (softmax or sigmoid)."""
    linked = annotation(y_pred, "link") == link
    if from_logits and linked:
        warnings.warn(
            f"the loss has from_logits=True, but the model ends in {link}, which is now applied twice: "
            f"drop from_logits=True, or end the model without {link}",
            stacklevel=4,
        )
    return y_pred if from_logits else annotation(y_pred, "logits") if linked else None


def parts(y_pred: Any, count: int, where: str, names: str) -> list[jax.Array]:
    """The arrays that one prediction is made of: a tuple of them, or one array that stacks them along axis 1.

    Raises: ValueError for another number of parts, or parts of different shapes.

    >>> [a.shape for a in parts(jnp.zeros((4, 2, 8)), 2, "info_nce", "query, key")]
    [(4, 8), (4, 8)]
    """
    if isinstance(y_pred, tuple):
        found = [real(part) for part in y_pred]
        shape, fits = tuple(part.shape for part in found), len({part.shape for part in found}) == 1
    else:
        stacked = real(y_pred)
        shape, fits = stacked.shape, stacked.ndim >= 2
        found = [stacked[:, i] for i in range(stacked.shape[1])] if fits else []
    if not fits or len(found) != count:
        raise ValueError(
            f"{where}: predictions of shape {shape} are not {count} parts ({names}): stack them, as "
            f"jnp.stack([{names}], axis=1) or layers that end in (batch, {count}, ...), or give a tuple"
        )
    return found


def by_class(class_weights: Any, classes: int, where: str) -> jax.Array:
    """One weight a class, as float32.

    Raises: ValueError for another number of weights.
    """
    weights = jnp.asarray(class_weights, jnp.float32)
    if weights.shape != (classes,):
        raise ValueError(
            f"{where}: class_weights has shape {weights.shape}, but there are {classes} classes: give one for each"
        )
    return weights


def averaged(elements: Callable) -> Callable:
    """The loss that is the mean of these values over the last axis (or `axis=`); ``.elements`` are the values."""

    @graph_function
    @functools.wraps(elements)
    def function(y_true: Any, y_pred: Any, *args: Any, axis: int = -1, **options: Any) -> jax.Array:
        return jnp.mean(elements(y_true, y_pred, *args, **options), axis=axis)

    function.elements = elements  # type: ignore[attr-defined]
    return function


# -- regression --------------------------------------------------------------------------------------------------------


@averaged
def mean_squared_error(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean((y_true - y_pred)^2)`` over the last axis.

    >>> mean_squared_error([[1.0, 2.0]], [[0.0, 4.0]]).tolist()
    [2.5]
    """
    y_true, y_pred = pair(y_true, y_pred, "mean_squared_error")
    return jnp.square(y_true - y_pred)


@averaged
def mean_absolute_error(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean(|y_true - y_pred|)`` over the last axis.

    >>> mean_absolute_error([[1.0, 2.0]], [[0.0, 4.0]]).tolist()
    [1.5]
    """
    y_true, y_pred = pair(y_true, y_pred, "mean_absolute_error")
    return jnp.abs(y_true - y_pred)


@averaged
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> jax.Array:
    """``100 mean(|y_true - y_pred| / |y_true|)`` over the last axis, in percent."""
    y_true, y_pred = pair(y_true, y_pred, "mean_absolute_percentage_error")
    return 100 * jnp.abs(y_true - y_pred) / jnp.maximum(jnp.abs(y_true), EPSILON)


@averaged
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean((log(1 + y_true) - log(1 + y_pred))^2)`` over the last axis; negative values count as zero."""
    y_true, y_pred = pair(y_true, y_pred, "mean_squared_logarithmic_error")
    return jnp.square(jnp.log1p(jnp.maximum(y_pred, EPSILON)) - jnp.log1p(jnp.maximum(y_true, EPSILON)))


@averaged
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> jax.Array:
    """``e^2 / 2`` for errors up to delta and ``delta (|e| - delta / 2)`` beyond, mean over the last axis.

    Source: Huber 1964, Annals of Mathematical Statistics 35.

    >>> huber([[0.0, 0.0]], [[1.0, 3.0]]).tolist()
    [1.5]
    """
    y_true, y_pred = pair(y_true, y_pred, "huber")
    size = jnp.abs(y_pred - y_true)
    near = jnp.minimum(size, delta)
    return near * (size - 0.5 * near)


@averaged
def smooth_l1(y_true: Any, y_pred: Any, beta: float = 1.0) -> jax.Array:
    """``e^2 / (2 beta)`` for errors below beta and ``|e| - beta / 2`` beyond, mean over the last axis: Huber's over beta.

    Source: Girshick 2015, ICCV (Fast R-CNN).

    >>> smooth_l1([[0.0, 0.0]], [[1.0, 3.0]], beta=2.0).tolist()
    [1.125]
    """
    y_true, y_pred = pair(y_true, y_pred, "smooth_l1")
    size = jnp.abs(y_pred - y_true)
    if beta == 0:
        return size
    near = jnp.minimum(size, beta)
    return near * (size - 0.5 * near) / beta


@averaged
def log_cosh(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean(log(cosh(y_pred - y_true)))`` over the last axis, without overflow."""
    y_true, y_pred = pair(y_true, y_pred, "log_cosh")
    error = y_pred - y_true
    return error + jax.nn.softplus(-2 * error) - math.log(2)


@graph_function
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """Minus the cosine of the angle between the vectors: -1 when they point the same way.

    >>> cosine_similarity([[0.0, 2.0]], [[0.0, 1.0]]).tolist()
    [-1.0]
    """
    y_true, y_pred = pair(y_true, y_pred, "cosine_similarity")
    return -jnp.sum(_unit(y_true, axis) * _unit(y_pred, axis), axis=axis)


def _unit(x: jax.Array, axis: int) -> jax.Array:
    # The floor stands inside the root: the gradient at a vector of zeros is zero, not NaN.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=axis, keepdims=True), EPSILON**2))


# -- distributions -----------------------------------------------------------------------------------------------------


@graph_function
def kl_divergence(y_true: Any, y_pred: Any) -> jax.Array:
    """``sum(y_true log(y_true / y_pred))`` over the last axis. Source: Kullback and Leibler 1951."""
    y_true, y_pred = pair(y_true, y_pred, "kl_divergence")
    y_true, y_pred = jnp.clip(y_true, EPSILON, 1), jnp.clip(y_pred, EPSILON, 1)
    return jnp.sum(y_true * jnp.log(y_true / y_pred), axis=-1)


@averaged
def poisson(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean(y_pred - y_true log(y_pred))`` over the last axis: counts against their rate."""
    y_true, y_pred = pair(y_true, y_pred, "poisson")
    return y_pred - y_true * jnp.log(y_pred + EPSILON)


@averaged
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, pos_weight: Any = None
) -> jax.Array:
    """``-mean(w y log(p) + (1 - y) log(1 - p))`` over the last axis, for targets y in [0, 1] and a probability for each.

    ``from_logits``: predictions are x with p = sigmoid(x). ``label_smoothing`` s: targets become y (1 - s) + s / 2.
    ``pos_weight`` w (PyTorch's; 1 without it): what a yes counts, one number or one for each column.

    >>> binary_crossentropy([[1.0]], [[0.0]], from_logits=True).tolist()
    [0.693147...]
    """
    logits = logits_of(y_pred, from_logits, "sigmoid")
    y_true, y = pair(y_true, y_pred if logits is None else logits, "binary_crossentropy")
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
    positive = y_true if pos_weight is None else y_true * jnp.asarray(pos_weight, y.dtype)
    if logits is None:
        p = jnp.clip(y, EPSILON, 1 - EPSILON)
        return -(positive * jnp.log(p) + (1 - y_true) * jnp.log(1 - p))
    if pos_weight is not None:
        return positive * jax.nn.softplus(-y) + (1 - y_true) * jax.nn.softplus(y)
    # softplus(x) - x y, with the large parts taken out of the logarithm
    return jax.nn.relu(y) - y * y_true + jnp.log1p(jnp.exp(-jnp.abs(y)))


@graph_function
def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    class_weights: Any = None,
) -> jax.Array:
    """``-sum(w y log(p))`` over the class axis, for targets y that are one-hot or probabilities.

    ``from_logits``: predictions are x with p = softmax(x). ``label_smoothing`` s: y becomes y (1 - s) + s / classes.
    ``class_weights`` w (PyTorch's ``weight``; 1 without it): what each class counts.
    Raises: ValueError unless targets and predictions have the same shape.

    >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).tolist()
    [0.693147...]
    """
    logits = logits_of(y_pred, from_logits, "softmax")
    y = real(y_pred if logits is None else logits)
    y_true = jnp.asarray(y_true).astype(y.dtype)
    if y_true.shape != y.shape:
        raise ValueError(_mismatch(y_true.shape, y.shape, "categorical_crossentropy", SPARSE))
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y.shape[axis]
    log_p = _log_clipped(y, axis) if logits is None else jax.nn.log_softmax(y, axis=axis)
    if class_weights is not None:
        log_p = log_p * along(by_class(class_weights, y.shape[axis], "categorical_crossentropy"), axis, y.ndim)
    return -jnp.sum(y_true * log_p, axis=axis)


def along(weights: jax.Array, axis: int, ndim: int) -> jax.Array:
    """Weights by class, shaped so that they multiply an array whose classes lie on this axis."""
    return weights.reshape([-1 if i == axis % ndim else 1 for i in range(ndim)])


@graph_function
def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
) -> jax.Array:
    """``-w[y] log(p[y])`` for targets y that are class numbers from 0.

    ``from_logits``: predictions are x with p = softmax(x). Examples of ``ignore_class`` (PyTorch's ``ignore_index``) give 0.
    ``label_smoothing`` and ``class_weights`` (w): as in `categorical_crossentropy` and in PyTorch.
    Shapes: y_true (batch, ...), y_pred (batch, ..., classes).
    Raises: TypeError for targets that are not whole numbers; ValueError for shapes that do not fit, and for a label
    that is no class (in compiled code, where values cannot be looked at, such targets give NaN).

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).tolist()
    [0.693147...]
    """
    logits = logits_of(y_pred, from_logits, "softmax")
    y = real(y_pred if logits is None else logits)
    labels = class_numbers(y_true, y.shape, axis, ignore_class)
    if axis not in (-1, y.ndim - 1):
        y = jnp.moveaxis(y, axis, -1)
    # A label that is no class equals none of these, nor does a broken number.
    chosen = labels[..., None] == jnp.arange(y.shape[-1], dtype=labels.dtype)
    if class_weights is not None or (label_smoothing and logits is None):
        log_p = _log_clipped(y, -1) if logits is None else jax.nn.log_softmax(y, axis=-1)
        shares = chosen.astype(y.dtype) * (1 - label_smoothing) + label_smoothing / y.shape[-1]
        if class_weights is not None:
            log_p = log_p * by_class(class_weights, y.shape[-1], _SPARSE_NAME)
        values = -jnp.sum(jnp.where(shares == 0, 0, shares * log_p), axis=-1)
    elif logits is None:
        values = -jnp.sum(jnp.where(chosen, _log_clipped(y, -1), 0), axis=-1)
    else:  # no array of log-probabilities: only sums over the classes
        own = jnp.sum(jnp.where(chosen, y, 0), axis=-1)
        values = jax.nn.logsumexp(y, axis=-1) - (1 - label_smoothing) * own
        if label_smoothing:
            values = values - label_smoothing * jnp.mean(y, axis=-1)
    values = jnp.where(jnp.any(chosen, axis=-1), values, jnp.nan)
    return values if ignore_class is None else jnp.where(labels == ignore_class, 0, values)


def _log_clipped(p: jax.Array, axis: int) -> jax.Array:
    """Logarithms of probabilities that are first made to sum to one."""
    return jnp.log(jnp.clip(p / jnp.sum(p, axis=axis, keepdims=True), EPSILON, 1 - EPSILON))


def class_numbers(
    y_true: Any,
    shape: tuple[int, ...],
    axis: int = -1,
    ignore_class: int | None = None,
    where: str = "sparse_categorical_crossentropy",
) -> jax.Array:
    """Targets as class numbers that fit predictions of this shape.

    Raises: as `sparse_categorical_crossentropy` says.

    >>> class_numbers([[1], [0]], (2, 3)).tolist()
    [1, 0]
    """
    labels = y_true if isinstance(y_true, (jax.Array, jax.core.Tracer)) else np.asarray(y_true)
    expected = tuple(n for i, n in enumerate(shape) if i != axis % len(shape))
    if labels.ndim == len(shape) and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    if labels.shape != expected:
        hint = " If the targets are one-hot, use loss='categorical_crossentropy'." if labels.shape == shape else ""
        hint = hint if where == _SPARSE_NAME else hint.replace("use loss='categorical_crossentropy'", "take y.argmax(-1)")
        raise ValueError(
            f"{where}: predictions of shape {shape} need class numbers of shape {expected}, got {labels.shape}.{hint}"
        )
    if not isinstance(labels, jax.core.Tracer) and labels.size:
        _check_labels(np.asarray(labels), shape, shape[axis], ignore_class, where)
    labels = jnp.asarray(labels)
    return labels if jnp.issubdtype(labels.dtype, jnp.floating) else labels.astype(jnp.int32)


_SPARSE_NAME = "sparse_categorical_crossentropy"


def _check_labels(labels: np.ndarray, shape: tuple[int, ...], classes: int, ignore_class: int | None, where: str) -> None:
    if labels.dtype.kind not in "iubf" or (labels.dtype.kind == "f" and not np.array_equal(labels, np.floor(labels))):
        odd = labels[labels != np.floor(labels)] if labels.dtype.kind == "f" else labels.reshape(-1)
        raise TypeError(
            f"{where} takes class numbers (0, 1, 2, ...), got {odd[0]!r} among targets of dtype {labels.dtype}: "
            "for measured values use loss='mse'; for the probability of a class use loss='binary_crossentropy'"
        )
    wrong = (labels < 0) | (labels >= classes)
    if ignore_class is not None:
        wrong &= labels != ignore_class
    if wrong.any():
        raise ValueError(
            f"{where}: label {labels[wrong][0]} is outside the classes 0 to {classes - 1} of predictions of "
            f"shape {shape} ({wrong.sum()} such labels): end the model in Dense({int(max(labels.max(), 0)) + 1}), "
            "or number the classes from 0"
        )


# -- margins -----------------------------------------------------------------------------------------------------------


def _signs(y_true: jax.Array) -> jax.Array:
    """Targets -1 and 1; when all are 0 or 1 they are read as -1 and 1."""
    binary = jnp.all((y_true == 0) | (y_true == 1))
    return jnp.where(binary, 2 * y_true - 1, y_true)


@averaged
def hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean(max(1 - y_true y_pred, 0))`` over the last axis, for targets -1 and 1 (or 0 and 1)."""
    y_true, y_pred = pair(y_true, y_pred, "hinge")
    return jnp.maximum(1 - _signs(y_true) * y_pred, 0)


@averaged
def squared_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean(max(1 - y_true y_pred, 0)^2)`` over the last axis, for targets -1 and 1 (or 0 and 1)."""
    y_true, y_pred = pair(y_true, y_pred, "squared_hinge")
    return jnp.square(jnp.maximum(1 - _signs(y_true) * y_pred, 0))


@graph_function
def categorical_hinge(y_true: Any, y_pred: Any) -> jax.Array:
    """``max(max((1 - y) x) - sum(y x) + 1, 0)`` for one-hot targets y and scores x."""
    y_true, y_pred = pair(y_true, y_pred, "categorical_hinge")
    right, wrong = jnp.sum(y_true * y_pred, axis=-1), jnp.max((1 - y_true) * y_pred, axis=-1)
    return jnp.maximum(wrong - right + 1, 0)
