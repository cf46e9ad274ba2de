"""``cenote summary``: a model layer by layer, and what it was trained on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import runs
from .evaluate import input_shape


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    model, path = runs.load_model(args.model, Path(args.runs))
    info = model.info
    if args.json:
        weights = {k: list(v.shape) for k, v in {**model.params, **model.state_arrays}.items()}
        shape = input_shape(model)
        found = {
            "model": str(path),
            "input": None if shape is None else list(shape),
            "parameters": model.count_params(),
            "weights": weights,
            "info": info,
        }
        print(json.dumps(found, ensure_ascii=False))
        return 0
    print(path)
    if info.get("dataset"):
        from ..report.facts import percent

        test = info.get("test", {})
        score = (
            f"; test accuracy {percent(test['accuracy'], test['count'])}"
            if {"accuracy", "count"} <= test.keys()
            else ""
        )
        print(f"trained on {info['dataset']} ({info.get('about', '')}){score}")
    if info.get("classes"):
        names = info["classes"]
        print(f"{len(names)} classes: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
    model.summary()
    return 0
