"""Reading sentences and their translations: files line by line, tables, folders of two languages."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import unknown
from ...files import BadFile
from ..examples import Examples, Finding
from .folders import HEAD_ROWS, LANGUAGES, data_files, facts, listed, open_table, part_of, without_empty
from .lines import Texts, essence, lines, plain_name, table_suffix

__all__ = ["read_pairs"]


def read_pairs(
    source: Any,
    target: str | None = None,
    *,
    text: str | None = None,
    direction: str | None = None,
    encoding: str = "utf-8",
    show: bool | None = None,
) -> Examples:
    """Sentences and their translations: two files line by line, a table or lines ``sentence<TAB>translation``, or a folder.

    ``source`` is a pair of paths or of lists of sentences; a file or a frame of two columns (others are not used; ``text`` and
    ``target`` name them); or a folder of files such as train.en, train.de, test.en, test.de, with ``direction="de-en"`` for
    what is translated into what. ``groups`` keeps the translations of one sentence in one part.

    Raises: BadFile for files of different lengths, with both counts, and as `read_classes`; ValueError for a direction of what
    is no folder.
    """
    found: list[Finding] = []
    parts: np.ndarray | None = None
    folder = Path(source) if isinstance(source, (str, os.PathLike)) and Path(source).is_dir() else None
    if direction is not None and folder is None:
        raise ValueError(
            f"direction={direction!r} is for a folder with files of two languages: turn the two sides round instead"
        )
    if isinstance(source, (tuple, list)) and len(source) == 2:
        ours, theirs, names = _parallel(source[0], source[1], encoding, show)
    elif folder is not None:
        ours, theirs, names, parts = _parallel_folder(folder, direction, encoding, show, found)
    else:
        ours, theirs, names = _pair_table(source, text, target, encoding, show, found)
    ours, theirs, names, parts = without_empty(ours, theirs, names, parts, found, what="translation")
    known: dict[str, int] = {}
    groups = np.array([known.setdefault(essence(t), len(known)) for t in ours])
    if len(known) < len(ours):
        text_ = f"{len(ours) - len(known):,} sentences occur again, with the same or another translation: kept, all in one part"
        found.append(Finding(text_))
    about = facts(ours, "pairs of sentences") | {"translations": facts(theirs, "translations")}
    return Examples("text", Texts(ours), theirs, names, about, found, parts, None if parts is not None else groups)


def _parallel(first: Any, second: Any, encoding: str, show: bool | None) -> tuple[list, list, list]:
    files = isinstance(first, (str, os.PathLike))
    sides = [list(lines(side, encoding, show=show)) if files else list(side) for side in (first, second)]
    if len(sides[0]) != len(sides[1]):
        named = [f"{side} has {len(rows):,} lines" if files else f"{len(rows):,} sentences" for side, rows in
                 zip((first, second), sides, strict=True)]  # fmt: skip
        raise BadFile(
            f"{named[0]} and {named[1]}: line by line, each needs its translation; were lines lost at the end of one?"
        )
    where = Path(first).name + ":" if files else "pair "
    return sides[0], sides[1], [f"{where}{i + 1}" for i in range(len(sides[0]))]


def _language(file: Path) -> str | None:
    name = Path(plain_name(file))
    for part in (name.suffix.lstrip("."), name.stem):
        if part.lower() in LANGUAGES:
            return part.lower()
    return None


def languages_in(path: Path) -> dict[str, dict[str, Path]]:
    """Files of a parallel corpus: by what they are called without the language, by language."""
    result: dict[str, dict[str, Path]] = defaultdict(dict)
    for file in data_files(path):
        language = _language(file)
        if language and not table_suffix(file):
            stem = Path(plain_name(file)).stem
            result["" if stem.lower() == language else stem][language] = file
    return {stem: files for stem, files in result.items() if len(files) == 2}


def _parallel_folder(
    path: Path, direction: str | None, encoding: str, show: bool | None, found: list[Finding]
) -> tuple[list, list, list, np.ndarray | None]:
    sets = languages_in(path)
    tables = [f for f in data_files(path) if table_suffix(f) or plain_name(f).endswith(".txt")]
    if not sets and len(tables) == 1:
        return *_pair_table(tables[0], None, None, encoding, show, found), None
    known = sorted({language for files in sets.values() for language in files})
    if len(known) != 2:
        raise BadFile(f"{path} holds no parallel corpus: expected files of two languages such as train.en and train.de")
    order = direction.lower().split("-") if direction else _order_of(path, known, found)
    if sorted(order) != known:
        raise ValueError(f"direction={direction!r}: the folder holds {known[0]} and {known[1]}; say '{known[0]}-{known[1]}'")
    ours, theirs, names, parts = [], [], [], []
    for stem, files in sorted(sets.items()):
        a, b, where = _parallel(files[order[0]], files[order[1]], encoding, show)
        ours, theirs, names = ours + a, theirs + b, names + where
        parts += [part_of(Path(stem)) or ""] * len(a)
    return ours, theirs, names, np.array(parts) if all(parts) and "train" in parts else None


def _order_of(path: Path, known: list[str], found: list[Finding]) -> list[str]:
    in_name = re.search(rf"(?<![a-z])({known[0]})[-_]({known[1]})(?![a-z])|(?<![a-z])({known[1]})[-_]({known[0]})(?![a-z])",
                        path.resolve().name.lower())  # fmt: skip
    order = [g for g in in_name.groups() if g] if in_name else sorted(known, key=lambda language: (language != "en", language))
    found.append(Finding(f"translated from {order[0]} into {order[1]}; direction='{order[1]}-{order[0]}' turns it round"))
    return order


def _pair_table(
    source: Any, text: Any, target: Any, encoding: str, show: bool | None, found: list[Finding]
) -> tuple[list, list, list]:
    if isinstance(source, (str, os.PathLike)) and not table_suffix(source) and text is None and target is None:
        ours, theirs, names, wider = [], [], [], 0
        for number, line in enumerate(lines(source, encoding, show=show), 1):
            cells = line.split("\t")
            if len(cells) < 2 and line.strip():
                raise BadFile(
                    f"{source}, row {number}: {line[:60]!r} has no tab: expected sentence<TAB>translation; for two files line "
                    f"by line, give both"
                )
            if line.strip():
                ours.append(cells[0])
                theirs.append(cells[1])
                names.append(f"{Path(source).name}:{number}")
                wider += len(cells) > 2
        if wider:
            count = "each line has" if wider == len(ours) else f"{wider:,} lines have"
            found.append(Finding(f"{count} more than two cells: the first two are the pair, the others are not used"))
        return ours, theirs, names
    table, noticed = open_table(source, encoding, show)
    found += noticed
    columns = {name: column.texts().tolist() for name, column in table.columns.items()}
    for given in (text, target):
        if given is not None and given not in columns:
            raise unknown(f"column of {table.file or 'the table'}", given, columns)
    likely = [n for n, cells in columns.items() if len(set(cells[:HEAD_ROWS])) > 0.3 * len(cells[:HEAD_ROWS])]
    likely = [n for n in likely if n not in (text, target)]
    chosen = [text or (likely or [None]).pop(0), target or (likely or [None]).pop(0)]
    if None in chosen:
        raise ValueError(f"{table.file or 'the table'} has no two columns of sentences among {listed(columns)}: name them")
    found.append(Finding(f"sentences are taken from {chosen[0]!r} and translations from {chosen[1]!r}"))
    names = [f"{table.file}:{line}" if table.file else f"row {line}" for line in table.lines.tolist()]
    return columns[str(chosen[0])], columns[str(chosen[1])], names
