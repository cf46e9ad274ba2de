"""Reading texts with a class each (tables, lines, folders), or as one corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import unknown
from ...files import BadFile
from ...progress import track
from ..examples import Examples, Finding
from .folders import (
    LANGUAGES,
    PARTS,
    columns_of,
    data_files,
    facts,
    listed,
    open_table,
    part_of,
    report_twins,
    without_empty,
)
from .lines import Texts, head, lines, plain_name, table_suffix

__all__ = ["read_classes", "read_corpus"]

LABELLED = re.compile(r"(?P<label>[^\s:]+):(?P<fine>[^\s:]+)[ \t]+(?P<text>\S.*)$")
_MARKED = re.compile(r"__label__(?P<label>\S+)[ \t]+(?P<text>\S.*)$")


def read_classes(
    source: Any,
    target: str | None = None,
    *,
    text: str | Sequence[str] | None = None,
    separator: str | None = None,
    fine: bool = False,
    encoding: str = "utf-8",
    show: bool | None = None,
) -> Examples:
    """Texts and their classes from a table, a file of labelled lines, a folder, a frame, or a pair ``(texts, classes)``.

    Tables (CSV, TSV, frames): ``target`` names the column of the classes and ``text`` the column of the texts, or several that
    are joined; what is not given is found where only one column can be meant. Lines: ``LABEL:fine text`` (``fine`` takes the
    whole label, else the part in front of the colon), ``__label__NAME text``. Folders: a folder of .txt files for each class, a
    file of lines for each class (reviews.pos, reviews.neg), or files named train, dev and test. ``separator`` splits each class
    into several labels.

    Raises: BadFile or ValueError that says what came in, where, and what to do.
    """
    found: list[Finding] = []
    parts: np.ndarray | None = None
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            texts, targets, names, parts = _folder(path, target, text, fine, encoding, show, found)
        elif not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        else:
            texts, targets, names = _labelled_file(path, target, text, fine, encoding, show, found)
    elif isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], (str, os.PathLike)):
        texts, targets = (list(part) for part in source)
        if len(texts) != len(targets):
            raise ValueError(f"there are {len(texts):,} texts and {len(targets):,} classes: give one class for each text")
        names = [f"text {i + 1}" for i in range(len(texts))]
        wrong = next((i for i, t in enumerate(texts) if not isinstance(t, str)), None)
        if wrong is not None:
            raise TypeError(f"text {wrong + 1} is a {type(texts[wrong]).__name__} ({texts[wrong]!r:.40}): give strings")
    else:
        texts, targets, names = _from_table(open_table(source), target, text, found)
    if separator is not None:
        targets = [[p.strip() for p in ("" if t is None else str(t)).split(separator) if p.strip()] for t in targets]
    texts, targets, names, parts = without_empty(texts, targets, names, parts, found)
    report_twins(texts, targets, names, found)
    return Examples("text", Texts(texts), targets, names, facts(texts), found, parts)


def _labelled_file(
    path: Path, target: Any, text: Any, fine: bool, encoding: str, show: bool | None, found: list[Finding]
) -> tuple[list, list, list]:
    if table_suffix(path) or target is not None or text is not None:
        return _from_table(open_table(path, encoding, show), target, text, found)
    first = head(path, encoding)
    pattern = line_format(first)
    if pattern is not None:
        texts, targets, names = [], [], []
        for number, line in enumerate(lines(path, encoding, show=show), 1):
            match = pattern.match(line)
            if match is None:
                if not line.strip():
                    continue
                raise BadFile(f"{path}, row {number}: {line[:60]!r} has no label in front, as the rows before it have")
            label = match["label"] + (":" + match["fine"] if fine and pattern is LABELLED else "")
            texts.append(match["text"])
            targets.append(label)
            names.append(f"{path.name}:{number}")
        if pattern is LABELLED and not fine:
            labels = len(set(targets))
            found.append(
                Finding(f"each line begins with LABEL:fine; the {labels} labels in front of the colon are the classes")
            )
        return texts, targets, names
    if sum("\t" in line for line in first) > 0.9 * len(first):
        return _from_table(open_table(path, encoding, show), target, text, found)
    raise BadFile(
        f"{path} holds lines without a class each: the first is {first[0][:60]!r}. Give a table with a column of classes, "
        f"lines that begin with LABEL:, a folder with a file for each class, or name another task (text-generation)"
    )


def line_format(first: Sequence[str]) -> re.Pattern[str] | None:
    """The pattern that all lines follow, with labels that occur again and again."""
    real = [line for line in first if line.strip()]
    for pattern in (LABELLED, _MARKED):
        matches = [pattern.match(line) for line in real]
        labels = [m["label"] for m in matches if m]
        if len(real) > 1 and len(labels) == len(real) and 1 < len(set(labels)) <= max(2, len(real) // 2):
            return pattern
    return None


def _from_table(read: tuple[Any, list[Finding]], target: Any, text: Any, found: list[Finding]) -> tuple[list, list, list]:
    table, noticed = read
    found += noticed
    columns = {name: column.texts().tolist() for name, column in table.columns.items()}
    where = table.file or "the table"
    for given in [target] if text is None else [target, *([text] if isinstance(text, str) else text)]:
        if given is not None and given not in columns:
            raise unknown(f"column of {where}", given, columns)
    target, chosen = columns_of(columns, target, text, where, found)
    texts = [" ".join(str(v) for name in chosen if (v := columns[name][i]) is not None) for i in range(len(table))]
    names = [f"{table.file}:{line}" if table.file else f"row {line}" for line in table.lines.tolist()]
    return texts, columns[target], names


# -- folders ---------------------------------------------------------------------------------------------------------------


def _folder(
    path: Path, target: Any, text: Any, fine: bool, encoding: str, show: bool | None, found: list[Finding]
) -> tuple[list, list, list, np.ndarray | None]:
    folders = class_folders(path)
    if folders:
        return _documents(path, folders, encoding, show)
    files = data_files(path)
    given = named_parts(files, found)
    if given:
        texts, targets, names, parts = [], [], [], []
        for file, part in given:
            try:
                more = _labelled_file(file, target, text, fine, encoding, show, found if part == "train" else [])
            except BadFile:
                raise
            except ValueError as error:
                if part == "train":
                    raise
                found.append(Finding(f"{file.name} is left out: {error}", "warning", file.name))
                continue
            for all_of_it, new in zip((texts, targets, names), more, strict=True):
                all_of_it += new
            parts += [part] * len(more[0])
        return texts, _class_names(path, targets, found), names, np.array(parts)
    classes = file_classes(files)
    if classes:
        texts, targets, names = [], [], []
        for label, file in sorted(classes.items()):
            rows = list(lines(file, encoding, show=show))
            texts += rows
            targets += [label] * len(rows)
            names += [f"{file.name}:{i + 1}" for i in range(len(rows))]
        found.append(Finding(f"each line is a text; the files are the classes: {listed(sorted(classes))}"))
        return texts, targets, names, None
    if len(files) == 1:
        return *_labelled_file(files[0], target, text, fine, encoding, show, found), None
    inside = listed(sorted(p.name for p in path.iterdir())) or "nothing"
    raise BadFile(
        f"{path} holds no texts with classes that are recognised (it holds {inside}): expected a folder of .txt files for each "
        f"class, a file of lines for each class, or tables named train, dev and test"
    )


def class_folders(path: Path) -> list[tuple[str | None, str, list[Path]]]:
    """``(part, class, files)`` of folders of .txt files, below folders of parts where there are such."""
    below = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    result: list[tuple[str | None, str, list[Path]]] = []
    for folder in below:
        documents = sorted(folder.glob("*.txt"))
        part = PARTS.get(folder.name.lower())
        if documents and part is None:
            result.append((None, folder.name, documents))
        elif part is not None:
            for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
                documents = sorted(inner.glob("*.txt"))
                if documents and inner.name != "unsup":  # what the IMDb reviews call the texts without a class
                    result.append((part, inner.name, documents))
    return result if len({label for _, label, _ in result}) > 1 else []


def _documents(path: Path, folders: list, encoding: str, show: bool | None) -> tuple[list, list, list, np.ndarray | None]:
    texts, targets, names, parts = [], [], [], []
    every = [(part, label, file) for part, label, files in folders for file in files]
    for part, label, file in track(every, "reading texts", show=show):
        texts.append("\n".join(lines(file, encoding, show=False)) if file.stat().st_size else "")
        targets.append(label)
        names.append(str(file.relative_to(path)))
        parts.append(part or "")
    return texts, targets, names, np.array(parts) if all(parts) else None


def named_parts(files: list[Path], found: list[Finding]) -> list[tuple[Path, str]]:
    """Files that are named for the parts they are, training first."""
    known = [(f, part) for f in files if (part := part_of(f))]
    if "train" not in [p for _, p in known]:
        return []
    others = [f for f in files if not part_of(f)]
    if len(known) == 1 and len(others) == 1 and Path(plain_name(others[0])).suffix == Path(plain_name(known[0][0])).suffix:
        known.append((others[0], "test"))
        found.append(Finding(f"{others[0].name} is taken as the test part: it lies beside {known[0][0].name}"))
    return sorted(known, key=lambda pair: ("train", "validation", "test").index(pair[1]))


def file_classes(files: list[Path]) -> dict[str, Path]:
    """Classes by files: reviews.pos and reviews.neg, or pos.txt and neg.txt."""
    names = [Path(plain_name(f)) for f in files if not table_suffix(f)]
    if len(names) != len(files) or len(files) < 2:
        return {}
    stems, suffixes = {n.stem for n in names}, {n.suffix for n in names}
    if len(stems) == 1 and len(suffixes) == len(files) and not {s.lstrip(".") for s in suffixes} <= LANGUAGES:
        return {n.suffix.lstrip("."): f for n, f in zip(names, files, strict=True)}
    if len(suffixes) == 1 and len(stems) == len(files) and not stems <= LANGUAGES and suffixes & {".txt", ""}:
        return {n.stem: f for n, f in zip(names, files, strict=True)}
    return {}


def _class_names(path: Path, targets: list, found: list[Finding]) -> list:
    """Numbers from 1 up as the names in classes.txt or labels.txt beside the data, where they are as many."""
    for name in ("classes.txt", "labels.txt"):
        file = path / name
        if not file.is_file():
            continue
        named = [line.strip() for line in lines(file, show=False) if line.strip()]
        numbers = {str(t) for t in targets}
        if numbers == {str(i + 1) for i in range(len(named))}:
            found.append(Finding(f"the classes 1 to {len(named)} are called as {name} says: {listed(named)}", where=name))
            return [named[int(t) - 1] for t in targets]
    return targets


# -- one corpus ------------------------------------------------------------------------------------------------------------


def read_corpus(source: Any, *, encoding: str = "utf-8", block: int | None = None, show: bool | None = None) -> Examples:
    """A corpus to continue: a text file, a folder of them, or texts; in blocks of about so many characters, in order.

    The blocks of a file, joined, are the file; by default a fiftieth of the corpus each, 200 to 2,000 characters. ``times`` is
    their order, so that the last ones can be held out.
    """
    found: list[Finding] = []
    documents: list[tuple[str, str]] = []
    if isinstance(source, os.PathLike) or (isinstance(source, str) and "\n" not in source):
        path = Path(source)
        files = sorted(p for p in path.rglob("*.txt*") if plain_name(p).endswith(".txt")) if path.is_dir() else [path]
        if not files:
            raise BadFile(f"{path} holds no .txt files: expected texts to learn from")
        for file in track(files, "reading texts", show=show):
            if path.is_dir() and not file.stat().st_size:
                found.append(Finding(f"{file.name} is empty: left out", "warning", file.name))
                continue
            documents.append((file.name, "\n".join(lines(file, encoding, show=False)) + "\n"))
    else:
        texts = [source] if isinstance(source, str) else list(source)
        documents = [(f"text {i + 1}", t if t.endswith("\n") else t + "\n") for i, t in enumerate(texts)]
    blocks, names = [], []
    block = block or int(np.clip(sum(len(text) for _, text in documents) // 50, 200, 2000))
    for name, text in documents:
        for number, piece in enumerate(_blocks(text, block), 1):
            blocks.append(piece)
            names.append(f"{name}, block {number}")
    if not any(b.strip() for b in blocks):
        raise BadFile("there is no text to learn from")
    whole = sum(map(len, blocks))
    about = {
        "text": f"{whole:,} characters",
        "characters": whole,
        "distinct characters": len(set().union(*map(set, blocks))),
        "texts": len(documents),
    }
    return Examples("text", Texts(blocks), None, names, about, found, times=np.arange(len(blocks)))


def _blocks(text: str, size: int) -> list[str]:
    """A text cut at ends of lines (or anywhere, in long lines), so that the pieces joined are the text."""
    pieces, begin = [], 0
    while len(text) - begin > size * 1.5:
        end = text.rfind("\n", begin + size // 2, begin + size) + 1
        end = end if end > begin else begin + size
        pieces.append(text[begin:end])
        begin = end
    return [*pieces, text[begin:]]
