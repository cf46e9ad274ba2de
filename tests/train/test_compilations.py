"""Nothing is compiled twice: programs of fit, evaluate, predict and serving are counted as JAX tells of them."""

import contextlib
import importlib
from typing import Any

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import layers

LARGE = {"run", "step", "measured", "<lambda>"}  # the names of the programs that hold the model
FIT = importlib.import_module("cenote.train.fit")  # the name `cenote.train.fit` is the function
rng = np.random.default_rng(0)
X = rng.normal(size=(1100, 5)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


@contextlib.contextmanager
def compilations():
    """The names of the programs that are compiled in this block, or read from the cache on the disk."""
    names: list[str] = []

    listening = [True]  # not every JAX can take a listener away

    def heard(event: str, duration_secs: float, **told: Any) -> None:
        if listening and event.endswith("backend_compile_duration"):
            names.append(str(told["fun_name"]).removeprefix("jit(").removesuffix(")"))

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield names
    finally:
        listening.clear()


class Batches:
    """An iterable of batches of 32, the last one short."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return ((X[i : min(i + 32, self.count)], Y[i : min(i + 32, self.count)]) for i in range(0, self.count, 32))


@pytest.fixture(scope="module")
def model():
    net = cn.Sequential([layers.Dense(4, "tanh"), layers.Dropout(0.5), layers.Dense(2, "softmax")])
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    net.build(X)
    with compilations() as names:
        net.fit(X[:1000], Y[:1000], epochs=2, verbose=0)
    assert len(names) <= 6 and sorted(LARGE & set(names)) == ["run", "step"]  # whole batches, the tail of 8; small ones
    return net


def test_more_epochs_and_a_second_fit_compile_nothing(model, monkeypatch):
    monkeypatch.setattr(FIT, "CHUNK_SECONDS", 1e-9)  # no epoch is so short that several go into one program
    with compilations() as names:
        model.fit(X[:1000], Y[:1000], epochs=5, verbose=0)
        model.fit(X[:1000], Y[:1000], verbose=0, callbacks=cn.callbacks.EarlyStopping(monitor="loss"))
        model.optimizer.learning_rate = 1e-4
        model.set_weights(model.get_weights())
        model.fit(X[:1000], Y[:1000], verbose=0)
    assert names == []


def test_sizes_that_differ_a_little_share_programs_but_for_the_tail(model):
    with compilations() as names:
        model.fit(X[:1024], Y[:1024], verbose=0)  # no tail
        model.fit(X[24:1000], Y[24:1000], steps_per_epoch=30, verbose=0)  # 976 rows, none of its tail
        model.fit(X[8:1016], Y[8:1016], steps_per_epoch=20, verbose=0)
    assert names == ["run"]  # 976 rows make do with 992 places, the others with 1024
    with compilations() as names:
        model.fit(X[:1010], Y[:1010], verbose=0)  # a tail of 18
        model.fit(X[:1010], Y[:1010], verbose=0)
    assert names == ["step"]


def test_short_epochs_run_several_in_one_program_whatever_their_number(model, monkeypatch):
    monkeypatch.setattr(FIT, "CHUNK_SECONDS", 1e9)
    with compilations() as names:
        for epochs in (3, 7, 20):
            model.fit(X[:1000], Y[:1000], epochs=epochs, verbose=0)
    assert names == ["run"]


def test_a_few_short_epochs_are_not_worth_a_program_of_their_own(monkeypatch):
    monkeypatch.setattr(FIT, "CHUNK_SECONDS", 1e9)
    model = cn.Sequential([layers.GlobalAveragePooling1D(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, longer, y = np.ones((640, 3, 2), "float32"), np.ones((640, 4, 2), "float32"), Y[:640, None]
    model.fit(x, y, epochs=2, verbose=0)
    with compilations() as names:
        history = model.fit(x, y, epochs=2, verbose=0)
    assert not names and history.chunks[0]["examples"] == 640  # the speed of a step is known
    assert model.fit(longer, y, epochs=2, verbose=0).chunks[0]["examples"] == 32 * FIT.FIRST_CHUNK  # but not that of these


def test_validation_and_evaluation_share_one_program_for_all_tails(model):
    with compilations() as names:
        model.fit(X[:1000], Y[:1000], epochs=2, verbose=0, validation_data=(X[:1000], Y[:1000]))
        for count in (1000, 1010, 1024, 999):
            model.evaluate(X[:count], Y[:count], verbose=0)
    assert names == ["run"]
    with compilations() as names:
        for count in (100, 99, 97, 98):  # less than a batch of 256
            model.evaluate(X[:count], Y[:count], verbose=0)
    assert names == ["run"]


def test_streams_compile_their_batch_and_their_tail_once(model):
    with compilations() as names:
        model.fit(Batches(72), epochs=2, verbose=0)  # batches of 32, 32 and 8
        model.fit(Batches(136), epochs=1, verbose=0)
    assert names == ["step"]  # that of 8 is known from the fits on arrays
    with compilations() as names:
        model.evaluate(Batches(72), verbose=0)
        model.evaluate(Batches(136), verbose=0)
    assert names == ["measured", "measured"]


def test_single_batches_compile_once(model):
    with compilations() as names:
        for _ in range(2):
            model.train_on_batch(X[:16], Y[:16])
            model.test_on_batch(X[:16], Y[:16])
    assert names == ["step", "measured"]


def test_prediction_compiles_one_program_for_each_power_of_two(model):
    with compilations() as names:
        for count in (1000, 1, 256, 300, 1, 200, 1024):
            model.predict(X[:count], verbose=0)
    assert names == ["<lambda>"] * 3  # of 256 rows, of 1, and of 64 for the last 44 of 300


def test_what_is_served_is_compiled_before_the_first_call(model):
    serve = model.compiled(X[:4])
    with compilations() as names:
        for i in range(3):
            serve(X[i : i + 4])
    assert names == []
