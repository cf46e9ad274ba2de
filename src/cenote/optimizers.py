"""Optimizers with Keras's names, arguments, defaults and numbers.

An optimizer is a pure pair in the form of optax, ``init(params) -> state`` and ``update(grads, state, params) ->
(updates, state)``, with new parameters ``params + updates``. The rules are written out here, a few lines each, because
optax's places of the learning rate and of epsilon differ from Keras's (within the momentum, within the root) and because
one pass over each array is what compiles best. Any transformation of optax is accepted where an optimizer is (`get`), and
``optimizer.transformation`` is ours for optax.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote import schedules
from cenote.core.configurable import Configurable, family, parameters, resolve, snake

Slots = dict[str, jax.Array]


class Optimizer(Configurable):
    """Base of optimizers: name the ``slots`` kept for each array, and write ``step(g, p, slots, scalars)``.

    State: ``{"step": int32, "learning_rate": float32, slot: arrays shaped as the parameters}``. The learning rate in the
    state is the one that is used, so it may be changed between steps; a schedule writes it anew at each step.
    ``weight_decay`` takes ``learning_rate * weight_decay * p`` off each parameter. Gradients are clipped first: each array
    to the 2-norm ``clipnorm``, all together to ``global_clipnorm``, or each number to +-``clipvalue`` (one of the three).
    Raises: ValueError for two ways of clipping at once or a learning rate below zero.

    >>> class Signs(Optimizer):
    ...     def step(self, g, p, slots, scalars):
    ...         return -scalars["rate"] * jnp.sign(g), slots
    >>> signs, params = Signs(0.5), {"w": jnp.zeros(2)}
    >>> updates, state = signs.update({"w": jnp.array([3.0, -1.0])}, signs.init(params), params)
    >>> updates["w"].tolist(), state["step"].item()
    ([-0.5, 0.5], 1)
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **others: Any,
    ):
        if others:
            takes = dict.fromkeys([*parameters(type(self)), *parameters(Optimizer)])
            names = ", ".join(n for n in takes if n not in ("options", "others"))
            raise TypeError(f"{type(self).__name__} has no argument {next(iter(others))!r}. It takes: {names}")
        self.name = name or snake(type(self).__name__)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(c is not None for c in clips.values()) > 1:
            raise ValueError(f"{type(self).__name__}: give only one of clipnorm, clipvalue, global_clipnorm; got {clips}")

    @property
    def learning_rate(self) -> Any:
        """The rate that training begins with, or its schedule."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        value = schedules.get(value)
        if not callable(value) and not value >= 0:
            raise ValueError(f"learning_rate={value}: give a number from 0 up, such as 0.001, or a schedule")
        self._learning_rate = value
        self._rates_set = getattr(self, "_rates_set", 0) + 1  # a run that goes on takes up what was set since it began

    def _given(self) -> list[tuple[str, Any]]:
        return [(k, self.learning_rate if k == "learning_rate" else v) for k, v in super()._given()]

    @property
    def transformation(self) -> Any:
        """The same as an `optax.GradientTransformation`, for `optax.chain` and its like."""
        import optax

        return optax.GradientTransformation(self.init, self.update)  # pyright: ignore[reportArgumentType]

    def minimize(self, loss: Any) -> Any:
        """A node that takes one step on a graph's loss when it is fetched: ``graph.run([train, loss], feeds={...})``."""
        from cenote.core.graph import TrainNode

        return TrainNode(self, loss)

    # -- what a rule writes --------------------------------------------------------------------------------------------

    def start(self, slot: str, p: Any) -> Any:
        """The first value of a slot for a parameter."""
        return full_like(p, 0.0)

    def scalars(self, step: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
        """Numbers that all arrays share, reckoned once a step; ``step`` counts from 0."""
        return {"rate": rate}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: dict[str, jax.Array]) -> tuple[jax.Array, Slots]:
        """What to add to a parameter, and its new slots."""
        raise NotImplementedError(f"{type(self).__name__} has no step(self, g, p, slots, scalars): write the rule there")

    # -- the pure pair -------------------------------------------------------------------------------------------------

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first step, for parameters in any tree."""
        rate = self.learning_rate
        state: dict[str, Any] = {
            "step": jax.device_put(np.zeros((), np.int32)),
            "learning_rate": jax.device_put(np.asarray(rate(0) if callable(rate) else rate, np.float32)),
        }
        for slot in self.slots:
            state[slot] = jax.tree.map(functools.partial(self.start, slot), params)
        return state

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        """What to add to the parameters, and the next state."""
        step = state["step"]
        rate = state["learning_rate"]
        if callable(self.learning_rate):
            rate = jnp.asarray(self.learning_rate(step), jnp.float32)
        scalars = self.scalars(step, rate.astype(jnp.result_type(float)))
        flat, structure = jax.tree.flatten(params)
        gradients = self.clip([g.astype(p.dtype) for g, p in zip(structure.flatten_up_to(grads), flat, strict=True)])
        kept = {slot: structure.flatten_up_to(state[slot]) for slot in self.slots}
        updates = []
        for i, (g, p) in enumerate(zip(gradients, flat, strict=True)):
            near = {name: value.astype(p.dtype) for name, value in scalars.items()}
            change, new = self.step(g, p, {slot: kept[slot][i] for slot in self.slots}, near)
            if self.weight_decay is not None:
                change = change - (rate * self.weight_decay).astype(p.dtype) * p
            updates.append(change)
            for slot in self.slots:
                kept[slot][i] = new[slot]
        state = {"step": step + 1, "learning_rate": rate}
        state.update({slot: structure.unflatten(kept[slot]) for slot in self.slots})
        return structure.unflatten(updates), state

    def clip(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """Gradients cut to the size that the optimizer was given."""
        if self.clipnorm is not None:
            return [g * (self.clipnorm / jnp.maximum(_norm(g), self.clipnorm)) for g in gradients]
        if self.global_clipnorm is not None:
            size = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))
            scale = self.global_clipnorm / jnp.maximum(size, self.global_clipnorm)
            return [g * scale.astype(g.dtype) for g in gradients]
        if self.clipvalue is not None:
            return [jnp.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        return gradients


def _norm(g: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(g)))


def full_like(p: Any, value: float) -> Any:
    """An array like a parameter, on its device, filled on the host: nothing is compiled for each shape."""
    if isinstance(p, jax.core.Tracer) or not isinstance(p, jax.Array):
        return jnp.full_like(p, value)
    filled = np.full(p.shape, value, p.dtype)
    # A committed array among free ones would make the compiler treat the first and the second step differently.
    return jax.device_put(filled, p.sharding) if getattr(p, "committed", False) else jax.device_put(filled)


class SGD(Optimizer):
    """Gradient descent with momentum: ``m = momentum m - rate g``, ``p += m``; without, ``p -= rate g``.

    ``nesterov`` looks ahead: ``p += momentum m - rate g``. Source: Sutskever et al. 2013, ICML.

    >>> sgd, params = SGD(0.1), {"w": jnp.array([1.0])}
    >>> sgd.update({"w": jnp.array([2.0])}, sgd.init(params), params)[0]["w"].tolist()
    [-0.2...]
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **options: Any):
        super().__init__(learning_rate, **options)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum={momentum}: give a number from 0 to 1, such as 0.9")
        self.momentum, self.nesterov = momentum, nesterov
        self.slots = ("momentum",) if momentum else ()

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: dict[str, jax.Array]) -> tuple[jax.Array, Slots]:
        change = -scalars["rate"] * g
        if not self.momentum:
            return change, slots
        m = self.momentum * slots["momentum"] + change
        return (self.momentum * m + change if self.nesterov else m), {"momentum": m}


