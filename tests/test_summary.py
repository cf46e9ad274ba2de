"""The table of a model: counts held against Keras, operations against XLA's own count and the textbook's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.kernels import native
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


class Attention(cn.core.Module):
    """Scores of every word with every other, by hand."""

    def __init__(self):
        self.query, self.value = layers.Dense(32), layers.Dense(32)

    def forward(self, x):
        query, value = self.query(x), self.value(x)
        scores = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", query, x) / 32**0.5)
        return jnp.einsum("bqk,bkd->bqd", scores, value)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.Dense(64, "relu"), (40,)),
        (convolutional, (14, 14, 8)),
        (Attention, (24, 32)),
        (lambda: layers.MultiHeadAttention(4, 8), (24, 32)),
    ],
    ids=["dense", "convolution", "attention", "heads"],
)
def test_operations_are_those_that_xla_counts(make, shape, monkeypatch):
    model, batch = make(), 7
    count = 2 if isinstance(model, layers.MultiHeadAttention) else 1
    found = summarize(model, *[jax.ShapeDtypeStruct((4, *shape), "float32")] * count).flops * batch
    # XLA does not see what C++ does. JAX keeps what it traced for each size of a batch: this one is met nowhere else.
    monkeypatch.setattr(native, "fits", lambda *arrays: False)
    inputs = [jax.ShapeDtypeStruct((batch, *shape), "float32")] * count
    params, state = jax.eval_shape(lambda: model.init(0, *inputs))
    cost = jax.jit(lambda p, s, *x: model.apply(p, s, *x)[0]).lower(params, state, *inputs).compile().cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    assert found == pytest.approx(cost["flops"], rel=0.1)


def test_operations_of_products_and_loops():
    dense = summarize(cn.Sequential([layers.Dense(50, use_bias=False)]), np.zeros((1, 30)))
    assert dense.flops == 2 * 30 * 50
    one, ten = (summarize(cn.Sequential([layers.LSTM(8)]), np.zeros((1, time, 4))).flops for time in (1, 10))
    assert 9 * one < ten < 11 * one
    wide = summarize(layers.Conv2D(6, 3, strides=2, groups=2, use_bias=False), np.zeros((1, 9, 9, 4)))
    assert wide.flops == 2 * (4 * 4 * 6) * (3 * 3 * 4 // 2)
    assert 8 * 9 * 4 <= summarize(layers.MaxPooling2D(3), np.zeros((1, 9, 9, 4))).flops <= 9 * 9 * 4


def test_blocks_of_repeat_and_ensemble_show_what_is_in_them():
    once = summarize(layers.Dense(5, "tanh"), np.zeros((1, 5)))
    for lifted, path in (
        (cn.core.Repeat(layers.Dense(5, "tanh"), 7), "block"),
        (cn.core.Ensemble(layers.Dense(5, "tanh"), 7), "model"),
    ):
        table = summarize(cn.Sequential([lifted]), np.zeros((1, 5)))
        outer, inner = table.rows
        assert inner.path == f"layers.0.{path}" and inner.note == "7 times" and inner.depth == 1
        assert inner.flops == 7 * once.flops and inner.memory == 7 * 5 * 4
        assert outer.parameters == inner.parameters == 7 * once.parameters and table.parameters == 7 * 30
        assert inner.flops <= outer.flops <= 1.2 * inner.flops and table.flops == outer.flops


def test_loops_whose_length_depends_on_the_data_are_said_to():
    class Halving(cn.core.Module):
        def forward(self, x):
            x = jax.lax.cond(x.sum() > 0, lambda a: a @ a.T @ a, lambda a: a, x)
            return jax.lax.while_loop(lambda a: (a > 1).any(), lambda a: a / 2, x)

    table = summarize(cn.Sequential([Halving(), layers.Dense(2)]), np.zeros((1, 4)))
    assert [row.note for row in table.rows] == ["has a loop of unknown length", ""]
    assert str(table).splitlines()[-1].startswith("One example, not knowing how often a loop runs: ")


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
    assert found["encoder"].note == "frozen" and found["shared"].flops == 2 * 2 * 4 * 4 and found["shared"].memory == 2 * 4 * 4
    assert sum(row.flops for row in table.rows if "." not in row.path) == table.flops
    lines = str(table).splitlines()
    assert lines[3].startswith("encoder ") and lines[4].startswith("  layers.0 ") and lines[6].startswith("shared ")
    assert lines[6].endswith("used 2 times") and lines[8].startswith("Total params: 108 ")


def test_several_inputs_and_free_sizes():
    words, extra = cn.Input((None,), name="words", dtype="int32"), cn.Input((3,), name="extra")
    h = layers.LSTM(6)(layers.Embedding(20, 5)(words))
    model = cn.Model({"words": words, "extra": extra}, layers.Dense(2)(h) + layers.Dense(2)(extra))
    table = model.summary(show=False)
    assert rows(table)["layers.lstm"].shape == "(None, 6)"
    assert rows(table)["layers.embedding"].shape == "(None, None, 5)"
    assert table.parameters == model.count_params()
    one, two = (
        model.summary({"words": np.zeros((1, time), "int32"), "extra": np.zeros((1, 3))}, show=False) for time in (7, 14)
    )
    assert rows(two)["layers.lstm"].flops == pytest.approx(2 * rows(one)["layers.lstm"].flops, rel=0.05)
    assert "One example of (3,), (7,): " in str(one)  # inputs of a dict are in the order of their names


def test_a_layer_alone_and_inputs_that_are_no_batch():
    table = summarize(layers.Dense(5), np.zeros((1, 5)))
    assert len(table.rows) == 1 and "(itself)" in str(table)

    class Scale(cn.core.Module):
        def forward(self, x, by, backwards, axis=0):
            return (x * by)[:, ::-1] if backwards else x

    assert summarize(Scale(), np.zeros((4, 5)), np.float32(3), True).rows[0].shape == "(None, 5)"

    class Paired(cn.core.Module):
        def forward(self, x):
            return x.reshape(2, -1, x.shape[-1]).sum(0)

    assert summarize(Paired(), np.zeros((8, 5))).rows[0].shape == "(4, 5)"  # does not take any batch


def test_the_text_stays_narrow():
    inner = layers.Dense(2)
    for depth in range(12):
        inner = cn.Sequential([inner], name=f"a_name_that_goes_on_and_on_{depth}")
    attention = cn.Model(x := cn.Input((4, 8)), layers.MultiHeadAttention(2, 4)(x, x))
    for table in (summarize(inner, np.zeros((1, 3))), attention.summary(show=False)):
        assert max(map(len, str(table).splitlines())) <= 100
    assert [row.kind for row in table.rows].count("_Projection") == 4 and "_Projection" not in str(table)


def test_nothing_is_computed_or_built():
    model = cn.Sequential([layers.Dense(10**6), layers.Dense(10**6)])  # a terabyte of weights
    table = model.summary(np.zeros((1, 10)), show=False)
    assert table.parameters > 10**12 and "TB" not in str(table) and "GB" in str(table) and not model.built


def test_notebooks_get_a_table_with_everything_escaped():
    page = summarize(cn.Sequential([layers.Dense(2)], name="<b>"), np.zeros((1, 3)))._repr_html_()
    assert "<table>" in page and "&lt;b&gt;" in page and "'<b>'" not in page
    assert "Total params: 8 (32 B)" in page
