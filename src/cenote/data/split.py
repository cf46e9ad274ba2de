"""Parting examples into training, validation and test: random, stratified, grouped, by time, or as the source says.

The same seed gives the same rows for good: everything is drawn from `numpy.random.RandomState`, whose streams NumPy has frozen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.errors import unknown
from ..datasets.split import stratified
from .examples import Examples, Finding, noticed

__all__ = ["Parts", "part"]

HOW = ("auto", "random", "stratified", "grouped", "time", "given")
BINS = 10  # of a quantity, for strata
FEW = 20  # numbers with more distinct values than this are a quantity here
_GIVEN = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"}
_GIVEN |= {"dev": "validation", "test": "test", "testing": "test"}


@dataclass
class Parts:
    """Examples to train with, to choose by (validation), and to test with; how they were parted, and what was noticed."""

    train: Examples
    validation: Examples
    test: Examples
    how: str = "random"  # "random", "stratified", "grouped", "time", "given"
    reason: str = ""  # a sentence for people
    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # numbers of the rows in the source, by name of the part

    def counts(self) -> dict[str, int]:
        """How many examples each part has."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    def __repr__(self) -> str:
        return f"<Parts: {', '.join(f'{count:,} {name}' for name, count in self.counts().items())}; {self.reason or self.how}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts, how they were parted, what was noticed, and some of the training part."""
        from ..report.html import el, join

        return join(el("p", repr(self)), noticed(self.findings), self.train._repr_html_())


def part(
    examples: Examples, *, how: str = "auto", validation: float | int = 0.1, test: float | int = 0.1, seed: int = 0
) -> Parts:
    """Part examples into training, validation and test.

    ``how``: "random"; "stratified" (each class, or each tenth of a quantity, in the same share in all parts); "grouped" (what
    has the same ``examples.groups`` stays together); "time" (``examples.times``: the last for the test, those before for
    validation); "given" (``examples.parts``). "auto" takes what the source says, then time, then groups, then the classes.
    ``validation`` and ``test`` are shares of all examples, or numbers of examples; 0 makes an empty part.

    A class keeps at least one example in training. A test example that is also in training, inputs and all, is reported as a
    finding.

    Raises: ValueError for too few examples or groups, for shares that leave nothing to train with, for a way that the
    examples do not have what it needs for.

    >>> examples = Examples("text", ["a", "b", "c", "d"] * 10, np.array([0, 1] * 20))
    >>> part(examples, validation=0.2, test=0.2).counts()
    {'train': 24, 'validation': 8, 'test': 8}
    """
    if how not in HOW:
        raise unknown("way to part", how, HOW)
    n = len(examples)
    want = {"test": _count("test", test, n), "validation": _count("validation", validation, n)}
    if sum(want.values()) >= max(n, 1):
        raise ValueError(
            f"{n} example{'s' * (n != 1)} cannot be parted into {want['validation']} for validation, {want['test']} for the "
            f"test and some to train with: give more examples, or smaller shares (validation={validation}, test={test})"
        )
    found: list[Finding] = []
    chosen = _choose(examples) if how == "auto" else how
    rows = (
        _given(examples, want, seed, found) if chosen == "given" else _draw(chosen, examples, np.arange(n), want, seed, found)
    )
    if not len(rows["train"]):
        raise ValueError(f"no example is left to train with: {', '.join(f'{k} has {len(v)}' for k, v in rows.items())}")
    _report_duplicates(examples, rows, chosen, found)
    return Parts(
        *(examples.take(rows[name]) for name in ("train", "validation", "test")),
        how=chosen,
        reason=_REASONS[chosen],
        findings=found,
        rows=rows,
    )


_REASONS = {
    "given": "parted as the source says",
    "time": "parted by time: the latest are for the test, those before them for validation",
    "grouped": "parted by group: what belongs together is in one part",
    "stratified": "parted at random, with the targets in the same shares in each part",
    "random": "parted at random",
}


def _choose(examples: Examples) -> str:
    if examples.parts is not None:
        return "given"
    if examples.times is not None:
        return "time"
    if examples.groups is not None:
        return "grouped"
    return "random" if _strata(examples.targets) is None else "stratified"


def _count(what: str, share: float | int, n: int) -> int:
    if isinstance(share, bool) or not isinstance(share, (int, float, np.integer, np.floating)) or not share >= 0:
        raise ValueError(f"{what}={share!r}: give a share such as 0.1, or a number of examples")
    if isinstance(share, (int, np.integer)):
        return int(share)
    if share >= 1:
        raise ValueError(f"{what}={share}: a share must be below 1; for a number of examples write {what}={int(share)}")
    return max(1, round(n * share)) if share else 0


