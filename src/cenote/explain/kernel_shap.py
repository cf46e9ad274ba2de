"""KernelSHAP: Shapley values as a weighted regression over coalitions, drawn once and factored once for all examples."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .coalitions import coalition_values, compared_with, constant_players, players_of
from .method import Answer, method
from .question import Question
from .shapley import student

__all__ = ["kernel_shap"]


@dataclass
class Design:
    """Coalitions and what makes Shapley values of their values; all in float64.

    ``phi = solve @ (weight * (v - v0)) + ends (v1 - v0)``: the regression with both ends as constraints.
    """

    masks: np.ndarray  # (coalitions, players)
    weight: np.ndarray  # (coalitions,), sums to 1
    inverse: np.ndarray  # (players, players): of Z'WZ, where values sum to 0
    ends: np.ndarray  # (players,)
    pairs: int  # drawn pairs: the last 2 * pairs coalitions, pairs first, then what they leave out

    def values(self, v: np.ndarray, v0: np.ndarray, v1: np.ndarray) -> np.ndarray:
        """Shapley values, (rows, players)."""
        sums = ((v - v0[:, None]) * self.weight) @ self.masks
        return sums @ self.inverse + (v1 - v0)[:, None] * self.ends

    def error(self, values: np.ndarray, v: np.ndarray, v0: np.ndarray) -> np.ndarray:
        """Standard errors by the sandwich estimate, (rows, players): a pair is one draw, and listed coalitions are certain.

        The residual of a pair is made as large as if the pair had not taken part (HC3), since a regression fits what it sees.
        """
        if not self.pairs:
            return np.zeros_like(values)
        m = self.pairs
        drawn, drawn_v = self.masks[-2 * m :], v[:, -2 * m :]
        residual = drawn_v - v0[:, None] - values @ drawn.T
        odd = (residual[:, :m] - residual[:, m:]) / 2
        weight = self.weight[-2 * m :].sum()
        pull = drawn[:m].astype(np.float64) @ self.inverse  # how each pair pulls on each value
        leverage = np.minimum((pull * (drawn[:m] - 0.5)).sum(1) * weight / m, 1 - 1e-6)
        odd = odd / (1 - leverage)
        return np.stack([np.std(pull * row[:, None], axis=0, ddof=1) for row in odd]) * weight / math.sqrt(m)


def design(n: int, samples: int, seed: int) -> Design:
    """Coalitions of ``n`` players: sizes 1, n - 1, 2, n - 2 ... are listed while they fit, the rest drawn in pairs."""
    if samples >= 2**n - 2:
        samples = 2**n - 2
    sizes = range(1, n // 2 + 1)
    kernel = {s: (1 if 2 * s == n else 2) * (n - 1) / (s * (n - s)) for s in sizes}  # of all coalitions of s or n - s players
    total = sum(kernel.values())
    left, room = total, samples
    masks: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    remaining = list(sizes)
    for s in sizes:
        many = math.comb(n, s) * (1 if 2 * s == n else 2)
        if many > room * kernel[s] / left * (1 + 1e-9):
            break
        listed = _subsets(n, s)
        listed = listed if 2 * s == n else np.concatenate([listed, ~listed])
        masks.append(listed)
        weights.append(np.full(many, kernel[s] / total / many))
        left, room = left - kernel[s], room - many
        remaining.remove(s)
    pairs = room // 2 if remaining else 0
    if pairs:
        rng = np.random.default_rng(seed)
        chance = np.array([kernel[s] for s in remaining])
        size = rng.choice(remaining, size=pairs, p=chance / chance.sum())
        order = np.argsort(rng.random((pairs, n)), axis=1)
        drawn = np.zeros((pairs, n), bool)
        np.put_along_axis(drawn, order, np.arange(n) < size[:, None], axis=1)
        masks += [drawn, ~drawn]
        weights.append(np.full(2 * pairs, left / total / (2 * pairs)))
    every = np.concatenate(masks) if masks else np.zeros((0, n), bool)
    weight = np.concatenate(weights) if weights else np.zeros(0)
    z = every.astype(np.float64)
    gram = (z * weight[:, None]).T @ z
    if np.linalg.matrix_rank(gram) < n:
        raise ValueError(
            f"samples={samples} coalitions do not tell {n} features apart: give more (at least {2 * n}; the default is "
            f"{2 * n + 2048}), or let features take part in groups (groups=)"
        )
    inverse = np.linalg.inv(gram)
    ends = inverse.sum(1) / inverse.sum()
    return Design(every, weight, inverse - np.outer(ends, inverse.sum(0)), ends, pairs)


def _subsets(n: int, size: int) -> np.ndarray:
    picked = np.array(list(itertools.combinations(range(n), size)))
    masks = np.zeros((len(picked), n), bool)
    np.put_along_axis(masks, picked, True, axis=1)
    return masks


@method()
def kernel_shap(question: Question, *, groups: Any = None, samples: int | None = None) -> Answer:
    """Shapley values by regression: the additive function of switched-on features that fits the values of coalitions best.

    Minimises ``sum over S of (n-1) / (C(n,s) s (n-s)) (v(S) - v(empty) - sum of phi_i in S)^2`` with the sum of all ``phi``
    fixed to ``v(all) - v(empty)``. Coalitions come with what they leave out; small and large ones are all listed while
    ``samples`` (default ``2 features + 2048``, and never more than there are) allows, the rest is drawn. They are drawn once,
    and the regression is factored once, for all examples. No feature is left out silently, as by a lasso; a feature that is
    the same in the example and in all of the background gets exactly 0. ``error`` holds standard errors (zero where all
    coalitions are listed: the values are exact then); ``values ± details["t"] * error`` are 95 % intervals.
    For ``groups`` and the value of a coalition, see ``exact_shapley``.
    Raises: ValueError for too few samples.
    Source: Lundberg and Lee, 2017, arXiv:1705.07874; Covert and Lee, 2021, arXiv:2012.01536 (pairs, spread).

    >>> x = np.array([[2.0, 3.0, 1.0]], "float32")
    >>> np.round(kernel_shap(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x, baseline=0.0).values, 5).tolist()
    [[3.0, 3.0, 1.0]]
    """
    players = players_of(question, groups)
    n, rows = players.count, question.count
    ends = coalition_values(question, players, np.array([[False] * n, [True] * n]))
    v0, v1 = ends[:, 0], ends[:, 1]
    varying = ~constant_players(question, players)
    values, error = np.zeros((rows, n)), np.zeros((rows, n))
    degrees, asked = np.full(rows, np.inf), np.zeros(rows, int)
    patterns, kind = np.unique(varying, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):  # nearly always one: which features vary
        here = np.flatnonzero(kind.reshape(-1) == number)
        some = int(pattern.sum())
        if some == 0:
            continue
        if some == 1:
            values[np.ix_(here, pattern)] = (v1 - v0)[here, None]
            continue
        plan = design(some, 2 * some + 2048 if samples is None else samples, question.seed)
        masks = np.zeros((len(plan.masks), n), bool)
        masks[:, pattern] = plan.masks
        turns = [here] if len(here) == rows else [here[i : i + 1] for i in range(len(here))]
        for part in turns:  # one row at a time where rows differ in what varies: no new compilation for each count
            one = question if len(part) == rows else question.rows(part[0], part[0] + 1)
            v = coalition_values(one, players_of(one, groups), masks)
            found = plan.values(v, v0[part], v1[part])
            values[np.ix_(part, pattern)] = found
            error[np.ix_(part, pattern)] = plan.error(found, v, v0[part])
        degrees[here] = max(plan.pairs - some, 1) if plan.pairs else np.inf
        asked[here] = len(masks) + 2
    details = {"coalitions": asked, "t": np.array([student(d) if np.isfinite(d) else 0.0 for d in degrees])}
    return players.answer(question, values, error, base=v0, details=details, reason=compared_with(question))
