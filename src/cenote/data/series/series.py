"""A series: values at regular times; and windows of it, each with its past and what came next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.errors import unknown
from ..examples import Finding
from ..tables.column import Table
from ..tables.columns import Kind
from ..tables.encoders import number_values
from ..tables.read import times_of

__all__ = ["Series", "Step", "Windows", "as_series", "find_step"]

GAPS = 0.2  # a series with a larger share of missing times is not regular


@dataclass(frozen=True)
class Step:
    """The time between two values: so many ``seconds``, ``months``, ``business days`` or ``rows``."""

    unit: str
    count: int

    def after(self, time: Any, steps: Any) -> Any:
        """The time(s) that many steps after a time.

        >>> str(Step("months", 1).after(np.datetime64("1960-12-01", "s"), 2))
        '1961-02-01T00:00:00'
        """
        n = np.asarray(steps) * self.count
        if self.unit == "rows":
            return time + n
        if self.unit == "months":
            month = time.astype("datetime64[M]")
            return (month + n.astype("timedelta64[M]")).astype("datetime64[s]") + (time - month.astype("datetime64[s]"))
        if self.unit == "business days":
            day = time.astype("datetime64[D]")
            return np.busday_offset(day, n, roll="forward").astype("datetime64[s]") + (time - day.astype("datetime64[s]"))
        return time + n.astype("timedelta64[s]")

    def number(self, times: np.ndarray) -> np.ndarray:
        """How many steps each time is after the first, NaN between steps."""
        if self.unit == "rows":
            return np.arange(len(times), dtype=np.float64)
        if self.unit == "months":
            months = times.astype("datetime64[M]")
            n = (months - months[0]).astype(np.float64) / self.count
        elif self.unit == "business days":
            days = times.astype("datetime64[D]")
            n = np.where(np.is_busday(days), np.busday_count(days[0], days), np.nan).astype(np.float64)
        else:
            n = (times - times[0]).astype(np.float64) / self.count
        return np.where(np.abs(n - np.round(n)) < 1e-9, np.round(n), np.nan)

    def __str__(self) -> str:
        names = {86_400: "days", 3600: "hours", 60: "minutes", 1: "seconds", 604_800: "weeks"}
        if self.unit == "months":
            return {1: "month", 3: "quarter", 12: "year"}.get(self.count, f"{self.count} months")
        if self.unit == "seconds":
            for size in sorted(names, reverse=True):
                if self.count % size == 0:
                    return names[size][:-1] if self.count == size else f"{self.count // size} {names[size]}"
        return {"rows": "row", "business days": "business day"}[self.unit]

    def periods(self) -> list[int]:
        """Numbers of steps after which things may come back: a day, a week, a year."""
        if self.unit == "months":
            return [12 // self.count] if 12 % self.count == 0 and self.count < 12 else []
        if self.unit == "business days":
            return [5, 261]
        if self.unit == "rows":
            return [7, 12, 24, 52]
        spans = (3600, 86_400, 604_800, 31_557_600)
        return [round(s / self.count) for s in spans if s / self.count >= 2 and (s % self.count == 0 or s > 1e7)]

    def text(self, time: Any) -> str:
        """A time as people write it at this step."""
        if self.unit == "rows":
            return f"row {int(time) + 1}"
        if self.unit == "months":
            return str(time.astype("datetime64[M]"))
        if self.unit == "business days" or self.count % 86_400 == 0:
            return str(time.astype("datetime64[D]"))
        return str(time.astype("datetime64[m]" if self.count % 60 == 0 else "datetime64[s]")).replace("T", " ")


def find_step(times: np.ndarray) -> Step | None:
    """The step of sorted, different times, None where they are not regular (but for some gaps).

    >>> str(find_step(np.array(["1949-01", "1949-02", "1949-03", "1949-05", "1949-06"], "datetime64[s]")))
    'month'
    """
    if len(times) < 3:
        return None
    months = times.astype("datetime64[M]")
    into = times - months.astype("datetime64[s]")
    steps = np.diff(months.astype(np.int64))
    if (into == into[0]).all() and (steps > 0).all():
        found = Step("months", int(np.gcd.reduce(steps)))
        if _regular(found, times):
            return found
    gaps = np.diff(times).astype(np.int64)
    values, counts = np.unique(gaps, return_counts=True)
    step = int(values[counts.argmax()])
    days = times.astype("datetime64[D]")
    if step == 86_400 and np.is_busday(days).all() and len(times) > 10:
        return Step("business days", 1)
    found = Step("seconds", step)
    return found if _regular(found, times) else None


def _regular(step: Step, times: np.ndarray) -> bool:
    n = step.number(times)
    between = np.isnan(n).mean()
    return bool(between < 0.01 and len(times) >= (1 - GAPS) * (np.nanmax(n) + 1))


@dataclass
class Series:
    """``values`` (time, variable) at regular ``times``; the first variables are the targets."""

    times: np.ndarray
    values: np.ndarray
    names: list[str]
    step: Step
    targets: int = 1
    file: str = ""
    time: str | None = None  # the name of the column of times

    def __len__(self) -> int:
        return len(self.times)


@dataclass
class Windows:
    """Places in a series from which to look ahead: window i knows the values up to ``ends[i]``, not including it."""

    series: Series
    ends: np.ndarray
    history: int
    horizon: int

    def __len__(self) -> int:
        return len(self.ends)

    def take_rows(self, rows: Any) -> Windows:
        return replace(self, ends=self.ends[np.asarray(rows)])

    def past(self) -> np.ndarray:
        """The values before each end, (window, history, variable)."""
        return self.series.values[self.ends[:, None] + np.arange(-self.history, 0)]

    def future(self) -> np.ndarray:
        """The targets from each end on, (window, horizon, target)."""
        return self.series.values[self.ends[:, None] + np.arange(self.horizon), : self.series.targets]

    def times(self) -> np.ndarray:
        """The times ahead, (window, horizon)."""
        step, last = self.series.step, self.series.times[self.ends - 1]
        return np.stack([step.after(last, k + 1) for k in range(self.horizon)], axis=1)

    def places(self) -> list[str]:
        """The last time that each window knows."""
        file = f"{self.series.file} " if self.series.file else ""
        return [f"{file}after {self.series.step.text(time)}" for time in self.series.times[self.ends - 1]]


def as_series(
    table: Table, kinds: dict[str, Kind], targets: list[str], time: str | None, variables: list[str] | None = None
) -> tuple[Series, list[Finding]]:
    """A table as a series: sorted by time, repeated times and gaps mended, and what was noticed.

    Raises: ValueError for times that are not regular, repeat with other values, or lie between the steps, naming the row.
    """
    found: list[Finding] = []
    name = time or next((n for n, k in kinds.items() if k.type == "date" and n not in targets), None)
    if time is not None:
        table[time]  # raises for an unknown name
    if name is None:
        found.append(Finding("there is no column of times: the rows are taken in their order, as equally far apart", "warning"))
        times, step = np.arange(len(table)), Step("rows", 1)
    else:
        times = times_of(table, name)
        table, times, step = _in_order(table, times, name, found)
    chosen = variables if variables is not None else [n for n in table.columns if n not in targets and n != name]
    names = list(targets)
    for each in chosen:
        if each not in table:
            raise unknown("variable", str(each), table.columns)
        kind = kinds[each]
        if kind.type not in ("number", "boolean") or (table[each].numbers is None and not kind.way):
            if kind.type not in ("constant", "identifier"):
                found.append(Finding(f"column {each!r} is left out: it is a {kind.type}, and no number", "note", each))
            continue
        if each not in names:
            names.append(each)
    for each in targets:
        if table[each].numbers is None and kinds[each].type != "number":
            raise ValueError(f"the target column {each!r} holds no numbers, but {table[each].as_levels().levels[:1]!r}")
    values = np.stack([number_values(table[n], kinds[n].way) for n in names], axis=1)
    series = Series(times, values, names, step, len(targets), table.file, name)
    return _without_gaps(series, found), found


def _in_order(table: Table, times: np.ndarray, name: str, found: list[Finding]) -> tuple[Table, np.ndarray, Step]:
    order = np.argsort(times, kind="stable")
    if (np.diff(order) < 0).any():
        row = int(np.flatnonzero(np.diff(times) < (np.timedelta64(0, "s") if times.dtype.kind == "M" else 0))[0]) + 1
        text = f"the rows are not in the order of {name!r} (such as {table.place(row)}): they are sorted"
        found.append(Finding(text, "warning", table.place(row)))
        table, times = table.take_rows(order), times[order]
    again = np.flatnonzero(times[1:] == times[:-1]) + 1
    if len(again):
        row = int(again[0])
        same = all(_same(column, again, again - 1) for column in table.columns.values())
        if not same and len(again) > 0.05 * len(times):
            raise ValueError(
                f"{len(again):,} rows have the same {name!r} as the one before, such as {table.place(row)}: is this several "
                f"series in one table? Give one series, with a row for each time"
            )
        text = f"{len(again):,} rows repeat the time of the one before, such as {table.place(row)}: the first of each is kept"
        found.append(Finding(text, "warning", table.place(row)))
        keep = np.setdiff1d(np.arange(len(times)), again)
        table, times = table.take_rows(keep), times[keep]
    if times.dtype.kind != "M":
        gaps = np.diff(times)
        if len(gaps) and not np.allclose(gaps, gaps[0]):
            row = int(np.flatnonzero(~np.isclose(gaps, gaps[0]))[0]) + 1
            raise ValueError(f"the numbers of {name!r} are not equally far apart, such as {table.place(row)}")
        return table, np.arange(len(times)), Step("rows", 1)
    step = find_step(times)
    if step is None:
        gaps = np.diff(times).astype("timedelta64[s]").astype(np.int64)
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        row = int(np.argmax(np.abs(gaps - usual))) + 1 if len(gaps) else 0
        raise ValueError(
            f"the times of {name!r} are not regular: mostly {usual:,.0f} seconds apart, but "
            f"{int(gaps[row - 1]) if row else 0:,} before {table.place(row)}; a forecast needs a value for "
            f"each hour, day, month, ...: bring the table to one step"
        )
    numbers = step.number(times)
    between = np.isnan(numbers)
    if between.any():
        row = int(np.flatnonzero(between)[0])
        text = f"{int(between.sum()):,} rows lie between the steps of one {step}, such as {table.place(row)}: left out"
        found.append(Finding(text, "warning", table.place(row)))
        table, times, numbers = table.take_rows(~between), times[~between], numbers[~between]
    return _filled(table, times, numbers.astype(np.int64), step, name, found)


def _same(column: Any, a: np.ndarray, b: np.ndarray) -> bool:
    values = column.numbers if column.numbers is not None else column.codes
    return bool(((values[a] == values[b]) | (values[a] != values[a])).all())


def _filled(
    table: Table, times: np.ndarray, numbers: np.ndarray, step: Step, name: str, found: list[Finding]
) -> tuple[Table, np.ndarray, Step]:
    """A row for each step: where one is missing, that before it again."""
    total = int(numbers[-1]) + 1
    if total == len(times):
        return table, times, step
    source = np.searchsorted(numbers, np.arange(total), side="right") - 1
    first = int(np.flatnonzero(np.diff(numbers) > 1)[0]) + 1
    text = f"{total - len(times):,} times of {name!r} are missing, such as that before {table.place(first)}"
    found.append(Finding(f"{text}: the values before go on", "warning", table.place(first)))
    return table.take_rows(source), np.asarray(step.after(times[0], np.arange(total))), step


def _without_gaps(series: Series, found: list[Finding]) -> Series:
    """Missing values become the last known ones (later ones would be a look into the future); a gap at the start goes."""
    values = series.values
    gone = np.isnan(values)
    if not gone.any():
        return series
    empty = [n for n, g in zip(series.names, gone.T, strict=True) if g.all()]
    if empty:
        raise ValueError(f"column {empty[0]!r} holds no numbers")
    for name, column in zip(series.names, gone.T, strict=True):
        if column.any():
            text = f"column {name!r} is missing at {int(column.sum()):,} of {len(values):,} times: the value before goes on"
            found.append(Finding(text, "warning", name))
    start = int((~gone).argmax(0).max())
    rows = np.where(gone, -1, np.arange(len(values))[:, None])
    filled = np.take_along_axis(values, np.maximum(np.maximum.accumulate(rows, axis=0), 0), axis=0)
    if start:
        found.append(Finding(f"the first {start:,} times lack a value of some column and are left out", "warning"))
    return replace(series, values=filled[start:], times=series.times[start:])
