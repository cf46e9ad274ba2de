"""Prediction: any number of rows, row by row the same, few compilations, the form of the output."""

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import layers

X = np.random.default_rng(0).normal(size=(300, 5)).astype("float32")


@pytest.fixture(scope="module")
def model():
    net = cn.Sequential([layers.Dense(8, "tanh"), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2, "softmax")])
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(X, (X[:, 0] > 0).astype(int), verbose=0)
    return net


@pytest.fixture(scope="module")
def rows(model):
    return np.concatenate([model(X[i : i + 1]) for i in range(len(X))])  # without predict


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 300])
def test_any_number_of_rows_is_predicted_row_by_row(model, rows, count):
    found = model.predict(X[:count])
    assert isinstance(found, np.ndarray) and found.shape == (count, 2)
    np.testing.assert_allclose(found, rows[:count], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch_size", [1, 7, 300, 1000])
def test_the_batch_size_changes_nothing(model, rows, batch_size):
    np.testing.assert_allclose(model.predict(X, batch_size=batch_size), rows, rtol=1e-5, atol=1e-7)


def test_all_sizes_share_a_few_programs():
    net = cn.Sequential([layers.Dense(2)])
    net.build(X)
    compiled = []

    def heard(event, seconds, **_):
        compiled.append(event)

    net.predict(X[:1])
    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        for count in range(1, 301):
            net.predict(X[:count])
    finally:
        unregister = getattr(jax.monitoring, "unregister_event_duration_listener", None)
        if unregister is not None:
            unregister(heard)
    assert net._predictors["predict"]._cache_size() == 9  # 1, 2, 4, ..., 256
    assert sum("backend_compile" in event for event in compiled) <= 9


def test_the_weights_of_the_moment_are_used(model):
    bias = model.get_weights()[-1]  # of the last layer
    before = model.predict(X[:3])
    model.set_weights({"layers.3.bias": bias + np.array([5, 0])})
    assert (model.predict(X[:3])[:, 0] > before[:, 0]).all()
    model.set_weights({"layers.3.bias": bias})
    assert np.array_equal(model.predict(X[:3]), before)


def test_outputs_come_in_the_form_of_the_model():
    class Two(cn.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = layers.Dense(2), layers.Dense(3)

        def forward(self, x):
            return {"a": self.a(x), "pair": (self.b(x), x)}

    net = Two()
    net.build(X)
    found = net.predict(X, batch_size=128)
    assert jax.tree.map(np.shape, found) == {"a": (300, 2), "pair": ((300, 3), (300, 5))}
    assert np.array_equal(found["pair"][1], X)


def test_iterables_are_read_to_their_end_or_for_some_steps(model, rows):
    parts = [X[:100], X[100:103], X[103:]]
    for given in (iter(parts), ((part, None) for part in parts), (p for p in parts)):
        np.testing.assert_allclose(model.predict(given), rows, rtol=1e-5, atol=1e-7)
    assert len(model.predict(iter(parts), steps=2)) == 103 and len(model.predict(X, batch_size=10, steps=2)) == 20


def test_callbacks_hear_of_it(model):
    heard = []

    class Listens(cn.callbacks.Callback):
        def on_predict_begin(self, logs=None):
            heard.append(self.model is model)

        def on_predict_end(self, logs=None):
            heard.append("end")

    model.predict(X[:2], callbacks=Listens())
    assert heard == [True, "end"]


def test_errors_show_the_shapes_that_came_in_and_not_those_of_the_padding(model):
    with pytest.raises(ValueError) as error:
        model.predict(X[:3, :4])
    assert "float32[3, 4]" in "".join(error.value.__notes__)
    for wrong, text in (
        (X[:0], "nothing to predict|no examples"),
        (np.full((2, 5), np.nan), r"NaN \(not a number\) at \[0, 0\]"),
    ):
        with pytest.raises(ValueError, match=text):
            model.predict(wrong)
    with pytest.raises(ValueError, match=r"no weights yet, so it cannot be used to predict: call fit, or build\(x\)"):
        cn.Sequential([layers.Dense(1)]).predict(X)


def test_stateful_layers_remember_from_batch_to_batch():
    x = np.random.default_rng(0).normal(size=(6, 4, 2)).astype("float32")
    model = cn.Sequential([layers.LSTM(3, stateful=True)])
    model.build(x[:3])
    plain = cn.Sequential([layers.LSTM(3)])
    plain.build(x[:3])
    plain.set_weights(dict(model.params))
    whole = plain.predict(np.concatenate([x[:3], x[3:]], axis=1))  # the second three go on where the first three ended
    y = model.predict(x, batch_size=3)
    np.testing.assert_allclose(y[:3], plain.predict(x[:3]), atol=1e-6)
    np.testing.assert_allclose(y[3:], whole, atol=1e-6)
    again = model.predict(x, batch_size=3)
    assert not np.allclose(again, y)
    model.reset_states()
    np.testing.assert_array_equal(model.predict(x, batch_size=3), y)
