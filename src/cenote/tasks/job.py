"""One training job, from the source to the trained model: what `Task.train` and the command do, step by step."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import jax
import numpy as np

from ..data.answers import Classes, Labels, missing
from ..data.examples import Examples, Finding
from ..data.split import Parts
from ..progress import track
from .base import Choice, Task
from .scores import Scores
from .sources import builtin, shown

__all__ = ["Job", "Outcome", "feed", "inputs_only", "measured", "parted", "plan", "read"]

SMALL = 5000  # examples; with fewer, larger shares are held out, so that the scores mean something
SHARES = {"validation": (0.15, 0.1), "test": (0.2, 0.1)}  # of small data, of large data
FIRST = 256  # examples of a first look at what is streamed
ESTIMATE_STEPS, ESTIMATE_SECONDS = 8, 5.0  # measured steps of an estimate, and when it is enough


@dataclass
class Outcome:
    """How fitting went: the history, why it ended, and the epoch (from 1) whose weights the validation part has chosen."""

    history: Any
    stopped: str = ""
    interrupted: bool = False
    kept_epoch: int | None = None


@dataclass
class Job:
    """Everything that is ready to be fitted; nothing has been written."""

    task: Task
    source: Any
    about: dict[str, Any]
    parts: Parts
    data: Any  # of the training part: (x, y), or `Batches`
    held: Any  # of the validation part; None if there is none
    choice: Choice
    model: Any
    findings: list[Finding] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    outcome: Outcome | None = None
    reason: str = ""  # why this task

    # -- what is said ------------------------------------------------------------------------------------------------------

    def announcement(self) -> str:
        """What will be done, for people: data, findings, parts, model, training, each with its reason."""
        last, lines = None, []
        for label, text in self._facts():
            lines.append(f"{'' if label == last else label:<10}{text}")
            last = label
        return "\n".join(lines)

    def _facts(self) -> Iterator[tuple[str, str]]:
        c, task, why = self.choice, self.task, self.choice.reasons
        yield "Task", task.name + (f": {self.reason}" if self.reason else "")
        about = self.about.get("text")
        train, held, test = (f"{count:,}" for count in self.parts.counts().values())
        yield "Data", shown(self.source) + (f": {about}" if about else "")
        yield "Data", f"{train} to train, {held} to validate, {test} kept apart for the test"
        yield "Data", self.parts.reason
        if task.answers is not None:
            told, column = task.answers.describe(), task.target
            yield "Target", told if not isinstance(column, str) or told.startswith(column) else f"{column}: {told}"
        for line in task.preparation.describe():
            yield "Inputs", line
        for finding in self.findings:
            yield "Warning" if finding.severity == "warning" else "Note", _said(finding)
        yield "Model", f"{c.name}, {self.model.count_params():,} parameters{_why(why, 'model', 'name')}"
        yield "Loss", c.loss if isinstance(c.loss, str) else getattr(c.loss, "name", None) or type(c.loss).__name__
        if c.augment is not None:
            yield "Augment", _names(c.augment) + _why(why, "augment")
        rate = f"{c.learning_rate:g}" + ("" if c.schedule is None else f" ({getattr(c.schedule, '__name__', 'scheduled')})")
        how = f"up to {c.epochs} epochs, batches of {c.batch_size}, {optimizer_name(c.optimizer)} {rate}, seed {task.seed}"
        yield "Training", f"{how}; Ctrl-C keeps what is learned"
        for name, reason in why.items():
            if name in _TRAINING:
                yield "Training", f"{name.replace('_', ' ')}: {reason}"

    def record(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        c = self.choice
        return {
            "task": self.task.name,
            "task_reason": self.reason,
            "source": shown(self.source),
            "target": self.task.target,
            "answers": None if self.task.answers is None else self.task.answers.describe(),
            "inputs": self.task.preparation.describe(),
            "parts": self.parts.counts(),
            "parted": self.parts.how,
            "findings": [{"text": f.text, "severity": f.severity, "where": f.where} for f in self.findings],
            "model": c.name,
            "parameters": self.model.count_params(),
            "optimizer": optimizer_name(c.optimizer),
            "learning_rate": c.learning_rate,
            "epochs": c.epochs,
            "batch_size": c.batch_size,
            "patience": c.patience,
            "reasons": dict(c.reasons),
        }

    def steps(self) -> int:
        """Steps of an epoch."""
        if callable(self.data):
            batches = self.data(self.choice.batch_size, self.task.seed)
            if hasattr(batches, "__len__"):
                return len(cast(Any, batches))
        return -(-self.rows() // self.choice.batch_size)

    def rows(self) -> int:
        """Rows of an epoch: often, but not always, one for each example (of a text, each of its windows is one)."""
        return len(self.parts.train) if callable(self.data) else len(jax.tree.leaves(self.data[0])[0])

    def estimate(self) -> float:
        """Seconds that all epochs would take, from a few steps that are measured here; early stopping may make it less.

        The steps change the weights, so a job that was measured is not one to fit.
        """
        size = self.choice.batch_size
        rows = min(self.rows(), ESTIMATE_STEPS * size)
        if callable(self.data):
            some = list(itertools.islice(cast(Any, self.data)(size, None), ESTIMATE_STEPS))
            rows, options = size * len(some), {"x": _Again(some)}
        else:
            x, y = jax.tree.map(lambda a: a[:rows], self.data)
            options: dict[str, Any] = {"x": x, "y": y, "batch_size": size}
        times = []
        for _ in range(3):  # the first compiles
            began = time.perf_counter()
            self.model.fit(**options, epochs=1, verbose=0, augment=self.choice.augment)
            times.append(time.perf_counter() - began)
            if len(times) > 1 and sum(times) > ESTIMATE_SECONDS:
                break
        steps = max(1, -(-rows // size))
        compiling = max(0.0, times[0] - min(times[1:]))
        held = 1 + len(self.parts.validation) / max(len(self.parts.train), 1) / 3
        return compiling + min(times[1:]) / steps * self.steps() * self.choice.epochs * held

    # -- what is done ------------------------------------------------------------------------------------------------------

    def fit(self, *, verbose: str | int = "auto", checkpoint: Any = None, callbacks: Iterable[Any] = ()) -> Outcome:
        """Train with early stopping on the validation part; the best weights stay, or the last where it does not choose.

        Raises: KeyboardInterrupt if it was interrupted before anything was learned; FloatingPointError when the loss is no
        longer finite.
        """
        from ..train.callbacks import Callback, EarlyStopping

        class Watch(Callback):
            """Keeps hold of the run, whose history would be lost with an interruption."""

            watches_model = False

        c, watch = self.choice, Watch()
        # The loss of training, over weights that move, says little of which were the best: the last stay.
        early = EarlyStopping(c.monitor, patience=c.patience, restore_best_weights=c.monitor.startswith("val_"))
        x, y = feed(self.data, c.batch_size, self.task.seed)
        held = None if self.held is None else feed(self.held, max(c.batch_size, 256), None)
        began, interrupted = time.perf_counter(), False
        try:
            self.model.fit(
                x,
                y,
                batch_size=None if y is None and callable(self.data) else c.batch_size,
                epochs=c.epochs,
                validation_data=held if held is None or held[1] is not None else held[0],
                callbacks=[early, watch, *c.callbacks, *callbacks],
                class_weight=c.class_weight,
                augment=c.augment,
                verbose=verbose,
                checkpoint=checkpoint,
            )
        except KeyboardInterrupt:
            interrupted = True
            if watch.run is None or not int(watch.run.state.step):
                raise KeyboardInterrupt("interrupted before anything was learned; nothing was written") from None
        run = watch.run
        stopped = run.stop_reason or (f"all {c.epochs} epochs done" if run.epoch >= c.epochs else "")
        self.seconds["training"] = max(run.seconds, time.perf_counter() - began)
        self.outcome = Outcome(
            run.history,
            "interrupted (Ctrl-C)" if interrupted else stopped,
            interrupted,
            None if early.best_weights is None else early.best_epoch + 1,
        )
        return self.outcome

    def finish(self) -> Any:
        """Measure once on the test part, and the baselines with it: the `Trained` that comes back has it all."""
        from .trained import Trained

        began = time.perf_counter()
        scores, baselines = None, []
        if len(self.parts.validation):
            self.task.calibrate(self.model, self.parts.validation)
        if len(self.parts.test):
            scores = measured(self.task, self.model, self.parts.test)
            self.seconds["testing"] = time.perf_counter() - began
            began = time.perf_counter()
            baselines = self.task.baselines(self.parts)
            self.seconds["baselines"] = time.perf_counter() - began
        trained = Trained(self.task, self.model, scores, baselines, self.outcome and self.outcome.history, self)
        self.model.info = trained.facts()
        return trained


def measured(task: Task, model: Any, examples: Examples) -> Scores:
    """The scores of a model for examples; texts that it wrote are kept with them ("said"), for the report."""
    outputs = task.outputs(model, inputs_only(task.arrays(examples), 256))
    scores = task.score(outputs, examples)
    if isinstance(outputs, list) and all(isinstance(text, str) for text in outputs):
        scores.arrays["said"] = np.array(outputs, object)
    return scores


def plan(task: Task, source: Any, *, validation: Any = None, test: Any = None) -> Job:
    """Read, part, prepare, choose and build. Raises ValueError or OSError for what cannot be learned from."""
    began = time.perf_counter()
    examples = read(task, source)
    parts = parted(task, examples, validation, test)
    task.preparation, task.answers = task.prepare(parts.train)
    findings = [*parts.train.findings, *parts.findings, *task.preparation.findings]
    findings += [] if task.answers is None else task.answers.findings
    parts.validation, parts.test = (
        answerable(task, part, name, findings) for part, name in ((parts.validation, "validation"), (parts.test, "test"))
    )
    data = task.arrays(parts.train, training=True)
    x, y = next(iter(data(FIRST, None))) if callable(data) else data
    held = task.arrays(parts.validation) if len(parts.validation) else None
    reading = time.perf_counter() - began
    choice = task.settled(task.choose(parts.train, x, y))
    if held is None and choice.monitor.startswith("val_"):
        choice = _without_choosing(choice, asked=task.patience is not None)
    count = None if callable(data) else len(jax.tree.leaves(x)[0])
    if count is not None and choice.batch_size > count:
        asked = {} if task.batch_size is None else {"batch_size": f"all {count:,} examples; {task.batch_size:,} were asked for"}
        choice = replace(choice, batch_size=count, reasons={**choice.reasons, **asked})
    job = Job(task, source, dict(examples.about), parts, data, held, choice, choice.model, _distinct(findings))
    job.seconds["loading"] = reading
    _compile(job, x)
    return job


def _without_choosing(choice: Choice, asked: bool) -> Choice:
    """The choice where nothing is held out: the loss of training, by which only a patience that was ``asked`` for may stop."""
    choice = replace(choice, monitor=choice.monitor.removeprefix("val_"))
    if asked:
        return choice
    reasons = {**choice.reasons, "patience": "the last weights stay: nothing is held out to choose by"}
    return replace(choice, patience=choice.epochs, reasons=reasons)


def _compile(job: Job, x: Any) -> None:
    from .. import optimizers

    c = job.choice
    optimizer: Any = optimizers.get(c.optimizer)
    steps = job.steps() * c.epochs
    optimizer.learning_rate = c.learning_rate if c.schedule is None else c.schedule(c.learning_rate, steps)
    job.model.compile(optimizer, c.loss, c.metrics, seed=job.task.seed, precision=c.precision)
    job.model.build(jax.tree.map(lambda a: a[:1], x))


def read(task: Task, source: Any) -> Examples:
    """The examples of a source; those without a target are left out, and that is said."""
    known = builtin(source)
    examples = source if isinstance(source, Examples) else known.read() if known is not None else task.read(source)
    if not len(examples):
        raise ValueError(f"{shown(source)} holds no example")
    if examples.targets is None:
        return examples
    examples = _renumbered(task, examples)
    absent = missing(examples.targets)
    if not absent.any():
        return examples
    if absent.all():
        raise ValueError(f"{shown(source)}: no example has a target; there is nothing to learn from")
    first = int(np.argmax(absent))
    where = str(examples.names[first]) if len(examples.names) else f"example {first + 1}"
    kept = examples.take(np.flatnonzero(~absent))
    text = f"{int(absent.sum()):,} of {len(examples):,} examples have no target ({where} is the first) and are left out"
    return replace(kept, findings=[*kept.findings, Finding(text, "warning", where)])


def _renumbered(task: Task, examples: Examples) -> Examples:
    """Class numbers, as arrays have them, for the names that training knew: where no name is a number itself."""
    answers, targets = getattr(task, "answers", None), examples.targets
    if not isinstance(answers, Classes) or not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iu":
        return examples
    names = answers.names
    numbers = targets.reshape(-1)
    if (
        any(name.lstrip("-").isdigit() for name in names)
        or not len(numbers)
        or not 0 <= numbers.min() <= numbers.max() < len(names)
    ):
        return examples
    text = f"targets are class numbers from 0 here, taken as {names[0]!r} and so on, in the order of the training"
    return replace(examples, targets=np.array(names)[numbers], findings=[*examples.findings, Finding(text)])


def parted(task: Task, examples: Examples, validation: Any = None, test: Any = None) -> Parts:
    """Training, validation and test part: by shares, by numbers, or with sources of their own."""
    given = {"validation": validation, "test": test}
    shares, own = {}, {}
    for name, value in given.items():
        if value is None:
            shares[name] = SHARES[name][len(examples) > SMALL]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            shares[name] = value
        else:
            own[name], shares[name] = read(task, value), 0
    parts = task.part(examples, shares["validation"], shares["test"])
    if validation is None and len(parts.train) < task.choosing:
        parts = task.part(examples, 0, shares["test"])
    for name, found in own.items():
        setattr(parts, name, found)
        parts.findings += [Finding(f"in the {name} part: {f.text}", f.severity, f.where) for f in found.findings]
    if own:
        parts.reason += f"; the {' and the '.join(own)} part as given"
    return parts


def answerable(task: Task, examples: Examples, name: str, findings: list[Finding]) -> Examples:
    """The examples whose class the training part has; the others cannot be scored, and that is said."""
    if task.answers is None or examples.targets is None or not len(examples):
        return examples
    if isinstance(task.answers, Labels) and (unseen := task.answers.unseen(examples.targets)):
        text = f"{len(unseen):,} labels of the {name} part, such as {unseen[0]!r}, do not occur in training: they are left out"
        findings.append(Finding(text, "warning"))
    strange = task.answers.unknown(examples.targets)
    if strange is None or not strange.any():
        return examples
    row = int(np.argmax(strange))
    text = (
        f"{int(strange.sum()):,} of {len(examples):,} {name} examples have a class that training has not seen, such as "
        f"{str(examples.targets[row])!r}: no answer could be right, and they are left out of the scores"
    )
    findings.append(Finding(text, "warning", str(examples.names[row]) if len(examples.names) else ""))
    return examples.take(np.flatnonzero(~strange))


def feed(data: Any, size: int, seed: int | None) -> tuple[Any, Any]:
    """What `fit` takes as x and y: arrays, or an iterable of batches and None."""
    return (data(size, seed), None) if callable(data) else data


def inputs_only(data: Any, size: int) -> Any:
    """The inputs of arrays or batches, in the examples' order."""
    return _Inputs(data, size) if callable(data) else data[0]


