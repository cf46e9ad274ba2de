"""Callbacks in real fits of the bundled digits: what they do to the weights, and that a killed run decides the same."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote.initializers import GlorotUniform
from cenote.losses import SparseCategoricalCrossentropy
from cenote.train.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    SwapEMAWeights,
)


class Killed(Exception):
    pass


class Net(cn.Model):
    def forward(self, x):
        return jnp.tanh(x @ self.param("a", (64, 32), GlorotUniform())) @ self.param("b", (32, 10), GlorotUniform())


@pytest.fixture(scope="module")
def digits():
    (x, y), (x_test, y_test) = cn.datasets.digits.load_data()
    flat = [np.asarray(a, np.float32).reshape(len(a), -1) / 16 for a in (x, x_test)]
    return {"x": flat[0], "y": y, "batch_size": 64, "verbose": 0, "validation_data": (flat[1], y_test)}


def net(optimizer="adam"):
    model = Net()
    model.compile(optimizer, SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def test_the_best_weights_of_a_real_run_come_back(digits):
    model = net()
    stopping = EarlyStopping("val_loss", min_delta=0.2, patience=2, restore_best_weights=True)
    history = model.fit(**digits, epochs=30, callbacks=[stopping, History()])
    assert stopping.best_epoch == len(history.epoch) - 3  # it stopped two epochs after the best
    loss = model.evaluate(*digits["validation_data"], verbose=0)[0]
    assert loss == pytest.approx(history.history["val_loss"][stopping.best_epoch], rel=1e-6)
    assert loss != pytest.approx(history.history["val_loss"][-1], rel=1e-3)
    assert all(r["examples"] == len(digits["x"]) * (r["epoch"] + 1) for r in history.records)


def test_a_rate_of_zero_stops_the_weights(digits):
    model = net()
    freeze = LearningRateScheduler(lambda epoch, rate: rate if epoch < 2 else 0.0)
    heard = []
    look = LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append(np.array(model.get_weights()[0])))
    history = model.fit(**digits, epochs=4, callbacks=[freeze, look])
    assert np.abs(heard[1] - heard[0]).max() > 0 and np.abs(heard[3] - heard[1]).max() == 0
    np.testing.assert_allclose(history.history["learning_rate"], [0.001, 0.001, 0, 0])


def test_a_real_run_killed_and_resumed_decides_as_if_never_stopped(digits, tmp_path):
    def make(folder):
        folder.mkdir(exist_ok=True)
        return [
            EarlyStopping("val_accuracy", min_delta=0.02, patience=1, restore_best_weights=True),
            ReduceLROnPlateau("val_loss", min_delta=0.4, patience=1, factor=0.3),
            CSVLogger(folder / "log.csv"),
        ]

    def kill(epoch, logs):
        if epoch == 3:
            raise Killed

    whole = net()
    expected = whole.fit(**digits, epochs=12, callbacks=make(tmp_path / "whole"))
    options = {**digits, "epochs": 12, "checkpoint": cn.train.Checkpoints(tmp_path / "saved", every_seconds=0)}
    with pytest.raises(Killed):
        net().fit(**options, callbacks=[*make(tmp_path / "cut"), LambdaCallback(on_epoch_end=kill)])
    model = net()
    history = model.fit(**options, callbacks=make(tmp_path / "cut"))
    assert history.history == expected.history and history.history["learning_rate"][-1] < 0.001
    assert [r["step"] for r in history.records] == [r["step"] for r in expected.records]
    assert (tmp_path / "cut" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_callback_for_batches_hears_of_each(digits):
    heard = []
    count = LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append(batch))
    net().fit(**digits, epochs=1, callbacks=[count])
    assert heard == list(range(-(-len(digits["x"]) // 64)))


def test_a_real_model_is_saved_when_it_is_better(digits, tmp_path):
    model = net()
    model.fit(**digits, epochs=2, callbacks=ModelCheckpoint(tmp_path / "best.cenote", "val_accuracy", save_best_only=True))
    again = cn.load(tmp_path / "best.cenote", custom_objects={"Net": Net})
    np.testing.assert_array_equal(again.predict(digits["x"][:8]), model.predict(digits["x"][:8]))


# -- backups ---------------------------------------------------------------------------------------------------------------


def kill_at(epoch, step):
    """A callback that ends the process after a step of an epoch (both from 0)."""
    now = []

    def begin(number, logs):
        now[:] = [number]

    def end(batch, logs):
        if (now[0], batch) == (epoch, step):
            raise Killed

    return LambdaCallback(on_epoch_begin=begin, on_train_batch_end=end)


@pytest.mark.parametrize("options", [{}, {"save_freq": 7}, {"save_freq": 5, "double_checkpoint": True}], ids=str)
def test_a_backup_brings_a_killed_run_to_the_same_end(digits, tmp_path, options):
    whole = net()
    expected = whole.fit(**digits, epochs=4)
    folder = tmp_path / "backup"
    with pytest.raises(Killed):
        net().fit(**digits, epochs=4, callbacks=[BackupAndRestore(folder, **options), kill_at(2, 11)])
    saved = sorted(p.name for p in folder.glob("step-*"))
    steps = -(-len(digits["x"]) // 64)
    every = options.get("save_freq", steps)
    last = (2 * steps + 12 - ("save_freq" in options)) // every * every
    assert len(saved) == (2 if "double_checkpoint" in options else 1) and saved[-1] == f"step-{last:010d}.checkpoint"
    model = net()
    backup = BackupAndRestore(folder, **options)
    history = model.fit(**digits, epochs=4, callbacks=[backup, History()])
    assert "resumed" in backup.checkpoints.notes[0] and not folder.exists()
    assert history.history == expected.history
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_backups_stay_if_asked_to_and_belong_to_one_run(digits, tmp_path):
    backup = BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    net().fit(**digits, epochs=1, callbacks=backup)
    assert len(backup.checkpoints.files()) == 1
    with pytest.raises(ValueError, match="belongs to another run: its batch_size"):
        net().fit(**{**digits, "batch_size": 32}, epochs=1, callbacks=BackupAndRestore(tmp_path / "backup"))
    with pytest.raises(ValueError, match="give one of them"):
        net().fit(**digits, epochs=1, callbacks=BackupAndRestore(tmp_path / "a"), checkpoint=tmp_path / "b")
    with pytest.raises(ValueError, match="'epoch' or a number of steps"):
        BackupAndRestore(tmp_path, save_freq="batch")
    with pytest.raises(ValueError, match="needs a folder"):
        BackupAndRestore("")


# -- averages of weights ---------------------------------------------------------------------------------------------------


def averaging(rate=0.01):
    return net(cn.optimizers.Adam(rate, use_ema=True, ema_momentum=0.95))


@pytest.mark.usefixtures("quick_programs")
def test_averages_are_validated_as_in_keras(digits):
    keras = pytest.importorskip("keras")
    ours = averaging()
    ours.build(digits["x"][:1])
    theirs = keras.Sequential([keras.layers.Dense(32, "tanh", use_bias=False), keras.layers.Dense(10, use_bias=False)])
    theirs.build((None, 64))
    theirs.set_weights(ours.get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.95), loss)
    options = {**digits, "shuffle": False, "epochs": 2}
    expected = theirs.fit(**options, callbacks=[keras.callbacks.SwapEMAWeights()]).history
    history = ours.fit(**options, callbacks=SwapEMAWeights())
    np.testing.assert_allclose(history.history["val_loss"], expected["val_loss"], rtol=2e-3)
    np.testing.assert_allclose(history.history["loss"], expected["loss"], rtol=2e-3)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
    loss = ours.evaluate(*digits["validation_data"], verbose=0, callbacks=SwapEMAWeights())[0]
    assert loss == pytest.approx(history.history["val_loss"][-1], rel=1e-5), "the averages are what stays"


def test_averages_are_saved_and_training_goes_on_with_the_weights(digits, tmp_path):
    plain = averaging()
    expected = plain.fit(**digits, epochs=3)
    model = averaging()
    save = ModelCheckpoint(tmp_path / "{epoch}.cenote")
    history = model.fit(**digits, epochs=3, callbacks=[SwapEMAWeights(swap_on_epoch=True), save])
    assert history.history["loss"] == expected.history["loss"], "training is the same, bit by bit"
    again = cn.load(tmp_path / "2.cenote", custom_objects={"Net": Net})
    loss = again.evaluate(*digits["validation_data"], verbose=0)[0]
    assert loss == pytest.approx(history.history["val_loss"][1], rel=1e-5), "what was validated is what was saved"
    assert loss != pytest.approx(expected.history["val_loss"][1], rel=1e-4)
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("swap", [False, True])
def test_swapped_averages_survive_a_kill(digits, tmp_path, swap):
    make = lambda: [SwapEMAWeights(swap_on_epoch=swap), BackupAndRestore(tmp_path / "backup")]  # noqa: E731
    whole = averaging()
    expected = whole.fit(**digits, epochs=3, callbacks=SwapEMAWeights(swap_on_epoch=swap))
    with pytest.raises(Killed):
        averaging().fit(**digits, epochs=3, callbacks=[*make(), kill_at(1, 3)])
    model = averaging()
    history = model.fit(**digits, epochs=3, callbacks=make())
    assert history.history == expected.history
    for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_averages_there_is_nothing_to_swap(digits):
    with pytest.raises(ValueError, match=r"compile with Adam\(use_ema=True\)"):
        net().fit(**digits, epochs=1, callbacks=SwapEMAWeights())
    model = net(cn.optimizers.ASGD(0.5, t0=3))
    model.fit(**digits, epochs=1, callbacks=SwapEMAWeights(swap_on_epoch=True))
    np.testing.assert_array_equal(model.get_weights()[0], np.asarray(model._kept.opt_state["average"]["a"]))


def test_a_callback_cannot_set_the_rate_of_a_schedule():
    model = cn.Sequential([cn.layers.Dense(1)])
    model.compile(cn.optimizers.SGD(cn.schedules.CosineDecay(0.1, 100)), "mse")
    with pytest.raises(TypeError, match="rate is a schedule"):
        x = np.ones((8, 2), "float32")
        model.fit(x, x[:, :1], verbose=0, callbacks=cn.callbacks.LearningRateScheduler(lambda epoch: 0.01))
