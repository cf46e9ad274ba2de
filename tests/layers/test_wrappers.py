"""Both directions and every time step: Keras's answers, masks, what is shared, saved and refused."""

import functools
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from over_time import MASK, alike, draw, keras, made, names, quick

import cenote as cn
from cenote import layers

K = keras.layers
X = draw(3, 5, 2)
CELLS = {"SimpleRNN": "simple_rnn_cell", "LSTM": "lstm_cell", "GRU": "gru_cell"}
SEQUENCES = {"return_sequences": True, "return_state": True}


def both_ways(kind, mode="concat", **options):
    table = names(**{f"{d}_l/{CELLS[kind]}": f"{d}_layer." for d in ("forward", "backward")})
    wrap = (getattr(layers, kind)(4, **options), getattr(K, kind)(4, name="l", **options))
    return layers.Bidirectional(wrap[0], mode), K.Bidirectional(wrap[1], mode), table


def test_merge_modes_as_in_keras():
    masked = {"mask": MASK}
    y = alike(
        X,
        (*both_ways("SimpleRNN", None, **SEQUENCES), masked),
        (*both_ways("GRU", "sum", **SEQUENCES), {}),
        (*both_ways("SimpleRNN", "mul"), masked),
        (*both_ways("SimpleRNN", "ave", **SEQUENCES), {}),
        (*both_ways("LSTM", "concat", **SEQUENCES), masked),
        (*both_ways("SimpleRNN", None), {}),
    )
    assert len(y[0]) == 4 and len(y[1]) == 3 and y[4][0].shape == (3, 5, 8) and len(y[5]) == 2


def test_initial_states_and_another_backward_layer_as_in_keras():
    start = [draw(3, 4) for _ in range(2)]
    ours, theirs, table = both_ways("SimpleRNN")

    def mixed(home):
        backward = home.GRU(3, activation="relu", return_sequences=True, go_backwards=True, name="b")
        return home.Bidirectional(home.SimpleRNN(4, return_sequences=True, name="l"), backward_layer=backward)

    two = names(**{"forward_l/simple_rnn_cell": "forward_layer.", "b/gru_cell": "backward_layer."})
    alike(X, (ours, theirs, table, {"initial_state": start}), (mixed(layers), mixed(K), two, {"mask": MASK}), slopes=False)


def test_any_recurrent_layer_goes_both_ways():
    x = draw(2, 3, 5, 4, 1)
    film = layers.Bidirectional(layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True))
    assert cn.core.declare(film, x)[1].shape == (2, 3, 5, 4, 4)


def test_the_backward_copy_has_weights_of_its_own():
    layer = made(layers.LSTM(4, kernel_regularizer="l2"), X)
    both = made(layers.Bidirectional(layer), X)
    weights = cn.core.weights_of(both)[0]
    assert sorted(weights) == [
        f"{d}_layer.{w}" for d in ("backward", "forward") for w in ("bias", "kernel", "recurrent_kernel")
    ]
    assert weights["forward_layer.kernel"] is layer._arrays["kernel"]  # the same object means the same weights
    assert not np.allclose(weights["forward_layer.kernel"], weights["backward_layer.kernel"])
    assert both.backward_layer.go_backwards and both.backward_layer.options == layer.options
    cells = made(layers.Bidirectional(layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)])), X)
    assert both(X).shape == (3, 8) and cells(X).shape == (3, 6)
    assert "backward_layer.cell.cells.1.kernel" in cn.core.weights_of(cells)[0]


def test_masks_go_through_to_the_next_layer():
    words = np.array([[3, 1, 2, 0, 0], [4, 4, 3, 2, 1], [1, 0, 0, 0, 0]], "int32")

    def model(home, core):
        both = home.Bidirectional(home.SimpleRNN(3, return_sequences=True, name="l"))
        every = home.TimeDistributed(home.Dense(3, name="d"))
        return core.Sequential([home.Embedding(5, 4, mask_zero=True, name="e"), both, every, home.SimpleRNN(2, name="r")])

    where = {"d": "layers.2.layer.", "r/simple_rnn_cell": "layers.3."}
    where |= {f"{way}_l/simple_rnn_cell": f"layers.1.{way}_layer." for way in ("forward", "backward")}
    ours, theirs = model(layers, cn), model(K, keras)
    alike(words, (ours, theirs, {**names(**where), "e/embeddings": "layers.0.table"}, {}), slopes=False)


def test_stateful_in_both_directions():
    layer = made(layers.Bidirectional(layers.GRU(4, stateful=True)), X)
    params, state = cn.core.weights_of(layer)
    assert sorted(state) == ["backward_layer.h", "forward_layer.h"]
    first, state = layer.apply(params, state, X)
    second, state = layer.apply(params, state, X)
    assert not np.allclose(first, second, atol=1e-3)
    cn.core.bind(layer, state)
    layer.reset_state()
    np.testing.assert_allclose(layer(X), first, atol=1e-6)


def test_every_step_as_in_keras():
    rows, films = draw(2, 2, 4, 2), draw(2, 2, 5, 5, 2)
    table = names(d="layer.", l="layer.")
    alike(
        rows,
        (layers.TimeDistributed(layers.Dense(3, "tanh")), K.TimeDistributed(K.Dense(3, "tanh", name="d")), table, {}),
        (
            layers.TimeDistributed(layers.SimpleRNN(3)),
            K.TimeDistributed(K.SimpleRNN(3)),
            names(simple_rnn_cell="layer."),
            {"mask": np.array(draw(2, 2, 4) > -0.5)},
        ),
    )
    conv = layers.TimeDistributed(layers.Conv2D(2, 3, strides=2)), K.TimeDistributed(K.Conv2D(2, 3, strides=2, name="d"))
    alike(films, (*conv, table, {}), slopes=False)


