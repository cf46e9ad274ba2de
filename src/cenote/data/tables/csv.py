"""Reading CSV and its kin with the standard library alone: in pieces, so that memory is bounded by what is kept.

Delimiter, quoting and header are found from the beginning of the file. The first piece decides which columns are numbers; if
a later one shows that it was wrong, the file is read again with that column as texts.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...files import BadFile
from ...progress import track
from ..examples import Finding
from .arrow import LARGE, read_fast
from .column import MISSING, Column, Table, encode

__all__ = ["read_csv"]

BLOCK = 1 << 20  # bytes that are decoded at once
PIECE = 1 << 17  # cells, at least, that are turned into columns at once
SNIFFED = 200  # records from which delimiter and header are found
STRAYS = 0.05  # a column with a larger share of cells that are no numbers is one of texts
DELIMITERS = (",", "\t", ";", "|")


@dataclass
class Shape:
    """How a file of rows is written."""

    delimiter: str
    quoting: int
    header: bool
    names: list[str]


@dataclass
class _Gathering:
    """What has been read of one column so far."""

    text: bool  # texts as codes, or numbers
    pieces: list[np.ndarray] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    strays: dict[str, tuple[int, int]] = field(default_factory=dict)


class _Texts(Exception):
    """A column that was taken for numbers holds texts."""

    def __init__(self, column: int) -> None:
        super().__init__(column)
        self.column = column


def read_csv(
    path: str | os.PathLike,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
    ragged: str = "error",
    memory: int = 1 << 30,
    seed: int = 0,
    texts: Iterable[str] = (),
    rows: int | None = None,
    show: bool | None = None,
) -> tuple[Table, list[Finding]]:
    """A table from a file of rows, gzipped or not, and what was noticed.

    ``delimiter`` and ``header`` are found if they are not given; without a header the columns are column_1, column_2, ...
    ``ragged="skip"`` leaves rows of another length out. ``memory`` bounds what is kept, in bytes: of a larger file a random
    sample of the rows is kept (drawn by ``seed``, in the order of the file). ``texts`` names columns that are not numbers,
    even if they look so. ``rows`` reads so many rows from the beginning alone.

    Raises: BadFile for a file that is empty, not text, in another encoding, cut off or ragged, naming the row.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise BadFile(f"{path} is a folder; expected a file of rows, such as a .csv")
    if ragged not in ("error", "skip"):
        raise ValueError(f"ragged={ragged!r}: give 'error', or 'skip' to leave such rows out")
    if path.stat().st_size == 0:
        raise BadFile(f"{path} is empty (0 bytes): nothing to read")
    found: list[Finding] = []
    shape = sniff(path, delimiter, header, encoding, found)
    as_texts = {shape.names.index(name) for name in texts if name in shape.names}
    if rows is None and path.stat().st_size >= LARGE and encoding.lower() in ("utf-8", "utf8") and ragged == "error":
        numbers = [i not in as_texts and _numeric(column) for i, column in enumerate(_first_columns(path, shape, encoding))]
        fast = read_fast(path, shape, _gzipped(path), numbers, memory, seed) if len(numbers) == len(shape.names) else None
        if fast is not None:
            table, total = fast
            return table, found + ([sampled(len(table), total, memory, path)] if len(table) < total else [])
    share = 1.0
    while True:
        try:
            table = _Reading(path, shape, encoding, ragged, memory, seed, as_texts, share, rows, show).run(found)
        except _Texts as error:
            as_texts.add(error.column)
        except _TooLarge as error:
            share = error.share
        except _Unquoted:
            shape.quoting = csv.QUOTE_NONE
        else:
            return table, found


# -- from bytes to records -------------------------------------------------------------------------------------------------


class Seen:
    """How far a file has been read: bytes of the file itself, packed or not, and lines in them."""

    bytes = lines = 0


