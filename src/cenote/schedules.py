"""Learning-rate schedules with Keras's names and numbers: a step count to a rate, inside compiled code too.

What only PyTorch has is here in Keras's manner: a pure function of the optimizer's steps, which needs no calls of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Sequence as List
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.configurable import Configurable, family, resolve
from cenote.core.errors import unknown

__all__ = [
    "NAMES",
    "CosineDecay",
    "CosineDecayRestarts",
    "Cyclic",
    "ExponentialDecay",
    "InverseSquareRootDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "MultiStepDecay",
    "MultiplicativeDecay",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Product",
    "Schedule",
    "Sequence",
    "Warmup",
    "WarmupCosineDecay",
    "get",
]


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
    """A factor for each ``decay_steps``: ``initial * decay_rate ^ (step / decay_steps)``.

    ``staircase`` rounds the exponent down.

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
    """One over the time: ``initial / (1 + decay_rate * step / decay_steps)``.

    ``staircase`` rounds the quotient down.

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
    """A constant rate up to each boundary: ``values[0]`` up to and with step ``boundaries[0]``, then ``values[1]``, and so on.

    Raises: ValueError unless there is one value more than boundaries.

    >>> rate = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> [round(rate(step).item(), 2) for step in (10, 11, 21)]
    [1.0, 0.5, 0.1]
    """

    def __init__(self, boundaries: List[float], values: List[float], name: str = "PiecewiseConstant"):
        if not boundaries or len(boundaries) != len(values) - 1 or list(boundaries) != sorted(boundaries):
            raise ValueError(
                f"boundaries={list(boundaries)} (rising) and values={list(values)}: give one value more than boundaries"
            )
        self.boundaries, self.values, self.name = boundaries, values, name

    def __call__(self, step: Any) -> jax.Array:
        passed = jnp.sum(jnp.asarray(step) > jnp.asarray(self.boundaries))
        return jnp.asarray(self.values, jnp.float32)[passed]


class PolynomialDecay(Schedule):
    """A power of a line down to the end, where it stays: ``(initial - end) (1 - step / decay_steps)^power + end``.

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


class MultiStepDecay(Schedule):
    """A factor at each milestone, ``initial * decay_rate ^ n`` after n of them: PyTorch's MultiStepLR.

    >>> [round(MultiStepDecay(1.0, [3, 5], 0.1)(step).item(), 3) for step in (2, 3, 5)]
    [1.0, 0.1, 0.01]
    """

    def __init__(
        self, initial_learning_rate: float, milestones: List[int], decay_rate: float = 0.1, name: str = "MultiStepDecay"
    ):
        self.initial_learning_rate, self.milestones, self.decay_rate = initial_learning_rate, list(milestones), decay_rate
        self.name = name

    def __call__(self, step: Any) -> jax.Array:
        passed = jnp.sum(jnp.asarray(step) >= jnp.asarray(self.milestones or [math.inf]))
        return self.initial_learning_rate * jnp.power(jnp.float32(self.decay_rate), passed)


class MultiplicativeDecay(Schedule):
    """A factor of one's own in each step, constant after ``decay_steps``: PyTorch's MultiplicativeLR.

    The rate at a step is the initial one times ``function(1)`` to ``function(step)``. The products are reckoned once, so that
    the function may be any Python of a step number.

    >>> round(MultiplicativeDecay(1.0, lambda step: 0.5, decay_steps=10)(3).item(), 4)
    0.125
    """

    def __init__(
        self,
        initial_learning_rate: float,
        function: Callable[[int], float],
        decay_steps: int,
        name: str = "MultiplicativeDecay",
    ):
        _positive(decay_steps=decay_steps)
        self.initial_learning_rate, self.function, self.decay_steps = initial_learning_rate, function, decay_steps
        self.name = name
        factors = [float(function(step)) for step in range(1, decay_steps + 1)]
        self._rates = np.cumprod([initial_learning_rate, *factors]).astype(np.float32)

    def __call__(self, step: Any) -> jax.Array:
        return jnp.asarray(self._rates)[jnp.minimum(jnp.asarray(step), self.decay_steps)]


