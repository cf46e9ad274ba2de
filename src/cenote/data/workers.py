"""Data larger than memory: batches that worker processes read ahead, in an order that is a function of (seed, pass).

The workers are programs of their own (``python -m cenote.data.workers``), started afresh: nothing is forked, so JAX's threads
are no danger, and a script needs no ``if __name__ == "__main__"``. What they are told is JSON, what they answer is arrays:
the name of a function or a preparation of an importable module, its configuration, and the items of a batch. Batches go round
the workers in turn, each has at most two before it, and a worker with a finished batch waits until it is fetched: memory is
bounded, and the order does not depend on who is faster. After a whole pass they wait for the next one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from ..files import BadFile

__all__ = ["Batches", "streamed"]

AHEAD = 2  # batches that a worker has been told of
MOST_WORKERS = 16
_HEAD = struct.Struct("<Q")
_ERRORS = {"BadFile": BadFile, "ValueError": ValueError, "TypeError": TypeError, "FileNotFoundError": FileNotFoundError}


class Batches:
    """Batches ``(x, y)`` of items that are read when needed: an iterable for `Model.fit` and `predict`, begun again each epoch.

    ``load(items)`` makes the arrays of a batch, rows first, from a list of items: a function of an importable module, or a
    `Preparation` with a method ``batch``. ``items`` are JSON values (paths, or ``[archive, member]``), ``targets`` arrays (or a
    dict or tuple of them) with a row for each; without targets the batches are ``x`` alone. ``workers`` None: one a core; 0:
    no processes, everything is read in this one. ``passes`` is the number of the first pass: the order of pass k is that of
    epoch k of a `fit` on arrays.

    Raises: ValueError for lengths that do not fit; what a worker raised, with the file named, where its batch would have come;
    RuntimeError for a worker that was killed.

    >>> batches = Batches(np.asarray, [[1, 2], [3, 4], [5, 6]], batch_size=2, workers=0)
    >>> [batch.tolist() for batch in batches]
    [[[1, 2], [3, 4]], [[5, 6]]]
    """

    def __init__(
        self,
        load: Any,
        items: Sequence[Any],
        targets: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        workers: int | None = None,
        passes: int = 0,
    ) -> None:
        if not len(items):
            raise ValueError("there are no items to read batches from")
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        if workers is not None and (isinstance(workers, bool) or not 0 <= workers <= 256):
            raise ValueError(f"workers must be a whole number from 0 to 256, got {workers!r}")
        for array in _leaves(targets):
            if len(array) != len(items):
                raise ValueError(f"there are {len(items):,} items, but {len(array):,} targets: each item needs one")
        self.load, self.items, self.targets = load, items, targets
        self.batch_size, self.shuffle, self.seed, self.passes = (
            min(int(batch_size), len(items)),
            shuffle,
            int(seed),
            int(passes),
        )
        self.workers = min(os.cpu_count() or 1, MOST_WORKERS) if workers is None else int(workers)
        self._idle: list[subprocess.Popen] = []
        weakref.finalize(self, _end, self._idle)

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        number, self.passes = self.passes, self.passes + 1
        return self.open_epoch(number)

    def close(self) -> None:
        """End the workers that wait for another pass; they also end when this object is gone."""
        _end(self._idle)

    def open_epoch(self, epoch: int, skip: int = 0) -> Iterator[Any]:
        """The batches of a pass, from number ``skip`` on."""
        orders = self._orders(epoch)[skip:]
        if self.workers and orders:
            arrays = _from_workers(self._idle, _told(self.load), self.items, orders, min(self.workers, len(orders)))
        else:
            load: Callable = getattr(self.load, "batch", self.load)
            arrays = (load([self.items[i] for i in rows]) for rows in orders)
        return self._with_targets(arrays, orders)

    def _orders(self, epoch: int) -> list[np.ndarray]:
        from ..train.epoch import epoch_order

        full, tail = epoch_order(len(self.items), self.batch_size, seed=self.seed, epoch=epoch, shuffle=self.shuffle)
        return [*full, *([tail] if len(tail) else [])]

    def _with_targets(self, arrays: Iterator[Any], orders: list[np.ndarray]) -> Iterator[Any]:
        with contextlib.closing(arrays) as running:  # type: ignore[type-var]
            for rows, x in zip(orders, running, strict=True):
                yield x if self.targets is None else (x, _take(self.targets, rows))


def streamed(preparation: Any, items: Sequence[Any], y: Any) -> Callable[[int, int | None], Batches]:
    """``make(size, seed)``: batches (x, y) of files that a preparation reads, shuffled unless seed is None; see `tasks.base`.

    Files are read by worker processes; what lies in memory already, by this one. Without targets, y is zeros.
    """
    inside = any(getattr(item, "data", None) is not None or not hasattr(item, "path") for item in items)
    known = np.zeros(len(items), np.float32) if y is None else y
    load = _InMemory(preparation) if inside else preparation
    told: Sequence[Any] = items if inside else [[item.path, item.member] for item in items]

    def make(size: int, seed: int | None) -> Batches:
        shuffle = seed is not None
        return Batches(load, told, known, batch_size=size, shuffle=shuffle, seed=seed or 0, workers=0 if inside else None)

    return make


class _InMemory:
    """A preparation's whole call on items that are no files on the disk."""

    def __init__(self, preparation: Any) -> None:
        self.preparation = preparation

    def batch(self, items: list[Any]) -> Any:
        return self.preparation(list(items), show=False)


