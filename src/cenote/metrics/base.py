"""What every metric shares: pure init, update, compute, which run inside compiled loops, and Keras's stateful face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.configurable import Configurable, snake
from cenote.core.notes import annotation
from cenote.losses import FunctionLoss, Loss, spread


class Metric(Configurable):
    """Base of metrics: write ``init() -> sums``, ``update(sums, y_true, y_pred, sample_weight) -> sums``, ``compute(sums)``.

    The three are pure, and the sums a dict of arrays of fixed shape. ``direction`` says whether "up" or "down" is better.
    ``update_state``, ``result`` and ``reset_state`` keep the sums in the object, for use by hand.

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

    def __init__(self, name: str | None = None):
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


def zeros(*shape: int) -> jax.Array:
    return jnp.asarray(np.zeros(shape, np.float32))


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

    def __init__(self, fn: Callable | Loss, name: str | None = None, **options: Any):
        self.loss = fn if isinstance(fn, Loss) else FunctionLoss(fn, **options)
        super().__init__(name or self.loss.name)

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        values = self.loss.values(y_true, y_pred)
        mask = annotation(y_pred, "mask")
        if mask is not None and np.shape(mask) == values.shape[: np.ndim(mask)]:
            marks = jnp.asarray(mask, jnp.float32)
            weights = marks if sample_weight is None else marks * spread(sample_weight, marks, "sample_weight")
            return super().update(sums, values, weights)
        return super().update(sums, values, sample_weight)
