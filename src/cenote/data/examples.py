"""Raw examples as people have them, with where each came from and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Finding:
    """Something that was noticed while reading or preparing, and what was done about it."""

    text: str  # a whole sentence: what, how often, an example of it, what was done
    severity: str = "note"  # "note", "warning"
    where: str = ""  # file, file:row, or column


@dataclass
class Examples:
    """Raw inputs and targets, not yet numbers.

    ``inputs`` is whatever the kind uses, with a length and rows: a `Table`, a list of texts, files that are opened when
    needed. ``names`` say where each example came from (a path, ``titanic.csv:13``). ``parts`` gives the part of each where the
    source itself says it ("train", "validation", "test"); ``groups`` what must stay together; ``times`` what comes first.
    """

    kind: str  # "table", "image", "text", "audio", "series"
    inputs: Any
    targets: Any = None
    names: Sequence[str] = ()
    about: dict[str, Any] = field(default_factory=dict)  # facts for people: counts, sizes, types of columns
    findings: list[Finding] = field(default_factory=list)
    parts: np.ndarray | None = None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        text = f": {self.about['text']}" if self.about.get("text") else ""
        noticed = f", {len(self.findings)} findings" if self.findings else ""
        return f"<{len(self):,} examples of {self.kind}{text}{noticed}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the facts, what was noticed, and the first examples."""
        from ..report.html import el, join, pairs

        facts = {k: v for k, v in self.about.items() if k != "text" and isinstance(v, (str, int, float))}
        return join(el("p", repr(self)), pairs(facts), noticed(self.findings), _first(self))

    def take(self, rows: Any) -> Examples:
        """Some of the examples, by row numbers."""
        rows = np.asarray(rows)

        def of(values: Any) -> Any:
            if values is None or (isinstance(values, (list, tuple)) and not values):
                return values
            if hasattr(values, "take_rows"):
                return values.take_rows(rows)
            return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]

        names = ("inputs", "targets", "names", "parts", "groups", "times")
        return replace(self, **{name: of(getattr(self, name)) for name in names}, findings=list(self.findings))


def noticed(findings: Sequence[Finding]) -> Any:
    """Findings as a list for notebooks, warnings first; None where there are none."""
    from ..report.html import el

    order = sorted(findings, key=lambda f: f.severity != "warning")
    items = [el("li", el("b", "warning: ") if f.severity == "warning" else None, f.text) for f in order]
    return el("ul", items) if items else None


SHOWN = 5  # examples in a notebook


def _first(examples: Examples) -> Any:
    """The first examples: pictures, spectrograms, or a table of rows or texts; None for what cannot be shown."""
    from ..report.html import el, table

    count = min(len(examples), SHOWN)
    targets = [None if examples.targets is None else examples.targets[i] for i in range(count)]
    told = ["" if t is None or np.ndim(t) > 1 else str(t)[:60] for t in targets]
    if examples.kind in ("image", "audio"):
        figures = [el("figure", _looked_at(examples, i), el("figcaption", told[i]), style="margin:0") for i in range(count)]
        return el("div", figures, style="display:flex;flex-wrap:wrap;gap:1em")
    rows = []
    for i in range(count):
        one = examples.take([i]).inputs
        first = next(iter(one)) if len(one) else None
        shown = first if isinstance(first, dict) else {"text": first[:200]} if isinstance(first, str) else {}
        rows.append({**shown, **({"target": told[i]} if told[i] else {})})
    head = list(rows[0])[:12] if rows else []
    cells = [["" if row.get(name) is None else row.get(name) for name in head] for row in rows]
    return table(head, cells, text=tuple(range(len(head)))) if head else None


def _looked_at(examples: Examples, row: int) -> Any:
    """A picture, or the spectrogram of a recording."""
    from ..report.exhibits import spectrogram
    from ..report.pictures import picture, value_range

    values = np.asarray(examples.inputs[row])
    name = str(examples.names[row]) if row < len(examples.names) else f"{row + 1}"
    if examples.kind == "audio":
        return spectrogram(values, int(examples.inputs.rates[row]), name)
    return picture(values, value_range(values), name, name, height=96)
