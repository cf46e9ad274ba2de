"""Reading large CSV files by Arrow, where it is installed: much faster, for files in which nothing is unusual.

Whatever is unusual (a ragged row, text among numbers, an empty line, bytes that are not UTF-8) makes this reader give up: the
careful reader of `csv` then reads the file from its beginning, and says what it is.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from .column import MISSING, Column, Table

__all__ = ["read_fast"]

LARGE = 4 << 20  # bytes, below which it does not pay


class _Unusual(Exception):
    """Something that only the careful reader can tell apart."""


def read_fast(path: Path, shape: Any, packed: bool, numbers: list[bool], memory: int, seed: int) -> tuple[Table, int] | None:
    """The table and how many rows the file has, or None if the careful reader must read it.

    ``numbers`` says of each column whether its first cells are numbers. Of a file that needs more than ``memory`` bytes a
    random sample of the rows is kept.
    """
    try:
        import pyarrow as arrow
        import pyarrow.csv as reader
    except ImportError:
        return None
    options = {
        "read_options": reader.ReadOptions(column_names=shape.names, skip_rows=int(shape.header), block_size=4 << 20),
        "parse_options": reader.ParseOptions(
            delimiter=shape.delimiter, quote_char=False if shape.quoting == csv.QUOTE_NONE else '"'
        ),
        "convert_options": reader.ConvertOptions(
            column_types={
                name: arrow.float64() if number else arrow.string() for name, number in zip(shape.names, numbers, strict=True)
            },
            null_values=sorted(MISSING),
            strings_can_be_null=True,
        ),
    }
    try:
        total = _lines(arrow, path, packed) - int(shape.header)
        share = 1.0
        while True:
            with _open(arrow, path, packed) as file:
                found = _read(reader.open_csv(file, **options), shape.names, numbers, memory, seed, share, total)
            if isinstance(found, Table):
                found.file = path.name
                found.lines = found.lines + int(shape.header)  # type: ignore[operator]
                return found, total
            share = found
    except (arrow.ArrowInvalid, arrow.ArrowKeyError, OSError, _Unusual):
        return None


def _open(arrow: Any, path: Path, packed: bool) -> Any:
    return arrow.input_stream(str(path), compression="gzip" if packed else None)


def _lines(arrow: Any, path: Path, packed: bool) -> int:
    """How many lines the file has."""
    count, last = 0, b"\n"
    with _open(arrow, path, packed) as file:
        while block := file.read(8 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def _read(
    batches: Any, names: list[str], numbers: list[bool], memory: int, seed: int, share: float, total: int
) -> Table | float:
    """The table, or the share of the rows that will fit into the memory."""
    draw = np.random.RandomState(seed)
    pieces: list[list[np.ndarray]] = [[] for _ in names]
    known: list[dict[str, int]] = [{} for _ in names]
    lines: list[np.ndarray] = []
    seen = held = 0
    for batch in batches:
        rows = np.arange(batch.num_rows)
        if share < 1:
            rows = np.flatnonzero(draw.random_sample(batch.num_rows) < share)
        for i, number in enumerate(numbers):
            column = batch.column(i)
            values = column.to_numpy(zero_copy_only=False) if number else _codes(column, known[i])
            if number and np.isinf(values).any():
                raise _Unusual
            # The batch's memory goes with the batch.
            pieces[i].append(np.array(values[rows], np.float64 if number else np.int32))
        lines.append(seen + 1 + rows)
        seen += batch.num_rows
        held += sum(piece[-1].nbytes for piece in pieces) + lines[-1].nbytes
        texts = sum(120 * len(levels) for levels in known)
        if held + texts > memory:
            return share * min(0.8, 0.9 * seen / max(total, 1) * memory / (held + texts))
    if seen != total or not lines:  # empty lines, or line ends within cells: rows would be named wrongly
        raise _Unusual
    columns = {}
    for name, number, parts, levels in zip(names, numbers, pieces, known, strict=True):
        values = np.concatenate(parts)
        columns[name] = Column(numbers=values) if number else Column(codes=values, levels=list(levels))
    return Table(columns, "", np.concatenate(lines))


def _codes(column: Any, known: dict[str, int]) -> np.ndarray:
    """Texts as codes, which go on with those of earlier batches."""
    encoded = column.dictionary_encode()
    levels = [text.strip() for text in encoded.dictionary.to_pylist()]
    table = np.array([*(-1 if t in MISSING else known.setdefault(t, len(known)) for t in levels), -1], np.int32)
    return table[encoded.indices.fill_null(len(levels)).to_numpy(zero_copy_only=False)]
