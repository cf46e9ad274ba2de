"""Shapley values: exactly, over all coalitions; by random orders, with standard errors; and interactions of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.errors import unknown
from .coalitions import Players, coalition_values, compared_with, constant_players, players_of, reference
from .method import Answer, method
from .question import Question, ask

__all__ = ["Interactions", "exact_shapley", "permutation_shapley", "shapley_interactions"]

MOST = 15  # players whose coalitions are all asked
MASKS = 1 << 24  # places in the masks of one round of orders, at most


def all_coalitions(players: int) -> np.ndarray:
    """Every coalition, (2^n, n) bool; the number of a coalition has bit i where player i is in it."""
    return (np.arange(1 << players)[:, None] >> np.arange(players)) & 1 == 1


@method()
def exact_shapley(question: Question, *, groups: Any = None) -> Answer:
    """Shapley values over all 2^n coalitions: ``sum over S of s!(n-s-1)!/n! (v(S + i) - v(S))``, for up to 15 features.

    ``v(S)`` is the mean output with the features of S from the example and the others from each background row (or from the
    baseline, where one is given), so values add up to the output minus the mean output over the background. A feature that is
    the same in the example and in all of the background gets exactly 0. ``groups`` lets features take part together: a dict of
    names and features or a list of lists (values are then (rows, groups)); or whole numbers in the form of one example, or a
    function that gives them, such as ``superpixels`` (the members then share their group's value evenly).
    Raises: ValueError for more than 15 features or groups, and for groups that do not fit.
    Source: Shapley, 1953; Lundberg and Lee, 2017, arXiv:1705.07874 (the interventional value function).

    >>> x = np.array([[2.0, 3.0, 1.0]], "float32")
    >>> exact_shapley(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x, baseline=0.0).values.tolist()
    [[3.0, 3.0, 1.0]]
    """
    players = players_of(question, groups)
    _few(players.count, "exact_shapley")
    masks = all_coalitions(players.count)
    v = coalition_values(question, players, masks)
    values = _clean(v @ _weights(masks).T, question, players)
    return players.answer(question, values, base=v[:, 0], details={"coalitions": len(masks)}, reason=compared_with(question))


def _few(count: int, name: str) -> None:
    if count > MOST:
        raise ValueError(
            f"{name} asks every coalition, and of {count} features there are 2^{count}: it takes at most {MOST} features; let "
            f"them take part in groups (groups=), or use permutation_shapley or kernel_shap, which sample"
        )


def _weights(masks: np.ndarray) -> np.ndarray:
    """The matrix that turns the values of all coalitions into Shapley values, (n, 2^n)."""
    n = masks.shape[1]
    size = masks.sum(1)
    joined = np.array([0.0] + [1 / (n * math.comb(n - 1, s - 1)) for s in range(1, n + 1)])  # of a coalition with player i
    left = np.array([1 / (n * math.comb(n - 1, s)) for s in range(n)] + [0.0])  # of one without
    return np.where(masks.T, joined[size], -left[size])


def _clean(values: np.ndarray, question: Question, players: Players) -> np.ndarray:
    """Exactly 0 for players on whom nothing can depend, instead of what rounding leaves."""
    return np.where(constant_players(question, players), 0.0, values)


@method()
def permutation_shapley(
    question: Question,
    *,
    groups: Any = None,
    permutations: int = 16,
    tol: float | None = None,
    max_evaluations: int | None = None,
) -> Answer:
    """Shapley values by random orders: the mean gain of a feature when the features are switched on in turn.

    Each of the ``permutations`` orders is walked forwards and backwards, and the two together are one draw: this cancels all
    interactions of pairs, and values add up to the output minus the base, whatever the number of draws. ``error`` holds
    standard errors; ``values ± details["t"] * error`` are 95 % intervals (Student's t with a degree of freedom
    less than there are draws). With ``tol``, draws are doubled until no standard error is above it, in units of the output, or
    until ``max_evaluations`` of the function a row are spent (default with ``tol``: 64 times the first round);
    ``details["reached"]`` says which rows got there. One order costs ``2 (features - 1) * background rows`` evaluations.
    For ``groups`` and the value of a coalition, see ``exact_shapley``.
    Raises: ValueError for fewer than 2 permutations, a ``tol`` that is not above 0, and too small a ``max_evaluations``.
    Source: Castro et al., 2009; Mitchell et al., 2022, arXiv:2104.12199 (antithetic orders).

    >>> x = np.array([[2.0, 3.0, 1.0]], "float32")
    >>> found = permutation_shapley(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x, baseline=0.0)
    >>> found.values.tolist(), found.error.tolist()
    ([[3.0, 3.0, 1.0]], [[0.0, 0.0, 0.0]])
    """
    if permutations < 2:
        raise ValueError(f"permutations={permutations}: at least 2 are needed, to say how far they differ")
    if tol is not None and not tol > 0:
        raise ValueError(f"tol={tol} is a standard error that is small enough, in units of the output: a number above 0")
    players = players_of(question, groups)
    n = players.count
    others = reference(question)[0].shape[1]
    ends = coalition_values(question, players, np.array([[False] * n, [True] * n]))
    base, whole = ends[:, 0], ends[:, 1]
    exact = n <= 2  # both orders are the only ones
    if exact:
        permutations = 2
    each = max(2 * (n - 1) * others, 1)
    if max_evaluations is not None:
        room = (max_evaluations - 2 * others) // each
        if room < 2:
            raise ValueError(
                f"max_evaluations={max_evaluations} is too few: 2 permutations of {n} features against {others} background "
                f"rows need {2 * each + 2 * others} evaluations a row; give more, fewer background rows, or groups"
            )
        permutations, most = min(permutations, room), room
    else:
        most = permutations * 64
    step = max(d for d in range(1, permutations + 1) if permutations % d == 0 and (d == 1 or d * n * n * 2 <= MASKS))
    rng, moments = np.random.default_rng(question.seed), _Moments()
    while True:
        for _ in range(max(permutations, moments.count) // step if moments.count + step <= most else 0):
            if moments.count + step > most:
                break
            moments.add(_draws(question, players, np.stack([rng.permutation(n) for _ in range(step)]), base, whole))
        error = np.zeros_like(moments.mean) if exact else moments.error
        if exact or tol is None or error.max() <= tol or moments.count + step > most:
            break
    constant = constant_players(question, players)
    values, error = np.where(constant, 0.0, moments.mean), np.where(constant, 0.0, error)
    rows = len(values)
    details: dict[str, Any] = {
        "permutations": np.full(rows, moments.count),
        "t": np.full(rows, student(moments.count - 1)),
    }
    reason = compared_with(question)
    if tol is not None:
        details["reached"] = error.max(1) <= tol
        if not details["reached"].all():
            reason += f"; the standard error did not get within {tol:g} everywhere: give a larger max_evaluations"
    return players.answer(question, values, error, base=base, details=details, reason=reason)


def student(degrees: float) -> float:
    """How many standard errors make a 95 % interval: the quantile 0.975 of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(max(degrees, 1), 0.975))


