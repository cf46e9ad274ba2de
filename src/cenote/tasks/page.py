"""The report of a trained model: the one place where tasks call `cenote.report`. What is shown follows from what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.answers import Classes, Labels, Quantities, numbers_of
from ..data.examples import Examples
from ..report.facts import plain

__all__ = ["story", "write"]

WINDOWS = 4  # of a forecast
TOLD = 5  # features in which a row differs most from its reconstruction
BEGINNING = 60  # characters that a written text goes on with
SPAN_OF = 256  # pictures that tell what is black and white


def write(path: Path, trained: Any, *, language: str = "en", **known: Any) -> Path:
    """Write the page of `story` to ``path``."""
    from .. import report

    return report.render(path, story(trained, **known), language)


def story(
    trained: Any,
    *,
    scores: Any = None,
    examples: Any = None,
    parts: Any = None,
    history: Any = None,
    title: str = "",
    command: str = "",
    settings: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Any:
    """What the page of a trained model shows, as a `cenote.report.Story`.

    At hand are ``trained`` (task, preparation, answers, model), its ``job`` (parts, choice, findings, seconds, outcome), its
    scores and baselines, and its history; ``scores``, ``examples`` and ``parts`` are those of another measurement than the
    training's.
    """
    from .. import report

    job, own, task = trained.job, scores is None, trained.task
    told = job if own else None
    if told is not None:
        scores, parts, examples = trained.scores, told.parts, told.parts.test
    outcome = told and told.outcome
    named = {} if parts is None else {"training": parts.train, "validation": parts.validation, "test": parts.test}
    named = {name: part for name, part in named.items() if len(part)} or ({} if examples is None else {"test": examples})
    some = next(iter(named.values()), None)
    found = report.Story(
        facts=report.Facts.here(
            title=title or f"{trained.info.get('dataset', '')} · {trained.info.get('network', '')}".strip(" ·"),
            about=str(told.about.get("text", "")) if told else "",
            command=command,
            settings=settings or {},
            seconds=seconds or (told.seconds if told else {}),
            stopped=outcome.stopped if outcome else "",
            interrupted=bool(outcome and outcome.interrupted),
            kept_epoch=outcome.kept_epoch if outcome else None,
        ),
        kind=trained.preparation.kind,
        parts={name: len(part) for name, part in named.items()},
        parted=told.parts.reason if told else "",
        findings=told.findings if told else [] if some is None else some.findings,
        chosen=_chosen(told) if told else (),
        model=trained.model,
        history=trained.history if history is None else history,
    )
    found.columns = _columns(trained.preparation, some)
    found.spreads = _spreads(trained, named)
    found.courses = _courses(named)
    if scores is None:
        return found
    found.scores, found.count = scores.values, scores.count
    found.baselines = trained.baselines if own else task.simplest(examples)
    found.errors = scores.arrays.get("errors")
    if examples is not None and (found.errors is None or len(found.errors) == len(examples)):
        found.names, found.show = examples.names, shower(trained.preparation, examples)
    _results(found, trained, scores, examples, named)
    return found


def _results(found: Any, trained: Any, scores: Any, examples: Examples | None, named: dict[str, Examples]) -> None:
    """What the answers allow to be shown: a kind for each kind of answers."""
    from ..data.series import Ahead
    from ..data.text.prepare import CorpusPreparation
    from ..report import scores as of
    from ..report import story as kinds
    from .autoencode import Reconstruction

    answers, arrays, preparation = trained.answers, scores.arrays, trained.preparation
    if isinstance(answers, Classes) and "labels" in arrays:
        labels = {name: answers(part.targets) for name, part in named.items() if part.targets is not None}
        found.classified = kinds.Classified(
            names=answers.names, scores=of.score(arrays["probabilities"], arrays["labels"]), parts=labels
        )
    elif isinstance(answers, Labels) and "truth" in arrays:
        counts = {name: answers(part.targets).sum(0) for name, part in named.items() if part.targets is not None}
        found.labelled = kinds.Labelled(
            names=answers.names, probabilities=arrays["probabilities"], truth=arrays["truth"], parts=counts
        )
    elif isinstance(answers, Ahead) and examples is not None:
        found.foreseen = _foreseen(answers, scores, examples)
    elif "predicted" in arrays:
        names = getattr(answers, "names", None) or [f"{i + 1}" for i in range(arrays["predicted"].shape[1])]
        found.measured = kinds.Measured(names=names, predicted=arrays["predicted"], true=arrays["true"], unit=scores.main.unit)
    elif "said" in arrays and examples is not None and examples.targets is not None:
        found.written = kinds.Written(said=[str(t) for t in arrays["said"]], true=[str(t) for t in examples.targets])
    elif isinstance(answers, Reconstruction) and examples is not None:
        found.back = _back(trained, examples)
    elif isinstance(preparation, CorpusPreparation) and examples is not None:
        found.samples = _samples(trained, examples)


# -- examples --------------------------------------------------------------------------------------------------------------


def shower(preparation: Any, examples: Examples) -> Callable[[Sequence[int]], list[Any]] | None:
    """A function that gives some of the examples, by their numbers, as people look at them; None where they cannot be shown."""
    from ..data.audio import Recordings
    from ..data.tables import Table
    from ..report import exhibits

    inputs, kind = examples.inputs, examples.kind
    if kind == "image":
        return _pictures(preparation, examples)
    if isinstance(inputs, Table):
        return lambda rows: [exhibits.row(values, "+ {count}") for values in inputs.take_rows(np.asarray(rows))]
    if isinstance(inputs, Recordings):

        def heard(rows: Sequence[int]) -> list[Any]:
            return [exhibits.spectrogram(inputs[int(i)], int(inputs.rates[int(i)]), _name(examples, i)) for i in rows]

        return heard
    if kind == "text":
        return lambda rows: [exhibits.sentence(str(inputs[int(i)])) for i in rows]
    return None


def _pictures(preparation: Any, examples: Examples) -> Callable[[Sequence[int]], list[Any]] | None:
    from ..report.pictures import is_pictures, picture, value_range

    def prepared(rows: Any) -> np.ndarray:
        return np.asarray(preparation(examples.take(np.asarray(rows, np.int64)).inputs))

    spread = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), SPAN_OF)).astype(int))
    some = prepared(spread)
    if not is_pictures(some):
        return None
    span = value_range(some)
    return lambda rows: [picture(x, span, _name(examples, i)) for i, x in zip(rows, prepared(rows), strict=True)]


def _name(examples: Examples, row: int) -> str:
    """What to call an example that cannot be seen: its class, else where it is from."""
    if isinstance(examples.targets, np.ndarray) and examples.targets.ndim == 1 and examples.targets.dtype.kind in "USOiu":
        return str(examples.targets[int(row)])
    return str(examples.names[int(row)]) if int(row) < len(examples.names) else f"{int(row) + 1}"


def _back(trained: Any, examples: Examples) -> Callable[[Sequence[int]], list[Any]]:
    """What an autoencoder makes of examples: the picture, or the features in which a row differs most."""
    from ..report.exhibits import row
    from ..report.pictures import picture

    task, preparation = trained.task, trained.preparation

    def back(rows: Sequence[int]) -> list[Any]:
        x, y = task.arrays(examples.take(np.asarray(rows, np.int64)))
        said = np.asarray(task.outputs(trained.model, x)).reshape(len(x), -1)
        if preparation.kind == "image":
            return [picture(v, (0.0, 1.0), "") for v in said.reshape(x.shape)]
        features = preparation.features() or [str(i + 1) for i in range(said.shape[1])]
        shown = []
        for true, restored in zip(y, said, strict=True):
            order = np.argsort(-np.abs(true - restored), kind="stable")[:TOLD]
            shown.append(row({features[i]: f"{true[i]:.2f} → {restored[i]:.2f}" for i in order}))
        return shown

    return back


def _samples(trained: Any, examples: Examples) -> list[tuple[str, str]]:
    """Texts that a language model writes behind the beginnings of two blocks of the test part."""
    blocks = [str(examples.inputs[i]) for i in sorted({0, len(examples) // 2})]
    begins = [text[:BEGINNING].rsplit(" ", 1)[0] or text[:BEGINNING] for text in blocks]
    written = trained.task.decode(trained.model, trained.preparation(begins))
    return [
        (begin if text.startswith(begin) else "", text.removeprefix(begin)) for begin, text in zip(begins, written, strict=True)
    ]


def _foreseen(answers: Any, scores: Any, examples: Examples) -> Any:
    """The last windows that do not overlap, the earliest first, and the errors by the step ahead."""
    from ..report.story import Foreseen, Window

    windows, shape = examples.inputs, (-1, answers.horizon, len(answers.names))
    said, true = scores.arrays["predicted"].reshape(shape), scores.arrays["true"].reshape(shape)
    variables = range(min(len(answers.names), WINDOWS))
    each = max(1, WINDOWS // len(variables))
    chosen = [i for i in range(len(windows) - 1, -1, -answers.horizon)][:each][::-1]
    before = min(windows.history, max(2 * answers.horizon, 24))
    step, series, found = windows.series.step, windows.series, []
    ends = [None if (e := scores.arrays.get(k)) is None else e.reshape(shape) for k in ("low", "high")]
    for i in chosen:
        end = int(windows.ends[i])
        ahead = windows.take_rows([i]).times()[0]
        times = [step.text(t) for t in (series.times[end - before], ahead[0], ahead[-1])]
        for v in variables:
            low, high = (None if e is None else e[i, :, v] for e in ends)
            past = series.values[end - before : end, v]
            found.append(
                Window(
                    name=answers.names[v], past=past, true=true[i, :, v], said=said[i, :, v], low=low, high=high, times=times
                )
            )
    held = next(((s.value, s.high) for s in scores.values if s.name.startswith("inside ")), None)
    name = "MASE" if len(answers.names) > 1 else "MAE"
    errors = [row[name] for row in scores.details.get("by_step", ())]
    return Foreseen(windows=found, by_step={name: errors} if errors else {}, level=answers.level, held=held)


# -- data and choices ------------------------------------------------------------------------------------------------------


def _columns(preparation: Any, examples: Examples | None) -> list[Any]:
    """The columns of a table: their types, what is missing, what they hold, and how the model sees them."""
    from ..data.series import Windows
    from ..data.tables import Table, kinds
    from ..report.story import ColumnFacts

    inputs = None if examples is None else examples.inputs
    if isinstance(inputs, Windows):
        series = inputs.series
        return [
            ColumnFacts(name=name, type="number", missing=float(np.isnan(v).mean()), holds=_range(v))
            for name, v in zip(series.names, series.values.T, strict=True)
        ]
    if not isinstance(inputs, Table):
        return []
    types = inputs.types or kinds(inputs)
    used = {e.name: e.describe() for e in getattr(preparation, "encoders", ())}
    used |= {name: f"left out: {why}" for name, why in getattr(preparation, "dropped", {}).items()}
    found = []
    for name, column in inputs.columns.items():
        missing = float(column.missing.mean()) if len(column) else 0.0
        kind = getattr(types.get(name), "type", "")
        found.append(ColumnFacts(name=name, type=kind, missing=missing, holds=_holds(column), used=used.get(name, "")))
    return found


def _holds(column: Any) -> str:
    if column.numbers is not None:
        return _range(column.numbers)
    counts = column.counts()
    order = [i for i in np.argsort(-counts, kind="stable")[:3].tolist() if counts[i]]
    levels = int((counts > 0).sum())
    if not levels:
        return ""
    usual = ", ".join(f"{column.levels[i][:24]} ({counts[i] / counts.sum():.0%})" for i in order)
    return (
        f"{levels:,}: {usual}" + (", …" if levels > 3 else "")
        if counts.max() > 1
        else f"{levels:,}: {column.levels[order[0]][:40]}, …"
    )


def _range(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    low, middle, high = np.quantile(known, [0, 0.5, 1])
    return " … ".join(plain(float(v)) for v in (low, middle, high))


def _spreads(trained: Any, named: dict[str, Examples]) -> list[Any]:
    """Histograms: of the targets that are quantities, and of the lengths of texts and recordings."""
    from ..data.audio import Recordings
    from ..report.story import Spread

    found = []
    targets = [part.targets for part in named.values() if part.targets is not None]
    if isinstance(trained.answers, Quantities) and targets:
        values = np.concatenate([numbers_of(t) for t in targets])
        found += [Spread(name=name, values=values[:, i]) for i, name in enumerate(trained.answers.names[:4])]
    inputs = [part.inputs for part in named.values()]
    if inputs and all(isinstance(i, Recordings) for i in inputs):
        found.append(Spread(name="seconds_of_sound", values=np.concatenate([i.lengths / i.rates for i in inputs])))
    elif trained.preparation.kind == "text" and not hasattr(trained.preparation, "windows"):
        found.append(Spread(name="lengths", values=np.array([len(str(text)) for i in inputs for text in i], np.float64)))
    return found


def _courses(named: dict[str, Examples]) -> list[Any]:
    """The series that are foreseen, from the first to the last value that is known, and where each part begins."""
    from ..data.series import Windows
    from ..report.story import Course

    windows = {name: part.inputs for name, part in named.items() if isinstance(part.inputs, Windows)}
    if not windows:
        return []
    series = next(iter(windows.values())).series
    begins = {name: int(part.ends.min()) if at else 0 for at, (name, part) in enumerate(windows.items())}
    times = series.step.text(series.times[0]), series.step.text(series.times[-1])
    shown = zip(series.names[: min(series.targets, WINDOWS)], series.values.T, strict=False)
    return [Course(name=name, values=values, begins=begins, times=times) for name, values in shown]


def _chosen(job: Any) -> list[tuple[str, str, str]]:
    """What the task chose: name, value, reason."""
    from .job import optimizer_name

    c = job.choice
    loss = c.loss if isinstance(c.loss, str) else getattr(c.loss, "name", None) or type(c.loss).__name__
    schedule = "" if c.schedule is None else f" ({getattr(c.schedule, '__name__', 'scheduled')})"
    values = {
        "task": job.task.name,
        "model": c.name,
        "loss": str(loss).replace("_", " "),
        "augment": ", ".join(type(part).__name__ for part in (getattr(c.augment, "layers", None) or [c.augment]))
        if c.augment
        else "",
        "optimizer": optimizer_name(c.optimizer),
        "learning_rate": f"{c.learning_rate:g}{schedule}",
        "epochs": f"≤ {c.epochs}",
        "batch_size": str(c.batch_size),
        "patience": str(c.patience),
    }
    why = {"task": job.reason, **c.reasons}
    told = [(name, value, why.pop(name, "")) for name, value in values.items() if value]
    return told + [(name, "", reason) for name, reason in why.items() if reason and name != "augment"]
