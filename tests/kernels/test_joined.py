"""A convolution joined with bias, rectifier and windows of 2x2: the same numbers as apart, and computed once."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.core import collecting
from cenote.kernels import joined, native
from cenote.kernels.answers import answering

needs_native = pytest.mark.skipif(native.library("convolution") is None, reason=f"no native kernels: {native.status()}")
RNG = np.random.default_rng(0)
CASES = [  # batch, height, width, input, output, kernel, strides, pads
    (3, 8, 11, 1, 20, (3, 3), (1, 1), ((0, 0), (0, 0))),
    (2, 7, 7, 5, 33, (3, 2), (1, 1), ((1, 1), (1, 0))),
    (1, 13, 11, 16, 16, (3, 3), (2, 2), ((1, 0), (0, 1))),
]


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def drawn(case):
    n, height, width, ci, co, window, strides, pads = case
    return (draw(n, height, width, ci), draw(*window, ci, co), draw(co)), (strides, pads)


def apart(strides, pads, rectify, windows):
    """The obvious formulation, of XLA's own operations alone."""

    def function(x, kernel, bias=None):
        y = jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y if bias is None else y + bias
        y = jax.nn.relu(y) if rectify else y
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") if windows else y

    return function


def together(strides, pads, rectify, windows):
    def function(x, kernel, bias=None):
        assert joined.can_join(x, kernel, strides, pads)
        return joined.conv_joined(x, kernel, bias, strides, pads, rectify=rectify, windows=windows)

    return function


def same(found, expected, tolerance=5e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and float(jnp.abs(a - b).max()) <= tolerance * max(float(jnp.abs(b).max()), 1e-3)


@needs_native
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[3]} to {case[4]}")
def test_values_and_gradients(case):
    arrays, how = drawn(case)

    @jax.jit
    def both():
        found = []
        for rectify, windows, given in ((1, 1, 3), (1, 1, 2), (0, 1, 3), (1, 0, 3), (0, 0, 2)):
            for function in (together(*how, rectify, windows), apart(*how, rectify, windows)):
                y, back = jax.vjp(function, *arrays[:given])
                dy = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
                found.append((function(*arrays[:given]), y, back(dy)))
        return found[::2], found[1::2]

    same(*both())


@needs_native
def test_second_derivatives_and_vmap():
    arrays, how = drawn((2, 6, 6, 2, 3, (3, 3), (1, 1), ((1, 1), (1, 1))))

    def all_of(function):
        def slope(*arrays):
            return jax.grad(lambda *a: jnp.sum(jnp.sin(function(*a))), (0, 1, 2))(*arrays)

        second = jax.grad(lambda *a: sum(jnp.sum(g**2) for g in slope(*a)), (0, 1, 2))(*arrays)
        return second, jax.vmap(slope)(*(jnp.stack([a, 2 * a]) for a in arrays))

    same(*jax.jit(lambda: (all_of(together(*how, True, True)), all_of(apart(*how, True, True))))(), tolerance=2e-5)


@needs_native
def test_equal_values_and_what_is_no_number():
    x = np.zeros((1, 4, 8, 1), "float32")
    x[0, :, 2:] = 1  # a window of equal values: the first gets the gradient
    x[0, 2, 5], x[0, 1, 6] = np.nan, np.inf
    function = together((1, 1), ((0, 0), (0, 1)), True, True)  # the kernel has two columns, so that it is no product
    kernel = jnp.asarray([1.0, 0.0]).reshape(1, 2, 1, 1)
    y, back = jax.vjp(lambda x: function(x, kernel), jnp.asarray(x))
    assert np.isnan(y[0, 1, 2, 0]) and np.isnan(y[0, 0, 2:, 0]).any()  # inf * 0
    assert y[0, :, 0, 0].tolist() == [0, 0] and y[0, :, 1, 0].tolist() == [1, 1]
    dx = np.asarray(back(jnp.ones_like(y))[0])
    assert (dx[0, :, :2] == 0).all() and dx[0, 0, 2, 0] == 1 and dx[0, :2, 3].tolist() == [[0], [0]]


