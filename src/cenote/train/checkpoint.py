"""Checkpoints of a run: written whole or not at all, and resumed to the bit.

A checkpoint holds everything a step depends on (weights, layer state, optimizer state, key, step number) and everything the
loop depends on (epoch, position in it, running totals, history, what callbacks remember). The order of the data is a
function of (seed, epoch), so nothing of it needs saving.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..data.feed import Resident
from ..files import BadFile, load_tensors, save_tensors
from .history import History

_NAME = re.compile(r"step-(\d{10})\.checkpoint$")


class Checkpoints:
    """A folder of checkpoints of one run: ``fit(checkpoint=Checkpoints("folder", every_seconds=10))``.

    Saved are the state about every ``every_seconds`` (mid-epoch too), at epoch ends at most once a second, and at the end.
    The last ``keep`` files stay, and ``best.checkpoint``, whose ``monitor`` was best at an epoch's end (the validation loss,
    or the loss without validation data). The same fit made again goes on after the newest file that is whole.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        every_seconds: float = 30.0,
        keep: int = 3,
        monitor: str | None = None,
        mode: str = "min",
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint, got {keep}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        self.folder, self.every_seconds, self.keep, self.monitor, self.mode = (
            Path(folder),
            every_seconds,
            keep,
            monitor,
            mode,
        )
        self.notes: list[str] = []

    # -- what the loop calls -----------------------------------------------------------------------------------------------

    def begin(self, run: Any, hooks: Any, trainer: Any, feed: Any, plan: Any) -> None:
        """Restore the newest whole checkpoint of this folder into the run, if there is one."""
        self._last_saved = time.perf_counter()
        self._saved_at: tuple[int, int] | None = None
        self._best: float | None = None
        self._pending_best: dict[str, np.ndarray] | None = None
        self._identity = _identity(run, feed, plan, trainer)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (".step-*.checkpoint.*.part", ".best.checkpoint.*.part"):  # of a process that was killed while it wrote
            for leftover in self.folder.glob(name):
                with contextlib.suppress(OSError):
                    leftover.unlink()
        self.notes = []
        for path in reversed(self.files()):
            try:
                arrays, info = load_tensors(path, kind="checkpoint")
            except BadFile as error:
                self.notes.append(f"passed over: {error}")
                continue
            self._check_identity(path, info["identity"])
            self._restore(run, hooks, trainer, arrays, info)
            if run.epoch >= plan.epochs:
                said = f"the run in {self.folder} is finished ({run.epoch} epochs): its weights are back, nothing was trained"
            else:
                said = f"resumed from {path.name}: epoch {run.epoch + 1}, step {int(run.state.step)}"
            self.notes.append(said)
            return

    def chunk_ended(self, run: Any, hooks: Any) -> None:
        if time.perf_counter() - self._last_saved >= self.every_seconds:
            self.save(run, hooks)

    def epoch_ended(self, run: Any, hooks: Any, logs: dict[str, Any]) -> None:
        value = logs.get(self.monitor or ("val_loss" if "val_loss" in logs else "loss"))
        if value is None:
            raise ValueError(f"checkpoints watch {self.monitor!r}, but an epoch gives only {sorted(logs)}")
        sign = 1 if self.mode == "min" else -1
        if self._best is None or sign * value < sign * self._best:
            self._best = float(value)
            self._pending_best = run.weights()
        if time.perf_counter() - self._last_saved >= min(1.0, self.every_seconds):
            self.save(run, hooks)

    def end(self, run: Any, hooks: Any) -> None:
        self.save(run, hooks)

    # -- files -------------------------------------------------------------------------------------------------------------

    def files(self) -> list[Path]:
        """The checkpoints in the folder, oldest first."""
        return sorted(p for p in self.folder.glob("step-*.checkpoint") if _NAME.search(p.name)) if self.folder.is_dir() else []

    def save(self, run: Any, hooks: Any) -> Path:
        """Write the run as it is now, and drop the oldest files."""
        memory = hooks.memory()
        tensors = {
            **_named("run", run.state),
            **({} if run.totals is None else _named("totals", run.totals)),
            **{f"memory/{k}": v for k, v in memory.items() if isinstance(v, np.ndarray)},
        }
        info = {
            "identity": self._identity,
            "epoch": run.epoch,
            "position": run.position,
            "examples": run.examples,
            "steps": run.steps,
            "seconds": run.seconds,
            "best": self._best,
            "stop_reason": run.stop_reason,
            "totals": run.totals is not None,
            "history": run.history.to_dict(),
            "memory": {k: v for k, v in memory.items() if not isinstance(v, np.ndarray)},
        }
        path = self.folder / f"step-{int(run.state.step):010d}.checkpoint"
        save_tensors(path, tensors, info, kind="checkpoint")
        if self._pending_best is not None:
            save_tensors(self.folder / "best.checkpoint", self._pending_best, {"best": self._best}, kind="weights")
            self._pending_best = None
        self._last_saved = time.perf_counter()
        for old in self.files()[: -self.keep]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def best_weights(self) -> dict[str, np.ndarray]:
        """The weights of the best epoch so far, by path."""
        return load_tensors(self.folder / "best.checkpoint", kind="weights")[0]

    def _restore(self, run: Any, hooks: Any, trainer: Any, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> None:
        run.state = _unnamed("run", run.state, arrays)
        run.totals = _unnamed("totals", trainer.new_totals(), arrays) if info["totals"] else None
        run.epoch, run.position, run.examples = info["epoch"], info["position"], info["examples"]
        run.seconds_before = info["seconds"]
        run.history = History.from_dict(info["history"])
        self._best = info["best"]
        # A run that ended because of a callback stays ended; one that was interrupted goes on.
        run.stop_reason = info["stop_reason"]
        arrays = {k.removeprefix("memory/"): v for k, v in arrays.items() if k.startswith("memory/")}
        hooks.recall({**info["memory"], **arrays})

    def _check_identity(self, path: Path, theirs: dict[str, Any]) -> None:
        for name, value in self._identity.items():
            if theirs.get(name) != value:
                raise ValueError(
                    f"{path} belongs to another run: its {name} is {theirs.get(name)!r}, this fit's is {value!r}; give this "
                    f"fit a folder of its own, or delete the old checkpoints"
                )


def _identity(run: Any, feed: Any, plan: Any, trainer: Any) -> dict[str, Any]:
    """What must be the same for a resumed run to be the same run."""
    shapes = "\n".join(f"{k} {v.shape} {v.dtype}" for k, v in sorted(run.state.params.items()))
    found = {
        "weights": hashlib.sha256(shapes.encode()).hexdigest()[:16],
        "optimizer": type(trainer.optimizer).__name__,
        "batch_size": feed.batch_size,
        "seed": plan.seed,
        "shuffle": plan.shuffle,
        "steps_per_epoch": plan.steps,
    }
    if isinstance(feed, Resident):
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(feed.data):
            digest.update(f"{leaf.shape} {leaf.dtype}".encode())
            for part in (leaf[:16], leaf[-16:]):
                digest.update(np.ascontiguousarray(part).tobytes())
        found |= {"examples": feed.count, "data": digest.hexdigest()[:16]}
    return found


def _named(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    return {f"{prefix}{jax.tree_util.keystr(p)}": np.asarray(v) for p, v in jax.tree_util.tree_leaves_with_path(tree)}


def _unnamed(prefix: str, like: Any, arrays: dict[str, np.ndarray]) -> Any:
    def one(path: Any, leaf: Any) -> Any:
        name = f"{prefix}{jax.tree_util.keystr(path)}"
        if name not in arrays or arrays[name].shape != jnp.shape(leaf):
            raise BadFile(f"the checkpoint has no {name} of shape {jnp.shape(leaf)}: it was made by another model or optimizer")
        return jnp.asarray(arrays[name])

    return jax.tree_util.tree_map_with_path(one, like)
