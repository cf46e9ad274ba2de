"""Texts to arrays: bags of n-grams or rows of tokens to classify, pairs of sentences to translate, windows of a corpus."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...core.errors import unknown
from ..examples import Examples, Finding
from ..preparation import Preparation
from . import tokenize
from .lines import Texts, lines, table_suffix
from .ngrams import BUCKETS, counted, grams
from .tokenize import END, IDEOGRAPHS, PAD, Tokenizer, folded, ideographic_share, word_spans

__all__ = ["CorpusPreparation", "PairPreparation", "TextPreparation"]

ALWAYS = 1  # the number of the feature that every text has: what a model answers by itself
_FIRST = 2  # the number of the first n-gram; 0 is padding
MANY = 2000  # texts; of fewer every n-gram counts, also if only one text has it
_BUDGET = 1 << 28  # bytes that bags of the training part may take


class TextPreparation(Preparation):
    """Texts to bags of n-grams, or to rows of tokens.

    ``form="ngrams"``: ``{"numbers", "weights"}``, both (text, n-gram): runs of 1 to ``words`` words (or ideographs), and of
    ``letters`` letters within words. Number 0 is padding, 1 is in every text. The weight of n-gram j is
    ``(1 + log count) idf_j sqrt(r_j)``, scaled to length 1 over each text, with
    ``idf_j = 1 + log((1 + texts) / (1 + texts of j))``. r_j is the largest of the classes'
    ``|log (share of j in the class / share of j in the others)|``: what a naive Bayes model knows of it; its root, since few
    texts tell it badly. Only n-grams in ``minimum`` texts or more count (2; of fewer than 2,000 texts all do), and at most
    ``most`` of them.

    ``form="tokens"``: numbers of a tokenizer, (text, token), zeros behind; longer texts are cut.

    Source: Wang and Manning 2012, "Baselines and Bigrams", for the weights.

    >>> examples = Examples("text", ["a good film", "good fun", "a bad film", "bad, bad"], ["+", "+", "-", "-"])
    >>> bags = TextPreparation.fit(examples, words=1)
    >>> bags(["good"])["numbers"].shape
    (1, 8)
    """

    kind = "text"

    def __init__(
        self, form: str, settings: dict[str, Any], arrays: dict[str, np.ndarray], tokenizer: Tokenizer | None = None
    ) -> None:
        self.form, self.settings, self.tokenizer, self.findings = form, settings, tokenizer, []
        self._arrays = arrays
        if form not in ("ngrams", "tokens"):
            raise unknown("form of prepared texts", form, ["ngrams", "tokens"])
        if form == "ngrams":
            kept, scale = arrays["kept"], arrays["scale"]
            sound = kept.ndim == 1 and kept.shape == scale.shape and kept.dtype == np.int32 and np.isfinite(scale).all()
            if not sound or (len(kept) and not 0 <= kept.min() <= kept.max() < BUCKETS):
                raise ValueError("the prepared n-grams are damaged: they need as many numbers as weights, all in range")
            if not 0 < settings["width"] <= 1 << 20 or not 0 < settings["words"] < 10:
                raise ValueError(f"the settings of the n-grams make no sense: {settings}")
            self._slots = np.zeros(BUCKETS, np.int32)
            self._slots[kept] = np.arange(_FIRST, _FIRST + len(kept))
        elif tokenizer is None or not 0 < settings["length"] <= 1 << 20:
            raise ValueError("texts as tokens need a tokenizer and a length")

    @classmethod
    def fit(cls, examples: Examples, **options: Any) -> Self:
        """Learn from the training part; options: form, words, letters, minimum, most, tokenizer, size, length, show."""
        options = {k: v for k, v in options.items() if v is not None}
        form = options.pop("form", "ngrams")
        return (cls._fit_tokens if form == "tokens" else cls._fit_ngrams)(examples, **options)

    @classmethod
    def _fit_ngrams(
        cls,
        examples: Examples,
        *,
        words: int | None = None,
        letters: Sequence[int] = (0, 0),
        minimum: int | None = None,
        most: int = 1 << 18,
        show: bool | None = None,
    ) -> Self:
        texts, share = examples.inputs, ideographic_share(examples.inputs[:2000])
        words = words or (3 if share > 0.3 else 2)
        letters = (int(letters[0]), int(letters[1]))
        groups, of_text = _groups(examples)
        frequency = np.zeros(BUCKETS, np.int64)
        sizes: list[np.ndarray] = []
        found = []
        for first, rows, buckets, counts in counted(texts, words, letters, what="counting n-grams", show=show):
            frequency += np.bincount(buckets, minlength=BUCKETS)
            found.append((first + rows.astype(np.int32), buckets.astype(np.int32), counts.astype(np.float32)))
        minimum = minimum or (1 if len(texts) < MANY else 2)
        minimum = minimum if (frequency >= minimum).sum() > 1 else 1
        kept = np.flatnonzero(frequency >= minimum)
        if len(kept) > most:
            kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:most]])
        if not len(kept):
            raise ValueError("there is not one word in the texts to learn from: they hold no letters and no marks")
        idf = 1 + np.log((1 + len(texts)) / (1 + frequency[kept]))
        place = np.full(BUCKETS, -1, np.int32)
        place[kept] = np.arange(len(kept))
        by_class = np.zeros((max(groups, 1), len(kept)), np.float32)
        for rows, buckets, counts in found:
            known = place[buckets] >= 0
            rows, places, counts = rows[known], place[buckets[known]], counts[known]
            sizes.append(np.bincount(rows - rows[0], minlength=1) if len(rows) else np.zeros(1, np.int64))
            share_of = (1 + np.log(counts)) * idf[places]
            length = np.sqrt(np.bincount(rows - rows[0], share_of**2)) if len(rows) else np.ones(1)
            share_of = share_of / length[rows - rows[0]] if len(rows) else share_of
            for group, members in enumerate(of_text):
                inside = members[rows]
                by_class[group] += np.bincount(places[inside], share_of[inside], minlength=len(kept)).astype(np.float32)
        ratio = np.sqrt(_ratios(by_class)) if groups > 1 else np.ones(len(kept))
        counts_of = np.concatenate(sizes)
        width = int(np.quantile(counts_of, 0.995)) + 1
        width = int(np.clip(-(-width // 8) * 8, 8, max(64, _BUDGET // (8 * len(texts)) // 8 * 8)))
        settings = {"words": words, "letters": list(letters), "width": width}
        made = cls("ngrams", settings, {"kept": kept.astype(np.int32), "scale": (idf * ratio).astype(np.float32)})
        longer = int((counts_of >= width).sum())
        if longer:
            text = f"{longer:,} texts of the training part have more than {width} known n-grams: their weightiest ones count"
            made.findings.append(Finding(text))
        return made

    @classmethod
    def _fit_tokens(
        cls,
        examples: Examples,
        *,
        tokenizer: str | None = None,
        size: int = 20000,
        length: int | None = None,
        minimum: int = 2,
        show: bool | None = None,
    ) -> Self:
        made = tokenize.learn(examples.inputs, tokenizer or "words", size=size, minimum=minimum, lower=True, show=show)
        counts = np.array([len(r) for r in made.encode_all(examples.inputs, show=show)])
        width = length or int(np.clip(-(-int(np.quantile(counts, 0.99)) // 8) * 8, 8, 400))
        self = cls("tokens", {"length": width}, {}, made)
        if (counts > width).any():
            text = f"{int((counts > width).sum()):,} texts of the training part have more than {width} tokens: cut there"
            self.findings.append(Finding(text))
        return self

    @property
    def size(self) -> int:
        """How many numbers there are: rows that a table of weights needs."""
        return _FIRST + len(self._arrays["kept"]) if self.tokenizer is None else self.tokenizer.size

    def __call__(self, inputs: Sequence[str]) -> Any:
        if self.tokenizer is not None:
            return padded(self.tokenizer.encode_all(inputs), self.settings["length"])
        numbers = np.zeros((len(inputs), self.settings["width"]), np.int32)
        weights = np.zeros((len(inputs), self.settings["width"]), np.float32)
        for first, *bags in self._bags(inputs):
            _fill(numbers[first:], weights[first:], *bags)
        return {"numbers": numbers, "weights": weights}

    def _bags(self, texts: Sequence[str]) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        words, letters = self.settings["words"], tuple(self.settings["letters"])
        scale = self._arrays["scale"]
        for first, rows, buckets, counts in counted(texts, words, letters, what="finding n-grams"):
            numbers = self._slots[buckets]
            known = numbers > 0
            rows, numbers = rows[known], numbers[known]
            weights = (1 + np.log(counts[known])) * scale[numbers - _FIRST]
            yield first, rows, numbers, weights

    def config(self) -> dict[str, Any]:
        described = {} if self.tokenizer is None else {"tokenizer": self.tokenizer.config()}
        return {"form": self.form, "settings": self.settings, **described}

    def arrays(self) -> dict[str, np.ndarray]:
        return self._arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        tokenizer = tokenize.restore(config["tokenizer"]) if "tokenizer" in config else None
        try:
            return cls(config["form"], config["settings"], arrays, tokenizer)
        except KeyError as error:
            raise ValueError(f"the description of prepared texts lacks {error}") from error

    def raw(self, source: Any) -> Texts:
        return raw_texts(source)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the words (ideographs, tokens) of a raw text stand, for explanations that colour it."""
        return word_spans(text) if self.tokenizer is None else self.tokenizer.spans(text)

    def places(self, text: str) -> list[tuple[int, int, int]]:
        """``(number, first, last)`` for each n-gram that counts: its number, and where in the raw text it stands."""
        if self.tokenizer is not None:
            return [(int(n), a, b) for n, (a, b) in zip(self.tokenizer.encode(text), self.tokenizer.spans(text), strict=True)]
        small = [folded(c, True) or " " for c in text]
        origin = np.repeat(np.arange(len(text)), [len(s) for s in small])
        _, buckets, starts, ends = grams(["".join(small)], self.settings["words"], tuple(self.settings["letters"]))
        numbers = self._slots[buckets]
        return [(int(n), int(origin[a]), int(origin[b - 1]) + 1) for n, a, b in zip(numbers, starts, ends, strict=True) if n]

    def describe(self) -> list[str]:
        if self.tokenizer is not None:
            return [f"{self.tokenizer.size:,} {self.tokenizer.kind} as numbers, {self.settings['length']} a text"]
        words, letters = self.settings["words"], self.settings["letters"]
        more = f" and runs of {letters[0]} to {letters[1]} letters" if letters[1] else ""
        return [
            f"{self.size - _FIRST:,} n-grams (runs of 1 to {words} words{more}), weighted by how rare and how telling they are"
        ]


