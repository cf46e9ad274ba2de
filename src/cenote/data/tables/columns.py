"""What the columns of a table are: number, boolean, category, date, free text, identifier, constant; and what a target is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ...core.errors import unknown
from ..examples import Finding
from .column import Column, Table
from .csv import MARKS

__all__ = ["Kind", "infer", "kinds", "parse_dates", "parse_numbers", "target_kind"]

TYPES = ("number", "boolean", "category", "date", "text", "identifier", "constant")
MOST = 0.95  # this share of the distinct texts must be numbers, or dates, for a column of them
CLASSES = 20  # whole numbers with at most so many values are classes, as a target


@dataclass(frozen=True)
class Kind:
    """The type of a column, how its texts are read (a way of `parse_numbers` or `parse_dates`), and why."""

    type: str
    way: str = ""
    why: str = ""


# -- numbers in texts ------------------------------------------------------------------------------------------------------

_PLAIN = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_WAYS = {
    "1234.5": _PLAIN,
    "1,234.5": r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?|[-+]?\d{1,3}(?:\.\d*)?",
    "1 234.5": r"[-+]?\d{1,3}(?:[ \u00a0\u202f']\d{3})+(?:\.\d*)?|[-+]?\d{1,3}(?:\.\d*)?",
    "1234,5": r"[-+]?\d+(?:,\d+)?",
    "1.234,5": r"[-+]?\d{1,3}(?:\.\d{3})+(?:,\d*)?|[-+]?\d{1,3}(?:,\d*)?",
}
_UNIT = r"[^\d\s.,+\-][^\d,]{0,14}?"


def parse_numbers(levels: list[str], way: str = "") -> tuple[np.ndarray, str]:
    """Numbers for texts, NaN for those that are none, and the way they are written; "" if no way fits most of them.

    A way is a form of digits and what stands before and behind them, such as ``$|1,234.5|`` or ``|1234.5|kg``.

    >>> parse_numbers(["$1,200", "$950", "$12,000.50"])
    (array([ 1200. ,   950. , 12000.5]), '$|1,234.5|')
    >>> parse_numbers(["red", "blue"])[1]
    ''
    """
    if way:
        before, form, behind = way.split("|")
        return _numbers(levels, before, form, behind), way
    pairs = [m.groups() for m in (_AROUND.match(t) for t in levels[:1000]) if m]
    if len(pairs) < MOST * min(len(levels), 1000) or not pairs:
        return np.full(len(levels), np.nan), ""
    before, behind = (max(set(side), key=side.count) for side in zip(*((b.strip(), a.strip()) for b, a in pairs), strict=True))
    best, score = "", 0.0
    values = np.full(len(levels), np.nan)
    for form in _WAYS:
        found = _numbers(levels, before, form, behind)
        share = float(np.isfinite(found).mean()) if len(found) else 0.0
        if share > max(score, MOST - 1e-9):
            best, score, values = f"{before}|{form}|{behind}", share, found
    return values, best


_MONEY = r"(?:(?:US|A|C|HK|NT|R)?\$|[€£¥₹₽₩₺฿]|USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD|SEK|NOK|DKK|BRL|KRW|RUB)"
_DIGIT = r"[-+]?[\d.][\d.,\s'\u00a0\u202f]*(?:[eE][-+]?\d+)?"
_AROUND = re.compile(rf"^[-+]?((?:{_MONEY}\s?)?){_DIGIT}(\s?(?:{_UNIT})?)$")


def _numbers(levels: list[str], before: str, form: str, behind: str) -> np.ndarray:
    pattern = re.compile(rf"^([-+]?){re.escape(before)}\s?({_WAYS[form]})\s?{re.escape(behind)}$")
    bare = re.compile(rf"^()({_WAYS[form]})$")
    values = np.full(len(levels), np.nan)
    for i, text in enumerate(levels):
        match = pattern.match(text) or bare.match(text)
        if match:
            digits = re.sub(r"[ \u00a0\u202f']", "", match[2])
            if form == "1,234.5":
                digits = digits.replace(",", "")
            elif form in ("1234,5", "1.234,5"):
                digits = digits.replace(".", "").replace(",", ".")
            values[i] = float(match[1] + digits) if not (match[1] and digits[0] in "+-") else np.nan
    return values


# -- dates in texts --------------------------------------------------------------------------------------------------------

_FORMATS = (
    *("%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d", "%Y%m%d", "%Y/%m"),
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y"),
    *("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S"),
    *("%m/%d/%Y %I:%M %p", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y", "%d-%b-%Y", "%d-%b-%y", "%b-%y"),
    *("%Y年%m月%d日", "%Y年%m月"),
)
_ISO = re.compile(r"\d{4}-\d{1,2}(-\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|[+-]\d{2}:?\d{2}))?)?)?$")


def parse_dates(levels: list[str], way: str = "") -> tuple[np.ndarray, str]:
    """Times (datetime64[s]) for texts, NaT for those that are none, and their format; "" if no format fits most of them.

    ISO dates and times ("iso") come first, then formats of `strptime`, among them the one that fits most texts; of
    %m/%d and %d/%m, where both fit all, the first.

    >>> parse_dates(["1949-01", "1949-02"])
    (array(['1949-01-01T00:00:00', '1949-02-01T00:00:00'], dtype='datetime64[s]'), 'iso')
    >>> parse_dates(["31/12/2020", "01/02/2021"])[1]
    '%d/%m/%Y'
    """
    ways = [way] if way else ["iso", *_FORMATS]
    best, score = "", 0.0
    values = np.full(len(levels), "NaT", "datetime64[s]")
    if not way and not any(_DIGITS.search(text) for text in levels[:20]):
        return values, ""
    probe = levels[:: max(len(levels) // 50, 1)]
    for candidate in ways:
        if not way and float((~np.isnat(_times(probe, candidate))).mean()) < MOST - 0.1:
            continue
        found = _times(levels, candidate)
        share = float((~np.isnat(found)).mean()) if len(found) else 0.0
        if way or share > max(score, MOST - 1e-9):
            best, score, values = candidate, share, found
    return values, best


_DIGITS = re.compile(r"\d\d")


_ZONE = re.compile(r":\d{2}.*(Z|[+-])")


def _times(levels: list[str], way: str) -> np.ndarray:
    values = np.full(len(levels), "NaT", "datetime64[s]")
    for i, text in enumerate(levels):
        try:
            if way != "iso":
                values[i] = np.datetime64(datetime.strptime(text, way), "s")
            elif _ISO.match(text):
                values[i] = _iso(text)
        except ValueError:
            continue
    return values


def _iso(text: str) -> np.datetime64:
    try:
        if ":" not in text or not _ZONE.search(text):
            return np.datetime64(text, "s")
        raise ValueError
    except ValueError:
        year, month, *day = text.split(" ")[0].split("T")[0].split("-")
        if " " in text or "T" in text:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            offset = moment.utcoffset()
            moment = moment.replace(tzinfo=None)
            return np.datetime64(moment - offset if offset else moment, "s")
        return np.datetime64(f"{year}-{int(month):02d}-{int(day[0]) if day else 1:02d}", "s")


# -- types -----------------------------------------------------------------------------------------------------------------


def kinds(table: Table, given: Mapping[str, str] | None = None, target: str | list[str] | None = None) -> dict[str, Kind]:
    """The kind of each column of a table; ``given`` overrides what is inferred, as "category" or "date %d/%m/%Y".

    Raises: ValueError for a column that is not there, or an unknown type.
    """
    given = dict(given or {})
    for name, wish in given.items():
        table[name]  # raises for an unknown name
        if str(wish).split(" ", 1)[0] not in TYPES:
            raise unknown(f"type of column {str(name)!r}", str(wish), TYPES)
    found = {}
    for name, column in table.columns.items():
        found[name] = _wished(name, column, given[name]) if name in given else infer(column, name)
    return found


def _wished(name: str, column: Column, wish: str) -> Kind:
    kind, _, way = str(wish).partition(" ")
    if kind == "date":
        levels = column.as_levels().levels
        _, way = parse_dates(levels, way)
        if not way:
            raise ValueError(
                f"types says that column {name!r} is a date, but {levels[0] if levels else 'nothing'!r} is none known"
            )
    if kind == "number" and column.codes is not None:
        values, way = parse_numbers(column.levels, way)
        if not way:
            values = np.array([_plain(t) for t in column.levels])
            way = "|1234.5|"
        if not np.isfinite(values).any():
            raise ValueError(f"types says that column {name!r} is a number, but {column.levels[:1]!r} is none")
    return Kind(kind, way, "said by types")


def _plain(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def infer(column: Column, name: str = "") -> Kind:
    """The kind of one column.

    >>> infer(Column.of(["red", "blue", "red", "red"])).type, infer(Column.of([1.5, 2.5, None])).type
    ('category', 'number')
    """
    n = len(column)
    missing = int(column.missing.sum())
    if missing == n:
        return Kind("constant", why="it is empty")
    if column.numbers is not None:
        return _number_kind(column.numbers[~column.missing], missing, name)
    counts = column.counts()
    levels = [level for level, count in zip(column.levels, counts.tolist(), strict=True) if count]
    if len(levels) == 1 and not missing:
        return Kind("constant", why=f"all values are {levels[0]!r}")
    real = [level for level in levels if level not in MARKS]
    if len(real) > 1 and not all(len(t) == len(real[0]) and t.isdigit() for t in real):  # codes such as 00501 are no numbers
        _, way = parse_numbers(real)
        if way:
            return Kind("number", way, f"texts such as {real[0]!r} are numbers")
    if len(real) > 1 or (real and not missing):
        _, way = parse_dates(real)
        if way:
            return Kind("date", way, f"such as {real[0]!r}")
    return _text_kind(levels, counts[counts > 0], n - missing)


_ID = re.compile(
    r"(^|[ _.-])(id|uuid|guid|index|nr|no|number|key)$|^(id|index|unnamed|uuid|row)([ _.:-]|$)|[a-z]I[dD]$", re.IGNORECASE
)
_NOT_ID = re.compile(r"[a-z]I[dD]$")


def _number_kind(values: np.ndarray, missing: int, name: str) -> Kind:
    distinct = np.unique(values)
    if len(distinct) == 1:
        if missing:
            return Kind("category", why="one value, or missing")
        return Kind("constant", why=f"all values are {distinct[0]:g}")
    if len(distinct) == 2 and distinct.tolist() == [0, 1]:
        return Kind("boolean", why="0 or 1")
    whole = bool((values == np.round(values)).all())
    if whole and not missing and len(distinct) == len(values) > 10:
        named = bool(_ID.search(name) if not _NOT_ID.search(name) else name[-2:] in ("Id", "ID"))
        if distinct[-1] - distinct[0] + 1 == len(values) and (named or bool((np.diff(values) > 0).all())):
            return Kind("identifier", why="it numbers the rows")
        if named:
            return Kind("identifier", why="its name says so, and each row has its own")
    if whole and len(values) > 1 and distinct[0] >= 19000101 and distinct[-1] <= 21001231 and "dat" in name.lower():
        texts = [str(int(v)) for v in distinct]
        if not np.isnat(_times(texts, "%Y%m%d")).any():
            return Kind("date", "%Y%m%d", f"such as {texts[0]}")
    return Kind("number")


def _text_kind(levels: list[str], counts: np.ndarray, n: int) -> Kind:
    if len(levels) == 2 and {level.lower() for level in levels} in _BOOLEANS:
        return Kind("boolean", why=f"{levels[0]!r} or {levels[1]!r}")
    some = levels[:: max(len(levels) // 1000, 1)]
    words = float(np.mean([len(level.split()) for level in some]))
    length = float(np.mean([len(level) for level in some]))
    share = len(levels) / max(n, 1)
    if len(levels) > 20 and share > 0.3 and (words >= 3 or (length > 15 and _unspaced(some))):
        return Kind(
            "text", why=f"{len(levels):,} different texts of {words:.0f} words" if words >= 2 else f"such as {some[0][:20]!r}"
        )
    if share > 0.95 and n > 20:
        return Kind(
            "identifier", why="each row has its own" if share == 1 else f"{len(levels):,} different values in {n:,} rows"
        )
    if len(levels) > 10_000 and share > 0.4:
        return Kind("identifier", why=f"{len(levels):,} different values in {n:,} rows")
    return Kind("category")


_BOOLEANS = [{"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"}]


def _unspaced(texts: list[str]) -> bool:
    """Are these texts of a script without spaces between words, such as Chinese?"""
    letters = "".join(texts[:100])
    return sum("\u3040" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0e7f" for c in letters) > 0.3 * max(len(letters), 1)


def target_kind(column: Column, kind: Kind) -> tuple[str, str]:
    """``("classes" or "quantity", why)`` for the column of a target."""
    if kind.type in ("category", "boolean", "text", "identifier", "constant") and column.numbers is None:
        return "classes", "its values are words" if kind.type != "boolean" else kind.why
    if column.numbers is None:
        return "quantity", kind.why
    values = column.numbers[~column.missing]
    distinct = np.unique(values)
    if (values == np.round(values)).all() and len(distinct) <= CLASSES:
        shown = ", ".join(f"{v:g}" for v in distinct[:6]) + (", ..." if len(distinct) > 6 else "")
        return "classes", f"{len(distinct)} different whole numbers ({shown})"
    return "quantity", f"{len(distinct):,} different numbers"


def describe(found: Mapping[str, Kind], table: Table) -> list[str]:
    """A line for each column: its type, what is missing, an example, and why."""
    wide = max((len(name) for name in found), default=0)
    lines = []
    for name, kind in found.items():
        column = table[name]
        gone = int(column.missing.sum())
        if column.numbers is not None and gone < len(column):
            low, high = float(np.nanmin(column.numbers)), float(np.nanmax(column.numbers))
            values = f"{low:g} to {high:g}"
        elif column.codes is not None:
            counts = column.counts()
            most = [column.levels[i] for i in np.argsort(-counts, kind="stable")[:3]]
            values = f"{int((counts > 0).sum()):,} different: {', '.join(t[:20] for t in most)}"
        else:
            values = "empty"
        extra = [f"{gone:,} missing"] if gone else []
        extra += [kind.why] if kind.why else []
        lines.append(f"{name:<{wide}}  {kind.type:<10}  {values}" + (f"  ({'; '.join(extra)})" if extra else ""))
    return lines


def notes(table: Table, found: Mapping[str, Kind]) -> list[Finding]:
    """What is remarkable about the columns: strays among numbers, numbers in texts, ambiguous dates, a mixture of types."""
    said: list[Finding] = []
    for name, column in table.columns.items():
        kind = found[name]
        strays, gone = _strays(table, name, column, kind)
        if strays:
            (text, (_, place)) = next(iter(strays.items()))
            total = sum(c for c, _ in strays.values())
            more = f", and {len(strays) - 1} other texts" if len(strays) > 1 else ""
            what = f"{total} cell{'s' * (total != 1)} of column {name!r} {'are' if total != 1 else 'is'} no {kind.type}"
            cure = f"types={{{name!r}: 'category'}} keeps them"
            said.append(Finding(f"{what}: {text!r} in {place}{more}; taken as missing; {cure}", "warning", name))
        if kind.type == "number" and kind.way not in ("", "|1234.5|"):
            said.append(Finding(f"column {name!r} holds numbers as text, such as {gone!r}: read as numbers", "note", name))
        if kind.type == "date" and "%d" in kind.way and "%m/%d" in kind.way and kind.why != "said by types":
            other = kind.way.replace("%m/%d", "%d/%m")
            if not np.isnat(_times(column.as_levels().levels, other)).any():
                text = f"the dates of column {name!r} could be month/day or day/month: read as month/day"
                said.append(Finding(f"{text}; types={{{name!r}: 'date {other}'}} says otherwise", "warning", name))
        if kind.type == "category" and column.codes is not None:
            numeric = sum(_plain(level) == _plain(level) for level in column.levels)
            if 0.2 * len(column.levels) < numeric < len(column.levels) and len(column.levels) > 10:
                word = next(level for level in column.levels if _plain(level) != _plain(level))
                row = int(np.flatnonzero(column.codes == column.levels.index(word))[0])
                text = f"column {name!r} mixes numbers and texts, such as {word!r} in {table.place(row)}: taken as categories"
                said.append(Finding(text, "warning", name))
    return said


def _strays(table: Table, name: str, column: Column, kind: Kind) -> tuple[dict[str, tuple[int, str]], str]:
    """Cells that a column of this kind cannot hold, with how many and the first place; and an example of a good one."""
    if column.codes is None:
        if kind.type not in ("number", "boolean", "constant"):
            return {}, ""
        return {t: (c, table.place(r)) for t, (c, r) in column.strays.items()}, ""
    if kind.type not in ("number", "date"):
        return {}, ""
    if kind.type == "number":
        bad = np.isnan(parse_numbers(column.levels, kind.way)[0])
    else:
        bad = np.isnat(parse_dates(column.levels, kind.way)[0])
    counts, found = column.counts(), {}
    for i in np.flatnonzero(bad & (counts > 0)).tolist():
        row = int(np.flatnonzero(column.codes == i)[0])
        found[column.levels[i]] = int(counts[i]), table.place(row)
        if len(found) > 100:
            break
    good = np.flatnonzero(~bad)
    odd = [column.levels[i] for i in good.tolist() if not column.levels[i].replace(".", "", 1).lstrip("-").isdigit()]
    return found, (odd or [column.levels[int(good[0])] if len(good) else ""])[0]
