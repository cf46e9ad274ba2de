"""Answers of Captum's Occlusion and FeatureAblation, for tests/explain/test_occlusion.py; run it where Captum is installed."""

import json
from pathlib import Path

import numpy as np
import torch
from captum.attr import FeatureAblation, Occlusion

random = np.random.default_rng(0)


def network(size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights and biases of two layers with a tanh between them."""
    shapes = [(size, 5), (5, 3)]
    return [random.normal(size=s) / np.sqrt(s[0]) for s in shapes], [random.normal(size=s[1]) * 0.1 for s in shapes]


def function(weights: list[np.ndarray], biases: list[np.ndarray]):
    (a, b), (c, d) = ([torch.tensor(w) for w in group] for group in (weights, biases))
    return lambda x: torch.tanh(x.reshape(len(x), -1) @ a + c) @ b + d


def case(shape: tuple[int, ...], attribute, baseline: float) -> dict:
    weights, biases = network(int(np.prod(shape)))
    x = random.normal(size=(2, *shape))
    values = attribute(function(weights, biases), torch.tensor(x), baseline)
    return {
        "weights": [np.round(w, 12).tolist() for w in weights],
        "biases": [b.tolist() for b in biases],
        "x": x.tolist(),
        "baseline": baseline,
        "target": [2, 0],
        "values": values.detach().numpy().tolist(),
    }


def occluded(window: tuple[int, ...], stride: tuple[int, ...]):
    def attribute(f, x, baseline):
        return Occlusion(f).attribute(
            x, sliding_window_shapes=window, strides=stride, baselines=baseline, target=torch.tensor([2, 0])
        )

    return attribute


def ablated(mask: list | None):
    def attribute(f, x, baseline):
        mask_tensor = None if mask is None else torch.tensor([mask])
        return FeatureAblation(f).attribute(x, baselines=baseline, feature_mask=mask_tensor, target=torch.tensor([2, 0]))

    return attribute


answers = {
    "picture": case((7, 6, 2), occluded((3, 2, 2), (2, 1, 2)), 0.0),
    "sequence": case((9, 3), occluded((4, 3), (3, 3)), 0.25),
    "signal": case((8,), occluded((3,), (2,)), 0.0),
    "features": case((4,), ablated(None), 0.0),
    "groups": case((6,), ablated([0, 0, 1, 2, 2, 2]), -0.5),
}
path = Path(__file__).with_name("explain_dependence.json")
path.write_text(json.dumps(answers, separators=(",", ":")) + "\n")
print(path.stat().st_size, "bytes")
