"""What a network does, as a list of operations: JAX's program with inner calls opened and constants reckoned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

__all__ = ["Graph", "Node", "Value", "alike", "graph"]

SIZES = ("new_sizes", "shape", "limit_indices", "slice_sizes", "sizes")  # options that begin with a number of rows
LARGEST = 1 << 28  # bytes of a constant that may come into being while constants are reckoned


@dataclass(frozen=True, eq=False)
class Value:
    """An array that is not known before a call."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Node:
    """An operation: JAX's name for it, or that of a C++ kernel, on values and constants (numpy arrays)."""

    name: str
    options: dict[str, Any]
    inputs: tuple[Value | np.ndarray, ...]
    outputs: tuple[Value, ...]


@dataclass
class Graph:
    """Operations in an order in which they can be done, what goes in and what comes out."""

    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value | np.ndarray] = field(default_factory=list)


def graph(function: Callable, *specs: Any) -> Graph:
    """The operations of a function of arrays, given their shapes and dtypes.

    >>> x = jax.ShapeDtypeStruct((2, 3), np.float32)
    >>> [node.name for node in graph(lambda x: jax.nn.relu(x) + np.sqrt(2.0), x).nodes]
    ['max', 'add']
    """
    closed = jax.make_jaxpr(function)(*specs)
    found = Graph([], [Value(v.aval.shape, v.aval.dtype) for v in closed.jaxpr.invars])
    with jax.ensure_compile_time_eval():
        found.outputs = _opened(closed.jaxpr, [_known(c) for c in closed.consts], found.inputs, found.nodes)
    _simplify(found)
    needed = {id(v) for v in found.outputs}
    for node in reversed(found.nodes):
        if any(id(v) in needed for v in node.outputs):
            needed.update(id(v) for v in node.inputs)
    found.nodes = [node for node in found.nodes if any(id(v) in needed for v in node.outputs)]
    if closed.effects:
        found.nodes.append(Node("side effects", {}, (), ()))  # which no rule does
    return found


def _known(array: Any) -> Any:
    """A constant. Random keys are no numbers, and only other constants are made of them."""
    return array if jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended) else np.asarray(array)


def _simplify(found: Graph) -> None:
    """Join reshapes and transpositions that follow each other; other words for them become "reshape" and "transpose"."""
    instead: dict[int, Any] = {}  # what takes the place of a value
    made_by: dict[int, Node] = {}
    nodes, found.nodes = found.nodes, []
    for node in nodes:
        inputs = tuple(instead.get(id(v), v) for v in node.inputs)
        name, options = node.name, node.options
        if node.name == "reshape" and node.options.get("dimensions") is not None:
            name = "reshape of turned axes"  # which no rule knows
        elif _reshapes(node):
            name, options = "reshape", {}
        elif name == "transpose":
            options = {"permutation": tuple(options["permutation"])}
        if name in ("copy", "copy_p", "stop_gradient", "optimization_barrier"):
            instead.update((id(new), old) for new, old in zip(node.outputs, inputs, strict=True))
            continue
        if name in ("reshape", "transpose"):
            before = made_by.get(id(inputs[0]))
            if before is not None and before.name == name:
                inputs = before.inputs
                if name == "transpose":
                    options = {"permutation": tuple(before.options["permutation"][i] for i in options["permutation"])}
            if _nothing(name, options, inputs[0], node.outputs[0]):
                instead[id(node.outputs[0])] = inputs[0]
                continue
        new = Node(name, options, inputs, node.outputs)
        made_by.update((id(v), new) for v in new.outputs)
        found.nodes.append(new)
    found.outputs = [instead.get(id(v), v) for v in found.outputs]


def _reshapes(node: Node) -> bool:
    if node.name in ("reshape", "squeeze", "expand_dims"):
        return True
    if node.name == "broadcast_in_dim":  # where it adds axes of size 1 only
        return np.prod(node.inputs[0].shape) == np.prod(node.outputs[0].shape)
    if node.name == "transpose":  # where it moves axes of size 1 only
        moved = [i for i in node.options["permutation"] if node.inputs[0].shape[i] > 1]
        return moved == sorted(moved) and node.options["permutation"][0] == 0
    return False


def _nothing(name: str, options: dict, old: Value | np.ndarray, new: Value) -> bool:
    return old.shape == new.shape if name == "reshape" else options["permutation"] == tuple(range(len(new.shape)))


