"""What becomes of one column: scaled numbers, one-hot or numbered categories, calendar features, words of a text."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from ..examples import Finding
from .column import Column
from .columns import parse_dates, parse_numbers

__all__ = ["ENCODERS", "Calendar", "Category", "Encoder", "Number", "Words"]

CLIP = 3.0  # where numbers are bent: no prepared number is larger


def smooth_clip(x: np.ndarray) -> np.ndarray:
    """``x / sqrt(1 + (x / 3)^2)``: near 0 as it is, and never beyond 3. Source: Holzmüller et al. 2024, arXiv:2407.04491."""
    return x / np.sqrt(1 + (x / CLIP) ** 2)


def robust_scale(values: np.ndarray) -> tuple[float, float]:
    """Median, and the range of the middle half; half the whole range where that is 0, and 1 where both are."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    scale = float(high - low) or float(values.max() - values.min()) / 2 or 1.0
    return float(middle), scale


class Encoder:
    """One column's way into the model: numbers ``(row, feature)``, or ``codes`` for an embedding."""

    kind: ClassVar[str]
    codes = 0  # of how many numbered categories, if it gives those

    def __init__(self, name: str, **learned: Any) -> None:
        self.name, self.learned = name, learned
        for key, value in learned.items():
            setattr(self, key, value)

    def __call__(self, column: Column) -> np.ndarray:
        raise NotImplementedError

    def names(self) -> list[str]:
        """Names of the features for people."""
        raise NotImplementedError

    def strange(self, column: Column) -> list[Finding]:
        """What this column holds that the training part did not."""
        return []

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, **self.learned}

    def describe(self) -> str:
        raise NotImplementedError


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} rows" if total > 1 else "the row"


def _gone(encoder: Encoder, column: Column, filled: str) -> list[Finding]:
    count = int(column.missing.sum())
    if count and not encoder.learned["missing"]:
        text = f"column {encoder.name!r} is missing in {_share(count, len(column))}, but never was in training: {filled}"
        return [Finding(text, "warning", encoder.name)]
    return []


