"""Sources of recordings to `Examples`: class folders, labels in file names, a CSV of names and labels or transcripts."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import describe
from ...files import BadFile
from ..examples import Examples, Finding
from ..images.read import LABEL_COLUMNS, labels_in
from ..media import File, Listing, gather, in_threads, labels_of, listed, memory_share, read_names, without_broken
from .sound import ENDINGS, decode

__all__ = ["Recordings", "read"]

TEXT_COLUMNS = ("transcript", "transcription", "text", "sentence", "utterance", "words")
LEAST_GROUPS = 10  # speakers; with fewer, a test on unseen ones would rest on one or two of them


@dataclass
class _Heard:
    """What one look at a recording found."""

    rate: int = 0
    length: int = 0
    peak: float = 0.0
    print: int = 0
    kept: np.ndarray | None = None
    trouble: str = ""


class Recordings:
    """Recordings of many lengths and rates: ``recordings[i]`` is the samples of one, mono float32, (time) at ``rates[i]``.

    ``lengths`` are in samples. They are kept in memory where all fit into an eighth of it, and read again when needed if not.
    """

    def __init__(
        self,
        items: Sequence[File | tuple[np.ndarray, int]],
        rates: np.ndarray,
        lengths: np.ndarray,
        prints: np.ndarray,
        kept: Sequence[np.ndarray] | None,
    ) -> None:
        self.items, self.rates, self.lengths, self._prints, self._kept = list(items), rates, lengths, prints, kept

    @classmethod
    def hear(
        cls, items: Sequence[Any], *, skip_broken: bool = False, show: bool | None = None
    ) -> tuple[Recordings, np.ndarray, list[Finding]]:
        """Decode each once: the recordings, the numbers of those that are whole, and findings.

        Raises: BadFile that lists the broken ones, unless ``skip_broken``.
        """
        left = [memory_share(8)]

        def hear(item: Any) -> _Heard:
            try:
                samples, rate = _decoded(item)
            except BadFile as error:
                return _Heard(trouble=str(error))
            left[0] -= samples.nbytes
            number = int.from_bytes(hashlib.blake2b(samples.tobytes(), digest_size=8).digest(), "little")
            return _Heard(rate, len(samples), float(np.abs(samples).max()), number, samples if left[0] > 0 else None)

        heard = list(in_threads(hear, items, "reading recordings", show=show))
        good, findings = without_broken([h.trouble for h in heard], "recordings", skip_broken)
        found = [heard[i] for i in good]
        silent = [_name(items[i], i) for i in good if heard[i].peak < 1e-4]
        if silent:
            findings.append(Finding(f"{len(silent):,} recordings are silent: {listed(silent)}", "warning"))
        recordings = cls(
            [items[i] for i in good],
            np.array([h.rate for h in found], np.int64),
            np.array([h.length for h in found], np.int64),
            np.array([h.print for h in found], np.uint64),
            [h.kept for h in found] if left[0] > 0 else None,  # type: ignore[misc]
        )
        return recordings, good, findings

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> np.ndarray:
        return self._kept[number] if self._kept is not None else _decoded(self.items[number])[0]

    def take_rows(self, rows: Any) -> Recordings:
        rows = np.arange(len(self))[rows]  # slices, masks and negative numbers, too
        kept = None if self._kept is None else [self._kept[i] for i in rows]
        return Recordings([self.items[i] for i in rows], self.rates[rows], self.lengths[rows], self._prints[rows], kept)

    def fingerprints(self) -> np.ndarray:
        """A 64-bit number for each recording, equal for equal samples."""
        return self._prints

    @property
    def seconds(self) -> np.ndarray:
        return self.lengths / np.maximum(self.rates, 1)


def _decoded(item: Any) -> tuple[np.ndarray, int]:
    return decode(item.read(), item.name) if isinstance(item, File) else item


def _name(item: Any, number: int) -> str:
    return item.name if isinstance(item, File) else f"recording {number}"


def read(
    source: Any,
    labels: Any = None,
    *,
    target: str | None = None,
    labelled: bool = True,
    transcripts: bool = False,
    speakers: bool | None = None,
    skip_broken: bool = False,
    show: bool | None = None,
) -> Examples:
    """Recordings with their labels (or ``transcripts``), raw, from whatever holds them.

    ``source``: a folder (or zip, tar) of class folders, perhaps in folders named train, val and test, or of files with the
    label in their names (``3_jackson_12.wav``); a CSV or TSV whose one column names files, with ``target`` the column of labels
    or transcripts; a list of paths or ``(samples, rate)`` with ``labels``. Words of the names that look like speakers become
    ``groups``, which stay together when examples are parted: True always, False never, None where there are at least ten.

    Raises: FileNotFoundError; BadFile that lists broken files, unless ``skip_broken``; ValueError for a source without
    recordings or labels.
    """
    options = {"skip_broken": skip_broken, "show": show}
    if isinstance(source, Examples):
        return source
    if isinstance(source, (list, tuple)) and len(source):
        return _from_list(source, labels, labelled, options)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"{describe(source)} is no source of recordings: give a folder, an archive, a CSV, or a list of paths")
    path = Path(source)
    table = path if path.suffix.lower() in (".csv", ".tsv") and path.is_file() else _table_of(path)
    if table is not None and (labels is None):
        return _from_csv(table, target, labelled, transcripts, options)
    listing = gather(path, ENDINGS, "recordings")
    targets, parts, groups = None, None, None
    if labels is not None:
        targets = _matching(labels, len(listing), path)
    elif labelled:
        found, parts, roles = labels_of(listing, path, "recordings")
        targets = np.array(found)
        if roles.group is not None and speakers is not False:
            groups = _groups(roles.column(roles.group), listing, speakers)
    recordings, good, findings = Recordings.hear(listing.files, **options)
    names = [f.name for f in listing.files]
    return _examples(recordings, good, names, targets, parts, groups, [*listing.findings, *findings])


def _table_of(path: Path) -> Path | None:
    """The one CSV of a folder that has no class folders."""
    if not path.is_dir():
        return None
    tables = [p for p in sorted(path.iterdir()) if p.suffix.lower() in (".csv", ".tsv")]
    folders = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return tables[0] if len(tables) == 1 and len(folders) <= 1 else None


def _matching(labels: Any, count: int, what: Any) -> Any:
    if len(labels) != count:
        raise ValueError(f"{what} holds {count:,} recordings, but there are {len(labels):,} labels: each recording needs one")
    return np.asarray(labels)


def _groups(column: list[str], listing: Listing, wanted: bool | None) -> np.ndarray | None:
    count = len(set(column))
    seen = f"{count:,} speakers seem to be named by the files, such as {column[0]!r} in {listing.places[0][-1]}"
    if wanted or count >= LEAST_GROUPS:
        listing.findings.append(Finding(f"{seen}: each is in one part only, so that the test is with voices never heard"))
        return np.array(column)
    text = f"{seen}: too few to part by, so that the same voices are in training and test; speakers=True keeps them apart"
    listing.findings.append(Finding(text, "warning"))
    return None


def _from_csv(path: Path, target: Any, labelled: bool, transcripts: bool, options: dict) -> Examples:
    table = read_names(path, ENDINGS, "recordings")
    findings = list(table.findings)
    targets, parts, groups = (None, None, None)
    if labelled or target is not None:
        usual = (*TEXT_COLUMNS, *LABEL_COLUMNS) if transcripts else (*LABEL_COLUMNS, *TEXT_COLUMNS)
        targets, parts, groups = labels_in(table.columns, target, path, findings, usual, several=not transcripts)
    recordings, good, more = Recordings.hear(table.files, **options)
    return _examples(recordings, good, [f.name for f in table.files], targets, parts, groups, [*findings, *more])


def _from_list(source: Sequence[Any], labels: Any, labelled: bool, options: dict) -> Examples:
    if labelled and labels is None:
        raise ValueError(f"{len(source):,} recordings came without labels: give them as labels=")
    items = [as_item(value) for value in source]
    recordings, good, findings = Recordings.hear(items, **options)
    names = [_name(item, i) for i, item in enumerate(items)]
    targets = None if labels is None else _matching(labels, len(items), "the list")
    return _examples(recordings, good, names, targets, None, None, findings)


def as_item(value: Any, rate: int | None = None) -> Any:
    """A file, or ``(samples, rate)``, from a path, a pair, or an array at ``rate``."""
    if isinstance(value, File):
        return value
    if isinstance(value, (str, os.PathLike)):
        if not Path(value).is_file():
            raise FileNotFoundError(f"there is no file {os.fspath(value)}")
        return File(os.fspath(value))
    if isinstance(value, tuple) and len(value) == 2 and np.ndim(value[1]) == 0:
        value, rate = value
    samples = np.asarray(value)
    if samples.ndim == 2:
        samples = samples.mean(int(samples.shape[1] < samples.shape[0]))  # the channels are fewer than the samples
    if rate is None or samples.ndim != 1 or not len(samples) or samples.dtype.kind not in "iuf":
        raise ValueError(
            f"{describe(value)} is no recording: give a path, or (samples, rate) with the samples of one channel and how many "
            f"there are a second"
        )
    if samples.dtype.kind in "iu":
        samples = samples / float(2 ** (8 * samples.dtype.itemsize - 1))
    return samples.astype(np.float32), int(rate)


def _examples(
    recordings: Recordings, good: np.ndarray, names: list[str], targets: Any, parts: Any, groups: Any, findings: list[Finding]
) -> Examples:
    def of(values: Any) -> Any:
        if values is None or len(good) == len(values):
            return values
        return values[good] if isinstance(values, np.ndarray) else [values[i] for i in good]

    seconds = recordings.seconds
    rates = Counter(recordings.rates.tolist()).most_common(5)
    if len(rates) > 1:
        findings.append(Finding(f"recordings have several rates: {', '.join(f'{n:,} at {r:,}' for r, n in rates)} a second"))
    about: dict[str, Any] = {
        "count": len(recordings),
        "rates": {str(r): n for r, n in rates},
        "seconds": {"least": float(seconds.min()), "median": float(np.median(seconds)), "most": float(seconds.max())},
        "hours": float(seconds.sum()) / 3600,
        "text": f"{len(recordings):,} recordings, {_clock(float(seconds.sum()))} in all, {seconds.min():.2g} to "
        f"{seconds.max():.2g} s each, {', '.join(f'{r:,}' for r, _ in rates)} samples a second",
    }
    return Examples("audio", recordings, of(targets), of(names), about, findings, of(parts), of(groups))


def _clock(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} hours"
        if seconds >= 7200
        else f"{seconds / 60:.0f} minutes"
        if seconds >= 120
        else f"{seconds:.0f} s"
    )
