"""Rows of numbers from CSV files, for models that take plain arrays."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .trouble import Trouble


class Row(NamedTuple):
    """One example: where it comes from, and its values."""

    source: str
    values: np.ndarray


def rows(path: Path | None, shape: tuple[int, ...]) -> Iterator[Row]:
    """The rows of a CSV file (None: the standard input), one example each; a first line without any number is a heading."""
    name = "standard input" if path is None else str(path)
    width = int(np.prod(shape))
    try:
        file = sys.stdin if path is None else path.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise Trouble(f"there is no file {path}") from None
    try:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or (number == 1 and not any(_is_number(cell) for cell in row)):
                continue
            where = f"{name}, row {number}"
            if len(row) != width:
                size = "x".join(str(s) for s in shape)
                hint = "; is the label among them? leave it away" if len(row) == width + 1 else ""
                raise Trouble(f"{where} has {len(row):,} values, but the model reads {width:,} ({size}){hint}")
            yield Row(f"{name}:{number}", _numbers(row, where).reshape(shape))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Trouble(f"{name} is not a CSV text: {error}") from error
    finally:
        if path is not None:
            file.close()


def _numbers(row: list[str], where: str) -> np.ndarray:
    try:
        values = np.array(row, np.float32)
    except ValueError:
        column = next(i for i, cell in enumerate(row, 1) if not _is_number(cell))
        raise Trouble(f"{where}, column {column}: {row[column - 1]!r} is not a number") from None
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise Trouble(f"{where}, column {column}: {row[column - 1]!r} is not a finite number")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
