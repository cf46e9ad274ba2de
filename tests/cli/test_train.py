"""The main job: what it leaves, what it says, and that it survives being killed or interrupted."""

import json
import signal

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import cenote as cn
from cenote.cli import runs
from cenote.cli import train as train_verb
from cenote.cli.main import main
from cenote.tasks import ImageClassification
from cenote.train.callbacks import EarlyStopping


class Killed(BaseException):
    """As good as a SIGKILL: nobody catches it."""


def test_the_main_job_leaves_a_good_model_its_history_and_a_report(trained):
    assert trained.code == 0
    assert sorted(p.name for p in trained.folder.iterdir()) == ["history.json", "model.cenote", "report.html", "run.json"]
    (_, _), (x, y) = cn.datasets.digits.load_data()
    model = cn.load(trained.folder / "model.cenote")
    accuracy = accuracy_score(y, model.outputs(x).argmax(1))  # raw values: the preparation is in the file
    assert accuracy >= 0.96
    assert accuracy == trained.results["accuracy"]
    low, high = trained.results["interval"]
    assert low < accuracy < high
    assert model.info["dataset"] == "digits" and model.info["classes"] == [str(i) for i in range(10)]
    assert model.info["task"] == "image-classification" and model.info["test"]["accuracy"] == accuracy
    assert [a["label"] for a in model.predict(x[:5])] == [str(n) for n in model.outputs(x[:5]).argmax(1)]


def test_what_it_prints_is_short_and_true(trained):
    results = trained.results
    right = f"{results['right']} of 359 right"
    assert f"Test accuracy     {results['accuracy']:.1%}   {right}; 95% interval" in trained.printed
    assert "Baseline          10.0%   majority class: always answering '1'" in trained.printed
    assert "1,222 to train, 216 to validate, 359 kept apart for the test" in trained.printed
    assert "Baseline          9" in trained.printed and "logistic regression" in trained.printed  # and it is not far behind
    assert str(trained.folder) in trained.printed and len(trained.printed.splitlines()) < 60


def test_the_history_is_the_run_s(trained):
    history = cn.train.History.from_dict(json.loads((trained.folder / "history.json").read_text("utf-8")))
    assert len(history.records) == trained.results["epochs"] > 5
    assert history.history["val_loss"][-1] < history.history["val_loss"][0]


def test_latest_points_to_the_last_run(trained):
    assert runs.find("latest", trained.runs) == trained.folder / "model.cenote"


def test_latest_is_a_text_file_where_links_cannot_be_made(trained, tmp_path, monkeypatch):
    run = runs.Run(tmp_path / "mine", runs.read(trained.folder).settings)
    run.folder.mkdir()
    (run.folder / "model.cenote").write_bytes(b"model")
    monkeypatch.setattr("os.symlink", lambda *a, **k: (_ for _ in ()).throw(OSError("no links here")))
    runs.point_latest(run)
    assert (tmp_path / "latest").read_text() == "mine\n"
    assert runs.find("latest", tmp_path) == run.folder / "model.cenote"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "mine"]


@pytest.fixture
def quick(monkeypatch):
    """Without the linear baselines, which take longer than these short runs."""
    monkeypatch.setattr(ImageClassification, "baselines", lambda self, parts: self.simplest(parts.test))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["cnn", "linear"])
def test_other_networks_and_json(kind, tmp_path, capsys):
    words = ["train", "digits", "--model", kind, "--epochs", "2", "--runs", str(tmp_path), "--json", "--language", "zh"]
    assert main(words) == 0
    printed = capsys.readouterr()
    plan, *epochs, results = [json.loads(line) for line in printed.out.splitlines()]
    assert (
        plan["event"] == "plan" and plan["model"] == kind and plan["parts"] == {"train": 1222, "validation": 216, "test": 359}
    )
    assert [e["epoch"] for e in epochs] == [1, 2] and all(e["val_loss"] > 0 for e in epochs)
    assert results["event"] == "result" and results["accuracy"] > 0.25 and results["epochs"] == 2 and results["count"] == 359
    assert (tmp_path / f"digits-{kind}" / "report.html").read_text("utf-8").startswith('<!doctype html>\n<html lang="zh')


def test_a_dry_run_tells_all_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--model", "mlp", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for text in ("image-classification: digits is a built-in data set", "10 classes: 0, 1, 2", "1,222 to train", "parameters"):
        assert text in out
    assert "Time      up to" in out and "Nothing was written" in out
    assert list(tmp_path.iterdir()) == []


def short(folder, *more):
    return ["train", "digits", "--model", "mlp", "--epochs", "6", "--runs", str(folder), "--quiet", *more]


