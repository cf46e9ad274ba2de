"""Files of pictures or sound: in a folder, in an archive, or named by a CSV; what their folders and names say about them.

Nothing is unpacked to the disk, no name in an archive or a CSV becomes a path outside the folder it belongs to, and whatever
is unpacked in memory is bounded.
"""

from __future__ import annotations

import csv
import functools
import gzip
import io
import os
import re
import tarfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from ..files import BadFile
from .examples import Finding

__all__ = [
    "File",
    "Listing",
    "any_file",
    "first_rows",
    "gather",
    "in_threads",
    "labels_of",
    "listed",
    "memory_share",
    "name_roles",
    "named_in",
    "read_names",
    "without_broken",
]

MAX_FILE = 1 << 30  # bytes of one picture or recording
PARTS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"}
PARTS |= {"dev": "validation", "test": "test", "testing": "test"}
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ARCHIVES = (".zip", *_TARS)
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class File:
    """A file on the disk, a member of a zip archive, or bytes that were read from a tar archive."""

    path: str  # of the file, or of the archive
    member: str = ""  # its name in the archive
    data: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"{self.path}:{self.member}" if self.member else self.path

    def read(self) -> bytes:
        """The content; BadFile for what cannot be read or is larger than `MAX_FILE`."""
        if self.data is not None:
            return self.data
        try:
            if self.member:
                archive = _zip(self.path, threading.get_ident())
                size = archive.getinfo(self.member).file_size  # no more than that is unpacked
                data = archive.read(self.member) if size <= MAX_FILE else b""
            else:
                with open(self.path, "rb", buffering=0) as file:
                    size = os.fstat(file.fileno()).st_size  # asked first: a bounded read would set its bound aside
                    data = file.read() if size <= MAX_FILE else b""
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
            raise BadFile(f"{self.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if size > MAX_FILE:
            raise BadFile(f"{self.name} has {size:,} bytes; {MAX_FILE:,} are the most that one file may have")
        return data


@functools.lru_cache(maxsize=32)
def _zip(path: str, thread: int) -> zipfile.ZipFile:
    """An archive that stays open, one for each thread, since a zip file has one place where it reads."""
    return zipfile.ZipFile(path)


@dataclass
class Listing:
    """Files with their places below the source, in the order of their places: ``("train", "cats", "1.jpg")``."""

    files: list[File]
    places: list[tuple[str, ...]]
    findings: list[Finding] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: Sequence[int]) -> Listing:
        return Listing([self.files[i] for i in rows], [self.places[i] for i in rows], list(self.findings))


# -- what there is -----------------------------------------------------------------------------------------------------------


