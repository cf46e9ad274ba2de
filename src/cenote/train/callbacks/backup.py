"""The callback that lets a killed run go on: Keras's name for `fit(checkpoint=...)`."""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any

from ..checkpoint import Checkpoints
from .base import Callback, Logs


class BackupAndRestore(Callback):
    """Save the run, and go on with it when the same fit is made again after a crash.

    Everything is kept: weights, the optimizer's state, the random numbers, the order of the data, what callbacks remember; the
    resumed run ends with the bits of one that was never stopped. ``fit(checkpoint="folder")`` does the same, by time.

    Args:
        backup_dir: a folder for this run alone.
        save_freq: "epoch", or a number of steps.
        double_checkpoint: keep the one before, too. (A file is written whole or not at all either way.)
        delete_checkpoint: delete the files at the end of a run that was not interrupted.

    Raises: ValueError if ``fit`` is also given another ``checkpoint``, or if the folder holds another run.
    Source: the arguments are those of Keras's callback of this name.
    """

    watches_model = False

    def __init__(
        self,
        backup_dir: str | os.PathLike,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not os.fspath(backup_dir):
            raise ValueError("BackupAndRestore needs a folder: BackupAndRestore('backup')")
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"save_freq must be 'epoch' or a number of steps of at least 1, got {save_freq!r}")
        self.backup_dir, self.save_freq = backup_dir, save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self.checkpoints = _Backup(backup_dir, save_freq, 2 if double_checkpoint else 1, delete_checkpoint)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.checkpoints.begun:
            raise ValueError("this fit does not know its BackupAndRestore: give it checkpoint=backup.checkpoints, too")

    def due(self) -> int | None:
        return None if self.save_freq == "epoch" else int(self.save_freq) - self.checkpoints.unsaved(self.run)


class _Backup(Checkpoints):
    """Checkpoints by epochs or steps instead of seconds, which go when they are not needed any more."""

    begun = False

    def __init__(self, folder: str | os.PathLike, save_freq: str | int, keep: int, delete: bool) -> None:
        super().__init__(folder, every_seconds=math.inf, keep=keep)
        self.save_freq, self.delete = save_freq, delete

    def begin(self, run: Any, hooks: Any, trainer: Any, feed: Any, plan: Any) -> None:
        super().begin(run, hooks, trainer, feed, plan)
        self.begun, self._saved_step = True, int(run.state.step)

    def unsaved(self, run: Any) -> int:
        """How many steps are not in a file."""
        return int(run.state.step) - self._saved_step

    def save(self, run: Any, hooks: Any) -> Any:
        self._saved_step = int(run.state.step)
        return super().save(run, hooks)

    def chunk_ended(self, run: Any, hooks: Any) -> None:
        if self.save_freq != "epoch" and self.unsaved(run) >= int(self.save_freq):
            self.save(run, hooks)

    def epoch_ended(self, run: Any, hooks: Any, logs: dict[str, Any]) -> None:
        if self.save_freq == "epoch":
            self.save(run, hooks)

    def end(self, run: Any, hooks: Any) -> None:
        self.begun = False
        if run.interrupted or not self.delete:
            self.save(run, hooks)
            return
        for path in self.files():
            path.unlink()
        with contextlib.suppress(OSError):  # whatever else lies there stays
            self.folder.rmdir()
