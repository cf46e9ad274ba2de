"""Mixing, erasing and policies against Keras's own, given the same draws; the draws and SpecAugment against what they state."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import scipy.special

import cenote as cn
from cenote import layers
from cenote.layers.augment_mix import _log_gamma

K = keras.layers
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (4, 6, 8, 3)).astype("float32")
LABELS = np.eye(4, 5, dtype="float32")
MASKS = RNG.uniform(size=(4, 6, 8, 2)).astype("float32")


def run(f, *args):
    """Compiled once and quickly: what runs for microseconds need not be optimised."""
    return jax.jit(f).lower(*args).compile({"xla_backend_optimization_level": 0})(*args)


def test_mixing_as_keras():
    mix, cut = layers.MixUp(0.5), layers.CutMix()

    def mixed(key):
        found = []
        for layer in (mix, cut):
            drawn = layer.draw(key, X.shape)
            masks = layer.transform_segmentation_masks(jnp.asarray(MASKS), drawn)
            labels = layer.transform_labels(jnp.asarray(LABELS), drawn)
            found.append((drawn, layer.transform_images(jnp.asarray(X), drawn), labels, masks))
        return found

    mine, theirs = run(mixed, jax.random.key(3))
    drawn, images, labels, masks = mine
    given = {"mix_weight": drawn["weight"], "permutation_order": drawn["order"]}
    np.testing.assert_allclose(images, K.MixUp(0.5).transform_images(X, given), atol=1e-3)
    np.testing.assert_allclose(labels, K.MixUp(0.5).transform_labels(LABELS, given), atol=1e-6)
    w = np.asarray(drawn["weight"])[:, None, None, None]
    np.testing.assert_allclose(masks, w * MASKS + (1 - w) * MASKS[drawn["order"]], atol=1e-6)  # Keras's masks fail here
    drawn, images, labels, masks = theirs
    theirs = K.CutMix()
    edges = tuple(drawn[name] for name in ("left", "right", "top", "bottom"))
    inside, weight = theirs._generate_batch_mask(X.shape, edges)
    given = {"batch_masks": inside, "mix_weight": weight, "permutation_order": drawn["order"]}
    np.testing.assert_array_equal(images, theirs.transform_images(X, given))
    np.testing.assert_allclose(labels, theirs.transform_labels(LABELS, given), atol=1e-6)
    np.testing.assert_array_equal(masks, np.where(inside[..., :1], MASKS[drawn["order"]], MASKS))
    assert not np.array_equal(images, X)


def test_erasing_as_keras():
    ours, theirs = (k.RandomErasing((0.7, 0.7), fill_value=300) for k in (layers, K))
    several = layers.RandomErasing((0.7, 0.7), fill_value=(1, 2, 300))  # which Keras cannot do on JAX

    def erased(key):
        drawn = ours.draw(key, X.shape)
        inside = theirs._generate_batch_mask(X.shape, tuple(drawn[name] for name in ("left", "right", "top", "bottom")))
        fill = theirs._get_fill_value(X, X.shape, 0)
        given = {"batch_masks": inside, "apply_erasing": drawn["apply"], "fill_value": fill}
        return [layer.transform_images(jnp.asarray(X), drawn) for layer in (ours, several)], theirs.transform_images(X, given)

    (mine, colour), other = run(erased, jax.random.key(2))
    np.testing.assert_array_equal(mine, other)
    gone = (np.asarray(mine) != X).any(-1, keepdims=True)
    assert gone.any()
    np.testing.assert_array_equal(colour, np.where(gone, [1, 2, 255], X))
    with pytest.raises(ValueError, match="3 numbers for pictures of 1 channels"):
        jax.eval_shape(lambda: several(X[..., :1], train=True, key=0))


def test_labels_that_cannot_be_mixed():
    data = {"images": X, "labels": np.arange(4)}
    for layer in (layers.MixUp(), layers.CutMix()):
        for labels in (np.arange(4), np.arange(4)[:, None]):
            with pytest.raises(ValueError, match="one-hot them first"):
                jax.eval_shape(lambda layer=layer, y=labels: layer(data | {"labels": y}, train=True, key=0))
        hot = jax.eval_shape(lambda layer=layer: layer(data | {"labels": np.eye(4, dtype="int32")}, train=True, key=0))
        assert hot["labels"].shape == (4, 4) and hot["labels"].dtype == np.float32
        assert np.array_equal(layer(data)["labels"], data["labels"])  # outside training all is as it was
    targets = jax.eval_shape(lambda: layers.MixUp()(data | {"labels": np.ones(4, "float32")}, train=True, key=0))
    assert targets["labels"].shape == (4,)
    for layer in (layers.MixUp(), layers.AugMix()):
        with pytest.raises(ValueError, match="one-hot them first"):
            classes = {"images": X, "segmentation_masks": np.ones((4, 6, 8), int)}
            jax.eval_shape(lambda layer=layer, c=classes: layer(c, train=True, key=0))
    boxes = {"boxes": np.arange(32.0, dtype="float32").reshape(4, 2, 4), "labels": np.arange(8).reshape(4, 2)}
    with pytest.raises(ValueError, match="use MixUp"):
        cut = layers.CutMix(bounding_box_format="xyxy")
        jax.eval_shape(lambda: cut({"images": X, "bounding_boxes": boxes}, train=True, key=0))
    order = np.array([1, 0, 3, 2])
    layer = layers.MixUp(bounding_box_format="xyxy")
    both = run(lambda boxes: layer.transform_bounding_boxes(boxes, {"order": order}, X.shape), boxes)
    np.testing.assert_array_equal(both["labels"], np.c_[boxes["labels"], boxes["labels"][order]])
    np.testing.assert_array_equal(both["boxes"], np.concatenate([boxes["boxes"], boxes["boxes"][order]], 1))


def convert(name, d):
    """Our draws as Keras's layer wants them."""
    tall = {key: value[:, None, None, None] for key, value in d.items()} if isinstance(d, dict) else {}
    if name == "random_rotation":
        degrees = d["angle"] * 180 / np.pi
        zero = jnp.zeros_like(degrees)
        return {
            "rotation_matrix": K.RandomRotation(0.1)._compute_affine_matrix(
                0.5, 0.5, degrees, zero, zero, zero + 1, zero, zero, *X.shape[1:3]
            )
        }
    return {
        "random_shear": lambda: {"shear_factor": jnp.stack([d["x"], d["y"]], 1)},
        "random_translation": lambda: {"translations": jnp.stack([d["x"], d["y"]], 1)},
        "random_posterization": lambda: {"shift_factor": (8 - d["bits"]).astype("uint8")},
        "solarization": lambda: {"additions": tall["addition"], "thresholds": tall["threshold"]},
        "auto_contrast": lambda: None,
        "equalization": lambda: None,
        "random_brightness": lambda: {"rgb_delta": tall["shift"]},
        "random_color_degeneration": lambda: {"factor": tall["factor"]},
        "random_contrast": lambda: {"contrast_factor": tall["contrast"]},
        "random_sharpness": lambda: {"factor": d["factor"]},
    }[name]()