def gather(source: str | os.PathLike, endings: Sequence[str], what: str) -> Listing:
    """The files with these endings in a folder (and those below), a zip or a tar archive; hidden ones are left out.

    A folder that has no such file, but archives with the names of parts (``train.tar.gz``, ``x-test.zip``), is taken as these.
    Raises: FileNotFoundError; BadFile for a damaged archive, or one whose names lead outside; ValueError where there is none.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}" + _beside(path))
    others: Counter[str] = Counter()
    findings: list[Finding] = []
    if path.is_dir():
        found = _walk(path, endings, others, findings)
        if not found and (archives := _parted_archives(path)):
            for part, archive in archives:
                inner = gather(archive, endings, what)
                found += [((part, *place), file) for place, file in zip(_bare(inner.places), inner.files, strict=True)]
            findings.append(Finding(f"read the archives {', '.join(a.name for _, a in archives)} as parts", where=str(path)))
    elif is_archive(path):
        found = list(_members(path, endings, others))
    else:
        found = [((path.name,), File(str(path)))]
    if not found:
        seen = ", ".join(f"{n:,} {ending or 'without an ending'}" for ending, n in others.most_common(SHOWN))
        raise ValueError(
            f"{path} holds no {what} ({', '.join(endings[:6])}, ...)"
            + (f"; it holds files {seen}" if seen else "; it is empty")
            + f": give the folder that the {what} lie in, one folder below it for each class"
        )
    if others:
        seen = ", ".join(f"{n:,} {ending or 'without an ending'}" for ending, n in others.most_common(SHOWN))
        findings.append(Finding(f"left out files that are no {what}: {seen}", where=str(path)))
    found.sort(key=lambda pair: pair[0])
    return Listing([file for _, file in found], [place for place, _ in found], findings)


def any_file(path: Path, endings: Sequence[str], most: int = 2000) -> str | None:
    """The place of one file with such an ending in a folder or an archive, after a look at a few; None if there is none."""
    if path.is_dir():
        seen = 0
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(f for f in folders if not _hidden(f))
            for name in sorted(names):
                if not _hidden(name) and name.lower().endswith(tuple(endings)):
                    return (Path(folder) / name).relative_to(path).as_posix()
            seen += len(names) + 1
            if seen > most:
                return None
        inner = (any_file(archive, endings, most) for _, archive in _parted_archives(path))
        return next((name for name in inner if name), None)
    if not path.is_file() or not is_archive(path):
        return None
    others: Counter[str] = Counter()
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [e.filename for e in archive.infolist() if not e.is_dir()]
            return next(("/".join(place) for n in names if (place := _place(n, path, endings, others))), None)
        with tarfile.open(path, "r|*") as archive:
            for entry, _ in zip(archive, range(50), strict=False):
                if entry.isreg() and entry.size <= MAX_FILE and (place := _place(entry.name, path, endings, others)):
                    return "/".join(place)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path} is not a whole archive: {error}") from error
    return None


def named_in(path: Path, endings: Sequence[str]) -> str | None:
    """The column of a CSV or TSV most of whose first cells look like names of files with such endings."""
    rows = first_rows(path) if path.is_file() else []
    for i, name in enumerate(rows[0] if len(rows) > 1 else []):
        if sum(len(row) > i and row[i].strip().lower().endswith(tuple(endings)) for row in rows[1:]) * 2 > len(rows) - 1:
            return name
    return None


def first_rows(path: Path, most: int = 50) -> list[list[str]]:
    """The first rows of a CSV or TSV, its head among them; bytes that are no UTF-8 are passed over."""
    with path.open("rb") as file:
        lines = file.read(1 << 16).decode("utf-8-sig", "replace").splitlines()[: most + 1]
    return list(csv.reader(lines, delimiter=_separator(lines[0]))) if lines else []


def _separator(line: str) -> str:
    return max("\t;,|", key=line.count) if any(c in line for c in "\t;,|") else ","


def is_archive(path: str | os.PathLike) -> bool:
    return str(path).lower().endswith(ARCHIVES)


def _beside(path: Path) -> str:
    import difflib

    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 3) if path.parent.is_dir() else []
    return f": did you mean {' or '.join(near)}?" if near else ""


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def _walk(root: Path, endings: Sequence[str], others: Counter, findings: list[Finding]) -> list:
    found, outside = [], []
    top = root.resolve()
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        kept = []
        for name in sorted(folders):
            if _hidden(name):
                continue
            link = here / name
            if link.is_symlink():  # a link to a folder above would be walked for ever, and one to elsewhere leaves the source
                outside.append(link.relative_to(root).as_posix())
                continue
            kept.append(name)
        folders[:] = kept
        place = here.relative_to(root).parts
        for name in names:
            if _hidden(name):
                continue
            if not name.lower().endswith(tuple(endings)):
                others[Path(name).suffix.lower()] += 1
                continue
            file = here / name
            if file.is_symlink() and not file.resolve().is_relative_to(top):
                outside.append(file.relative_to(root).as_posix())
                continue
            found.append(((*place, name), File(str(file))))
    if outside:
        text = f"left out {len(outside):,} links that lead out of the folder (copy what they point to): {listed(outside)}"
        findings.append(Finding(text, "warning", str(root)))
    return found


def _parted_archives(folder: Path) -> list[tuple[str, Path]]:
    """Archives in a folder that are named after parts, if one of them is for training."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_archive(path):
            words = [w for w in re.split(r"[^a-z]+", path.name.lower()) if w in PARTS]
            if len(words) == 1:
                found.append((PARTS[words[0]], path))
    parts = [part for part, _ in found]
    return found if "train" in parts and len(set(parts)) == len(parts) else []


