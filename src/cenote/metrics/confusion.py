"""Metrics made of true and false positives and negatives: counts, precision, recall, areas under curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.errors import unknown
from cenote.losses.functions import pair

from .base import Metric, Wide, ratio, weigh, zeros

ONE_HOT = "make them one-hot, as np.eye(classes)[y]"

# How far the outermost thresholds lie beyond 0 and 1; Keras's value.
EPSILON = 1e-7


CELLS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def _column(name: str, class_id: int | None, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, or their column of one class."""
    if class_id is None:
        return arrays
    shape = arrays[0].shape
    if len(shape) < 2 or not 0 <= class_id < shape[-1]:
        raise ValueError(f"{name}: class_id={class_id} is no class of predictions {shape}")
    return tuple(a[..., class_id] for a in arrays)


class _Thresholded(Metric):
    """Counts of examples whose prediction is above each threshold, by target."""

    counts: tuple[str, ...]

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        self.thresholds = np.atleast_1d(np.asarray(0.5 if thresholds is None else thresholds, np.float32))
        if not ((self.thresholds >= 0) & (self.thresholds <= 1)).all():
            raise ValueError(f"{self.name}: thresholds={thresholds} must lie between 0 and 1, as probabilities do")
        # Among the k best every prediction counts, unless a threshold is given as well.
        if top_k is not None and thresholds is None:
            self.thresholds[:] = -np.inf
        self.top_k, self.class_id = top_k, class_id

    def init(self) -> dict[str, jax.Array]:
        return {name: zeros(len(self.thresholds)) for name in self.counts}

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        given = y_pred
        y_true, y_pred = pair(y_true, y_pred, self.name, ONE_HOT)
        w = weigh(sample_weight, given, y_pred.shape, self.name)
        chosen = jnp.ones(y_pred.shape, bool)
        if self.top_k is not None:
            places = jax.lax.top_k(y_pred, self.top_k)[1]
            chosen = jnp.any(places[..., None] == jnp.arange(y_pred.shape[-1]), axis=-2)
        y_pred, y_true, chosen, w = _column(self.name, self.class_id, y_pred, y_true, chosen, w)
        above = (y_pred.reshape(-1) > self.thresholds[:, None]) & chosen.reshape(-1)
        true, w = (y_true != 0).reshape(-1), w.reshape(-1)
        cells: dict[str, jax.Array] = dict(
            zip(CELLS, (above & true, above & ~true, ~above & ~true, ~above & true), strict=True)
        )
        return {name: sums[name] + jnp.sum(jnp.where(cells[name], w, 0.0), axis=1) for name in self.counts}

    def _of_each(self, value: jax.Array) -> jax.Array:
        return value[0] if len(self.thresholds) == 1 else value


class Precision(_Thresholded):
    """``true positives / (true + false positives)``: how many of the found are right.

    A prediction above the threshold (0.5; several give a value each) is positive; with ``top_k``, one among the k largest
    of its example. ``class_id`` looks at one class only.

    >>> Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]).item()
    0.666666...
    """

    direction = "up"
    counts = ("true_positives", "false_positives")

    def compute(self, sums: Any) -> jax.Array:
        right, other = (sums[name] for name in self.counts)
        return self._of_each(ratio(right, right + other))


class Recall(Precision):
    """``true positives / (true positives + false negatives)``: how many of the right are found.

    The arguments are those of `Precision`.

    >>> Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]).item()
    0.666666...
    """

    counts = ("true_positives", "false_negatives")


class TruePositives(_Thresholded):
    """The (weighted) number of right yeses: predictions above the threshold (0.5; several give a value each) where y = 1.

    >>> TruePositives()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]).item()
    2.0
    """

    direction = "up"
    counts = ("true_positives",)

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None, dtype: Any = None):
        super().__init__(thresholds, name=name, dtype=dtype)

    def compute(self, sums: Any) -> jax.Array:
        return self._of_each(sums[self.counts[0]])


class TrueNegatives(TruePositives):
    """The (weighted) number of right noes: see `TruePositives`."""

    counts = ("true_negatives",)


class FalsePositives(TruePositives):
    """The (weighted) number of wrong yeses: see `TruePositives`."""

    direction = "down"
    counts = ("false_positives",)


class FalseNegatives(TruePositives):
    """The (weighted) number of wrong noes: see `TruePositives`."""

    direction = "down"
    counts = ("false_negatives",)


