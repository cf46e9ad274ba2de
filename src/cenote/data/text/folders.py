"""What the readers of texts share: columns and folders that tell what they hold, and what is noticed on the way."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..examples import Finding
from .lines import essence, free_text, plain_name

PARTS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"}
PARTS |= {"dev": "validation", "test": "test", "testing": "test"}
NO_DATA = re.compile(r"(readme|licen[cs]e|sha256sums|classes|labels|\.).*", re.IGNORECASE)
_CODES = (  # of languages, as file names say them (ISO 639-1)
    "af am ar as az be bg bn bo br bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr ht hu hy id ig is it ja jv "
    "ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my nb ne nl nn no ny oc or pa pl ps pt ro ru rw sd si sk sl "
    "sn so sq sr su sv sw ta te tg th ti tk tl tr tt ug uk ur uz vi wo xh yi yo zh zu"
)
LANGUAGES = frozenset(_CODES.split())


def open_table(source: Any, encoding: str = "utf-8", show: bool | None = None) -> tuple[Any, list[Finding]]:
    """A `Table`, and what was noticed about it."""
    from ..tables.read import read_table

    return read_table(source, **({"encoding": encoding, "show": show} if isinstance(source, (str, os.PathLike)) else {}))


def columns_of(columns: dict[str, list], target: Any, text: Any, where: str, found: list[Finding]) -> tuple[str, list[str]]:
    """The column of the classes and those of the texts; what was found by itself is said."""
    sample = {name: cells[:HEAD_ROWS] for name, cells in columns.items()}
    empty = [name for name, cells in sample.items() if not any(c is not None for c in cells)]
    if text is not None:
        chosen = [text] if isinstance(text, str) else list(text)
    else:
        chosen = [n for n, cells in sample.items() if n != target and (free_text(cells))]
        if not chosen and target is not None:
            others = [n for n in columns if n != target and n not in empty]
            chosen = others if len(others) == 1 else []
    if not chosen:
        raise ValueError(f"{where} has no column of texts among {listed(columns)}: name it with text=")
    rest = [n for n in columns if n not in chosen and n not in empty]
    if target is None:
        few = [n for n in rest if 1 < len(set(columns[n])) <= max(2, len(columns[n]) // 5)]
        if len(few) != 1:
            seen = f"the columns {listed(few)} could all be it" if few else "no column repeats a few values"
            raise ValueError(f"{where}: which column holds the classes? {seen} (columns: {listed(columns)}); name it as target")
        target = few[0]
        found.append(Finding(f"the classes are taken from the column {target!r}, the only one of few values", where=target))
    if text is None:
        found.append(Finding(f"the texts are taken from {listed(chosen)}, which hold sentences" if len(chosen) > 1
                             else f"the texts are taken from the column {chosen[0]!r}", where=chosen[0]))  # fmt: skip
    unused = [n for n in rest if n != target]
    if unused:
        found.append(Finding(f"not used: the columns {listed(unused)}"))
    return target, chosen


HEAD_ROWS = 500  # of a column, that tell what it holds


def listed(names: Any) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def data_files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_file() and not NO_DATA.match(p.name) and p.suffix not in (".md", ".json"))


def part_of(file: Path) -> str | None:
    return PARTS.get(re.split(r"[._\-0-9]", plain_name(file).lower())[0])


def without_empty(
    texts: list, targets: list | None, names: list, parts: Any, found: list[Finding], *, what: str = "class"
) -> tuple[list, Any, list, Any]:
    """All without the examples that lack their text or their target."""

    def lacks(value: Any) -> bool:
        return value is None or (isinstance(value, str) and not value.strip())

    empty = [i for i, t in enumerate(texts) if lacks(t)]
    bare = [] if targets is None else [i for i, t in enumerate(targets) if lacks(t) and not lacks(texts[i])]
    for rows, says in ((empty, "no text"), (bare, f"no {what}")):
        if rows:
            count = "1 example has" if len(rows) == 1 else f"{len(rows):,} examples have"
            found.append(Finding(f"{count} {says}, such as {names[rows[0]]}: left out", "warning", str(names[rows[0]])))
    gone = {*empty, *bare}
    if len(gone) == len(texts):
        raise ValueError("there is no example left: " + (f"no text has a {what}" if bare else "all texts are empty"))
    if not gone:
        return texts, targets, names, parts
    rows = [i for i in range(len(texts)) if i not in gone]

    def kept(values: Any) -> Any:
        return values if values is None else values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]

    return kept(texts), kept(targets), kept(names), kept(parts)


def report_twins(texts: list[str], targets: list, names: list, found: list[Finding]) -> None:
    """Report texts that occur more than once, and those of them that have different classes."""
    first: dict[str, int] = {}
    again, other = [], []
    for i, text in enumerate(texts):
        before = first.setdefault(essence(text), i)
        if before != i:
            (again if targets[before] == targets[i] else other).append((before, i))
    if again:
        a, b = again[0]
        count = f"{len(again):,} texts occur" if len(again) > 1 else "1 text occurs"
        found.append(
            Finding(f"{count} again with the same class, such as {names[a]} and {names[b]}: kept", where=str(names[b]))
        )
    if other:
        a, b = other[0]
        count = f"{len(other):,} texts have" if len(other) > 1 else "1 text has"
        places = f"{names[a]} ({targets[a]}) and {names[b]} ({targets[b]})"
        text = f"{count} a twin with another class, such as {places}: kept; one of each is wrong"
        found.append(Finding(text, "warning", str(names[b])))


def facts(texts: list[str], what: str = "texts") -> dict[str, Any]:
    """How many texts there are, and how long, for people."""
    lengths = np.array([len(t) for t in texts])
    middle, longest = int(np.median(lengths)), int(lengths.max())
    return {
        "text": f"{len(texts):,} {what} of {middle:,} characters in the middle, {longest:,} at most",
        "count": len(texts),
        "characters": int(lengths.sum()),
        "median length": middle,
        "longest": longest,
    }