def network():
    return cn.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 3),
            layers.ReLU(),
            layers.MaxPooling2D(padding="same"),
            layers.Conv2D(3, 2, activation="tanh"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def calls(function, *args):
    """The C++ kernels that a compiled program calls."""
    text = jax.jit(function).lower(*args).compile().as_text() or ""
    return sorted(re.findall(r'custom_call_target="cenote_convolution_(\w+)"', text))


@needs_native
def test_layers_join_where_nobody_looks(monkeypatch):
    model, x = network().build(np.ones((1, 12, 12, 1), "float32"), key=1), draw(3, 12, 12, 1)
    params, state = model.arrays()

    def loss(params, x):
        return jnp.sum(jnp.sin(model._pure(params, state, x, train=True)[0]))

    answer, slopes = model.predict(x), jax.jit(jax.value_and_grad(loss))
    steps = ["input", *["joined"] * 3, "kernel", "pooled_input", *["pooled_kernel"] * 2]
    assert calls(jax.value_and_grad(loss), params, x) == steps
    found = slopes(params, x)
    # What is traced by others, explanations among them, holds the steps one by one.
    assert "joined" not in str(jax.make_jaxpr(lambda x: model._pure(params, state, x)[0])(x))
    monkeypatch.setattr(native, "fits", lambda *arrays: False)
    same(found, jax.jit(jax.value_and_grad(lambda *a: loss(*a)))(params, x), 2e-5)
    same(answer, network().build(x[:1], key=1).predict(x), 2e-5)


@needs_native
@pytest.mark.parametrize("skips", [False, True])
def test_what_others_use_too_is_convolved_once(skips):
    x = cn.Input((8, 8, 2))
    h = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    pooled = layers.UpSampling2D()(layers.MaxPooling2D()(h))
    model = cn.Model(x, layers.Concatenate()([pooled, h]) if skips else pooled).build(np.ones((1, 8, 8, 2), "float32"))
    params, state = model.arrays()
    data = draw(2, 8, 8, 2)

    def function(params, x):
        return model._pure(params, state, x, train=True)[0]

    assert calls(function, params, data) == ["joined"]
    assert bool(re.search(r"'windows', (np.int64\()?1", str(jax.make_jaxpr(function)(params, data)))) != skips
    h = next(w for name, w in params.items() if name.endswith("kernel"))  # and the same numbers
    y = jax.nn.relu(apart((1, 1), ((1, 1), (1, 1)), False, False)(data, h))
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID").repeat(2, 1).repeat(2, 2)
    same(model.predict(data)[..., :4], y)


class Twice(layers.Layer):
    """A layer of the user's own that looks at its input in two places."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x), x


def skipping(layer):
    """A graph whose input goes to a layer and past it."""
    x = cn.Input((6, 6, 4))
    return cn.Model(x, [layer(x), x])


def held(last):
    """Networks in which a layer that could join a convolution is not alone with it."""
    yield cn.Sequential([layers.Conv2D(4, 3), Twice(last())])
    yield cn.Sequential([layers.Conv2D(4, 3), Twice(cn.Sequential([layers.Dropout(0.5), last()]))])
    yield cn.Sequential([layers.Conv2D(4, 3), skipping(last())])
    passed = cn.Sequential([layers.Conv2D(4, 3), layers.Dropout(0.5)])  # in prediction the convolution's own array
    yield cn.Sequential([passed, Twice(last())])


@needs_native
@pytest.mark.parametrize("train", [False, True])
def test_no_layer_inside_has_it_convolved_twice(train):
    lasts = layers.BatchNormalization, layers.ReLU, layers.MaxPooling2D
    models = [m.build(np.ones((1, 8, 8, 2), "float32"), key=i) for last in lasts for i, m in enumerate(held(last))]

    def run(arrays, x):
        with contextlib.nullcontext() if train else answering():
            return [m._pure(*a, x, train=train, key=jax.random.key(0))[0] for m, a in zip(models, arrays, strict=True)]

    assert calls(run, [m.arrays() for m in models], draw(2, 8, 8, 2)) == ["joined"] * len(models)


@needs_native
def test_lists_and_graphs_inside_join_what_goes_through_them():
    x = cn.Input((6, 6, 4))
    inner = cn.Model(x, layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x))))
    tail = [layers.Dropout(0.5), cn.Sequential([inner])]
    model = cn.Sequential([cn.Sequential([layers.Conv2D(4, 3)]), *tail]).build(np.ones((1, 8, 8, 2), "float32"))
    data = draw(2, 8, 8, 2)

    def run(params, state, x):
        with answering():
            return model._pure(params, state, x)[0]

    run = jax.jit(run).lower(*model.arrays(), data).compile()
    (call,) = re.findall(r"(.*)custom_call_target=.cenote_convolution", run.as_text() or "")
    assert "f32[2,3,3,4]" in call  # what comes out are the windows
    same(run(*model.arrays(), data), model(data))


def test_what_is_not_traced_gets_no_notes():
    """They would keep every array of a long network until its end."""
    model, x = network().build(np.ones((1, 12, 12, 1), "float32")), draw(1, 12, 12, 1)
    with collecting() as table:
        model(x)
    assert not table.entries


@needs_native
def test_prediction_takes_a_normalisation_into_the_kernel():
    block = [layers.Conv2D(6, 3), layers.BatchNormalization(epsilon=0.1), layers.ReLU(), layers.MaxPooling2D()]
    model, x = cn.Sequential(block).build(np.ones((1, 8, 8, 2), "float32"), key=2), draw(3, 8, 8, 2)
    model.set_weights([w + RNG.random(w.shape, "float32") for w in model.get_weights()])
    kernel, bias, scale, shift, mean, var = model.get_weights()
    y = apart((1, 1), ((0, 0), (0, 0)), False, False)(x, kernel, bias)
    y = jax.nn.relu((y - mean) / jnp.sqrt(var + 0.1) * scale + shift)
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    same(model.predict(x), y)
    same(model.compiled(x)(np.asarray(x)), y)
    same(model(x), y)  # step by step

    def answered(params, state, x):
        with answering():
            return model._pure(params, state, x)[0]

    assert calls(answered, *model.arrays(), x) == ["joined"]
