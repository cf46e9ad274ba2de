"""Attribution by taking away: features, groups of them, or windows replaced by the baseline, and how much the output falls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .coalitions import coalition_values, players_of
from .method import Answer, method
from .question import Question, Score

__all__ = ["ablation", "occlusion"]

TOGETHER = 256  # changed examples that are asked at a time
MOST_PLAYERS = 8192  # features that are taken away one by one


@method(rows=32)
def occlusion(question: Question, *, window: Any = None, stride: Any = None) -> Answer:
    """How much the output falls when a window of the example is replaced by the baseline: ``f(x) - f(x without it)``.

    The window slides over the example by ``stride``; a place that several windows cover gets the mean of what they say, and
    the last window along an axis is cut off at the edge. ``window`` is a number for all axes but the channels, which go
    together (the last axis of sequences (steps, channels) and pictures (height, width, channels)), or a size for each axis of
    an example; a vector, or a signal without channels, has one axis. The default is an eighth of each axis, by steps of half
    a window; single features in a vector of up to 64. What the windows lose need not add up to the output.
    Raises: ValueError for a window or stride that does not fit into an example.
    Source: Zeiler and Fergus, 2014, arXiv:1311.2901.

    >>> x = np.array([[1.0, 2.0, 3.0]], "float32")
    >>> occlusion(lambda x: x[:, 0] * 3 + x[:, 2], x, baseline=0.0, window=1, stride=1).values.tolist()
    [[3.0, 0.0, 3.0]]
    """
    leaves, structure = jax.tree.flatten(question.x)
    values, windows = [], 0
    for number, leaf in enumerate(leaves):
        shape = leaf.shape[1:]
        size = _size(window, shape)
        step = _step(stride, size, shape)
        starts = [range(0, max(n - w + s, 1), s) if w < n else [0] for n, w, s in zip(shape, size, step, strict=True)]
        starts = [[i for i in r if i < n] for r, n in zip(starts, shape, strict=True)]
        masks = (_box(shape, place, size) for place in itertools.product(*starts))
        total, count = np.zeros(leaf.shape, np.float64), np.zeros(shape, np.float64)
        for block, lost in _losses(question, masks, number):
            total += np.tensordot(lost, block.astype(np.float64), (0, 0))
            count += block.sum(0)
            windows += len(block)
        values.append((total / np.maximum(count, 1)).astype(np.float32))
    said = f"{windows} windows {'of an eighth' if window is None else window}, replaced by the baseline"
    return Answer(jax.tree.unflatten(structure, values), details={"windows": windows}, reason=said)


@method(rows=32)
def ablation(question: Question, *, groups: Any = None) -> Answer:
    """How much the output falls when a feature, or a group of features, is switched off: ``f(x) - mean_b f(x with b's value)``.

    b is the baseline, or each row of the background where no baseline is given. ``groups`` is a dict of names and the
    features of each, a list of lists of features (values are then (rows, groups)), or whole numbers in the form of an example,
    equal in one group (values have the form of ``x``; members of a group share its value evenly). Without it each feature
    goes alone. A feature that the function does not read has exactly 0; the values need not add up to the output.
    Raises: ValueError for groups that do not fit, and for more than 8192 features or groups.
    Source: Merrick, 2019, arXiv:1910.08527.

    >>> x = np.array([[1.0, 2.0, 3.0]], "float32")
    >>> f = lambda x: x[:, 0] * x[:, 1] + x[:, 2]
    >>> ablation(f, x, baseline=0.0).values.tolist()
    [[2.0, 2.0, 3.0]]
    >>> ablation(f, x, baseline=0.0, groups={"product": [0, 1], "rest": [2]}).values.tolist()
    [[2.0, 3.0]]
    """
    players = players_of(question, groups)
    if players.count > MOST_PLAYERS:
        raise ValueError(
            f"an example has {players.count} features, too many to switch off one by one: give groups (segments of a picture), "
            f"or use occlusion with a window"
        )
    masks = np.concatenate([np.ones((1, players.count), bool), ~np.eye(players.count, dtype=bool)])
    scores = coalition_values(question, players, masks)
    return players.answer(question, scores[:, :1] - scores[:, 1:])


def _losses(question: Question, masks: Iterator[np.ndarray], number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``(masks, f(x) - f(x where the mask puts the baseline))`` by blocks, (block, ...) and (block, rows), for one array."""
    size = max(1, TOGETHER // question.count)
    whole, baseline = question.ask(question.x), question.baseline
    run = _runner(question, number)
    while block := list(itertools.islice(masks, size)):
        filled = np.stack(block + [block[-1]] * (size - len(block)))  # blocks of one size: one compilation
        scores = np.asarray(run(question.x, baseline, filled), np.float64)
        yield filled[: len(block)], (whole - scores)[: len(block)]


def _runner(question: Question, number: int) -> Callable[[Any, Any, Any], Any]:
    if question.subject.differentiable:
        run = question.program(_masked_scores, number)
        return lambda x, baseline, masks: run(question.weights, x, baseline, question.targets, masks)

    def ask(x: Any, baseline: Any, masks: Any) -> np.ndarray:
        changed = _changed(np, x, baseline, masks, number)
        return question.ask(changed, np.tile(question.targets, len(masks))).reshape(len(masks), -1)

    return ask


def _masked_scores(score: Score, number: int) -> Callable:
    def run(weights: Any, x: Any, baseline: Any, target: Any, masks: Any) -> Any:
        changed = _changed(jnp, x, baseline, masks, number)
        return score(weights, changed, jnp.tile(target, len(masks))).reshape(len(masks), -1)

    return run


def _changed(xp: Any, x: Any, baseline: Any, masks: Any, number: int) -> Any:
    """The examples with the baseline where each mask says so, all rows of the first mask first: (masks * rows, ...)."""
    leaves, structure = jax.tree.flatten(x)
    changed = []
    for i, (leaf, base) in enumerate(zip(leaves, jax.tree.leaves(baseline), strict=True)):
        mask = masks[:, None] if i == number else xp.zeros((len(masks), *[1] * leaf.ndim), bool)
        both = xp.where(mask, base[None], leaf[None])
        changed.append(both.reshape(-1, *leaf.shape[1:]))
    return structure.unflatten(changed)


def _box(shape: tuple[int, ...], place: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(p, p + w) for p, w in zip(place, size, strict=True))] = True
    return mask


def _size(window: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    free = shape[:-1] if len(shape) > 1 else shape
    if window is None:
        size = tuple(1 if len(shape) == 1 and n <= 64 else max(1, n // 8) for n in free)
    else:
        size = _whole("window", window, free, shape)
    size = (*size, *shape[len(size) :])
    if any(w > n for n, w in zip(shape, size, strict=True)):
        raise ValueError(f"a window of {size} does not fit into an example of shape {shape}")
    return size


def _step(stride: Any, size: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    free = shape[:-1] if len(shape) > 1 else shape
    if stride is None:
        return tuple(max(1, w // 2) if i < len(free) else w for i, w in enumerate(size))
    step = _whole("stride", stride, free, shape)
    step = (*step, *size[len(step) :])
    if any(s > w for w, s in zip(size, step, strict=True)):
        raise ValueError(f"stride {step} is longer than the window {size}: the places between would never be covered")
    return step


def _whole(what: str, given: Any, free: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """A number for the axes without the channels, or one for each axis."""
    sizes = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(free)
    if len(sizes) not in (len(free), len(shape)) or not all(isinstance(s, (int, np.integer)) and s > 0 for s in sizes):
        raise ValueError(
            f"{what} is a whole number from 1, or one for each axis of an example of shape {shape} (with or without the "
            f"channels), got {given!r}"
        )
    return tuple(int(s) for s in sizes)
