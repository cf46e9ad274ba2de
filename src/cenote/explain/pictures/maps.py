"""Figures of pictures, spectrograms and attention: where in the input the values lie."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ...figures import DOWN, GREY, INK, PAPER, UP, figure, fonts
from ..result import Explanation

MOST = 6  # examples in one figure


def plane(values: np.ndarray) -> np.ndarray:
    """(height, width): the values of one picture, added up over its colours."""
    values = np.asarray(values, np.float64)
    return values.sum(-1) if values.ndim == 3 else values


def scale_of(values: np.ndarray) -> float:
    """What counts as strong: the 99.5th percentile, so that one pixel does not make all others pale."""
    size = np.abs(values)
    top = float(np.percentile(size, 99.5)) if size.size else 0.0
    return top or float(size.max(initial=0.0)) or 1.0


def pale(x: np.ndarray) -> np.ndarray:
    """(height, width): a picture so light that colours show on it; light writing on black becomes dark on white."""
    shades = grey(x)
    return 1 - 0.5 * shades if np.median(shades) < 0.25 else 0.55 + 0.45 * shades


def grey(x: np.ndarray) -> np.ndarray:
    """(height, width) in 0..1: a picture without its colours, so that only the values are coloured."""
    x = np.asarray(x, np.float64)
    x = x.mean(-1) if x.ndim == 3 else x
    low, high = float(x.min()), float(x.max())
    return (x - low) / (high - low) if high > low else np.zeros_like(x)


def overlay(values: np.ndarray, x: np.ndarray | None) -> np.ndarray:
    """(height, width, 3) in 0..1: the picture in pale grey, and over it in colour what raised and what lowered the output."""
    flat = smoothed(plane(values))
    if x is not None and np.shape(x)[:2] != flat.shape:
        flat = enlarged(flat, np.shape(x)[:2])
    strength = np.clip(np.abs(flat) / scale_of(flat), 0, 1)[..., None]
    below = np.repeat(pale(x)[..., None], 3, axis=2) if x is not None else np.ones((*flat.shape, 3))
    color = np.where(flat[..., None] > 0, _rgb(UP), _rgb(DOWN))
    return below * (1 - strength) + color * strength


def smoothed(values: np.ndarray) -> np.ndarray:
    """Values of a large picture as the eye takes them in: those of single pixels of a photograph look like noise.

    A normal blur, its deviation a fiftieth of the shorter side; up to 64 pixels a side nothing is changed.
    """
    if min(values.shape) <= 64:
        return values
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, min(values.shape) / 50)


def enlarged(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A coarse map at the size of the picture."""
    from PIL import Image

    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float64)


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def single(found: Explanation) -> tuple[np.ndarray, np.ndarray | None]:
    """The one array of values, and the one of inputs where it has a picture's form."""
    leaves, given = jax.tree.leaves(found.values), jax.tree.leaves(found.x)
    if len(leaves) != 1:
        raise ValueError(f"the explanation has {len(leaves)} arrays of values: draw one of them")
    values = np.asarray(leaves[0])
    x = np.asarray(given[0]) if len(given) == 1 and np.ndim(given[0]) in (3, 4) else None
    return values, x


def heat(found: Explanation, row: int | None = None) -> Any:
    """Each example beside the map of what raised (orange) and lowered (blue) its output."""
    values, x = single(found)
    rows = [row] if row is not None else list(range(min(len(found), MOST)))
    beside = x is not None
    wide = 2 if beside else 1
    drawn = figure(2.5 * wide * min(len(rows), 2) + 0.6, 2.6 * -(-len(rows) // 2) + 0.5)
    places = drawn.subplots(-(-len(rows) // 2), wide * min(len(rows), 2), squeeze=False)
    for axes in places.ravel():
        axes.axis("off")
    audio = found.kind == "audio"
    for i, r in enumerate(rows):
        line, first = places[i // 2], (i % 2) * wide
        if beside and x is not None:
            _picture(line[first], x[r], audio)
            line[first].set_title(_title(found, r), fontsize=9, color=INK, family=fonts())
        here = line[first + wide - 1]
        image = overlay(values[r], None if x is None else x[r])
        here.imshow(_turned(image, audio), interpolation="nearest", aspect="auto" if audio else "equal")
        here.set_title(f"{found.said(r)} {float(found.output[r]):.3g}", fontsize=9, color=INK, family=fonts())
    drawn.supxlabel(f"{found.method.replace('_', ' ')}: orange raised the output, blue lowered it", fontsize=8, color=GREY)
    return drawn


def _turned(image: np.ndarray, audio: bool) -> np.ndarray:
    """A spectrogram (time, frequency) with time to the right and low sounds below."""
    return np.flip(np.swapaxes(image, 0, 1), 0) if audio else image


def _picture(axes: Any, x: np.ndarray, audio: bool) -> None:
    if audio:
        axes.imshow(_turned(np.squeeze(x), True), cmap="magma", aspect="auto")
        return
    x = np.asarray(x, np.float64)
    low, high = float(x.min()), float(x.max())
    shown = (x - low) / (high - low) if high > low else np.zeros_like(x)
    shown = shown[..., 0] if shown.ndim == 3 and shown.shape[-1] not in (3, 4) else shown
    axes.imshow(shown, cmap="gray", interpolation="nearest")


def _title(found: Explanation, row: int) -> str:
    sources, raw = found.details.get("sources"), found.raw
    if sources is not None:
        return str(sources[row]).rsplit("/", 1)[-1]
    if isinstance(raw, list) and isinstance(raw[row], str):
        return raw[row].rsplit("/", 1)[-1]
    return f"example {row}"


def attention(weights: np.ndarray, words: list[str], others: list[str] | None = None, title: str = "") -> Any:
    """A map of attention: ``weights`` (queries, keys), with the words at its sides."""
    weights = np.asarray(weights)
    others = words if others is None else others
    size = 0.28 * max(len(words), len(others)) + 1.8
    drawn = figure(size + 0.6, size)
    axes = drawn.add_subplot()
    shown = axes.imshow(weights, cmap="Blues", vmin=0)
    axes.set_xticks(range(len(others)), others, rotation=90, family=fonts(), fontsize=9)
    axes.set_yticks(range(len(words)), words, family=fonts(), fontsize=9)
    axes.set_xlabel("looked at", color=INK)
    axes.set_ylabel("looking", color=INK)
    axes.set_title(title, loc="left", fontsize=10, color=GREY)
    bar = drawn.colorbar(shown, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    axes.set_facecolor(PAPER)
    return drawn
