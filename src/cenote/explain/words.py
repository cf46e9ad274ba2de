"""Texts explained in their own words: any method that only asks the function, with words switched on and off."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..core import Module
from ..core.errors import unknown
from ..data.arrays import as_arrays, take_rows
from ..progress import track
from .method import METHODS
from .result import Explanation
from .subject import Subject, subject_of

__all__ = ["explain_text"]

TOGETHER, FEW = 256, 16  # texts given to the function at a time; models get batches of these two sizes


def explain_text(
    function: Any,
    texts: Any,
    method: str = "permutation_shapley",
    *,
    target: Any = None,
    split: Callable[[str], Sequence[str]] | None = None,
    fill: str = "",
    seed: int = 0,
    progress: bool | None = None,
    **options: Any,
) -> Explanation:
    """How much each word of a text moved the output; words are taken out (or replaced by ``fill``), and what is between stays.

    ``function`` takes a list of texts and gives ``(texts, ...)`` outputs, as a plain Python function may, or is a model whose
    first layers take texts. ``texts`` is a text, or a list of them; a text may be a list of tokens, too. Words, numbers and
    marks are told apart for every language, and in scripts without spaces (Chinese) each character stands alone, unless
    ``split`` gives the pieces of a text, in order. ``method`` is any that only asks the function: "permutation_shapley",
    "exact_shapley", "kernel_shap", "lime" ..., with its ``options``. Texts are asked once each, however often they are needed.
    Values are (texts, words of the longest), zeros behind the end of a text; ``details["words"]`` holds the words of each.
    Raises: TypeError for a model that takes numbers; ValueError for a text without words, or a ``split`` that invents words.

    >>> found = explain_text(lambda texts: np.array([t.count("good") - t.count("坏") for t in texts]), ["a good day", "坏人"])
    >>> found.values.tolist(), [list(words) for words in found.details["words"]]
    ([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], [['a', 'good', 'day'], ['坏', '人']])
    """
    began = time.perf_counter()
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    given = [texts] if isinstance(texts, str) else list(texts)
    if not given:
        raise ValueError("there is nothing to explain: texts is empty")
    cut = [_Text.of(text, split, fill, number) for number, text in enumerate(given)]
    call, model = _caller(function, [c.said for c in cut])
    targets = list(target) if isinstance(target, (list, np.ndarray)) else [target] * len(cut)
    if len(targets) != len(cut):
        raise ValueError(f"target has {len(targets)} outputs, but there are {len(cut)} texts: give one each, or one for all")
    found = []
    for text, wanted in zip(track(cut, f"explaining by {method}", show=progress), targets, strict=True):
        subject = Subject(text.asked(call), (), differentiable=False, model=model, says="the function's own values")
        on = np.ones((1, len(text.words)), np.int32)
        found.append(METHODS[method](subject, on, baseline=0, target=wanted, seed=seed, progress=False, **options))
    words = np.empty(len(cut), object)
    words[:] = [text.words for text in cut]
    longest = max(len(w) for w in words)
    shown = np.full((len(cut), longest), "", object)
    for row, of in enumerate(words):
        shown[row, : len(of)] = of

    def stacked(name: str) -> Any:
        parts = [getattr(f, name) for f in found]
        return None if parts[0] is None else np.concatenate(parts)

    def padded(name: str) -> Any:
        parts = [getattr(f, name) for f in found]
        if parts[0] is None:
            return None
        return np.concatenate([np.pad(p, ((0, 0), (0, longest - p.shape[1]))) for p in parts])

    # What the baseline is, is said by then.
    said = [part for part in found[0].reason.split("; ") if part and not part.endswith(" the baseline")]
    return Explanation(
        method=method,
        values=padded("values"),
        x=shown,
        output=stacked("output"),
        target=stacked("target"),
        base=stacked("base"),
        gap=stacked("gap"),
        error=padded("error"),
        reason="; ".join([f"words {'taken out' if not fill else f'replaced by {fill!r}'}", *said]),
        seconds=time.perf_counter() - began,
        details={**_details(found), "words": words},
        names=list(words[0]) if len(cut) == 1 else None,
        classes=found[0].classes,
        raw=[text.said for text in cut],
        kind="text",
    )


def _details(found: list[Explanation]) -> dict[str, Any]:
    """What methods say of each text: single values and arrays of one row, one after another."""
    details = {}
    for key in found[0].details:
        parts = [np.asarray(f.details[key]).reshape(-1) for f in found]
        if all(p.shape == (1,) for p in parts):
            details[key] = np.concatenate(parts)
    return details


class _Text:
    """A text in words and what is between them."""

    def __init__(self, said: str, spans: list[tuple[int, int]], fill: str) -> None:
        self.said, self.fill = said, fill
        self.words = [said[a:b] for a, b in spans]
        ends = [0, *(b for _, b in spans)]
        starts = [*(a for a, _ in spans), len(said)]
        self.between = [said[a:b] for a, b in zip(ends, starts, strict=True)]  # one more than words

    @classmethod
    def of(cls, text: Any, split: Callable | None, fill: str, number: int) -> _Text:
        """From a text or a list of tokens."""
        if isinstance(text, (list, tuple)) and all(isinstance(t, str) for t in text):
            pieces = [t for t in text if t]
            wide = any(unicodedata.east_asian_width(c) in "WF" for c in "".join(pieces))
            said = ("" if wide else " ").join(pieces)
        elif isinstance(text, str):
            said, pieces = str(text), None if split is None else [p for p in split(text) if p]
        else:
            raise TypeError(f"text {number} is a {type(text).__name__}: expected a text (str), or a list of its tokens")
        if pieces is None:
            from ..data.text.tokenize import word_spans

            spans = word_spans(said)
        else:
            spans, place = [], 0
            for piece in pieces:
                at = said.find(piece, place)
                if at < 0:
                    raise ValueError(
                        f"split gave {piece!r}, which does not stand in text {number} behind the pieces before it: it must "
                        f"give parts of the text, in order"
                    )
                place = at + len(piece)
                spans.append((at, place))
        if not spans:
            raise ValueError(f"text {number}, {said!r:.40}, has no words: leave it out")
        return cls(said, list(spans), fill)

    def asked(self, call: Callable[[list[str]], np.ndarray]) -> Callable[[Any, Any], np.ndarray]:
        """Outputs for which words are in, (rows, words) of 0 and 1; equal texts are asked once."""

        def outputs(_: Any, on: Any) -> np.ndarray:
            said = [self._with(row) for row in np.asarray(on) != 0]
            place = {text: number for number, text in enumerate(dict.fromkeys(said))}
            return call(list(place))[[place[text] for text in said]]

        return outputs

    def _with(self, on: np.ndarray) -> str:
        parts = [self.between[0]]
        for word, after, stays in zip(self.words, self.between[1:], on, strict=True):
            parts += [word if stays else self.fill, after]
        return "".join(parts)


def _caller(function: Any, texts: list[str]) -> tuple[Callable[[list[str]], np.ndarray], Module | None]:
    """What answers a list of texts, and the model behind it."""
    if not isinstance(function, Module):
        if not callable(function):
            raise TypeError(f"expected a model or a function of a list of texts, got {type(function).__name__}")
        asked = function

        def ask_all(texts: list[str]) -> np.ndarray:
            y = np.asarray(asked(texts))
            if y.shape[:1] != (len(texts),):
                raise ValueError(
                    f"expected outputs for {len(texts)} texts, one row each, but the function gave shape {y.shape}"
                )
            return y

        return lambda texts: _in_parts(ask_all, texts), None
    if not getattr(function, "prepares", False):
        raise TypeError(
            "the model takes numbers, not texts: explain what turns texts into its numbers, too, explain_text(lambda texts: "
            "model.predict(numbers_of(texts)), texts), or build a model that begins with TextVectorization"
        )
    raw = function._ready  # type: ignore[attr-defined]

    def ready(texts: list[str]) -> Any:
        return as_arrays(raw(np.asarray(texts))[0])

    # Where a batch is padded to its longest text, the longest of all goes along in each: one width, one meaning.
    longest = max(texts, key=lambda text: sum(np.size(leaf) for leaf in jax.tree.leaves(ready([text]))))
    subject = subject_of(function, ready([longest]))
    run = subject.programs.setdefault("outputs", jax.jit(subject.outputs))

    def ask_model(texts: list[str]) -> np.ndarray:
        x = ready([*texts, longest])
        rows = np.minimum(np.arange(FEW if len(texts) < FEW else TOGETHER), len(texts))
        return np.asarray(run(subject.weights, take_rows(x, rows)))[: len(texts)]

    return lambda texts: _in_parts(ask_model, texts), function


def _in_parts(call: Callable[[list[str]], np.ndarray], texts: list[str]) -> np.ndarray:
    return np.concatenate([call(texts[i : i + TOGETHER - 1]) for i in range(0, len(texts), TOGETHER - 1)])
