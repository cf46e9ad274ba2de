"""Operations on numbers one by one, as many as belong together in one pass, and sums and extremes over axes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Node, Value
from ..plan import RULES, Plan, Unsupported, rule
from .dense import with_kernel
from .moving import broadcast

__all__: list[str] = []

OPERATIONS = (  # numbered as in elementwise.cc
    *("copy", "add", "sub", "mul", "div", "max", "min", "neg", "abs", "sign", "exp", "exp2", "log", "log1p", "expm1", "tanh"),
    *("logistic", "erf", "sqrt", "rsqrt", "pow", "floor", "ceil", "round_even", "round", "sin", "cos"),
    *("lt", "le", "gt", "ge", "eq", "ne", "is_finite", "select", "and", "or", "xor", "not"),
    *("add_whole", "sub_whole", "mul_whole", "max_whole", "min_whole", "lt_whole", "le_whole", "eq_whole"),
    *("to_float", "to_whole", "gelu", "gelu_tanh", "mul_add", "max_number", "min_number"),
)
WORK = {  # a number's, in multiplications of a large product, which takes much less time for each; all others: 4
    **dict.fromkeys(("exp", "exp2", "log", "erf", "tanh", "logistic", "expm1", "div", "sqrt", "rsqrt"), 20),
    **dict.fromkeys(("log1p", "gelu", "gelu_tanh"), 40),
    **dict.fromkeys(("pow", "sin", "cos", "round"), 200),
}
KINDS = {"float32": "float", "int32": "whole", "uint8": "byte", "bool": "truth"}  # numbered as in elementwise.cc
MOST_SLOTS, MOST_OPERATIONS = 48, 48
LONGEST_ROW = 1 << 16  # numbers of a constant that a step keeps by itself


def kind(array: Any) -> str:
    found = KINDS.get(array.dtype.name)
    if found is None:
        raise Unsupported(f"no step works on {array.dtype}")
    return found


class Map:
    """Operations that give arrays of one size, in one step. Each array has a slot; `kinds` says of what its numbers are."""

    def __init__(self, plan: Plan, first: Node) -> None:
        self.plan, self.size = plan, math.prod(first.outputs[0].shape)
        self.kinds: list[str] = []
        self.operations: list[tuple[str, int, tuple[int, ...]]] = []
        self.scalars: dict[tuple[str, int], int] = {}  # kind and bits of each to its slot
        self.rows: list[tuple[int, np.ndarray]] = []
        self.inputs: list[tuple[int, Value | np.ndarray, tuple[int, int]]] = []
        self.slots: dict[int, int] = {}  # of values
        self.roots: dict[int, Value] = {}  # of values that are others reshaped
        self.nodes: list[Node] = []

    # -- what goes in ------------------------------------------------------------------------------------------------------

    def slot(self, kind: str) -> int:
        self.kinds.append(kind)
        return len(self.kinds) - 1

    def scalar(self, number: float | bool | int, kind: str = "float") -> int:
        exact = np.float32(number) if kind == "float" else np.int32(-bool(number) if kind == "truth" else number)
        bits = int(exact.view(np.int32))
        if (kind, bits) not in self.scalars:
            self.scalars[kind, bits] = self.slot(kind)
        return self.scalars[kind, bits]

    def number(self, slot: int) -> bool:
        """Whether a slot has a scalar that is a real number, not NaN."""
        bits = next((bits for (of, bits), its in self.scalars.items() if its == slot and of == "float"), None)
        return bits is not None and not math.isnan(np.int32(bits).view(np.float32))

    def read(self, array: Value | np.ndarray, node: Node, shape: tuple[int, ...] | None = None) -> int:
        """The slot of an operand of a node, whose result it is stretched to."""
        if id(array) in self.slots:
            return self.slots[id(array)]
        to, shape = node.outputs[0].shape, array.shape if shape is None else shape
        if isinstance(array, np.ndarray):
            return self._constant(array.reshape(shape), to)
        return self._input(array, _pattern(shape, to))

    def _input(self, array: Value | np.ndarray, pattern: tuple[int, int]) -> int:
        for slot, other, its in self.inputs:
            if other is array and its == pattern:
                return slot
        self.inputs.append((self.slot(kind(array)), array, pattern))
        return self.inputs[-1][0]

    def _constant(self, array: np.ndarray, to: tuple[int, ...]) -> int:
        of, bits = kind(array), np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
        if bits.size and (bits == bits.flat[0]).all():
            return self.scalar(array.flat[0].item(), of)
        whole = array
        if (bits == bits[:1]).all():
            array = array[:1]
        elif array.shape != to:
            raise Unsupported("no step stretches a constant that has rows of its own")
        while array.ndim and array.shape[0] == 1:
            array = array[0]
        array = np.broadcast_to(array, to[len(to) - array.ndim :])
        if array.size > LONGEST_ROW and whole.shape == to:
            return self._input(np.ascontiguousarray(whole), (1, 1))  # where it lies
        row = np.ascontiguousarray(array).reshape(-1)
        row = -row.astype(np.int32) if of == "truth" else row.astype(np.int32) if of == "byte" else row
        for slot, other in self.rows:
            if self.kinds[slot] == of and np.array_equal(other.view(np.int32), row.view(np.int32)):
                return slot
        self.rows.append((self.slot(of), row))
        return self.rows[-1][0]

    # -- what is done ------------------------------------------------------------------------------------------------------

    def do(self, operation: str, *slots: int, kind: str | None = None) -> int:
        self.operations.append((operation, self.slot(kind or self.kinds[slots[0]]), slots))
        return self.operations[-1][1]

    def add(self, node: Node) -> bool:
        """Take a node, if it can be: there is a way to do it, and what it reads is known."""
        plan, before = self.plan, [len(self.kinds), len(self.operations), len(self.rows), len(self.inputs)]
        if not all(id(v) in self.slots or plan.known(v) for v in node.inputs) or len(self.operations) > MOST_OPERATIONS:
            return False
        scalars = dict(self.scalars)
        try:
            if math.prod(node.outputs[0].shape) != self.size:
                raise Unsupported("arrays of several sizes in one step")
            slot = _do(self, node)
            if self.kinds[slot] != kind(node.outputs[0]) or self.kinds[slot] == "byte":
                raise Unsupported(f"no step makes {node.outputs[0].dtype}")
            if len(self.kinds) - len(self.operations) > MOST_SLOTS:
                raise Unsupported("so many arrays in one step")
        except Unsupported:
            del self.kinds[before[0] :], self.operations[before[1] :], self.rows[before[2] :], self.inputs[before[3] :]
            self.scalars = scalars
            if not self.nodes:
                raise
            return False
        value = node.outputs[0]
        self.slots[id(value)] = slot
        if node.name == "reshape":
            self.roots[id(value)] = self.roots.get(id(node.inputs[0]), node.inputs[0])  # pyright: ignore[reportArgumentType]
        self.nodes.append(node)
        return True

    def grow(self) -> None:
        """Take all that can be done in the same pass: what follows, and what reads the same arrays, which that may wait for."""
        seen, i = set[int](), 0
        while i < len(self.nodes):
            read = [v for _, v, pattern in self.inputs if isinstance(v, Value) and pattern == (1, 1) and id(v) not in seen]
            seen.update(map(id, read))
            for value in (self.nodes[i].outputs[0], *read):
                for node in self.plan.users(value):
                    follows = node.name in DONE or (node.name == "reshape" and id(value) in self.slots)
                    if follows and not self.plan.taken(node) and self.add(node):
                        self.plan.take(node)
            i += 1

    def emit(self, kept: Value | None = None) -> None:
        """The step, which writes what is asked for, used by nodes that it does not do, or to be kept."""
        plan, mine = self.plan, {id(node) for node in self.nodes}
        given: list[tuple[Value, int]] = []  # what is needed outside
        same: list[tuple[Value, Value | np.ndarray]] = []
        for node in self.nodes:
            value = node.outputs[0]
            if value is kept or plan.asked(value) or any(id(user) not in mine for user in plan.users(value)):
                root, slot = self.roots.get(id(value), value), self.slots[id(value)]
                if root is not value:
                    same.append((value, root))
                old = next((array for its, array, pattern in self.inputs if its == slot and pattern == (1, 1)), None)
                if old is not None:  # nothing is done with it
                    same.append((root, old))
                elif not any(root is other for other, _ in given):
                    given.append((root, slot))
        made = {to for _, to, _ in self.operations}
        outputs: list[int] = []
        for _, slot in given:  # each output has a slot of its own that an operation writes
            outputs.append(slot if slot in made and slot not in outputs else self.do("copy", slot))
        self._join(outputs)
        inputs = [plan.read(array) for _, array, _ in self.inputs]
        places, room = self._places(outputs)
        work = sum(WORK.get(operation, 4) for operation, _, _ in self.operations)
        numbers: list[float] = [self.size, work, room]
        numbers += [len(self.scalars), len(self.rows), len(self.inputs), len(outputs), len(self.operations)]
        numbers += [bits for _, bits in self.scalars]
        numbers += [row.size for _, row in self.rows]
        order = list(KINDS.values())
        for slot, _, pattern in self.inputs:
            numbers += [order.index(self.kinds[slot]), *pattern]
        numbers += [order.index(self.kinds[slot]) for slot in outputs]
        for operation, to, slots in self.operations:
            slots = [places[slot] for slot in (*slots, slots[0], slots[0])[:3]]
            numbers += [OPERATIONS.index(operation), places[to], *slots]
        constants = [row for _, row in self.rows]
        rooms = [plan.write(value) for value, _ in given]
        if rooms:
            plan.emit("elementwise.map", numbers, constants, inputs, rooms, self.size * work)
        for value, as_ in reversed(same):  # what is the same as an input before what is the same as that
            plan.same(value, as_)

    def _join(self, outputs: Sequence[int]) -> None:
        """Make one operation of a product and the sum that alone uses it."""
        used = Counter([slot for _, _, slots in self.operations for slot in slots] + [*outputs])
        products = {to: slots for operation, to, slots in self.operations if operation == "mul" and used[to] == 1}
        for i, (operation, to, slots) in enumerate(self.operations):
            product = next((slot for slot in slots if slot in products), None)
            if operation == "add" and product is not None and slots[0] != slots[1]:
                other = slots[1] if slots[0] == product else slots[0]
                self.operations[i] = ("mul_add", to, (*products.pop(product), other))
                used[product] = 0
        self.operations = [done for done in self.operations if done[0] != "mul" or used[done[1]]]

    def _places(self, outputs: Sequence[int]) -> tuple[dict[int, int], int]:
        """Where each slot is in the step, and how many it needs between operations: one is used again after its last reader."""
        last = {slot: i for i, (_, _, slots) in enumerate(self.operations) for slot in slots}
        lasting = {*self.scalars.values(), *(s for s, _ in self.rows), *(s for s, *_ in self.inputs), *outputs}
        places: dict[int, int] = {}
        free: list[int] = []
        room = 0
        for i, (_, to, slots) in enumerate(self.operations):
            free += [places[slot] for slot in set(slots) if slot not in lasting and last[slot] == i]
            if to not in lasting:
                if not free:
                    free.append(room)
                    room += 1
                places[to] = free.pop()
        after = [*self.scalars.values(), *(s for s, _ in self.rows), *(s for s, *_ in self.inputs), *outputs]
        places.update((slot, room + i) for i, slot in enumerate(after))
        return places, room


def _pattern(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, int]:
    """How an array of a shape is stretched: number i is that at i // (repeat * inner) * inner + i % inner."""
    if math.prod(shape) == math.prod(to):
        return 1, 1
    if len(shape) != len(to) or shape[0] != to[0]:
        raise Unsupported("no step stretches an array along the rows")
    if not _side_by_side(shape, to):
        raise Unsupported("no step stretches an array along axes that do not lie side by side")
    stretched = [i for i, (n, wide) in enumerate(zip(shape, to, strict=True)) if wide > 1 and n != wide]
    first, last = stretched[0], stretched[-1] + 1
    return math.prod(to[first:last]), math.prod(to[last:])


