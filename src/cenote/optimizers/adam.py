"""Adam and its kin: momentum over the root of a mean square, one rate for each number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from cenote.kernels import training

from .base import Optimizer, Scalars, Slots, check_betas, copy_of, full_like, one_less_power


def moments(g: jax.Array, slots: Slots, beta_1: float, beta_2: float) -> Slots:
    """The running means of the gradient and of its square."""
    m, v = slots["momentum"], slots["velocity"]
    return {"momentum": m + (1 - beta_1) * (g - m), "velocity": v + (1 - beta_2) * (g * g - v)}


def corrected_rate(rate: jax.Array, step: jax.Array, beta_1: float, beta_2: float) -> jax.Array:
    """The rate that makes up for means which began at zero."""
    t = (step + 1).astype(rate.dtype)
    return rate * jnp.sqrt(one_less_power(beta_2, t)) / one_less_power(beta_1, t)


def adam_step(
    g: jax.Array, slots: Slots, rate: jax.Array, beta_1: float, beta_2: float, epsilon: float
) -> tuple[jax.Array, Slots]:
    new = moments(g, slots, beta_1, beta_2)
    v = new["velocity"]
    if "velocity_hat" in slots:
        v = new["velocity_hat"] = jnp.maximum(slots["velocity_hat"], v)
    return -rate * new["momentum"] / (jnp.sqrt(v) + epsilon), new


class _Moments(Optimizer):
    """What Adam's kin share: two means and three numbers."""

    slots = ("momentum", "velocity")

    def __init__(self, learning_rate: Any, beta_1: float, beta_2: float, epsilon: float, **options: Any):
        super().__init__(learning_rate, **options)
        check_betas(beta_1=beta_1, beta_2=beta_2)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon


class Adam(_Moments):
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
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)
        self.amsgrad = amsgrad
        self.slots = ("momentum", "velocity", "velocity_hat") if amsgrad else ("momentum", "velocity")

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        return {"rate": corrected_rate(rate, step, self.beta_1, self.beta_2)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        return adam_step(g, slots, scalars["rate"], self.beta_1, self.beta_2, self.epsilon)

    def moved(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]] | None:
        """Parameters and state after a step, in one pass and in their own memory; None where that is not to be had.

        The numbers are those of `update`, added to the parameters, but for rounding. Only the training step asks for it.
        """
        own = type(self)
        plain = own.update is Optimizer.update and own.step is Adam.step and own.scalars is Adam.scalars
        if not plain or self.amsgrad or self.use_ema or self.gradient_accumulation_steps:
            return None
        if not training.takes_adam(jax.tree.leaves(params)):
            return None
        step, (rate, paths, flat, structure, gradients) = state["step"], self._begun(grads, state, params)
        numbers = self._numbers(paths, flat, step, step, rate)
        rates = [scalars["rate"] for scalars, _ in numbers]
        decays = [0.0 if part is None else part for _, part in numbers]
        means, squares = (structure.flatten_up_to(state[slot]) for slot in self.slots)
        options = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        found = map(structure.unflatten, training.adam(flat, means, squares, self.clip(gradients), rates, decays, **options))
        return next(found), {"step": step + 1, "learning_rate": rate, **dict(zip(self.slots, found, strict=True))}


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


class Adamax(_Moments):
    """Adam by the largest gradient: ``u = max(beta_2 u, |g|)``, ``p -= rate m / ((1 - beta_1^t) (u + epsilon))``.

    Source: Kingma and Ba 2015, arXiv:1412.6980, section 7.1.

    >>> Adamax().slots
    ('momentum', 'norm')
    """

    slots = ("momentum", "norm")

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, **options: Any
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        return {"rate": rate / one_less_power(self.beta_1, (step + 1).astype(rate.dtype))}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        m = slots["momentum"] + (1 - self.beta_1) * (g - slots["momentum"])
        u = jnp.maximum(self.beta_2 * slots["norm"], jnp.abs(g))
        return -scalars["rate"] * m / (u + self.epsilon), {"momentum": m, "norm": u}


