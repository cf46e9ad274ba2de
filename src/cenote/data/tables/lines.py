"""From the bytes of a file to its rows: unpacked, decoded block by block, and parted by the csv module, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...files import BadFile

__all__ = ["Seen", "batches", "decoded_lines", "gzipped", "records"]

BLOCK = 1 << 20  # bytes that are decoded at once


class Seen:
    """How far a file has been read: bytes of the file itself, packed or not, and lines in them."""

    bytes = lines = 0


def gzipped(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


# -- lines -----------------------------------------------------------------------------------------------------------------


def decoded_lines(path: Path, encoding: str, seen: Seen | None = None) -> Iterator[str]:
    """The lines of a file, decoded block by block; an undecodable byte is named with its row."""
    return itertools.chain.from_iterable(_opened(path, encoding, Seen() if seen is None else seen))


def _opened(path: Path, encoding: str, seen: Seen) -> Iterator[Iterable[str]]:
    try:
        with open(path, "rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if gzipped(path) else raw
            yield from _decoded(path, file, raw, encoding, seen)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(f"{path} is damaged or cut off: it cannot be unpacked to its end ({error})") from error


def _decoded(path: Path, file: Any, raw: Any, encoding: str, seen: Seen) -> Iterator[Iterable[str]]:
    begin = file.read(4)
    marked = begin.startswith((b"\xff\xfe", b"\xfe\xff"))
    if marked or encoding.lower().replace("_", "-").startswith(("utf-16", "utf16", "utf-32", "utf32")):
        yield _wide(path, io.BufferedReader(_Chained(begin, file)), "utf-16" if marked else encoding)
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
        yield io.StringIO(text, newline="")
        if not block:
            return


def _wide(path: Path, file: Any, encoding: str) -> Iterator[str]:
    """Lines of a text of two or four bytes a letter."""
    try:
        yield from io.TextIOWrapper(file, encoding=encoding, newline="")
    except UnicodeError as error:
        raise BadFile(f"{path} is not {encoding.upper()} to its end ({error}): it may be cut off") from None


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


# -- rows ------------------------------------------------------------------------------------------------------------------


def _reader(lines: Iterator[str], delimiter: str, quoting: int) -> Any:
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, skipinitialspace=quoting != csv.QUOTE_NONE)  # type: ignore[arg-type]


def _blank(record: list[str]) -> bool:
    return not record or (len(record) == 1 and not record[0].strip())


def records(path: Path, lines: Iterator[str], delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Rows one by one, each with the number of its (last) line; empty lines are passed over."""
    reader = _reader(lines, delimiter, quoting)
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
        if not _blank(record):
            yield reader.line_num, record


def batches(
    path: Path, encoding: str, delimiter: str, quoting: int, size: int, seen: Seen
) -> Iterator[tuple[np.ndarray, list[list[str]], bool]]:
    """The same rows, ``size`` at a time, with the numbers of their lines, and whether any cell goes over several lines."""
    reader = _reader(decoded_lines(path, encoding, seen), delimiter, quoting)
    while True:
        before = reader.line_num
        try:
            rows = list(itertools.islice(reader, size))
        except csv.Error:
            for _ in records(path, decoded_lines(path, encoding), delimiter, quoting):
                pass  # the careful way, which names the row
            raise
        if not rows:
            return
        broken = reader.line_num - before != len(rows)
        if broken:
            numbers = before + np.cumsum([1 + sum(map(_line_ends, row)) for row in rows])
            numbers = np.minimum(numbers, reader.line_num)  # a quotation mark may still be open at the end
        else:
            numbers = np.arange(before + 1, reader.line_num + 1)
        if any(len(row) < 2 and _blank(row) for row in rows):
            kept = [i for i, row in enumerate(rows) if not _blank(row)]
            rows, numbers = [rows[i] for i in kept], numbers[kept]
        if rows:
            yield numbers, rows, broken


def _line_ends(cell: str) -> int:
    return cell.count("\n") + cell.count("\r") - cell.count("\r\n")
