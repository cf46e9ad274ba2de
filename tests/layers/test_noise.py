"""Layers that add noise, against their distribution, and the penalty on activities."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import cenote as cn
from cenote import layers

sys.path.insert(0, str(Path(__file__).parent))
from parity import draw, keras

SHAPE = (100, 6, 5, 4)
X = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
LAYERS = {
    "Dropout": lambda: layers.Dropout(0.3, noise_shape=(None, 1, None, 1)),
    "SpatialDropout2D": lambda: layers.SpatialDropout2D(0.3),
    "AlphaDropout": lambda: layers.AlphaDropout(0.3),
    "FeatureAlphaDropout": lambda: layers.FeatureAlphaDropout(0.3),
    "GaussianDropout": lambda: layers.GaussianDropout(0.3),
    "GaussianNoise": lambda: layers.GaussianNoise(0.4),
    "DropPath": lambda: layers.DropPath(0.3),
}


@pytest.fixture(scope="module")
def drawn():
    """What each layer makes of X in training, twice with one key and once with another, from one compilation."""
    made = {name: make() for name, make in LAYERS.items()}
    run = jax.jit(lambda key: {name: layer.apply({}, {}, X, train=True, key=key)[0] for name, layer in made.items()})
    return [jax.tree.map(np.asarray, run(jax.random.key(s))) for s in (0, 0, 1)]


@pytest.mark.parametrize("name", LAYERS)
def test_noise_is_a_function_of_the_key_and_only_in_training(drawn, name):
    one, same, other = (d[name] for d in drawn)
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    layer = LAYERS[name]()
    assert np.array_equal(layer(X), X)
    with pytest.raises(ValueError, match=r"key=jax\.random\.key"):
        layer(X, train=True)


# The axes along which a draw is shared.
SHARED = {
    "Dropout": (1, 3),
    "SpatialDropout2D": (1, 2),
    "FeatureAlphaDropout": (1, 2),
    "DropPath": (1, 2, 3),
    "AlphaDropout": (),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_is_dropped_together_and_how_often(drawn, name):
    y = drawn[0][name]
    if "Alpha" in name:
        p, floor = 0.7, 1.7580993408473766
        a = (p + p * 0.3 * floor**2) ** -0.5
        low, kept = -a * floor + a * floor * 0.3, a * X + a * floor * 0.3
    else:
        low, kept = 0.0, X / 0.7
    dropped = np.isclose(y, low, atol=1e-6)
    assert np.all(dropped | np.isclose(y, kept, atol=1e-5))
    first = dropped[tuple(slice(0, 1) if a in SHARED[name] else slice(None) for a in range(4))]
    assert np.array_equal(np.broadcast_to(first, SHAPE), dropped)
    assert abs(first.mean() - 0.3) < 5 * np.sqrt(0.21 / first.size)


def test_alpha_dropout_keeps_mean_and_variance(drawn):
    y = drawn[0]["AlphaDropout"]
    assert abs(y.mean() - X.mean()) < 0.05 and abs(y.std() - X.std()) < 0.05


def test_gaussian_layers_are_normal(drawn):
    added = (drawn[0]["GaussianNoise"] - X).ravel()
    factor = (drawn[0]["GaussianDropout"] / X).ravel()
    assert stats.kstest(added, stats.norm(0, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest(factor, stats.norm(1, np.sqrt(0.3 / 0.7)).cdf).pvalue > 1e-3


def test_they_spread_as_those_of_keras(drawn):
    x = jnp.asarray(X)
    theirs = {
        "AlphaDropout": keras.layers.AlphaDropout(0.3, seed=1),
        "GaussianDropout": keras.layers.GaussianDropout(0.3, seed=1),
        "GaussianNoise": keras.layers.GaussianNoise(0.4, seed=1),
    }
    for name, layer in theirs.items():
        assert stats.ks_2samp(drawn[0][name].ravel(), np.asarray(layer(x, training=True)).ravel()).pvalue > 1e-3, name


@pytest.mark.parametrize(("name", "shape"), [("SpatialDropout1D", (40, 7, 5)), ("SpatialDropout3D", (20, 2, 3, 2, 5))])
def test_whole_channels_of_sequences_and_volumes(name, shape):
    y = np.asarray(getattr(layers, name)(0.5)(np.ones(shape, "float32"), train=True, key=1))
    flat = y.reshape(shape[0], -1, shape[-1])
    assert np.array_equal(flat, np.broadcast_to(flat[:, :1], flat.shape)) and set(np.unique(flat)) == {0, 2}


def test_seeds_rates_and_types():
    x = jnp.ones((50, 4), jnp.bfloat16)
    a, b = (np.asarray(layers.Dropout(0.5, seed=s)(x, train=True, key=0), "float32") for s in (1, 2))
    assert not np.array_equal(a, b)
    for make in LAYERS.values():
        layer = make()
        assert (
            jax.eval_shape(lambda x, f=layer: f.apply({}, {}, x, train=True, key=0)[0], jnp.ones(SHAPE, "bfloat16")).dtype
            == x.dtype
        )
    for still in (layers.GaussianNoise(0.0), layers.DropPath(), layers.GaussianDropout(0)):
        assert np.array_equal(still(x, train=True), x)  # without noise no key is asked for
    with jax.enable_x64(True):
        wide = jnp.ones((2, 3), jnp.float64)
        assert layers.AlphaDropout(0.5)(wide, train=True, key=0).dtype == jnp.float64


def test_gradients_are_those_of_the_drawn_factor():
    x = jnp.asarray(X[:2, 0, 0])
    layer = layers.GaussianDropout(0.5)
    run = jax.jit(lambda x: layer.apply({}, {}, x, train=True, key=3)[0])
    np.testing.assert_allclose(jax.grad(lambda x: run(x).sum())(x), run(x) / x, rtol=1e-4)
    each = jax.vmap(lambda x, k: layer.apply({}, {}, x, train=True, key=k)[0])(x, jax.random.split(jax.random.key(0), 2))
    assert each.shape == x.shape


@pytest.mark.parametrize("name", [*LAYERS, "ActivityRegularization"])
def test_saved_and_loaded(name, tmp_path):
    layer = LAYERS[name]() if name in LAYERS else layers.ActivityRegularization(0.1, 0.2)
    model = cn.Sequential([layer]).build(X)
    model.save(tmp_path / "m.cenote")
    loaded = cn.load(tmp_path / "m.cenote")
    (a, _), (b, _) = (m.apply({}, {}, X[:1], train=True, key=5) for m in (model, loaded))
    assert np.array_equal(a, b)


def test_activity_regularization_adds_the_penalty_of_keras():
    x, y = draw(8, 3), np.zeros((8, 3), "float32")
    losses = []
    for k in (cn, keras):
        penalty = [k.layers.ActivityRegularization(l1=0.1, l2=0.2)]
        model = k.Sequential([k.layers.Dense(3, kernel_initializer="ones"), *penalty])
        model.build(x if k is cn else x.shape)
        model.compile(loss="mse")
        losses.append(model.evaluate(x, y, verbose=0))
    out = x @ np.ones((3, 3))
    assert losses[1] == pytest.approx((out**2).mean() + (0.1 * np.abs(out).sum() + 0.2 * (out**2).sum()) / 8, rel=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


WRONG = [
    (lambda: layers.GaussianNoise(-1), "GaussianNoise needs stddev of 0 or more, got -1"),
    (lambda: layers.GaussianNoise("much"), "got 'much'"),
    (lambda: layers.GaussianDropout(1.0), "GaussianDropout needs rate from 0 up and below 1, got 1.0"),
    (lambda: layers.DropPath(-0.1), "DropPath needs rate"),
    (lambda: layers.SpatialDropout2D(0.5, data_format="channels_first"), "moveaxis"),
    (lambda: layers.SpatialDropout1D(0.5)(np.ones((2, 3))), "SpatialDropout1D takes (batch, time, channel), 3 axes"),
    (lambda: layers.AlphaDropout(0.5, noise_shape=(2,))(np.ones((2, 3)), train=True, key=0), "AlphaDropout(noise_shape=(2,))"),
    (lambda: layers.ActivityRegularization(l1=-1), "l1=-1"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[m for _, m in WRONG])
def test_refused(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