def _draw(how: str, examples: Examples, among: np.ndarray, want: dict, seed: int, found: list[Finding]) -> dict:
    """Row numbers of the parts, out of the rows ``among``; what is wanted of each part is a number of examples."""
    if how == "time":
        return _by_time(_needed(examples.times, "times", how)[among], among, want, found)
    if how == "grouped":
        return _by_group(_needed(examples.groups, "groups", how)[among], among, want, seed)
    strata = _strata(examples.targets) if how == "stratified" else None
    if how == "stratified" and strata is None:
        raise ValueError("how='stratified' needs one target for each example, a class or a number: use how='random'")
    labels = np.zeros(len(among), np.int64) if strata is None else strata[among]
    if how == "stratified":
        _report_rare(examples.targets, among, found)
    # One example of each class is for training, whatever happens to the others.
    order = np.random.RandomState(seed).permutation(len(among))
    _, first = np.unique(labels[order], return_index=True)
    kept = order[first] if how == "stratified" else order[:0]
    rest = np.setdiff1d(np.arange(len(among)), kept)
    rows = {}
    for name in ("test", "validation"):
        count = min(want[name], len(rest))
        stays, taken = stratified(labels[rest], count / max(len(rest), 1) if count < len(rest) else 0.0, seed)
        if count == len(rest) and count:
            stays, taken = taken, stays
        rows[name], rest = among[rest[taken]], rest[stays]
    train = np.concatenate([kept, rest])
    rows["train"] = among[np.random.RandomState(seed + 1).permutation(train)]
    return rows


def _needed(values: Any, name: str, how: str) -> np.ndarray:
    if values is None:
        raise ValueError(f"how={how!r} needs {name}, which these examples do not have: name the column, or use another way")
    return np.asarray(values)


def _by_time(times: np.ndarray, among: np.ndarray, want: dict, found: list[Finding]) -> dict:
    order = np.argsort(times, kind="stable")
    ordered, end, rows = times[order], len(order), {}
    for name in ("test", "validation"):
        begin = max(end - want[name], 0)
        if want[name] and begin:  # what has the same time is in the same part
            begin = int(np.searchsorted(ordered, ordered[begin], side="left")) or begin
        rows[name] = among[order[begin:end]]
        if len(rows[name]) > 2 * want[name] > 0:
            found.append(Finding(f"the {name} part has {len(rows[name])} examples, as many have the same time", "warning"))
        end = begin
    rows["train"] = among[order[:end]]
    return rows


def _by_group(groups: np.ndarray, among: np.ndarray, want: dict, seed: int) -> dict:
    names, member = np.unique(groups.astype(str) if groups.dtype == object else groups, return_inverse=True)
    needed = 1 + sum(count > 0 for count in want.values())
    if len(names) < needed:
        raise ValueError(
            f"{len(names)} group{'s' * (len(names) != 1)} cannot be parted into {needed} parts: a group stays whole"
        )
    sizes = np.bincount(member)
    left = list(np.random.RandomState(seed).permutation(len(names)))
    part_of = np.full(len(names), "train", "U10")
    for position, name in enumerate(("test", "validation")):
        filled, later = 0, 1 + (want["validation"] > 0) * (position == 0)
        for group in list(left):
            if filled >= want[name] or len(left) <= later:
                break
            # A group that would make the part much too large is passed over, unless the part would stay empty.
            if filled and filled + sizes[group] > 1.5 * want[name]:
                continue
            part_of[group], filled = name, filled + sizes[group]
            left.remove(group)
    of_row = part_of[member]
    mixed = np.random.RandomState(seed + 1).permutation(len(among))
    return {name: among[mixed[of_row[mixed] == name]] for name in ("train", "validation", "test")}


