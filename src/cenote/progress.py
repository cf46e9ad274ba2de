"""Progress of long things: how far, how fast, how long still; on a terminal only, on the error stream, gone when done."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["showing", "track"]

Item = TypeVar("Item")
WAIT = 1.0  # seconds before anything is shown: what is quick needs no bar
_shown: ContextVar[bool | None] = ContextVar("cenote_progress", default=None)


@contextlib.contextmanager
def showing(show: bool | None) -> Iterator[None]:
    """Within it, progress is shown (True), hidden (False), or as it was outside (None), unless `track` itself is told.

    >>> with showing(False):
    ...     list(track("ab", "spelling"))
    ['a', 'b']
    """
    token = _shown.set(_shown.get() if show is None else show)
    try:
        yield
    finally:
        _shown.reset(token)


def track(
    items: Iterable[Item], what: str, *, total: int | None = None, unit: int = 1, show: bool | None = None
) -> Iterator[Item]:
    """Go through ``items`` and show the way, if it takes more than a second.

    ``total`` is their number, where they have no length; ``unit`` how many examples an item is; ``show`` None means: as
    `showing` says, by default if the error stream is a terminal.

    >>> list(track([1, 2, 3], "counting"))
    [1, 2, 3]
    """
    count: Any = total if total is not None else len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    show = _shown.get() if show is None else show
    if show is None:
        show = sys.stderr.isatty()
    began = last = time.monotonic()
    shown = False
    try:
        for number, item in enumerate(items):
            now = time.monotonic()
            if show and now - began > WAIT and now - last > 0.1:
                line = _line(what, number, count, unit, now - began)
                print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
                last, shown = now, True
            yield item
    finally:
        if shown:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)


def _line(what: str, done: int, count: int | None, unit: int, spent: float) -> str:
    rate = done * unit / spent if spent else 0.0
    speed = f"{rate:,.0f}/s" if rate >= 1 or not rate else f"{1 / rate:,.1f} s each"
    if count is None:
        return f"{what}: {done * unit:,}  {speed}"
    left = spent / done * (count - done) if done else 0.0
    return f"{what}: {done / max(count, 1):4.0%}  {speed}  {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
