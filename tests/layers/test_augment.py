"""Augmentation against Keras's own, given the same draws; the draws against the distributions that the layers state."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.layers.augment import from_xyxy, to_xyxy

K = keras.layers
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (3, 6, 8, 3)).astype("float32")
MASKS = RNG.integers(0, 5, (3, 6, 8, 1)).astype("uint8")
BOXES = np.array([[[1, 1, 4, 3], [0, 2, 8, 6]], [[3, 0, 5, 5], [2, 2, 3, 3]], [[6, 4, 8, 6], [0, 0, 1, 1]]], "float32")
NAMES = np.array([[1, 2], [3, 4], [5, 6]], "int32")


def run(f, *args):
    """Compiled once and quickly: what runs for microseconds need not be optimised."""
    return jax.jit(f).lower(*args).compile({"xla_backend_optimization_level": 0})(*args)


def tall(a):
    return a[:, None, None, None]


def angles(d, theirs, shape):
    zero = jnp.zeros(shape[0])
    degrees = d["angle"] * 180 / np.pi
    matrix = theirs._compute_affine_matrix(0.5, 0.5, degrees, zero, zero, zero + 1, zero, zero, shape[1], shape[2])
    return dict(angle=degrees, rotation_matrix=matrix, image_height=shape[1], image_width=shape[2], batch_size=shape[0])


def corners(d, theirs, shape):
    start = jnp.array([[[0.0, 0], [shape[2] - 1, 0], [0, shape[1] - 1], [shape[2] - 1, shape[1] - 1]]] * shape[0])
    return dict(apply_perspective=d["apply"], start_points=start, end_points=d["end"], input_shape=shape)


def pair(one, two, name):
    return lambda d, theirs, shape: {name: jnp.stack([d[one], d[two]], 1), "input_shape": shape}


GEOMETRY = [
    ("RandomFlip", {"mode": mode}, lambda d, theirs, shape: {"flips": tall(d["flip"]), "input_shape": shape})
    for mode in ("horizontal", "vertical", "horizontal_and_vertical")
] + [
    ("RandomRotation", {"factor": 0.4}, angles),
    ("RandomRotation", {"factor": 0.4, "interpolation": "nearest", "fill_mode": "wrap"}, angles),
    ("RandomTranslation", {"height_factor": 0.4, "width_factor": (-0.9, 0.2)}, pair("x", "y", "translations")),
    (
        "RandomZoom",
        {"height_factor": 0.4, "width_factor": (-0.5, 0.8), "fill_mode": "constant"},
        lambda d, theirs, shape: {"height_zoom": d["y"][:, None], "width_zoom": d["x"][:, None], "input_shape": shape},
    ),
    ("RandomShear", {"x_factor": 0.5}, pair("x", "y", "shear_factor")),
    ("RandomShear", {"x_factor": (0.2, 0.5), "y_factor": 0.4, "fill_mode": "wrap"}, pair("x", "y", "shear_factor")),
    ("RandomPerspective", {"factor": 1.0, "scale": 0.5, "fill_value": 3.0}, corners),
]


@pytest.mark.parametrize(("name", "options", "convert"), GEOMETRY, ids=[f"{n} {o}" for n, o, _ in GEOMETRY])
def test_geometry_as_keras(name, options, convert):
    # Keras reads these boxes as xyxy, or leaves them so, whatever the format says; its shear moves them right on squares only.
    form = "xyxy" if name in ("RandomRotation", "RandomPerspective") else "rel_xywh"
    boxes = np.asarray(from_xyxy(jnp.asarray(BOXES), form, 6, 8))
    same_boxes = not (name == "RandomShear" and "y_factor" in options)
    x, masks = (X[:, :, :6], MASKS[:, :, :6]) if name == "RandomShear" else (X, MASKS)
    ours, theirs = (getattr(k, name)(**options, bounding_box_format=form) for k in (layers, K))

    def both(key):
        drawn = ours.draw(key, x.shape)
        given = convert(drawn, theirs, x.shape)
        mine = (
            ours.transform_images(jnp.asarray(x), drawn),
            ours.transform_segmentation_masks(jnp.asarray(masks), drawn),
            ours.transform_bounding_boxes({"boxes": jnp.asarray(boxes), "labels": jnp.asarray(NAMES)}, drawn, x.shape),
        )
        other = (
            theirs.transform_images(jnp.asarray(x), given, training=True),
            theirs.transform_segmentation_masks(jnp.asarray(masks), given, training=True),
            theirs.transform_bounding_boxes({"boxes": jnp.asarray(boxes), "labels": jnp.asarray(NAMES)}, given, training=True),
        )
        return mine, other

    mine, other = run(both, jax.random.key(3))
    np.testing.assert_allclose(mine[0], other[0], atol=2e-2)  # of 255: coordinates are rounded elsewhere
    assert mine[1].dtype == MASKS.dtype
    np.testing.assert_array_equal(mine[1], other[1])
    if same_boxes:
        np.testing.assert_allclose(mine[2]["boxes"], other[2]["boxes"], atol=1e-3)
        np.testing.assert_array_equal(mine[2]["labels"], other[2]["labels"])
    assert not np.allclose(mine[0], x)


COLOURS = [
    ("RandomBrightness", {"factor": 0.6}, lambda d: {"rgb_delta": tall(d["shift"])}),
    ("RandomContrast", {"factor": 0.6}, lambda d: {"contrast_factor": tall(d["contrast"])}),
    ("RandomHue", {"factor": 0.9}, lambda d: {"factor": d["turn"]}),
    ("RandomSaturation", {"factor": (0.1, 0.5)}, lambda d: {"factor": d["times"]}),
    ("RandomColorDegeneration", {"factor": 0.9}, lambda d: {"factor": tall(d["factor"])}),
    ("RandomGrayscale", {"factor": 0.6}, lambda d: tall(d["apply"])),
    ("RandomInvert", {"factor": (0.6, 0.8)}, lambda d: {"apply_inversion": d["apply"]}),
    ("RandomSharpness", {"factor": 1.0}, lambda d: {"factor": d["factor"]}),
    ("RandomPosterization", {"factor": (1, 5)}, lambda d: {"shift_factor": (8 - d["bits"]).astype("uint8")}),
    ("AutoContrast", {}, lambda d: None),
    (
        "Solarization",
        {"addition_factor": 0.3, "threshold_factor": 0.7},
        lambda d: {"additions": tall(d["addition"]), "thresholds": tall(d["threshold"])},
    ),
    ("ContrastLimitedAdaptiveHistogramEqualization", {"clip_limit": 3.0, "tile_grid_size": (2, 3)}, lambda d: None),
    # One blur, and one histogram, for the whole batch in Keras: so one picture.
    (
        "RandomGaussianBlur",
        {"factor": (1.0, 1.0), "kernel_size": (3, 5)},
        lambda d: {"should_apply_blur": d["apply"], "blur_factor": d["sigma"][0]},
    ),
    ("Equalization", {"bins": 10}, lambda d: None),
]


@pytest.mark.parametrize("top", [255, 1])
def test_colours_as_keras(top):
    """All in one compilation: 26 small ones would take longer than all they test."""
    more = {"value_range": (0, top)}
    both = [
        [getattr(k, name)(**options, **({} if name == "RandomGrayscale" else more)) for k in (layers, K)]
        for name, options, _ in COLOURS
    ]
    x = X / 255 * top

    def compare(key):
        found = {}
        for (name, _, convert), (ours, theirs) in zip(COLOURS, both, strict=True):
            given = jnp.asarray(x[:1] if name in ("RandomGaussianBlur", "Equalization") else x)
            drawn = ours.draw(key, given.shape)
            found[name] = ours.transform_images(given, drawn), theirs.transform_images(given, convert(drawn), training=True)
        return found

    for name, (mine, other) in run(compare, jax.random.key(2)).items():
        np.testing.assert_allclose(mine, other, atol=2e-4 * top, err_msg=name)
        assert not np.allclose(mine, x[: len(mine)]), name


def test_elastic_as_keras():
    # Keras takes one noise for both directions; here each has its own.
    noise = jnp.tile(jax.random.normal(jnp.array([5, 0], "uint32"), (2, 24, 20)), 1)
    x = RNG.uniform(0, 255, (2, 24, 20, 1)).astype("float32")
    ours = layers.RandomElasticTransform((1.0, 1.0), (0.8, 0.8))
    drawn = {"apply": jnp.array([True, True]), "scale": jnp.full(2, 0.8), "x": noise, "y": noise}
    theirs = keras.ops.image.elastic_transform(x, 24 * 0.08, 20 * 0.04, fill_mode="reflect", seed=5)
    np.testing.assert_allclose(run(ours.transform_images, x, drawn), theirs, atol=0.05)
    still = run(ours.transform_images, x, drawn | {"apply": jnp.array([True, False])})
    assert np.array_equal(still[1], x[1]) and not np.allclose(still[0], x[0])


def test_crop_as_keras_at_one_place_and_elsewhere_by_slices():
    ours, theirs = layers.RandomCrop(4, 5), K.RandomCrop(4, 5)
    drawn = {"top": jnp.array([1, 2, 0]), "left": jnp.array([3, 0, 2])}
    y = run(ours.transform_images, X, drawn)
    np.testing.assert_array_equal(y[:1], theirs.transform_images(X[:1], (1, 3), training=True))
    np.testing.assert_array_equal(y, [X[0, 1:5, 3:8], X[1, 2:6, 0:5], X[2, 0:4, 2:7]])
    small = np.asarray(RNG.uniform(0, 255, (2, 3, 4, 3)), "float32")  # the largest window of this shape, resized
    for height, width in ((6, 8), (3, 4), (6, 4)):
        middle = small[:, :, 1:3] if width == height - 2 else small
        expected = keras.ops.image.resize(middle, (height, width))
        crop = layers.RandomCrop(height, width)
        for found in run(lambda x, crop=crop: [crop(x, train=train, key=0) for train in (False, True)], small):
            np.testing.assert_allclose(found, expected, atol=1e-3)


def test_boxes_follow_a_crop():
    layer = layers.RandomCrop(4, 5, bounding_box_format="xywh")
    boxes = {"boxes": from_xyxy(jnp.asarray(BOXES), "xywh", 6, 8), "labels": jnp.asarray(NAMES)}
    drawn = {"top": jnp.array([1, 2, 0]), "left": jnp.array([3, 0, 2])}
    moved = run(lambda boxes, drawn: layer.transform_bounding_boxes(boxes, drawn, X.shape), boxes, drawn)
    np.testing.assert_allclose(to_xyxy(moved["boxes"], "xywh", 4, 5)[0], [[0, 0, 1, 2], [0, 1, 5, 4]])
    np.testing.assert_array_equal(moved["labels"], [[1, 2], [3, 4], [-1, -1]])
    halved = layers.RandomCrop(3, 4, bounding_box_format="rel_xyxy")
    out = run(halved, {"images": X, "bounding_boxes": {"boxes": BOXES / [8, 6, 8, 6], "labels": NAMES}})
    np.testing.assert_allclose(out["bounding_boxes"]["boxes"], BOXES / [8, 6, 8, 6], atol=1e-6)


FORMATS = ("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")


def test_box_formats_as_keras():
    def convert(boxes):
        theirs = keras.utils.bounding_boxes.convert_format
        return {
            form: (
                from_xyxy(boxes, form, 6, 8),
                theirs(boxes, "xyxy", form, 6, 8),
                to_xyxy(from_xyxy(boxes, form, 6, 8), form, 6, 8),
            )
            for form in FORMATS
        }

    for form, (mine, other, back) in run(convert, BOXES).items():
        np.testing.assert_allclose(mine, other, atol=1e-6, err_msg=form)
        np.testing.assert_allclose(back, BOXES, atol=1e-5, err_msg=form)


def distance(draws, cdf):
    """Kolmogorov's distance between draws and a distribution; 1.95 / sqrt(n) is passed once in a thousand times."""
    draws = np.sort(np.asarray(draws, "float64").ravel())
    at, steps = cdf(draws), np.arange(len(draws) + 1) / len(draws)
    return max(np.abs(at - steps[1:]).max(), np.abs(at - steps[:-1]).max())


