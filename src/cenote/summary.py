"""A model as a table: layers, paths, output shapes, parameters, floating-point operations, memory. Nothing is computed."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax

from .core import Module, Weight, apply, declare, members
from .core.tree import spec_of

_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "cond_jaxpr", "body_jaxpr", "branches")
_FREE = {"reshape", "transpose", "broadcast_in_dim", "squeeze", "convert_element_type", "copy", "slice", "concatenate", "pad"}
_FREE |= {"iota", "rev", "gather", "dynamic_slice", "dynamic_update_slice", "stop_gradient", "split", "bitcast_convert_type"}


@dataclass(frozen=True)
class Row:
    """One layer: numbers are for one example; ``parameters`` counts the layer's own and those of the layers in it."""

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

    @property
    def parameters(self) -> int:
        """All weights and state values, as Keras counts."""
        return self.trained + self.frozen + self.state

    def __str__(self) -> str:
        head = ("Layer (path)", "Kind", "Output shape", "Params", "FLOPs", "")
        cells = [head] + [
            ("  " * r.depth + r.path, r.kind, r.shape, f"{r.parameters:,}", _short(r.flops), r.note) for r in self.rows
        ]
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = [self.name]
        for i, row in enumerate(cells):
            left = "  ".join(row[c].ljust(widths[c]) for c in range(3))
            right = "  ".join(row[c].rjust(widths[c]) for c in (3, 4))
            lines.append(f"{left}  {right}  {row[5]}".rstrip())
            if i == 0:
                lines.append("-" * (sum(widths) + 8))
        lines.append("-" * (sum(widths) + 8))
        lines.append(f"Total params: {self.parameters:,} ({_bytes(self.weight_bytes)})")
        lines.append(f"Trainable: {self.trained:,}   not trainable: {self.frozen + self.state:,}")
        lines.append(f"One example: {_short(self.flops)} FLOPs forward, {_bytes(self.memory)} of layer outputs")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{h}</th>" for h in ("path", "kind", "output shape", "params", "FLOPs"))
        rows = "".join(
            f"<tr><td style='text-align:left;padding-left:{r.depth + 0.5}em'>{html.escape(r.path)}</td>"
            f"<td style='text-align:left'>{html.escape(r.kind)}</td><td>{r.shape}</td><td>{r.parameters:,}</td>"
            f"<td>{_short(r.flops)}</td></tr>"
            for r in self.rows
        )
        return f"<b>{html.escape(self.name)}</b>: {self.parameters:,} parameters<table><tr>{head}</tr>{rows}</table>"


def summarize(module: Module, *specs: Any) -> Summary:
    """The table of a module for inputs like ``specs`` (arrays or ShapeDtypeStructs).

    FLOPs are those of one forward pass of one example: two for each multiply-add of a product or convolution, one for each
    value of other arithmetic; loops of unknown length count once. A layer that is used twice has one row, with a note.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> table = summarize(Sequential([layers.Dense(4), layers.Dense(2)]), np.zeros((1, 3)))
    >>> table.parameters, table.flops
    (26, 46)
    """
    specs = spec_of(specs)
    small, large = (_observe(module, _with_batch(specs, size)) for size in (2, 3))
    weights, calls, _ = small
    known = members(module)
    uses: dict[str, int] = {}
    for call in calls:
        uses[call[0]] = uses.get(call[0], 0) + 1
    rows, done = [], set()
    for number, (path, layer, args, kwargs, y) in enumerate(calls):
        if path == "" or path in done:
            continue
        done.add(path)
        own = {p: w for p, w in weights.items() if p.startswith(path + ".")}
        rows.append(
            Row(
                path,
                type(layer).__name__,
                _shapes(y, large[1][number][4]),
                sum(_size(w) for w in own.values()),
                sum(_size(w) for p, w in own.items() if _trains(known, p, w)),
                _flops(layer, weights, path, args, kwargs) // 2,
                sum(_leaf_bytes(leaf) for leaf in jax.tree.leaves(y)) // 2,
                sum(path.startswith(other + ".") for other in known if other),
                f"used {uses[path]} times" if uses[path] > 1 else "",
            )
        )
    # Layers are told of when their call ends, so those inside another come first: show the outer one above them.
    order = {path: i for i, path in enumerate(known)}
    rows.sort(key=lambda row: order.get(row.path, len(order)))
    leaves = [r for r in rows if not any(o.path.startswith(r.path + ".") for o in rows)]
    trained = sum(_size(w) for p, w in weights.items() if _trains(known, p, w))
    state = sum(_size(w) for w in weights.values() if w.kind == "state")
    total = sum(_size(w) for w in weights.values())
    return Summary(
        f"{type(module).__name__}" + (f" {module.name!r}" if module.name else ""),
        rows,
        trained,
        total - trained - state,
        state,
        sum(_size(w) * jax.numpy.dtype(w.dtype).itemsize for w in weights.values()),
        _flops(module, weights, "", small[2], {}) // 2,
        sum(r.memory for r in leaves),
    )