def _take(tree: Any, rows: np.ndarray) -> Any:
    if isinstance(tree, dict):
        return {k: _take(v, rows) for k, v in tree.items()}
    return tuple(_take(v, rows) for v in tree) if isinstance(tree, tuple) else np.asarray(tree)[rows]


def _leaves(tree: Any) -> list[Any]:
    if tree is None:
        return []
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple) else None
    return [tree] if parts is None else [leaf for part in parts for leaf in _leaves(part)]


def _told(load: Any) -> dict[str, Any]:
    """What a worker needs to make the same function: names and plain values, never code."""
    kind = load if callable(load) and hasattr(load, "__qualname__") else type(load)
    module, name = kind.__module__, kind.__qualname__
    if module == "__main__" or "<" in name:
        raise ValueError(
            f"{name} cannot be found by worker processes: put it into a module that can be imported, or give workers=0"
        )
    if kind is load:
        return {"module": module, "name": name}
    if not hasattr(load, "batch") or not hasattr(load, "restore"):
        raise TypeError(f"load must be a function, or a preparation with a method batch, got a {type(load).__name__}")
    learned = {k: np.asarray(v) for k, v in load.arrays().items()}
    return {"module": module, "name": name, "config": load.config(), "learned": learned}


# -- this process --------------------------------------------------------------------------------------------------------------


def _from_workers(
    idle: list[subprocess.Popen], told: dict[str, Any], items: Sequence[Any], orders: list[np.ndarray], count: int
) -> Iterator[Any]:
    """The arrays of each batch in turn; workers come from ``idle``, and go back there when they have nothing more to answer."""
    learned = told.pop("learned", {})
    workers = [idle.pop() for _ in range(min(count, len(idle)))]

    def ask(number: int) -> None:
        if number < len(orders):
            with contextlib.suppress(BrokenPipeError):  # its end is told where its answer is missed
                _send(workers[number % count].stdin, {"items": [items[i] for i in orders[number].tolist()]}, [])

    try:
        fresh = range(len(workers), count)
        workers += [_start() for _ in fresh]
        for i in fresh:
            with contextlib.suppress(BrokenPipeError):
                _send(
                    workers[i].stdin,
                    {**told, "path": [p for p in sys.path if p], "learned": list(learned)},
                    list(learned.values()),
                )
        for number in range(min(count * AHEAD, len(orders))):
            ask(number)
        for number, rows in enumerate(orders):
            head, arrays = _answer(workers[number % count], number, [items[i] for i in rows.tolist()])
            ask(number + count * AHEAD)
            if number == len(orders) - 1:
                idle += workers
                workers = []
            yield _unflat(head["tree"], iter(arrays))
    finally:
        _end(workers)


def _end(workers: list[subprocess.Popen]) -> None:
    """Kill workers, which hold nothing that must be put away, and wait for their end."""
    for worker in workers:
        worker.kill()
    while workers:
        worker = workers.pop()
        for pipe in (worker.stdin, worker.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        worker.wait()


def _start() -> subprocess.Popen:
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from cenote.data.workers import main; main()"]
    env["PYTHONPATH"] = os.pathsep.join([_here(), *filter(None, [env.get("PYTHONPATH")])])
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)


