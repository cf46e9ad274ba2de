"""Texts as lists of word numbers, with Keras's arguments; `imdb` and `reuters` are both made of this."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cenote.datasets.archive import BadFile, read_npz

UNPACKED = 128 << 20  # imdb.npz unpacks to a third of that


@dataclass(frozen=True)
class Texts:
    """Texts of unequal length: all their word numbers in one row, and the length of each text."""

    words: np.ndarray
    lengths: np.ndarray

    @staticmethod
    def of(rows: list[np.ndarray]) -> Texts:
        lengths = np.array([len(row) for row in rows], np.int64)
        return Texts(np.concatenate(rows) if rows else np.empty(0, np.int64), lengths)

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.lengths) - self.lengths

    def take(self, indices: np.ndarray) -> Texts:
        """The texts with these numbers, in this order."""
        lengths = self.lengths[indices]
        shift = self.starts[indices] - (np.cumsum(lengths) - lengths)
        return Texts(self.words[np.repeat(shift, lengths) + np.arange(lengths.sum())], lengths)

    def prepend(self, word: int) -> Texts:
        """Each text with one more word at its front."""
        return Texts(np.insert(self.words, self.starts, word), self.lengths + 1)

    def keep(self, mask: np.ndarray) -> Texts:
        """The texts without the words where `mask` is False."""
        before = np.concatenate([[0], np.cumsum(mask)])
        return Texts(self.words[mask], before[self.starts + self.lengths] - before[self.starts])

    def lists(self) -> np.ndarray:
        """An object array of lists, as Keras gives them."""
        words, ends = self.words.tolist(), np.cumsum(self.lengths).tolist()
        rows = np.empty(len(ends), object)
        for row, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            rows[row] = words[start:end]
        return rows


def read(path: Path, *endings: str) -> list[tuple[Texts, np.ndarray]]:
    """The texts `x<ending>` and labels `y<ending>` in an .npz of Keras's, for each of the endings."""
    found = read_npz(path, UNPACKED)
    parts = []
    for ending in endings:
        x, y = found.get(f"x{ending}"), found.get(f"y{ending}")
        if not isinstance(x, list) or not isinstance(y, np.ndarray) or y.shape != (len(x),):
            raise BadFile(f"{path}: expected lists of word numbers 'x{ending}' and as many labels 'y{ending}'")
        parts.append((Texts.of(x), y))
    return parts


def prepare(
    texts: Texts,
    labels: np.ndarray,
    order: np.ndarray,
    start_char: int | None,
    index_from: int | None,
    maxlen: int | None,
) -> tuple[Texts, np.ndarray]:
    """The texts in this order, words renumbered, a start sign before each, without those of `maxlen` words or more."""
    texts, labels = texts.take(order), labels[order]
    if start_char is not None or index_from:
        texts = Texts(texts.words + (index_from or 0), texts.lengths)
    if start_char is not None:
        texts = texts.prepend(start_char)
    if maxlen:
        short = np.flatnonzero(texts.lengths < maxlen)
        if not len(short):
            raise ValueError(f"no text has fewer than maxlen={maxlen} words; give a larger maxlen")
        texts, labels = texts.take(short), labels[short]
    return texts, labels


def cut(texts: Texts, words: int, skip_top: int, oov_char: int | None) -> Texts:
    """Every word outside [skip_top, words) becomes `oov_char`, or goes where that is None."""
    known = (texts.words >= skip_top) & (texts.words < words)
    if oov_char is None:
        return texts.keep(known)
    return Texts(np.where(known, texts.words, oov_char), texts.lengths)


def read_index(path: Path) -> dict[str, int]:
    """The numbers of words, from JSON."""
    if path.stat().st_size > 16 << 20:
        raise BadFile(f"{path}: is {path.stat().st_size:,} bytes, far more than a word index")
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: not JSON ({error})") from None
    if not isinstance(index, dict) or not all(type(number) is int for number in index.values()):
        raise BadFile(f"{path}: expected an object of words and their numbers")
    return index
