"""Lines of text files and rows of tables of texts, checked on the way: what `read` stands on."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...files import BadFile
from ...progress import track
from ..tables.csv import decoded_lines
from .tokenize import IDEOGRAPHS

__all__ = ["Texts", "free_text", "head", "lines", "plain_name", "table_suffix"]

HEAD = 200  # lines that are looked at to tell what a file holds
_TABLES = (".csv", ".tsv", ".tab", ".parquet", ".pq", ".arrow", ".feather")


class Texts(list):
    """A list of texts that knows which of them are nearly the same: letter for letter, but for case, spaces and marks.

    >>> a, b = Texts(["Good film!", "good  film"]).fingerprints().tolist()
    >>> a == b
    True
    """

    def take_rows(self, rows: Any) -> Texts:
        """Some of the texts, by row numbers."""
        return Texts(self[int(i)] for i in rows)

    def fingerprints(self) -> np.ndarray:
        """A number for each text, (rows,) uint64: equal for texts that are nearly the same."""
        from ..split import row_hash

        return np.array([row_hash(essence(t).encode("utf-8", "surrogatepass")) for t in self], np.uint64)


def essence(text: str) -> str:
    """A text without case, spaces and marks; the text itself where nothing else is left."""
    return "".join(c for c in text.casefold() if c.isalnum()) or text.strip()


def plain_name(path: str | os.PathLike) -> str:
    """A file's name without ``.gz``."""
    name = Path(path).name
    return name[:-3] if name.lower().endswith(".gz") else name


def table_suffix(path: str | os.PathLike) -> bool:
    """Is a file a table by its name?"""
    return plain_name(path).lower().endswith(_TABLES)


def lines(path: str | os.PathLike, encoding: str = "utf-8", *, show: bool | None = None) -> Iterator[str]:
    """The lines of a text file, gzipped or not, without their ends.

    Raises: FileNotFoundError; BadFile for an empty file, for one cut off, and for bytes in another encoding, naming the row.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise BadFile(f"{path} is a folder; expected a text file")
    if path.stat().st_size == 0:
        raise BadFile(f"{path} is empty (0 bytes): nothing to read")
    return (line.rstrip("\r\n") for line in track(decoded_lines(path, encoding), f"reading {path.name}", show=show))


def head(path: str | os.PathLike, encoding: str = "utf-8") -> list[str]:
    """The first lines of a text file."""
    return list(itertools.islice(lines(path, encoding, show=False), HEAD))


_WORDS = re.compile(rf"[{IDEOGRAPHS}]|[^\W\d_]+")


def free_text(cells: Sequence[Any]) -> bool:
    """Do these cells hold sentences, rather than names, codes, dates or numbers?

    They do if most have three words (or ideographs) or more, are mostly letters, and most differ.

    >>> free_text(["a fine film", "what a bore, really"]), free_text(["Ulm", "Bonn"]), free_text(["2016-07-01 00:00"] * 3)
    (True, False, False)
    """
    real = [str(c).strip() for c in cells if c is not None and str(c).strip()]
    if not real:
        return False
    many = sum(len(_WORDS.findall(c)) >= 3 for c in real) / len(real)
    letters = sum(sum(ch.isalpha() or ch.isspace() for ch in c) / len(c) for c in real) / len(real)
    return many > 0.6 and letters > 0.6 and len(set(real)) > 0.5 * len(real)
