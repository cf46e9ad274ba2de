"""Pictures and pages of explanations: what is on them, in both languages, for each kind of data."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from cenote.explain import Curves, Explanation, Importance
from cenote.explain.pictures import kind_of, maps, page, swarm, texts

NAMES = ["Age", "Fare", "Sex", "Cabin"]


def table(rows=6):
    x = np.random.RandomState(0).normal(size=(rows, 4))
    values = x * np.array([1.0, -2.0, 0.5, 0.0])
    more = {"names": NAMES, "classes": ["died", "survived"], "error": np.full((rows, 4), 0.1), "reason": "since it must be"}
    return Explanation(
        "exact_shapley", values, x, values.sum(1) + 0.5, np.ones(rows, int), np.full(rows, 0.5), np.zeros(rows), **more
    )


def image(rows=2):
    x = np.random.RandomState(0).rand(rows, 12, 10, 3)
    return Explanation("saliency", x - 0.5, x, np.ones(rows), np.zeros(rows, int))


def text():
    raw = ["酒店的服务太差了。", "a fine film , truly"]
    words = [list(raw[0]), raw[1].split()]
    values = np.zeros((2, 9))
    values[0, 5:8], values[1, 1] = (-0.2, -1.5, -0.1), 2.0
    return Explanation("lime", values, values, np.ones(2), np.array([0, 1]), raw=raw, details={"words": words})


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("RGB"), float)


@pytest.mark.parametrize("style", ["waterfall", "force", "bar", "beeswarm", "auto"])
def test_tables_in_each_style(style):
    shown = pixels(table().plot(0 if style in ("waterfall", "force") else None, style=style))
    assert shown.min() < 80 and shown.mean() > 150  # ink on white


def test_a_waterfall_names_values_and_ends_at_the_output():
    found = table()
    axes = found.plot(0).axes[0]
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert any(label.startswith("Fare = ") for label in labels)
    assert f"survived {found.output[0]:.4g}" in axes.get_xlabel() and "base 0.5" in axes.get_xlabel()
    ends = max((p.get_x() + p.get_width() for p in axes.patches), key=lambda v: -abs(v - found.output[0]))
    assert ends == pytest.approx(found.output[0])


def test_heat_maps_are_orange_where_the_output_rose_and_blue_where_it_fell():
    values = np.zeros((8, 8))
    values[2, 2], values[5, 5] = 1.0, -1.0
    shown = maps.overlay(values, np.zeros((8, 8)))
    assert shown[2, 2, 0] > shown[2, 2, 2] and shown[5, 5, 2] > shown[5, 5, 0]
    assert np.ptp(shown[0, 0]) == 0  # nothing to say there: no colour
    assert maps.overlay(values[:4, :4], np.zeros((8, 8, 3))).shape == (8, 8, 3)  # a coarse map, enlarged


def test_words_are_coloured_in_their_own_text():
    found = text()
    assert kind_of(found) == "text"
    shown = texts.pieces(found, 1)
    assert "".join(t for t, _ in shown) == found.raw[1] and dict(shown)["fine"] == 2.0
    markup = texts.coloured(texts.pieces(found, 0))
    assert re.search(r"background:rgba\(47,109,181,0\.80\)[^>]*>差<", markup) and "酒" in markup
    assert pixels(found.plot()).min() < 120


def test_attention_curves_and_bars_are_drawn():
    from cenote.figures import png

    attention = maps.attention(np.eye(3), list("很干净"))
    assert [t.get_text() for t in attention.axes[0].get_xticklabels()] == list("很干净") and png(attention)[:4] == b"\x89PNG"
    grid = np.linspace(0, 1, 5)
    curve = Curves("ice", "Age", grid, grid * 2, each=np.stack([grid, grid * 3]), shown=grid)
    lines = curve.plot().axes[0].get_lines()
    assert any(np.array_equal(line.get_ydata(), grid * 2) for line in lines) and len(lines) >= 3
    named = Curves("partial_dependence", "Sex", np.array(["male", "female"]), np.array([0.1, 0.7]), error=np.array([0.1, 0.1]))
    assert [t.get_text() for t in named.plot().axes[0].get_xticklabels()] == ["male", "female"]
    bars = Importance("permutation_importance", np.array([0.1, 0.9]), ["Age", "Fare"], error=np.array([0.01, 0.02])).plot()
    assert [t.get_text() for t in bars.axes[0].get_yticklabels()] == ["Fare", "Age"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("make", [table, image, text])
def test_a_page_holds_everything_itself(tmp_path, make, language):
    found = make()
    path = page.write(tmp_path / "why.html", found, title="<my> model", language=language)
    shown = path.read_text("utf-8")
    assert ("解释" in shown) == (language == "zh") and "&lt;my&gt;" in shown
    assert not re.search(r'(src|href)="(?!data:)', shown)
    assert {"table": "Fare", "image": "data:image/png", "text": "酒"}[make.__name__] in shown
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_of_many_rows_shows_all_of_them_towards_one_class(tmp_path):
    found = table(8)
    found.target = np.arange(8) % 2
    assert "<circle" not in page.write(tmp_path / "a.html", found).read_text("utf-8")  # rows about different outputs
    found.details["log_odds"] = True
    turned = page.towards_one(found)
    assert np.array_equal(turned.values[::2], -found.values[::2]) and np.array_equal(turned.values[1::2], found.values[1::2])
    shown = page.write(tmp_path / "a.html", found, command="cenote explain <x>").read_text("utf-8")
    assert shown.count("<circle") == 8 * 4 and "All towards survived." in shown and "cenote explain &lt;x&gt;" in shown


def test_sounds_and_series_are_drawn_in_time():
    x = np.random.RandomState(0).rand(1, 20, 8)
    sound = Explanation("deepshap", x - 0.5, x, np.ones(1), np.zeros(1, int), kind="audio", details={"seconds": 0.5})
    assert pixels(sound.plot()).min() < 120
    assert 'height="8"' in page.one_by_one(sound, page.WORDS["en"])  # pitch upwards, time to the right
    values, names = np.array([[1.0, -2.0, 0.5, 3.0, 0.25]]), ["a, 2 back", "b, 2 back", "a, 1 back", "b, 1 back", "calendar"]
    more = {"names": names, "kind": "series", "details": {"history": 2, "variables": ["a", "b"]}}
    past = Explanation("deeplift", values, np.array([[5.0, 6.0, 7.0, 8.0, np.nan]]), np.ones(1), None, **more)
    shown = page.one_by_one(past, page.WORDS["zh"])
    assert shown.count("<polyline") == 2 and shown.count("<rect") == 4 and "calendar" in shown and "nan" not in shown
    assert swarm.past_of(past, 0)[0].tolist() == [[1.0, -2.0], [0.5, 3.0]]


def test_a_photograph_is_smoothed_for_the_eye_and_a_small_picture_is_not():
    values = np.zeros((100, 100))
    values[50, 50] = 1.0
    assert maps.smoothed(values)[50, 52] > 0 and maps.smoothed(values).sum() == pytest.approx(1.0)
    assert np.array_equal(maps.smoothed(values[:64, :64]), values[:64, :64])


def test_reasons_are_in_the_language_of_the_page():
    found = table()
    found.reason = "compared with 40 background rows; a reason of its own"
    assert "与 40 个背景样本比较；a reason of its own" in page.certificate(found, page.WORDS["zh"])
    assert found.reason in page.certificate(found, page.WORDS["en"])


def test_neighbouring_characters_are_one_word_again():
    found = text()
    assert ("太差", -1.7) in [(t, round(v, 3)) for t, v in texts.runs(found, 0)]  # and not the weak one behind
    assert ("fine", 2.0) in texts.runs(found, 1)


def test_what_is_not_known_is_named(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'waterfall'"):
        table().plot(style="waterfal")
    with pytest.raises(ValueError, match="language"):
        page.write(tmp_path / "a.html", table(), language="fr")
    assert not list(tmp_path.iterdir())


def test_notebooks_show_it():
    assert "values" in table()._repr_html_() and "data:image/png" in image()._repr_html_()


def test_two_features_at_once_are_a_map():
    mean = np.outer([0.0, 1.0, 2.0], [1.0, 0.5])
    found = Curves(
        "partial_dependence", "Age x Sex", np.arange(3.0), mean, details={"grids": [np.arange(3.0), np.array(["m", "f"])]}
    )
    axes = found.plot().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Age", "Sex")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["m", "f"]
    assert np.array_equal(np.asarray(axes.collections[0].get_array()).reshape(2, 3), mean.T)


def test_lime_says_how_well_its_surrogate_fits():
    from cenote import explain

    x = np.random.RandomState(0).normal(size=(40, 3)).astype("float32")
    found = explain.lime(lambda x: 2 * x[:, 0] - x[:, 1], x[:1], background=x, names=["a", "b", "c"])
    assert "R2" in repr(found) and "Importance(" not in repr(Importance("any", np.array([0.1, 0.7]), ["a", "b"]))
