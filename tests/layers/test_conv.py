"""Convolutions against Keras's, padding modes and patches against PyTorch's stored answers; slopes, saving, bad arguments."""

import inspect
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import compare, draw, keras, our_name

import cenote as cn
from cenote.layers import conv, conv_transpose, patches
from cenote.train.epoch import has_foreign_convolution

OURS = {name: getattr(family, name) for family in (conv, conv_transpose, patches) for name in family.__all__}
STORED = json.loads((Path(__file__).parents[1] / "parity" / "conv.json").read_text())

CASES = [  # name, shape of the input, arguments, options: outputs, gradients, weights
    ("Conv1D", (2, 8, 4), (4, 3), {"padding": "causal", "strides": 2, "groups": 2, "use_bias": False}),
    ("Conv3D", (1, 5, 4, 5, 2), (3, 3), {"strides": (2, 1, 2), "padding": "same"}),
    ("DepthwiseConv1D", (2, 9, 3), (3,), {"padding": "same", "strides": 2, "depth_multiplier": 2}),
    ("DepthwiseConv2D", (1, 6, 5, 3), ((3, 2),), {"depth_multiplier": 2, "activation": "tanh"}),
    ("SeparableConv1D", (2, 9, 3), (4, 3), {"padding": "same", "strides": 2}),
    ("SeparableConv2D", (2, 6, 5, 3), (4, 3), {"depth_multiplier": 2, "dilation_rate": (1, 2), "activation": "relu"}),
    ("Conv1DTranspose", (2, 5, 3), (2, 2), {"strides": 3, "output_padding": 1, "use_bias": False}),
    ("Conv2DTranspose", (1, 4, 3, 3), (2, (3, 4)), {"strides": 3, "padding": "same", "output_padding": (1, 2)}),
    ("Conv3DTranspose", (1, 2, 3, 2, 2), (2, (3, 2, 1)), {"strides": (2, 1, 2), "padding": "same", "activation": "relu"}),
]
GRID = [  # outputs alone: the gradients of each kernel are held against XLA's in tests/kernels
    ("Conv1D", (2, 9, 3), (4, 3), {}),
    ("Conv1D", (1, 9, 3), (4, 4), {"strides": 2, "padding": "same", "activation": "relu"}),
    ("Conv1D", (2, 9, 3), (4, 3), {"padding": "causal", "dilation_rate": 2}),
    ("Conv1D", (1, 1, 3), (4, 3), {"padding": "SAME"}),
    ("Conv3D", (2, 4, 5, 6, 2), (3, (2, 3, 1)), {}),
    ("Conv3D", (1, 4, 5, 4, 2), (4, 2), {"dilation_rate": (1, 2, 1), "groups": 2, "padding": "same"}),
    ("DepthwiseConv1D", (2, 9, 3), (3,), {"dilation_rate": 2, "use_bias": False}),
    ("DepthwiseConv2D", (1, 7, 6, 2), (3,), {"padding": "same", "strides": 2}),
    ("DepthwiseConv2D", (1, 7, 6, 1), (3,), {"padding": "same", "dilation_rate": (1, 2), "depth_multiplier": 2}),
    ("DepthwiseConv2D", (1, 7, 6, 2), (3,), {"strides": 2, "dilation_rate": 2}),
    ("SeparableConv2D", (1, 7, 6, 2), (3, 2), {"padding": "same", "strides": 2, "use_bias": False}),
    ("Conv1DTranspose", (2, 5, 3), (2, 3), {"strides": 2}),
    ("Conv1DTranspose", (2, 5, 3), (2, 4), {"strides": 2, "padding": "same"}),
    ("Conv1DTranspose", (1, 1, 3), (2, 1), {"strides": 2, "padding": "same"}),
    ("Conv2DTranspose", (2, 4, 3, 3), (2, 3), {}),
    ("Conv2DTranspose", (2, 4, 3, 3), (2, (2, 3)), {"strides": (3, 2), "padding": "same"}),
    ("Conv2DTranspose", (1, 4, 3, 3), (2, (1, 2)), {"strides": (2, 4)}),
    ("Conv2DTranspose", (1, 4, 3, 3), (2, (3, 2)), {"dilation_rate": (2, 1), "padding": "same"}),
    ("Conv2DTranspose", (1, 4, 3, 3), (2, (3, 2)), {"dilation_rate": (2, 3)}),
    ("Conv2DTranspose", (1, 4, 3, 3), (2, (5, 2)), {"strides": (2, 3), "padding": "same", "output_padding": 0}),
    ("Conv3DTranspose", (1, 2, 3, 2, 2), (2, 2), {"strides": 2, "output_padding": (0, 1, 1)}),
]


