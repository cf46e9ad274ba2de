"""What all optimizers share: the pure pair, clipping, decay, groups, accumulation of gradients, averages of weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote import schedules
from cenote.core.configurable import Configurable, parameters, snake
from cenote.core.errors import unknown

Slots = dict[str, Any]
Scalars = dict[str, jax.Array]


class Optimizer(Configurable):
    """Base of optimizers: name the ``slots`` kept for each array, and write ``step(g, p, slots, scalars)``.

    State: ``{"step": int32, "learning_rate": float32, slot: arrays shaped as the parameters}``. The learning rate in the
    state is the one that is used, so it may be changed between steps; a schedule writes it anew at each step.

    Options of every optimizer, with Keras's names and numbers:

    - ``weight_decay`` takes ``learning_rate * weight_decay * p`` off each parameter, before the rule sees it. Those whose
      path holds a word of ``exclude_from_weight_decay`` (or matches it as a regular expression or a glob) keep theirs.
    - ``clipnorm`` clips each gradient to this 2-norm, ``global_clipnorm`` all together, ``clipvalue`` each number to +-this.
    - ``use_ema`` keeps a moving average of the parameters, ``a = ema_momentum a + (1 - ema_momentum) p``, and puts it in
      their place every ``ema_overwrite_frequency`` updates and at the end of `fit`.
    - ``gradient_accumulation_steps`` sums this many gradients, and steps with their mean.
    - ``loss_scale_factor`` multiplies the loss before the gradients are taken, and divides the gradients by it.
    - ``groups`` gives parameters their own rate and decay by pattern of the path, the first that matches:
      ``{"encoder.*": {"learning_rate": 1e-5}, "*.bias": {"multiplier": 2, "weight_decay": 0}}``. ``learning_rate`` is a number
      or a schedule that holds whatever the rate of the others is; ``multiplier`` follows it. ``"encoder"`` means all below it.

    Raises: ValueError for two ways of clipping at once, a learning rate below zero, or an option out of its range.

    >>> class Signs(Optimizer):
    ...     def step(self, g, p, slots, scalars):
    ...         return -scalars["rate"] * jnp.sign(g), slots
    >>> signs, params = Signs(0.5), {"w": jnp.zeros(2)}
    >>> updates, state = signs.update({"w": jnp.array([3.0, -1.0])}, signs.init(params), params)
    >>> updates["w"].tolist(), state["step"].item()
    ([-0.5, 0.5], 1)
    """

    slots: tuple[str, ...] = ()
    wants_value: bool = False  # does update() take value=, grad= and value_fn=, as optax's line searches do?
    full_batch: bool = False  # is it made for all of the data at once? Then that is what `fit` gives without a batch_size

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        exclude_from_weight_decay: Iterable[str] | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        name: str | None = None,
        **others: Any,
    ):
        if others:
            takes = dict.fromkeys([*parameters(type(self)), *parameters(Optimizer)])
            names = ", ".join(n for n in takes if n not in ("options", "others"))
            raise TypeError(f"{type(self).__name__} has no argument {next(iter(others))!r}. It takes: {names}")
        kind = type(self).__name__
        self.name = name or snake(kind)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(c is not None for c in clips.values()) > 1:
            raise ValueError(f"{kind}: give only one of clipnorm, clipvalue, global_clipnorm; got {clips}")
        self.use_ema, self.ema_momentum, self.ema_overwrite_frequency = use_ema, ema_momentum, ema_overwrite_frequency
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(f"{kind}(ema_momentum={ema_momentum}): give a number from 0 to 1, such as 0.99")
        if use_ema and ema_overwrite_frequency is not None:
            _whole(kind, "ema_overwrite_frequency", ema_overwrite_frequency, 1)
        self.loss_scale_factor, self.gradient_accumulation_steps = loss_scale_factor, gradient_accumulation_steps
        if gradient_accumulation_steps is not None:
            _whole(kind, "gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self.groups = {pattern: _group(pattern, settings) for pattern, settings in (groups or {}).items()}
        self.exclude_from_weight_decay(var_names=exclude_from_weight_decay)

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

    @property
    def first_rate(self) -> float:
        """The rate of the first step."""
        rate: Any = self.learning_rate
        return float(np.asarray(rate(0) if callable(rate) else rate))

    def exclude_from_weight_decay(
        self, var_list: Iterable[str] | None = None, var_names: Iterable[str] | str | None = None
    ) -> None:
        """Keep weight decay from the parameters of these paths, and from those whose path holds one of these words.

        Call it before training. As in Keras a word is a regular expression that is searched for; globs do as well.

        >>> optimizer = Optimizer(weight_decay=0.1)
        >>> optimizer.exclude_from_weight_decay(var_names=["bias", "*.scale"])
        >>> [optimizer.decay(path, None) for path in ("layers.0.kernel", "layers.0.bias", "norm.scale")]
        [0.1, None, None]
        """
        words = [var_names] if isinstance(var_names, str) else list(var_names or ())
        self._words = (*words, *(f"^{re.escape(path)}$" for path in var_list or ()))

    def _given(self) -> list[tuple[str, Any]]:
        given = dict(super()._given())
        if "learning_rate" in given:
            given["learning_rate"] = self.learning_rate
        if getattr(self, "_words", ()):
            given["exclude_from_weight_decay"] = list(self._words)
        return list(given.items())

    @property
    def transformation(self) -> Any:
        """The same as an `optax.GradientTransformation`, for `optax.chain` and its like."""
        import optax

        make = optax.GradientTransformationExtraArgs if self.wants_value else optax.GradientTransformation
        return make(self.init, self.update)  # pyright: ignore[reportArgumentType]

    def minimize(self, loss: Any) -> Any:
        """A node that takes one step on a graph's loss when it is fetched: ``graph.run([train, loss], feeds={...})``."""
        from cenote.core.graph import TrainNode

        return TrainNode(self, loss)

    # -- what a rule writes --------------------------------------------------------------------------------------------

    def start(self, slot: str, p: Any, path: str) -> Any:
        """The first value of a slot for a parameter; None where this parameter has none."""
        return full_like(p, 0.0)

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        """Numbers that all arrays share, reckoned once a step; ``step`` counts updates from 0."""
        return {"rate": rate}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        """What to add to a parameter, and its new slots."""
        raise NotImplementedError(f"{type(self).__name__} has no step(self, g, p, slots, scalars): write the rule there")

    def usual_decay(self, path: str, p: Any) -> float | None:
        """The weight decay of a parameter for which neither a group nor an exclusion says otherwise."""
        return self.weight_decay

    def decay(self, path: str, p: Any) -> float | None:
        """The weight decay of a parameter; None for none."""
        if any(fnmatchcase(path, word) or _found(word, path) for word in self._words):
            return None
        return self._group(path).get("weight_decay", self.usual_decay(path, p))

    # -- the pure pair -------------------------------------------------------------------------------------------------

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first step, for parameters in any tree."""
        state: dict[str, Any] = {
            "step": jax.device_put(np.zeros((), np.int32)),
            "learning_rate": jax.device_put(np.asarray(self.first_rate, np.float32)),
        }
        paths, flat, structure = leaves(params)
        self._check_groups(paths)
        for slot in self.slots:
            state[slot] = structure.unflatten([self.start(slot, p, path) for p, path in zip(flat, paths, strict=True)])
        if self.gradient_accumulation_steps:
            state["accumulated"] = structure.unflatten([full_like(p, 0.0) for p in flat])
        if self.use_ema:
            state["average"] = structure.unflatten([copy_of(p) for p in flat])
        return state

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        """What to add to the parameters, and the next state."""
        step, (rate, paths, flat, structure, gradients) = state["step"], self._begun(grads, state, params)
        kept = {slot: structure.flatten_up_to(state[slot]) for slot in self.slots}
        several, counted = self.gradient_accumulation_steps, step
        new: dict[str, Any] = {"step": step + 1, "learning_rate": rate}
        if several:
            counted, due = step // several, (step + 1) % several == 0
            sums = [g + a for g, a in zip(gradients, structure.flatten_up_to(state["accumulated"]), strict=True)]
            changes, kept = jax.lax.cond(
                due,
                lambda: self._move([s / several for s in sums], flat, kept, paths, step, counted, rate),
                lambda: ([jnp.zeros_like(p) for p in flat], kept),
            )
            new["accumulated"] = structure.unflatten([jnp.where(due, 0, s) for s in sums])
        else:
            changes, kept = self._move(gradients, flat, kept, paths, step, counted, rate)
        if self.use_ema:
            averages = structure.flatten_up_to(state["average"])
            changes, averages = self._average(changes, flat, averages, counted)
            new["average"] = structure.unflatten(averages)
        new.update({slot: structure.unflatten(kept[slot]) for slot in self.slots})
        return structure.unflatten(changes), new

    def _begun(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, list[str], list, Any, list]:
        """The rate of this step, and paths, arrays and structure of the parameters, with a gradient for each."""
        rate = state["learning_rate"]
        if callable(self.learning_rate):
            rate = jnp.asarray(self.learning_rate(state["step"]), jnp.float32)
        paths, flat, structure = leaves(params)
        gradients = [g.astype(p.dtype) for g, p in zip(structure.flatten_up_to(grads), flat, strict=True)]
        if self.loss_scale_factor is not None:
            gradients = [g / self.loss_scale_factor for g in gradients]
        return rate, paths, flat, structure, gradients

    def _numbers(self, paths: list[str], flat: list, step: Any, counted: Any, rate: Any) -> list[tuple[Scalars, Any]]:
        """For each array the scalars of the rule, and the part that it loses by weight decay, or None."""
        rates: dict[int, tuple[Any, Scalars]] = {}
        found = []
        for p, path in zip(flat, paths, strict=True):
            group = self._group(path)
            if id(group) not in rates:
                own = _rate_in(group, rate, step)
                rates[id(group)] = own, self.scalars(counted, own.astype(jnp.result_type(float)))
            own, scalars = rates[id(group)]
            decay = self.decay(path, p)
            lost = None if decay is None else (own * decay).astype(p.dtype)
            found.append(({name: value.astype(p.dtype) for name, value in scalars.items()}, lost))
        return found

    def _move(
        self, gradients: list, flat: list, kept: dict[str, list], paths: list[str], step: Any, counted: Any, rate: Any
    ) -> tuple[list, dict[str, list]]:
        """Clip, decay and apply the rule to each array."""
        gradients = self.clip(gradients)
        kept = {slot: list(values) for slot, values in kept.items()}
        changes = []
        numbers = self._numbers(paths, flat, step, counted, rate)
        for i, (g, p, (near, part)) in enumerate(zip(gradients, flat, numbers, strict=True)):
            lost = None if part is None else part * p  # the rule sees the parameter after its decay, as in Keras
            change, new = self.step(g, p if lost is None else p - lost, {slot: kept[slot][i] for slot in self.slots}, near)
            changes.append(change if lost is None else change - lost)
            for slot in self.slots:
                kept[slot][i] = new[slot]
        return changes, kept

    def _average(self, changes: list, flat: list, averages: list, counted: Any) -> tuple[list, list]:
        """Move the averages of the parameters, and put them in their place when it is time."""
        for i, (change, p) in enumerate(zip(changes, flat, strict=True)):
            momentum = jnp.where(counted == 0, 0.0, self.ema_momentum).astype(p.dtype)
            averages[i] = momentum * averages[i] + (1 - momentum) * (p + change)
            if self.ema_overwrite_frequency:
                due = (counted + 1) % self.ema_overwrite_frequency == 0
                changes[i] = jnp.where(due, averages[i] - p, change)
        return changes, averages

    def clip(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """Gradients cut to the size that the optimizer was given."""
        if self.clipnorm:
            return [g * (self.clipnorm / jnp.maximum(_norm(g), self.clipnorm)) for g in gradients]
        if self.global_clipnorm:
            size = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))
            scale = self.global_clipnorm / jnp.maximum(size, self.global_clipnorm) + (size - size)  # all NaN if one is
            return [g * scale.astype(g.dtype) for g in gradients]
        if self.clipvalue:
            return [jnp.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        return gradients

    # -- what the training step asks -----------------------------------------------------------------------------------

    def scale_loss(self, loss: Any, state: Any = None) -> Any:
        """The loss as the gradients shall be taken of it."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # -- groups --------------------------------------------------------------------------------------------------------

    def _group(self, path: str) -> dict[str, Any]:
        return next((settings for pattern, settings in self.groups.items() if matches(pattern, path)), _NO_GROUP)

    def _check_groups(self, paths: list[str]) -> None:
        for pattern in self.groups:
            if not any(matches(pattern, path) for path in paths):
                shown = ", ".join(paths[:8]) + (", ..." if len(paths) > 8 else "")
                warnings.warn(
                    f"{type(self).__name__}: the group {pattern!r} holds no trained weight; the weights are {shown}",
                    stacklevel=3,
                )


