"""The pages of trained models: each task's page holds what belongs to it, and can be made again after loading."""

import sys
from pathlib import Path

import numpy as np
import pytest

import cenote as cn
from cenote.data.audio import AudioPreparation, Recordings
from cenote.data.examples import Examples
from cenote.tasks import page as pages

sys.path.insert(0, str(Path(__file__).parent))

from reading import EVIL, Page


def table(count=120):
    draw = np.random.RandomState(0)
    size = draw.normal(3, 1, count).round(3)
    colour = np.where(draw.rand(count) < 0.5, "red", EVIL).tolist()
    colour[5] = None
    price = (size * 10 + draw.normal(0, 1, count)).round(2)
    return {"size": size, "colour": colour, "price": price, "dear": np.where(price > 30, "yes", "no")}


@pytest.fixture(scope="module")
def regression():
    data = table()
    del data["dear"]
    return cn.tasks.train(data, target="price", epochs=2, verbose=0)


def written(trained, folder, **known):
    return Page(trained.report(folder / "page.html", **known).read_text("utf-8"))


def test_a_table_with_a_quantity(regression, tmp_path):
    found = written(regression, tmp_path, command="cenote train it.csv", title=EVIL)
    counts = regression.job.parts.counts()
    assert f"{counts['train']:,} training" in found.text and "cenote train it.csv" in "".join(found.texts)
    names = {row[0] for row in found.rows}
    assert {"size", "colour", "RMSE", "MAE", "R²", "epochs", "optimizer"} <= names and EVIL in found.text
    assert "Predicted against true" in found.text and "price, in all parts" in found.text
    worst = int(np.argmax(regression.scores.arrays["errors"]))
    assert str(regression.job.parts.test.names[worst]) in found.text[found.text.index("The largest errors") :]
    for baseline in regression.baselines:
        assert baseline.name in found.text
    verdict = regression.scores.main.beats(regression.baselines[-1].value)
    assert ("linear model”" in found.text) == (not verdict)


def test_another_measurement_of_a_loaded_model(regression, tmp_path):
    regression.save(tmp_path / "model.cenote")
    again = cn.load(tmp_path / "model.cenote")
    data = table(40)
    del data["dear"]
    examples, _ = again.examples(data)
    found = written(again, tmp_path, scores=again.measure(examples), examples=examples, language="zh")
    assert "40" in found.text and "误差最大的样本" in found.text and "选择了什么" not in found.text
    assert written(again, tmp_path).text.count("not known how good") == 1  # nothing was measured


def test_notebooks_show_the_scores_beside_the_baselines(regression):
    found = Page(f"<div>{regression._repr_html_()}</div>")
    assert any(row[0] == "RMSE" for row in found.rows) and any("linear model (baseline)" in row for row in found.rows)
    assert "tabular-regression" in found.text and "parameters" in found.text and "TabularRegression" not in repr(regression)
    assert any(row[0] == "MAE" for row in Page(f"<div>{regression.scores._repr_html_()}</div>").rows)


def test_a_forecast_is_drawn_with_its_times(tmp_path):
    days = np.datetime64("2020-01-01") + np.arange(150)
    source = {"day": days, "sales": 10 + np.sin(np.arange(150) * 2 * np.pi / 7)}
    trained = cn.tasks.train(source, target="sales", task="forecast", horizon=7, epochs=2, verbose=0)
    found = written(trained, tmp_path)
    assert "2020-05-29" in found.text and "Error by the step ahead" in found.text and "test windows" in found.text
    assert "seasonal naive" in found.text and "Some test examples" not in found.text
    story = pages.story(trained)
    last = story.foreseen.windows[-1]
    np.testing.assert_allclose(last.true, source["sales"][-7:], atol=1e-9)
    np.testing.assert_allclose(last.past[-3:], source["sales"][-10:-7], atol=1e-9)


def test_texts_with_classes(tmp_path):
    texts = ["a good film", "good fun", "great fun", "a bad film", "bad, bad", EVIL] * 6
    trained = cn.tasks.train((texts, ["+", "+", "+", "-", "-", "-"] * 6), task="text-classification", epochs=3, verbose=0)
    found = written(trained, tmp_path)
    assert EVIL in found.text and "length of the texts in characters" in found.text and "The best answers" in found.text


def test_an_autoencoder_shows_pairs(tmp_path):
    draw = np.random.RandomState(0)
    x = {f"c{i}": v for i, v in enumerate((draw.normal(size=(80, 2)) @ draw.normal(size=(2, 5))).T)}
    trained = cn.tasks.train(x, task="autoencoding", epochs=1, verbose=0)
    found = written(trained, tmp_path)
    unusual = found.text[found.text.index("The most unusual examples") :]
    assert "→" in unusual and "principal components" in found.text


def test_recordings_are_shown_as_spectrograms():
    time = np.arange(4000) / 8000
    items = [(np.sin(2 * np.pi * f * time).astype(np.float32), 8000) for f in (300, 900)]
    recordings, _, _ = Recordings.hear(items)
    examples = Examples("audio", recordings, np.array(["low", "high"]), ["a.wav", "b.wav"])
    show = pages.shower(AudioPreparation.fit(examples), examples)
    first, second = show([0, 1])
    assert "base64" in first and 'alt="high"' in second and first != second and "0.5 s" in first


def test_what_was_written_stays_with_the_scores():
    class Task:
        def arrays(self, examples):
            return np.zeros((2, 1)), None

        def outputs(self, model, x):
            return ["ein Hund", ""]

        def score(self, outputs, examples):
            return cn.tasks.Scores([], 2)

    from cenote.tasks.job import measured

    assert measured(Task(), None, None).arrays["said"].tolist() == ["ein Hund", ""]
