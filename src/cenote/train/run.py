"""Run: what is going on in one fit, as callbacks and checkpoints see it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from .history import History
from .objective import Totals
from .state import TrainState


@dataclass
class Run:
    """One fit while it goes on: the train state, the position in the data, the history, and the wish to stop."""

    state: TrainState
    epochs: int
    model: Any = None
    epoch: int = 0
    position: int = 0  # steps done in this epoch
    steps: int | None = None  # in an epoch
    batch_size: int | None = None
    validation_freq: Any = 1
    examples: int = 0
    totals: Totals | None = None
    history: History = field(default_factory=History)
    stop_reason: str | None = None
    interrupted: bool = False
    seconds_before: float = 0.0  # spent by earlier processes of a resumed run
    started: float = field(default_factory=time.perf_counter)

    def stop(self, reason: str) -> None:
        """Ask the loop to stop after this chunk; the first reason is kept."""
        self.stop_reason = self.stop_reason or reason

    @property
    def stopping(self) -> bool:
        if self.model is not None and getattr(self.model, "stop_training", False):
            self.stop("model.stop_training was set")
        return self.stop_reason is not None or self.interrupted

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    @property
    def learning_rate(self) -> float:
        """What the optimizer multiplies its updates by; setting it needs no compilation."""
        rate = self._optimizer_state("learning_rate")
        return float("nan") if rate is None else float(rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        old = self._optimizer_state("learning_rate")
        if old is None:
            raise ValueError("this optimizer keeps no learning rate that could be changed: use one of cenote.optimizers")
        if callable(getattr(getattr(self.model, "optimizer", None), "learning_rate", None)):
            raise TypeError(
                "the optimizer's learning rate is a schedule, which says the rate of each step: give the optimizer a number, "
                "or leave out the callback that sets the rate"
            )
        opt_state = {**self.state.opt_state, "learning_rate": jax.device_put(np.asarray(value, old.dtype))}
        self.state = replace(self.state, opt_state=opt_state)

    def _optimizer_state(self, name: str) -> Any:
        return self.state.opt_state.get(name) if isinstance(self.state.opt_state, dict) else None

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of params and layer state on the host, by path."""
        return {k: np.array(v) for k, v in jax.device_get({**self.state.params, **self.state.state}).items()}

    def restore(self, weights: dict[str, np.ndarray]) -> None:
        """Put such a copy back."""
        params = {k: jax.device_put(np.array(weights[k])) for k in self.state.params}
        self.state = self.state.with_arrays(params, {k: jax.device_put(np.array(weights[k])) for k in self.state.state})


@contextmanager
def interrupts(run: Run) -> Iterator[None]:
    """Ctrl-C asks the run to stop at the end of the chunk, so that no step is cut in half; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if run.interrupted:
            signal.default_int_handler(number, frame)
        run.interrupted = True

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # somebody else (a notebook, a server) handles it: leave it to them
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
