"""The drawing of a model: its layers as boxes, with their output shapes, and who reads what; found by tracing, not by names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from ..core import members
from ..core.module import Call, Module, notes, opened
from ..core.tree import paths_of
from ..summary import Row, Summary
from .html import Html, el

__all__ = ["Box", "Flow", "drawing", "flow"]

MOST = 16  # boxes, up to which what is made of layers is opened
WIDTH, LANE = 248, 22  # of a box; of a line that goes past it
LOW, HIGH = 42, 58  # a box, without and with what follows the layer
ACROSS, DOWN, EDGE = 16, 24, 8  # space between boxes, and round all


@dataclass(frozen=True)
class Box:
    """A layer, or the input or output of the whole."""

    kind: str
    shape: str = ""
    path: str = ""
    parameters: int = 0
    note: str = ""
    then: tuple[str, ...] = ()  # kinds of what follows it and is drawn with it


@dataclass
class Flow:
    """Boxes in the order in which they are computed, and edges ``(from, to)`` by their numbers."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)


# -- who reads what --------------------------------------------------------------------------------------------------------


def flow(model: Any, table: Summary | None = None) -> Flow:
    """The layers of a built model and what each reads, from one abstract trace; nothing is computed.

    Layers stand for what is inside of them; what is itself a model is opened, up to 16 boxes.

    >>> from cenote import Sequential, layers
    >>> model = Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(2)])
    >>> found = flow(model)
    >>> [box.kind for box in found.boxes], found.edges
    (['input', 'Dense', 'Dense'], [(0, 1), (1, 2)])
    """
    rows = (model.summary(show=False) if table is None else table).rows
    specs = model._spec or model._input_specs()
    chosen = _chosen(model, rows)
    calls: list[tuple[str, list, list]] = []

    def run(*inputs: Any) -> Any:
        def observer(path: str, layer: Module, args: tuple, kwargs: dict, y: Any) -> None:
            path = path.split(":")[0]
            if path in chosen and call.at_home():
                calls.append((path, _traced((args, kwargs)), _traced(y)))

        call = Call({}, {}, paths_of(model), train=True, key=jax.random.key(0), building={}, observer=observer)
        with opened(call), notes.collecting():
            y = model._enter(call, inputs, {})
        return [_traced(y), *([args, out] for _, args, out in calls)]

    traced, shape = jax.make_jaxpr(run, return_shape=True)(*specs)
    said, *of_calls = jax.tree.structure(shape).unflatten(traced.jaxpr.outvars)
    inputs = list(traced.jaxpr.invars)
    made = {id(v): equation for equation in traced.jaxpr.eqns for v in equation.outvars}
    shapes = [f"({', '.join(['None', *map(str, leaf.shape[1:])])})" for leaf in jax.tree.leaves(specs)]
    found = Flow([Box("input", text) for text in shapes])
    owner = {id(v): i for i, v in enumerate(inputs)}
    number: dict[str, int] = {}
    for (path, _, _), (args, out) in zip(calls, of_calls, strict=True):
        if path not in number:
            number[path] = len(found.boxes)
            row = chosen[path]
            found.boxes.append(Box(row.kind, row.shape, path, row.parameters, row.note))
        here = number[path]
        found.edges += [(i, here) for i in sorted(_sources(args, owner, made)) if i < here]
        owner |= {id(v): here for v in out}
    ends = sorted(_sources(said, owner, made))
    if len(ends) > 1:
        found.boxes.append(Box("output"))
        found.edges += [(i, len(found.boxes) - 1) for i in ends]
    found.edges = list(dict.fromkeys(found.edges))
    return found if len(found.boxes) <= MOST else _drawn_together(found)


