"""Callbacks that change the learning rate."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Callback, Logs
from .monitor import Monitor, say


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of each epoch: ``LearningRateScheduler(lambda epoch, rate: rate * 0.9)``.

    Args:
        schedule: ``schedule(epoch, rate) -> rate`` or ``schedule(epoch) -> rate``, epochs counted from 0.
        verbose: 1 prints a line for each epoch.

    The logs of each epoch get ``learning_rate``. Raises: ValueError if the schedule gives something that is no rate.
    """

    watches_model = False

    def __init__(self, schedule: Callable, verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(
                f"LearningRateScheduler needs a function of the epoch and the learning rate, got {schedule!r}; "
                f"a schedule by step belongs into the optimizer: Adam(learning_rate=schedule)"
            )
        self.schedule, self.verbose = schedule, verbose
        self._arguments = _count_arguments(schedule)
        self._applied: int | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._applied = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch == self._applied:
            return  # resumed in the middle of this epoch: the rate was set before, and a rate * 0.9 must not act twice
        given = self.schedule(epoch) if self._arguments == 1 else self.schedule(epoch, self.run.learning_rate)
        self.run.learning_rate = rate = _as_rate(given, epoch)
        self._applied = epoch
        say(self.verbose, f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.run.learning_rate)

    def memory(self) -> dict[str, Any]:
        return {"applied": self._applied}

    def recall(self, memory: dict[str, Any]) -> None:
        self._applied = memory["applied"]


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by ``factor`` when a quantity has not become better for ``patience`` epochs.

    Args:
        monitor, mode, min_delta: see `Monitor`.
        factor: below 1.
        patience: epochs without improvement.
        verbose: 1 prints a line at each reduction.
        cooldown: epochs after a reduction that do not count.
        min_lr: the rate never goes below this.

    The logs of each epoch get ``learning_rate``, the one it was trained with.
    Source: the arguments and the decisions are those of Keras's callback of this name.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau makes the rate smaller: factor must be at least 0 and below 1, got {factor}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best = None
        self.wait = self.cooldown_counter = 0
        self._warned = False

    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.run.learning_rate)
        current = self.value(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        old = float(self.run.learning_rate)
        if old > np.float32(self.min_lr):
            self.run.learning_rate = new = max(old * self.factor, self.min_lr)
            self.cooldown_counter, self.wait = self.cooldown, 0
            say(self.verbose, f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")

    def memory(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def recall(self, memory: dict[str, Any]) -> None:
        self.best = memory["best"]
        self.wait, self.cooldown_counter = int(memory["wait"]), int(memory["cooldown_counter"])


def _count_arguments(function: Callable) -> int:
    """1 for an old-style schedule(epoch), else 2."""
    try:
        inspect.signature(function).bind(0, 0.1)
    except TypeError:
        return 1
    except ValueError:  # a builtin without a signature
        return 2
    return 2


def _as_rate(value: Any, epoch: int) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if isinstance(value, (str, bool)) or not math.isfinite(rate) or rate < 0:
        raise ValueError(
            f"the schedule of LearningRateScheduler gave {value!r} for epoch {epoch} (from 0): it must return the "
            f"learning rate, a number of at least 0" + ("; is its return missing?" if value is None else "")
        )
    return rate
