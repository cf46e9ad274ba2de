"""``cenote evaluate``: what a trained model is worth on data that it has not learned from."""

from __future__ import annotations

import argparse
import json
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
    if not name:
        raise Trouble(
            f"{path} does not say what it was trained on: name a data set or an .npz file, cenote evaluate MODEL DATA"
        )
    x, y, what = data_sets.load_test(name, info)
    check_shape(model, x, path, name)
    began = time.perf_counter()
    probabilities = np.asarray(model.predict(x))
    spent = time.perf_counter() - began
    scores = report.score(probabilities, y)
    classes = class_names(info, scores.probabilities.shape[1])
    known = [info["commonest"]] if isinstance(info.get("commonest"), int) else None
    results = {"model": str(path), "data": name, **numbers(scores, classes, known), "seconds": round(spent, 3)}
    if args.report:
        facts = report.Facts.here(
            title=f"{path.parent.name if path.name == runs.MODEL else path.stem} · {name}",
            about=info.get("about", "") if name == info.get("dataset") else "",
            seconds={"testing": spent},
        )
        history = read_history(path)
        pictures = x if x.ndim in (3, 4) else None
        report.write(
            args.report,
            probabilities,
            y,
            classes=classes,
            pictures=pictures,
            model=model,
            history=history,
            facts=facts,
            language=args.language,
        )
        results["report"] = args.report
    if args.json:
        print(json.dumps(results, ensure_ascii=False))
        return 0
    print(f"{path} on {what}")
    print(score_lines(results, "Accuracy"))
    print(f"{'Loss':<14} {results['loss']:.4f}")
    print(f"{'Time':<14} {seconds(spent)}")
    if args.report:
        print(f"{'Report':<14} {args.report}")
    return 0


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
