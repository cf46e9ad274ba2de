"""Losses of vectors that shall lie near each other or far apart: pairs, triplets, and a batch as each other's negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.notes import graph_function

from .base import FunctionLoss
from .functions import _unit, averaged, pair, parts, real
from .margins import yes

# -- pairs and triplets --------------------------------------------------------------------------------------------------


@graph_function
def cosine_embedding(y_true: Any, y_pred: Any, margin: float = 0.0) -> jax.Array:
    """``1 - cos(a, b)`` for alike vectors (y = 1), ``max(0, cos(a, b) - margin)`` for unlike ones (y = -1 or 0).

    Shapes: y_true (batch,), y_pred (batch, 2, features), or a tuple of the two vectors (batch, features).

    >>> cosine_embedding([1, -1], jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])).tolist()
    [1.0, 1.0]
    """
    a, b = parts(y_pred, 2, "cosine_embedding", "first, second")
    cosine = jnp.sum(a * b, axis=-1) * jax.lax.rsqrt((jnp.sum(a * a, axis=-1) + 1e-12) * (jnp.sum(b * b, axis=-1) + 1e-12))
    y_true, cosine = pair(y_true, cosine, "cosine_embedding")
    return jnp.where(yes(y_true), 1 - cosine, jnp.maximum(cosine - margin, 0))


def pairwise_distance(a: jax.Array, b: jax.Array, p: float = 2.0, eps: float = 1e-6) -> jax.Array:
    """``|a - b + eps|_p`` over the last axis. ``eps`` keeps the slope finite where the two are the same."""
    gaps = jnp.abs(a - b + eps)
    if p == 1:
        return jnp.sum(gaps, axis=-1)
    if math.isinf(p):
        return jnp.max(gaps, axis=-1)
    return jnp.sum(gaps**p, axis=-1) ** (1 / p)


@graph_function
def triplet_margin(
    y_true: Any,
    y_pred: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    distance: Callable | None = None,
) -> jax.Array:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, d the p-norm or your ``distance(a, b)``.

    ``swap`` takes d(positive, negative) where that is smaller. The target is not looked at (give zeros).
    Shapes: y_pred (batch, 3, features), or a tuple of the three vectors (batch, features).
    Source: Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832; swap: Balntas et al. 2016, BMVC.

    >>> triplet_margin(None, jnp.array([[[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]]])).round(3).tolist()
    [4.0]
    """
    anchor, positive, negative = parts(y_pred, 3, "triplet_margin", "anchor, positive, negative")
    far = distance or (lambda a, b: pairwise_distance(a, b, p, eps))
    away = far(anchor, negative)
    if swap:
        away = jnp.minimum(away, far(positive, negative))
    return jnp.maximum(far(anchor, positive) - away + margin, 0)


@averaged
def contrastive(y_true: Any, y_pred: Any, margin: float = 1.0) -> jax.Array:
    """``mean(y d^2 + (1 - y) max(0, margin - d)^2)`` over the last axis, for distances d of alike (y = 1) and unlike pairs.

    Source: Hadsell, Chopra and LeCun 2006, CVPR.

    >>> contrastive([[1.0, 0.0]], [[0.5, 0.5]]).tolist()
    [0.25]
    """
    y_true, d = pair(y_true, y_pred, "contrastive")
    return jnp.where(yes(y_true), jnp.square(d), jnp.square(jnp.maximum(margin - d, 0)))


# -- a batch as each other's negatives -----------------------------------------------------------------------------------


