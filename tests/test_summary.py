"""The table of a model: counts held against Keras, operations against XLA's own count and the textbook's."""

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.summary import summarize


def convolutional():
    return cn.Sequential(
        [
            layers.Conv2D(16, 3, activation="relu", input_shape=(14, 14, 8)),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def rows(table):
    return {row.path: row for row in table.rows}


def test_counts_are_those_of_keras():
    keras = pytest.importorskip("keras")
    theirs = keras.Sequential(
        [
            keras.layers.Input((14, 14, 8)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    table = convolutional().summary(show=False)
    assert table.parameters == theirs.count_params()
    assert table.trained == sum(int(np.prod(w.shape)) for w in theirs.trainable_weights)
    for row, layer in zip(table.rows, theirs.layers, strict=True):
        assert row.parameters == layer.count_params()
        assert row.shape == str(tuple(layer.output.shape))


@pytest.mark.parametrize("batch", [1, 16])
def test_operations_are_those_that_xla_counts(batch):
    model = convolutional()
    params, state = model.arrays()
    x = np.zeros((batch, 14, 14, 8), "float32")
    cost = jax.jit(lambda p, s, x: model.apply(p, s, x)[0]).lower(params, state, x).compile().cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    assert summarize(model, x).flops * batch == pytest.approx(cost["flops"], rel=0.1)


def test_operations_of_products_and_loops():
    dense = summarize(cn.Sequential([layers.Dense(50, use_bias=False)]), np.zeros((1, 30)))
    assert dense.flops == 2 * 30 * 50
    one, ten = (summarize(cn.Sequential([layers.LSTM(8)]), np.zeros((1, time, 4))).flops for time in (1, 10))
    assert 9 * one < ten < 11 * one
    once = summarize(layers.Dense(5, "tanh"), np.zeros((1, 5))).flops
    assert summarize(cn.core.Repeat(layers.Dense(5, "tanh"), 7), np.zeros((1, 5))).flops == 7 * once


def test_nested_shared_subclassed():
    class Net(cn.Model):
        def __init__(self):
            super().__init__()
            self.encoder = cn.Sequential([layers.Dense(8, "relu"), layers.Dense(4)])
            self.shared = layers.Dense(4, use_bias=False)

        def forward(self, x):
            return self.shared(self.shared(self.encoder(x)))

    net = Net()
    net.encoder.trainable = False
    table = summarize(net, np.zeros((1, 6)))
    found = rows(table)
    assert list(found) == ["encoder", "encoder.layers.0", "encoder.layers.1", "shared"]
    assert found["encoder"].parameters == (6 * 8 + 8) + (8 * 4 + 4) and found["encoder"].trained == 0
    assert found["encoder.layers.1"].depth == 1 and found["shared"].note == "used 2 times"
    assert table.trained == 16 and table.frozen == found["encoder"].parameters
    assert "used 2 times" in str(table) and "Total params: 108" in str(table)


def test_several_inputs_and_free_sizes():
    words, extra = cn.Input((None,), name="words", dtype="int32"), cn.Input((3,), name="extra")
    h = layers.LSTM(6)(layers.Embedding(20, 5)(words))
    model = cn.Model({"words": words, "extra": extra}, layers.Dense(2)(h) + layers.Dense(2)(extra))
    table = model.summary(show=False)
    assert rows(table)["layers.lstm"].shape == "(None, 6)"
    assert table.parameters == model.count_params()


def test_nothing_is_computed_or_built():
    model = cn.Sequential([layers.Dense(10**6), layers.Dense(10**6)])  # a terabyte of weights
    table = model.summary(np.zeros((1, 10)), show=False)
    assert table.parameters > 10**12 and "TB" not in str(table) and "GB" in str(table) and not model.built


def test_notebooks_get_a_table_with_everything_escaped():
    page = summarize(cn.Sequential([layers.Dense(2)], name="<b>"), np.zeros((1, 3)))._repr_html_()
    assert "<table>" in page and "&lt;b&gt;" in page and "'<b>'" not in page
