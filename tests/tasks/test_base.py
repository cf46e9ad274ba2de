"""A task by the shortest example: what is chosen, said, measured and refused; answers, scores, and the guess of a task."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from cenote import tasks
from cenote.data.answers import Classes, Labels, Quantities
from cenote.data.examples import Examples
from cenote.tasks import scores
from cenote.tasks.base import cosine
from cenote.train.callbacks import EarlyStopping

sys.path.insert(0, str(Path(__file__).parent))

from toy import Heights, PointPreparation, Points, StreamedPoints, points


@pytest.fixture(scope="module")
def trained():
    return Points().train(points(), verbose=0)


# -- training --------------------------------------------------------------------------------------------------------------


def test_a_task_trains_scores_and_compares_with_a_baseline(trained, capsys):
    test = trained.job.parts.test
    assert trained.job.parts.counts() == {"train": 195, "validation": 45, "test": 60}
    said = np.array([a["label"] for a in trained.predict(test.inputs)])
    assert trained.scores.main.value == (said == test.targets).mean() > 0.95
    (baseline,) = trained.baselines
    assert baseline.value == max((test.targets == "lower").mean(), (test.targets == "upper").mean())
    assert trained.scores.main.beats(baseline.value)
    text = trained.conclusion()
    assert "Test accuracy" in text and "95% interval" in text and "majority class: always answering" in text


def test_the_announcement_tells_what_was_chosen_and_why(trained):
    text = trained.job.announcement()
    for part in ("195 to train, 45 to validate, 60 kept apart", "2 classes: lower, upper", "2 columns, standardised",
                 "drawn at random", "mlp, 82 parameters: 195 points", "up to 12 epochs, batches of 32, adam 0.05",
                 "epochs: few points"):  # fmt: skip
        assert part in text
    found = trained.job.record()
    assert found["parameters"] == 82 and found["findings"][0]["text"] == "drawn at random"


def test_statistics_come_from_the_training_part_alone(trained):
    np.testing.assert_allclose(trained.preparation.mean, trained.job.parts.train.inputs.mean(0))
    assert sum(trained.answers.counts) == 195


def test_every_choice_can_be_replaced():
    job = Points(model="linear", optimizer="sgd", epochs=3, batch_size=16, patience=2, loss="mse", metrics=[]).plan(
        Examples("points", points().inputs, np.where(points().targets == "upper", 1, 0))
    )
    c = job.choice
    assert (c.name, c.optimizer, c.epochs, c.batch_size, c.patience, c.loss) == ("linear", "sgd", 3, 16, 2, "mse")
    assert c.learning_rate == 0.01 and job.model.count_params() == 6  # sgd's own rate, two inputs and two classes
    assert c.reasons["epochs"] == "as you asked"
    assert job.task.answers.names == ["0", "1"]


def test_steps_are_no_larger_than_the_data(capsys):
    job = Points().plan(points(30))
    job.fit(verbose=0)
    assert job.choice.batch_size == 20 and job.steps() == 1 and not capsys.readouterr().out
    asked = Points(batch_size=64).plan(points(30))
    assert asked.choice.reasons["batch_size"] == "all 20 examples; 64 were asked for"


def test_batches_larger_than_memory_give_the_same_kind_of_model(trained):
    streamed = StreamedPoints().train(points(), verbose=0)
    assert streamed.scores.count == 60 and streamed.scores.main.value > 0.9
    assert streamed.job.steps() == 7 and streamed.job.estimate() > 0


def test_quantities_are_answered_in_their_own_units():
    found = Heights().train(points(kind="height"), verbose=0)
    test = found.job.parts.test
    said = np.array([a["value"] for a in found.predict(test.inputs)])
    assert found.scores["RMSE"] == pytest.approx(math.sqrt(reference.mean_squared_error(test.targets, said)), rel=1e-4)
    assert found.scores["R²"] == pytest.approx(reference.r2_score(test.targets, said), abs=1e-4) and found.scores["R²"] > 0.9
    spread = math.sqrt(((found.job.parts.train.targets.mean() - test.targets) ** 2).mean())
    assert found.baselines[0].value == pytest.approx(spread)


def test_labels_are_answered_as_sets():
    found = Points(epochs=25).train(points(kind="labels"), verbose=0)
    assert found.answers.names == ["east", "high"] and found.scores.main.name == "F1" and found.scores.main.value > 0.9
    other = points(30, kind="labels", seed=4)
    other.targets[2] = ("east", "far")
    assert "1 labels of the given part, such as 'far', do not occur in training" in found.examples(other)[1][-1].text
    (answer,) = found.predict([20.0, -9.0])
    assert set(answer["labels"]) == {"east", "high"} and "east" in found.task.line(answer)


def test_validation_and_test_parts_may_be_given():
    job = Points().plan(points(), validation=points(40, seed=1), test=points(50, seed=2))
    assert job.parts.counts() == {"train": 300, "validation": 40, "test": 50}
    assert Points().plan(points(), validation=0.2, test=30).parts.counts() == {"train": 210, "validation": 60, "test": 30}


def test_what_training_has_not_seen_is_left_out_and_said():
    other = points(50, seed=2)
    other.targets = other.targets.copy()
    other.targets[:3] = "beside"
    job = Points().plan(points(), test=other)
    assert len(job.parts.test) == 47
    assert "3 of 50 test examples have a class that training has not seen, such as 'beside'" in job.announcement()


def test_examples_without_a_target_are_left_out_and_said():
    some = points()
    some.targets = some.targets.copy()
    some.targets[[4, 7]] = [None, " "]
    job = Points().plan(some)
    assert sum(job.parts.counts().values()) == 298
    assert "2 of 300 examples have no target (point 4 is the first) and are left out" in job.announcement()


def test_ctrl_c_keeps_what_was_learned(monkeypatch):
    import signal

    usual = EarlyStopping.on_epoch_end

    def hook(self, epoch, logs=None):
        usual(self, epoch, logs)
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EarlyStopping, "on_epoch_end", hook)
    found = Points().train(points(), verbose=0)
    assert found.interrupted and 3 <= len(found.history.records) < 12 and found.scores.count == 60


@pytest.mark.parametrize("task", [Points, StreamedPoints])
def test_a_killed_run_goes_on(tmp_path, monkeypatch, task):
    class Killed(BaseException):
        pass

    usual = EarlyStopping.on_epoch_end

    def hook(self, epoch, logs=None):
        usual(self, epoch, logs)
        if epoch == 5:
            raise Killed

    monkeypatch.setattr("cenote.tasks.base._checkpoints", _often)
    whole = task().train(points(), verbose=0)
    monkeypatch.setattr(EarlyStopping, "on_epoch_end", hook)
    with pytest.raises(Killed):
        task().train(points(), folder=tmp_path, verbose=0)
    assert not (tmp_path / "model.cenote").exists()
    monkeypatch.setattr(EarlyStopping, "on_epoch_end", usual)
    again = task().train(points(), folder=tmp_path, verbose=0)
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {"model.cenote", "history.json", "report.html"} == {p.name for p in tmp_path.iterdir()}


def _often(folder):
    from cenote.train import Checkpoints

    return Checkpoints(folder / "checkpoint", every_seconds=0.0)


# -- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "mpl"}, "unknown model of points 'mpl': did you mean 'mlp'"),
        ({"horizon": 3}, "unknown option of points 'horizon'"),
    ],
)
def test_options_that_a_task_does_not_have(options, text):
    with pytest.raises(ValueError, match=text):
        Points(**options)


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="the target has one value only, 'lower', in all 195 examples"):
        Points().plan(points(kind="one"))


def test_a_class_with_one_example_is_learned_and_said():
    some = points()
    some.targets = some.targets.copy()
    some.targets[11] = "beside"
    job = Points().plan(some)
    assert "the class 'beside' has only one example" in job.announcement() and "beside" in job.task.answers.names


def test_an_identifier_is_no_class():
    some = points()
    some.targets = np.array([f"id{i}" for i in range(300)])
    with pytest.raises(ValueError, match=r"different values in 195 examples, such as 'id.*identifier"):
        Points().plan(some)


def test_an_empty_source():
    with pytest.raises(ValueError, match="holds no example"):
        Points().plan(points().take(np.arange(0)))


# -- answers ---------------------------------------------------------------------------------------------------------------


def test_classes_are_taken_by_how_they_are_written():
    classes = Classes.fit(np.array([10, 2, 2, 1]))
    assert classes.names == ["1", "2", "10"] and classes.counts == [1, 2, 1] and classes.commonest == 1
    assert classes([2.0, 10.0]).tolist() == [1, 2] == classes(["2", "10"]).tolist()
    assert Classes.fit(["b", "a", "c"], order=["c", "b", "a"]).names == ["c", "b", "a"]
    with pytest.raises(ValueError, match=r"unknown class \(of example 2\) 'dig': did you mean 'dog'"):
        Classes(["cat", "dog"])(["cat", "dig"])
    with pytest.raises(ValueError, match="12,000 different values"):
        Classes.fit(np.repeat(np.arange(12_000), 3))


def test_answers_come_back_from_plain_values():
    for answers, targets in (
        (Classes.fit(["a", "b"]), ["b"]),
        (Labels.fit([["a"], ["a", "b"]]), [["b"]]),
        (Quantities.fit([[1.0, 2.0], [3.0, 8.0]], names=["p", "q"]), [[2.0, 2.0]]),
    ):
        again = type(answers).restore(answers.config(), answers.arrays())
        np.testing.assert_array_equal(again(targets), answers(targets))
        assert again.describe() == answers.describe()
    with pytest.raises(ValueError, match="two or more different names"):
        Classes.restore({"names": ["a", "a"], "counts": [1, 1]}, {})
    with pytest.raises(ValueError, match="scale above 0"):
        Quantities.restore({"mean": [0.0], "scale": [0.0], "names": ["x"]}, {})


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        ([1.0, "abc", 3.0], "the target of example 2 is 'abc', which is no number"),
        ([2.5, 2.5], "is 2.5 in all 2 examples"),
        ([1.0, math.inf], "example 2 is not a finite number"),
    ],
)
def test_quantities_say_what_is_wrong(targets, text):
    with pytest.raises(ValueError, match=text):
        Quantities.fit(np.array(targets, object))


# -- scores ----------------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn():
    draw = np.random.RandomState(0)
    y, p = draw.choice(3, 200, p=[0.6, 0.3, 0.1]), draw.dirichlet(np.ones(3), 200)
    p[np.arange(200), y] += 0.7
    p /= p.sum(1, keepdims=True)
    found = scores.of_classes(p, y, ["a", "b", "c"])
    assert found["accuracy"] == reference.accuracy_score(y, p.argmax(1))
    assert found["balanced accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, p.argmax(1)))
    assert found["log loss"] == pytest.approx(reference.log_loss(y, p))
    truth, said = draw.rand(100, 4) > 0.6, draw.rand(100, 4)
    labels = scores.of_labels(said, truth, list("abcd"))
    assert labels["F1"] == pytest.approx(reference.f1_score(truth, said >= 0.5, average="micro"))
    assert labels["mean F1"] == pytest.approx(reference.f1_score(truth, said >= 0.5, average="macro"))
    with pytest.raises(KeyError, match="did you mean 'F1'"):
        labels["f1"]


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    draw, inside = np.random.RandomState(1), 0
    for _ in range(100):
        found = scores.average("mean", draw.normal(5.0, 2.0, 60), rounds=200)
        inside += found.low < 5.0 < found.high
    assert 88 <= inside <= 99


def test_a_schedule_rises_and_falls():
    rate = cosine(0.1, 100)
    assert float(rate(0)) < 0.03 and float(rate(5)) == pytest.approx(0.1) and float(rate(100)) == pytest.approx(0.001)


# -- which task ------------------------------------------------------------------------------------------------------------


def test_the_source_tells_its_task(tmp_path):
    (tmp_path / "t.csv").write_text("size,fit\n" + "\n".join(f"{i},{'yes' if i % 2 else 'no'}" for i in range(40)))
    cls, reason = tasks.guess(str(tmp_path / "t.csv"), "fit")
    assert cls.name == "tabular-classification" and "'fit'" in reason
    assert tasks.guess("digits")[0] is tasks.find("images")
    with pytest.raises(FileNotFoundError, match=r"did you mean 't\.csv'"):
        tasks.guess(str(tmp_path / "y.csv"))
    with pytest.raises(ValueError, match="unknown task 'forcast': did you mean 'forecast'"):
        tasks.find("forcast")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot tell what is to be learned from empty"):
        tasks.guess(tmp_path / "empty")


def test_every_task_is_there_and_describes_itself():
    for cls in tasks.classes():
        assert (
            cls.name in tasks.NAMES and cls.about and cls.kind and isinstance(cls.options, dict) and tasks.find(cls.name) is cls
        )


def test_preparations_are_called_with_raw_inputs():
    assert PointPreparation([0, 0], [1, 1]).raw([1, 2]).shape == (1, 2)