class OneCycle(Schedule):
    """Up to ``max_learning_rate`` and down to almost nothing in ``total_steps``: PyTorch's OneCycleLR.

    From ``max / div_factor`` up in the first ``pct_start`` of the steps, then down to ``max / div_factor / final_div_factor``,
    by half cosines (``anneal_strategy="cos"``) or lines ("linear"); ``three_phase`` goes down as long as up, and then on to
    the end. The momentum does not cycle. Source: Smith and Topin 2018, arXiv:1708.07120.

    >>> rate = OneCycle(1.0, total_steps=100, pct_start=0.5)
    >>> [round(rate(step).item(), 4) for step in (0, 49, 99)]
    [0.04, 1.0, 0.0]
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        name: str = "OneCycle",
    ):
        _positive(total_steps=total_steps)
        if anneal_strategy not in ("cos", "linear"):
            raise unknown("anneal_strategy", anneal_strategy, ("cos", "linear"))
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start={pct_start}: give a part of the steps from 0 to 1, such as 0.3")
        self.max_learning_rate, self.total_steps, self.pct_start = max_learning_rate, total_steps, pct_start
        self.anneal_strategy, self.div_factor, self.final_div_factor = anneal_strategy, div_factor, final_div_factor
        self.three_phase, self.name = three_phase, name

    def __call__(self, step: Any) -> jax.Array:
        step, top = _real(step), self.max_learning_rate
        low = top / self.div_factor
        turns = [0.0, self.pct_start * self.total_steps - 1, self.total_steps - 1]
        rates = [low, top, low / self.final_div_factor]
        if self.three_phase:
            turns.insert(2, 2 * self.pct_start * self.total_steps - 2)
            rates.insert(2, low)
        found = jnp.float32(rates[-1])
        for begin, end, first, last in reversed(list(zip(turns, turns[1:], rates, rates[1:], strict=False))):
            part = jnp.clip((step - begin) / (end - begin or 1), 0, 1)
            if self.anneal_strategy == "cos":
                part = 0.5 * (1 - jnp.cos(jnp.pi * part))
            found = jnp.where(step <= end, first + (last - first) * part, found)
        return found


class Cyclic(Schedule):
    """Up and down between two rates again and again, ``step_size_up`` steps up, ``step_size_down`` down: PyTorch's CyclicLR.

    ``mode``: "triangular" keeps the height, "triangular2" halves it in each cycle, "exp_range" shrinks it by ``gamma`` in each
    step; or ``scale_fn`` gives the height, of the cycle (from 1) or of the step (``scale_mode="iterations"``).
    Source: Smith 2017, arXiv:1506.01186.

    >>> rate = Cyclic(0.0, 1.0, step_size_up=4)
    >>> [rate(step).item() for step in (0, 2, 4, 6, 8)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        max_learning_rate: float,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable | None = None,
        scale_mode: str = "cycle",
        name: str = "Cyclic",
    ):
        _positive(step_size_up=step_size_up)
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise unknown("mode", mode, ("triangular", "triangular2", "exp_range"))
        self.initial_learning_rate, self.max_learning_rate, self.name = initial_learning_rate, max_learning_rate, name
        self.step_size_up, self.step_size_down = step_size_up, step_size_down or step_size_up
        self.mode, self.gamma, self.scale_fn, self.scale_mode = mode, gamma, scale_fn, scale_mode

    def __call__(self, step: Any) -> jax.Array:
        step = _real(step)
        whole = self.step_size_up + self.step_size_down
        cycle = jnp.floor(1 + step / whole)
        at = step - (cycle - 1) * whole
        height = jnp.where(at <= self.step_size_up, at / self.step_size_up, (whole - at) / self.step_size_down)
        return self.initial_learning_rate + (self.max_learning_rate - self.initial_learning_rate) * height * self._scale(
            cycle, step
        )

    def _scale(self, cycle: jax.Array, step: jax.Array) -> Any:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else step)
        if self.mode == "triangular2":
            return jnp.exp2(1 - cycle)
        return jnp.power(self.gamma, step) if self.mode == "exp_range" else 1.0


class Warmup(Schedule):
    """A line from ``initial_learning_rate`` to any schedule's (or number's) first rate in ``warmup_steps``, then the schedule.

    >>> rate = Warmup(CosineDecay(1.0, 10), warmup_steps=5)
    >>> [round(rate(step).item(), 2) for step in (0, 1, 5, 10)]
    [0.0, 0.2, 1.0, 0.5]
    """

    def __init__(self, schedule: Any, warmup_steps: int, initial_learning_rate: float = 0.0, name: str = "Warmup"):
        _positive(warmup_steps=warmup_steps)
        self.schedule, self.warmup_steps, self.initial_learning_rate, self.name = (
            get(schedule),
            warmup_steps,
            initial_learning_rate,
            name,
        )

    def __call__(self, step: Any) -> jax.Array:
        step, first = jnp.asarray(step), rate_at(self.schedule, 0)
        rise = self.initial_learning_rate + (first - self.initial_learning_rate) * _real(step) / self.warmup_steps
        after = rate_at(self.schedule, jnp.maximum(step - self.warmup_steps, 0))
        return jnp.where(step < self.warmup_steps, rise, after)