def _groups(examples: Examples) -> tuple[int, list[np.ndarray]]:
    """For each class (or label) which texts have it."""
    targets = examples.targets
    if targets is None:
        return 0, []
    if any(isinstance(t, (list, tuple, set, frozenset)) for t in targets):
        names = sorted({str(n) for t in targets for n in t})
        return len(names), [np.array([name in {str(n) for n in t} for t in targets]) for name in names]
    found, inverse = np.unique(np.array([str(t) for t in targets]), return_inverse=True)
    return len(found), [inverse == i for i in range(len(found))]


def _ratios(by_class: np.ndarray, prior: float = 0.1) -> np.ndarray:
    """The largest |log-ratio| of each n-gram's share in a class to its share in the others."""
    total, result = by_class.sum(0), np.zeros(by_class.shape[1])
    for own in by_class:
        inside, outside = own + prior, total - own + prior
        result = np.maximum(result, np.abs(np.log(inside / inside.sum()) - np.log(outside / outside.sum())))
    return result


def _fill(numbers: np.ndarray, weights: np.ndarray, rows: np.ndarray, found: np.ndarray, values: np.ndarray) -> None:
    """Bags into rows of equal width: the weightiest first, each row of length 1, and in front what every text has."""
    count, room = int(rows[-1]) + 1 if len(rows) else 0, numbers.shape[1] - 1
    numbers[:, 0], weights[:, 0] = ALWAYS, 1
    if not count:
        return
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=count))
    values = values / np.maximum(lengths, 1e-12)[rows]
    order = np.lexsort((-values, rows))
    rows, found, values = rows[order], found[order], values[order]
    begins = np.searchsorted(rows, np.arange(count))
    at = np.arange(len(rows)) - begins[rows]
    fits = at < room
    numbers[rows[fits], at[fits] + 1] = found[fits]
    weights[rows[fits], at[fits] + 1] = values[fits]


