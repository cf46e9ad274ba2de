"""The callback that saves the model while it trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...core.errors import unknown
from .base import Logs
from .monitor import Monitor, say


class ModelCheckpoint(Monitor):
    """Save the model after each epoch, or when it has become better: ``ModelCheckpoint("best.cenote", save_best_only=True)``.

    A saved model can be loaded and used (`cenote.load`). To go on after a crash as if nothing had happened, use
    ``fit(checkpoint="folder")`` instead, which also keeps the optimizer, the order of the data and the random numbers.

    Args:
        filepath: may hold the epoch (from 1) and quantities of the logs: ``"models/{epoch:02d}-{val_loss:.2f}.cenote"``;
            a name without an ending gets ``.cenote``. Folders are made.
        monitor, mode: see `Monitor`.
        verbose: 1 prints a line for each saved model.
        save_best_only: save only when ``monitor`` is better than at the last save.
        save_weights_only: ``model.save_weights`` instead of ``model.save``, where the model has it.
        save_freq: "epoch", or a number of steps.
        initial_value_threshold: with save_best_only, what must be beaten first.

    Raises: ValueError for a place in ``filepath`` that no quantity fills.
    Source: the arguments are those of Keras's callback of this name.
    """

    watches_model = True

    def __init__(
        self,
        filepath: str | os.PathLike,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"save_freq must be 'epoch' or a number of steps of at least 1, got {save_freq!r}")
        self.filepath = os.fspath(filepath)
        if not Path(self.filepath).suffix or self.filepath.endswith("}"):
            self.filepath += ".cenote"
        self.verbose, self.save_best_only, self.save_weights_only = verbose, save_best_only, save_weights_only
        self.save_freq, self.best = save_freq, initial_value_threshold
        self._steps = 0  # since the last save
        self._seen = (-1, 0)  # epoch, and the steps of it that are counted

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.model is None:
            raise ValueError(
                "ModelCheckpoint saves a Model, and this fit has none; use fit(checkpoint=...), which saves weights of any pair"
            )
        self._warned = False

    @property
    def watches_chunks(self) -> bool:
        return not isinstance(self.save_freq, str)

    def on_chunk_end(self, step: int, logs: Logs | None = None) -> None:
        if isinstance(self.save_freq, str):
            return
        epoch = self.run.epoch
        before = self._seen[1] if self._seen[0] == epoch else 0
        self._steps += step - before
        self._seen = (epoch, step)
        if self._steps >= self.save_freq:
            self._steps = 0
            self._save(epoch, {"batch": step, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def due(self) -> int | None:
        return None if self.save_freq == "epoch" else int(self.save_freq) - self._steps

    def _save(self, epoch: int, logs: Logs) -> None:
        if not self._wanted(epoch, logs):
            return
        path = self._path(epoch, logs)
        if os.path.isdir(path):
            raise IsADirectoryError(f"ModelCheckpoint cannot save to {path}: that is a folder; give a file name in it")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only and hasattr(self.model, "save_weights"):
            self.model.save_weights(path)
        else:
            self.model.save(path)
        say(self.verbose, f"Epoch {epoch + 1}: saved the model to {path}")

    def _wanted(self, epoch: int, logs: Logs) -> bool:
        if not self.save_best_only:
            return True
        current = self.value(logs)
        if current is None:
            return True  # as Keras does: better one model too many than none
        before = "nothing" if self.best is None else f"{self.best:.5f}"
        if self.better(current, self.best):
            say(self.verbose, f"Epoch {epoch + 1}: {self.monitor} improved from {before} to {current:.5f}")
            self.best = current
            return True
        say(self.verbose, f"Epoch {epoch + 1}: {self.monitor} did not improve from {before}")
        return False

    def _path(self, epoch: int, logs: Logs) -> str:
        try:
            return self.filepath.format(**{**logs, "epoch": epoch + 1})
        except KeyError as error:
            raise unknown("place in ModelCheckpoint's filepath", error.args[0], ("epoch", *logs)) from None
        except (IndexError, ValueError) as error:
            raise ValueError(f"ModelCheckpoint's filepath {self.filepath!r} is no format string: {error}") from None

    def memory(self) -> dict[str, Any]:
        return {"best": self.best, "steps": self._steps, "epoch": self._seen[0], "step": self._seen[1]}

    def recall(self, memory: dict[str, Any]) -> None:
        self.best, self._steps = memory["best"], int(memory["steps"])
        self._seen = (int(memory["epoch"]), int(memory["step"]))
