"""``cenote predict``: label, probability and runner-up of pictures and of rows of numbers."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import pictures, runs
from .evaluate import class_names, input_shape
from .pictures import Example
from .trouble import DONE, ERROR, Trouble

BATCH = 256  # examples that are held in memory at a time


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back. What cannot be read is told of, and the rest goes on."""
    model, path = runs.load_model(args.model, Path(args.runs))
    shape = input_shape(model)
    if shape is None:
        raise Trouble(f"{path} takes several inputs; predict from Python: cenote.load({str(path)!r}).predict(...)")
    failures: list[str] = []

    def failed(trouble: Trouble) -> None:
        failures.append(str(trouble))
        print(f"cenote: {trouble}", file=sys.stderr, flush=True)

    examples = _examples(args.files, model, shape, args.invert, failed)
    answered = 0
    while batch := list(itertools.islice(examples, BATCH)):
        values = np.stack([e.values for e in batch]).reshape(len(batch), *shape)
        answers = _answers(model, np.asarray(model.predict(values)))
        _tell(batch, answers, args.json)
        answered += len(batch)
    if not answered and not failures:
        raise Trouble("there was nothing to predict: the files hold no example")
    return ERROR if failures else DONE


def _examples(
    files: list[str], model: Any, shape: tuple[int, ...], invert: bool, failed: Callable[[Trouble], None]
) -> Iterator[Example]:
    for name in files:
        try:
            yield from _one_file(name, model, shape, invert, failed)
        except Trouble as trouble:
            failed(trouble)


def _one_file(
    name: str, model: Any, shape: tuple[int, ...], invert: bool, failed: Callable[[Trouble], None]
) -> Iterator[Example]:
    path = Path(name)
    if name == "-":
        yield from pictures.rows(None, shape)
        return
    if path.suffix.lower() in (".csv", ".txt") and not path.is_dir():
        yield from pictures.rows(path, shape)
        return
    if not path.exists():
        raise Trouble(f"there is no file {path}")
    wanted = model.info.get("input", {})
    if not _takes_pictures(wanted, shape):
        raise Trouble(f"the model does not say what pictures it reads: give rows of {int(np.prod(shape)):,} numbers as CSV")
    if not path.is_dir():
        yield pictures.picture(path, wanted, invert=invert)
        return
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in pictures.ENDINGS and p.is_file())
    if not found:
        raise Trouble(f"there are no pictures in {path} (looked for {', '.join(sorted(pictures.ENDINGS))})")
    for file in found:
        try:
            yield pictures.picture(file, wanted, invert=invert)
        except Trouble as trouble:
            failed(trouble)


def _takes_pictures(wanted: Any, shape: tuple[int, ...]) -> bool:
    """Whether a model's file says what pictures it reads, and that agrees with its input."""
    try:
        colours = {"L": 1, "RGB": 3}[wanted["mode"]]
        span = float(wanted["high"]) - float(wanted["low"]) + float(wanted.get("background", 0.5))
        size = int(wanted["height"]) * int(wanted["width"]) * colours
        return wanted["kind"] == "image" and size == int(np.prod(shape)) and np.isfinite(span)
    except (KeyError, TypeError, ValueError):
        return False


def _answers(model: Any, outputs: np.ndarray) -> list[dict[str, Any]]:
    """For each row of outputs its label, probability and runner-up; plain values where they are no probabilities."""
    flat = outputs.reshape(len(outputs), -1).astype(float)
    if flat.shape[1] == 1 and "classes" in model.info:
        flat = np.concatenate([1 - flat, flat], axis=1)
    if flat.shape[1] < 2 or flat.min() < -1e-3 or np.abs(flat.sum(1) - 1).max() > 1e-2:
        return [{"values": [float(v) for v in row]} for row in flat]
    names = class_names(model.info, flat.shape[1])
    answers = []
    for row in flat:
        first, second = (int(i) for i in np.argsort(-row, kind="stable")[:2])
        answers.append(
            {
                "label": names[first],
                "index": first,
                "probability": float(row[first]),
                "runner_up": names[second],
                "runner_up_probability": float(row[second]),
            }
        )
    return answers


def _tell(batch: list[Example], answers: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for example, answer in zip(batch, answers, strict=True):
            note = {"note": example.note} if example.note else {}
            print(json.dumps({"source": example.source, **answer, **note}, ensure_ascii=False))
        sys.stdout.flush()
        return
    from ..report.facts import sureness

    width = min(max(len(e.source) for e in batch), 60)
    labels = max((len(a.get("label", "")) for a in answers), default=1)
    for example, answer in zip(batch, answers, strict=True):
        if "values" in answer:
            print(f"{example.source:<{width}}  {' '.join(f'{v:.6g}' for v in answer['values'])}")
            continue
        first, second = answer["probability"], answer["runner_up_probability"]
        line = f"{example.source:<{width}}  {answer['label']:<{labels}}  {sureness(first):>6}"
        print(f"{line}   then {answer['runner_up']} {sureness(second)}" + (f"   ({example.note})" if example.note else ""))
    sys.stdout.flush()