class GradientDescent(SGD):
    """Plain gradient descent, ``p -= rate g``; fit with ``batch_size=len(x)`` for the gradient over all examples.

    >>> GradientDescent(0.1).momentum
    0.0
    """

    def __init__(self, learning_rate: Any = 0.01, **options: Any):
        super().__init__(learning_rate, **options)


class Adam(Optimizer):
    """Adaptive moments: ``m += (1 - beta_1) (g - m)``, ``v += (1 - beta_2) (g^2 - v)``, ``p -= a m / (sqrt(v) + epsilon)``.

    The rate ``a = rate sqrt(1 - beta_2^t) / (1 - beta_1^t)`` makes up for the start at zero, so that epsilon is added to
    the uncorrected root (as in Keras; in optax and PyTorch to the corrected). ``amsgrad`` divides by the largest v so far.
    Source: Kingma and Ba 2015, arXiv:1412.6980; Reddi et al. 2018, arXiv:1904.09237.

    >>> adam, params = Adam(0.1), {"w": jnp.array([1.0])}
    >>> round(adam.update({"w": jnp.array([2.0])}, adam.init(params), params)[0]["w"].item(), 4)
    -0.1
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name}={beta}: give a number from 0 up and below 1")
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        self.slots = ("momentum", "velocity", "velocity_hat") if amsgrad else ("momentum", "velocity")

    def scalars(self, step: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
        t = (step + 1).astype(rate.dtype)
        return {"rate": rate * jnp.sqrt(_left(self.beta_2, t)) / _left(self.beta_1, t)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: dict[str, jax.Array]) -> tuple[jax.Array, Slots]:
        m = slots["momentum"] + (1 - self.beta_1) * (g - slots["momentum"])
        v = slots["velocity"] + (1 - self.beta_2) * (g * g - slots["velocity"])
        new = {"momentum": m, "velocity": v}
        if self.amsgrad:
            v = new["velocity_hat"] = jnp.maximum(slots["velocity_hat"], v)
        return -scalars["rate"] * m / (jnp.sqrt(v) + self.epsilon), new


def _left(beta: float, t: jax.Array) -> jax.Array:
    """``1 - beta^t`` without the loss of digits that the difference has for small t."""
    return -jnp.expm1(t * np.log(beta)) if beta else jnp.ones_like(t)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: ``p -= rate weight_decay p`` besides.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.

    >>> AdamW().weight_decay
    0.004
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)


class RMSprop(Optimizer):
    """``v = rho v + (1 - rho) g^2``, ``p -= rate g / sqrt(v + epsilon)``.

    ``centered`` takes the square of the mean gradient off v; with ``momentum``, ``m = momentum m + rate g / sqrt(...)``
    and ``p -= m``. Source: Hinton 2012, Neural networks for machine learning, lecture 6e; Graves 2013, arXiv:1308.0850.

    >>> RMSprop().rho
    0.9
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        used = {"velocity": True, "momentum": momentum > 0, "average_gradient": centered}
        self.slots = tuple(slot for slot, wanted in used.items() if wanted)

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: dict[str, jax.Array]) -> tuple[jax.Array, Slots]:
        v = self.rho * slots["velocity"] + (1 - self.rho) * (g * g)
        new = {"velocity": v}
        if self.centered:
            mean = new["average_gradient"] = self.rho * slots["average_gradient"] + (1 - self.rho) * g
            v = v - mean * mean
        change = scalars["rate"] * g / jnp.sqrt(v + self.epsilon)
        if self.momentum > 0:
            change = new["momentum"] = self.momentum * slots["momentum"] + change
        return -change, new


