"""Figures of features with names: waterfall, force, bars, beeswarm."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ...figures import DOWN, FAINT, GREY, INK, PAPER, UP, figure, fonts, plain
from ..result import Explanation


def columns(found: Explanation) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Values (rows, features), what was given (rows, features) where it has that form, and the features' names."""
    leaves = [np.asarray(v).reshape(len(found), -1) for v in jax.tree.leaves(found.values)]
    values = np.concatenate(leaves, axis=1)
    given = [np.asarray(v).reshape(len(found), -1) for v in jax.tree.leaves(found.x) if len(v) == len(found)]
    x = np.concatenate(given, axis=1) if given and sum(g.shape[1] for g in given) == values.shape[1] else None
    names = found.names
    if not names or len(names) != values.shape[1]:
        names = [f"feature {i}" for i in range(values.shape[1])]
    return values, x, list(names)


def shown_value(value: Any) -> str:
    """A feature's value as people read it."""
    return f"{float(value):.4g}"


def labels(found: Explanation, row: int) -> list[str]:
    """``name = value`` for each feature of a row; the raw value where the row is known as the user gave it."""
    _, x, names = columns(found)
    raw = found.raw
    if hasattr(raw, "columns") and hasattr(raw, "iloc") and list(map(str, raw.columns)) == names:
        return [f"{n} = {v if isinstance(v, str) else shown_value(v)}" for n, v in zip(names, raw.iloc[row], strict=True)]
    if isinstance(raw, list) and raw and isinstance(raw[row], dict) and all(n in raw[row] for n in names):
        return [f"{n} = {_said(raw[row][n])}" for n in names]
    if x is None:
        return names
    return [n if v != v else f"{n} = {shown_value(v)}" for n, v in zip(names, x[row].tolist(), strict=True)]


def _said(value: Any) -> str:
    text = "missing" if value is None else shown_value(value) if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"


def strongest(values: np.ndarray, names: list[str], most: int, errors: np.ndarray | None = None) -> tuple:
    """The ``most`` largest of one row, and the others added up: values, names, errors, the largest first."""
    order = np.argsort(-np.abs(values), kind="stable")
    top, rest = order[:most], order[most:]
    if len(rest) == 1:
        top, rest = order, order[:0]
    picked, said = list(values[top]), [names[i] for i in top]
    spread = None if errors is None else list(errors[top])
    if len(rest):
        picked.append(values[rest].sum())
        said.append(f"{len(rest)} other features")
        if spread is not None and errors is not None:
            spread.append(float(np.sqrt((errors[rest] ** 2).sum())))
    return np.array(picked), said, None if spread is None else np.array(spread)


