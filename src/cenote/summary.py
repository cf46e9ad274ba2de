"""A model as a table: layers, paths, output shapes, parameters, floating-point operations, memory. Nothing is computed."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax

from .core import Ensemble, Graph, Module, Repeat, Weight, apply, declare, members
from .core.tree import spec_of
from .kernels import native

_FREE = {"reshape", "transpose", "broadcast_in_dim", "squeeze", "convert_element_type", "copy", "slice", "concatenate", "pad"}
_FREE |= {"iota", "rev", "gather", "dynamic_slice", "dynamic_update_slice", "stop_gradient", "split", "bitcast_convert_type"}
_FREE |= {"random_seed", "random_fold_in", "random_split", "random_wrap", "random_unwrap"}
_PATH, _SHAPE = 40, 36  # the widest that these columns get in the text


@dataclass(frozen=True)
class Row:
    """One layer: numbers are for one example; ``parameters`` counts the layer's own and those of the layers in it.

    ``trained`` are those that training changes, ``flops`` and ``memory`` (bytes of outputs) those of all its calls.
    """

    path: str
    kind: str
    shape: str
    parameters: int
    trained: int
    flops: int
    memory: int
    depth: int
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """What `summarize` found: ``rows``, and totals of the whole model (memory in bytes)."""

    name: str
    rows: list[Row] = field(repr=False)
    trained: int
    frozen: int
    state: int
    weight_bytes: int
    flops: int
    memory: int
    note: str = ""

    @property
    def parameters(self) -> int:
        """All weights and state values, as Keras counts."""
        return self.trained + self.frozen + self.state

    def __str__(self) -> str:
        cells = [("Layer (path)", "Kind", "Output shape", "Params", "FLOPs", "")]
        for row, path in self._shown():
            count, flops = f"{row.parameters:,}", _short(row.flops)
            cells.append((_cut("  " * row.depth + path, _PATH), row.kind, _cut(row.shape, _SHAPE), count, flops, row.note))
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        rule = "-" * (sum(widths) + 8)
        lines = [self.name]
        for i, row in enumerate(cells):
            left = "  ".join(row[c].ljust(widths[c]) for c in range(3))
            right = "  ".join(row[c].rjust(widths[c]) for c in (3, 4))
            lines += [f"{left}  {right}  {row[5]}".rstrip(), *([rule] if i == 0 else [])]
        lines += [rule, *self._totals()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        names = ("path", "kind", "output shape", "params", "trained", "FLOPs", "memory", "")
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in names)
        rows = ""
        for row, path in self._shown():
            numbers = (f"{row.parameters:,}", f"{row.trained:,}", _short(row.flops), _bytes(row.memory))
            left = f"<td style='text-align:left;padding-left:{row.depth + 0.5}em'>{html.escape(path)}</td>"
            texts = "".join(f"<td style='text-align:left'>{html.escape(text)}</td>" for text in (row.kind, row.shape))
            rows += f"<tr>{left}{texts}{''.join(f'<td>{n}</td>' for n in numbers)}<td>{html.escape(row.note)}</td></tr>"
        totals = "<br>".join(map(html.escape, self._totals()))
        return f"<b>{html.escape(self.name)}</b><table><tr>{head}</tr>{rows}</table>{totals}"

    def _shown(self) -> Iterator[tuple[Row, str]]:
        """The rows of layers that are not the private parts of another, with their paths inside the row they stand under."""
        above: list[str] = []
        for row in self.rows:
            above = [path for path in above if row.path.startswith(path + ".")]
            if not row.kind.startswith("_"):
                yield row, row.path[len(above[-1]) + 1 :] if above else row.path or "(itself)"
                above.append(row.path)

    def _totals(self) -> list[str]:
        return [
            f"Total params: {self.parameters:,} ({_bytes(self.weight_bytes)})",
            f"Trainable: {self.trained:,}   not trainable: {self.frozen + self.state:,}",
            f"One example{self.note}: {_short(self.flops)} FLOPs forward, {_bytes(self.memory)} of layer outputs",
        ]


def summarize(module: Module, *specs: Any) -> Summary:
    """The table of a module for inputs like ``specs`` (arrays or ShapeDtypeStructs, batch first; flags stay as they are).

    FLOPs are those of one forward pass of one example: two for each multiply-add of a product or convolution, one for each
    value of other arithmetic; a loop whose length depends on the data counts once, and the table says so. A layer that is
    used twice has one row, with a note. Sizes that may change are None: those that follow the batch, and in a graph also
    those that follow an unknown size of an Input; its FLOPs are then for the size in ``specs``.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> table = summarize(Sequential([layers.Dense(4), layers.Dense(2)]), np.zeros((1, 3)))
    >>> table.parameters, table.flops
    (26, 46)
    """
    specs = jax.tree.map(lambda leaf: spec_of(leaf) if _is_array(leaf) else leaf, specs)
    batch, (small, large) = _observe(module, specs)
    weights, calls, inputs = small
    known = members(module)
    times = {path: _times(path, known) for path in known}
    operations = _Operations()
    met: dict[str, dict[str, Any]] = {}
    for (path, layer, args, kwargs, y), (*_, other) in zip(calls, large[1], strict=True):
        row = met.setdefault(path, {"layer": layer, "shape": _shapes(y, other), "uses": 0, "flops": 0, "memory": 0, "loops": 0})
        flops, loops = operations(layer, args, kwargs)
        row["uses"] += 1
        row["flops"] += flops * times[path] // batch
        row["memory"] += sum(_leaf_bytes(leaf) for leaf in jax.tree.leaves(y)) * times[path] // batch
        row["loops"] += loops
    # Layers are told of when their call ends, so those inside another come first: show the outer one above them.
    paths = [path for path in known if path in met and (path or len(met) == 1)]
    rows = [_row(path, met[path], weights, known, times[path]) for path in paths]
    outer = {path.rsplit(".", i)[0] for path in paths for i in range(1, path.count(".") + 1)}
    trained = sum(_size(w) for p, w in weights.items() if _trains(known, p, w))
    state = sum(_size(w) for w in weights.values() if w.kind == "state")
    total = sum(_size(w) for w in weights.values())
    flops, loops = operations(module, inputs, {})
    return Summary(
        f"{type(module).__name__}" + (f" {module.name!r}" if module.name else ""),
        rows,
        trained,
        total - trained - state,
        state,
        sum(_size(w) * jax.numpy.dtype(w.dtype).itemsize for w in weights.values()),
        flops // batch,
        sum(r.memory for r in rows if r.path not in outer),
        _sizes_said(module, inputs) + (", not knowing how often a loop runs" if loops else ""),
    )


def _row(path: str, found: dict[str, Any], weights: dict[str, Weight], known: dict[str, Module], times: int) -> Row:
    own = {p: w for p, w in weights.items() if not path or p.startswith(path + ".")}
    trained = sum(_size(w) for p, w in own.items() if _trains(known, p, w))
    notes = [
        f"used {found['uses']} times" if found["uses"] > 1 else "",
        f"{times} times" if times > 1 else "",
        "frozen" if not trained and any(w.kind == "param" for w in own.values()) else "",
        "has a loop of unknown length" if found["loops"] else "",
    ]
    return Row(
        path,
        type(found["layer"]).__name__,
        found["shape"],
        sum(map(_size, own.values())),
        trained,
        found["flops"],
        found["memory"],
        sum(path.startswith(other + ".") for other in known if other and not type(known[other]).__name__.startswith("_")),
        ", ".join(filter(None, notes)),
    )


# -- the two traces --------------------------------------------------------------------------------------------------------


def _observe(module: Module, specs: tuple) -> tuple[int, tuple[tuple, tuple]]:
    """The batch of the first, and two traces ``(weights, calls, specs)`` whose sizes differ wherever they may."""
    own = next((leaf.shape[0] for leaf in jax.tree.leaves(specs) if _is_array(leaf) and leaf.shape), 1) or 1
    # A longer text may be too long, and a layer may want the batch that it was given.
    tries = [(2, 3, 1.5), (2, 3, 1.0), (own, own, 1.0)]
    for batch, other, grow in tries:
        try:
            first, second = _trace(module, _sized(module, specs, batch)), _trace(module, _sized(module, specs, other, grow))
            return batch, (first, second)
        except Exception:
            if grow == 1 and batch == other:
                raise
    raise AssertionError


def _sized(module: Module, specs: tuple, batch: int, grow: float = 1) -> tuple:
    """The specs with another batch, and with longer inner sizes where a graph does not know them."""
    free = _unknown(module, specs)

    def one(leaf: Any, unknown: tuple[int, ...]) -> Any:
        if not _is_array(leaf) or not leaf.shape:
            return leaf
        inner = [math.ceil(s * grow) + (grow > 1) if i in unknown else s for i, s in enumerate(leaf.shape)][1:]
        return jax.ShapeDtypeStruct((batch, *inner), leaf.dtype)

    leaves, structure = jax.tree.flatten(specs)
    return structure.unflatten(map(one, leaves, free))


def _unknown(module: Module, specs: tuple) -> list[tuple[int, ...]]:
    """For each input, which of its axes after the batch a graph does not know."""
    leaves = jax.tree.leaves(specs)
    nodes = module._input_nodes if isinstance(module, Graph) else ()
    if len(nodes) != len(leaves):
        return [()] * len(leaves)
    return [tuple(i for i, s in enumerate(node.shape) if i and s is None) for node in nodes]


def _sizes_said(module: Module, specs: tuple) -> str:
    """For which sizes the operations are counted, where a graph leaves them open."""
    if not any(_unknown(module, specs)):
        return ""
    return f" of {', '.join(str(leaf.shape[1:]) for leaf in jax.tree.leaves(specs))}"


def _trace(module: Module, specs: tuple) -> tuple[dict[str, Weight], list, tuple]:
    calls: list = []

    def observer(path: str, layer: Module, args: tuple, kwargs: dict, y: Any) -> None:
        calls.append((path.split(":")[0], layer, _abstract(args), _abstract(kwargs), _abstract(y)))

    weights, _ = declare(module, *specs, observer=observer)
    return weights, calls, specs


def _times(path: str, known: dict[str, Module]) -> int:
    """How often a layer runs when what it is part of runs once: it may be in the block of a Repeat or Ensemble."""
    parts = [m for p, m in known.items() if p != path and (not p or path.startswith(p + "."))]
    return math.prod(m.count for m in parts if isinstance(m, (Repeat, Ensemble)))


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if _is_array(leaf) else leaf, tree)


def _trains(known: dict[str, Module], path: str, weight: Weight) -> bool:
    if weight.kind != "param" or not weight.trainable:
        return False
    return all(m.trainable for p, m in known.items() if p == "" or path.startswith(p + "."))


def _size(weight: Weight) -> int:
    return math.prod(weight.shape)


def _leaf_bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize if hasattr(leaf, "shape") else 0


def _shapes(small: Any, large: Any) -> str:
    """Shapes with None for the sizes that differ, and for the batch."""
    texts = []
    for a, b in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        sizes = [str(m) if m == n else "None" for m, n in zip(a.shape, b.shape, strict=True)]
        texts.append(f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})")
    return ", ".join(texts)


# -- counting operations -----------------------------------------------------------------------------------------------------


class _Operations:
    """``operations(layer, args, kwargs) -> (count, loops of unknown length)`` of one call, from its jaxpr; equal calls once."""

    def __init__(self) -> None:
        self.known: dict[Any, tuple[int, int]] = {}

    def __call__(self, layer: Module, args: tuple, kwargs: dict) -> tuple[int, int]:
        leaves, structure = jax.tree.flatten((args, kwargs))
        signature = (id(layer), str(structure), str(leaves))
        if signature not in self.known:
            weights, _ = declare(layer, *args, **kwargs)  # by itself: weights of a Repeat or Ensemble are those of one block
            arrays: dict[str, dict] = {"param": {}, "state": {}}
            for path, w in weights.items():
                arrays[w.kind][path] = jax.ShapeDtypeStruct(w.shape, w.dtype)

            def run(params: dict, state: dict, *given: Any) -> Any:
                left = iter(given)
                a, k = structure.unflatten(next(left) if _is_array(leaf) else leaf for leaf in leaves)
                return apply(layer, params, state, *a, key=jax.random.key(0), **k)[0]

            traced = [leaf for leaf in leaves if _is_array(leaf)]
            self.known[signature] = _count(jax.make_jaxpr(run)(arrays["param"], arrays["state"], *traced).jaxpr)
        return self.known[signature]


def _count(jaxpr: Any) -> tuple[int, int]:
    flops, loops = zip(*map(_equation, jaxpr.eqns), strict=True) if jaxpr.eqns else ((), ())
    return sum(flops), sum(loops)


def _equation(equation: Any) -> tuple[int, int]:
    name, params = equation.primitive.name, equation.params
    sizes = [math.prod(getattr(v.aval, "shape", ())) for v in equation.outvars]
    if name == "dot_general":
        contracted = math.prod(equation.invars[0].aval.shape[i] for i in params["dimension_numbers"][0][0])
        return 2 * sizes[0] * contracted, 0
    if name == "ffi_call":
        return native.operations(
            params["target_name"], [v.aval.shape for v in equation.invars], equation.outvars[0].aval.shape
        ), 0
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        return 2 * sizes[0] * math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]], 0
    inner = [_count(jaxpr) for jaxpr in _inner(params)]
    if inner and not name.startswith(("reduce", "scatter", "select_and_")):  # these hold only what combines two numbers
        combine: Callable = max if name == "cond" else sum
        times = params.get("length", 1) if name == "scan" else 1
        return combine(f for f, _ in inner) * times, combine(n for _, n in inner) + (name == "while")
    if name in _FREE:
        return 0, 0
    if name.startswith("reduce_window"):
        return sizes[0] * math.prod(params["window_dimensions"]), 0
    if name.startswith("reduce") or name in ("argmax", "argmin", "cumsum"):
        return sum(math.prod(v.aval.shape) for v in equation.invars), 0
    return sum(sizes), 0


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation: the bodies of loops, of jit, of functions with their own derivative."""
    for value in params.values():
        for each in value if isinstance(value, (tuple, list)) else [value]:
            each = getattr(each, "jaxpr", each)
            if hasattr(each, "eqns"):
                yield each


# -- texts -----------------------------------------------------------------------------------------------------------------


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 3]}...{text[len(text) - (width - width // 3 - 3) :]}"


def _short(value: int) -> str:
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.4g} {unit}"
    return str(value)


def _bytes(value: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1024
    raise AssertionError
