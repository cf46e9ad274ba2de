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
    model, path = runs.load_model(args.model, Path(args.runs))
    info = model.info
    if args.json:
        table = model.summary(show=False)
        shape = input_shape(model)
        found = {
            "model": str(path),
            "input": None if shape is None else list(shape),
            "parameters": table.parameters,
            "trainable": table.trained,
            "operations": table.flops,
            "bytes": table.weight_bytes,
            "layers": [asdict(row) for row in table.rows],
            "info": info,
        }
        print(json.dumps(found, ensure_ascii=False))
        return 0
    print(path)
    if info.get("dataset"):
        from ..report.facts import percent

        test = info.get("test", {})
        score = f"; test accuracy {percent(test['accuracy'], test['count'])}" if {"accuracy", "count"} <= test.keys() else ""
        print(f"trained on {info['dataset']} ({info.get('about', '')}){score}")
    if info.get("classes"):
        names = info["classes"]
        print(f"{len(names)} classes: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
    model.summary()
    return 0
