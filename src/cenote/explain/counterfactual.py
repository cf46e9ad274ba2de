"""Counterfactuals: the smallest change of a few features after which the answer would have been another one."""

from __future__ import annotations

import html
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import describe, unknown
from ..progress import track
from ..train.compiling import predict_spec
from .question import Question, Score, ask, plain
from .subject import in_batches

__all__ = ["Counterfactuals", "counterfactuals"]

FEW, MANY = 64, 1024  # changed examples that are asked about at a time
VALUES = 16  # values of a feature that the search tries
BEAM = 8  # partial changes that the search keeps
CLEARLY = 0.01  # by how much a class must win, in logits: a draw would be a matter of rounding
ALL_SUBSETS = 6  # features up to which every subset is a restart


@dataclass
class Counterfactuals:
    """A changed example for each example, and whether its answer is the wanted one.

    ``z`` (rows, features) are the changed examples, ``valid`` (rows,) says whether the function's answer for them is as
    wanted (asked again at the end), ``distance`` (rows,) the sum of the changes in units of each feature's median absolute
    deviation (a changed category counts 1), ``before`` and ``after`` what the function says, in words.
    """

    x: np.ndarray
    z: np.ndarray
    valid: np.ndarray
    distance: np.ndarray
    before: list[str]
    after: list[str]
    names: list[str]
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def changed(self) -> np.ndarray:
        """Which features are other than in the example, (rows, features)."""
        return self.z != self.x

    def changes(self, row: int = 0) -> list[tuple[str, float, float]]:
        """What changes in a row, as (feature, from, to), the largest change (in deviations) first."""
        scale = self.details.get("scale", np.ones(len(self.names)))
        order = np.argsort(-np.abs(self.z[row] - self.x[row]) / scale, kind="stable")
        return [
            (self.names[i], float(self.x[row, i]), float(self.z[row, i])) for i in order if self.z[row, i] != self.x[row, i]
        ]

    def said(self, row: int = 0) -> str:
        """A row's counterfactual as a sentence."""
        if not self.valid[row]:
            return f"{self.before[row]}: no change was found that makes it another answer"
        found = self.changes(row)
        if not found:
            return f"{self.before[row]}: it is as wanted already"
        parts = ", ".join(f"{name} {a:.4g} -> {b:.4g}" for name, a, b in found)
        return f"{self.before[row]} would be {self.after[row]} with {parts}"

    def __repr__(self) -> str:
        good = int(self.valid.sum())
        mean = f", {self.changed[self.valid].sum(1).mean():.2g} features changed on average" if good else ""
        lines = [f"counterfactuals: {good} of {len(self)} found{mean}, {self.seconds:.2g} s"]
        lines += [f"  row {row}: {self.said(row)}" for row in range(min(len(self), 5))]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for row in range(min(len(self), 20)):
            found = self.changes(row) if self.valid[row] else []
            cells = "<br>".join(f"{html.escape(name)}: {a:.4g} &rarr; <b>{b:.4g}</b>" for name, a, b in found)
            cells = cells or ("nothing to change" if self.valid[row] else "none found")
            answers = (html.escape(self.before[row]), html.escape(self.after[row]))
            rows.append(
                f"<tr><td>{row}</td><td>{answers[0]}</td><td>{answers[1]}</td><td>{cells}</td><td>{self.distance[row]:.3g}</td></tr>"
            )
        head = "<tr><th>row</th><th>answer</th><th>would be</th><th>with</th><th>distance</th></tr>"
        return f"<table>{head}{''.join(rows)}</table>"


