"""What moved an output most, as lines of text: columns with their values, words, places of a picture or a recording."""

from __future__ import annotations

import jax
import numpy as np

from ..result import Explanation
from . import kind_of
from .maps import plane
from .tables import columns, labels
from .texts import columns_of, runs

__all__ = ["features", "lines"]

PLACES = {
    "en": ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"),
    "zh": ("左上", "上方", "右上", "左侧", "中央", "右侧", "左下", "下方", "右下"),
}
PITCHES = {"en": ("low sounds", "middle sounds", "high sounds"), "zh": ("低音", "中音", "高音")}
TIMES = 5  # parts of a recording that are named
WIDTH = 24  # columns of the longest bar


def features(found: Explanation, row: int = 0, count: int = 8, language: str = "en") -> list[tuple[str, float]]:
    """The ``count`` features of an example that moved its output most, by names for people, with their values.

    Of a picture they are ninths of it, of a recording stretches of time and of pitch; neighbouring words of a text that moved
    the output in the same direction, without a space between them, are one.
    """
    kind = kind_of(found)
    if kind == "text":
        named = [(text, value) for text, value in runs(found, row) if value]
    elif kind in ("image", "audio"):
        values = plane(np.asarray(jax.tree.leaves(found.values)[0])[row])
        named = _heard(values, found, language) if kind == "audio" else _seen(values, language)
    else:
        values, _, _ = columns(found)
        named = list(zip(labels(found, row), values[row].tolist(), strict=True))
    return sorted(named, key=lambda item: -abs(item[1]))[:count]


def _seen(values: np.ndarray, language: str) -> list[tuple[str, float]]:
    parts = [part for band in np.array_split(values, 3, axis=0) for part in np.array_split(band, 3, axis=1)]
    return [(place, float(part.sum())) for place, part in zip(PLACES[language], parts, strict=True)]


def _heard(values: np.ndarray, found: Explanation, language: str) -> list[tuple[str, float]]:
    seconds = float(found.details.get("seconds", len(values)))
    count = min(TIMES, len(values))
    named = []
    for i, stretch in enumerate(np.array_split(values, count, axis=0)):
        when = f"{seconds * i / count:.2f}-{seconds * (i + 1) / count:.2f} s"
        for pitch, part in zip(PITCHES[language], np.array_split(stretch, 3, axis=1), strict=True):
            named.append((f"{when}, {pitch}", float(part.sum())))
    return named


def lines(found: Explanation, row: int = 0, count: int = 8, language: str = "en", width: int = 40) -> list[str]:
    """`features` as lines for a terminal: name, value, and a bar; Chinese characters count as two columns.

    >>> found = Explanation("any", np.array([[2.0, -1.0]]), np.ones((1, 2)), np.zeros(1), None, names=["年龄", "fare"])
    >>> print("\\n".join(lines(found)))
    年龄 = 1     +2  ++++++++++++++++++++++++
    fare = 1     -1  ------------
    """
    named = [(cut(name, width), value) for name, value in features(found, row, count, language)]
    wide = max((columns_of(name) for name, _ in named), default=0)
    top = max((abs(value) for _, value in named), default=0.0) or 1.0
    said = []
    for name, value in named:
        bar = ("+" if value > 0 else "-") * round(WIDTH * abs(value) / top)
        said.append(f"{name}{' ' * (wide - columns_of(name))}  {value:>+7.3g}  {bar}".rstrip())
    return said


def cut(text: str, width: int) -> str:
    """A text of at most so many columns, without line breaks.

    >>> cut("a very long name", 8), cut("很长的名字", 6)
    ('a very …', '很长…')
    """
    text = " ".join(text.split())
    if columns_of(text) <= width:
        return text
    while text and columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…"
