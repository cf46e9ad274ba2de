"""The linear baseline of pictures and recordings, and the features of pictures that it is given."""

from __future__ import annotations

import numpy as np

from .table_linear import logistic

__all__ = ["edges_and_colours", "linear_baseline", "shrunk"]

MOST_ROWS = 10_000  # of the training part that a baseline learns from
STRENGTH = 0.1  # of the data against the penalty; features are many here, and examples perhaps few


def linear_baseline(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, classes: int) -> float:
    """The accuracy on the test part of logistic regression; see `table_linear.logistic`.

    Shapes: x (rows, features), y (rows,) class numbers. It learns from at most 10,000 rows.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> linear_baseline(x, np.array([0, 0, 1, 1]), x, np.array([0, 0, 1, 1]), 2)
    1.0
    """
    if len(x) > MOST_ROWS:
        rows = np.random.RandomState(0).permutation(len(x))[:MOST_ROWS]
        x, y = x[rows], np.asarray(y)[rows]
    said = logistic(x, np.asarray(y), classes, STRENGTH)(x_test)
    return float((said.argmax(1) == np.asarray(y_test)).mean())


def shrunk(x: np.ndarray, side: int = 16) -> np.ndarray:
    """Pictures (picture, height, width, colours) as means over blocks, no side much above ``side``, in rows of numbers.

    >>> shrunk(np.ones((2, 64, 48, 3), "uint8")).shape
    (2, 576)
    """
    height, width = x.shape[1:3]
    by = max(1, round(max(height, width) / side))
    x = x[:, : height // by * by, : width // by * by]
    blocks = x.reshape(len(x), height // by, by, width // by, by, x.shape[3]).mean((2, 4), dtype=np.float32)
    return blocks.reshape(len(x), -1)


def edges_and_colours(x: np.ndarray, cells: int = 4, turns: int = 8) -> np.ndarray:
    """How strong edges of each direction are in each cell of pictures, and a histogram of their colours.

    The edges are histograms of oriented gradients, (cells, cells, turns), each picture's of length 1; the colours the shares of
    4 levels a channel, together 64 (or 16 of grey). Shapes: (picture, height, width, colours) -> (picture, features).
    Source: Dalal and Triggs 2005, doi:10.1109/CVPR.2005.177.

    >>> edges_and_colours(np.zeros((2, 32, 32, 3), "uint8")).shape
    (2, 192)
    """
    made = []
    for start in range(0, len(x), 512):
        part = x[start : start + 512]
        grey = part.mean(3, dtype=np.float32)
        down, across = np.gradient(grey, axis=(1, 2))
        size = np.hypot(down, across)
        turn = (np.floor(np.arctan2(down, across) / np.pi * turns) % turns).astype(np.int64)
        rows, columns = (np.arange(s) * cells // s for s in grey.shape[1:])
        place = (rows[:, None] * cells + columns)[None] * turns + turn
        count = cells * cells * turns
        place = place + np.arange(len(part))[:, None, None] * count
        edges = np.bincount(place.ravel(), size.ravel(), count * len(part)).reshape(len(part), count)
        edges = np.sqrt(edges / np.maximum(edges.sum(1, keepdims=True), 1e-9))
        levels = (part >> 6).astype(np.int64) if part.shape[3] == 3 else (part >> 4).astype(np.int64)
        tone = levels @ np.array([16, 4, 1]) if part.shape[3] == 3 else levels[..., 0]
        bins = 64 if part.shape[3] == 3 else 16
        tone = tone + np.arange(len(part))[:, None, None] * bins
        colours = np.bincount(tone.ravel(), minlength=bins * len(part)).reshape(len(part), bins)
        made.append(np.concatenate([edges, np.sqrt(colours / colours.sum(1, keepdims=True))], 1).astype(np.float32))
    return np.concatenate(made)