class WarmupCosineDecay(Schedule):
    """Up in a line to ``max_learning_rate`` in ``warmup_steps``, then half a cosine down to ``alpha`` times it.

    The cosine ends at ``total_steps``, the warmup's among them; after that the rate stays.

    >>> rate = WarmupCosineDecay(1.0, warmup_steps=10, total_steps=30)
    >>> [round(rate(step).item(), 2) for step in (0, 5, 10, 20, 30)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        max_learning_rate: float,
        warmup_steps: int,
        total_steps: int,
        alpha: float = 0.0,
        initial_learning_rate: float = 0.0,
        name: str = "WarmupCosineDecay",
    ):
        _positive(warmup_steps=warmup_steps)
        if not total_steps > warmup_steps:
            raise ValueError(f"total_steps={total_steps}: give more than the warmup_steps={warmup_steps}, which are among them")
        self.max_learning_rate, self.warmup_steps, self.total_steps = max_learning_rate, warmup_steps, total_steps
        self.alpha, self.initial_learning_rate, self.name = alpha, initial_learning_rate, name

    def __call__(self, step: Any) -> jax.Array:
        fall = CosineDecay(self.max_learning_rate, self.total_steps - self.warmup_steps, self.alpha)
        return Warmup(fall, self.warmup_steps, self.initial_learning_rate)(step)


class InverseSquareRootDecay(Schedule):
    """Up in a line to ``max_learning_rate`` in ``warmup_steps``, then ``max sqrt(warmup_steps / step)``: the transformer's.

    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> [InverseSquareRootDecay(1.0, 100)(step).item() for step in (50, 100, 400)]
    [0.5, 1.0, 0.5]
    """

    def __init__(self, max_learning_rate: float, warmup_steps: int, name: str = "InverseSquareRootDecay"):
        _positive(warmup_steps=warmup_steps)
        self.max_learning_rate, self.warmup_steps, self.name = max_learning_rate, warmup_steps, name

    def __call__(self, step: Any) -> jax.Array:
        part = _real(step) / self.warmup_steps
        return self.max_learning_rate * jnp.minimum(part, 1 / jnp.sqrt(jnp.maximum(part, 1)))


class Sequence(Schedule):
    """One schedule after the other, the next from each of the ``boundaries`` on, counting its steps from 0 there.

    Numbers are constant rates. PyTorch's SequentialLR; ``Sequence([rate / 3, rate], [5])`` is its ConstantLR.

    >>> rate = Sequence([0.1, ExponentialDecay(1.0, 1, 0.5)], [3])
    >>> [round(rate(step).item(), 2) for step in (0, 2, 3, 4)]
    [0.1, 0.1, 1.0, 0.5]
    """

    def __init__(self, schedules: Any, boundaries: Any, name: str = "Sequence"):
        self.schedules, self.boundaries, self.name = [get(s) for s in schedules], list(boundaries), name
        if len(self.schedules) != len(self.boundaries) + 1 or self.boundaries != sorted(self.boundaries):
            raise ValueError(
                f"Sequence has {len(self.schedules)} schedules and the boundaries {self.boundaries} (rising): "
                f"give one schedule more than boundaries"
            )

    def _given(self) -> list[tuple[str, Any]]:
        return [("schedules", self.schedules), ("boundaries", self.boundaries), ("name", self.name)]

    def __call__(self, step: Any) -> jax.Array:
        step = jnp.asarray(step)
        found = rate_at(self.schedules[0], step)
        for schedule, begin in zip(self.schedules[1:], self.boundaries, strict=True):
            found = jnp.where(step < begin, found, rate_at(schedule, jnp.maximum(step - begin, 0)))
        return found


class Product(Schedule):
    """Several schedules multiplied, such as a rate and factors from 1: PyTorch's ChainedScheduler.

    >>> rate = Product([CosineDecay(0.1, 10), MultiStepDecay(1.0, [5], 0.5)])
    >>> round(rate(5).item(), 4)
    0.025
    """

    def __init__(self, schedules: Any, name: str = "Product"):
        self.schedules, self.name = [get(s) for s in schedules], name
        if not self.schedules:
            raise ValueError("Product needs at least one schedule")

    def _given(self) -> list[tuple[str, Any]]:
        return [("schedules", self.schedules), ("name", self.name)]

    def __call__(self, step: Any) -> jax.Array:
        found = jnp.float32(1)
        for schedule in self.schedules:
            found = found * rate_at(schedule, step)
        return found


def rate_at(schedule: Any, step: Any) -> jax.Array:
    """The rate of a schedule or of a number at a step."""
    return jnp.asarray(schedule(step) if callable(schedule) else schedule, jnp.float32)


LearningRateSchedule = Schedule

NAMES = family(
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    CosineDecay,
    CosineDecayRestarts,
    MultiStepDecay,
    MultiplicativeDecay,
    OneCycle,
    Cyclic,
    Warmup,
    WarmupCosineDecay,
    InverseSquareRootDecay,
    Sequence,
    Product,
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
