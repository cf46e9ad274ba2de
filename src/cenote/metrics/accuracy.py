"""Accuracies: how often the answer is right, in the forms that targets come in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from cenote.losses.functions import pair, real

from .base import MeanMetricWrapper

ONE_HOT = "use metrics=['sparse_categorical_accuracy'], or make them one-hot"


def accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """1 where prediction and target are the same number, else 0.

    >>> accuracy([1, 2], [1, 3]).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = pair(y_true, y_pred, "accuracy", ONE_HOT)
    return (y_true == y_pred).astype(jnp.float32)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> jax.Array:
    """1 where the prediction is above the threshold and the target 1, or neither; else 0.

    >>> binary_accuracy([[1.0], [0.0]], [[0.7], [0.6]]).tolist()
    [[1.0], [0.0]]
    """
    y_true, y_pred = pair(y_true, y_pred, "binary_accuracy", ONE_HOT)
    return (y_true == (y_pred > threshold)).astype(jnp.float32)


def categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """1 where the largest of the predictions is at the class of the one-hot target.

    >>> categorical_accuracy([[0.0, 1.0]], [[0.2, 0.8]]).tolist()
    [1.0]
    """
    y_true, y_pred = pair(y_true, y_pred, "categorical_accuracy", ONE_HOT)
    return (jnp.argmax(y_true, axis=-1) == jnp.argmax(y_pred, axis=-1)).astype(jnp.float32)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """1 where the largest of the predictions is at the target's class number.

    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.2, 0.8]]).tolist()
    [1.0, 0.0]
    """
    labels, y_pred = _labels(y_true, y_pred, "sparse_categorical_accuracy")
    return (labels == jnp.argmax(y_pred, axis=-1).astype(labels.dtype)).astype(jnp.float32)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """1 where fewer than k predictions are larger than that of the one-hot target's class.

    >>> top_k_categorical_accuracy([[0.0, 1.0, 0.0]], [[0.5, 0.3, 0.2]], k=2).tolist()
    [1.0]
    """
    y_true, y_pred = pair(y_true, y_pred, "top_k_categorical_accuracy", ONE_HOT)
    return _within(jnp.argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> jax.Array:
    """1 where fewer than k predictions are larger than that of the target's class number.

    ``from_sorted_ids``: predictions are class numbers, best first, of which the first k are looked at.

    >>> sparse_top_k_categorical_accuracy([1, 2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], k=2).tolist()
    [1.0, 0.0]
    """
    labels, y_pred = _labels(y_true, y_pred, "sparse_top_k_categorical_accuracy")
    if from_sorted_ids:
        return jnp.any(labels[..., None] == y_pred[..., :k], axis=-1).astype(jnp.float32)
    return _within(labels.astype(jnp.int32), y_pred, k)


def _labels(y_true: Any, y_pred: Any, where: str) -> tuple[jax.Array, jax.Array]:
    """Class numbers of shape (batch, ...) for predictions (batch, ..., classes)."""
    y_true, y_pred = jnp.asarray(y_true), real(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        hint = " One-hot targets take metrics=['categorical_accuracy']." if y_true.shape == y_pred.shape else ""
        raise ValueError(
            f"{where}: predictions of shape {y_pred.shape} need class numbers of shape {y_pred.shape[:-1]}, "
            f"got targets of shape {y_true.shape}.{hint}"
        )
    return y_true, y_pred


def _within(labels: jax.Array, y_pred: jax.Array, k: int) -> jax.Array:
    """Counting the better ones needs no sort, and takes ties as right, as Keras does."""
    own = jnp.take_along_axis(y_pred, labels[..., None], axis=-1)
    own = jnp.where(jnp.isnan(own), -jnp.inf, own)
    return (jnp.sum(y_pred > own, axis=-1) < k).astype(jnp.float32)


class Accuracy(MeanMetricWrapper):
    """Share of predictions equal to the target: see `accuracy`.

    >>> Accuracy()([1, 2, 3, 4], [1, 2, 3, 5]).item()
    0.75
    """

    direction = "up"

    def __init__(self, name: str = "accuracy", dtype: Any = None):
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """Share of right yes-or-no answers; give ``threshold=0`` for logits: see `binary_accuracy`."""

    direction = "up"

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5):
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """Share of right classes, for one-hot targets: see `categorical_accuracy`."""

    direction = "up"

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None):
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """Share of right classes, for class numbers: see `sparse_categorical_accuracy`."""

    direction = "up"

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """Share of examples whose class is among the k best, for one-hot targets: see `top_k_categorical_accuracy`."""

    direction = "up"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """Share of examples whose class is among the k best, for class numbers: see `sparse_top_k_categorical_accuracy`."""

    direction = "up"

    def __init__(
        self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None, from_sorted_ids: bool = False
    ):
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids)
