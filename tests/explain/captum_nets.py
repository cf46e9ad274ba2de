"""The networks that Captum was asked about, as ours, with its answers: what several tests here stand on."""

import functools
import json
from pathlib import Path

import numpy as np

from cenote import Sequential, layers

_STORED = json.loads((Path(__file__).resolve().parents[1] / "parity" / "explain_gradients.json").read_text())


def array(stored):
    return np.array(stored["values"], "float32").reshape(stored["shape"])


def answers(name):
    """What was stored of a network; arrays by name."""
    found = {k: array(v) if isinstance(v, dict) and "shape" in v else v for k, v in _STORED[name].items()}
    if isinstance(found.get("integrated"), dict):
        found["integrated"] = {rule: array(v) for rule, v in found["integrated"].items()}
    return {**found, "target": np.array(found["target"])}


@functools.cache
def network(name):
    """The model with the stored weights."""
    first = {"mlp": "relu", "smooth": "sigmoid"}.get(name)
    parts = {
        "pictures": [
            *(layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(5, 3), layers.Activation("relu")),
            *(layers.GlobalAveragePooling2D(), layers.Dense(3)),
        ],
        "words": [layers.Embedding(12, 4), layers.Flatten(), layers.Dense(6, activation="tanh"), layers.Dense(2)],
    }.get(name) or [layers.Dense(8, activation=first), layers.Dense(5), layers.Activation("tanh"), layers.Dense(3)]
    model = Sequential(parts)
    stored = answers(name)
    model.build(np.array(stored["x"], "int32") if name == "words" else stored["x"])
    values = iter([array(w[k]) for w in stored["weights"] for k in ("table", "kernel", "bias") if k in w])
    model.set_weights([next(values) for _ in model.get_weights()])
    return model
