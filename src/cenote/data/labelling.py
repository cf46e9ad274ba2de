"""What a source of pictures or recordings says of each: labels, parts and groups, from folders, file names or a table.

The readers of pictures and of sound find their files here (`found_in`), decode them, and make `Examples` of what is whole.
"""

from __future__ import annotations

import csv
import difflib
import functools
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import describe
from ..files import BadFile
from .examples import Examples, Finding
from .media import PARTS, File, Listing, gather, is_archive, listed, named_in, separator_of

__all__ = ["LABEL_COLUMNS", "Files", "Roles", "arrange", "found_in", "labels_in", "matching", "name_roles", "read_names"]

PART_COLUMNS = ("split", "part", "subset", "set", "fold", "partition")
GROUP_COLUMNS = ("group", "speaker", "subject", "patient", "client_id", "speaker_id", "person")
LABEL_COLUMNS = ("label", "labels", "class", "classes", "target", "category", "tags", "y")
MOST_ODD = 0.1  # the share of names that may be unlike the others where labels are taken from names
_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}


@dataclass
class Files:
    """What is to be read, a row each, with what its source says of it."""

    items: Sequence[Any]  # files, or what is no file
    names: Sequence[str]
    targets: Any = None  # an array, or a list of tuples of labels
    parts: np.ndarray | None = None
    groups: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)
    roles: Roles | None = None  # of the words in the files' names

    def examples(self, kind: str, inputs: Any, good: np.ndarray | None = None, findings: Sequence[Finding] = ()) -> Examples:
        """Examples of the rows ``good`` (None: all), whose decoded ``inputs`` are given."""
        found = [*self.findings, *findings]
        every = Examples(kind, inputs, self.targets, self.names, {}, found, self.parts, self.groups)
        if good is None or len(good) == len(self.names):
            return every
        return replace(replace(every, inputs=self.names).take(good), inputs=inputs)


def found_in(
    path: Path,
    endings: Sequence[str],
    what: str,
    *,
    labels: Any = None,
    target: Any = None,
    labelled: bool = True,
    usual: Sequence[str] = LABEL_COLUMNS,
    several: bool = True,
) -> Files:
    """The files of a folder, an archive or a table of names, and what it says of each.

    ``labels`` are given instead; ``target`` names columns of a table, else the first of ``usual`` ones is taken.
    Raises: FileNotFoundError; BadFile; ValueError where nothing is found, or nothing says the labels.
    """
    table = path if path.suffix.lower() in (".csv", ".tsv") and path.is_file() else _table_of(path, endings)
    if table is not None and labels is None:
        named = read_names(table, endings, what)
        found = Files(named.files, [f.name for f in named.files])
        if labelled or target is not None:
            said = labels_in(named, target, table, found.findings, usual, several)
            found.targets, found.parts, found.groups = said
        return found
    listing = gather(path, endings, what)
    targets, parts, roles = None, None, None
    if labels is not None:
        targets = matching(labels, len(listing), path, what)
    elif labelled:
        listing, said, parts, roles = labels_of(listing, path, what)
        targets = np.array(said)
    return Files(listing.files, [f.name for f in listing.files], targets, parts, None, listing.findings, roles)


def _table_of(path: Path, endings: Sequence[str]) -> Path | None:
    """The one table of a folder that has no class folders, but perhaps one folder that the files lie in."""
    if not path.is_dir():
        return None
    tables = [p for p in sorted(path.iterdir()) if p.suffix.lower() in (".csv", ".tsv")]
    folders = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if len(tables) != 1 or len(folders) > 1:
        return None
    nested = any(p.is_dir() for f in folders for p in f.iterdir())
    return tables[0] if not nested or named_in(tables[0], endings) else None


