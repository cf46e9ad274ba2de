"""``cenote evaluate``: what a trained model is worth on data that it has not learned from."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from . import runs
from .trouble import Trouble
from .voice import Voice


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    from ..report.facts import seconds
    from ..tasks.trained import Trained, record, result_lines

    voice = Voice(args)
    model, path = runs.load_model(args.model, Path(args.runs))
    if not isinstance(model, Trained):
        raise Trouble(
            f"{path} does not say what it was trained on: evaluate it from Python, cenote.load({str(path)!r}).evaluate(x, y)"
        )
    with voice.progress():
        examples, what, notes, parts = _examples(model, path, args.data)
        for note in notes:
            voice.say(f"note: {note}")
        began = time.perf_counter()
        scores = model.measure(examples)
        spent = time.perf_counter() - began
    baselines = model.task.simplest(examples)
    results = {"model": str(path), "data": what, **record(scores, baselines), "seconds": round(spent, 3)}
    if args.report:
        run = runs.read(path.parent)
        told = {} if run is None else {"command": run.settings.command(), "settings": run.settings.shown()}
        title = f"{path.parent.name if path.name == runs.MODEL else path.stem} · {what}"
        written = model.report(
            args.report, scores=scores, examples=examples, parts=parts, history=read_history(path), language=args.language,
            title=title, seconds={"testing": spent}, **told,
        )  # fmt: skip
        if written is None:
            raise Trouble(f"there is no report of {model.task.name} yet; the scores come without --report")
        results["report"] = args.report
    if args.json:
        print(json.dumps(results, ensure_ascii=False))
        return 0
    voice.say(f"{path} on {what}")
    voice.say(result_lines(scores, baselines))
    voice.say(f"{'Time':<17} {seconds(spent)}")
    if args.report:
        voice.say(f"{'Report':<17} {args.report}")
    return 0


def _examples(trained: Any, path: Path, given: list[str]) -> tuple[Any, str, list[str], Any]:
    """What to measure on, what it is called, what must be said of it, and the parts, where it is one of them."""
    from .. import tasks
    from ..tasks.sources import builtin, shown

    run = runs.read(path.parent)
    own = None if run is None else list(run.settings.sources)
    if not given and own is None:
        own = [trained.info.get("dataset", "")]
        if builtin(own[0]) is None:
            raise Trouble(f"{path} lies outside its run, and does not say where its data is: name labelled data after it")
    if not given or given == own or builtin(given[0]) is not None:
        sources = given or own or []
        settings = run.settings if run is not None and sources == own else None
        return _test_part(trained, sources, settings)
    source = given[0] if len(given) == 1 else tuple(given)
    try:
        tasks.check_there(source)
    except FileNotFoundError as error:
        raise Trouble(str(error)) from error
    examples, findings = trained.examples(source)
    return examples, shown(source), [f.text for f in findings], None


def _test_part(trained: Any, sources: list[str], settings: Any) -> tuple[Any, str, list[str], Any]:
    """The test part of a source, parted as in training."""
    from ..tasks.job import answerable, parted, read
    from ..tasks.sources import shown

    source = sources[0] if len(sources) == 1 else tuple(sources)
    shares = {} if settings is None else {"validation": settings.validation, "test": settings.test}
    parts = parted(trained.task, read(trained.task, source), **shares)
    findings: list[Any] = []
    examples = answerable(trained.task, parts.test, "test", findings)
    if not len(examples):
        raise Trouble(f"{shown(source)} has no test part: name other labelled data")
    return examples, f"the test part of {shown(source)}", [f.text for f in findings], parts


def input_shape(model: Any) -> tuple[int, ...] | None:
    """The shape of one example that a model takes; None if it has several inputs."""
    import jax

    leaves = jax.tree.leaves(getattr(model, "_spec", None))
    return tuple(leaves[0].shape[1:]) if len(leaves) == 1 else None


def read_history(model: Path) -> Any:
    """The history beside a model; None if there is none, or it cannot be read."""
    from ..train import History

    try:
        return History.from_dict(json.loads(model.with_name(runs.HISTORY).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
