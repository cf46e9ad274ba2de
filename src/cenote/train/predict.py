"""Prediction: batches through one compiled program, padded to a few sizes so that odd tails compile nothing new."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..data.arrays import as_arrays, check_finite, count_examples
from ..data.feed import is_iterable_of_batches
from ..kernels.answers import answering


def predict(model: Any, x: Any, *, batch_size: int | None = None, steps: int | None = None) -> Any:
    """The outputs of a model with ``arrays()``, ``_pure`` and ``_predictors`` for data, as numpy arrays of their own.

    What stateful layers carry goes from batch to batch, and stays in the model.
    """
    params, state = model.arrays()
    if model._carriers:
        return _carried(model, params, state, x, batch_size, steps)
    run = model._predictors.get("predict")
    if run is None:
        run = model._predictors["predict"] = jax.jit(lambda p, s, x: _answers(model, p, s, x)[0])
    parts: list = []
    for batch, count in itertools.islice(_batches(model, x, batch_size), steps):
        size = _bucket(count, batch_size or 256)
        padded = batch if size == count else jax.tree.map(lambda a, n=size: _pad(a, n), batch)
        try:
            y = run(params, state, padded)
        except Exception:
            try:  # the same error, but with the shapes that the caller gave, without our padding
                jax.eval_shape(run, params, state, batch)
            except Exception as error:
                raise error from None
            raise
        parts.append(_fetched(y, count))
    return _joined(parts)


def _answers(model: Any, params: dict, state: dict, x: Any) -> tuple:
    with answering():
        return model._pure(params, state, x, train=False)


def _carried(model: Any, params: dict, state: dict, x: Any, batch_size: int | None, steps: int | None) -> Any:
    """Batches as they are, since each row of the state belongs to a row of the batch."""
    run = model._predictors.get("carried")
    if run is None:
        run = model._predictors["carried"] = jax.jit(lambda p, s, x: _answers(model, p, s, x))
    parts: list = []
    for batch, count in itertools.islice(_batches(model, x, batch_size), steps):
        y, state = run(params, state, batch)
        parts.append(_fetched(y, count))
    model._put(state)
    return _joined(parts)


def _fetched(y: Any, count: int) -> Any:
    """The first rows of what a program gave, in numpy arrays that may be written to."""
    if isinstance(y, jax.Array):  # `jax.device_get` costs several times a small model; its start of several copies at once
        return np.array(np.asarray(y)[:count])  # pays on an accelerator with several outputs only
    return jax.tree.map(lambda leaf: np.array(leaf[:count]), jax.device_get(y))


def _joined(parts: list) -> Any:
    if not parts:
        raise ValueError("there is nothing to predict: x holds no examples")
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _batches(model: Any, x: Any, batch_size: int | None) -> Iterator[tuple[Any, int]]:
    """Each batch with its number of rows."""
    inputs = model._input_count
    if is_iterable_of_batches(x):
        for item in x:
            x = as_arrays(item[0] if isinstance(item, (tuple, list)) else item, "x", parts=inputs)
            yield x, count_examples(x)
        return
    x = as_arrays(x, "x", parts=inputs)
    check_finite(x, "x")
    size, count = batch_size or 256, count_examples(x)
    if 0 < count <= size:
        yield x, count
        return
    for i in range(0, count, size):
        yield jax.tree.map(lambda a, i=i: a[i : i + size], x), min(size, count - i)


def _bucket(count: int, batch_size: int) -> int:
    """The next power of two, at most the batch size: few compilations, whatever the number of examples."""
    return min(1 << (count - 1).bit_length(), max(batch_size, count)) if count else 0


def _pad(array: Any, rows: int) -> Any:
    short = rows - array.shape[0]
    if not short:
        return array
    # Repeating the last row keeps the padding in the range of real data.
    return np.concatenate([np.asarray(array), np.repeat(np.asarray(array[-1:]), short, axis=0)])
