"""Callbacks decide as Keras's do, given the same logs; they survive a killed run; and their messages say what to do."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from cenote.train.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    Progress,
    ReduceLROnPlateau,
    StopAt,
    TensorBoard,
    TerminateOnNaN,
    overrides_batches,
)
from cenote.train.history import History


class Run:
    """A run without a model: its weight is the number of the last epoch."""

    def __init__(self, epochs=10, rate=0.1, steps=10, model=None):
        self.epochs, self.epoch, self.steps, self.batch_size, self.examples = epochs, 0, steps, 32, 0
        self.model, self.history, self.stop_reason, self.interrupted = model, History(), None, False
        self.state = SimpleNamespace(step=0)
        self.rate, self.weight = np.float32(rate), np.zeros(1)

    learning_rate = property(lambda self: float(self.rate), lambda self, v: setattr(self, "rate", np.float32(v)))

    def stop(self, reason):
        self.stop_reason = self.stop_reason or reason

    def weights(self):
        return {"dense.kernel": self.weight.copy()}

    def restore(self, weights):
        self.weight = weights["dense.kernel"].copy()


def play(callbacks, logs, run=None, chunks=1, memory=None, until=None):
    """What the engine does: epochs of chunks. ``until`` kills the run before that epoch; ``memory`` resumes one."""
    run = run or Run(epochs=len(logs))
    with CallbackList(callbacks, run) as hooks:
        if memory is not None:
            hooks.recall(memory)
        hooks.on_train_begin()
        rates = []
        while run.epoch < run.epochs and run.stop_reason is None:
            if run.epoch == until:
                return run, rates, json_like(hooks.memory())
            hooks.on_epoch_begin(run.epoch)
            rates.append(run.learning_rate)
            epoch_logs = dict(logs[run.epoch])
            for chunk in range(chunks):
                run.state.step += run.steps // chunks
                run.examples += run.steps // chunks * run.batch_size
                hooks.on_chunk_end((chunk + 1) * run.steps // chunks, {k: v for k, v in epoch_logs.items() if k[:4] != "val_"})
            run.weight = np.full(1, run.epoch)
            run.history.add(run, epoch_logs)
            hooks.on_epoch_end(run.epoch, epoch_logs)
            run.history.amend(epoch_logs)
            run.epoch += 1
        hooks.on_train_end({})
    return run, rates, json_like(hooks.memory())


def json_like(memory):
    """As checkpoints keep it: arrays apart, the rest through JSON."""
    plain = json.loads(json.dumps({k: v for k, v in memory.items() if not isinstance(v, np.ndarray)}))
    return {**plain, **{k: v.copy() for k, v in memory.items() if isinstance(v, np.ndarray)}}


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


class KerasModel:
    """What Keras's callbacks touch of a model."""

    def __init__(self, rate=0.1):
        self.optimizer = Run(rate=rate)
        self.stop_training, self.weight = False, np.zeros(1)

    def get_weights(self):
        return [self.weight.copy()]

    def set_weights(self, weights):
        self.weight = weights[0].copy()


def play_keras(callback, logs):
    model = KerasModel()
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, epoch_logs in enumerate(logs):
        callback.on_epoch_begin(epoch)
        rates.append(model.optimizer.learning_rate)
        model.weight = np.full(1, epoch)
        callback.on_epoch_end(epoch, dict(epoch_logs))
        if model.stop_training:
            break
    callback.on_train_end()
    return model, rates


def wandering(seed, count=30):
    """A validation loss that falls, then rises, with plateaus (two decimals, so that equal values occur)."""
    random = np.random.default_rng(seed)
    x = np.arange(count)
    loss = 1 / (1 + 0.3 * x) + 0.004 * np.maximum(0, x - random.integers(5, 25)) ** 1.5 + 0.05 * random.normal(size=count)
    return [{"loss": float(np.float32(v)), "val_loss": round(float(v), 2), "val_accuracy": 1 - float(v) / 2} for v in loss]


EARLY = [
    {"patience": 0},
    {"patience": 3},
    {"patience": 2, "min_delta": 0.02, "restore_best_weights": True},
    {"patience": 4, "baseline": 0.3, "restore_best_weights": True},
    {"patience": 3, "baseline": 0.001},
    {"patience": 2, "start_from_epoch": 8, "restore_best_weights": True},
    {"patience": 5, "monitor": "val_accuracy", "mode": "max", "min_delta": -0.01, "restore_best_weights": True},
    {"patience": 3, "monitor": "loss", "mode": "min"},
]


