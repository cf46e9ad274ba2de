"""What an explanation is: numbers for each feature of each example, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np


@dataclass
class Explanation:
    """Attributions of some examples, with their certificate.

    ``values`` has the form of ``x``, rows first (or ``(rows, groups)`` where features were grouped): how much each feature
    moved the explained number from ``base`` to ``output``. ``gap`` is ``|sum(values) - (output - base)|`` a row, for methods
    that promise completeness; ``error`` holds standard errors in the form of ``values``, for methods that sample.
    ``details`` holds what else the method says (nodes used, R2 of a surrogate, ...), arrays with a row each or single values.
    """

    method: str
    values: Any
    x: Any
    output: np.ndarray  # (rows,) the explained number
    target: np.ndarray | None  # (rows,) numbers of the outputs explained; None where a function of the outputs was given
    base: np.ndarray | None = None  # (rows,) that number for the baseline, or its mean over the background
    gap: np.ndarray | None = None
    error: Any = None
    reason: str = ""  # why this method, this target, this baseline
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    names: list[str] | None = None  # of the features, along the last axis of values
    classes: list[str] | None = None  # of the outputs
    raw: Any = None  # the examples as the user gave them: texts, rows of a table, file names
    kind: str = ""  # "table", "image", "text", "audio", "series" or "" for any array: which picture is drawn

    def __len__(self) -> int:
        return len(self.output)

    @property
    def completeness(self) -> np.ndarray | None:
        """``gap`` as a part of what was to be explained, ``gap / max(|output - base|, sum |values|)``, (rows,)."""
        if self.gap is None or self.base is None:
            return None
        total = sum(np.abs(v).reshape(len(v), -1).sum(1) for v in jax.tree.leaves(self.values))
        return self.gap / np.maximum(np.maximum(np.abs(self.output - self.base), total), 1e-30)

    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray) -> Explanation:
        """The explanation of one example, or of some."""
        rows = [rows] if isinstance(rows, (int, np.integer)) else rows
        pick: Any = np.arange(len(self))[rows]

        def of(array: Any) -> Any:
            return None if array is None else jax.tree.map(lambda a: np.asarray(a)[pick], array)

        per_row = {
            k: v[pick] if isinstance(v, np.ndarray) and v.shape[:1] == (len(self),) else v for k, v in self.details.items()
        }
        raw = self.raw
        if raw is not None and not isinstance(raw, dict) and hasattr(raw, "__len__") and len(raw) == len(self):
            raw = raw.iloc[pick] if hasattr(raw, "iloc") else [raw[i] for i in pick]
        return replace(
            self,
            **{name: of(getattr(self, name)) for name in ("values", "x", "output", "target", "base", "gap", "error")},
            details=per_row,
            raw=raw,
        )

    def said(self, row: int) -> str:
        """What is explained in a row, in words: the class's name, or the number of the output."""
        if self.target is None:
            return str(self.details.get("explained", "the chosen output"))
        number = int(self.target[row])
        return self.classes[number] if self.classes and number < len(self.classes) else f"output {number}"

    def top(self, count: int = 5, row: int = 0) -> list[tuple[str, float]]:
        """The features that moved a row's output most, by the size of their value, with their names or places.

        >>> import numpy as np
        >>> found = Explanation("any", np.array([[0.5, -2.0, 1.0]]), np.ones((1, 3)), np.zeros(1), None, names=["a", "b", "c"])
        >>> found.top(2)
        [('b', -2.0), ('c', 1.0)]
        """
        leaves = jax.tree_util.tree_leaves_with_path(self.values)
        every = [np.asarray(leaf)[row] for _, leaf in leaves]
        if "words" in self.details:  # behind the last word there is nothing
            flat = list(zip(self.details["words"][row], every[0].tolist(), strict=False))
        elif self.names and len(self.names) == sum(values.size for values in every):  # one for each feature of all inputs
            flat = list(zip(self.names, np.concatenate([values.ravel() for values in every]).tolist(), strict=True))
        else:
            flat = []
            for (path, _), values in zip(leaves, every, strict=True):
                prefix = jax.tree_util.keystr(path) if len(leaves) > 1 else ""
                flat += [
                    (prefix + self._place(place, values.shape), float(values[place])) for place in np.ndindex(values.shape)
                ]
        return sorted(flat, key=lambda item: -abs(item[1]))[:count]

    def _place(self, place: tuple[int, ...], shape: tuple[int, ...]) -> str:
        """A place in words: its numbers, the last one by name where the last axis has names."""
        if self.names and len(place) > 1 and len(self.names) == shape[-1]:
            return f"{self.names[place[-1]]} at {', '.join(map(str, place[:-1]))}"
        return str(place[0]) if len(place) == 1 else str(tuple(place))

    def __repr__(self) -> str:
        shapes = ", ".join(str(np.shape(v)) for v in jax.tree.leaves(self.values))
        lines = [f"{self.method}: values {shapes}, {self.seconds:.2g} s"]
        if self.reason:
            lines.append(f"  {self.reason}")
        parts = self.completeness
        if parts is not None:
            lines.append(f"  completeness gap at most {self.gap.max():.2g} ({parts.max():.2g} of the whole)")  # type: ignore[union-attr]
        if self.error is not None:
            lines.append(f"  standard errors up to {max(np.max(e) for e in jax.tree.leaves(self.error)):.2g}")
        if "r2" in self.details:
            r2, stability = (np.min(self.details[name]) for name in ("r2", "stability"))
            lines.append(
                f"  the surrogate explains R2 = {r2:.2f} or more near the examples; its order is stable to {stability:.2f}"
            )
        for row in range(min(len(self), 3)):
            shown = ", ".join(f"{name} {value:+.3g}" for name, value in self.top(4, row))
            start = "" if self.base is None else f" from {self.base[row]:.3g}"
            lines.append(f"  row {row}, {self.said(row)}: {self.output[row]:.3g}{start}; most: {shown}")
        return "\n".join(lines)

    def plot(self, row: int | None = None, **options: Any) -> Any:
        """A matplotlib figure in the form that suits the data; ``row`` picks one example."""
        from .pictures import plot

        return plot(self, row, **options)

    def _repr_html_(self) -> str:
        from .pictures import html

        return html(self)


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Explanations of some examples after others as one; texts may be of different lengths.

    >>> one = Explanation("any", np.ones((1, 2)), np.ones((1, 2)), np.zeros(1), None, seconds=1.0)
    >>> both = joined([one, one])
    >>> both.values.shape, len(both), both.seconds
    ((2, 2), 2, 2.0)
    """
    first = parts[0]
    if len(parts) == 1:
        return first

    def of(name: str) -> Any:
        values = [getattr(p, name) for p in parts]
        return None if values[0] is None else jax.tree.map(_stacked, *values)

    details = {}
    for key, value in first.details.items():
        every = [p.details[key] for p in parts]
        per_row = isinstance(value, np.ndarray) and value.shape[:1] == (len(first),)
        details[key] = np.concatenate(every) if per_row else value
    raw = None if first.raw is None else [row for p in parts for row in p.raw]
    arrays = {name: of(name) for name in ("values", "x", "output", "target", "base", "gap", "error")}
    reason = "; ".join(dict.fromkeys(p.reason for p in parts))
    return replace(first, **arrays, details=details, raw=raw, reason=reason, seconds=sum(p.seconds for p in parts))


def _stacked(*arrays: Any) -> np.ndarray:
    widest = max((np.shape(a)[1] for a in arrays if np.ndim(a) == 2), default=0)
    if any(np.ndim(a) == 2 and np.shape(a)[1] < widest for a in arrays):
        fill: Any = "" if np.asarray(arrays[0]).dtype == object else 0
        arrays = tuple(np.pad(a, ((0, 0), (0, widest - np.shape(a)[1])), constant_values=fill) for a in arrays)
    return np.concatenate(arrays)


@dataclass
class Curves:
    """How the output goes with one feature: partial dependence, ICE or ALE.

    ``grid`` (points,), or names of categories; ``mean`` (points,); ``each`` (rows, points) for ICE; ``error`` (points,).
    """

    method: str
    feature: str
    grid: np.ndarray
    mean: np.ndarray
    each: np.ndarray | None = None
    error: np.ndarray | None = None
    shown: np.ndarray | None = None  # (rows,) the feature's values in the data, for a rug
    output: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        about = f"{self.output} by {self.feature}" if self.output else f"the output by {self.feature}"
        lines = [f"{self.method}: {about}, {' x '.join(map(str, self.mean.shape))} points"]
        if self.mean.ndim == 1:
            low, high = int(np.argmin(self.mean)), int(np.argmax(self.mean))
            ends = [
                f"{self.mean[i]:.4g} at {self.grid[i]:.4g}"
                if self.grid.dtype.kind in "fiu"
                else f"{self.mean[i]:.4g} at {self.grid[i]}"
                for i in (low, high)
            ]
            lines.append(f"  lowest {ends[0]}, highest {ends[1]}")
        return "\n".join(lines)

    def plot(self, **options: Any) -> Any:
        """A matplotlib figure of the curve."""
        from .pictures import plot_curves

        return plot_curves(self, **options)


@dataclass
class Importance:
    """One number a feature for a whole data set, largest first in `order`."""

    method: str
    values: np.ndarray  # (features,)
    names: list[str]
    error: np.ndarray | None = None
    unit: str = ""  # what a value is measured in, such as "accuracy lost"
    details: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"{self.method} of {len(self.names)} features" + (f", in {self.unit}" if self.unit else "")]
        for i in self.order[:8]:
            spread = "" if self.error is None else f" ± {self.error[i]:.2g}"
            lines.append(f"  {self.names[i]} {self.values[i]:.3g}{spread}")
        return "\n".join([*lines, "  ..."] if len(self.names) > 8 else lines)

    @property
    def order(self) -> np.ndarray:
        """Numbers of the features, the most important first."""
        return np.argsort(-np.asarray(self.values), kind="stable")

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most important features.

        >>> import numpy as np
        >>> Importance("any", np.array([0.1, 0.7]), ["a", "b"]).top(1)
        [('b', 0.7)]
        """
        return [(self.names[i], float(self.values[i])) for i in self.order[:count]]

    def plot(self, **options: Any) -> Any:
        """A matplotlib figure of bars."""
        from .pictures import plot_importance

        return plot_importance(self, **options)