@pytest.mark.parametrize(("name", "shape", "sizes", "options"), CASES, ids=str)
def test_like_keras(name, shape, sizes, options):
    compare(OURS[name](*sizes, **options), getattr(keras.layers, name)(*sizes, **options), draw(*shape))


def test_outputs_over_many_arguments():
    inputs = [draw(*shape) for _, shape, *_ in GRID]
    theirs = [getattr(keras.layers, name)(*sizes, **options) for name, _, sizes, options in GRID]
    weights = []
    for layer, x in zip(theirs, inputs, strict=True):
        layer.build(x.shape)
        weights.append([draw(*w.shape) for w in layer.weights])

    def run(weights, inputs):
        for layer, values, x, (name, _, sizes, options) in zip(theirs, weights, inputs, GRID, strict=True):
            params = {our_name(w): value for w, value in zip(layer.weights, values, strict=True)}
            yield OURS[name](*sizes, **options).apply(params, {}, x)[0], layer.stateless_call(values, [], x)[0]

    for (mine, other), case in zip(jax.jit(lambda *a: list(run(*a)))(weights, inputs), GRID, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5, rtol=1e-4, err_msg=str(case))


def test_names_and_options_are_those_of_keras():
    for name in (*conv.__all__, *conv_transpose.__all__):
        ours, theirs = OURS[name], getattr(keras.layers, name)
        assert theirs.__name__ == ours.__name__  # the same aliases
        sizes = (3,) if "Depthwise" in name else (2, 3)
        given = {
            f"{prefix}_{kind}": what
            for prefix in ours.weight_options
            for kind, what in (("initializer", "ones"), ("constraint", "non_neg"))
        }
        for cls in (ours, theirs):
            cls(*sizes, **given, name="x", trainable=False, activity_regularizer="l2")
        expected = list(inspect.signature(theirs).parameters)[:-1]
        expected = [p for p in expected if not p.endswith(("_initializer", "_regularizer", "_constraint"))]
        assert list(inspect.signature(ours).parameters)[:-1] == expected


def test_against_pytorch():
    layers = [OURS[case["layer"]](**case["arguments"]) for case in STORED]
    inputs = [np.asarray(case["x"], "float32") for case in STORED]
    params = [{k: np.asarray(case[k], "float32") for k in ("kernel", "bias") if k in case} for case in STORED]

    def outputs(params, inputs):
        return [f.apply(p, {}, x)[0] for f, p, x in zip(layers, params, inputs, strict=True)]

    def both(*a):
        return outputs(*a), jax.grad(lambda *a: sum((y**2).sum() for y in outputs(*a)), (0, 1))(*a)

    ys, (dparams, dinputs) = jax.jit(both)(params, inputs)
    for case, y, dp, dx in zip(STORED, ys, dparams, dinputs, strict=True):
        about = f"{case['layer']} {case['arguments']}"
        np.testing.assert_allclose(y, case["y"], atol=2e-5, err_msg=about)
        if dp:
            np.testing.assert_allclose(dp["kernel"], case["dkernel"], atol=2e-4, err_msg=about)
            np.testing.assert_allclose(dx, case["dx"], atol=2e-4, err_msg=about)


def test_fold_is_the_transpose_of_unfold():
    how = {"kernel_size": (2, 3), "dilation": (2, 1), "padding": (1, 2), "stride": (1, 2)}
    x, y = draw(2, 5, 6, 2), draw(2, 20, 12)
    there, back = patches.Unfold(**how), patches.Fold((5, 6), **how)

    @jax.jit
    def run(x, y):
        return there(x), back(y), jax.grad(lambda x: jnp.vdot(there(x), y))(x), jax.grad(lambda y: jnp.vdot(x, back(y)))(y)

    unfolded, folded, dx, dy = run(x, y)
    np.testing.assert_allclose(jnp.vdot(unfolded, y), jnp.vdot(x, folded), rtol=1e-4)
    np.testing.assert_allclose(dx, folded, atol=1e-5)
    np.testing.assert_allclose(dy, unfolded, atol=1e-5)


