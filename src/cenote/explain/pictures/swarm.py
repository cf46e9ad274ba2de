"""Drawings inside a page: all rows of a table as dots, and a series with what each of its steps did."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...figures import DOWN, UP
from ...report.html import Html, el
from ..result import Explanation
from .tables import columns, shades, spread

__all__ = ["series", "swarm"]

MOST = 400  # dots a feature
NAME, WIDE, ROW = 170, 690, 34  # points: where names end, the whole width, the height of a feature
MIDDLE = "#9a94ad"


def swarm(found: Explanation, words: dict[str, str], most: int) -> Html:
    """A row a feature and a dot an example, to the right where it raised the output; orange where its own value is high."""
    values, x, names = columns(found)
    order = np.argsort(-np.abs(values).mean(0), kind="stable")[:most]
    pick = np.linspace(0, len(values), min(len(values), MOST), endpoint=False).astype(int)
    low, high = min(float(values[:, order].min()), 0.0), max(float(values[:, order].max()), 0.0)
    span = (high - low) or 1.0

    def across(value: Any) -> Any:
        return NAME + 14 + (WIDE - NAME - 28) * (value - low) / span

    height = ROW * len(order) + 34
    zero = across(0.0)
    parts = [el("line", x1=f"{zero:.1f}", x2=f"{zero:.1f}", y1=4, y2=height - 28, class_="axis")]
    for place, feature in enumerate(order):
        middle = ROW * place + ROW / 2 + 4
        parts.append(el("line", x1=NAME + 8, x2=WIDE, y1=middle, y2=middle, class_="grid"))
        name = names[feature] if len(names[feature]) <= 22 else names[feature][:21] + "…"
        parts.append(el("text", name, x=NAME, y=middle + 4, text_anchor="end", class_="tick"))
        v = values[pick, feature]
        shade = np.full(len(v), 0.5) if x is None else shades(np.asarray(x[:, feature], float))[pick]
        tops = middle - spread(v) * ROW
        for at, top, part in zip(across(v), tops, shade, strict=True):
            parts.append(el("circle", cx=f"{at:.1f}", cy=f"{top:.1f}", r=2.6, fill=_between(float(part)), opacity=0.85))
    for value in dict.fromkeys((low, 0.0, high)):
        said = f"{value:+.2g}" if value else "0"
        anchor = "end" if value and value == high else "middle"
        parts.append(el("text", said, x=f"{across(value):.1f}", y=height - 8, text_anchor=anchor, class_="tick"))
    drawn = el("svg", parts, viewBox=f"0 0 {WIDE} {height}", class_="swarm", role="img", aria_label=words["swarm_text"])
    one = found.target is not None and len(found) > 0 and found.classes is not None
    about = words["swarm_text"] + (" " + words["towards"].format(name=found.said(0)) if one else "")
    return el("div", el("div", drawn, class_="scroll"), el("p", about, class_="soft"))


def _between(part: float) -> str:
    """From blue by way of grey to orange."""
    first, second, way = (DOWN, MIDDLE, 2 * part) if part < 0.5 else (MIDDLE, UP, 2 * part - 1)
    mixed = [round(int(first[i : i + 2], 16) * (1 - way) + int(second[i : i + 2], 16) * way) for i in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def series(found: Explanation, row: int, words: dict[str, str]) -> Html:
    """Each variable's past as a line, and below it a bar for each step: what it did to the forecast."""
    values, past, names = past_of(found, row)
    wide, tall, foot = 690.0, 110.0, 60.0
    top = float(np.abs(values).max(initial=0.0)) or 1.0
    drawn = []
    for number, name in enumerate(names):
        v, y = values[:, number], past[:, number]
        step = (wide - 20) / len(v)
        low, high = float(y.min()), float(y.max())
        heights = tall - 8 - (tall - 30) * (y - low) / ((high - low) or 1.0)
        points = " ".join(f"{10 + step * (i + 0.5):.1f},{h:.1f}" for i, h in enumerate(heights))
        bars = [
            el(
                "rect", x=f"{10 + step * i:.2f}", width=f"{max(step * 0.86, 0.6):.2f}", height=f"{size:.2f}",
                y=f"{tall + foot / 2 - (size if value > 0 else 0):.2f}", fill=UP if value > 0 else DOWN,
            )
            for i, value in enumerate(v)
            if (size := abs(float(value)) / top * foot / 2) > 0.1
        ]  # fmt: skip
        middle = tall + foot / 2
        parts = [
            el("line", x1=10, x2=wide - 10, y1=middle, y2=middle, class_="axis"),
            *bars,
            el("polyline", points=points, class_="line train"),
            el("text", name, x=10, y=14, class_="tick"),
            el("text", f"{low:.4g} … {high:.4g}", x=wide - 10, y=14, text_anchor="end", class_="tick"),
            el("text", f"-{len(v)}", x=10, y=tall + foot + 14, class_="tick"),
            el("text", "-1", x=wide - 10, y=tall + foot + 14, text_anchor="end", class_="tick"),
        ]
        drawn.append(
            el("svg", parts, viewBox=f"0 0 {wide:.0f} {tall + foot + 20:.0f}", class_="swarm", role="img", aria_label=name)
        )
    return el("div", drawn, el("p", words["series_text"], class_="soft"))


def past_of(found: Explanation, row: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Values and the past itself, (history, variable), and the variables' names."""
    names = list(found.details["variables"])
    history = int(found.details["history"])
    shape = (history, len(names))
    size = history * len(names)
    return (np.asarray(found.values)[row, :size].reshape(shape), np.asarray(found.x, float)[row, :size].reshape(shape), names)
