"""Examples as people look at them: a sentence, a row of a table, the spectrogram of a recording, a stretch of a series."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from .facts import plain
from .html import Html, el
from .pictures import picture

__all__ = ["cut", "place", "row", "sentence", "spectrogram", "value_text"]

LONGEST = 360  # characters of a text
COLUMNS = 12  # of a row
FRAMES, BANDS = 160, 64  # of a spectrogram


def cut(text: str, longest: int = LONGEST) -> str:
    """A text that is not too long for a page.

    >>> cut("one two three", 9)
    'one two …'
    """
    text = " ".join(str(text).split())
    if len(text) <= longest:
        return text
    kept = text[: longest - 1]
    return (kept.rsplit(" ", 1)[0] + " …") if " " in kept[longest // 2 :] else kept + "…"


def place(name: Any) -> str:
    """Where an example is from, without the folders of this machine: a path's last two parts.

    >>> place("/home/me/photos/bees/7.jpg"), place("titanic.csv:13")
    ('bees/7.jpg', 'titanic.csv:13')
    """
    path = PurePath(str(name))
    return "/".join(path.parts[-2:]) if path.is_absolute() else str(name)


def sentence(text: str) -> Html:
    """A text as it is, cut if it is long."""
    return el("blockquote", cut(text))


def value_text(value: Any) -> str:
    """A cell as people read it.

    >>> value_text(None), value_text(3), value_text(0.123456789), value_text("red")
    ('–', '3', '0.1235', 'red')
    """
    if value is None:
        return "–"
    if isinstance(value, (float, np.floating)):
        return plain(float(value))
    return cut(str(value), 60)


def row(values: Mapping[str, Any], others: str = "") -> Html:
    """The first columns of a row, each with its value; ``others`` is a format for how many more there are."""
    items = list(values.items())
    shown = [el("div", el("span", name.replace("_", "_\u200b")), el("b", value_text(value))) for name, value in items[:COLUMNS]]
    if len(items) > COLUMNS and others:
        shown.append(el("div", el("span", others.format(count=len(items) - COLUMNS))))
    return el("div", shown, class_="row")


def spectrogram(samples: np.ndarray, rate: int, alt: str, said: str = "") -> Html:
    """The loudness of a recording by time (to the right) and frequency (upwards, to half the rate at most 8 kHz), as a picture.

    Frames of 32 ms by a Hann window; 60 dB below the loudest are the ground.
    """
    samples = np.asarray(samples, np.float32).reshape(-1)
    frame = max(64, 1 << int(np.log2(max(rate, 2000) * 0.032)))
    samples = np.pad(samples, (0, max(0, frame - len(samples))))
    begins = np.linspace(0, len(samples) - frame, min(FRAMES, max(8, 4 * len(samples) // frame))).astype(int)
    power = np.abs(np.fft.rfft(samples[begins[:, None] + np.arange(frame)] * np.hanning(frame), axis=1)) ** 2
    top = max(4, int(min(8000, rate / 2) / (rate / 2) * power.shape[1]))
    edges = np.unique(np.round(np.geomspace(2, top, BANDS + 1)).astype(int))
    bands = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1) / np.diff(edges)
    loud = 10 * np.log10(np.maximum(bands, 1e-12))
    shown = np.clip((loud - loud.max() + 60) / 60, 0, 1).T[::-1]
    shown = np.repeat(np.repeat(shown, -(-96 // len(shown)), axis=0), -(-240 // shown.shape[1]), axis=1)
    length = el("small", said or f"{len(samples) / rate:.2g} s", class_="soft")
    return el("div", picture(_coloured(shown), (0, 255), alt), length, class_="sound")


_DARK, _MIDDLE, _BRIGHT = np.array([[16, 32, 46], [15, 118, 110], [250, 240, 190]], np.float32)


def _coloured(values: np.ndarray) -> np.ndarray:
    """0 to 1 as colours from dark over green to bright, (height, width, 3) bytes."""
    v = values[..., None].astype(np.float32)
    lower = _DARK + (_MIDDLE - _DARK) * np.minimum(v * 2, 1)
    return np.where(v < 0.5, lower, _MIDDLE + (_BRIGHT - _MIDDLE) * np.clip(v * 2 - 1, 0, 1)).round().astype(np.uint8)
