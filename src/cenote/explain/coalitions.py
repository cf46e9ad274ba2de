"""Coalitions: which features are switched off together, against what, and what the function says when some of them stay on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from .method import Answer
from .question import Question, Score

__all__ = ["Players", "coalition_values", "compared_with", "constant_players", "players_of", "reference"]

TOGETHER = 8192  # evaluations of the function at a time, at most
ELEMENTS = 1 << 22  # numbers of all their inputs together, at most: 16 MiB


@dataclass
class Players:
    """Who takes part: single features, or groups of them that are switched off together.

    ``index`` has the form of ``x``: the number of each feature's player, -1 for features that always stay as they are.
    ``form`` says how answers are given: "features" (in the form of ``x``), "segments" (so, too: the members of a group share
    its value evenly, and sums stay right) or "groups" (one number a group).
    """

    count: int
    index: Any  # int32, rows first
    form: str = "features"
    names: list[str] | None = None

    def answer(self, question: Question, values: np.ndarray, error: np.ndarray | None = None, **fields: Any) -> Answer:
        """The `Answer` with numbers for each player, (rows, players), in the form that the user asked for."""
        details = dict(fields.pop("details", {}))
        if self.form == "segments" and len(jax.tree.leaves(self.index)) == 1:
            details["segments"] = jax.tree.leaves(self.index)[0]
        shown = self._shown(question) if self.form == "groups" else None
        return Answer(
            self.spread(values), error=None if error is None else self.spread(error), details=details, x=shown,
            names=self.names, **fields,
        )  # fmt: skip

    def spread(self, values: np.ndarray) -> Any:
        """Numbers of players, (rows, players), in the form of ``x`` (or as they are, for groups)."""
        values = np.asarray(values, jax.dtypes.canonicalize_dtype(np.float64))
        if self.form == "groups":
            return values
        if self.form == "segments":
            values = (values / np.maximum(self._sizes(), 1)).astype(values.dtype)
        values = np.concatenate([values, np.zeros((len(values), 1), values.dtype)], axis=1)  # a place for the number -1

        def of(index: np.ndarray) -> np.ndarray:
            flat = index.reshape(len(index), -1)
            return np.take_along_axis(values, flat, axis=1).reshape(index.shape)

        return jax.tree.map(of, self.index)

    def members(self, present: Any) -> np.ndarray:
        """In how many features of each player something holds: ``present`` in the form of ``x`` -> (rows, players)."""
        total: Any = 0
        for index, part in zip(jax.tree.leaves(self.index), jax.tree.leaves(present), strict=True):
            rows = len(index)
            place = np.where(index < 0, self.count, index).reshape(rows, -1) + (self.count + 1) * np.arange(rows)[:, None]
            weight = np.broadcast_to(part, index.shape).reshape(-1)
            counts = np.bincount(place.reshape(-1), weight, minlength=rows * (self.count + 1))
            total = total + counts.reshape(rows, -1)[:, : self.count]
        return total

    def _sizes(self) -> np.ndarray:
        return self.members(jax.tree.map(lambda i: np.ones(i.shape, bool), self.index))

    def _shown(self, question: Question) -> np.ndarray:
        """The value of a group of one feature; none (NaN) where a group has several."""
        total = self.members(jax.tree.map(lambda a: np.asarray(a, np.float64), question.x))
        return np.where(self._sizes() == 1, total, np.nan).astype(np.float32)


def players_of(question: Question, groups: Any = None) -> Players:
    """Who takes part in explaining the question's examples.

    ``groups`` may be: nothing (every feature for itself); a dict of names and features, or a list of lists of features, by
    number or name (features in no group stand for themselves); whole numbers in the form of one example, or of its first axes
    (all with one number belong together; -1: never switched off); a function of one example that gives such numbers, as
    `superpixels` does; or "inputs": each array of the input is one group.
    Raises: ValueError for groups that do not fit the examples.
    """
    leaves, structure = jax.tree.flatten(question.x)
    rows = len(leaves[0])
    shapes = [leaf.shape[1:] for leaf in leaves]
    if groups is None:
        sizes = [int(np.prod(s)) for s in shapes]
        starts = np.cumsum([0, *sizes])
        numbers = [np.arange(a, a + n).reshape(s) for a, n, s in zip(starts, sizes, shapes, strict=False)]
        return _players(int(starts[-1]), numbers, rows, structure, "features")
    if isinstance(groups, str):
        if groups != "inputs":
            raise unknown("groups", groups, ["inputs"])
        paths = [
            jax.tree_util.keystr(path, simple=True, separator="/")
            for path, _ in jax.tree_util.tree_leaves_with_path(question.x)
        ]
        numbers = [np.full(s, n) for n, s in enumerate(shapes)]
        return _players(len(leaves), numbers, rows, structure, "groups", [p or "input" for p in paths])
    if callable(groups):
        if len(leaves) != 1:
            raise ValueError(f"a function that groups features is for one input array, but there are {len(leaves)}")
        parts = [_numbered([_fitting(groups(example), shapes[0])]) for example in leaves[0]]
        index = np.stack([part[0] for part, _ in parts]).astype(np.int32)
        return Players(max(count for _, count in parts), structure.unflatten([index]), "segments")
    listed = isinstance(groups, (list, tuple)) and bool(groups) and isinstance(groups[0], (list, tuple))
    named = isinstance(groups, dict) and not isinstance(question.x, dict)
    if listed or named:
        if len(leaves) != 1 or len(shapes[0]) != 1:
            raise ValueError(
                "groups by name or in lists are for inputs of one array (rows, features); here, give whole numbers in the form "
                f"of one example, {_said(shapes)}"
            )
        return _listed(groups, question.names, rows, shapes[0][0], structure)
    given = jax.tree.leaves(groups) if len(leaves) > 1 else [groups]
    if len(given) != len(leaves):
        raise ValueError(f"groups has {len(given)} arrays, but the input has {len(leaves)}: give whole numbers for each")
    numbers, count = _numbered([_fitting(g, s) for g, s in zip(given, shapes, strict=True)])
    return _players(count, numbers, rows, structure, "segments")


def _players(
    count: int, numbers: list[np.ndarray], rows: int, structure: Any, form: str, names: list[str] | None = None
) -> Players:
    if not count:
        raise ValueError("there is nothing to switch off: the examples have no features, or all are in the group -1")
    shared = [np.broadcast_to(np.asarray(n, np.int32), (rows, *np.shape(n))) for n in numbers]
    return Players(count, structure.unflatten(shared), form, names)


def _said(shapes: list[tuple[int, ...]]) -> str:
    return str(shapes[0]) if len(shapes) == 1 else str(shapes)


def _fitting(groups: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers in the form of an example; those of its first axes hold for what lies behind them, such as channels."""
    numbers = np.asarray(groups)
    if numbers.dtype.kind not in "iu" or not numbers.ndim or numbers.shape != shape[: numbers.ndim]:
        raise ValueError(
            f"groups are whole numbers in the form of one example, {shape}, or of its first axes; or lists of features; or a "
            f"dict of names and features; got {numbers.dtype} of shape {numbers.shape}"
        )
    return np.broadcast_to(numbers.reshape(numbers.shape + (1,) * (len(shape) - numbers.ndim)), shape)