def _opened(jaxpr: Any, constants: list, inputs: list, nodes: list[Node]) -> list:
    """Append a program's operations; what its outputs are."""
    known: dict[Any, Value | np.ndarray] = dict(zip(jaxpr.constvars, constants, strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Value | np.ndarray:
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        given = [read(atom) for atom in eqn.invars]
        inner = next(_programs(eqn.params), None)
        if inner is not None and eqn.primitive.name in _CALLS:
            made = _opened(getattr(inner, "jaxpr", inner), [_known(c) for c in getattr(inner, "consts", ())], given, nodes)
        elif not eqn.effects and not any(isinstance(v, Value) for v in given) and _bytes(eqn.outvars) <= LARGEST:
            made = eqn.primitive.bind(*given, **eqn.params)
            made = [_known(v) for v in (made if eqn.primitive.multiple_results else [made])]
        else:
            made = [Value(v.aval.shape, v.aval.dtype) for v in eqn.outvars]
            options = dict(eqn.params)
            name = eqn.primitive.name
            if name == "ffi_call":
                name, options = options["target_name"], dict(options["attributes"])
                name = name if name.startswith("cenote_") else f"foreign {name}"
            nodes.append(Node(name, options, tuple(given), tuple(made)))
        known.update(zip(eqn.outvars, made, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


# Calls of an inner program that is done once, whatever surrounds it.
_CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vmap_call",
    "remat",
    "checkpoint",
    "core_call",
}


def _programs(params: dict) -> Iterator[Any]:
    return (params[key] for key in ("jaxpr", "call_jaxpr", "call", "fun_jaxpr") if key in params)


def _bytes(variables: list) -> int:
    return sum(int(np.prod(v.aval.shape)) * v.aval.dtype.itemsize for v in variables)


def alike(a: Graph, b: Graph) -> bool:
    """Whether two graphs of one function, for other numbers of rows, do the same with each row.

    That is so if they have the same operations, options and constants but for the number of rows, which is found in the first
    axis of every array and nowhere else. A function that looks at the number of rows, or at their places, gives others."""
    if len(a.nodes) != len(b.nodes) or len(a.outputs) != len(b.outputs) or not all(v.shape for v in (*a.inputs, *b.inputs)):
        return False
    rows = a.inputs[0].shape[0], b.inputs[0].shape[0]
    places: tuple[dict[int, int], dict[int, int]] = ({}, {})
    values: tuple[list, list] = ([], [])
    for found, seen, list_ in zip((a, b), places, values, strict=True):
        for value in (*found.inputs, *(v for node in found.nodes for v in node.outputs)):
            seen[id(value)] = len(seen)
            list_.append(value)

    def scaled(u: Any, v: Any) -> bool:
        return u * rows[1] == v * rows[0] and u % rows[0] == 0

    def same(u: Any, v: Any) -> bool:
        if isinstance(u, np.ndarray) or isinstance(v, np.ndarray):
            return isinstance(u, np.ndarray) and isinstance(v, np.ndarray) and _same_rows(u, v)
        return places[0][id(u)] == places[1][id(v)]

    def same_option(name: str, u: Any, v: Any) -> bool:
        if isinstance(u, (tuple, list)) and isinstance(v, (tuple, list)):
            sizes = int(name in SIZES and len(u) == len(v) > 0 and bool(scaled(u[0], v[0])))
            return len(u) == len(v) and all(same_option("", a, b) for a, b in zip(u[sizes:], v[sizes:], strict=True))
        return type(u) is type(v) and (callable(u) or bool(u == v))

    return (
        all(map(_sizes_fit(scaled), *values))
        and all(
            m.name == n.name
            and m.options.keys() == n.options.keys()
            and all(same_option(key, m.options[key], n.options[key]) for key in m.options)
            and len(m.inputs) == len(n.inputs)
            and all(map(same, m.inputs, n.inputs))
            for m, n in zip(a.nodes, b.nodes, strict=True)
        )
        and all(map(same, a.outputs, b.outputs))
    )


def _sizes_fit(scaled: Callable) -> Callable:
    """Arrays without numbers, which kernels give where something is not asked for, have no rows."""

    def fit(u: Value, v: Value) -> bool:
        if u.dtype != v.dtype or len(u.shape) != len(v.shape) or not u.shape:
            return False
        empty = u.shape == v.shape and not np.prod(u.shape)
        return empty or (scaled(u.shape[0], v.shape[0]) and u.shape[1:] == v.shape[1:])

    return fit


def _same_rows(u: np.ndarray, v: np.ndarray) -> bool:
    """Equal, or of equal rows throughout, as the zeros that a recurrent layer begins with."""
    if u.dtype != v.dtype or u.ndim != v.ndim or u.shape[1:] != v.shape[1:]:
        return False
    if u.shape == v.shape:
        return bool(np.array_equal(u, v, equal_nan=u.dtype.kind == "f"))
    return bool(len(u) and len(v) and (u == u[:1]).all() and (v == v[:1]).all() and (u[0] == v[0]).all())
