"""Pages of every kind of answer: what is there is shown with its numbers, what is not is left out, and nothing is hidden."""

import ast
import base64
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import cenote as cn
from cenote import layers, report
from cenote.data.examples import Examples, Finding
from cenote.data.split import part
from cenote.report import exhibits
from cenote.report.charts import course_chart, forecast_chart, histogram, scatter
from cenote.report.graph import drawing, flow
from cenote.report.html import el
from cenote.report.page import render
from cenote.report.sentences import catalogue, in_chinese
from cenote.report.story import ColumnFacts, Course, Foreseen, Labelled, Measured, Spread, Story, Window, Written
from cenote.tasks.scores import Baseline, Score, of_labels, of_quantities

sys.path.insert(0, str(Path(__file__).parent))

from reading import EVIL, Page


def page(tmp_path, language="en", **known):
    return Page(render(tmp_path / "report.html", Story(**{"facts": report.Facts(), **known}), language).read_text("utf-8"))


def sentences(rows):
    return [exhibits.sentence(f"sentence {i}") for i in rows]


# -- the model -------------------------------------------------------------------------------------------------------------


def test_the_drawing_tells_who_reads_what():
    """By tracing: also where a model adds its input to an output by plain arithmetic, and where a layer is called twice."""

    class Skip(cn.Model):
        def __init__(self):
            super().__init__()
            self.shared, self.wide, self.back = layers.Dense(4), layers.Dense(8), layers.Dense(4)

        def forward(self, x):
            a = self.shared(x)
            return self.back(self.wide(self.shared(a * 2)) + 1) + x

    model = Skip()
    model.build(np.zeros((1, 4), "float32"))
    found = flow(model)
    names = [b.path or b.kind for b in found.boxes]
    assert names == ["input", "shared", "wide", "back", "output"] and found.boxes[1].note == "used 2 times"
    edges = {(names[i], names[j]) for i, j in found.edges}
    assert edges == {("input", "shared"), ("shared", "wide"), ("wide", "back"), ("back", "output"), ("input", "output")}
    drawn = Page(drawing(found, {"input": "Eingang"}))
    assert sum(tag == "rect" for tag, _ in drawn.tags) == 5 and sum(tag == "path" for tag, _ in drawn.tags) == 10
    assert "Eingang" in drawn.text and "(None, 8)" in drawn.text and "40" in drawn.texts  # parameters of wide: 4 * 8 + 8


def test_what_only_follows_a_layer_is_drawn_with_it_where_there_are_many():
    model = cn.Sequential()
    for _ in range(7):
        for layer in (layers.Dense(64), layers.BatchNormalization(), layers.ReLU()):
            model.add(layer)
    model.build(np.zeros((1, 64), "float32"))
    found = flow(model)
    assert len(found.boxes) == 8 and found.edges == [(i, i + 1) for i in range(7)]
    assert (
        found.boxes[3].then == ("BatchNormalization", "ReLU") and sum(b.parameters for b in found.boxes) == model.count_params()
    )


# -- the score -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_it_says_plainly_what_is_no_better_than_a_baseline(tmp_path, better):
    sign = 1 if better == "higher" else -1
    score = Score("BLEU" if sign > 0 else "RMSE", 50.0, 45.0, 55.0, better)
    baselines = [
        Baseline("linear model", 50.0 + 2 * sign),
        Baseline("mean", 50.0 - 20 * sign),
        Baseline("copy", 50 + 20 * sign),
    ]
    text = page(tmp_path, scores=[score], count=30, baselines=baselines).text
    assert "not clearly better than “linear model”:" in text and "worse than “copy”." in text
    assert f"{better.capitalize()} is better" in text and "interval is better than each" not in text
    assert "kept apart" not in text  # of data that was given afterwards nobody knows
    text = page(tmp_path, scores=[score], count=30, baselines=baselines[1:2], parts={"training": 9, "test": 30}).text
    assert "kept apart until training was over" in text
    assert "interval is better than each" in text and "not clearly better" not in text
    assert "45 to 55" in text and "measured on 30 test examples" in text


def test_the_marks_lie_where_the_numbers_are(tmp_path):
    score = Score("accuracy", 0.75, 0.7, 0.8, percent=True)
    found = page(tmp_path, scores=[score], count=200, baselines=[Baseline("majority class", 0.25, "always 'no'")])
    marks = {a["class"]: a["style"] for tag, a in found.tags if tag == "i"}
    assert marks["dot"] == "left:75.00%" and marks["mark"] == "left:25.00%" and marks["band"] == "left:70.00%;width:10.00%"
    assert "always 'no'" in found.text


