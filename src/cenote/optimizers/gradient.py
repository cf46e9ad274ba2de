"""Rules that follow the gradient or its sign: SGD and its averages, Rprop, Lion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .base import Optimizer, Scalars, Slots, copy_of, full_like


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

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
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


class ASGD(Optimizer):
    """Averaged gradient descent: ``p = (1 - lambd eta) p - eta g``, ``eta = rate / (1 + lambd rate t)^alpha``.

    The state holds the average of the parameters since step ``t0`` (the parameters themselves before it), which the callback
    SwapEMAWeights evaluates and saves. Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30; the arguments and numbers
    are those of ``torch.optim.ASGD``.

    >>> ASGD().alpha
    0.75
    """

    slots = ("average",)

    def __init__(self, learning_rate: Any = 0.01, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6, **options: Any):
        super().__init__(learning_rate, **options)
        if self.use_ema:
            raise ValueError("ASGD keeps an average itself: leave use_ema=True away, or take SGD(use_ema=True)")
        self.lambd, self.alpha, self.t0 = lambd, alpha, t0

    def start(self, slot: str, p: Any, path: str) -> Any:
        return copy_of(p)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        t = step.astype(rate.dtype)
        return {"eta": rate / (1 + self.lambd * rate * t) ** self.alpha, "part": 1 / jnp.maximum(1, t - self.t0)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        change = -scalars["eta"] * (self.lambd * p + g)
        average = slots["average"]
        return change, {"average": average + (p + change - average) * scalars["part"]}


class Rprop(Optimizer):
    """Steps by signs: each number has its own step size, which grows while its gradient keeps its sign, else shrinks.

    ``etas`` are the factors down and up, ``step_sizes`` the least and the largest step; the learning rate is the first step.
    After a change of sign the number waits for one step. Made for the whole data in one batch, which `fit` gives it where no
    batch_size is given: the signs of small batches are noise. Source: Riedmiller and Braun 1993, ICNN; the arguments and
    numbers are those of ``torch.optim.Rprop``.

    >>> rprop, params = Rprop(0.1), {"w": jnp.array([1.0])}
    >>> rprop.update({"w": jnp.array([9.0])}, rprop.init(params), params)[0]["w"].tolist()
    [-0.1...]
    """

    slots = ("before", "size")
    full_batch = True

    def __init__(
        self,
        learning_rate: Any = 0.01,
        etas: Sequence[float] = (0.5, 1.2),
        step_sizes: Sequence[float] = (1e-6, 50.0),
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        if not 0 < etas[0] < 1 < etas[1]:
            raise ValueError(f"Rprop(etas={tuple(etas)}): give a factor below 1 and one above it, such as (0.5, 1.2)")
        self.etas, self.step_sizes = tuple(etas), tuple(step_sizes)

    def start(self, slot: str, p: Any, path: str) -> Any:
        return full_like(p, 0.0 if slot == "before" else self.first_rate)

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        agree = jnp.sign(g * slots["before"])
        factor = jnp.where(agree > 0, self.etas[1], jnp.where(agree < 0, self.etas[0], 1.0)).astype(p.dtype)
        size = jnp.clip(slots["size"] * factor, *self.step_sizes)
        g = jnp.where(agree < 0, 0, g)
        return -jnp.sign(g) * size, {"before": g, "size": size}


class Lion(Optimizer):
    """The sign of an interpolated momentum: ``p -= rate sign(beta_1 m + (1 - beta_1) g)``, ``m = beta_2 m + (1 - beta_2) g``.

    Wants a rate 3 to 10 times smaller than Adam's, and as much more decay. Source: Chen et al. 2023, arXiv:2302.06675.

    >>> lion, params = Lion(0.1), {"w": jnp.array([1.0])}
    >>> lion.update({"w": jnp.array([9.0])}, lion.init(params), params)[0]["w"].tolist()
    [-0.1...]
    """

    slots = ("momentum",)

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any):
        super().__init__(learning_rate, **options)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"beta_1={beta_1}: Lion needs a number above 0 and up to 1; with 0 it is the sign of the gradient")
        self.beta_1, self.beta_2 = beta_1, beta_2

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        m = slots["momentum"]
        change = -scalars["rate"] * jnp.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        return change, {"momentum": self.beta_2 * m + (1 - self.beta_2) * g}