class Number(Encoder):
    """``smooth_clip((x - median) / scale)``, 0 where missing; a second feature is 1 there, if training had such rows."""

    kind = "number"
    way: str
    median: float
    scale: float
    low: float
    high: float
    missing: bool

    @classmethod
    def fit(cls, name: str, column: Column, way: str = "") -> Number:
        values = number_values(column, way)
        real = values[~np.isnan(values)]
        median, scale = robust_scale(real)
        missing = bool(len(real) < len(values))
        return cls(name, way=way, median=median, scale=scale, low=float(real.min()), high=float(real.max()), missing=missing)

    def __call__(self, column: Column) -> np.ndarray:
        values = number_values(column, self.way)
        gone = np.isnan(values)
        x = smooth_clip((np.where(gone, self.median, values) - self.median) / self.scale)
        return np.stack([x, gone], axis=1) if self.missing else x[:, None]

    def names(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.missing else [self.name]

    def strange(self, column: Column) -> list[Finding]:
        values = number_values(column, self.way)
        found = []
        texts = column.levels if column.codes is not None else list(column.strays)
        if column.codes is not None:
            bad = np.flatnonzero(np.isnan(values) & (column.codes >= 0))
            texts = [column.levels[column.codes[bad[0]]]] if len(bad) else []
        if texts:
            found.append(Finding(f"column {self.name!r} holds {texts[0]!r}, no number: taken as missing", "warning", self.name))
        if np.isnan(values).any() and not self.missing:
            count = int(np.isnan(values).sum())
            text = f"column {self.name!r} is missing in {_share(count, len(values))}, but never was in training"
            found.append(Finding(f"{text}: filled with the median, {self.median:g}", "warning", self.name))
        span = (self.high - self.low) or 1.0
        far = (values > self.high + span) | (values < self.low - span)
        if far.any():
            first = values[np.flatnonzero(far)[0]]
            text = f"column {self.name!r} holds {first:g}, far outside the {self.low:g} to {self.high:g} of training"
            found.append(Finding(f"{text} ({_share(int(far.sum()), len(values))})", "warning", self.name))
        return found

    def describe(self) -> str:
        text = f"number, median {self.median:g}, middle half {self.scale:g} wide"
        return text + ("; missing values get the median and a mark" if self.missing else "")


def number_values(column: Column, way: str) -> np.ndarray:
    """A column's numbers, NaN where there are none; ``way`` says how texts are read."""
    if column.numbers is not None:
        return column.numbers
    values, _ = parse_numbers(column.levels, way or "|1234.5|")
    return np.append(values, np.nan)[column.codes]


class Category(Encoder):
    """One feature for each level (one-hot), or a number for an embedding where there are many.

    Level 0 is all that is rare, or was not there in training; the last is "missing", if training had such rows. Two levels
    make one feature of -1 and 1.
    """

    kind = "category"
    levels: list[str]
    other: bool
    missing: bool
    embedded: bool
    merged: int

    @classmethod
    def fit(cls, name: str, column: Column, one_hot: int, most: int) -> Category:
        column = column.as_levels()
        counts = column.counts()
        least = int(np.clip(round(len(column) / 100), 2, 10))
        order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i] > 0]
        kept = [i for i in order if counts[i] >= least][:most]
        if len(order) - len(kept) == 1 and len(kept) < most:  # merging one alone gains nothing
            kept = order
        levels = [column.levels[i] for i in kept]
        missing = bool(column.missing.any())
        other = len(order) > len(kept)
        embedded = len(levels) + other + missing > one_hot
        return cls(name, levels=levels, other=other, missing=missing, embedded=embedded, merged=len(order) - len(kept))

    def __init__(self, name: str, **learned: Any) -> None:
        super().__init__(name, **learned)
        self.codes = 1 + len(self.levels) + self.missing if self.embedded else 0
        self._number = {level: i + 1 for i, level in enumerate(self.levels)}

    def numbers(self, column: Column) -> np.ndarray:
        """The number of each row's level: 0 for others."""
        column = column.as_levels()
        last = len(self.levels) + 1 if self.missing else 0
        table = np.array([*(self._number.get(level, 0) for level in column.levels), last], np.int32)
        return table[column.codes]

    def __call__(self, column: Column) -> np.ndarray:
        numbers = self.numbers(column)
        if self.embedded:
            return numbers[:, None]
        if self._binary:  # the other one is -1, and what is neither 0
            first, second = self._columns
            return ((numbers == second) * 1.0 - (numbers == first))[:, None]
        return (numbers[:, None] == np.array(self._columns)).astype(np.float32)

    @property
    def _columns(self) -> list[int]:
        """The levels that have a feature."""
        return [*([0] if self.other else []), *range(1, len(self.levels) + 1 + self.missing)]

    @property
    def _binary(self) -> bool:
        return len(self._columns) == 2

    def _label(self, number: int) -> str:
        if number == 0:
            return "other"
        return f"= {self.levels[number - 1]}" if number <= len(self.levels) else "is missing"

    def names(self) -> list[str]:
        if self.embedded:
            return [self.name]
        return [f"{self.name} {self._label(i)}" for i in (self._columns[1:] if self._binary else self._columns)]

    def strange(self, column: Column) -> list[Finding]:
        column = column.as_levels()
        counts = column.counts()
        found = _gone(self, column, "taken as none of the known categories")
        new = [i for i in np.flatnonzero(counts).tolist() if column.levels[i] not in self._number]
        if new and not self.other:
            listed = ", ".join(repr(column.levels[i]) for i in new[:3]) + (f" and {len(new) - 3} more" if len(new) > 3 else "")
            count = int(counts[new].sum())
            text = f"column {self.name!r} holds what was not there in training: {listed} in {_share(count, len(column))}"
            found.append(Finding(f"{text}; taken as none of the known categories", "warning", self.name))
        return found

    def describe(self) -> str:
        text = f"category of {len(self.levels)}" + (", embedded" if self.embedded else ", one-hot")
        text += f"; {self.merged:,} rare ones are one" if self.merged else ""
        return text + ("; missing is one of its own" if self.missing else "")