def matching(labels: Any, count: int, where: Any, what: str) -> Any:
    """Labels that were given: an array of one for each, or a list of tuples of several.

    An array of 0 and 1 with a column for each class is taken as classes where every row has one 1, else as several labels.
    Raises: ValueError for another number of them.
    """
    values = labels if isinstance(labels, (list, tuple)) else np.asarray(labels)
    if len(values) != count:
        raise ValueError(f"{where} holds {count:,} {what}, but there are {len(values):,} labels: each needs one")
    if isinstance(values, (list, tuple)) and any(isinstance(v, (list, tuple, set, frozenset)) for v in values):
        return [tuple(map(str, v)) for v in values]
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        return values
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"labels must be one for each of the {what}, or rows of 0 and 1 with a column for each label, got "
            f"{describe(values)}"
        )
    if (values.sum(1) == 1).all():
        return values.argmax(1)
    return [tuple(str(i) for i in np.flatnonzero(row)) for row in values]


# -- folders and names -------------------------------------------------------------------------------------------------------


def labels_of(listing: Listing, path: Path, what: str) -> tuple[Listing, list[str], np.ndarray | None, Roles]:
    """``(listing, labels, parts, roles)``: labels from class folders, or where there are none (or one), from the files' names.

    The few files whose names are unlike the others are left out where names say the labels, and named in a finding.
    Raises: ValueError where neither says anything.
    """
    folders, parts = arrange(listing, what)
    stems = [Path(place[-1]).stem for place in listing.places]
    if folders is not None and len(set(folders)) > 1:
        return listing, folders, parts, name_roles(stems, folders)
    roles = name_roles(stems)
    odd = [listing.places[i][-1] for i in np.flatnonzero(~roles.fits)]
    label = roles.label
    if label is not None:
        if odd:
            rows = np.flatnonzero(roles.fits)
            listing, roles = listing.take(rows.tolist()), roles.take(rows)
            parts = None if parts is None else parts[rows]
            text = f"{len(odd):,} {what} are not named like the other {len(rows):,}, and are left out: no label is known"
            listing.findings.append(Finding(f"{text} ({listed(odd)})", "warning", str(path)))
        taken = roles.column(label)
        text = f"labels were taken from the files' names, word {label + 1}: {listing.places[0][-1]} is {taken[0]!r}"
        listing.findings.append(Finding(f"{text} ({len(set(taken)):,} classes)", "warning", str(path)))
        return listing, taken, parts, roles
    if folders is not None:
        return listing, folders, parts, roles
    hint = f"; {len(odd):,} are not named like the others: {listed(odd)}" if 0 < len(odd) <= len(stems) / 2 else ""
    raise ValueError(
        f"{path} holds {len(listing):,} {what}, but nothing says their classes ({listed([p[-1] for p in listing.places])}"
        f"{hint}): put each into a folder named after its class, begin its name with the class and _, or give a CSV of names "
        f"and labels"
    )


def arrange(listing: Listing, what: str) -> tuple[list[str] | None, np.ndarray | None]:
    """``(labels, parts)`` from the folders: class folders, in folders of parts if there are any; None where there are none."""
    places = listing.places
    parts = None
    while places and min(map(len, places)) > 1 and len({p[0] for p in places}) == 1 and max(map(len, places)) > 2:
        places = [p[1:] for p in places]  # a folder round all of it
    tops = {p[0].lower() for p in places if len(p) > 1}
    if len(tops) > 1 and tops <= set(PARTS) and "train" in {PARTS[t] for t in tops} and min(map(len, places)) > 1:
        parts = np.array([PARTS[p[0].lower()] for p in places])
        places = [p[1:] for p in places]
        counts = ", ".join(f"{n:,} for {name}" for name, n in Counter(parts.tolist()).items())
        listing.findings.append(Finding(f"the folders say the parts: {counts}"))
    depths = [len(p) for p in places]
    if min(depths) == 1:
        if max(depths) == 1:
            return None, parts
        loose = ["/".join(p) for p in places if len(p) == 1]
        raise ValueError(
            f"{len(loose):,} {what} lie outside of class folders, the others inside ({listed(loose)}): put them into the "
            f"folder of their class, or take them away"
        )
    if max(depths) > 2:
        text = "the first level of folders is taken as the classes; folders below it are not told apart"
        listing.findings.append(Finding(text, "warning"))
    return [p[0] for p in places], parts


