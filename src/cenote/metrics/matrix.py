"""Metrics of the confusion matrix: the matrix itself, overlap of regions by class, agreement beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.errors import unknown

from .base import Metric, ratio, weigh, zeros


class _Matrix(Metric):
    """Counts of pairs of classes: the row is the target's, the column the prediction's."""

    direction = "up"

    def __init__(self, num_classes: int, name: str | None = None, dtype: Any = None, ignore_class: int | None = None):
        super().__init__(name, None if dtype in ("int", "int32") else dtype)
        if num_classes < 2:
            raise ValueError(f"{self.name}: num_classes={num_classes} must be at least 2")
        self.num_classes, self.ignore_class = num_classes, ignore_class

    def init(self) -> dict[str, jax.Array]:
        return {"counts": zeros(self.num_classes, self.num_classes)}

    def classes(self, y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
        """Targets and predictions as class numbers."""
        raise NotImplementedError

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        labels, found = self.classes(y_true, y_pred)
        if labels.size != found.size:
            raise ValueError(
                f"{self.name}: targets of shape {np.shape(y_true)} are {labels.size} class numbers, predictions of shape "
                f"{np.shape(y_pred)} are {found.size}: {self.advice()}"
            )
        w = weigh(sample_weight, y_pred, labels.shape if labels.ndim else (1,), self.name).reshape(-1)
        labels, found, n = labels.reshape(-1).astype(jnp.int32), found.reshape(-1).astype(jnp.int32), self.num_classes
        counts = (labels >= 0) & (labels < n) & (found >= 0) & (found < n)
        if self.ignore_class is not None:
            counts &= labels != self.ignore_class
        cells = jnp.where(counts, labels * n + found, 0)
        added = jax.ops.segment_sum(jnp.where(counts, w, 0.0), cells, n * n)
        return {"counts": sums["counts"] + added.reshape(n, n)}

    def advice(self) -> str:
        return "give one class number for each prediction"


class IoU(_Matrix):
    """``true positives / (true + false positives + false negatives)``, the mean over ``target_class_ids``.

    Classes that are nowhere, in targets or predictions, do not count in the mean. Targets and predictions are class
    numbers, or with ``sparse_y_true=False`` or ``sparse_y_pred=False`` scores of classes along ``axis``. Labels outside the
    classes, and ``ignore_class``, are left out.
    Raises: ValueError for a class that is none, and for shapes that do not fit.

    >>> round(IoU(2, [0])([0, 0, 1, 1], [0, 1, 0, 1]).item(), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = "io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class)
        wrong = [c for c in target_class_ids if not 0 <= c < num_classes]
        if wrong or not len(target_class_ids):
            raise ValueError(f"{self.name}: target_class_ids={list(target_class_ids)} must be among 0 to {num_classes - 1}")
        self.targets = np.asarray(list(target_class_ids), np.int32)
        self.sparse_y_true, self.sparse_y_pred, self.axis = sparse_y_true, sparse_y_pred, axis

    def classes(self, y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
        y_true, y_pred = jnp.asarray(y_true), jnp.asarray(y_pred)
        return (
            y_true if self.sparse_y_true else jnp.argmax(y_true, axis=self.axis),
            y_pred if self.sparse_y_pred else jnp.argmax(y_pred, axis=self.axis),
        )

    def advice(self) -> str:
        return "for scores of classes give sparse_y_pred=False, for one-hot targets sparse_y_true=False"

    def compute(self, sums: Any) -> jax.Array:
        counts = sums["counts"]
        right = jnp.diagonal(counts)
        either = jnp.sum(counts, axis=0) + jnp.sum(counts, axis=1) - right
        right, either = right[self.targets], either[self.targets]
        return ratio(jnp.sum(ratio(right, either)), jnp.sum(either > 0))


class BinaryIoU(IoU):
    """`IoU` of two classes, the prediction being class 1 from ``threshold`` on; give ``threshold=0`` for logits.

    >>> round(BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]).item(), 4)
    0.3333
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = "binary_io_u",
        dtype: Any = None,
    ):
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def classes(self, y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(y_true), jnp.asarray(y_pred) >= self.threshold


class MeanIoU(IoU):
    """`IoU`, the mean over all classes.

    >>> round(MeanIoU(2)([0, 0, 1, 1], [0, 1, 0, 1]).item(), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = "mean_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        every = range(num_classes)
        super().__init__(num_classes, every, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class OneHotIoU(IoU):
    """`IoU` of one-hot targets and scores of classes."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = "one_hot_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` of one-hot targets and scores of classes."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = "one_hot_mean_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)


class ConfusionMatrix(_Matrix):
    """How often each class was taken for each: row the target's class, column the prediction's.

    ``normalize``: "true" divides rows by their sum, "pred" columns, "all" everything; None gives (weighted) counts.
    Targets are class numbers (batch, ...) or one-hot, predictions scores (batch, ..., classes) or class numbers; of two
    classes also one probability, a yes above ``threshold``.

    >>> ConfusionMatrix(2)([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """

    direction = None

    def __init__(
        self,
        num_classes: int,
        normalize: str | None = None,
        threshold: float = 0.5,
        ignore_class: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(num_classes, name, dtype, ignore_class)
        if normalize not in (None, "true", "pred", "all"):
            raise unknown("normalize", normalize, ("true", "pred", "all"))
        self.normalize, self.threshold = normalize, threshold

    def classes(self, y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
        y_true, y_pred, n = jnp.asarray(y_true), jnp.asarray(y_pred), self.num_classes
        scores = y_pred.ndim > 1 and y_pred.shape[-1] == n and y_true.size in (y_pred.size, y_pred.size // n)
        if scores and (y_true.size < y_pred.size or jnp.issubdtype(y_pred.dtype, jnp.floating)):
            one_hot = y_true.size == y_pred.size
            return jnp.argmax(y_true, axis=-1) if one_hot else y_true, jnp.argmax(y_pred, axis=-1)
        if n == 2 and jnp.issubdtype(y_pred.dtype, jnp.floating):
            y_pred = y_pred > self.threshold
        return y_true, y_pred

    def advice(self) -> str:
        return f"give scores (batch, ..., {self.num_classes}) or class numbers for targets that are class numbers or one-hot"

    def compute(self, sums: Any) -> jax.Array:
        counts = sums["counts"]
        if self.normalize is None:
            return counts
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        return ratio(counts, jnp.sum(counts, axis=axis, keepdims=True))


class MatthewsCorrelation(ConfusionMatrix):
    """Correlation of target and predicted class, from -1 to 1; 0 is chance, whatever the shares of the classes.

    Source: Matthews 1975; for several classes Gorodkin 2004, Computational Biology and Chemistry 28.

    >>> round(MatthewsCorrelation()([1, 1, 1, 0], [0.9, 0.1, 0.8, 0.7]).item(), 4)
    -0.3333
    """

    direction = "up"

    def __init__(
        self,
        num_classes: int = 2,
        threshold: float = 0.5,
        ignore_class: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(num_classes, None, threshold, ignore_class, name, dtype)

    def compute(self, sums: Any) -> jax.Array:
        shares = ratio(sums["counts"], jnp.sum(sums["counts"]))
        true, found = jnp.sum(shares, axis=1), jnp.sum(shares, axis=0)
        cov = jnp.trace(shares) - true @ found
        # The products of shares may underflow together, but not their roots.
        return ratio(cov, jnp.sqrt(1 - true @ true) * jnp.sqrt(1 - found @ found))


class CohenKappa(ConfusionMatrix):
    """``1 - disagreement / disagreement by chance``: 1 is full agreement, 0 what chance would give.

    ``weightage``: None counts every confusion alike, "linear" and "quadratic" by how far apart the class numbers are.
    Source: Cohen 1960, Educational and Psychological Measurement 20.

    >>> round(CohenKappa(3)([0, 1, 2, 2], [0, 1, 2, 1]).item(), 4)
    0.6364
    """

    direction = "up"

    def __init__(
        self,
        num_classes: int,
        weightage: str | None = None,
        threshold: float = 0.5,
        ignore_class: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(num_classes, None, threshold, ignore_class, name, dtype)
        if weightage not in (None, "linear", "quadratic"):
            raise unknown("weightage", weightage, ("linear", "quadratic"))
        apart = np.abs(np.subtract.outer(np.arange(num_classes), np.arange(num_classes))).astype(np.float32)
        self.costs = {None: (apart > 0).astype(np.float32), "linear": apart, "quadratic": apart**2}[weightage]

    def compute(self, sums: Any) -> jax.Array:
        shares = ratio(sums["counts"], jnp.sum(sums["counts"]))
        chance = jnp.sum(shares, axis=1)[:, None] * jnp.sum(shares, axis=0)
        expected = jnp.sum(chance * self.costs)
        return jnp.where(expected == 0, 0.0, 1 - ratio(jnp.sum(shares * self.costs), expected))