class _Histogram(Wide):
    """Weights of examples by target and by how many thresholds lie below their prediction: small sums that add up."""

    thresholds: np.ndarray
    even = False  # do the thresholds lie in even steps from 0 to 1?
    free = False

    def init(self) -> dict[str, jax.Array]:
        shape = (len(self.thresholds) + 1, *((self.columns(),) if self._by_column() else ()))
        return {"positives": zeros(*shape), "negatives": zeros(*shape)}

    def _by_column(self) -> bool:
        return False

    def _add(self, sums: Any, true: jax.Array, p: jax.Array, w: jax.Array) -> Any:
        place, shape = self._place(jnp.clip(p, 0, 1)), sums["positives"].shape
        if self._by_column():
            place = place * shape[1] + jnp.arange(shape[1])
        # One scatter of a batch; the sums over thresholds wait for `compute`.
        both = jnp.stack([jnp.where(true, w, 0.0), jnp.where(true, 0.0, w)], axis=-1)
        added = jax.ops.segment_sum(both.reshape(-1, 2), place.reshape(-1), int(np.prod(shape)))
        return {
            "positives": sums["positives"] + added[:, 0].reshape(shape),
            "negatives": sums["negatives"] + added[:, 1].reshape(shape),
        }

    def _place(self, p: jax.Array) -> jax.Array:
        """How many thresholds lie below each prediction."""
        if self.even:
            return jnp.maximum(jnp.ceil(p * (len(self.thresholds) - 1)), int(self.thresholds[0] < 0)).astype(jnp.int32)
        return jnp.searchsorted(jnp.asarray(self.thresholds), p, side="left", method="compare_all")

    def _cells(self, sums: Any) -> tuple[jax.Array, ...]:
        """True and false positives, then true and false negatives, at each threshold."""
        tp, fp = (jnp.cumsum(sums[k][::-1], axis=0)[::-1] for k in ("positives", "negatives"))
        return tp[1:], fp[1:], fp[0] - fp[1:], tp[0] - tp[1:]


class AUC(_Histogram):
    """Area under the curve of true against false positive rate ("ROC"), or of precision against recall ("PR").

    Predictions in [0, 1] are counted between ``num_thresholds`` even steps (or the given ``thresholds``), so the sums stay
    small and add up over batches; the area between steps follows ``summation_method``: "interpolation" (trapezoids for ROC;
    for PR true positives grow linearly, Davis and Goadrich 2006, ICML), "minoring" (lower) or "majoring" (upper).
    ``curve="PRGAIN"``: precision gain against recall gain (Flach and Kull 2015, NeurIPS).
    ``multi_label``: the (weighted) mean of the areas of ``num_labels`` columns (by default, those of the output).
    ``from_logits`` applies a sigmoid first.
    Raises: ValueError for an unknown curve or method, fewer than two thresholds, or ``num_labels`` without ``multi_label``.

    >>> AUC()([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]).item()
    0.75
    """

    direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ):
        super().__init__(name, dtype)
        self.curve, self.method = curve.upper(), summation_method.lower()
        if self.curve not in ("ROC", "PR", "PRGAIN"):
            raise unknown("curve", curve, ("ROC", "PR", "PRGAIN"))
        if self.method not in ("interpolation", "minoring", "majoring"):
            raise unknown("summation_method", summation_method, ("interpolation", "minoring", "majoring"))
        if thresholds is None and num_thresholds < 2:
            raise ValueError(f"num_thresholds={num_thresholds}: give at least 2")
        if num_labels and not multi_label:
            raise ValueError(f"AUC(num_labels={num_labels}) counts the columns of multi_label=True: give both, or neither")
        inner = np.linspace(0, 1, num_thresholds)[1:-1] if thresholds is None else np.sort(np.asarray(thresholds))
        steps = np.concatenate([[0.0], inner, [1.0]])
        self.even = len(steps) > 2 and bool(np.allclose(steps, np.linspace(0, 1, len(steps)), rtol=1e-5, atol=EPSILON))
        self.thresholds = np.concatenate([[-EPSILON], inner, [1 + EPSILON]]).astype(np.float32)
        self.multi_label, self.width, self.free = multi_label, num_labels, multi_label and not num_labels
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float32)
        self.from_logits = from_logits

    def _by_column(self) -> bool:
        return self.multi_label

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        given = y_pred
        y_true, y_pred = pair(y_true, y_pred, self.name, ONE_HOT)
        if self.multi_label and y_pred.shape[1:] != (self.columns(),):
            raise ValueError(f"{self.name}: predictions of shape {y_pred.shape} need {self.width} columns (num_labels)")
        w = weigh(sample_weight, given, y_pred.shape, self.name)
        if self.label_weights is not None and not self.multi_label:
            w = w * self.label_weights
        return self._add(sums, y_true != 0, jax.nn.sigmoid(y_pred) if self.from_logits else y_pred, w)

    def compute(self, sums: Any) -> jax.Array:
        tp, fp, tn, fn = self._cells(sums)
        if self.curve == "PR" and self.method == "interpolation":
            areas = self._interpolated(tp, tp + fp, tp[:1] + fn[:1])
        else:
            recall = ratio(tp, tp + fn)
            if self.curve == "ROC":
                x, y = ratio(fp, fp + tn), recall
            elif self.curve == "PR":
                x, y = recall, ratio(tp, tp + fp)
            else:
                odds = ratio(tp + fn, tn + fp)
                x = jnp.maximum(jnp.where(tp == 0, 0.0, 1 - odds * ratio(fn, tp)), 0)
                y = jnp.where(tp == 0, 1.0, 1 - odds * ratio(fp, tp))
            height = {"interpolation": lambda a, b: (a + b) / 2, "minoring": jnp.minimum, "majoring": jnp.maximum}
            areas = (x[:-1] - x[1:]) * height[self.method](y[:-1], y[1:])
        area = jnp.sum(areas, axis=0)
        if not self.multi_label:
            return area
        return jnp.mean(area) if self.label_weights is None else ratio(area @ self.label_weights, self.label_weights.sum())

    @staticmethod
    def _interpolated(tp: jax.Array, found: jax.Array, true: jax.Array) -> jax.Array:
        """Areas under precision against recall, true positives growing linearly with the found from b to a.

        With slope ``s = dTP / dP`` and ``c = TP_b - s P_b``, the area is ``s (dTP + c log(P_a / P_b)) / true``.
        """
        a, b = found[:-1], found[1:]
        gain = tp[:-1] - tp[1:]
        slope = ratio(gain, jnp.maximum(a - b, 0))
        offset = tp[1:] - slope * b
        growth = jnp.where((a > 0) & (b > 0), a / jnp.where(b > 0, b, 1), 1.0)
        return ratio(slope * (gain + offset * jnp.log(growth)), true)


