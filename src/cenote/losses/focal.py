"""Cross-entropies that weigh examples by how sure the model is: focal ones, and the generalized one for noisy labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.notes import graph_function

from .base import FunctionLoss
from .functions import EPSILON, SPARSE, along, averaged, class_numbers, logits_of, pair, real


def _power(base: jax.Array, exponent: float) -> jax.Array:
    # At 0 a power below one has no slope; this near it, nobody sees the difference.
    return jnp.power(jnp.maximum(base, EPSILON), exponent)


@averaged
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """``mean((1 - p_t)^gamma b)`` over the last axis, b the binary cross-entropy and p_t the probability of the target.

    What is right already counts little. ``apply_class_balancing`` multiplies by alpha where y = 1 and by 1 - alpha where
    y = 0. ``from_logits`` and ``label_smoothing``: as in `binary_crossentropy`.
    Source: Lin et al. 2017, arXiv:1708.02002.

    >>> binary_focal_crossentropy([[1.0]], [[0.5]]).tolist()
    [0.173286...]
    """
    logits = logits_of(y_pred, from_logits, "sigmoid")
    y_true, y = pair(y_true, y_pred if logits is None else logits, "binary_focal_crossentropy")
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
    if logits is None:
        p, q = y, 1 - y
        inside = jnp.clip(y, EPSILON, 1 - EPSILON)
        log_p, log_q = jnp.log(inside), jnp.log(1 - inside)
    else:
        p, q = jax.nn.sigmoid(y), jax.nn.sigmoid(-y)
        log_p, log_q = jax.nn.log_sigmoid(y), jax.nn.log_sigmoid(-y)
    values = -_power(y_true * q + (1 - y_true) * p, gamma) * (y_true * log_p + (1 - y_true) * log_q)
    return values * (y_true * alpha + (1 - y_true) * (1 - alpha)) if apply_class_balancing else values


@graph_function
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> jax.Array:
    """``-sum(alpha (1 - p)^gamma y log(p))`` over the class axis, for one-hot targets y; alpha is one number or one a class.

    Source: Lin et al. 2017, arXiv:1708.02002.

    >>> categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).tolist()
    [0.043321...]
    """
    logits = logits_of(y_pred, from_logits, "softmax")
    y_true, y = pair(y_true, y_pred if logits is None else logits, "categorical_focal_crossentropy", SPARSE)
    if label_smoothing:
        y_true = y_true * (1 - label_smoothing) + label_smoothing / y.shape[axis]
    if logits is None:
        p = jnp.clip(y / jnp.sum(y, axis=axis, keepdims=True), EPSILON, 1 - EPSILON)
        log_p = jnp.log(p)
    else:
        log_p = jax.nn.log_softmax(y, axis=axis)
        p = jnp.exp(log_p)
    weights = jnp.asarray(alpha, y.dtype)
    weights = along(weights, axis, y.ndim) if weights.ndim else weights
    return -jnp.sum(weights * _power(1 - p, gamma) * y_true * log_p, axis=axis)


@graph_function
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float = 0.5) -> jax.Array:
    """``(1 - p[y]^q) / q`` for class numbers y and probabilities p: between cross-entropy (q to 0) and absolute error (1).

    It bears labels that are wrong. Source: Zhang and Sabuncu 2018, arXiv:1805.07836.

    >>> categorical_generalized_cross_entropy([1], [[0.75, 0.25]], q=0.5).tolist()
    [1.0]
    """
    logits = logits_of(y_pred, False, "softmax")
    y = real(y_pred if logits is None else logits)
    labels = class_numbers(y_true, y.shape, where="categorical_generalized_cross_entropy")
    chosen = labels[..., None] == jnp.arange(y.shape[-1], dtype=labels.dtype)
    if logits is None:
        p = jnp.sum(jnp.where(chosen, y, 0), axis=-1)
        power = jnp.where(p > 0, jnp.power(jnp.where(p > 0, p, 1), q), 0)
    else:
        power = jnp.exp(q * jnp.sum(jnp.where(chosen, jax.nn.log_softmax(y, axis=-1), 0), axis=-1))
    return jnp.where(jnp.any(chosen, axis=-1), (1 - power) / q, jnp.nan)


class BinaryFocalCrossentropy(FunctionLoss):
    """Binary cross-entropy in which what is right already counts little: see `binary_focal_crossentropy`.

    >>> round(BinaryFocalCrossentropy(gamma=2)([[1.0], [0.0]], [[0.5], [0.5]]).item(), 4)
    0.1733
    """

    function = staticmethod(binary_focal_crossentropy)

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        options = {"apply_class_balancing": apply_class_balancing, "alpha": alpha, "gamma": gamma}
        options |= {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)


class CategoricalFocalCrossentropy(FunctionLoss):
    """Categorical cross-entropy in which what is right already counts little: see `categorical_focal_crossentropy`."""

    function = staticmethod(categorical_focal_crossentropy)

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        options = {"alpha": alpha, "gamma": gamma, "from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(reduction=reduction, name=name, dtype=dtype, **options)


class CategoricalGeneralizedCrossEntropy(FunctionLoss):
    """Cross-entropy that bears wrong labels: see `categorical_generalized_cross_entropy`.

    Raises: ValueError unless 0 < q < 1.
    """

    function = staticmethod(categorical_generalized_cross_entropy)

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        if not 0 < q < 1:
            raise ValueError(f"CategoricalGeneralizedCrossEntropy(q={q}): q must lie between 0 and 1, as 0.7")
        super().__init__(reduction=reduction, name=name, dtype=dtype, q=q)