def _drawn_together(found: Flow) -> Flow:
    """With a layer's box what alone follows it, keeps the shape and has hardly a parameter: an activation, a normalisation."""
    into = {j: [a for a, b in found.edges if b == j] for j in range(len(found.boxes))}
    out = [i for i, _ in found.edges]
    home = list(range(len(found.boxes)))
    boxes = list(found.boxes)
    for j, box in enumerate(found.boxes):
        before = into[j][0] if len(into[j]) == 1 else None
        if before is None or not found.boxes[before].path or not box.path or out.count(before) != 1:
            continue
        head = boxes[home[before]]
        if box.shape == head.shape and box.parameters <= head.parameters // 8:
            home[j] = home[before]
            count = head.parameters + box.parameters
            boxes[home[j]] = replace(head, parameters=count, then=(*head.then, box.kind))
    kept = [i for i in range(len(boxes)) if home[i] == i]
    number = {i: n for n, i in enumerate(kept)}
    edges = [(number[home[i]], number[home[j]]) for i, j in found.edges if home[i] != home[j]]
    return Flow([boxes[i] for i in kept], list(dict.fromkeys(edges)))


def _traced(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.core.Tracer)]


def _sources(wanted: Iterable[Any], owner: dict[int, int], made: dict[int, Any]) -> set[int]:
    """The boxes whose outputs these values are computed from, with nothing but plain arithmetic between."""
    found: set[int] = set()
    seen: set[int] = set()
    todo = list(wanted)
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if id(value) in owner:
            found.add(owner[id(value)])
        elif id(value) in made:
            todo += made[id(value)].invars
    return found


def _chosen(model: Any, rows: Sequence[Row]) -> dict[str, Row]:
    """The rows that get a box: the outermost layers; what is itself a model is opened while there is room."""
    from ..layers.base import Layer
    from ..model import Model

    known = members(model)
    shown = [row for row in rows if row.path and not any(part.startswith("_") for part in row.path.split("."))]
    shown = [row for row in shown if not row.kind.startswith("_")]

    def inside(path: str) -> list[Row]:
        below = [row for row in shown if row.path.startswith(path + ".")] if path else shown
        return [row for row in below if not any(row.path.startswith(other.path + ".") for other in below)]

    chosen = inside("")
    while True:
        for at, row in enumerate(chosen):
            layer = known.get(row.path)
            parts = [] if isinstance(layer, Layer) and not isinstance(layer, Model) else inside(row.path)
            if parts and len(chosen) - 1 + len(parts) <= MOST:
                chosen[at : at + 1] = parts
                break
        else:
            return {row.path: row for row in chosen}


# -- where it stands -------------------------------------------------------------------------------------------------------


@dataclass
class _Place:
    """A box, or a bend of a line that goes past boxes (no box)."""

    box: int | None
    rank: int
    x: float = 0.0

    @property
    def width(self) -> int:
        return LANE if self.box is None else WIDTH


def _placed(found: Flow) -> tuple[list[list[_Place]], list[list[_Place]]]:
    """Ranks of places from top to bottom, and the way of each edge through them."""
    rank = [0] * len(found.boxes)
    for i, j in sorted(found.edges, key=lambda e: e[1]):
        rank[j] = max(rank[j], rank[i] + 1)
    ranks: list[list[_Place]] = [[] for _ in range(max(rank, default=0) + 1)]
    places = [_Place(i, rank[i]) for i in range(len(found.boxes))]
    for place in places:
        ranks[place.rank].append(place)
    ways = []
    for i, j in found.edges:
        bends = [_Place(None, r) for r in range(rank[i] + 1, rank[j])]
        for bend in bends:
            ranks[bend.rank].append(bend)
        ways.append([places[i], *bends, places[j]])
    _order(ranks, ways)
    return ranks, ways


def _order(ranks: list[list[_Place]], ways: list[list[_Place]]) -> None:
    """Places side by side so that few lines cross: each near the mean of what it is tied to, from above and from below."""
    above: dict[int, list[_Place]] = {}
    below: dict[int, list[_Place]] = {}
    for way in ways:
        for a, b in itertools.pairwise(way):
            above.setdefault(id(b), []).append(a)
            below.setdefault(id(a), []).append(b)
    for line in ranks:
        _spread(line)
    for sweep in range(4):
        tied, order = (above, ranks) if sweep % 2 == 0 else (below, ranks[::-1])
        for line in order:
            line.sort(key=lambda p: sum(q.x for q in tied[id(p)]) / len(tied[id(p)]) if id(p) in tied else p.x)
            _spread(line)


