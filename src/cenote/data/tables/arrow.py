"""Reading by Arrow, where it is installed: Parquet, and large CSV files, in bounded memory.

It reads CSV much faster, where nothing is unusual. Whatever is (a ragged row, text among numbers, an empty line, bytes that are
not UTF-8) makes it give up: the careful reader of `csv` then reads the file from its beginning, and says what it is.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ...files import BadFile
from ...progress import track
from ..examples import Finding
from .column import MISSING, Codes, Column, Table

__all__ = ["of_words", "read_fast", "read_parquet", "sampled", "too_large"]

LARGE = 4 << 20  # bytes, below which it does not pay
BLOCK = 4 << 20  # bytes that are read at once
BATCH = 1 << 16  # rows that are read at once


class _Unusual(Exception):
    """Something that only the careful reader can tell apart."""


def read_fast(
    path: Path, shape: Any, packed: bool, numbers: list[bool], memory: int, seed: int, whole: bool, show: bool | None = None
) -> tuple[Table, int] | None:
    """The table and how many rows the file has, or None if the careful reader must read it.

    ``numbers`` says of each column whether its first cells are numbers. Of a file that needs more than ``memory`` bytes a
    random sample of the rows is kept; where it must be ``whole``, it is refused.
    """
    try:
        import pyarrow as arrow
        import pyarrow.csv as reader
    except ImportError:
        return None
    options = {
        "read_options": reader.ReadOptions(column_names=shape.names, skip_rows=int(shape.header), block_size=BLOCK),
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
        size, total = _extent(arrow, path, packed)
        total, share = total - int(shape.header), 1.0
        blocks = -(-size // BLOCK)
        each = total // blocks  # rows
        while True:
            with _open(arrow, path, packed) as file:
                pieces = track(reader.open_csv(file, **options), f"reading {path.name}", unit=each, total=blocks, show=show)
                found = _read(pieces, shape.names, numbers, memory, seed, share, total)
            if isinstance(found, Table):
                found.file = path.name
                found.lines = found.lines + int(shape.header)  # type: ignore[operator]
                return found, total
            if whole:
                raise too_large(path, memory)
            share = found
    except (arrow.ArrowInvalid, arrow.ArrowKeyError, OSError, _Unusual):
        return None


def _open(arrow: Any, path: Path, packed: bool) -> Any:
    return arrow.input_stream(str(path), compression="gzip" if packed else None)


def _extent(arrow: Any, path: Path, packed: bool) -> tuple[int, int]:
    """How many bytes, unpacked, and lines the file has."""
    size, lines, last = 0, 0, b"\n"
    with _open(arrow, path, packed) as file:
        while block := file.read(2 * BLOCK):
            size, lines, last = size + len(block), lines + block.count(b"\n"), block[-1:]
    return size, lines + (last != b"\n")


def _read(
    batches: Any, names: list[str], numbers: list[bool], memory: int, seed: int, share: float, total: int
) -> Table | float:
    """The table, or the share of the rows that will fit into the memory."""
    draw = np.random.RandomState(seed)
    pieces: list[list[np.ndarray]] = [[] for _ in names]
    codes = [Codes() for _ in names]
    lines: list[np.ndarray] = []
    seen = held = 0
    for batch in batches:
        rows = np.arange(batch.num_rows)
        if share < 1:
            rows = np.flatnonzero(draw.random_sample(batch.num_rows) < share)
        for i, number in enumerate(numbers):
            column = batch.column(i)
            values = column.to_numpy(zero_copy_only=False) if number else _numbered(column, codes[i])
            if number and np.isinf(values).any():
                raise _Unusual
            # The batch's memory goes with the batch.
            pieces[i].append(np.array(values[rows], np.float64 if number else np.int32))
        lines.append(seen + 1 + rows)
        seen += batch.num_rows
        held += sum(piece[-1].nbytes for piece in pieces) + lines[-1].nbytes
        texts = sum(each.bytes for each in codes)
        if held + texts > memory:
            return share * min(0.8, 0.9 * seen / max(total, 1) * memory / (held + texts))
    if seen != total or not lines:  # empty lines, or line ends within cells: rows would be named wrongly
        raise _Unusual
    columns = {}
    for name, number, parts, each in zip(names, numbers, pieces, codes, strict=True):
        values = np.concatenate(parts)
        parts.clear()  # so that two copies are held of one column alone
        columns[name] = Column(numbers=values) if number else Column(codes=values, levels=each.levels)
    return Table(columns, "", np.concatenate(lines))


def _numbered(column: Any, codes: Codes) -> np.ndarray:
    """Texts as codes, which go on with those of earlier batches."""
    encoded = column.dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    if any(text[:1] == " " and text.lstrip(" ")[:1] == '"' for text in levels):
        raise _Unusual  # quotation marks behind a space enclose a cell, too
    return _coded(encoded, levels, codes)


def _coded(encoded: Any, levels: list[str], codes: Codes) -> np.ndarray:
    table = np.array([*(codes[text] for text in levels), -1], np.int32)
    return table[encoded.indices.fill_null(len(levels)).to_numpy(zero_copy_only=False)]


def of_words(column: Any) -> Column | None:
    """An Arrow column of texts, or of a dictionary of them, each different one handled once; None if it is another."""
    kind = str(column.type)
    if kind not in ("string", "large_string") and not kind.startswith("dictionary<values=string"):
        return None
    codes = Codes()
    pieces = [c if kind.startswith("dictionary") else c.dictionary_encode() for c in getattr(column, "chunks", [column])]
    found = [_coded(piece, ["" if t is None else t for t in piece.dictionary.to_pylist()], codes) for piece in pieces]
    return Column(codes=np.concatenate([*found, np.zeros(0, np.int32)]), levels=codes.levels)


def sampled(kept: int, total: int, memory: int, path: Path) -> Finding:
    """What there is to say of a table that is a sample of its file."""
    text = (
        f"the file has {total:,} rows, more than fit into the {_size(memory)} that may be used: {kept:,} of them "
        f"({kept / total:.1%}), drawn at random, are kept; memory= (in bytes) keeps more"
    )
    return Finding(text, "warning", path.name)


def too_large(path: Path, memory: int) -> BadFile:
    """The error of a file that must be read whole, and needs more than the memory that it may."""
    return BadFile(
        f"{path} needs more than the {_size(memory)} of memory that may be used, and must be read whole: give a part of its "
        f"rows, in a file of their own"
    )


def _size(memory: float) -> str:
    return f"{memory / (1 << 20):.3g} MiB" if memory < 1000 << 20 else f"{memory / (1 << 30):,.1f} GiB"


def read_parquet(
    path: Path, rows: int | None, memory: int, seed: int, whole: bool, show: bool | None = None
) -> tuple[Any, np.ndarray, int]:
    """An Arrow table of a file, or of a random sample of its rows that fits; their numbers from 1; and how many there are.

    ``rows`` reads so many from the beginning alone; a file that must be ``whole`` is refused where it does not fit.
    Raises: BadFile, and ImportError without pyarrow.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError('reading Parquet needs pyarrow: pip install "cenote[tabular]"') from error
    try:
        with parquet.ParquetFile(path) as file:
            total = file.metadata.num_rows
            share, found = 1.0, None
            while found is None:
                pieces = track(
                    file.iter_batches(BATCH), f"reading {path.name}", total=-(-total // BATCH), unit=BATCH, show=show
                )
                kept = _kept(pieces, rows, memory // 2, seed, share, total)  # what is made of them takes as much again
                if isinstance(kept, tuple):
                    found = kept
                elif whole:
                    raise too_large(path, memory)
                else:
                    share = kept
            return arrow.Table.from_batches(found[0], file.schema_arrow), found[1], total
    except (arrow.ArrowInvalid, OSError) as error:
        raise BadFile(f"{path} is no Parquet file, or damaged: {error}") from error


def _kept(
    pieces: Any, rows: int | None, memory: int, seed: int, share: float, total: int
) -> tuple[list[Any], np.ndarray] | float:
    """The batches with the rows that are kept and their numbers, or the share of the rows that will fit into the memory."""
    draw, batches, numbers, held, seen = np.random.RandomState(seed), [], [], 0, 0
    for piece in pieces:
        some = np.arange(piece.num_rows)
        if rows is not None:
            some = some[: rows - seen]
        elif share < 1:
            some = np.flatnonzero(draw.random_sample(piece.num_rows) < share)
        batches.append(piece if len(some) == piece.num_rows else piece.take(some))
        numbers.append(seen + 1 + some)
        seen += piece.num_rows
        held += batches[-1].nbytes + some.nbytes
        if rows is not None and seen >= rows:
            break
        if rows is None and held > memory:
            return share * min(0.8, 0.9 * seen / max(total, 1) * memory / held)
    return batches, np.concatenate([*numbers, np.zeros(0, np.int64)])