def waterfall(found: Explanation, row: int, most: int) -> Any:
    """From the base value to the output, a step a feature."""
    values, _, _ = columns(found)
    errors = (
        None if found.error is None else np.concatenate([e.reshape(len(found), -1) for e in jax.tree.leaves(found.error)], 1)
    )
    steps, names, spread = strongest(values[row], labels(found, row), most, None if errors is None else errors[row])
    start = float(found.base[row]) if found.base is not None else 0.0
    drawn = figure(7.2, 1.3 + 0.36 * len(steps))
    axes = drawn.add_subplot()
    place = start
    for i, step in enumerate(reversed(list(steps))):  # the strongest ends up on top, next to the output
        color = UP if step > 0 else DOWN
        axes.barh(i, step, left=place, color=color, height=0.62)
        reach = max(place, place + step)
        if spread is not None:
            half = 1.96 * spread[::-1][i]
            axes.errorbar(place + step, i, xerr=half, color=INK, linewidth=1, capsize=2)
            reach = max(reach, place + step + half)
        spot = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axes.annotate(f"{step:+.3g}", (reach, i), color=color, **spot)
        if i < len(steps) - 1:
            axes.plot([place + step] * 2, [i - 0.31, i + 1.31], color=GREY, linewidth=0.7)
        place += step
    axes.axvline(start, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_yticks(range(len(names)), names[::-1], family=fonts())
    base = "base" if found.base is not None else "zero"
    axes.set_xlabel(f"from {base} {start:.4g} to {found.said(row)} {float(found.output[row]):.4g}", family=fonts(), color=INK)
    axes.margins(x=0.16)
    plain(axes, grid="x")
    axes.set_title(found.method.replace("_", " "), loc="left", fontsize=10, color=GREY)
    return drawn


def force(found: Explanation, row: int, most: int) -> Any:
    """One line: what pushed the output up, against what pushed it down."""
    values, _, _ = columns(found)
    steps, names, _ = strongest(values[row], labels(found, row), most)
    output = float(found.output[row])
    drawn = figure(9.0, 2.1)
    axes = drawn.add_subplot()
    for sign, color in ((1, UP), (-1, DOWN)):
        place = output
        for step, name in zip(steps, names, strict=True):
            if step * sign <= 0:
                continue
            low = place - step
            axes.barh(0, step, left=low, color=color, height=0.5, edgecolor="white", linewidth=1.2)
            wide = abs(step) / max(np.abs(steps).sum(), 1e-30)
            if wide > 0.07:
                short = name if len(name) < 60 * wide else name[: max(3, int(60 * wide)) - 1] + "…"
                axes.text(low + step / 2, -0.36, short, ha="center", va="top", fontsize=8, color=color, family=fonts())
                axes.text(low + step / 2, 0, f"{step:+.2g}", ha="center", va="center", fontsize=8, color="white")
            place = low
    axes.axvline(output, ymin=0.3, ymax=0.72, color=INK, linewidth=1.4)
    axes.text(output, 0.45, f"{found.said(row)} {output:.4g}", ha="center", fontsize=10, color=INK, family=fonts())
    if found.base is not None:
        axes.axvline(float(found.base[row]), ymin=0.3, ymax=0.66, color=PAPER, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_ylim(-0.75, 0.75)
    axes.set_yticks([])
    plain(axes)
    axes.spines["left"].set_visible(False)
    return drawn


def bars(found: Explanation, most: int) -> Any:
    """The mean size of each feature's value over all examples."""
    values, _, names = columns(found)
    sizes, said, _ = strongest(np.abs(values).mean(0), names, most)
    drawn = figure(6.4, 1.1 + 0.32 * len(sizes))
    axes = drawn.add_subplot()
    axes.barh(range(len(sizes))[::-1], sizes, color=DOWN, height=0.62)
    axes.set_yticks(range(len(sizes))[::-1], said, family=fonts())
    axes.set_xlabel(f"mean |value| over {len(found)} examples", color=INK)
    plain(axes, grid="x")
    return drawn


def beeswarm(found: Explanation, most: int) -> Any:
    """All examples: a dot each, a row a feature; the colour says whether the feature itself was low or high."""
    from matplotlib.colors import LinearSegmentedColormap

    values, x, names = columns(found)
    order = np.argsort(-np.abs(values).mean(0), kind="stable")[:most]
    drawn = figure(7.2, 1.2 + 0.42 * len(order))
    axes = drawn.add_subplot()
    colors = LinearSegmentedColormap.from_list("low to high", [DOWN, "#b9b3c9", UP])
    dots = None
    for place, feature in enumerate(reversed(order)):
        v = values[:, feature]
        shade = np.full(len(v), 0.5)
        if x is not None:
            shade = shades(x[:, feature])
        dots = axes.scatter(v, place + spread(v), c=shade, cmap=colors, vmin=0, vmax=1, s=11, linewidths=0, alpha=0.85)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(order)), [names[i] for i in reversed(order)], family=fonts())
    axes.set_xlabel("moved the output by", color=INK)
    plain(axes)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    if x is not None and dots is not None:
        bar = drawn.colorbar(dots, ax=axes, ticks=[0, 1], pad=0.02, aspect=30)
        bar.set_ticklabels(["low", "high"])
        bar.outline.set_visible(False)
        bar.set_label("the feature's value", color=INK)
    return drawn


def shades(values: np.ndarray) -> np.ndarray:
    """From 0 for the lowest to 1 for the highest by rank, equal ones alike; one half where there is no order (categories).

    >>> shades(np.array([10.0, 500.0, 20.0])).tolist(), shades(np.array([np.nan, 3.0, 3.0])).tolist()
    ([0.0, 1.0, 0.5], [0.5, 0.5, 0.5])
    """
    known = np.isfinite(values)
    found = np.full(len(values), 0.5)
    distinct, rank = np.unique(values[known], return_inverse=True)
    if len(distinct) > 1:
        found[known] = rank / (len(distinct) - 1)
    return found


def spread(values: np.ndarray, width: float = 0.36) -> np.ndarray:
    """Offsets that keep dots of equal value apart: each bin fills up from the middle, alternately to both sides.

    >>> spread(np.array([0.0, 0.0, 5.0])).tolist()
    [0.0, 0.36, 0.0]
    """
    low, high = float(values.min()), float(values.max())
    bins = np.zeros(len(values), int) if high <= low else ((values - low) / (high - low) * 60).astype(int)
    offsets = np.zeros(len(values))
    fullest = max(np.bincount(bins).max(), 2)
    for b in np.unique(bins):
        members = np.flatnonzero(bins == b)
        ranks = np.arange(len(members))
        side = np.where(ranks % 2, 1, -1)
        offsets[members] = side * ((ranks + 1) // 2) / ((fullest) // 2) * width
    return offsets