def test_causal_outputs_do_not_see_later_steps():
    makers, x = (conv.Conv1D, conv.DepthwiseConv1D, conv.SeparableConv1D), draw(1, 8, 2)
    how = {"padding": "causal", "dilation_rate": 2}
    layers = [make(*(3, 3)[-1 if make is conv.DepthwiseConv1D else 0 :], **how).build(x) for make in makers]
    seen = jax.jit(jax.jacobian(lambda x: jnp.stack([layer(x).sum((0, 2)) for layer in layers])))(x)
    steps = np.arange(8)
    back = steps[:, None] - steps
    for one in np.asarray(seen)[:, :, 0].any(-1):  # (output step, input step)
        assert np.array_equal(one, (back >= 0) & (back <= 4) & (back % 2 == 0))


SLOPES = {
    "reflect": (conv.Conv2D(2, 3, strides=2, padding="reflect"), (1, 5, 4, 2)),
    "separable": (conv.SeparableConv1D(3, 3, padding="causal", activation="tanh"), (2, 5, 2)),
    "transposed": (conv_transpose.Conv2DTranspose(2, 3, strides=2, padding="same"), (1, 3, 2, 2)),
}


def test_gradients_are_the_slopes():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        points = {}
        for name, (layer, shape) in SLOPES.items():
            weights, _ = cn.core.declare(layer, np.zeros(shape))
            points[name] = (
                {k: rng.normal(size=w.shape) for k, w in weights.items()},
                rng.normal(size=shape),
            )

        def values(points):
            return {k: jnp.sin(f.apply(*points[k][:1], {}, points[k][1])[0]).sum() for k, (f, _) in SLOPES.items()}

        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), points)
        ahead, behind = (jax.tree.map(lambda p, d, s=s: p + s * 1e-6 * d, points, direction) for s in (1, -1))
        run = jax.jit(lambda *at: (jax.grad(lambda p: sum(values(p).values()))(at[0]), values(at[1]), values(at[2])))
        grads, ahead, behind = run(points, ahead, behind)
        for name in SLOPES:
            pairs = zip(jax.tree.leaves(grads[name]), jax.tree.leaves(direction[name]), strict=True)
            claimed = sum(np.vdot(g, d) for g, d in pairs)
            np.testing.assert_allclose(claimed, (ahead[name] - behind[name]) / 2e-6, rtol=1e-5, err_msg=name)


def chain(*members):
    return cn.Sequential([OURS[name](*args, **options) for name, *args, options in members])


CHAINS = {
    (2, 8, 2): [
        ("Conv1D", 3, 3, {"padding": "causal", "kernel_regularizer": "l2"}),
        ("DepthwiseConv1D", 3, {"padding": "circular", "depth_multiplier": 2}),
        ("SeparableConv1D", 2, 3, {"dilation_rate": 2, "padding": "same"}),
        ("Conv1DTranspose", 2, 3, {"strides": 2, "output_padding": 1}),
        ("ChannelShuffle", 2, {}),
    ],
    (2, 6, 6, 2): [
        ("Conv2D", 4, 3, {"groups": 2, "padding": "reflect"}),
        ("DepthwiseConv2D", 3, {"padding": "same", "strides": 2, "depthwise_initializer": "ones"}),
        ("SeparableConv2D", 4, 2, {"padding": "same", "depth_multiplier": 2}),
        ("PixelShuffle", 2, {}),
        ("Conv2DTranspose", 1, 2, {"strides": 2, "activation": "relu"}),
        ("PixelUnshuffle", 2, {}),
        ("Unfold", 2, {"stride": 2}),
        ("Fold", 6, 2, {"stride": 2}),
    ],
    (1, 3, 4, 3, 1): [
        ("Conv3D", 2, 2, {"padding": "replicate", "strides": (1, 2, 1)}),
        ("Conv3DTranspose", 2, 2, {"strides": 2, "bias_constraint": "non_neg"}),
    ],
}


