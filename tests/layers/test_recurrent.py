"""Recurrent layers beyond test_parity.py: states that last, masks, dropout, PyTorch's answers, what is refused."""

import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from over_time import alike, made, quick

import cenote as cn
from cenote import layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 2)).astype("float32")
MASK = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1]], bool)


def test_masked_variants_as_in_keras():
    grid = [
        ("GRU", {"reset_after": False}),
        ("GRU", {"use_bias": False}),
        ("LSTM", {"recurrent_activation": "hard_sigmoid"}),
        ("SimpleRNN", {"activation": "relu"}),
    ]
    grid = [(name, {**options, "return_sequences": True, "return_state": True}) for name, options in grid]
    cases = [(getattr(layers, n)(4, **o), getattr(keras.layers, n)(4, **o), None, {"mask": MASK}) for n, o in grid]
    alike(X, *cases, slopes=False)


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


def test_a_layer_that_goes_backwards_hands_on_the_mask_as_it_came():
    """As Keras's `RNN.compute_mask`: the order of the steps is not that of the mask."""
    words, back, after = (
        layers.Embedding(5, 4, mask_zero=True),
        layers.LSTM(4, return_sequences=True, go_backwards=True),
        layers.GRU(3),
    )
    x = np.array([[3, 1, 2, 0, 0]])
    y = cn.Sequential([words, back, after]).build(x)(x)
    steps = np.asarray(back(words(x), mask=x != 0))
    np.testing.assert_allclose(y, after(steps, mask=x != 0), rtol=1e-5)
    assert not np.allclose(y, after(steps, mask=x[:, ::-1] != 0))


def test_a_given_start_state_wins_over_the_kept_one():
    plain = made(layers.LSTM(4), X)
    start = [np.ones((3, 4), "float32"), np.full((3, 4), 0.5, "float32")]
    layer = made(layers.LSTM(4, stateful=True), X, start)  # built with one, it can be called without one
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