class Adagrad(Optimizer):
    """``s += g^2``, ``p -= rate g / sqrt(s + epsilon)``: seldom-used weights keep a larger rate.

    Source: Duchi et al. 2011, JMLR 12.

    >>> Adagrad().initial_accumulator_value
    0.1
    """

    slots = ("accumulator",)

    def __init__(
        self, learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7, **options: Any
    ):
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def start(self, slot: str, p: Any) -> Any:
        return full_like(p, self.initial_accumulator_value)

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: dict[str, jax.Array]) -> tuple[jax.Array, Slots]:
        s = slots["accumulator"] + g * g
        return -scalars["rate"] * g / jnp.sqrt(s + self.epsilon), {"accumulator": s}


class Optax(Optimizer):
    """A transformation of optax as an optimizer.

    Made with `optax.inject_hyperparams`, its learning rate is read and may be changed; else it is NaN in the state,
    meaning not known. It cannot be written down as plain values, so a saved model needs it given again.

    >>> import optax
    >>> lion, params = Optax(optax.lion(0.1)), {"w": jnp.array([1.0])}
    >>> lion.update({"w": jnp.array([2.0])}, lion.init(params), params)[0]["w"].tolist()
    [-0.1...]
    """

    def __init__(self, transformation: Any, name: str | None = None):
        super().__init__(0.0, name=name)
        self._transformation = transformation
        self._learning_rate = float("nan")

    def config(self) -> dict[str, Any]:
        raise TypeError(f"{self.name}: a transformation of optax is code, which cannot be written down as plain values")

    @property
    def transformation(self) -> Any:
        return self._transformation

    def init(self, params: Any) -> dict[str, Any]:
        inner = self._transformation.init(params)
        return {"step": jnp.asarray(np.zeros((), np.int32)), "learning_rate": _injected(inner), "optax": inner}

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        inner = state["optax"]
        if "learning_rate" in getattr(inner, "hyperparams", {}):
            rate = state["learning_rate"].astype(inner.hyperparams["learning_rate"].dtype)
            inner = inner._replace(hyperparams={**inner.hyperparams, "learning_rate": rate})
        updates, inner = self._transformation.update(grads, inner, params)
        return updates, {"step": state["step"] + 1, "learning_rate": _injected(inner), "optax": inner}


def _injected(inner: Any) -> jax.Array:
    return jnp.asarray(getattr(inner, "hyperparams", {}).get("learning_rate", np.nan), jnp.float32)


NAMES: dict[str, Callable] = family(
    SGD,
    GradientDescent,
    Adam,
    AdamW,
    RMSprop,
    Adagrad,
    gd=GradientDescent,
    momentum=functools.partial(SGD, momentum=0.9),
    nesterov=functools.partial(SGD, momentum=0.9, nesterov=True),
)


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Optimizer | None:
    """The optimizer for a name, a config dict, a class, an `Optimizer` or a transformation of optax; None stays None.

    "momentum" is SGD with momentum 0.9, and "nesterov" that with the look ahead.
    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("adam"), get({"class": "SGD", "learning_rate": {"class": "CosineDecay", "initial_learning_rate": 0.1,
    ...                                                     "decay_steps": 5}}).learning_rate(0).round(3).item()
    (Adam(), 0.1...)
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, tuple) and hasattr(identifier, "init") and hasattr(identifier, "update"):
        return Optax(identifier)
    found = resolve("optimizer", identifier, NAMES, custom=custom, within=[schedules.NAMES])
    return found if isinstance(found, Optimizer) else found()
