"""How well quantities are explained: R squared and correlations, from means and spreads that add up over batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.errors import unknown
from cenote.losses.functions import EPSILON, pair

from .base import MeanMetricWrapper, Wide, ratio, weigh, zeros

VALUES = "give measured values of the same shape"


def _merge(sums: Any, x: jax.Array, y: jax.Array, w: jax.Array) -> dict[str, jax.Array]:
    """Means and (co)spreads of two quantities by column, with the rows of a batch added.

    Spreads are taken about the mean of their own batch and moved to the common one, which loses no digits where the mean
    is large (Chan, Golub and LeVeque 1983, The American Statistician 37).
    """
    x, y = (jnp.where(w == 0, 0.0, a).astype(jnp.float32) for a in (x, y))
    count = jnp.sum(w, axis=0)
    mean_x, mean_y = (ratio(jnp.sum(w * a, axis=0), count) for a in (x, y))
    off_x, off_y = x - mean_x, y - mean_y
    total = sums["count"] + count
    share = ratio(count, total)
    moved = sums["count"] * share
    gap_x, gap_y = mean_x - sums["mean_x"], mean_y - sums["mean_y"]
    return {
        "count": total,
        "mean_x": sums["mean_x"] + gap_x * share,
        "mean_y": sums["mean_y"] + gap_y * share,
        "xx": sums["xx"] + jnp.sum(w * off_x * off_x, axis=0) + gap_x * gap_x * moved,
        "yy": sums["yy"] + jnp.sum(w * off_y * off_y, axis=0) + gap_y * gap_y * moved,
        "xy": sums["xy"] + jnp.sum(w * off_x * off_y, axis=0) + gap_x * gap_y * moved,
    }


def _moments(width: int) -> dict[str, jax.Array]:
    return {name: zeros(width) for name in ("count", "mean_x", "mean_y", "xx", "yy", "xy")}


class R2Score(Wide):
    """``1 - sum((y - p)^2) / sum((y - mean(y))^2)`` by column: 1 is perfect, 0 no better than the mean.

    ``class_aggregation``: "uniform_average" takes the mean over columns, "variance_weighted_average" weighs them by their
    spread, None gives one value each. ``num_regressors`` > 0 gives the adjusted score. A column that does not vary scores 0.
    Raises: ValueError for an unknown aggregation or a negative number of regressors.

    >>> round(R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]]).item(), 4)
    0.5714
    """

    direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise unknown("class_aggregation", class_aggregation, ("uniform_average", "variance_weighted_average"))
        if num_regressors < 0:
            raise ValueError(f"{name}: num_regressors={num_regressors} must be 0 or more")
        self.aggregation, self.regressors = class_aggregation, num_regressors

    def init(self) -> dict[str, Any]:
        return {**_moments(self.columns()), "residual": zeros(self.columns()), "samples": zeros()}

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        given = y_pred
        y_true, y_pred = pair(y_true, y_pred, self.name, VALUES)
        if y_pred.ndim == 1:
            y_true, y_pred = y_true[:, None], y_pred[:, None]
        if y_pred.ndim != 2:
            raise ValueError(f"{self.name}: needs targets and predictions (batch, columns), got {y_pred.shape}")
        w = weigh(sample_weight, given, y_pred.shape, self.name)
        errors = jnp.where(w == 0, 0.0, w * jnp.square(y_true - y_pred)).astype(jnp.float32)
        return {
            **_merge(sums, y_true, y_true, w),
            "residual": sums["residual"] + jnp.sum(errors, axis=0),
            "samples": sums["samples"] + jnp.sum(w != 0, dtype=jnp.float32),
        }

    def compute(self, sums: Any) -> jax.Array:
        total = sums["xx"]
        score = jnp.where(total == 0, 0.0, 1 - ratio(sums["residual"], total))
        if self.aggregation == "uniform_average":
            score = jnp.mean(score)
        elif self.aggregation == "variance_weighted_average":
            score = ratio(jnp.sum(total * score), jnp.sum(total))
        if not self.regressors:
            return score
        freedom = sums["samples"] - self.regressors - 1
        if not isinstance(freedom, jax.core.Tracer) and freedom <= 0:
            warnings.warn(
                f"{self.name}: {int(sums['samples'])} values are too few for num_regressors={self.regressors}, so the score is "
                f"not adjusted",
                stacklevel=3,
            )
        return jnp.where(freedom > 0, 1 - ratio((1 - score) * (sums["samples"] - 1), freedom), score)


def _centred(y_true: Any, y_pred: Any, axis: int, where: str) -> tuple[jax.Array, ...]:
    """Means, variances and covariance along an axis."""
    y_true, y_pred = pair(y_true, y_pred, where, VALUES)
    if y_pred.shape[axis] == 1:
        raise ValueError(
            f"{where}: axis {axis} of predictions {y_pred.shape} holds one value, which cannot vary: "
            f"for the correlation over examples use axis=0"
        )
    mean_x, mean_y = jnp.mean(y_true, axis=axis), jnp.mean(y_pred, axis=axis)
    x, y = y_true - jnp.expand_dims(mean_x, axis), y_pred - jnp.expand_dims(mean_y, axis)
    return mean_x, mean_y, jnp.mean(x * x, axis=axis), jnp.mean(y * y, axis=axis), jnp.mean(x * y, axis=axis)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """``cov(y, p) / (std(y) std(p))`` along an axis, 0 where one of them does not vary.

    >>> pearson_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]]).round(4).tolist()
    [1.0]
    """
    return _pearson(*_centred(y_true, y_pred, axis, "pearson_correlation"))


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """``2 cov(y, p) / (var(y) + var(p) + (mean(y) - mean(p))^2)`` along an axis: 1 only where the two are the same.

    Source: Lin 1989, Biometrics 45.

    >>> concordance_correlation([[0.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]]).round(4).tolist()
    [0.571...]
    """
    return _concordance(*_centred(y_true, y_pred, axis, "concordance_correlation"))


def _pearson(mean_x: Any, mean_y: Any, xx: Any, yy: Any, xy: Any) -> jax.Array:
    return ratio(xy, jnp.sqrt(xx) * jnp.sqrt(yy))


def _concordance(mean_x: Any, mean_y: Any, xx: Any, yy: Any, xy: Any) -> jax.Array:
    return 2 * xy / (xx + yy + jnp.square(mean_x - mean_y) + EPSILON)


class _Correlation(Wide):
    """Along the features of each example, then the mean over examples; with axis 0, over all examples of all batches."""

    direction = "up"
    function: Callable
    formula: Callable

    def __init__(self, name: str, dtype: Any, axis: int):
        super().__init__(name, dtype)
        self.axis = axis
        self.over_examples = axis == 0
        self.mean = MeanMetricWrapper(type(self).function, axis=axis)

    def build(self, output_shape: tuple) -> None:
        self.width = math.prod(output_shape[1:])
        self.over_examples = self.axis == 0 or len(output_shape) == 1

    def init(self) -> dict[str, jax.Array]:
        return _moments(self.columns()) if self.over_examples else self.mean.init()

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if not self.over_examples:
            return self.mean.update(sums, y_true, y_pred, sample_weight)
        given = y_pred
        y_true, y_pred = pair(y_true, y_pred, self.name, VALUES)
        w = weigh(sample_weight, given, y_pred.shape, self.name)
        y_true, y_pred, w = (a.reshape(len(a), -1) for a in (y_true, y_pred, w))
        return _merge(sums, y_true, y_pred, w)

    def compute(self, sums: Any) -> jax.Array:
        if not self.over_examples:
            return self.mean.compute(sums)
        spreads = (ratio(sums[name], sums["count"]) for name in ("xx", "yy", "xy"))
        return jnp.mean(type(self).formula(sums["mean_x"], sums["mean_y"], *spreads))


class PearsonCorrelation(_Correlation):
    """Correlation of targets and predictions along an axis: see `pearson_correlation`.

    Along the features (-1) the metric is the mean over examples; with ``axis=0`` it is that over all examples of all
    batches, by column (Keras takes the mean over batches).

    >>> round(PearsonCorrelation(axis=0)([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]]).item(), 4)
    1.0
    """

    function = staticmethod(pearson_correlation)
    formula = staticmethod(_pearson)

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype, axis)


class ConcordanceCorrelation(_Correlation):
    """Agreement of targets and predictions along an axis: see `concordance_correlation` and, for axes, `PearsonCorrelation`."""

    function = staticmethod(concordance_correlation)
    formula = staticmethod(_concordance)

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype, axis)