def test_outputs_of_masked_steps_as_in_keras():
    grid = [
        ("SimpleRNN", {"return_sequences": True, "zero_output_for_mask": True}),
        ("SimpleRNN", {"zero_output_for_mask": True, "return_state": True}),  # zeros, where the last step is masked
        ("GRU", {"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True}),
    ]
    cases = [(getattr(layers, n)(4, **o), getattr(keras.layers, n)(4, **o), None, {"mask": MASK}) for n, o in grid]
    y = alike(X, *cases)
    assert not np.any(y[0][0, 0]) and not np.any(y[1][0][1]) and np.any(y[1][1][1])


@pytest.mark.parametrize(
    ("name", "options", "draws"),
    [
        ("SimpleRNN", {"dropout": 0.5, "recurrent_dropout": 0.2}, 1),
        ("LSTM", {"dropout": 0.5}, 1),
        ("LSTM", {"dropout": 0.5, "recurrent_dropout": 0.2}, 4),
        ("GRU", {"dropout": 0.5, "recurrent_dropout": 0.2}, 3),
        ("GRU", {"dropout": 0.5, "recurrent_dropout": 0.2, "reset_after": False}, 3),
    ],
    ids=str,
)
def test_dropout_acts_where_it_does_in_keras(name, options, draws, monkeypatch):
    factors = {0.5: RNG.random((draws, 3, 2)) * 2, 0.2: RNG.random((draws, 3, 4)) * 2}
    factors = {rate: jnp.asarray(f, "float32") for rate, f in factors.items()}

    def drawn(x, rate, key):
        assert x.shape == factors[rate].shape
        return x * factors[rate]

    monkeypatch.setattr("cenote.kernels.random.dropout", drawn)
    ours, theirs = getattr(layers, name)(4, **options), getattr(keras.layers, name)(4, **options)
    theirs.build(X.shape)
    params = {w.path.split("/")[-1]: jnp.asarray(w.value) for w in theirs.trainable_weights}
    values = [jnp.asarray(RNG.normal(size=v.shape), "float32") for v in params.values()]
    params = dict(zip(params, values, strict=True))
    theirs.cell._dropout_mask = factors[0.5][0] if draws == 1 else list(factors[0.5])
    theirs.cell._recurrent_dropout_mask = factors[0.2][0] if draws == 1 else list(factors[0.2])
    fixed = [v.value for v in theirs.non_trainable_variables]
    expected = quick(lambda: theirs.stateless_call(values, fixed, X, training=True)[0])()
    y = quick(lambda: ours.apply(params, {}, X, train=True, key=0)[0])()
    np.testing.assert_allclose(y, expected, atol=1e-5)
    cell = getattr(layers, f"{name}Cell")(4, **options)
    within = {f"cell.{k}": v for k, v in params.items()}
    np.testing.assert_allclose(layers.RNN(cell).apply(within, {}, X, train=True, key=0)[0], expected, atol=1e-5)


def _from_torch(kind, weights, end):
    """Our weights of one direction from PyTorch's: matrices turned, GRU's gates reset, update -> update, reset."""
    order = [1, 0, 2] if kind == "GRU" else range({"RNN": 1, "LSTM": 4}.get(kind, 3))

    def sorted_gates(name):
        value = np.asarray(weights[f"{name}_l0{end}"], "float32")
        return np.concatenate([np.split(value, len(order))[i] for i in order])

    first, after = sorted_gates("bias_ih"), sorted_gates("bias_hh")
    bias = np.stack([first, after]) if kind == "GRU" else first + after
    return {"kernel": sorted_gates("weight_ih").T, "recurrent_kernel": sorted_gates("weight_hh").T, "bias": bias}


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_as_in_pytorch(kind):
    stored = json.loads((Path(__file__).parents[1] / "parity" / "recurrent.json").read_text())
    x, told = np.asarray(stored["x"], "float32"), stored[kind]
    inner = getattr(layers, "SimpleRNN" if kind == "RNN" else kind)(3, return_sequences=True, return_state=True)
    layer = layers.Bidirectional(inner)
    params = {
        f"{direction}_layer.{k}": v
        for direction, end in (("forward", ""), ("backward", "_reverse"))
        for k, v in _from_torch(kind, told["weights"], end).items()
    }
    start, last = (np.asarray(told[name], "float32") for name in ("start", "last"))  # (state, direction, batch, unit)
    count = len(start)
    y, *states = layer.apply(params, {}, x, [start[s, d] for d in (0, 1) for s in range(count)])[0]
    np.testing.assert_allclose(y, told["y"], atol=1e-5)
    np.testing.assert_allclose(states, [last[s, d] for d in (0, 1) for s in range(count)], atol=1e-5)


def test_gradients_are_the_slopes():
    rng = np.random.default_rng(0)
    film = rng.normal(size=(2, 3, 4, 3, 1))
    parts = {
        "rnn": (layers.RNN(layers.GRUCell(3, reset_after=False)), X),
        "both": (layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True), "mul"), X),
        "film": (layers.ConvLSTM2D(2, 2), film),
    }
    with jax.enable_x64(True):
        shapes = {k: {n: w.shape for n, w in cn.core.declare(*both)[0].items()} for k, both in parts.items()}
        params = {k: {n: jnp.asarray(rng.normal(size=s)) for n, s in names.items()} for k, names in shapes.items()}
        xs = {k: jnp.asarray(x, jnp.float64) for k, (_, x) in parts.items()}

        def value(point):
            params, xs = point
            y = {k: layer.apply(params[k], {}, xs[k])[0] for k, (layer, _) in parts.items()}
            return {k: (leaf**2).sum() for k, leaf in y.items()}

        point = (params, xs)
        grads = quick(jax.grad(lambda p: sum(value(p).values())))(point)
        direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), point)
        run = quick(value)
        ahead, behind = (run(jax.tree.map(lambda p, d, s=s: p + s * 1e-6 * d, point, direction)) for s in (1, -1))
        for k in parts:
            slopes, way = ([g[k] for g in both] for both in (grads, direction))
            claimed = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (slopes, way)), strict=True))
            np.testing.assert_allclose(claimed, (ahead[k] - behind[k]) / 2e-6, rtol=1e-6, atol=1e-8, err_msg=k)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_dtype_of_the_input_is_that_of_the_output(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(X, dtype)
        for layer in (
            layers.SimpleRNN(3),
            layers.LSTM(3, return_state=True),
            layers.GRU(3, dropout=0.5, recurrent_dropout=0.5),
        ):
            params = {k: jnp.ones(w.shape, w.dtype) for k, w in cn.core.declare(layer, x)[0].items()}
            for train in (False, True):
                run = functools.partial(layer.apply, params, {}, mask=MASK, train=train, key=0)
                y, _ = jax.eval_shape(run, x)
                assert {leaf.dtype for leaf in jax.tree.leaves(y)} == {x.dtype}


def test_an_encoder_hands_its_states_to_a_decoder(tmp_path):
    source, target = cn.Input((5, 2)), cn.Input((None, 2))
    _, *states = layers.LSTM(4, return_state=True)(source)
    h = layers.LSTM(4, return_sequences=True)(target, initial_state=states)
    model = cn.Model([source, target], layers.TimeDistributed(layers.Dense(3, "softmax"))(h))
    model.build()
    y = model.predict([X, X[:, :2]], verbose=0)
    assert y.shape == (3, 2, 3) and not np.allclose(y, model.predict([X + 1, X[:, :2]], verbose=0))
    model.save(tmp_path / "model.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "model.cenote").predict([X, X[:, :2]], verbose=0), y)


def test_save_and_load(tmp_path):
    options = {"return_sequences": True, "zero_output_for_mask": True, "recurrent_regularizer": "l2", "dropout": 0.1, "seed": 3}
    first, second = layers.SimpleRNN(3, "relu", **options), layers.LSTM(4, "tanh", "hard_sigmoid", False, **options)
    model = cn.Sequential([first, second, layers.GRU(2, reset_after=False, go_backwards=True, stateful=True)]).build(X)
    model.save(tmp_path / "model.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "model.cenote")(X), model(X))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.LSTM(4).build(X[0]), r"LSTM takes \(batch, time, feature\), 3 axes.*add a time or a feature axis"),
        (lambda: made(layers.GRU(4), X)(X, mask=MASK[:, :3]), r"needs a mask \(batch, time\) of shape \(3, 5\).*got \(3, 3\)"),
        (lambda: made(layers.LSTM(4), X)(X, initial_state=np.ones((3, 4))), "LSTM carries 2 states, initial_state holds 1"),
        (lambda: made(layers.GRU(4), X)(X, initial_state=np.ones((3, 5))), r"initial states of shape \(3, 4\), got \(3, 5\)"),
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
    layer = made(layers.LSTM(4, stateful=True), X)
    with pytest.raises(ValueError) as caught:
        layer(X[:2])
    assert any("all batches have one size" in note for note in caught.value.__notes__)


def test_arguments_after_the_biases_are_named():
    # In Keras an initializer stands here: taken by position it would silently become another argument.
    with pytest.raises(TypeError):
        layers.LSTM(4, "tanh", "sigmoid", True, "zeros")
