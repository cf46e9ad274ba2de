"""The callback that looks at the averages of the weights instead of the weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...optimizers import averages
from ..state import copy_arrays
from .base import Callback, Logs


class SwapEMAWeights(Callback):
    """Validate with the averages of the weights, and train on with the weights themselves.

    For an optimizer with ``use_ema=True`` (or ASGD). What is evaluated at an epoch's end are the averages.

    Args:
        swap_on_epoch: the averages also stand in the model for the callbacks after this one (such as ModelCheckpoint) until
            the next epoch begins.

    Raises: ValueError when training begins with an optimizer that keeps no averages.
    Source: the argument is that of Keras's callback of this name.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self.watches_model = swap_on_epoch
        self._weights: dict[str, Any] | None = None  # those that are trained, while the averages are in their place

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._weights = None
        if not averages(self.run.state.opt_state):
            raise ValueError("SwapEMAWeights needs an optimizer that averages the weights: compile with Adam(use_ema=True)")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._swap_back()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap()
            if self.model is not None:
                self.model.set_weights({path: self.run.state.params[path] for path in self._weights or {}})

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if self.run is not None:  # outside of fit the model has its last weights, which are the averages
            self._swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swap_back()

    def _swap(self) -> None:
        if self._weights is None:
            state = self.run.state
            found = copy_arrays(averages(state.opt_state))  # of their own: a step consumes what it is given
            self._weights = {path: state.params[path] for path in found}
            self.run.state = replace(state, params={**state.params, **found})

    def _swap_back(self) -> None:
        if self._weights is not None:
            self.run.state = replace(self.run.state, params={**self.run.state.params, **self._weights})
            self._weights = None

    def memory(self) -> dict[str, Any]:
        return {f"weights/{path}": np.asarray(value) for path, value in (self._weights or {}).items()}

    def recall(self, memory: dict[str, Any]) -> None:
        self._weights = {k.removeprefix("weights/"): jnp.asarray(v) for k, v in memory.items()} or None
