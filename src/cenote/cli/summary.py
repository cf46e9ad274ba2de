"""``cenote summary``: a model layer by layer, and what it was trained on."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from . import runs
from .evaluate import input_shape


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    from ..tasks.trained import Trained

    found, path = runs.load_model(args.model, Path(args.runs))
    trained = found if isinstance(found, Trained) else None
    model = found if trained is None else trained.model
    info = model.info
    if args.json:
        table = model.summary(show=False)
        shape = input_shape(model)
        told = {
            "model": str(path),
            "input": None if shape is None else list(shape),
            "parameters": table.parameters,
            "trainable": table.trained,
            "operations": table.flops,
            "bytes": table.weight_bytes,
            "layers": [asdict(row) for row in table.rows],
            "info": info,
        }
        print(json.dumps(told, ensure_ascii=False))
        return 0
    print(path)
    if info.get("dataset"):
        test = info.get("test", {})
        main = next(iter(test.get("scores", ())), {})
        value = main.get("value")
        shown = "" if value is None else f"; test {main['name']} " + (f"{value:.1%}" if main.get("percent") else f"{value:.4g}")
        about = f" ({info['about']})" if info.get("about") else ""
        print(f"{info['task']}, trained on {info['dataset']}{about}{shown}")
    if trained is not None:
        for line in trained.preparation.describe():
            print(f"input: {line}")
        if trained.answers is not None:
            print(f"answer: {trained.answers.describe()}")
    model.summary()
    return 0