def test_a_step_of_rand_augment_as_keras():
    """Each of the eleven layers, in the place of the one that acts."""
    ours, theirs = layers.RandAugment(num_ops=1), K.RandAugment(num_ops=1)
    ours.operations["equalization"].bins = theirs.equalization.bins = 8  # Keras compiles a term a bin
    x, names = jnp.asarray(X[:1]), theirs._AUGMENT_LAYERS  # one picture: Keras equalizes a batch as a whole
    assert sorted(names) == sorted(ours.operations)

    def prepare(key):
        drawn = ours.draw(key, x.shape)
        flat = jax.tree.map(lambda a: a[:, 0], drawn["draws"])
        given = {name: convert(name, flat[name]) for name in names}
        order = {name: i for i, name in enumerate(ours.operations)}
        mine = jax.vmap(lambda i: ours.transform_images(x, drawn | {"which": jnp.full((1, 1), i)}))(
            jnp.array([order[name] for name in names])
        )
        other = [theirs.transform_images(x, {"layer_idxes": jnp.array([i]), "transforms": given}) for i in (0,)]
        each = [getattr(theirs, name).transform_images(x, given[name]) for name in names]
        return mine, other, each

    mine, other, each = run(prepare, jax.random.key(1))
    np.testing.assert_allclose(mine[0], other[0], atol=0.05)
    for name, a, b in zip(names, mine, each, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05, err_msg=name)
        assert not np.allclose(a, X[:1], atol=1)


