"""How good predictions of classes are: accuracy with its interval, confusion matrix, precision and recall, calibration.

NumPy only. ``probabilities`` is (n, classes), a row for each example; ``labels`` is (n,), class numbers from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np


class Interval(NamedTuple):
    low: float
    high: float


def wilson(right: int, count: int, z: float = 1.959963984540054) -> Interval:
    """The Wilson score interval of a proportion: 95 % unless another normal quantile ``z`` is given.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Unlike p ± 1.96 σ it stays within 0 and 1, and is right for few
    examples and for proportions near the ends.

    Raises: ValueError unless 0 <= right <= count and count > 0.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> low, high = wilson(95, 100)
    >>> round(low, 4), round(high, 4)
    (0.8882, 0.9785)
    """
    if not 0 <= right <= count or count <= 0:
        raise ValueError(f"an interval needs 0 <= right <= count and at least one example, got {right} of {count}")
    p, share = right / count, z * z / count
    middle = (p + share / 2) / (1 + share)
    half = z * math.sqrt(p * (1 - p) / count + share / (4 * count)) / (1 + share)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


class ClassRow(NamedTuple):
    """One class: how many there are, how often it was said, how many of those were right; rates may be NaN (0 of 0)."""

    index: int
    count: int
    predicted: int
    right: int
    precision: float
    recall: float
    f1: float


class Bin(NamedTuple):
    """Examples whose highest probability lies between ``low`` and ``high``: how many, its average, and how often right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """What probabilities are worth against labels; see `score`."""

    probabilities: np.ndarray
    labels: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each example, (n,)."""
        return self.probabilities.argmax(1)

    @property
    def count(self) -> int:
        return len(self.labels)

    @cached_property
    def right(self) -> int:
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        return self.right / self.count

    @property
    def interval(self) -> Interval:
        """The 95 % Wilson interval of the accuracy: what to expect of new examples of the same kind."""
        return wilson(self.right, self.count)

    @cached_property
    def loss(self) -> float:
        """The mean of -ln(probability of the true class), probabilities below 1e-7 taken as that."""
        return float(-np.log(np.maximum(self.truth, 1e-7)).mean())

    @cached_property
    def truth(self) -> np.ndarray:
        """The probability given to the true class of each example, (n,)."""
        return self.probabilities[np.arange(self.count), self.labels].astype(float)

    @cached_property
    def confusion(self) -> np.ndarray:
        """(true class, predicted class) -> how often."""
        size = self.probabilities.shape[1]
        return np.bincount(self.labels * size + self.predicted, minlength=size * size).reshape(size, size)

    @cached_property
    def classes(self) -> list[ClassRow]:
        rows = []
        for i, line in enumerate(self.confusion):
            count, predicted, right = int(line.sum()), int(self.confusion[:, i].sum()), int(line[i])
            rows.append(
                ClassRow(
                    i,
                    count,
                    predicted,
                    right,
                    right / predicted if predicted else math.nan,
                    right / count if count else math.nan,
                    2 * right / (count + predicted) if count + predicted else math.nan,
                )
            )
        return rows

    def confused(self, most: int = 6) -> list[tuple[int, int, int]]:
        """The commonest mistakes: (true class, predicted class, how often), the most frequent first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [tuple(int(v) for v in np.unravel_index(i, wrong.shape)) for i in order]
        return [(true, said, int(wrong[true, said])) for true, said in pairs if wrong[true, said]]

    def worst(self, most: int = 24) -> np.ndarray:
        """Row numbers of the mistakes that were made with most confidence, the worst first."""
        rows = np.flatnonzero(self.predicted != self.labels)
        sure = self.probabilities[rows, self.predicted[rows]]
        return rows[np.argsort(-sure, kind="stable")][:most]

    def reliability(self, bins: int = 10) -> list[Bin]:
        """How often the model is right when it is so sure; empty bins are left out."""
        sure = self.probabilities.max(1).astype(float)
        place = np.clip((sure * bins).astype(int), 0, bins - 1)
        hit = self.predicted == self.labels
        found = []
        for i in range(bins):
            rows = place == i
            if rows.any():
                mean = float(sure[rows].mean())
                found.append(Bin(i / bins, (i + 1) / bins, int(rows.sum()), mean, float(hit[rows].mean())))
        return found

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: |confidence - accuracy|, averaged over the ten bins by their counts.

        Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", 2017.
        """
        return sum(b.count * abs(b.confidence - b.accuracy) for b in self.reliability()) / self.count


def score(probabilities: Any, labels: Any) -> Scores:
    """Scores of ``probabilities`` (n, classes) against ``labels`` (n,).

    A single column, or a plain vector, is taken as the probability of class 1 of two.

    Raises: ValueError if they do not fit each other, saying how.

    >>> found = score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    >>> found.right, found.confusion.tolist()
    (2, [[1, 0], [1, 1]])
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim == 1 or (p.ndim == 2 and p.shape[1] == 1):
        p = np.stack([1 - p.reshape(-1), p.reshape(-1)], axis=1)
    y = y.reshape(-1) if y.size == len(y) else y
    if p.ndim != 2 or y.ndim != 1 or len(p) != len(y):
        raise ValueError(f"expected probabilities (n, classes) and labels (n,), got {p.shape} and {np.shape(labels)}")
    if not len(y):
        raise ValueError("there is no example to score")
    if not np.isfinite(p).all():
        raise ValueError("the probabilities hold NaN or infinite values")
    if y.dtype.kind not in "iub":
        whole = y.astype(np.int64)
        if not (whole == y).all():
            raise ValueError(f"labels must be class numbers from 0, got {y.dtype} values such as {y[whole != y][0]}")
        y = whole
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels run from {y.min()} to {y.max()}, but the model knows {p.shape[1]} classes, from 0")
    return Scores(p, y.astype(np.int64))


def baseline(labels: Any, known: Any = None) -> tuple[int, float]:
    """The class that is most common in ``known`` labels (by default the same), and the accuracy of always saying it.

    >>> baseline([0, 1, 1, 2], known=[0, 0, 1])
    (0, 0.25)
    """
    labels = np.asarray(labels).reshape(-1)
    values, counts = np.unique(labels if known is None else np.asarray(known).reshape(-1), return_counts=True)
    common = int(values[counts.argmax()])
    return common, float((labels == common).mean())
