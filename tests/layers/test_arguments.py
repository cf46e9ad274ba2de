"""Arguments and inputs that cannot work are refused, by the layer that got them, in words that help."""

import numpy as np
import pytest

from cenote import layers

WRONG = [
    (lambda: layers.Dense(0), "Dense needs units to be a whole number of at least 1, got 0"),
    (lambda: layers.Dense(2.5), "got 2.5"),
    (lambda: layers.Dense(3, "rellu"), "did you mean 'relu'"),
    (lambda: layers.Dense(3, kernel_initializer="glorot"), "did you mean 'glorot_normal' or 'glorot_uniform'"),
    (lambda: layers.Dense(3, kernel_regulariser="l2"), "did you mean 'kernel_regularizer'"),
    (lambda: layers.Conv2D(0, 3), "filters"),
    (lambda: layers.Conv2D(3, 3, padding="sam"), "padding of Conv2D 'sam': did you mean 'same'"),
    (lambda: layers.Conv2D(3, (3, 3, 3)), "kernel_size to be a whole number or two of them"),
    (lambda: layers.Conv2D(3, "3"), "kernel_size"),
    (lambda: layers.Conv2D(3, 3, strides=0), "strides"),
    (lambda: layers.Conv2D(3, 3, strides=2, dilation_rate=2), "not both"),
    (lambda: layers.Conv2D(3, 3, groups=2), "filters to divide by groups"),
    (lambda: layers.Conv2D(3, 3, data_format="channels_first"), "moveaxis"),
    (lambda: layers.MaxPooling2D(0), "pool_size"),
    (lambda: layers.AveragePooling2D(2, padding="full"), "Known: same, valid"),
    (lambda: layers.GlobalAveragePooling2D("channels_first"), "moveaxis"),
    (lambda: layers.Dropout(1.5), "Dropout needs rate from 0 up and below 1, got 1.5"),
    (lambda: layers.Dropout("0.5"), "got '0.5'"),
    (lambda: layers.BatchNormalization(momentum=2), "momentum"),
    (lambda: layers.BatchNormalization(epsilon=0), "epsilon above 0"),
    (lambda: layers.BatchNormalization(axis=(1, 2)), "one axis"),
    (lambda: layers.LayerNormalization(axis="last"), "axis to be a whole number"),
    (lambda: layers.ReLU(max_value=-1), "max_value of 0 or more"),
    (lambda: layers.Activation("swisch"), "did you mean 'swish'"),
    (lambda: layers.Reshape((-1, -1)), "can infer one size"),
    (lambda: layers.Reshape((2.5,)), "whole numbers"),
    (lambda: layers.Rescaling("1/255"), "scale to be a number"),
    (lambda: layers.Normalization(mean=1.0), "both mean and variance"),
    (lambda: layers.Normalization(mean=[1.0], variance=[-1.0]), "never below 0"),
    (lambda: layers.Embedding(0, 3), "input_dim"),
    (lambda: layers.LSTM(3, dropout=2), "LSTM needs dropout"),
    (lambda: layers.GRU(-1), "units"),
    (lambda: layers.MultiHeadAttention(0, 2), "num_heads"),
    (lambda: layers.MultiHeadAttention(2, 2, attention_axes=(0,)), "attention_axes"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[m for _, m in WRONG])
def test_at_construction(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


UNFIT = [
    (layers.Dense(3), (4,), "x.reshape(-1, 1)"),
    (layers.Conv2D(3, 3), (2, 8, 8), "Reshape((height, width, 1))"),
    (layers.Conv2D(4, 3, groups=2), (2, 8, 8, 3), "channels that divide by it, the input has 3"),
    (layers.Conv2D(4, 5), (2, 4, 4, 3), "padding='same'"),
    (layers.MaxPooling2D(5), (2, 4, 4, 3), "padding='same'"),
    (layers.BatchNormalization(axis=5), (2, 3), "an axis that an input of shape (2, 3) lacks"),
    (layers.LayerNormalization(axis=(1, -1)), (2, 3), "twice"),
    (layers.Softmax(axis=2), (2, 3), "lacks"),
    (layers.Reshape((4,)), (2, 3), "(3 values) into (4,)"),
    (layers.Dropout(0.5, noise_shape=(None, 3)), (2, 4), "noise_shape=(None, 3)"),
    (layers.Dropout(0.5, noise_shape=(1,)), (2, 4), "noise_shape=(1,)"),
    (layers.Normalization(), (2, 3), "call adapt(data) first"),
    (layers.Normalization(mean=[1, 2, 3], variance=[1, 2, 3]), (5, 2), "statistics of shape (3,)"),
    (layers.LSTM(3), (2, 4), "add a time or a feature axis"),
]


@pytest.mark.parametrize(("layer", "shape", "message"), UNFIT, ids=[m for *_, m in UNFIT])
def test_of_inputs(layer, shape, message):
    with pytest.raises(ValueError) as caught:
        layer.build(np.ones(shape, "float32"))(np.ones(shape, "float32"), train=True, key=0)
    assert message in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    x = np.ones((2, 8, 8, 1), "float32")
    assert layers.Conv2D(np.int64(3), np.int32(3)).build(x)(x).shape == (2, 6, 6, 3)
    assert layers.MaxPooling2D([np.int64(2), 4])(x).shape == (2, 4, 2, 1)
    assert layers.Dropout(np.float32(0.5)).rate == 0.5


def test_adapt_reads_large_data_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("cenote.layers.preprocessing._PIECE", 64)
    data = np.random.default_rng(0).normal(size=(100, 4, 3)) * 3 + 1000
    stored = np.memmap(tmp_path / "x", "float64", "w+", shape=data.shape)
    stored[:] = data
    layer = layers.Normalization(axis=(1, 2))
    layer.adapt(stored)
    y = np.asarray(layer.build(data[:1].astype("float32"))(data.astype("float32")))
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "found nan at position (1, 1)"),
        ([["red", "green"]], "takes numbers"),
        (np.zeros((0, 3)), "no data"),
        (np.arange(5.0), "x.reshape(-1, 1)"),
    ],
    ids=["nan", "words", "empty", "flat"],
)
def test_adapt_refuses_what_it_cannot_use(data, message):
    with pytest.raises(ValueError) as caught:
        layers.Normalization().adapt(data)
    assert message in str(caught.value)


def test_adapting_again_changes_a_built_layer():
    layer = layers.Normalization(mean=[0.0], variance=[1.0]).build(np.ones((1, 1), "float32"))
    layer.adapt(np.array([[1.0], [3.0]]))
    assert layer(np.array([[5.0]], "float32")).tolist() == [[3.0]]
    with pytest.raises(ValueError, match="adapt it to data like the input"):
        layer.adapt(np.ones((4, 2)))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_whole_numbers_are_taken_as_floats(dtype):
    x = np.ones((2, 4, 4, 1), dtype)
    for layer in (layers.Rescaling(0.5), layers.Conv2D(2, 3), layers.AveragePooling2D(), layers.BatchNormalization()):
        assert layer.build(x)(x).dtype == np.float32
