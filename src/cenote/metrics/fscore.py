"""F-scores: precision and recall in one number, by class."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.errors import unknown
from cenote.losses.functions import EPSILON, pair

from .base import Wide, weigh, zeros
from .confusion import ONE_HOT


class FBetaScore(Wide):
    """``(1 + beta^2) precision recall / (beta^2 precision + recall)``, by class and then averaged.

    ``average``: None gives one value a class, "micro" counts all classes as one, "macro" takes the mean over classes and
    "weighted" the mean by how often each is right. ``threshold``: predictions above it are yeses; without it, the largest
    of each example. Shapes: y_true one-hot (or bits) and y_pred, both (batch, ..., classes).
    Raises: ValueError for an unknown average, beta <= 0, or a threshold outside (0, 1].

    >>> round(FBetaScore("macro", beta=2.0)([[0, 1], [1, 0], [1, 0]], [[0.2, 0.8], [0.3, 0.7], [0.9, 0.1]]).item(), 4)
    0.6944
    """

    direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise unknown("average", average, ("micro", "macro", "weighted"))
        if beta <= 0:
            raise ValueError(f"{name}: beta={beta} must be above 0; 1.0 weighs precision and recall alike")
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"{name}: threshold={threshold} must lie above 0 and up to 1, as probabilities do")
        self.average, self.beta, self.threshold = average, beta, threshold
        self.free = average != "micro"

    def init(self) -> dict[str, jax.Array]:
        shape = (self.columns(),) if self.free else ()
        return {name: zeros(*shape) for name in ("right", "found", "true")}

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        given = y_pred
        y_true, y_pred = pair(y_true, y_pred, self.name, ONE_HOT)
        if y_pred.ndim == 1:
            y_true, y_pred = y_true[:, None], y_pred[:, None]
        if self.threshold is None:
            best = jnp.max(y_pred, axis=-1, keepdims=True)
            found = (y_pred >= best) & (jnp.abs(y_pred) > 1e-9)
        else:
            found = y_pred > self.threshold
        w = weigh(sample_weight, given, y_pred.shape[:-1], self.name)[..., None]
        found = jnp.where(found, w, 0.0)
        parts = {"right": found * y_true, "found": found, "true": w * y_true}
        axes = tuple(range(y_pred.ndim - 1)) if self.free else None
        return {name: sums[name] + jnp.sum(part, axis=axes, dtype=jnp.float32) for name, part in parts.items()}

    def compute(self, sums: Any) -> jax.Array:
        right, found, true = (sums[name] for name in ("right", "found", "true"))
        precision, recall = right / (found + EPSILON), right / (true + EPSILON)
        square = self.beta**2
        score = (1 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average == "weighted":
            return jnp.sum(score * true / (jnp.sum(true) + EPSILON))
        return score if self.average is None else jnp.mean(score)


class F1Score(FBetaScore):
    """``2 precision recall / (precision + recall)``: `FBetaScore` with beta = 1.

    >>> F1Score()([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]]).round(4).tolist()
    [0.0, 0.666...]
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)
