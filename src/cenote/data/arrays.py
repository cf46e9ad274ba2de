"""Anything that holds numbers, as a tree of numpy or JAX arrays; what is wrong with it is said here, with the place."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..core.errors import describe


def as_arrays(value: Any, what: str = "x", *, parts: int = 1) -> Any:
    """A tree of arrays from numpy, JAX, ``__array__``, DLPack, lists, pandas or polars frames, dicts and tuples of them.

    ``parts`` is the number of inputs (or outputs) that the model has: a list of that many arrays is taken as one array each.

    >>> as_arrays([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if value is None or isinstance(value, np.ndarray | jax.Array):
        return _checked(value, what)
    if isinstance(value, dict):
        return {k: as_arrays(v, f"{what}[{k!r}]") for k, v in value.items()}
    if isinstance(value, tuple) or (isinstance(value, list) and parts > 1 and len(value) == parts and _is_array(value[0])):
        return tuple(as_arrays(v, f"{what}[{i}]") for i, v in enumerate(value))
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _frame(value, what)
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a PyTorch tensor that may need a gradient or lie on a GPU
        return _checked(value.detach().cpu().numpy(), what)
    if hasattr(value, "to_numpy"):
        return _checked(value.to_numpy(), what)
    if hasattr(value, "__array__"):
        return _checked(np.asarray(value), what)
    if hasattr(value, "__dlpack__"):
        provider: Any = value
        return _checked(np.from_dlpack(provider), what)
    if isinstance(value, (list, range)):
        return _checked(_from_list(value, what), what)
    raise TypeError(
        f"{what} is a {type(value).__name__}, which holds no numbers that can be read: give arrays, lists or a frame"
    )


def _is_array(value: Any) -> bool:
    return (hasattr(value, "shape") and len(value.shape) > 0) or isinstance(value, (list, tuple))


def _from_list(value: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        lengths = sorted({len(v) for v in value if hasattr(v, "__len__")})
        raise ValueError(
            f"{what} is a list of rows of different lengths ({lengths[:5]}): pad them to one length, or give one array an input"
        ) from error


def _frame(frame: Any, what: str) -> np.ndarray:
    columns = [(name, np.asarray(frame[name])) for name in frame.columns]
    words = [str(name) for name, c in columns if c.dtype.kind not in "biuf"]
    if words:
        raise TypeError(
            f"{what} has columns that are not numbers: {', '.join(words[:8])}; turn them into numbers "
            f"(for categories: pandas.get_dummies) or leave them out"
        )
    return np.stack([c.astype(np.float32) for _, c in columns], axis=1)


def _checked(array: Any, what: str) -> Any:
    if array is None or isinstance(array, jax.Array):
        return array
    kind = array.dtype.kind
    if kind == "O":
        try:
            return _checked(array.astype(np.float32), what)
        except (TypeError, ValueError):
            kind = "O"
    if kind in "OUSMmV" and array.dtype.name != "bfloat16":
        first = f" (the first value is {array.ravel()[0]!r})" if array.size else ""
        raise TypeError(
            f"{what} is an array of {_KINDS.get(kind, array.dtype)}{first}, and a network computes with numbers: turn them "
            f"into numbers first (class names: numpy.unique(..., return_inverse=True); text: a vocabulary)"
        )
    if kind == "c":
        raise TypeError(f"{what} holds complex numbers; give real and imaginary parts as two features")
    # XLA computes in 32 bits unless told otherwise; say so once, here, instead of truncating silently in the device copy.
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        if array.dtype == np.float64 and not isinstance(array, np.memmap):
            array = array.astype(np.float32)
        elif array.dtype in (np.int64, np.uint64) and not isinstance(array, np.memmap):
            if array.size and (array.max() > 2**31 - 1 or array.min() < -(2**31)):
                raise ValueError(f"{what} holds integers beyond 32 bits (largest {array.max()}); rescale them or use floats")
            array = array.astype(np.int32)
    return array


_KINDS = {"U": "text", "S": "bytes", "O": "Python objects", "M": "dates", "m": "time differences", "V": "records"}


def count_examples(tree: Any, what: str = "x") -> int:
    """The number of examples in a tree of arrays, which must be the same in each."""
    counts = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if np.ndim(leaf) == 0:
            raise ValueError(f"{what}{jax.tree_util.keystr(path)} is a single number; the first axis must be the examples")
        counts[f"{what}{jax.tree_util.keystr(path)}"] = leaf.shape[0]
    if len(set(counts.values())) > 1:
        raise ValueError(f"arrays of different lengths: {', '.join(f'{k} has {v}' for k, v in counts.items())} examples")
    return next(iter(counts.values()), 0)


def check_pair(x: Any, y: Any, w: Any = None) -> int:
    """The number of examples, after checking that inputs, targets and weights have equally many."""
    n = count_examples(x, "x")
    if n == 0:
        raise ValueError("the data set is empty: x holds no examples")
    for name, part in (("y", y), ("sample_weight", w)):
        if part is not None and count_examples(part, name) != n:
            raise ValueError(
                f"x has {n} examples, but {name} has {count_examples(part, name)}: each example needs one; x is {describe(x)}, "
                f"{name} is {describe(part)}"
            )
    return n


def check_finite(tree: Any, what: str) -> None:
    """Refuse NaN and infinity in the data, naming the first place."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        if array.dtype.kind != "f" or isinstance(leaf, np.memmap):
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):  # one fast pass; a sum that overflows is looked at more closely
                continue
        bad = ~np.isfinite(array)
        if not bad.any():
            continue
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        value = "NaN (not a number)" if np.isnan(array[where]) else "an infinite value"
        rows = int(bad.reshape(len(bad), -1).any(1).sum())
        raise ValueError(
            f"{what}{jax.tree_util.keystr(path)} holds {value} at {list(where)}; {rows} of {len(array)} examples hold such "
            f"values: remove those rows or fill them (for instance with the column's median) before training"
        )


def take_rows(tree: Any, rows: Any) -> Any:
    return jax.tree.map(lambda a: a[rows], tree)


def spread_rows(tree: Any, most: int) -> Any:
    """At most so many rows, evenly spread over all of them.

    >>> spread_rows(np.arange(1000), 4).tolist()
    [0, 250, 500, 750]
    """
    count = count_examples(tree)
    return take_rows(tree, np.linspace(0, count, min(count, most), endpoint=False).astype(np.int64))
