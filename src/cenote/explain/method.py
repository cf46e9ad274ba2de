"""How a method becomes a function that users call: checking, bounded memory, progress and the certificate are written once."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from ..core import Module
from ..core.errors import unknown
from ..progress import track
from .lookups import HeldQuestion, over_vectors
from .question import Question, ask
from .result import Explanation
from .tokens import OTHERS

METHODS: dict[str, Callable[..., Explanation]] = {}


@dataclass
class Answer:
    """What a method finds for the rows of one `Question`; fields as in `Explanation`."""

    values: Any
    base: np.ndarray | None = None  # given by methods whose values add up to output - base, and by no other
    error: Any = None
    details: dict[str, Any] = field(default_factory=dict)  # arrays with a row each, or single values
    x: Any = None  # where the values are of other features than the input's, such as groups
    names: list[str] | None = None
    reason: str = ""


def texts_of(x: Any) -> list[str] | None:
    """The texts in ``x``: a text, or a list, an array or a column of them; None where there is something else.

    >>> texts_of("a good day"), texts_of(np.array(["a", "b"])), texts_of([[1.0]])
    (['a good day'], ['a', 'b'], None)
    """
    if isinstance(x, str):
        return [x]
    if hasattr(x, "to_numpy") and len(x.shape) == 1:
        x = x.to_numpy()
    listed = isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.ndim == 1)
    return [str(t) for t in x] if listed and len(x) and all(isinstance(t, str) for t in x) else None


_SHARED = ["target", "baseline", "background", "seed", "names", "batch_size", "progress"]


def method(*, gradients: bool = False, rows: int = 64) -> Callable[[Callable[..., Answer]], Callable[..., Explanation]]:
    """Make a public function ``f(function, x, *, target, baseline, background, ..., **options)`` of ``f(question, **options)``.

    ``gradients`` says that JAX must be able to trace what is explained; ``rows`` how many examples are handled at a time.
    """

    def wrap(answer: Callable[..., Answer]) -> Callable[..., Explanation]:
        name = answer.__name__
        own = [p for p in inspect.signature(answer).parameters.values() if p.kind is p.KEYWORD_ONLY]

        @functools.wraps(answer)
        def explain(
            function: Any,
            x: Any,
            *,
            target: Any = None,
            baseline: Any = None,
            background: Any = None,
            seed: int = 0,
            names: Any = None,
            batch_size: int = rows,
            progress: bool | None = None,
            **options: Any,
        ) -> Explanation:
            for option in options:
                if option not in [p.name for p in own]:
                    raise unknown(f"option of {name}", option, [*[p.name for p in own], *_SHARED])
            began = time.perf_counter()
            texts = texts_of(x)
            if texts is not None and not gradients:
                from .words import explain_text

                if baseline is not None or background is not None:
                    raise ValueError(
                        "texts are compared with what is left when words go: no baseline, no background, but fill="
                    )
                return explain_text(function, texts, name, target=target, seed=seed, progress=progress, **options)
            if texts is not None and not isinstance(function, Module):
                raise ValueError(f"{name} needs gradients, and there is none by a word: use {OTHERS}")
            x = x if texts is None else np.array(texts)
            question = ask(function, x, target=target, baseline=baseline, background=background, seed=seed, names=names)
            if gradients and not question.subject.differentiable:
                raise ValueError(
                    f"{name} needs gradients, and JAX cannot trace this function: write it with jax.numpy, or use {OTHERS}"
                )
            apart = over_vectors if gradients else None
            return explained(name, answer, question, x, options, batch_size, progress, began, apart)

        shared = [
            p for p in inspect.signature(explain, follow_wrapped=False).parameters.values() if p.kind is not p.VAR_KEYWORD
        ]
        explain.__signature__ = inspect.Signature([*shared, *own], return_annotation=Explanation)  # type: ignore[attr-defined]
        explain.gradients = gradients  # type: ignore[attr-defined]
        METHODS[name] = explain
        return explain

    return wrap


def explained(
    name: str,
    answer: Callable[..., Answer],
    question: Question,
    raw: Any,
    options: dict[str, Any],
    batch_size: int,
    progress: bool | None,
    began: float,
    apart: Callable[[Question], Question] | None = None,
) -> Explanation:
    """All rows, a chunk at a time; the last chunk is filled up, so that each shape is compiled once.

    ``apart`` makes another question of each chunk: one about vectors of one about words, for methods by gradients.
    """
    count, parts, outputs = question.count, [], []
    size = min(batch_size, count)
    for start in track(range(0, count, size), f"explaining by {name}", unit=size, show=progress):
        here = min(size, count - start)
        chunk = question.rows(start, start + here)
        if here < size:
            chunk = filled(chunk, size)
        asked = apart(chunk) if apart is not None else chunk
        found = answer(asked, **options)
        if isinstance(asked, HeldQuestion):
            found = asked.folded(found)
        outputs.append(chunk.ask(chunk.x)[:here])
        parts.append(_cut(found, here, size))
    answers = parts[0] if len(parts) == 1 else _joined(parts)
    output = np.concatenate(outputs)
    gap = None
    if answers.base is not None:
        total = sum(np.asarray(v, np.float64).reshape(count, -1).sum(1) for v in jax.tree.leaves(answers.values))
        gap = np.abs(total - (output - answers.base))
    notes = [answers.reason, *question.notes]
    return Explanation(
        method=name,
        values=answers.values,
        x=question.x if answers.x is None else answers.x,
        output=output,
        target=None if callable(question.target) else question.target,
        base=answers.base,
        gap=gap,
        error=answers.error,
        reason="; ".join(n for n in notes if n),
        seconds=time.perf_counter() - began,
        details=answers.details,
        names=answers.names or question.names,
        classes=question.subject.classes,
        raw=raw,
    )


def filled(question: Question, size: int) -> Question:
    """A question with its last row again and again, so that it has ``size`` rows."""
    return question.take(np.minimum(np.arange(size), question.count - 1))


def _cut(answer: Answer, rows: int, size: int) -> Answer:
    def of(value: Any) -> Any:
        return None if value is None else jax.tree.map(lambda a: np.asarray(a)[:rows], value)

    details = {k: v[:rows] if isinstance(v, np.ndarray) and v.shape[:1] == (size,) else v for k, v in answer.details.items()}
    return replace(
        answer, values=of(answer.values), base=of(answer.base), error=of(answer.error), x=of(answer.x), details=details
    )


def _joined(parts: list[Answer]) -> Answer:
    def of(name: str) -> Any:
        values = [getattr(p, name) for p in parts]
        return None if values[0] is None else jax.tree.map(lambda *leaves: np.concatenate(leaves), *values)

    details = {}
    for key, first in parts[0].details.items():
        values = [p.details[key] for p in parts]
        details[key] = np.concatenate(values) if isinstance(first, np.ndarray) and first.ndim else first
    reason = "; ".join(dict.fromkeys(p.reason for p in parts if p.reason))
    return replace(parts[0], values=of("values"), base=of("base"), error=of("error"), x=of("x"), details=details, reason=reason)
