"""What a network takes of a series: standardised windows and the calendar of the times ahead; and what it answers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..answers import Answers
from ..examples import Examples, Finding
from ..preparation import Preparation
from ..tables.columns import kinds
from ..tables.encoders import calendar
from ..tables.read import read_whole
from .read import TABLE
from .series import Step, Windows, as_series

__all__ = ["Ahead", "SeriesPreparation", "best_period", "naive"]

YEAR = 365 * 86_400
FEWEST = 5  # windows from which intervals are measured


class SeriesPreparation(Preparation):
    """Windows to ``{"past": (window, history, variable), "calendar": (window, horizon, feature)}``, float32.

    The past is standardised by mean and deviation of the training part. The calendar tells where in the day, the week and the
    year each time ahead is, as sines and cosines, as far as the step and the length of the training part allow; without it, the
    past alone comes out.
    """

    kind = "series"

    def __init__(
        self,
        names: list[str],
        targets: int,
        time: str | None,
        step: Step,
        history: int,
        horizon: int,
        mean: np.ndarray,
        scale: np.ndarray,
        parts: list[str],
        findings: list[Finding] | None = None,
    ) -> None:
        self.names, self.targets, self.time, self.step = names, targets, time, step
        self.history, self.horizon, self.mean, self.scale, self.parts = history, horizon, mean, scale, parts
        self.findings = findings or []
        self.prepared: Windows | None = None  # the last ones: what is answered for them depends on their times and sizes

    @classmethod
    def fit(cls, examples: Examples, *, time: str | None = None, **options: Any) -> Self:
        """Learn from the training part: the values up to the end of its last window."""
        windows: Windows = examples.inputs
        series = windows.series
        last = int(windows.ends.max()) + windows.horizon
        values = series.values[:last]
        mean, scale = values.mean(0), values.std(0)
        scale[scale == 0] = 1.0
        parts: list[str] = []
        if series.step.unit != "rows":
            span = (series.times[last - 1] - series.times[0]).astype("timedelta64[s]").astype(np.int64)
            seconds = series.step.count if series.step.unit == "seconds" else 86_400
            if series.step.unit == "seconds" and seconds < 86_400:
                parts.append("hour")
            if series.step.unit != "months" and seconds <= 86_400 and span > 3 * 604_800:
                parts.append("weekday")
            if span >= YEAR:
                parts.append("season")
        return cls(
            series.names, series.targets, time, series.step, windows.history, windows.horizon, mean, scale, parts
        )  # fmt: skip

    def __call__(self, inputs: Any) -> Any:
        windows: Windows = inputs if isinstance(inputs, Windows) else self.raw(inputs)
        self.prepared = windows
        past = ((windows.past() - self.mean) / self.scale).astype(np.float32)
        return {"past": past, "calendar": self.calendar(windows)} if self.parts else past

    def calendar(self, windows: Windows) -> np.ndarray:
        """Sines and cosines of the times ahead, once and twice around, (window, horizon, feature)."""
        times = windows.times()
        turns = [turns_of(times.reshape(-1), part) for part in self.parts]
        features = [f(n * 2 * np.pi * t) for t in turns for n in (1, 2) for f in (np.sin, np.cos)]
        return np.stack(features, axis=1).reshape(*times.shape, -1).astype(np.float32)

    def raw(self, source: Any) -> Windows:
        """The window at the end of a table (a path, a frame, a dict of columns), from which to look ahead.

        Raises: ValueError for missing columns, too few values, or another step than that of training.
        """
        if isinstance(source, Windows):
            return source
        table, _ = read_whole(source, TABLE)
        wanted = [*self.names, *([self.time] if self.time else [])]
        lacking = [name for name in wanted if name not in table]
        if lacking:
            raise ValueError(
                f"{table.file or 'the table'} lacks the column {lacking[0]!r} of the training data; it has: "
                f"{', '.join(table.columns)}"
            )
        targets = self.names[: self.targets]
        series, _ = as_series(table, kinds(table), targets, self.time, self.names[self.targets :])
        if len(series) < self.history:
            raise ValueError(
                f"{table.file or 'the table'} has {len(series)} values; the model looks back on {self.history}: give at least "
                f"so many"
            )
        if series.step != self.step:
            raise ValueError(f"the values are one each {series.step}; the model was trained on one each {self.step}")
        if series.names != self.names:
            raise ValueError(
                f"expected numbers in the columns {', '.join(self.names)}; found them in {', '.join(series.names)}"
            )
        return Windows(series, np.array([len(series)]), self.history, self.horizon)

    def describe(self) -> list[str]:
        lines = [f"{self.history} values back, {self.horizon} ahead, one each {self.step}"]
        lines.append(f"variables: {', '.join(self.names[:12])}{', ...' if len(self.names) > 12 else ''}, standardised")
        if self.parts:
            lines.append(f"calendar of the times ahead: {', '.join(self.parts)}")
        return lines

    def config(self) -> dict[str, Any]:
        step = {"unit": self.step.unit, "count": self.step.count}
        names = ("names", "targets", "time", "history", "horizon", "parts")
        return {name: getattr(self, name) for name in names} | {"step": step}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        try:
            step = Step(str(config["step"]["unit"]), int(config["step"]["count"]))
            names, parts = [str(n) for n in config["names"]], [str(p) for p in config["parts"]]
            mean, scale = (np.asarray(arrays[k], np.float64) for k in ("mean", "scale"))
            sizes = [int(config[k]) for k in ("targets", "history", "horizon")]
            time = None if config["time"] is None else str(config["time"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the saved preparation of a series makes no sense: {error!r}") from error
        good = mean.shape == scale.shape == (len(names),) and bool((scale > 0).all()) and set(parts) <= set(TURNS)
        if (
            not good
            or min(sizes) < 1
            or sizes[0] > len(names)
            or max(sizes) > 1 << 20
            or step.count < 1
            or step.unit not in UNITS
        ):
            raise ValueError("the saved preparation of a series makes no sense: sizes do not fit")
        return cls(names, sizes[0], time, step, sizes[1], sizes[2], mean, scale, parts)


TURNS = ("hour", "weekday", "season")
UNITS = ("seconds", "months", "business days", "rows")


def turns_of(times: np.ndarray, part: str) -> np.ndarray:
    """How much of a day, a week or a year has passed at each time, from 0 to 1."""
    if part == "season":
        years = times.astype("datetime64[Y]")
        start, end = years.astype("datetime64[s]"), (years + np.timedelta64(1, "Y")).astype("datetime64[s]")
        return (times - start).astype(np.float64) / (end - start).astype(np.float64)
    turn = calendar(times, part)
    return np.arctan2(turn[:, 0], turn[:, 1]) / (2 * np.pi)


class Ahead(Answers):
    """The values ahead, standardised for the loss, and how far off they may be, once that is measured.

    ``naive`` is the mean absolute error of the seasonal naive forecast within the training part, by which MASE divides.
    ``width`` (horizon, target) is half an interval, in deviations of the window's own past (`deviations`).
    """

    kind = "quantities"

    def __init__(
        self,
        names: list[str],
        horizon: int,
        mean: np.ndarray,
        scale: np.ndarray,
        naive: np.ndarray,
        period: int,
        level: float = 0.9,
        width: np.ndarray | None = None,
    ) -> None:
        self.names, self.horizon, self.mean, self.scale, self.naive = names, horizon, mean, scale, naive
        self.period, self.level, self.width = period, level, width

    @classmethod
    def fit(cls, targets: Any, *, level: float = 0.9, **options: Any) -> Self:
        """Learn from the windows of the training part."""
        windows: Windows = targets
        series, count = windows.series, windows.series.targets
        values = series.values[: int(windows.ends.max()) + windows.horizon, :count]
        if (values == values[0]).all():
            raise ValueError(f"the target {series.names[0]!r} is {values[0, 0]:g} at all times: there is nothing to learn")
        scale = values.std(0)
        scale[scale == 0] = 1.0
        period = best_period(windows)
        lag = period or 1
        error = np.abs(values[lag:] - values[:-lag]).mean(0)
        error[error == 0] = scale[error == 0]
        return cls(series.names[:count], windows.horizon, values.mean(0), scale, error, period, level)

    def __call__(self, targets: Any) -> np.ndarray:
        """Standardised values ahead, (window, horizon, target) float32."""
        return ((np.asarray(targets, np.float64) - self.mean) / self.scale).astype(np.float32)

    def back(self, outputs: Any) -> np.ndarray:
        """A model's outputs in the units of the targets, (window, horizon, target)."""
        return np.asarray(outputs, np.float64) * self.scale + self.mean

    def calibrate(self, outputs: Any, targets: Any, windows: Windows) -> None:
        """Measure the intervals on windows that were not learned from: split-conformal, for each step ahead.

        With errors ``r`` in deviations of their windows, and ``n`` windows: the ``ceil((n + 1) level)``-th smallest ``|r|``,
        below which a new one lies with the probability ``level``. That holds for independent windows; but neighbours share
        most values, and those of the validation part are worth only ``m = (n + horizon - 1) / horizon`` separate ones. So the
        width is multiplied by ``sqrt(1 + 1 / m) t / z``, of the quantiles of Student's t with m degrees of freedom and of the
        normal distribution: near 1 for many, about 2 for two.

        Source: Papadopoulos et al. 2002, doi:10.1007/3-540-36755-1_29 (normalised errors); Lei et al. 2018, arXiv:1604.04173.
        """
        from scipy.special import ndtri, stdtrit

        n = len(windows)
        if n < FEWEST:
            return
        errors = np.abs(np.asarray(targets, np.float64) - self.back(outputs)) / self.deviations(windows)[:, None]
        rank = min(int(np.ceil((n + 1) * self.level)), n)
        separate, tail = (n + self.horizon - 1) / self.horizon, 0.5 + self.level / 2
        few = np.sqrt(1 + 1 / separate) * float(stdtrit(separate, tail)) / float(ndtri(tail))
        self.width = few * np.sort(errors, axis=0)[rank - 1]

    def deviations(self, windows: Windows) -> np.ndarray:
        """The standard deviation of each window's past, (window, target); hardly less than 3 % of that of all."""
        return np.sqrt(windows.past()[..., : len(self.names)].var(1) + 1e-3 * self.scale**2)

    def interval(self, said: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray] | None:
        """The lower and the upper ends about what was said (window, horizon, target); None where they were not measured."""
        if self.width is None:
            return None
        half = self.deviations(windows)[:, None] * self.width
        return said - half, said + half

    def config(self) -> dict[str, Any]:
        return {"names": self.names, "horizon": self.horizon, "period": self.period, "level": self.level}

    def arrays(self) -> dict[str, np.ndarray]:
        found = {"mean": self.mean, "scale": self.scale, "naive": self.naive}
        return found if self.width is None else {**found, "width": self.width}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        try:
            names, horizon = [str(n) for n in config["names"]], int(config["horizon"])
            mean, scale, error = (np.asarray(arrays[k], np.float64) for k in ("mean", "scale", "naive"))
            width = None if arrays.get("width") is None else np.asarray(arrays["width"], np.float64)
            period, level = int(config["period"]), float(config["level"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the saved answers of a forecast make no sense: {error!r}") from error
        good = mean.shape == scale.shape == error.shape == (len(names),) and bool((scale > 0).all())
        if not good or (width is not None and width.shape != (horizon, len(names))):
            raise ValueError("the saved answers of a forecast make no sense: sizes do not fit")
        return cls(names, horizon, mean, scale, error, period, level, width)

    def describe(self) -> str:
        each = [f"{n} ({m:.4g} ± {s:.3g})" for n, m, s in zip(self.names, self.mean, self.scale, strict=True)]
        return f"{self.horizon} steps of {', '.join(each[:6])}" + (", ..." if len(each) > 6 else "")


def naive(windows: Windows, period: int) -> np.ndarray:
    """The seasonal naive forecast, (window, horizon, target): the value a period (or several) before; 1: the last value."""
    back = period * (1 + np.arange(windows.horizon) // period)
    at = windows.ends[:, None] + np.arange(windows.horizon) - back
    return windows.series.values[np.maximum(at, 0), : windows.series.targets]


def best_period(windows: Windows) -> int:
    """The period of the calendar whose seasonal naive forecast is best in the training part; 0 where none can be tried."""
    best, error = 0, np.inf
    for period in windows.series.step.periods():
        known = windows.take_rows(np.flatnonzero(windows.ends >= period * (1 + (windows.horizon - 1) // period)))
        if len(known) < 5:
            continue
        rest = np.abs(naive(known, period) - known.future()) / windows.series.values[:, : windows.series.targets].std(0).clip(
            1e-12
        )
        if rest.mean() < error:
            best, error = period, float(rest.mean())
    return best