@dataclass(frozen=True)
class Roles:
    """What the words between separators in file names mean: the label, and who it is from; None where that cannot be told.

    ``fits`` says which names are like the others; of those that are not, `column` gives the whole name.
    """

    label: int | None
    group: int | None
    words: list[list[str]]
    fits: np.ndarray

    def column(self, number: int) -> list[str]:
        return [w[number] if fits else "_".join(w) for w, fits in zip(self.words, self.fits, strict=True)]

    def take(self, rows: np.ndarray) -> Roles:
        return replace(self, words=[self.words[i] for i in rows], fits=self.fits[rows])


def name_roles(stems: Sequence[str], labels: Sequence[str] | None = None) -> Roles:
    """Find a label and a group (a speaker) in names such as ``3_jackson_12``.

    Names are cut at ``_ - .`` and blanks. The label is the first word that takes few values, each in at least two files; the
    group another word, not only digits, whose values come back with several labels. Up to a tenth of the names may be others.

    >>> names = [f"{digit}_{who}_{take}" for digit in (3, 4) for who in ("ann", "bo") for take in range(3)]
    >>> roles = name_roles([*names, "notes"])
    >>> roles.label, roles.group, int(roles.fits.sum())
    (0, 1, 12)
    """
    words = [[w for w in re.split(r"[_\-.\s]+", stem) if w] for stem in stems]
    width = Counter(map(len, words)).most_common(1)[0][0] if words else 0
    fits = np.array([len(w) >= width for w in words], bool)
    nothing = Roles(None, None, words, fits)
    if width == 0 or not _few(~fits):
        return nothing
    label = None
    if labels is None:
        for i in range(width if width > 1 else 0):
            counts = Counter(w[i] for w, fit in zip(words, fits, strict=True) if fit)
            known = [fit and counts[w[i]] > 1 for w, fit in zip(words, fits, strict=True)]
            values = sum(n > 1 for n in counts.values())
            if 2 <= values <= max(2, min(1000, sum(known) // 4)) and _few(~np.array(known)):
                label, fits = i, np.array(known)
                break
        if label is None:
            return nothing
    rows = np.flatnonzero(fits)
    of_row = [words[i][label] if label is not None else str(labels[i]) for i in rows]  # type: ignore[index]
    for i in range(width):
        column = [words[row][i] for row in rows]
        counts = Counter(column)
        if i == label or not 2 <= len(counts) <= len(rows) // 2 or all(w.isdigit() for w in column) or column == of_row:
            continue
        several = Counter(value for value, _ in set(zip(column, of_row, strict=True)))
        if np.mean([n > 1 for n in several.values()]) > 0.5:
            return Roles(label, i, words, fits)
    return Roles(label, None, words, fits)


def _few(odd: np.ndarray) -> bool:
    return float(np.mean(odd)) <= MOST_ODD


# -- a table of names and labels ---------------------------------------------------------------------------------------------


@dataclass
class Named:
    """The rows of a CSV that name files: where they are, their cells by column, and the number of each row in the file."""

    files: list[File]
    columns: dict[str, list[str]]  # all but that of the names
    rows: list[int]


def read_names(path: Path, endings: Sequence[str], what: str) -> Named:
    """A CSV (or TSV) with a column of file names: relative to it, to a folder beside it, or in an archive beside it.

    Raises: BadFile for bytes that are no UTF-8 (with the row), rows of other lengths, and names that lead out of the folder;
    ValueError where no column names files.
    """
    table = _cells(path)
    if len(table) < 2:
        raise BadFile(f"{path} holds {len(table)} rows: the first must name the columns, the others the {what}")
    head, body = table[0][1], table[1:]
    twice = [name for name, n in Counter(head).items() if n > 1]
    if twice:
        raise BadFile(f"{path} has several columns called {twice[0]!r}: give each a name of its own")
    column, known = _name_column(path, head, body, endings, what)
    files, missing = [], []
    for number, row in body:
        file = known(row[column])
        files.append(file)
        if file is None:
            missing.append(f"row {number}: {row[column]}")
    if missing:
        raise BadFile(
            f"{path} names {len(missing):,} of {len(body):,} {what} that are not there ({listed(missing)}): paths must be "
            f"relative to the folder of the CSV, to a folder beside it, or to an archive beside it"
        )
    columns = {name: [row[i] for _, row in body] for i, name in enumerate(head) if i != column}
    return Named([f for f in files if f is not None], columns, [number for number, _ in body])


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    data = File(str(path)).read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise BadFile(
            f"{path}, row {row}: the byte 0x{data[error.start]:02x} is no UTF-8: save the file as UTF-8 (it may be Latin-1)"
        ) from None
    separator = separator_of(text.split("\n", 1)[0])
    rows = _rows(text, separator, path)
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            raise BadFile(
                f"{path}, row {number} has {len(row)} cells, but the first row has {len(rows[0][1])}: a cell that holds the "
                f"separator {separator!r} must stand in quotation marks"
            )
    return rows


def _rows(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with their numbers. What ends within quotation marks would be one cell to the end."""
    for strict in (True, False):
        number = 0
        try:
            found = []
            for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=separator, strict=strict), 1):
                found += [(number, row)] if row else []
            return found
        except csv.Error as error:
            if not strict or "end of data" in str(error) or "limit" in str(error):
                why = "a quotation mark is not closed" if "end of data" in str(error) else str(error)
                raise BadFile(f"{path}, row {number + 1} cannot be read: {why}") from None
    raise AssertionError("unreachable")


def _name_column(path: Path, head: list[str], body: list, endings: Sequence[str], what: str) -> tuple[int, Callable]:
    """The column whose cells are files, and how a cell becomes one: the first that is found for most of some rows."""
    probe = [row for _, row in body[:: max(1, len(body) // 20)]]
    ways = [_in_folder(folder, endings) for folder in (path.parent, *sorted(p for p in path.parent.iterdir() if p.is_dir()))]
    archives = [p for p in sorted(path.parent.iterdir()) if p.is_file() and is_archive(p)]
    for way in [*ways, *map(functools.partial(_in_archive, endings=endings, what=what), archives)]:
        for i in range(len(head)):
            if sum(way(row[i]) is not None for row in probe) * 2 > len(probe):
                return i, way
    raise ValueError(
        f"{path} has no column that names {what} which are there (columns: {', '.join(head[:20])}): paths must be relative to "
        f"the folder of the CSV, to a folder beside it, or to an archive beside it"
    )


def _in_folder(folder: Path, endings: Sequence[str]) -> Callable[[str], File | None]:
    top = folder.resolve()

    def find(name: str) -> File | None:
        if not name.strip() or "\0" in name or len(name) > 4096:
            return None
        for ending in ("", *(endings if not Path(name).suffix else ())):
            file = folder / (name + ending)
            try:
                if file.is_file() and file.name.lower().endswith(tuple(endings)):
                    if not file.resolve().is_relative_to(top):
                        raise BadFile(f"{name!r} leads out of the folder {folder}: only files below the CSV's folder are read")
                    return File(str(file))
            except OSError:  # a name that no file could have
                return None
        return None

    return find


def _in_archive(path: Path, endings: Sequence[str], what: str) -> Callable[[str], File | None]:
    """Members by their place, or by the end of it where only one has that end."""
    try:
        listing = gather(path, endings, what)
    except BadFile:
        raise
    except ValueError:  # an archive without any
        return lambda name: None
    known: dict[str, File | None] = {}
    for place, file in zip(listing.places, listing.files, strict=True):
        for i in range(1, len(place)):
            end = "/".join(place[i:])
            known[end] = None if end in known else file
    known |= {"/".join(place): file for place, file in zip(listing.places, listing.files, strict=True)}

    def find(name: str) -> File | None:
        return known.get(name) or next((file for e in endings if (file := known.get(name + e))), None)

    return find


def labels_in(
    table: Named,
    target: Any,
    path: Path,
    findings: list[Finding],
    usual: Sequence[str] = LABEL_COLUMNS,
    several: bool = True,
) -> tuple[Any, np.ndarray | None, np.ndarray | None]:
    """``(targets, parts, groups)`` from the columns beside the names; several columns of 0 and 1 are several labels."""
    columns, rest = table.columns, dict(table.columns)
    parts = groups = None
    given = [] if target is None else list(target) if isinstance(target, (list, tuple)) else [target]
    numbered = dict(enumerate(columns)) | {i - len(columns): name for i, name in enumerate(columns)}  # -1 is the last one
    asked: list[Any] = [numbered.get(name, name) if isinstance(name, int) else name for name in given]
    lower = {name.strip().lower(): name for name in rest}
    if (name := next((lower[n] for n in PART_COLUMNS if n in lower), None)) and name not in asked:
        values = [v.strip().lower() for v in rest[name]]
        if set(values) <= set(PARTS) and "train" in {PARTS[v] for v in values}:
            parts = np.array([PARTS[v] for v in values])
            counts = ", ".join(f"{n:,} for {part}" for part, n in Counter(parts.tolist()).items())
            findings.append(Finding(f"the column {name!r} says the parts: {counts}", where=str(path)))
            del rest[name]
    if (name := next((lower[n] for n in GROUP_COLUMNS if n in lower and lower[n] in rest), None)) and name not in asked:
        groups = np.array(rest.pop(name))
        findings.append(Finding(f"the column {name!r} says what belongs together", where=str(path)))
    if not asked:
        named = [lower[n] for n in usual if n in lower and lower[n] in rest]
        flags = [n for n, cells in rest.items() if set(cells) <= {"0", "1"}]
        asked = list(rest) if len(rest) == 1 else named[:1] if named else flags if len(flags) > 1 else []
    if not asked or not set(asked) <= set(columns):
        absent = next((name for name in asked if name not in columns), None)
        near = difflib.get_close_matches(str(absent), list(columns), 1) if asked else []
        raise ValueError(
            f"{path} has {f'no column {absent!r}' if asked else 'several columns that could be the labels'}"
            f"{f': did you mean {near[0]!r}?' if near else ''} (columns: {', '.join(columns)}): say which by target="
        )
    if len(asked) > 1:
        return _flagged(table, asked, path), parts, groups
    values = [v.strip() for v in columns[asked[0]]]
    separator = next((s for s in ";|" if several and any(s in v for v in values)), None)
    if separator:
        findings.append(Finding(f"cells of {asked[0]!r} hold several labels, between {separator!r}", where=str(path)))
        return [tuple(w.strip() for w in v.split(separator) if w.strip()) for v in values], parts, groups
    if empty := [i for i, v in enumerate(values) if not v]:
        raise BadFile(
            f"{path} has {len(empty):,} rows without a value in {asked[0]!r} (the first is row {table.rows[empty[0]]})"
        )
    return np.array(values), parts, groups


def _flagged(table: Named, names: list[str], path: Path) -> list[tuple[str, ...]]:
    """The labels of each row, from a column of 0 and 1 for each."""
    columns = table.columns
    for name in names:
        odd = next((i for i, cell in enumerate(columns[name]) if cell.strip().lower() not in _FLAGS), None)
        if odd is not None:
            raise BadFile(
                f"{path}, row {table.rows[odd]}: {name!r} holds {columns[name][odd]!r}, but of several target columns each "
                f"must hold 0 or 1"
            )
    rows = zip(*(columns[name] for name in names), strict=True)
    return [tuple(n for n, cell in zip(names, row, strict=True) if _FLAGS[cell.strip().lower()]) for row in rows]