@pytest.mark.parametrize("options", EARLY)
def test_early_stopping_stops_where_keras_does_with_the_same_weights(keras, options):
    for seed in range(12):
        logs = wandering(seed)
        theirs = keras.callbacks.EarlyStopping(**options)
        model, rates = play_keras(theirs, logs)
        ours = EarlyStopping(**options)
        run, our_rates, _ = play(ours, logs)
        assert len(our_rates) == len(rates)
        for name in ("stopped_epoch", "best_epoch", "wait"):
            assert getattr(ours, name) == getattr(theirs, name), (seed, name)
        assert ours.best == theirs.best
        assert run.weight == model.weight
        assert (run.stop_reason is not None) == model.stop_training


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 1, "factor": 0.5, "cooldown": 3},
        {"patience": 3, "factor": 0.2, "min_lr": 0.005},
        {"patience": 0, "min_delta": 0.05},
        {"patience": 2, "monitor": "val_accuracy", "mode": "max", "cooldown": 1},
    ],
)
def test_plateaus_reduce_the_rate_where_keras_does(keras, options):
    for seed in range(12):
        logs = wandering(seed)
        _, theirs = play_keras(keras.callbacks.ReduceLROnPlateau(**options), logs)
        run, ours, _ = play(ReduceLROnPlateau(**options), logs)
        assert ours == theirs
        assert run.history.history["learning_rate"] == ours  # the rate that each epoch was trained with, as in Keras
        assert [r["learning_rate"] for r in run.history.records] == ours


@pytest.mark.parametrize(
    "schedule",
    [
        lambda epoch, rate: rate * 0.9 if epoch > 2 else rate,
        lambda epoch: 0.5**epoch,
        lambda epoch, rate: rate / (1 + epoch),
    ],
)
def test_schedules_give_keras_rates(keras, schedule):
    logs = wandering(0, 8)
    _, theirs = play_keras(keras.callbacks.LearningRateScheduler(schedule), logs)
    run, ours, _ = play(LearningRateScheduler(schedule), logs)
    assert ours == theirs
    assert run.history.history["learning_rate"] == ours


@pytest.mark.parametrize("value", [None, "fast", math.nan, -0.1])
def test_a_schedule_that_gives_no_rate_is_told_so(value):
    with pytest.raises(ValueError, match=r"gave .* for epoch 0 .* must return the\s+learning rate"):
        play(LearningRateScheduler(lambda epoch, rate: value), wandering(0, 2))
    with pytest.raises(TypeError, match="belongs into the optimizer"):
        LearningRateScheduler(0.1)


