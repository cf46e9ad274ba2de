"""Tables from what people have: CSV and TSV files, Parquet, pandas, polars, Arrow, dicts of columns, lists of rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import unknown
from ...files import BadFile
from ..examples import Examples, Finding
from ..media import memory_share
from . import columns as types_of
from .arrow import LARGE, of_words, read_parquet, sampled
from .column import MEMORY, Column, Table
from .csv import read_csv

__all__ = ["glance", "looks_like_table", "read", "read_table", "read_whole"]

TARGETS = ("target", "label", "class", "y", "outcome")  # names that say themselves what is to be predicted
GLANCE = 20_000  # rows from which it is told what a large file holds
FILES = (".csv", ".tsv", ".tab", ".txt", ".data", ".parquet", ".pq")


def looks_like_table(source: Any) -> bool:
    """Is this a table, or a file that may be one?"""
    if isinstance(source, (str, os.PathLike)):
        name = str(source).lower().removesuffix(".gz")
        return name.endswith(FILES) and Path(source).is_file()
    return isinstance(source, Table) or _is_frame(source) or (isinstance(source, Mapping) and bool(source))


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") or hasattr(source, "column_names")


def glance(source: Any, **options: Any) -> Table:
    """A table, or the beginning of it where it is a large file of rows: enough to tell what it is."""
    if isinstance(source, (str, os.PathLike)) and Path(source).is_file() and Path(source).stat().st_size > LARGE:
        options = {**options, "rows": GLANCE}
    return read_table(source, **options)[0]


def read_table(source: Any, **options: Any) -> tuple[Table, list[Finding]]:
    """A table, and what was noticed; ``options`` are those of `read_csv`.

    Raises: BadFile for a file that cannot be read, TypeError for what is no table.

    >>> table, notes = read_table({"a": [1, 2], "b": ["x", "y"]})
    >>> len(table), table.row(0)
    (2, {'a': 1, 'b': 'x'})
    """
    if isinstance(source, Table):
        return source, []
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
        if suffix in ("parquet", "pq"):
            return _parquet(path, **{k: v for k, v in options.items() if k in ("rows", "memory", "seed", "whole", "show")})
        if suffix in ("xls", "xlsx", "ods", "json", "jsonl", "feather", "arrow", "db", "sqlite", "sas7bdat", "dta", "sav"):
            raise BadFile(
                f"{path} is no CSV, TSV or Parquet file: save it as one of those, or read it with pandas and give the frame"
            )
        return read_csv(path, **options)
    if isinstance(source, Mapping):
        return _of_columns(source), []
    if _is_frame(source):
        return _of_frame(source), []
    if isinstance(source, np.ndarray) and source.ndim == 2:
        return Table({f"column_{i + 1}": Column.of(source[:, i]) for i in range(source.shape[1])}), []
    if isinstance(source, (list, tuple)) and source:
        if all(isinstance(row, Mapping) for row in source):
            names = dict.fromkeys(name for row in source for name in row)
            return Table({str(name): Column.of([row.get(name) for row in source]) for name in names}), []
        if all(isinstance(row, Sequence) and not isinstance(row, str) for row in source):
            lengths = {len(row) for row in source}
            if len(lengths) > 1:
                raise ValueError(f"rows of different lengths: {sorted(lengths)[:5]}; each needs one value for each column")
            return Table(
                {f"column_{i + 1}": Column.of(values) for i, values in enumerate(map(list, zip(*source, strict=True)))}
            ), []
    raise TypeError(
        f"a {type(source).__name__} is no table: give a path of a CSV or Parquet file, a pandas, polars or Arrow frame, or a "
        f"dict of columns"
    )


def read_whole(source: Any, part: int, **options: Any) -> tuple[Table, list[Finding]]:
    """`read_table` with all rows of a file, where a sample of them would not do.

    Raises: BadFile for a file that takes more than one of so many equal parts of the machine's memory, as columns.
    """
    if isinstance(source, (str, os.PathLike)):
        options = {"memory": memory_share(part), "whole": True, **options}
    return read_table(source, **options)


def _of_columns(source: Mapping) -> Table:
    if not source:
        raise ValueError("the dict holds no columns")
    scalars = [k for k, v in source.items() if isinstance(v, (str, bytes)) or not hasattr(v, "__len__")]
    if len(scalars) == len(source):  # one row
        return Table({str(k): Column.of([v]) for k, v in source.items()})
    if scalars:
        raise ValueError(f"the dict holds one value for {scalars[0]!r}, and several for others: give a list for each column")
    return Table.of(source)


def _of_frame(frame: Any) -> Table:
    """Columns of a pandas, polars or Arrow frame, without importing any of them."""
    names = frame.column_names if hasattr(frame, "column_names") else frame.columns
    labels = [str(name) for name in names]
    if len(set(labels)) < len(labels):
        twice = next(name for name in labels if labels.count(name) > 1)
        raise ValueError(f"the frame has several columns called {twice!r}: give each its own name")
    return Table({label: _of_series(frame[name]) for label, name in zip(labels, names, strict=True)})


def _of_series(series: Any) -> Column:
    kind = str(getattr(series, "dtype", getattr(series, "type", ""))).lower()
    if hasattr(series, "dt") and "datetime" in kind and hasattr(series, "isna"):  # pandas; time zones become UTC
        if getattr(series.dt, "tz", None) is not None:
            series = series.dt.tz_convert(None)
        return Column.of(series.to_numpy("datetime64[s]"))
    if hasattr(series, "isna") and kind.startswith(("int", "uint", "float")):  # pandas; nullable ones have <NA>
        return Column.of(series.to_numpy(np.float64, na_value=np.nan))
    if hasattr(series, "to_pylist"):  # Arrow
        if (words := of_words(series)) is not None:
            return words
        if any(word in kind for word in ("int", "float", "double", "halffloat")) and "list" not in kind:
            try:
                return Column.of(np.asarray(series.to_numpy(), np.float64))
            except (TypeError, ValueError):
                pass
        return Column.of(series.to_pylist())
    if hasattr(series, "to_numpy") and kind.startswith(("int", "uint", "float")):  # polars
        return Column.of(np.asarray(series.to_numpy(), np.float64))
    return Column.of(series.to_list() if hasattr(series, "to_list") else list(series))


def _parquet(
    path: Path, rows: int | None = None, memory: int = MEMORY, seed: int = 0, whole: bool = False, show: bool | None = None
) -> tuple[Table, list[Finding]]:
    found, numbers, total = read_parquet(path, rows, memory, seed, whole, show)
    table = _of_frame(found)
    table.file, table.lines = path.name, numbers
    return table, [sampled(len(table), total, memory, path)] if len(table) < total and rows is None else []


def read(
    source: Any,
    target: str | int | Sequence[str | int] | None = None,
    *,
    types: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    groups: str | None = None,
    time: str | None = None,
    kind: str | None = None,
    **options: Any,
) -> Examples:
    """Rows as examples: the target column(s) apart, types of the columns found, rows without a target left out.

    ``target`` is the name of a column, or its number (-1 is the last), or several; without it a column that is called target,
    label, class, y or outcome. ``types`` overrides what columns are taken for; ``drop`` leaves columns out; ``groups`` names
    the column of what must stay together when the rows are parted; ``time`` that which parts them by time. ``kind`` is
    "classes" or "quantity", where the target's own values should not decide. ``options`` are those of `read_csv`.

    Targets are texts for classes, and float64 (row) or (row, target) for quantities.

    Raises: ValueError for a missing target column (with those there are), for text in a target of numbers; BadFile.

    >>> examples = read({"size": [1.0, 2.0, 3.0], "fit": ["yes", "no", "yes"]}, "fit")
    >>> examples.targets.tolist(), examples.about["target"]["kind"]
    (['yes', 'no', 'yes'], 'classes')
    """
    forced = [name for name, wish in (types or {}).items() if str(wish).split(" ")[0] in ("category", "text", "identifier")]
    if isinstance(source, (str, os.PathLike)) and forced:
        options.setdefault("texts", forced)
    table, found = read_table(source, **options)
    if not len(table):
        raise ValueError(f"{table.file or 'the table'} has no rows")
    for name in drop:
        table[name]  # raises for an unknown name
    table = table.without(*drop)
    names = target_names(table, target)
    found_types = types_of.kinds(table, types)
    found += types_of.notes(table, found_types)
    targets, about, keep = _targets(table, names, found_types, kind, found)
    if keep is not None:
        table, targets = table.take_rows(keep), targets[keep]
    lines = types_of.describe(found_types, table)
    extra: dict[str, Any] = {}
    if groups is not None:
        extra["groups"] = np.array([str(v) for v in table[groups].texts()])
        table = table.without(groups)
    if time is not None:
        extra["times"] = times_of(table, time)
    inputs = table.without(*names)
    inputs.types = {name: kind for name, kind in found_types.items() if name in inputs}
    if not inputs.columns:
        raise ValueError(
            f"{table.file or 'the table'} has no column beside the target {names[0]!r}: there is nothing to learn from"
        )
    facts = {"rows": len(table), "columns": len(inputs.columns), "types": lines, "target": about, "file": table.file}
    return Examples("table", inputs, targets, table.places(), facts, found, **extra)


def target_names(table: Table, target: Any) -> list[str]:
    """The names of the target columns."""
    names = list(table.columns)
    if target is None:
        for name in names:
            if name.strip().lower() in TARGETS:
                return [name]
        raise ValueError(
            f"which column of {table.file or 'the table'} is to be predicted? Give target=, one of: {', '.join(names[:60])}"
            + (", ..." if len(names) > 60 else "")
        )
    several = [target] if isinstance(target, (str, int, np.integer)) else list(target)
    if not several:
        raise ValueError("target is an empty list: name at least one column")
    chosen = []
    for each in several:
        if isinstance(each, (int, np.integer)) and not isinstance(each, bool):
            if not -len(names) <= each < len(names):
                raise ValueError(f"target={each}, but {table.file or 'the table'} has {len(names)} columns")
            each = names[each]
        if (name := str(each)) not in table:
            raise unknown(f"target column of {table.file or 'the table'}", name, names)
        if name not in chosen:
            chosen.append(name)
    return chosen


def _targets(
    table: Table, names: list[str], found_types: dict[str, types_of.Kind], wish: str | None, found: list[Finding]
) -> tuple[Any, dict[str, Any], np.ndarray | None]:
    """The targets, facts about them, and the rows that have one (None: all)."""
    if wish not in (None, "classes", "quantity"):
        raise unknown("kind of target", wish, ["classes", "quantity"])
    told = [types_of.target_kind(table[name], found_types[name]) for name in names]
    kind = wish or ("classes" if any(k == "classes" for k, _ in told) and len(names) == 1 else "quantity")
    why = "as you said" if wish else told[0][1]
    if kind == "classes" and len(names) > 1:
        raise ValueError(f"several targets ({', '.join(names)}) must be numbers; train one model for each target of classes")
    gone = np.zeros(len(table), bool)
    for name in names:
        gone |= table[name].missing
    columns = []
    for name in names:
        if kind == "classes":
            if strays := table[name].strays:
                cure = f"or, if its words are classes too, say types={{{name!r}: 'category'}}"
                _refuse(table, name, strays, "a class that is a number", cure)
            words = table[name].as_levels()
            columns.append(np.array([*words.levels, ""], str)[words.codes])
        else:
            columns.append(_quantity(table, name, found_types[name]))
            gone |= np.isnan(columns[-1])
    if gone.all():
        raise ValueError(f"the target column {names[0]!r} of {table.file or 'the table'} is empty in all {len(table)} rows")
    keep = None
    if gone.any():
        keep, first = np.flatnonzero(~gone), table.place(int(np.flatnonzero(gone)[0]))
        count = int(gone.sum())
        text = f"{count} row{'s have' if count > 1 else ' has'} no value of the target {names[0]!r}, such as {first}: left out"
        found.append(Finding(text, "warning", names[0]))
    values = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    return values, {"names": names, "kind": kind, "why": why}, keep


def _quantity(table: Table, name: str, kind: types_of.Kind) -> np.ndarray:
    column = table[name]
    if column.numbers is not None:
        if column.strays:
            _refuse(table, name, column.strays, "a number")
        return column.numbers
    values, _ = types_of.parse_numbers(column.levels, kind.way if kind.type == "number" else "")
    counts = column.counts()
    bad = np.isnan(values) & (counts > 0)
    if bad.sum() > max(1, (counts > 0).sum() / 2):
        words = [level for i in np.argsort(-counts, kind="stable") if not _number(level := column.levels[i])][:3]
        what = "dates" if kind.type == "date" else "words"
        raise ValueError(
            f"the target column {name!r} holds {what}, such as {', '.join(map(repr, words or column.levels[:3]))}, and a "
            f"regression foresees numbers: name a classification task, or another target"
        )
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        _refuse(table, name, {column.levels[i]: (int(counts[i]), int(np.flatnonzero(column.codes == i)[0]))}, "a number")
    return np.append(values, np.nan)[column.codes]


def _number(text: str) -> bool:
    return bool(np.isfinite(types_of.parse_numbers([text], "|1234.5|")[0][0]))


def _refuse(table: Table, name: str, strays: dict[str, tuple[int, int]], what: str, cure: str = "") -> None:
    text, (count, row) = next(iter(strays.items()))
    more = f" ({count:,} such cells)" if count > 1 else ""
    raise ValueError(
        f"the target column {name!r} holds {text!r} in {table.place(row)}{more}; expected {what}: mend the cell or empty it, "
        f"then the row is left out" + (f"; {cure}" if cure else "")
    )


def times_of(table: Table, name: str) -> np.ndarray:
    """The values of a column as times: dates, or numbers as they are; an error names the row of one that is neither."""
    column = table[name]
    if column.numbers is not None and not (
        len(column) and 19000101 <= np.nanmin(column.numbers) <= np.nanmax(column.numbers) <= 21001231
    ):
        values, bad = column.numbers, np.isnan(column.numbers)
    else:
        levels = column.as_levels()
        dates, way = types_of.parse_dates(levels.levels)
        if not way:
            raise ValueError(
                f"column {name!r} holds no dates that are known, such as {levels.levels[:1]!r}: expected 2020-12-31, say"
            )
        values = np.append(dates, np.datetime64("NaT", "s"))[levels.codes]
        bad = np.isnat(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"the time column {name!r} holds no time in {table.place(row)}: {table.row(row)[name]!r}")
    return values