def even(low, high):
    return lambda d: np.clip((d - low) / (high - low), 0, 1)


N = 4000
DRAWS = [
    (layers.RandomRotation(0.25), "angle", even(-np.pi / 2, np.pi / 2)),
    (layers.RandomTranslation((-0.5, 0.25), 0.5), "y", even(-4, 2)),
    (layers.RandomTranslation((-0.5, 0.25), 0.5), "x", even(-2, 2)),
    (layers.RandomZoom((0.1, 0.3), 0.5), "y", even(1.1, 1.3)),
    (layers.RandomZoom((0.1, 0.3), 0.5), "x", even(0.5, 1.5)),
    (layers.RandomShear(0.3, (0.0, 0.2)), "x", even(-0.3, 0.3)),
    (layers.RandomShear(0.3, (0.0, 0.2)), "y", even(-0.2, 0.2)),
    (layers.RandomBrightness(0.2, (0, 1)), "shift", even(-0.2, 0.2)),
    (layers.RandomBrightness((0.1, 0.3)), "shift", even(25.5, 76.5)),
    (layers.RandomContrast(0.4), "contrast", even(0.6, 1.4)),
    (layers.RandomContrast((0.1, 0.4)), "contrast", even(0.9, 1.4)),
    (layers.RandomHue(0.4), "turn", even(-0.2, 0.2)),
    (layers.RandomSaturation(0.5), "times", lambda d: np.clip(d / (1 + d) / 0.5, 0, 1)),
    (layers.RandomColorDegeneration(0.7), "factor", even(0, 0.7)),
    (layers.RandomSharpness((0.2, 0.9)), "factor", even(0.2, 0.9)),
    (layers.RandomGaussianBlur(sigma=(0.5, 1.0)), "sigma", even(0.5, 1)),
    (layers.Solarization((0.2, 0.4), 0.5), "addition", even(51, 102)),
    (layers.Solarization((0.2, 0.4), 0.5), "threshold", even(0, 127.5)),
    (layers.RandomElasticTransform(scale=(0.3, 0.9)), "scale", even(0.3, 0.9)),
]
COINS = [
    (layers.RandomFlip(), "flip", 0.5),
    (layers.RandomGrayscale(0.3), "apply", 0.3),
    (layers.RandomInvert(0.8), "apply", 0.4),  # a probability between 0 and 0.8
    (layers.RandomInvert((0.8, 0.8)), "apply", 0.8),
    (layers.RandomPerspective(0.6), "apply", 0.3),
    (layers.RandomElasticTransform(), "apply", 0.5),
    (layers.RandomGaussianBlur((0.2, 0.4)), "apply", 0.3),
]


