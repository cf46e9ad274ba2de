"""A trained model with everything that it needs to take raw input: its task, its preparation, its answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.answers import Answers
from ..data.examples import Examples, Finding, noticed
from ..data.preparation import Preparation
from ..files import BadFile, write_atomically
from .base import Task
from .job import Job, answerable, measured, read
from .scores import Baseline, Scores, score_table
from .sources import shown

__all__ = ["Trained"]

MODEL, HISTORY, REPORT = "model.cenote", "history.json", "report.html"
CHUNK = 1024  # raw examples that predict holds prepared at a time


class Trained:
    """What `cenote.tasks.train` gives, and `cenote.load` for a file of it.

    Attributes:
        model: the network; it takes prepared arrays.
        task, preparation, answers: how raw input becomes arrays, and outputs become answers.
        scores: on the test part, the main one first; None after loading (``info`` has them as plain values).
        baselines: what the simplest answers score on the same examples.
        history: of the training; None after loading.
        job: parts, choice, findings, seconds; None after loading.
    """

    def __init__(
        self,
        task: Task,
        model: Any,
        scores: Scores | None = None,
        baselines: list[Baseline] | None = None,
        history: Any = None,
        job: Job | None = None,
    ) -> None:
        self.task, self.model, self.scores, self.history, self.job = task, model, scores, history, job
        self.baselines = list(baselines or [])

    @property
    def preparation(self) -> Preparation:
        return self.task.preparation

    @property
    def answers(self) -> Answers | None:
        return self.task.answers

    @property
    def info(self) -> dict[str, Any]:
        """What is known of it, as plain values: task, source, classes, scores."""
        return self.model.info

    @property
    def interrupted(self) -> bool:
        return bool(self.job and self.job.outcome and self.job.outcome.interrupted)

    def __repr__(self) -> str:
        score = self.scores and f", {self.scores.main.name} {self.scores.main.text(self.scores.count)}"
        return f"<Trained {self.task.name}: {self.info.get('network', type(self.model).__name__)}{score or ''}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the scores beside the baselines, the data, and the model's size."""
        from ..report.html import join, pairs

        facts = {"task": self.task.name, "data": self.info.get("dataset", ""), "about": self.info.get("about", "")}
        facts["model"] = f"{self.info.get('network', type(self.model).__name__)}, {self.model.count_params():,} parameters"
        if self.job is not None:
            facts["examples"] = ", ".join(f"{count:,} {name}" for name, count in self.job.parts.counts().items())
        shown = None if self.scores is None else score_table(self.scores, self.baselines)
        told = None if self.job is None else noticed(self.job.findings)
        return join(pairs({k: v for k, v in facts.items() if v}), shown, told)

    # -- use ---------------------------------------------------------------------------------------------------------------

    def predict(self, source: Any, *, change: Callable[[Any], Any] | None = None) -> list[dict[str, Any]]:
        """The answer for each raw example: a path, a row as a dict, a sentence, a frame, an array, or a list of them.

        Each answer is a dict of plain values: "source", and what the task says, such as "label" and "probability".
        ``change`` is applied to the prepared arrays first.
        """
        return [answer for answers, _ in self.answer(source, change=change) for answer in answers]

    def answer(
        self, source: Any, *, change: Callable[[Any], Any] | None = None
    ) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
        """What `predict` gives, piece by piece, so that only some are held at a time, and what is odd about their input."""
        inputs = self.preparation.raw(source)
        everything = Examples(self.preparation.kind, inputs, names=names_of_inputs(source, inputs))
        if not len(everything):
            raise ValueError(f"{shown(source)} holds nothing to predict")
        look = getattr(self.preparation, "look", None)
        for begin in range(0, len(everything), CHUNK):
            some = everything.take(np.arange(begin, min(begin + CHUNK, len(everything))))
            x = self.preparation(some.inputs)
            decoded = self.task.decode(self.model, x if change is None else change(x))
            notes = [] if look is None or change is not None else [finding.text for finding in look(some.inputs)]
            yield self.task.say(decoded, list(some.names)), notes

    def outputs(self, source: Any) -> Any:
        """The model's outputs for raw input, as numbers."""
        return self.model.predict(self.preparation(self.preparation.raw(source)), verbose=0)

    def examples(self, source: Any) -> tuple[Examples, list[Finding]]:
        """A source with targets, as evaluate sees it, and what was noticed."""
        examples = read(self.task, source)
        if examples.targets is None and self.answers is not None and self.task.labelled:
            raise ValueError(f"{shown(source)} has no targets to measure against: use predict")
        findings = list(examples.findings)
        examples = answerable(self.task, examples, "given", findings)
        if not len(examples):
            raise ValueError(f"{shown(source)}: {findings[-1].text if findings else 'there is no example'}")
        return examples, findings

    def evaluate(self, source: Any) -> Scores:
        """How good it is on labelled examples that it has not learned from: a path, a frame, `Examples`."""
        return self.measure(self.examples(source)[0])

    def measure(self, examples: Examples) -> Scores:
        """The scores for examples that have been read."""
        return measured(self.task, self.model, examples)

    def explain(
        self,
        source: Any,
        method: str = "auto",
        *,
        target: Any = None,
        baseline: Any = None,
        background: Any = None,
        **options: Any,
    ) -> Any:
        """Why it answered so for raw input, as an `Explanation` in the input's own terms.

        A table has a value for each of its columns, a picture for each pixel as prepared, a text for each word, a recording for
        each place of its spectrogram, a series for each variable and step back. ``target`` is the answer to explain by its name
        (default: what the model answered; of a forecast ``"name"`` or ``("name", step)``); ``background`` a source to
        compare with, such as the training data (default: the rows, or their mean, that the model remembers). ``method`` and
        ``options`` are those of `cenote.explain`.

        Raises: ValueError for a class or method that is not there, and for answers that are neither classes nor quantities.
        """
        from ..explain.raw import explain_raw

        return explain_raw(self, source, method, target=target, baseline=baseline, background=background, **options)

    def summary(self, *args: Any, **options: Any) -> Any:
        """The model, layer by layer."""
        return self.model.summary(*args, **options)

    # -- what is known -----------------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What goes into the model's ``info``: plain values only, and nothing of where things lay on this machine."""
        found: dict[str, Any] = {"task": self.task.name}
        if self.job is not None:
            about = {k: v for k, v in self.job.about.items() if k != "classes" and _json(v)}
            found |= {"dataset": shown(self.job.source), "about": str(about.get("text", "")), "network": self.job.choice.name}
        names = getattr(self.answers, "names", None)
        if names is not None:
            found["classes" if hasattr(self.answers, "commonest") else "names"] = list(names)
        if hasattr(self.answers, "commonest"):
            found["commonest"] = self.answers.commonest  # type: ignore[union-attr]
        return found | ({} if self.scores is None else {"test": self.results()})

    def results(self) -> dict[str, Any]:
        """Scores and baselines as plain values, the main score by its name too."""
        if self.scores is None:
            return dict(self.info.get("test", {}))
        return record(self.scores, self.baselines)

    def conclusion(self) -> str:
        """The result as people read it."""
        return "" if self.scores is None else result_lines(self.scores, self.baselines, "Test ")

    # -- files -------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write one ``.cenote`` file: the model, the preparation and the answers. `cenote.load` reads it."""
        from ..saving import save

        save(self.model, path, beside=self._beside())

    def _beside(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        tensors = {f"preparation/{k}": np.asarray(v) for k, v in self.preparation.arrays().items()}
        config: dict[str, Any] = {
            "task": {"name": type(self.task).__name__, "config": self.task.config()},
            "preparation": {"class": type(self.preparation).__name__, "config": self.preparation.config()},
            "answers": None,
        }
        if self.answers is not None:
            tensors |= {f"answers/{k}": np.asarray(v) for k, v in self.answers.arrays().items()}
            config["answers"] = {"class": type(self.answers).__name__, "config": self.answers.config()}
        return config, tensors

    @classmethod
    def restore(
        cls, model: Any, config: dict[str, Any], tensors: Mapping[str, np.ndarray], custom: Mapping[str, Any] | None = None
    ) -> Trained:
        """The trained model that a file describes; raises BadFile for nonsense, ValueError for classes that are not known."""
        custom = custom or {}
        task_class = _task_class(config["task"]["name"], custom)
        given = dict(config["task"]["config"])
        if "model" in given or not _json(given):
            raise BadFile("the file gives its task what it does not take")
        task = task_class(**given)
        task.preparation = _restored(Preparation, config["preparation"], tensors, "preparation/", custom)
        if config["answers"] is not None:
            task.answers = _restored(Answers, config["answers"], tensors, "answers/", custom)
        return cls(task, model)

    def write(self, folder: str | os.PathLike, language: str = "en", **facts: Any) -> None:
        """Leave model.cenote, history.json and report.html in a folder, each whole or not at all.

        ``facts`` go into the report: title, command, settings.
        """
        from .page import write

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.save(folder / MODEL)
        if self.history is not None:
            text = json.dumps(self.history.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
            write_atomically(folder / HISTORY, (text + "\n").encode("utf-8"))
        write(folder / REPORT, self, language=language, **facts)

    def report(self, path: str | os.PathLike = REPORT, *, language: str = "en", **facts: Any) -> Path | None:
        """Write the page to look at: data, model, curves, scores, mistakes."""
        from .page import write

        return write(Path(path), self, language=language, **facts)


# -- results ---------------------------------------------------------------------------------------------------------------


def record(scores: Scores, baselines: list[Baseline]) -> dict[str, Any]:
    """Scores and baselines as plain values."""
    main = scores.main.record()
    found = {"score": main["name"], main["name"]: main["value"], "interval": main["interval"], **scores.record()}
    found["baselines"] = [b.record() for b in baselines]
    return found


def result_lines(scores: Scores, baselines: list[Baseline], what: str = "") -> str:
    """Scores with their intervals, baselines, and the commonest mistakes, as people read them."""
    lines, width = [], max(17, *(len(s.name) for s in scores.values), len(what + scores.main.name))
    for i, s in enumerate(scores.values):
        name = f"{what}{s.name}" if i == 0 else s.name
        text = s.text(scores.count)
        details = scores.details
        right = f"{details['right']:,} of {scores.count:,} right; " if i == 0 and "right" in details else ""
        if s.low == s.low:
            text += f"   {right}95% interval {s.write(s.low, scores.count)} to {s.write(s.high, scores.count)}"
        elif i == 0:
            text += f"   of {scores.count:,} examples"
        lines.append(f"{name[:1].upper() + name[1:]:<{width}} {text}")
    main = scores.main
    for baseline in baselines:
        about = f": {baseline.about}" if baseline.about else ""
        lines.append(f"{'Baseline':<{width}} {main.write(baseline.value, scores.count)}   {baseline.name}{about}")
        if not main.beats(baseline.value):
            lines.append(f"{'':<{width}} not clearly better than this baseline")
    mistakes = [f"{c['true']!r} taken for {c['said']!r} ({c['count']:,})" for c in scores.details.get("confused", ())]
    if mistakes:
        lines.append(f"{'Most confused':<{width}} {', '.join(mistakes)}")
    return "\n".join(lines)


def names_of_inputs(source: Any, inputs: Any) -> list[str]:
    """What to call each of the raw inputs that came from a source: its path, its text, or source and row."""
    count = len(inputs)
    if isinstance(source, (str, os.PathLike)) and hasattr(inputs, "places"):  # rows of a table
        return [str(place) for place in inputs.places()]
    files = [getattr(item, "name", None) for item in getattr(inputs, "items", None) or ()]
    if len(files) == count and all(isinstance(name, str) for name in files):
        return [str(name) for name in files]
    if isinstance(inputs, (list, tuple)) and all(isinstance(i, os.PathLike) for i in inputs):
        return [str(i) for i in inputs]
    if isinstance(source, (list, tuple)) and len(source) == count and all(isinstance(s, (str, os.PathLike)) for s in source):
        return [_short(str(s)) for s in source]
    if isinstance(source, (str, os.PathLike)):
        return [_short(str(source))] if count == 1 else [f"{_short(str(source))}:{i + 1}" for i in range(count)]
    return [f"row {i + 1}" for i in range(count)]


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


# -- classes by name -------------------------------------------------------------------------------------------------------


def _task_class(name: str, custom: Mapping[str, Any]) -> type[Task]:
    from . import TASKS, find

    for task, (_, cls) in TASKS.items():
        if cls == name:
            return find(task)
    return _own(Task, name, custom)


def _own(base: type, name: str, custom: Mapping[str, Any]) -> Any:
    """A subclass by name: Cenote's own, or one that the caller passed in."""
    found, todo = {}, [base]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            if cls.__module__.split(".")[0] == "cenote" and not cls.__name__.startswith("_"):
                found[cls.__name__] = cls
    cls = found.get(name) or custom.get(name)
    if isinstance(cls, type) and issubclass(cls, base):
        return cls
    from ..saving import Needed

    raise Needed(
        f"the file needs the {base.__name__.lower()} {name!r}, which is not Cenote's own: pass it as cn.load(path, "
        f"custom_objects={{{name!r}: {name}}})"
    )


def _restored(base: type, written: dict[str, Any], tensors: Mapping[str, np.ndarray], prefix: str, custom: Mapping[str, Any]):
    arrays = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return _own(base, written["class"], custom).restore(written["config"], arrays)


def _json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
