"""Counted n-grams of words and characters, found for many texts at once by arrays: what linear models of texts stand on.

An n-gram is known by a number: a polynomial hash of its characters, mixed and cut to 22 bits. Nothing grows with the number
of distinct n-grams, so a corpus of any size takes the same memory; of those that were seen, the frequent ones are kept.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from ...progress import track
from .tokenize import IDEOGRAPHS, folded

__all__ = ["BUCKETS", "counted", "grams"]

BUCKETS = 1 << 22
_CHUNK = 400_000  # characters that are looked at together
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SPACE, _LETTER, _IDEOGRAPH, _MARK = range(4)


def counted(
    texts: Sequence[str], words: int, letters: tuple[int, int], *, what: str, show: bool | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """For some texts after others ``(first, rows, buckets, counts)``: n-gram ``buckets[i]`` is in text ``first + rows[i]``.

    Sorted by rows. ``words`` is the longest run of words (of ideographs, too), ``letters`` the shortest and longest run of
    letters within a word, its two ends counted as letters; (0, 0) for none.
    """
    for first, last in track(list(_chunks(texts)), what, show=show):
        rows, buckets, _, _ = grams(texts[first:last], words, letters)
        found, counts = np.unique(rows * BUCKETS + buckets, return_counts=True)
        yield first, found // BUCKETS, found % BUCKETS, counts


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    first = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK:
            yield first, i + 1
            first, size = i + 1, 0
    if first < len(texts):
        yield first, len(texts)


def grams(texts: Sequence[str], words: int, letters: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """``(rows, buckets, starts, ends)`` of every n-gram: in which text, its number, and where in the folded text it stands."""
    texts = [folded(t, True).replace("\n", " ") for t in texts]
    codes = np.frombuffer(("\n".join(texts) + "\n").encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds(codes)
    row_of = np.cumsum(codes == 10) - (codes == 10)
    offsets = np.concatenate([[0], np.flatnonzero(codes == 10)[:-1] + 1])
    begins = (kinds != _SPACE) & ((kinds != _LETTER) | np.concatenate([[True], kinds[:-1] != _LETTER]))
    starts = np.flatnonzero(begins)
    if not len(starts):
        return tuple(np.zeros(0, np.int64) for _ in range(4))
    inside = kinds == _LETTER
    stops = np.flatnonzero(inside & ~np.concatenate([inside[1:], [False]])) + 1
    ends = starts + 1
    ends[inside[starts]] = stops
    found = [_runs(_hashed(codes, starts, ends), starts, ends, row_of[starts], words)]
    if letters[1]:
        found += _within(codes, starts[inside[starts]], ends[inside[starts]], row_of, letters)
    rows, hashes, first, last = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, _mixed(hashes).astype(np.int64), first - offsets[rows], last - offsets[rows]


def _runs(hashes: np.ndarray, starts: np.ndarray, ends: np.ndarray, rows: np.ndarray, longest: int) -> tuple:
    """Runs of 1 to ``longest`` tokens of the same text."""
    parts, run = [(rows, hashes, starts, ends)], hashes
    for n in range(2, longest + 1):
        if len(run) < 2:
            break
        with np.errstate(over="ignore"):
            run = (run[:-1] * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(n)) ^ _spread(hashes[n - 1 :])
        same = rows[: len(run)] == rows[n - 1 :]
        parts.append((rows[: len(run)][same], run[same], starts[: len(run)][same], ends[n - 1 :][same]))
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))


def _within(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, row_of: np.ndarray, letters: tuple[int, int]) -> list:
    """Runs of letters within words; the ends of a word count as a letter each."""
    if not len(starts):
        return []
    # The words one behind the other, a mark between them: every run that has no mark inside lies within one word.
    lengths = ends - starts + 1
    places = np.cumsum(lengths) - lengths
    total = int(lengths.sum()) + 1
    laid = np.zeros(total, np.uint32)
    marks = np.zeros(total, bool)
    marks[places], marks[-1] = True, True
    origin = np.repeat(starts - places - 1, lengths)  # place in `laid` + origin = place in `codes`
    origin = np.append(origin, origin[-1])
    letters_at = np.flatnonzero(~marks)
    laid[letters_at] = codes[letters_at + origin[letters_at]]
    laid[marks] = 1
    before = np.concatenate([[0], np.cumsum(marks)])
    word = np.repeat(np.arange(len(starts)), lengths)
    found = []
    for n in range(letters[0], letters[1] + 1):
        at = np.arange(total - n + 1)
        inner = before[at + n - 1] - before[at + 1] if n > 2 else np.zeros(len(at), np.int64)
        at = at[(inner == 0) & ~(marks[at] & marks[at + n - 1] & (n == 2))]
        hashes = _hashed(laid, at, at + n) ^ np.uint64(0x5851F42D4C957F2D)  # apart from the words that look the same
        of = word[at]
        first = np.maximum(at + origin[at], starts[of])
        found.append((row_of[first], hashes, first, np.minimum(at + n + origin[at], ends[of])))
    return found


def _hashed(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """A hash of each stretch of characters: the same for the same characters, wherever they stand."""
    result = np.zeros(len(starts), np.uint64)
    values = _spread(codes.astype(np.uint64) + np.uint64(1))
    lengths = ends - starts
    order = np.argsort(-lengths, kind="stable")  # so that those still going on come first
    at, left = starts[order], lengths[order]
    running = np.zeros(len(starts), np.uint64)
    with np.errstate(over="ignore"):
        for i in range(min(int(lengths.max(initial=0)), 64)):  # of longer words the first 64 characters count
            going = np.searchsorted(-left, -i, side="left")
            running[:going] = running[:going] * _PRIME + values[at[:going] + i]
    result[order] = running
    return result


def _spread(x: np.ndarray) -> np.ndarray:
    """Bits mixed so that near numbers become far ones (the finaliser of splitmix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mixed(hashes: np.ndarray) -> np.ndarray:
    return _spread(hashes) >> np.uint64(64 - 22)


def _kinds(codes: np.ndarray) -> np.ndarray:
    """What each character is: space, letter or digit, ideograph, or a mark."""
    distinct, back = np.unique(codes, return_inverse=True)
    return np.array([_kind(chr(c)) for c in distinct.tolist()], np.uint8)[back]


def _kind(character: str) -> int:
    code = ord(character)
    if any(ord(a) <= code <= ord(b) for a, b in _IDEOGRAPH_RANGES):
        return _IDEOGRAPH
    if character.isspace() or unicodedata.category(character)[0] == "C":
        return _SPACE
    return _LETTER if unicodedata.category(character)[0] in "LNM" or character == "_" else _MARK


_IDEOGRAPH_RANGES = [tuple(part) for part in zip(IDEOGRAPHS[0::3], IDEOGRAPHS[2::3], strict=True)]