@dataclass
class _Again:
    """Batches that are at hand, as an iterable."""

    batches: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


@dataclass
class _Inputs:
    """The inputs of streamed batches, as often as they are asked for."""

    data: Any
    size: int

    def __iter__(self) -> Iterator[Any]:
        return (x for x, _ in track(self.data(self.size, None), "predicting", unit=self.size))


def optimizer_name(optimizer: Any) -> str:
    """What ``--optimizer`` calls it.

    >>> from cenote import optimizers
    >>> optimizer_name("adam"), optimizer_name(optimizers.AdamW(weight_decay=0.1))
    ('adam', 'adamw')
    """
    return optimizer if isinstance(optimizer, str) else type(optimizer).__name__.lower()


_TRAINING = ("epochs", "batch_size", "optimizer", "learning_rate", "schedule", "patience", "class_weight", "callbacks")


def _why(reasons: dict[str, str], *names: str) -> str:
    return next((f": {reasons[n]}" for n in names if n in reasons), "")


def _said(finding: Finding) -> str:
    return finding.text + (f" ({finding.where})" if finding.where and finding.where not in finding.text else "")


def _names(layer: Any) -> str:
    inside = getattr(layer, "layers", None) or [layer]
    return ", ".join(type(part).__name__ for part in inside)


def _distinct(findings: list[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))
