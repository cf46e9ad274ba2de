"""Feeds: where batches come from. A Resident lies on the device and is gathered there; a Stream arrives batch by batch."""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from .arrays import as_arrays, check_finite, check_pair, count_examples, spread_rows, take_rows

Batch = dict[str, Any]


@dataclass
class Resident:
    """Data that fits in memory: a batch dict of whole arrays, and their number of examples."""

    data: Batch
    count: int
    batch_size: int

    @property
    def steps(self) -> int:
        return -(-self.count // self.batch_size)

    def example(self) -> Batch:
        return take_rows(self.data, slice(0, min(self.batch_size, self.count)))


@dataclass
class Stream:
    """Batches that arrive one by one. ``open(epoch, skip)`` gives those of an epoch, from number ``skip`` on."""

    open: Callable[[int, int], Iterator[Batch]]
    steps: int | None = None
    batch_size: int | None = None
    count: int | None = None
    first: Batch | None = field(default=None, repr=False)

    def example(self) -> Batch:
        if self.first is None:
            self.first = next(iter(self.open(0, 0)), None)
        if self.first is None:
            raise ValueError("the data set is empty: the iterable gave no batch")
        return self.first

    def prefetched(self, epoch: int, skip: int, depth: int = 4) -> Iterator[Batch]:
        """The batches of an epoch, read ahead in a thread so that the step does not wait for them."""
        return prefetch(self.open(epoch, skip), depth)


def as_feed(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    class_weight: dict[int, float] | None = None,
    steps: int | None = None,
    inputs: int = 1,
    outputs: int = 1,
    seed: int = 0,
    shuffle: bool = False,
    budget: int | None = None,
) -> Resident | Stream:
    """The right feed for what came in: arrays become Resident, or a Stream of slices if they exceed ``budget`` bytes or are
    memory-mapped; iterables of batches ``x``, ``(x, y)`` or ``(x, y, weight)`` become a Stream."""
    x, y = _columns(x, y)
    if is_iterable_of_batches(x):
        if y is not None:
            raise ValueError("x gives batches, so the targets must come with them as (x, y): leave y out")
        return _iterable(x, class_weight, steps, inputs, outputs, sample_weight)
    x = as_arrays(x, "x", parts=inputs)
    y, w = (_targets(part, what, x, outputs) for part, what in ((y, "y"), (sample_weight, "sample_weight")))
    count = check_pair(x, y, w)
    batch_size = min(_positive(32 if batch_size is None else batch_size, "batch_size"), count)
    mapped = any(isinstance(leaf, np.memmap) for leaf in jax.tree.leaves((x, y)))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((x, y)))
    if mapped or size > (memory_budget() if budget is None else budget):
        return _slices({"x": x, "y": y, "w": w}, count, batch_size, class_weight, seed, shuffle)
    for name, part in (("x", x), ("y", y), ("sample_weight", w)):
        check_finite(part, name)
    return Resident(_batch(x, y, w, class_weight), count, batch_size)


def _targets(value: Any, what: str, x: Any, outputs: int) -> Any:
    """Targets or weights; a list of arrays as long as ``x`` is one for each output, even if their number is not known yet."""
    if outputs == 1 and isinstance(value, list) and len(value) > 1:
        count = count_examples(x)
        if len(value) != count and all(len(getattr(v, "shape", ())) > 0 and v.shape[0] == count for v in value):
            outputs = len(value)
    return as_arrays(value, what, parts=outputs)


def prepared(prepare: Callable, x: Any, y: Any = None) -> tuple[Any, Any]:
    """Data whose inputs went through a model's `prepare`: arrays at once, iterables batch by batch."""
    x, y = _columns(x, y)
    if not is_iterable_of_batches(x):
        return prepare(x), y
    return _Prepared(prepare, x) if not hasattr(x, "__next__") else map(functools.partial(_prepared_item, prepare), x), y


@dataclass
class _Prepared:
    """An iterable of batches that can be begun again, with prepared inputs."""

    prepare: Callable
    batches: Any

    def __iter__(self) -> Iterator[Any]:
        return map(functools.partial(_prepared_item, self.prepare), _from_the_start(self.batches))

    def __len__(self) -> int:
        return len(self.batches)


def _from_the_start(batches: Any) -> Iterator[Any]:
    return iter(batches) if hasattr(batches, "__iter__") else (batches[i] for i in range(len(batches)))


def _prepared_item(prepare: Callable, item: Any) -> Any:
    if isinstance(item, (tuple, list)):
        return (prepare(item[0]), *item[1:])
    return prepare(item)