def test_chains_of_aug_mix_as_keras():
    ours, theirs = layers.AugMix(num_chains=3, chain_depth=2), K.AugMix(num_chains=3, chain_depth=2)
    x, order = jnp.asarray(X[:2]), {name: i for i, name in enumerate(ours.operations)}
    chains = [["random_rotation", "random_brightness"], ["random_sharpness", None], [None, None]]

    def both(key):
        drawn = ours.draw(key, x.shape)
        which = jnp.array([[order.get(name, len(order)) for name in chain] for chain in chains])
        # Keras has one blend for the batch; give ours the same.
        drawn = drawn | {"share": jnp.full(2, 0.3), "weights": jnp.array([[0.2, 0.5, 0.3]] * 2)}
        drawn["steps"] = drawn["steps"] | {"which": jnp.broadcast_to(which, (2, 3, 2))}
        given = [
            [
                {"layer_name": name, "transformation": convert(name, at(drawn["steps"]["draws"][name], c, d))}
                for d, name in enumerate(chain)
                if name
            ]
            for c, chain in enumerate(chains)
        ]
        weights = {"chain_mixing_weights": jnp.array([0.2, 0.5, 0.3]), "weight_sample": jnp.array(0.3)}
        return ours.transform_images(x, drawn), theirs.transform_images(x, weights | {"chain_transforms": given})

    def at(draws, chain, depth):
        return jax.tree.map(lambda a: a[:, chain, depth], draws)

    mine, other = run(both, jax.random.key(1))
    np.testing.assert_allclose(mine, other, atol=0.05)
    assert not np.allclose(mine, x, atol=1)


def test_boxes_and_masks_follow_rand_augment():
    layer = layers.RandAugment(num_ops=2, bounding_box_format="xyxy")
    boxes = {"boxes": jnp.array([[[2.0, 1, 5, 4]]] * 2), "labels": jnp.ones((2, 1), int)}
    order = {name: i for i, name in enumerate(layer.operations)}
    x = np.zeros((2, 6, 8, 1), "float32")
    x[:, 1:4, 2:5] = 9

    def move(key):
        drawn = layer.draw(key, x.shape)
        which = jnp.array([[order["random_translation"], order["random_brightness"]], [order["random_contrast"]] * 2])
        shift = jnp.full((2, 2), 1.0)
        drawn["which"], drawn["draws"]["random_translation"] = which, {"x": 2 * shift, "y": shift}
        return (
            layer.transform_bounding_boxes(boxes, drawn, x.shape),
            layer.transform_segmentation_masks(jnp.asarray(x, jnp.uint8), drawn),
        )

    moved, masks = run(move, jax.random.key(0))
    np.testing.assert_allclose(moved["boxes"][:, 0], [[4, 2, 7, 5], [2, 1, 5, 4]], atol=1e-5)
    assert masks.dtype == np.uint8 and np.array_equal(masks[1], x[1])
    np.testing.assert_array_equal(masks[0, 2:5, 4:7], x[0, 1:4, 2:5])


def distance(draws, cdf):
    """Kolmogorov's distance between draws and a distribution; 1.95 / sqrt(n) is passed once in a thousand times."""
    draws = np.sort(np.asarray(draws, "float64").ravel())
    at, steps = cdf(draws), np.arange(len(draws) + 1) / len(draws)
    return max(np.abs(at - steps[1:]).max(), np.abs(at - steps[:-1]).max())