def test_numbers_of_any_kind_are_borne(tmp_path):
    for value in (0.0, -3.0, 1e12, 1e-9, float("nan")):
        score = Score("RMSE", value, float("nan"), float("nan"), "lower")
        found = page(tmp_path, scores=[score], count=1, baselines=[Baseline("mean", value)])
        styles = " ".join(a.get("style", "") for _, a in found.tags)
        assert "nan" not in styles and "inf" not in styles


def test_without_a_test_part_it_says_so(tmp_path):
    assert "not known how good the model is" in page(tmp_path).text


# -- the data --------------------------------------------------------------------------------------------------------------


def test_findings_come_with_warnings_first_and_columns_with_what_is_missing(tmp_path):
    findings = [Finding("a note"), Finding(EVIL, "warning", "it.csv:7")]
    columns = [ColumnFacts(name="age", type="number", missing=0.2, holds="1 … 30 … 80", used="median 30")]
    found = page(tmp_path, findings=findings, columns=columns, parts={"training": 80, "test": 20}, parted="at random")
    text = found.text
    assert text.index(EVIL) < text.index("a note") and "(it.csv:7)" in text
    assert ["age", "number", " 20.0%", "1 … 30 … 80", "median 30"] in found.rows
    assert "80 training, 20 test" in text and "at random" in text
    widths = [a["style"] for tag, a in found.tags if tag == "i" and a["class"].startswith("part")]
    assert widths == ["width:80.00%", "width:20.00%"]


def test_a_series_is_drawn_with_each_part_in_its_colour():
    course = Course(
        name="sales", values=np.sin(np.arange(2000.0)), begins={"training": 0, "test": 1500}, times=("2001", "2006")
    )
    svg = course_chart(course)
    assert re.findall(r'class="line (\w+)"', svg) == ["training", "test"] and "2006" in svg and len(svg) < 40_000
    ys = [float(v) for v in re.findall(r"[ML][\d.]+ ([\d.]+)", svg)]
    assert 10 <= min(ys) < 40 and 180 < max(ys) <= 200  # peaks stay where many values share a place
    assert course_chart(Course(name="none", values=np.full(5, np.nan), begins={"test": 0})) == ""


def test_histograms_count_everything(tmp_path):
    draw = np.random.RandomState(0)
    for values in (draw.normal(size=500), np.repeat([3.0, 4.0, 8.0], [5, 2, 9]), np.ones(4), draw.exponential(1e6, 90)):
        svg = histogram("it", values, ("", "{low} to {high}: {count}"))
        assert sum(map(int, re.findall(r": (\d+)</title>", svg))) == len(values)
    assert histogram("it", [], ("", "")) == "" and "3 to" not in histogram(
        "it", [1.0, np.nan], ("", "{low} to {high}: {count}")
    )
    found = page(tmp_path, spreads=[Spread(name="price", values=np.arange(50.0))])
    assert "price, in all parts" in found.text


def test_what_was_chosen_comes_with_its_reasons(tmp_path):
    found = page(tmp_path, "zh", chosen=[("batch_size", "32", "few rows"), ("model", "cnn", "")])
    assert ["批大小", "32", "few rows"] in found.rows and ["模型", "cnn", ""] in found.rows


# -- results of each kind --------------------------------------------------------------------------------------------------


def test_quantities(tmp_path):
    draw = np.random.RandomState(0)
    true = draw.normal(100, 10, (60, 1))
    said = true + draw.normal(0, 3, true.shape)
    said[17] = true[17] + 40
    scores = of_quantities(said, true, ["price"])
    found = page(
        tmp_path, kind="table", scores=scores.values, count=60, errors=scores.arrays["errors"],
        names=[f"row {i}" for i in range(60)], measured=Measured(names=["price"], predicted=said, true=true),
        show=lambda rows: [exhibits.row({"size": 1.5, "colour": "red", "row": i}) for i in rows],
    )  # fmt: skip
    worst = found.text[found.text.index("The largest errors") :]
    assert worst.index("row 17") < worst.index("The best answers")
    assert f"{true[17, 0]:.4g}" in worst and f"{said[17, 0]:.4g}" in worst
    points = [a for tag, a in found.tags if tag == "circle" and a.get("class") == "point"]
    assert len(points) == 60 and "Predicted against true" in found.text and "RMSE" in found.text


def test_points_on_the_diagonal_lie_on_it():
    svg = scatter("it", np.array([1.0, 5.0, 9.0]), np.array([1.0, 5.0, 9.0]), ("true", "said", "{x} {y}"))
    x1, y1, x2, y2 = (float(re.search(rf'{k}="([\d.]+)"[^>]*class="best"', svg)[1]) for k in ("x1", "y1", "x2", "y2"))
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg):
        assert abs((float(y) - y1) - (float(x) - x1) / (x2 - x1) * (y2 - y1)) < 0.3


