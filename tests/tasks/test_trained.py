"""A trained model takes raw input, also after saving and loading, and its file can do no harm."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import cenote as cn
from cenote.files import BadFile, load_tensors, save_tensors

sys.path.insert(0, str(Path(__file__).parent))

from toy import Heights, PointPreparation, Points, points

OURS = {"Points": Points, "PointPreparation": PointPreparation, "Heights": Heights}


@pytest.fixture(scope="module")
def trained():
    return Points(seed=3).train(points(), verbose=0)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "points.cenote"
    trained.save(path)
    return path


def test_it_comes_back_with_its_preparation_and_answers(trained, saved):
    again = cn.load(saved, OURS)
    assert type(again).__name__ == "Trained" and isinstance(again.task, Points) and again.task.seed == 3
    raw = points(20, seed=5).inputs
    assert again.predict(raw) == trained.predict(raw)
    np.testing.assert_array_equal(again.outputs(raw), trained.outputs(raw))
    assert again.info["classes"] == ["lower", "upper"] and again.info["test"]["accuracy"] == trained.scores.main.value
    assert again.results()["count"] == 60 and again.scores is None


def test_it_is_measured_on_labelled_examples(trained):
    found = trained.evaluate(points(80, seed=7))
    said = [a["label"] for a in trained.predict(points(80, seed=7).inputs)]
    assert found.count == 80 and found.main.value == (np.array(said) == points(80, seed=7).targets).mean()
    numbers = points(80, seed=7)
    numbers.targets = np.where(numbers.targets == "upper", 1, 0)  # class numbers, as arrays have them
    assert trained.evaluate(numbers).main.value == found.main.value
    with pytest.raises(ValueError, match="have a class that training has not seen, such as 'nothing'"):
        strange = points(4)
        strange.targets = np.repeat("nothing", 4)
        trained.evaluate(strange)
    with pytest.raises(ValueError, match="has no targets to measure against"):
        bare = points(4)
        bare.targets = None
        trained.evaluate(bare)


def test_it_explains_raw_input_with_the_features_names(trained):
    found = trained.explain([[9.0, -4.0]])
    assert list(found.names) == ["east", "north"]


def test_many_examples_come_in_pieces(trained, monkeypatch):
    monkeypatch.setattr("cenote.tasks.trained.CHUNK", 7)
    raw = points(20, seed=5).inputs
    pieces = [answers for answers, _ in trained.answer(raw)]
    assert [len(p) for p in pieces] == [7, 7, 6] and pieces[1][0]["source"] == "row 8"
    with pytest.raises(ValueError, match="holds nothing to predict"):
        trained.predict(np.zeros((0, 2)))


def test_what_lies_in_the_file_is_plain(saved, trained):
    with safe_open(saved, "numpy") as file:
        info = json.loads(file.metadata()["info"])
        assert {"trained/preparation/mean", "trained/preparation/scale"} <= set(file.keys())
    assert info["trained"]["task"] == {"name": "Points", "config": {"target": None, "seed": 3, "flip": False}}
    assert info["trained"]["answers"]["config"]["names"] == ["lower", "upper"]
    assert str(saved.parent) not in json.dumps(info)


def test_classes_that_are_not_ours_must_be_passed_in(saved):
    with pytest.raises(ValueError, match=r"needs the task 'Points', which is not Cenote's own: pass it as cn\.load"):
        cn.load(saved)
    with pytest.raises(ValueError, match="needs the preparation 'PointPreparation'"):
        cn.load(saved, {"Points": Points})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["task"].update(config={"target": None, "model": "mlp"}),
        lambda t: t["task"].update(config={"nonsense": 1}),
        lambda t: t["preparation"].update(config={"columns": 3}),
        lambda t: t["preparation"].pop("config"),
        lambda t: t["answers"].update(config={"names": ["lower", "lower"], "counts": [1, 1]}),
        lambda t: t.clear(),
    ],
)
def test_a_file_of_nonsense_is_refused(saved, tmp_path, change):
    tensors, info = load_tensors(saved, kind="model")
    info = json.loads(json.dumps(info))
    change(info["trained"])
    if not info["trained"]:
        info["trained"] = {"task": []}
    save_tensors(tmp_path / "bad.cenote", tensors, info, kind="model")
    with pytest.raises(BadFile):
        cn.load(tmp_path / "bad.cenote", OURS)


def test_a_plain_model_stays_a_plain_model(trained, tmp_path):
    trained.model.save(tmp_path / "model.cenote")
    assert isinstance(cn.load(tmp_path / "model.cenote"), cn.Sequential)


def test_a_run_is_written_into_a_folder(trained, tmp_path):
    trained.write(tmp_path / "run", title="points", command="cenote train points")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["history.json", "model.cenote", "report.html"]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "195 training, 45 validation, 60 test" in page and "cenote train points" in page