def test_draws_have_the_stated_distributions():
    n, shape = 4000, (4000, 6, 8, 1)
    some = {
        "mix": layers.MixUp(2.0),
        "cut": layers.CutMix((0.5, 0.5)),
        "erase": layers.RandomErasing((0.3, 0.3), (0.1, 0.4)),
        "rand": layers.RandAugment(num_ops=2),
        "aug": layers.AugMix(num_chains=3, chain_depth=1, all_ops=False),
    }

    def draw(key):
        keys = jax.random.split(key, len(some) + 1)
        gammas = [_log_gamma(keys[-1], a, (n,)) for a in (0.2, 1.0, 4.0)]
        found = {name: layer.draw(k, shape) for k, (name, layer) in zip(keys, some.items(), strict=False)}
        for name in ("rand", "aug"):
            (found[name]["steps"] if name == "aug" else found[name]).pop("draws")
        return found, gammas

    found, gammas = run(draw, jax.random.key(1, impl="unsafe_rbg"))
    far = 1.95 / np.sqrt(n)
    for alpha, logs in zip((0.2, 1.0, 4.0), gammas, strict=True):
        assert distance(np.exp(logs), lambda g, alpha=alpha: scipy.special.gammainc(alpha, g)) < far
    assert distance(found["mix"]["weight"], lambda w: 3 * w**2 - 2 * w**3) < far  # Beta(2, 2)
    assert distance(found["cut"]["weight"], lambda w: 2 / np.pi * np.arcsin(np.sqrt(np.clip(w, 0, 1)))) < far
    cut = {name: np.asarray(value) for name, value in found["cut"].items()}
    assert np.all((cut["left"] >= 0) & (cut["right"] <= 8.001) & (cut["top"] >= 0) & (cut["bottom"] <= 6.001))
    np.testing.assert_allclose((cut["right"] - cut["left"]) / 8, (cut["bottom"] - cut["top"]) / 6, atol=1e-5)
    assert sorted(cut["order"]) == list(range(n))
    erase = {name: np.asarray(value) for name, value in found["erase"].items()}
    width, height = erase["right"] - erase["left"], erase["bottom"] - erase["top"]
    for part in ((width / 8) ** 2, (height / 6) ** 2):
        assert distance(part, lambda a: np.clip((a - 0.1) / 0.3, 0, 1)) < far
    assert distance(erase["left"] / (8 - width), lambda a: np.clip(a, 0, 1)) < far
    assert abs(erase["apply"].mean() - 0.3) < 0.03 and abs(np.corrcoef(width, height)[0, 1]) < 0.06
    noise = erase["noise"].ravel()
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01 and abs((noise**4).mean() - 3) < 0.1
    for which, choices in ((found["rand"]["which"], 11), (found["aug"]["steps"]["which"], 8)):
        counts = np.bincount(np.asarray(which).ravel(), minlength=choices)
        assert len(counts) == choices and np.all(np.abs(counts - which.size / choices) < 4 * np.sqrt(which.size / choices))
    np.testing.assert_allclose(found["aug"]["weights"].sum(1), 1, atol=1e-5)
    assert distance(found["aug"]["weights"][:, 1], lambda w: 1 - (1 - w) ** 2) < far  # Dirichlet(1, 1, 1)
    assert distance(found["aug"]["share"], lambda w: w) < far


def test_spec_augment_covers_bands_of_the_stated_widths():
    n, x = 2000, np.ones((2000, 30, 20), "float32")
    layer = layers.SpecAugment(1, 6, 1, 10, time_fraction=0.5, fill_value=-2)
    length = jnp.where(jnp.arange(n) < 1000, 30, 12)
    y = np.asarray(run(lambda key: layer.transform(x, layer.draw(key, x.shape), length), jax.random.key(0)))
    gone = y == -2
    assert set(np.unique(y)) == {-2.0, 1.0}
    freq, time = gone.all(1), gone.all(2)
    np.testing.assert_array_equal(gone, freq[:, None, :] | time[:, :, None])
    for bands in (freq, time):  # in one piece
        assert np.all(np.abs(np.diff(np.pad(bands, ((0, 0), (1, 1))).astype(int))).sum(1) <= 2)
    for widths, most in ((freq.sum(1), 6), (time[:1000].sum(1), 10), (time[1000:].sum(1), 6)):
        counts = np.bincount(widths, minlength=most + 1)
        expected = len(widths) / (most + 1)
        assert len(counts) == most + 1 and np.all(np.abs(counts - expected) < 4.5 * np.sqrt(expected))
    assert not time[1000:, 12:].any() and time[:1000, 20:].any()


