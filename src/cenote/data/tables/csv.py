"""Reading CSV and its kin with the standard library alone: in pieces, so that memory is bounded by what is kept.

Delimiter, quoting and header are found from the beginning of the file. The first piece decides which columns are numbers; if
a later one shows that it was wrong, the file is read again with that column as texts. Large files are left to Arrow where it
is installed and nothing in them is unusual.
"""

from __future__ import annotations

import csv
import itertools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...files import BadFile
from ...progress import track
from ..examples import Finding
from .arrow import LARGE, read_fast, sampled, too_large
from .column import MEMORY, MISSING, Codes, Column, Table
from .lines import Seen, batches, decoded_lines, gzipped, records
from .sniff import Shape, sniff

__all__ = ["read_csv"]

PIECE = 512  # rows that are turned into columns at once: few enough to stay in the processor's cache
FIRST = 5000  # rows that decide which columns are numbers
STRAYS = 0.05  # a column with a larger share of cells that are no numbers is one of texts


@dataclass
class _Gathering:
    """What has been read of one column so far."""

    text: bool  # texts as codes, or numbers
    pieces: list[np.ndarray] = field(default_factory=list)
    codes: Codes = field(default_factory=Codes)
    strays: dict[str, tuple[int, int]] = field(default_factory=dict)
    bad: int = 0  # cells that are strays


class _Texts(Exception):
    """A column that was taken for numbers holds texts."""

    def __init__(self, column: int) -> None:
        super().__init__(column)
        self.column = column


class _Unquoted(Exception):
    """Quotation marks between tabs that enclose nothing after all."""


class _TooLarge(Exception):
    """A share of the rows that will fit into the memory."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.share = share


def read_csv(
    path: str | os.PathLike,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
    ragged: str = "error",
    memory: int = MEMORY,
    seed: int = 0,
    whole: bool = False,
    texts: Iterable[str] = (),
    rows: int | None = None,
    show: bool | None = None,
) -> tuple[Table, list[Finding]]:
    """A table from a file of rows, gzipped or not, and what was noticed.

    ``delimiter`` and ``header`` are found if they are not given; without a header the columns are column_1, column_2, ...
    ``ragged="skip"`` leaves rows of another length out. ``memory`` bounds what is kept, in bytes: of a larger file a random
    sample of the rows is kept (drawn by ``seed``, in the order of the file), and one that must be ``whole`` is refused.
    ``texts`` names columns that are not numbers, even if they look so. ``rows`` reads so many rows from the beginning alone.

    Raises: BadFile for a file that is empty, not text, in another encoding, cut off or ragged, naming the row; and too large.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise BadFile(f"{path} is a folder; expected a file of rows, such as a .csv")
    if ragged not in ("error", "skip"):
        raise ValueError(f"ragged={ragged!r}: give 'error', or 'skip' to leave such rows out")
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n '):
        raise ValueError(f"delimiter={delimiter!r}: give one character, such as ',' or ';' or a tab")
    if path.stat().st_size == 0:
        raise BadFile(f"{path} is empty (0 bytes): nothing to read")
    found: list[Finding] = []
    shape = sniff(path, delimiter, header, encoding, found)
    as_texts = {shape.names.index(name) for name in texts if name in shape.names}
    numbers = [i not in as_texts and _numeric(column) for i, column in enumerate(_first_columns(path, shape, encoding))]
    if rows is None and path.stat().st_size >= LARGE and encoding.lower() in ("utf-8", "utf8") and ragged == "error":
        fast = read_fast(path, shape, gzipped(path), numbers, memory, seed, whole, show)
        if fast is not None:
            table, total = fast
            return table, found + ([sampled(len(table), total, memory, path)] if len(table) < total else [])
    share = 1.0
    while True:
        reading = _Reading(path, shape, encoding, ragged, numbers, share, memory, seed)
        try:
            table = reading.run(rows, show, found)
        except _Texts as error:
            numbers[error.column] = False
        except _TooLarge as error:
            if whole:
                raise too_large(path, memory) from None
            share = error.share
        except _Unquoted:
            shape.quoting = csv.QUOTE_NONE
        else:
            return table, found


