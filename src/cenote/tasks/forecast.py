"""Forecasts: the next values of a series, from those before and the calendar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import layers
from ..data.answers import Answers
from ..data.examples import Examples, Finding
from ..data.preparation import Preparation
from ..data.series import Ahead, SeriesPreparation, Windows, read
from ..data.series.prepare import naive
from ..data.series.series import find_step
from ..data.split import Parts, part
from ..data.tables import kinds, looks_like_table
from ..data.tables.read import glance, times_of
from ..model import Model
from .base import Choice, Task, cosine
from .scores import Baseline, Score, Scores, resampled
from .table_linear import ridge_weights

__all__ = ["Forecast", "ForecastNetwork"]

FEWEST = 5  # windows of a part, once those are left out that reach into a later one
WIDE = 1024  # past values that the nonlinear part looks at


class ForecastNetwork(Model):
    """The last value, and a linear map of the past before it, and a correction by a small network.

    ``y = last + s (W (past - last) / s + b + network(past, level, calendar))``, where ``s`` is the deviation of the window's
    own values: what the window's level and size are is taken out and put back, so that a series that grows is no new one.

    Input: (batch, history, variable), or a dict of that ("past") and "calendar" (batch, horizon, feature); the first
    ``targets`` variables are foreseen. Output: (batch, horizon, target).
    Source: NLinear of Zeng et al. 2022, arXiv:2205.13504; the normalisation of a window by itself: Kim et al. 2022 (RevIN).
    """

    def __init__(self, horizon: int, targets: int = 1, width: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.horizon, self.targets = horizon, targets
        self.inner = layers.Dense(width, activation="gelu") if width else None
        self.dropout = layers.Dropout(dropout)
        self.head = layers.Dense(horizon * targets, kernel_initializer="zeros") if width else None

    def forward(self, x: Any) -> jax.Array:
        past, calendar = (x["past"], x["calendar"]) if isinstance(x, dict) else (x, None)
        last, mean = past[:, -1:], past.mean(1, keepdims=True)
        size = jnp.sqrt(past.var(1, keepdims=True) + 1e-3)
        flat = (past - last) / size
        kernel = self.param("kernel", (past.shape[1], self.horizon), "zeros")
        bias = self.param("bias", (self.horizon, 1), "zeros")
        y = jnp.einsum("blk,lh->bhk", flat[..., : self.targets], kernel) + bias
        if self.inner is not None and self.head is not None:
            seen = flat[:, -max(1, WIDE // past.shape[2]) :]
            level = [jnp.tanh(mean / 3), jnp.tanh(last / 3), jnp.log(size)]
            parts = [seen, *level] + ([] if calendar is None else [calendar])
            h = jnp.concatenate([p.reshape(p.shape[0], -1) for p in parts], axis=1)
            y = y + self.head(self.dropout(self.inner(h))).reshape(-1, self.horizon, self.targets)
        return last[..., : self.targets] + size[..., : self.targets] * y


class Forecast(Task):
    """The next values of one or several columns of a table with a column of times.

    ``target`` names what to foresee. Options: ``horizon`` steps ahead (by default a day of hours, a week of days, a year of
    months); ``history`` steps back; ``time`` names the column of times; ``variables`` those that help (by default all numbers);
    ``types``; ``level`` of the intervals; ``delimiter``, ``header``, ``encoding`` of the file. Parts are parted by time alone.

    The linear part begins as the ridge regression of the training part. Intervals come from the errors on the
    validation part, for each step ahead, in deviations of each window's past; few windows make them wider. How many test
    values they hold is among the scores.

    >>> days = np.datetime64("2020-01-01") + np.arange(200, dtype="timedelta64[D]")
    >>> table = {"day": days, "sales": 10 + np.sin(np.arange(200) * 2 * np.pi / 7)}
    >>> trained = Forecast(target="sales", horizon=7, epochs=3).train(table, verbose=0)
    >>> ahead = trained.predict(table)[0]["forecast"]
    >>> len(ahead), ahead[0]["time"], round(ahead[0]["sales"], 1)
    (7, '2020-07-19', 9.6)
    """

    name = "forecast"
    about = "the next values of a series in a table with a column of times"
    kind = "series"
    models = ("network", "linear")
    options: ClassVar[Mapping[str, Any]] = {
        "horizon": None, "history": None, "time": None, "variables": None, "types": None, "level": 0.9,
        "delimiter": None, "header": None, "encoding": "utf-8",
    }  # fmt: skip

    preparation: SeriesPreparation
    answers: Ahead  # type: ignore[assignment]

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        if not looks_like_table(source):
            return None
        if options.get("horizon"):
            return "a horizon was given"
        from .tables import READING, _for_files

        try:
            table = glance(source, **_for_files(source, {k: v for k, v in options.items() if k in READING}))
        except (ValueError, TypeError):  # what is wrong with it is said by the tasks that are asked later
            return None
        found = kinds(table, options.get("types"))
        dates = [n for n, k in found.items() if k.type == "date"]
        numbers = [n for n, k in found.items() if k.type in ("number", "boolean")]
        if len(dates) != 1 or len(dates) + len(numbers) < len(table.columns) or len(table) < 30:
            return None
        wanted = [] if target is None else [target] if isinstance(target, (str, int)) else list(target)
        if any(isinstance(name, str) and name not in numbers for name in wanted):
            return None
        if table[dates[0]].missing.any():
            return None
        times = np.unique(times_of(table, dates[0]))
        step = find_step(times) if len(times) == len(table) else None
        return f"its column {dates[0]!r} has one time each {step}" if step is not None else None

    def read(self, source: Any) -> Examples:
        from .tables import _for_files

        given = {name: self.option[name] for name in ("time", "horizon", "history", "variables", "types")}
        reading = _for_files(source, {name: self.option[name] for name in ("delimiter", "header", "encoding")})
        return read(source, self.target, **given, **reading)

    def part(self, examples: Examples, validation: float | int, test: float | int) -> Parts:
        horizon, lost, count = examples.inputs.horizon, 0, len(examples)
        if isinstance(validation, float) and validation:  # as many more as will be left out, if the series is long enough
            least = FEWEST + horizon - 1
            if count > 3 * least:
                validation = max(min(round(count * validation) + horizon - 1, count // 4), least)
        parts = part(examples, how="time", validation=validation, test=test, seed=self.seed)
        for name, later in (("train", parts.validation), ("train", parts.test), ("validation", parts.test)):
            mine: Examples = getattr(parts, name)
            if not len(later) or not len(mine):
                continue
            keep = np.flatnonzero(mine.inputs.ends + horizon <= later.inputs.ends.min())
            lost += len(mine) - len(keep)
            if len(keep) < FEWEST:
                raise ValueError(
                    f"the {name} part has {len(mine)} windows, which overlap with those after them: give a longer series, or a "
                    f"smaller horizon ({horizon}), history ({examples.inputs.history}), validation or test part"
                )
            setattr(parts, name, mine.take(keep))
        if lost:
            text = f"{lost} windows whose values ahead lie in a later part are left out, so that nothing is seen twice"
            parts.findings.append(Finding(text))
        return parts

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        windows: Windows = training.inputs
        names = windows.series.names
        targets = names[: windows.series.targets]
        self.target = targets[0] if len(targets) == 1 else targets
        self.option |= {"horizon": windows.horizon, "history": windows.history, "variables": names[len(targets) :]}
        time = self.option["time"]
        if time is None and windows.series.step.unit != "rows":
            time = windows.series.time
        self.option["time"] = time
        return SeriesPreparation.fit(training, time=time), Ahead.fit(windows, level=float(self.option["level"]))

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        kind, rows = self.kind_of_model("network"), len(training)
        past = x["past"] if isinstance(x, dict) else x
        width = 0 if kind == "linear" else 64 if rows < 1000 else 128
        model = ForecastNetwork(self.answers.horizon, len(self.answers.names), width, dropout=0.3 if rows < 5000 else 0.2)
        model.build(jax.tree.map(lambda a: a[:1], x))
        weights, bias = _ridge(past, y)
        model.set_weights({"kernel": weights.astype(np.float32), "bias": bias.astype(np.float32)[:, None]})
        size = int(np.clip(2 ** round(np.log2(max(rows, 1) / 50)), 16, 128))
        epochs = int(np.clip(400_000 // rows, 10, 60))
        return Choice(
            model,
            kind,
            "huber",
            ["mae"],
            learning_rate=5e-4 if rows <= 2000 else 1e-3 if rows <= 5000 else 2e-4,
            schedule=cosine,
            epochs=epochs,
            batch_size=size,
            patience=max(5, epochs // 4) if rows <= 5000 else 5,
            reasons={
                "model": f"a linear map of the last {past.shape[1]} values"
                + (f", corrected by a layer of {width} units" if width else "")
                + f": {rows:,} windows to learn from",
                "loss": "huber: outliers count less",
            },
        )

    def calibrate(self, model: Any, validation: Examples) -> None:
        said = model.predict(self.preparation(validation.inputs), verbose=0)
        self.answers.calibrate(said, validation.targets, validation.inputs)

    def score(self, outputs: Any, examples: Examples) -> Scores:
        said, true = self.answers.back(outputs), np.asarray(examples.targets, np.float64)
        error = said - true
        scaled = np.abs(error) / self.answers.naive
        blocks = _blocks(len(true), examples.inputs.horizon)
        mae = _score("MAE", np.abs(error), blocks)
        rmse = resampled("RMSE", lambda e: float(np.sqrt(e.mean())), _means(error**2, blocks), better="lower")
        rmse = replace(rmse, value=float(np.sqrt((error**2).mean())))
        mase = _score("MASE", scaled, blocks)
        values = [mase, mae, rmse] if len(self.answers.names) > 1 else [mae, rmse, mase]
        steps = np.abs(error).mean((0, 2)).tolist(), np.sqrt((error**2).mean((0, 2))).tolist(), scaled.mean((0, 2)).tolist()
        details: dict[str, Any] = {
            "by_step": [{"step": k + 1, "MAE": a, "RMSE": r, "MASE": m} for k, (a, r, m) in enumerate(zip(*steps, strict=True))]
        }
        arrays = {"predicted": said, "true": true}
        ends = self.answers.interval(said, examples.inputs)
        if ends is not None:
            inside = (true >= ends[0]) & (true <= ends[1])
            name = f"inside {self.answers.level:.0%} interval"
            values.append(replace(_score(name, inside.astype(np.float64), blocks), better="higher", percent=True))
            arrays |= {"low": ends[0], "high": ends[1]}
        arrays = {name: each.reshape(len(each), -1) for name, each in arrays.items()}
        return Scores(values, len(true), details, arrays | {"errors": np.abs(error).mean((1, 2))})

    def simplest(self, examples: Examples) -> list[Baseline]:
        windows: Windows = examples.inputs
        found = [("last value", naive(windows, 1), "saying the last value again")]
        period = self.answers.period
        if period > 1:
            text = f"saying what was {period} steps (a period) before"
            found.append(("seasonal naive", naive(windows, period), text))
        mean = np.broadcast_to(self.answers.mean, np.shape(examples.targets))
        found.append(("mean", mean, "always saying the mean of the training part"))
        return [Baseline(name, self._main(said, examples), about) for name, said, about in found]

    def baselines(self, parts: Parts) -> list[Baseline]:
        found = self.simplest(parts.test)
        x, z = (_past(self.preparation(p.inputs)) for p in (parts.train, parts.test))
        weights, bias = _ridge(x, self.answers(parts.train.targets))
        size = np.sqrt(z.var(1, keepdims=True) + 1e-3)[..., : len(self.answers.names)]
        last = z[:, -1:, : size.shape[2]]
        said = last + size * (np.einsum("blk,lh->bhk", (z[..., : size.shape[2]] - last) / size, weights) + bias[:, None])
        text = "ridge regression on the values before"
        return [*found, Baseline("linear model", self._main(self.answers.back(said), parts.test), text)]

    def _main(self, said: np.ndarray, examples: Examples) -> float:
        error = np.abs(said - np.asarray(examples.targets, np.float64))
        return float((error / self.answers.naive).mean() if len(self.answers.names) > 1 else error.mean())

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        said, answers, told = self.answers.back(outputs), self.answers, []
        windows = self.preparation.prepared
        known = windows is not None and len(windows) == len(said)
        ends = answers.interval(said, windows) if known else None  # type: ignore[arg-type]
        times = windows.times() if known else None  # type: ignore[union-attr]
        for at, name in enumerate(names):
            ahead = []
            for k in range(answers.horizon):
                row: dict[str, Any] = {"time": f"step {k + 1}" if times is None else self.preparation.step.text(times[at, k])}
                for i, target in enumerate(answers.names):
                    row[target] = float(said[at, k, i])
                    if ends is not None:
                        row[f"{target} low"], row[f"{target} high"] = (float(end[at, k, i]) for end in ends)
                ahead.append(row)
            told.append({"source": name, "forecast": ahead})
        return told

    def line(self, answer: dict[str, Any]) -> str:
        rows = []
        for row in answer["forecast"]:
            text = str(row["time"])
            for name in self.answers.names:
                text += f"  {row[name]:.5g}" if len(self.answers.names) == 1 else f"  {name} {row[name]:.5g}"
                if f"{name} low" in row:
                    text += f" ({row[f'{name} low']:.5g} to {row[f'{name} high']:.5g})"
            rows.append(text)
        return "\n".join(rows)


def _past(x: Any) -> np.ndarray:
    return np.asarray(x["past"] if isinstance(x, dict) else x, np.float64)


def _ridge(past: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """The linear part in closed form: (history, horizon) and (horizon,), the same for all targets."""
    past, y = np.asarray(past, np.float64), np.asarray(y, np.float64)
    targets = y.shape[2]
    past = past[..., :targets]
    last, size = past[:, -1:], np.sqrt(past.var(1, keepdims=True) + 1e-3)
    x = np.moveaxis((past - last) / size, 2, 1).reshape(-1, past.shape[1])
    z = np.moveaxis((y - last) / size, 2, 1).reshape(-1, y.shape[1])
    return ridge_weights(x, z, hold_out=0.2)


def _blocks(count: int, horizon: int) -> np.ndarray:
    """Windows beside each other share values, so they are not resampled one by one, but by blocks as long as the horizon."""
    return np.arange(count) // max(1, min(horizon, count // 4 or 1))


def _means(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    each = values.reshape(len(values), -1).mean(1)
    return np.bincount(blocks, each) / np.bincount(blocks)


def _score(name: str, values: np.ndarray, blocks: np.ndarray) -> Score:
    found = resampled(name, lambda v: float(v.mean()), _means(values, blocks), better="lower")
    return replace(found, value=float(values.mean()))