def test_draws_have_the_stated_distributions():
    shape = (N, 8, 4, 1)
    rest = {"crop": layers.RandomCrop(6, 2), "bits": layers.RandomPosterization((2, 5)), "corners": layers.RandomPerspective()}

    def draw(key):
        keys = jax.random.split(key, len(DRAWS) + len(COINS) + len(rest))
        found = [layer.draw(k, shape)[part] for k, (layer, part, _) in zip(keys, DRAWS + COINS, strict=False)]
        return found, {name: layer.draw(k, shape) for k, (name, layer) in zip(keys[-3:], rest.items(), strict=True)}

    found, others = run(draw, jax.random.key(1, impl="unsafe_rbg"))
    for draws, (layer, part, expected) in zip(found, DRAWS + COINS, strict=True):
        assert draws.shape[0] == N
        if callable(expected):
            assert distance(draws, expected) < 1.95 / np.sqrt(draws.size), (layer, part)
        else:
            assert abs(np.mean(draws) - expected) < 4 * np.sqrt(expected * (1 - expected) / N), (layer, part)
    for draws, values in ((others["crop"]["top"], 3), (others["crop"]["left"], 3), (others["bits"]["bits"] - 2, 3)):
        assert np.all(np.abs(np.bincount(draws, minlength=values) - N / values) < 4 * np.sqrt(N / values))
    assert np.corrcoef(others["crop"]["top"], others["crop"]["left"])[0, 1] < 0.06
    moved = np.asarray(others["corners"]["end"])[:, 3] / [3, 7]
    assert distance(moved, even(0.5, 1.5)) < 1.95 / np.sqrt(2 * N) and np.all(np.asarray(others["corners"]["end"])[:, 0] == 0)


