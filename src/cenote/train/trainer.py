"""The compiled programs of one model under one objective and one optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ..core import Weight
from .epoch import evaluate_chunk, has_foreign_convolution, train_chunk, train_epochs
from .objective import Objective, Output, Totals
from .state import TrainState, copy_arrays
from .step import make_step, trained_names

LARGE = 1 << 16  # numbers: from here on it pays to write new weights over the old ones


class Trainer:
    """A plain ``apply`` with outputs (losses and metrics) and an optimizer, as programs that compile on first use.

    ``weights`` holds what is declared about each weight: which are trained, their regularizers and constraints.

    The programs that train consume (donate) their train state if it is large; who wants to keep a state gives them `own`. Of
    a small one, the copies that this asks for cost more than they save.
    """

    def __init__(
        self,
        apply: Callable,
        outputs: list[Output],
        optimizer: Any,
        weights: dict[str, Weight],
        augment: Callable | None = None,
    ) -> None:
        self.objective = Objective(apply, outputs, weights, augment)
        self.optimizer, self.weights = optimizer, weights
        self.step = make_step(self.objective, optimizer, weights)
        self.donates = sum(math.prod(w.shape) for w in weights.values()) >= LARGE
        self.chunk = train_chunk(self.step, self.donates)
        self.epochs = train_epochs(self.objective, self.step)
        self.one_kept = jax.jit(self.step)
        self.one = jax.jit(self.step, donate_argnums=(0, 1)) if self.donates else self.one_kept
        self.evaluate_chunk = evaluate_chunk(self.objective, self.donates)
        self.evaluate_one = jax.jit(self.objective.measured)
        self.numbers = jax.jit(self.objective.compute)
        self.paces: dict[Any, float] = {}  # what `fit` has measured, so that the next one need not find out again
        self._fused: dict[Any, bool] = {}

    def start(self, params: dict, state: dict, key: Any) -> TrainState:
        """The state before the first step."""
        trained = trained_names(self.weights)
        return TrainState.create(params, state, self.optimizer.init({k: v for k, v in params.items() if k in trained}), key)

    def own(self, tree: Any) -> Any:
        """A tree of arrays that may be given to the programs, in place of one that is kept."""
        return copy_arrays(tree) if self.donates else tree

    def new_totals(self) -> Totals:
        """Totals of nothing, in arrays that may be given to the programs."""
        return jax.tree.map(lambda a: jax.device_put(a.copy()), self._no_totals) if self.donates else self._kept_totals

    @cached_property
    def _kept_totals(self) -> Totals:
        return jax.device_put(self._no_totals)

    @cached_property
    def _no_totals(self) -> Totals:
        """Kept on the host, where copies compile nothing; so do numbers, while larger zeros are worth one program for all."""
        shapes = jax.tree.leaves(jax.eval_shape(self.objective.totals))
        make = jax.jit(self.objective.totals) if any(s.shape for s in shapes) else self.objective.totals
        return jax.tree.map(np.array, make())

    def logs(self, totals: Totals) -> dict[str, float]:
        """Losses and metrics as Python numbers (lists, for a metric with several values); waits for the device."""
        found = self.numbers(totals)  # not by `jax.device_get`, whose start of several copies at once costs more than they
        return {name: np.asarray(found[name]).tolist() for name in self.objective.names()}  # compiled programs sort their dicts

    def fuses(self, program: Callable, *args: Any) -> bool:
        """Whether batches run in one compiled loop: everywhere, but for foreign convolutions on the CPU."""
        if jax.default_backend() != "cpu":
            return True
        key = (program, jax.tree.structure(args))
        if key not in self._fused:
            self._fused[key] = not has_foreign_convolution(program, *args)
        return self._fused[key]
