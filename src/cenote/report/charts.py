"""Charts as inline SVG, coloured by the page's style sheet, so that they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .html import Html, el
from .scores import Bin, Interval

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


def _curve(curve: Curve, x_at, y_at, x_label: str) -> Html:
    path, pen = [], "M"
    for x, y in curve.points:
        if math.isfinite(y):
            path.append(f"{pen}{_px(x_at(x))} {_px(y_at(y))}")
            pen = "L"
        else:
            pen = "M"  # a gap where there is no number
    dots = [
        el(
            "circle",
            el("title", f"{curve.label}, {x_label} {label(x)}: {y:.4g}"),
            cx=_px(x_at(x)),
            cy=_px(y_at(y)),
            r=2.4 if len(curve.points) <= 40 else 1.2,
            class_=f"dot {curve.style}",
        )
        for x, y in curve.points
        if math.isfinite(y)
    ]
    line = el("path", d=" ".join(path), class_=f"line {curve.style}")
    return el("g", line, dots if len(dots) <= 400 else None)


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


def interval_strip(accuracy: float, interval: Interval, baseline: float, words: tuple[str, str]) -> Html:
    """A ruler from 0 to 100 %: the baseline as a tick, the interval as a band, the accuracy as a dot."""
    width, y = 600, 16

    def x_at(v: float) -> float:
        return 10 + v * (width - 20)

    ruler = [el("line", x1=x_at(0), x2=x_at(1), y1=y, y2=y, class_="ruler")]
    ruler += [
        el("text", f"{t:.0%}", x=_px(x_at(t)), y=y + 24, class_="tick", text_anchor=anchor)
        for t, anchor in ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end"))
    ]
    base = el(
        "line",
        el("title", words[1]),
        x1=_px(x_at(baseline)),
        x2=_px(x_at(baseline)),
        y1=y - 9,
        y2=y + 9,
        class_="tickmark",
    )
    left, right = x_at(interval.low), x_at(interval.high)
    band = el(
        "rect",
        el("title", words[0]),
        x=_px(left),
        y=y - 6,
        width=_px(max(right - left, 2)),
        height=12,
        rx=6,
        class_="band",
    )
    dot = el("circle", el("title", words[0]), cx=_px(x_at(accuracy)), cy=y, r=5, class_="mark")
    return el(
        "svg",
        *ruler,
        base,
        band,
        dot,
        viewBox=f"0 0 {width} 44",
        role="img",
        aria_label="; ".join(words),
        class_="strip",
    )


def _across(y: float, text: str, right: float = WIDTH - RIGHT) -> Html:
    line = el("line", x1=LEFT, x2=right, y1=_px(y), y2=_px(y), class_="grid")
    return el("g", line, el("text", text, x=LEFT - 8, y=_px(y + 4), class_="tick", text_anchor="end"))


def _baseline() -> Html:
    return el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")


def _px(value: float) -> str:
    return f"{value:.1f}"
