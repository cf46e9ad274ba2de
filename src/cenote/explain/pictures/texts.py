"""Texts with their words coloured: as a figure, and as HTML."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ...figures import DOWN, GREY, INK, UP, figure, fonts
from ...report.html import Html, el
from ..result import Explanation

WIDTH = 92  # columns of a line; a Chinese character takes two


def pieces(found: Explanation, row: int) -> list[tuple[str, float]]:
    """The text of a row in pieces, each with its value; what lies between the words has none.

    ``details["words"]`` holds the words of each row; without it the characters or words of the raw text are counted off.
    """
    values = np.asarray(jax.tree.leaves(found.values)[0])[row].astype(float)
    words, spans = found.details.get("words"), found.details.get("spans")
    text = found.raw[row] if isinstance(found.raw, (list, tuple, np.ndarray)) and isinstance(found.raw[row], str) else None
    if spans is not None and text is not None:
        return _between(text, list(spans[row]), values)
    said = list(words[row]) if words is not None else [] if text is None else text.split() if " " in text else list(text)
    if not said:
        said = [str(v) for v in np.asarray(jax.tree.leaves(found.x)[0])[row]]
    if text is None:
        return [piece for i, (word, v) in enumerate(zip(said, values, strict=False)) for piece in _apart(i, word, float(v))]
    places, place = [], 0
    for word in said:
        at = text.find(word, place) if word else -1
        places.append((at, at + len(word)) if at >= 0 else (place, place))
        place = places[-1][1]
    return _between(text, places, values)


def _apart(number: int, word: str, value: float) -> list[tuple[str, float]]:
    return [(" ", 0.0), (word, value)] if number else [(word, value)]


def _between(text: str, spans: list[tuple[int, int]], values: np.ndarray) -> list[tuple[str, float]]:
    shown: list[tuple[str, float]] = []
    place = 0
    for (first, last), value in zip(spans, values, strict=False):
        if first > place:
            shown.append((text[place:first], 0.0))
        if last > max(first, place):
            shown.append((text[max(first, place) : last], float(value)))
        place = max(place, last)
    return [*shown, (text[place:], 0.0)] if place < len(text) else shown


def runs(found: Explanation, row: int) -> list[tuple[str, float]]:
    """The words of a text with their values; neighbours without a space between, both up or both down, are one.

    So single Chinese characters become words again. What is below a tenth of the strongest ends a run.
    """
    shown = pieces(found, row)
    least = strength(shown) / 10
    joined: list[tuple[str, float]] = []
    going = 0.0
    for text, value in shown:
        if abs(value) >= least and going * value > 0:
            joined[-1] = (joined[-1][0] + text, joined[-1][1] + value)
        elif text.strip():
            joined.append((text, value))
        wide = columns_of(text) > len(text)  # words that are told apart by spaces stay apart, whatever stands between
        going = value if abs(value) >= least and wide else 0.0
    return joined


def strength(shown: list[tuple[str, float]]) -> float:
    """The largest value of a text, which gets the full colour."""
    return max((abs(v) for _, v in shown), default=0.0) or 1.0


def coloured(shown: list[tuple[str, float]]) -> Html:
    """A paragraph whose words stand on orange where they raised the output, and on blue where they lowered it."""
    top = strength(shown)
    spans = []
    for text, value in shown:
        part = min(abs(value) / top, 1.0)
        if part < 0.02:
            spans.append(el("span", text))
            continue
        color = _css(UP if value > 0 else DOWN, 0.12 + 0.68 * part)
        spans.append(el("span", text, style=f"background:{color};border-radius:3px;padding:.05em .1em", title=f"{value:+.3g}"))
    return el("p", spans, class_="words", style="line-height:2;overflow-wrap:anywhere")


def _css(color: str, alpha: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.2f})"


def columns_of(text: str) -> int:
    """How many columns a text takes: Chinese, Japanese and Korean characters take two.

    >>> columns_of("ab"), columns_of("很好")
    (2, 4)
    """
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def words(found: Explanation, row: int | None = None) -> Any:
    """Up to six texts as a figure, their words coloured."""
    rows = [row] if row is not None else list(range(min(len(found), 6)))
    lines: list[list[tuple[str, float, float]]] = []  # (text, value, part of the full colour)
    heads: dict[int, str] = {}
    for r in rows:
        heads[len(lines)] = f"{found.said(r)} {float(found.output[r]):.3g}"
        lines.append([])
        shown = pieces(found, r)
        top, used = strength(shown), 0
        lines.append([])
        for text, value in shown:
            wide = columns_of(text)
            if used + wide > WIDTH and used:
                lines.append([])
                used, text = 0, text.lstrip()
            lines[-1].append((text, value, min(abs(value) / top, 1.0)))
            used += columns_of(text)
    drawn = figure(7.9, 0.5 + 0.27 * len(lines))
    axes = drawn.add_subplot()
    axes.set_xlim(0, WIDTH + 2)
    axes.set_ylim(len(lines) + 0.2, -0.8)
    axes.axis("off")
    letters: dict[str, Any] = {
        "fontsize": 9.5,
        "color": INK,
        "family": ["DejaVu Sans Mono", *fonts()[1:]],
        "ha": "center",
        "va": "center",
    }
    for number, line in enumerate(lines):
        if number in heads:
            axes.text(0, number, heads[number], fontsize=9, color=GREY, family=fonts(), va="center")
            continue
        place = 0.0
        for text, value, part in line:
            wide = columns_of(text)
            if part >= 0.02:
                color = UP if value > 0 else DOWN
                axes.barh(number, wide, left=place, height=0.86, color=color, alpha=0.12 + 0.68 * part, linewidth=0)
            for character in text:  # one by one: the Chinese font is not exactly twice as wide as the other
                step = columns_of(character)
                axes.text(place + step / 2, number, character, **letters)
                place += step
    return drawn
