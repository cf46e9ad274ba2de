"""The report holds what it should, in both languages, and nothing of it comes from elsewhere."""

import base64
import io
import math
import re
import string
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cenote import report
from cenote.report.charts import Curve, line_chart, ticks
from cenote.report.html import el
from cenote.report.pictures import picture
from cenote.report.words import WORDS
from cenote.train import History

sys.path.insert(0, str(Path(__file__).parent))

from reading import EVIL, Page


@pytest.fixture(scope="module")
def case():
    """Three classes of small pictures, 90 right and 10 wrong answers."""
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1, 2], [50, 30, 20])
    said = y.copy()
    said[:7], said[-3:] = 2, 1
    p = np.full((100, 3), 0.1)
    p[np.arange(100), said] = 0.8
    return p, y, rng.integers(0, 255, (100, 5, 6), dtype=np.uint8)


def records(losses):
    return History.from_dict(
        {
            "records": [
                {"epoch": i, "step": i + 1, "examples": 9, "learning_rate": 0.1, "seconds": 1.0, "loss": v, "val_loss": 2 * v}
                for i, v in enumerate(losses)
            ]
        }
    )


@pytest.fixture(scope="module", params=["en", "zh"])
def page(request, case, tmp_path_factory):
    p, y, x = case
    path = report.write(
        tmp_path_factory.mktemp("report") / "report.html",
        p,
        y,
        classes=["cat", EVIL, "dog"],
        pictures=x,
        parts={"training": np.repeat([0, 1, 2], [500, 300, 234]), "test": y},
        history=records([3.0, 2.0, 1.5, 1.75]),
        facts=report.Facts.here(
            title=EVIL, about=EVIL, command="cenote train it --seed 5", settings={"seed": 5, EVIL: EVIL}, kept_epoch=3
        ),
        language=request.param,
    )
    return Page(path.read_text("utf-8"))


def test_it_asks_nothing_of_the_network(page):
    for name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "data", "poster"):
            assert value.startswith("data:image/png;base64,"), (name, value[:80])
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "http" not in page.text


def test_what_comes_from_data_is_text(page):
    assert ("title", {}) in page.tags and EVIL in page.text  # as text, where a script would have been a tag
    assert EVIL in [cell for row in page.rows for cell in row]


def test_the_score_is_there(page):
    low, high = report.wilson(90, 100)
    for said in ("90.0%", f"{low:.1%}", f"{high:.1%}", "50.0%"):
        assert said in page.text, said


def test_counts_match(page):
    cells = [row for row in page.rows if row and row[0] == "cat"]
    assert any({"500", "50"} <= set(row) for row in cells)  # of the training and the test part
    matrix = [row for row in page.rows if len(row) == 4 and row[0] in ("cat", EVIL, "dog")]
    assert [row[1:] for row in matrix] == [["43", "", "7"], ["", "30", ""], ["", "3", "17"]]
    by_class = next(row for row in page.rows if row[0] == "dog" and "85.0%" in row)  # recall 17 of 20
    assert by_class[1:5] == ["20", f"{17 / 24:.1%}", "85.0%", f"{2 * 17 / 44:.1%}"]
    assert "1,034" in page.text


def test_pictures_are_there(page, case):
    shown = [a for tag, a in page.tags if tag == "img"]
    assert len(shown) == 3 * 6 + 10 + 7  # samples of each class, all mistakes, and some that are right
    data = base64.b64decode(shown[0]["src"].partition(",")[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), case[2][0])


def test_curves_and_how_to_repeat_are_there(page):
    charts = [a for tag, a in page.tags if tag == "svg"]
    assert len(charts) == 2 and all(a["role"] == "img" and a["aria-label"] for a in charts)
    assert "cenote train it --seed 5" in "".join(page.texts)
    assert "jax" in page.texts and "3.0000" in page.text  # the best validation loss is 2 x 1.5


def test_the_languages_say_the_same():
    def places(text):
        return {field for _, field, _, _ in string.Formatter().parse(text) if field}

    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, text in WORDS["en"].items():
        assert places(text) == places(WORDS["zh"][key]), key
    chinese = [k for k, text in WORDS["zh"].items() if re.search(r"[\u4e00-\u9fff]", text)]
    assert set(WORDS["zh"]) - set(chinese) == {"html_lang", "f1", "comma", "gap", "quoted"}


def test_an_unknown_language(case, tmp_path):
    with pytest.raises(ValueError, match=r"unknown language 'de'.* Known: en, zh"):
        report.write(tmp_path / "r.html", *case[:2], language="de")
    assert list(tmp_path.iterdir()) == []


def test_hundred_classes_without_pictures(tmp_path):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(100), 500)
    page = Page(report.write(tmp_path / "r.html", p, rng.integers(0, 100, 500)).read_text("utf-8"))
    assert max(len(row) for row in page.rows) == 26 and not any(tag == "img" for tag, _ in page.tags)
    assert "The model is worse than “majority class”" in page.text


def test_no_mistakes_and_no_more_than_the_answers(tmp_path):
    page = Page(report.write(tmp_path / "r.html", np.eye(2), [0, 1]).read_text("utf-8"))
    assert "Not one mistake among 2" in page.text


def test_an_interrupted_run_without_curves(case, tmp_path):
    facts = report.Facts(interrupted=True)
    page = Page(report.write(tmp_path / "r.html", *case[:2], history=History(), facts=facts).read_text("utf-8"))
    assert "Training was interrupted" in page.text and "there are no curves" in page.text


def test_what_does_not_fit(case, tmp_path):
    p, y, x = case
    with pytest.raises(ValueError, match="2 class names for 3 probabilities"):
        report.write(tmp_path / "r.html", p, y, classes=["a", "b"])
    with pytest.raises(ValueError, match="99 pictures for 100 labels"):
        report.write(tmp_path / "r.html", p, y, pictures=x[1:])


def test_a_model_is_shown_layer_by_layer(case, tmp_path):
    import cenote as cn
    from cenote import layers

    model = cn.Sequential([layers.Flatten(input_shape=(5, 6)), layers.Dense(3, activation="softmax")])
    model.build()
    page = Page(report.write(tmp_path / "r.html", *case[:2], model=model).read_text("utf-8"))
    assert ["layers.0", "Flatten", "(None, 30)", "0", "0"] in page.rows
    assert any(row[:4] == ["layers.1", "Dense", "(None, 3)", "93"] for row in page.rows)
    assert "93 parameters." in page.text and "The preparation" not in page.text


@pytest.mark.parametrize(
    "values",
    [[1.0], [0.0, 0.0], [1e-9, 1e9], [math.nan, 1.0, math.inf, 2.0], [-5.0, -5.0, -6.0], list(np.geomspace(1, 1e-5, 500))],
)
def test_charts_bear_any_numbers(values):
    svg = line_chart("loss", [Curve("training", "train", list(enumerate(values, 1)))], x_label="epoch")
    Page(svg)
    assert "nan" not in re.sub(r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", svg)
    drawn = [float(v) for v in re.findall(r'c[xy]="([-\d.]+)"', svg)]
    assert all(0 <= v <= 480 for v in drawn)


def test_ticks_are_few_and_inside():
    for low, high in ((0, 1), (-3, 8), (1e-6, 2e-6), (5, 5), (0, 99999), (0.95, 1.0)):
        found = ticks(low, high)
        assert 1 <= len(found) <= 6 and all(low - 1e-9 <= t <= high + 1e-9 for t in found)


def test_elements_escape():
    assert el("p", EVIL, title=EVIL).count("<") == 2
    assert "NaN" not in picture(np.full((2, 2), np.nan), (0, 1), EVIL)
