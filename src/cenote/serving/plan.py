"""A graph as steps in C++: which step does an operation, what is done in one go, and where everything lies in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels import native
from .graph import Graph, Node, Value

__all__ = ["RULES", "Plan", "Room", "Step", "Unsupported", "rule"]

ALIGNED = 64  # bytes: what lies in memory begins at multiples


class Unsupported(Exception):
    """What an operation would need that there is no step for."""


@dataclass(eq=False)
class Room:
    """Where an array lies: in the program's own memory, somewhere that stays (``constant``), or in the ``outside``-th input or
    output of a call."""

    bytes: int
    constant: np.ndarray | None = None
    outside: int | None = None
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """The source of a step's C++, its name there, what it is made from, what it reads and then writes, its multiplications."""

    source: str
    name: str
    numbers: tuple[float, ...]
    constants: tuple[np.ndarray, ...]
    inputs: tuple[Room, ...]
    outputs: tuple[Room, ...]
    work: int


class Plan:
    """The steps of a graph. Raises Unsupported where one of its operations has none.

    Every array holds the rows of the batch one after another in its first axis; rules refuse what would mix rows.
    """

    def __init__(self, graph: Graph) -> None:
        self.steps: list[Step] = []
        self._rooms, self._taken = dict[int, Room](), set[int]()
        self._asked = {id(v) for v in graph.outputs}
        self._users: dict[int, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                if isinstance(value, Value):
                    self._users.setdefault(id(value), []).append(node)
        for i, value in enumerate(graph.inputs):
            self._rooms[id(value)] = Room(_bytes(value), outside=i)
        for node in graph.nodes:
            if id(node) not in self._taken:
                found = RULES.get(node.name)
                if found is None:
                    raise Unsupported(f"no step does {node.name.removeprefix('cenote_')}")
                found(self, node)
        self.outputs = [self._output(value, len(graph.inputs) + i) for i, value in enumerate(graph.outputs)]
        sources = dict.fromkeys(["program", *(step.source for step in self.steps)])
        if native.library(*sources) is None:  # all at once: what is new on this machine is compiled side by side
            raise Unsupported(f"kernels {', '.join(sources)}: {native.status()}")
        self.bytes = self._place()

    # -- for rules ---------------------------------------------------------------------------------------------------------

    def read(self, value: Value | np.ndarray) -> Room:
        """Where an array lies that is known by now."""
        if isinstance(value, Value):
            return self._rooms[id(value)]
        return Room(value.nbytes, constant=np.ascontiguousarray(value))

    def known(self, value: Value | np.ndarray) -> bool:
        """Whether a step that comes next could read it."""
        return not isinstance(value, Value) or id(value) in self._rooms

    def write(self, value: Value) -> Room:
        """Room for an array that a step is going to give."""
        self._rooms[id(value)] = Room(_bytes(value))
        return self._rooms[id(value)]

    def same(self, value: Value, as_: Value | np.ndarray) -> None:
        """Say that an array is the same numbers in the same order as one that lies somewhere already."""
        self._rooms[id(value)] = self.read(as_)

    def users(self, value: Value) -> list[Node]:
        """The operations that use an array, once for each use."""
        return self._users.get(id(value), [])

    def asked(self, value: Value) -> bool:
        """Whether an array is one of the outputs."""
        return id(value) in self._asked

    def follower(self, value: Value) -> tuple[Node, Value] | None:
        """The one operation that uses an array, reshaped perhaps, and the array as it sees it; None where there are several.

        Whoever does it in the same step says so with `take`.
        """
        while not self.asked(value) and len(users := self.users(value)) == 1:
            if users[0].name != "reshape":
                return users[0], value
            value = users[0].outputs[0]
        return None

    def taken(self, node: Node) -> bool:
        """Whether an operation is done by a step already."""
        return id(node) in self._taken

    def take(self, node: Node) -> Value:
        """Do an operation found by `follower` in the present step: what comes out of it."""
        self._taken.add(id(node))
        return node.outputs[0]

    def emit(
        self,
        step: str,
        numbers: Sequence[float],
        constants: Sequence[np.ndarray] = (),
        inputs: Sequence[Room] = (),
        outputs: Sequence[Room] = (),
        work: int = 0,
    ) -> None:
        """Append a step, named by its source and its name there: "dense", or "normalization.rows"."""
        source, _, name = step.partition(".")
        numbers, constants = tuple(map(float, numbers)), tuple(map(np.ascontiguousarray, constants))
        self.steps.append(Step(source, name or source, numbers, constants, tuple(inputs), tuple(outputs), work))

    # -- memory ------------------------------------------------------------------------------------------------------------

    def _output(self, value: Value | np.ndarray, outside: int) -> Room:
        """An output's room, outside; what lies in an input, in a constant or in another output already is copied."""
        room = self.read(value)
        if room.constant is None and room.outside is None:
            room.outside = outside
            return room
        copy = Room(room.bytes, outside=outside)
        self.emit("moving.copy", [room.bytes], inputs=[room], outputs=[copy])
        return copy

    def _place(self) -> int:
        """Give every room of ours a place that no other has while it is needed; bytes of all together."""
        ends: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            ends.update((id(room), i) for room in (*step.inputs, *step.outputs))
        held: list[tuple[int, int, int]] = []  # begin and end in memory, last step
        most = 0
        placed: set[int] = set()
        for i, step in enumerate(self.steps):
            held = [(begin, end, last) for begin, end, last in held if last >= i]
            for room in step.outputs:
                if room.constant is not None or room.outside is not None or id(room) in placed:
                    continue
                begin = 0
                for other, end, _ in sorted(held):
                    if begin + room.bytes <= other:
                        break
                    begin = max(begin, -(-end // ALIGNED) * ALIGNED)
                room.offset = begin
                placed.add(id(room))
                held.append((begin, begin + room.bytes, ends[id(room)]))
                most = max(most, begin + room.bytes)
        return most


RULES: dict[str, Callable[[Plan, Node], None]] = {}


def rule(*names: str) -> Callable[[Callable], Callable]:
    """Make a function the rule of the operations of these names: it emits steps for one, or raises Unsupported."""

    def named(function: Callable[[Plan, Node], None]) -> Callable[[Plan, Node], None]:
        RULES.update(dict.fromkeys(names, function))
        return function

    return named


@rule("reshape")
def _reshape(plan: Plan, node: Node) -> None:
    if plan.known(node.inputs[0]):  # else it stands between two operations that one step does
        plan.same(node.outputs[0], node.inputs[0])


def _bytes(value: Any) -> int:
    return math.prod(value.shape) * value.dtype.itemsize