def _first_columns(path: Path, shape: Shape, encoding: str) -> list[tuple[str, ...]]:
    """The cells of the first rows, by column; rows of another length do not count."""
    lines, width = decoded_lines(path, encoding), len(shape.names)
    first = itertools.islice(records(path, lines, shape.delimiter, shape.quoting), int(shape.header), FIRST)
    even = [row[:width] for _, row in first if len(row) == width or (len(row) == width + 1 and not row[-1].strip())]
    return list(zip(*even, strict=True)) or [()] * width


class _Reading:
    """One pass through a file."""

    def __init__(
        self,
        path: Path,
        shape: Shape,
        encoding: str,
        ragged: str,
        numbers: list[bool],
        share: float,
        memory: int,
        seed: int,
    ) -> None:
        self.path, self.shape, self.encoding, self.ragged = path, shape, encoding, ragged
        self.share, self.memory, self.draw = share, memory, np.random.RandomState(seed)
        self.columns = [_Gathering(text=not number) for number in numbers]
        self.lines: list[np.ndarray] = []
        self.rows = self.seen = self.bytes = 0
        self.bad: list[tuple[int, int, bool]] = []  # rows of another length: line, length, whether over several lines
        self.skipped = 0
        self.place = Seen()

    def run(self, limit: int | None, show: bool | None, found: list[Finding]) -> Table:
        """The table of the first ``limit`` rows, or of all."""
        width, left = len(self.shape.names), sys.maxsize if limit is None else limit
        pieces = batches(self.path, self.encoding, self.shape.delimiter, self.shape.quoting, PIECE, self.place)
        header = self.shape.header
        for lines, rows, broken in track(pieces, f"reading {self.path.name}", unit=PIECE, show=show):
            if broken and self.shape.delimiter == "\t" and self.shape.quoting == csv.QUOTE_MINIMAL:
                raise _Unquoted
            start, header = int(header), False
            self._take(*self._even(lines[start : start + left], rows[start : start + left]))
            left -= len(rows) - start
            if left <= 0:
                break
        if self.bad and self.ragged == "error":
            raise BadFile(self._ragged(width))
        if not self.rows:
            raise BadFile(f"{self.path} holds no rows" + (f" of {width} cells" if self.bad else ""))
        if self.bad:
            line = self.bad[0][0]
            text = f"{self.skipped:,} rows have another number of cells than {width} and are left out, such as row {line}"
            found.append(Finding(text, "warning", f"{self.path.name}:{line}"))
        if self.share < 1:
            found.append(sampled(self.rows, self.seen, self.memory, self.path))
        for i, gathering in enumerate(self.columns):
            self._check_strays(i, gathering)
        columns = {name: self._column(g) for name, g in zip(self.shape.names, self.columns, strict=True)}
        return Table(columns, self.path.name, np.concatenate(self.lines))

    def _even(self, lines: np.ndarray, rows: list[list[str]]) -> tuple[np.ndarray, list[list[str]]]:
        """The rows of the right length; a delimiter at the end of a row makes it no longer."""
        width = len(self.shape.names)
        if set(map(len, rows)) <= {width}:
            return lines, rows
        kept, even = [], []
        for i, row in enumerate(rows):
            if len(row) == width + 1 and not row[-1].strip():
                row = row[:-1]
            if len(row) == width:
                kept.append(i)
                even.append(row)
                continue
            self.skipped += 1
            if len(self.bad) < 1000:
                self.bad.append((int(lines[i]), len(row), any("\n" in cell for cell in row)))
            elif self.ragged == "error":
                raise BadFile(self._ragged(width))
        return lines[kept], even

    def _ragged(self, width: int) -> str:
        shown = ", ".join(f"row {line} has {length}" for line, length, _ in self.bad[:3])
        more = f", and {self.skipped - 3:,} more rows" if self.skipped > 3 else ""
        (line, length, broken), last = self.bad[0], max((int(piece[-1]) for piece in self.lines), default=0)
        cause = "a delimiter inside a cell needs quotation marks around the cell"
        if self.skipped == 1 and line > last and length < width:
            cause = "the file seems to be cut off in its last row"
        if broken:
            cause = f"a quotation mark that is opened before row {line} and never closed is the usual cause"
        return f"{self.path}: rows have {width} cells, but {shown}{more}; {cause}; ragged='skip' leaves such rows out"

    def _take(self, lines: np.ndarray, rows: list[list[str]]) -> None:
        self.seen += len(rows)
        if self.share < 1:
            kept = np.flatnonzero(self.draw.random_sample(len(rows)) < self.share)
            lines, rows = lines[kept], [rows[i] for i in kept.tolist()]
        if not rows:
            return
        self.lines.append(lines)
        for i, (column, gathering) in enumerate(zip(zip(*rows, strict=True), self.columns, strict=True)):
            if gathering.text:
                gathering.pieces.append(gathering.codes.of(column, len(column)))
                continue
            values = _numbers(column)
            gathering.pieces.append(values)
            gone = np.flatnonzero(np.isnan(values)).tolist()
            if gone and self._strays(column, gone, gathering) and self.rows > FIRST:
                self._check_strays(i, gathering)
        self.rows += len(rows)
        self.bytes += lines.nbytes + sum(g.pieces[-1].nbytes for g in self.columns)
        held = self.bytes + sum(g.codes.bytes for g in self.columns)
        if held > self.memory:  # begin again with a share that will fit, by what was read of the file so far
            raise _TooLarge(self.share * min(0.8, 0.9 * self._read_share() * self.memory / held))

    def _read_share(self) -> float:
        """How many of the rows have been read, by the bytes for so many lines."""
        if not self.place.lines:
            return 0.5
        return min(self.seen * max(self.place.bytes, 1) / (self.place.lines * self.path.stat().st_size), 1.0)

    def _strays(self, column: tuple[str, ...], rows: list[int], gathering: _Gathering) -> bool:
        """Note the cells that are neither numbers nor missing; is there one?"""
        before = gathering.bad
        for i in rows:
            text = column[i].strip()
            if text not in MISSING:
                gathering.bad += 1
                count, first = gathering.strays.get(text, (0, self.rows + i))
                gathering.strays[text] = count + 1, first
        return gathering.bad > before

    def _check_strays(self, column: int, gathering: _Gathering) -> None:
        """A column of numbers with too many other cells, of more kinds than one that stands for a missing value, is texts."""
        strays, share = gathering.strays, gathering.bad / max(self.rows, 1)
        if len(strays) > 1000 or (share > STRAYS and (len(strays) > 1 or next(iter(strays)) not in MARKS)):
            raise _Texts(column)

    def _column(self, gathering: _Gathering) -> Column:
        values = np.concatenate(gathering.pieces)
        gathering.pieces.clear()  # so that two copies are held of one column alone
        if gathering.text:
            return Column(codes=values, levels=gathering.codes.levels)
        return Column(numbers=values, strays=gathering.strays)