def test_every_step_of_a_model_and_in_training():
    x = draw(2, 3, 4)
    inner = cn.Sequential([layers.Dense(6, "relu"), layers.BatchNormalization(), layers.Dropout(0.5)])
    layer = made(layers.TimeDistributed(inner), x)
    params, state = cn.core.weights_of(layer)
    assert "layer.layers.0.kernel" in params
    y, after = layer.apply(params, state, x, train=True, key=0)
    _, same = inner.apply(*cn.core.weights_of(inner), x.reshape(6, 4), train=True, key=0)
    assert y.shape == (2, 3, 6) and np.asarray(y == 0).any()
    np.testing.assert_allclose(after["layer.layers.1.mean"], same["layers.1.mean"], atol=1e-6)  # over batch and time
    flat = inner(x.reshape(6, 4))
    np.testing.assert_allclose(layer(x), flat.reshape(2, 3, 6), atol=1e-6)
    twice = layers.TimeDistributed(layers.TimeDistributed(inner)).build(x.reshape(1, 2, 3, 4))
    np.testing.assert_allclose(twice(x.reshape(1, 2, 3, 4)), flat.reshape(1, 2, 3, 6), atol=1e-6)


def test_the_mask_of_words_in_sentences_becomes_one_of_sentences():
    texts = np.array([[[1, 2, 0], [3, 0, 0], [0, 0, 0]], [[4, 1, 1], [0, 0, 0], [0, 0, 0]]], "int32")
    words, sentences = layers.TimeDistributed(layers.SimpleRNN(3)), layers.SimpleRNN(2)
    model = made(cn.Sequential([layers.Embedding(5, 4, mask_zero=True), words, sentences]), texts)
    run = quick(functools.partial(model.apply, cn.core.weights_of(model)[0], {}))
    np.testing.assert_allclose(run(texts)[0][1], run(texts[1:, :1])[0][0], atol=1e-6)  # the second text has one sentence


def test_the_loss_sees_the_logits_of_every_step():
    x, y = np.full((1, 2, 3), 200.0, "float32"), np.zeros((1, 2), "int32")
    x[:, :, 0] = 0
    dense = layers.Dense(4, "softmax", kernel_initializer=lambda key, shape, dtype: jnp.eye(3, 4, dtype=dtype) * 2)
    model = cn.Sequential([layers.TimeDistributed(dense)])
    model.build(x)
    model.compile(loss="sparse_categorical_crossentropy")
    assert abs(model.evaluate(x, y, verbose=0) - 400.69) < 0.1  # from probabilities it would end at some 16


def test_in_a_graph():
    a = cn.Input((5, 2))
    h, *states = layers.Bidirectional(layers.GRU(3, return_sequences=True, return_state=True))(a)
    shared = layers.TimeDistributed(layers.Dense(2))
    y, z = shared(h), layers.LSTM(3)(h, initial_state=states)
    model = cn.Model(a, [shared(layers.TimeDistributed(layers.Dense(6))(y)), z])
    model.build()
    first, second = model.predict(X, verbose=0)
    assert first.shape == (3, 5, 2) and second.shape == (3, 3)


def test_save_and_load(tmp_path):
    film = [layers.TimeDistributed(layers.Conv2D(2, 3)), layers.TimeDistributed(layers.Flatten())]
    backward = layers.LSTM(2, go_backwards=True, return_sequences=True, activation="relu")
    model = cn.Sequential(
        [
            *film,
            layers.Bidirectional(layers.GRU(3, return_sequences=True), "ave"),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), backward_layer=backward),
            layers.Bidirectional(layers.RNN([layers.LSTMCell(2)])),
        ]
    )
    x = draw(1, 3, 4, 4, 1)
    model.build(x)
    model.save(tmp_path / "model.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "model.cenote").predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.TimeDistributed(3), "TimeDistributed needs layer to be a layer or a model, got 3"),
        (lambda: layers.TimeDistributed(layers.Flatten), r"got the class Flatten: make a layer of it, with \(\)"),
        (lambda: layers.TimeDistributed(layers.Dense(2)).build(X[0]), r"3 axes or more, but the input has shape \(5, 2\)"),
        (
            lambda: made(layers.TimeDistributed(layers.Dense(2)), X)(X, mask=MASK[:, :3]),
            r"starts with \(batch, time\) \(3, 5\), got shape \(3, 3\)",
        ),
        (lambda: layers.Bidirectional(layers.Dense(2)), "to be a recurrent layer.*Dense has no go_backwards"),
        (lambda: layers.Bidirectional(layers.LSTM(2), "max"), "merge_mode of Bidirectional 'max'"),
        (lambda: layers.Bidirectional(layers.LSTM(2), weights=[1]), "takes no weights: call set_weights"),
        (lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2)), "both have go_backwards=False"),
        (
            lambda: layers.Bidirectional(
                layers.LSTM(2), backward_layer=layers.LSTM(2, go_backwards=True, return_sequences=True)
            ),
            "agree in return_sequences: layer has False, backward_layer True",
        ),
        (lambda: made(layers.Bidirectional(layers.GRU(2)), X)(X, X[:, 0]), "needs initial_state as a list"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
