"""Charts as inline SVG, coloured by the page's style sheet, so that they follow light, dark and print."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .html import Html, el
from .scores import Bin
from .story import Course, Window

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 40  # space around the plot


class Curve(NamedTuple):
    """A line: its label, its style ("train" or "valid"), and points (x, y)."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them.

    >>> ticks(0.0, 1.0), ticks(3, 17)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [5.0, 10.0, 15.0])
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [float(f"{i * step:.12g}") for i in range(first, last + 1)]
    return [low, high]


def label(value: float) -> str:
    """A number at an axis: as short as it can be.

    >>> label(0.5), label(20.0), label(0.00001), label(250000.0)
    ('0.5', '20', '1e-05', '250k')
    """
    if value and abs(value) >= 1e4:
        return f"{value / 1e3:,.10g}k" if abs(value) < 1e6 else f"{value:.3g}"
    return f"{value:.6g}"


def line_chart(name: str, curves: Sequence[Curve], *, x_label: str = "", best: tuple[float, float, str] | None = None) -> Html:
    """Curves over epochs; ``best`` is a point to mark, with what to say of it. Logarithmic where values span a lot."""
    points = [p for curve in curves for p in curve.points if math.isfinite(p[1])]
    if not points:
        return Html("")
    low, high = min(y for _, y in points), max(y for _, y in points)
    logarithmic = low > 0 and high > 100 * low
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    space = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    low, high = low - space, high + space
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    if first == last:
        first, last = first - 0.5, last + 0.5

    def x_at(x: float) -> float:
        return LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y_at(y: float) -> float:
        y = math.log10(y) if logarithmic else y
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    y_ticks = _log_ticks(low, high) if logarithmic else ticks(low, high)
    drawn = [_across(y_at(t), label(t)) for t in y_ticks]
    whole = [t for t in ticks(math.ceil(first), math.floor(last), 8) if t == int(t)]
    drawn += [el("text", label(t), x=_px(x_at(t)), y=HEIGHT - BOTTOM + 18, class_="tick", text_anchor="middle") for t in whole]
    drawn.append(_baseline())
    drawn.append(el("text", x_label, x=WIDTH - RIGHT, y=HEIGHT - 4, class_="tick", text_anchor="end"))
    if best is not None:
        x = x_at(best[0])
        drawn.append(el("line", x1=_px(x), x2=_px(x), y1=TOP, y2=HEIGHT - BOTTOM, class_="best"))
    for curve in curves:
        drawn.append(_curve(curve, x_at, y_at, x_label))
    if best is not None:
        mark = el("circle", el("title", best[2]), cx=_px(x_at(best[0])), cy=_px(y_at(best[1])), r=5.5, class_="mark")
        drawn.append(mark)
    said = f"{name}: " + "; ".join(f"{c.label} {c.points[-1][1]:.4g}" for c in curves if c.points)
    return el("svg", el("title", name), *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said, class_="chart")


