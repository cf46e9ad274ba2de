"""``cenote explain``: lines, JSON and a page for raw input, and errors that say what to do."""

import json

import numpy as np
import pytest

from cenote import tasks
from cenote.cli.main import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A linear model of a table with Chinese columns, in a folder of runs, and rows for it."""
    folder = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(0)
    colours = rng.choice(["红", "绿"], 60)
    rows = {"尺寸": rng.normal(size=60).round(2).tolist(), "颜色": colours.tolist()}
    answer = {"答案": np.where(colours == "红", "是", "否").tolist()}
    trained = tasks.TabularClassification(target="答案", model="linear", epochs=30).train(rows | answer, verbose=0)
    (folder / "runs" / "colours").mkdir(parents=True)
    trained.save(folder / "runs" / "colours" / "model.cenote")
    text = "尺寸,颜色\n" + "\n".join(f"{a},{b}" for a, b in zip(*rows.values(), strict=True))
    (folder / "rows.csv").write_text(text, encoding="utf-8")
    return folder


def ask(model, *words):
    return main(["explain", "colours", str(model / "rows.csv"), "--runs", str(model / "runs"), *words])


def test_it_tells_what_moved_each_answer_and_leaves_a_page(model, capsys):
    assert ask(model, "--rows", "3") == 0
    text = capsys.readouterr().out
    assert "Method    exact shapley" in text and "add up to the whole difference" in text
    assert text.count("what moved") == 3 and "rows.csv:2" in text and "颜色 = " in text and "尺寸 = " in text
    page = model / "runs" / "colours" / "why-rows.html"
    assert str(page) in text and "颜色 = " in page.read_text("utf-8")


def test_more_rows_than_are_told_of_stand_on_the_page(model, capsys):
    page = model / "all.html"
    assert ask(model, "--report", str(page), "--language", "zh", "--target", "是") == 0
    assert "... and 50 more" in capsys.readouterr().out
    shown = page.read_text("utf-8")
    assert "全部样本" in shown and "<circle" in shown and "另有 36 个样本" in shown


def test_json_has_one_object_for_each_row(model, capsys):
    assert ask(model, "--rows", "2", "--json", "--report", str(model / "j.html"), "--method", "kernel_shap") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 2 and found[0]["method"] == "kernel_shap" and found[0]["label"] in ("是", "否")
    total = sum(f["value"] for f in found[0]["features"])
    assert found[0]["base"] + total == pytest.approx(found[0]["output"], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "kernel_shp"], "did you mean 'kernel_shap'"),
        (["--target", "是的"], "unknown class '是的'"),
        (["--background", "nothing.csv"], "nothing.csv"),
    ],
)
def test_errors_say_what_was_meant(model, words, said, capsys):
    assert ask(model, *words) == 1
    error = capsys.readouterr().err
    assert said in error and "should not happen" not in error and "Traceback" not in error


def test_a_file_that_is_not_there(model, capsys):
    assert main(["explain", "colours", str(model / "row.csv"), "--runs", str(model / "runs")]) == 1
    assert "did you mean 'rows.csv'?" in capsys.readouterr().err
