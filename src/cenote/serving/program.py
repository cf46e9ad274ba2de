"""Programs in C++ without XLA: a function of arrays as steps that each core goes through with a few rows at a time."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..kernels import native
from . import rules as rules
from .graph import Graph, alike, graph
from .plan import Plan, Step, Unsupported

__all__ = ["Program"]

CACHE = 1 << 18  # bytes that may lie between the steps of a part: within a core's own cache
ALONE = 500_000  # multiplications below which a second thread would come too late
TILE = 14  # rows of a product that are reckoned side by side on most processors


class Program:
    """A function of arrays whose rows do not depend on each other, as steps in C++: numpy arrays in, a list of them out.

    Raises Unsupported where it has an operation that there is no step for.
    """

    def __init__(self, function: Callable, specs: Sequence[Any]) -> None:
        whole = graph(function, *specs)
        if not all(math.prod(v.shape) for v in (*whole.inputs, *whole.outputs)):
            raise Unsupported("arrays without numbers")
        plan, rows, each = _cut(whole, function, specs)
        self._library = _library()
        self._run = self._library.cenote_program_run
        self._plan = plan  # the constants that steps read where they lie
        self._program = self._made(plan, whole, rows, each)
        self.outputs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in whole.outputs]
        self._outputs = [(v.shape, v.dtype) for v in whole.outputs]
        self._addresses = ctypes.c_void_p * (len(whole.inputs) + len(whole.outputs))
        self.rows = each  # that are done at a time; 1, where they cannot be cut

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        given = [x if type(x) is np.ndarray and x.flags.c_contiguous else np.ascontiguousarray(x) for x in inputs]
        made = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        if self._run(self._program, self._addresses(*map(_address, given), *map(_address, made))):
            raise MemoryError("the program could not run: there is no memory for the arrays between the layers")
        return made

    def __del__(self) -> None:
        if getattr(self, "_program", None):
            self._library.cenote_program_free(self._program)

    def _made(self, plan: Plan, whole: Graph, rows: int, each: int) -> int:
        made = [_step(step) for step in plan.steps]
        rooms = [room for step in plan.steps for room in (*step.inputs, *step.outputs)]
        kinds, values = [], []
        for room in rooms:
            kinds.append(1 if room.constant is not None else 0 if room.outside is None else 2)
            values.append(room.offset if room.outside is None else room.outside)
            if room.constant is not None:
                values[-1] = room.constant.ctypes.data
        parts = -(-rows // each)
        widths = [math.prod(v.shape) * v.dtype.itemsize // rows for v in (*whole.inputs, *whole.outputs)]
        counts = [len(step.inputs) + len(step.outputs) for step in plan.steps]
        program = self._library.cenote_program_make(
            len(made),
            (ctypes.c_void_p * len(made))(*made),
            *map(_integers, (counts, kinds, values)),
            len(widths),
            *map(_integers, (widths, (len(whole.inputs), plan.bytes, rows, each, parts))),
        )
        if not program:
            raise MemoryError("there is no memory for a program's steps")
        return program


def _cut(whole: Graph, function: Callable, specs: Sequence[Any]) -> tuple[Plan, int, int]:
    """The plan of a part of the rows, of how many rows it is, and of how many at a time; of all, where they cannot be cut."""
    plan = Plan(whole)
    sizes = {v.shape[:1] for v in (*whole.inputs, *whole.outputs)}
    rows = whole.inputs[0].shape[0] if len(sizes) == 1 and () not in sizes else 1
    work = sum(step.work for step in plan.steps)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(cores, 1 + work // ALONE)
    if rows == 1 or (work < ALONE and plan.bytes < CACHE):
        return plan, 1, 1
    between = plan.bytes + sum(math.prod(v.shape) * v.dtype.itemsize for v in whole.inputs)
    fitting = max(1, CACHE * rows // between)
    if fitting > TILE:
        fitting -= fitting % TILE
    parts = -(-rows // fitting)
    if work >= ALONE:
        parts = -(-parts // threads) * threads
    each = -(-rows // min(parts, rows))
    if each == rows:
        return plan, 1, 1
    try:
        part = graph(function, *(jax.ShapeDtypeStruct((each, *s.shape[1:]), s.dtype) for s in specs))
    except Exception:  # the function is made for that many rows: whatever it raises for others
        return plan, 1, 1
    return (Plan(part), rows, each) if alike(whole, part) else (plan, 1, 1)


def _address(array: np.ndarray) -> int:
    # A microsecond less than `array.ctypes.data`, which is the way for arrays that must not be written to.
    buffer: Any = array
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if array.flags.writeable else array.ctypes.data


def _integers(numbers: Sequence[int]) -> Any:
    return (ctypes.c_int64 * max(1, len(numbers)))(*numbers)


def _library() -> Any:
    library: Any = native.loaded("program")
    number, address = ctypes.c_int64, ctypes.c_void_p
    library.cenote_program_make.argtypes = [number, *[address] * 4, number, *[address] * 2]
    library.cenote_program_make.restype = address
    library.cenote_program_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.cenote_program_free.argtypes = [ctypes.c_void_p]
    return library


class _Recipe(ctypes.Structure):
    _fields_ = (("numbers", ctypes.POINTER(ctypes.c_double)), ("constants", ctypes.POINTER(ctypes.c_void_p)))


def _step(step: Step) -> int:
    numbers = (ctypes.c_double * max(1, len(step.numbers)))(*step.numbers)
    constants = (ctypes.c_void_p * max(1, len(step.constants)))(*[a.ctypes.data for a in step.constants])
    maker = getattr(native.loaded(step.source), f"cenote_step_{step.name}")
    maker.restype = ctypes.c_void_p
    made = maker(ctypes.byref(_Recipe(numbers, constants)))
    if not made:
        raise MemoryError(f"there is no memory for the weights of a step ({step.name})")
    return made
