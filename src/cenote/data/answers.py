"""Answers: targets to arrays and back, with what was learned from the training part; saved with the model, as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from .preparation import Learned

__all__ = ["Answers", "Classes", "Labels", "Quantities"]

MOST_CLASSES = 10_000


class Answers(Learned):
    """Turns targets into the arrays that a loss takes, and a model's outputs back: one for each kind of target.

    `fit` takes the targets of the training part.
    """

    def unknown(self, targets: Any) -> np.ndarray | None:
        """Which targets no answer can meet, (rows,) bool: classes that training has not seen. None: there are no such."""
        return None

    def describe(self) -> str:
        """What is to be answered, in a few words."""
        return self.kind


class Classes(Answers):
    """One class for each example: names to numbers from 0, in order.

    ``names`` are texts; whole numbers, truth values and texts are taken by how they are written, so that 3, 3.0 and "3" are one
    class. ``counts`` say how many examples of each the training part has.

    >>> classes = Classes.fit(["cat", "dog", "cat"])
    >>> classes.names, classes(["dog", "cat"]).tolist(), classes.unknown(["dog", "cow"]).tolist()
    (['cat', 'dog'], [1, 0], [False, True])
    """

    kind = "classes"

    def __init__(self, names: Sequence[str], counts: Sequence[int] = ()) -> None:
        self.names = [str(name) for name in names]
        self.counts = [int(count) for count in counts] or [0] * len(self.names)
        if len(set(self.names)) != len(self.names) or len(self.names) < 2 or len(self.counts) != len(self.names):
            raise ValueError(f"classes need two or more different names and a count for each, got {self.names[:6]}")

    @classmethod
    def fit(cls, targets: Any, *, order: Sequence[str] | None = None, **options: Any) -> Self:
        """Learn the classes; raises ValueError for a single one, and for values that are no classes.

        ``order`` names them in the order that their numbers shall have, where the source has one.
        """
        values, counts = np.unique(names_of(targets), return_counts=True)
        found = values.tolist()
        total = int(counts.sum())
        if len(found) < 2:
            value = f"one value only, {found[0]!r}, in all {total:,} examples" if len(found) else "no value"
            raise ValueError(
                f"the target has {value}: there is nothing to tell apart; give examples of two classes or more, or "
                f"another target"
            )
        if len(found) > MOST_CLASSES or (len(found) > 50 and len(found) > total / 2):
            raise ValueError(
                f"the target has {len(found):,} different values in {total:,} examples, such as {found[0]!r}: these are hardly "
                f"classes. Is it an identifier or a text? Choose another target; for a quantity name a regression task"
            )
        place = {str(name): i for i, name in enumerate(order or ())}
        rows = _order(found) if not place else sorted(range(len(found)), key=lambda i: place.get(found[i], len(place)))
        return cls([found[i] for i in rows], [counts[i] for i in rows])

    @property
    def commonest(self) -> int:
        """The number of the class that the training part has most of."""
        return int(np.argmax(self.counts))

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, targets: Any) -> np.ndarray:
        """Class numbers, (rows,) int32; raises ValueError for an unknown class, naming it."""
        numbers = self._numbers(targets)
        if (numbers < 0).any():
            row = int(np.argmax(numbers < 0))
            from ..core.errors import unknown

            raise unknown(f"class (of example {row + 1})", str(names_of(targets)[row]), self.names)
        return numbers

    def unknown(self, targets: Any) -> np.ndarray:
        return self._numbers(targets) < 0

    def _numbers(self, targets: Any) -> np.ndarray:
        found, inverse = np.unique(names_of(targets), return_inverse=True)
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number.get(name, -1) for name in found.tolist()], np.int32)[inverse.reshape(-1)]

    def config(self) -> dict[str, Any]:
        return {"names": self.names, "counts": self.counts}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(config["names"], config.get("counts", ()))

    def describe(self) -> str:
        shown = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
        return f"{len(self.names)} classes: {shown}"


class Labels(Answers):
    """Any number of labels for each example: sets of names to rows of zeros and ones.

    >>> labels = Labels.fit([["red", "round"], ["red"], []])
    >>> labels.names, labels([["round"], []]).tolist()
    (['red', 'round'], [[0.0, 1.0], [0.0, 0.0]])
    """

    kind = "labels"

    def __init__(self, names: Sequence[str], counts: Sequence[int] = (), total: int = 0) -> None:
        self.names, self.total = [str(name) for name in names], int(total)  # total: of examples in the training part
        self.counts = [int(count) for count in counts] or [0] * len(self.names)
        if len(set(self.names)) != len(self.names) or not self.names or len(self.counts) != len(self.names):
            raise ValueError(f"labels need different names and a count for each, got {self.names[:6]}")

    @classmethod
    def fit(cls, targets: Any, **options: Any) -> Self:
        """Learn the labels; raises ValueError where there is none, or far too many."""
        everything = [name for names in targets for name in _set(names)]
        if not everything:
            raise ValueError("no example has a label: give at least one")
        values, counts = np.unique(np.array(everything, str), return_counts=True)
        found = values.tolist()
        if len(found) > MOST_CLASSES:
            raise ValueError(f"the target has {len(found):,} different labels, such as {found[0]!r}: at most {MOST_CLASSES:,}")
        order = _order(found)
        return cls([found[i] for i in order], [counts[i] for i in order], len(targets))

    def __len__(self) -> int:
        return len(self.names)

    def unseen(self, targets: Any) -> list[str]:
        """The labels among targets that training has not seen."""
        return sorted({name for names in targets for name in _set(names)} - set(self.names))

    def __call__(self, targets: Any) -> np.ndarray:
        """Ones where an example has a label, (rows, labels) float32; labels that training has not seen are left out."""
        number = {name: i for i, name in enumerate(self.names)}
        rows = np.zeros((len(targets), len(self.names)), np.float32)
        for row, names in enumerate(targets):
            rows[row, [number[name] for name in _set(names) if name in number]] = 1
        return rows

    def config(self) -> dict[str, Any]:
        return {"names": self.names, "counts": self.counts, "total": self.total}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(config["names"], config["counts"], config["total"])

    def describe(self) -> str:
        shown = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
        return f"any of {len(self.names)} labels: {shown}"


class Quantities(Answers):
    """One number or several for each example, standardised for the loss: (value - mean) / scale, by the training part.

    >>> quantities = Quantities.fit([10.0, 20.0, 30.0], names=["price"])
    >>> quantities([20.0]).tolist(), quantities.back(np.array([[0.0]])).tolist()
    ([[0.0]], [[20.0]])
    """

    kind = "quantities"

    def __init__(self, mean: Any, scale: Any, names: Sequence[str] = ()) -> None:
        self.mean, self.scale = (np.asarray(a, np.float64).reshape(-1) for a in (mean, scale))
        self.names = [str(name) for name in names] or [f"target {i + 1}" for i in range(len(self.mean))]
        whole = np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()
        if not whole or not (len(self.mean) == len(self.scale) == len(self.names) > 0):
            raise ValueError(
                f"quantities need a finite mean and a scale above 0 each, got {self.mean[:4]} and {self.scale[:4]}"
            )

    @classmethod
    def fit(cls, targets: Any, *, names: Sequence[str] = (), **options: Any) -> Self:
        """Learn mean and standard deviation; raises ValueError for texts, and for a target that is always the same."""
        values = numbers_of(targets)
        names = list(names) or ["target" if values.shape[1] == 1 else f"target {i + 1}" for i in range(values.shape[1])]
        same = np.flatnonzero((values == values[:1]).all(0))
        if len(same):
            raise ValueError(
                f"the target {names[same[0]]!r} is {values[0, same[0]]:g} in all {len(values):,} examples: there is nothing to "
                f"learn; choose another target"
            )
        return cls(values.mean(0), values.std(0), names)

    def __call__(self, targets: Any) -> np.ndarray:
        """Standardised values, (rows, quantities) float32."""
        return ((numbers_of(targets) - self.mean) / self.scale).astype(np.float32)

    def back(self, outputs: Any) -> np.ndarray:
        """A model's outputs in the units of the targets, (rows, quantities)."""
        outputs = np.asarray(outputs, np.float64)
        return outputs.reshape(len(outputs), -1) * self.scale + self.mean

    def config(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "names": self.names}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(config["mean"], config["scale"], config["names"])

    def describe(self) -> str:
        each = [f"{n} ({m:.4g} ± {s:.3g})" for n, m, s in zip(self.names, self.mean, self.scale, strict=True)]
        return ", ".join(each[:6]) + (", ..." if len(each) > 6 else "")