BACKGROUND_ROWS, BACKGROUND_BYTES = 100, 16 << 20


def background_of(x: Any) -> Any:
    """Some rows of the training data, evenly spread, as explanations compare with: at most 100, and at most 16 MiB.

    >>> background_of(np.arange(1000))[:3].tolist()
    [0, 10, 20]
    """
    count = count_examples(x)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(x)) / max(count, 1)
    rows = int(max(1, min(BACKGROUND_ROWS, BACKGROUND_BYTES // max(size, 1))))
    return jax.tree.map(np.array, spread_rows(x, rows))


def mean_row(x: Any) -> Any:
    """The mean of rows of quantities, one row each; None for words and other numbered things, whose mean is nothing."""
    leaves = jax.tree.leaves(x)
    if not leaves or any(np.dtype(leaf.dtype).kind in "iu" and leaf.dtype != np.uint8 for leaf in leaves):
        return None
    return jax.tree.map(lambda a: np.mean(a, axis=0, keepdims=True, dtype=np.float64).astype(np.float32), x)


def memory_budget() -> int:
    """Bytes of data that may lie on the device: a quarter of its memory, or of the machine's on the CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] // 4
    try:
        import os

        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (ValueError, OSError, AttributeError):
        return 2 << 30


def is_iterable_of_batches(x: Any) -> bool:
    """An iterator, a generator, a data loader: something to iterate that is neither an array nor a list of numbers."""
    if x is None or isinstance(x, (list, tuple, dict, str, np.ndarray, jax.Array)):
        return False
    if any(hasattr(x, a) for a in ("__array__", "__dlpack__", "to_numpy", "shape")):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def _columns(x: Any, y: Any) -> tuple[Any, Any]:
    """``fit(frame, "label")``: the target by its column's name, from a frame or a Hugging Face data set."""
    if hasattr(x, "column_names") and hasattr(x, "with_format"):
        if not isinstance(y, str):
            raise ValueError(f"say which column of the data set is the target: y='label'; it has {list(x.column_names)}")
        if y not in x.column_names:
            raise ValueError(f"the data set has no column {y!r}; it has {list(x.column_names)}")
        table = x.with_format("numpy")[:]
        rest = {k: np.asarray(v) for k, v in table.items() if k != y}
        return (next(iter(rest.values())) if len(rest) == 1 else rest), np.asarray(table[y])
    if isinstance(y, str):
        if not hasattr(x, "columns"):
            raise ValueError(f"y={y!r} names a column, but x is a {type(x).__name__} without columns")
        if y not in list(x.columns):
            raise ValueError(f"the table has no column {y!r}; it has {[str(c) for c in x.columns]}")
        others = [c for c in x.columns if c != y]
        return x[others], x[y]
    return x, y


def _positive(value: Any, name: str) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def _batch(x: Any, y: Any, w: Any, class_weight: dict[int, float] | None) -> Batch:
    if class_weight is not None:
        w = _class_weights(y, w, class_weight)
    return {"x": x, "y": y, "w": w}


def _class_weights(y: Any, w: Any, table: dict[int, float]) -> Any:
    if isinstance(y, (dict, tuple, list)) or y is None:
        raise ValueError("class_weight is for a model with one output; use sample_weight for several")
    labels = np.asarray(y)
    labels = labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels.reshape(len(labels), *labels.shape[1:])
    labels = labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels
    classes = labels.astype(np.int64)
    top = int(classes.max(initial=0))
    weights = np.ones(max([top, *map(int, table)]) + 1, np.float32)
    for label, value in table.items():
        weights[int(label)] = value
    chosen = weights[classes]
    return chosen if w is None else chosen * np.asarray(w)


def _slices(data: Batch, count: int, batch_size: int, class_weight: Any, seed: int, shuffle: bool) -> Stream:
    """Arrays too large for the device: gathered on the host, batch by batch, in the same order as a Resident's."""
    from ..train.epoch import epoch_order

    def open(epoch: int, skip: int) -> Iterator[Batch]:
        full, tail = epoch_order(count, batch_size, seed=seed, epoch=epoch, shuffle=shuffle)
        for rows in [*full, *([tail] if len(tail) else [])][skip:]:
            part = jax.tree.map(lambda a, rows=rows: _narrow(np.asarray(a[np.sort(rows)])), data)
            check_finite(part["x"], "x")
            yield _batch(part["x"], part["y"], part["w"], class_weight)

    return Stream(open, -(-count // batch_size), batch_size, count)


def _narrow(array: np.ndarray) -> np.ndarray:
    return (
        array.astype({"f": np.float32, "i": np.int32}[array.dtype.kind]) if array.dtype.name in ("float64", "int64") else array
    )


def _iterable(x: Any, class_weight: Any, steps: int | None, inputs: int, outputs: int, sample_weight: Any) -> Stream:
    if sample_weight is not None:
        raise ValueError("x gives batches, so sample weights must come with them as (x, y, weight): leave sample_weight out")
    again = x if not hasattr(x, "__next__") else None
    running: Any = iter(x) if again is None else None
    position = [0]  # batches taken from a one-way generator so far

    def read(source: Iterator) -> Iterator[Batch]:
        for item in source:
            yield _item(item, class_weight, inputs, outputs)

    def open(epoch: int, skip: int) -> Iterator[Batch]:
        if again is not None and hasattr(again, "open_epoch"):  # a resumed run goes on exactly
            return read(itertools.islice(again.open_epoch(epoch, skip), None if steps is None else steps - skip))
        if again is not None:
            return read(itertools.islice(_from_the_start(again), skip, steps))
        # A generator cannot be rewound: a resumed run passes over what the earlier one has used.
        assert running is not None
        target = (epoch * steps if steps else 0) + skip
        for _ in range(target - position[0]):
            next(running, None)
            position[0] += 1

        def counted() -> Iterator[Any]:
            for item in itertools.islice(running, None if steps is None else steps - skip):
                position[0] += 1
                yield item

        return read(counted())

    length = None
    if again is not None and hasattr(again, "__len__"):
        length = len(again)
    stream = Stream(open, min(steps, length) if steps and length else steps or length)
    if again is None:
        # Building needs one example: look at the first batch and put it back.
        head = next(running, None)  # type: ignore[arg-type]
        if head is not None:
            running = itertools.chain([head], running)  # type: ignore[arg-type]
            stream.first = _item(head, class_weight, inputs, outputs)
    return stream


def _item(item: Any, class_weight: Any, inputs: int, outputs: int) -> Batch:
    if isinstance(item, list):  # what a PyTorch DataLoader's collate gives
        item = tuple(item)
    if not isinstance(item, tuple):
        item = (item,)
    if not 1 <= len(item) <= 3:
        raise ValueError(f"a batch must be x, (x, y) or (x, y, weight), got {len(item)} parts")
    x, y, w = (*item, None, None)[:3]
    x, y, w = as_arrays(x, "x", parts=inputs), as_arrays(y, "y", parts=outputs), as_arrays(w, "weight", parts=outputs)
    check_pair(x, y, w)
    check_finite(x, "x")
    return _batch(x, y, w, class_weight)


def hold_out(
    x: Any, y: Any, w: Any, validation: Any, fraction: float, *, inputs: int = 1, outputs: int = 1
) -> tuple[Any, Any, Any, Any]:
    """``validation_split``: the last part of the data, before any shuffling, as in Keras."""
    if not fraction or validation is not None:
        return x, y, w, validation
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must lie between 0 and 1, got {fraction}")
    if is_iterable_of_batches(x):
        raise ValueError("validation_split needs arrays, and x gives batches: pass validation_data instead")
    x, y = _columns(x, y)
    x = as_arrays(x, "x", parts=inputs)
    y, w = (_targets(part, what, x, outputs) for part, what in ((y, "y"), (w, "sample_weight")))
    count = check_pair(x, y, w)
    cut = int(count * (1 - fraction))
    if cut in (0, count):
        raise ValueError(f"validation_split={fraction} of {count} examples leaves one side empty")
    first, rest = slice(0, cut), slice(cut, None)
    held = tuple(take_rows(part, rest) for part in (x, y, w) if part is not None)
    for part in held:
        check_finite(part, "the validation part")
    return take_rows(x, first), take_rows(y, first), take_rows(w, first), held


def prefetch(batches: Iterable, depth: int = 4) -> Iterator[Any]:
    """Read an iterable ahead in a thread, at most ``depth`` items; errors come out where they would have come."""
    box: queue.Queue = queue.Queue(maxsize=depth)
    done = threading.Event()

    def work() -> None:
        try:
            for item in batches:
                while not done.is_set():
                    try:
                        box.put((item, None), timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if done.is_set():
                    return
            box.put((None, StopIteration()))
        except BaseException as error:
            box.put((None, error))

    thread = threading.Thread(target=work, daemon=True, name="cenote-prefetch")
    thread.start()
    try:
        while True:
            item, error = box.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        done.set()