def test_labels(tmp_path):
    truth = np.array([[1, 0], [1, 1], [0, 0], [1, 1]] * 5, float)
    p = np.where(truth > 0, 0.9, 0.2)
    p[0, 1] = 0.8
    scores = of_labels(p, truth, ["red", "round"])
    found = page(
        tmp_path, kind="text", scores=scores.values, count=20, errors=scores.arrays["errors"], show=sentences,
        labelled=Labelled(names=["red", "round"], probabilities=p, truth=truth, parts={"test": truth.sum(0)}),
    )  # fmt: skip
    assert ["round", "10", "90.9%", "100.0%", "95.2%", ""] in found.rows and [
        "red",
        "15",
        "100.0%",
        "100.0%",
        "100.0%",
        "",
    ] in found.rows
    worst = found.text[found.text.index("The largest errors") :]
    assert "red (90.0%), round (80.0%)" in worst and worst.index("sentence 0") < worst.index("The best answers")


def test_forecasts_warn_where_the_intervals_hold_too_little(tmp_path):
    window = Window(
        name="sales", past=np.arange(24.0), true=np.arange(24.0, 30), said=np.arange(24.0, 30) + 1,
        low=np.arange(24.0, 30) - 1, high=np.arange(24.0, 30) + 3, times=["2020-01", "2022-01", "2022-06"],
    )  # fmt: skip
    told = Foreseen(windows=[window], by_step={"MAE": [1.0, 2.0, 3.0]}, level=0.9, held=(0.34, 0.44))
    found = page(tmp_path, kind="series", scores=[Score("MAE", 1.0, 0.9, 1.1, "lower")], count=22, foreseen=told)
    assert "34.0% instead of 90%" in found.text and "2022-06" in found.text and "test windows" in found.text
    told.held = (0.85, 0.92)
    assert "instead of" not in page(tmp_path, foreseen=told).text
    svg = forecast_chart(window, ("past", "came", "said", "band"))
    assert svg.count("<circle") == 24 + 7 + 7 and 'class="between"' in svg


def test_written_texts(tmp_path):
    told = Written(said=["ein Hund", "", EVIL, *"abc"], true=["ein Hund", "eine Katze", "ein Haus", *"abc"])
    errors = np.array([0.0, 60.0, 40.0, 1.0, 1.0, 1.0])
    found = page(tmp_path, kind="text", scores=[Score("BLEU", 30.0)], count=6, errors=errors, show=sentences, written=told)
    worst = found.text[found.text.index("The largest errors") :]
    assert "said  nothing" in worst and "eine Katze" in worst and worst.index("sentence 1") < worst.index("The best")


def test_what_a_language_model_writes(tmp_path):
    found = page(
        tmp_path, scores=[Score("bits per character", 2.0, 1.9, 2.1, "lower")], count=900, samples=[("To be", f" or {EVIL}")]
    )
    assert "To be" in found.texts and f" or {EVIL}" in found.texts and "900 test tokens" in found.text


def test_pairs_of_an_autoencoder_and_the_most_unusual(tmp_path):
    errors = np.linspace(0.1, 0.9, 30)
    given = {"scores": [Score("variance kept", 0.9, percent=True)], "count": 30, "errors": errors}
    found = page(
        tmp_path, kind="image", **given, show=lambda rows: [el("b", f"picture {i}") for i in rows],
        back=lambda rows: [el("b", f"restored {i}") for i in rows],
    )  # fmt: skip
    odd = found.text[found.text.index("The most unusual examples") : found.text.index("The most usual examples")]
    assert odd.index("picture 29") < odd.index("restored 29") < odd.index("picture 28") and "0.9" in odd
    assert "picture 0" in found.text[found.text.index("The most usual examples") :]


# -- examples to look at ---------------------------------------------------------------------------------------------------


def test_a_spectrogram_shows_where_a_tone_lies():
    heights = []
    for pitch in (300, 2500):
        time = np.arange(8000) / 8000
        shown = exhibits.spectrogram(np.sin(2 * np.pi * pitch * time), 8000, "a tone")
        data = base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])
        pixels = np.asarray(Image.open(io.BytesIO(data))).sum((1, 2))
        heights.append(int(pixels.argmax()) / len(pixels))
    assert heights[1] < 0.4 < heights[0]  # higher tones stand higher up
    for odd in (np.zeros(0), np.zeros(5), np.full(9000, 1e-9), np.ones(200_000)):
        assert "base64" in exhibits.spectrogram(odd, 8000, EVIL)