def _given(examples: Examples, want: dict, seed: int, found: list[Finding]) -> dict:
    said = _needed(examples.parts, "parts", "given").astype(str)
    names = {name: _GIVEN.get(name.strip().lower()) for name in np.unique(said).tolist()}
    strange = [name for name, plain in names.items() if plain is None]
    if strange:
        raise unknown("part of the examples", strange[0], ["train", "validation", "test"])
    plain = np.array([names[name] for name in said.tolist()])
    rows = {name: np.flatnonzero(plain == name) for name in ("train", "validation", "test")}
    if not len(rows["train"]):
        raise ValueError(f"the source says of no example that it is for training; its parts are {', '.join(sorted(names))}")
    if len(rows["validation"]) and not len(rows["test"]) and want["test"]:
        rows["test"], rows["validation"] = rows["validation"], rows["test"]
        found.append(
            Finding("the source has a validation part and no test part: it is used as the test part, and is not chosen by")
        )
    missing = {name: want[name] if not len(rows[name]) else 0 for name in ("test", "validation")}
    if any(missing.values()):
        share = len(rows["train"]) / len(examples)
        missing = {name: round(count * share) or bool(count) for name, count in missing.items()}
        how = "grouped" if examples.groups is not None else "random" if _strata(examples.targets) is None else "stratified"
        drawn = _draw(how, examples, rows["train"], missing, seed, found)
        lacking = " and ".join(name for name, count in missing.items() if count)
        text = f"the source has no {lacking} part: {sum(missing.values())} of its {len(rows['train'])} training examples are it"
        found.append(Finding(text))
        rows = {name: drawn[name] if name == "train" or missing.get(name) else rows[name] for name in rows}
    return rows


# -- strata ----------------------------------------------------------------------------------------------------------------


def _strata(targets: Any) -> np.ndarray | None:
    """A number for each example, of its class or of its tenth of the quantity; None where there is none of either."""
    values = None if targets is None else _flat(targets)
    if values is None or not len(values):
        return None
    if values.dtype.kind in "iuf":
        distinct = np.unique(values)
        if len(distinct) > FEW:
            bins = max(2, min(BINS, len(values) // 5))
            edges = np.quantile(values[np.isfinite(values)], np.linspace(0, 1, bins + 1)[1:-1])
            return np.searchsorted(edges, values, side="right")
    if values.dtype.kind == "O":
        values = values.astype(str)
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def _flat(targets: Any) -> np.ndarray | None:
    if isinstance(targets, np.ndarray):
        values = targets
    elif isinstance(targets, Sequence) and len(targets) and isinstance(targets[0], (str, int, float, np.number, bool)):
        values = np.asarray(targets)
    else:
        return None  # sets of labels, texts of another language, ...
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "O" and len(values) and not isinstance(values[0], (str, int, float, bool, np.generic, type(None))):
        return None
    if values.ndim != 1 or values.dtype.kind not in "biufUSO":
        return None
    # Texts that hardly repeat are no classes, but sentences.
    return None if values.dtype.kind in "USO" and len(np.unique(values.astype(str))) > len(values) / 2 else values


def _report_rare(targets: Any, among: np.ndarray, found: list[Finding]) -> None:
    values = _flat(targets)
    if values is None or (values.dtype.kind in "iuf" and len(np.unique(values)) > FEW):
        return
    names, counts = np.unique(values[among].astype(str), return_counts=True)
    for few, says in ((1, "only one example"), (2, "only two examples")):
        rare = names[counts == few].tolist()
        if rare:
            listed = ", ".join(map(repr, rare[:5])) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
            cure = "it is learned from, and never tested" if few == 1 else "one of them is learned from"
            what = f"the class {listed} has" if len(rare) == 1 else f"the classes {listed} have"
            found.append(Finding(f"{what} {says}: {cure}; give more, or leave the class out", "warning"))


# -- duplicates ------------------------------------------------------------------------------------------------------------


def _report_duplicates(examples: Examples, rows: dict, how: str, found: list[Finding]) -> None:
    prints = fingerprints(examples.inputs)
    if prints is None or not len(rows["test"]):
        return
    known = np.isin(prints[rows["test"]], prints[rows["train"]])
    if known.any():
        count, total = int(known.sum()), len(rows["test"])
        first = int(rows["test"][known][0])
        place = examples.names[first] if len(examples.names) else f"example {first + 1}"
        found.append(
            Finding(
                f"{count} of {total} test examples ({count / total:.1%}) have a twin with the same inputs in training, such as "
                f"{place}: the score may be too good; remove duplicates, or give groups so that twins stay together",
                "warning",
                str(place),
            )
        )


def fingerprints(inputs: Any) -> np.ndarray | None:
    """A 64-bit number for each row of inputs, equal for equal rows; None where rows cannot be compared cheaply."""
    if hasattr(inputs, "fingerprints"):
        return inputs.fingerprints()
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biufU" and inputs.ndim > 1 and inputs.nbytes < 1 << 30:
        data = np.ascontiguousarray(inputs).reshape(len(inputs), -1)
        return np.array([row_hash(row.tobytes()) for row in data], np.uint64)
    if isinstance(inputs, (list, tuple)) and inputs and all(isinstance(text, str) for text in inputs):
        return np.array([row_hash(text.strip().encode("utf-8", "surrogatepass")) for text in inputs], np.uint64)
    return None


def row_hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
