"""Tables with a column of times as examples: each a window of the past, and what came after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..examples import Examples, Finding
from ..media import memory_share
from ..tables import columns as types_of
from ..tables.column import Table
from ..tables.read import read_whole, target_names
from .series import Series, Windows, as_series

__all__ = ["read", "usual_history", "usual_horizon"]

TABLE, WINDOWS = 8, 2  # the shares of the machine's memory, one of so many, that a series and its windows may take
VALUE = 32  # bytes for each value of a window while it is prepared
HORIZONS = {"hour": 24, "day": 7, "business day": 5, "week": 8, "month": 12, "quarter": 4, "year": 3}


def read(
    source: Any,
    target: str | int | Sequence[str | int] | None = None,
    *,
    time: str | None = None,
    horizon: int | None = None,
    history: int | None = None,
    variables: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    **options: Any,
) -> Examples:
    """Windows of a series: ``history`` values of all variables, and ``horizon`` values of the targets after them.

    ``target`` names the column(s) to foresee (without it, the only column of numbers, or the last), ``time`` that of the times
    (without it, the first one with dates). Other columns of numbers, or those in ``variables``, help. Rows out of order are
    sorted, repeated times dropped, missing times and values filled with those before: each is reported. Where all windows would
    take more than half of the memory, every second (third, ...) is used. ``options`` are those of `read_csv`.

    Targets are float64 (window, horizon, target).
    Raises: ValueError for times that are not regular, for too few values, for a target that is not there; BadFile for a file
    that takes more than an eighth of the memory as columns.

    >>> table = {"day": [f"2020-01-{d:02d}" for d in range(1, 31)], "sales": [float(d % 7) for d in range(30)]}
    >>> examples = read(table, "sales", horizon=3, history=7)
    >>> len(examples), examples.targets.shape
    (21, (21, 3, 1))
    """
    table, found = read_whole(source, TABLE, **options)
    kinds = types_of.kinds(table, types)
    targets = target_columns(table, kinds, target, time)
    series, more = as_series(table, kinds, targets, time, None if variables is None else list(variables))
    found += more
    horizon = usual_horizon(series) if horizon is None else _whole("horizon", horizon)
    history = usual_history(series, horizon) if history is None else _whole("history", history)
    count = len(series) - history - horizon + 1
    if count < 10:
        raise ValueError(
            f"{table.file or 'the table'} has {len(series):,} values: too few for windows of {history} known and {horizon} "
            f"unknown ones (at least {history + horizon + 9}); give more, or a smaller history= or horizon="
        )
    each = VALUE * (history * len(series.names) + horizon * len(targets))
    apart = -(-count * each // memory_share(WINDOWS))
    ends = np.arange(history + (count - 1) % apart, history + count, apart)  # the latest one is among them
    if apart > 1:
        size = f"{count * each / (1 << 30):,.1f} GiB"
        text = f"all {count:,} windows would take {size}: of {apart} that follow each other one is used"
        found.append(Finding(text))
    windows = Windows(series, ends, history, horizon)
    first, last = (series.step.text(series.times[i]) for i in (0, -1))
    facts = {
        "rows": len(series),
        "columns": len(series.names),
        "types": types_of.describe(kinds, table),
        "step": str(series.step),
        "horizon": horizon,
        "history": history,
        "target": {"names": targets, "kind": "quantity"},
        "text": f"{len(series):,} values, one each {series.step}, {first} to {last}; {len(ends):,} windows",
        "file": table.file,
    }
    return Examples("series", windows, windows.future(), windows.places(), facts, found, times=series.times[ends - 1])


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}={value!r}: give a whole number from 1 up")
    return int(value)


def target_columns(table: Table, kinds: Mapping[str, types_of.Kind], target: Any, time: str | None) -> list[str]:
    """The names of the targets."""
    numbers = [n for n, k in kinds.items() if k.type in ("number", "boolean") and n != time]
    if not numbers and target is None:
        raise ValueError(f"{table.file or 'the table'} has no column of numbers to foresee: {', '.join(table.columns)}")
    if target is None:
        return [numbers[-1]]
    chosen = target_names(table, target)
    for name in chosen:
        if name not in numbers and (kinds[name].type != "identifier" or table[name].numbers is None):
            example = ", ".join(map(repr, table[name].as_levels().levels[:1]))
            raise ValueError(f"the target column {name!r} is a {kinds[name].type}, such as {example}; expected numbers")
    return chosen


def usual_horizon(series: Series) -> int:
    """A day of hours, a week of days, a year of months; else a tenth, at most 24."""
    return min(HORIZONS.get(str(series.step), 24), max(1, len(series) // 10))


def usual_history(series: Series, horizon: int) -> int:
    """Twice the horizon or the longest short period (a day, a week, a year), a quarter of the series at most."""
    periods = [p for p in series.step.periods() if p <= 200 and 4 * p <= len(series)]
    wanted = max(2 * horizon, *(2 * p for p in periods), 8) if periods else max(2 * horizon, 24)
    return int(max(1, min(wanted, 336, len(series) // 4)))
