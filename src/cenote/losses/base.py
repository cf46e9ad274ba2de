"""What every loss shares: values per example, weights, masks, and the reduction to a scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.configurable import Configurable, snake
from cenote.core.errors import unknown
from cenote.core.notes import annotation

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")


class Loss(Configurable):
    """Base of losses: write ``call(y_true, y_pred)``, one value per example, and the weighted mean is done here.

    ``reduction``: "sum_over_batch_size" or "mean" divide the weighted sum by the number of values;
    "mean_with_sample_weight" by the sum of the weights (those of classes included, as PyTorch's mean does); "sum" does not
    divide; "none" (or None) gives weighted values. Masked positions (the "mask" an output carries) count neither above
    nor below. ``dtype`` is Keras's and must be None or "float32": losses are always summed in 32 bits or more.

    >>> class Distance(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return abs(y_true - y_pred)
    >>> Distance()(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0]), sample_weight=[1.0, 0.5]).item()
    1.0
    """

    name: str
    reduction: str = "sum_over_batch_size"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = snake(cls.__name__)

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        check_dtype(self, dtype)
        self.name = name or type(self).name
        self.reduction = reduction or "none"
        if self.reduction not in REDUCTIONS:
            raise unknown("reduction", reduction, REDUCTIONS)

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        """One value per example."""
        raise NotImplementedError(f"{type(self).__name__} has no call(self, y_true, y_pred): write the loss there")

    def values(self, y_true: Any, y_pred: Any) -> jax.Array:
        """One value per example, or per example and position: (batch, ...)."""
        return jnp.asarray(self.call(y_true, y_pred))

    def mask(self, y_true: Any, y_pred: Any) -> Any:
        """Which values count, or None for all: by default what the "mask" of the output says."""
        return annotation(y_pred, "mask")

    def of_batch(self, y_true: Any, y_pred: Any, valid: Any) -> tuple[jax.Array, Any]:
        """The values of a batch and which of them count. A loss that compares examples with each other keeps padding out."""
        return self.values(y_true, y_pred), valid

    def own_weights(self, y_true: Any, y_pred: Any) -> Any:
        """What the loss itself weighs each value with (by its class); the values are already multiplied with it."""
        return None

    def totals(self, y_true: Any, y_pred: Any, sample_weight: Any = None, valid: Any = None) -> tuple[jax.Array, jax.Array]:
        """The weighted sum of the values, and what to divide it by: both add up over batches.

        ``valid`` (batch,) marks the examples that are no padding. A weight of shape (batch,) holds for every position.

        >>> distance = FunctionLoss(lambda y_true, y_pred: abs(y_true - y_pred))
        >>> t, n = distance.totals(jnp.zeros(3), jnp.ones(3), valid=jnp.array([True, True, False]))
        >>> t.item(), n.item()
        (2.0, 2.0)
        """
        values, weights, counted = self._weighted(y_true, y_pred, sample_weight, valid)
        total = jnp.sum(values if weights is None else values * weights)
        if self.reduction == "mean_with_sample_weight":
            own = self.own_weights(y_true, y_pred)
            if own is not None:
                weights = own if weights is None else own * weights
            if weights is not None:
                return total, jnp.sum(weights)
        return total, jnp.asarray(values.size, values.dtype) if counted is None else jnp.sum(counted)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> jax.Array:
        """The reduced loss: a scalar, unless the reduction is "none"."""
        if self.reduction == "none":
            values, weights, _ = self._weighted(y_true, y_pred, sample_weight, None)
            return values if weights is None else values * weights
        total, count = self.totals(y_true, y_pred, sample_weight)
        return total if self.reduction == "sum" else total / jnp.where(count == 0, 1, count)

    def _weighted(self, y_true: Any, y_pred: Any, sample_weight: Any, valid: Any) -> tuple[jax.Array, Any, Any]:
        """Values, weights (mask and padding in them) and what counts, all of one shape; None stands for ones."""
        values, valid = self.of_batch(y_true, y_pred, valid)
        if values.ndim == 0:  # a loss that takes its own mean: each example then has that value
            if sample_weight is None and self.reduction in ("sum", "none"):
                return values, None, None  # nothing is left to add up
            values = jnp.broadcast_to(values, np.shape(y_pred)[:1])
        counted = None
        mask = self.mask(y_true, y_pred)
        if mask is not None and np.shape(mask) != values.shape[: np.ndim(mask)]:
            mask = None  # the loss took its mean over the masked axis, so there is no position left to leave out
        for marks in (mask, valid):
            if marks is not None:
                marks = spread(marks, values, f"{self.name}: a mask").astype(values.dtype)
                counted = marks if counted is None else counted * marks
        weights = counted
        if sample_weight is not None:
            weights = spread(sample_weight, values, f"{self.name}: sample_weight").astype(values.dtype)
            weights = weights if counted is None else weights * counted
        if counted is not None:
            # What is masked may be NaN or infinite, and zero times that would still be NaN.
            values = jnp.where(counted != 0, values, 0)
        return values, weights, counted


def check_dtype(owner: Any, dtype: Any) -> None:
    """Keras's ``dtype`` argument, of which only the default is there.

    Raises: ValueError for any other.
    """
    if getattr(dtype, "name", dtype) not in (None, "float32"):
        raise ValueError(
            f"{type(owner).__name__}(dtype={dtype!r}): sums are kept in float32 here, and precision is a policy of the whole "
            f"model: leave dtype out, and use model.compile(precision='mixed_bfloat16')"
        )


def spread(weights: Any, values: jax.Array, where: str) -> jax.Array:
    """Weights in the shape of the values: (batch,) holds for all positions, a last axis of size one is dropped.

    Raises: ValueError for shapes that do not fit.

    >>> spread([1.0, 2.0], jnp.zeros((2, 3)), "w").shape
    (2, 3)
    """
    w = jnp.asarray(weights)
    if w.ndim == values.ndim + 1 and w.shape[-1] == 1:
        w = w[..., 0]
    if w.ndim <= values.ndim:
        w = w.reshape(w.shape + (1,) * (values.ndim - w.ndim))
        if all(a in (1, b) for a, b in zip(w.shape, values.shape, strict=True)):
            return jnp.broadcast_to(w, values.shape)
    raise ValueError(f"{where} of shape {np.shape(weights)} does not fit values of shape {values.shape}")


def alike(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Targets (n,) for predictions (n, 1), or the other way round, get the same shape: a difference of both is no matrix then.

    >>> [a.shape for a in alike(jnp.zeros(3), jnp.zeros((3, 1)))]
    [(3, 1), (3, 1)]
    """
    true, pred = getattr(y_true, "shape", None), getattr(y_pred, "shape", None)
    if true is None or pred is None:
        return y_true, y_pred
    if pred == (*true, 1) and len(pred) == 2:
        y_true = jnp.asarray(y_true)[..., None]
    elif true == (*pred, 1) and len(true) == 2:
        y_pred = jnp.asarray(y_pred)[..., None]
    return y_true, y_pred


class FunctionLoss(Loss):
    """A loss made of a function ``function(y_true, y_pred, **options)``.

    >>> FunctionLoss(lambda y_true, y_pred: abs(y_true - y_pred))(jnp.ones(2), jnp.zeros(2)).item()
    1.0
    """

    function: Callable

    def __init__(
        self,
        function: Callable | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **options: Any,
    ):
        if function is not None:
            self.function = function
        elif not hasattr(self, "function"):
            raise TypeError("FunctionLoss needs a function: FunctionLoss(lambda y_true, y_pred: ...)")
        self.options = options
        super().__init__(name or getattr(self.function, "__name__", None), reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        return self.function(*alike(y_true, y_pred), **self.options)

    def values(self, y_true: Any, y_pred: Any) -> jax.Array:
        elements = getattr(self.function, "elements", None)
        if elements is None or np.ndim(y_pred) != 1:
            return super().values(y_true, y_pred)
        # Without an axis of features every number is an example of its own, not a part of one mean.
        options = {k: v for k, v in self.options.items() if k != "axis"}
        return elements(y_true, y_pred, **options).reshape(np.shape(y_pred))