def _log_sum(x: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logarithm of the sum of exponentials of what counts in each row, and whether anything does."""
    some = jnp.any(counts, axis=1)
    shown = jnp.where(counts, x, -jnp.inf)
    # A row without anything would have the slope NaN.
    return jax.nn.logsumexp(jnp.where(some[:, None], shown, 0), axis=1), some


def _columns(valid: Any, count: int) -> jax.Array:
    return jnp.ones(count, bool) if valid is None else jnp.asarray(valid).reshape(-1) != 0


@graph_function
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
    valid: Any = None,
) -> jax.Array:
    """``softplus(logsumexp(gamma a_n (m - d_n)) + logsumexp(gamma a_p (d_p - m)))``, d = 1 - cos of pairs of the batch.

    Pairs of one class (p) come near, others (n) go away, each pulled as hard (a) as it is far from where it shall be.
    Shapes: y_true (batch,) class numbers, y_pred (batch, features) of length 1 (end the model in UnitNormalization).
    References other than the batch itself: ``ref_labels`` (n,), ``ref_embeddings`` (n, features).
    Source: Sun et al. 2020, arXiv:2002.10857.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> circle([0, 0, 1], x, gamma=1.0).round(3).tolist()
    [1.199..., 1.09..., 0.0]
    """
    x = real(y_pred)
    labels = jnp.asarray(y_true).astype(jnp.int32).reshape(-1)
    others = x if ref_embeddings is None else real(ref_embeddings)
    other_labels = labels if ref_labels is None else jnp.asarray(ref_labels).astype(jnp.int32).reshape(-1)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError(f"circle: needs labels (batch,) and vectors (batch, features), got {labels.shape} and {x.shape}")
    d = jnp.maximum(1 - x @ others.T, 0)
    alike = labels[:, None] == other_labels
    unlike = ~alike
    if remove_diagonal:
        alike &= ~jnp.eye(*alike.shape, dtype=bool)
    if ref_embeddings is None:
        seen = _columns(valid, x.shape[0])
        alike, unlike = alike & seen, unlike & seen
    near, some_near = _log_sum(gamma * jnp.maximum(margin + d, 0) * (d - margin), alike)
    far, some_far = _log_sum(gamma * jnp.maximum(1 + margin - d, 0) * (1 - margin - d), unlike)
    both = some_near & some_far
    return jnp.where(both, jax.nn.softplus(jnp.where(both, near + far, 0)), 0)


@graph_function
def info_nce(y_true: Any, y_pred: Any, temperature: float = 0.1, symmetric: bool = False, valid: Any = None) -> jax.Array:
    """``-log softmax(cos(q_i, k_j) / temperature)`` at j = i: each query finds its key among the keys of the batch.

    ``symmetric`` takes the mean with each key finding its query, as CLIP does. The target is not looked at (give zeros).
    Shapes: y_pred (batch, 2, features), or a tuple of queries and keys (batch, features).
    Source: van den Oord, Li and Vinyals 2018, arXiv:1807.03748; Radford et al. 2021, arXiv:2103.00020.

    >>> info_nce(None, jnp.zeros((2, 2, 3))).tolist()
    [0.693147..., 0.693147...]
    """
    queries, keys = parts(y_pred, 2, "info_nce", "query, key")
    alike = _unit(queries, -1) @ _unit(keys, -1).T / temperature
    # An example is always among its own candidates, so that a row of padding has a finite value too.
    candidates = _columns(valid, len(alike)) | jnp.eye(len(alike), dtype=bool)
    there = _log_sum(alike, candidates)[0]
    if symmetric:
        there = 0.5 * (there + _log_sum(alike.T, candidates)[0])
    return there - jnp.diagonal(alike)


@graph_function
def nt_xent(y_true: Any, y_pred: Any, temperature: float = 0.5, valid: Any = None) -> jax.Array:
    """``-log softmax(cos(z_i, z_j) / temperature)`` at the other view of i, among all views of the batch but i itself.

    The value of an example is the mean over its two views. The target is not looked at (give zeros).
    Shapes: y_pred (batch, 2, features), or a tuple of two views (batch, features).
    Source: Chen et al. 2020, arXiv:2002.05709 (SimCLR).

    >>> nt_xent(None, jnp.zeros((2, 2, 3))).tolist()
    [1.098612..., 1.098612...]
    """
    z = _unit(jnp.concatenate(parts(y_pred, 2, "nt_xent", "first, second")), -1)
    count = len(z) // 2
    alike = z @ z.T / temperature
    partner = jnp.roll(jnp.eye(2 * count, dtype=bool), count, axis=1)
    candidates = (jnp.tile(_columns(valid, count), 2) | partner) & ~jnp.eye(2 * count, dtype=bool)
    values = _log_sum(alike, candidates)[0] - jnp.sum(jnp.where(partner, alike, 0), axis=1)
    return 0.5 * (values[:count] + values[count:])


@graph_function
def supervised_contrastive(y_true: Any, y_pred: Any, temperature: float = 0.1, valid: Any = None) -> jax.Array:
    """``-mean_p log softmax(cos(z_i, z_j) / temperature)`` at the others p of i's class, among all others of the batch.

    Examples alone in their class count nowhere. Shapes: y_true (batch,) class numbers, y_pred (batch, features).
    Source: Khosla et al. 2020, arXiv:2004.11362.

    >>> supervised_contrastive([0, 0, 1], jnp.zeros((3, 2))).tolist()
    [0.693147..., 0.693147..., 0.0]
    """
    x, labels = real(y_pred), jnp.asarray(y_true).reshape(-1)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError(
            f"supervised_contrastive: needs labels (batch,) and vectors (batch, features), got {labels.shape} and {x.shape}"
        )
    z = _unit(x, -1)
    alike = z @ z.T / temperature
    others = _columns(valid, len(z)) & ~jnp.eye(len(z), dtype=bool)
    partners = others & (labels[:, None] == labels)
    count = jnp.sum(partners, axis=1)
    own = jnp.sum(jnp.where(partners, alike, 0), axis=1) / jnp.maximum(count, 1)
    return jnp.where(count > 0, _log_sum(alike, others)[0] - own, 0)


class AmongBatch(FunctionLoss):
    """Base of losses that compare the examples of a batch with each other: rows of padding are nobody's neighbours."""

    def of_batch(self, y_true: Any, y_pred: Any, valid: Any) -> tuple[jax.Array, Any]:
        if valid is not None:
            real_row = jnp.asarray(valid) != 0
            # What stands in padding may be NaN, and even zero times that would spread.
            y_pred = jax.tree.map(lambda a: jnp.where(real_row.reshape(-1, *(1,) * (jnp.ndim(a) - 1)), a, 0), y_pred)
        return self.function(y_true, y_pred, valid=valid, **self.options), valid


class Circle(AmongBatch):
    """Classes apart on the unit sphere: see `circle`. As in Keras, examples of value 0 count nowhere."""

    function = staticmethod(circle)

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        options = {"gamma": gamma, "margin": margin, "remove_diagonal": remove_diagonal}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)

    def _weighted(self, y_true: Any, y_pred: Any, sample_weight: Any, valid: Any) -> tuple[jax.Array, Any, Any]:
        values, weights, counted = super()._weighted(y_true, y_pred, sample_weight, valid)
        far = (values > 0).astype(values.dtype)
        return values, far if weights is None else weights * far, far if counted is None else counted * far