ALL = [
    layers.RandomFlip(),
    layers.RandomCrop(5, 5),
    layers.RandomRotation(0.1),
    layers.RandomTranslation(0.2, 0.2),
    layers.RandomZoom(0.2),
    layers.RandomShear(0.2, 0.1),
    layers.RandomPerspective((1.0, 1.0), 0.5),
    layers.RandomElasticTransform((1.0, 1.0), (1.0, 1.0)),
    layers.RandomBrightness(0.2),
    layers.RandomContrast(0.3),
    layers.RandomHue(0.3),
    layers.RandomSaturation((0.2, 0.8)),
    layers.RandomColorJitter((0, 255), 0.1, 0.1, (0.4, 0.6), 0.1),
    layers.RandomColorDegeneration(0.9),
    layers.RandomGrayscale(),
    layers.RandomInvert(),
    layers.RandomSharpness(1.0),
    layers.RandomPosterization((1, 8)),
    layers.RandomGaussianBlur((1.0, 1.0)),
    layers.AutoContrast(),
    layers.Equalization(),
    layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 3)),
    layers.Solarization(0.2, 0.5),
    layers.RandomErasing((1.0, 1.0)),
    layers.CutMix(),
    layers.MixUp(),
    layers.RandAugment(seed=3),
    layers.AugMix(),
    layers.MaxNumBoundingBoxes(2),
]
NAMED = pytest.mark.parametrize("layer", ALL, ids=[type(layer).__name__ for layer in ALL])


