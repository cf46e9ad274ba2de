"""The command on files of the user's own: a table from end to end, its messages, and what machines read."""

import io
import json

import numpy as np
import pytest

from cenote.cli.main import main
from cenote.cli.runs import Settings, usual_name

TRAIN = ["--model", "linear", "--epochs", "20", "--learning-rate", "0.2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table: size and colour of fruits, and whether they are ripe; with other rows for the test."""
    folder = tmp_path_factory.mktemp("fruits")
    draw = np.random.RandomState(0)
    for name, count in (("fruits.csv", 150), ("others.csv", 40)):
        size, colour = draw.normal(5, 2, count), draw.choice(["red", "green"], count)
        ripe = np.where(size + 3 * (colour == "red") > 6, "yes", "no")
        rows = [f"{s:.3f},{c},{r},{20 + 4 * s:.2f}" for s, c, r in zip(size, colour, ripe, strict=True)]
        (folder / name).write_text("size,colour,ripe,price\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(place):
    """``cenote train fruits.csv --target ripe``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert (
            main(["train", "fruits.csv", "--target", "ripe", "--set", 'drop=["price"]', "--quiet", "--tensorboard", *TRAIN])
            == 0
        )
    return place / "runs" / "fruits-linear"


@pytest.fixture(autouse=True)
def _here(place, monkeypatch):
    monkeypatch.chdir(place)


def test_a_table_is_trained_evaluated_and_asked(run, capsys):
    assert {"model.cenote", "history.json", "report.html", "run.json", "tensorboard"} == {p.name for p in run.iterdir()}
    assert main(["evaluate", "runs/latest", "others.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] > 0.7 and found["count"] == 40 and found["baselines"][0]["name"] == "majority class"
    assert main(["predict", "runs/latest", "others.csv", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 40 and answers[0]["source"] == "others.csv:2" and answers[0]["label"] in ("yes", "no")
    assert main(["evaluate"]) == 0
    assert "on the test part of fruits.csv" in capsys.readouterr().out


def test_a_page_of_other_data_does_not_tell_where_it_lay(run, place, capsys):
    assert main(["evaluate", "latest", str(place / "others.csv"), "--report", "again.html", "--quiet"]) == 0
    text = (place / "again.html").read_text("utf-8")
    assert capsys.readouterr().out == "" and "<h1>fruits-linear · others.csv</h1>" in text and str(place) not in text


def test_rows_are_piped_in(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("size,colour\n9.5,red\n0.5,green\n"))
    assert main(["predict", "latest", "-", "--json"]) == 0
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == ["yes", "no"]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["predict", "latest", "-"]) == 1
    assert "give CSV with a heading" in capsys.readouterr().err


def test_the_command_is_written_down(run):
    settings = json.loads((run / "run.json").read_text("utf-8"))["settings"]
    known = Settings(**{**settings, "sources": tuple(settings["sources"])})
    assert known.command().startswith(
        "cenote train fruits.csv --task tabular-classification --target ripe --set 'drop=[\"price\"]'"
    )
    assert usual_name(Settings(("a b.csv", "x/de.txt"), "translation", "", 1, 1, 0.1, "adam", 0)) == "a-b-de-translation"


def test_a_dry_run_of_a_table_shows_columns_and_writes_nothing(place, capsys):
    before = sorted(place.rglob("*"))
    assert main(["train", "fruits.csv", "--target", "price", "--dry-run", "--json", "--test", "others.csv", *TRAIN]) == 0
    (plan,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (
        plan["task"] == "tabular-regression" and plan["parts"]["test"] == 40 and plan["seconds"] > 0 and plan["parameters"] > 0
    )
    assert any("colour" in line and "category" in line for line in plan["inputs"])
    assert sorted(place.rglob("*")) == before


def test_a_run_goes_on_only_as_it_was_begun(run, capsys):
    words = ["train", "fruits.csv", "--name", "fruits-linear", "--resume"]
    assert main(words) == 0
    assert "is finished already" in capsys.readouterr().out
    assert main(["train", "fruits.csv", "--resume"]) == 1
    assert "there is no unfinished run of fruits.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fruits.csv", "--target", "rype"], 1, "did you mean 'ripe'? Known: colour, price, ripe, size"),
        (["fruits.csv"], 1, "Give --target, one of: size, colour, ripe, price"),
        (["fruit.csv", "--target", "ripe"], 2, "did you mean 'fruits.csv'?"),
        (["fruits.csv", "--target", "ripe", "--horizon", "3"], 1, "holds no numbers"),
        (["fruits.csv", "--target", "ripe", "--set", "colour=red"], 1, "colour"),
        (["fruits.csv", "others.csv", "--task", "tabular-classification", "--target", "ripe"], 2, "no table"),
        (["."], 1, "cannot tell what is to be learned from"),
        (["empty.csv", "--target", "ripe"], 1, "empty"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(place, words, code, said, capsys):
    (place / "empty.csv").write_text("")
    before = sorted(place.rglob("*"))
    assert main(["train", *words]) == code
    error = capsys.readouterr().err
    assert error.startswith("cenote: ") and said in error and "Traceback" not in error and "should not happen" not in error
    assert sorted(place.rglob("*")) == before


def test_invert_is_for_pictures(run, capsys):
    assert main(["predict", "latest", "others.csv", "--invert"]) == 1
    assert "--invert is for pictures" in capsys.readouterr().err
