"""Operations that move numbers and reckon nothing, each within its row of the batch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from ..graph import Node, Value
from ..plan import Plan, Room, Unsupported, rule
from .pictures import pictured

__all__ = ["broadcast"]

Axis = tuple[int, int, int]  # its size, and from one place to the next in the input and in the output


def _strides(shape: Sequence[int]) -> list[int]:
    """Numbers from one place of each axis to the next."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _joined(axes: Iterable[Axis]) -> list[Axis]:
    """The same places in the same order by as few axes as possible."""
    found: list[Axis] = []
    for size, from_, to in axes:
        if size == 1:
            continue
        if found and found[-1][1:] == (from_ * size, to * size):
            found[-1] = (found[-1][0] * size, from_, to)
        else:
            found.append((size, from_, to))
    return found or [(1, 1, 1)]


def _move(
    plan: Plan, x: Value | np.ndarray, to: Room, axes: Iterable[Axis], starts: tuple[int, int] = (0, 0), fill: Sequence = (0, 0)
) -> None:
    """A step that copies a box of ``x``, which begins at these places of both arrays; ``fill``: how many numbers of the output
    become which one before, in bits."""
    if x.dtype.itemsize not in (1, 4):
        raise Unsupported(f"no step moves {x.dtype} numbers")
    axes = _joined(axes)
    numbers = [x.dtype.itemsize, *fill, *starts, len(axes), *(n for axis in axes for n in axis)]
    # What moves costs about as much as a few multiplications.
    plan.emit("moving.move", numbers, (), [plan.read(x)], [to], 4 * math.prod(size for size, _, _ in axes))


def _within_rows(node: Node, fits: bool) -> None:
    if not fits:
        raise Unsupported(f"no step does {node.name} over the batch")


@rule("transpose")
def _transpose(plan: Plan, node: Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    order = node.options["permutation"]
    _within_rows(node, order[0] == 0)
    strides = _strides(x.shape)
    _move(plan, x, plan.write(y), zip(y.shape, (strides[i] for i in order), _strides(y.shape), strict=True))


@rule("rev")
def _rev(plan: Plan, node: Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    turned = node.options["dimensions"]
    _within_rows(node, 0 not in turned)
    strides = _strides(x.shape)
    start = sum((x.shape[i] - 1) * strides[i] for i in turned)
    signs = [-s if i in turned else s for i, s in enumerate(strides)]
    _move(plan, x, plan.write(y), zip(y.shape, signs, strides, strict=True), (start, 0))


def broadcast(plan: Plan, node: Node) -> None:
    """The step of "broadcast_in_dim", along any axes but the first; rules/elementwise.py does the usual ones in passing."""
    x, y = node.inputs[0], node.outputs[0]
    places = node.options["broadcast_dimensions"]
    _within_rows(node, bool(places) and places[0] == 0 and x.shape[0] == y.shape[0])
    strides = [0] * len(y.shape)
    for place, size, stride in zip(places, x.shape, _strides(x.shape), strict=True):
        strides[place] = stride if size > 1 else 0
    _move(plan, x, plan.write(y), zip(y.shape, strides, _strides(y.shape), strict=True))


@rule("slice")
def _slice(plan: Plan, node: Node) -> None:
    if pictured(plan, node):
        return
    x, y = node.inputs[0], node.outputs[0]
    _cut(plan, node, x, y, node.options["start_indices"], node.options["strides"])


@rule("dynamic_slice")
def _dynamic_slice(plan: Plan, node: Node) -> None:
    x, *starts = node.inputs
    y = node.outputs[0]
    if any(isinstance(start, Value) for start in starts):
        raise Unsupported("no step cuts at places that change")
    limits = [of - size for of, size in zip(x.shape, y.shape, strict=True)]
    known = [int(np.asarray(start)) for start in starts]
    _cut(plan, node, x, y, [min(max(start, 0), most) for start, most in zip(known, limits, strict=True)])


@rule("split")
def _split(plan: Plan, node: Node) -> None:
    x, axis = node.inputs[0], node.options["axis"]
    start = 0
    for y in node.outputs:
        _cut(plan, node, x, y, [start if i == axis else 0 for i in range(len(x.shape))])
        start += y.shape[axis]


def _cut(plan: Plan, node: Node, x: Any, y: Value, starts: Sequence[int], steps: Sequence[int] | None = None) -> None:
    _within_rows(node, x.shape[0] == y.shape[0])
    strides = _strides(x.shape)
    start = sum(int(s) * stride for s, stride in zip(starts, strides, strict=True))
    strides = [s * stride for s, stride in zip(steps or [1] * len(strides), strides, strict=True)]
    _move(plan, x, plan.write(y), zip(y.shape, strides, _strides(y.shape), strict=True), (start, 0))


@rule("concatenate")
def _concatenate(plan: Plan, node: Node) -> None:
    y, axis = node.outputs[0], node.options["dimension"]
    _within_rows(node, axis != 0)
    room, strides, start = plan.write(y), _strides(y.shape), 0
    for x in node.inputs:
        _move(plan, x, room, zip(x.shape, _strides(x.shape), strides, strict=True), (0, start * strides[axis]))
        start += x.shape[axis]


@rule("pad")
def _pad(plan: Plan, node: Node) -> None:
    if pictured(plan, node):
        return
    (x, value), y = node.inputs, node.outputs[0]
    config = [tuple(map(int, sizes)) for sizes in node.options["padding_config"]]
    _within_rows(node, not any(config[0]))
    if isinstance(value, Value):
        raise Unsupported("no step fills up with a number that changes")
    bits = int.from_bytes(value.tobytes(), sys.byteorder)
    froms, tos = _strides(x.shape), _strides(y.shape)
    axes, begin, start = [], 0, 0
    for size, of, (before, _, between), from_, to in zip(x.shape, y.shape, config, froms, tos, strict=True):
        apart = between + 1
        first = -(min(before, 0) // apart)  # negative padding cuts: the first place of the input that is kept, and the last
        last = min(size - 1, (of - 1 - before) // apart)
        axes.append((max(0, last - first + 1), from_, to * apart))
        begin += first * from_
        start += (before + first * apart) * to
    _move(plan, x, plan.write(y), axes, (begin, start), (math.prod(y.shape), bits))


@rule("gather")
def _take(plan: Plan, node: Node) -> None:
    """Rows of a table that stays the same."""
    (table, index), y = node.inputs, node.outputs[0]
    said, mode = node.options["dimension_numbers"], node.options["mode"]
    wide, last = tuple(table.shape[1:]), len(index.shape) - 1
    whole = node.options["slice_sizes"] == (1, *wide) and said.offset_dims == tuple(range(last, last + len(wide)))
    plain = said.collapsed_slice_dims == said.start_index_map == (0,) and index.shape[-1:] == (1,)
    if isinstance(table, Value) or isinstance(index, np.ndarray) or not whole or not plain:
        raise Unsupported("no step takes anything but rows of a table")
    if table.dtype != np.float32 or index.dtype != np.int32:
        raise Unsupported(f"no step takes {table.dtype} rows by {index.dtype} numbers")
    fill = node.options["fill_value"]
    numbers = [math.prod(index.shape), len(table), math.prod(wide), mode == GatherScatterMode.FILL_OR_DROP]
    numbers.append(math.nan if fill is None else float(fill))
    plan.emit("moving.take", numbers, [table], [plan.read(index)], [plan.write(y)], 4 * math.prod(y.shape))