def test_spec_augment_in_a_model():
    layer = layers.SpecAugment(2, 4, 2, 3, fill_value=9.0)
    x = RNG.normal(size=(3, 10, 6)).astype("float32")
    x[1, 4:] = 0
    model = cn.Sequential([layers.Masking(0.0), layer, layers.LSTM(2, return_sequences=True)]).build(x)
    plain = cn.Sequential([layers.Masking(0.0), model.layers[2]]).build(x)
    np.testing.assert_allclose(model(x), plain(x), atol=1e-6)  # outside training: the mask arrives, nothing is changed
    masked = cn.Sequential([layers.Masking(0.0), layer]).build(x)
    y = np.asarray(run(lambda: masked(x, train=True, key=1)))
    assert np.any(y == 9) and np.array_equal(y[y != 9], x[y != 9])
    assert not (y[1, 4:] == 9).all(-1).any()  # stretches of time lie inside the sequence
    one = jax.eval_shape(lambda: layer(x[0], train=True, key=0))
    assert (
        one.shape == (10, 6) and jax.eval_shape(lambda: layer(x.astype(jnp.bfloat16), train=True, key=0)).dtype == jnp.bfloat16
    )
    with pytest.raises(ValueError, match=r"x\[..., 0\]"):
        layer(x[None, ..., None])
    with pytest.raises(ValueError, match="freq_masks to be a whole number of at least 0"):
        layers.SpecAugment(-1)


def test_gradients_flow_to_the_pictures():
    mark = RNG.normal(size=X.shape)
    with jax.enable_x64(True):
        x, step = jnp.asarray(X, jnp.float64), 1e-5 * RNG.normal(size=X.shape)
        pipe = layers.Pipeline([layers.RandomRotation(0.2), layers.RandomContrast(0.2, (-999, 999)), layers.MixUp(1.0)])

        def total(x):
            return (pipe(x, train=True, key=2) ** 2 * mark).sum() / 1e4

        grad, (up, down) = run(lambda x: (jax.grad(total)(x), jax.lax.map(total, jnp.stack([x + step, x - step]))), x)
        np.testing.assert_allclose((grad * step).sum(), (up - down) / 2, rtol=1e-4)


def test_policies_and_mixing_are_saved_and_loaded(tmp_path):
    chain = [layers.RandAugment((0, 1), 1, 0.3), layers.AugMix((0, 1), 2, 1, 0.2, all_ops=False, seed=2), layers.CutMix(0.4)]
    model = cn.Sequential([*chain, layers.RandomErasing(fill_value=[1, 2, 3])]).build(X)
    model.save(tmp_path / "m.cenote")
    loaded = cn.load(tmp_path / "m.cenote")
    for a, b in zip(model.layers, loaded.layers, strict=True):
        assert a.arguments().keys() == b.arguments().keys() and type(a) is type(b) and a.factor == b.factor
    assert len(loaded.layers[1].operations) == 7 and loaded.layers[0].operations["solarization"].value_range == (0, 1)
    spec = cn.Sequential([layers.SpecAugment(1, 2, 3, 4, 0.5, 7.0)]).build(X[..., 0])
    spec.save(tmp_path / "s.cenote")
    again = cn.load(tmp_path / "s.cenote").layers[0]
    assert (again.freq_masks, again.freq_width, again.time_masks, again.time_width, again.fill_value) == (1, 2, 3, 4, 7.0)


def test_policies_stay_in_the_range_and_differ_by_example():
    layer, x = layers.RandAugment(), np.repeat(X[:1], 6, 0)
    y = np.asarray(run(lambda x: layer(x, train=True, key=3), x))
    assert y.min() >= -1e-3 and y.max() <= 255.01
    assert len({a.tobytes() for a in y}) >= 4
