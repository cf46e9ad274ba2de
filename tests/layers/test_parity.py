"""Every layer against Keras's own, given the same weights: outputs, gradients, state, over many arguments."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import compare, draw, keras

import cenote as cn
from cenote import layers

K = keras.layers


def both(name, *args, **options):
    return getattr(layers, name)(*args, **options), getattr(K, name)(*args, **options)


@pytest.mark.parametrize(
    ("shape", "options"),
    [((4, 5), {}), ((4, 3, 5), {"activation": "gelu"}), ((2, 3, 2, 5), {"use_bias": False, "activation": "softmax"})],
    ids=str,
)
def test_dense(shape, options):
    compare(*both("Dense", 6, **options), draw(*shape))


@pytest.mark.parametrize("name", ["relu", "tanh", "elu", "softplus", "silu"])
def test_activation(name):
    compare(*both("Activation", name), draw(3, 4))


@pytest.mark.parametrize("options", [{}, {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}], ids=str)
def test_relu_and_softmax(options):
    compare(*both("ReLU", **options), draw(3, 4))
    compare(*both("Softmax", axis=1), draw(3, 4, 2))


def test_shapes():
    compare(*both("Flatten"), draw(3, 4, 2))
    compare(*both("Reshape", (2, -1)), draw(3, 4, 2))
    compare(*both("Reshape", (8,)), draw(3, 4, 2))


def test_rescaling():
    compare(*both("Rescaling", 1 / 255, offset=-0.5), draw(3, 4))
    pixels = np.arange(12, dtype="uint8").reshape(3, 4)
    compare(*both("Rescaling", 1 / 255), pixels)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None], ids=str)
@pytest.mark.parametrize("invert", [False, True])
def test_normalization_adapts_like_keras(axis, invert):
    data = draw(50, 4, 3) * 3 + 1
    ours, theirs = both("Normalization", axis=axis, invert=invert)
    ours.adapt(data)
    theirs.adapt(data)
    x = draw(5, 4, 3)
    ours.build(x)
    assert np.allclose(ours(x), theirs(x), atol=1e-5)
    batches = layers.Normalization(axis=axis, invert=invert)
    batches.adapt(iter([data[:7], data[7:40], data[40:]]))
    assert np.allclose(batches.build(x)(x), theirs(x), atol=1e-5)


def test_normalization_with_given_statistics():
    x = draw(5, 3)
    ours, theirs = both("Normalization", mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])
    assert np.allclose(ours.build(x)(x), theirs(x), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 7, 6, 3), {"kernel_size": 3}),
        ((2, 7, 6, 3), {"kernel_size": (3, 2), "padding": "same", "activation": "relu"}),
        ((2, 8, 7, 3), {"kernel_size": 3, "strides": 2}),
        ((2, 8, 7, 3), {"kernel_size": (3, 4), "strides": (2, 3), "padding": "same"}),
        ((2, 9, 8, 3), {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}),
        ((2, 9, 8, 3), {"kernel_size": (2, 3), "dilation_rate": (2, 1), "use_bias": False}),
        ((2, 6, 6, 1), {"kernel_size": 3, "padding": "same"}),
        ((2, 6, 6, 1), {"kernel_size": 5, "strides": 2}),
        ((2, 6, 6, 3), {"kernel_size": 1}),
        ((2, 6, 5, 3), {"kernel_size": 1, "strides": 2}),
        ((2, 6, 6, 4), {"kernel_size": 3, "groups": 2, "padding": "same"}),
        ((2, 7, 6, 4), {"kernel_size": 3, "groups": 4, "strides": 2, "padding": "same"}),
    ],
    ids=str,
)
def test_conv2d(shape, options):
    compare(*both("Conv2D", 4, **options), draw(*shape))


@pytest.mark.parametrize("name", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 2},
        {"pool_size": 3, "strides": 2},
        {"pool_size": 3, "strides": 2, "padding": "same"},
        {"pool_size": (2, 3), "strides": 1, "padding": "same"},
        {"pool_size": 2, "padding": "same"},
    ],
    ids=str,
)
def test_pooling(name, options):
    compare(*both(name, **options), draw(2, 7, 8, 3))


def test_global_average_pooling():
    compare(*both("GlobalAveragePooling2D"), draw(2, 5, 4, 3))
    compare(*both("GlobalAveragePooling2D", keepdims=True), draw(2, 5, 4, 3))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 4), {}),
        ((3, 5, 4, 2), {"momentum": 0.8, "epsilon": 1e-2}),
        ((4, 3, 5), {"axis": 1}),
        ((6, 4), {"center": False, "scale": False}),
    ],
    ids=str,
)
def test_batch_normalization(shape, options, train):
    compare(*both("BatchNormalization", **options), draw(*shape) * 2 + 3, train=train)


def test_frozen_batch_normalization_uses_its_running_statistics():
    ours, theirs = both("BatchNormalization", trainable=False)
    x = draw(6, 4)
    ours.build(x)
    theirs(x)
    y, state = ours.apply(*cn.core.weights_of(ours), jnp.asarray(x), train=True)
    assert np.allclose(y, theirs(x, training=True), atol=1e-5) and float(state["mean"].sum()) == 0


@pytest.mark.parametrize(
    ("shape", "options"), [((4, 5), {}), ((2, 3, 5), {"epsilon": 0.1, "center": False}), ((2, 3, 5), {"axis": (1, 2)})], ids=str
)
def test_layer_normalization(shape, options):
    compare(*both("LayerNormalization", **options), draw(*shape) * 3 + 1)


def test_embedding():
    words = np.array([[1, 2, 0], [4, 4, 3]], "int32")
    compare(*both("Embedding", 5, 4), words)
    ours = layers.Embedding(5, 4).build(words)
    assert np.array_equal(ours(words.astype("float32")), ours(words))


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True, "go_backwards": True},
        {"return_sequences": True, "return_state": True},
        {"return_state": True, "use_bias": False},
        {"activation": "relu", "return_sequences": True},
    ],
    ids=str,
)
def test_recurrent(name, options):
    compare(*both(name, 4, **options), draw(3, 5, 2))


def test_gru_and_lstm_variants():
    compare(*both("GRU", 4, reset_after=False, return_sequences=True), draw(3, 5, 2))
    compare(*both("LSTM", 4, recurrent_activation="hard_sigmoid", activation="softsign"), draw(3, 5, 2))
    for forget in (True, False):
        bias = layers.LSTM(3, unit_forget_bias=forget).build(draw(1, 2, 2))._arrays["bias"]
        assert np.array_equal(bias, [0] * 3 + [int(forget)] * 3 + [0] * 6)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("backwards", [False, True])
def test_recurrent_masks_and_start_states(name, backwards):
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 1, 0]], bool)
    ours, theirs = both(name, 4, return_sequences=True, return_state=True, go_backwards=backwards)
    compare(ours, theirs, draw(3, 5, 2), mask=mask)
    start = [draw(3, 4), draw(3, 4)] if name == "LSTM" else [draw(3, 4)]
    compare(*both(name, 4), draw(3, 5, 2), initial_state=start)


def test_masks_travel_from_the_embedding_as_in_keras():
    words = np.array([[3, 1, 2, 0, 0], [4, 4, 3, 2, 1], [1, 0, 0, 0, 0]], "int32")
    ours = cn.Sequential(
        [layers.Embedding(5, 4, mask_zero=True), layers.Dropout(0.5), layers.LSTM(4, return_sequences=True), layers.GRU(3)]
    )
    theirs = keras.Sequential([K.Embedding(5, 4, mask_zero=True), K.Dropout(0.5), K.LSTM(4, return_sequences=True), K.GRU(3)])
    theirs(words)
    ours.build(words)
    ours.set_weights([w for w in theirs.get_weights() if w.dtype == np.float32])
    assert np.allclose(ours.predict(words), theirs.predict(words, verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"value_dim": 5}, {"use_bias": False}, {"output_shape": 7}],
    ids=str,
)
def test_attention(options):
    query, value, key = draw(2, 4, 6), draw(2, 5, 6), draw(2, 5, 6)
    # Keras's fused attention on JAX cannot take another value_dim; asking for scores makes it compute step by step.
    compare(*both("MultiHeadAttention", 2, 3, **options), query, value, key, return_attention_scores="value_dim" in options)


def test_attention_masks_and_scores():
    x = draw(2, 4, 6)
    allowed = np.tril(np.ones((2, 4, 4), bool))
    allowed[1, :, 2] = False
    compare(*both("MultiHeadAttention", 2, 3), x, x, attention_mask=allowed, return_attention_scores=True)
    compare(*both("MultiHeadAttention", 2, 3), x, x, use_causal_mask=True)


def test_attention_takes_the_masks_of_its_inputs():
    words = np.array([[3, 1, 2, 0], [4, 0, 0, 0]], "int32")
    a, b = cn.Input((4,), dtype="int32"), K.Input((4,), dtype="int32")
    h, g = layers.Embedding(5, 6, mask_zero=True)(a), K.Embedding(5, 6, mask_zero=True)(b)
    ours = cn.Model(a, layers.MultiHeadAttention(2, 3)(h, h))
    theirs = keras.Model(b, K.MultiHeadAttention(2, 3)(g, g))
    ours.build()
    ours.set_weights([w for w in theirs.get_weights() if w.dtype == np.float32])
    assert np.allclose(ours.predict(words), theirs.predict(words, verbose=0), atol=1e-5)


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    x = np.ones((200, 100), "float32")
    layer = layers.Dropout(0.3)
    assert np.array_equal(layer(x), x)
    y = np.asarray(layer(x, train=True, key=1))
    assert set(np.unique(y.round(5))) == {0.0, np.float32(1 / 0.7).round(5)}
    assert abs(y.mean() - 1) < 0.02
    rows = np.asarray(layers.Dropout(0.5, noise_shape=(None, 1))(x, train=True, key=1))
    assert all(len(np.unique(row)) == 1 for row in rows) and len(np.unique(rows)) == 2


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_dropout_inside_recurrent_layers(name):
    x = draw(3, 5, 2)
    layer = getattr(layers, name)(4, dropout=0.5, recurrent_dropout=0.5).build(x)
    plain = layer(x)
    one, same, other = (layer(x, train=True, key=k) for k in (1, 1, 2))
    assert np.array_equal(one, same) and not np.allclose(one, other) and not np.allclose(one, plain)


def test_a_stateful_layer_goes_on_where_it_was():
    x = draw(3, 6, 2)
    whole = layers.LSTM(4).build(x)
    parts = layers.LSTM(4, stateful=True).build(x)
    weights = cn.core.weights_of(whole)[0]
    state = cn.core.weights_of(parts)[1]
    _, state = parts.apply(weights, state, x[:, :3])
    y, _ = parts.apply(weights, state, x[:, 3:])
    assert np.allclose(y, whole(x), atol=1e-6)
