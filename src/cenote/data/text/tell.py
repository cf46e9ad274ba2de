"""What kind of texts a source holds, by its name and its first lines."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from .folders import HEAD_ROWS, data_files, listed
from .lines import free_text, head, plain_name, table_suffix
from .pairs import languages_in
from .read import class_folders, file_classes, line_format, named_parts

__all__ = ["tell"]


def tell(source: Any, target: Any = None) -> tuple[str, str] | None:
    """What texts a source holds: "pairs", "classes" or "corpus", and why (a sentence); None if it holds none, or others.

    Only names and the first lines are looked at.
    """
    if isinstance(source, (tuple, list)) and len(source) == 2 and all(isinstance(s, (str, os.PathLike)) for s in source):
        if all(Path(s).is_file() and not table_suffix(s) for s in source):
            return "pairs", "two text files, line by line"
        return None
    if isinstance(source, tuple) and len(source) == 2 and not hasattr(source[0], "dtype"):
        texts = list(source[0])[:HEAD_ROWS] if hasattr(source[0], "__len__") else []
        if texts and all(isinstance(t, str) for t in texts):
            return "classes", "texts and a class for each"
        return None
    if not isinstance(source, (str, os.PathLike)) or not Path(source).exists():
        return _tell_table(source, target) if hasattr(source, "columns") else None
    path = Path(source)
    return _tell_folder(path) if path.is_dir() else _tell_file(path, target)


def _tell_folder(path: Path) -> tuple[str, str] | None:
    if any(p.is_dir() for p in path.iterdir()):
        folders = class_folders(path)
        return ("classes", f"a folder of .txt files for each of {len({c for _, c, _ in folders})} classes") if folders else None
    if languages_in(path):
        return "pairs", "files of two languages, line by line"
    files = data_files(path)
    parts = named_parts(files, [])
    if parts:
        return _tell_file(parts[0][0], None)
    classes = file_classes(files)
    if classes and all(_is_text(f) for f in files):
        return "classes", f"a file of lines for each class: {listed(sorted(classes))}"
    return _tell_file(files[0], None) if len(files) == 1 else None


def _is_text(file: Path) -> bool:
    try:
        return bool(head(file))
    except (ValueError, OSError):
        return False


def _tell_file(path: Path, target: Any) -> tuple[str, str] | None:
    if table_suffix(path):
        if plain_name(path).lower().endswith((".csv", ".tsv", ".tab")):
            return _tell_table(_table_head(path), target)
        return None
    if not _is_text(path):
        return None
    first = [line for line in head(path) if line.strip()]
    if line_format(first):
        return "classes", "each line begins with a label"
    cells = [line.split("\t") for line in first]
    if first and min(map(len, cells)) >= 2:
        columns = [list(c) for c in zip(*cells, strict=False)]
        found = _tell_table({f"column_{i + 1}": c for i, c in enumerate(columns)}, target)
        return found or ("pairs", "each line is a sentence, a tab, and another") if _sentences(*columns[:2]) else found
    if (
        plain_name(path).lower().endswith(".txt")
        and target is None
        and sum(len(_WORD.findall(x)) for x in first) > 2 * len(first)
    ):
        return "corpus", "a plain text"
    return None


_WORD = re.compile(r"[^\W\d_]+")


def _sentences(ours: list[str], theirs: list[str]) -> bool:
    """Are both columns made of letters, and neither of a few values?"""
    letters = all(sum(any(ch.isalpha() for ch in cell) for cell in side) > 0.9 * len(side) for side in (ours, theirs))
    return letters and len(set(ours)) > 0.2 * len(ours) and len(set(theirs)) > 0.5 * len(theirs)


def _table_head(path: Path) -> dict[str, list] | None:
    import csv

    try:
        first = head(path)
    except (ValueError, OSError):
        return None
    from ..tables.csv import sniff

    shape = sniff(path, None, None, "utf-8", [])
    rows = list(csv.reader(first[shape.header :], delimiter=shape.delimiter, quoting=shape.quoting))  # type: ignore[arg-type]
    rows = [r for r in rows if len(r) == len(shape.names)]
    return {name: list(cells) for name, cells in zip(shape.names, zip(*rows, strict=True), strict=True)} if rows else None


def _tell_table(source: Any, target: Any) -> tuple[str, str] | None:
    """Texts and classes, if every column but the target holds sentences; pairs, if there are two of sentences and no class."""
    if source is None:
        return None
    names = [str(name) for name in source] if isinstance(source, dict) else [str(name) for name in source.columns]
    columns = {name: [_plain(c) for c in list(source[name])[:HEAD_ROWS]] for name in names}
    texts = [n for n, cells in columns.items() if n != target and free_text(cells)]
    filled = [n for n, cells in columns.items() if n not in texts and any(cells)]
    others = [n for n in filled if n != target]
    if target in columns:
        if texts and not others and not free_text(columns[target]):
            return "classes", f"the texts of {listed(texts)} have a class each in {target!r}"
        return None
    if target is not None or not texts:
        return None
    few = [n for n in others if 1 < len(set(columns[n])) <= max(2, len(columns[n]) // 3)]
    if len(others) == 1 and few == others:
        return "classes", f"the texts of {listed(texts)} have a class each in {others[0]!r}"
    return ("pairs", f"sentences in {texts[0]!r} and {texts[1]!r}") if len(texts) in (2, 3) and not others else None


def _plain(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell).strip()