def decoded_lines(path: Path, encoding: str, seen: Seen | None = None) -> Iterator[str]:
    """The lines of a file, decoded block by block; an undecodable byte is named with its row."""
    try:
        with open(path, "rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if _gzipped(path) else raw
            yield from _decoded(path, file, raw, encoding, Seen() if seen is None else seen)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(f"{path} is damaged or cut off: it cannot be unpacked to its end ({error})") from error


def _gzipped(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _decoded(path: Path, file: Any, raw: Any, encoding: str, seen: Seen) -> Iterator[str]:
    begin = file.read(4)
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        wide = io.TextIOWrapper(io.BufferedReader(_Chained(begin, file)), encoding="utf-16", newline="")
        yield from wide
        return
    if begin.startswith(b"\xef\xbb\xbf"):
        begin = begin[3:]
    number, rest, block = 1, begin, b""
    while True:
        block = file.read(BLOCK)
        whole = rest + block
        cut = len(whole) if not block else whole.rfind(b"\n") + 1
        piece, rest = whole[:cut], whole[cut:]
        if len(rest) > 64 * BLOCK:
            raise BadFile(f"{path} has a line of more than {64 * BLOCK >> 20} MiB (row {number}): this is no file of rows")
        if b"\0" in whole:
            raise BadFile(f"{path} holds bytes that no text has (row {number + whole[: whole.index(0)].count(10)}): not a CSV")
        try:
            text = piece.decode(encoding)
        except UnicodeDecodeError as error:
            raise BadFile(_undecodable(path, piece, error, number)) from None
        except LookupError:
            raise ValueError(f"unknown encoding {encoding!r}: give one such as 'utf-8', 'latin-1' or 'gb18030'") from None
        number += piece.count(b"\n")
        seen.bytes, seen.lines = raw.tell(), number
        yield from io.StringIO(text, newline="")
        if not block:
            return


def _undecodable(path: Path, piece: bytes, error: UnicodeDecodeError, number: int) -> str:
    begin = piece.rfind(b"\n", 0, error.start) + 1
    end = piece.find(b"\n", error.start)
    line = piece[begin : end if end >= 0 else len(piece)]
    at = error.start - begin
    near = line[max(at - 15, 0) : at + 10]
    guess = "gb18030" if _decodes(line, "gb18030") and sum(byte > 0x7F for byte in line) >= 4 else "latin-1"
    return (
        f"{path}, row {number + piece[:begin].count(10)}: byte 0x{piece[error.start]:02x} is not {error.encoding.upper()} (in "
        f"{near.decode('latin-1')!r}, read as Latin-1): say encoding={guess!r}, or whatever the file is in"
    )


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return all(
        ord(c) < 128 or "\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" for c in text
    )


class _Chained(io.RawIOBase):
    """Bytes that were read already, and the file behind them."""

    def __init__(self, begin: bytes, file: Any) -> None:
        self.begin, self.file = begin, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.begin or self.file.read(len(buffer))
        taken, self.begin = data[: len(buffer)], data[len(buffer) :] if self.begin else b""
        buffer[: len(taken)] = taken
        return len(taken)


def _records(path: Path, lines: Iterator[str], delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their (last) line; empty lines are passed over."""
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, skipinitialspace=quoting != csv.QUOTE_NONE)  # type: ignore[arg-type]
    while True:
        before = reader.line_num
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise BadFile(
                f"{path}, row {before + 1}: {error}; a quotation mark that is opened and never closed is the usual cause"
            ) from None
        if record is None:
            return
        if record and not (len(record) == 1 and not record[0].strip()):
            yield reader.line_num, record


# -- delimiter, quoting, header --------------------------------------------------------------------------------------------


def sniff(path: Path, delimiter: str | None, header: bool | None, encoding: str, found: list[Finding]) -> Shape:
    lines = list(itertools.islice(decoded_lines(path, encoding), 2 * SNIFFED))
    best: tuple[Any, str, int, list[list[str]]] | None = None
    tab_first = path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    for candidate in [delimiter] if delimiter else DELIMITERS:
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            try:
                records = [r for _, r in itertools.islice(_records(path, iter(lines), candidate, quoting), SNIFFED)]
            except BadFile:
                if candidate == delimiter and quoting == csv.QUOTE_NONE:
                    raise
                continue
            if not records:
                continue
            widths = [len(record) for record in records]
            usual = max(set(widths), key=widths.count)
            alike = widths.count(usual) / len(widths)
            # Between tabs, quotation marks are mostly part of the text; elsewhere they enclose cells.
            plain = (quoting == csv.QUOTE_NONE) == (candidate == "\t" and not _enclosing(lines))
            merit = (usual > 1 and alike > 0.5, tab_first and candidate == "\t", round(alike, 2), usual, plain)
            if best is None or merit > best[0]:
                best = (merit, candidate, quoting, records)
    if best is None:
        raise BadFile(f"{path} holds no rows")
    _, chosen, quoting, records = best
    if len(records[0]) > 1 and all(not record[-1].strip() for record in records):  # a delimiter at the end of each row
        records = [record[:-1] for record in records]
    has_header = _has_header(records) if header is None else header
    width = max(set(map(len, records)), key=[len(r) for r in records].count)
    if has_header:
        names = _unique([cell.strip() for cell in records[0]], found)
        if len(records) == 1:
            raise BadFile(
                f"{path} has a header ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}) and no rows below it"
            )
        if len(names) == width - 1:  # as R writes row names
            names = ["column_1", *names]
    else:
        names = [f"column_{i + 1}" for i in range(width)]
        if header is None:
            text = f"the file has no header: its columns are named column_1 to column_{width}; the first row is data"
            found.append(Finding(text, where=path.name))
    return Shape(chosen, quoting, has_header, names)


def _enclosing(lines: list[str]) -> bool:
    """Does every cell between tabs that begins with a quotation mark end with one?"""
    opened = [cell for line in lines for cell in line.rstrip("\r\n").split("\t") if cell.startswith('"')]
    return bool(opened) and all(len(cell) > 1 and cell.endswith('"') for cell in opened)


def _unique(names: list[str], found: list[Finding]) -> list[str]:
    taken: list[str] = []
    for number, name in enumerate(names, 1):
        plain = name or f"column_{number}"
        unique, again = plain, 2
        while unique in taken:
            unique, again = f"{plain}_{again}", again + 1
        if unique != plain:
            found.append(
                Finding(f"the column name {plain!r} occurs twice: the later one is called {unique!r}", "warning", plain)
            )
        taken.append(unique)
    return taken


_NUMBER = re.compile(r"[-+]?(\d[\d ]*([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?%?$")
_NAME = re.compile(r"[\w .()/%°#:+*'&-]{1,40}$")


def _has_header(records: list[list[str]]) -> bool:
    """Does the first row name the columns? It does not if it holds numbers, or what also occurs below."""
    first, below = [cell.strip() for cell in records[0]], records[1:]
    if any(_NUMBER.match(cell) for cell in first) or any(not cell for cell in first[1:]):
        return False
    if not below:
        return all(_NAME.match(cell) for cell in first)
    for i, cell in enumerate(first):
        column = [row[i].strip() for row in below if i < len(row) and row[i].strip() not in MISSING]
        if (
            column
            and sum(bool(_NUMBER.match(c) or _DATE.match(c)) for c in column) > 0.8 * len(column)
            and not _DATE.match(cell)
        ):
            return True
    for i, cell in enumerate(first):
        if any(i < len(row) and row[i].strip() == cell for row in below):
            return False
    return all(_NAME.match(cell) and not cell.endswith(".") and cell.count(" ") < 4 for cell in first)


_DATE = re.compile(r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([ T].*)?$|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")


def _first_columns(path: Path, shape: Shape, encoding: str) -> list[tuple[str, ...]]:
    """The cells of the first rows, by column; nothing if rows differ in length, or cells begin with a space and a quote."""
    lines = decoded_lines(path, encoding)
    records = itertools.islice(_records(path, lines, shape.delimiter, shape.quoting), int(shape.header), 5000)
    rows = [record for _, record in records]
    if any(len(row) != len(shape.names) for row in rows):
        return []
    return list(zip(*rows, strict=True))


# -- from records to columns -----------------------------------------------------------------------------------------------


class _Unquoted(Exception):
    """Quotation marks between tabs that enclose nothing after all."""


class _TooLarge(Exception):
    """A share of the rows that will fit into the memory."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.share = share


def sampled(kept: int, total: int, memory: int, path: Path) -> Finding:
    """What there is to say of a table that is a sample of its file."""
    text = (
        f"the file has {total:,} rows, more than the {memory >> 20:,} MiB that may be used: {kept:,} of them "
        f"({kept / total:.1%}), drawn at random, are kept; memory= (in bytes) keeps more"
    )
    return Finding(text, "warning", path.name)


class _Reading:
    """One pass through a file."""

    def __init__(
        self,
        path: Path,
        shape: Shape,
        encoding: str,
        ragged: str,
        memory: int,
        seed: int,
        as_texts: set[int],
        share: float,
        limit: int | None,
        show: bool | None,
    ) -> None:
        self.path, self.shape, self.encoding, self.ragged, self.memory = path, shape, encoding, ragged, memory
        self.share, self.limit, self.show, self.as_texts = share, limit, show, as_texts
        self.draw = np.random.RandomState(seed)
        self.columns: list[_Gathering] | None = None
        self.lines: list[np.ndarray] = []
        self.rows = self.seen = self.bytes = 0
        self.bad: list[tuple[int, int]] = []  # rows of another length: line, length
        self.skipped = 0
        self.place = Seen()

    def run(self, found: list[Finding]) -> Table:
        width = len(self.shape.names)
        lines = decoded_lines(self.path, self.encoding, self.place)
        records = _records(self.path, lines, self.shape.delimiter, self.shape.quoting)
        if self.shape.header:
            next(records)
        if self.limit is not None:
            records = itertools.islice(records, self.limit)
        size = max(PIECE // width, 1024)
        for piece in track(self._pieces(records, size), f"reading {self.path.name}", unit=size, show=self.show):
            self._take(piece)
        if self.bad and self.ragged == "error":
            raise BadFile(self._ragged(width))
        if not self.rows:
            raise BadFile(f"{self.path} holds no rows")
        if self.bad:
            text = (
                f"{self.skipped} rows have another number of cells than {width} and are left out, such as row {self.bad[0][0]}"
            )
            found.append(Finding(text, "warning", f"{self.path.name}:{self.bad[0][0]}"))
        if self.share < 1:
            found.append(sampled(self.rows, self.seen, self.memory, self.path))
        columns = {name: self._column(g) for name, g in zip(self.shape.names, self.columns or [], strict=True)}
        return Table(columns, self.path.name, np.concatenate(self.lines))

    def _pieces(self, records: Iterator[tuple[int, list[str]]], size: int) -> Iterator[list[tuple[int, list[str]]]]:
        width, piece = len(self.shape.names), []
        wary = self.shape.delimiter == "\t" and self.shape.quoting == csv.QUOTE_MINIMAL
        for line, record in records:
            if wary and any("\n" in cell for cell in record):
                raise _Unquoted
            if len(record) != width:
                if len(record) == width + 1 and not record[-1].strip():
                    record = record[:-1]  # a delimiter at the end of the row
                else:
                    self.skipped += 1
                    if len(self.bad) < 1000:
                        self.bad.append((line, len(record)))
                    if self.ragged == "error" and len(self.bad) >= 1000:
                        raise BadFile(self._ragged(width))
                    continue
            piece.append((line, record))
            if len(piece) == size:
                yield piece
                piece = []
        if piece:
            yield piece

    def _ragged(self, width: int) -> str:
        shown = ", ".join(f"row {line} has {length}" for line, length in self.bad[:3])
        more = f", and {self.skipped - 3} more rows" if self.skipped > 3 else ""
        last = self.skipped == 1 and self.bad[0][0] > max((int(piece.max()) for piece in self.lines), default=0)
        cause = "the file seems to be cut off in its last row" if last and self.bad[0][1] < width else ""
        cause = cause or "a delimiter inside a cell needs quotation marks around the cell"
        return f"{self.path}: rows have {width} cells, but {shown}{more}; {cause}; ragged='skip' leaves such rows out"

    def _take(self, piece: list[tuple[int, list[str]]]) -> None:
        self.seen += len(piece)
        if self.share < 1:
            kept = self.draw.random_sample(len(piece)) < self.share
            piece = [row for row, keep in zip(piece, kept.tolist(), strict=True) if keep]
            if not piece:
                return
        self.lines.append(np.array([line for line, _ in piece], np.int64))
        cells = list(zip(*(record for _, record in piece), strict=True))
        if self.columns is None:
            self.columns = [_Gathering(i in self.as_texts or not _numeric(column)) for i, column in enumerate(cells)]
        for i, (column, gathering) in enumerate(zip(cells, self.columns, strict=True)):
            if gathering.text:
                self._take_texts(column, gathering)
            elif not self._take_numbers(column, gathering):
                raise _Texts(i)
        self.rows += len(piece)
        self.bytes += 8 * len(piece) + sum(g.pieces[-1].nbytes for g in self.columns)
        held = self.bytes + sum(120 * len(g.known) for g in self.columns)
        if held > self.memory:  # begin again with a share that will fit, by what was read of the file so far
            raise _TooLarge(self.share * min(0.8, 0.9 * self._read_share() * self.memory / held))

    def _read_share(self) -> float:
        """How many of the rows have been read, by the bytes for so many lines."""
        if not self.place.lines:
            return 0.5
        return min(self.seen * max(self.place.bytes, 1) / (self.place.lines * self.path.stat().st_size), 1.0)

    def _take_texts(self, column: tuple[str, ...], gathering: _Gathering) -> None:
        texts = [None if (text := cell.strip()) in MISSING else text for cell in column]
        gathering.pieces.append(encode(texts, gathering.known).codes)  # type: ignore[arg-type]

    def _take_numbers(self, column: tuple[str, ...], gathering: _Gathering) -> bool:
        """Add a piece of numbers; False if too many of its cells are none."""
        values = _floats(column)
        if values is None:
            values = np.empty(len(column))
            bad = 0
            for i, cell in enumerate(column):
                text = cell.strip()
                if text in MISSING:
                    values[i] = np.nan
                    continue
                values[i] = number = _float(text)
                if number != number:
                    bad += 1
                    count, first = gathering.strays.get(text, (0, self.rows + i))
                    gathering.strays[text] = count + 1, first
            if len(gathering.strays) > 1000 or (bad > STRAYS * len(column) and self._strange(gathering)):
                return False
        gathering.pieces.append(values)
        return True

    def _strange(self, gathering: _Gathering) -> bool:
        """Are there other cells than one that stands for a missing value?"""
        return len(gathering.strays) > 1 or next(iter(gathering.strays)) not in MARKS

    def _column(self, gathering: _Gathering) -> Column:
        values = np.concatenate(gathering.pieces)
        if gathering.text:
            return Column(codes=values, levels=list(gathering.known))
        return Column(numbers=values, strays=gathering.strays)


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
    strange = [text for text in real if (number := _float(text)) != number]
    marks = len(set(strange)) == 1 and strange[0] in MARKS
    return len(strange) <= STRAYS * len(real) or (marks and len(strange) < 0.9 * len(real))


def _floats(column: tuple[str, ...]) -> np.ndarray | None:
    try:
        values = np.array(list(map(float, column)))
    except ValueError:
        return None
    return values if np.isfinite(values).all() and not any("_" in cell for cell in column[:1]) else None


def _float(text: str) -> float:
    """The number that a text is, NaN if it is none; infinity is none, and so is 1_000."""
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if abs(value) != float("inf") and "_" not in text else float("nan")
