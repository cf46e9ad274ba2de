"""Texts to numbers: standardise, split, look up."""

from __future__ import annotations

import itertools
import string
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ..core.errors import describe, unknown
from ..kernels.categories import encode_host, tally
from .vocabulary import Lookup, Places, Vocabulary, array_of, texts_of

__all__ = ["TextVectorization"]

_TEXTS = 1024  # that are split at a time
_STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())


class TextVectorization(Lookup):
    """Texts to indices of their words, or to one vector a text, by a vocabulary given or learned by ``adapt``.

    Each text is standardised (``lower_and_strip_punctuation``, ``lower``, ``strip_punctuation``, None, or a function of an
    array of texts), split (``whitespace``, ``character``, None, or a function from an array of texts to a list of words for
    each), and joined to ``ngrams`` (up to a number, or of the numbers in a tuple). As in Keras, letters and punctuation of
    ASCII alone are changed, and ASCII whitespace alone divides words: Chinese needs ``split="character"`` or a function.
    ``int`` output begins with 0 for padding and 1 for unknown words, and is as long as the longest text or
    ``output_sequence_length``; ``multi_hot``, ``count`` and ``tf_idf`` as in `StringLookup`.
    Shapes: (batch) or (batch, 1) texts -> (batch, word), or (batch, index).
    Raises: ValueError without a vocabulary, for inputs that are no texts, and as `StringLookup`.

    >>> layer = TextVectorization(output_sequence_length=4)
    >>> layer.adapt(["foo bar", "bar baz", "baz bada boom"])
    >>> layer(["Foo, qux bar!", "qux baz"]).tolist()
    [[4, 1, 3, 0], [1, 2, 0, 0]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable | None = "lower_and_strip_punctuation",
        split: str | Callable | None = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **options: Any,
    ) -> None:
        if not (standardize is None or callable(standardize) or standardize in _STANDARDIZE):
            raise unknown("standardize of TextVectorization", standardize, _STANDARDIZE)
        if not (split is None or callable(split) or split in ("whitespace", "character")):
            raise unknown("split of TextVectorization", split, ["whitespace", "character"])
        if ragged:
            raise ValueError("TextVectorization(ragged=True) is not supported: the output is padded with 0; leave it out")
        self.standardize, self.split, self.encoding = standardize, split, encoding
        self.ngrams, self._widths = ngrams, _widths(ngrams)
        self.output_sequence_length = output_sequence_length
        super().__init__(
            max_tokens,
            1,
            "",
            "[UNK]",
            vocabulary,
            idf_weights,
            False,
            output_mode,
            sparse,
            pad_to_max_tokens,
            name=name,
            **options,
        )
        length = output_sequence_length
        if length is not None and self.output_mode != "int":
            raise ValueError(f"TextVectorization takes output_sequence_length only with output_mode='int', not {output_mode!r}")
        if length is not None and (not hasattr(length, "__index__") or length < 1):
            raise ValueError(f"TextVectorization needs output_sequence_length of at least 1, or None, got {length!r}")
        if self.output_mode == "one_hot" and split is not None:
            raise ValueError(
                "TextVectorization(output_mode='one_hot') needs split=None: for a vector a text take 'multi_hot' or 'count', "
                "for one a word 'int' and CategoryEncoding"
            )

    # -- from texts to words

    @property
    def _in_bytes(self) -> bool:
        """Words between blanks stay UTF-8: its methods know ASCII only, which is what is asked for, and are quick."""
        return self.split == "whitespace"

    def _clean(self, text: bytes) -> bytes:
        rule = self.standardize if isinstance(self.standardize, str) else ""
        return text.translate(
            _LOWER if "lower" in rule else None, string.punctuation.encode() if "punctuation" in rule else b""
        )

    def _texts(self, x: np.ndarray) -> list[str]:
        """Texts after a function of the user's, one after the other; what is built in comes with the splitting."""
        texts = texts_of(self, x, self.encoding)
        if not callable(self.standardize):
            return texts
        changed = np.asarray(array_of(self.standardize(np.array(texts, dtype=str).reshape(x.shape))))
        if changed.size != x.size:
            raise ValueError(
                f"the standardize function of TextVectorization returned {describe(changed)} for texts of shape {x.shape}: it "
                f"should return one text for each"
            )
        return texts_of(self, changed, self.encoding)

    def _rows(self, x: np.ndarray) -> list[list]:
        """The words (and n-grams) of each text."""
        texts = self._texts(x)
        if self.split == "whitespace":
            rows: Any = [self._clean(t.encode()).split() for t in texts]
        elif self.split == "character":
            rows = [list(self._clean(t.encode()).decode()) for t in texts]
        elif self.split is None:
            flat = [self._clean(t.encode()).decode() for t in texts]
            width = max(1, x.shape[-1])
            rows = [flat[i : i + width] for i in range(0, len(flat), width)]
        else:
            clean = np.array([self._clean(t.encode()).decode() for t in texts], dtype=str)
            rows = [texts_of(self, np.array(list(row), dtype=object), self.encoding) for row in self.split(clean)]  # type: ignore
            if len(rows) != len(texts):
                raise ValueError(
                    f"the split function of TextVectorization returned {len(rows)} lists of words for {len(texts)} texts: it "
                    f"takes an array of texts and should return one list for each"
                )
        return [self._joined(row) for row in rows] if self._widths else rows

    def _joined(self, row: list) -> list:
        blank: Any = b" " if self._in_bytes else " "
        shifted = [[row[i:] for i in range(n)] for n in self._widths or ()]
        return [gram for parts in shifted for gram in map(blank.join, zip(*parts, strict=False))]

    # -- learning

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learn the vocabulary from an array or list of texts, or an iterable of batches, of which ``steps`` are taken."""
        super().adapt(data, steps)

    def _pieces(self, data: Any, steps: int | None) -> Iterator[np.ndarray]:
        if self.split is None:
            yield from super()._pieces(data, steps)
            return
        whole = hasattr(data, "shape") or isinstance(data, (list, tuple, str, bytes))
        for batch in [data] if whole else itertools.islice(data, steps):
            texts = np.asarray(array_of(batch)).reshape(-1)
            for start in range(0, len(texts), _TEXTS):
                yield texts[start : start + _TEXTS]

    def _count(self, piece: Any, counts: Counter, documents: Counter | None) -> int:
        if documents is None and not self._widths and self.split in ("whitespace", "character"):
            words = self.split == "whitespace"
            together = self._clean(("\n" if words else "").join(self._texts(piece)).encode())
            counts.update(together.split() if words else together.decode())
            return len(piece)
        rows = self._rows(piece)
        counts.update(itertools.chain.from_iterable(rows))
        if documents is not None:
            documents.update(itertools.chain.from_iterable(map(set, rows)))
        return len(rows)

    def _tokens(self, array: np.ndarray) -> list:
        return texts_of(self, array, self.encoding)

    def _as_tokens(self, counts: Counter) -> Any:
        return {t.decode() if isinstance(t, bytes) else t: n for t, n in counts.items()}

    # -- looking up

    def _read_words(self, known: Vocabulary, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The indices of all words, and how many each text has: some texts at a time, since words take much room."""
        rows = self._rows(texts)
        found = self._look(known, list(itertools.chain.from_iterable(rows)))
        return found, np.fromiter(map(len, rows), "int64", len(rows))

    def _look(self, known: Vocabulary, words: list) -> np.ndarray:
        if "places" not in known.cache:
            keys = [t.encode() for t in known.tokens] if self._in_bytes else known.tokens
            known.cache["places"] = Places(zip(keys, itertools.count(len(self._specials)), strict=False))
            known.cache["places"][b"" if self._in_bytes else ""] = self._mask_index
        found = np.fromiter(map(known.cache["places"].__getitem__, words), "int64", len(words))
        return self._settle(found, words)

    def prepare(self, x: np.ndarray) -> np.ndarray:
        known = self._vocabulary()
        lead = self._lead(x.shape)
        texts = x.reshape(-1) if self.split is not None else x.reshape(-1, x.shape[-1] if x.ndim else 1)
        starts = range(0, len(texts), _TEXTS)
        parts = [self._read_words(known, texts[i : i + _TEXTS]) for i in starts]
        if self.split is None and not self._widths:
            found = np.concatenate([np.zeros(0, "int64"), *(found for found, _ in parts)])
            return self._plain(known, found.reshape(x.shape))
        if self.output_mode == "int":
            width = self.output_sequence_length or max((int(lengths.max()) for _, lengths in parts), default=0)
            y = np.zeros((len(texts), width), "int64")
        else:
            width = self._depth
            y = np.zeros((len(texts), width), "float32")
        for start, (found, lengths) in zip(starts, parts, strict=True):
            rows = np.repeat(np.arange(len(lengths)), lengths)
            if self.output_mode == "int":
                column = np.arange(len(found)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
                kept = column < width
                y[start + rows[kept], column[kept]] = found[kept]
            else:
                y[start : start + len(lengths)] = tally(found, rows, len(lengths), width, self.output_mode == "multi_hot")
        if known.weights is not None:
            y *= known.weights
        return y.reshape(*lead, width)

    def _plain(self, known: Vocabulary, found: np.ndarray) -> np.ndarray:
        """What is not split: each text is one word."""
        if self.output_mode != "int":
            vectors = encode_host(found, "count" if self.output_mode == "tf_idf" else self.output_mode, self._depth)
            return vectors if known.weights is None else vectors * known.weights
        width = self.output_sequence_length
        if width is None or found.ndim < 2:
            return found
        found = found[..., :width]
        return np.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, width - found.shape[-1])])

    def _lead(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes in front of the words."""
        if self.split is None:
            return shape[:-1]
        if len(shape) > 1 and shape[-1] != 1:
            raise ValueError(
                f"TextVectorization(split={self.split!r}) takes texts of shape (batch) or (batch, 1), got {shape}: take one "
                f"column at a time, or split=None where the texts are words already"
            )
        return shape[:-1] if len(shape) > 1 else shape

    def on_host(self, spec: Any, free: int = 2) -> Any:
        shape = tuple(spec.shape)
        if self.split is None and not self._widths:
            return super().on_host(spec, free)
        last = (self.output_sequence_length or free) if self.output_mode == "int" else self._depth
        kind = np.dtype("int32" if self.output_mode == "int" else "float32")
        return jax.ShapeDtypeStruct((*self._lead(shape), last), kind)


def _widths(ngrams: Any) -> tuple[int, ...] | None:
    if ngrams is None:
        return None
    widths = (
        tuple(range(1, ngrams + 1)) if isinstance(ngrams, int) else tuple(ngrams) if isinstance(ngrams, (tuple, list)) else ()
    )
    if not widths or not all(isinstance(n, int) and n >= 1 for n in widths):
        raise ValueError(f"TextVectorization needs ngrams to be a whole number from 1 up, or a tuple of them, got {ngrams!r}")
    return tuple(widths)
