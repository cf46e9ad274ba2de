"""Callbacks that end a run: no more progress, a target reached, a loss that is no number."""

from __future__ import annotations

import math
from typing import Any

from .base import Callback, Logs
from .monitor import Monitor, say


class EarlyStopping(Monitor):
    """Stop when a quantity has not become better for ``patience`` epochs.

    Args:
        monitor, mode, min_delta: see `Monitor`.
        patience: epochs without improvement after which the run stops.
        verbose: 1 prints a line when it stops or puts weights back.
        baseline: the quantity must also beat this, or the epochs count as without improvement.
        restore_best_weights: in the end put the weights of the best epoch back, whether the run was stopped or not.
        start_from_epoch: do not watch before this epoch (from 0).

    Source: the arguments and the decisions are those of Keras's callback of this name; a NaN never counts as the best.

    >>> EarlyStopping("val_accuracy", patience=3).goal()
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = None
        self.best_weights: dict[str, Any] | None = None
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.run.weights(), epoch
        self.wait += 1
        if self.better(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.run.weights()
            if self.baseline is None or self.better(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.run.stop(self.reason())

    def reason(self) -> str:
        if self.best is None:
            return f"{self.monitor} was not a number for {_epochs(self.wait)}"
        if self.baseline is not None and not self.better(self.best, self.baseline):
            return f"{self.monitor} did not pass {self.baseline:g} for {_epochs(self.wait)}, best {self.best:.4g}"
        return f"{self.monitor} not better for {_epochs(self.wait)} than {self.best:.4g} in epoch {self.best_epoch + 1}"

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0:
            say(self.verbose, f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            say(self.verbose, f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.run.restore(self.best_weights)

    def memory(self) -> dict[str, Any]:
        names = ("wait", "stopped_epoch", "best_epoch", "best")
        weights = {f"weights/{k}": v for k, v in (self.best_weights or {}).items()}
        return {**{name: getattr(self, name) for name in names}, **weights}

    def recall(self, memory: dict[str, Any]) -> None:
        self.wait, self.stopped_epoch = int(memory["wait"]), int(memory["stopped_epoch"])
        self.best_epoch, self.best = int(memory["best_epoch"]), memory["best"]
        weights = {k.removeprefix("weights/"): v for k, v in memory.items() if k.startswith("weights/")}
        self.best_weights = weights or None
        if self.stopped_epoch:  # killed between its decision and the end of the run
            self.run.stop(self.reason())


class StopAt(Monitor):
    """Stop as soon as a quantity has reached a target at the end of an epoch: ``StopAt("loss", below=0.05)``.

    ``loss`` is the average over the epoch, of weights that moved and with dropout on; ``val_loss`` is that of the weights that
    you keep. It is checked at epoch ends only: in mid-epoch the average would be over a number of batches that depends on
    the speed of the machine, and the run could not be repeated.

    Args:
        monitor: the name in the logs.
        below: stop when the quantity is less than this.
        above: stop when it is more than this.
        verbose: 1 prints a line when it stops.

    Raises: ValueError without a target, and at the first epoch's end if there is no such quantity.

    >>> StopAt("val_accuracy", above=0.98).reached(0.99)
    True
    """

    def __init__(self, monitor: str, below: float | None = None, above: float | None = None, *, verbose: int = 0) -> None:
        if below is None and above is None:
            raise ValueError(f"StopAt({monitor!r}) needs a target: below=0.05 or above=0.98")
        super().__init__(monitor)
        self.below, self.above, self.verbose = below, above, verbose
        self.stopped_epoch = 0

    def reached(self, value: float) -> bool:
        return (self.below is not None and value < self.below) or (self.above is not None and value > self.above)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self.monitor not in logs and not self.without_validation(logs):
            raise ValueError(f"StopAt {self.missing(logs)}")
        value = self.value(logs)
        if value is None:
            return
        if self.reached(value):
            low = self.below is not None and value < self.below
            bound = f"below {self.below:g}" if low else f"above {self.above:g}"
            self.stopped_epoch = epoch
            say(self.verbose, f"Epoch {epoch + 1}: {self.monitor} {value:.4g} is {bound}")
            self.run.stop(f"{self.monitor} {value:.4g} is {bound}")


class TerminateOnNaN(Callback):
    """Stop when the loss becomes NaN or infinite; looked at about ten times a second, since a NaN stays in the average.

    Args:
        raise_error: raise a RuntimeError instead of stopping quietly.

    Without this callback such a loss is an error and the model keeps its weights of before; with it the run ends as if
    complete, and the model has the weights of the moment.
    """

    watches_model = False

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_chunk_end(self, step: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        where = f"by step {step} of epoch {self.run.epoch + 1}"
        if self.raise_error:
            raise RuntimeError(
                f"the loss became {loss} {where}: lower the learning rate, clip the gradients (clipnorm=1.0), or check the data"
            )
        if self.run.stop_reason is None:
            self.run.stop(f"the loss became {loss} {where}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.on_chunk_end(self.run.steps or 0, logs)


def _epochs(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"
