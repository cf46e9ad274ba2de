"""Raw files in, a trained model out: `train` guesses the task from the source, or is told; each task is one small class.

>>> from cenote import tasks
>>> "tabular-classification" in tasks.NAMES
True
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from ..core.errors import unknown

# In the order in which they are asked whether a source is for them: the particular before the general.
TASKS = {
    "image-classification": ("images", "ImageClassification"),
    "speech-classification": ("speech", "SpeechClassification"),
    "speech-recognition": ("speech", "SpeechRecognition"),
    "translation": ("translation", "Translation"),
    "forecast": ("forecast", "Forecast"),
    "text-classification": ("text", "TextClassification"),
    "text-generation": ("generation", "TextGeneration"),
    "tabular-classification": ("tables", "TabularClassification"),
    "tabular-regression": ("tables", "TabularRegression"),
    "autoencoding": ("autoencode", "Autoencoding"),
}
ALIASES = {
    "images": "image-classification",
    "speech-commands": "speech-classification",
    "speech": "speech-classification",
    "sentiment": "text-classification",
    "topics": "text-classification",
    "classification": "tabular-classification",
    "regression": "tabular-regression",
    "forecasting": "forecast",
    "generation": "text-generation",
    "anomaly": "autoencoding",
    "compression": "autoencoding",
}
NAMES = tuple(TASKS)
_ELSEWHERE = {
    "Task": "base", "Choice": "base", "Baseline": "scores", "Score": "scores", "Scores": "scores", "Trained": "trained",
    "Classification": "kinds", "Regression": "kinds", "Job": "job",
}  # fmt: skip
_CLASSES = {cls: module for module, cls in TASKS.values()}

__all__ = ["NAMES", *_ELSEWHERE, *_CLASSES, "classes", "find", "guess", "train"]


def __getattr__(name: str) -> Any:
    module = _ELSEWHERE.get(name) or _CLASSES.get(name)
    if module is None:
        raise AttributeError(str(unknown("name in cenote.tasks", name, __all__)))
    return getattr(importlib.import_module(f"cenote.tasks.{module}"), name)


def find(name: str) -> Any:
    """The class of a task by its name; raises ValueError for an unknown one, listing the near ones."""
    plain = name.lower().replace("_", "-")
    plain = ALIASES.get(plain, plain)
    if plain not in TASKS:
        raise unknown("task", name, [*TASKS, *ALIASES])
    module, cls = TASKS[plain]
    return getattr(importlib.import_module(f"cenote.tasks.{module}"), cls)


def classes() -> list[Any]:
    """The classes of all tasks, in the order in which they are asked."""
    return [find(name) for name in TASKS]


def guess(source: Any, target: Any = None, **options: Any) -> tuple[Any, str]:
    """The task that a source looks like one for, and why; raises ValueError where none does, saying how to name one.

    ``options`` are those of the tasks that the user gave, such as ``horizon=24``; a task that does not take them is not asked.
    """
    from .sources import builtin, shown

    if (found := builtin(source)) is not None:
        return find(found.task), f"{found.name} is a built-in data set of {found.kind}s"
    check_there(source)
    known = {name for cls in classes() for name in cls.options}
    for option in options:
        if option not in known:
            raise unknown("option of any task", option, sorted(known))
    for cls in classes():
        if any(option not in cls.options for option in options):
            continue
        reason = cls.fits(source, target, **options)
        if reason:
            return cls, reason
    given = f" with {', '.join(options)}" if options else ""
    raise ValueError(
        f"cannot tell what is to be learned from {shown(source)}{given}: name a task ({', '.join(TASKS)}), and for a table the "
        f"target column"
    )


def check_there(source: Any) -> None:
    """Raise FileNotFoundError for a path to nothing, naming what is near it."""
    import difflib

    from .sources import NAMES as BUILTIN

    for path in source if isinstance(source, (tuple, list)) else [source]:
        if not isinstance(path, (str, os.PathLike)) or Path(path).exists() or "\n" in str(path):
            continue
        folder = Path(path).parent
        beside = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(Path(path).name, [*beside, *(BUILTIN if folder == Path() else ())], 2, 0.6)
        hint = f": did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        where = "" if folder.is_dir() else f" (nor a folder {folder})"
        raise FileNotFoundError(
            f"there is no file, folder or data set {str(path)!r}{where}{hint or '.'} Data sets: {', '.join(BUILTIN)}"
        )


def train(
    source: Any,
    target: Any = None,
    task: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    folder: Any = None,
    verbose: str | int = "auto",
    **options: Any,
) -> Any:
    """From a source to a trained model, in one call: a `Trained`, which takes raw input.

    Args:
        source: a folder of pictures or recordings, a table, a file of sentences (two for a translation), a data frame, the name
            of a built-in data set ("digits", "mnist", ...).
        target: the column to answer, where the source is a table.
        task: a name (``tasks.NAMES``) or a class; by default the source tells.
        validation, test: shares, numbers of examples, or sources of their own.
        folder: where to leave the model, its history and a report.
        verbose: 0 for silence.
        options: of the task, such as ``model="cnn"``, ``epochs=5``, ``horizon=24``; see `Task`.

    Raises: ValueError or OSError for what cannot be learned from, saying what is wrong, where, and how to mend it.
    """
    if task is None:
        from .base import _ARGUMENTS

        task, _ = guess(source, target, **{k: v for k, v in options.items() if k not in (*_ARGUMENTS, "seed")})
    elif isinstance(task, str):
        task = find(task)
    if isinstance(task, type):
        task = task(target=target, **options)
    return task.train(source, validation=validation, test=test, folder=folder, verbose=verbose)