@pytest.mark.parametrize("shape", CHAINS, ids=str)
def test_saving_and_training_in_one_program(shape, tmp_path):
    model, x = chain(*CHAINS[shape]), draw(*shape)
    model.build(x)
    y = model.predict(x)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    assert np.array_equal(again.predict(x), y)
    assert [one.arguments() for one in again.layers] == [one.arguments() for one in model.layers]
    params, state = cn.core.weights_of(model)

    def loss(params, x):
        return (model.apply(params, state, x, train=True)[0] ** 2).sum()

    assert not has_foreign_convolution(jax.grad(loss, (0, 1)), params, x)
    for dtype in ("float64", "bfloat16"):
        with jax.enable_x64(True):
            cast = {k: jax.ShapeDtypeStruct(v.shape, dtype) for k, v in params.items()}
            given = jax.ShapeDtypeStruct(x.shape, dtype)
            assert jax.eval_shape(lambda p, x: model.apply(p, state, x)[0], cast, given).dtype == dtype


def test_a_graph_of_them():
    a = cn.Input((8, 2))
    h = OURS["Conv1D"](4, 3, padding="same", activation="relu")(a)
    model = cn.Model(a, OURS["Conv1DTranspose"](2, 2, strides=2)(h))
    model.build()
    assert model.predict(draw(3, 8, 2)).shape == (3, 16, 2)


WRONG = [
    ("Conv1D", (2, (3, 3)), {}, "Conv1D needs kernel_size to be a whole number, got (3, 3)"),
    ("Conv3D", (2, (3, 3)), {}, "a whole number or three of them"),
    ("Conv1D", (2, 3), {"padding": "casual"}, "did you mean 'causal'"),
    ("Conv2D", (2, 3), {"padding": "causal"}, "Known: circular, reflect, replicate, same, valid"),
    ("Conv1D", (2, 3), {"data_format": "channels_first"}, "numpy.moveaxis(x, 1, -1)"),
    ("Conv3D", (2, 3), {"strides": 2, "dilation_rate": 2}, "Conv3D takes strides or dilation_rate, not both"),
    ("DepthwiseConv2D", (3,), {"depth_multiplier": 0}, "depth_multiplier"),
    ("DepthwiseConv2D", (3,), {"kernel_initializer": "ones"}, "did you mean 'depthwise_initializer'"),
    ("SeparableConv1D", (0, 3), {}, "filters"),
    ("Conv2DTranspose", (2, 3), {"strides": 2, "output_padding": 2}, "below the strides (2, 2), got 2"),
    ("Conv2DTranspose", (2, 3), {"padding": "reflect"}, "Known: same, valid"),
    ("Conv1DTranspose", (2, 3), {"output_padding": (0, 0)}, "got (0, 0)"),
    ("Unfold", (2,), {"padding": -1}, "a whole number of zeros"),
    ("Fold", (2, 3), {}, "no room in a picture of (2, 2)"),
    ("PixelShuffle", (1.5,), {}, "upscale_factor"),
]
UNFIT = [
    ("Conv1D", (2, 3), {}, (2, 8), "layers.Reshape((time, 1))"),
    ("Conv1D", (2, 5), {"dilation_rate": 2}, (1, 8, 2), "no room in a sequence of (8,)"),
    ("Conv3D", (2, 3), {}, (1, 3, 2, 3, 1), "no room in a volume of (3, 2, 3)"),
    ("Conv2D", (2, 5), {"padding": "reflect"}, (1, 2, 8, 1), "takes 2 places from an axis of 2"),
    ("SeparableConv2D", (2, 3), {}, (8, 8, 3), "add a channel axis"),
    ("Conv1DTranspose", (2, 2), {"strides": 2, "padding": "same", "output_padding": 0}, (1, 1, 2), "leave output_padding out"),
    ("Fold", (4, 2), {}, (1, 9, 6), "(batch, 9, channel * 4)"),
    ("PixelShuffle", (2,), {}, (1, 2, 2, 6), "divide by 4, the input has 6"),
    ("PixelUnshuffle", (2,), {}, (1, 2, 3, 6), "2 by 3"),
    ("ChannelShuffle", (4,), {}, (1, 6), "the input has 6"),
]


@pytest.mark.parametrize(("name", "args", "options", "message"), WRONG, ids=lambda v: str(v))
def test_arguments_that_cannot_work(name, args, options, message):
    with pytest.raises(ValueError) as caught:
        OURS[name](*args, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "args", "options", "shape", "message"), UNFIT, ids=lambda v: str(v))
def test_inputs_that_do_not_fit(name, args, options, shape, message):
    with pytest.raises(ValueError) as caught:
        OURS[name](*args, **options).build(np.ones(shape, "float32"))
    assert message in str(caught.value)
