"""Pictures of one size, against Keras: pixels, masks, boxes and labels."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from parity import draw, keras

import cenote as cn
from cenote import layers

K = keras.layers
RNG = np.random.default_rng(0)


def both(name, *args, **options):
    return getattr(layers, name)(*args, **options), getattr(K, name)(*args, **options)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("antialias", [False, True])
def test_resizing_is_that_of_keras(interpolation, antialias):
    ours, theirs = both("Resizing", 4, 9, interpolation, antialias=antialias)
    x = draw(2, 7, 6, 3)
    np.testing.assert_allclose(jax.jit(ours)(x), jax.jit(theirs)(x), atol=1e-5)


@pytest.mark.parametrize("option", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("shape", [(1, 9, 4, 1), (2, 5, 12, 3), (6, 6, 2), (1, 8, 10, 1)])
def test_resizing_keeps_proportions_as_keras(option, shape):
    ours, theirs = both("Resizing", 4, 5, **{option: True}, **({"fill_value": 0.5} if option[0] == "p" else {}))
    x = draw(*shape)
    np.testing.assert_allclose(jax.jit(ours)(x), jax.jit(theirs)(x), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_whole_numbers_stay_whole_as_in_keras(dtype):
    ours, theirs = both("Resizing", 5, 3, "bicubic")
    x = RNG.choice([0, 255], (1, 4, 4, 2)).astype(dtype)
    y, expected = jax.jit(ours)(x), jax.jit(theirs)(x)
    assert y.dtype == expected.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, "float64"), np.asarray(expected, "float64"), atol=1)  # a half may round either way
    assert (np.asarray(y) == np.asarray(expected)).mean() > 0.9


def test_floats_keep_their_width():
    layer = layers.Resizing(5, 3)
    assert layer(jnp.zeros((4, 4, 1), jnp.bfloat16)).dtype == jnp.bfloat16
    assert layers.CenterCrop(2, 2)(jnp.zeros((4, 4, 1), jnp.bfloat16)).dtype == jnp.bfloat16
    with jax.enable_x64(True):
        assert layer(jnp.zeros((4, 4, 1), jnp.float64)).dtype == jnp.float64


@pytest.mark.parametrize("shape", [(2, 6, 7, 3), (1, 5, 4, 1), (2, 3, 9, 1), (3, 3, 2), (8, 4, 1)])
def test_center_crop_is_that_of_keras(shape):
    ours, theirs = both("CenterCrop", 4, 4)
    x = draw(*shape)
    np.testing.assert_allclose(jax.jit(ours)(x), jax.jit(theirs)(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "size", "form"),
    [
        ("Resizing", {}, (20, 30), "center_yxhw"),
        ("Resizing", {"crop_to_aspect_ratio": True}, (20, 30), "rel_center_xywh"),
        ("Resizing", {"crop_to_aspect_ratio": True}, (31, 12), "xyxy"),
        ("Resizing", {"pad_to_aspect_ratio": True}, (20, 30), "xywh"),
        ("Resizing", {"pad_to_aspect_ratio": True}, (31, 12), "rel_xyxy"),
        ("CenterCrop", {}, (20, 30), "rel_xywh"),
        ("CenterCrop", {}, (9, 30), "yxyx"),
    ],
    ids=str,
)
def test_boxes_masks_and_labels_move_along_as_in_keras(name, options, size, form):
    height, width = size
    left, top = RNG.uniform(0, width / 2, (2, 3)), RNG.uniform(0, height / 2, (2, 3))
    boxes = np.stack([left, top, left + RNG.uniform(2, width / 2, (2, 3)), top + RNG.uniform(2, height / 2, (2, 3))], -1)
    boxes = keras.utils.bounding_boxes.convert_format(boxes, "xyxy", form, height, width)
    boxes = np.concatenate([np.asarray(boxes), np.zeros((2, 1, 4)), np.full((2, 1, 4), -1)], 1).astype("float32")

    def data():
        return {
            "images": images,
            "bounding_boxes": {"boxes": boxes, "labels": np.array([[0, 1, 2, 3, -1]] * 2)},
            "segmentation_masks": masks,
            "labels": np.array([3, 4]),
        }

    images, masks = draw(2, height, width, 3), RNG.integers(0, 5, (2, height, width, 1)).astype("uint8")
    ours, theirs = both(name, 12, 10, bounding_box_format=form, **options)
    y, expected = ours(data()), theirs(data())
    np.testing.assert_allclose(y["images"], expected["images"], atol=1e-5)
    np.testing.assert_array_equal(y["labels"], expected["labels"])
    assert y["segmentation_masks"].dtype == jnp.uint8
    if name == "Resizing" or size == (20, 30):  # what Keras's CenterCrop blends where it resizes, stays whole here
        np.testing.assert_array_equal(y["segmentation_masks"], expected["segmentation_masks"])
    there = expected["bounding_boxes"]["labels"] >= 0
    np.testing.assert_array_equal(y["bounding_boxes"]["labels"], expected["bounding_boxes"]["labels"])
    np.testing.assert_allclose(
        np.asarray(y["bounding_boxes"]["boxes"])[there], np.asarray(expected["bounding_boxes"]["boxes"])[there], atol=1e-4
    )
    if name == "Resizing":
        np.testing.assert_allclose(y["bounding_boxes"]["boxes"], expected["bounding_boxes"]["boxes"], atol=1e-4)


def test_the_slope_of_resizing_and_its_place_in_models(tmp_path):
    layer = layers.Resizing(3, 5, "bicubic", antialias=True)
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, way = (jnp.asarray(rng.normal(size=(1, 5, 4, 2))) for _ in range(2))
        mark = jnp.asarray(rng.normal(size=(1, 3, 5, 2)))
        value = jax.jit(lambda x: jnp.vdot(layer(x), mark))
        slope = (value(x + 1e-6 * way) - value(x - 1e-6 * way)) / 2e-6
        np.testing.assert_allclose(jnp.vdot(jax.jit(jax.grad(value))(x), way), slope, rtol=1e-6)
    x = draw(2, 6, 6, 1)
    assert jax.vmap(layer)(x).shape == (2, 3, 5, 1)
    node = cn.Input((None, None, 3))
    assert layers.CenterCrop(2, 2)(layers.Resizing(4, 5)(node)).shape == (None, 2, 2, 3)
    model = cn.Sequential([layers.Resizing(4, 4, pad_to_aspect_ratio=True), layers.CenterCrop(2, 2), layers.Dense(1)]).build(x)
    y = model.predict(x)
    model.save(tmp_path / "m.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote").predict(x), y)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: layers.Resizing(0, 3), "height"),
        (lambda: layers.Resizing(3, 3, "cubic"), "did you mean 'bicubic'"),
        (lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "not both"),
        (lambda: layers.Resizing(3, 3, fill_mode="reflect"), "unknown fill_mode"),
        (lambda: layers.Resizing(3, 3, data_format="channels_first"), "channels_first"),
        (lambda: layers.Resizing(3, 3)(np.zeros((4, 4))), "channel"),
        (lambda: layers.Resizing(3, 3)({"labels": np.zeros(2)}), "'images'"),
        (lambda: layers.CenterCrop(3, 2.5), "width"),
    ],
)
def test_what_is_wrong_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()
