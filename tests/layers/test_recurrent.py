"""Recurrent layers beyond parity: states that last, masks, dropout, what is refused. Parity itself: test_parity.py."""

import keras
import numpy as np
import pytest

import cenote as cn
from cenote import layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 2)).astype("float32")
MASK = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1]], bool)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GRU", {"reset_after": False}),
        ("GRU", {"use_bias": False}),
        ("LSTM", {"recurrent_activation": "hard_sigmoid"}),
        ("SimpleRNN", {"activation": "relu"}),
    ],
    ids=str,
)
def test_masked_variants_as_in_keras(name, options):
    options = {**options, "return_sequences": True, "return_state": True}
    ours, theirs = getattr(layers, name)(4, **options).build(X), getattr(keras.layers, name)(4, **options)
    theirs(X)
    for target, weight in zip(theirs.weights, ("kernel", "recurrent_kernel", "bias"), strict=False):
        target.assign(ours._arrays[weight])
    for a, b in zip(ours(X, mask=MASK), theirs(X, mask=MASK), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_stateful_batches_go_on_like_keras_and_can_start_anew():
    ours, theirs = layers.GRU(4, stateful=True), keras.layers.GRU(4, stateful=True)
    model = cn.Sequential([ours]).build(X)
    theirs(X)
    theirs.reset_state()
    for target, weight in zip(theirs.trainable_weights, ("kernel", "recurrent_kernel", "bias"), strict=True):
        target.assign(ours._arrays[weight])
    params, state = cn.core.weights_of(model)
    first, state = model.apply(params, state, X)
    second, state = model.apply(params, state, X)
    assert np.allclose(first, theirs(X), atol=1e-5) and np.allclose(second, theirs(X), atol=1e-5)
    assert not np.allclose(first, second, atol=1e-3)
    cn.core.bind(model, state)
    assert np.abs(ours._arrays["h"]).sum() > 0
    ours.reset_state()
    assert np.allclose(model(X), first, atol=1e-6)


def test_a_given_start_state_wins_over_the_kept_one():
    plain = layers.LSTM(4).build(X)
    start = [np.ones((3, 4), "float32"), np.full((3, 4), 0.5, "float32")]
    layer = layers.LSTM(4, stateful=True).build(X, start)  # built with one, it can be called without one
    assert layer(X).shape == (3, 4)
    params, state = cn.core.weights_of(layer)
    y, state = layer.apply(params, state, X, start)
    assert np.allclose(y, plain.apply(params, {}, X, start)[0], atol=1e-6) and np.allclose(state["h"], y)


def test_dropout_of_a_recurrent_layer_is_one_draw_for_all_steps():
    layer = layers.SimpleRNN(50, activation="linear", use_bias=False, dropout=0.5, return_sequences=True)
    x = np.ones((1, 4, 30), "float32")
    layer.build(x)
    params, _ = cn.core.weights_of(layer)
    params["recurrent_kernel"] = np.zeros((50, 50), "float32")
    steps = np.asarray(layer.apply(params, {}, x, train=True, key=1)[0])[0]
    assert np.allclose(steps, steps[:1], atol=1e-6) and not np.allclose(steps[0], params["kernel"].sum(0), atol=1e-2)
    other = layers.SimpleRNN(50, activation="linear", use_bias=False, dropout=0.5, return_sequences=True, seed=1)
    assert not np.allclose(np.asarray(other.apply(params, {}, x, train=True, key=1)[0])[0], steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.LSTM(4).build(X[0]), r"LSTM takes \(batch, time, feature\), 3 axes.*add a time or a feature axis"),
        (lambda: layers.GRU(4).build(X)(X, mask=MASK[:, :3]), r"needs a mask \(batch, time\) of shape \(3, 5\).*got \(3, 3\)"),
        (lambda: layers.LSTM(4).build(X)(X, initial_state=np.ones((3, 4))), "LSTM carries 2 states, initial_state holds 1"),
        (lambda: layers.GRU(4).build(X)(X, initial_state=np.ones((3, 5))), r"initial states of shape \(3, 4\), got \(3, 5\)"),
        (lambda: layers.LSTM(0), "needs units to be a whole number of at least 1, got 0"),
        (lambda: layers.LSTM(4, dropout=1.5), "needs dropout from 0 up and below 1, got 1.5"),
        (lambda: layers.GRU(4, recurrent_activation="sigmod"), "did you mean 'sigmoid'"),
        (lambda: layers.GRU(4, recurrent_initialiser="zeros"), "did you mean 'recurrent_initializer'"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_stateful_layer_says_why_another_batch_does_not_fit():
    layer = layers.LSTM(4, stateful=True).build(X)
    with pytest.raises(ValueError) as caught:
        layer(X[:2])
    assert any("all batches have one size" in note for note in caught.value.__notes__)


def test_arguments_after_the_biases_are_named():
    # In Keras an initializer stands here: taken by position it would silently become another argument.
    with pytest.raises(TypeError):
        layers.LSTM(4, "tanh", "sigmoid", True, "zeros")