_NO_GROUP: dict[str, Any] = {}


def averages(state: Any) -> dict[str, Any]:
    """The averages of the parameters that an optimizer's state holds, by path; empty if there are none.

    >>> averages(Optimizer(use_ema=True).init({"w": 2.0}))
    {'w': Array(2., dtype=float32...)}
    """
    if not isinstance(state, dict):
        return {}
    inner = [state["inner"]] if "inner" in state else state.get("optimizers", ())
    return {**state.get("average", {}), **{path: a for own in inner for path, a in averages(own).items()}}


def matches(pattern: str, path: str) -> bool:
    """Whether a dotted path matches a glob, or lies below the part of a model that is named.

    >>> [matches(pattern, "encoder.0.bias") for pattern in ("encoder", "encoder.*", "*.bias", "enc")]
    [True, True, True, False]
    """
    return fnmatchcase(path, pattern) or path.startswith(f"{pattern}.")


def _found(word: str, path: str) -> bool:
    try:
        return re.search(word, path) is not None
    except re.error:  # a glob such as "*.bias" is no regular expression
        return False


def _group(pattern: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    known = ("learning_rate", "multiplier", "weight_decay")
    for name in settings:
        if name not in known:
            raise unknown(f"setting of the group {pattern!r}", name, known)
    if "learning_rate" in settings and "multiplier" in settings:
        raise ValueError(f"the group {pattern!r} has a learning_rate and a multiplier: give one of them")
    found = dict(settings)
    if "learning_rate" in found:
        found["learning_rate"] = schedules.get(found["learning_rate"])
    return found


def _rate_in(group: dict[str, Any], rate: Any, step: Any) -> Any:
    if "multiplier" in group:
        return rate * group["multiplier"]
    own = group.get("learning_rate", rate)
    return jnp.asarray(own(step) if callable(own) else own, jnp.float32)


def _whole(kind: str, name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{kind}({name}={value!r}): give a whole number of at least {least}, or None")


def _norm(g: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(g)))


def leaves(params: Any) -> tuple[list[str], list[Any], Any]:
    """The dotted paths of a tree's arrays, the arrays, and the tree's structure.

    >>> leaves({"a": {"b": 1}, "c.d": [2, 3]})[0]
    ['a.b', 'c.d.0', 'c.d.1']
    """
    found, structure = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in found], [p for _, p in found], structure


