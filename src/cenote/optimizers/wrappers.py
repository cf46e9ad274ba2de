"""Optimizers made of optimizers: dynamic loss scaling, one optimizer a part, transformations of optax."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.configurable import Configurable

from .base import Optimizer, leaves, matches


def _optimizer(value: Any) -> Optimizer:
    from . import get

    found = get(value)
    if found is None:
        raise TypeError("an optimizer is needed here, got None")
    return found


class LossScaleOptimizer(Optimizer):
    """Another optimizer under a loss scale that finds itself: for float16, whose small gradients vanish.

    The loss is multiplied by the scale before the gradients are taken, and they are divided by it. A step with a gradient
    that is not finite is left out and halves the scale; ``dynamic_growth_steps`` good ones in a row double it. All other
    options belong to the inner optimizer, but for its own ``loss_scale_factor``, which is left aside.
    Source: Micikevicius et al. 2018, arXiv:1710.03740.

    >>> LossScaleOptimizer("adam", initial_scale=8.0).init({"w": jnp.ones(1)})["dynamic_scale"].item()
    8.0
    """

    def __init__(
        self, inner_optimizer: Any, initial_scale: float = 2.0**15, dynamic_growth_steps: int = 2000, name: str | None = None
    ):
        self.inner_optimizer = copy.copy(_optimizer(inner_optimizer))  # it may serve elsewhere, too
        self.inner_optimizer.loss_scale_factor = None  # or gradients would be divided twice
        super().__init__(self.inner_optimizer.learning_rate, name=name)
        self.initial_scale, self.dynamic_growth_steps = initial_scale, dynamic_growth_steps
        self.use_ema = self.inner_optimizer.use_ema

    @property
    def learning_rate(self) -> Any:
        """That of the inner optimizer."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value
        self._rates_set = getattr(self, "_rates_set", 0) + 1

    def _given(self) -> list[tuple[str, Any]]:
        return [(k, self.inner_optimizer if k == "inner_optimizer" else v) for k, v in super()._given()]

    def init(self, params: Any) -> dict[str, Any]:
        inner = self.inner_optimizer.init(params)
        return {
            "step": jax.device_put(np.zeros((), np.int32)),
            "learning_rate": jax.device_put(np.asarray(inner["learning_rate"])),
            "good_steps": jax.device_put(np.zeros((), np.int32)),
            "dynamic_scale": jax.device_put(np.asarray(self.initial_scale, np.float32)),
            "inner": inner,
        }

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        inner, scale, good = state["inner"], state["dynamic_scale"], state["good_steps"]
        if "learning_rate" in inner:
            inner = {**inner, "learning_rate": state["learning_rate"]}
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)]))

        def move() -> Any:
            return self.inner_optimizer.update(jax.tree.map(lambda g: g / scale.astype(g.dtype), grads), inner, params)

        updates, inner = jax.lax.cond(finite, move, lambda: (jax.tree.map(jnp.zeros_like, params), inner))
        grown = good == self.dynamic_growth_steps - 1
        return updates, {
            "step": state["step"] + 1,
            "learning_rate": inner.get("learning_rate", state["learning_rate"]),
            "good_steps": jnp.where(finite & ~grown, good + 1, 0),
            "dynamic_scale": scale * jnp.where(finite, jnp.where(grown, 2.0, 1.0), 0.5),
            "inner": inner,
        }

    def scale_loss(self, loss: Any, state: Any = None) -> Any:
        return loss * (self.initial_scale if state is None else state["dynamic_scale"].astype(loss.dtype))