def counterfactuals(
    function: Any,
    x: Any,
    target: Any = None,
    *,
    background: Any = None,
    ranges: dict[Any, tuple[float, float]] | None = None,
    frozen: Any = (),
    integers: Any = None,
    categories: Any = (),
    sparsity: float = 1.0,
    margin: float | None = None,
    restarts: int = 64,
    steps: int = 300,
    most: int | None = None,
    seed: int = 0,
    names: Any = None,
    progress: bool | None = None,
) -> Counterfactuals:
    """What would have to be otherwise for another answer: ``min |z - x| + sparsity * changes`` with ``f(z)`` as wanted.

    ``target`` is the wanted class, by number or name (default: any other than the predicted one), or a pair (low, high) for
    the one output of a function; it may be a list of one for each row. Distances are in units of the median absolute deviation
    of ``background``, the training rows (which a fitted model remembers). Features stay in their ``ranges``, by default those
    of the training rows; ``frozen`` ones keep their values; ``integers`` take whole numbers (default: features that are whole
    in all training rows); ``categories`` take values seen in the training rows. ``most`` limits the number of changes, and
    ``margin`` says by how much the answer must be right (default: 0.01 of a logit for classes, 0 for a range).

    A function that JAX can differentiate is followed downhill from ``restarts`` starts at once, each allowed to change another
    subset of the features (all of them, for up to 6 features); beside it, and alone for any other function, a beam search
    changes one feature after another. What is found is stripped of changes that are not needed, and drawn back towards x
    as far as the answer holds.
    Raises: ValueError for unknown features or classes, ranges that exclude each other, no training rows.
    Source: Wachter, Mittelstadt and Russell, 2017, arXiv:1711.00399; Mothilal, Sharma and Tan, 2020, arXiv:1905.07697.

    >>> rows = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], "float32") * 1.5
    >>> found = counterfactuals(lambda x: x[:, 0] + 2 * x[:, 1], rows[:1], (2.9, None), background=rows, names=["a", "b"])
    >>> found.valid.tolist(), [(name, round(to, 1)) for name, _, to in found.changes(0)]
    ([True], [('b', 1.5)])
    """
    began = time.perf_counter()
    question = ask(function, x, target=_flat, background=background, names=names)
    leaves = jax.tree.leaves(question.x)
    if len(leaves) != 1 or leaves[0].ndim != 2:
        raise ValueError(
            f"counterfactuals change single features of a table (rows, features); here x is {describe(question.x)}"
        )
    if any(question.tokens) and not np.size(categories):
        raise ValueError(
            "the whole numbers of x only say what to look up, as those of words do, so that none is nearer than another: name "
            "the features in categories=, or, for texts, see which words count, explain.explain(function, texts)"
        )
    start = np.asarray(leaves[0], jnp.result_type(float))
    named = [str(n) for n in question.names or range(start.shape[1])]
    if len(named) != start.shape[1]:
        raise ValueError(f"names has {len(named)} entries, but there are {start.shape[1]} features")
    if question.background is None:
        raise ValueError("counterfactuals need to know the usual values: give background=some training rows")
    space = _space(start, np.asarray(jax.tree.leaves(question.background)[0]), named, ranges, frozen, integers, categories)
    wanted = _wanted(question, function, start, target)
    most = len(space.free) if most is None else most
    if margin is None:
        margin = 0.0 if wanted.kind == "range" else CLEARLY
    search = _Search(question, space, wanted, float(margin), float(sparsity), most)
    random = np.random.default_rng(seed)
    z, valid = start.copy(), np.zeros(len(start), bool)
    for row in track(range(len(start)), "looking for counterfactuals", show=progress):
        if search.margins(start[row : row + 1], np.array([row]))[0] >= -search.margin:
            valid[row] = True
            continue
        pool = [search.beam(row)]
        if question.subject.differentiable and restarts:
            pool.append(search.descend(row, restarts, steps, random))
        found = search.best(row, np.concatenate(pool))
        if found is not None:
            z[row], valid[row] = found, True
    valid &= search.margins(z, np.arange(len(z))) >= 0
    return Counterfactuals(
        x=start,
        z=z,
        valid=valid,
        distance=space.distance(z, start),
        before=wanted.said(search.outputs(start)),
        after=wanted.said(search.outputs(z)),
        names=named,
        seconds=time.perf_counter() - began,
        details={"scale": space.scale, "ranges": np.stack([space.low, space.high], 1), "integers": space.integers},
    )


def _flat(y: Any) -> Any:
    return y.reshape(len(y), -1)


# -- where one may go ------------------------------------------------------------------------------------------------------