def _bare(places: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Places without the folders that all share, as long as class folders stay."""
    while places and all(len(p) > 2 for p in places) and len({p[0] for p in places}) == 1:
        places = [p[1:] for p in places]
    return places


def _members(path: Path, endings: Sequence[str], others: Counter) -> Iterator[tuple[tuple[str, ...], File]]:
    try:
        if path.name.lower().endswith(".zip"):
            yield from _zip_members(path, endings, others)
        else:
            yield from _tar_members(path, endings, others)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path} is not a whole archive: {error}") from error


def _zip_members(path: Path, endings: Sequence[str], others: Counter) -> Iterator[tuple[tuple[str, ...], File]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and (place := _place(entry.filename, path, endings, others)):
                if entry.flag_bits & 1:
                    raise BadFile(f"{path} is encrypted ({entry.filename}): unpack it with its password, and give the folder")
                yield place, File(str(path), entry.filename)


def _tar_members(path: Path, endings: Sequence[str], others: Counter) -> Iterator[tuple[tuple[str, ...], File]]:
    left = limit = max(memory_share(4), 1 << 28)
    with tarfile.open(path, "r|*") as archive:
        for entry in archive:
            if not entry.isreg():
                continue
            left -= entry.size  # those that are passed over are unpacked, too
            if left < 0 or entry.size > MAX_FILE:
                raise BadFile(f"{path} unpacks to more than {limit:,} bytes: unpack it to a folder, and give that")
            place = _place(entry.name, path, endings, others)
            content = archive.extractfile(entry) if place else None
            if place and content is not None:
                yield place, File(str(path), entry.name, content.read())


def _place(name: str, archive: Path, endings: Sequence[str], others: Counter) -> tuple[str, ...] | None:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts[0] if pure.parts else ""):
        raise BadFile(f"{archive} names the file {name!r}, which leads out of the archive: such an archive is not read")
    if any(_hidden(part) for part in pure.parts):
        return None
    if not pure.name.lower().endswith(tuple(endings)):
        others[pure.suffix.lower()] += 1
        return None
    return pure.parts


def memory_share(part: int) -> int:
    """Bytes: one of so many equal parts of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // part
    except (ValueError, OSError, AttributeError):
        return (8 << 30) // part


# -- what folders and names say ----------------------------------------------------------------------------------------------


def labels_of(listing: Listing, path: Path, what: str) -> tuple[list[str], np.ndarray | None, Roles]:
    """``(labels, parts, roles)``: labels from class folders, or where there are none (or one), from the files' names.

    Raises: ValueError where neither says anything.
    """
    folders, parts = arrange(listing, what)
    stems = [Path(place[-1]).stem for place in listing.places]
    if folders is not None and len(set(folders)) > 1:
        return folders, parts, name_roles(stems, folders)
    roles = name_roles(stems)
    if roles.label is not None:
        taken = roles.column(roles.label)
        text = f"labels were taken from the files' names, word {roles.label + 1}: {stems[0]} is {taken[0]!r}"
        listing.findings.append(Finding(f"{text} ({len(set(taken)):,} classes)", "warning", str(path)))
        return taken, parts, roles
    if folders is not None:
        return folders, parts, roles
    raise ValueError(
        f"{path} holds {len(listing):,} {what}, but nothing says their classes ({listed([p[-1] for p in listing.places])}): "
        f"put each into a folder named after its class, begin its name with the class and _, or give a CSV of names and labels"
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
    """What the words between separators in file names mean: the label, and who it is from; None where that cannot be told."""

    label: int | None
    group: int | None
    words: list[list[str]]

    def column(self, number: int) -> list[str]:
        return [w[number] for w in self.words]


def name_roles(stems: Sequence[str], labels: Sequence[str] | None = None) -> Roles:
    """Find a label and a group (a speaker) in names such as ``3_jackson_12``.

    Names are cut at ``_ - .`` and blanks. The label is the first word that takes few values, each in at least two files; the
    group another word, not only digits, whose values come back with several labels.

    >>> names = [f"{digit}_{who}_{take}" for digit in (3, 4) for who in ("ann", "bo") for take in range(3)]
    >>> roles = name_roles(names)
    >>> roles.label, roles.group
    (0, 1)
    """
    words = [[w for w in re.split(r"[_\-.\s]+", stem) if w] for stem in stems]
    width = Counter(map(len, words)).most_common(1)[0][0] if words else 0
    if width == 0 or any(len(w) < width for w in words):
        return Roles(None, None, words)
    label = None
    if labels is None:
        for i in range(width):
            counts = Counter(w[i] for w in words)
            few = 2 <= len(counts) <= max(2, min(1000, len(words) // 4))
            if width > 1 and few and min(counts.values()) >= 2:
                label = i
                break
        known: Sequence[str] = [w[label] for w in words] if label is not None else []
    else:
        known = labels
    group = None
    for i in range(width if known else 0):
        column = [w[i] for w in words]
        counts = Counter(column)
        if i == label or not 2 <= len(counts) <= len(words) // 2 or all(w.isdigit() for w in column) or column == list(known):
            continue
        several = Counter(value for value, _ in set(zip(column, known, strict=True)))
        if np.mean([n > 1 for n in several.values()]) > 0.5:
            group = i
            break
    return Roles(label, group, words)


# -- a CSV of names and labels -----------------------------------------------------------------------------------------------


@dataclass
class Named:
    """The rows of a CSV that name files: where they are, their cells by column, and the number of each row in the file."""

    files: list[File]
    columns: dict[str, list[str]]  # all but that of the names
    rows: list[int]
    findings: list[Finding]


def read_names(path: str | os.PathLike, endings: Sequence[str], what: str) -> Named:
    """A CSV (or TSV) with a column of file names: relative to it, to a folder beside it, or in an archive beside it.

    Raises: BadFile for bytes that are no UTF-8 (with the row), rows of other lengths, and names that lead out of the folder;
    ValueError where no column names files.
    """
    path = Path(path)
    table = _cells(path)
    if len(table) < 2:
        raise BadFile(f"{path} holds {len(table)} rows: the first must name the columns, the others the {what}")
    head, body = table[0][1], table[1:]
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
    return Named([f for f in files if f is not None], columns, [number for number, _ in body], [])


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    data = File(str(path)).read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise BadFile(
            f"{path}, row {row}: the byte 0x{data[error.start]:02x} is no UTF-8: save the file as UTF-8 (it may be Latin-1)"
        ) from None
    separator = _separator(text.split("\n", 1)[0])
    rows = [(i, row) for i, row in enumerate(csv.reader(io.StringIO(text), delimiter=separator), 1) if row]
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            raise BadFile(
                f"{path}, row {number} has {len(row)} cells, but the first row has {len(rows[0][1])}: a cell that holds the "
                f"separator {separator!r} must stand in quotation marks"
            )
    return rows


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
    try:
        listing = gather(path, endings, what)
    except ValueError:  # an archive without any
        return lambda name: None
    known = {"/".join(place[i:]): file for place, file in zip(listing.places, listing.files, strict=True) for i in (0, -1)}
    return lambda name: known.get(name) or next((known[name + e] for e in endings if name + e in known), None)


def without_broken(troubles: Sequence[str], what: str, skip_broken: bool) -> tuple[np.ndarray, list[Finding]]:
    """The numbers of the files that could be read, by what is wrong with each ("" for nothing), and a finding about the others.

    Raises: BadFile that lists the broken ones, unless ``skip_broken`` and some are whole.
    """
    broken = [trouble for trouble in troubles if trouble]
    findings = []
    if broken:
        said = f"{len(broken):,} of {len(troubles):,} {what} cannot be read: {'; '.join(broken[:10])}"
        said += f"; and {len(broken) - 10:,} more" if len(broken) > 10 else ""
        if not skip_broken or len(broken) == len(troubles):
            raise BadFile(said + (": mend or remove them, or pass skip_broken=True" if len(broken) < len(troubles) else ""))
        findings.append(Finding(said + ": they are left out", "warning"))
    return np.array([i for i, trouble in enumerate(troubles) if not trouble], np.int64), findings


def listed(names: Sequence[Any]) -> str:
    """The first few names, and how many more."""
    more = len(names) - SHOWN
    return ", ".join(map(str, names[:SHOWN])) + (f" and {more:,} more" if more > 0 else "")


# -- work on many files ------------------------------------------------------------------------------------------------------

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_threads(
    work: Callable[[Item], Made], items: Sequence[Item], what: str, *, threads: int | None = None, show: bool | None = None
) -> Iterator[Made]:
    """``work`` on each item by threads, in order and a bounded way ahead, with progress; decoders let go of Python's lock."""
    from collections import deque

    from ..progress import track

    threads = threads or min(os.cpu_count() or 1, 16)
    size = max(1, min(64, len(items) // (4 * threads)))  # items at a time: one alone costs less than its hand-over
    spans = [items[i : i + size] for i in range(0, len(items), size)]

    def some(span: Sequence[Item]) -> list[Made]:
        return [work(item) for item in span]

    def results() -> Iterator[Made]:
        if threads == 1 or len(spans) < 2:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="cenote-read") as pool:
            waiting: deque = deque()
            try:
                for span in spans:
                    waiting.append(pool.submit(some, span))
                    if len(waiting) > 2 * threads:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    yield from track(results(), what, total=len(items), show=show)