class _Moments:
    """Mean and spread of draws that come in parts, without keeping them."""

    def __init__(self) -> None:
        self.count: int = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, draws: np.ndarray) -> None:
        """Take in draws, (draws, ...)."""
        count, mean = len(draws), draws.mean(0)
        total = self.count + count
        away = mean - self.mean
        self.squares = self.squares + ((draws - mean) ** 2).sum(0) + away**2 * self.count * count / total
        self.mean, self.count = self.mean + away * count / total, total

    @property
    def error(self) -> np.ndarray:
        """The standard error of the mean."""
        return np.sqrt(self.squares / (self.count * max(self.count - 1, 1)))


def _draws(question: Question, players: Players, orders: np.ndarray, base: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Gains of every player in each order, forwards and backwards together: (orders, rows, players)."""
    count, n = orders.shape
    place = np.argsort(orders, axis=1)  # (orders, players): when each is switched on
    first = place[:, None, :] < np.arange(1, n)[None, :, None]  # (orders, n - 1, players): the first 1, 2, ... are on
    masks = np.concatenate([first, ~first], axis=1).reshape(-1, n)
    rows = len(base)
    v = coalition_values(question, players, masks).reshape(rows, count, 2, n - 1) if n > 1 else np.zeros((rows, count, 2, 0))
    low, high = (np.broadcast_to(e[:, None, None], (rows, count, 1)) for e in (base, whole))
    forwards = np.diff(np.concatenate([low, v[:, :, 0], high], axis=2), axis=2)  # gain at each place of the order
    backwards = -np.diff(np.concatenate([high, v[:, :, 1], low], axis=2), axis=2)  # what is lost when the first ones go
    gains = (forwards + backwards) / 2
    return np.moveaxis(np.take_along_axis(gains, np.broadcast_to(place[None], gains.shape), axis=2), 1, 0)


@dataclass
class Interactions:
    """How features act together: for each example a symmetric matrix, which adds up to ``output - base``.

    ``values[r, i, j]``, i and j different, is half of the Shapley interaction of i and j, and ``values[r, i, i]`` what i does
    alone, so that a row of the matrix adds up to the Shapley value of its feature.
    """

    values: np.ndarray  # (rows, features, features)
    base: np.ndarray  # (rows,)
    output: np.ndarray  # (rows,)
    gap: np.ndarray  # (rows,) |sum of values - (output - base)|
    names: list[str] | None = None
    method: str = "shapley_interactions"
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def pairs(self) -> np.ndarray:
        """The whole interaction of each pair, (rows, features, features), with zeros on the diagonal."""
        return 2 * self.values * (1 - np.eye(self.values.shape[1], dtype=np.float32))

    @property
    def shapley(self) -> np.ndarray:
        """Shapley values, (rows, features)."""
        return self.values.sum(-1)

    def __repr__(self) -> str:
        lines = [
            f"{self.method}: values {self.values.shape}, completeness gap at most {self.gap.max():.2g}",
            f"  {self.reason}",
        ]
        for row in range(min(len(self.values), 3)):
            shown = ", ".join(f"{a} and {b} {value:+.3g}" for a, b, value in self.top(4, row))
            lines.append(f"  row {row}: {self.output[row]:.3g} from {self.base[row]:.3g}; most: {shown}")
        return "\n".join(lines)

    def top(self, count: int = 5, row: int = 0) -> list[tuple[str, str, float]]:
        """The pairs with the strongest interactions in one example."""
        first, second = np.triu_indices(self.values.shape[1], 1)
        found = self.pairs[row][first, second]
        order = np.argsort(-np.abs(found), kind="stable")[:count]
        names = self.names or [str(i) for i in range(self.values.shape[1])]
        return [(names[first[k]], names[second[k]], float(found[k])) for k in order]


def shapley_interactions(
    function: Any,
    x: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    names: Any = None,
    groups: Any = None,
    index: str = "shapley",
    batch_size: int = 64,
) -> Interactions:
    """Which pairs of features act together: the Shapley interaction index of every pair, exactly, for up to 15 features.

    ``I(i, j) = sum over S of s!(n-s-2)!/(n-1)! (v(S+i+j) - v(S+i) - v(S+j) + v(S))``. It is zero for a function that is a sum
    of functions of single features, and the product for ``x_i x_j`` against a baseline of zeros. ``index="taylor"`` is the
    Shapley-Taylor index instead, with the weights ``2/n s!(n-s-1)!/(n-1)!``, under which what ``i`` does alone is
    ``v(i) - v(empty)``. ``v`` and ``groups`` are as in ``exact_shapley``.
    Raises: ValueError for more than 15 features or groups.
    Source: Grabisch and Roubens, 1999; Sundararajan et al., 2020, arXiv:1902.05622 (Taylor); the matrix as in Lundberg et al.,
    2020, Nature Machine Intelligence 2.

    >>> x = np.array([[2.0, 3.0, 1.0]], "float32")
    >>> found = shapley_interactions(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x, baseline=0.0)
    >>> found.top(1), found.shapley.tolist()
    ([('0', '1', 6.0)], [[3.0, 3.0, 1.0]])
    """
    if index not in ("shapley", "taylor"):
        raise unknown("index", index, ["shapley", "taylor"])
    question = ask(function, x, target=target, baseline=baseline, background=background, names=names)
    parts, bases, shown, players = [], [], [], None
    for start in range(0, question.count, batch_size):
        chunk = question.rows(start, min(start + batch_size, question.count))
        players = players_of(chunk, groups)
        _few(players.count, "shapley_interactions")
        masks = all_coalitions(players.count)
        v = coalition_values(chunk, players, masks)
        parts.append(_matrix(v, masks, constant_players(chunk, players), index))
        bases.append(v[:, 0])
        shown.append(chunk.ask(chunk.x))
    values, base, output = (np.concatenate(p) for p in (parts, bases, shown))
    labels = None if players is None else players.names or question.names
    reason = "; ".join([compared_with(question), *question.notes])
    gap = np.abs(values.sum((1, 2), dtype=np.float64) - (output - base))
    return Interactions(values, base, output, gap, labels, reason=reason)


def _matrix(v: np.ndarray, masks: np.ndarray, constant: np.ndarray, index: str) -> np.ndarray:
    n = masks.shape[1]
    result = np.zeros((len(v), n, n))
    size = masks.sum(1)
    if index == "taylor":
        weight = np.array([2 / (n * math.comb(n - 1, s)) for s in range(n)])
    else:
        weight = np.array([1 / ((n - 1) * math.comb(n - 2, s)) for s in range(n - 1)])
    for i in range(n):
        for j in range(i + 1, n):
            inside = masks[:, i].astype(int) + masks[:, j]
            signed = np.where(inside == 1, -1.0, 1.0) * weight[size - inside]
            result[:, i, j] = result[:, j, i] = v @ signed / 2
    result[constant] = 0
    result = np.where(constant[:, None, :], 0, result)
    single = np.where(constant, 0.0, v @ _weights(masks).T)
    result[:, np.arange(n), np.arange(n)] = single - result.sum(2)
    return result.astype(np.float32)
