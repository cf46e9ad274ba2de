"""Layers that move numbers, put inputs together or do nothing, beside Keras's: outputs, gradients, masks, errors, saving."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import compare, draw, keras

import cenote as cn
from cenote import layers

K = keras.layers
PICTURE, SEQUENCE, VOLUME = draw(2, 3, 4, 2), draw(2, 5, 3), draw(1, 3, 4, 3, 2)


def both(name, *args, **options):
    return getattr(layers, name)(*args, **options), getattr(K, name)(*args, **options)


MOVES = [
    ("Permute", ((2, 1),), {}, SEQUENCE),
    ("Permute", ((3, 1, 2),), {}, PICTURE),
    ("RepeatVector", (3,), {}, draw(2, 4)),
    ("Cropping1D", (), {}, SEQUENCE),
    ("Cropping1D", ((0, 2),), {}, SEQUENCE),
    ("Cropping1D", (2,), {}, SEQUENCE),
    ("Cropping2D", (), {}, PICTURE),
    ("Cropping2D", (1,), {}, PICTURE),
    ("Cropping2D", ((1, 0),), {}, PICTURE),
    ("Cropping2D", (((0, 1), (2, 0)),), {}, PICTURE),
    ("Cropping3D", (), {}, VOLUME),
    ("Cropping3D", (((0, 1), (2, 0), (1, 1)),), {}, VOLUME),
    ("ZeroPadding1D", (), {}, SEQUENCE),
    ("ZeroPadding1D", ((0, 2),), {}, SEQUENCE),
    ("ZeroPadding2D", (), {}, PICTURE),
    ("ZeroPadding2D", ((2, 1),), {}, PICTURE),
    ("ZeroPadding2D", (((0, 1), (2, 0)),), {}, PICTURE),
    ("ZeroPadding3D", (), {}, VOLUME),
    ("ZeroPadding3D", ((1, 0, 2),), {}, VOLUME),
    ("UpSampling1D", (), {}, SEQUENCE),
    ("UpSampling1D", (3,), {}, SEQUENCE),
    ("UpSampling2D", (), {}, PICTURE),
    ("UpSampling2D", ((3, 1),), {}, PICTURE),
    ("UpSampling2D", ((2, 3),), {"interpolation": "bilinear"}, PICTURE),
    ("UpSampling2D", (2,), {"interpolation": "bicubic"}, PICTURE),
    ("UpSampling2D", (2,), {"interpolation": "lanczos3"}, PICTURE),
    ("UpSampling2D", (2,), {"interpolation": "lanczos5"}, PICTURE),
    ("UpSampling3D", (), {}, VOLUME),
    ("UpSampling3D", ((1, 2, 3),), {}, VOLUME),
    ("Identity", (), {}, PICTURE),
    ("Masking", (), {}, SEQUENCE),
]


@pytest.mark.parametrize(("name", "args", "options", "x"), MOVES, ids=[f"{m[0]}{m[1]}{m[2] or ''}" for m in MOVES])
def test_moves_like_keras(name, args, options, x):
    compare(*both(name, *args, **options), x)


@pytest.mark.parametrize(
    ("equation", "shape", "options", "x"),
    [
        ("ab,bc->ac", 4, {"bias_axes": "c"}, (2, 3)),
        ("abc,cd->abd", (None, 4), {"bias_axes": "d", "activation": "relu"}, (2, 5, 3)),
        ("abc,cd->abd", (5, 4), {"bias_axes": "bd"}, (2, 5, 3)),
        ("...x,xy->...y", 4, {"bias_axes": "y"}, (2, 5, 3)),
        ("...xy,xyz->...z", 4, {}, (2, 2, 5, 3)),
        ("ab...,bcd->adc...", (4, 3), {"bias_axes": "d"}, (2, 5, 2)),
        ("abc,cde->abde", (None, 2, 4), {"bias_axes": "de"}, (2, 5, 3)),
        ("abde,dec->abc", (None, 4), {"bias_axes": "c"}, (1, 5, 2, 3)),
    ],
    ids=str,
)
def test_einsum_dense(equation, shape, options, x):
    compare(*both("EinsumDense", equation, shape, **options), draw(*x))


def test_bilinear_is_the_sum_of_products():
    a, b = draw(2, 3, 4), draw(2, 3, 5)
    layer = layers.Bilinear(6).build(a, b)
    kernel, bias = layer._arrays["kernel"], draw(6)
    layer._arrays["bias"] = jnp.asarray(bias)
    expected = np.einsum("bti,iuj,btj->btu", a, np.asarray(kernel), b) + bias
    np.testing.assert_allclose(layer(a, b), expected, atol=1e-5)
    x, y = cn.Input((4,)), cn.Input((5,))
    model = cn.Model([x, y], layers.Bilinear(6)(x, y))
    assert model([draw(2, 4), draw(2, 5)]).shape == (2, 6)


MERGES = [
    ("Add", {}, [(2, 3, 4), (2, 3, 4), (2, 3, 4)]),
    ("Add", {}, [(2, 3, 4), (2, 4)]),
    ("Add", {}, [(2, 1, 4), (2, 3, 1)]),
    ("Subtract", {}, [(2, 3), (2, 3)]),
    ("Multiply", {}, [(2, 3), (2, 3), (2, 1)]),
    ("Average", {}, [(2, 3), (2, 3), (2, 3)]),
    ("Maximum", {}, [(2, 3), (2, 3)]),
    ("Minimum", {}, [(2, 3), (2, 3)]),
    ("Concatenate", {}, [(2, 3), (2, 1)]),
    ("Concatenate", {"axis": 1}, [(2, 3, 4), (2, 1, 4), (2, 2, 4)]),
    ("Concatenate", {"axis": -2}, [(2, 3, 4), (2, 1, 4)]),
    ("Dot", {"axes": 1}, [(2, 3), (2, 3)]),
    ("Dot", {"axes": 2}, [(2, 4, 3), (2, 5, 3)]),
    ("Dot", {"axes": (1, 2)}, [(2, 3, 4), (2, 5, 3)]),
    ("Dot", {"axes": -1, "normalize": True}, [(2, 4, 3), (2, 5, 3)]),
    ("Dot", {"axes": (2, 1)}, [(2, 4, 3), (2, 3)]),
    ("Dot", {"axes": (3, 1)}, [(2, 4, 2, 3), (2, 3, 2)]),
]


@pytest.mark.parametrize(("name", "options", "shapes"), MERGES, ids=str)
def test_merges_like_keras(name, options, shapes):
    ours, theirs = both(name, **options)
    inputs = [jnp.asarray(draw(*s)) for s in shapes]

    def value(layer):
        return jax.jit(jax.value_and_grad(lambda a: jnp.sum(jnp.sin(layer(list(a))))))(inputs)

    y, expected = ours(inputs), theirs(inputs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=1e-5)
    (_, mine), (_, other) = value(ours), value(theirs)
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    nodes = [cn.Input(s[1:]) for s in shapes]
    np.testing.assert_allclose(cn.Model(nodes, getattr(layers, name.lower())(nodes, **options))(inputs), expected, atol=1e-5)


def test_masks_of_merged_sequences():
    a = np.array([[[1.0], [0.0], [0.0]], [[1.0], [1.0], [0.0]]], "float32")
    b = np.array([[[1.0], [1.0], [0.0]], [[0.0], [1.0], [0.0]]], "float32")

    class Shown(layers.Layer):
        def forward(self, x):
            return jnp.zeros(x.shape[:2]) if self.mask(x) is None else self.mask(x).astype("float32")

    def mask_of(merge, masked=(True, True)):
        x, y = cn.Input((3, 1)), cn.Input((3, 1))
        parts = [layers.Masking()(n) if m else n for n, m in zip((x, y), masked, strict=True)]
        return cn.Model([x, y], Shown()(merge(parts)))([a, b]).tolist()

    assert mask_of(layers.Add()) == [[1, 1, 0], [1, 1, 0]]
    assert mask_of(layers.Add(), (True, False)) == [[0, 0, 0], [0, 0, 0]]  # none, as in Keras
    assert mask_of(layers.Concatenate(axis=1)) == [[1, 0, 0, 1, 1, 0], [1, 1, 0, 0, 1, 0]]
    assert mask_of(layers.Concatenate()) == [[1, 1, 0], [1, 1, 0]]


def test_masking_leaves_steps_out_of_a_recurrence():
    x = draw(2, 5, 3)
    x[0, 2:] = 0
    theirs = keras.Sequential([K.Masking(), K.LSTM(2)])
    ours = cn.Sequential([layers.Masking(), layers.LSTM(2)])
    ours.build(x)
    theirs(x)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)


def cube(x):
    return x**3


def test_lambda(tmp_path):
    x = draw(2, 3)
    model = cn.Sequential([layers.Lambda(cube), layers.Dense(2)])
    y = model.build(x)(x)
    model.save(tmp_path / "m.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote", custom_objects={"cube": cube})(x), y)
    with pytest.raises(ValueError, match="cube"):
        cn.load(tmp_path / "m.cenote")
    doubled = layers.Lambda(lambda x, by, training: x * by if training else x, arguments={"by": 2})
    assert np.allclose(doubled(x, train=True), 2 * x) and np.allclose(doubled(x), x)
    with pytest.raises(TypeError, match="needs a function"):
        layers.Lambda("cube")


SAVED = [m for m in MOVES if m[0] != "Masking"][::3]


def test_all_are_saved_and_loaded(tmp_path):
    for name, args, options, x in SAVED:
        model = cn.Sequential([getattr(layers, name)(*args, **options)])
        y = model.build(x)(x)
        model.save(tmp_path / "m.cenote")
        np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote")(x), y, err_msg=name)
    a, b = cn.Input((5, 3)), cn.Input((5, 3))
    parts = [layers.Add()([a, b]), layers.Multiply()([a, b]), layers.EinsumDense("abc,cd->abd", (None, 3))(a)]
    model = cn.Model([a, b], layers.Dot(axes=2)([layers.Concatenate()(parts), layers.concatenate(parts)]))
    inputs = [draw(2, 5, 3), draw(2, 5, 3)]
    model.save(tmp_path / "m.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote")(inputs), model(inputs))


WRONG = [
    (lambda: layers.Permute((1, 3)), "numbers from 1"),
    (lambda: layers.Permute((2, 1))(draw(2, 3)), "takes (batch, axis 1, axis 2), 3 axes"),
    (lambda: layers.Cropping2D(((1, 2, 3), 1)), "Cropping2D needs cropping to be a whole number from 0 up"),
    (lambda: layers.Cropping1D(3)(SEQUENCE), "nothing would be left"),
    (lambda: layers.ZeroPadding2D(-1), "ZeroPadding2D needs padding"),
    (lambda: layers.UpSampling2D((1, 2, 3)), "whole number or 2 of them"),
    (lambda: layers.UpSampling2D(interpolation="linear"), "did you mean 'bilinear'"),
    (lambda: layers.Add()(SEQUENCE), "takes a list of inputs"),
    (lambda: layers.Subtract()([SEQUENCE] * 3), "takes a list of 2 inputs"),
    (lambda: layers.Add()([draw(2, 3), draw(2, 4)]), "sizes differ"),
    (lambda: layers.Concatenate()([draw(2, 3, 4), draw(2, 2, 4)]), "equal but for axis 2"),
    (lambda: layers.Concatenate(axis=0)([draw(2, 3), draw(2, 3)]), "no axis after the batch"),
    (lambda: layers.Dot(axes=0)([draw(2, 3), draw(2, 3)]), "no axis after the batch"),
    (lambda: layers.Dot(axes=1)([draw(2, 3), draw(2, 4)]), "sizes that are equal"),
    (lambda: layers.EinsumDense("ab,bc", 3), "needs an equation"),
    (lambda: layers.EinsumDense("ab,bc->ac", None).build(draw(2, 3)), "size of 'c'"),
    (lambda: layers.EinsumDense("ab,bc->ac", 3).build(SEQUENCE), "does not fit an input with 3 axes"),
    (lambda: layers.Bilinear(3).build(draw(2, 3), draw(3, 3)), "alike but for features"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
