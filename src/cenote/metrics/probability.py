"""How good probabilities are as probabilities: calibration, squared error, perplexity."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.errors import unknown
from cenote.losses.classes import SparseCategoricalCrossentropy
from cenote.losses.functions import class_numbers, pair, real

from .base import MeanMetricWrapper, Metric, ratio, weigh, zeros


def _bits(y_true: Any, y_pred: Any, where: str) -> tuple[jax.Array, jax.Array]:
    """Targets as bits of the predictions' shape: class numbers become one-hot."""
    p = real(y_pred)
    shape = np.shape(y_true)
    if p.ndim > 1 and p.shape[-1] > 1 and shape in (p.shape[:-1], (*p.shape[:-1], 1)):
        labels = class_numbers(y_true, p.shape, where=where)
        return (labels[..., None] == jnp.arange(p.shape[-1], dtype=labels.dtype)).astype(p.dtype), p
    return pair(y_true, p, where, "give class numbers")


def brier_score(y_true: Any, y_pred: Any) -> jax.Array:
    """``sum((p - y)^2)`` over the classes, for one-hot targets or class numbers; of one probability, ``(p - y)^2``.

    Source: Brier 1950, Monthly Weather Review 78.

    >>> brier_score([1, 0], [[0.25, 0.75], [0.5, 0.5]]).tolist()
    [0.125, 0.5]
    """
    y, p = _bits(y_true, y_pred, "brier_score")
    return jnp.sum(jnp.square(p - y), axis=-1) if p.ndim > 1 else jnp.square(p - y)


class BrierScore(MeanMetricWrapper):
    """Mean of `brier_score`: 0 is best."""

    direction = "down"

    def __init__(self, name: str = "brier_score", dtype: Any = None):
        super().__init__(brier_score, name, dtype)


class ExpectedCalibrationError(Metric):
    """``sum_b share_b |accuracy_b - confidence_b|`` over bins b of the confidence: does 80 % sure mean 80 % right?

    Of several classes, the confidence is the largest probability and right whether its class is the target's; of one
    output it is the probability of a yes, against how often it is one. ``norm``: "l1" as above, "l2" the root of the mean
    of squares, "max" the largest gap of a bin.
    Source: Naeini, Cooper and Hauskrecht 2015, AAAI; Guo et al. 2017, arXiv:1706.04599.

    >>> round(ExpectedCalibrationError()([1, 0], [[0.1, 0.9], [0.3, 0.7]]).item(), 4)
    0.4
    """

    direction = "down"

    def __init__(
        self,
        num_bins: int = 15,
        norm: str = "l1",
        from_logits: bool = False,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if num_bins < 1:
            raise ValueError(f"{self.name}: num_bins={num_bins} must be at least 1")
        if norm not in ("l1", "l2", "max"):
            raise unknown("norm", norm, ("l1", "l2", "max"))
        self.num_bins, self.norm, self.from_logits = num_bins, norm, from_logits

    def init(self) -> dict[str, jax.Array]:
        return {name: zeros(self.num_bins) for name in ("count", "sure", "right")}

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y, p = _bits(y_true, y_pred, self.name)
        several = p.ndim > 1 and p.shape[-1] > 1
        if self.from_logits:
            p = jax.nn.softmax(p, axis=-1) if several else jax.nn.sigmoid(p)
        if several:
            right = jnp.argmax(p, axis=-1) == jnp.argmax(y, axis=-1)
            p = jnp.max(p, axis=-1)
        else:
            right = y
        w = weigh(sample_weight, y_pred, p.shape, self.name).reshape(-1)
        p, right = p.reshape(-1).astype(jnp.float32), right.reshape(-1).astype(jnp.float32)
        place = jnp.clip(jnp.ceil(p * self.num_bins) - 1, 0, self.num_bins - 1).astype(jnp.int32)
        parts = jnp.stack([w, w * p, w * right], axis=-1)
        parts = jnp.where(w[:, None] == 0, 0.0, parts)
        added = jax.ops.segment_sum(parts, place, self.num_bins)
        return {name: sums[name] + added[:, i] for i, name in enumerate(("count", "sure", "right"))}

    def compute(self, sums: Any) -> jax.Array:
        gaps = jnp.abs(ratio(sums["right"] - sums["sure"], sums["count"]))
        if self.norm == "max":
            return jnp.max(gaps)
        shares = ratio(sums["count"], jnp.sum(sums["count"]))
        return jnp.sum(shares * gaps) if self.norm == "l1" else jnp.sqrt(jnp.sum(shares * gaps**2))


class Perplexity(MeanMetricWrapper):
    """``exp`` of the mean cross-entropy of class numbers (tokens): among how many the model would choose by chance.

    Targets equal to ``ignore_class``, and masked positions, count nowhere.

    >>> round(Perplexity()([[0, 1]], [[[0.5, 0.5], [0.5, 0.5]]]).item(), 4)
    2.0
    """

    direction = "down"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        name: str = "perplexity",
        dtype: Any = None,
    ):
        super().__init__(SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis), name, dtype)

    def compute(self, sums: Any) -> jax.Array:
        return jnp.where(sums["count"] == 0, 0.0, jnp.exp(super().compute(sums)))
