"""``cenote train``: the main job, from a data set's name to a model, its history and a report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import data as data_sets
from . import networks, runs
from .data import Data
from .runs import Run, Settings
from .trouble import DONE, INTERRUPTED, Trouble, UsageTrouble

CHECKPOINT_SECONDS = 10.0
_OPTIONS = ("model", "batch_size", "learning_rate", "optimizer", "seed")  # that a resumed run cannot change


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    quiet = args.quiet or args.json
    say = _nothing if quiet else _print
    dataset = data_sets.check_name(args.dataset)
    kind = None if args.model is None else networks.check_kind(args.model, dataset)
    if args.name is not None:
        runs.check_run_name(args.name)
    root = Path(args.runs)
    found = runs.unfinished(root, args.name, dataset, kind) if args.resume else None
    if found is not None and found.status == "done":
        record = json.loads((found.folder / runs.RECORD).read_text("utf-8"))
        _tell_finished(found, record["results"], args.json, say)
        return DONE
    settings = _settings(args, dataset) if found is None else _resumed(found, args, dataset)

    began = time.perf_counter()
    data = data_sets.load(dataset, settings.seed)
    loading = time.perf_counter() - began
    for note in data.notes:
        print(f"note: {note}", file=sys.stderr)
    model = _compiled(settings, data)
    job = _Job(found or runs.begin(root, args.name, settings), settings, data, model, fresh=found is None)
    job.run.settings = settings
    if found is not None:
        found.record("training")
    say(_announcement(job, data))
    outcome = _train(job, quiet)
    outcome.seconds = {"loading": loading, **outcome.seconds}
    results = _finish(job, outcome, args.language or "en")
    say(_conclusion(job, outcome, results))
    if args.json:
        print(json.dumps(results, ensure_ascii=False))
    return INTERRUPTED if outcome.interrupted else DONE


# -- what is to be done ----------------------------------------------------------------------------------------------------


def _settings(args: argparse.Namespace, dataset: str) -> Settings:
    """The settings of a new run: what was asked for, and else what the recipe says."""
    from .. import optimizers

    kind = networks.check_kind(args.model, dataset)
    usual = networks.recipe(kind, dataset)
    name = args.optimizer or "adam"
    try:
        rate = args.learning_rate or float(optimizers.get(name).learning_rate)  # type: ignore[union-attr]
    except (ValueError, TypeError, AttributeError) as error:  # also those that need an optimizer of their own
        raise UsageTrouble(f"--optimizer {name}: {error}") from error
    return Settings(
        dataset,
        kind,
        args.epochs or usual.epochs,
        args.batch_size or usual.batch_size,
        rate,
        name,
        0 if args.seed is None else args.seed,
    )


def _resumed(run: Run, args: argparse.Namespace, dataset: str) -> Settings:
    """The settings of a run that goes on; only the number of epochs may be another."""
    if run.settings.dataset != dataset:
        raise UsageTrouble(f"the run {run.name} is one of {run.settings.dataset}, not of {dataset}")
    for option in _OPTIONS:
        given, was = getattr(args, option), getattr(run.settings, option)
        if given is not None and given != was:
            text = option.replace("_", "-")
            raise UsageTrouble(f"the run {run.name} was begun with --{text} {was}, it cannot go on with {given}")
    return replace(run.settings, epochs=args.epochs or run.settings.epochs)


@dataclass
class _Job:
    run: Run
    settings: Settings
    data: Data
    model: Any
    fresh: bool  # not one that goes on


def _compiled(settings: Settings, data: Data) -> Any:
    from .. import optimizers

    model = networks.build(settings.model, data)
    optimizer: Any = optimizers.get(settings.optimizer)
    optimizer.learning_rate = settings.learning_rate
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"], seed=settings.seed)
    model.build(data.train[0][:1])
    model.info = {
        "task": "classification",
        "dataset": data.name,
        "about": data.about,
        "classes": data.classes,
        "commonest": int(np.bincount(data.train[1]).argmax()),
        "input": data.input,
        "network": settings.model,
    }
    return model


# -- training --------------------------------------------------------------------------------------------------------------


@dataclass
class _Outcome:
    history: Any
    seconds: dict[str, float]
    stopped: str
    interrupted: bool
    kept_epoch: int | None


def _train(job: _Job, quiet: bool) -> _Outcome:
    from ..train import Checkpoints
    from ..train.callbacks import Callback, EarlyStopping

    checkpoints = Checkpoints(job.run.checkpoints, every_seconds=CHECKPOINT_SECONDS, keep=2)

    class Watch(Callback):
        """Keeps hold of the run, whose history would be lost with an interruption, and tells where it goes on."""

        watches_model = False

        def on_train_begin(self, logs: Any = None) -> None:
            if not quiet:
                for note in checkpoints.notes:
                    print(note[0].upper() + note[1:])

    watch, patience = Watch(), networks.recipe(job.settings.model, job.settings.dataset).patience
    early = EarlyStopping("val_loss", patience=patience, restore_best_weights=True)
    settings, began, interrupted = job.settings, time.perf_counter(), False
    try:
        job.model.fit(
            *job.data.train,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            validation_data=job.data.validation,
            callbacks=[early, watch],
            verbose=0 if quiet else "auto",
            checkpoint=checkpoints,
        )
    except KeyboardInterrupt:
        interrupted = True
        if watch.run is None or not int(watch.run.state.step):
            if job.fresh:
                job.run.discard()
            raise KeyboardInterrupt("interrupted before anything was learned; nothing was written") from None
    except FloatingPointError:
        if job.fresh:
            job.run.discard()
        raise
    run = watch.run
    stopped = run.stop_reason or (f"all {settings.epochs} epochs done" if run.epoch >= settings.epochs else "")
    spent = {"training": max(run.seconds, time.perf_counter() - began)}
    kept = early.best_epoch + 1 if early.best is not None else None
    return _Outcome(run.history, spent, "interrupted (Ctrl-C)" if interrupted else stopped, interrupted, kept)


def _finish(job: _Job, outcome: _Outcome, language: str) -> dict[str, Any]:
    """Test the model, and write everything that stays; each file appears whole or not at all, ``latest`` last."""
    import shutil

    from .. import report

    folder, data = job.run.folder, job.data
    began = time.perf_counter()
    probabilities = job.model.predict(data.test[0])
    outcome.seconds["testing"] = time.perf_counter() - began
    scores = report.score(probabilities, data.test[1])
    results = {
        "run": str(folder),
        "interrupted": outcome.interrupted,
        **numbers(scores, data.classes, data.train[1]),
        "epochs": len(outcome.history.records),
        "seconds": {k: round(v, 3) for k, v in outcome.seconds.items()},
    }
    job.model.info = {**job.model.info, "test": {k: results[k] for k in ("accuracy", "interval", "count")}}
    job.model.save(folder / runs.MODEL)
    runs.write_json(folder / runs.HISTORY, outcome.history.to_dict())
    facts = report.Facts.here(
        title=f"{data.name} · {job.settings.model}",
        about=data.about,
        command=job.settings.command(),
        settings=job.settings.shown(),
        seconds=outcome.seconds,
        stopped=outcome.stopped,
        interrupted=outcome.interrupted,
        kept_epoch=outcome.kept_epoch,
    )
    report.write(
        folder / runs.REPORT,
        probabilities,
        data.test[1],
        classes=data.classes,
        pictures=data.test[0],
        parts=data.parts,
        model=job.model,
        history=outcome.history,
        facts=facts,
        language=language,
    )
    job.run.record("interrupted" if outcome.interrupted else "done", results)
    if not outcome.interrupted:
        shutil.rmtree(job.run.checkpoints, ignore_errors=True)
    runs.point_latest(job.run)
    return results


def numbers(scores: Any, classes: list[str], known: Any = None) -> dict[str, Any]:
    """Scores as plain values, for JSON."""
    from .. import report

    common, rate = report.baseline(scores.labels, known)
    return {
        "accuracy": scores.accuracy,
        "interval": list(scores.interval),
        "right": scores.right,
        "count": scores.count,
        "loss": scores.loss,
        "baseline": {"class": classes[common] if common < len(classes) else str(common), "accuracy": rate},
        "confused": [{"true": classes[t], "said": classes[p], "count": n} for t, p, n in scores.confused(3)],
    }


# -- what is said ----------------------------------------------------------------------------------------------------------


def _print(text: str) -> None:
    print(text, flush=True)


def _nothing(text: str) -> None:
    """Nothing."""


def _announcement(job: _Job, data: Data) -> str:
    s = job.settings
    train, held, test = (len(y) for y in data.parts.values())
    return (
        f"Data      {data.name}: {data.about}\n"
        f"          {train:,} to train, {held:,} to validate, {test:,} kept apart for the test\n"
        f"Model     {s.model}, {job.model.count_params():,} parameters; standardising is its first layer\n"
        f"Training  up to {s.epochs} epochs, batches of {s.batch_size}, {s.optimizer} {s.learning_rate:g}, seed {s.seed}; "
        f"Ctrl-C keeps what is learned"
    )


def score_lines(results: dict[str, Any], what: str) -> str:
    """The result as people read it."""
    from ..report.facts import percent

    count = results["count"]
    low, high = (percent(v, count) for v in results["interval"])
    base = results["baseline"]
    lines = [
        f"{what:<14} {percent(results['accuracy'], count)}   {results['right']:,} of {count:,} right; "
        f"95% interval {low} to {high}",
        f"{'Baseline':<14} {percent(base['accuracy'], count)}   by always answering {base['class']!r}",
    ]
    if results["interval"][0] <= base["accuracy"]:
        lines.append(f"{'':<14} not clearly better than the baseline")
    mistakes = [f"{c['true']!r} taken for {c['said']!r} ({c['count']:,})" for c in results["confused"]]
    if mistakes:
        lines.append(f"{'Most confused':<14} {', '.join(mistakes)}")
    return "\n".join(lines)


def _conclusion(job: _Job, outcome: _Outcome, results: dict[str, Any]) -> str:
    from ..report.facts import seconds

    spent = ", ".join(f"{name} {seconds(value)}" for name, value in outcome.seconds.items())
    folder = job.run.folder
    lines = ["", score_lines(results, "Test accuracy"), f"{'Time':<14} {spent}", ""]
    lines += [f"In {folder}/: {runs.REPORT} to look at, {runs.MODEL}, {runs.HISTORY}"]
    lines += [f"Try:  cenote predict {_short(folder)} PICTURE.png"]
    if outcome.interrupted:
        lines += [f"Or go on:  {job.run.resume_command()}"]
    return "\n".join(lines)


def _short(folder: Path) -> str:
    return folder.name if str(folder.parent) == "runs" else str(folder)


def _tell_finished(run: Run, results: dict[str, Any] | None, as_json: bool, say: Any) -> None:
    if results is None:
        raise Trouble(f"{run.folder / runs.RECORD} is damaged: it has no results")
    say(f"The run {run.folder} is finished already; there is nothing to resume.")
    say(score_lines(results, "Test accuracy"))
    if as_json:
        print(json.dumps(results, ensure_ascii=False))
