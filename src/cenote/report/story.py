"""What a report is about: everything that its sections can show. What is not there is left out of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .facts import Facts, plain
from .html import Html
from .scores import Scores

__all__ = ["Classified", "ColumnFacts", "Course", "Foreseen", "Labelled", "Measured", "Spread", "Story", "Window", "Written"]


@dataclass(kw_only=True)
class Classified:
    """One class for each example: ``parts`` hold the class numbers of each part of the data."""

    names: Sequence[str]
    scores: Scores
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(kw_only=True)
class Labelled:
    """Any number of labels for each example: ``probabilities`` and ``truth`` are (n, labels)."""

    names: Sequence[str]
    probabilities: np.ndarray
    truth: np.ndarray
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)  # how many examples of a part have each label


@dataclass(kw_only=True)
class Measured:
    """Quantities: ``predicted`` and ``true`` are (n, quantities), in the target's unit."""

    names: Sequence[str]
    predicted: np.ndarray
    true: np.ndarray
    unit: str = ""


@dataclass(kw_only=True)
class Window:
    """One forecast of one variable: what went before, what came, what was foreseen, and the interval of that."""

    name: str
    past: np.ndarray
    true: np.ndarray
    said: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    times: Sequence[str] = ()  # of the first value shown, of the first that was foreseen, and of the last


@dataclass(kw_only=True)
class Course:
    """A whole series: its values, where each part begins, ``{"training": 0, "test": 90}``, and its first and last time."""

    name: str
    values: np.ndarray
    begins: Mapping[str, int]
    times: tuple[str, str] = ("", "")


@dataclass(kw_only=True)
class Foreseen:
    """Forecasts: some windows, and the errors by the step ahead, ``{"MAE": [...]}``."""

    windows: Sequence[Window]
    by_step: Mapping[str, Sequence[float]] = field(default_factory=dict)
    level: float = 0.9  # of the intervals
    held: tuple[float, float] | None = None  # the share of the test values that they held, and the upper end of its interval


@dataclass(kw_only=True)
class Written:
    """Texts for each example: what was written, and what should have been."""

    said: Sequence[str]
    true: Sequence[str]


@dataclass(kw_only=True)
class ColumnFacts:
    """A column of a table: its type, how many values are missing, and what it holds, in words."""

    name: str
    type: str
    missing: float  # the share
    holds: str
    used: str = ""  # how the model sees it


@dataclass(kw_only=True)
class Spread:
    """Values to be drawn as a histogram; ``name`` is a key of the report's words, or a name from the data."""

    name: str
    values: np.ndarray
    unit: str = ""


@dataclass(kw_only=True)
class Story:
    """A report before it is written. ``scores`` and ``baselines`` are those of `cenote.tasks.scores`, the main one first.

    ``show(rows)`` gives the test examples with these numbers, to be looked at; ``back(rows)`` what an autoencoder made of them.
    ``errors`` (n,) order the test examples where they have no classes.
    """

    facts: Facts
    kind: str = ""  # of the inputs: "table", "image", "text", "audio", "series"
    scores: Sequence[Any] = ()
    count: int = 0
    baselines: Sequence[Any] = ()
    parts: Mapping[str, int] = field(default_factory=dict)
    parted: str = ""  # how
    findings: Sequence[Any] = ()
    columns: Sequence[ColumnFacts] = ()
    spreads: Sequence[Spread] = ()
    courses: Sequence[Course] = ()
    chosen: Sequence[tuple[str, str, str]] = ()  # what, its value, why
    model: Any = None
    history: Any = None
    show: Callable[[Sequence[int]], list[Html]] | None = None
    names: Sequence[str] = ()
    errors: np.ndarray | None = None
    classified: Classified | None = None
    labelled: Labelled | None = None
    measured: Measured | None = None
    foreseen: Foreseen | None = None
    written: Written | None = None
    back: Callable[[Sequence[int]], list[Html]] | None = None
    samples: Sequence[tuple[str, str]] = ()  # generated texts: what was given, what was written behind it

    def true(self, row: int) -> str:
        """What is true of a test example, in short; "" where nothing is known or shown elsewhere."""
        if self.classified is not None:
            return str(self.classified.names[int(self.classified.scores.labels[row])])
        if self.labelled is not None:
            return ", ".join(self.labelled.names[i] for i in np.flatnonzero(self.labelled.truth[row] > 0.5).tolist())
        if self.measured is not None:
            return ", ".join(plain(v) for v in self.measured.true[row].tolist()[:4])
        return "" if self.written is None else str(self.written.true[row])[:200]

    @property
    def small(self) -> bool:
        """Whether an example is small enough for many to stand beside each other."""
        return self.kind == "image"
