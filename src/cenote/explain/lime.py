"""LIME: a linear surrogate of the function near an example, with what it explains of it, for tables, pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from ..core.errors import unknown
from .coalitions import Players, coalition_values, constant_players, players_of
from .method import Answer, method
from .question import Question
from .superpixels import filled, superpixels

__all__ = ["lime"]

PARTS = 5  # of the samples: each makes a surrogate of its own, and how far they agree is reported
LEAST = 0.5  # R2 below which a surrogate is refused


@method()
def lime(
    question: Question,
    *,
    samples: int | None = None,
    groups: Any = None,
    width: float | None = None,
    ridge: float = 1.0,
    scale: Any = None,
    discretise: bool = False,
    categories: Sequence[Any] = (),
    insist: bool = False,
) -> Answer:
    """The coefficients of a linear function that imitates the explained one near the example.

    Minimises ``sum of w(z) (f(z) - a - c'd(z))^2 + ridge |c|^2`` over ``samples`` (5,000; pictures 1,000) examples ``z``.
    - Tables, (rows, features) of floats: ``z = x + scale * normal``, ``d = (z - x) / scale`` with ``scale`` the background's
      standard deviations (or as given); ``w = exp(-|d|^2 / (2 width^2))``, ``width`` 0.75 sqrt(features). A value says what one
      standard deviation more would do here, not what the feature did: that is the value times ``(x - mean) / scale``.
      ``categories``, columns by number or name, are drawn from the background, and ``d`` says whether they are as in ``x``; so
      do all columns with ``discretise=True``, by quarters of the background, as in the paper's own program.
    - Pictures, (rows, height, width, channels): each superpixel is in or out, evenly; out is its mean colour, or the
      baseline where one is given; ``w = exp(-distance^2 / (2 width^2))`` of the cosine distance to the whole picture, ``width``
      0.25. Each pixel shows its part of the value of its superpixel (``details["segments"]``), so that sums hold.
    - Words as numbers, and whatever has ``groups`` (see ``exact_shapley``): in or out, too, any number of them out; out is the
      baseline.

    ``details["r2"]`` is how much of the function near the example the surrogate explains, and ``details["stability"]`` how well
    the order of the features agrees between five surrogates from a fifth of the samples each (mean rank correlation, 1 is
    best); ``error`` holds standard errors from the same five. Values do not add up to the output.
    Raises: ValueError where R2 is below 0.5 (unless ``insist=True``): a linear function says too little about this one there.
    Source: Ribeiro, Singh and Guestrin, 2016, arXiv:1602.04938; Garreau and von Luxburg, 2020, arXiv:2001.03447 (its limits).

    >>> x = np.array([[1.0, 2.0]], "float32")
    >>> found = lime(lambda x: 3 * x[:, 0] - x[:, 1], x, scale=[1.0, 2.0], ridge=0.0)
    >>> np.round(found.values, 3).tolist(), found.details["r2"].round(4).tolist()
    ([[3.0, -2.0]], [1.0])
    """
    for name, value in (("width", width), ("samples", samples)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value}: expected a number above 0")
    if ridge < 0:
        raise ValueError(f"ridge={ridge}: expected 0 (none) or a number above")
    leaves = jax.tree.leaves(question.x)
    picture = len(leaves) == 1 and leaves[0].ndim == 4 and not any(question.tokens)
    whole = all(leaf.dtype.kind in "iub" for leaf in leaves)
    if groups is None and not picture and not whole:
        if len(leaves) != 1 or leaves[0].ndim != 2:
            raise ValueError(
                f"lime takes tables (rows, features), pictures (rows, height, width, channels) and words; for an input of "
                f"shape {', '.join(str(leaf.shape) for leaf in leaves)} say what is to be switched on and off together: "
                f"groups=np.arange(steps) makes a feature of each step of a sequence (see exact_shapley)"
            )
        values, error, details, reason = _table(question, samples or 5000, width, ridge, scale, discretise, categories)
        players = players_of(question)
    else:
        if discretise or len(categories) or scale is not None:
            raise ValueError("scale, discretise and categories are for tables of floats: here features are switched on and off")
        if picture and groups is None:
            groups = superpixels
        players = players_of(question, groups)
        question, reason = _switched_off(question, players)
        values, error, details = _switching(
            question, players, samples or (1000 if picture else 5000), width or 0.25, ridge, picture
        )
    low = details["r2"].min()
    if low < LEAST and not insist:
        few = f"for {int((details['r2'] < LEAST).sum())} of {len(values)} examples " if len(values) > 1 else ""
        raise ValueError(
            f"lime's linear surrogate explains {few}only R2 = {low:.2f} of the function near the example, and below {LEAST} it "
            f"says too little to be trusted: look closer (a smaller width=), take permutation_shapley or kernel_shap, which do "
            f"not need the function to be linear, or insist=True"
        )
    return players.answer(question, values, error, details=details, reason=reason)


@dataclass
class _Fit:
    """A weighted ridge regression in closed form, for many outputs at once."""

    values: np.ndarray  # (outputs, features)
    r2: np.ndarray  # (outputs,)

    @classmethod
    def of(cls, design: np.ndarray, weight: np.ndarray, y: np.ndarray, ridge: float) -> _Fit:
        """From a design (samples, features) and outputs (outputs, samples)."""
        share = weight / weight.sum()
        d = design - share @ design
        largest = np.abs(y).max(1)
        y = y - (y @ share)[:, None]
        gram = (d * weight[:, None]).T @ d + ridge * np.eye(d.shape[1])
        values = np.linalg.lstsq(gram, d.T @ (y * weight).T, rcond=1e-12)[0].T * (d != 0).any(0)
        total = (y**2) @ share
        left = ((y - values @ d.T) ** 2) @ share
        # Where the function is flat to rounding there is nothing to explain, and no slope does it.
        flat = total <= (5e-7 * largest) ** 2
        return cls(np.where(flat[:, None], 0.0, values), np.where(flat, 1.0, 1 - left / np.where(flat, 1.0, total)))


def _surrogates(design: np.ndarray, weight: np.ndarray, y: np.ndarray, ridge: float) -> tuple[np.ndarray, ...]:
    """Values, standard errors, R2 and stability of the surrogate, a row an output."""
    fit = _Fit.of(design, weight, y, ridge)
    cuts = [slice(part, None, PARTS) for part in range(PARTS)]
    parts = np.stack([_Fit.of(design[c], weight[c], y[:, c], ridge / PARTS).values for c in cuts])
    return fit.values, parts.std(0, ddof=1) / np.sqrt(PARTS), fit.r2, _agreement(np.abs(parts))


def _agreement(parts: np.ndarray) -> np.ndarray:
    """Mean rank correlation of each two of (parts, rows, features), (rows,); 1 where there is nothing to order."""
    count, _, features = parts.shape
    if features < 2:
        return np.ones(parts.shape[1])
    ranks = np.argsort(np.argsort(parts, axis=2, kind="stable"), axis=2) - (features - 1) / 2
    ranks = ranks / np.sqrt((ranks**2).sum(2, keepdims=True))
    every = np.einsum("prf,qrf->rpq", ranks, ranks)
    return (every.sum((1, 2)) - count) / (count * (count - 1))


def _table(
    question: Question, samples: int, width: float | None, ridge: float, scale: Any, discretise: bool, categories: Any
) -> tuple[np.ndarray, np.ndarray, dict[str, Any], str]:
    """Samples around each row, by moving continuous columns and drawing the others from the background."""
    (x,), structure = jax.tree.flatten(question.x)
    rows, features = x.shape
    background = None if question.background is None else np.asarray(jax.tree.leaves(question.background)[0])
    category = np.zeros(features, bool)
    for column in categories:
        number = column
        if isinstance(column, str):
            if column not in (question.names or []):
                raise unknown("column in categories", column, question.names or [])
            number = (question.names or []).index(column)
        if not -features <= number < features:
            raise ValueError(f"categories names the column {column}, but an example has {features} features")
        category[number] = True
    quartered = np.full(features, discretise) & ~category
    drawn = category | quartered
    if drawn.any() and background is None:
        raise ValueError("lime draws categorical and discretised columns from training rows: give background=")
    spread = _spread(scale, background, features, drawn)
    rng = np.random.default_rng(question.seed)
    noise = rng.standard_normal((samples, features)) * (spread > 0) * ~drawn
    noise[0] = 0
    picked = rng.integers(len(background), size=(samples, features)) if drawn.any() and background is not None else None
    near = 0.75 * np.sqrt(features) if width is None else width
    target, y = question.targets, np.zeros((rows, samples))
    designs, weights = [], []
    for row in range(rows):
        z = x[row] + (noise * spread).astype(x.dtype)
        design = noise
        if picked is not None and background is not None:
            others = np.take_along_axis(background, picked, axis=0)
            z = np.where(drawn, others, z).astype(x.dtype)
            z[0] = x[row]
            same = _bins(z, background, quartered) == _bins(x[row : row + 1], background, quartered)
            design = np.where(drawn, same, design)
        if row == 0 or picked is not None:  # moving alone makes the same design for all rows
            distance = np.where(drawn, 1 - design, design)
            designs.append(design)
            weights.append(np.exp(-(distance**2).sum(1) / (2 * near**2)))
        y[row] = question.ask(structure.unflatten([z]), target[row : row + 1])
        if not np.all(np.isfinite(y[row])):
            raise ValueError(
                f"the function gave NaN or infinity near example {row}: take a smaller scale=, or mend the function"
            )
    each = [y] if len(designs) == 1 else np.split(y, rows)
    found = [_surrogates(d, w, part, ridge) for d, w, part in zip(designs, weights, each, strict=True)]
    values, error, r2, stability = (np.concatenate(parts) for parts in zip(*found, strict=True))
    still = ~drawn & (spread == 0)
    reason = f"{samples} samples around the row" + (f"; {int(still.sum())} features do not vary" if still.any() else "")
    return values, error, {"r2": r2, "stability": stability}, reason


def _spread(scale: Any, background: np.ndarray | None, features: int, drawn: np.ndarray) -> np.ndarray:
    if scale is not None:
        spread = np.asarray(scale, np.float64)
        if spread.shape not in ((), (features,)) or not np.all(np.isfinite(spread)) or (spread < 0).any():
            raise ValueError(
                f"scale is a number, or one for each of the {features} features, 0 or above; got shape {spread.shape}"
            )
        return np.broadcast_to(spread, (features,)).astype(np.float64)
    if background is not None and len(background) > 1:
        return background.astype(np.float64).std(0) * (np.ptp(background, axis=0) > 0)
    if drawn.all():
        return np.zeros(features)
    raise ValueError(
        "lime moves each feature by about its standard deviation, which is not known here: give background= with at least two "
        "training rows, or scale= with a number for each feature"
    )


def _bins(z: np.ndarray, background: np.ndarray, quartered: np.ndarray) -> np.ndarray:
    """The quarter of the background that each value is in; columns that are not cut in quarters stay as they are."""
    quarters = np.percentile(background, [25, 50, 75], axis=0)
    return np.where(quartered, (z[None] > quarters[:, None]).sum(0), z)


def _switched_off(question: Question, players: Players) -> tuple[Question, str]:
    """The question with what features become when they are out: one example a row."""
    if question.given_baseline is not None:
        return question, "switched off: the baseline"
    leaves, structure = jax.tree.flatten(question.x)
    if players.form == "segments" and len(leaves) == 1 and leaves[0].ndim > 2 and not any(question.tokens):
        x, segments = np.asarray(leaves[0]), np.maximum(jax.tree.leaves(players.index)[0], 0)
        segments = segments[..., 0] if x.ndim == 4 else segments
        means = np.stack([filled(a, s) for a, s in zip(x, segments, strict=True)])
        return replace(question, given_baseline=structure.unflatten([means])), "switched off: the mean of the piece"
    if question.background is None and any(question.tokens):
        return replace(question, given_baseline=0), "switched off: the number 0"
    return replace(question, given_baseline=question.baseline), "switched off: the baseline"


def _switching(
    question: Question, players: Players, samples: int, width: float, ridge: float, evenly: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    n, rows = players.count, question.count
    rng = np.random.default_rng(question.seed)
    places = rng.random((samples, n))
    if evenly:
        on = places < 0.5
    else:
        on = np.argsort(np.argsort(places, axis=1), axis=1) >= rng.integers(1, n + 1, size=(samples, 1))
    on[0] = True
    y = coalition_values(question, players, on)
    constant = constant_players(question, players)
    values, error = np.zeros((rows, n)), np.zeros((rows, n))
    r2, stability = np.ones(rows), np.ones(rows)
    for pattern in np.unique(constant, axis=0):  # features that switching does not change take no part
        here = np.flatnonzero((constant == pattern).all(1))
        if pattern.all():
            continue
        design = on[:, ~pattern].astype(np.float64)
        weight = np.exp(-((1 - np.sqrt(design.mean(1))) ** 2) / (2 * width**2))
        found = _surrogates(design, weight, y[here], ridge)
        values[np.ix_(here, ~pattern)], error[np.ix_(here, ~pattern)], r2[here], stability[here] = found
    return values, error, {"r2": r2, "stability": stability}
