"""Permutation importance: how much worse the answers become when one feature is shuffled among the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import losses, metrics
from ..core.errors import describe
from ..metrics.base import Metric
from ..progress import track
from .columns import TOGETHER, Columns, about, output_shape, take_some
from .question import Question, all_outputs
from .result import Importance


def permutation_importance(
    function: Any,
    x: Any,
    y: Any,
    *,
    metric: Any = None,
    repeats: int = 5,
    groups: dict[str, Any] | None = None,
    seed: int = 0,
    names: Any = None,
    progress: bool | None = None,
) -> Importance:
    """How much worse ``metric`` becomes when a feature is shuffled: ``metric(y, f(x)) - mean_r metric(y, f(x shuffled))``.

    The sign is turned for metrics of which less is better, so that more always means more important. ``metric`` is a name, a
    `Metric`, a loss, or a function of ``(y, outputs)`` of which more is better; default is accuracy for classes and R2 for
    quantities, as the compiled loss (or else y) says. ``groups`` names features that are shuffled together. ``error`` is the
    standard error over the repeats; ``details`` has "baseline", the metric without shuffling, and "each", (features, repeats).
    A feature that the function does not read has exactly 0. Take rows that the model was not trained on. Correlated features
    share their importance, or hide it from each other.
    Raises: ValueError for y of another length, unknown metrics or features, NaN, fewer than 1 repeat.
    Source: Breiman, 2001, Machine Learning 45; Fisher, Rudin and Dominici, 2019, arXiv:1801.01489.

    >>> x = np.arange(40, dtype="float32").reshape(20, 2) % 7
    >>> found = permutation_importance(lambda x: x[:, 0], x, x[:, 0], names=["used", "unused"])
    >>> found.top(1)[0][0], float(found.values[1])
    ('used', 0.0)
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    question, columns = about(function, x, target=all_outputs, names=names)
    shuffle = shuffler(question, columns, y, metric, groups)
    base = None
    each = np.zeros((len(shuffle.names), repeats))
    for number in track(range(len(shuffle.names)), "shuffling features", show=progress):
        base, scores = shuffle(number, repeats, seed)
        each[number] = base - scores
    each = -each if shuffle.less else each
    error = each.std(1, ddof=1) / np.sqrt(repeats) if repeats > 1 else None
    return Importance(
        method="permutation_importance",
        values=each.mean(1),
        names=shuffle.names,
        error=error,
        unit=f"{shuffle.said} {'gained' if shuffle.less else 'lost'}",
        details={"baseline": base, "each": each, "metric": shuffle.said},
    )


@dataclass
class Shuffler:
    """``shuffler(number, repeats, seed) -> (metric as it is, metric with that group shuffled, (repeats,))``."""

    names: list[str]
    said: str
    less: bool  # is less of the metric better?
    run: Callable[[int, int, int], tuple[float, np.ndarray]]

    def __call__(self, number: int, repeats: int, seed: int) -> tuple[float, np.ndarray]:
        return self.run(number, repeats, seed)


def shuffler(question: Question, columns: Columns, y: Any, metric: Any, groups: dict[str, Any] | None = None) -> Shuffler:
    """What shuffles the features of a question's examples, and measures; compiled where the function is JAX's."""
    y = targets_of(question, y)
    names, members = _groups(columns, groups)
    measure = _measure(question, y, metric)
    if question.subject.differentiable and isinstance(measure, Metric):
        run = _compiled(question, columns, members, y, measure, "" if metric is None else metric)
    else:
        run = _by_hand(question, columns, members, y, measure)
    if isinstance(measure, Metric):
        return Shuffler(names, measure.name, measure.direction == "down", run)
    return Shuffler(names, getattr(measure, "__name__", "metric").strip("_<>"), False, run)


def targets_of(question: Question, y: Any) -> np.ndarray:
    """The targets as an array, class names as their numbers."""
    if y is None:
        raise ValueError("permutation importance needs targets: permutation_importance(model, x, y)")
    y = np.asarray(y)
    if y.ndim == 0 or len(y) != question.count:
        raise ValueError(f"x has {question.count} examples, but y has {describe(y)}: each example needs one target")
    if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise ValueError(f"y holds NaN or infinity at row {int(np.argwhere(~np.isfinite(y))[0][0])}")
    known = question.subject.classes
    if y.dtype.kind in "OU" and known:
        strangers = sorted({str(v) for v in y.ravel()} - set(known))
        if strangers:
            raise ValueError(f"y holds the class {strangers[0]!r}, which the model does not know; it knows {', '.join(known)}")
        y = np.array([known.index(str(v)) for v in y.ravel()], np.int32).reshape(y.shape)
    return y


def _groups(columns: Columns, groups: dict[str, Any] | None) -> tuple[list[str], list[list[int]]]:
    if groups is None:
        return columns.names, [[i] for i in range(len(columns))]
    return [str(g) for g in groups], [columns.numbers(features) for features in groups.values()]