def test_long_rows_and_texts_are_cut():
    assert len(exhibits.cut("word " * 500)) <= 360 and exhibits.cut("字" * 500).endswith("字…")
    shown = exhibits.row({f"c{i}": i for i in range(40)}, "+ {count}")
    assert "c11" in shown and "c12" not in shown and "+ 28" in shown and EVIL not in exhibits.row({EVIL: EVIL})


def test_examples_show_themselves_in_notebooks():
    some = Examples("text", ["a <b>", "c"], ["x", "y"], about={"text": "2 texts"}, findings=[Finding("odd", "warning")])
    assert repr(some) == "<2 examples of text: 2 texts, 1 findings>"
    Page(f"<div>{some._repr_html_()}</div>")
    assert "warning: " in some._repr_html_() and "a &lt;b&gt;" in some._repr_html_() and "<td>y</td>" in some._repr_html_()


def test_pictures_and_parts_show_themselves_in_notebooks():
    x = np.random.RandomState(0).randint(0, 255, (40, 8, 8), dtype=np.uint8)
    parts = part(Examples("image", x, np.array(["odd", "even"] * 20), about={"text": "40 pictures"}), seed=0)
    found = Page(f"<div>{parts._repr_html_()}</div>")
    assert sum(tag == "img" for tag, _ in found.tags) == 5 and "32 train, 4 validation, 4 test" in found.text
    assert {a["height"] for tag, a in found.tags if tag == "img"} == {"96"}


def test_what_is_said_elsewhere_is_said_so_in_the_catalogue():
    """Each template is made of words that stand in the sources: who changes a sentence changes it in the catalogue, too."""
    folder = Path(cn.__file__).parent
    files = [f for f in folder.rglob("*.py") if f.parent.name != "report"]
    nodes = [n for f in files for n in ast.walk(ast.parse(f.read_text("utf-8")))]
    said = "\n".join(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))

    def made(words):  # as it stands, or of pieces put together
        text = " ".join(words)
        return text in said or any(" ".join(words[:k]) in said and made(words[k:]) for k in range(len(words) - 1, 0, -1))

    for template, chinese in catalogue().items():
        places = re.findall(r"\{\w+\}", template)
        assert set(re.findall(r"\{\w+\}", chinese)) <= set(places) and len(set(places)) == len(places), template
        for piece in re.split(r"\{\w+\}|[:;,.()]", template):
            assert made(piece.split()), f"nobody says {piece.strip()!r} of {template!r} any more"


def test_findings_are_said_in_chinese(tmp_path):
    found = page(
        tmp_path,
        "zh",
        facts=report.Facts(stopped="val_loss not better for 5 epochs than 0.4 in epoch 7"),
        findings=[
            Finding("column 'Cabin' is left out: it is a category, and no number"),
            Finding("nobody knows this sentence"),
        ],
        chosen=[("task", "tabular-classification", "a table whose target 'A_B' is classes: its values are words")],
        parts={"training": 9},
    )
    for said in ("略去列 'Cabin'：类型是", "nobody knows this", "目标 'A_B' 是类别", "已有 5 轮没有优于第 7 轮的 0.4"):
        assert said in found.text


@pytest.mark.parametrize("step, said", [("month", "每月有"), ("business day", "每工作日有"), ("15 minutes", "每15 分钟有")])
def test_the_step_of_a_series_is_said_in_chinese(step, said):
    assert said in in_chinese(f"its column 'When' has one time each {step}")
    assert in_chinese(f"120 values, one each {step}, 2020-01 to 2029-12; 85 windows").startswith(
        "120 个值，" + said[:-1] + "一个"
    )


def test_pages_are_for_both_languages(tmp_path):
    scores = of_quantities(np.arange(9.0), np.arange(9.0) + 1, ["price"])
    known = {"scores": scores.values, "count": 9, "errors": np.arange(9.0), "show": sentences}
    found = page(tmp_path, "zh", **known, measured=Measured(names=["p"], predicted=np.ones((9, 1)), true=np.zeros((9, 1))))
    assert "误差最大的样本" in found.text and "The " not in found.text
    with pytest.raises(ValueError, match="unknown language 'de'"):
        page(tmp_path, "de")


def test_a_missing_table_of_kinds_is_no_trouble(tmp_path):
    rows = [SimpleNamespace(path="layers.0", kind="Dense", shape="(None, 1)", parameters=2, flops=3, depth=0, note="")]
    rows.append(SimpleNamespace(path="layers.0.part", kind="_Private", shape="", parameters=1, flops=1, depth=1, note=""))
    summary = SimpleNamespace(rows=rows, parameters=2, flops=3, weight_bytes=8)
    found = page(tmp_path, model=SimpleNamespace(summary=lambda show: summary, info={}))
    assert [row[0] for row in found.rows] == ["layer", "layers.0"]