class Calendar(Encoder):
    """A time as day count, year, and where in the year, month, week and day it is, as far as these vary."""

    kind = "date"
    way: str
    parts: list[str]
    median: float
    scale: float
    missing: bool
    year: list[float]

    @classmethod
    def fit(cls, name: str, column: Column, way: str) -> Calendar:
        times = time_values(column, way)
        real = times[~np.isnat(times)]
        seconds = real.astype(np.int64).astype(np.float64)
        median, scale = robust_scale(seconds)
        parts = ["time"]
        for part in ("year", "month", "day", "weekday", "hour"):
            values = np.unique(calendar(real, part)) if part == "year" else np.unique(calendar(real, part)[:, 0].round(6))
            if len(values) > 1:
                parts.append(part)
        year = [*robust_scale(calendar(real, "year")[:, 0])]
        return cls(name, way=way, parts=parts, median=median, scale=scale, missing=bool(len(real) < len(times)), year=year)

    def __call__(self, column: Column) -> np.ndarray:
        times = time_values(column, self.way)
        gone = np.isnat(times)
        filled = np.where(gone, np.datetime64(int(self.median), "s"), times)
        features = []
        for part in self.parts:
            if part == "time":
                features.append(smooth_clip((filled.astype(np.int64) - self.median) / self.scale)[:, None])
            elif part == "year":
                features.append(smooth_clip((calendar(filled, part) - self.year[0]) / self.year[1]))
            else:
                features.append(np.where(gone[:, None], 0.0, calendar(filled, part)))
        return np.concatenate([*features, gone[:, None]] if self.missing else features, axis=1)

    def names(self) -> list[str]:
        named = [
            f"{self.name}: {n}" for p in self.parts for n in ([p] if p in ("time", "year") else [f"{p} (sin)", f"{p} (cos)"])
        ]
        return [*named, f"{self.name} is missing"] if self.missing else named

    def strange(self, column: Column) -> list[Finding]:
        return _gone(self, column, "filled with the middle of the times of training")

    def describe(self) -> str:
        return f"date, as {', '.join(self.parts)}"


def time_values(column: Column, way: str) -> np.ndarray:
    """A column's times, NaT where there are none."""
    column = column.as_levels()
    values, _ = parse_dates(column.levels, way)
    return np.append(values, np.datetime64("NaT", "s"))[column.codes]


def calendar(times: np.ndarray, part: str) -> np.ndarray:
    """Where times (datetime64) are in the year, month, week or day, as sine and cosine (row, 2); the year as it is (row, 1).

    >>> calendar(np.array(["2020-01-01T06:00"], "datetime64[s]"), "hour").round(3).tolist()
    [[1.0, 0.0]]
    """
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    if part == "year":
        return (times.astype("datetime64[Y]").astype(np.int64) + 1970.0)[:, None]
    if part == "month":
        turn = (months.astype(np.int64) % 12) / 12
    elif part == "day":
        length = ((months + np.timedelta64(1, "M")).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.float64)
        turn = (days - months.astype("datetime64[D]")).astype(np.float64) / length
    elif part == "weekday":
        turn = ((days.astype(np.int64) + 3) % 7) / 7
    else:
        turn = (times - days).astype("timedelta64[s]").astype(np.float64) / 86_400
    return np.stack([np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)], axis=1)


class Words(Encoder):
    """The commonest words of a text: 1 where one occurs, else 0."""

    kind = "text"
    words: list[str]

    @classmethod
    def fit(cls, name: str, column: Column, most: int = 50) -> Words:
        column = column.as_levels()
        found: dict[str, int] = {}
        for level, count in zip(column.levels, column.counts().tolist(), strict=True):
            for word in words_of(level) if count else ():
                found[word] = found.get(word, 0) + count
        least = max(5, round(0.02 * len(column)))
        common = sorted((w for w, c in found.items() if least <= c <= 0.95 * len(column)), key=lambda w: (-found[w], w))
        return cls(name, words=common[:most])

    def __call__(self, column: Column) -> np.ndarray:
        column, number = column.as_levels(), {word: i for i, word in enumerate(self.words)}
        table = np.zeros((len(column.levels) + 1, len(self.words)), np.float32)
        for i, level in enumerate(column.levels):
            for word in words_of(level):
                if word in number:
                    table[i, number[word]] = 1
        return table[column.codes]

    def names(self) -> list[str]:
        return [f"{self.name}: {word!r}" for word in self.words]

    def describe(self) -> str:
        return f"text, as its {len(self.words)} commonest words ({', '.join(self.words[:5])})"


_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def words_of(text: str) -> set[str]:
    """The words of a text in lower case; of a script without spaces, pairs of letters."""
    words = set()
    for word in _WORD.findall(text.lower()):
        words.update(word[i : i + 2] for i in range(len(word) - 1)) if _UNSPACED.search(word) else words.add(word)
    return words


ENCODERS: dict[str, type[Encoder]] = {c.kind: c for c in (Number, Category, Calendar, Words)}