class _AtBest(_Histogram):
    """The best of one rate over the thresholds at which another is at least a given value; 0 where none is."""

    direction = "up"

    def __init__(
        self, value: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None, dtype: Any = None
    ):
        super().__init__(name, dtype)
        if not 0 <= value <= 1:
            raise ValueError(f"{self.name}: {value} must lie between 0 and 1")
        if num_thresholds < 1:
            raise ValueError(f"{self.name}: num_thresholds={num_thresholds} must be at least 1")
        self.value, self.class_id, self.even = value, class_id, num_thresholds > 1
        self.thresholds = np.linspace(0, 1, num_thresholds, dtype=np.float32) if self.even else np.array([0.5], np.float32)

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        given = y_pred
        y_true, y_pred = pair(y_true, y_pred, self.name, ONE_HOT)
        w = weigh(sample_weight, given, y_pred.shape, self.name)
        y_pred, y_true, w = _column(self.name, self.class_id, y_pred, y_true, w)
        return self._add(sums, y_true != 0, y_pred, w)

    def rates(self, precision: jax.Array, recall: jax.Array, specificity: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What must be at least the value, and what shall be best."""
        raise NotImplementedError

    def compute(self, sums: Any) -> jax.Array:
        tp, fp, tn, fn = self._cells(sums)
        bound, best = self.rates(ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(tn, tn + fp))
        return jnp.max(jnp.where(bound >= self.value, best, 0))


class SensitivityAtSpecificity(_AtBest):
    """The best recall among ``num_thresholds`` thresholds where ``true negatives / negatives`` is at least ``specificity``.

    >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8]).item()
    0.5
    """

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def rates(self, precision: jax.Array, recall: jax.Array, specificity: jax.Array) -> tuple[jax.Array, jax.Array]:
        return specificity, recall


class SpecificityAtSensitivity(_AtBest):
    """The best ``true negatives / negatives`` where the recall is at least ``sensitivity``: see `SensitivityAtSpecificity`."""

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def rates(self, precision: jax.Array, recall: jax.Array, specificity: jax.Array) -> tuple[jax.Array, jax.Array]:
        return recall, specificity


class PrecisionAtRecall(_AtBest):
    """The best precision where the recall is at least ``recall``: see `SensitivityAtSpecificity`."""

    def __init__(
        self, recall: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None, dtype: Any = None
    ):
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def rates(self, precision: jax.Array, recall: jax.Array, specificity: jax.Array) -> tuple[jax.Array, jax.Array]:
        return recall, precision


class RecallAtPrecision(_AtBest):
    """The best recall where the precision is at least ``precision``: see `SensitivityAtSpecificity`."""

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def rates(self, precision: jax.Array, recall: jax.Array, specificity: jax.Array) -> tuple[jax.Array, jax.Array]:
        return precision, recall