@dataclass
class _Space:
    """Which values each feature may take, and how far apart they are."""

    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    free: np.ndarray  # numbers of the features that may change
    integers: np.ndarray  # (features,) bool
    levels: dict[int, np.ndarray]  # values of categories
    grid: dict[int, np.ndarray]  # values that the search tries

    def distance(self, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        gaps = np.abs(z - x) / self.scale
        for n in self.levels:
            gaps[..., n] = (z != x)[..., n]
        return gaps.sum(-1)

    def snapped(self, z: np.ndarray, x: np.ndarray, away: bool) -> np.ndarray:
        """Within the ranges, whole where that is asked (``away``: on the far side of x), untouched where nothing changed."""
        low, high = np.minimum(self.low, x), np.maximum(self.high, x)  # an unusual value may stay as it is
        z = np.clip(z, low, high)
        whole = np.where(z > x, np.ceil(z), np.floor(z)) if away else np.rint(z)
        z = np.where(self.integers, np.clip(whole, np.ceil(low), np.floor(high)), z).astype(x.dtype)
        kept = np.ones(z.shape[-1], bool)
        kept[self.free] = False
        return np.where(kept | (np.abs(z - x) < 1e-6 * self.scale), x, z)


def _space(
    x: np.ndarray, rows: np.ndarray, names: list[str], ranges: Any, frozen: Any, integers: Any, categories: Any
) -> _Space:
    def number(feature: Any, where: str) -> int:
        if isinstance(feature, str):
            if feature not in names:
                raise unknown(f"feature in {where}", feature, names)
            return names.index(feature)
        if not isinstance(feature, (int, np.integer)) or not -len(names) <= feature < len(names):
            raise ValueError(f"{where} names the feature {feature!r}, but there are {len(names)}, 0 to {len(names) - 1}")
        return int(feature) % len(names)

    def numbers(given: Any, where: str) -> list[int]:
        return [number(f, where) for f in ([given] if isinstance(given, (str, int, np.integer)) else given)]

    rows = rows.astype(np.float64)
    low, high = rows.min(0), rows.max(0)
    middle = np.median(rows, axis=0)
    scale = np.median(np.abs(rows - middle), axis=0)
    for spare in (rows.std(0), high - low, np.ones(len(low))):
        scale = np.where(scale > 0, scale, spare)
    if integers is None:
        whole = np.all(rows == np.rint(rows), axis=0) & np.all(x == np.rint(x), axis=0)
        whole &= np.array([len(np.unique(column)) > 1 for column in rows.T]) & (len(rows) > 1)
    else:
        whole = np.zeros(len(names), bool)
        whole[numbers(integers, "integers")] = True
    for feature, (a, b) in (ranges or {}).items():
        n = number(feature, "ranges")
        low[n], high[n] = -np.inf if a is None else a, np.inf if b is None else b
        if low[n] > high[n]:
            raise ValueError(f"the range of {names[n]!r} is empty: {a} to {b}")
    spread = 10 * scale  # how far the search looks where there is no end
    levels = {n: np.unique(rows[:, n]) for n in numbers(categories, "categories")}
    still = {*numbers(frozen, "frozen"), *np.flatnonzero(low == high).tolist()}
    free = np.array([n for n in range(len(names)) if n not in still], int)
    if not len(free):
        raise ValueError("no feature may change: all are frozen, or have one value in the training rows (give ranges=)")
    grid = {}
    for n in free:
        a, b = max(low[n], middle[n] - spread[n]), min(high[n], middle[n] + spread[n])
        steps = np.linspace(a, b, VALUES)
        inside = rows[(rows[:, n] >= a) & (rows[:, n] <= b), n]
        quantiles = np.quantile(inside, np.linspace(0, 1, VALUES)) if len(inside) else steps
        values = np.unique(np.concatenate([steps, quantiles]))
        if whole[n]:
            values = np.unique(np.clip(np.rint(values), np.ceil(a), np.floor(b)))
        grid[int(n)] = levels.get(int(n), values)
    return _Space(low, high, scale, free, whole & ~np.isin(np.arange(len(names)), list(levels)), levels, grid)


# -- what is wanted --------------------------------------------------------------------------------------------------------


@dataclass
class _Wanted:
    """The wanted answers: ``kind`` "class", "other" (than the class given) or "range", and a pair of numbers for each row."""

    kind: str
    goal: np.ndarray  # (rows, 2): class number, or low and high
    single: bool  # one output: a logit (classes) or a quantity (range)
    classes: list[str] | None

    def margin(self, xp: Any, y: Any, goal: Any) -> Any:
        """How far an answer is on the right side, (rows,): 0 and more is as wanted."""
        if self.kind == "range":
            return xp.minimum(y[:, 0] - goal[:, 0], goal[:, 1] - y[:, 0])
        if self.single:
            ahead = xp.where(goal[:, 0] == 1, y[:, 0], -y[:, 0])
        else:
            own = xp.arange(y.shape[1])[None] == goal[:, :1]
            ahead = xp.sum(xp.where(own, y, 0), 1) - xp.max(xp.where(own, -xp.inf, y), 1)
        return -ahead if self.kind == "other" else ahead

    def said(self, y: np.ndarray) -> list[str]:
        if self.kind == "range":
            return [f"{v:.4g}" for v in y[:, 0]]
        number = (y[:, 0] > 0).astype(int) if self.single else y.argmax(1)
        named = self.classes
        if named and self.single and len(named) == 1:
            named = [f"not {named[0]}", named[0]]
        return [named[n] if named and n < len(named) else f"class {n}" for n in number]


def _wanted(question: Question, function: Any, x: np.ndarray, target: Any) -> _Wanted:
    y = question.subject.everything(x).reshape(len(x), -1)
    outputs, classes = y.shape[1], question.subject.classes
    pair = isinstance(target, tuple) and len(target) == 2 and not isinstance(target[0], str)
    given = list(target) if isinstance(target, (list, np.ndarray)) else [target] * len(x)
    if len(given) != len(x):
        raise ValueError(f"there are {len(x)} examples, but {len(given)} targets")
    if pair or (isinstance(given[0], tuple) and len(given[0]) == 2):
        if outputs != 1:
            raise ValueError(f"a range (low, high) is for one output, but there are {outputs}: give the wanted class")
        goal = [(-np.inf if a is None else a, np.inf if b is None else b) for a, b in given]
        if any(a > b for a, b in goal):
            raise ValueError(f"the wanted range is empty: {target}")
        return _Wanted("range", np.array(goal, np.float64), True, None)
    single = outputs == 1
    if single and not _tells_two_classes(function, question, x):
        raise ValueError("the function has one output, a quantity: say in which range it should lie, target=(low, high)")
    if all(t is None for t in given):
        now = (y[:, 0] > 0).astype(int) if single else y.argmax(1)
        return _Wanted("other", np.stack([now, now], 1).astype(np.float64), single, classes)
    numbers = []
    for t in given:
        if isinstance(t, str):
            t = question.subject.class_number(t)
        if not isinstance(t, (int, np.integer)) or not 0 <= t < max(outputs, 2):
            raise ValueError(f"target is a class, 0 to {max(outputs, 2) - 1}, its name, or a range (low, high); got {t!r:.80}")
        numbers.append((t, t))
    return _Wanted("class", np.array(numbers, np.float64), single, classes)


def _tells_two_classes(function: Any, question: Question, x: np.ndarray) -> bool:
    """Is the one output a logit of the second of two classes?"""
    if question.subject.model is None or not hasattr(function, "_pure"):
        return False
    loss = (getattr(function, "_compiled", None) or {}).get("loss")
    name = loss if isinstance(loss, str) else getattr(loss, "name", "")
    return jax.tree.leaves(predict_spec(function, x[:1])[1])[0] == "sigmoid" or name == "binary_crossentropy"


# -- the search ------------------------------------------------------------------------------------------------------------


class _Search:
    def __init__(self, question: Question, space: _Space, wanted: _Wanted, margin: float, sparsity: float, most: int) -> None:
        self.question, self.space, self.wanted = question, space, wanted
        self.margin, self.sparsity, self.most = margin, sparsity, most
        self.start = np.asarray(jax.tree.leaves(question.x)[0], jnp.result_type(float))

    def outputs(self, z: np.ndarray) -> np.ndarray:
        question = self.question
        if not question.subject.differentiable:
            return np.asarray(question.subject.outputs((), z), np.float64).reshape(len(z), -1)
        run = question.program(plain)
        size = FEW if len(z) <= FEW else MANY  # two sizes of batches, and so two programs, however many changes are tried
        filled = np.concatenate([z, np.repeat(z[-1:], -len(z) % size, 0)])
        return in_batches(lambda z: run(question.weights, z, np.zeros(len(z), np.int32)), (filled,), MANY)[: len(z)]

    def margins(self, z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """How far each answer is on the right side, beyond ``margin``; 0 and more is enough."""
        return self.wanted.margin(np, self.outputs(z).astype(np.float64), self.wanted.goal[rows]) - self.margin

    def cost(self, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self.space.distance(z, x) + self.sparsity * (z != x).sum(-1)

    def beam(self, row: int) -> np.ndarray:
        """Examples changed one feature after another, those whose answers come nearest kept; the first that are as wanted."""
        x, space = self.start[row], self.space
        kept = x[None]
        for _ in range(min(self.most, len(space.free), 8)):
            tried = [self._moved(kept, n, values) for n, values in space.grid.items()]
            z = np.unique(np.concatenate(tried), axis=0)
            found = self.margins(z, np.full(len(z), row))
            if (found >= 0).any():
                z = z[found >= 0]
                return z[np.argsort(self.cost(z, x), kind="stable")[: 2 * BEAM]]
            # Half of the beam by the answer alone, half by what it costs to come that far.
            order = np.argsort(-found, kind="stable")
            behind = self.margins(x[None], np.array([row]))[0]
            rate = np.argsort(-(found - behind) / (self.cost(z, x) + 1e-9), kind="stable")
            kept = z[list(dict.fromkeys([*order[: BEAM // 2], *rate[:BEAM]]))[:BEAM]]
        return kept[:0]

    def _moved(self, z: np.ndarray, n: int, values: np.ndarray) -> np.ndarray:
        moved = np.repeat(z, len(values), axis=0)
        moved[:, n] = np.tile(values, len(z))
        return moved

    def descend(self, row: int, restarts: int, steps: int, random: np.random.Generator) -> np.ndarray:
        """Downhill from several starts at once, each with a subset of the features; those that arrived."""
        x, space = self.start[row], self.space
        allowed = self._subsets(restarts, len(x), random)
        restarts = len(allowed)
        begin = np.repeat(x[None], restarts, axis=0)
        for n, values in space.levels.items():  # categories are drawn, and stay so on the way
            if n in space.free:
                drawn = values[random.integers(len(values), size=restarts)]
                begin[:, n] = np.where(allowed[:, n] & (random.random(restarts) < 0.5), drawn, begin[:, n])
                allowed[:, n] = False
        noise = random.normal(size=begin.shape) * 0.1 * space.scale * allowed
        run = self.question.program(_descent, self.wanted.kind, self.wanted.single, steps)
        low, high = np.minimum(space.low, x), np.maximum(space.high, x)
        kind = begin.dtype
        found, fine = run(
            self.question.weights,
            begin,
            noise.astype(kind),
            allowed,
            low.astype(kind),
            high.astype(kind),
            space.scale.astype(kind),
            np.repeat(self.wanted.goal[row : row + 1], restarts, 0).astype(kind),
            np.asarray(self.margin, kind),
        )
        found = np.asarray(found)[np.asarray(fine)]
        if not len(found):
            return x[None][:0]
        return np.concatenate([space.snapped(found, x, away) for away in (False, True)])

    def _subsets(self, restarts: int, features: int, random: np.random.Generator) -> np.ndarray:
        free = self.space.free
        if len(free) <= ALL_SUBSETS:
            some = [s for k in range(1, len(free) + 1) for s in itertools.combinations(free, k)]
        else:
            some = [tuple(free)]
            while len(some) < restarts:
                size = min(len(free), self.most, 1 + int(random.geometric(0.3)))
                some.append(tuple(random.choice(free, size, replace=False)))
        allowed = np.zeros((len(some), features), bool)
        for i, subset in enumerate(some):
            allowed[i, list(subset)] = True
        return allowed

    def best(self, row: int, pool: np.ndarray) -> np.ndarray | None:
        """The cheapest valid example that can be made of those in the pool, or None."""
        x = self.start[row]
        pool = self._valid(row, np.unique(pool, axis=0))
        if not len(pool):
            return None
        pool = pool[np.argsort(self.cost(pool, x), kind="stable")[: 4 * BEAM]]
        pool = self._drawn_back(row, self._stripped(row, pool))
        pool = pool[(pool != x).sum(1) <= self.most]
        return None if not len(pool) else pool[np.argmin(self.cost(pool, x))]

    def _valid(self, row: int, pool: np.ndarray) -> np.ndarray:
        return pool[self.margins(pool, np.full(len(pool), row)) >= 0] if len(pool) else pool

    def _stripped(self, row: int, pool: np.ndarray) -> np.ndarray:
        """Each example without the changes it does not need, the dearest taken back first."""
        x = self.start[row]
        for _ in range(len(self.space.free)):
            tried, owners = [], []
            for i, z in enumerate(pool):
                for n in np.flatnonzero(z != x):
                    tried.append(np.where(np.arange(len(x)) == n, x, z))
                    owners.append(i)
            if not tried:
                break
            found = self.margins(np.stack(tried), np.full(len(tried), row)) >= 0
            if not found.any():
                break
            pool = pool.copy()
            costs = self.cost(np.stack(tried), x)
            for i in set(np.array(owners)[found].tolist()):
                mine = [k for k in range(len(tried)) if owners[k] == i and found[k]]
                pool[i] = tried[min(mine, key=lambda k: costs[k])]
        return np.unique(pool, axis=0)

    def _drawn_back(self, row: int, pool: np.ndarray) -> np.ndarray:
        """Each example as near to x as its answer allows: all changes together, then one by one, by halving."""
        x, space = self.start[row], self.space
        quantity = np.ones(len(x), bool)
        quantity[list(space.levels)] = False
        for only in [None, *np.flatnonzero((pool != x).any(0) & quantity)]:
            moving = quantity if only is None else np.arange(len(x)) == only
            near, far = np.zeros(len(pool)), np.ones(len(pool))  # parts of the way: too near, far enough
            best = pool.copy()
            for _ in range(12):
                part = (near + far) / 2
                z = space.snapped(np.where(moving, x + part[:, None] * (pool - x), pool), x, True)
                z = np.where(moving, z, pool)
                fine = self.margins(z, np.full(len(z), row)) >= 0
                best[fine] = z[fine]
                near, far = np.where(fine, near, part), np.where(fine, part, far)
            pool = best
        return pool


def _descent(score: Score, kind: str, single: bool, steps: int) -> Callable:
    """Adam on the distance plus the price of a wrong answer; the price rises while it is wrong, and falls while it is right."""
    wanted = _Wanted(kind, np.zeros((1, 2)), single, None)

    def run(
        weights: Any, x: Any, noise: Any, allowed: Any, low: Any, high: Any, scale: Any, goal: Any, margin: Any
    ) -> tuple[Any, Any]:
        def ahead(z: Any) -> Any:
            return wanted.margin(jnp, score(weights, z, jnp.zeros(len(z), jnp.int32)), goal) - margin

        steep = jnp.where(allowed, jax.grad(lambda z: ahead(z).sum())(x + noise) * scale, 0)
        unit = jnp.maximum(jnp.sqrt((steep**2).sum(1)), 1e-6)  # so that the first price means the same everywhere

        def total(u: Any, price: Any) -> tuple[Any, Any]:
            found = ahead(x + u * scale)
            return (price * jax.nn.relu(0.02 * unit - found) / unit + jnp.abs(u).sum(1)).sum(), found

        def step(carry: Any, number: Any) -> tuple[Any, None]:
            u, first, second, price, best, far = carry
            slope, found = jax.grad(total, has_aux=True)(u, price)
            size = jnp.abs(u).sum(1)
            better = (found > 0) & (size < far)
            best, far = jnp.where(better[:, None], u, best), jnp.where(better, size, far)
            price = jnp.clip(jnp.where(found > 0, price * 0.95, price * 1.1), 0.1, 1e6)
            slope = jnp.where(allowed, slope, 0)
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            fixed = first / (1 - 0.9 ** (number + 1)), second / (1 - 0.99 ** (number + 1))
            rate = 0.15 * (1 - number / steps) + 0.005
            u = u - rate * fixed[0] / (jnp.sqrt(fixed[1]) + 1e-8)
            u = jnp.where(allowed, (jnp.clip(x + u * scale, low, high) - x) / scale, 0)
            return (u, first, second, price, best, far), None

        zero = jnp.zeros_like(x)
        begin = (noise / scale, zero, zero, jnp.full(len(x), 3.0, x.dtype), zero, jnp.full(len(x), jnp.inf, x.dtype))
        _, _, _, _, best, far = jax.lax.scan(step, begin, jnp.arange(steps, dtype=x.dtype))[0]
        return x + best * scale, jnp.isfinite(far)

    return run
