"""Explanations as pictures: matplotlib figures for notebooks and papers, and HTML for pages."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..result import Curves, Explanation, Importance

__all__ = ["html", "kind_of", "plot", "plot_curves", "plot_importance"]


def kind_of(found: Explanation) -> str:
    """What the examples are, as far as it can be told: "image", "text", "audio", "table", or "array"."""
    if found.kind:
        return found.kind
    leaves = jax.tree.leaves(found.values)
    if len(leaves) != 1:
        return "array"
    if found.raw is not None and len(found.raw) and isinstance(found.raw[0] if not hasattr(found.raw, "columns") else 0, str):
        return "text"
    shape = np.shape(leaves[0])
    x = jax.tree.leaves(found.x)
    if len(shape) == 2:
        return "text" if found.details.get("words") is not None else "table"
    if (len(shape) == 4 and shape[-1] in (1, 3, 4)) or (len(shape) == 3 and min(shape[1:]) >= 5):
        return "image"
    return "image" if len(x) == 1 and np.ndim(x[0]) == 4 and len(shape) == 3 else "array"


def plot(found: Explanation, row: int | None = None, *, style: str = "auto", most: int = 10) -> Any:
    """A figure of one example (``row``), or of all.

    ``style``: for tables "waterfall" (one example; the default there), "force" (one), "bar" (mean size over all; the default
    for several) or "beeswarm" (all); for pictures and sound "heat" (up to six examples); for texts "words". ``most`` features
    are shown by name, the others together.
    """
    from . import maps, tables, texts

    kind = kind_of(found)
    if style == "auto":
        style = {"image": "heat", "audio": "heat", "text": "words"}.get(kind, "")
        style = style or ("waterfall" if row is not None or len(found) == 1 else "beeswarm" if len(found) > 4 else "bar")
    if style == "heat":
        return maps.heat(found, row)
    if style == "words":
        return texts.words(found, row)
    drawn = {"waterfall": tables.waterfall, "force": tables.force, "bar": tables.bars, "beeswarm": tables.beeswarm}
    if style not in drawn:
        from ...core.errors import unknown

        raise unknown("style", style, ["auto", "heat", "words", *drawn])
    return drawn[style](found, row or 0, most) if style in ("waterfall", "force") else drawn[style](found, most)


def plot_curves(curves: Curves, **options: Any) -> Any:
    """A figure of one feature's curve."""
    from . import curves as drawing

    return drawing.curve(curves, **options)


def plot_importance(found: Importance, most: int = 20) -> Any:
    """A figure of bars, the most important feature on top."""
    from . import curves as drawing

    return drawing.importance(found, most)


def html(found: Explanation) -> str:
    """An explanation as HTML for a notebook: what was asked, the certificate, and the first examples."""
    from .page import fragment

    return fragment(found)
