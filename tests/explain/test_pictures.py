"""Pictures and pages of explanations: what is on them, in both languages, for each kind of data."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from cenote.explain import Curves, Explanation, Importance
from cenote.explain.pictures import kind_of, maps, page, texts

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


def test_what_is_not_known_is_named(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'waterfall'"):
        table().plot(style="waterfal")
    with pytest.raises(ValueError, match="language"):
        page.write(tmp_path / "a.html", table(), language="fr")
    assert not list(tmp_path.iterdir())


def test_notebooks_show_it():
    assert "values" in table()._repr_html_() and "data:image/png" in image()._repr_html_()
