"""One training step: a pure function of the train state and a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from ..core import Weight
from ..kernels.training import stepping
from ..optimizers import averages
from ..optimizers.lazy import Rows
from .objective import Batch, Objective, Totals
from .state import TrainState, copy_arrays

Step = Callable[[TrainState, Totals, Batch], tuple[TrainState, Totals]]


def make_step(objective: Objective, optimizer: Any, weights: dict[str, Weight]) -> Step:
    """The step of an objective under an optimizer; ``weights`` says which are trained, and their constraints.

    An optimizer is anything with ``init(params) -> state`` and ``update(grads, state, params) -> (updates, state)``. More is
    asked of it if it has it: ``scale_loss(loss, state)`` gives the loss that the gradients are taken of, and with
    ``wants_value`` its update also gets ``value=``, ``grad=`` and ``value_fn=``, the batch's loss as a function of the params.
    One that ``wants_rows`` gets the gradients of plain embedding tables as `Rows`. One with ``moved(grads, state, params)`` may
    give the new params and state itself, or None.
    """
    trained = trained_names(weights)
    constraints = {path: w.constraint for path, w in weights.items() if w.constraint is not None}
    scaled = getattr(optimizer, "scale_loss", lambda loss, state: loss)
    moved = getattr(optimizer, "moved", lambda grads, state, params: None)
    numbers = sum(math.prod(weights[path].shape) for path in trained)

    def step(run: TrainState, totals: Totals, batch: Batch) -> tuple[TrainState, Totals]:
        fixed = {k: v for k, v in run.params.items() if k not in trained}

        def loss(params: dict, looking: dict | None = None) -> tuple[Any, tuple]:
            everything, key = {**fixed, **params}, run.step_key()
            with stepping(numbers):
                found, rest = objective.loss(everything, run.state, totals, batch, train=True, key=key, looking=looking)
            return scaled(found, run.opt_state), rest

        params = {k: v for k, v in run.params.items() if k in trained}
        if getattr(optimizer, "wants_rows", False):
            from .lookups import gradients

            (value, (state, new_totals)), grads = gradients(loss, params, weights, trained)
        else:
            (value, (state, new_totals)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        with stepping(numbers):
            found = moved(grads, run.opt_state, params)
        if found is None:
            asked = {}
            if getattr(optimizer, "wants_value", False):
                asked = {"value": value, "grad": grads, "value_fn": lambda params: loss(params)[0]}
            updates, opt_state = optimizer.update(grads, run.opt_state, params, **asked)
            changed = {k: (v, updates[k]) for k, v in params.items()}
            params = {k: u.added_to(v) if isinstance(u, Rows) else v + u for k, (v, u) in changed.items()}
        else:
            params, opt_state = found
        for path, constraint in constraints.items():
            if path in params:
                params[path] = constraint(params[path])
        return TrainState(run.step + 1, {**fixed, **params}, state, opt_state, run.key), new_totals

    return step


def trained_names(weights: dict[str, Weight]) -> frozenset[str]:
    return frozenset(path for path, w in weights.items() if w.kind == "param" and w.trainable)


def finished(optimizer: Any, run: TrainState) -> TrainState:
    """The run at the end of a fit: an optimizer with ``use_ema`` leaves the averages as weights, as in Keras."""
    found = averages(run.opt_state) if getattr(optimizer, "use_ema", False) else {}
    return replace(run, params={**run.params, **copy_arrays(found)}) if found else run
