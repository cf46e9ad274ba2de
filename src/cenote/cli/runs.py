"""The folder of runs: how a run is named, found, begun and finished, and what ``latest`` means."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .trouble import Trouble, UsageTrouble, near

MODEL, HISTORY, REPORT, RECORD, CHECKPOINTS = "model.cenote", "history.json", "report.html", "run.json", "checkpoint"
LATEST = "latest"


@dataclass(frozen=True)
class Settings:
    """All that a run depends on, besides the data and the versions."""

    sources: tuple[str, ...]
    task: str
    model: str  # the kind
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    seed: int
    target: Any = None
    validation: Any = None  # a share, a number or a source; None: the usual share
    test: Any = None
    augment: bool = True
    patience: int | None = None  # None: the task's own
    options: dict[str, Any] = field(default_factory=dict)  # of the task, as they were asked for
    builtin: bool = False  # a data set of ours, which tells its task

    def command(self) -> str:
        """What to type to do the same again, under a free name."""
        words: list[Any] = ["cenote", "train", *self.what()]
        words += ["--model", self.model] if self.model else []
        words += ["--epochs", self.epochs, "--batch-size", self.batch_size, "--learning-rate", f"{self.learning_rate:g}"]
        words += ["--optimizer", self.optimizer, "--seed", self.seed]
        words += [] if self.augment else ["--no-augment"]
        words += [] if self.patience is None else ["--patience", self.patience]
        return shlex.join(str(w) for w in words)

    def what(self) -> list[Any]:
        """The words that say what is learned: sources, task, target, options."""
        words: list[Any] = [*self.sources] if self.builtin else [*self.sources, "--task", self.task]
        for target in self.target if isinstance(self.target, (list, tuple)) else [self.target]:
            words += [] if target is None else ["--target", target]
        for name, value in {"validation": self.validation, "test": self.test}.items():
            words += [] if value is None else [f"--{name}", value]
        for name, value in self.options.items():
            if name in FLAGS:
                words += [FLAGS[name]] if value is True else [FLAGS[name], value]
            else:
                words += ["--set", f"{name}={json.dumps(value) if not isinstance(value, str) else value}"]
        return words

    def shown(self) -> dict[str, Any]:
        """Names and values as people read them."""
        return {
            "data set": ", ".join(self.sources),
            "task": self.task,
            "model": self.model,
            "epochs": self.epochs,
            "batch size": self.batch_size,
            "optimizer": self.optimizer,
            "learning rate": f"{self.learning_rate:g}",
            "seed": self.seed,
        }


# Options of tasks that the command line has words for.
FLAGS = {"horizon": "--horizon", "time": "--time", "groups": "--group", "text": "--text", "skip_broken": "--skip-broken"}


class Run:
    """One run's folder. ``run.json`` in it says what was asked for, and how far it came."""

    def __init__(self, folder: Path, settings: Settings, status: str = "training") -> None:
        self.folder, self.settings, self.status = folder, settings, status
        self.first = False  # has its beginning made the folder of runs, too?

    @property
    def name(self) -> str:
        return self.folder.name

    def resume_command(self) -> str:
        """What to type to go on with it."""
        words = ["cenote", "train", *self.settings.sources, "--name", self.name, "--resume", *elsewhere(self.folder.parent)]
        return shlex.join(words)

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINTS

    def record(self, status: str, results: dict[str, Any] | None = None) -> None:
        """Write down how far the run has come: "training", "interrupted" or "done"."""
        self.status = status
        write_json(self.folder / RECORD, {"settings": asdict(self.settings), "status": status, "results": results})

    def discard(self) -> None:
        """Take back a folder in which nothing has been learned yet."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.folder / RECORD).unlink()
            self.folder.rmdir()
            if self.first:
                self.folder.parent.rmdir()


def elsewhere(root: Path) -> list[str]:
    """The option that names a folder of runs, where it is not the usual one."""
    return [] if root == Path("runs") else ["--runs", str(root)]


def begin(root: Path, name: str | None, settings: Settings) -> Run:
    """A new folder for a run."""
    first = not root.exists()
    if name is not None:
        check_run_name(name)
        try:
            folder = _make(root / name)
        except FileExistsError:
            raise Trouble(_taken(root / name)) from None
    else:
        folder = _first_free(root, usual_name(settings))
    run = Run(folder, settings)
    run.first = first
    run.record("training")
    return run


def usual_name(settings: Settings) -> str:
    """What a run is called unless the user says otherwise: its sources and its kind of model."""
    stems = [re.sub(r"[^\w-]+", "-", Path(s).resolve().name.split(".")[0]).strip("-_") or "run" for s in settings.sources]
    return "-".join([*stems, settings.model or settings.task])[:80]


def check_run_name(name: str) -> None:
    if not re.fullmatch(r"[^\s./\\-][^/\\\x00-\x1f]*", name) or name == LATEST or name.endswith((".", " ")):
        raise UsageTrouble(f"a run cannot be named {name!r}: give a plain folder name, such as first-try")


def _make(folder: Path) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise Trouble(f"{folder.parent} is a file, not a folder for runs: choose another with --runs DIR") from None
    try:
        folder.mkdir()
    except FileExistsError:
        raise
    except OSError as error:
        raise Trouble(f"cannot make the folder {folder} ({error.strerror}): choose another with --runs DIR") from error
    return folder


def _first_free(root: Path, name: str) -> Path:
    number = 1
    while True:
        try:
            return _make(root / (name if number == 1 else f"{name}-{number}"))
        except FileExistsError:
            number += 1


def _taken(folder: Path) -> str:
    run = read(folder)
    if run is None:
        return f"{folder} exists already and is not a run: choose another --name"
    if run.status == "done":
        return f"the run {folder} exists already, and is finished: choose another --name, or delete that folder"
    return f"the run {folder} exists already, and is unfinished: go on with it by --resume, or choose another --name"


def read(folder: Path) -> Run | None:
    """The run in a folder; None if there is none."""
    try:
        found = json.loads((folder / RECORD).read_text("utf-8"))
        settings = found["settings"]
        return Run(folder, Settings(**{**settings, "sources": tuple(settings["sources"])}), str(found["status"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unfinished(root: Path, name: str | None, sources: Sequence[str], model: str | None) -> Run:
    """The run that ``--resume`` means: that of the name, or the unfinished one of the sources that was begun last."""
    if name is not None:
        check_run_name(name)
        run = read(root / name)
        if run is None:
            raise Trouble(_no_run(name, root))
        return run
    fitting = [
        run
        for run in everything(root)
        if run.status != "done" and run.settings.sources == tuple(sources) and model in (None, run.settings.model)
    ]
    if not fitting:
        what = " ".join(sources) + ("" if model is None else f" with --model {model}")
        raise Trouble(f"there is no unfinished run of {what} in {root}{os.sep}: leave --resume away to begin one")
    return max(fitting, key=lambda run: (run.folder / RECORD).stat().st_mtime)


def everything(root: Path) -> list[Run]:
    """All runs in a folder, by name."""
    if not root.is_dir():
        return []
    found = (read(folder) for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.is_symlink())
    return [run for run in found if run is not None]


def point_latest(run: Run) -> None:
    """Let ``latest`` mean this run: a link, or a text file with the name where links cannot be made."""
    from ..files import write_atomically

    latest = run.folder.parent / LATEST
    temporary = latest.with_name(f".{LATEST}.{os.getpid()}.part")
    try:
        os.symlink(run.name, temporary, target_is_directory=True)
        os.replace(temporary, latest)
    except (OSError, NotImplementedError):
        with contextlib.suppress(OSError):
            temporary.unlink()
        if latest.is_symlink():
            latest.unlink()
        write_atomically(latest, f"{run.name}\n".encode())


def find(target: str, root: Path) -> Path:
    """The model file that a user means by a file, a run's folder, a run's name, or "latest"."""
    for place in dict.fromkeys((Path(target), root / target)):
        if place.name == LATEST:
            place = _pointed(place)
        if place.is_file():
            return place
        if (place / MODEL).is_file():
            return place / MODEL
        run = read(place)
        if run is not None:
            said = "it is still training, or it was killed. Go on with it"
            raise Trouble(f"the run {place} has no model yet: {said}: {run.resume_command()}")
    if target.endswith(".cenote"):
        raise Trouble(f"there is no file {target}")
    raise Trouble(_no_run(target, root))


def _pointed(latest: Path) -> Path:
    """The run's folder that ``latest`` means, by its own name."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        name = os.readlink(latest) if latest.is_symlink() else latest.read_text("utf-8").strip()
        return latest.with_name(Path(name).name or LATEST)
    return latest


def _no_run(target: str, root: Path) -> str:
    names = [run.name for run in everything(root)]
    if target == LATEST or not names:
        return f"there is no run {target!r} in {root}{os.sep}: train one with cenote train digits, or say where with --runs DIR"
    hint = near(target, [*names, LATEST])
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there is no run or model {target!r}{': ' + hint if hint else '.'} Runs in {root}{os.sep}: {shown}"


def load_model(target: str, root: Path) -> tuple[Any, Path]:
    """The model (or `cenote.tasks.Trained`) that a user means, and its file."""
    path = find(target, root)
    from .. import load

    return load(path), path


def write_json(path: Path, value: Any) -> None:
    from ..files import write_atomically

    write_atomically(path, (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode("utf-8"))
