"""TablePreparation: rows of a table to the arrays that a network takes, learned from the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..examples import Examples, Finding
from ..preparation import Preparation
from .column import Column, Table
from .columns import Kind, infer
from .encoders import ENCODERS, Calendar, Category, Encoder, Number, Words
from .read import read_whole

__all__ = ["TablePreparation"]


class TablePreparation(Preparation):
    """Rows to ``float32 (row, feature)``; with embedded categories a dict of that ("numbers") and "categories" (row, column).

    Numbers: ``z = (x - median) / (middle half)``, ``z / sqrt(1 + (z / 3)^2)``, and a mark for missing ones. Categories: one-hot
    up to ``one_hot`` levels, numbers for an embedding above; levels in fewer than 1 % of the rows (2 to 10 rows), and those
    beyond the ``most`` commonest, are one level. Dates: calendar features. Texts: their commonest words. Constants and
    identifiers are left out. Everything is learned from the rows given to `fit`.

    Source: Holzmüller, Grinsztajn and Steinwart 2024, "Better by default", arXiv:2407.04491 (scaling and one-hot limit).

    >>> table = Table.of({"size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "blue"]})
    >>> preparation = TablePreparation.fit(Examples("table", table))
    >>> preparation.features()
    ['size', 'colour = blue']
    >>> preparation({"size": 2.5, "colour": "red"}).tolist()
    [[0.0, -1.0]]
    """

    kind = "table"

    def __init__(self, encoders: Sequence[Encoder], dropped: Mapping[str, str], findings: Sequence[Finding] = ()) -> None:
        self.encoders, self.dropped, self.findings = list(encoders), dict(dropped), list(findings)

    @classmethod
    def fit(cls, examples: Examples, *, one_hot: int = 9, most: int = 1000) -> Self:
        """Learn from the training part.

        Raises: ValueError if no column is left to learn from.
        """
        table: Table = examples.inputs
        encoders: list[Encoder] = []
        dropped: dict[str, str] = {}
        found: list[Finding] = []
        for name, column in table.columns.items():
            kind = table.types.get(name) or infer(column, name)
            encoder, why = _encoder(name, column, kind, one_hot, most)
            if encoder is None:
                dropped[name] = why
                continue
            encoders.append(encoder)
            found += _findings(encoder, column)
        if not encoders:
            raise ValueError(
                f"no column is left to learn from: {'; '.join(f'{n!r} {why}' for n, why in list(dropped.items())[:5])}; types= "
                f"can say that one of them is a category, a number or a text"
            )
        return cls(encoders, dropped, found)

    def __call__(self, inputs: Any) -> Any:
        table = self.raw(inputs)
        numbers = _side_by_side(table, [e for e in self.encoders if not e.codes], np.float32)
        if not self.sizes():
            return numbers
        codes = _side_by_side(table, [e for e in self.encoders if e.codes], np.int32)
        return {"numbers": numbers, "categories": codes} if numbers.shape[1] else {"categories": codes}

    def sizes(self) -> list[int]:
        """How many levels each embedded category has."""
        return [e.codes for e in self.encoders if e.codes]

    def raw(self, source: Any) -> Table:
        """A table with the columns of training, from a path, a frame, a row as dict or list, or several rows.

        Raises: ValueError for missing columns, naming them; BadFile for a file too large to be read whole, which is a quarter
        of the machine's memory as columns.
        """
        names = [e.name for e in self.encoders]
        if isinstance(source, (list, tuple)) and source and not isinstance(source[0], (Mapping, list, tuple)):
            source = [source]  # one row
        table, _ = read_whole(source, 4)  # each row has its answer, so none may be left out
        lacking = [name for name in names if name not in table]
        if lacking and all(name.startswith("column_") for name in table.columns):  # rows without names
            everything = [*names, *self.dropped]
            if len(table.columns) == len(names):
                table = Table(dict(zip(names, table.columns.values(), strict=True)), table.file, table.lines)
                return table
            raise ValueError(
                f"a row has {len(table.columns)} values; expected {len(names)}, for {', '.join(names[:20])}"
                + (f" (without {', '.join(self.dropped)})" if len(everything) > len(names) else "")
            )
        if lacking:
            shown = ", ".join(map(repr, lacking[:5])) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            raise ValueError(
                f"{table.file or 'the table'} lacks the column{'s' * (len(lacking) > 1)} {shown} of the training data; it has: "
                f"{', '.join(list(table.columns)[:30])}"
            )
        return table

    def look(self, inputs: Any) -> list[Finding]:
        """What these rows hold that the training part did not: new categories, missing values, numbers far outside."""
        table = self.raw(inputs)
        return [finding for e in self.encoders for finding in e.strange(table.columns[e.name])]

    def features(self) -> list[str] | None:
        """The features of the prepared numbers, and behind them the embedded categories."""
        flat = [name for e in self.encoders if not e.codes for name in e.names()]
        return flat + [e.name for e in self.encoders if e.codes]

    def groups(self) -> dict[str, list[int]]:
        """Which features (by number, as in `features`) come from which column."""
        found: dict[str, list[int]] = {}
        for at, name in enumerate(e.name for e in self._ordered() for _ in e.names()):
            found.setdefault(name, []).append(at)
        return found

    def _ordered(self) -> list[Encoder]:
        return [e for e in self.encoders if not e.codes] + [e for e in self.encoders if e.codes]

    def describe(self) -> list[str]:
        wide = max(len(name) for name in [*(e.name for e in self.encoders), *self.dropped])
        lines = [f"{e.name:<{wide}}  {e.describe()}" for e in self.encoders]
        return lines + [f"{name:<{wide}}  left out: {why}" for name, why in self.dropped.items()]

    def config(self) -> dict[str, Any]:
        return {"columns": [e.config() for e in self.encoders], "dropped": self.dropped}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """The preparation again, from what `config` gave."""
        try:
            encoders = []
            for each in config["columns"]:
                values = dict(each)
                encoders.append(_checked(ENCODERS[values.pop("kind")], values))
            dropped = {str(name): str(why) for name, why in config["dropped"].items()}
            if not encoders:
                raise ValueError("it has no columns")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the saved preparation of a table makes no sense: {error!r}") from error
        return cls(encoders, dropped)


def _side_by_side(table: Table, encoders: list[Encoder], dtype: Any) -> np.ndarray:
    """What several encoders make of their columns, in one array; only one column at a time is held twice."""
    ends = np.cumsum([0, *(len(e.names()) for e in encoders)]).tolist()
    x = np.empty((len(table), ends[-1]), dtype)
    for encoder, begin, end in zip(encoders, ends, ends[1:], strict=False):
        x[:, begin:end] = encoder(table.columns[encoder.name])
    return x


def _checked(kind: type[Encoder], values: dict[str, Any]) -> Encoder:
    """An encoder with the values of a file, if they are of the right types."""
    wanted = {n: t for n, t in kind.__annotations__.items() if n in values or n not in ("codes", "kind")}
    if set(values) != {"name", *wanted}:
        raise ValueError(f"a column of kind {kind.kind!r} has {sorted(values)}; expected {sorted({'name', *wanted})}")
    for name, type_name in {**wanted, "name": "str"}.items():
        plain: dict[str, Any] = {"str": str, "float": (int, float), "int": int, "bool": bool}
        value, each = values[name], plain.get(type_name)
        good = isinstance(value, each) if each else isinstance(value, list)
        if type_name == "list[str]":
            good = good and all(isinstance(v, str) for v in value)
        if not good or (each == (int, float) and not np.isfinite(value)):
            raise ValueError(f"{name} of column {values.get('name')!r} is {value!r}")
    return kind(**values)


def _encoder(name: str, column: Column, kind: Kind, one_hot: int, most: int) -> tuple[Encoder | None, str]:
    if kind.type in ("identifier", "constant"):
        return None, kind.why or f"it is said to be {kind.type}"
    gone = column.missing
    if gone.all():
        return None, "it is empty in the training part"
    if kind.type == "number" or (kind.type == "boolean" and column.numbers is not None):
        encoder: Encoder = Number.fit(name, column, kind.way)
        if encoder.low == encoder.high and not encoder.missing:  # type: ignore[attr-defined]
            return None, f"all values of the training part are {encoder.low:g}"  # type: ignore[attr-defined]
        return encoder, ""
    if kind.type == "date":
        return Calendar.fit(name, column, kind.way), ""
    if kind.type == "text":
        words = Words.fit(name, column)
        return (words, "") if words.words else (None, "its texts have no words in common")
    category = Category.fit(name, column, one_hot, most)
    if len(category.levels) + category.other + category.missing < 2:
        return None, "it has one value in the training part, or only rare ones"
    return category, ""


def _findings(encoder: Encoder, column: Column) -> list[Finding]:
    found = []
    count = int(column.missing.sum())
    if count and not isinstance(encoder, Words):
        filled = "marked, and filled with the median" if isinstance(encoder, (Number, Calendar)) else "a category of its own"
        share = f"{count / len(column):.1%}"
        found.append(
            Finding(f"column {encoder.name!r} is missing in {share} of the training rows: {filled}", "note", encoder.name)
        )
    if isinstance(encoder, Category) and encoder.merged:
        text = f"{encoder.merged:,} rare categories of column {encoder.name!r} are taken as one"
        found.append(Finding(text, "warning" if encoder.merged > 10_000 else "note", encoder.name))
    if isinstance(encoder, Words):
        text = f"of the texts in column {encoder.name!r} only the {len(encoder.words)} commonest words are used"
        found.append(Finding(text, "note", encoder.name))
    if isinstance(encoder, Number) and encoder.way not in ("", "|1234.5|"):
        found.append(Finding(f"column {encoder.name!r} holds numbers as text, written as {encoder.way}", "note", encoder.name))
    return found
