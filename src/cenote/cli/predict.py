"""``cenote predict``: what a trained model says of raw input: pictures, rows, sentences, recordings."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import runs
from .evaluate import input_shape
from .rows import rows
from .trouble import DONE, ERROR, Trouble
from .voice import Voice

BATCH = 256  # rows that are held in memory at a time


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back. What cannot be read is told of, and the rest goes on."""
    from ..tasks.trained import Trained

    voice = Voice(args)
    model, path = runs.load_model(args.model, Path(args.runs))
    teller = _Teller(voice)
    with voice.progress():
        for name in args.inputs:
            try:
                pieces = _answers(model, name, args.invert) if isinstance(model, Trained) else _values(model, path, name)
                for answers, notes in pieces:
                    teller.tell(model, answers, notes)
            except (Trouble, ValueError, OSError) as error:
                teller.failed(str(error))
    if not teller.answered and not teller.failures:
        raise Trouble("there was nothing to predict: the input holds no example")
    return ERROR if teller.failures else DONE


Piece = tuple[list[dict[str, Any]], list[str]]  # answers, and what must be said of them


def _answers(trained: Any, name: str, invert: bool) -> Iterator[Piece]:
    kind = trained.preparation.kind
    if invert and kind != "image":
        raise Trouble(f"--invert is for pictures; this model takes input of the kind {kind!r}")
    change = _inverted if invert else None
    path = Path(name)
    if kind == "image" and (name == "-" or path.suffix.lower() in (".csv", ".txt")):
        shape = trained.preparation.shape
        shape = shape[:2] if shape[2] == 1 else shape
        for batch in _batches(rows(None if name == "-" else path, shape)):
            answers = trained.predict(np.stack([row.values for row in batch]), change=change)
            yield [{**a, "source": row.source} for a, row in zip(answers, batch, strict=True)], []
        return
    if name == "-":
        yield from trained.answer(_standard_input(kind), change=change)
        return
    if kind in ("image", "audio") and path.is_dir():
        yield from _folder(trained, path, change)
        return
    yield from trained.answer(name, change=change)


def _inverted(x: Any) -> Any:
    return 255 - x


def _folder(trained: Any, folder: Path, change: Any) -> Iterator[Piece]:
    """All at once; where some cannot be read, one after the other, so that the rest is answered."""
    from ..files import BadFile

    try:
        yield from trained.answer(str(folder), change=change)
        return
    except BadFile:
        pass
    for file in _media(trained.preparation.kind, folder):
        try:
            yield from trained.answer(str(file), change=change)
        except (ValueError, OSError) as error:
            yield [], [f"!{error}"]


def _media(kind: str, folder: Path) -> list[Path]:
    if kind == "image":
        from ..data.images.decode import ENDINGS
    else:
        from ..data.audio.sound import ENDINGS
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())


def _standard_input(kind: str) -> Any:
    """What was piped in: a sentence a line, or rows of CSV with a heading."""
    if kind == "text":
        return [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    found = list(csv.DictReader(sys.stdin))
    if not found:
        raise Trouble("the standard input holds no rows: give CSV with a heading that names the columns")
    return found


def _values(model: Any, path: Path, name: str) -> Iterator[Piece]:
    """The outputs of a plain model, which takes rows of numbers."""
    shape = input_shape(model)
    if shape is None:
        raise Trouble(f"{path} takes several inputs; predict from Python: cenote.load({str(path)!r}).predict(...)")
    file = Path(name)
    if name != "-" and (file.suffix.lower() not in (".csv", ".txt") or file.is_dir()):
        if not file.exists():
            raise Trouble(f"there is no file {file}")
        raise Trouble(f"the model does not say what it was trained on: give rows of {int(np.prod(shape)):,} numbers as CSV")
    for batch in _batches(rows(None if name == "-" else file, shape)):
        outputs = np.asarray(model.predict(np.stack([row.values for row in batch])))
        flat = outputs.reshape(len(outputs), -1).astype(float)
        yield [{"source": row.source, "values": values.tolist()} for row, values in zip(batch, flat, strict=True)], []


def _batches(examples: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(examples, BATCH)):
        yield batch


class _Teller:
    """Prints answers as they come."""

    def __init__(self, voice: Voice) -> None:
        self.voice, self.answered, self.failures = voice, 0, 0

    def tell(self, model: Any, answers: list[dict[str, Any]], notes: list[str]) -> None:
        self.answered += len(answers)
        for note in notes:
            if note.startswith("!"):
                self.failed(note[1:])
            elif not self.voice.quiet:
                print(f"note: {note}", file=sys.stderr, flush=True)
        if self.voice.json:
            for answer in answers:
                print(json.dumps(answer, ensure_ascii=False))
            sys.stdout.flush()
            return
        width = min(max((len(a["source"]) for a in answers), default=0), 60)
        for answer in answers:
            task = getattr(model, "task", None)
            line = " ".join(f"{v:.6g}" for v in answer["values"]) if task is None else task.line(answer)
            if "\n" in line:  # several values each
                line = "\n".join(["", *(f"  {part}" for part in line.splitlines())])
            print(f"{answer['source']:<{width}}  {line}" if line[:1] != "\n" else f"{answer['source']}{line}")
        sys.stdout.flush()

    def failed(self, text: str) -> None:
        self.failures += 1
        print(f"cenote: {text}", file=sys.stderr, flush=True)