def _here() -> str:
    """The folder that this package lies in, which a worker must find too."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _answer(worker: subprocess.Popen, number: int, items: list[Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        head, arrays = _receive(worker.stdout)
    except EOFError:
        code = worker.wait()
        why = " (it was killed; often because memory ran out: give fewer workers or a smaller batch_size)" if code < 0 else ""
        raise RuntimeError(
            f"a reading process ended with {code}{why} while it read batch {number + 1}, whose first item is {items[0]}"
        ) from None
    if "error" in head:
        raise _ERRORS.get(head["error"], RuntimeError)(head["message"])
    return head, arrays


# -- messages: the length of a JSON text, the text, then the bytes of the arrays it describes ----------------------------------


def _send(pipe: Any, head: dict[str, Any], arrays: list[np.ndarray]) -> None:
    arrays = [np.ascontiguousarray(a) for a in arrays]
    head = {**head, "arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}
    text = json.dumps(head).encode()
    pipe.write(_HEAD.pack(len(text)) + text)
    for array in arrays:
        pipe.write(array.reshape(-1).view(np.uint8).data)
    pipe.flush()


def _receive(pipe: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    (size,) = _HEAD.unpack(_exactly(pipe, bytearray(_HEAD.size)))
    head = json.loads(bytes(_exactly(pipe, bytearray(size))))
    arrays = []
    for dtype, shape in head["arrays"]:
        array = np.empty(shape, np.dtype(dtype))
        _exactly(pipe, array.reshape(-1).view(np.uint8).data)
        arrays.append(array)
    return head, arrays


def _exactly(pipe: BinaryIO, buffer: Any) -> Any:
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = pipe.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the other side has ended")
        done += count
    return buffer


def _flat(tree: Any, leaves: list[np.ndarray]) -> Any:
    """The form of a tree of arrays as JSON, its arrays put into a list."""
    if isinstance(tree, dict):
        return {"dict": {k: _flat(v, leaves) for k, v in tree.items()}}
    if isinstance(tree, tuple):
        return {"tuple": [_flat(v, leaves) for v in tree]}
    array = np.asarray(tree)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"load gave {array.dtype}, and batches are arrays of numbers")
    leaves.append(array)
    return {}


def _unflat(form: dict[str, Any], leaves: Iterator[np.ndarray]) -> Any:
    if "dict" in form:
        return {k: _unflat(v, leaves) for k, v in form["dict"].items()}
    return tuple(_unflat(v, leaves) for v in form["tuple"]) if "tuple" in form else next(leaves)


# -- a worker ------------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Be a worker: make the function, then answer each list of items with its batch, until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that is asked to stop; it ends this one
    # Without a buffer, whose lock a thread that still reads would hold at the end.
    asked, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a loader prints must not come between the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        head, learned = _receive(asked)
        load, trouble = None, None
        try:
            load = _made(head, dict(zip(head["learned"], learned, strict=True)))
        except Exception as error:
            trouble = error
        asks: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(asked, asks), daemon=True).start()
        while (items := asks.get()) is not None:
            leaves: list[np.ndarray] = []
            try:
                if load is None:
                    assert trouble is not None
                    raise trouble
                answer = {"tree": _flat(load(items), leaves)}
            except Exception as error:  # whatever it is, the other process tells it
                known = next((n for n, kind in _ERRORS.items() if isinstance(error, kind)), "RuntimeError")
                said = str(error) if known != "RuntimeError" else f"{type(error).__name__}: {error}"
                first = "" if any(_name(i) in said for i in items) else f" (in a batch whose first item is {_name(items[0])})"
                leaves, answer = [], {"error": known, "message": said + first}
            _send(answers, answer, leaves)


def _listen(asked: Any, asks: queue.SimpleQueue) -> None:
    """Take what is asked as it comes: left in the pipe while an answer is written, a long list would make both sides wait."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            asks.put(_receive(asked)[0]["items"])
    asks.put(None)


def _name(item: Any) -> str:
    return str(item[0]) if isinstance(item, list) and item else str(item)


def _made(head: dict[str, Any], learned: dict[str, np.ndarray]) -> Callable:
    sys.path += [p for p in head["path"] if p not in sys.path]
    found: Any = importlib.import_module(head["module"])
    for name in head["name"].split("."):
        found = getattr(found, name)
    return found.restore(head["config"], learned).batch if "config" in head else found


if __name__ == "__main__":
    main()
