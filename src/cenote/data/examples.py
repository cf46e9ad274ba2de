"""Raw examples as people have them, with where each came from and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Finding:
    """Something that was noticed while reading or preparing, and what was done about it."""

    text: str  # a whole sentence: what, how often, an example of it, what was done
    severity: str = "note"  # "note", "warning"
    where: str = ""  # file, file:row, or column


@dataclass
class Examples:
    """Raw inputs and targets, not yet numbers.

    ``inputs`` is whatever the kind uses, with a length and rows: a `Table`, a list of texts, files that are opened when
    needed. ``names`` say where each example came from (a path, ``titanic.csv:13``). ``parts`` gives the part of each where the
    source itself says it ("train", "validation", "test"); ``groups`` what must stay together; ``times`` what comes first.
    """

    kind: str  # "table", "image", "text", "audio", "series"
    inputs: Any
    targets: Any = None
    names: Sequence[str] = ()
    about: dict[str, Any] = field(default_factory=dict)  # facts for people: counts, sizes, types of columns
    findings: list[Finding] = field(default_factory=list)
    parts: np.ndarray | None = None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Any) -> Examples:
        """Some of the examples, by row numbers."""
        rows = np.asarray(rows)

        def of(values: Any) -> Any:
            if values is None or (isinstance(values, (list, tuple)) and not values):
                return values
            if hasattr(values, "take_rows"):
                return values.take_rows(rows)
            return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]

        names = ("inputs", "targets", "names", "parts", "groups", "times")
        return replace(self, **{name: of(getattr(self, name)) for name in names}, findings=list(self.findings))
