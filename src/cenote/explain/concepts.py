"""Concepts: whether what people have a word for, stripes say, moves a model's output, with a test against chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from ..core import Module
from .gradients import gradient
from .layers import at_layer, check_path, features
from .method import filled
from .question import ask

__all__ = ["ConceptTest", "tcav"]


@dataclass
class ConceptTest:
    """How often, and how far, a concept moves an output up, and whether that is more than chance does.

    ``score`` is the share of examples whose output rises towards the concept, the mean over ``scores`` (repeats,), each from
    a probe against other random rows. ``effect`` is by how much the output would rise, at its mean slope, on the way from the
    mean of the random rows to that of the concept; ``p`` how often it is as far from 0 when rows are called concept or random
    by chance; ``accuracy`` that of the probe on rows it has not seen.
    """

    layer: str
    score: float
    error: float  # standard deviation of the scores
    effect: float
    p: float
    accuracy: float
    scores: np.ndarray = field(repr=False)
    direction: np.ndarray = field(repr=False)  # in the form of the layer's output, of length 1: the mean over the repeats
    reason: str = ""

    @property
    def significant(self) -> bool:
        """Whether the concept is beyond chance (p below 0.05) and can be told from random rows (accuracy above 0.6)."""
        return self.p < 0.05 and self.accuracy > 0.6


def tcav(
    model: Module,
    x: Any,
    concept: Any,
    path: str,
    *,
    target: Any = None,
    random: Any = None,
    repeats: int = 20,
    strength: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> ConceptTest:
    """Testing with concept activation vectors: ``P(df/dh . v > 0)`` over the examples x, h being a layer's output.

    ``v`` is the direction from random rows to those of the concept in h: the weights of a ridge regression on which is which,
    in closed form, its ``strength`` in units of the mean square of h. It is fitted ``repeats`` times, against another half of
    ``random`` (the training rows that the model remembers, unless given). Where the model is nearly linear from h on, every
    direction scores near 0 or 1, so that the score alone says little: the test is of the ``effect``, by permutation.
    Shapes: ``concept`` and ``random`` are examples, rows first, ten or more of each.
    Raises: ValueError for too few rows, and for a path that is not there.
    Source: Kim et al. 2018, arXiv:1711.11279; they test by the scores of repeats, which are not independent.

    >>> from cenote import Sequential, layers
    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(60, 3)).astype("float32")
    >>> model = Sequential([layers.Dense(3), layers.Dense(1)]).build(rows)
    >>> model.set_weights([np.eye(3), np.zeros(3), np.array([[1.0], [0], [0]]), np.zeros(1)])
    >>> found = tcav(model, rows, rows + np.array([3, 0, 0], "float32"), "layers.0", random=rows)
    >>> found.score, found.accuracy > 0.8
    (1.0, True)
    """
    check_path(model, path)
    random = getattr(model, "background", None) if random is None else random
    if random is None:
        raise ValueError("a concept is told from random rows: give random=some rows of any kind, ten or more")
    if repeats < 2:
        raise ValueError(f"repeats is at least 2, so that the scores have a spread, got {repeats}")
    if not strength > 0:
        raise ValueError(f"strength is that of a ridge, above 0, got {strength}")
    inside = _flat(features(model, concept, path, batch_size=batch_size))
    outside = _flat(features(model, random, path, batch_size=batch_size))
    for name, rows in (("concept", inside), ("random", outside)):
        if len(rows) < 10:
            raise ValueError(f"{name} holds {len(rows)} rows: a direction needs 10 or more to be told from chance")
    slopes, shape = _slopes(model, x, path, target, batch_size)
    if not np.abs(slopes).max() > 0:
        raise ValueError(f"the output does not depend on {path!r} for these examples, so no concept there can move it")
    rng = np.random.default_rng(seed)
    scores, right, directions = [], [], []
    for _ in range(repeats):
        order = rng.permutation(len(outside))
        first, second = outside[order[: len(order) // 2]], outside[order[len(order) // 2 :]]
        mine = inside[rng.permutation(len(inside))]
        kept = max(len(mine) * 4 // 5, 1)
        direction, offset = _probe(mine[:kept], first, strength)
        right += [(mine[kept:] @ direction > offset).mean(), (second @ direction <= offset).mean()]
        scores.append((slopes @ direction > 0).mean())
        directions.append(direction / max(np.linalg.norm(direction), 1e-30))
    effect, p = _moved(inside @ slopes.mean(0), outside @ slopes.mean(0), rng)
    mean = np.mean(directions, axis=0)
    alike = (slopes @ slopes[0] >= 0.999 * np.linalg.norm(slopes, axis=1) * np.linalg.norm(slopes[0])).all() and len(slopes) > 1
    return ConceptTest(
        layer=path,
        score=float(np.mean(scores)),
        error=float(np.std(scores, ddof=1)),
        effect=effect,
        p=p,
        accuracy=float(np.mean(right)),
        scores=np.array(scores),
        direction=(mean / max(np.linalg.norm(mean), 1e-30)).reshape(shape),
        reason="from this layer on the output is linear, so that every direction scores 0 or 1: go by the effect, or earlier"
        if alike
        else "",
    )


def _flat(found: Any) -> np.ndarray:
    leaves = jax.tree.leaves(found)
    return np.concatenate([np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in leaves], axis=1)


def _slopes(model: Module, x: Any, path: str, target: Any, batch_size: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """The output's slope by what the layer gives, (rows, feature), and the form of an example of that."""
    question = ask(model, x, target=target)
    parts, shape, size = [], (), min(batch_size, question.count)
    for start in range(0, question.count, size):
        part = question.rows(start, min(start + size, question.count))
        inner = at_layer(part if part.count == size else filled(part, size), path)
        found = inner.program(gradient)(inner.weights, inner.x, inner.targets)
        leaves = jax.tree.leaves(inner.x)
        shape = leaves[0].shape[1:] if len(leaves) == 1 else (-1,)
        parts.append(_flat(found)[: question.count - start])
    return np.concatenate(parts), shape


def _moved(inside: np.ndarray, outside: np.ndarray, rng: Any, permutations: int = 999) -> tuple[float, float]:
    """The difference of two means, and how often it is as large when all are shuffled."""
    pooled, count = np.concatenate([inside, outside]), len(inside)

    def apart(values: np.ndarray) -> float:
        return float(values[:count].mean() - values[count:].mean())

    effect = apart(pooled)
    as_far = sum(abs(apart(rng.permutation(pooled))) >= abs(effect) for _ in range(permutations))
    return effect, (1 + as_far) / (1 + permutations)


def _probe(inside: np.ndarray, outside: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """The weights of a ridge regression on +1 inside and -1 outside, both sides counting the same, and where it crosses 0."""
    rows = np.concatenate([inside, outside])
    sides = np.concatenate([np.ones(len(inside)), -np.ones(len(outside))])
    share = np.concatenate([np.full(len(inside), 0.5 / len(inside)), np.full(len(outside), 0.5 / len(outside))])
    middle = share @ rows
    root = np.sqrt(share)[:, None]
    centred, wanted = (rows - middle) * root, sides * root[:, 0]
    scale = max(np.mean(centred**2), 1e-30)  # so that the strength does not hang on the units of the layer
    if len(rows) < rows.shape[1]:  # more features than rows: the same solution through the products of rows
        direction = centred.T @ np.linalg.solve(centred @ centred.T + strength * scale * np.eye(len(rows)), wanted)
    else:
        direction = np.linalg.solve(centred.T @ centred + strength * scale * np.eye(rows.shape[1]), centred.T @ wanted)
    return direction, float(middle @ direction)
