"""ConvLSTM1D, 2D and 3D: Keras's answers, masks, states that last, what is saved and refused."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from over_time import alike, draw, keras, made, quick

import cenote as cn
from cenote import layers

K = keras.layers
SHAPES = {1: (1, 3, 6, 2), 2: (1, 3, 6, 5, 2), 3: (1, 3, 3, 4, 3, 1)}
FILM = draw(2, 3, 5, 4, 1)


@pytest.mark.parametrize("space", SHAPES)
def test_as_in_keras(space):
    name, x, gap = f"ConvLSTM{space}D", draw(*SHAPES[space]), np.array([[True, False, True]])
    start = [draw(1, *[-(-n // 2) for n in x.shape[2:-1]], 2) for _ in range(2)]
    grid = [
        (
            {"kernel_size": 3, "padding": "same", "strides": 2, "return_sequences": True, "return_state": True},
            {"initial_state": start, "mask": gap},
        ),
        (
            {
                "kernel_size": (2, 3, 1)[:space],
                "dilation_rate": 2,
                "recurrent_activation": "hard_sigmoid",
                "use_bias": False,
                "go_backwards": True,
                "return_sequences": True,
                "zero_output_for_mask": True,
            },
            {"mask": gap},
        ),
    ]
    grid = grid if space == 2 else grid[:1]  # the rest is code that all share
    cases = [(getattr(layers, name)(2, **o), getattr(K, name)(2, **o), None, call) for o, call in grid]
    alike(x, cases[0], slopes=True)
    if space == 2:
        alike(x, cases[1], slopes=True)


def test_masks_of_several_examples():
    # Keras takes the batch of a mask for the width of the picture; each example by itself says what is right.
    mask = np.array([[True, False, True], [False, True, False]])
    layer = made(layers.ConvLSTM2D(2, 3, return_sequences=True), FILM)
    y = np.asarray(quick(lambda x: layer(x, mask=mask))(FILM))
    alone = quick(lambda x, mask: layer(x, mask=mask))
    for i in (0, 1):
        np.testing.assert_allclose(y[i], alone(FILM[i : i + 1], mask[i : i + 1])[0], atol=1e-6)
    only = layers.ConvLSTM2D(2, 3)
    last = quick(lambda x: only.apply(cn.core.weights_of(layer)[0], {}, x)[0])(FILM[1:, 1:2])
    np.testing.assert_allclose(y[1, -1], last[0], atol=1e-6)


def test_dropout_draws_for_each_gate_and_once_for_all_steps():
    layer = made(layers.ConvLSTM2D(8, 1, dropout=0.5, recurrent_dropout=0.5, return_sequences=True), FILM)
    run = quick(lambda key: layer.apply(*cn.core.weights_of(layer), FILM, train=True, key=key)[0])
    one, same, other = run(jax.random.key(1)), run(jax.random.key(1)), run(jax.random.key(2))
    assert np.array_equal(one, same) and not np.allclose(one, other) and not np.allclose(one, layer(FILM))


def test_a_stateful_film_goes_on():
    whole, parts = made(layers.ConvLSTM2D(2, 3), FILM), made(layers.ConvLSTM2D(2, 3, stateful=True), FILM[:, :1])
    params, state = cn.core.weights_of(whole)[0], cn.core.weights_of(parts)[1]
    _, state = parts.apply(params, state, FILM[:, :1])
    y, state = parts.apply(params, state, FILM[:, 1:2])
    y, state = parts.apply(params, state, FILM[:, 2:])
    np.testing.assert_allclose(y, whole(FILM), atol=1e-6)


def test_bias_dtype_and_vmap():
    bias = layers.ConvLSTM2D(2, 3, recurrent_initializer="zeros").build(FILM)._arrays["bias"]
    assert bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    for dtype in ("float64", "bfloat16"):
        with jax.enable_x64(dtype == "float64"):
            x = jnp.asarray(FILM, dtype)
            layer = layers.ConvLSTM2D(2, 3)
            params = {k: jnp.ones(w.shape, w.dtype) for k, w in cn.core.declare(layer, x)[0].items()}
            run = functools.partial(layer.apply, params, {})
            out = jax.eval_shape(jax.vmap(run), x[None])[0]
            assert out.dtype == x.dtype and out.shape == (1, 2, 3, 2, 2)


def test_the_cell_over_time_is_the_layer():
    options = {"padding": "same", "strides": (2, 1), "activation": "softsign"}
    layer, loop = made(layers.ConvLSTM2D(2, 3, **options), FILM), layers.RNN(layers.ConvLSTM2DCell(2, 3, **options))
    params = {f"cell.{k}": v for k, v in cn.core.weights_of(layer)[0].items()}
    np.testing.assert_allclose(loop.apply(params, {}, FILM)[0], layer(FILM), atol=1e-6)
    zeros = np.zeros((2, 3, 4, 2), "float32")
    y, states = layers.ConvLSTM2DCell(2, 3, **options).apply(cn.core.weights_of(layer)[0], {}, FILM[:, 0], [zeros, zeros])[0]
    np.testing.assert_allclose(y, layer(FILM[:, :1]), atol=1e-6)
    assert len(states) == 2 and states[1].shape == zeros.shape
    stack = layers.RNN([layers.ConvLSTM2DCell(2, 3), layers.ConvLSTM2DCell(4, 2)])
    assert cn.core.declare(stack, FILM)[1].shape == (2, 2, 1, 4)


def test_save_and_load(tmp_path):
    first = layers.ConvLSTM2D(2, (3, 2), padding="same", return_sequences=True, dilation_rate=(1, 2), kernel_regularizer="l2")
    flat = layers.TimeDistributed(layers.Reshape((20, 2)))
    model = cn.Sequential([first, flat, layers.ConvLSTM1D(2, 3, strides=2, return_sequences=True, activation="relu")])
    model.add(layers.TimeDistributed(layers.Reshape((3, 3, 1, 2))))
    model.add(layers.ConvLSTM3D(2, (2, 2, 1), unit_forget_bias=False))
    model.build(FILM)
    model.save(tmp_path / "model.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "model.cenote").predict(FILM), model.predict(FILM))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.ConvLSTM2D(0, 3), "ConvLSTM2D needs filters to be a whole number of at least 1, got 0"),
        (lambda: layers.ConvLSTM2D(2, (3, 3, 3)), r"kernel_size to be a whole number or two of them, got \(3, 3, 3\)"),
        (lambda: layers.ConvLSTM1D(2, 3, strides=(2, 2)), r"strides to be a whole number, got \(2, 2\)"),
        (lambda: layers.ConvLSTM3D(2, 3, strides=2, dilation_rate=2), "ConvLSTM3D takes strides or dilation_rate, not both"),
        (lambda: layers.ConvLSTM2D(2, 3, "same"), "needs strides"),
        (lambda: layers.ConvLSTM2D(2, 3, padding="causal"), "padding of ConvLSTM2D 'causal'"),
        (lambda: layers.ConvLSTM2D(2, 3, data_format="channels_first"), "moveaxis"),
        (lambda: layers.ConvLSTM2D(2, 3).build(FILM[0]), r"takes \(batch, time, height, width, channel\), 5 axes"),
        (lambda: made(layers.ConvLSTM2D(2, 7), FILM), r"finds no room in a picture of \(5, 4\): use padding='same'"),
        (
            lambda: layers.ConvLSTM2DCell(2, 3).get_initial_state(2),
            r"give it zeros \(batch, ..., 2\) as states, or run it by layers.RNN",
        ),
        (lambda: made(layers.ConvLSTM2D(2, 3), FILM)(FILM, mask=np.ones((2, 4))), r"mask \(batch, time\) of shape \(2, 3\)"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
