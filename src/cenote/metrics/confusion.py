"""Metrics made of true and false positives and negatives: precision, recall, areas under curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.errors import unknown
from cenote.losses import spread
from cenote.losses.functions import pair

from .base import Metric, ratio, zeros

ONE_HOT = "make them one-hot, as np.eye(classes)[y]"

# How far the outermost thresholds lie beyond 0 and 1; Keras's value.
EPSILON = 1e-7


def _weights(sample_weight: Any, like: jax.Array, where: str) -> jax.Array:
    if sample_weight is None:
        return jnp.ones((), jnp.float32)
    return spread(sample_weight, like, f"{where}: sample_weight").astype(jnp.float32)


class _Thresholded(Metric):
    """Counts of examples whose prediction is above each threshold, by target."""

    direction = "up"
    counts: tuple[str, str]

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        self.thresholds = np.atleast_1d(np.asarray(0.5 if thresholds is None else thresholds, np.float32))
        # Among the k best every prediction counts, unless a threshold is given as well.
        if top_k is not None and thresholds is None:
            self.thresholds[:] = -np.inf
        self.top_k, self.class_id = top_k, class_id

    def init(self) -> dict[str, jax.Array]:
        return {name: zeros(len(self.thresholds)) for name in self.counts}

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y_true, y_pred = pair(y_true, y_pred, self.name, ONE_HOT)
        w = jnp.broadcast_to(_weights(sample_weight, y_pred, self.name), y_pred.shape)
        chosen = jnp.ones(y_pred.shape, bool)
        if self.top_k is not None:
            places = jax.lax.top_k(y_pred, self.top_k)[1]
            chosen = jnp.any(places[..., None] == jnp.arange(y_pred.shape[-1]), axis=-2)
        if self.class_id is not None:
            if y_pred.ndim < 2 or not 0 <= self.class_id < y_pred.shape[-1]:
                raise ValueError(f"{self.name}: class_id={self.class_id} is no class of predictions {y_pred.shape}")
            y_true, y_pred, chosen, w = (a[..., self.class_id] for a in (y_true, y_pred, chosen, w))
        above = (y_pred.reshape(-1) > self.thresholds[:, None]) & chosen.reshape(-1)
        true, w = (y_true != 0).reshape(-1), w.reshape(-1)
        cells = {
            "true_positives": above & true,
            "false_positives": above & ~true,
            "false_negatives": ~above & true,
        }
        return {name: sums[name] + jnp.sum(jnp.where(cells[name], w, 0.0), axis=1) for name in self.counts}

    def compute(self, sums: Any) -> jax.Array:
        right, other = (sums[name] for name in self.counts)
        value = ratio(right, right + other)
        return value[0] if len(self.thresholds) == 1 else value


class Precision(_Thresholded):
    """``true positives / (true + false positives)``: how many of the found are right.

    A prediction above the threshold (0.5; several give a value each) is positive; with ``top_k``, one among the k largest
    of its example. ``class_id`` looks at one class only.

    >>> Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]).item()
    0.666666...
    """

    counts = ("true_positives", "false_positives")


class Recall(_Thresholded):
    """``true positives / (true positives + false negatives)``: how many of the right are found.

    The arguments are those of `Precision`.

    >>> Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0]).item()
    0.666666...
    """

    counts = ("true_positives", "false_negatives")


class AUC(Metric):
    """Area under the curve of true against false positive rate ("ROC"), or of precision against recall ("PR").

    Predictions in [0, 1] are counted between ``num_thresholds`` even steps (or the given ``thresholds``), so the sums stay
    small and add up over batches; the area between steps follows ``summation_method``: "interpolation" (trapezoids for ROC;
    for PR true positives grow linearly, Davis and Goadrich 2006, ICML), "minoring" (lower) or "majoring" (upper).
    ``multi_label``: the (weighted) mean of the areas of ``num_labels`` columns. ``from_logits`` applies a sigmoid first.
    Raises: ValueError for an unknown curve or method, fewer than two thresholds, or ``multi_label`` without ``num_labels``.

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
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ):
        super().__init__(name)
        self.curve, self.method = curve.upper(), summation_method.lower()
        if self.curve not in ("ROC", "PR"):
            raise unknown("curve", curve, ("ROC", "PR"))
        if self.method not in ("interpolation", "minoring", "majoring"):
            raise unknown("summation_method", summation_method, ("interpolation", "minoring", "majoring"))
        if thresholds is None and num_thresholds < 2:
            raise ValueError(f"num_thresholds={num_thresholds}: give at least 2")
        if multi_label and num_labels is None:
            raise ValueError("AUC(multi_label=True) needs num_labels, the number of columns of the targets")
        inner = np.linspace(0, 1, num_thresholds)[1:-1] if thresholds is None else np.sort(np.asarray(thresholds))
        steps = np.concatenate([[0.0], inner, [1.0]])
        self.even = len(steps) > 2 and bool(np.allclose(steps, np.linspace(0, 1, len(steps)), rtol=1e-5, atol=EPSILON))
        self.thresholds = np.concatenate([[-EPSILON], inner, [1 + EPSILON]]).astype(np.float32)
        self.labels = num_labels if multi_label else None
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float32)
        self.from_logits = from_logits

    def init(self) -> dict[str, jax.Array]:
        """Weights of examples by target and by the last threshold below their prediction."""
        shape = (len(self.thresholds),) if self.labels is None else (len(self.thresholds), self.labels)
        return {"positives": zeros(*shape), "negatives": zeros(*shape)}

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y_true, y_pred = pair(y_true, y_pred, self.name, ONE_HOT)
        if self.labels is not None and y_pred.shape[1:] != (self.labels,):
            raise ValueError(f"{self.name}: predictions of shape {y_pred.shape} need {self.labels} columns (num_labels)")
        w = _weights(sample_weight, y_pred, self.name)
        if self.label_weights is not None and self.labels is None:
            w = w * self.label_weights
        w = jnp.broadcast_to(w, y_pred.shape)
        place = self._place(jnp.clip(jax.nn.sigmoid(y_pred) if self.from_logits else y_pred, 0, 1))
        size = len(self.thresholds)
        if self.labels is not None:
            place, size = place * self.labels + jnp.arange(self.labels), size * self.labels
        # One scatter of a batch; the sums over thresholds wait for `compute`.
        both = jnp.stack([jnp.where(y_true != 0, w, 0.0), jnp.where(y_true != 0, 0.0, w)], axis=-1)
        added = jax.ops.segment_sum(both.reshape(-1, 2), place.reshape(-1), size)
        shape = sums["positives"].shape
        return {
            "positives": sums["positives"] + added[:, 0].reshape(shape),
            "negatives": sums["negatives"] + added[:, 1].reshape(shape),
        }

    def _place(self, p: jax.Array) -> jax.Array:
        """The number of the last threshold below each prediction."""
        if self.even:
            return jnp.maximum(jnp.ceil(p * (len(self.thresholds) - 1)) - 1, 0).astype(jnp.int32)
        return jnp.searchsorted(jnp.asarray(self.thresholds), p, side="left", method="compare_all") - 1

    def compute(self, sums: Any) -> jax.Array:
        tp, fp = (jnp.cumsum(sums[k][::-1], axis=0)[::-1] for k in ("positives", "negatives"))
        true, false = tp[:1], fp[:1]
        if self.curve == "PR" and self.method == "interpolation":
            areas = self._interpolated(tp, tp + fp, true)
        else:
            x, y = (ratio(fp, false), ratio(tp, true)) if self.curve == "ROC" else (ratio(tp, true), ratio(tp, tp + fp))
            height = {"interpolation": lambda a, b: (a + b) / 2, "minoring": jnp.minimum, "majoring": jnp.maximum}
            areas = (x[:-1] - x[1:]) * height[self.method](y[:-1], y[1:])
        area = jnp.sum(areas, axis=0)
        if self.labels is None:
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