def padded(rows: Iterable[np.ndarray], length: int) -> np.ndarray:
    """Rows of numbers as one array, (row, length) int32: cut, or filled with padding behind."""
    rows = list(rows)
    result = np.full((len(rows), length), PAD, np.int32)
    for i, row in enumerate(rows):
        result[i, : min(len(row), length)] = row[:length]
    return result


def raw_texts(source: Any) -> Texts:
    """Texts from what a user hands over: a text, a list of them, a file of lines, or a table with one column of texts."""
    if isinstance(source, os.PathLike) or (isinstance(source, str) and "\n" not in source and len(source) < 1000):
        path = Path(source)
        try:
            there = path.is_file()
        except (OSError, ValueError):  # a sentence that no file system takes as a name
            there = False
        if there and table_suffix(path):
            from .folders import columns_of, open_table

            columns = {n: c.texts().tolist() for n, c in open_table(path)[0].columns.items()}
            if len(columns) == 1:
                return Texts(str(t or "") for t in next(iter(columns.values())))
            _, chosen = columns_of(columns, next(iter(columns)), None, path.name, [])
            return Texts(" ".join(str(columns[c][i] or "") for c in chosen) for i in range(len(columns[chosen[0]])))
        if there:
            return Texts(line for line in lines(path) if line.strip())
        if isinstance(source, os.PathLike):
            raise FileNotFoundError(f"there is no file {path}")
    if isinstance(source, str):
        return Texts([source])
    texts = list(source)
    wrong = next((i for i, t in enumerate(texts) if not isinstance(t, str)), None)
    if wrong is not None:
        raise TypeError(f"text {wrong + 1} is a {type(texts[wrong]).__name__} ({texts[wrong]!r:.40}): give strings")
    return Texts(texts)