def _with_batch(specs: Any, size: int) -> Any:
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct((size, *s.shape[1:]), s.dtype), specs)


def _observe(module: Module, specs: tuple) -> tuple[dict[str, Weight], list, tuple]:
    calls: list = []

    def observer(path: str, layer: Module, args: tuple, kwargs: dict, y: Any) -> None:
        path = path.split(":")[0]
        calls.append((path, layer, _abstract(args), _abstract(kwargs), _abstract(y)))

    weights, _ = declare(module, *specs, observer=observer)
    return weights, calls, specs


def _abstract(tree: Any) -> Any:
    def one(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else leaf

    return jax.tree.map(one, tree)


def _trains(known: dict[str, Module], path: str, weight: Weight) -> bool:
    if weight.kind != "param" or not weight.trainable:
        return False
    return all(m.trainable for p, m in known.items() if p == "" or path.startswith(p + "."))


def _size(weight: Weight) -> int:
    return math.prod(weight.shape)


def _leaf_bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize if hasattr(leaf, "shape") else 0


def _shapes(small: Any, large: Any) -> str:
    """Shapes with None for the sizes that follow the batch."""
    texts = []
    for a, b in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        sizes = [str(m) if m == n else "None" for m, n in zip(a.shape, b.shape, strict=True)]
        texts.append(f"({', '.join(sizes)})")
    return ", ".join(texts)


def _flops(layer: Module, weights: dict[str, Weight], path: str, args: Any, kwargs: Any) -> int:
    """Operations of one call, from its jaxpr; a layer inside a lifted one, which cannot run alone, counts in its outer one."""
    arrays: dict[str, dict] = {"param": {}, "state": {}}
    for full, w in weights.items():
        if path == "" or full.startswith(path + "."):
            arrays[w.kind][full[len(path) + 1 :] if path else full] = jax.ShapeDtypeStruct(w.shape, w.dtype)
    flat, structure = jax.tree.flatten((args, kwargs))
    traced = [leaf for leaf in flat if isinstance(leaf, jax.ShapeDtypeStruct)]

    def run(params: dict, state: dict, *given: Any) -> Any:
        left = iter(given)
        a, k = structure.unflatten(next(left) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf for leaf in flat)
        return apply(layer, params, state, *a, **k)[0]

    try:
        jaxpr = jax.make_jaxpr(run)(arrays["param"], arrays["state"], *traced)
    except Exception:  # weights with the leading axis of Repeat or Ensemble
        return 0
    return sum(_equation(e) for e in jaxpr.jaxpr.eqns)


def _equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    out = sum(math.prod(v.aval.shape) for v in equation.outvars if hasattr(v.aval, "shape"))
    if name == "dot_general":
        contracted = math.prod(equation.invars[0].aval.shape[i] for i in params["dimension_numbers"][0][0])
        return 2 * out * contracted
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        return 2 * out * math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
    inner = sum(_equation(e) for jaxpr in _inner(params) for e in jaxpr.eqns)
    if inner or any(True for _ in _inner(params)):
        return inner * (params.get("length", 1) if name == "scan" else 1)
    if name in _FREE:
        return 0
    if name.startswith("reduce") or name in ("argmax", "argmin", "cumsum"):
        return sum(math.prod(v.aval.shape) for v in equation.invars)
    return out


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation: the bodies of loops, of jit, of functions with their own derivative."""
    for name in _CALLS:
        value = params.get(name)
        for each in value if isinstance(value, (tuple, list)) else [value]:
            each = getattr(each, "jaxpr", each)
            if hasattr(each, "eqns"):
                yield each


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