@pytest.mark.parametrize(
    "logs",
    [
        wandering(1, 5),
        [{"loss": 0.5, "accuracy": 0.1}, {"loss": 0.25}],
        [{"loss": 0.5, "matrix": np.arange(3)}, {"loss": 0.25, "matrix": np.arange(3), "val_loss": 1.0}],
        [{"loss": math.nan}],
    ],
)
@pytest.mark.parametrize("separator", [",", ";"])
def test_csv_files_are_keras_files_to_the_byte(keras, tmp_path, logs, separator):
    play_keras(keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"), separator), logs)
    play(CSVLogger(tmp_path / "new folder" / "ours.csv", separator), logs)
    assert (tmp_path / "new folder" / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_csv_appends_below_the_columns_there_are(tmp_path):
    path = tmp_path / "log.csv"
    play(CSVLogger(path), wandering(1, 2))
    path.write_bytes(path.read_bytes() + b"2,0.1")  # a killed process left half a line
    play(CSVLogger(path, append=True), [{"loss": 0.125, "new": 3.0}])
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [r["epoch"] for r in rows] == ["0", "1", "2", "0"]
    assert rows[-1] == {"epoch": "0", "loss": "0.125", "val_accuracy": "NA", "val_loss": "NA"}
    path.write_text("name;age\nAda;36\n")
    with pytest.raises(ValueError, match="no table of CSVLogger"):
        play(CSVLogger(path, append=True), wandering(1, 1))


EXERCISED = {
    "early": lambda folder: EarlyStopping(patience=3, restore_best_weights=True),
    "plateau": lambda folder: ReduceLROnPlateau(patience=1, factor=0.5, cooldown=1),
    "schedule": lambda folder: LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    "csv": lambda folder: CSVLogger(folder / "log.csv"),
    "history": lambda folder: History(),
}


@pytest.mark.parametrize("kind", EXERCISED)
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_epoch_and_resumed_it_ends_as_if_never_stopped(kind, seed, tmp_path):
    logs = wandering(seed, 14)
    make = EXERCISED[kind]
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    whole, rates, memory = play(make(tmp_path / "whole"), logs)
    for kill in range(1, len(rates)):
        first, early_rates, kept = play(make(tmp_path / "cut"), logs, until=kill)
        # The process lives a little longer than its last checkpoint, and writes lines that must not stay.
        play(make(tmp_path / "cut"), logs, run=rewound(first, kill), memory=kept, until=min(kill + 2, len(rates)))
        second, late_rates, end = play(make(tmp_path / "cut"), logs, run=rewound(first, kill), memory=kept)
        assert early_rates + late_rates == rates
        assert second.weight == whole.weight and second.stop_reason == whole.stop_reason
        assert {k: v for k, v in end.items() if "record" not in k} == {k: v for k, v in memory.items() if "record" not in k}
    if kind == "csv":
        assert (tmp_path / "cut" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()


def rewound(run, epoch):
    """The run as the checkpoint of that epoch's end has it."""
    new = Run(run.epochs, run.rate)
    new.epoch, new.weight, new.state.step, new.examples = epoch, np.full(1, epoch - 1), epoch * 10, epoch * 320
    return new


def test_resumed_in_mid_epoch_a_rate_is_not_lowered_twice():
    make = lambda: LearningRateScheduler(lambda epoch, rate: rate * 0.5)  # noqa: E731
    run = Run()
    hooks = CallbackList(make(), run)
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    assert run.learning_rate == pytest.approx(0.05)
    again = CallbackList(make(), run)
    again.recall(hooks.memory())
    again.on_train_begin()
    again.on_epoch_begin(0)
    assert run.learning_rate == pytest.approx(0.05)
    again.on_epoch_begin(1)
    assert run.learning_rate == pytest.approx(0.025)


def test_a_decision_to_stop_survives_a_kill():
    logs = [{"val_loss": v} for v in (0.5, 0.6, 0.7)]
    _, _, memory = play(EarlyStopping(patience=2), logs)
    run = Run()
    hooks = CallbackList(EarlyStopping(patience=2), run)
    hooks.recall(memory)
    hooks.on_train_begin()
    assert run.stop_reason == "val_loss not better for 2 epochs than 0.5 in epoch 1"


def test_a_nan_is_never_the_best():
    logs = [{"val_loss": v} for v in (math.nan, 0.5, math.nan, 0.4, 0.6)]
    stopping = EarlyStopping(patience=10, restore_best_weights=True)
    run, _, _ = play(stopping, logs)
    assert stopping.best == 0.4 and run.weight == 3


# -- names and messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
def test_a_quantity_that_is_not_there_is_told_once_with_the_near_one(kind):
    logs = [{"loss": 0.1, "accuracy": 0.5, "val_loss": 0.1, "val_accuracy": 0.5}] * 3
    with pytest.warns(UserWarning) as caught:
        play(kind("val_acc"), logs)
    told = [str(w.message) for w in caught]
    assert len(told) == 1 and "did you mean 'val_accuracy'?" in told[0] and "loss, accuracy, val_loss" in told[0]
    with pytest.warns(UserWarning, match="no validation; give fit\\(\\) validation_data"):
        play(kind("val_loss"), [{"loss": 0.1}])


def test_epochs_that_are_not_validated_are_no_reason_to_warn():
    run = Run(epochs=4)
    run.validation_freq = 2
    logs = [{"loss": 0.1}, {"loss": 0.1, "val_loss": 0.5}] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play([EarlyStopping(patience=5), ReduceLROnPlateau(), StopAt("val_loss", below=0.1)], logs, run)


def test_the_direction_comes_from_the_metric_or_the_name():
    for name, goal in (
        ("val_loss", "min"),
        ("val_accuracy", "max"),
        ("head_auc", "max"),
        ("val_mean_absolute_error", "min"),
    ):
        assert EarlyStopping(name).goal() == goal
    with pytest.raises(ValueError, match="give mode='max' or mode='min'"):
        EarlyStopping("temperature").goal()
    callback = EarlyStopping("val_temperature")
    callback.model = SimpleNamespace(metrics=[SimpleNamespace(name="temperature", direction="up")])
    assert callback.goal() == "max"
    with pytest.raises(ValueError, match="did you mean 'min'"):
        EarlyStopping("loss", mode="mim")


def test_stop_at_a_target():
    run, rates, _ = play(StopAt("loss", below=0.3), [{"loss": v} for v in (0.5, 0.31, 0.29, 0.1)])
    assert len(rates) == 3 and run.stop_reason == "loss 0.29 is below 0.3"
    run, rates, _ = play(StopAt("val_accuracy", above=0.9), [{"val_accuracy": v} for v in (0.5, 0.95, 0.99)])
    assert len(rates) == 2 and run.stop_reason == "val_accuracy 0.95 is above 0.9"
    with pytest.raises(ValueError, match="needs a target"):
        StopAt("loss")
    with pytest.raises(ValueError, match="did you mean 'loss'"):
        play(StopAt("los", below=1), [{"loss": 0.5}])


def test_a_loss_that_is_no_number_ends_the_run():
    run, rates, _ = play(TerminateOnNaN(), [{"loss": 0.5}, {"loss": math.nan}, {"loss": 0.1}])
    assert len(rates) == 2 and run.stop_reason == "the loss became nan by step 10 of epoch 2"
    with pytest.raises(RuntimeError, match="became inf by step 10 of epoch 1") as error:
        play(TerminateOnNaN(raise_error=True), [{"loss": math.inf}])
    assert "in the callback TerminateOnNaN, on_chunk_end" in error.value.__notes__


# -- hooks -----------------------------------------------------------------------------------------------------------------


def test_hooks_of_users_are_called_in_order_with_keras_arguments():
    heard = []

    class Mine(Callback):
        def __init__(self):  # no super().__init__(), as many write it
            self.run = "a name of my own"

        def on_epoch_end(self, epoch, logs=None):
            heard.append(("mine", epoch, dict(logs)))
            logs["added"] = np.float32(1)

    later = LambdaCallback(
        on_epoch_end=lambda epoch, logs: heard.append(("lambda", epoch, dict(logs))),
        on_train_begin=lambda logs: heard.append("begin"),
        on_train_end=lambda logs: heard.append("end"),
    )
    mine = Mine()
    run, _, _ = play([[mine], later], [{"loss": np.float32(0.5)}])
    assert heard == ["begin", ("mine", 0, {"loss": 0.5}), ("lambda", 0, {"loss": 0.5, "added": 1.0}), "end"]
    assert run.history.history == {"loss": [0.5], "added": [1.0]}
    assert mine.run == "a name of my own" and mine.params["epochs"] == 1


def test_who_wants_to_hear_of_each_batch():
    class Old(Callback):
        def on_batch_end(self, batch, logs=None):
            heard.append(batch)

    heard: list[int] = []
    assert overrides_batches(Old()) and overrides_batches(LambdaCallback(on_train_batch_begin=print))
    quiet = [
        EarlyStopping(),
        ModelCheckpoint("x"),
        CSVLogger("x"),
        TerminateOnNaN(),
        Progress(0),
        StopAt("loss", below=0),
    ]
    assert not any(overrides_batches(c) for c in [*quiet, LambdaCallback(on_epoch_end=print), History()])
    CallbackList(Old()).on_train_batch_end(7, {})
    assert heard == [7]


def test_a_callback_of_keras_works(keras):
    heard = []

    class Theirs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            heard.append((epoch, logs["loss"]))

    play(Theirs(), [{"loss": 0.5}])
    assert heard == [(0, 0.5)] and not overrides_batches(Theirs())


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match=r"the class EarlyStopping, not an object: write EarlyStopping\("):
        CallbackList([EarlyStopping])
    with pytest.raises(TypeError, match="none of the hooks"):
        CallbackList(["early stopping"])
    with pytest.raises(ValueError, match="did you mean 'on_epoch_end'"):
        LambdaCallback(on_epoch_ended=print)

    class Mine(Callback):
        memory = None

        def __init__(self):
            self.memory = []

    with pytest.raises(TypeError, match="memory is \\[\\], but memory\\(\\) is a method"):
        CallbackList(Mine())


# -- saving ----------------------------------------------------------------------------------------------------------------


class Saved:
    def __init__(self):
        self.paths = []

    def save(self, path):
        self.paths.append(str(path))


def test_models_are_saved_under_names_with_numbers(tmp_path):
    model = Saved()
    logs = [{"loss": 0.5, "val_loss": v} for v in (0.5, 0.25, 0.3)]
    play(ModelCheckpoint(tmp_path / "m" / "{epoch:02d}-{val_loss:.2f}"), logs, Run(3, model=model))
    assert model.paths == [str(tmp_path / "m" / f"{n}.cenote") for n in ("01-0.50", "02-0.25", "03-0.30")]
    assert (tmp_path / "m").is_dir()
    model.paths.clear()
    play(ModelCheckpoint("best.keras", save_best_only=True, initial_value_threshold=0.4), logs, Run(3, model=model))
    assert model.paths == ["best.keras"]
    with pytest.raises(ValueError, match="did you mean 'val_loss'"):
        play(ModelCheckpoint("{val_los:.2f}.cenote"), logs, Run(3, model=model))
    with pytest.raises(ValueError, match="saves a Model, and this fit has none"):
        play(ModelCheckpoint("x"), logs)
    (tmp_path / "folder.cenote").mkdir()
    with pytest.raises(IsADirectoryError, match="that is a folder"):
        play(ModelCheckpoint(f"{tmp_path}/folder", save_freq=2), logs, Run(3, model=model))


def test_models_are_saved_every_so_many_steps_across_epochs(keras, tmp_path):
    logs = [{"loss": 0.5}] * 3
    model = Saved()
    callback = ModelCheckpoint("{epoch}-{batch}.cenote", save_freq=4)
    play(callback, logs, Run(3, model=model), chunks=10)

    class Theirs(KerasModel):
        paths: list[str] = []

        def save(self, path, overwrite=True):
            self.paths.append(path)

    theirs = keras.callbacks.ModelCheckpoint("{epoch}-{batch}.keras", save_freq=4)
    theirs.set_model(Theirs())
    for epoch in range(3):
        theirs.on_epoch_begin(epoch)
        for batch in range(10):
            theirs.on_train_batch_end(batch, {"loss": 0.5})
    assert [p.removesuffix(".cenote") for p in model.paths] == [p.removesuffix(".keras") for p in Theirs.paths]
    assert callback.due() == 2  # 30 steps done, the last save at 28


# -- TensorBoard -----------------------------------------------------------------------------------------------------------


def events(folder):
    """(tag, step, value) of the scalars in an event file, read by its published record format."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += size + 16
    return found


def test_tensorboard_files_have_keras_tags(tmp_path):
    pytest.importorskip("tensorboardX")
    logs = [{"loss": 0.5, "val_loss": 0.25}, {"loss": 0.125, "val_loss": 0.0625}]
    play(TensorBoard(tmp_path, histogram_freq=1, update_freq=5), logs, chunks=4)
    train = events(tmp_path / "train")
    assert ("epoch_loss", 0, 0.5) in train and ("epoch_loss", 1, 0.125) in train
    assert [e for e in train if e[0] == "batch_loss"] == [("batch_loss", 6, 0.5), ("batch_loss", 12, 0.125)]
    assert any(tag == "epoch_learning_rate" for tag, _, _ in train)
    assert any(tag == "dense.kernel/histogram" for tag, _, _ in train)
    assert events(tmp_path / "validation") == [("epoch_loss", 0, 0.25), ("epoch_loss", 1, 0.0625)]
    with pytest.warns(UserWarning, match="write_images=True.* has no effect"):
        TensorBoard(tmp_path, write_images=True)
    with pytest.raises(ValueError, match="did you mean 'profile_batch'"):
        TensorBoard(tmp_path, profile_batches=2)


def test_without_tensorboardx_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "cenote\[log\]"'):
        TensorBoard(tmp_path)
