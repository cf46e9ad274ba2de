"""Callbacks that write logs for other programs: CSV tables and TensorBoard."""

from __future__ import annotations

import csv
import io
import os
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import unknown
from .base import Callback, Logs


class CSVLogger(Callback):
    """Write one line for each epoch to a table: the epoch (from 0), then the quantities in alphabetical order.

    Each line is written whole and at once. In a resumed run the epochs after the checkpoint are taken out before they are
    written again, so that the table has each epoch once.

    Args:
        filename: the file; its folder is made.
        separator: between the columns.
        append: add to a file that exists; its columns are kept. Otherwise it begins anew.

    Source: the columns are those of Keras's callback of this name (``val_`` columns are there from the start, ``NA`` where
    there is no number).
    """

    watches_model = False
    decides = False

    def __init__(self, filename: str | os.PathLike, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._file: Any = None
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self.keys: list[str] | None = None
        self._size: int | None = None  # of the file after the last whole line
        self._going_on = self.append

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._file is None:
            self._open()  # now, so that a folder that cannot be written to is told before the first epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self._file is None:
            self._open()
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(k.startswith("val_") for k in self.keys):
                self.keys += [f"val_{k}" for k in self.keys]
            self._write(["epoch", *self.keys])
        self._write([epoch, *(_cell(logs.get(k, "NA")) for k in self.keys)])

    def _open(self) -> None:
        self.filename.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.filename, "ab" if self._going_on else "wb", buffering=0)  # noqa: SIM115
        self._size = self._file.tell()
        if not self._size:
            return
        lines = self.filename.read_text(encoding="utf-8").splitlines()
        head = next(csv.reader(lines[:1], delimiter=self.separator), [])
        if head[:1] != ["epoch"]:
            raise ValueError(
                f"{self.filename} is no table of CSVLogger(separator={self.separator!r}): its first line is {lines[0][:80]!r}; "
                f"give another name, or append=False to write over it"
            )
        self.keys = head[1:]
        if not self.filename.read_bytes().endswith(b"\n"):  # a line that a killed process did not finish
            self._file.write(b"\r\n")

    def _write(self, cells: list[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, delimiter=self.separator).writerow(cells)
        self._file.write(line.getvalue().encode())
        self._size = self._file.tell()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def memory(self) -> dict[str, Any]:
        return {"size": self._size}

    def recall(self, memory: dict[str, Any]) -> None:
        """Cut off the lines after the checkpoint: they are of steps that will be made again."""
        if memory["size"] is None:
            return
        self.close()
        self._going_on = True
        if self.filename.exists() and self.filename.stat().st_size > memory["size"]:
            os.truncate(self.filename, int(memory["size"]))


class TensorBoard(Callback):
    """Write event files that TensorBoard shows: ``tensorboard --logdir logs``.

    Tags and folders are Keras's: ``epoch_loss`` and the like in ``train`` and ``validation`` under ``log_dir``, by epoch;
    ``batch_loss`` by step, if asked for.

    Args:
        log_dir: the folder; one for each run.
        histogram_freq: every so many epochs histograms of the weights; 0: none.
        write_graph, write_images, profile_batch, embeddings_freq, embeddings_metadata: accepted for Keras's sake; they
            do nothing, and all but the first say so.
        write_steps_per_second: also ``epoch_steps_per_second``.
        update_freq: "epoch"; or "batch" or a number of steps for ``batch_`` tags (averages over the epoch so far).

    Raises: ImportError, naming the extra, without tensorboardX.
    """

    watches_model = False
    decides = False
    _WITHOUT_EFFECT = ("write_images", "profile_batch", "embeddings_freq", "embeddings_metadata")

    def __init__(
        self,
        log_dir: str | os.PathLike = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        **accepted: Any,
    ) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError('the TensorBoard callback needs tensorboardX: pip install "cenote[log]"') from error
        accepted["write_images"] = write_images
        for name, value in accepted.items():
            if name not in self._WITHOUT_EFFECT:
                raise unknown("argument of TensorBoard", name, self._WITHOUT_EFFECT)
            if value:
                warnings.warn(f"TensorBoard({name}={value!r}) has no effect in Cenote", stacklevel=2)
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or update_freq < 1):
            raise ValueError(f"update_freq must be 'epoch', 'batch' or a number of steps of at least 1, got {update_freq!r}")
        self.log_dir, self.histogram_freq, self.write_graph = Path(log_dir), histogram_freq, write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        # What needs the weights, or the clock, at the end of each epoch, is not told of several epochs at once.
        self.decides = bool(histogram_freq) or write_steps_per_second or update_freq != "epoch"
        self._writer_class = SummaryWriter
        self._writers: dict[str, Any] = {}
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self._purge: int | None = None
        self._written = 0 if self.run is None else int(self.run.state.step)  # the step of the last batch_ tags
        self._last: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._began = (time.perf_counter(), int(self.run.state.step))

    def on_chunk_end(self, step: int, logs: Logs | None = None) -> None:
        if isinstance(self.update_freq, str):
            return
        now = int(self.run.state.step)
        if now - self._written >= self.update_freq:
            self._written = now
            for name, value in (logs or {}).items():
                self._scalar("train", f"batch_{name}", value, now)

    def due(self) -> int | None:
        if self.update_freq == "epoch":
            return None
        return int(self.update_freq) - (int(self.run.state.step) - self._written)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        record = self.run.history.records[-1] if self.run.history.records else {}
        logs = {"learning_rate": record.get("learning_rate", self.run.learning_rate), **(logs or {})}
        if self.write_steps_per_second:
            seconds, step = self._began
            logs["steps_per_second"] = (int(self.run.state.step) - step) / max(time.perf_counter() - seconds, 1e-9)
        for name, value in logs.items():
            part = "validation" if name.startswith("val_") else "train"
            self._scalar(part, f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for path, value in self.run.weights().items():
                self._writer("train").add_histogram(f"{path}/histogram", value, epoch)
        for writer in self._writers.values():
            writer.flush()
        self._last = epoch

    def _scalar(self, part: str, tag: str, value: Any, step: int) -> None:
        if isinstance(value, (int, float)):
            self._writer(part).add_scalar(tag, value, step)

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            # Tells the reader to forget what a killed process wrote after the checkpoint.
            self._writers[part] = self._writer_class(str(self.log_dir / part), purge_step=self._purge)
        return self._writers[part]

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def memory(self) -> dict[str, Any]:
        return {"last": self._last, "written": self._written}

    def recall(self, memory: dict[str, Any]) -> None:
        self._last, self._written = memory["last"], int(memory["written"])
        if self.update_freq == "epoch":  # with batch_ tags steps and epochs share a file, and a purge would take too much
            self._purge = 0 if self._last is None else int(self._last) + 1


def _cell(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1) > 0:
        return f'"[{", ".join(map(str, value))}]"'
    return value
