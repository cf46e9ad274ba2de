"""PyTorch's losses of margins and ranks, with targets and predictions in Keras's order.

Where a target says yes or no it may be 1 and -1, as in PyTorch, or 1 and 0.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.notes import graph_function

from .base import FunctionLoss
from .functions import averaged, by_class, class_numbers, pair, parts, real


def yes(y_true: Any) -> jax.Array:
    """Is the target a yes? 1 is one; 0 and -1 are none."""
    return jnp.asarray(y_true) > 0


@averaged
def soft_margin(y_true: Any, y_pred: Any) -> jax.Array:
    """``mean(log(1 + exp(-y x)))`` over the last axis, for y = 1 or -1 and scores x.

    >>> soft_margin([[1.0]], [[0.0]]).tolist()
    [0.693147...]
    """
    y_true, y_pred = pair(y_true, y_pred, "soft_margin")
    return jax.nn.softplus(jnp.where(yes(y_true), -y_pred, y_pred))


@averaged
def hinge_embedding(y_true: Any, y_pred: Any, margin: float = 1.0) -> jax.Array:
    """``mean(d if y = 1 else max(0, margin - d))`` over the last axis, for distances d of alike (1) and unlike (-1) pairs.

    >>> hinge_embedding([[1.0, -1.0]], [[0.5, 0.5]], margin=2.0).tolist()
    [1.0]
    """
    y_true, y_pred = pair(y_true, y_pred, "hinge_embedding")
    return jnp.where(yes(y_true), y_pred, jnp.maximum(margin - y_pred, 0))


@graph_function
def margin_ranking(y_true: Any, y_pred: Any, margin: float = 0.0) -> jax.Array:
    """``max(0, margin - y (a - b))``: a shall rank above b where y = 1, and below where y = -1.

    Shapes: y_pred (batch, 2), the scores a and b, or a tuple of the two; y_true (batch,).

    >>> margin_ranking([1, -1], [[0.5, 0.2], [0.5, 0.2]], margin=0.1).tolist()
    [0.0, 0.4...]
    """
    a, b = parts(y_pred, 2, "margin_ranking", "first, second")
    y_true, gap = pair(y_true, a - b, "margin_ranking")
    return jnp.maximum(margin - jnp.where(yes(y_true), gap, -gap), 0)


@graph_function
def multi_margin(y_true: Any, y_pred: Any, p: int = 1, margin: float = 1.0, class_weights: Any = None) -> jax.Array:
    """``w[y] sum_i max(0, margin - x[y] + x[i])^p / classes`` over the classes i other than y, for class numbers y.

    Shapes: y_true (batch, ...), y_pred (batch, ..., classes).

    >>> multi_margin([0], [[1.0, 0.5]]).tolist()
    [0.25]
    """
    x = real(y_pred)
    labels = class_numbers(y_true, x.shape, where="multi_margin")
    chosen = labels[..., None] == jnp.arange(x.shape[-1], dtype=labels.dtype)
    own = jnp.sum(jnp.where(chosen, x, 0), axis=-1, keepdims=True)
    values = jnp.where(chosen, 0, jnp.maximum(margin - own + x, 0))
    values = jnp.mean(values**p, axis=-1)
    if class_weights is not None:
        values = values * jnp.sum(jnp.where(chosen, by_class(class_weights, x.shape[-1], "multi_margin"), 0), axis=-1)
    return jnp.where(jnp.any(chosen, axis=-1), values, jnp.nan)


@graph_function
def multi_label_margin(y_true: Any, y_pred: Any) -> jax.Array:
    """``sum_ij max(0, 1 - x[j] + x[i]) / classes`` over classes j that are right and i that are not.

    Targets are bits by class, (batch, ..., classes); PyTorch's are lists of class numbers, ended by -1.

    >>> multi_label_margin([[1, 0]], [[0.5, 0.25]]).tolist()
    [0.375]
    """
    y_true, x = pair(y_true, y_pred, "multi_label_margin")
    right = yes(y_true)
    both = right[..., :, None] & ~right[..., None, :]
    gaps = jnp.maximum(1 - x[..., :, None] + x[..., None, :], 0)
    return jnp.sum(jnp.where(both, gaps, 0), axis=(-2, -1)) / x.shape[-1]


@averaged
def multi_label_soft_margin(y_true: Any, y_pred: Any, class_weights: Any = None) -> jax.Array:
    """``-mean(w (y log(p) + (1 - y) log(1 - p)))`` over the classes, p = sigmoid(x), for bits y and scores x.

    >>> multi_label_soft_margin([[1, 0]], [[0.0, 0.0]]).tolist()
    [0.693147...]
    """
    y_true, x = pair(y_true, y_pred, "multi_label_soft_margin")
    values = jax.nn.softplus(x) - y_true * x
    return values if class_weights is None else values * by_class(class_weights, x.shape[-1], "multi_label_soft_margin")


class SoftMargin(FunctionLoss):
    """The logistic loss of a two-class score: see `soft_margin`."""

    function = staticmethod(soft_margin)

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)


class MultiLabelMargin(SoftMargin):
    """Every right class above every wrong one, by a margin: see `multi_label_margin`."""

    function = staticmethod(multi_label_margin)


class HingeEmbedding(FunctionLoss):
    """Small distances for alike pairs, large ones for unlike: see `hinge_embedding`."""

    function = staticmethod(hinge_embedding)

    def __init__(
        self,
        margin: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, margin=margin)


class MarginRanking(FunctionLoss):
    """One score above the other, by a margin: see `margin_ranking`."""

    function = staticmethod(margin_ranking)

    def __init__(
        self,
        margin: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, margin=margin)


class MultiMargin(FunctionLoss):
    """The right class above the others, by a margin: see `multi_margin`."""

    function = staticmethod(multi_margin)

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        class_weights: Any = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, p=p, margin=margin, class_weights=class_weights)


class MultiLabelSoftMargin(FunctionLoss):
    """Binary cross-entropy of scores by class: see `multi_label_soft_margin`."""

    function = staticmethod(multi_label_soft_margin)

    def __init__(
        self,
        class_weights: Any = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, class_weights=class_weights)