@pytest.fixture
def often(monkeypatch):
    """Checkpoints at every epoch's end."""
    monkeypatch.setattr(train_verb, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def at_epoch(monkeypatch):
    """Let something happen at the end of an epoch."""

    def plan(epoch, action):
        usual = EarlyStopping.on_epoch_end

        def hook(self, now, logs=None):
            usual(self, now, logs)
            if now == epoch:
                action()

        monkeypatch.setattr(EarlyStopping, "on_epoch_end", hook)
        return lambda: monkeypatch.setattr(EarlyStopping, "on_epoch_end", usual)

    return plan


def weights(folder):
    return cn.load(folder / "model.cenote").model.get_weights()


@pytest.mark.usefixtures("quick", "programs_of_users")
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, capsys, often, at_epoch):
    assert main(short(tmp_path, "--name", "whole")) == 0

    def kill():
        raise Killed

    undo = at_epoch(3, kill)
    with pytest.raises(Killed):
        main(short(tmp_path, "--name", "cut"))
    assert not (tmp_path / "cut" / "model.cenote").exists()
    assert runs.find("latest", tmp_path).parent.name == "whole"
    assert main(["evaluate", "cut", "--runs", str(tmp_path)]) == 1
    assert "Go on with it: cenote train digits --name cut --resume --runs" in capsys.readouterr().err
    undo()
    assert main(["train", "digits", "--batch-size", "8", "--runs", str(tmp_path), "--resume"]) == 2
    assert "was begun with --batch-size 32" in capsys.readouterr().err
    assert main(["train", "digits", "--runs", str(tmp_path), "--resume"]) == 0
    assert "resumed from step-" in capsys.readouterr().out
    for a, b in zip(weights(tmp_path / "whole"), weights(tmp_path / "cut"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert runs.find("latest", tmp_path).parent.name == "cut"

    assert main(["train", "digits", "--runs", str(tmp_path), "--name", "cut", "--resume"]) == 0
    assert "is finished already" in capsys.readouterr().out
    assert main(["train", "digits", "--runs", str(tmp_path), "--resume"]) == 1
    assert "there is no unfinished run of digits" in capsys.readouterr().err
    assert main(short(tmp_path, "--name", "cut")) == 1
    assert "exists already, and is finished" in capsys.readouterr().err
    assert main(["train", "digits", "--runs", str(tmp_path), "--name", "cud", "--resume"]) == 1
    assert "did you mean 'cut'?" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_ctrl_c_keeps_what_was_learned(tmp_path, capsys, at_epoch):
    undo = at_epoch(2, lambda: signal.raise_signal(signal.SIGINT))
    assert main(["train", "digits", "--model", "mlp", "--epochs", "6", "--runs", str(tmp_path)]) == 130
    folder = tmp_path / "digits-mlp"
    out = capsys.readouterr().out
    assert "Test accuracy" in out and "Or go on:  cenote train digits --name digits-mlp --resume" in out
    assert "interrupted (Ctrl-C)" in (folder / "report.html").read_text("utf-8")
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "interrupted"
    (_, _), (x, y) = cn.datasets.digits.load_data()
    assert accuracy_score(y, cn.load(folder / "model.cenote").outputs(x).argmax(1)) > 0.8
    undo()
    assert main(["train", "digits", "--runs", str(tmp_path), "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["epochs"] == 6
    assert "checkpoint" not in [p.name for p in folder.iterdir()]


def test_ctrl_c_before_anything_is_learned_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupt(self, logs=None):
        if self.run is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(EarlyStopping, "on_train_begin", interrupt)
    monkeypatch.setattr(EarlyStopping, "__init__", lambda self, *a, **k: None)
    assert main(short(tmp_path / "runs")) == 130
    assert "nothing was written" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_training_that_explodes_is_an_error_and_leaves_nothing(tmp_path, capsys):
    assert main(short(tmp_path, "--optimizer", "sgd", "--learning-rate", "1e20")) == 1
    assert "the loss became" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert main(short(tmp_path / "file")) == 1
    assert "choose another with --runs DIR" in capsys.readouterr().err


def test_a_data_set_that_is_nowhere(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CENOTE_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("CENOTE_OFFLINE", "1")
    monkeypatch.delenv("CENOTE_DATA", raising=False)
    assert main(["train", "mnist", "--runs", str(tmp_path / "runs")]) == 1
    error = capsys.readouterr().err
    assert "the data set mnist" in error and "To supply it" in error and not (tmp_path / "runs").exists()


def test_names_are_counted_on(trained, tmp_path):
    settings = runs.read(trained.folder).settings
    assert [runs.begin(tmp_path, None, settings).name for _ in range(3)] == ["digits-mlp", "digits-mlp-2", "digits-mlp-3"]
    assert settings.command() == (
        "cenote train digits --model mlp --epochs 60 --batch-size 32 --learning-rate 0.001 --optimizer adam --seed 0"
    )


def test_debug_shows_where_an_error_comes_from(tmp_path, capsys):
    assert main(["evaluate", "nothing", "--runs", str(tmp_path), "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and "cenote: there is no run 'nothing'" in error
