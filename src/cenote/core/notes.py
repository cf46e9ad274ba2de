"""Notes on arrays within one call: the mask of a sequence, the logits behind a softmax.

A note belongs to one array object and lives as long as the outermost call that opened the table. This is how a softmax
output carries its logits to a cross-entropy loss, and an Embedding its mask to an LSTM, while ``forward`` stays a plain
function of arrays. Outside any call, notes are not kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax


class Table:
    """The notes of one outermost call, and the losses its layers added."""

    def __init__(self) -> None:
        # The table holds the array itself, so its id cannot be given to another one meanwhile.
        self.entries: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.losses: list[Any] = []


_table: ContextVar[Table | None] = ContextVar("cenote_notes", default=None)


@contextmanager
def collecting(fresh: bool = False) -> Iterator[Table]:
    """Keep notes inside this block; a table that is already open is shared unless a fresh one is asked for."""
    table = _table.get()
    if table is not None and not fresh:
        yield table
        return
    table = Table()
    token = _table.set(table)
    try:
        yield table
    finally:
        _table.reset(token)


def annotate(array: Any, name: str, value: Any) -> Any:
    """Put a note on an array and return the array; without an open table nothing happens."""
    table = _table.get()
    if table is not None and value is not None:
        table.entries.setdefault(id(array), (array, {}))[1][name] = value
    return array


def annotation(array: Any, name: str) -> Any:
    """The note called ``name`` on this array, or None."""
    table = _table.get()
    entry = table.entries.get(id(array)) if table is not None else None
    return None if entry is None else entry[1].get(name)


def hand_on(array: Any, to: Any, alone: bool) -> Any:
    """Note on an array whether it goes to the layer or function ``to`` and nowhere else, and return the array.

    Such an array may be computed in another way, in one pass with what follows. Only those are told (by the note "only here")
    who say that they look at their input in one place: ``looks_once``.
    """
    if isinstance(array, jax.core.Tracer):  # of others nothing is gained, and the table would hold them until the call ends
        annotate(array, "only here", alone and getattr(to, "looks_once", False))
    return array


def add_loss(value: Any) -> None:
    """Keep a scalar that belongs to the training loss; without an open table nothing happens."""
    table = _table.get()
    if table is not None:
        table.losses.append(value)


class Symbolic:
    """What stands for an array that is not there yet: a node of a graph."""

    def record(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        raise NotImplementedError


def find_symbolic(values: Any) -> Symbolic | None:
    """The first symbolic value among arguments, looking into lists, tuples and dicts."""
    if isinstance(values, Symbolic):
        return values
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        return None
    return next((s for s in map(find_symbolic, values) if s is not None), None)


def graph_function(function: Callable) -> Callable:
    """Let a function of arrays also be called on graph nodes, where it becomes a node itself."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        symbolic = find_symbolic((args, kwargs))
        if symbolic is not None:
            return symbolic.record(call, args, kwargs)
        return function(*args, **kwargs)

    return call