class SupervisedContrastive(AmongBatch):
    """Classes apart, by all pairs of the batch: see `supervised_contrastive`."""

    function = staticmethod(supervised_contrastive)

    def __init__(
        self,
        temperature: float = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, temperature=temperature)

    def of_batch(self, y_true: Any, y_pred: Any, valid: Any) -> tuple[jax.Array, Any]:
        values, _ = super().of_batch(y_true, y_pred, valid)
        labels, rows = jnp.asarray(y_true).reshape(-1), _columns(valid, len(values))
        return values, rows & (jnp.sum((labels[:, None] == labels) & rows, axis=1) > 1)


class InfoNCE(AmongBatch):
    """Each query finds its key: see `info_nce`."""

    function = staticmethod(info_nce)

    def __init__(
        self,
        temperature: float = 0.1,
        symmetric: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, temperature=temperature, symmetric=symmetric)


class NTXent(AmongBatch):
    """Two views of an example find each other: see `nt_xent`."""

    function = staticmethod(nt_xent)

    def __init__(
        self,
        temperature: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, temperature=temperature)


class CosineEmbedding(FunctionLoss):
    """Alike vectors in one direction, unlike ones across: see `cosine_embedding`."""

    function = staticmethod(cosine_embedding)

    def __init__(
        self,
        margin: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, margin=margin)


class Contrastive(CosineEmbedding):
    """Small distances for alike pairs, large ones for unlike, squared: see `contrastive`."""

    function = staticmethod(contrastive)

    def __init__(
        self,
        margin: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(margin, reduction, name, dtype)


class TripletMargin(FunctionLoss):
    """The positive nearer than the negative, by a margin: see `triplet_margin`."""

    function = staticmethod(triplet_margin)

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        distance: Callable | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        options = {"margin": margin, "p": p, "eps": eps, "swap": swap, "distance": distance}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)