@NAMED
def test_dtypes_shapes_and_single_pictures(layer):
    """By tracing alone: floats stay as they are, whole numbers become float32, one picture is a batch of one."""
    spec = jax.ShapeDtypeStruct
    size = (5, 5) if isinstance(layer, layers.RandomCrop) else (6, 8)
    train = lambda x: layer(x, train=True, key=0)  # noqa: E731
    assert jax.eval_shape(layer, spec((2, 6, 8, 3), "uint8")) == spec((2, *size, 3), "float32")
    assert jax.eval_shape(train, spec((6, 8, 3), "uint8")) == spec((*size, 3), "float32")
    assert jax.eval_shape(jax.vmap(train), spec((4, 2, 6, 8, 3), "bfloat16")) == spec((4, 2, *size, 3), "bfloat16")
    with jax.enable_x64(True):
        assert jax.eval_shape(train, spec((1, 6, 8, 3), "float64")) == spec((1, *size, 3), "float64")


ALWAYS = (layers.RandomCrop, layers.AutoContrast, layers.ContrastLimitedAdaptiveHistogramEqualization)


def test_nothing_changes_outside_training():
    for layer in ALL:
        if not isinstance(layer, ALWAYS):
            np.testing.assert_array_equal(layer(X), X)
    assert np.allclose(np.asarray(layers.AutoContrast()(X)).max((1, 2)), 255)


def test_every_example_has_its_own_draw_and_the_key_decides():
    x = np.repeat(X[:1], 4, 0)
    chosen = [a for a in ALL if type(a).__name__ in ("RandomRotation", "RandomHue", "RandomErasing", "RandomCrop")]
    call = jax.jit(lambda key: [layer(x, train=True, key=key) for layer in chosen])
    for one, same, other in zip(call(jax.random.key(1)), call(jax.random.key(1)), call(jax.random.key(2)), strict=True):
        assert np.array_equal(one, same) and not np.allclose(one, other)
        assert not np.allclose(one[0], one[1]) and not np.allclose(one[1], one[2])
    a, b = (layers.RandomBrightness(0.5, seed=seed)(X, train=True, key=1) for seed in (1, -2))
    assert not np.allclose(a, b)


def facts(layer):
    """What forward reads, which must follow from the constructor's arguments."""
    own = {name: value for name, value in vars(layer).items() if name not in layer._bookkeeping}
    return {name: repr([facts(v) for v in value]) if name == "layers" else repr(value) for name, value in own.items()}


def test_a_model_of_all_of_them_is_saved_and_loaded(tmp_path):
    model = cn.Sequential([*ALL, layers.Pipeline([layers.RandomFlip("vertical", seed=4), layers.MixUp(0.3)])]).build(X)
    model.save(tmp_path / "m.cenote")
    loaded = cn.load(tmp_path / "m.cenote")
    assert len(model.layers) == len(ALL) + 1
    for a, b in zip(model.layers, loaded.layers, strict=True):
        assert type(a) is type(b) and facts(a).keys() == facts(b).keys()
        if "operations" not in facts(a):
            assert facts(a) == facts(b)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    turn = loaded.layers[2]
    one, other = run(lambda: [layer(X, train=True, key=5) for layer in (turn, ALL[2])])
    np.testing.assert_array_equal(one, other)