class OptimizerMap(Configurable):
    """Which optimizer a weight gets: by its path, by the one pattern that matches it, or else the default.

    A pattern is a path, a glob, the part of the model above the weight, or (as in Keras) a regular expression for the whole
    path. Paths have dots; Keras's slashes are taken for them. Raises: ValueError where two patterns match a path.

    >>> map = OptimizerMap("sgd", {"encoder.*": "adam"})
    >>> map["encoder.0.kernel"], map["head.kernel"]
    (Adam(), SGD())
    """

    def __init__(self, default_optimizer: Any, optimizer_map: Mapping[str, Any] | None = None):
        self.default_optimizer = _optimizer(default_optimizer)
        self.optimizer_map: dict[str, Optimizer] = {}
        for key, value in (optimizer_map or {}).items():
            self[key] = value

    def _given(self) -> list[tuple[str, Any]]:
        return [("default_optimizer", self.default_optimizer), ("optimizer_map", self.optimizer_map)]

    def __setitem__(self, key: str, optimizer: Any) -> None:
        if key in self.optimizer_map:
            raise ValueError(f"OptimizerMap has an optimizer for {key!r} already: {self.optimizer_map[key]}")
        found = _optimizer(optimizer)
        if isinstance(found, (LossScaleOptimizer, MultiOptimizer)):
            raise ValueError(f"OptimizerMap[{key!r}]: a {type(found).__name__} cannot be one of several optimizers")
        self.optimizer_map[key] = found

    def __getitem__(self, path: str) -> Optimizer:
        if path in self.optimizer_map:
            return self.optimizer_map[path]
        found = [key for key in self.optimizer_map if _fits(key.replace("/", "."), path)]
        if len(found) > 1:
            raise ValueError(f"the weight {path!r} matches several patterns of the OptimizerMap: {', '.join(found)}")
        return self.optimizer_map[found[0]] if found else self.default_optimizer

    def __iter__(self) -> Iterator[str]:
        return iter(self.optimizer_map)

    def __len__(self) -> int:
        return len(self.optimizer_map)


def _fits(pattern: str, path: str) -> bool:
    try:
        return matches(pattern, path) or re.fullmatch(pattern, path) is not None
    except re.error:
        return False


class MultiOptimizer(Optimizer):
    """Several optimizers, one for each part: ``MultiOptimizer(OptimizerMap("adamw", {"encoder.*": SGD(0.01)}))``.

    ``optimizer_map`` may also be a function of the path. Each has its own rate, clipping and counts, over its own weights;
    where only rates and decays differ, ``Adam(groups=...)`` is less work. ``learning_rate`` belongs to the parts
    (``optimizers`` lists them). ``loss_scale_factor`` holds for all.

    >>> both = MultiOptimizer(OptimizerMap("sgd", {"encoder": "adam"}))
    >>> [type(o).__name__ for o in both.optimizers]
    ['Adam', 'SGD']
    """

    def __init__(self, optimizer_map: Any, loss_scale_factor: float | None = None, name: str | None = None):
        if isinstance(optimizer_map, Mapping) and "class" in optimizer_map:
            optimizer_map = OptimizerMap(optimizer_map["default_optimizer"], optimizer_map.get("optimizer_map"))
        if not callable(getattr(optimizer_map, "__getitem__", optimizer_map)):
            raise TypeError(f"MultiOptimizer needs an OptimizerMap or a function of a weight's path, got {optimizer_map!r}")
        super().__init__(0.0, loss_scale_factor=loss_scale_factor, name=name)
        self.optimizer_map = optimizer_map
        self.optimizers: list[Optimizer] = []
        for optimizer in [*getattr(optimizer_map, "optimizer_map", {}).values()]:
            self._take(optimizer)
        if isinstance(optimizer_map, OptimizerMap):
            self._take(optimizer_map.default_optimizer)

    def _given(self) -> list[tuple[str, Any]]:
        return list(self._arguments.items())

    def __getattribute__(self, name: str) -> Any:
        if name == "learning_rate":
            raise AttributeError("a MultiOptimizer has no learning rate of its own: look at those of its `optimizers`")
        return super().__getattribute__(name)

    def _take(self, optimizer: Optimizer) -> int:
        if not any(optimizer is other for other in self.optimizers):
            optimizer.loss_scale_factor = None  # the whole divides once
            self.optimizers.append(optimizer)
            self.use_ema = any(o.use_ema for o in self.optimizers)
        return next(i for i, other in enumerate(self.optimizers) if other is optimizer)

    def _parts(self, params: Any) -> tuple[list[list[int]], list[Any], Any]:
        """Which arrays belong to which optimizer."""
        paths, _, structure = leaves(params)
        choose: Any = self.optimizer_map.__getitem__ if isinstance(self.optimizer_map, OptimizerMap) else self.optimizer_map
        numbers = [self._take(choose(path)) for path in paths]
        return [[i for i, n in enumerate(numbers) if n == k] for k in range(len(self.optimizers))], paths, structure

    def init(self, params: Any) -> dict[str, Any]:
        parts, paths, structure = self._parts(params)
        flat = structure.flatten_up_to(params)
        inner = [o.init({paths[i]: flat[i] for i in part}) for o, part in zip(self.optimizers, parts, strict=True)]
        return {"step": jax.device_put(np.zeros((), np.int32)), "optimizers": inner}

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        parts, paths, structure = self._parts(params)
        flat, gradients = structure.flatten_up_to(params), structure.flatten_up_to(grads)
        scale = self.loss_scale_factor or 1.0
        updates, inner = list(flat), []
        for optimizer, part, own in zip(self.optimizers, parts, state["optimizers"], strict=True):
            near = {paths[i]: gradients[i] / scale for i in part}
            changes, own = optimizer.update(near, own, {paths[i]: flat[i] for i in part})
            inner.append(own)
            for i in part:
                updates[i] = changes[paths[i]]
        return structure.unflatten(updates), {"step": state["step"] + 1, "optimizers": inner}


