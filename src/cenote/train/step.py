"""One training step: a pure function of the train state and a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..core import Weight
from .objective import Batch, Objective, Totals
from .state import TrainState

Step = Callable[[TrainState, Totals, Batch], tuple[TrainState, Totals]]


def make_step(objective: Objective, optimizer: Any, weights: dict[str, Weight]) -> Step:
    """The step of an objective under an optimizer; ``weights`` says which are trained, and their constraints.

    An optimizer is anything with ``init(params) -> state`` and ``update(grads, state, params) -> (updates, state)``.
    """
    trained = trained_names(weights)
    constraints = {path: w.constraint for path, w in weights.items() if w.constraint is not None}

    def step(run: TrainState, totals: Totals, batch: Batch) -> tuple[TrainState, Totals]:
        fixed = {k: v for k, v in run.params.items() if k not in trained}

        def loss(params: dict) -> tuple[Any, tuple]:
            return objective.loss({**fixed, **params}, run.state, totals, batch, train=True, key=run.step_key())

        params = {k: v for k, v in run.params.items() if k in trained}
        grads, (state, new_totals) = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, run.opt_state, params)
        params = {k: v + updates[k] for k, v in params.items()}
        for path, constraint in constraints.items():
            if path in params:
                params[path] = constraint(params[path])
        return TrainState(run.step + 1, {**fixed, **params}, state, opt_state, run.key), new_totals

    return step


def trained_names(weights: dict[str, Weight]) -> frozenset[str]:
    return frozenset(path for path, w in weights.items() if w.kind == "param" and w.trainable)