def _spread(line: list[_Place]) -> None:
    """Side by side, the middle at 0."""
    at = -(sum(p.width for p in line) + ACROSS * (len(line) - 1)) / 2
    for place in line:
        place.x = at + place.width / 2
        at += place.width + ACROSS


# -- the drawing -----------------------------------------------------------------------------------------------------------


def drawing(found: Flow, names: dict[str, str] | None = None, title: str = "") -> Html:
    """Boxes from top to bottom and lines between them, as SVG coloured by the page's style sheet.

    ``names`` say "input", "output" and "parameters" in the page's language.
    """
    names = {"input": "input", "output": "output", "parameters": "parameters"} | (names or {})
    ranks, ways = _placed(found)
    half = max((abs(p.x) + p.width / 2 for line in ranks for p in line), default=0)
    tall = [HIGH if any(p.box is not None and found.boxes[p.box].then for p in line) else LOW for line in ranks]
    tops = [EDGE + sum(tall[:rank]) + DOWN * rank for rank in range(len(ranks))]
    width, height = 2 * (half + EDGE), tops[-1] + tall[-1] + EDGE
    drawn = [_line(way, tops, tall, width / 2) for way in ways]
    for line in ranks:
        for p in line:
            if p.box is not None:
                drawn.append(_box(found.boxes[p.box], p.x + width / 2, tops[p.rank], tall[p.rank], names))
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    return el("svg", el("title", title) if title else None, *drawn, **size, role="img", aria_label=_said(found), class_="graph")


def _line(way: list[_Place], tops: list[int], tall: list[int], middle: float) -> Html:
    path, last = "", way[-1]
    for a, b in itertools.pairwise(way):
        x1, y1 = a.x + middle, tops[a.rank] + tall[a.rank]
        x2, y2 = b.x + middle, tops[b.rank] - (6 if b is last else 0)
        half = (y2 - y1) / 2
        path += f"M{x1:.1f} {y1}" if a is way[0] else f"L{x1:.1f} {y1}"
        path += f" C{x1:.1f} {y1 + half:.1f} {x2:.1f} {y2 - half:.1f} {x2:.1f} {y2} "
    tip = el("path", d=f"M{last.x + middle:.1f} {tops[last.rank]} l-4 -7 h8 z", class_="tip")
    return el("g", el("path", d=path.strip(), class_="wire"), tip)


def _box(box: Box, x: float, y: int, height: int, names: dict[str, str]) -> Html:
    left, right = f"{x - WIDTH / 2 + 10:.1f}", f"{x + WIDTH / 2 - 10:.1f}"
    outer = box.kind in ("input", "output")
    count = f"{box.parameters:,} {names['parameters']}" if box.parameters else ""
    kinds = "" if outer else " → ".join((box.kind, *box.then))
    said = "; ".join(filter(None, (box.path, kinds, box.shape, count, box.note)))
    place = {"x": f"{x - WIDTH / 2:.1f}", "y": y, "width": WIDTH, "height": height, "rx": 21 if outer else 7}
    frame = el("rect", el("title", said) if said else None, **place)
    if outer:
        word = " ".join(filter(None, (names[box.kind], box.shape)))
        return el("g", frame, el("text", word, x=f"{x:.1f}", y=y + height // 2 + 5, text_anchor="middle"), class_="outer")
    texts = [
        el("text", _cut(box.kind, 20), x=left, y=y + 18, class_="kind"),
        el("text", _cut(box.shape, 26), x=left, y=y + 34),
        el("text", f"{box.parameters:,}", x=right, y=y + 18, text_anchor="end") if box.parameters else None,
        el("text", _cut(box.note, 12), x=right, y=y + 34, text_anchor="end") if box.note else None,
        el("text", _cut("+ " + ", ".join(box.then), 32), x=left, y=y + 50) if box.then else None,
    ]
    return el("g", frame, *texts)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _said(found: Flow) -> str:
    """The graph in words, for those who cannot see it."""
    return "; ".join(
        f"{found.boxes[i].kind} → {found.boxes[j].kind} {found.boxes[j].shape}".strip() for i, j in found.edges[:60]
    )
