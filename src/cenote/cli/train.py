"""``cenote train``: the main job, from raw files to a model, its history and a report."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from . import runs
from .runs import FLAGS, Run, Settings
from .trouble import DONE, INTERRUPTED, Trouble, UsageTrouble
from .voice import Voice

CHECKPOINT_SECONDS = 10.0
_OPTIONS = ("model", "batch_size", "learning_rate", "optimizer", "seed", "patience")  # that a resumed run cannot change


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    voice, root, sources = Voice(args), Path(args.runs), tuple(args.sources)
    if args.name is not None:
        runs.check_run_name(args.name)
    found = runs.unfinished(root, args.name, sources, args.model) if args.resume else None
    if found is not None and found.status == "done":
        return _tell_finished(found, voice)
    asked = _asked(args) if found is None else _resumed(found, args)
    with voice.progress():
        job = _plan(asked)
        settings = _settings(asked, job)
        if args.dry_run:
            return _tell_plan(job, voice)
        fresh = found is None
        current = runs.begin(root, args.name, settings) if found is None else found
        current.settings = settings
        current.record("training")
        voice.say(job.announcement())
        voice.record("plan", {"run": str(current.folder), **job.record()})
        outcome = _fit(job, current, args, voice, fresh)
        trained = job.finish()
        results = _write(trained, current, args.language or "en")
    voice.say(_conclusion(trained, current))
    voice.record("result", results)
    return INTERRUPTED if outcome.interrupted else DONE


# -- what is to be done ----------------------------------------------------------------------------------------------------


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """What the user asked for, as arguments of `Settings`; None where the task shall choose."""
    options: dict[str, Any] = {}
    for name, flag in FLAGS.items():
        value = getattr(args, flag[2:].replace("-", "_"))
        if value is not None and value is not False:
            options[name] = value
    for text in args.set or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageTrouble(f"--set {text}: expected NAME=VALUE, such as --set size=8000")
        options[name.strip().replace("-", "_")] = _value(value)
    target = [_column(t) for t in args.target or ()]
    return {
        "sources": tuple(args.sources),
        "task": args.task,
        "target": None if not target else target[0] if len(target) == 1 else target,
        "options": options,
        "validation": args.validation,
        "test": args.test,
        "augment": not args.no_augment,
        "seed": 0 if args.seed is None else args.seed,
        **{name: getattr(args, name) for name in ("model", "epochs", "batch_size", "learning_rate", "optimizer", "patience")},
    }


def _column(text: str) -> str | int:
    """A column's name; -1 is the last one."""
    return int(text) if text.startswith("-") and text[1:].isdigit() else text


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _resumed(found: Run, args: argparse.Namespace) -> dict[str, Any]:
    """What was asked of a run that goes on; only the number of epochs may be another."""
    was = found.settings
    if was.sources != tuple(args.sources):
        raise UsageTrouble(f"the run {found.name} is one of {' '.join(was.sources)}, not of {' '.join(args.sources)}")
    given = _asked(args)
    kept = {name: given[name] for name in ("task", "target", "validation", "test")}
    kept |= {name: getattr(args, name) for name in _OPTIONS} | {"options": given["options"] or None}
    for option, value in kept.items():
        before = getattr(was, option)
        if value is not None and value != before and not (option == "task" and _same_task(value, before)):
            text = option.replace("_", "-")
            raise UsageTrouble(f"the run {found.name} was begun with --{text} {before}, it cannot go on with {value}")
    values = {name: getattr(was, name) for name in given}
    return {**values, "model": was.model or None, "epochs": args.epochs or was.epochs}


def _same_task(name: str, known: str) -> bool:
    from .. import tasks

    return tasks.find(name).name == known


def _plan(asked: dict[str, Any]) -> Any:
    """Read the data and choose, without writing anything."""
    from .. import tasks
    from ..tasks.sources import builtin

    source = asked["sources"][0] if len(asked["sources"]) == 1 else asked["sources"]
    try:
        if builtin(source) is None:
            tasks.check_there(source)
    except FileNotFoundError as error:
        raise UsageTrouble(str(error)) from error
    reason = ""
    if asked["task"] is None:
        try:
            cls, reason = tasks.guess(source, asked["target"], **asked["options"])
        except ValueError as error:
            raise type(error)(_as_options(str(error))) from error
    else:
        try:
            cls = tasks.find(asked["task"])
        except ValueError as error:
            raise UsageTrouble(str(error)) from error
    choices = {name: asked[name] for name in ("model", "epochs", "batch_size", "learning_rate", "optimizer", "patience")}
    augment = None if asked["augment"] else False
    try:
        _check_optimizer(asked["optimizer"])
        task = cls(target=asked["target"], seed=asked["seed"], augment=augment, **choices, **asked["options"])
    except (ValueError, TypeError) as error:
        raise UsageTrouble(str(error)) from error
    try:
        job = task.plan(source, validation=asked["validation"], test=asked["test"])
    except TypeError as error:  # two sources where the task takes one, say
        raise UsageTrouble(_as_options(str(error))) from error
    except ValueError as error:
        raise type(error)(_as_options(str(error))) from error
    job.reason = reason
    return job


def _as_options(text: str) -> str:
    """A message for Python in the words of the command line.

    >>> _as_options("Give target=, one of: a; or pass skip_broken=True")
    'Give --target, one of: a; or pass --skip-broken'
    """
    words = "target|skip_broken|horizon|time|text|validation|test"
    return re.sub(rf"\b({words})=(True)?", lambda found: "--" + found[1].replace("_", "-"), text)


