"""Metrics of texts: BLEU and chrF of translations, word and character error rates. They run on the host, not on devices.

Each takes lists of strings, ``update_state(references, hypotheses)``, as many of one as of the other; their sums add up over
batches, so that the value is that of the whole corpus.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cenote.core.errors import unknown

from .base import Metric

# -- words -----------------------------------------------------------------------------------------------------------------

# What separates words in mteval-v13a: ASCII punctuation but ' . , and -, which are looked at with their neighbours.
_PUNCTUATION = re.compile(r"([\x20-\x26\x28-\x2b\x2f\x3a-\x40\x5b-\x60\x7b-\x7e])")
_NEIGHBOURS = (
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ESCAPES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))

# Each character here is a word of its own in Chinese: ideographs, their punctuation, full-width forms. The first range
# holds “ ” … — too; sacrebleu has it by a slip of the pen in its table, and published scores are counted so.
_CHINESE = re.compile(
    "(["
    "\u2001-\u2a6d\u2e80-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u33ff\u3400-\u4db5\u4e00-\u9fbb"
    "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef"
    "])"
)


def _western(text: str) -> list[str]:
    text = _PUNCTUATION.sub(r" \1 ", text)
    for pattern, spaced in _NEIGHBOURS:
        text = pattern.sub(spaced, text)
    return text.split()


def _words_13a(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for escape, character in _ESCAPES:
        text = text.replace(escape, character)
    return _western(f" {text} ")


def _words_international(text: str) -> list[str]:
    """Punctuation stands alone unless digits are on both sides, symbols always (mteval-v14)."""
    kinds = "".join(unicodedata.category(c)[0] for c in text)
    text = _around(text, kinds, lambda before, mark: before != "N" and mark == "P", " {} ")
    kinds = "".join(unicodedata.category(c)[0] for c in text)
    text = _around(text, kinds, lambda mark, after: mark == "P" and after != "N", " {} ", second=False)
    return "".join(f" {c} " if unicodedata.category(c)[0] == "S" else c for c in text).split()


def _around(text: str, kinds: str, fits: Callable, spaced: str, second: bool = True) -> str:
    """Space put around the second (or first) of two neighbours that fit, found from left to right without overlap."""
    parts, i = [], 0
    while i < len(text):
        if i + 1 < len(text) and fits(kinds[i], kinds[i + 1]):
            a, b = text[i], text[i + 1]
            parts.append(a + spaced.format(b) if second else spaced.format(a) + b)
            i += 2
        else:
            parts.append(text[i])
            i += 1
    return "".join(parts)


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "13a": _words_13a,
    "zh": lambda text: _western(_CHINESE.sub(r" \1 ", text.strip())),
    "intl": _words_international,
    "char": lambda text: " ".join(text).split(),
    "none": str.split,
}


# -- what they share -------------------------------------------------------------------------------------------------------


class TextMetric(Metric):
    """Base of metrics of strings: write ``statistics(references, hypothesis)``, numbers that add up, and ``compute(sums)``."""

    size: int

    def init(self) -> Any:
        return np.zeros(self.size)

    def statistics(self, references: list[str], hypothesis: str) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no statistics(self, references, hypothesis)")

    def update(self, sums: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        references, hypotheses = self._texts(y_true, "references"), self._texts(y_pred, "hypotheses")
        if len(references) != len(hypotheses):
            raise ValueError(f"{self.name}: {len(references)} references for {len(hypotheses)} hypotheses: give as many")
        weights = np.ones(len(references)) if sample_weight is None else np.asarray(sample_weight, float).reshape(-1)
        if len(weights) != len(references):
            raise ValueError(f"{self.name}: {len(weights)} weights for {len(references)} texts: give one for each")
        added = np.zeros(self.size)
        for reference, hypothesis, w in zip(references, hypotheses, weights, strict=True):
            several = [reference] if isinstance(reference, str) else [str(r) for r in reference]
            if not several:
                raise ValueError(f"{self.name}: there is a hypothesis without any reference: {hypothesis!r}")
            if w:
                added += w * np.asarray(self.statistics(several, hypothesis), float)
        return sums + added

    def _texts(self, texts: Any, what: str) -> list:
        if isinstance(texts, str):
            return [texts]
        if isinstance(texts, np.ndarray) and texts.dtype.kind in "UO":
            texts = texts.reshape(-1).tolist()
        if not isinstance(texts, (list, tuple)) or not all(isinstance(t, (str, list, tuple)) for t in texts):
            raise TypeError(
                f"{self.name} compares texts, but its {what} are {type(texts).__name__}: it takes lists of strings, outside of "
                f"compile and fit; decode predictions first, then {self.name}.update_state(references, hypotheses)"
            )
        return list(texts)


def _ngrams(tokens: Sequence, order: int) -> Counter:
    """How often each run of 1 to ``order`` tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for n in range(1, order + 1) for i in range(len(tokens) - n + 1))


