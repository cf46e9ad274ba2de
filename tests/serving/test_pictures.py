"""Networks of pictures as programs in C++: convolutions of any form, transposed, depthwise, and pooling, against plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import cenote as cn
from cenote import layers
from cenote.kernels import native
from cenote.kernels.answers import answering
from cenote.kernels.convolution import conv
from cenote.kernels.joined import can_join, conv_joined
from cenote.serving.program import Program

pytestmark = pytest.mark.skipif(
    native.library("program", "convolution", "depthwise", "pooling") is None, reason=f"no native kernels: {native.status()}"
)
RNG = np.random.default_rng(0)
NUMBERS = ("NHWC", "HWIO", "NHWC")


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def program(function, *inputs):
    def asked(*inputs):
        with answering():
            return function(*inputs)

    return Program(asked, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs])


def steps(made):
    return [step.name for step in made._plan.steps]


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5 * np.nanmax(np.abs(want), initial=1, where=np.isfinite(want)))


# Height, width, inputs, outputs, kernel, strides, pads, dilation, what follows: all that tiles, borders and frames tell apart.
FORMS = {
    "16 places and 3 taps": (3, 33, 5, 16, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), "rectified"),
    "12 places and two vectors": (4, 25, 3, 47, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), "rest"),
    "5 taps": (7, 11, 3, 33, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), "plain"),
    "strides of 2": (9, 30, 4, 70, (3, 3), (2, 2), ((0, 1), (0, 1)), (1, 1), "rest"),
    "windows": (9, 27, 1, 40, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), "windows"),
    "windows of 5 taps": (12, 12, 2, 7, (5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), "windows"),
    "windows from a frame": (6, 7, 2, 18, (2, 2), (1, 1), ((1, 0), (0, 1)), (1, 1), "windows"),
    "one place": (1, 1, 2, 3, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), "scaled"),
    "more border than kernel": (2, 3, 3, 17, (3, 3), (1, 1), ((4, 5), (5, 3)), (1, 1), "rectified"),
    "1x1 with strides": (7, 8, 6, 20, (1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), "rest"),
    "even kernel": (8, 9, 3, 16, (2, 4), (1, 3), ((0, 1), (1, 2)), (1, 1), "scaled"),
    "holes": (9, 11, 3, 24, (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), "rest"),
    "holes across": (1, 20, 3, 8, (1, 3), (1, 1), ((0, 0), (8, 0)), (1, 4), "rectified"),
    "holes down": (9, 6, 3, 8, (3, 3), (1, 1), ((0, 0), (1, 1)), (3, 1), "plain"),
}


@pytest.mark.parametrize("name", FORMS)
def test_convolutions_with_what_follows(name):
    height, width, inputs, outputs, size, strides, pads, dilation, after = FORMS[name]
    kernel, bias = draw(*size, inputs, outputs), draw(outputs)

    def plain(x):
        return lax.conv_general_dilated(x, kernel, strides, pads, rhs_dilation=dilation, dimension_numbers=NUMBERS)

    def ours(x):
        return conv(x, jnp.asarray(kernel), strides=strides, padding=pads, dilation=dilation)

    def follows(convolve, x):
        y = convolve(x)
        if after == "rest":
            return jax.nn.relu(jnp.tanh(y) + (convolve(x) + bias))
        if after == "scaled":
            return (y + bias - 1.5) * bias * 2 + bias
        if after == "windows":
            y = jax.nn.relu(y + bias)
            return lax.reduce_window(y, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jax.nn.relu(y + bias) if after == "rectified" else y

    def served(x):
        if after == "windows":
            assert can_join(x, kernel, strides, pads)
            return conv_joined(x, jnp.asarray(kernel), jnp.asarray(bias), strides, pads, rectify=True, windows=True)
        return follows(ours, x)

    x = draw(7, height, width, inputs)
    want = jax.jit(lambda x: follows(plain, x))(x)
    for rows in (1, 7):
        made = program(served, x[:rows])
        close(made(x[:rows])[0], want[:rows])
    assert steps(made) == ["convolution", "map", "convolution"] if after == "rest" else steps(made) == ["convolution"]


def test_zeros_around_join_the_convolution():
    kernel = jnp.asarray(draw(3, 3, 4, 16))
    x = draw(3, 8, 9, 4)
    margins = ((0, 0), (1, 1), (2, 0), (0, 0))
    made = program(lambda x: conv(jnp.pad(x, margins), kernel, strides=2), x)
    close(made(x)[0], lax.conv_general_dilated(np.pad(x, margins), kernel, (2, 2), "VALID", dimension_numbers=NUMBERS))
    assert steps(made) == ["convolution"]
    other = program(lambda x: (conv(jnp.pad(x, margins), kernel), jnp.pad(x, margins)), x)  # asked for by itself, too
    np.testing.assert_array_equal(other(x)[1], np.pad(x, margins))
    ones = program(lambda x: conv(jnp.pad(x, margins, constant_values=1), kernel), x)
    padded = np.pad(x, margins, constant_values=1)
    close(ones(x)[0], lax.conv_general_dilated(padded, kernel, (1, 1), "VALID", dimension_numbers=NUMBERS))


MODELS = {
    "pooling": ((9, 8, 17), lambda: [layers.MaxPooling2D(3, 2, padding="same"), layers.AveragePooling2D(2)], ["pooling"] * 4),
    "largest of 2x2": ((7, 6, 3), lambda: [layers.MaxPooling2D(2)], ["pooling"]),
    "means with a border": ((7, 6, 3), lambda: [layers.AveragePooling2D(3, 2, padding="same")], ["pooling"] * 2),
    "sequences": (
        (45, 3),
        lambda: [layers.Conv1D(8, 3, padding="causal", activation="relu"), layers.MaxPooling1D(3)],
        ["convolution", "pooling"],
    ),
    "volumes": ((4, 5, 4, 2), lambda: [layers.MaxPooling3D(2), layers.Flatten()], ["pooling"] * 3),
    "transposed": (
        (5, 4, 6),
        lambda: [layers.Conv2DTranspose(20, 5, strides=3, activation="relu"), layers.Conv2DTranspose(3, 2, strides=3)],
        ["transposed"] * 2,
    ),
    "transposed, same": (
        (5, 4, 6),
        lambda: [layers.Conv2DTranspose(8, 3, strides=2, padding="same"), layers.Conv2DTranspose(5, 3, padding="same")],
        ["transposed", "convolution"],
    ),
    "depthwise": (
        (9, 6, 40),
        lambda: [
            layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(24, 1, activation="relu"),
        ],
        ["depthwise", "dense"],
    ),
    "depthwise, few channels": (
        (9, 6, 5),
        lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")],
        ["depthwise"],
    ),
    "groups": ((6, 5, 4), lambda: [layers.Conv2D(8, 3, groups=2)], None),
}


def built(shape, made):
    model = cn.Sequential([cn.Input(shape), *made()])
    model.build(np.zeros((2, *shape), "float32"))
    model.set_weights([np.abs(w) + 0.5 * draw(*w.shape) ** 2 for w in model.get_weights()])  # statistics, too
    return model


@pytest.mark.parametrize("name", MODELS)
def test_layers(name):
    shape, made, expected = MODELS[name]
    model = built(shape, made)
    params, state = model.arrays()
    x = draw(33, *shape)
    want = np.asarray(jax.jit(lambda x: model._pure(params, state, x, train=False)[0])(x))
    for rows in (1, 33):
        serve = model.compiled(x[:rows])
        assert serve.engine == "C++"
        close(serve(x[:rows]), want[:rows])
    if expected:
        params, state = model.arrays()
        assert steps(program(lambda x: model._pure(params, state, x, train=False)[0], x)) == expected


def test_a_sum_with_what_went_before():
    """Blocks with shortcuts: the sum and the rectifier are part of the convolution."""
    x = h = cn.Input((8, 9, 3))
    for channels in (16, 32):
        first = layers.Conv2D(channels, 3, padding="same", use_bias=False)(h)
        y = layers.Activation("relu")(layers.BatchNormalization()(first))
        y = layers.BatchNormalization()(layers.Conv2D(channels, 3, padding="same", use_bias=False)(y))
        h = layers.Activation("relu")(layers.add([y, first]))
    model = cn.Model(x, layers.Dense(4)(layers.GlobalAveragePooling2D()(h)))
    model.build(np.zeros((2, 8, 9, 3), "float32"))
    given = draw(7, 8, 9, 3)
    for rows in (1, 2, 7):
        serve = model.compiled(given[:rows])
        assert serve.engine == "C++"
        close(serve(given[:rows]), model.predict(given[:rows]))


def test_what_is_no_number_goes_where_it_is_seen():
    model = built(
        (12, 12, 3), lambda: [layers.Conv2D(20, 3, activation="relu"), layers.MaxPooling2D(2), layers.MaxPooling2D(2, 1)]
    )
    x = draw(5, 12, 12, 3)
    x[1, 3, 4, 0], x[2, 0, 0, 1], x[3, 11, 11, 2] = np.nan, np.inf, -np.inf
    serve = model.compiled(x)
    assert serve.engine == "C++"
    params, state = model.arrays()
    got, want = serve(x), np.asarray(jax.jit(lambda x: model._pure(params, state, x, train=False)[0])(x))
    assert np.isnan(got[1]).any() and not np.isnan(got[1]).all() and np.isfinite(got[[0, 4]]).all()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    close(np.nan_to_num(got), np.nan_to_num(want))


def test_sums_of_neighbours_are_pooling_and_other_slices_are_not():
    x = draw(3, 10, 5)
    neighbours = program(lambda x: x[:, :-2] + x[:, 1:-1] + x[:, 2:], x)
    np.testing.assert_allclose(neighbours(x)[0], x[:, :-2] + x[:, 1:-1] + x[:, 2:], rtol=1e-6)
    assert steps(neighbours) == ["pooling"]
    for function in (
        lambda x: x[:, :-2] + x[:, 2:],  # with a hole
        lambda x: x[:, :-1] + x[:, :-1],  # the same twice
        lambda x: x[:, :-1] - x[:, 1:],
        lambda x: jnp.maximum(x[:, :-1] + x[:, 1:], x[:, 1:]),
        lambda x: jnp.maximum(jnp.maximum(x[:, :-2], x[:, 1:-1]) + x[:, 2:], 0),
        lambda x: jnp.maximum(x[:, :-1, :2], x[:, 1:, :2]),  # cut along another axis, too
        lambda x: x[:, :-1, 2:3] + x[:, 1:, 2:3],
    ):
        np.testing.assert_allclose(program(function, x)(x)[0], function(x), rtol=1e-6)
