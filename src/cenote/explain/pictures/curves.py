"""Figures of curves over a feature's values, and of the importance of features."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...figures import DOWN, GREY, INK, UP, figure, fonts, plain
from ..result import Curves, Importance

MOST_LINES = 100  # of single examples in an ICE plot


def curve(found: Curves, *, centred: bool = False) -> Any:
    """The mean in colour, single examples in grey, the feature's values as a rug; ``centred`` lets all start at zero."""
    if np.ndim(found.mean) == 2:
        return pair(found)
    drawn = figure(6.0, 3.8)
    axes = drawn.add_subplot()
    grid = np.asarray(found.grid)
    named = grid.dtype.kind not in "fiu"
    places = np.arange(len(grid)) if named else grid
    mean = np.asarray(found.mean) - (found.mean[0] if centred else 0.0)
    if found.each is not None:
        step = max(1, len(found.each) // MOST_LINES)
        for line in np.asarray(found.each)[::step]:
            axes.plot(places, line - (line[0] if centred else 0.0), color=GREY, alpha=0.25, linewidth=0.8)
    if named:
        error = None if found.error is None else 1.96 * np.asarray(found.error)
        axes.bar(places, mean, yerr=error, color=DOWN, width=0.6, error_kw={"ecolor": INK, "capsize": 3, "linewidth": 1})
        axes.set_xticks(places, [str(g) for g in grid], rotation=30 if len(grid) > 5 else 0, family=fonts())
    else:
        axes.plot(places, mean, color=UP, linewidth=2.2)
        if found.error is not None:
            spread = 1.96 * np.asarray(found.error)
            axes.fill_between(places, mean - spread, mean + spread, color=UP, alpha=0.18, linewidth=0)
        if found.shown is not None:
            inside = np.asarray(found.shown, float)
            inside = inside[(inside >= places[0]) & (inside <= places[-1])][:2000]
            axes.plot(
                inside, np.zeros(len(inside)), "|", color=INK, alpha=0.35, transform=axes.get_xaxis_transform(), clip_on=False
            )
    axes.set_xlabel(found.feature, family=fonts(), color=INK)
    axes.set_ylabel(found.output or "output", family=fonts(), color=INK)
    axes.set_title(found.method.replace("_", " "), loc="left", fontsize=10, color=GREY)
    plain(axes, grid="y")
    return drawn


def pair(found: Curves) -> Any:
    """Two features at once: the mean as a map, orange where it is high and blue where it is low."""
    from matplotlib.colors import LinearSegmentedColormap

    drawn = figure(5.6, 4.4)
    axes = drawn.add_subplot()
    grids = [np.asarray(g) for g in found.details["grids"]]
    named = [g.dtype.kind not in "fiu" for g in grids]
    places = [np.arange(len(g)) if n else g for g, n in zip(grids, named, strict=True)]
    colors = LinearSegmentedColormap.from_list("low to high", [DOWN, "#f5f3f0", UP])
    shown = axes.pcolormesh(*places, np.asarray(found.mean).T, shading="nearest", cmap=colors)
    for axis, grid, n in zip((axes.xaxis, axes.yaxis), grids, named, strict=True):
        if n:
            axis.set_ticks(range(len(grid)), [str(g) for g in grid], family=fonts())
    first, _, second = found.feature.partition(" x ")
    axes.set_xlabel(first, family=fonts(), color=INK)
    axes.set_ylabel(second, family=fonts(), color=INK)
    axes.set_title(found.method.replace("_", " "), loc="left", fontsize=10, color=GREY)
    bar = drawn.colorbar(shown, ax=axes)
    bar.outline.set_visible(False)
    bar.set_label(found.output or "output", color=INK)
    return drawn


def importance(found: Importance, most: int = 20) -> Any:
    """Bars, the most important feature on top, with 95% intervals where they are known."""
    order = found.order[:most]
    drawn = figure(6.4, 1.1 + 0.32 * len(order))
    axes = drawn.add_subplot()
    places = range(len(order))[::-1]
    error = None if found.error is None else 1.96 * np.asarray(found.error)[order]
    marks = {"ecolor": INK, "capsize": 2, "linewidth": 1}
    axes.barh(places, np.asarray(found.values)[order], xerr=error, color=DOWN, height=0.62, error_kw=marks)
    axes.set_yticks(places, [found.names[i] for i in order], family=fonts())
    axes.set_xlabel(found.unit or found.method.replace("_", " "), color=INK)
    plain(axes, grid="x")
    return drawn
