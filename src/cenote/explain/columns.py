"""Features one at a time: the columns of arrays, dicts of columns and frames, exchanged for other values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module
from ..core.errors import unknown
from ..core.tree import spec_of
from ..data.arrays import take_rows
from .question import Question, Score, all_outputs, ask
from .subject import Subject, check_function, in_batches

TOGETHER = 8192  # changed rows that a Python function is asked about at a time


class Columns:
    """The features of ``x``: the columns of a matrix or a frame, or the arrays of a dict (and their columns, if several).

    >>> Columns(np.zeros((4, 2)), None).names, Columns({"age": np.zeros(4), "place": np.zeros((4, 2))}, None).names
    (['0', '1'], ['age', 'place.0', 'place.1'])
    """

    def __init__(self, x: Any, names: Sequence[str] | None) -> None:
        self.x, self.frame = x, hasattr(x, "iloc")
        self.names: list[str] = []
        self.places: list[tuple[int, int]] = []  # (array, column) of each feature
        if self.frame:
            self.names = [str(c) for c in x.columns]
            self.places = [(0, i) for i in range(len(self.names))]
            return
        leaves = jax.tree_util.tree_leaves_with_path(x)
        for number, (path, leaf) in enumerate(leaves):
            if leaf.ndim > 2:
                raise ValueError(
                    f"this needs a table, one number a feature, but an example has shape {tuple(leaf.shape[1:])}: for "
                    f"pictures, sounds and texts use occlusion, or another method of explain"
                )
            width = leaf.shape[1] if leaf.ndim == 2 else 1
            key = ".".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path)
            self.places += [(number, i) for i in range(width)]
            if key:
                self.names += [key] if width == 1 else [f"{key}.{i}" for i in range(width)]
            else:
                self.names += [str(i) for i in range(width)]
        if names is not None:
            if len(names) != len(self.names):
                raise ValueError(f"names has {len(names)} entries, but there are {len(self.names)} features")
            self.names = [str(n) for n in names]

    def __len__(self) -> int:
        return len(self.names)

    def number(self, feature: Any) -> int:
        """The number of a feature, given by name or number."""
        if isinstance(feature, str):
            if feature not in self.names:
                raise unknown("feature", feature, self.names)
            return self.names.index(feature)
        if not isinstance(feature, (int, np.integer)) or isinstance(feature, bool):
            raise TypeError(f"a feature is given by its name or number, got {feature!r}")
        if not -len(self) <= feature < len(self):
            raise ValueError(f"there is no feature {feature}: there are {len(self)}, numbers 0 to {len(self) - 1}")
        return int(feature) % len(self)

    def numbers(self, features: Any) -> list[int]:
        """The numbers of several features, or of one."""
        if features is None:
            return []
        several = isinstance(features, (list, tuple, set, frozenset, range, np.ndarray))
        return [self.number(f) for f in (features if several else [features])]

    def values(self, number: int) -> np.ndarray:
        """The values of one feature in all rows."""
        leaf, column = self.places[number]
        if self.frame:
            return np.asarray(self.x.iloc[:, column])
        array = np.asarray(jax.tree.leaves(self.x)[leaf])
        return array if array.ndim == 1 else array[:, column]

    def with_values(self, numbers: Sequence[int], values: np.ndarray, x: Any = None) -> Any:
        """The examples with other values for some features, ``values`` (rows, len(numbers))."""
        x = self.x if x is None else x
        if self.frame:
            x = x.copy()
            for j, n in enumerate(numbers):
                column = self.x.iloc[:, n]
                given = values[:, j]
                x.isetitem(n, given.astype(column.dtype) if column.dtype.kind in "biuf" else type(column)(given, x.index))
                if column.dtype.kind not in "biuf":
                    x.isetitem(n, x.iloc[:, n].astype(column.dtype))
            return x
        leaves, structure = jax.tree.flatten(x)
        leaves = [np.array(leaf) for leaf in leaves]
        for j, n in enumerate(numbers):
            leaf, column = self.places[n]
            leaves[leaf][... if leaves[leaf].ndim == 1 else (slice(None), column)] = values[:, j]
        return structure.unflatten(leaves)

    def repeated(self, count: int) -> Any:
        """All rows ``count`` times, one after another."""
        if self.frame:
            return self.x.iloc[np.tile(np.arange(len(self.x)), count)]
        return jax.tree.map(lambda a: np.concatenate([a] * count), self.x)


def about(function: Any, x: Any, *, target: Any = None, names: Any = None, scale: str = "outputs") -> tuple[Question, Columns]:
    """The question about one and the same output for all rows, and the features.

    ``scale``: "outputs" are what the model answers (probabilities, where it gives them), "logits" those behind them. A Python
    function that takes frames gets the frame as it is.
    """
    if scale not in ("outputs", "logits"):
        raise unknown("scale", scale, ("outputs", "logits"))
    question = _of_frame(function, x) if hasattr(x, "iloc") and not isinstance(function, Module) else None
    if question is None:
        question = ask(function, x, target=all_outputs, names=names)
    if scale == "outputs":
        question = replace(question, subject=as_given(question.subject))
    return resolved(question, function, x, target), Columns(question.x, question.names if names is None else names)


def _of_frame(function: Any, x: Any) -> Question | None:
    """The question about a function that takes frames, such as a pipeline of scikit-learn; None for one that does not."""
    if not len(x):
        raise ValueError("there is nothing to explain: x holds no examples")
    check_function(function)
    if all(np.dtype(d).kind in "biuf" for d in x.dtypes if isinstance(d, np.dtype)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what a function of frames thinks of a tracer
                jax.eval_shape(function, spec_of(np.zeros((2, x.shape[1]), np.float32)))
            return None
        except Exception:
            pass
    try:
        first = np.asarray(function(x.iloc[:2]))
    except Exception as error:
        if any(not isinstance(d, np.dtype) or d.kind not in "biuf" for d in x.dtypes):
            raise ValueError(
                f"x is a frame with columns that are not numbers, and the function does not take it as it is: {error}"
            ) from error
        return None
    if first.shape[:1] != (min(2, len(x)),):
        raise ValueError(f"expected one output a row, but the function gave shape {first.shape} for {min(2, len(x))} rows")
    subject = Subject(lambda _, x: np.asarray(function(x)), (), differentiable=False, says="the function's own values")
    return Question(subject, x, all_outputs, names=[str(c) for c in x.columns])


def as_given(subject: Subject) -> Subject:
    """The subject with a model's outputs as they are, in place of the logits behind them."""
    model: Any = subject.model
    if model is None:
        return subject
    plain: Any = subject.programs.get("as given")
    if plain is None:

        def outputs(weights: Any, x: Any) -> Any:
            y = model._pure(*weights, x)[0] if hasattr(model, "_pure") else model.apply(*weights, x)[0]
            leaves = jax.tree.leaves(y)
            if len(leaves) != 1:
                raise ValueError("the model has several outputs: explain a function that picks one, lambda x: model(x)['name']")
            return leaves[0]

        plain = Subject(outputs, (), differentiable=True, model=model, says="the outputs")
        subject.programs["as given"] = plain  # kept where the programs are, and as long
    plain.weights = subject.weights
    return plain


