"""Rules that divide by what the gradients were: RMSprop, Adagrad, Adadelta, Adafactor, Ftrl."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .base import Optimizer, Scalars, Slots, full_like


class RMSprop(Optimizer):
    """The gradient over the root of its mean square: ``v = rho v + (1 - rho) g^2``, ``p -= rate g / sqrt(v + epsilon)``.

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

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
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
    """A larger rate for weights that are seldom used: ``s += g^2``, ``p -= rate g / sqrt(s + epsilon)``.

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

    def start(self, slot: str, p: Any, path: str) -> Any:
        return full_like(p, self.initial_accumulator_value)

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        s = slots["accumulator"] + g * g
        return -scalars["rate"] * g / jnp.sqrt(s + self.epsilon), {"accumulator": s}


class Adadelta(Optimizer):
    """Steps in the size of earlier steps: ``u = g sqrt(d + epsilon) / sqrt(s + epsilon)``, ``p -= rate u``.

    ``s = rho s + (1 - rho) g^2``, ``d = rho d + (1 - rho) u^2``. The paper has a rate of 1.
    Source: Zeiler 2012, arXiv:1212.5701.

    >>> Adadelta(1.0).rho
    0.95
    """

    slots = ("accumulated_grad", "accumulated_delta")

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **options: Any):
        super().__init__(learning_rate, **options)
        self.rho, self.epsilon = rho, epsilon

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        d = slots["accumulated_delta"]
        s = self.rho * slots["accumulated_grad"] + (1 - self.rho) * (g * g)
        u = jnp.sqrt(d + self.epsilon) * g / jnp.sqrt(s + self.epsilon)
        d = self.rho * d + (1 - self.rho) * (u * u)
        return -scalars["rate"] * u, {"accumulated_grad": s, "accumulated_delta": d}


class Adafactor(Optimizer):
    """Adam's scaling from the row and column means of the squares alone, so that it hardly needs memory.

    ``r`` and ``c`` are running means of ``g^2 + epsilon_1`` over the last axis and the one before, with
    ``beta = 1 - t^beta_2_decay``; ``u = g / sqrt(r c / mean(r))`` is cut to the root mean square ``clip_threshold``, and
    ``p -= max(epsilon_2, rms(p)) min(rate, 1 / sqrt(t)) u``. Vectors keep the whole ``v``. ``relative_step`` changes nothing,
    as in Keras: the rate is held below ``1 / sqrt(t)`` either way. Source: Shazeer and Stern 2018, arXiv:1804.04235.

    >>> Adafactor().init({"kernel": jnp.ones((3, 4))})["row"]["kernel"].shape
    (3,)
    """

    slots = ("row", "column", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = beta_2_decay, epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step

    def start(self, slot: str, p: Any, path: str) -> Any:
        shape = jnp.shape(p)
        if (slot == "velocity") == (len(shape) >= 2):
            return None
        return full_like(p, 0.0, {"row": shape[:-1], "column": (*shape[:-2], *shape[-1:])}.get(slot))

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        t = (step + 1).astype(rate.dtype)
        return {"rate": jnp.minimum(rate, 1 / jnp.sqrt(t)), "beta": 1 - jnp.power(t, self.beta_2_decay)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        beta, square = scalars["beta"], g * g + self.epsilon_1
        new: Slots = dict.fromkeys(self.slots)
        if g.ndim >= 2:
            r = new["row"] = beta * slots["row"] + (1 - beta) * jnp.mean(square, -1)
            c = new["column"] = beta * slots["column"] + (1 - beta) * jnp.mean(square, -2)
            v = jnp.expand_dims(r / jnp.mean(r, -1, keepdims=True), -1) * jnp.expand_dims(c, -2)
        else:
            v = new["velocity"] = beta * slots["velocity"] + (1 - beta) * square
        u = g / jnp.sqrt(v)
        u = u / jnp.maximum(1, _rms(u) / self.clip_threshold)
        return -jnp.maximum(self.epsilon_2, _rms(p)) * scalars["rate"] * u, new


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))


class Ftrl(Optimizer):
    """Follow the regularized leader, for wide, sparse linear models: an L1 penalty makes weights exactly zero.

    ``s' = s + g^2``, ``z += g + 2 shrinkage p - (s'^-power - s^-power) / rate p``,
    ``p = (clip(z, -l1, l1) - z) / (s'^-power / rate + 2 l2 + beta / rate)``. Source: McMahan et al. 2013, KDD.

    Raises: ValueError for a strength below zero or a power above it.

    >>> Ftrl(l1_regularization_strength=0.1).learning_rate_power
    -0.5
    """

    slots = ("accumulator", "linear")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        strengths = {
            "initial_accumulator_value": initial_accumulator_value,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
            "l2_shrinkage_regularization_strength": l2_shrinkage_regularization_strength,
        }
        for name, value in strengths.items():
            if value < 0:
                raise ValueError(f"Ftrl({name}={value}): give a number from 0 up")
        if learning_rate_power > 0:
            raise ValueError(f"Ftrl(learning_rate_power={learning_rate_power}): give a number up to 0, such as -0.5")
        self.learning_rate_power, self.initial_accumulator_value, self.beta = (
            learning_rate_power,
            initial_accumulator_value,
            beta,
        )
        self.l1, self.l2, self.shrinkage = list(strengths.values())[1:]

    def start(self, slot: str, p: Any, path: str) -> Any:
        return full_like(p, self.initial_accumulator_value if slot == "accumulator" else 0.0)

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        rate, power = scalars["rate"], -self.learning_rate_power
        s = slots["accumulator"] + g * g
        size = jnp.power(s, power) / rate
        sigma = size - jnp.power(slots["accumulator"], power) / rate
        z = slots["linear"] + g + 2 * self.shrinkage * p - sigma * p
        new = (jnp.clip(z, -self.l1, self.l1) - z) / (size + 2 * self.l2 + self.beta / rate)
        return new - p, {"accumulator": s, "linear": z}
