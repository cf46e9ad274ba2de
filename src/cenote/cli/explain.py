"""``cenote explain``: why a trained model answered as it did for raw input, in lines and as a page to look at."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import runs
from .trouble import Trouble, near
from .voice import Voice

SHOWN = 10  # examples of one input that are told of on the terminal
KEPT = 48  # pictures, texts and recordings that are kept for the page


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    from ..tasks.trained import Trained

    voice = Voice(args)
    model, path = runs.load_model(args.model, Path(args.runs))
    if not isinstance(model, Trained):
        raise Trouble(
            f"{path} does not say how raw input becomes its numbers: explain it from Python, "
            f"cenote.load({str(path)!r}).explain(x)"
        )
    _check_method(args.method)
    with voice.progress():
        found, count = _explained(model, args, voice)
    page = _page(found, path, args)
    if args.json:
        return 0
    more = count - len(found) if count > len(found) else 0
    voice.say(f"{'Page':<9} {page}" + (f" (the first {len(found):,} of {count:,} examples)" if more else ""))
    return 0


def _check_method(name: str) -> None:
    from ..core.errors import unknown
    from ..explain.method import METHODS

    if name != "auto" and name not in METHODS:
        raise Trouble(str(unknown("method", name, ["auto", *METHODS])))


def _explained(trained: Any, args: argparse.Namespace, voice: Voice) -> tuple[Any, int]:
    """Tell of each example as it is explained; what the page shows of them, and how many there were."""
    from ..explain.raw import explain_parts
    from ..explain.result import joined

    kept: list[Any] = []
    count = told = 0
    source: Any = args.input
    if trained.preparation.kind != "text" and not Path(source).exists():
        beside = [p.name for p in Path(source).parent.iterdir()] if Path(source).parent.is_dir() else []
        hint = near(Path(source).name, beside)
        raise Trouble(f"there is no file or folder {source!r}{': ' + hint if hint else ''}")
    options: dict[str, Any] = {} if args.background is None else {"background": args.background}
    target = args.target
    try:
        for part in explain_parts(trained, source, args.method, target=target, rows=args.rows, seed=args.seed, **options):
            if not count:
                _begin(part, voice)
            for row in range(len(part)):
                if args.json:
                    print(json.dumps(_record(part, row, args), ensure_ascii=False), flush=True)
                elif told < SHOWN:
                    _tell(trained, part, row, args, voice)
                    told += 1
            count += len(part)
            room = KEPT - sum(map(len, kept)) if part.kind not in ("table", "series") else len(part)
            if room > 0:
                kept.append(part[: min(room, len(part))])
    except ValueError as error:
        raise Trouble(_mended(str(error))) from error
    if count > told and not args.json:
        voice.say(f"... and {count - told:,} more: see the page, or --json\n")
    return joined(kept), count


def _mended(text: str) -> str:
    """Messages in the words of the command line."""
    return text.replace("background=", "--background ").replace("target=", "--target ")


def _begin(found: Any, voice: Voice) -> None:
    voice.say(f"{'Method':<9} {found.method.replace('_', ' ')}: {found.reason}")
    part = found.completeness
    if part is not None:
        voice.say(f"{'Checked':<9} the values add up to the whole difference, up to {float(np.max(part)):.1g} of it")
    if found.error is not None:
        import jax

        worst = max(float(np.max(e)) for e in jax.tree.leaves(found.error))
        voice.say(f"{'Error':<9} by sampling, at most ±{1.96 * worst:.2g} (95%)")
    voice.say("")


def _tell(trained: Any, found: Any, row: int, args: argparse.Namespace, voice: Voice) -> None:
    from ..explain.pictures.lines import cut, lines

    answer = found.details["answers"][row]
    said = trained.task.line(answer).strip()
    said = said.splitlines()[0] + (" ..." if "\n" in said else "")
    voice.say(f"{cut(answer['source'], 60)}  {' '.join(said.split())}")
    start = "" if found.base is None else f", from {float(found.base[row]):.4g}"
    voice.say(f"  what moved {found.said(row)} to {float(found.output[row]):.4g}{start}:")
    for line in lines(found, row, args.features, args.language):
        voice.say(f"  {line}")
    voice.say("")


def _record(found: Any, row: int, args: argparse.Namespace) -> dict[str, Any]:
    from ..explain.pictures.lines import features

    one = found.completeness
    return {
        **found.details["answers"][row],
        "explained": found.said(row),
        "output": float(found.output[row]),
        "base": None if found.base is None else float(found.base[row]),
        "method": found.method,
        "reason": found.reason,
        "gap": None if one is None else float(one[row]),
        "features": [{"feature": name, "value": value} for name, value in features(found, row, args.features, args.language)],
    }


def _page(found: Any, model: Path, args: argparse.Namespace) -> Path:
    from ..explain.pictures.page import write

    stem = Path(args.input).stem if Path(args.input).exists() else args.input
    stem = re.sub(r"[^\w-]+", "-", stem).strip("-_")[:40] or "input"
    path = Path(args.report) if args.report else model.with_name(f"why-{stem}.html")
    name = model.parent.name if model.name == runs.MODEL else model.stem
    command = shlex.join(["cenote", *sys.argv[1:]]) if sys.argv[1:2] == ["explain"] else ""
    return write(path, found, title=name, language=args.language, command=command)
