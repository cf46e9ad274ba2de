"""Where data sets are looked for, and what is said when they are nowhere.

In this order: the folder in `CENOTE_DATA`, which is taken as it is; Cenote's cache, `CENOTE_HOME/datasets` or
`~/.cache/cenote/datasets`; Keras's cache, `KERAS_HOME/datasets` or `~/.keras/datasets`; and then the network, into
Cenote's cache. Files in the two caches count only when their checksum is right. `CENOTE_OFFLINE=1` forbids the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cenote.datasets.fetch import FetchError, fetch, matches
from cenote.datasets.objects import BadFile

__all__ = ["BadFile", "DataNotFound", "DataNote", "DataSet", "File", "Form", "cache_folder"]


class DataNotFound(FileNotFoundError):
    """A data set is nowhere to be had; the message says where it was looked for, and how to supply it."""


class DataNote(UserWarning):
    """The copy at hand differs from the published data set in a way that results can show."""


@dataclass(frozen=True)
class File:
    """A file by its path inside a data folder, with what is known of its public copies.

    `checksum` is `"sha256:<hex>"`, `"md5:<hex>"` where its publisher gives no better one, or empty for a file that is
    never downloaded. `size` is in bytes.
    """

    name: str
    size: int
    checksum: str = ""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """One of the forms that a data set comes in: its files, and the function from their paths to the data."""

    files: tuple[File, ...]
    read: Callable[..., Any]


@dataclass(frozen=True)
class DataSet:
    """A data set: its name, what it is, its page, and its forms, the best first."""

    name: str
    about: str
    home: str
    forms: tuple[Form, ...] = ()
    bundled: str = ""

    def at(self, path: str | os.PathLike) -> DataSet:
        """The same data set with the first file of its first form at another path, as Keras's `path=` asks."""
        first, *others = self.forms
        file = replace(first.files[0], name=os.path.expanduser(path))
        return replace(self, forms=(replace(first, files=(file, *first.files[1:])), *others))

    def load(self) -> Any:
        """The data from the first place that has it.

        Raises:
            DataNotFound: no place has it, and no mirror delivers it.
            BadFile: the file found is not what it should be.
        """
        looked: list[str] = []
        for place in _places():
            for form in self.forms:
                paths = [place.folder / file.name for file in form.files]
                if trouble := _trouble(place, form, paths):
                    looked.append(f"{paths[0]}{_others(paths)}: {trouble}")
                else:
                    return form.read(*paths)
        return self._download(list(dict.fromkeys(looked)))

    def whence(self) -> tuple[int, str]:
        """Bytes, and in words where `load` would take them from; a look at names only."""
        if self.bundled:
            return (Path(__file__).parent / "bundled" / self.bundled).stat().st_size, "bundled"
        for place in _places():
            for form in self.forms:
                paths = [place.folder / file.name for file in form.files]
                if all(map(os.path.isfile, paths)):
                    return sum(path.stat().st_size for path in paths), f"{place.label}: {place.folder}"
        form = self._public() or self.forms[0]
        size = sum(file.size for file in form.files)
        if not form.files[0].urls:
            return size, "not here; set CENOTE_DATA to a folder that holds it"
        return size, f"download from {urlsplit(form.files[0].urls[0]).hostname}"

    def _public(self) -> Form | None:
        return next((form for form in self.forms if form.files[0].urls), None)

    def _download(self, looked: list[str]) -> Any:
        tried: list[str] = []
        forms = [form for form in self.forms if all(file.urls for file in form.files)]
        if not forms:
            tried.append("nothing: it has no public home with a checksum to trust")
        elif os.environ.get("CENOTE_OFFLINE", "0") not in ("", "0"):
            tried.append("nothing: CENOTE_OFFLINE forbids the network")
            forms = []
        for form in forms:
            try:
                paths = [
                    fetch(file.urls, cache_folder() / file.name, checksum=file.checksum, limit=_limit(file))
                    for file in form.files
                ]
            except FetchError as error:
                tried += [f"{url}: {reason}" for url, reason in error.tried]
            except OSError as error:
                tried.append(
                    f"{form.files[0].urls[0]}: {cache_folder()} cannot be written ({error.strerror or error}); "
                    "set CENOTE_HOME to a folder that can"
                )
                break
            else:
                return form.read(*paths)
        raise DataNotFound(self._message(looked, tried))

    def _message(self, looked: list[str], tried: list[str]) -> str:
        form = self._public() or self.forms[0]
        lines = [f"the data set {self.name} ({self.about}) was not found.", "Looked for:"]
        lines += [f"  {line}" for line in looked]
        if not os.environ.get("CENOTE_DATA"):
            lines.append("  (CENOTE_DATA is not set)")
        lines += ["Tried to download:", *(f"  {line}" for line in tried), "To supply it:"]
        if form.files[0].urls:
            lines.append(f"  put these files into {cache_folder()}:")
            lines += [f"    {file.name}   from {file.urls[0]}" for file in form.files]
            lines.append("  or set CENOTE_DATA to a folder that holds them under these names.")
        else:
            names = " and ".join(file.name for file in form.files)
            lines.append(f"  set CENOTE_DATA to a folder that holds {names}; see {self.home}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Place:
    label: str
    folder: Path
    trusted: bool = False


def cache_folder() -> Path:
    """The folder that downloads go to."""
    home = os.environ.get("CENOTE_HOME")
    return Path(os.path.expanduser(os.path.join(home, "datasets") if home else "~/.cache/cenote/datasets"))


def _places() -> Iterator[_Place]:
    if given := os.environ.get("CENOTE_DATA"):
        yield _Place("CENOTE_DATA", Path(os.path.expanduser(given)), trusted=True)
    yield _Place("cache", cache_folder())
    keras = os.environ.get("KERAS_HOME") or "~/.keras"
    yield _Place("Keras's cache", Path(os.path.expanduser(keras)) / "datasets")


def _trouble(place: _Place, form: Form, paths: list[Path]) -> str:
    """Why these files will not do, or nothing."""
    for file, path in zip(form.files, paths, strict=True):
        if not os.path.isfile(path):
            return "no such file"
        # A file that the caller names by its full path is the caller's, like one in CENOTE_DATA.
        trusted = place.trusted or os.path.isabs(file.name)
        try:
            if file.checksum and not trusted and not matches(path, file.checksum):
                return "its checksum is wrong"
        except OSError as error:
            return f"it cannot be read ({error.strerror or error})"
    return ""


def _others(paths: list[Path]) -> str:
    return f" and {len(paths) - 1} more" if len(paths) > 1 else ""


def _limit(file: File) -> int:
    """The most bytes to accept: the published size and a little, since some sizes are known roughly only."""
    return file.size + file.size // 8 + 4096