class Nadam(_Moments):
    """Adam with Nesterov's look ahead, and a momentum ``u_t = beta_1 (1 - 0.5 * 0.96^t)`` that grows.

    ``p -= rate (u_(t+1) m / (1 - u_1 ... u_(t+1)) + (1 - u_t) g / (1 - u_1 ... u_t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)``.
    PyTorch's NAdam lets the momentum grow 250 times more slowly (``0.96^(0.004 t)``): its numbers are others.
    Source: Dozat 2016, ICLR workshop.

    >>> Nadam().beta_1
    0.9
    """

    slots = ("momentum", "velocity", "product")

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, **options: Any
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)

    def start(self, slot: str, p: Any, path: str) -> Any:
        if slot == "product":
            return full_like(p, 1.0, (), jnp.promote_types(jnp.result_type(p), jnp.float32))
        return full_like(p, 0.0)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        t = (step + 1).astype(rate.dtype)
        now, then = (self.beta_1 * (1 - 0.5 * jnp.power(0.96, when)) for when in (t, t + 1))
        return {"rate": rate, "now": now, "then": then, "size": one_less_power(self.beta_2, t)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        now, then = scalars["now"], scalars["then"]
        product = slots["product"] * now
        new = moments(g, slots, self.beta_1, self.beta_2)
        left = (1 - product).astype(p.dtype)
        ahead = then * new["momentum"] / (1 - product * then).astype(p.dtype) + (1 - now) * g / left
        change = -scalars["rate"] * ahead / (jnp.sqrt(new["velocity"] / scalars["size"]) + self.epsilon)
        return change, {**new, "product": product}


class RAdam(_Moments):
    """Adam without its rash first steps: the adaptive part counts as far as its variance is known.

    ``p -= rate r m / (1 - beta_1^t) sqrt(1 - beta_2^t) / (sqrt(v) + epsilon)``; with ``n = 2 / (1 - beta_2) - 1`` and
    ``n_t = n - 2 t beta_2^t / (1 - beta_2^t)``, ``r^2 = (n_t - 4) (n_t - 2) n / ((n - 4) (n - 2) n_t)`` where ``n_t > 5``;
    before that ``p -= rate m / (1 - beta_1^t)``. The numbers are those of ``torch.optim.RAdam``, whose ``weight_decay`` is
    ours with ``decoupled_weight_decay=True``. Source: Liu et al. 2020, arXiv:1908.03265.

    >>> RAdam().epsilon
    1e-08
    """

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, **options: Any
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        t = (step + 1).astype(rate.dtype)
        left, n = one_less_power(self.beta_2, t), 2 / (1 - self.beta_2) - 1
        now = n - 2 * t * (1 - left) / left
        known = now > 5
        safe = jnp.where(known, now, 6.0)
        r = jnp.sqrt((safe - 4) * (safe - 2) * n / ((n - 4) * (n - 2) * safe))
        plain = rate / one_less_power(self.beta_1, t)
        return {"plain": jnp.where(known, 0.0, plain), "adaptive": jnp.where(known, plain * r * jnp.sqrt(left), 0.0)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        new = moments(g, slots, self.beta_1, self.beta_2)
        factor = scalars["plain"] + scalars["adaptive"] / (jnp.sqrt(new["velocity"]) + self.epsilon)
        return -factor * new["momentum"], new


class Lamb(_Moments):
    """Adam for large batches: each array moves by ``rate |p| / |u| u``, ``u`` being Adam's corrected step.

    Where ``|p|`` or ``|u|`` is zero it moves by ``rate u``. Source: You et al. 2020, arXiv:1904.00962.

    >>> Lamb().slots
    ('momentum', 'velocity')
    """

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, **options: Any
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        t = (step + 1).astype(rate.dtype)
        return {"rate": rate, "mean": one_less_power(self.beta_1, t), "size": one_less_power(self.beta_2, t)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        new = moments(g, slots, self.beta_1, self.beta_2)
        u = new["momentum"] / scalars["mean"] / (jnp.sqrt(new["velocity"] / scalars["size"]) + self.epsilon)
        ours, theirs = (jnp.sqrt(jnp.sum(jnp.square(a))) for a in (p, u))
        both = (ours > 0) & (theirs > 0)
        return -scalars["rate"] * jnp.where(both, ours / jnp.where(both, theirs, 1), 1) * u, new


class ScheduleFreeAdamW(_Moments):
    """Adam whose averaging stands in for a schedule: gradients are taken between the fast weights z and their average x.

    ``z -= rate g / (sqrt(v / (1 - beta_2^t)) + epsilon)``, ``x += (z - x) / t``, ``p = (1 - beta_1) z + beta_1 x``. The rate
    rises in a line for ``warmup_steps``. The slot ``momentum`` holds z. Source: Defazio et al. 2024, arXiv:2405.15682.

    >>> ScheduleFreeAdamW().beta_1
    0.9
    """

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **options: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)
        if not beta_1 > 0:
            raise ValueError(f"beta_1={beta_1}: ScheduleFreeAdamW needs a number above 0, since the average is read off by it")
        self.warmup_steps = warmup_steps

    def start(self, slot: str, p: Any, path: str) -> Any:
        return copy_of(p) if slot == "momentum" else full_like(p, 0.0)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        t = (step + 1).astype(rate.dtype)
        if self.warmup_steps > 0:
            rate = rate * jnp.minimum(t / self.warmup_steps, 1)
        return {"rate": rate, "size": one_less_power(self.beta_2, t), "part": 1 / t}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        z, v = slots["momentum"], slots["velocity"]
        average = (p - (1 - self.beta_1) * z) / self.beta_1
        v = v + (1 - self.beta_2) * (g * g - v)
        z = z - scalars["rate"] * g / (jnp.sqrt(v / scalars["size"]) + self.epsilon)
        average = (1 - scalars["part"]) * average + scalars["part"] * z
        return (1 - self.beta_1) * z + self.beta_1 * average - p, {"momentum": z, "velocity": v}