def test_a_dict_changes_as_a_whole():
    data = {
        "images": X,
        "labels": np.eye(3, dtype="float32"),
        "segmentation_masks": MASKS[..., 0],
        "bounding_boxes": {"boxes": BOXES, "labels": NAMES},
        "names": "kept",
    }
    pipe = layers.Pipeline(
        [
            layers.RandomFlip("horizontal", bounding_box_format="xyxy"),
            layers.RandomBrightness((0.1, 0.1), bounding_box_format="xyxy"),
        ]
    )
    out = run(lambda: pipe(data | {"names": None}, train=True, key=1) | {"names": 1})
    out = out | {"names": pipe(data)["names"]}
    assert out["names"] == "kept" and np.array_equal(out["labels"], data["labels"])
    flipped = [not np.array_equal(a, b) for a, b in zip(out["segmentation_masks"], data["segmentation_masks"], strict=True)]
    assert True in flipped and False in flipped
    for i, turned in enumerate(flipped):
        step = -1 if turned else 1
        np.testing.assert_allclose(out["images"][i], np.clip(X[i, :, ::step] + 25.5, 0, 255), atol=1e-3)
        np.testing.assert_array_equal(out["segmentation_masks"][i], MASKS[i, :, ::step, 0])
        left = BOXES[i, :, 0] if step == 1 else 8 - BOXES[i, :, 2]
        np.testing.assert_allclose(out["bounding_boxes"]["boxes"][i, :, 0], left)
    one = {"images": X[0], "segmentation_masks": MASKS[0], "bounding_boxes": {"boxes": BOXES[0], "labels": NAMES[0]}}
    out = jax.eval_shape(lambda: pipe(one, train=True, key=1))
    assert jax.tree.map(np.shape, out) == jax.tree.map(np.shape, one)
    assert np.array_equal(X[0], data["images"][0]) and data["bounding_boxes"]["boxes"] is BOXES  # the input is as it was


def test_masks_and_boxes_move_with_the_object():
    """A white square, its mask and its box, under every warp: the mask lies on the square, the box round the mask."""
    x = np.zeros((8, 24, 32, 3), "float32")
    x[:, 8:15, 12:22] = 200
    warps = [
        layers.RandomRotation(0.1, fill_mode="constant", bounding_box_format="center_xywh"),
        layers.RandomShear(0.3, 0.1, fill_mode="constant", bounding_box_format="rel_xyxy"),
        layers.RandomPerspective((1.0, 1.0), 0.3, bounding_box_format="rel_yxyx"),
        layers.RandomCrop(16, 20, bounding_box_format="xywh"),
    ]

    def move():
        found = []
        for layer in warps:
            size = (16, 20) if isinstance(layer, layers.RandomCrop) else (24, 32)
            form = layer.bounding_box_format
            boxes = {"boxes": from_xyxy(jnp.array([[[12.0, 8, 22, 15]]] * 8), form, 24, 32), "labels": jnp.ones((8, 1), int)}
            out = layer({"images": x, "segmentation_masks": (x[..., 0] > 0) + 0, "bounding_boxes": boxes}, train=True, key=4)
            moved = out["bounding_boxes"]
            found.append((out["images"], out["segmentation_masks"], to_xyxy(moved["boxes"], form, *size), moved["labels"]))
        return found

    for layer, (images, masks, boxes, labels) in zip(warps, run(move), strict=True):
        seen, mask = np.asarray(images[..., 0]), np.asarray(masks)
        assert np.all(seen[mask == 1] >= 50) and np.all(seen[mask == 0] <= 150), layer
        assert (labels == 1).any() and (mask == 1).any()
        for box, label, m in zip(boxes[:, 0], labels[:, 0], mask, strict=True):
            assert m.any() or label == -1 or min(box[2] - box[0], box[3] - box[1]) < 1
            if m.any():
                rows, cols = np.flatnonzero(m.any(1)), np.flatnonzero(m.any(0))
                round_it = [cols[0], rows[0], cols[-1] + 1, rows[-1] + 1]
                np.testing.assert_allclose(box, round_it, atol=2.1, err_msg=repr(layer))