def _numbered(arrays: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Any whole numbers as 0, 1, 2 ...; negative ones as -1."""
    known = np.unique(np.concatenate([a[a >= 0].ravel() for a in arrays]))
    return [np.where(a < 0, -1, np.searchsorted(known, a)) for a in arrays], len(known)


def _listed(groups: Any, names: list[str] | None, rows: int, features: int, structure: Any) -> Players:
    said = [str(n) for n in groups] if isinstance(groups, dict) else None
    index, labels = np.full(features, -1), []
    for number, members in enumerate(groups.values() if isinstance(groups, dict) else groups):
        for member in members:
            if isinstance(member, str):
                if member not in (names or []):
                    raise unknown("feature in groups", member, names or [])
                member = (names or []).index(member)
            if not -features <= member < features:
                raise ValueError(f"groups name the feature {member}, but an example has {features} features")
            if index[member] >= 0:
                raise ValueError(f"the feature {names[member] if names else member} is in two groups: it can be in one")
            index[member] = number
        if not len(members):
            raise ValueError(f"group {said[number] if said else number} has no features")
        labels.append(
            said[number] if said else " + ".join(names[m] if names and not isinstance(m, str) else str(m) for m in members)
        )
    for alone in np.flatnonzero(index < 0):
        index[alone] = len(labels)
        labels.append(names[alone] if names else str(alone))
    return _players(len(labels), [index], rows, structure, "groups", labels)


def reference(question: Question) -> list[np.ndarray]:
    """What switched-off features become, (rows or 1, others, ...): the baseline as given, else every row of the background."""
    if question.given_baseline is None and question.background is not None:
        return [np.asarray(b)[None].astype(a.dtype) for a, b in _pairs(question.x, question.background)]
    return [np.asarray(b)[:, None] for b in jax.tree.leaves(question.baseline)]


def compared_with(question: Question) -> str:
    """`reference` in words."""
    if question.given_baseline is not None or question.background is None:
        return "compared with the baseline"
    return f"compared with {question.known}"


def _pairs(x: Any, other: Any) -> list[tuple[Any, Any]]:
    return list(zip(jax.tree.leaves(x), jax.tree.leaves(other), strict=True))


def constant_players(question: Question, players: Players) -> np.ndarray:
    """Players that are the same switched on and off, (rows, players): nothing can depend on them."""
    structure = jax.tree.structure(question.x)
    differs = []
    for x, others in zip(jax.tree.leaves(question.x), reference(question), strict=True):
        differ = np.zeros(x.shape, bool)
        for number in range(others.shape[1]):
            differ |= np.asarray(x) != others[:, number]
        differs.append(differ)
    return players.members(structure.unflatten(differs)) == 0


def coalition_values(question: Question, players: Players, masks: np.ndarray) -> np.ndarray:
    """The explained number, averaged over what switched-off players become, for each coalition: (rows, coalitions), float64.

    ``v(S) = mean over b of f(x where S is on, b elsewhere)``; ``masks`` (coalitions, players) says who is on. One compiled
    call for a function that JAX can trace, large batches for any other; the memory does not grow with the coalitions.
    """
    others = reference(question)
    run = _compiled if question.subject.differentiable else _asked
    values = run(question, players, masks, others)
    if not np.all(np.isfinite(values)):
        row, coalition = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(
            f"the function gave {values[row, coalition]} for example {row} with {int((~masks[coalition]).sum())} of "
            f"{players.count} features switched off: it must give finite numbers for such mixed examples, too; choose another "
            f"baseline or background, or mend the function"
        )
    return values


def _sizes(question: Question, others: int, masks: int) -> tuple[int, int]:
    """How many coalitions and how many of the others are handled together."""
    elements = sum(int(np.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(question.x))
    room = max(1, min(TOGETHER, ELEMENTS // max(elements, 1)))
    some = -(-others // -(-others // room))  # equal parts
    step = 1 << max(masks.bit_length() - 4, 0)  # nearly equal numbers of coalitions share a compilation
    return max(1, min(-(-masks // step) * step, room // some)), some


def _compiled(question: Question, players: Players, masks: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    count = others[0].shape[1]
    together, some = _sizes(question, count, len(masks))
    parts = -(-count // some)
    fill = np.minimum(np.arange(parts * some), count - 1)  # the last of the others again fills the last part, weighing nothing
    share = (np.arange(parts * some) < count).reshape(parts, some) / count
    share = share.astype(jax.dtypes.canonicalize_dtype(np.float64))
    structure = jax.tree.structure(question.x)
    blocks = [o[:, fill].reshape(len(o), parts, some, *o.shape[2:]) for o in others]
    chunks = -(-len(masks) // together)
    rounded = masks[np.minimum(np.arange(chunks * together), len(masks) - 1)].reshape(chunks, together, -1)
    run = question.program(_play, len(others[0]) == 1)
    values = run(
        question.weights, question.x, question.targets, structure.unflatten(blocks), share,
        players.index, np.packbits(rounded, axis=-1),
    )  # fmt: skip
    return np.asarray(values, np.float64)[:, : len(masks)]


def _play(score: Score, shared: bool) -> Callable:
    """All coalitions of all rows: rows one after another, and of each as many evaluations together as `_sizes` allows."""

    def run(weights: Any, x: Any, targets: Any, blocks: Any, share: Any, index: Any, masks: Any) -> Any:
        def values(x: Any, target: Any, blocks: Any, index: Any) -> Any:
            def of_masks(packed: Any) -> Any:
                on = jnp.unpackbits(packed, axis=-1).astype(bool)

                def of_others(part: Any) -> Any:
                    others, share = part

                    def mix(x: Any, others: Any, index: Any) -> Any:
                        keep = on[:, jnp.maximum(index, 0)] | (index < 0)
                        return jnp.where(keep[:, None], x, others).reshape(-1, *x.shape)

                    mixed = jax.tree.map(mix, x, others, index)
                    y = score(weights, mixed, jnp.full(len(on) * len(share), target))
                    return (y.reshape(len(on), -1) * share).sum(-1)

                return jax.lax.map(of_others, (blocks, share)).sum(0)

            return jax.lax.map(of_masks, masks).reshape(-1)

        if shared:
            blocks = jax.tree.map(lambda b: b[0], blocks)
            return jax.lax.map(lambda row: values(row[0], row[1], blocks, row[2]), (x, targets, index))
        return jax.lax.map(lambda row: values(*row), (x, targets, blocks, index))

    return run


def _asked(question: Question, players: Players, masks: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """The same for any Python function: some evaluations a call, whichever rows and coalitions they belong to."""
    rows, count = question.count, others[0].shape[1]
    together, _ = _sizes(question, 1, TOGETHER)
    leaves, structure = jax.tree.flatten(question.x)
    indices = jax.tree.leaves(players.index)
    kept = np.concatenate([masks, np.ones((len(masks), 1), bool)], axis=1)  # the last stands for the number -1
    values = np.zeros(rows * len(masks))
    every = rows * len(masks) * count
    for start in range(0, every, together):
        place, other = np.divmod(np.arange(start, min(start + together, every)), count)
        row, mask = np.divmod(place, len(masks))
        mixed = [
            np.where(kept[mask.reshape(-1, *[1] * (a.ndim - 1)), i[row]], a[row], o[row if len(o) > 1 else 0, other])
            for a, i, o in zip(leaves, indices, others, strict=True)
        ]
        y = question.ask(structure.unflatten(mixed), question.targets[row])
        sums = np.bincount(place - place[0], y)
        values[place[0] : place[0] + len(sums)] += sums
    return values.reshape(rows, -1) / count