class BLEU(TextMetric):
    """``100 exp(min(0, 1 - r / h)) (prod_n precision_n)^(1/4)``: runs of 1 to 4 words that the references have too.

    h and r are the words of the hypotheses and of the references nearest in length. Values and defaults are sacrebleu's:
    ``tokenize`` "13a", "intl", "zh" (Chinese by characters), "char" or "none" (spaces); ``smooth_method`` "exp" (the
    n-th precision of 0 counts as half the one before would), "floor", "add-k" or "none", with ``smooth_value``;
    ``effective_order`` leaves out orders longer than all hypotheses. References are strings, or lists of several each.
    Source: Papineni et al. 2002, ACL; Post 2018, arXiv:1804.08771.

    >>> round(BLEU()(["The cat sat on the mat."], ["The cat is on the mat."]).item(), 2)
    48.89
    """

    direction = "up"

    def __init__(
        self,
        tokenize: str = "13a",
        lowercase: bool = False,
        smooth_method: str = "exp",
        smooth_value: float | None = None,
        max_ngram_order: int = 4,
        effective_order: bool = False,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if tokenize not in TOKENIZERS:
            raise unknown("tokenize", tokenize, TOKENIZERS)
        if smooth_method not in ("exp", "floor", "add-k", "none"):
            raise unknown("smooth_method", smooth_method, ("exp", "floor", "add-k", "none"))
        self.words, self.lowercase, self.order, self.effective = (
            TOKENIZERS[tokenize],
            lowercase,
            max_ngram_order,
            effective_order,
        )
        self.smooth = smooth_method
        self.value = {"floor": 0.1, "add-k": 1}.get(smooth_method, 0) if smooth_value is None else smooth_value
        self.size = 2 + 2 * max_ngram_order

    def _tokens(self, text: str) -> list[str]:
        return self.words((text.lower() if self.lowercase else text).rstrip())

    def statistics(self, references: list[str], hypothesis: str) -> list[float]:
        found, known = self._tokens(hypothesis), [self._tokens(r) for r in references]
        most: Counter = functools.reduce(lambda a, b: a | b, (_ngrams(words, self.order) for words in known))
        nearest = min((abs(len(found) - len(words)), len(words)) for words in known)[1]
        right, possible = np.zeros(self.order), np.zeros(self.order)
        for run, count in _ngrams(found, self.order).items():
            possible[len(run) - 1] += count
            right[len(run) - 1] += min(count, most[run])
        return [len(found), nearest, *right, *possible]

    def compute(self, sums: Any) -> Any:
        length, wanted, right, possible = sums[0], sums[1], *np.array(sums[2:]).reshape(2, self.order)
        if not right.any():
            return np.float64(0.0)
        logs, halves = [], 0
        for n in range(self.order):
            extra = self.value if self.smooth == "add-k" and n else 0
            if possible[n] + extra == 0:
                break
            precision = (right[n] + extra) / (possible[n] + extra)
            if right[n] + extra == 0:
                halves += 1
                precision = {"exp": 0.5**halves, "floor": self.value}.get(self.smooth, 0) / possible[n]
            logs.append(math.log(precision) if precision else -math.inf)
        order = len(logs) if self.effective else self.order
        if len(logs) < order:  # no hypothesis is as long as the longest runs
            return np.float64(0.0)
        brevity = 0.0 if length >= wanted else 1 - wanted / length
        return np.float64(100 * math.exp(brevity + sum(logs) / order))


class ChrF(TextMetric):
    """``100 (1 + beta^2) P R / (beta^2 P + R)``, P and R the mean precision and recall of runs of 1 to 6 characters.

    Of several references the best counts. ``word_order=2`` adds runs of words (chrF++); ``whitespace`` keeps spaces.
    Values and defaults are sacrebleu's. Source: Popović 2015, WMT.

    >>> round(ChrF()(["The cat sat on the mat."], ["The cat is on the mat."]).item(), 2)
    64.58
    """

    direction = "up"

    def __init__(
        self,
        char_order: int = 6,
        word_order: int = 0,
        beta: float = 2.0,
        lowercase: bool = False,
        whitespace: bool = False,
        eps_smoothing: bool = False,
        name: str | None = "chrf",
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        self.char_order, self.word_order, self.square = char_order, word_order, beta**2
        self.lowercase, self.whitespace, self.eps_smoothing = lowercase, whitespace, eps_smoothing
        self.size = 3 * (char_order + word_order)

    def _runs(self, text: str) -> list[Counter]:
        text = text.lower() if self.lowercase else text
        characters = text if self.whitespace else "".join(text.split())
        runs: list[Counter] = [
            Counter(characters[i : i + n] for i in range(len(characters) - n + 1)) for n in range(1, self.char_order + 1)
        ]
        words = [part for word in text.split() for part in _without_mark(word)] if self.word_order else []
        for n in range(1, self.word_order + 1):
            runs.append(Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)))
        return runs

    def statistics(self, references: list[str], hypothesis: str) -> np.ndarray:
        found = self._runs(hypothesis)
        best, best_score = np.zeros(self.size), -1.0
        for reference in references:
            rows = [
                (sum(f.values()) if k else 0, sum(k.values()), sum((f & k).values()))
                for f, k in zip(found, self._runs(reference), strict=True)
            ]
            counts = np.array(rows, float).reshape(-1)
            score = self.compute(counts)
            if score > best_score:
                best, best_score = counts, score
        return best

    def compute(self, sums: Any) -> Any:
        found, known, both = np.array(sums, float).reshape(-1, 3).T
        precision = np.divide(both, found, out=np.full(len(found), 1e-16), where=found > 0)
        recall = np.divide(both, known, out=np.full(len(known), 1e-16), where=known > 0)
        if self.eps_smoothing:
            below = self.square * precision + recall
            above = (1 + self.square) * precision * recall
            return np.float64(100 * np.mean(np.divide(above, below, out=np.full(len(below), 1e-16), where=below > 0)))
        counts = (found > 0) & (known > 0)
        if not counts.any():
            return np.float64(0.0)
        p, r = precision[counts].mean(), recall[counts].mean()
        return np.float64(100 * (1 + self.square) * p * r / (self.square * p + r) if p + r else 0.0)