def _check_optimizer(name: str | None) -> None:
    from .. import optimizers

    try:
        optimizer: Any = optimizers.get(name)
        float(getattr(optimizer, "learning_rate", 0.0))
    except (ValueError, TypeError, AttributeError) as error:  # also those that need an optimizer of their own
        raise UsageTrouble(f"--optimizer {name}: {error}") from error


def _settings(asked: dict[str, Any], job: Any) -> Settings:
    """The settings of a run, with what the task has chosen."""
    from ..tasks.job import optimizer_name
    from ..tasks.sources import builtin

    c = job.choice
    chosen = {
        "task": job.task.name,
        "model": c.name if c.name in job.task.models else "",
        "epochs": c.epochs,
        "batch_size": c.batch_size,
        "learning_rate": c.learning_rate,
        "optimizer": asked["optimizer"] or optimizer_name(c.optimizer),
    }
    return Settings(**{**asked, **chosen, "builtin": builtin(asked["sources"][0]) is not None})


def _tell_plan(job: Any, voice: Voice) -> int:
    """What ``--dry-run`` shows."""
    from ..report.facts import seconds

    voice.say(job.announcement())
    spent = job.estimate()
    voice.say(
        f"{'Time':<10}up to {seconds(spent)} for {job.choice.epochs} epochs of {job.steps():,} steps, by a few that were "
        f"measured; {seconds(job.seconds['loading'])} to read\n\nNothing was written: this was a dry run."
    )
    voice.record("plan", {**job.record(), "seconds": round(spent, 3), "dry_run": True})
    return DONE


# -- training --------------------------------------------------------------------------------------------------------------


def _fit(job: Any, current: Run, args: argparse.Namespace, voice: Voice, fresh: bool) -> Any:
    """Train; a run in which nothing was learned leaves nothing."""
    from ..train import Checkpoints
    from ..train.callbacks import TensorBoard

    callbacks = [_epoch_records(voice)] if voice.json else []
    if args.tensorboard:
        callbacks.append(TensorBoard(current.folder / "tensorboard"))
    checkpoints = Checkpoints(current.checkpoints, every_seconds=CHECKPOINT_SECONDS, keep=2)
    try:
        return job.fit(verbose=voice.verbose, checkpoint=checkpoints, callbacks=callbacks)
    except (KeyboardInterrupt, FloatingPointError):
        if fresh:
            current.discard()
        raise


def _epoch_records(voice: Voice) -> Any:
    from ..train.callbacks import Callback

    class Records(Callback):
        """A record for each epoch."""

        watches_model = decides = False
        began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            spent = round(time.perf_counter() - self.began, 3)
            voice.record("epoch", {"epoch": epoch + 1, **(logs or {}), "seconds": spent})

    return Records()


def _write(trained: Any, current: Run, language: str) -> dict[str, Any]:
    """Write everything that stays; each file appears whole or not at all, ``latest`` last."""
    job, settings = trained.job, current.settings
    results = {
        "run": str(current.folder),
        "interrupted": job.outcome.interrupted,
        **trained.results(),
        "epochs": len(job.outcome.history.records),
        "seconds": {k: round(v, 3) for k, v in job.seconds.items()},
    }
    name = f"{', '.join(Path(s).name for s in settings.sources)} · {job.choice.name}"
    trained.write(current.folder, language, title=name, command=settings.command(), settings=settings.shown())
    current.record("interrupted" if job.outcome.interrupted else "done", results)
    if not job.outcome.interrupted:
        shutil.rmtree(current.checkpoints, ignore_errors=True)
    runs.point_latest(current)
    return results


# -- what is said ----------------------------------------------------------------------------------------------------------


def _conclusion(trained: Any, current: Run) -> str:
    from ..report.facts import seconds

    job, folder = trained.job, current.folder
    spent = ", ".join(f"{name} {seconds(value)}" for name, value in job.seconds.items())
    page = f"{runs.REPORT} to look at, " if (folder / runs.REPORT).exists() else ""
    lines = ["", trained.conclusion(), f"{'Time':<17} {spent}", ""]
    lines += [f"In {folder}/: {page}{runs.MODEL}, {runs.HISTORY}"]
    lines += [f"Try:  cenote predict {_short(folder)} {_INPUTS.get(job.task.preparation.kind, 'INPUT')}"]
    if job.outcome.interrupted:
        lines += [f"Or go on:  {current.resume_command()}"]
    return "\n".join(lines)


_INPUTS = {"image": "PICTURE.png", "table": "ROWS.csv", "text": '"A SENTENCE"', "audio": "RECORDING.wav", "series": "ROWS.csv"}


def _short(folder: Path) -> str:
    return folder.name if str(folder.parent) == "runs" else str(folder)


def _tell_finished(found: Run, voice: Voice) -> int:
    record = json.loads((found.folder / runs.RECORD).read_text("utf-8"))
    results = record.get("results")
    if results is None:
        raise Trouble(f"{found.folder / runs.RECORD} is damaged: it has no results")
    voice.say(f"The run {found.folder} is finished already; there is nothing to resume.")
    if "score" in results:
        voice.say(f"Test {results['score']}: {results[results['score']]:.4g}")
    voice.record("result", results)
    return DONE
