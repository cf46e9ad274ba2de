"""Learning-rate schedules with Keras's names and numbers: a step count to a rate, inside compiled code too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.configurable import Configurable, family, resolve


class Schedule(Configurable):
    """Base of schedules: write ``__call__(self, step) -> rate``, with jax.numpy, for steps counted from 0.

    >>> class Halving(Schedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5**step
    >>> Halving()(1)
    0.05
    """

    def __call__(self, step: Any) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, step): write the rate there")


def _real(step: Any) -> jax.Array:
    return jnp.asarray(step, jnp.float32)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: give a positive number")


class ExponentialDecay(Schedule):
    """``initial * decay_rate ^ (step / decay_steps)``; ``staircase`` rounds the exponent down.

    >>> round(ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(10).item(), 4)
    0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        _positive(decay_steps=decay_steps)
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name

    def __call__(self, step: Any) -> jax.Array:
        p = _real(step) / self.decay_steps
        return self.initial_learning_rate * jnp.power(self.decay_rate, jnp.floor(p) if self.staircase else p)


class InverseTimeDecay(Schedule):
    """``initial / (1 + decay_rate * step / decay_steps)``; ``staircase`` rounds the quotient down.

    >>> round(InverseTimeDecay(0.1, decay_steps=10, decay_rate=1.0)(10).item(), 4)
    0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        _positive(decay_steps=decay_steps)
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name

    def __call__(self, step: Any) -> jax.Array:
        p = _real(step) / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (jnp.floor(p) if self.staircase else p))


class PiecewiseConstantDecay(Schedule):
    """``values[0]`` up to and with step ``boundaries[0]``, then ``values[1]``, and so on.

    Raises: ValueError unless there is one value more than boundaries.

    >>> rate = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> [round(rate(step).item(), 2) for step in (10, 11, 21)]
    [1.0, 0.5, 0.1]
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        if not boundaries or len(boundaries) != len(values) - 1 or list(boundaries) != sorted(boundaries):
            raise ValueError(
                f"boundaries={list(boundaries)} (rising) and values={list(values)}: give one value more than boundaries"
            )
        self.boundaries, self.values, self.name = boundaries, values, name

    def __call__(self, step: Any) -> jax.Array:
        passed = jnp.sum(jnp.asarray(step) > jnp.asarray(self.boundaries))
        return jnp.asarray(self.values, jnp.float32)[passed]


class PolynomialDecay(Schedule):
    """``(initial - end) (1 - step / decay_steps)^power + end``, staying at the end.

    ``cycle`` begins again, each time towards the next multiple of ``decay_steps``.

    >>> round(PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)(5).item(), 4)
    0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        _positive(decay_steps=decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name

    def __call__(self, step: Any) -> jax.Array:
        step = _real(step)
        if self.cycle:
            p = step / (self.decay_steps * jnp.maximum(1, jnp.ceil(step / self.decay_steps)))
        else:
            p = jnp.minimum(step, self.decay_steps) / self.decay_steps
        span = self.initial_learning_rate - self.end_learning_rate
        return span * jnp.power(1 - p, self.power) + self.end_learning_rate


class CosineDecay(Schedule):
    """Half a cosine from the initial rate down to ``alpha`` times it in ``decay_steps``.

    With ``warmup_target`` the rate first rises in a line from the initial rate to the target in ``warmup_steps``, and the
    cosine falls from there. Source: Loshchilov and Hutter 2017, arXiv:1608.03983.

    >>> round(CosineDecay(0.1, decay_steps=10)(5).item(), 4)
    0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        _positive(decay_steps=decay_steps)
        self.initial_learning_rate, self.decay_steps, self.alpha = initial_learning_rate, decay_steps, alpha
        self.name, self.warmup_target, self.warmup_steps = name, warmup_target, warmup_steps

    def __call__(self, step: Any) -> jax.Array:
        step, start = _real(step), self.initial_learning_rate
        if self.warmup_target is None:
            return self._fall(step, start)
        rise = start + (self.warmup_target - start) * step / max(self.warmup_steps, 1)
        return jnp.where(step < self.warmup_steps, rise, self._fall(step - self.warmup_steps, self.warmup_target))

    def _fall(self, step: jax.Array, top: float) -> jax.Array:
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step, self.decay_steps) / self.decay_steps))
        return top * ((1 - self.alpha) * cosine + self.alpha)


class CosineDecayRestarts(Schedule):
    """Cosines again and again, each ``t_mul`` times longer and beginning ``m_mul`` times as high as the one before.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983.

    >>> rate = CosineDecayRestarts(0.1, first_decay_steps=10)
    >>> [round(rate(step).item(), 4) for step in (0, 5, 10, 20)]
    [0.1, 0.05, 0.1, 0.05]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        _positive(first_decay_steps=first_decay_steps, t_mul=t_mul)
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def __call__(self, step: Any) -> jax.Array:
        done = _real(step) / self.first_decay_steps
        if self.t_mul == 1.0:
            restart = jnp.floor(done)
            done = done - restart
        else:  # after n restarts, (1 - t^n) / (1 - t) first periods have gone by
            restart = jnp.floor(jnp.log(1 - done * (1 - self.t_mul)) / math.log(self.t_mul))
            length = jnp.power(self.t_mul, restart)
            done = (done - (1 - length) / (1 - self.t_mul)) / length
        cosine = 0.5 * jnp.power(self.m_mul, restart) * (1 + jnp.cos(jnp.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


LearningRateSchedule = Schedule

NAMES = family(
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    CosineDecay,
    CosineDecayRestarts,
)


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Callable | float:
    """The schedule for a config dict, a `Schedule` or a function of the step; a number stays a number.

    Raises: ValueError for an unknown name, listing the near ones.

    >>> get({"class": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 5}).decay_steps
    5
    """
    if isinstance(identifier, (int, float)) or hasattr(identifier, "dtype"):
        return float(identifier)
    return resolve("schedule", identifier, NAMES, custom=custom)
