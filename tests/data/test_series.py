"""Series: regular steps, gaps and repeats mended and reported, windows without a look ahead."""

import json
import sys

import numpy as np
import pytest

from cenote.data.series import Ahead, SeriesPreparation, Step, read
from cenote.data.series.prepare import best_period, naive
from cenote.data.series.series import find_step
from cenote.files import BadFile

START = np.datetime64("2020-01-01")
DAY, HOUR = np.timedelta64(1, "D"), np.timedelta64(3600, "s")


def table(n=60, step=DAY, start="2020-01-01", **more):
    times = np.datetime64(start, "s") + np.arange(n) * step
    return {"when": times, "y": np.arange(n) + 0.5, **more}


def test_windows_know_the_past_and_nothing_else():
    examples = read(table(), "y", history=5, horizon=3)
    assert len(examples) == 60 - 5 - 3 + 1 and examples.targets.shape == (53, 3, 1)
    np.testing.assert_allclose(examples.inputs.past()[0, :, 0], [0.5, 1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(examples.targets[0, :, 0], [5.5, 6.5, 7.5])
    assert str(examples.times[0]) == "2020-01-05T00:00:00" and examples.names[0] == "after 2020-01-05"
    some = examples.take([2, 0])
    np.testing.assert_allclose(some.inputs.past()[:, 0, 0], [2.5, 0.5])


@pytest.mark.parametrize(
    "times, text, after",
    [
        (["1949-01", "1949-02", "1949-03", "1949-04"], "month", "1949-05-01"),
        (["2020-01-31", "2020-04-30", "2020-07-31"], None, None),
        (["2020-01-01", "2020-04-01", "2020-07-01", "2020-10-01"], "quarter", "2021-01-01"),
        (["2020-01-01T00:00", "2020-01-01T01:00", "2020-01-01T02:00"], "hour", "2020-01-01T03:00"),
        (["2020-01-01T00:00", "2020-01-01T00:15", "2020-01-01T00:30"], "15 minutes", "2020-01-01T00:45"),
        (["2020-01-06", "2020-01-13", "2020-01-20"], "week", "2020-01-27"),
        (["2018-01-01", "2019-01-01", "2020-01-01", "2021-01-01"], "year", "2022-01-01"),
        (["2020-01-01", "2020-01-02", "2020-03-07"], None, None),
    ],
)
def test_steps_are_found(times, text, after):
    times = np.array(times, "datetime64[s]")
    step = find_step(times)
    assert (str(step) if step else None) == text
    if step is not None:
        assert step.after(times[-1], 1) == np.datetime64(after, "s")


def test_business_days_pass_over_weekends():
    days = np.busday_offset("2020-01-01", np.arange(40), roll="forward")
    step = find_step(days.astype("datetime64[s]"))
    assert str(step) == "business day" and str(step.after(np.datetime64("2020-01-03", "s"), 1))[:10] == "2020-01-06"


def test_rows_out_of_order_repeats_and_gaps_are_mended_and_reported():
    source = {k: list(v) for k, v in table(60).items()}
    for column in source.values():
        column[10], column[11] = column[11], column[10]  # out of order
        column.insert(20, column[20])  # twice
        del column[40:42]  # a gap of two days
    examples = read(source, "y", history=5, horizon=3)
    said = " | ".join(f.text for f in examples.findings)
    assert "not in the order of 'when' (such as row 12)" in said
    assert "1 rows repeat the time of the one before, such as row 22" in said
    assert "2 times of 'when' are missing, such as that before row 41" in said
    values = examples.inputs.series.values[:, 0]
    assert len(values) == 60 and values[10] == 10.5 and values[39:42].tolist() == [38.5, 38.5, 41.5]


def test_missing_values_go_on_from_before():
    y = np.arange(60) + 0.5
    y[:2] = y[30] = np.nan
    examples = read(table(y=y, x=np.ones(60)), "y", history=5, horizon=3)
    values = examples.inputs.series.values[:, 0]
    assert len(values) == 58 and values[28] == 29.5
    assert any("'y' is missing at 3 of 60 times" in f.text for f in examples.findings)
    assert any("first 2 times" in f.text for f in examples.findings)


@pytest.mark.parametrize(
    "source, options, message",
    [
        (table(60, y=np.arange(60.0)), {"target": "z"}, "unknown target column of the table 'z'"),
        (table(60, word=["a", "b"] * 30), {"target": "word"}, "the target column 'word' is a category, .*expected numbers"),
        (table(12), {"target": "y", "history": 5, "horizon": 3}, "has 12 values: too few for windows of 5 known and 3 unknown"),
        (table(60), {"target": "y", "horizon": 0}, "horizon=0: give a whole number from 1 up"),
        ({"when": START + DAY * np.arange(40) ** 2, "y": np.arange(40.0)}, {"target": "y"}, "are not regular"),
        ({"when": START + DAY * (np.arange(40) // 2), "y": np.arange(40) % 7}, {"target": "y"}, "several series"),
        (table(60), {"target": "y", "time": "whn"}, "did you mean 'when'"),
        ({"word": ["a", "b"] * 30}, {}, "no column of numbers to foresee"),
    ],
)  # fmt: skip
def test_what_is_no_series(source, options, message):
    target = options.pop("target", None) if isinstance(options, dict) else None
    with pytest.raises(ValueError, match=message):
        read(source, target, **options)


@pytest.mark.parametrize("least", [1, 1 << 40], ids=["arrow", "careful"])
def test_a_file_that_is_too_large_is_refused_and_not_sampled(tmp_path, monkeypatch, least):
    path = tmp_path / "long.csv"
    days = START + DAY * np.arange(20_000)
    path.write_text("day,y\n" + "".join(f"{day},{i % 7}\n" for i, day in enumerate(days)))
    monkeypatch.setattr("cenote.data.tables.csv.LARGE", least)
    examples = read(path, "y", history=7, horizon=2)
    assert len(examples) == 20_000 - 8
    monkeypatch.setattr(sys.modules["cenote.data.tables.read"], "memory_share", lambda part: 1_000_000)
    with pytest.raises(BadFile, match=r"long.csv needs more than the 0.954 MiB .* must be read whole: give a part of its rows"):
        read(path, "y")
    with pytest.raises(BadFile, match="must be read whole"):  # nor to predict
        SeriesPreparation.fit(examples).raw(path)


def test_more_windows_than_fit_are_used_one_of_several(monkeypatch):
    rows = table(200, y=np.arange(200.0))
    monkeypatch.setattr(sys.modules["cenote.data.series.read"], "memory_share", lambda part: 20_000)
    examples = read(rows, "y", history=7, horizon=2)
    ends = examples.inputs.ends
    assert (np.diff(ends) == 3).all() and ends[-1] == 198 and ends[0] in (7, 8, 9) and len(examples.targets) == len(ends)
    assert any("all 192 windows" in f.text and "of 3 that follow each other one is used" in f.text for f in examples.findings)


def test_without_times_the_rows_are_the_steps():
    examples = read({"y": np.arange(50) % 7 + 0.5}, "y", history=7, horizon=2)
    assert str(examples.inputs.series.step) == "row" and any("no column of times" in f.text for f in examples.findings)
    assert SeriesPreparation.fit(examples)(examples.inputs).shape == (42, 7, 1)


@pytest.fixture(scope="module")
def hourly():
    n = 24 * 40
    hour = np.arange(n) % 24
    return read(
        table(
            n,
            HOUR,
            y=np.sin(2 * np.pi * hour / 24) + 5,
            x=np.arange(n) % 5.0,
            word=["a"] * (n - 1) + ["b"],
        ),
        "y",
        history=48,
        horizon=6,
    )


def test_preparation_of_windows(hourly):
    training = hourly.take(np.arange(300))
    preparation = SeriesPreparation.fit(training, time="when")
    assert preparation.names == ["y", "x"] and preparation.parts == ["hour"]  # too short for weeks and seasons
    assert any("'word' is left out" in f.text for f in hourly.findings)
    x = preparation(training.inputs)
    last = 48 + 299 + 6  # the statistics are those of values up to the end of the last training window
    values = hourly.inputs.series.values[:last]
    np.testing.assert_allclose(x["past"][7], (values[7:55] - values.mean(0)) / values.std(0), rtol=1e-4, atol=1e-5)
    hour = (48 + np.arange(6)) % 24
    np.testing.assert_allclose(x["calendar"][0, :, 0], np.sin(2 * np.pi * hour / 24), atol=1e-6)
    assert x["calendar"].shape == (300, 6, 4)
    again = SeriesPreparation.restore(json.loads(json.dumps(preparation.config())), preparation.arrays())
    np.testing.assert_array_equal(again(training.inputs)["past"], x["past"])
    with pytest.raises(ValueError, match="makes no sense"):
        SeriesPreparation.restore({**preparation.config(), "targets": 9}, preparation.arrays())


def test_raw_takes_the_end_of_a_table(hourly):
    preparation = SeriesPreparation.fit(hourly, time="when")
    source = table(60, HOUR, "2021-05-01", y=np.arange(60.0), x=np.arange(60.0) % 3)
    windows = preparation.raw(source)
    assert windows.past()[0, :, 0].tolist() == list(range(12, 60))
    assert str(windows.times()[0, 0]) == "2021-05-03T12:00:00"
    for change, message in (
        ({k: v for k, v in source.items() if k != "x"}, "lacks the column 'x'"),
        ({k: v[:20] for k, v in source.items()}, "has 20 values; the model looks back on 48"),
        (table(60, y=np.arange(60.0), x=np.arange(60.0) % 3), "one each day; the model was trained on one each hour"),
    ):
        with pytest.raises(ValueError, match=message):
            preparation.raw(change)


def test_seasonal_naive_and_its_period(hourly):
    assert best_period(hourly.inputs) == 24
    np.testing.assert_allclose(naive(hourly.inputs, 24), hourly.targets, atol=1e-12)
    last = naive(hourly.inputs, 1)
    np.testing.assert_allclose(last[5, :, 0], hourly.inputs.past()[5, -1, 0])


def test_answers_and_their_intervals(hourly):
    answers = Ahead.fit(hourly.inputs)
    np.testing.assert_allclose(answers.back(answers(hourly.targets)), hourly.targets, atol=1e-5)
    assert answers.interval(hourly.targets, hourly.inputs) is None
    windows = hourly.inputs
    # Errors of known quantiles: nine tenths of new ones must lie inside, step by step.
    draw = np.random.RandomState(0)
    noise = draw.randn(len(windows), 6, 1) * np.arange(1, 7)[:, None] * answers.deviations(windows)[:, None]
    said = answers(hourly.targets)
    answers.calibrate(said, answers.back(said) + noise, windows)
    np.testing.assert_allclose(answers.width[:, 0], 1.645 * np.arange(1, 7), rtol=0.1)
    low, high = answers.interval(hourly.targets, windows)
    new = hourly.targets + draw.randn(*hourly.targets.shape) * np.arange(1, 7)[:, None] * answers.deviations(windows)[:, None]
    assert 0.87 < ((new > low) & (new < high)).mean() < 0.93
    again = Ahead.restore(json.loads(json.dumps(answers.config())), answers.arrays())
    np.testing.assert_array_equal(again.width, answers.width)
    with pytest.raises(ValueError, match="sizes do not fit"):
        Ahead.restore(answers.config(), {**answers.arrays(), "width": np.ones((2, 1))})


def test_few_windows_make_wide_intervals():
    draw, n, held = np.random.RandomState(0), 2000, []
    series = read(table(n, y=draw.randn(n)), "y", history=20, horizon=10).inputs
    answers = Ahead.fit(series)
    for start in range(0, 1900, 40):  # each time eleven windows that overlap, and the ten values after them
        known, new = series.take_rows(np.arange(start, start + 11)), series.take_rows([start + 25])
        answers.calibrate(np.full((11, 10, 1), -answers.mean[0] / answers.scale[0]), known.future(), known)
        low, high = answers.interval(np.zeros((1, 10, 1)), new)
        held.append(((new.future() > low) & (new.future() < high)).mean())
    assert 0.87 < np.mean(held) < 0.99


def test_real_series_have_their_steps(data_folder):
    folder = data_folder / "time-series"
    for name, target, step, horizon in (
        ("airline-passengers.csv", "Passengers", "month", 12),
        ("daily-min-temperatures.csv", "Temp", "day", 7),
        ("ETTh1.csv.gz", "OT", "hour", 24),
    ):
        examples = read(folder / name, target)
        assert examples.about["step"] == step and examples.about["horizon"] == horizon
    assert Step("months", 1).periods() == [12] and 24 in Step("seconds", 3600).periods()