class PairPreparation(Preparation):
    """Sentences to numbers, on the side of the source and on that of the translation.

    A call gives sources, (sentence, token): tokens, the end, and zeros. `targets` gives the translations the same way.
    ``joint`` means one vocabulary for both sides, as languages of one script share names, numbers and parts of words.

    >>> examples = Examples("text", ["one cat", "two cats"], ["eine Katze", "zwei Katzen"])
    >>> pairs = PairPreparation.fit(examples, tokenizer="words")
    >>> pairs(["two cats"]).tolist(), pairs.decode(pairs.targets(["zwei Katzen"])[0])
    ([[10, 7, 3]], 'zwei Katzen')
    """

    kind = "text"

    def __init__(self, source: Tokenizer, target: Tokenizer, lengths: Sequence[int], joint: bool) -> None:
        self.source, self.target, self.joint, self.findings = source, target, joint, []
        self.lengths = [int(n) for n in lengths]
        if not self.lengths or sorted(self.lengths) != self.lengths or not 0 < self.lengths[0] <= self.lengths[-1] <= 1 << 16:
            raise ValueError(f"pairs of sentences need growing lengths above 0, got {lengths}")

    @classmethod
    def fit(
        cls,
        examples: Examples,
        *,
        tokenizer: str | None = None,
        size: int | None = None,
        joint: bool | None = None,
        longest: int | None = None,
        show: bool | None = None,
    ) -> Self:
        """Learn from the training part.

        ``size`` tokens, by default one for 120 words of the corpus, 1,000 to 8,000: a product with all of them is most of what
        a small model computes. Ideographs that occur twice or more have a token each beside that. A pair longer than
        ``longest`` tokens (by default than 99.5% of them) is cut.
        """
        sides = [list(examples.inputs), list(examples.targets)]
        kind = tokenizer or "auto"
        shares = [ideographic_share(side[:2000]) for side in sides]
        joint = (abs(shares[0] - shares[1]) < 0.3) if joint is None else joint
        learned = [sides[0] + sides[1]] if joint else sides
        words = sum(map(len, sides[0])) // 5
        sizes = [size or int(np.clip(words // 120, 1000, 8000)) + _ideographs(texts) for texts in learned]
        made = [tokenize.learn(texts, kind, size=n, show=show) for texts, n in zip(learned, sizes, strict=True)]
        made = made * 2 if joint else made
        counts = [[len(r) + 1 for r in t.encode_all(side, show=show)] for t, side in zip(made, sides, strict=True)]
        both = np.maximum(*map(np.array, counts))
        top = longest or int(min(np.quantile(both, 0.995), 128))
        lengths = batch_lengths(np.minimum(both, top), int(np.clip(len(both) // 2000, 1, 4)))
        self = cls(made[0], made[1], lengths, joint)
        if (longer := int((both > self.length).sum())) > 0:
            text = f"{longer:,} pairs of the training part have more than {self.length} tokens: they are cut there"
            self.findings.append(Finding(text))
        return self

    @property
    def size(self) -> int:
        """How many tokens there are, on the side that has more of them."""
        return max(self.source.size, self.target.size)

    @property
    def length(self) -> int:
        """The largest number of tokens, the end included."""
        return self.lengths[-1]

    def __call__(self, inputs: Sequence[str]) -> np.ndarray:
        return self._arranged(self.source, inputs)

    def targets(self, texts: Sequence[str]) -> np.ndarray:
        """Translations, (sentence, token): tokens, the end, and zeros."""
        return self._arranged(self.target, texts)

    def _arranged(self, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
        rows = [np.append(row[: self.length - 1], END) for row in tokenizer.encode_all(texts)]
        return padded(rows, self.length)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of a translation's numbers."""
        return self.target.decode(numbers)

    def config(self) -> dict[str, Any]:
        both = {"source": self.source.config()} | ({} if self.joint else {"target": self.target.config()})
        return {**both, "lengths": self.lengths, "joint": self.joint}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        try:
            source = tokenize.restore(config["source"])
            target = source if config["joint"] else tokenize.restore(config["target"])
            return cls(source, target, config["lengths"], bool(config["joint"]))
        except KeyError as error:
            raise ValueError(f"the description of prepared pairs lacks {error}") from error

    def raw(self, source: Any) -> Texts:
        return raw_texts(source)

    def describe(self) -> list[str]:
        sides = f"{self.source.size:,} tokens for both languages" if self.joint else (
            f"{self.source.size:,} tokens of the source and {self.target.size:,} of the translation")  # fmt: skip
        lengths = "one length" if len(self.lengths) == 1 else f"{len(self.lengths)} lengths"
        return [f"{sides} ({self.source.kind}), up to {self.length} a sentence, in batches of {lengths}"]


def _ideographs(texts: Sequence[str]) -> int:
    """How many ideographs occur twice or more."""
    pattern, counts = re.compile(f"[{IDEOGRAPHS}]"), Counter()
    for text in texts:
        counts.update(pattern.findall(text))
    return sum(n > 1 for n in counts.values())


def batch_lengths(sizes: np.ndarray, most: int) -> list[int]:
    """Up to ``most`` lengths that sequences of these sizes are filled up to, each to the next, with the least filling in all.

    A length that would not save a twentieth of the places is left out, as each is compiled by itself.

    >>> batch_lengths(np.array([3, 3, 3, 4, 9]), 2), batch_lengths(np.array([20, 20, 19]), 2)
    ([4, 9], [20])
    """
    top = int(sizes.max())
    known = np.cumsum(np.bincount(sizes, minlength=top + 1))  # how many are so long or shorter
    ends = np.arange(top + 1)
    # places[b]: filled by the sequences up to b. A further length behind a leaves the rest to b, in each of the best ways.
    places, chosen = ends * known, [[b] for b in ends.tolist()]
    for _ in range(most - 1):
        ways = places[:, None] + ends * (known - known[:, None])
        ways[(ends[:, None] >= ends) | (ends[:, None] == 0)] = np.iinfo(np.int64).max
        last, before = ways.argmin(0), places[top]
        better = ways[last, ends] < places
        places = np.where(better, ways[last, ends], places)
        if places[top] > 0.95 * before:
            break
        chosen = [[*chosen[a], b] if more else chosen[b] for b, (a, more) in enumerate(zip(last, better, strict=True))]
    return chosen[top]


class CorpusPreparation(Preparation):
    """A corpus as windows of tokens, each with the tokens that follow: (window, token), twice.

    >>> corpus = CorpusPreparation.fit(Examples("text", ["to be or ", "not to be"]), tokenizer="characters", window=4)
    >>> x, y = corpus.windows(["to be or not"])
    >>> corpus.tokenizer.decode(x[0]), corpus.tokenizer.decode(y[0])
    ('to b', 'o be')
    """

    kind = "text"

    def __init__(self, tokenizer: Tokenizer, window: int) -> None:
        if not 1 < window <= 1 << 16:
            raise ValueError(f"a window needs 2 tokens or more, got {window}")
        self.tokenizer, self.window, self.findings = tokenizer, int(window), []

    @classmethod
    def fit(
        cls,
        examples: Examples,
        *,
        tokenizer: str | None = None,
        size: int | None = None,
        window: int = 128,
        show: bool | None = None,
    ) -> Self:
        """Learn the tokens of the training part."""
        kind = tokenizer or "characters"
        texts = ["".join(examples.inputs)] if kind == "characters" else list(examples.inputs)
        return cls(tokenize.learn(texts, kind, size=size or (4000 if kind != "characters" else 8000), show=show), window)

    def __call__(self, inputs: Sequence[str]) -> np.ndarray:
        """Beginnings to go on with: (text, token), the last tokens of each, zeros in front."""
        rows = [self.tokenizer.encode(text)[-self.window :] for text in inputs]
        result = np.full((len(rows), self.window), PAD, np.int32)
        for i, row in enumerate(rows):
            result[i, self.window - len(row) :] = row
        return result

    def numbers(self, texts: Sequence[str]) -> np.ndarray:
        """All texts, one behind the other, as numbers."""
        return np.concatenate([self.tokenizer.encode(text) for text in (["".join(texts)] if texts else [""])])

    def windows(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """``(x, y)``: windows that lie side by side, and the same one token on."""
        found = self.numbers(texts)
        count = (len(found) - 1) // self.window
        if count < 1:
            raise ValueError(f"there are {len(found)} tokens, and a window needs {self.window + 1}: give more text")
        x, y = found[: count * self.window], found[1 : count * self.window + 1]
        return x.reshape(count, -1).astype(np.int32), y.reshape(count, -1).astype(np.int32)

    def config(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.config(), "window": self.window}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        try:
            return cls(tokenize.restore(config["tokenizer"]), config["window"])
        except KeyError as error:
            raise ValueError(f"the description of a prepared corpus lacks {error}") from error

    def raw(self, source: Any) -> Texts:
        if isinstance(source, str) and "\n" in source:
            return Texts([source])
        return raw_texts(source)

    def describe(self) -> list[str]:
        return [f"{self.tokenizer.size:,} {self.tokenizer.kind}, in windows of {self.window}"]