_MARKS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def _without_mark(word: str) -> list[str]:
    """A word and the punctuation mark at its end, or else at its start, apart."""
    if len(word) > 1 and word[-1] in _MARKS:
        return [word[:-1], word[-1]]
    if len(word) > 1 and word[0] in _MARKS:
        return [word[0], word[1:]]
    return [word]


def edit_distance(a: Sequence, b: Sequence) -> int:
    """How few insertions, deletions and substitutions of one item make b of a. Source: Levenshtein 1966.

    >>> edit_distance("kitten", "sitting"), edit_distance("the cat".split(), "cat".split())
    (3, 1)
    """
    numbers: dict[Any, int] = {}
    x, y = (np.array([numbers.setdefault(item, len(numbers)) for item in items], int) for items in (a, b))
    steps = np.arange(len(y) + 1)
    row = steps.copy()
    for i, item in enumerate(x):
        above = np.concatenate([[i + 1], np.minimum(row[1:] + 1, row[:-1] + (y != item))])
        # Insertions cost one a step, so that the best way along the row is a running minimum.
        row = np.minimum.accumulate(above - steps) + steps
    return int(row[-1])


class WordErrorRate(TextMetric):
    """``(substitutions + deletions + insertions) / words of the references``, as jiwer counts it: 0 is best, above 1 possible.

    Words stand between spaces; Chinese, which has none, takes `CharacterErrorRate`.

    >>> WordErrorRate()(["the cat sat", "hello"], ["the cat", "hello"]).item()
    0.25
    """

    direction = "down"
    size = 2

    def __init__(self, lowercase: bool = False, name: str | None = None, dtype: Any = None):
        super().__init__(name, dtype)
        self.lowercase = lowercase

    def items(self, text: str) -> Sequence:
        return [word for word in re.sub(r"\s\s+", " ", text).strip().split(" ") if word]

    def statistics(self, references: list[str], hypothesis: str) -> tuple[int, int]:
        if len(references) > 1:
            raise ValueError(f"{self.name}: takes one reference for each hypothesis, got {len(references)}")
        known, found = (self.items(t.lower() if self.lowercase else t) for t in (references[0], hypothesis))
        return edit_distance(known, found), len(known)

    def compute(self, sums: Any) -> Any:
        return np.float64(sums[0] / (sums[1] or 1))


class CharacterErrorRate(WordErrorRate):
    """`WordErrorRate` by characters, spaces between words included.

    >>> round(CharacterErrorRate()(["今天天气很好"], ["今天天很好"]).item(), 4)
    0.1667
    """

    def items(self, text: str) -> Sequence:
        return text.strip()
