"""A network for very few pictures: filters found among their patches without labels, and a linear layer on top."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.convolution import conv
from ..kernels.pooling import average_pool
from ..layers.base import Layer
from .linear import STRENGTH
from .table_linear import logistic_weights

__all__ = ["PatchResponses", "patch_filters", "patch_network"]

FILTERS = 256
PATCHES = 20_000  # that the filters are learned from
ROUNDS = 10  # of k-means
FLOOR = 10.0  # variance (in squared grey levels) added to that of a patch: what is even is no pattern
LEVEL = 1.0  # that a response must exceed to count
MIDDLE = 128.0  # grey, taken off first, so that squares of values keep their digits


class PatchResponses(Layer):
    """How strongly each of some frozen filters answers, on average over a whole picture.

    ``z_k = mean over patches p of max(f_k . p / sqrt(var(p) + 10) - 1, 0)``, the patches having ``side`` pixels and lying
    ``strides`` pixels apart. Shapes: (batch, height, width, colour), 0 to 255 -> (batch, filter).
    Source: Coates, Ng and Lee 2011, AISTATS.
    """

    def __init__(self, filters: int = FILTERS, side: int = 8, strides: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.filters, self.side, self.strides = filters, side, strides

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x, jnp.float32) - MIDDLE
        filters = self.state("filters", (self.side, self.side, x.shape[-1], self.filters), "zeros")
        mean, square = (
            average_pool(values.mean(-1, keepdims=True), (self.side,) * 2, (self.strides,) * 2) for values in (x, x * x)
        )
        size = jnp.sqrt(jnp.maximum(square - mean * mean, 0) + FLOOR)
        said = conv(x, filters, strides=self.strides) / size
        return jax.nn.relu(said - LEVEL).mean((1, 2))


def patch_network(x: np.ndarray, y: np.ndarray | None, head: Any) -> tuple[Any, float]:
    """Filters from pictures (picture, height, width, colour), their standardised responses, and ``head``, a dense layer.

    With class numbers ``y`` the head begins as the logistic regression of them; without it begins with zeros. Gives the model,
    and its multiplications for a picture.
    """
    from .. import Sequential, layers

    side = int(np.clip(round(min(x.shape[1:3]) / 12), 3, 12))
    bank = PatchResponses(FILTERS, side, max(1, side // 4))
    answers = Sequential([bank])
    answers.build(x[:1])
    answers.set_weights({"layers.0.filters": patch_filters(x, side, FILTERS)})
    seen = np.asarray(answers.predict(x, batch_size=16, verbose=0), np.float64)
    mean, variance = seen.mean(0), np.maximum(seen.var(0), 1e-12)
    model = Sequential([bank, layers.Normalization(axis=-1, mean=mean.tolist(), variance=variance.tolist()), head])
    model.build(x[:1])
    weights = {"layers.0.filters": answers.get_weights()[0], "layers.2.kernel": np.zeros((FILTERS, head.units), np.float32)}
    if y is not None:
        solved = logistic_weights((seen - mean) / np.sqrt(variance), y, head.units, STRENGTH)
        weights["layers.2.kernel"], weights["layers.2.bias"] = (w.astype(np.float32) for w in solved)
    model.set_weights(weights)
    places = (x.shape[1] - side + 1) * (x.shape[2] - side + 1) / max(1, side // 4) ** 2
    return model, float(places * side * side * x.shape[3] * FILTERS)


def patch_filters(x: np.ndarray, side: int, count: int) -> np.ndarray:
    """Filters (side, side, colour, filter) that answer to what is frequent in patches of pictures: spherical k-means.

    Patches are drawn with a fixed seed, brought to mean 0 and deviation 1, and whitened; each filter is a center, with the
    whitening in it.

    >>> x = np.random.RandomState(0).randint(0, 255, (4, 16, 16, 1)).astype("uint8")
    >>> filters = patch_filters(x, 4, 10)
    >>> filters.shape, bool(abs(filters.sum((0, 1, 2))).max() < 1e-4)
    ((4, 4, 1, 10), True)
    """
    draw = np.random.RandomState(0)
    # (picture, row, column, colour, side, side)
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
    rows = [draw.randint(0, size, PATCHES) for size in windows.shape[:3]]
    patches = np.moveaxis(windows[rows[0], rows[1], rows[2]], 1, -1).reshape(PATCHES, -1).astype(np.float32)
    patches -= patches.mean(1, keepdims=True)
    patches /= np.sqrt(patches.var(1, keepdims=True) + FLOOR)
    values, vectors = np.linalg.eigh(np.cov(patches.T.astype(np.float64)))
    whiten = (vectors / np.sqrt(np.maximum(values, 0) + 0.1)) @ vectors.T
    white = (patches @ whiten).astype(np.float32)
    centers = _unit(draw.randn(count, white.shape[1]).astype(np.float32))
    for _ in range(ROUNDS):
        alike = white @ centers.T
        nearest = alike.argmax(1)
        weight = alike[np.arange(len(white)), nearest]
        total = np.zeros_like(centers)
        np.add.at(total, nearest, white * weight[:, None])
        centers = _unit(total + 1e-3 * centers)  # one that nothing is near stays where it is
    filters = whiten @ centers.T
    filters -= filters.mean(0)  # the mean of a patch says nothing
    return filters.reshape(side, side, x.shape[3], count).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