def _curve(curve: Curve, x_at, y_at, x_label: str, dots: bool = True) -> Html:
    path, pen = [], "M"
    for x, y in curve.points:
        if math.isfinite(y):
            path.append(f"{pen}{_px(x_at(x))} {_px(y_at(y))}")
            pen = "L"
        else:
            pen = "M"  # a gap where there is no number
    points = [
        el(
            "circle",
            el("title", f"{curve.label}, {x_label} {label(x)}: {y:.4g}" if x_label else f"{curve.label}: {y:.4g}"),
            cx=_px(x_at(x)),
            cy=_px(y_at(y)),
            r=2.4 if len(curve.points) <= 40 else 1.2,
            class_=f"dot {curve.style}",
        )
        for x, y in (curve.points if dots else ())
        if math.isfinite(y)
    ]
    line = el("path", d=" ".join(path), class_=f"line {curve.style}")
    return el("g", line, points if len(points) <= 400 else None)


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [10.0**p for p in powers if low <= p <= high]
    if len(found) < 3:
        found = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= math.log10(m * 10.0**p) <= high]
    return found[:: 1 + len(found) // 8]


def reliability_chart(bins: Sequence[Bin], words: tuple[str, str, str]) -> Html:
    """How often the model was right against how sure it was; ``words`` name the axes, and what a point is (a format)."""
    side, across, right = 300, 330, 26
    most = max(b.count for b in bins)

    def x_at(v: float) -> float:
        return LEFT + v * (across - LEFT - right)

    def y_at(v: float) -> float:
        return side - BOTTOM - v * (side - TOP - BOTTOM)

    drawn = [_across(y_at(t), f"{t:.0%}", across - right) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    drawn += [
        el("text", f"{t:.0%}", x=_px(x_at(t)), y=side - BOTTOM + 18, class_="tick", text_anchor="middle")
        for t in (0.0, 0.5, 1.0)
    ]
    drawn.append(el("text", words[0], x=across - right, y=side - 4, class_="tick", text_anchor="end"))
    drawn.append(el("line", x1=_px(x_at(0)), y1=_px(y_at(0)), x2=_px(x_at(1)), y2=_px(y_at(1)), class_="best"))
    for b in bins:
        said = words[2].format(low=b.low, high=b.high, count=b.count, confidence=b.confidence, accuracy=b.accuracy)
        size = 3 + 7 * math.sqrt(b.count / most)
        drawn.append(
            el(
                "circle",
                el("title", said),
                cx=_px(x_at(b.confidence)),
                cy=_px(y_at(b.accuracy)),
                r=_px(size),
                class_="bubble",
            )
        )
    said = f"{words[1]} / {words[0]}"
    return el(
        "svg",
        el("title", said),
        *drawn,
        viewBox=f"0 0 {across} {side}",
        role="img",
        aria_label=said,
        class_="chart small",
    )


class Frame:
    """A plot's box: where values lie in it, and its axes."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, width: int = WIDTH, height: int = HEIGHT, left: int = LEFT
    ) -> None:
        self.x_range, self.y_range, self.width, self.height, self.left = _wide(*x), _wide(*y), width, height, left

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def axes(self, x_label: str = "", y_label: str = "", *, x_ticks: Sequence[float] | None = None) -> list[Html]:
        """Lines across with their numbers, numbers below, and what they are."""
        right, below = self.width - RIGHT, self.height - BOTTOM
        drawn = [_across(self.y(t), label(t), right, self.left) for t in ticks(*self.y_range)]
        for t in ticks(*self.x_range) if x_ticks is None else x_ticks:
            drawn.append(el("text", label(t), x=_px(self.x(t)), y=below + 18, class_="tick", text_anchor="middle"))
        drawn.append(el("line", x1=self.left, x2=right, y1=below, y2=below, class_="axis"))
        drawn.append(el("text", x_label, x=right, y=self.height - 4, class_="tick", text_anchor="end"))
        if y_label:
            drawn.append(el("text", y_label, x=self.left + 4, y=TOP + 10, class_="tick"))
        return drawn

    def svg(self, name: str, *drawn: object, class_: str = "chart") -> Html:
        box = f"0 0 {self.width} {self.height}"
        return el("svg", el("title", name), *drawn, viewBox=box, role="img", aria_label=name, class_=class_)


def histogram(
    name: str, values: Sequence[float] | np.ndarray, words: tuple[str, str], *, zero: bool = False, height: int = 220
) -> Html:
    """How often values lie where; ``words`` name the horizontal axis and say what a bar is (a format of low, high, count).

    What lies outside of the middle 99% is counted in the first and the last bar. ``zero`` marks 0.
    """
    values = np.asarray(values, np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if not len(values):
        return Html("")
    low, high = np.percentile(values, [0.5, 99.5]).tolist() if len(values) > 200 else (values.min(), values.max())
    few = np.unique(values)
    if len(few) <= 25 and (few == np.round(few)).all() and few[-1] - few[0] <= 40:
        edges = np.arange(few[0] - 0.5, few[-1] + 1)
    else:
        low, high = _wide(float(low), float(high))
        edges = np.linspace(low, high, int(np.clip(2 * len(values) ** (1 / 3), 6, 30)) + 1)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    frame = Frame((edges[0], edges[-1]), (0, float(counts.max()) * 1.04), height=height)
    drawn: list[Html] = frame.axes(words[0])
    for start, end, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True):
        x, top = frame.x(start), frame.y(count)
        said = el("title", words[1].format(low=label(_short(start)), high=label(_short(end)), count=count))
        box = {"x": x, "y": top, "width": max(frame.x(end) - x - 1, 0.5), "height": frame.height - BOTTOM - top}
        if count:
            drawn.append(el("rect", said, **{k: _px(v) for k, v in box.items()}, class_="barred"))
    if zero and edges[0] < 0 < edges[-1]:
        x = _px(frame.x(0))
        drawn.append(el("line", x1=x, x2=x, y1=TOP, y2=frame.height - BOTTOM, class_="best"))
    return frame.svg(name, *drawn)


MOST_POINTS = 1500  # of a scatter


def scatter(name: str, x: np.ndarray, y: np.ndarray, words: tuple[str, str, str]) -> Html:
    """Points beside the diagonal; ``words`` name both axes and say what a point is (a format of x and y)."""
    x, y = (np.asarray(a, np.float64).reshape(-1) for a in (x, y))
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    both = np.concatenate([x[chosen], y[chosen]])
    low, high = float(both.min()), float(both.max())
    space = (high - low) * 0.03 or 0.5
    frame = Frame((low - space, high + space), (low - space, high + space), height=340)
    drawn = frame.axes(*words[:2])
    ends = frame.x_range
    line = {"x1": frame.x(ends[0]), "y1": frame.y(ends[0]), "x2": frame.x(ends[1]), "y2": frame.y(ends[1])}
    drawn.append(el("line", **{k: _px(v) for k, v in line.items()}, class_="best"))
    radius, tell = 3 if len(chosen) <= 300 else 2, len(chosen) <= 400
    for a, b in zip(x[chosen].tolist(), y[chosen].tolist(), strict=True):
        said = el("title", words[2].format(x=label(_short(a)), y=label(_short(b)))) if tell else None
        drawn.append(el("circle", said, cx=_px(frame.x(a)), cy=_px(frame.y(b)), r=radius, class_="point"))
    return frame.svg(name, *drawn)


def forecast_chart(window: Window, words: tuple[str, str, str, str]) -> Html:
    """The past, what came, what was foreseen and its interval; ``words`` name these four."""
    past, true, said = (np.asarray(a, np.float64) for a in (window.past, window.true, window.said))
    ends = [e for e in (window.low, window.high) if e is not None]
    everything = np.concatenate([past, true, said, *ends])
    everything = everything[np.isfinite(everything)]
    low, high = float(everything.min()), float(everything.max())
    space = (high - low) * 0.06 or 0.5
    horizon = len(said)
    frame = Frame((-len(past), horizon - 1), (low - space, high + space))
    drawn: list[Html] = frame.axes(x_ticks=())
    below = frame.height - BOTTOM + 18
    for at, time, anchor in zip((-len(past), 0, horizon - 1), window.times, ("start", "middle", "end"), strict=False):
        drawn.append(el("text", time, x=_px(frame.x(at)), y=below + (16 if at == 0 else 0), class_="tick", text_anchor=anchor))
    x = _px(frame.x(-0.5))
    drawn.append(el("line", x1=x, x2=x, y1=TOP, y2=frame.height - BOTTOM, class_="best"))
    if len(ends) == 2:
        there = [f"{_px(frame.x(k))} {_px(frame.y(v))}" for k, v in enumerate(ends[1])]
        back = [f"{_px(frame.x(k))} {_px(frame.y(v))}" for k, v in reversed(list(enumerate(ends[0])))]
        drawn.append(el("path", el("title", words[3]), d=f"M{' L'.join(there + back)} Z", class_="between"))
    before = list(zip(range(-len(past), 0), past.tolist(), strict=True))
    came = [*before[-1:], *enumerate(true.tolist())]
    foreseen = [*before[-1:], *enumerate(said.tolist())]
    for name, style, points in zip(words, ("past", "train", "valid"), (before, came, foreseen), strict=False):
        drawn.append(_curve(Curve(name, style, points), frame.x, frame.y, "", dots=len(points) <= 60))
    return frame.svg(window.name, *drawn)


MOST_PLACES = 500  # of a series, that are drawn


def course_chart(course: Course) -> Html:
    """A whole series, each part in its colour; of many values the smallest and the largest at each place."""
    values = np.asarray(course.values, np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        return Html("")
    low, high = float(known.min()), float(known.max())
    space = (high - low) * 0.06 or 0.5
    frame = Frame((0, len(values) - 1), (low - space, high + space), width=2 * WIDTH, height=240)
    drawn: list[Html] = frame.axes(x_ticks=())
    begins = [*course.begins.items(), ("", len(values) - 1)]
    step = -(-len(values) // MOST_PLACES)
    for (part, first), (_, after) in itertools.pairwise(begins):
        points = []
        for at in range(first, after + 1, step):
            some = values[at : min(at + step, after + 1)]
            some = some[np.isfinite(some)]
            if len(some):
                points += [(at, some[0])] if step == 1 else [(at, some.min()), (at, some.max())]
        drawn.append(_curve(Curve(part, part, points), frame.x, frame.y, "", dots=False))
    for at, time, anchor in zip((0, len(values) - 1), course.times, ("start", "end"), strict=True):
        below = frame.height - BOTTOM + 18
        drawn.append(el("text", time, x=_px(frame.x(at)), y=below, class_="tick", text_anchor=anchor))
    return frame.svg(course.name, *drawn, class_="chart wide")


def _wide(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty."""
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _across(y: float, text: str, right: float = WIDTH - RIGHT, left: float = LEFT) -> Html:
    line = el("line", x1=left, x2=right, y1=_px(y), y2=_px(y), class_="grid")
    return el("g", line, el("text", text, x=left - 8, y=_px(y + 4), class_="tick", text_anchor="end"))


def _baseline() -> Html:
    return el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")


def _px(value: float) -> str:
    return f"{value:.1f}"
