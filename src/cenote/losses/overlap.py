"""Losses of how little two regions overlap, for segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.notes import graph_function

from .base import FunctionLoss
from .functions import EPSILON, pair

Axis = int | Sequence[int] | None


@graph_function
def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None) -> jax.Array:
    """``1 - tp / (tp + alpha fn + beta fp)``, tp = sum(y p), fn = sum(y (1 - p)), fp = sum((1 - y) p) over ``axis``.

    ``axis``: all of them by default, so that a batch has one value. As in Keras, alpha weighs what was missed.
    Source: Salehi, Erdogmus and Gholipour 2017, arXiv:1706.05721.

    >>> tversky([[1.0, 0.0]], [[0.5, 0.5]], axis=1).round(3).tolist()
    [0.5]
    """
    y_true, y_pred = pair(y_true, y_pred, "tversky")
    axis = tuple(axis) if isinstance(axis, (list, tuple)) else axis
    right = jnp.sum(y_true * y_pred, axis=axis)
    missed, wrong = jnp.sum(y_true * (1 - y_pred), axis=axis), jnp.sum((1 - y_true) * y_pred, axis=axis)
    return 1 - right / (right + alpha * missed + beta * wrong + EPSILON)


@graph_function
def dice(y_true: Any, y_pred: Any, axis: Axis = None) -> jax.Array:
    """``1 - 2 sum(y p) / (sum(y) + sum(p))`` over ``axis``: how little two regions overlap, 0 when they are the same.

    ``axis``: all of them by default, so that a batch has one value; ``(1, 2, 3)`` gives one for each picture.
    Source: Milletari, Navab and Ahmadi 2016, arXiv:1606.04797.

    >>> dice([[1.0, 0.0]], [[1.0, 1.0]], axis=1).tolist()
    [0.333333...]
    """
    y_true, y_pred = pair(y_true, y_pred, "dice")
    axis = tuple(axis) if isinstance(axis, (list, tuple)) else axis
    return 1 - 2 * jnp.sum(y_true * y_pred, axis=axis) / (jnp.sum(y_true, axis=axis) + jnp.sum(y_pred, axis=axis) + EPSILON)


class Overlap(FunctionLoss):
    """Base of losses of regions: over all axes, a batch is one region and has one value."""

    axis: Axis

    def of_batch(self, y_true: Any, y_pred: Any, valid: Any) -> tuple[jax.Array, Any]:
        y_true, y_pred = pair(y_true, y_pred, self.name)
        axes = range(y_pred.ndim) if self.axis is None else np.atleast_1d(self.axis) % y_pred.ndim
        if valid is None or 0 not in axes:
            return self.values(y_true, y_pred), valid
        # Rows of padding are empty in both regions.
        kept = (jnp.asarray(valid) != 0).reshape(-1, *(1,) * (y_pred.ndim - 1))
        values = self.values(jnp.where(kept, y_true, 0), jnp.where(kept, y_pred, 0))
        return values, valid if values.ndim == 0 else None  # the one value is that of each row that is real


class Dice(Overlap):
    """How little two regions overlap: see `dice`.

    >>> round(Dice(axis=(1, 2))(np.ones((2, 3, 3)), np.ones((2, 3, 3))).item(), 6)
    0.0
    """

    function = staticmethod(dice)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Axis = None,
        dtype: Any = None,
    ):
        self.axis = axis
        super().__init__(reduction=reduction, name=name, dtype=dtype, axis=axis)


class Tversky(Overlap):
    """How little two regions overlap, with what was missed and what was wrong weighed apart: see `tversky`."""

    function = staticmethod(tversky)

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Axis = None,
        dtype: Any = None,
    ):
        self.axis = axis
        super().__init__(reduction=reduction, name=name, dtype=dtype, alpha=alpha, beta=beta, axis=axis)