# -- targets as people give them -------------------------------------------------------------------------------------------


def missing(targets: Any) -> np.ndarray:
    """Which targets are not there, (rows,) bool: None, NaN, an empty text."""
    values = np.asarray(targets) if not isinstance(targets, list) else None
    if values is not None and values.dtype.kind == "f":
        return np.logical_not(np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if values is not None and values.dtype.kind in "biu":
        return np.zeros(len(values), bool)
    rows: Iterable[Any] = targets if values is None else values.tolist()
    return np.array([_absent(value) for value in rows], bool)


def _absent(value: Any) -> bool:
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    return isinstance(value, float) and not math.isfinite(value)


def names_of(targets: Any) -> np.ndarray:
    """Class names as texts: numbers without a useless ".0".

    >>> names_of([1.0, 2.0]).tolist(), names_of(["1", " yes "]).tolist()
    (['1', '2'], ['1', 'yes'])
    """
    values = np.asarray(targets)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"expected one class for each example, got targets of shape {values.shape}")
    if values.dtype.kind == "f" and values.size and (values == np.round(values)).all() and np.abs(values).max() < 2**53:
        values = values.astype(np.int64)
    if values.dtype.kind in "biuf":
        return values.astype(str)
    return np.array([_name(value) for value in values.tolist()], str)


def _name(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and value == round(value):
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value).strip()


def numbers_of(targets: Any) -> np.ndarray:
    """Quantities as (rows, quantities) float64; raises ValueError for what is no finite number, naming it."""
    values = np.asarray(targets)
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        for row, value in enumerate(values.reshape(len(values), -1).tolist()):
            for cell in value:
                try:
                    float(cell)
                except (TypeError, ValueError):
                    raise ValueError(
                        f"the target of example {row + 1} is {cell!r}, which is no number: mend it, or name a "
                        f"classification task"
                    ) from None
        raise
    values = values.reshape(len(values), -1)
    if not len(values):
        raise ValueError("there is no target to learn from")
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise ValueError(f"the target of example {int(np.argmax(bad)) + 1} is not a finite number; leave that example out")
    return values


def _set(names: Any) -> list[str]:
    names = [names] if isinstance(names, str) else names or []
    return sorted({str(name).strip() for name in names if str(name).strip()})


def _order(names: list[str]) -> list[int]:
    """Numbers by size, texts by their letters."""
    try:
        keys: list[Any] = [float(name) for name in names]
    except ValueError:
        keys = names
    return sorted(range(len(names)), key=keys.__getitem__)
