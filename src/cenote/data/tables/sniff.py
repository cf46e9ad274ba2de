"""How a file of rows is written: its delimiter, its quotation marks, and whether its first row names the columns."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import BadFile
from ..examples import Finding
from .column import MISSING
from .lines import decoded_lines, records

__all__ = ["Shape", "sniff"]

SNIFFED = 200  # records from which delimiter and header are found
DELIMITERS = (",", "\t", ";", "|")


@dataclass
class Shape:
    """How a file of rows is written."""

    delimiter: str
    quoting: int
    header: bool
    names: list[str]


def sniff(path: Path, delimiter: str | None, header: bool | None, encoding: str, found: list[Finding]) -> Shape:
    """The shape of a file, from its first rows; what is given is not guessed."""
    lines = list(itertools.islice(decoded_lines(path, encoding), 2 * SNIFFED))
    best: tuple[Any, str, int, list[list[str]]] | None = None
    tab_first = path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    for candidate in [delimiter] if delimiter else DELIMITERS:
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            try:
                rows = [r for _, r in itertools.islice(records(path, iter(lines), candidate, quoting), SNIFFED)]
            except BadFile:
                if candidate == delimiter and quoting == csv.QUOTE_NONE:
                    raise
                continue
            if not rows:
                continue
            widths = [len(row) for row in rows]
            usual = max(set(widths), key=widths.count)
            alike = widths.count(usual) / len(widths)
            # Between tabs, quotation marks are mostly part of the text; elsewhere they enclose cells.
            plain = (quoting == csv.QUOTE_NONE) == (candidate == "\t" and not _enclosing(lines))
            merit = (usual > 1 and alike > 0.5, tab_first and candidate == "\t", round(alike, 2), usual, plain)
            if best is None or merit > best[0]:
                best = (merit, candidate, quoting, rows)
    if best is None:
        raise BadFile(f"{path} holds no rows")
    _, chosen, quoting, rows = best
    if len(rows[0]) > 1 and all(not row[-1].strip() for row in rows):  # a delimiter at the end of each row
        rows = [row[:-1] for row in rows]
    has_header = _has_header(rows) if header is None else header
    width = max(set(map(len, rows)), key=[len(row) for row in rows].count)
    if has_header:
        names = _unique([cell.strip() for cell in rows[0]], found)
        if len(rows) == 1:
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


def _has_header(rows: list[list[str]]) -> bool:
    """Does the first row name the columns? It does not if it holds numbers, or what also occurs below."""
    first, below = [cell.strip() for cell in rows[0]], rows[1:]
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
