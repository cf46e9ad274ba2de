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
from ..examples import Examples, Finding
from ..labelling import LABEL_COLUMNS, Files, found_in, matching
from ..media import File, as_file, decode_all, listed
from .sound import ENDINGS, decode

__all__ = ["Recordings", "read"]

TEXT_COLUMNS = ("transcript", "transcription", "text", "sentence", "utterance", "words")
LEAST_GROUPS = 10  # speakers; with fewer, a test on unseen ones would rest on one or two of them


@dataclass
class _Heard:
    """What one look at a recording found."""

    rate: int
    length: int
    peak: float
    print: int
    kept: Any


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
        heard, good, findings = decode_all(_hear, items, "recordings", skip_broken=skip_broken, show=show)
        silent = [_name(items[i], i) for i, found in zip(good, heard, strict=True) if found.peak < 1e-4]
        if silent:
            findings.append(Finding(f"{len(silent):,} recordings are silent: {listed(silent)}", "warning"))
        kept = [found.kept for found in heard]
        recordings = cls(
            [items[i] for i in good],
            np.array([found.rate for found in heard], np.int64),
            np.array([found.length for found in heard], np.int64),
            np.array([found.print for found in heard], np.uint64),
            None if any(samples is None for samples in kept) else kept,
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


def _hear(item: Any) -> _Heard:
    samples, rate = _decoded(item)
    number = int.from_bytes(hashlib.blake2b(samples.tobytes(), digest_size=8).digest(), "little")
    return _Heard(rate, len(samples), float(np.abs(samples).max()), number, samples)


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
    or transcripts; a list of paths or ``(samples, rate)`` with ``labels``, or a tuple of both. Words of the names that look
    like speakers become ``groups``, which stay together when examples are parted: True always, False never, None where there
    are at least ten.

    Raises: FileNotFoundError; BadFile that lists broken files, unless ``skip_broken``; ValueError for a source without
    recordings or labels.
    """
    options = {"skip_broken": skip_broken, "show": show}
    if isinstance(source, Examples):
        return source
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], (list, tuple)) and labels is None:
        source, labels = source
    if isinstance(source, (list, tuple)) and len(source):
        return _from_list(source, labels, labelled, options)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"{describe(source)} is no source of recordings: give a folder, an archive, a CSV, or a list of paths")
    path = Path(source)
    usual = (*TEXT_COLUMNS, *LABEL_COLUMNS) if transcripts else (*LABEL_COLUMNS, *TEXT_COLUMNS)
    asked: dict[str, Any] = {"labels": labels, "target": target, "labelled": labelled, "usual": usual}
    found = found_in(path, ENDINGS, "recordings", several=not transcripts, **asked)
    if speakers is False:
        found.groups = None
    elif found.roles is not None and found.roles.group is not None:
        found.groups = _groups(found.roles.column(found.roles.group), found, speakers)
    recordings, good, findings = Recordings.hear(found.items, **options)
    return _described(found.examples("audio", recordings, good, findings))


def _groups(column: list[str], found: Files, wanted: bool | None) -> np.ndarray | None:
    count = len(set(column))
    seen = f"{count:,} speakers seem to be named by the files, such as {column[0]!r} in {Path(found.names[0]).name}"
    if wanted or count >= LEAST_GROUPS:
        found.findings.append(Finding(f"{seen}: each is in one part only, so that the test is with voices never heard"))
        return np.array(column)
    text = f"{seen}: too few to part by, so that the same voices are in training and test; speakers=True keeps them apart"
    found.findings.append(Finding(text, "warning"))
    return None


def _from_list(source: Sequence[Any], labels: Any, labelled: bool, options: dict) -> Examples:
    if labelled and labels is None:
        raise ValueError(f"{len(source):,} recordings came without labels: give them as labels=")
    items = [as_item(value) for value in source]
    recordings, good, findings = Recordings.hear(items, **options)
    names = [_name(item, i) for i, item in enumerate(items)]
    targets = None if labels is None else matching(labels, len(items), "the list", "recordings")
    return _described(Files(items, names, targets).examples("audio", recordings, good, findings))


def as_item(value: Any, rate: int | None = None) -> Any:
    """A file, or ``(samples, rate)``, from a path, a pair, or an array at ``rate``."""
    if (file := as_file(value)) is not None:
        return file
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


def _described(examples: Examples) -> Examples:
    recordings: Recordings = examples.inputs
    seconds = recordings.seconds
    rates = Counter(recordings.rates.tolist()).most_common(5)
    if len(rates) > 1:
        examples.findings.append(
            Finding(f"recordings have several rates: {', '.join(f'{n:,} at {r:,}' for r, n in rates)} a second")
        )
    examples.about = {
        "count": len(recordings),
        "rates": {str(r): n for r, n in rates},
        "seconds": {"least": float(seconds.min()), "median": float(np.median(seconds)), "most": float(seconds.max())},
        "hours": float(seconds.sum()) / 3600,
        "text": f"{len(recordings):,} recordings, {_clock(float(seconds.sum()))} in all, {seconds.min():.2g} to "
        f"{seconds.max():.2g} s each, {', '.join(f'{r:,}' for r, _ in rates)} samples a second",
    }
    return examples


def _clock(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} hours"
        if seconds >= 7200
        else f"{seconds / 60:.0f} minutes"
        if seconds >= 120
        else f"{seconds:.0f} s"
    )