# -- from cells to numbers -------------------------------------------------------------------------------------------------

MARKS = frozenset(
    ["?", "-", "--", ".", "*", "unknown", "Unknown", "missing", "none"]
)  # in a column of numbers, these stand for a missing value


def _numeric(column: tuple[str, ...]) -> bool:
    """Are these cells numbers, but for a few? Codes such as 00501 are none."""
    real = [text for cell in column if (text := cell.strip()) not in MISSING]
    if not real:
        return True
    if any(len(t) > 1 and t[0] == "0" and t.isdigit() for t in real) and len({len(t) for t in real}) == 1:
        return False
    strange = [text for text in real if (number := _number(text)) != number]
    marks = len(set(strange)) == 1 and strange[0] in MARKS
    return len(strange) <= STRAYS * len(real) or (marks and len(strange) < 0.9 * len(real))


def _numbers(column: tuple[str, ...]) -> np.ndarray:
    """Cells as numbers, NaN for those that are none."""
    try:
        values = np.fromiter(map(float, column), np.float64, len(column))
    except ValueError:
        return np.fromiter(map(_number, column), np.float64, len(column))
    if np.isinf(values).any() or "_" in "".join(column):
        return np.fromiter(map(_number, column), np.float64, len(column))
    return values


def _number(cell: str) -> float:
    """The number that a cell is, NaN if it is none; infinity is none, and so is 1_000."""
    if not cell:
        return _NAN
    try:
        value = float(cell)
    except ValueError:
        return _NAN
    return value if abs(value) != _INFINITE and "_" not in cell else _NAN


_NAN, _INFINITE = float("nan"), float("inf")
