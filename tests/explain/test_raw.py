"""Raw input explained in its own terms: columns, words, pixels, sounds and lags, through the saved preparation."""

import wave

import numpy as np
import pytest

import cenote as cn
from cenote import tasks
from cenote.explain import Explanation, raw
from cenote.explain.pictures.lines import features, lines

ROWS = 80


@pytest.fixture(scope="module")
def table():
    """The answer hangs on the colour alone; sizes are noise, some missing."""
    rng = np.random.default_rng(0)
    colours = rng.choice(["red", "green", "blue"], ROWS)
    sizes = [None if i % 10 == 0 else float(v) for i, v in enumerate(rng.normal(size=ROWS).round(3))]
    answer = np.where(colours == "red", "yes", "no")
    return {"size": sizes, "colour": colours.tolist(), "answer": answer.tolist()}


@pytest.fixture(scope="module")
def classifier(table):
    return tasks.TabularClassification(target="answer", model="linear", epochs=60, learning_rate=0.05).train(table, verbose=0)


def inputs(table, rows):
    return [{"size": table["size"][i], "colour": table["colour"][i]} for i in rows]


def test_columns_have_the_shapley_values_of_a_linear_model(classifier, table):
    asked = inputs(table, range(6))
    found = classifier.explain(asked, target="yes", background=inputs(table, range(40)))
    assert found.names == ["size", "colour"] and found.kind == "table" and found.values.shape == (6, 2)
    x, known = (classifier.preparation(classifier.preparation.raw(i)) for i in (asked, inputs(table, range(40))))
    kernel = next(np.asarray(v) for k, v in classifier.model.params.items() if k.endswith("kernel"))
    yes = classifier.answers.names.index("yes")
    slope = kernel[:, yes] - kernel[:, 1 - yes]  # of the log-odds
    each = (x - known.mean(0)) * slope
    for name, members in classifier.preparation.groups().items():
        assert found.values[:, found.names.index(name)] == pytest.approx(each[:, members].sum(1), abs=1e-4)
    assert len(classifier.preparation.groups()["colour"]) == 3  # one-hot features, one value
    assert found.completeness.max() < 1e-5 and "log-odds" in found.reason
    assert all(abs(found.values[i, 1]) > abs(found.values[i, 0]) for i in range(6))


def test_rows_are_shown_as_they_were_given(classifier, table):
    found = classifier.explain(inputs(table, [0, 1]), "deeplift", target="yes")
    said = dict(features(found, 0))
    assert set(said) == {f"colour = {table['colour'][0]}", "size = missing"}
    answer = found.details["answers"][1]
    assert answer["label"] in ("yes", "no") and found.said(1) == "yes"
    exact = classifier.explain(inputs(table, [0, 1]), target="yes")
    assert exact.method == "exact_shapley" and exact.values == pytest.approx(found.values, abs=1e-4)  # it is linear


def test_a_loaded_model_compares_with_the_mean_of_its_training_rows(classifier, table, tmp_path):
    classifier.save(tmp_path / "m.cenote")
    loaded = cn.load(tmp_path / "m.cenote")
    found, before = (m.explain(inputs(table, range(3)), target="yes") for m in (loaded, classifier))
    assert "the mean of the training examples" in found.reason
    assert found.values == pytest.approx(before.values, abs=1e-4)  # linear: the mean of the rows is all that counts


def test_pieces_of_a_large_source_give_what_one_call_gives(classifier, table, monkeypatch):
    whole = classifier.explain(inputs(table, range(20)), target="yes")
    monkeypatch.setattr(raw, "CHUNK", 8)
    parts = classifier.explain(inputs(table, range(20)), target="yes")
    assert parts.values == pytest.approx(whole.values, abs=1e-5) and len(parts.raw) == 20
    assert list(parts.details["sources"]) == list(whole.details["sources"])
    assert len(classifier.explain(inputs(table, range(20)), target="yes", rows=11)) == 11


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"target": "yess"}, "did you mean 'yes'"),
        ({"target": 7}, "there is no output 7: the model has 2, no, yes"),
        ({"target": ["yes"]}, "target has 1 outputs, but there are 2 examples"),
        ({"method": "exact_shaply"}, "did you mean 'exact_shapley'"),
        ({"background": {"colour": ["red"]}}, "lacks the column 'size'"),
    ],
)
def test_what_is_wrong_is_said(classifier, table, options, text):
    with pytest.raises(ValueError, match=text):
        classifier.explain(inputs(table, [0, 1]), **options)


def test_quantities_are_explained_in_their_own_units():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 60))
    rows = {"a": a.tolist(), "b": b.tolist(), "price": (1000 + 200 * a).tolist()}
    trained = tasks.TabularRegression(target="price", model="linear", epochs=40, learning_rate=0.1).train(rows, verbose=0)
    asked = [{"a": 1.0, "b": 0.5}, {"a": -1.0, "b": 0.5}]
    found = trained.explain(asked)
    said = [answer["value"] for answer in trained.predict(asked)]
    assert found.output == pytest.approx(said, rel=1e-4) and found.said(0) == "price"
    assert found.base + found.values.sum(1) == pytest.approx(said, rel=1e-4)
    assert found.values[0, 0] > 50 > abs(found.values[0, 1])


