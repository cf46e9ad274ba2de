"""Recurrent layers, attention and normalised rows: steps of the kernels that training has, too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph import Node, Value
from ..plan import Plan, Unsupported, rule

__all__: list[str] = []


def _constants(node: Node, names: dict[int, str]) -> list[np.ndarray]:
    """Inputs that a step is made from. Raises Unsupported where one of them is not known before a call."""
    for i, name in names.items():
        if isinstance(node.inputs[i], Value):
            raise Unsupported(f"no step does {node.name.removeprefix('cenote_')} with a {name} that changes")
    return [np.asarray(node.inputs[i]) for i in names]


def _given(array: Value | np.ndarray) -> bool:
    """Whether an input that a kernel may lack is there."""
    return math.prod(array.shape) > 0


def _answers(node: Node, kept: int) -> None:
    """Raise Unsupported for a kernel that keeps something for a derivative, as the output with that number."""
    if _given(node.outputs[kept]):
        raise Unsupported(f"no step does {node.name.removeprefix('cenote_')} for a derivative")


def _recurrent(plan: Plan, node: Node, step: str, weights: list[np.ndarray], state: list[Any], kept: list[Value]) -> None:
    """Weights: kernel, bias, recurrent kernel and the bias of the state, which may be empty, as kernel and bias may."""
    x, mask = node.inputs[0], node.inputs[-1]
    kernel, bias, recurrent, *after = weights
    batch, time, features = x.shape
    biases = [b for b in (bias, *after) if _given(b)]
    has = [_given(bias), any(map(_given, after)), _given(mask)]
    numbers = [batch, time, features if _given(kernel) else 0, len(recurrent), *has, node.outputs[0].shape[1] == time]
    inputs = [plan.read(a) for a in (x, *state, *([mask] if _given(mask) else []))]
    work = batch * time * (kernel.size + recurrent.size)
    plan.emit(step, numbers, [kernel, recurrent, *biases], inputs, [plan.write(v) for v in kept], work)


@rule("cenote_lstm_forward")
def _lstm(plan: Plan, node: Node) -> None:
    _answers(node, 2)
    weights = _constants(node, {1: "kernel", 2: "bias", 5: "recurrent kernel"})
    _recurrent(plan, node, "recurrence.lstm", weights, list(node.inputs[3:5]), list(node.outputs[:2]))


@rule("cenote_gru_forward")
def _gru(plan: Plan, node: Node) -> None:
    _answers(node, 1)
    weights = _constants(node, {1: "kernel", 2: "bias", 4: "recurrent kernel", 5: "bias"})
    _recurrent(plan, node, "recurrence.gru", weights, [node.inputs[3]], [node.outputs[0]])


@rule("cenote_attention_forward")
def _attention(plan: Plan, node: Node) -> None:
    query, key, value, shown, words = node.inputs
    if _given(words):
        raise Unsupported("no step does attention with dropout")
    batch, queries, heads, width = query.shape
    keys, wide = value.shape[1], value.shape[3]
    weights = [node.outputs[1]] if _used(plan, node.outputs[1]) else []
    options = [node.options["scale"], node.options["causal"], _given(shown), bool(weights)]
    inputs = [plan.read(a) for a in (query, key, value, *([shown] if _given(shown) else []))]
    outputs = [plan.write(v) for v in (node.outputs[0], *weights)]
    work = batch * heads * queries * keys * (width + wide) // (2 if node.options["causal"] else 1)
    plan.emit("attention", [batch, queries, heads, width, keys, wide, *options], (), inputs, outputs, work)


@rule("cenote_rows_forward")
def _rows(plan: Plan, node: Node) -> None:
    if any(_used(plan, value) for value in node.outputs[1:]):
        raise Unsupported("no step keeps the means of normalised rows")
    constants = _constants(node, {1: "scale", 2: "bias"})
    x, y = node.inputs[0], node.outputs[0]
    numbers = [*x.shape, node.options["epsilon"], node.options["centre"]]
    plan.emit("normalization.rows", numbers, constants, [plan.read(x)], [plan.write(y)], 8 * math.prod(x.shape))


def _used(plan: Plan, value: Value) -> bool:
    """Whether anybody reads an output."""
    return bool(plan.users(value)) or plan.asked(value)
