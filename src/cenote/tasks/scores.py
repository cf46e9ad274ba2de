"""How good a model is on examples that it has not learned from: named numbers, each with a 95% interval.

NumPy only. A score without an interval invites to read too much into it; so each here has one: Wilson's for shares, the
bootstrap's percentiles for anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..report.facts import percent, plain
from ..report.scores import score as score_classes
from ..report.scores import wilson

__all__ = [
    "Baseline",
    "Score",
    "Scores",
    "average",
    "of_classes",
    "of_labels",
    "of_quantities",
    "resampled",
    "score_table",
    "share",
]

ROUNDS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Score:
    """One number and what is known of it."""

    name: str  # "accuracy", "RMSE", "BLEU": as people call it
    value: float
    low: float = math.nan  # of the 95% interval
    high: float = math.nan
    better: str = "higher"  # or "lower"
    percent: bool = False  # shown as a share
    unit: str = ""

    def text(self, count: int = 0) -> str:
        """The value as people read it.

        >>> Score("accuracy", 0.9777, percent=True).text(), Score("RMSE", 48213.2, unit="USD").text()
        ('97.8%', '48,213 USD')
        """
        return self.write(self.value, count) + (f" {self.unit}" if self.unit else "")

    def write(self, value: float, count: int = 0) -> str:
        """Any value of this kind (a baseline's, an end of the interval) as people read it, without the unit."""
        return percent(value, count) if self.percent else plain(value)

    def beats(self, value: float) -> bool:
        """Whether even the worse end of the interval is better than another value, such as a baseline's."""
        return self.low > value if self.better == "higher" else self.high < value

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON; what is unknown is None."""
        known = [v if math.isfinite(v) else None for v in (self.value, self.low, self.high)]
        return {"name": self.name, "value": known[0], "interval": known[1:], "better": self.better, "percent": self.percent} | (
            {"unit": self.unit} if self.unit else {}
        )


@dataclass
class Scores:
    """What `Task.score` gives: numbers, the main one first; ``details`` are plain values, ``arrays`` are for the report.

    ``arrays`` of classification hold "probabilities" (n, classes) and "labels" (n,); of quantities "predicted" and "true"
    (n, quantities); "errors" (n,), where an error of each example has a meaning, serves to find the worst and the best.
    """

    values: list[Score]
    count: int
    details: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def main(self) -> Score:
        return self.values[0]

    def __getitem__(self, name: str) -> float:
        for score in self.values:
            if score.name == name:
                return score.value
        from ..core.errors import unknown

        raise KeyError(str(unknown("score", name, [s.name for s in self.values])))

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"count": self.count, "scores": [s.record() for s in self.values], **self.details}

    def __str__(self) -> str:
        lines = []
        for s in self.values:
            ends = [s.write(v, self.count) for v in (s.low, s.high)]
            lines.append(
                f"{s.name:<14} {s.text(self.count)}" + (f"   95% interval {ends[0]} to {ends[1]}" if s.low == s.low else "")
            )
        return "\n".join([*lines, f"{'examples':<14} {self.count:,}"])

    def _repr_html_(self) -> str:
        """What a notebook shows: a table."""
        return score_table(self, [])


@dataclass(frozen=True)
class Baseline:
    """What a simple answer would score on the same test examples, in the main score's units."""

    name: str  # "majority class", "mean", "last value", "linear model"
    value: float
    about: str = ""  # how it answers: "always 'no'"

    def record(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "about": self.about}


def score_table(scores: Scores, baselines: Sequence[Baseline]) -> str:
    """Scores with their intervals and baselines below them, as HTML for notebooks."""
    from ..report.html import table

    rows = []
    for s in scores.values:
        ends = [s.write(v, scores.count) for v in (s.low, s.high)]
        rows.append([s.name, s.text(scores.count), f"{ends[0]} – {ends[1]}" if s.low == s.low else "", ""])
    for b in baselines:
        verdict = "" if scores.main.beats(b.value) else "the model is not clearly better"
        rows.append([f"{b.name} (baseline)", scores.main.write(b.value, scores.count), "", verdict])
    return table([f"of {scores.count:,} examples", "score", "95% interval", ""], rows, text=(0, 3))


def share(name: str, right: int, count: int, **more: Any) -> Score:
    """A proportion with its Wilson interval: ``share("accuracy", 95, 100)``.

    >>> share("accuracy", 95, 100).text()
    '95.0%'
    """
    low, high = wilson(right, count)
    return Score(name, right / count, low, high, percent=True, **more)


def average(name: str, values: Any, *, better: str = "lower", **more: Any) -> Score:
    """The mean of one number for each example, with the interval of `resampled`.

    >>> average("MAE", [1.0, 2.0, 3.0]).value
    2.0
    """
    return resampled(name, lambda v: float(v.mean()), np.asarray(values, np.float64).reshape(-1), better=better, **more)


def resampled(
    name: str, statistic: Callable[..., float], *arrays: Any, better: str = "higher", rounds: int = ROUNDS, **more: Any
) -> Score:
    """``statistic(*arrays)`` with the 2.5% and 97.5% percentiles of it over resampled rows (the bootstrap, seed 0).

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.

    >>> resampled("RMSE", lambda e: float(np.sqrt((e**2).mean())), [3.0, -3.0, 3.0], better="lower").value
    3.0
    """
    given = [np.asarray(a) for a in arrays]
    count, draw = len(given[0]), np.random.RandomState(0)
    value = float(statistic(*given))
    rounds = int(np.clip(2e7 // max(count, 1), 100, rounds))
    drawn = []
    for _ in range(rounds if count > 1 else 0):
        rows = draw.randint(0, count, count)
        drawn.append(statistic(*(a[rows] for a in given)))
    known = np.array([v for v in drawn if math.isfinite(v)])
    low, high = np.percentile(known, [2.5, 97.5]).tolist() if len(known) else (math.nan, math.nan)
    return Score(name, value, low, high, better, **more)


# -- the usual kinds -------------------------------------------------------------------------------------------------------


def of_classes(probabilities: Any, labels: Any, names: Sequence[str]) -> Scores:
    """Accuracy (main), and where the classes are uneven the mean recall; the commonest mistakes are in the details."""
    found = score_classes(probabilities, labels)
    values = [share("accuracy", found.right, found.count)]
    counts = np.bincount(found.labels, minlength=len(names))
    held = counts[counts > 0]
    if len(held) > 1 and held.max() > 1.5 * held.min():

        def balanced(hit: np.ndarray, y: np.ndarray) -> float:
            total = np.bincount(y, minlength=len(names))
            right = np.bincount(y, hit, minlength=len(names))
            return float((right[total > 0] / total[total > 0]).mean())

        values.append(resampled("balanced accuracy", balanced, found.predicted == found.labels, found.labels, percent=True))
    values.append(average("log loss", -np.log(np.maximum(found.truth, 1e-7))))
    return Scores(
        values,
        found.count,
        {
            "right": found.right,
            "loss": found.loss,
            "calibration_error": found.calibration_error,
            "confused": [{"true": names[t], "said": names[p], "count": n} for t, p, n in found.confused(3)],
        },
        {"probabilities": found.probabilities, "labels": found.labels, "errors": 1 - found.truth},
    )


def of_labels(probabilities: Any, truth: Any, names: Sequence[str]) -> Scores:
    """F1 over all labels together (main), mean F1 of the labels, and the share of examples with every label right."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(truth) > 0.5
    said = p >= 0.5

    def micro(said: np.ndarray, y: np.ndarray) -> float:
        both = 2 * int((said & y).sum())
        return both / max(both + int((said ^ y).sum()), 1)

    def macro(said: np.ndarray, y: np.ndarray) -> float:
        both, other = 2 * (said & y).sum(0), (said ^ y).sum(0)
        seen = both + other > 0
        return float((both[seen] / (both + other)[seen]).mean()) if seen.any() else math.nan

    whole = (said == y).all(1)
    values = [
        resampled("F1", micro, said, y, percent=True),
        resampled("mean F1", macro, said, y, percent=True),
        share("all labels right", int(whole.sum()), len(y)),
    ]
    each = [{"label": n, "f1": micro(said[:, i], y[:, i]), "count": int(y[:, i].sum())} for i, n in enumerate(names)]
    return Scores(values, len(y), {"labels": each}, {"probabilities": p, "truth": y, "errors": np.abs(p - y).mean(1)})


def of_quantities(predicted: Any, true: Any, names: Sequence[str] = (), unit: str = "") -> Scores:
    """Root mean square error (main), mean absolute error, and R², the share of the variance that is explained.

    With several quantities the errors are averaged over all of them, and R² is the mean of theirs.
    """
    p, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (predicted, true))
    if p.shape != y.shape:
        raise ValueError(f"predictions of shape {p.shape} do not fit targets of shape {y.shape}")

    def determination(p: np.ndarray, y: np.ndarray) -> float:
        spread = ((y - y.mean(0)) ** 2).sum(0)
        rest = ((y - p) ** 2).sum(0)
        return float((1 - rest[spread > 0] / spread[spread > 0]).mean()) if (spread > 0).any() else math.nan

    error = p - y
    values = [
        resampled("RMSE", lambda e: float(np.sqrt((e**2).mean())), error, better="lower", unit=unit),
        average("MAE", np.abs(error).mean(1), unit=unit),
        resampled("R²", determination, p, y),
    ]
    return Scores(values, len(y), {}, {"predicted": p, "true": y, "errors": np.abs(error).mean(1)})
