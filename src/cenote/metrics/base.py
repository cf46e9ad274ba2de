"""What every metric shares: pure init, update, compute, which run inside compiled loops, and Keras's stateful face."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.configurable import Configurable, snake
from cenote.core.notes import annotation
from cenote.losses import CLASSES, FunctionLoss, Loss, spread
from cenote.losses.base import check_dtype


class Metric(Configurable):
    """Base of metrics: write ``init() -> sums``, ``update(sums, y_true, y_pred, sample_weight) -> sums``, ``compute(sums)``.

    The three are pure, and the sums a dict of arrays of fixed shape. ``direction`` says whether "up" or "down" is better.
    ``update_state``, ``result`` and ``reset_state`` keep the sums in the object, for use by hand. ``dtype`` is Keras's and must
    be None or "float32", in which all sums are kept.

    >>> metric = Mean()
    >>> metric.update_state([1.0, 3.0], sample_weight=[3.0, 1.0])
    >>> metric.result().item()
    1.5
    """

    name: str
    direction: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = snake(cls.__name__)

    def __init__(self, name: str | None = None, dtype: Any = None):
        check_dtype(self, dtype)
        self.name = name or type(self).name

    def _given(self) -> list[tuple[str, Any]]:
        # The name may have been set since: `get("mse")` names what it finds.
        return [(k, self.name if k == "name" and self.name != (v or type(self).name) else v) for k, v in super()._given()]

    def init(self) -> dict[str, jax.Array]:
        """The sums before any example."""
        raise NotImplementedError(f"{type(self).__name__} has no init(self): write the sums before any example")

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The sums with a batch added. A weight of zero leaves an example out."""
        raise NotImplementedError(f"{type(self).__name__} has no update(self, sums, y_true, y_pred, sample_weight)")

    def compute(self, sums: Any) -> jax.Array:
        """The value of the metric; 0 where it would be 0 / 0."""
        raise NotImplementedError(f"{type(self).__name__} has no compute(self, sums): write the value there")

    _sums: Any = None

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch to the sums kept in the object."""
        self._sums = self.update(self.init() if self._sums is None else self._sums, *args, **kwargs)

    def result(self) -> jax.Array:
        """The value over the batches since the last reset."""
        return self.compute(self.init() if self._sums is None else self._sums)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._sums = None

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        """Add a batch and give the value so far."""
        self.update_state(*args, **kwargs)
        return self.result()


class Wide(Metric):
    """Base of metrics that keep a sum for each column of the output; `fitted` or the first batch says how many there are."""

    width: int | None = None
    free = True  # does the number of columns come from the data?

    def build(self, output_shape: tuple) -> None:
        """Told the shape of the predictions, (batch, ..., columns)."""
        self.width = output_shape[-1] if len(output_shape) > 1 else 1

    def fitted(self, output_shape: tuple) -> Metric:
        """This metric for outputs of this shape: itself, or a copy where it is already in use for another."""
        if not self.free:
            return self
        found = self if self.width is None else copy.copy(self)
        found.build(output_shape)
        return found if jax.tree.map(jnp.shape, found.init()) != jax.tree.map(jnp.shape, self.init()) else self

    def columns(self) -> int:
        if self.width is None:
            raise ValueError(
                f"{self.name}: the number of columns is not known before the first batch: call update_state, or "
                f"build((batch, columns)) before init"
            )
        return self.width

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        if self.free and self.width is None:
            self.build(np.shape(args[1] if len(args) > 1 else kwargs["y_pred"]))
        super().update_state(*args, **kwargs)

    def result(self) -> jax.Array:
        return zeros() if self.free and self.width is None else super().result()


def weigh(sample_weight: Any, y_pred: Any, shape: tuple, where: str) -> jax.Array:
    """What each entry of an array of this shape counts: sample weights, times the mask that the prediction carries."""
    weights = jnp.ones(shape, jnp.float32)
    if sample_weight is not None:
        weights = spread(sample_weight, weights, f"{where}: sample_weight").astype(jnp.float32)
    mask = annotation(y_pred, "mask")
    if mask is not None and np.shape(mask) == shape[: np.ndim(mask)]:
        weights = weights * spread(mask, weights, f"{where}: a mask").astype(jnp.float32)
    return weights


def zeros(*shape: int) -> jax.Array:
    return jax.device_put(np.zeros(shape, np.float32))


def ratio(above: Any, below: Any) -> jax.Array:
    """A quotient that is 0 where the divisor is.

    >>> ratio(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])).tolist()
    [0.0, 0.5]
    """
    return jnp.where(below == 0, 0.0, above / jnp.where(below == 0, 1.0, below))


class Sum(Metric):
    """Weighted sum of values, each example's mean over its axes.

    >>> Sum()([1.0, 3.0], sample_weight=[1.0, 0.5]).item()
    2.5
    """

    def init(self) -> dict[str, jax.Array]:
        return {"total": zeros()}

    def update(self, sums: Any, values: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        return {"total": sums["total"] + by_example(values, sample_weight, jnp.sum)[0]}

    def compute(self, sums: Any) -> jax.Array:
        return sums["total"]


class Mean(Metric):
    """Weighted mean of values: ``sum(w v) / sum(w)``.

    >>> Mean()([1.0, 3.0], sample_weight=[1.0, 0.0]).item()
    1.0
    """

    def init(self) -> dict[str, jax.Array]:
        return {"total": zeros(), "count": zeros()}

    def update(self, sums: Any, values: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        total, count = by_example(values, sample_weight, jnp.mean)
        return {"total": sums["total"] + total, "count": sums["count"] + count}

    def compute(self, sums: Any) -> jax.Array:
        return ratio(sums["total"], sums["count"])


def by_example(values: Any, weights: Any, reduce: Callable) -> tuple[jax.Array, jax.Array]:
    """The weighted sum over examples and the sum of weights, the axes of an example first reduced to one number.

    Weights (batch,) hold for an example; weights (batch, time) for each position, and an example then weighs their mean.
    """
    values = jnp.asarray(values, jnp.float32)
    if weights is None:
        count = values.shape[0] if values.ndim else 1
        return jnp.sum(_reduced(values, 1, reduce)), jnp.asarray(count, jnp.float32)
    w = jnp.asarray(weights, jnp.float32)
    if w.ndim == values.ndim + 1 and w.shape[-1] == 1:
        w = w[..., 0]
    if values.ndim < w.ndim:  # a function that takes its own mean: each example then has that value
        values = values.reshape(values.shape + (1,) * (w.ndim - values.ndim))
        values = jnp.broadcast_to(values, np.broadcast_shapes(values.shape, w.shape))
    values = _reduced(values, w.ndim, reduce)
    w = spread(w, values, "sample_weight")
    # What weighs nothing may be NaN (padding), and zero times that would still be NaN.
    values = jnp.where(w == 0, 0.0, values * w)
    return jnp.sum(_reduced(values, 1, reduce)), jnp.sum(_reduced(w, 1, reduce))


def _reduced(x: jax.Array, ndim: int, reduce: Callable) -> jax.Array:
    return reduce(x, axis=tuple(range(ndim, x.ndim))) if x.ndim > ndim else x


class MeanMetricWrapper(Mean):
    """The mean of a function ``fn(y_true, y_pred, **options)`` of the examples, or of a loss.

    >>> metric = MeanMetricWrapper(lambda y_true, y_pred: abs(y_true - y_pred), name="distance")
    >>> metric(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])).item()
    1.0
    """

    def __init__(self, fn: Callable | Loss, name: str | None = None, dtype: Any = None, **options: Any):
        self.loss = fn if isinstance(fn, Loss) else FunctionLoss(fn, **options)
        super().__init__(name or self.loss.name, dtype)
        known = isinstance(fn, Loss) or any(fn is cls.function for cls in CLASSES)
        if known and self.direction is None:
            self.direction = "down"

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        # To losses that compare examples with each other, what weighs nothing (padding) is not there.
        by_row = np.ndim(sample_weight) > 0 and np.size(sample_weight) == np.shape(sample_weight)[0]
        valid = jnp.asarray(sample_weight).reshape(-1) != 0 if by_row else None
        values, counted = self.loss.of_batch(y_true, y_pred, valid)
        if np.ndim(sample_weight) and values.ndim and values.shape[0] != np.shape(sample_weight)[0]:
            values = jnp.mean(values)  # by column and not by example
        weights = sample_weight
        for marks in (self.loss.mask(y_true, y_pred), counted):
            if marks is not None and np.shape(marks) == values.shape[: np.ndim(marks)] and marks is not valid:
                marks = jnp.asarray(marks, jnp.float32)
                weights = marks if weights is None else spread_out(marks, weights)
        return super().update(sums, values, weights)


def spread_out(marks: jax.Array, weights: Any) -> jax.Array:
    """Marks times weights, in the finer of the two shapes."""
    weights = jnp.asarray(weights, jnp.float32)
    fine, coarse = (weights, marks) if weights.ndim > marks.ndim else (marks, weights)
    return fine * spread(coarse, fine, "sample_weight")