class Optax(Optimizer):
    """A transformation of optax as an optimizer.

    Made with `optax.inject_hyperparams`, its learning rate is read and may be changed; else it is NaN in the state,
    meaning not known. Line searches work (`optax.lbfgs()`): `fit` gives them the value and the loss as a function. It cannot
    be written down as plain values, so a saved model needs it given again.

    >>> import optax
    >>> lion, params = Optax(optax.lion(0.1)), {"w": jnp.array([1.0])}
    >>> lion.update({"w": jnp.array([2.0])}, lion.init(params), params)[0]["w"].tolist()
    [-0.1...]
    """

    def __init__(self, transformation: Any, name: str | None = None):
        super().__init__(0.0, name=name)
        import optax

        self._transformation = transformation
        self._learning_rate = float("nan")
        self.wants_value = isinstance(transformation, optax.GradientTransformationExtraArgs)

    def config(self) -> dict[str, Any]:
        raise TypeError(f"{self.name}: a transformation of optax is code, which cannot be written down as plain values")

    @property
    def transformation(self) -> Any:
        return self._transformation

    def init(self, params: Any) -> dict[str, Any]:
        inner = self._transformation.init(params)
        return {"step": jnp.asarray(np.zeros((), np.int32)), "learning_rate": _injected(inner), "optax": inner}

    def update(self, grads: Any, state: dict[str, Any], params: Any, **values: Any) -> tuple[Any, dict[str, Any]]:
        inner = state["optax"]
        if "learning_rate" in getattr(inner, "hyperparams", {}):
            rate = state["learning_rate"].astype(inner.hyperparams["learning_rate"].dtype)
            inner = inner._replace(hyperparams={**inner.hyperparams, "learning_rate": rate})
        updates, inner = self._transformation.update(grads, inner, params, **values)
        return updates, {"step": state["step"] + 1, "learning_rate": _injected(inner), "optax": inner}


def _injected(inner: Any) -> jax.Array:
    return jnp.asarray(getattr(inner, "hyperparams", {}).get("learning_rate", np.nan), jnp.float32)
