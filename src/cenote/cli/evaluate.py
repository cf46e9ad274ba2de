"""``cenote evaluate``: what a trained model is worth on data that it has not learned from."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import data as data_sets
from . import runs
from .train import numbers, score_lines
from .trouble import Trouble


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    from .. import report
    from ..report.facts import seconds

    model, path = runs.load_model(args.model, Path(args.runs))
    info = model.info
    name = args.data or info.get("dataset")
    if not isinstance(name, str):
        raise Trouble(f"{path} does not say what it was trained on: name a data set or an .npz file after it")
    x, y, data = data_sets.load_test(name)
    for note in data.notes if data else ():
        print(f"note: {note}", file=sys.stderr)
    check_shape(model, x, path, name)
    began = time.perf_counter()
    probabilities = np.asarray(model.predict(x))
    spent = time.perf_counter() - began
    scores = report.score(probabilities, y)
    classes = class_names(info, scores.probabilities.shape[1])
    results = {"model": str(path), "data": name, **numbers(scores, classes, commonest(info)), "seconds": round(spent, 3)}
    if args.report:
        own = data is not None and data.name == info.get("dataset")
        report.write(
            args.report,
            probabilities,
            y,
            classes=classes,
            pictures=x,
            parts=data.parts if data is not None and own else None,
            model=model,
            history=read_history(path),
            facts=_facts(path, name, info.get("about", "") if own else "", spent),
            language=args.language,
        )
        results["report"] = args.report
    if args.json:
        print(json.dumps(results, ensure_ascii=False))
        return 0
    print(f"{path} on {f'the test part of {data.name}' if data else name}")
    print(score_lines(results, "Accuracy"))
    print(f"{'Loss':<14} {results['loss']:.4f}")
    print(f"{'Time':<14} {seconds(spent)}")
    if args.report:
        print(f"{'Report':<14} {args.report}")
    return 0


def _facts(path: Path, name: str, about: str, spent: float) -> Any:
    """What a report of an evaluation can tell: of the run, too, where the model still lies in its folder."""
    from .. import report

    run = runs.read(path.parent)
    title = f"{path.parent.name if path.name == runs.MODEL else path.stem} · {name}"
    told = {} if run is None else {"command": run.settings.command(), "settings": run.settings.shown()}
    return report.Facts.here(title=title, about=about, seconds={"testing": spent}, **told)


def commonest(info: dict[str, Any]) -> list[int] | None:
    """The class that was most common in training, as labels for the baseline; None where the model does not say."""
    found = info.get("commonest")
    return [found] if isinstance(found, int) and found >= 0 else None


def input_shape(model: Any) -> tuple[int, ...] | None:
    """The shape of one example that the model takes; None if it has several inputs."""
    import jax

    leaves = jax.tree.leaves(getattr(model, "_spec", None))
    return tuple(leaves[0].shape[1:]) if len(leaves) == 1 else None


def check_shape(model: Any, x: np.ndarray, path: Path, name: str) -> None:
    """Raise a Trouble where examples are not of the size that the model reads."""
    shape = input_shape(model)
    if shape is not None and np.shape(x)[1:] != shape:
        raise Trouble(f"{path} reads examples of shape {_times(shape)}, but {name} holds {_times(np.shape(x)[1:])}")
    if x.dtype.kind not in "iufb":
        raise Trouble(f"{name} holds {x.dtype} values; expected numbers")


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(s) for s in shape) or "a single number"


def class_names(info: dict[str, Any], count: int) -> list[str]:
    """The names that a model has for its classes, or their numbers."""
    names = info.get("classes")
    if isinstance(names, list) and len(names) == count:
        return [str(n) for n in names]
    return [str(i) for i in range(count)]


def read_history(model: Path) -> Any:
    """The history beside a model; None if there is none, or it cannot be read."""
    from ..train import History

    try:
        return History.from_dict(json.loads(model.with_name(runs.HISTORY).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
