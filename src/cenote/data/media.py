"""Files of pictures or sound in a folder or an archive, and work on many of them; `labelling` says what they are.

Nothing is unpacked to the disk, no name in an archive or a CSV becomes a path outside the folder it belongs to, and whatever
is unpacked in memory is bounded.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import functools
import lzma
import os
import re
import stat
import struct
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
    "as_file",
    "decode_all",
    "first_rows",
    "gather",
    "in_threads",
    "listed",
    "memory_share",
    "named_in",
    "separator_of",
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
            found = os.stat(self.path)  # before it is opened: a pipe would be waited for, and a bounded read read twice
            if not stat.S_ISREG(found.st_mode):
                raise BadFile(f"{self.name} is no file with a content, but a pipe, a device or a folder")
            if self.member:
                return self._bounded(*_zip(self.path, found.st_mtime_ns, found.st_size))
            with open(self.path, "rb", buffering=0) as file:
                self._fits(found.st_size)
                return file.read()
        except BadFile:
            raise
        except _BROKEN as error:
            raise BadFile(f"{self.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def _bounded(self, archive: zipfile.ZipFile, one: threading.Lock) -> bytes:
        with one:  # an archive counts its open members, and threads must not do so at once; they may unpack at once
            self._fits(archive.getinfo(self.member).file_size)  # no more than that is unpacked
            stream = archive.open(self.member)
        try:
            return stream.read()
        finally:
            with one:
                stream.close()

    def _fits(self, size: int) -> None:
        if size > MAX_FILE:
            raise BadFile(f"{self.name} has {size:,} bytes; {MAX_FILE:,} are the most that one file may have")


# What reading files and archives raises where they are absent, damaged, encrypted or of a strange kind.
_BROKEN = (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, KeyError)
_BROKEN += (NotImplementedError, RuntimeError, ValueError, struct.error)


@functools.lru_cache(maxsize=8)
def _zip(path: str, changed: int, size: int) -> tuple[zipfile.ZipFile, threading.Lock]:
    """An archive that stays open, for all threads, until it is another."""
    return zipfile.ZipFile(path), threading.Lock()


def as_file(value: Any) -> File | None:
    """A file from its path, or a `File` as it is; None for what is neither. Raises FileNotFoundError for a path to nothing."""
    if not isinstance(value, (str, os.PathLike)):
        return value if isinstance(value, File) else None
    if not Path(value).is_file():
        raise FileNotFoundError(f"there is no file {os.fspath(value)}")
    return File(os.fspath(value))


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
        left = 1 << 26  # bytes: to go on to the next member is to unpack this one
        with tarfile.open(path, "r|*") as archive:
            for entry, _ in zip(archive, range(50), strict=False):
                if entry.isreg() and (place := _place(entry.name, path, endings, others)):
                    return "/".join(place)
                left -= entry.size
                if left < 0:
                    break
    except BadFile:
        raise
    except _BROKEN as error:
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
    return list(csv.reader(lines, delimiter=separator_of(lines[0]))) if lines else []


def separator_of(line: str) -> str:
    """The separator of a table, from its first line."""
    return max("\t;,|", key=line.count) if any(c in line for c in "\t;,|") else ","


def is_archive(path: str | os.PathLike) -> bool:
    return str(path).lower().endswith(ARCHIVES)


def _beside(path: Path) -> str:
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 3) if path.parent.is_dir() else []
    return f": did you mean {' or '.join(near)}?" if near else ""


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def _walk(root: Path, endings: Sequence[str], others: Counter, findings: list[Finding]) -> list:
    found, outside = [], []
    top = root.resolve()
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        place = here.relative_to(root).parts
        folders[:] = sorted(name for name in folders if not _hidden(name))
        # A link to a folder above would be walked for ever, and one to elsewhere leaves the source: none is followed.
        outside += ["/".join((*place, name)) for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in names:
            if _hidden(name):
                continue
            if not name.lower().endswith(tuple(endings)):
                others[Path(name).suffix.lower()] += 1
                continue
            file = os.path.join(folder, name)
            if os.path.islink(file) and not Path(file).resolve().is_relative_to(top):
                outside.append("/".join((*place, name)))
                continue
            found.append(((*place, name), File(file)))
    if outside:
        text = f"left out {len(outside):,} links to folders or out of the source (copy what they point to): {listed(outside)}"
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
    except BadFile:
        raise
    except _BROKEN as error:
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


# Where Linux says how many bytes a container may have, by version of its control groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_share(part: int) -> int:
    """Bytes: one of so many equal parts of the machine's memory, or of what a container may have of it."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = 8 << 30
    for limit in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
            memory = min(memory, int(Path(limit).read_text()))
    return memory // part


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


def decode_all(
    look: Callable[[Item], Any],
    items: Sequence[Item],
    what: str,
    *,
    skip_broken: bool = False,
    keep: bool = True,
    show: bool | None = None,
    threads: int | None = None,
) -> tuple[list[Any], np.ndarray, list[Finding]]:
    """``look`` at each item once: what it gave for those that are whole, their numbers, and a finding about the others.

    ``look`` raises BadFile for a broken item; else it gives an object whose ``kept`` is a decoded array. That becomes None in
    all of them unless all fit into an eighth of the memory (or ``keep`` is False).
    Raises: BadFile that lists the broken ones, unless ``skip_broken`` and some are whole.
    """
    left, one = memory_share(8) if keep else 0, threading.Lock()

    def checked(item: Item) -> Any:
        nonlocal left
        try:
            found = look(item)
        except BadFile as error:
            return str(error)
        with one:
            left = max(left - found.kept.nbytes, 0)  # once there is no room, there never is
            if not left:
                found.kept = None
        return found

    looks = list(in_threads(checked, items, f"reading {what}", show=show, threads=threads))
    broken, findings = [said for said in looks if isinstance(said, str)], []
    if broken:
        text = f"{len(broken):,} of {len(items):,} {what} cannot be read: {'; '.join(broken[:10])}"
        text += f"; and {len(broken) - 10:,} more" if len(broken) > 10 else ""
        if not skip_broken or len(broken) == len(items):
            raise BadFile(text + (": mend or remove them, or pass skip_broken=True" if len(broken) < len(items) else ""))
        findings.append(Finding(text + ": they are left out", "warning"))
    good = np.array([i for i, found in enumerate(looks) if not isinstance(found, str)], np.int64)
    chosen = [looks[i] for i in good]
    if not left:
        for found in chosen:
            found.kept = None
    return chosen, good, findings