def _measure(question: Question, y: np.ndarray, metric: Any) -> Metric | Callable:
    shape = output_shape(question)
    if question.subject.differentiable:
        kind = "f"
    else:
        kind = question.subject.everything(take_some(question.x, 2)).dtype.kind
    loss: Any = (getattr(question.subject.model, "_compiled", None) or {}).get("loss")
    loss = losses.get(loss) if loss is not None and not isinstance(loss, (dict, list, tuple)) else None
    if metric is None:
        if loss is not None:
            metric = "accuracy" if "crossentropy" in loss.name else "r2_score"
        else:
            metric = "accuracy" if y.dtype.kind in "iubOU" or kind in "iubOU" else "r2_score"
    if metric == "accuracy" and kind in "iubOU" and shape == y.shape:
        return accuracy  # the function gives classes, not their probabilities
    if y.dtype.kind in "OU":
        raise ValueError(f"y holds words ({y.ravel()[0]!r}), but the function gives numbers: give the numbers of the classes")
    if isinstance(metric, Metric) or not callable(metric) or isinstance(metric, (type, losses.Loss)):
        found = metrics.get(metric, loss=loss, target_shape=y.shape, output_shape=shape)
        assert found is not None
        return found
    return metric


def accuracy(y: np.ndarray, outputs: np.ndarray) -> float:
    return float(np.mean(y == outputs))


def _orders(rows: int, repeats: int, number: int, seed: int) -> list[np.ndarray]:
    """The shuffles of one feature: the same for every kind of function."""
    random = np.random.default_rng([seed, number])
    return [random.permutation(rows) for _ in range(repeats)]


def _by_hand(question: Question, columns: Columns, members: list[list[int]], y: np.ndarray, measure: Any) -> Callable:
    """Shuffled on the host, for Python functions and for metrics that are Python functions."""
    rows, subject = question.count, question.subject

    def score(predicted: np.ndarray) -> float:
        if isinstance(measure, Metric):
            return float(measure.compute(measure.update(measure.init(), y, jnp.asarray(predicted))))
        return float(measure(y, predicted))

    base = score(subject.everything(question.x))

    def run(number: int, repeats: int, seed: int) -> tuple[float, np.ndarray]:
        orders = _orders(rows, repeats, number, seed)
        values = np.stack([columns.values(n) for n in members[number]], axis=1)
        scores: list[float] = []
        for start in range(0, repeats, together := max(1, TOGETHER // rows)):
            here = min(together, repeats - start)
            shuffled = np.concatenate([values[order] for order in orders[start : start + here]])
            predicted = subject.everything(columns.with_values(members[number], shuffled, columns.repeated(here)))
            scores += [score(part) for part in np.split(predicted, here)]
        return base, np.array(scores)

    return run


def _compiled(
    question: Question, columns: Columns, members: list[list[int]], y: np.ndarray, measure: Metric, given: Any
) -> Callable:
    """All repeats of a feature in one compiled call, by blocks of rows; the plain metric goes the same way, so that a feature
    that is not read has exactly 0."""
    subject = question.subject
    # A wrapped function does not show what it does: metrics given as objects are told apart by identity.
    own = (repr(measure), measure.name, y.shape, y.dtype) if isinstance(given, str) else measure
    rows = question.count
    blocks = -(-rows // TOGETHER)
    size = -(-rows // blocks)
    program = subject.programs.get(("shuffle", own, blocks))
    if program is None:
        program = jax.jit(_shuffled(subject.outputs, measure, blocks, size))
        subject.programs["shuffle", own, blocks] = program
    leaves = jax.tree.leaves(question.x)
    y = np.asarray(y, jax.dtypes.canonicalize_dtype(y.dtype))

    def run(number: int, repeats: int, seed: int) -> tuple[float, np.ndarray]:
        masks = [np.zeros(leaf.shape[1:], bool) for leaf in leaves]
        for n in members[number]:
            leaf, column = columns.places[n]
            masks[leaf][() if masks[leaf].ndim == 0 else column] = True
        orders = np.stack([np.arange(rows), *_orders(rows, repeats, number, seed)]).astype(np.int32)
        found = np.asarray(program(subject.weights, question.x, y, masks, orders), np.float64)
        return float(found[0]), found[1:]

    return run


def _shuffled(outputs: Callable, measure: Metric, blocks: int, size: int) -> Callable:
    def run(weights: Any, x: Any, y: Any, masks: Any, orders: Any) -> Any:
        rows = y.shape[0]
        places = jnp.minimum(jnp.arange(blocks * size), rows - 1).reshape(blocks, size)
        valid = (jnp.arange(blocks * size) < rows).astype(jnp.float32).reshape(blocks, size)

        def score(order: Any) -> Any:
            leaves, structure = jax.tree.flatten(x)
            changed = [jnp.where(m, leaf[order], leaf) for m, leaf in zip(masks, leaves, strict=True)]
            mixed = structure.unflatten(changed)

            def add(sums: Any, block: Any) -> Any:
                rows, counts = block
                y_pred = outputs(weights, jax.tree.map(lambda a: a[rows], mixed))
                return measure.update(sums, y[rows], y_pred, None if blocks * size == len(y) else counts), None

            return measure.compute(jax.lax.scan(add, measure.init(), (places, valid))[0])

        return jax.lax.map(score, orders)

    return run
