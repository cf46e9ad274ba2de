"""Matplotlib figures of our own: without pyplot's global state, shown by notebooks, with letters of every script."""

from __future__ import annotations

import functools
import io
import re
from typing import Any

INK, GREY, FAINT, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
UP, DOWN = "#d9541e", "#2f6db5"  # what raised the output and what lowered it; told apart by the colour-blind, too


def figure(width: float, height: float, **spaces: Any) -> Any:
    """An empty matplotlib Figure of this size in inches, laid out so that nothing overlaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class Picture(Figure):
        def _repr_png_(self) -> bytes:  # notebooks show it without pyplot's help
            return png(self)

    shown = Picture(figsize=(width, height), layout=ConstrainedLayoutEngine(**spaces))
    FigureCanvasAgg(shown)
    return shown


def png(shown: Any, dpi: int = 110) -> bytes:
    """A figure as a PNG file's content."""
    import matplotlib

    data = io.BytesIO()
    with matplotlib.rc_context({"font.family": fonts()}):
        shown.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


_CHINESE = ["Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB"]
_CHINESE += ["Microsoft YaHei", "SimHei", "WenQuanYi Zen Hei", "Arial Unicode MS", "Noto Serif CJK SC", "Noto Serif CJK JP"]
_FILES = re.compile(
    "NotoSansCJK-Regular|SourceHanSans.*Regular|PingFang|msyh\\.|simhei|wqy-|NotoSerifCJK-Regular", re.IGNORECASE
)


@functools.cache
def fonts() -> list[str]:
    """Matplotlib's own font, and after it one with Chinese characters, where the system has one."""
    from matplotlib import font_manager

    known = {f.name for f in font_manager.fontManager.ttflist}
    found = [name for name in _CHINESE if name in known]
    if not found:  # matplotlib keeps a list that may be older than the fonts
        path = next((p for p in sorted(font_manager.findSystemFonts()) if _FILES.search(p)), None)
        if path is not None:
            font_manager.fontManager.addfont(path)
            found = [font_manager.fontManager.ttflist[-1].name]
    return ["DejaVu Sans", *found[:1]]


def plain(axes: Any, *, grid: str = "") -> None:
    """Axes without a box: two thin lines, and a faint grid along ``grid`` ("x" or "y")."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
