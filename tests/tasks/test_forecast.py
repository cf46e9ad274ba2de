"""Forecasts from file to answers: parted by time without overlap, better than the season before, with times and intervals."""

import numpy as np
import pytest

import cenote as cn
from cenote import tasks
from cenote.tasks.forecast import Forecast


@pytest.fixture(scope="module")
def airline(data_folder):
    path = data_folder / "time-series/airline-passengers.csv"
    return tasks.train(path, "Passengers", verbose=0), path


def test_passengers_are_foreseen_better_than_by_last_year(airline):
    trained, _ = airline
    assert trained.task.name == "forecast"
    baselines = {b.name: b.value for b in trained.baselines}
    assert set(baselines) == {"last value", "seasonal naive", "mean", "linear model"}
    assert trained.scores["MAE"] < 0.85 * baselines["seasonal naive"] < baselines["last value"]
    assert trained.scores["MASE"] == pytest.approx(trained.scores["MAE"] / trained.answers.naive[0])
    steps = trained.scores.details["by_step"]
    assert len(steps) == 12 and np.mean([s["MAE"] for s in steps]) == pytest.approx(trained.scores["MAE"])


def test_no_window_sees_what_another_part_must_foresee(airline):
    parts = airline[0].job.parts
    assert parts.how == "time"
    for early, late in ((parts.train, parts.validation), (parts.validation, parts.test)):
        assert early.inputs.ends.max() + early.inputs.horizon <= late.inputs.ends.min()
    assert any("left out, so that nothing is seen twice" in f.text for f in parts.findings)


def test_the_next_year_with_its_months_and_intervals(airline, tmp_path):
    trained, path = airline
    answer = trained.predict(path)[0]
    ahead = answer["forecast"]
    assert [row["time"] for row in ahead][:2] == ["1961-01", "1961-02"] and len(ahead) == 12
    values = np.array([row["Passengers"] for row in ahead])
    last = np.array([417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432])
    assert np.corrcoef(values, last)[0, 1] > 0.95 and 1.0 < values.mean() / last.mean() < 1.2
    assert all(row["Passengers low"] < row["Passengers"] < row["Passengers high"] for row in ahead)
    assert "1961-01" in trained.task.line(answer) and " to " in trained.task.line(answer)
    trained.save(tmp_path / "air.cenote")
    again = cn.load(tmp_path / "air.cenote")
    assert again.predict(path)[0]["forecast"][0]["time"] == "1961-01"
    np.testing.assert_allclose([row["Passengers"] for row in again.predict(path)[0]["forecast"]], values, rtol=1e-5)
    assert again.evaluate(path)["MAE"] < 40


def test_intervals_are_scored_on_the_test_part(airline):
    inside = next(s for s in airline[0].scores.values if s.name.startswith("inside"))
    assert inside.name == "inside 90% interval" and inside.percent and 0.7 < inside.value <= 1
    arrays = airline[0].scores.arrays
    held = (arrays["true"] >= arrays["low"]) & (arrays["true"] <= arrays["high"])
    assert held.mean() == pytest.approx(inside.value)


def test_several_targets_are_scaled_by_their_own_size():
    n = 300
    t = np.arange(n)
    days = np.datetime64("2021-01-01") + t
    noise = np.random.RandomState(0).randn(n)
    table = {"day": days, "a": np.sin(2 * np.pi * t / 7) + 0.1 * noise, "b": 1000 * np.cos(2 * np.pi * t / 7) + 5000}
    trained = Forecast(target=["a", "b"], horizon=7, epochs=2).train(table, verbose=0)
    assert trained.scores.main.name == "MASE"
    row = trained.predict(table)[0]["forecast"][0]
    assert row["time"] == "2021-10-28" and row["b"] == pytest.approx(1000 * np.cos(2 * np.pi * n / 7) + 5000, abs=60)


def test_what_looks_like_a_forecast(data_folder):
    folder = data_folder / "time-series"
    assert "one time each hour" in Forecast.fits(folder / "ETTh1.csv.gz", "OT")
    assert "one time each day" in Forecast.fits(folder / "daily-min-temperatures.csv")
    assert Forecast.fits(data_folder / "tabular/titanic.csv", "Survived") is None
    assert Forecast.fits(data_folder / "tabular/titanic.csv", "Survived", horizon=3) is not None
    assert Forecast.fits({"x": [1, 2], "y": [3, 4]}) is None


def test_a_longer_history_leaves_enough_to_validate():
    table = {"day": np.datetime64("2020-01-01") + np.arange(144), "y": np.arange(144) % 7 + 0.5}
    parts = tasks.Forecast(target="y", horizon=12, history=36).plan(table).parts
    assert parts.counts() == {"train": 43, "validation": 13, "test": 19}


def test_a_series_that_is_too_short_for_its_parts():
    days = np.datetime64("2021-01-01") + np.arange(60, dtype="timedelta64[D]")
    with pytest.raises(ValueError, match="overlap with those after them: give a longer series, or a smaller horizon"):
        Forecast(target="y", horizon=20, history=10).train({"day": days, "y": np.arange(60) % 7 + 0.5}, verbose=0)
