"""How the output goes with one feature over a whole data set: permutation importance, partial dependence, ICE and ALE."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import unknown
from .columns import Columns, about, scores_at
from .importance import permutation_importance
from .question import Question
from .result import Curves

__all__ = ["ale", "ice", "partial_dependence", "permutation_importance"]


def partial_dependence(
    function: Any,
    x: Any,
    feature: Any,
    *,
    target: Any = None,
    scale: str = "outputs",
    grid: Any = None,
    points: int = 40,
    spacing: str = "quantiles",
    percentiles: tuple[float, float] = (0.05, 0.95),
    names: Any = None,
) -> Curves:
    """The mean output with one feature set to each value of a grid in all rows: ``PD(v) = mean_i f(v, x_i without it)``.

    ``feature`` is a name or number, or a pair of them: ``mean`` is then (first, second), the second grid stands in
    ``details["grids"]``, and ``feature`` reads "a x b". ``grid`` gives the values (for a pair: two of them); else ``points``
    quantiles between the ``percentiles`` ("even": evenly spaced), all values if there are fewer, all categories of a column of
    words. ``scale="logits"`` shows what is behind probabilities. ``error`` is the standard error of the mean over the rows.
    With correlated features the mean runs over rows that do not exist: compare with `ale`.
    Raises: ValueError for a constant or unknown feature, several outputs without ``target``, no rows, NaN.
    Source: Friedman, 2001, Annals of Statistics 29.

    >>> x = np.array([[0.0, 1.0], [1.0, 5.0], [2.0, 3.0]], "float32")
    >>> curve = partial_dependence(lambda x: 2 * x[:, 0] + x[:, 1], x, 0)
    >>> curve.grid.tolist(), curve.mean.tolist()
    ([0.0, 1.0, 2.0], [3.0, 5.0, 7.0])
    """
    question, columns = about(function, x, target=target, names=names, scale=scale)
    pair = isinstance(feature, (tuple, list))
    numbers = [columns.number(f) for f in (feature if pair else [feature])]
    if len(numbers) != (2 if pair else 1):
        raise ValueError(f"partial dependence is of one feature or of a pair, got {len(numbers)}")
    grids = [
        _grid(columns, n, g, points, spacing, percentiles)
        for n, g in zip(numbers, (grid if pair and grid is not None else [grid] * len(numbers)), strict=True)
    ]
    values = _crossed(grids)
    scores = scores_at(question, columns, numbers, np.broadcast_to(values, (question.count, *values.shape)))
    shape = [len(g) for g in grids]
    found = _curves("partial_dependence", question, columns, numbers, grids[0], scores.mean(0, dtype=np.float64).reshape(shape))
    found.error = _error(scores).reshape(shape)
    found.details["grids"] = grids
    return found


def ice(
    function: Any,
    x: Any,
    feature: Any,
    *,
    target: Any = None,
    scale: str = "outputs",
    grid: Any = None,
    points: int = 40,
    spacing: str = "quantiles",
    percentiles: tuple[float, float] = (0.05, 0.95),
    centred: bool = False,
    names: Any = None,
) -> Curves:
    """Individual conditional expectation: the output of each row with one feature set to each value of a grid, ``each``.

    ``each[i, k] = f(v_k, x_i without it)``, (rows, points); their mean is the partial dependence. Lines that are not parallel
    show an interaction. ``centred`` subtracts each line's first value. Other arguments as in `partial_dependence`.
    Source: Goldstein, Kapelner, Bleich and Pitkin, 2015, arXiv:1309.6392.

    >>> x = np.array([[0.0, 1.0], [1.0, -1.0]], "float32")
    >>> ice(lambda x: (x[:, 0] + 1) * x[:, 1], x, 0).each.tolist()
    [[1.0, 2.0], [-1.0, -2.0]]
    """
    question, columns = about(function, x, target=target, names=names, scale=scale)
    number = columns.number(feature)
    values = _grid(columns, number, grid, points, spacing, percentiles)
    scores = scores_at(question, columns, [number], np.broadcast_to(values[:, None], (question.count, len(values), 1)))
    if centred:
        scores = scores - scores[:, :1]
    found = _curves("ice", question, columns, [number], values, scores.mean(0, dtype=np.float64))
    found.each, found.error = scores, _error(scores)
    return found


def ale(
    function: Any,
    x: Any,
    feature: Any,
    *,
    target: Any = None,
    scale: str = "outputs",
    bins: int = 20,
    order: Any = None,
    names: Any = None,
) -> Curves:
    """Accumulated local effects: how the output changes with a feature among rows that have about that value, added up.

    ``ALE(z_k) = sum_{j<=k} mean_{i in bin j} [f(z_j, x_i) - f(z_{j-1}, x_i)] - c``, with c such that the mean over the rows is
    0. Unlike partial dependence it asks about no row far from the data, so correlated features do no harm. ``bins`` are
    quantiles; ``details["counts"]`` holds the rows in each and ``error`` the standard error, accumulated. For a pair of
    features it is the second-order effect, what both do together beyond each alone, (first edges, second edges), with
    ``details["grids"]``. A column of words has its categories in ``order``, else so that neighbours are alike in the
    other features.
    Raises: as `partial_dependence`.
    Source: Apley and Zhu, 2020, arXiv:1612.08468.

    >>> x = np.array([[0.0, 1.0], [1.0, 5.0], [2.0, 3.0]], "float32")
    >>> curve = ale(lambda x: 2 * x[:, 0] + x[:, 1], x, 0)
    >>> curve.grid.tolist(), curve.mean.tolist()
    ([0.0, 1.0, 2.0], [-2.0, 0.0, 2.0])
    """
    question, columns = about(function, x, target=target, names=names, scale=scale)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if isinstance(feature, (tuple, list)):
        if len(feature) != 2:
            raise ValueError(f"ALE is of one feature or of a pair, got {len(feature)}")
        return _ale_of_pair(question, columns, columns.numbers(list(feature)), bins)
    number = columns.number(feature)
    values = columns.values(number)
    if order is not None or _words(values):
        return _ale_of_categories(question, columns, number, order)
    edges = _edges(columns, number, bins)
    place = _place(values, edges)
    points = np.stack([edges[place], edges[place + 1]], axis=1)[..., None]
    scores = scores_at(question, columns, [number], points).astype(np.float64)
    change = scores[:, 1] - scores[:, 0]
    counts, means, errors = _by_bin(change, place, len(edges) - 1)
    curve = np.concatenate([[0.0], np.cumsum(means)])
    curve -= np.interp(values, edges, curve).mean()
    found = _curves("ale", question, columns, [number], edges, curve)
    found.error = np.concatenate([[0.0], np.sqrt(np.cumsum(errors**2))])
    found.details["counts"] = counts
    return found


def _ale_of_categories(question: Question, columns: Columns, number: int, order: Any) -> Curves:
    """Each row is moved to the category before its own and to the one after."""
    values = columns.values(number)
    known = np.unique(values)
    levels = known[_alike(columns, number, known)] if order is None else np.asarray(order)
    if set(levels.tolist()) != set(known.tolist()) or len(levels) != len(known):
        raise ValueError(f"order must hold each category of {columns.names[number]!r} once: {known.tolist()}")
    if len(levels) < 2:
        raise _constant(columns, number)
    code = np.array([levels.tolist().index(v) for v in values])
    near = np.stack([np.maximum(code - 1, 0), code, np.minimum(code + 1, len(levels) - 1)], axis=1)
    scores = scores_at(question, columns, [number], levels[near][..., None]).astype(np.float64)
    change = np.concatenate([scores[:, 1] - scores[:, 0], scores[:, 2] - scores[:, 1]])
    place = np.concatenate([code - 1, code])
    real = (place >= 0) & (place < len(levels) - 1)
    _, means, errors = _by_bin(change[real], place[real], len(levels) - 1)
    counts = np.bincount(code, minlength=len(levels))
    curve = np.concatenate([[0.0], np.cumsum(means)])
    curve -= np.sum(counts * curve) / len(values)
    found = _curves("ale", question, columns, [number], levels, curve)
    found.error = np.concatenate([[0.0], np.sqrt(np.cumsum(errors**2))])
    found.details["counts"] = counts
    return found


def _alike(columns: Columns, number: int, known: np.ndarray) -> np.ndarray:
    """An order of categories in which neighbours are alike: along the first principal coordinate of their distances.

    The distance of two categories is the sum over the other features of the largest difference of their distributions
    (Kolmogorov and Smirnov's for quantities, half the sum of differences for words).
    """
    code = np.searchsorted(known, columns.values(number))
    distance = np.zeros((len(known), len(known)))
    for other in range(len(columns)):
        if other == number:
            continue
        values = columns.values(other)
        levels, place = np.unique(values, return_inverse=True)
        table = np.zeros((len(known), len(levels)))
        np.add.at(table, (code, place.ravel()), 1.0)
        table /= table.sum(1, keepdims=True)
        if _words(values):
            distance += np.abs(table[:, None] - table[None]).sum(-1) / 2
        else:
            sums = np.cumsum(table, axis=1)
            distance += np.stack([np.abs(sums - row).max(-1) for row in sums])
    middle = np.eye(len(known)) - 1 / len(known)
    _, vectors = np.linalg.eigh(-middle @ distance**2 @ middle / 2)
    return np.argsort(vectors[:, -1], kind="stable")


def _ale_of_pair(question: Question, columns: Columns, numbers: list[int], bins: int) -> Curves:
    for n in numbers:
        if _words(columns.values(n)):
            raise ValueError(f"the ALE of a pair needs two quantities, but {columns.names[n]!r} holds words")
    edges = [_edges(columns, n, bins) for n in numbers]
    places = [_place(columns.values(n), e) for n, e in zip(numbers, edges, strict=True)]
    low, high = [e[p] for e, p in zip(edges, places, strict=True)], [e[p + 1] for e, p in zip(edges, places, strict=True)]
    corners = [(low[0], low[1]), (high[0], low[1]), (low[0], high[1]), (high[0], high[1])]
    points = np.stack([np.stack(c, axis=-1) for c in corners], axis=1)
    scores = scores_at(question, columns, numbers, points).astype(np.float64)
    change = scores[:, 3] - scores[:, 2] - scores[:, 1] + scores[:, 0]
    shape = (len(edges[0]) - 1, len(edges[1]) - 1)
    counts, means, _ = _by_bin(change, places[0] * shape[1] + places[1], shape[0] * shape[1])
    counts, means = counts.reshape(shape), means.reshape(shape)
    means = _filled(means, counts, edges)
    total = np.zeros((shape[0] + 1, shape[1] + 1))
    total[1:, 1:] = np.cumsum(np.cumsum(means, 0), 1)
    # What each feature does alone is taken out: its own first-order effect within the accumulated surface.
    first = np.sum(counts * (np.diff(total, axis=0)[:, 1:] + np.diff(total, axis=0)[:, :-1]) / 2, 1) / counts.sum(1)
    second = np.sum(counts * (np.diff(total, axis=1)[1:] + np.diff(total, axis=1)[:-1]) / 2, 0) / counts.sum(0)
    total = total - np.concatenate([[0.0], np.cumsum(first)])[:, None] - np.concatenate([[0.0], np.cumsum(second)])[None]
    middle = (total[1:, 1:] + total[1:, :-1] + total[:-1, 1:] + total[:-1, :-1]) / 4
    total -= np.sum(counts * middle) / counts.sum()
    found = _curves("ale", question, columns, numbers, edges[0], total)
    found.details |= {"grids": edges, "counts": counts}
    return found


def _filled(means: np.ndarray, counts: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Cells without rows get the value of the nearest cell that has some, nearness counted in quantiles."""
    empty, full = np.argwhere(counts == 0), np.argwhere(counts > 0)
    means = means.copy()
    for cell in empty:
        gap = (full - cell) / np.array([len(e) - 1 for e in edges])
        means[tuple(cell)] = means[tuple(full[np.argmin((gap**2).sum(1))])]
    return means


def _by_bin(change: np.ndarray, place: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, mean and standard error of the mean in each bin; 0 where there are no rows."""
    counts = np.bincount(place, minlength=bins)
    means = np.bincount(place, change, minlength=bins) / np.maximum(counts, 1)
    squares = np.bincount(place, (change - means[place]) ** 2, minlength=bins)
    return counts, means, np.sqrt(squares / np.maximum(counts - 1, 1) / np.maximum(counts, 1))


def _words(values: np.ndarray) -> bool:
    return values.dtype.kind not in "iuf"


def _edges(columns: Columns, number: int, bins: int) -> np.ndarray:
    values = columns.values(number)
    known = np.unique(values)
    if len(known) < 2:
        raise _constant(columns, number)
    if len(known) <= bins + 1:
        return known.astype(np.float64)
    return np.unique(np.quantile(values, np.linspace(0, 1, bins + 1), method="inverted_cdf")).astype(np.float64)


def _place(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each value: (edge k, edge k + 1], the lowest value in the first."""
    return np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)


def _constant(columns: Columns, number: int) -> ValueError:
    name, value = columns.names[number], columns.values(number)[0]
    return ValueError(
        f"the feature {name!r} has the value {value} in all {len(columns.values(number))} rows, so there is no curve of it: "
        f"leave it out, give rows where it varies, or give grid= with the values to try (partial_dependence, ice)"
    )


def _grid(columns: Columns, number: int, grid: Any, points: int, spacing: str, percentiles: tuple[float, float]) -> np.ndarray:
    if spacing not in ("quantiles", "even"):
        raise unknown("spacing", spacing, ("quantiles", "even"))
    if points < 2 or not 0 <= percentiles[0] < percentiles[1] <= 1:
        raise ValueError(f"a grid needs 2 points or more and percentiles 0 <= low < high <= 1, got {points} and {percentiles}")
    if grid is not None:
        given = np.asarray(grid)
        if given.ndim != 1 or not given.size:
            raise ValueError(f"grid is a list of values for the feature, got shape {given.shape}")
        return given
    values = columns.values(number)
    known = np.unique(values[values == values])  # what is missing in a frame is no value to try
    if len(known) < 2:
        raise _constant(columns, number)
    if _words(values) or len(known) < points:
        return known
    if spacing == "quantiles":
        return np.unique(np.quantile(values.astype(np.float64), np.linspace(*percentiles, points)))
    low, high = np.quantile(values.astype(np.float64), percentiles)
    if low == high:
        raise ValueError(
            f"both percentiles {percentiles} of the feature {columns.names[number]!r} are {low:g}: give wider ones, or grid="
        )
    return np.linspace(low, high, points)


def _crossed(grids: list[np.ndarray]) -> np.ndarray:
    """All combinations of the grids' values, (points, features)."""
    kind = object if any(_words(g) for g in grids) and len(grids) > 1 else None
    tables = np.meshgrid(*[g.astype(kind) if kind else g for g in grids], indexing="ij")
    return np.stack([t.ravel() for t in tables], axis=1)


def _error(scores: np.ndarray) -> np.ndarray:
    rows = len(scores)
    return scores.std(0, ddof=1, dtype=np.float64) / np.sqrt(rows) if rows > 1 else np.zeros(scores.shape[1])


def _curves(
    method: str, question: Question, columns: Columns, numbers: list[int], grid: np.ndarray, mean: np.ndarray
) -> Curves:
    target = None if callable(question.target) else int(question.target[0])
    classes = question.subject.classes
    several = target is not None and (target > 0 or (classes is not None and len(classes) > 1))
    output = "" if not several else classes[target] if classes and target < len(classes) else f"output {target}"  # type: ignore[operator, index]
    return Curves(
        method=method,
        feature=" x ".join(columns.names[n] for n in numbers),
        grid=grid,
        mean=mean,
        shown=columns.values(numbers[0]),
        output=output,
        details={"notes": question.notes} if question.notes else {},
    )
