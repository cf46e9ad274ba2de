"""A table: named columns of numbers or of texts, with what is missing, in little memory and without pandas."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...core.errors import unknown

__all__ = ["Column", "Table"]

MISSING = frozenset(("", "NA", "N/A", "n/a", "na", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "<NA>", "#N/A"))

MEMORY = 192 << 20  # bytes of a table that are kept, unless more is allowed
LEVEL = 130  # bytes for each different text beside the text itself: its places in a list and a dict


@dataclass
class Column:
    """The values of one column: ``numbers`` (float64, NaN where missing), or ``codes`` into ``levels`` (-1 where missing).

    ``strays`` are the cells of a column of numbers that are no numbers, as ``text: (how many, the first's row)``; they are
    missing in ``numbers``.

    >>> Column.of(["a", "b", None, "a"]).codes.tolist()
    [0, 1, -1, 0]
    """

    numbers: np.ndarray | None = None
    codes: np.ndarray | None = None
    levels: list[str] = field(default_factory=list)
    strays: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers if self.numbers is not None else self.codes)  # type: ignore[arg-type]

    @property
    def missing(self) -> np.ndarray:
        """Which values are missing."""
        return np.isnan(self.numbers) if self.numbers is not None else self.codes < 0  # type: ignore[operator]

    def take_rows(self, rows: np.ndarray) -> Column:
        """Some of the rows."""
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[rows])
        return replace(self, codes=self.codes[rows])  # type: ignore[index]

    def texts(self) -> np.ndarray:
        """The values as texts, None where missing; numbers as people write them."""
        if self.numbers is not None:
            return np.array([None if v != v else number_text(v) for v in self.numbers.tolist()], object)
        return np.array([*self.levels, None], object)[self.codes]

    def as_levels(self) -> Column:
        """The same as texts."""
        if self.codes is not None:
            return self
        values, codes = np.unique(self.numbers, return_inverse=True)  # type: ignore[arg-type]
        gone = np.isnan(values)
        codes = np.where(gone[codes], -1, codes).astype(np.int32)
        return Column(codes=codes, levels=[number_text(v) for v in values[~gone].tolist()])

    def counts(self) -> np.ndarray:
        """How often each level occurs."""
        codes = self.codes[self.codes >= 0]  # type: ignore[index, operator]
        return np.bincount(codes, minlength=len(self.levels))

    @classmethod
    def of(cls, values: Any) -> Column:
        """A column of values in an array or a list: numbers stay numbers, all else becomes text."""
        array = values if isinstance(values, np.ndarray) else None
        if array is None:
            values = list(values)
            if values and all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in values):
                array = np.asarray(values)
        if array is not None and array.ndim != 1:
            raise ValueError(f"a column is one value a row, but this one has shape {array.shape}: give each its own column")
        if array is not None and array.dtype.kind in "iuf":
            numbers = array.astype(np.float64)
            return cls(numbers=np.where(np.isinf(numbers), np.nan, numbers) if np.isinf(numbers).any() else numbers)
        if array is not None and array.dtype.kind == "M":
            stamps, codes = np.unique(array, return_inverse=True)
            gone = np.isnat(stamps)
            texts = [str(t).replace("T", " ") for t in stamps[~gone].astype("datetime64[s]")]
            return cls(codes=np.where(gone[codes], -1, codes).astype(np.int32), levels=texts)
        items: Iterable[Any] = array.tolist() if array is not None else values
        plain = [None if missing_value(v) else v for v in items]
        real = [v for v in plain if v is not None]
        if real and all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in real):
            return cls(numbers=np.array([np.nan if v is None else float(v) for v in plain]))
        codes = Codes()
        numbers = codes.of(("" if v is None else v if isinstance(v, str) else _text(v) for v in plain), len(plain))
        return cls(codes=numbers, levels=codes.levels)


class Codes(dict):
    """The number of each text by its cell, -1 for missing ones; a cell that is new gets the next number."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[str] = []
        self.bytes = 0

    def __missing__(self, cell: str) -> int:
        text = cell.strip()
        if text in MISSING:
            code = -1
        elif text in self:  # with other spaces around it
            code = self[text]
        else:
            code = self[text] = len(self.levels)
            self.levels.append(text)
            self.bytes += LEVEL + sys.getsizeof(text)
        if text != cell:
            self[cell] = code
            self.bytes += LEVEL + sys.getsizeof(cell)
        return code

    def of(self, cells: Iterable[str], count: int) -> np.ndarray:
        """The numbers of many cells."""
        return np.fromiter(map(self.__getitem__, cells), np.int32, count)


def missing_value(value: Any) -> bool:
    """Does a Python value stand for a missing one?"""
    if value is None or (isinstance(value, str) and value.strip() in MISSING):
        return True
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def number_text(value: float) -> str:
    """A number as people write it: ``3``, not ``3.0``."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, (float, np.floating)):
        return number_text(float(value))
    return str(value)


@dataclass
class Table:
    """Named columns of the same length; ``names`` say where the rows come from, ``file`` where all of it does.

    >>> table = Table.of({"age": [31, None, 18], "city": ["Ulm", "Bonn", "Ulm"]})
    >>> len(table), list(table.columns), table.row(1)
    (3, ['age', 'city'], {'age': None, 'city': 'Bonn'})
    """

    columns: dict[str, Column]
    file: str = ""
    lines: np.ndarray | None = None  # of each row, its line in the file (its number, from 1, where there is no file)
    types: dict[str, Any] = field(default_factory=dict)  # what `columns.infer` found, by name

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name!r} has {n}" for name, n in list(lengths.items())[:6])
            raise ValueError(f"the columns of a table have one value for each row, but here {shown}")

        if self.lines is None:
            self.lines = np.arange(1, len(self) + 1)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            raise unknown(f"column{f' of {self.file}' if self.file else ''}", str(name), self.columns)
        return self.columns[name]

    def take_rows(self, rows: Any) -> Table:
        """Some of the rows."""
        rows = np.asarray(rows)
        columns = {name: column.take_rows(rows) for name, column in self.columns.items()}
        return replace(self, columns=columns, lines=self.lines[rows])  # type: ignore[index]

    def without(self, *names: str) -> Table:
        """The table without some of its columns."""
        return replace(self, columns={n: c for n, c in self.columns.items() if n not in names})

    def row(self, number: int) -> dict[str, Any]:
        """One row as plain values, None where missing."""
        told: dict[str, Any] = {}
        for name, column in self.columns.items():
            if column.numbers is not None:
                value = float(column.numbers[number])
                told[name] = None if value != value else int(value) if value.is_integer() and abs(value) < 1e15 else value
            else:
                code = int(column.codes[number])  # type: ignore[index]
                told[name] = None if code < 0 else column.levels[code]
        return told

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.row(i) for i in range(len(self)))

    def place(self, row: int) -> str:
        """Where a row stands, for people: ``titanic.csv:13``, or ``row 13``."""
        return self.places()[row]

    def places(self) -> RowNames:
        """Where each row stands."""
        assert self.lines is not None
        return RowNames(self.file, self.lines)

    def fingerprints(self) -> np.ndarray:
        """A number for each row, the same for rows with the same values."""
        total = np.zeros(len(self), np.uint64)
        for name, column in self.columns.items():
            if column.numbers is not None:
                values = np.ascontiguousarray(np.where(np.isnan(column.numbers), 1.7e308, column.numbers) + 0.0).view(np.uint64)
            else:
                hashes = [_hash(level) for level in column.levels]
                values = np.array([*hashes, _hash("\0missing")], np.uint64)[column.codes]
            total = _mix(total ^ _mix(values + np.uint64(_hash(name))))
        return total

    @classmethod
    def of(cls, columns: Any, file: str = "") -> Table:
        """A table of a dict of columns."""
        return cls({str(name): Column.of(values) for name, values in columns.items()}, file)


class RowNames(Sequence):
    """The places of rows, made when asked for."""

    def __init__(self, file: str, lines: np.ndarray) -> None:
        self.file, self.lines = file, lines

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return place(self.file, int(self.lines[row]))

    def take_rows(self, rows: np.ndarray) -> RowNames:
        return RowNames(self.file, self.lines[rows])


def place(file: str, line: int) -> str:
    """A row's place for people: ``titanic.csv:13``, or ``row 13`` of what is no file."""
    return f"{file}:{line}" if file else f"row {line}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's scrambling, so that equal sums do not come from unequal rows."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