def full_like(p: Any, value: float, shape: tuple[int, ...] | None = None, dtype: Any = None) -> Any:
    """An array like a parameter, on its device, filled on the host: nothing is compiled for each shape."""
    if isinstance(p, jax.core.Tracer) or not isinstance(p, jax.Array):
        return jnp.full(jnp.shape(p) if shape is None else shape, value, dtype or jnp.result_type(p))
    filled = np.full(p.shape if shape is None else shape, value, dtype or p.dtype)
    # A committed array among free ones would make the compiler treat the first and the second step differently.
    same = shape is None and getattr(p, "committed", False)
    return jax.device_put(filled, p.sharding) if same else jax.device_put(filled)


def copy_of(p: Any) -> Any:
    """The same values in an array of its own: steps may consume parameters and state separately."""
    if isinstance(p, jax.core.Tracer) or not isinstance(p, jax.Array):
        return jnp.array(p)
    return jax.device_put(np.array(p), p.sharding) if getattr(p, "committed", False) else jax.device_put(np.array(p))


def one_less_power(beta: float, t: jax.Array) -> jax.Array:
    """``1 - beta^t`` without the loss of digits that the difference has for small t."""
    return -jnp.expm1(t * np.log(beta)) if beta else jnp.ones_like(t)


def check_betas(**betas: float) -> None:
    for name, beta in betas.items():
        if not 0 <= beta < 1:
            raise ValueError(f"{name}={beta}: give a number from 0 up and below 1")