def resolved(question: Question, function: Any, x: Any, target: Any) -> Question:
    """The question with one output for all rows: as asked for, the only one, or the second of two."""
    count = question.count
    if callable(target):
        return replace(question, target=target)
    shape = output_shape(question)
    width = int(np.prod(shape[1:]))
    if target is None:
        if width > 2:
            classes = question.subject.classes
            said = f" ({', '.join(classes[:12])})" if classes else ""
            raise ValueError(
                f"there are {width} outputs{said}: say which one is meant, target=0 to {width - 1}, or a class name"
            )
        if width == 2:
            question.notes.append("the output shown is the second of two")
        return replace(question, target=np.full(count, width - 1, np.int32))
    if isinstance(target, str):
        target = question.subject.class_number(target)
    if not isinstance(target, (int, np.integer)) or isinstance(target, bool):
        raise ValueError(f"target is the number of an output, a class name, or a function of the outputs; got {target!r:.80}")
    if not -width <= target < width:
        raise ValueError(f"there is no output {target}: the function has {width}")
    return replace(question, target=np.full(count, int(target) % width, np.int32))


def output_shape(question: Question) -> tuple[int, ...]:
    """The shape of all outputs, (rows, ...)."""
    subject = question.subject
    if subject.differentiable:
        return jax.eval_shape(subject.outputs, subject.weights, spec_of(question.x)).shape
    return (question.count, *subject.everything(take_some(question.x, 2)).shape[1:])


def take_some(x: Any, rows: int) -> Any:
    return x.iloc[:rows] if hasattr(x, "iloc") else take_rows(x, slice(0, rows))


def scores_at(question: Question, columns: Columns, numbers: Sequence[int], points: np.ndarray) -> np.ndarray:
    """What is explained with other values for some features: points (rows, points, features) -> (rows, points)."""
    rows, count = points.shape[:2]
    if question.subject.differentiable:
        places = [columns.places[n] for n in numbers]
        size = min(1024, 1 << (rows - 1).bit_length())
        run = question.program(_scores_at, tuple(leaf for leaf, _ in places), max(1, 4096 // size))
        at = np.array([column for _, column in places], np.int32)
        return in_batches(
            lambda x, target, points: run(question.weights, x, target, at, points),
            (question.x, question.targets, np.asarray(points, jnp.result_type(float)) if points.dtype.kind == "f" else points),
            size,
        )
    together = max(1, TOGETHER // rows)
    parts = []
    for start in range(0, count, together):
        some = points[:, start : start + together]
        here = some.shape[1]
        x = columns.with_values(numbers, np.moveaxis(some, 1, 0).reshape(here * rows, -1), columns.repeated(here))
        parts.append(question.ask(x, np.tile(question.targets, here)).reshape(here, rows).T)
    return np.concatenate(parts, axis=1)


def _scores_at(score: Score, leaves: tuple[int, ...], together: int) -> Callable:
    def run(weights: Any, x: Any, target: Any, columns: Any, points: Any) -> Any:
        def one(point: Any) -> Any:  # (rows, features)
            arrays, structure = jax.tree.flatten(x)
            for j, leaf in enumerate(leaves):
                array = arrays[leaf]
                values = point[:, j].astype(array.dtype)
                arrays[leaf] = values if array.ndim == 1 else array.at[:, columns[j]].set(values)
            return score(weights, structure.unflatten(arrays), target)

        return jax.lax.map(one, jnp.moveaxis(points, 1, 0), batch_size=together).T

    return run
