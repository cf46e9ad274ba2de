"""The networks of ``cenote train``, and how long and in what steps each is trained unless the user says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .data import Data
from .trouble import UsageTrouble, unknown

KINDS = ("mlp", "cnn", "lstm", "linear")


@dataclass(frozen=True)
class Recipe:
    """What is used where the command line is silent; training stops after ``patience`` epochs without improvement."""

    epochs: int
    batch_size: int
    patience: int


_SMALL = Recipe(100, 32, 12)
_RECIPES = {
    "mlp": Recipe(25, 128, 4),
    "cnn": Recipe(12, 128, 3),
    "lstm": Recipe(12, 128, 3),
    "linear": Recipe(20, 128, 3),
}


def check_kind(kind: str | None, dataset: str) -> str:
    """The kind of network, or the usual one for a data set."""
    if kind is None:
        return "cnn" if dataset == "cifar10" else "mlp"
    if kind not in KINDS:
        raise UsageTrouble(unknown("kind of model", kind, KINDS))
    return kind


def recipe(kind: str, dataset: str) -> Recipe:
    return _SMALL if dataset == "digits" else _RECIPES[kind]


def build(kind: str, data: Data) -> Any:
    """A network of a kind for a data set; its first layer standardises, so that it takes pictures as they are."""
    from .. import Sequential, layers

    x = data.train[0]
    height, width = x.shape[1:3]
    colours = x.shape[3] if x.ndim == 4 else 1
    first = [layers.Normalization(axis=None if colours == 1 else -1, **_statistics(x, colours))]
    last = layers.Dense(len(data.classes), activation="softmax")
    if kind == "linear":
        return Sequential([*first, layers.Flatten(), last])
    if kind == "mlp":
        hidden = [layer for _ in range(2) for layer in (layers.Dense(256, activation="relu"), layers.Dropout(0.3))]
        return Sequential([*first, layers.Flatten(), *hidden, last])
    if kind == "lstm":
        return Sequential([*first, layers.Reshape((height, width * colours)), layers.LSTM(128), layers.Dropout(0.2), last])
    shape = [layers.Reshape((height, width, 1))] if x.ndim == 3 else []
    blocks: list[Any] = []
    filters, side = 32, min(height, width)
    while side >= 6 and filters <= 128:
        blocks += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]
        filters, side = 2 * filters, side // 2
    dense = [layers.Flatten(), layers.Dropout(0.3), layers.Dense(128, activation="relu"), layers.Dropout(0.3)]
    return Sequential([*first, *shape, *blocks, *dense, last])


def _statistics(x: np.ndarray, colours: int) -> dict[str, Any]:
    """Mean and variance of the training part: one pair for grey pictures, one for each colour channel.

    One for each pixel would divide by almost nothing at the rim, where training pictures are always empty.
    """
    # Through counts, so that no copy of the data in floating point is needed.
    parts = [x] if colours == 1 else [x[..., c] for c in range(colours)]
    means, variances = [], []
    for part in parts:
        values, counts = np.unique(part, return_counts=True)
        share = counts / counts.sum()
        mean = float((values * share).sum())
        means.append(mean)
        variances.append(float(((values - mean) ** 2 * share).sum()))
    return {"mean": means[0], "variance": variances[0]} if colours == 1 else {"mean": means, "variance": variances}
