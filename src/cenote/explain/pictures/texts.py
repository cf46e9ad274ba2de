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
    words = found.details.get("words")
    text = found.raw[row] if isinstance(found.raw, (list, tuple, np.ndarray)) and isinstance(found.raw[row], str) else None
    said = list(words[row]) if words is not None else [] if text is None else text.split() if " " in text else list(text)
    if not said:
        said = [str(v) for v in np.asarray(jax.tree.leaves(found.x)[0])[row]]
    shown: list[tuple[str, float]] = []
    place = 0
    for word, value in zip(said, values, strict=False):
        at = text.find(word, place) if text is not None and word else -1
        if text is not None and at >= 0:
            if at > place:
                shown.append((text[place:at], 0.0))
            place = at + len(word)
        elif shown:
            shown.append((" ", 0.0))
        shown.append((word, float(value)))
    if text is not None and place < len(text):
        shown.append((text[place:], 0.0))
    return shown


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
