"""Callbacks in real fits of the bundled digits: what they do to the weights, and that a killed run decides the same."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote.initializers import GlorotUniform
from cenote.losses import SparseCategoricalCrossentropy
from cenote.train.callbacks import (
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)


class Net(cn.Model):
    def forward(self, x):
        return jnp.tanh(x @ self.param("a", (64, 32), GlorotUniform())) @ self.param("b", (32, 10), GlorotUniform())


@pytest.fixture(scope="module")
def digits():
    (x, y), (x_test, y_test) = cn.datasets.digits.load_data()
    flat = [np.asarray(a, np.float32).reshape(len(a), -1) / 16 for a in (x, x_test)]
    return {"x": flat[0], "y": y, "batch_size": 64, "verbose": 0, "validation_data": (flat[1], y_test)}


def net():
    model = Net()
    model.compile("adam", SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
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

    class Killed(Exception):
        pass

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