@pytest.fixture(scope="module")
def reviews():
    texts = ["房间很好。", "服务很好", "早餐好，房间好", "房间很差。", "服务很差", "早餐差，房间差"] * 6
    return tasks.TextClassification(epochs=15).train((texts, ["+", "+", "+", "-", "-", "-"] * 6), verbose=0)


def test_words_of_a_text_are_coloured_where_they_stand(reviews):
    text = "服务好,  房间差"
    found = reviews.explain([text, "很好"], target="+")
    assert found.kind == "text" and found.raw[0] == text
    value = dict(zip(found.details["words"][0], found.values[0], strict=False))
    assert value["好"] > 0 > value["差"] and min(value["好"], -value["差"]) > abs(value["房"])
    assert "".join(text[a:b] for a, b in found.details["spans"][0]) == "服务好,房间差"
    assert found.values[1, 2:].tolist() == [0.0] * (found.values.shape[1] - 2)
    assert any("好" in name and v > 0 for name, v in features(found, 0, 2))


def test_long_texts_are_taken_apart_by_their_ngrams(reviews, monkeypatch):
    monkeypatch.setattr(raw, "CHARACTERS", 1)
    found = reviews.explain(["服务好，房间差", "早餐好"], target="+")
    assert found.method == "input_x_gradient" and found.completeness.max() < 1e-5
    value = dict(zip(found.details["words"][0], found.values[0], strict=False))
    assert value["好"] > 0 > value["差"]
    with pytest.raises(ValueError, match="a bag of n-grams has no slope that deeplift could follow"):
        reviews.explain("很好", "deeplift")
    with pytest.raises(ValueError, match="has no words"):
        reviews.explain(["  "])


def test_pixels_of_a_picture():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (60, 8, 8)).astype(np.uint8)
    y = np.arange(60) % 2
    x[y == 1, 1:3, 6:8] += 150  # what tells them apart is in the corner above on the right
    trained = tasks.ImageClassification(model="linear", epochs=10, augment=False).train((x, y), verbose=0)
    found = trained.explain(x[1], target="1")
    assert found.kind == "image" and found.values.shape == (1, 8, 8, 1) and found.completeness.max() < 1e-4
    strongest = np.unravel_index(np.abs(found.values[0, :, :, 0]).argmax(), (8, 8))
    assert 1 <= strongest[0] <= 2 and 6 <= strongest[1] <= 7
    assert features(found, 0, 1)[0][0] == "top right" and features(found, 0, 1, "zh")[0][0] == "右上"


def test_places_of_a_spectrogram(tmp_path):
    for number in range(16):
        kind, pitch = ("low", 300) if number % 2 else ("high", 3000)
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        samples = np.sin(2 * np.pi * (pitch + number) * np.arange(1600) / 8000) * 8000
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    trained = tasks.SpeechClassification(model="linear", epochs=8, seconds=0.2).train(tmp_path, verbose=0)
    found = trained.explain(tmp_path / "low" / "1.wav", target="low")
    assert found.kind == "audio" and found.values.shape[2] == 40 and found.completeness.max() < 1e-4
    low, high = found.values[0, :, :10].sum(), found.values[0, :, 25:].sum()
    assert low > 0 and low > 0.1 * abs(high)
    assert " s, low sounds" in " ".join(name for name, _ in features(found, 0, 15))
    with pytest.raises(ValueError, match="occlusion cannot be asked about a spectrogram"):
        trained.explain(tmp_path / "low" / "1.wav", "occlusion")


def test_lags_of_a_series():
    days = np.datetime64("2020-01-01") + np.arange(120)
    rows = {"day": days, "sales": 50 + 10 * np.sin(np.arange(120) * 2 * np.pi / 7)}
    trained = tasks.Forecast(target="sales", horizon=3, epochs=1).train(rows, verbose=0)
    found = trained.explain(rows)
    ahead = [step["sales"] for step in trained.predict(rows)[0]["forecast"]]
    assert found.kind == "series" and found.output[0] == pytest.approx(np.mean(ahead), rel=1e-4)
    assert found.names[-2 if "calendar" in found.names[-1] else -1] == "sales, 1 back"
    assert found.base[0] + found.values.sum() == pytest.approx(found.output[0], rel=1e-4)
    second = trained.explain(rows, target=("sales", 2))
    assert second.output[0] == pytest.approx(ahead[1], rel=1e-4) and second.said(0) == "sales, 2 ahead"
    with pytest.raises(ValueError, match="the forecast has the steps 1 to 3"):
        trained.explain(rows, target=("sales", 4))


def test_lines_are_as_wide_as_chinese_characters_are():
    from cenote.explain.pictures.texts import columns_of

    names = ["年龄", "fare", "很" * 40]
    found = Explanation("any", np.array([[2.0, -1.0, 5.0]]), np.ones((1, 3)), np.zeros(1), None, names=names)
    said = lines(found)
    starts = {columns_of(line[: line.rindex(" ") + 1]) for line in said}
    assert len(starts) == 1 and "…" in said[0] and said[1].startswith("年龄 = 1 ")