def test_the_colour_jitter_is_the_four_in_a_row():
    jitter = layers.RandomColorJitter((0, 255), 0.4, 0.4, (0.3, 0.7), 0.4)
    steps = {
        "brightness": layers.RandomBrightness(0.4),
        "contrast": layers.RandomContrast(0.4),
        "saturation": layers.RandomSaturation((0.3, 0.7)),
        "hue": layers.RandomHue(0.4),
    }

    def both(x):
        drawn = jitter.draw(jax.random.key(0), X.shape)
        row = x
        for name, layer in steps.items():
            row = layer.transform_images(row, drawn[name])
        return jitter.transform_images(x, drawn), row

    mine, row = run(both, X)
    np.testing.assert_allclose(mine, row, atol=1e-3)
    assert list(layers.RandomColorJitter(hue_factor=0.1).draw(jax.random.key(0), X.shape)) == ["hue"]


def test_saturation_stays_in_the_range_and_inversion_takes_both_ends():
    saturate, invert = layers.RandomSaturation((0.95, 0.95)), layers.RandomInvert((1.0, 1.0), value_range=(-1, 1))
    strong, inverted = run(lambda: (saturate(X, train=True, key=0), invert(X / 255, train=True, key=0)))
    # Keras leaves the range of the values here.
    assert np.asarray(strong).min() >= -1e-3 and np.asarray(strong).max() <= 255.01
    np.testing.assert_allclose(inverted, -X / 255, atol=1e-6)


WRONG = [
    (lambda: layers.RandomFlip("horizontl"), "mode of RandomFlip 'horizontl': did you mean 'horizontal'"),
    (lambda: layers.RandomFlip(data_format="channels_first"), "moveaxis"),
    (lambda: layers.RandomFlip(bounding_box_format="xyhw"), "did you mean 'xywh'"),
    (lambda: layers.RandomRotation(2), "RandomRotation needs factor to be a number from -1 to 1 or two of them, got 2"),
    (lambda: layers.RandomRotation((0.1, 0.2, 0.3)), "got (0.1, 0.2, 0.3)"),
    (lambda: layers.RandomRotation(0.1, fill_mode="mirror"), "fill_mode of RandomRotation 'mirror'"),
    (lambda: layers.RandomRotation(0.1, interpolation="bicubic"), "interpolation of RandomRotation 'bicubic'"),
    (lambda: layers.RandomZoom(-1), "above -1"),
    (lambda: layers.RandomCrop(0, 5), "height to be a whole number of at least 1"),
    (lambda: layers.RandomBrightness(0.5, value_range=255), "value_range to be the least and the greatest"),
    (lambda: layers.RandomContrast("0.5"), "got '0.5'"),
    (lambda: layers.RandomPosterization(9), "from 1 to 8"),
    (lambda: layers.RandomGaussianBlur(kernel_size=4), "odd"),
    (lambda: layers.RandomErasing(fill_value="red"), "a number a channel"),
    (lambda: layers.MixUp(0), "alpha to be a number above 0"),
    (lambda: layers.Pipeline(3), "list of layers"),
    (lambda: layers.RandomHue(0.1)(X[..., :1], train=True, key=0), "but the input has 1 channels"),
    (lambda: layers.RandomFlip()(X[0, 0]), "x[..., None]"),
    (lambda: layers.RandomFlip()({"image": X}), "this dict has 'image'"),
    (lambda: box_call(layers.RandomFlip()), "bounding_box_format='xyxy'"),
    (lambda: box_call(layers.RandomElasticTransform(bounding_box_format="xyxy")), "a bent box"),
    (lambda: box_call(layers.RandomFlip(bounding_box_format="xyxy"), BOXES[..., :3]), "boxes (batch, box, 4)"),
    (
        lambda: layers.RandomFlip()({"images": X, "segmentation_masks": MASKS[:, :3]}, train=True, key=0),
        "a mask has the size of its picture",
    ),
]


def box_call(layer, boxes=BOXES):
    return layer({"images": X, "bounding_boxes": {"boxes": boxes, "labels": NAMES}}, train=True, key=0)


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(make)
    assert message in str(caught.value)


def test_names_and_arguments_are_those_of_keras():
    import inspect

    def named(cls):
        found = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in found if p.kind is p.POSITIONAL_OR_KEYWORD}

    for layer in ALL:
        ours, theirs = named(type(layer)), named(getattr(K, type(layer).__name__))
        assert list(ours) == list(theirs) and ours == theirs, type(layer).__name__