def _side_by_side(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether the axes that an array is stretched along lie so."""
    stretched = [i for i, (n, wide) in enumerate(zip(shape, to, strict=False)) if wide > 1 and n != wide]
    return not stretched or all(n == 1 for n in shape[stretched[0] : stretched[-1] + 1])


def _stretched(node: Node) -> tuple[int, ...]:
    """The operand of a "broadcast_in_dim" with as many axes as its result has."""
    shape = [1] * len(node.outputs[0].shape)
    for i, n in zip(node.options["broadcast_dimensions"], node.inputs[0].shape, strict=True):
        shape[i] = n
    return tuple(shape)


NOTHING = {"max": -math.inf, "min": math.inf}  # what these leave the other number as it is with

# -- how each operation is done: of a map, the slots of its operands and the node, its slot ------------------------------------

DONE: dict[str, Callable[[Map, list[int], Node], int]] = {}


def _do(map: Map, node: Node) -> int:
    if node.name == "reshape":
        return map.slots[id(node.inputs[0])]
    if node.name == "broadcast_in_dim":
        return map.read(node.inputs[0], node, _stretched(node))
    return DONE[node.name](map, [map.read(value, node) for value in node.inputs], node)


def done(*names: str) -> Callable[[Callable], Callable]:
    def named(function: Callable) -> Callable:
        DONE.update(dict.fromkeys(names, function))
        return function

    return named


def _kind(map: Map, slots: Sequence[int], node: Node, *allowed: str) -> str:
    """That of all operands."""
    kinds = {map.kinds[slot] for slot in slots}
    if len(kinds) > 1 or not kinds <= set(allowed):
        raise Unsupported(f"no step does {node.name} of {' and '.join(str(v.dtype) for v in node.inputs)}")
    return kinds.pop()


@done("exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "sqrt", "rsqrt", "div", "floor", "ceil", "sin", "cos")
@done("abs", "sign")
def _floats(map: Map, slots: list[int], node: Node) -> int:
    _kind(map, slots, node, "float")
    return map.do(node.name, *slots)


@done("add", "sub", "mul", "max", "min", "add_any")
def _arithmetic(map: Map, slots: list[int], node: Node) -> int:
    if node.name in NOTHING:  # as the largest of minus infinity and ..., with which JAX's softmax begins
        neutral = map.scalars.get(("float", int(np.float32(NOTHING[node.name]).view(np.int32))))
        for slot, other in (slots, slots[::-1]):
            if slot == neutral:
                return other
        for slot, other in (slots, slots[::-1]):
            if map.number(slot) and map.kinds[other] == "float":
                return map.do(f"{node.name}_number", slot, other)
    name = "add" if node.name == "add_any" else node.name
    return map.do(name if _kind(map, slots, node, "float", "whole") == "float" else f"{name}_whole", *slots)


@done("neg")
def _neg(map: Map, slots: list[int], node: Node) -> int:
    if _kind(map, slots, node, "float", "whole") == "float":
        return map.do("neg", *slots)
    return map.do("sub_whole", map.scalar(0, "whole"), *slots)


@done("square")
def _square(map: Map, slots: list[int], node: Node) -> int:
    return _arithmetic(map, slots * 2, Node("mul", {}, node.inputs * 2, node.outputs))


@done("integer_pow")
def _integer_pow(map: Map, slots: list[int], node: Node) -> int:
    _kind(map, slots, node, "float")
    exponent, result, power = abs(node.options["y"]), None, slots[0]
    while exponent:
        if exponent & 1:
            result = power if result is None else map.do("mul", result, power)
        exponent >>= 1
        power = map.do("mul", power, power) if exponent else power
    result = map.scalar(1.0) if result is None else result
    return map.do("div", map.scalar(1.0), result) if node.options["y"] < 0 else result


@done("pow")
def _pow(map: Map, slots: list[int], node: Node) -> int:
    base, exponent = slots
    if map.kinds[exponent] == "whole":
        exponent = map.do("to_float", exponent, kind="float")
    _kind(map, [base, exponent], node, "float")
    return map.do("pow", base, exponent)


@done("round")
def _round(map: Map, slots: list[int], node: Node) -> int:
    _kind(map, slots, node, "float")
    return map.do("round_even" if int(node.options["rounding_method"]) == 1 else "round", *slots)


@done("clamp")
def _clamp(map: Map, slots: list[int], node: Node) -> int:
    end = "" if _kind(map, slots, node, "float", "whole") == "float" else "_whole"
    low, x, high = slots
    if map.number(low) and map.number(high):
        return map.do("min_number", high, map.do("max_number", low, x))
    return map.do(f"min{end}", map.do(f"max{end}", x, low), high)


@done("lt", "le", "gt", "ge", "eq", "ne")
def _compare(map: Map, slots: list[int], node: Node) -> int:
    of = _kind(map, slots, node, "float", "whole", "byte", *(["truth"] if node.name in ("eq", "ne") else []))
    if of == "float":
        return map.do(node.name, *slots, kind="truth")
    # Whole numbers have three comparisons; the others are these turned around or over.
    turned = slots[::-1] if node.name in ("gt", "ge") else slots
    name = {"gt": "lt", "ge": "le", "ne": "eq"}.get(node.name, node.name)
    found = map.do(f"{name}_whole", *turned, kind="truth")
    return map.do("not", found) if node.name == "ne" else found


@done("and", "or", "xor", "not")
def _logic(map: Map, slots: list[int], node: Node) -> int:
    _kind(map, slots, node, "truth", "whole")
    return map.do(node.name, *slots)


@done("is_finite")
def _is_finite(map: Map, slots: list[int], node: Node) -> int:
    _kind(map, slots, node, "float")
    return map.do("is_finite", *slots, kind="truth")


@done("select_n")
def _select(map: Map, slots: list[int], node: Node) -> int:
    which, *cases = slots
    if map.kinds[which] != "truth" or len(cases) != 2:
        raise Unsupported("no step chooses between more than two arrays")
    return map.do("select", which, *cases, kind=_kind(map, cases, node, "float", "whole", "truth"))


@done("convert_element_type")
def _convert(map: Map, slots: list[int], node: Node) -> int:
    old, new = map.kinds[slots[0]], kind(node.outputs[0])
    if old == new:
        return slots[0]
    if new == "truth":
        if old == "float":
            return map.do("ne", *slots, map.scalar(0.0), kind="truth")
        zero = map.do("eq_whole", *slots, map.scalar(0, "whole"), kind="truth")
        return map.do("not", zero)
    if old == "truth" and new != "byte":
        return map.do("and", *slots, map.scalar(1, new), kind=new)
    if old in ("whole", "byte") and new == "float":
        return map.do("to_float", *slots, kind="float")
    if old == "byte" and new == "whole":
        return map.do("copy", *slots, kind="whole")
    if old == "float" and new == "whole":
        return map.do("to_whole", *slots, kind="whole")
    raise Unsupported(f"no step makes {node.outputs[0].dtype} of {node.inputs[0].dtype}")


@done("cenote_gelu")
def _gelu(map: Map, slots: list[int], node: Node) -> int:
    if map.plan.users(node.outputs[1]) or map.plan.asked(node.outputs[1]):
        raise Unsupported("no step gives the slope of gelu")
    _kind(map, slots, node, "float")
    return map.do("gelu_tanh" if node.options["approximate"] else "gelu", *slots)


@rule("broadcast_in_dim", *DONE)
def _map(plan: Plan, node: Node, keep: bool = False) -> None:
    """An operation, with all that follows it and can be done in the same pass; its result is written if `keep` says so, too."""
    to = node.outputs[0].shape
    stretches = node.name == "broadcast_in_dim"
    if stretches and not _side_by_side(_stretched(node), to):
        return broadcast(plan, node)
    for i, value in enumerate(node.inputs):
        if isinstance(value, Value) and not stretches and not _side_by_side(value.shape, to):
            whole, axes = Value(to, value.dtype), {"broadcast_dimensions": tuple(range(len(to)))}
            broadcast(plan, Node("broadcast_in_dim", axes, (value,), (whole,)))
            node = Node(node.name, node.options, (*node.inputs[:i], whole, *node.inputs[i + 1 :]), node.outputs)
    map = Map(plan, node)
    map.add(node)
    plan.take(node)
    map.grow()
    map.emit(node.outputs[0] if keep else None)
    return None


# -- over axes -----------------------------------------------------------------------------------------------------------------

REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min")  # numbered as in elementwise.cc, first those of real numbers


@rule("reduce_or", "reduce_and")
def _reduce_truth(plan: Plan, node: Node) -> None:
    """The largest or smallest of 0 and 1."""
    (value,), result = node.inputs, node.outputs[0]
    if not isinstance(value, Value) or value.dtype != np.bool_:
        raise Unsupported(f"no step does {node.name} of {value.dtype}")
    ones, found = Value(value.shape, np.dtype(np.int32)), Value(result.shape, np.dtype(np.int32))
    _map(plan, Node("convert_element_type", {}, (value,), (ones,)), keep=True)
    _reduce(plan, Node("reduce_max" if node.name == "reduce_or" else "reduce_min", node.options, (ones,), (found,)))
    _map(plan, Node("ne", {}, (found, np.zeros((), np.int32)), (result,)))


@rule(*REDUCTIONS)
def _reduce(plan: Plan, node: Node) -> None:
    """A sum or an extreme over axes but the first; axes that do not lie side by side one after another."""
    value = node.inputs[0]
    of = {value.dtype, node.outputs[0].dtype}
    if not isinstance(value, Value) or of not in ({np.dtype(np.float32)}, {np.dtype(np.int32)}):
        raise Unsupported(f"no step does {node.name} of {value.dtype}")
    if node.name == "reduce_max" and _softmax(plan, node):
        return
    which = REDUCTIONS.index(node.name) + (len(REDUCTIONS) if value.dtype == np.int32 else 0)
    axes = [i for i in sorted(node.options["axes"]) if value.shape[i] > 1]
    if 0 in axes:
        raise Unsupported(f"no step does {node.name} over the rows")
    shape = list(value.shape)
    while axes:
        last = first = axes.pop()
        while axes and all(n == 1 for n in shape[axes[-1] + 1 : first]):
            first = axes.pop()
        sizes = [math.prod(shape[:first]), math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])]
        shape[first : last + 1] = [1] * (last + 1 - first)
        result = Value(tuple(shape), value.dtype) if axes else node.outputs[0]
        room = plan.read(value)
        plan.emit("elementwise.reduce", [*sizes, which], (), [room], [plan.write(result)], math.prod(sizes) * 4)
        value = result
    if value is not node.outputs[0]:
        plan.same(node.outputs[0], value)


def _softmax(plan: Plan, node: Node) -> bool:
    """The softmax that may begin with the largest of each row: all of it in one step."""
    x, last = node.inputs[0], len(node.inputs[0].shape) - 1
    rows = (*x.shape[:last], 1)
    if not isinstance(x, Value) or x.dtype != np.float32 or tuple(node.options["axes"]) != (last,) or not last:
        return False
    nodes: list[Node] = []

    def next_(value: Value, name: str) -> Value | None:
        """What the one operation that follows makes of it, which is of that name; the other operand of a pair is at hand."""
        found = plan.follower(value)
        if found is None or found[0].name != name:
            return None
        nodes.append(found[0])
        seen.append(found[1])
        return found[0].outputs[0]

    seen: list[Value] = []
    most = next_(node.outputs[0], "max")
    if most is not None and not any(isinstance(v, np.ndarray) and (v == -np.inf).all() for v in nodes[-1].inputs):
        return False
    less = next_(node.outputs[0] if most is None else most, "sub")
    if less is None or nodes[-1].inputs[0] is not x or nodes[-1].inputs[1] is not seen[-1] or seen[-1].shape != rows:
        return False
    power = next_(less, "exp")
    if power is None or plan.asked(power) or len(plan.users(power)) != 2:
        return False
    total = next((user for user in plan.users(power) if user.name == "reduce_sum"), None)
    if total is None or tuple(total.options["axes"]) != (last,):
        return False
    result = next_(total.outputs[0], "div")
    if result is None or nodes[-1].inputs[0] is not power or nodes[-1].inputs[1] is not seen[-1] or seen[-1].shape != rows:
        return False
    for found in (*nodes, total):
        plan.take(found)
    sizes, room = [math.prod(rows), x.shape[last]], plan.read(x)
    plan.emit("elementwise.softmax", sizes, (), [room], [plan.write(result)], math.prod(sizes) * 40)
    return True


# -- products of pairs ---------------------------------------------------------------------------------------------------------


@rule("dot_general")
def _product(plan: Plan, node: Node) -> None:
    """Products of two arrays row by row, and with a kernel along other axes than the last."""
    x, y = node.inputs
    (mine, its), (batch, its_batch) = node.options["dimension_numbers"]
    if not isinstance(x, Value) or {x.dtype, node.outputs[0].dtype} != {np.dtype(np.float32)}:
        raise Unsupported("no step does this kind of product")
    if isinstance(y, Value) and not batch:
        # Of a single row, JAX drops the axis. Whatever else would mix rows: then sizes other than the first depend on their
        # number, and nothing is cut (see `alike`).
        x, y = (_same(plan, v, (1, *v.shape)) for v in (x, y))
        mine, its, batch, its_batch = [i + 1 for i in mine], [i + 1 for i in its], (0,), (0,)
    others = [i for i in range(len(x.shape)) if i not in mine and i not in batch]
    x = _turned(plan, x, [*batch, *others, *mine])
    if not isinstance(y, Value):
        last = tuple(range(len(x.shape) - len(mine), len(x.shape)))
        options = {"dimension_numbers": ((last, its), (batch, its_batch))}
        return with_kernel(plan, Node(node.name, options, (x, y), node.outputs))
    if y.dtype != np.float32:
        raise Unsupported("no step does this kind of product")
    y = _turned(plan, y, [*its_batch, *its, *(i for i in range(len(y.shape)) if i not in its and i not in its_batch)])
    sizes = [x.shape[: len(batch)], x.shape[len(batch) : len(x.shape) - len(mine)], y.shape[len(batch) :][: len(its)]]
    numbers = [*map(math.prod, sizes), math.prod(y.shape[len(batch) + len(its) :])]
    rooms = [plan.read(x), plan.read(y)]
    plan.emit("elementwise.pairs", numbers, (), rooms, [plan.write(node.outputs[0])], math.prod(numbers))
    return None


def _turned(plan: Plan, value: Value, order: Sequence[int]) -> Value:
    """An array with its axes in another order, the rows first as before."""
    moved = [i for i in order if value.shape[i] > 1]
    if order[0] != 0:
        raise Unsupported("no step does a product over the rows")
    shape = tuple(value.shape[i] for i in order)
    if moved == sorted(moved):
        return _same(plan, value, shape)
    result = Value(shape, value.dtype)
    RULES["transpose"](plan, Node("transpose", {"permutation": tuple(order)}, (value,), (result,)))
    return result


def _same(plan: Plan, value: Value, shape: tuple[int, ...]) -> Value:
    result = Value(shape, value.dtype)
    plan.same(result, value)
    return result
