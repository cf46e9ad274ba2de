"""Activation layers: Keras's beside ours, and the rest against what PyTorch answered."""

import inspect
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.layers import activation

sys.path.insert(0, str(Path(__file__).parent))
from parity import compare, draw, keras

K = keras.layers
STORED = json.loads((Path(__file__).parents[1] / "parity" / "activations.json").read_text())


def both(name, *args, **options):
    return getattr(layers, name)(*args, **options), getattr(K, name)(*args, **options)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("LeakyReLU", (3, 4), {}),
        ("PReLU", (3, 4), {}),
        ("PReLU", (2, 3, 2, 4), {"shared_axes": [1, 2]}),
        ("ELU", (3, 4), {"alpha": 0.7}),
        ("Softmax", (2, 3, 4), {"axis": (1, 2)}),
    ],
    ids=str,
)
def test_like_keras(name, shape, options):
    compare(*both(name, **options), draw(*shape))


@pytest.mark.parametrize("shape", [(4, 3, 5), (3, 1)], ids=str)
def test_softmax_masks_like_keras(shape):
    mask = np.random.default_rng(1).random(shape) > 0.4
    if len(shape) == 3:
        mask[0, 0] = False  # nothing left
    compare(*both("Softmax"), draw(4, 3, 5), mask=jnp.asarray(mask))


def test_values_that_keras_states():
    x = np.array([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]])
    row = [0.21194157, 0.5761169, 0.21194157]
    np.testing.assert_allclose(layers.Softmax()(x), [row, row], rtol=1e-6)
    np.testing.assert_allclose(
        layers.Softmax(axis=(1, 0))(x, mask=np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])),
        [[0.21194154, 0.0, 0.21194154], [0.0, 0.57611686, 0.0]],
        rtol=1e-6,
    )
    steps = np.array([[-10.0, -5.0, 0.0, 5.0, 10.0]])
    assert layers.LeakyReLU(negative_slope=0.5)(steps).tolist() == [[-5.0, -2.5, 0.0, 5.0, 10.0]]
    assert layers.ReLU(max_value=10, negative_slope=0.5, threshold=0)(steps).tolist() == [[-5.0, -2.5, 0.0, 5.0, 10.0]]


def test_softmax_takes_the_mask_that_came_with_its_input():
    x, mask = jnp.ones((2, 3)), jnp.array([[1, 1, 0], [1, 0, 0]], bool)

    class Net(cn.core.Module):
        def __init__(self):
            self.softmax = layers.Softmax()

        def forward(self, x):
            return self.softmax(cn.core.annotate(x, "mask", mask))

    assert Net().apply({}, {}, x)[0].tolist() == [[0.5, 0.5, 0], [1, 0, 0]]


@pytest.fixture(scope="module")
def answers():
    """Values and slopes of all stored cases, from one compilation."""
    x = jnp.array(STORED["x"], jnp.float32)
    made = [getattr(layers, c["name"])(**c["options"]) for c in STORED["cases"]]

    def marked(xs):
        ys = [layer.apply({}, {}, x)[0] for layer, x in zip(made, xs, strict=True)]
        return sum(jnp.vdot(y, jnp.cos(jnp.arange(y.size, dtype="float32")).reshape(y.shape)) for y in ys), ys

    return jax.jit(jax.grad(marked, has_aux=True))([x] * len(made))


@pytest.mark.parametrize("i", range(len(STORED["cases"])), ids=lambda i: str(STORED["cases"][i]["name"]))
def test_like_pytorch(i, answers):
    case, slopes, y = STORED["cases"][i], answers[0][i], answers[1][i]
    np.testing.assert_allclose(y, case["y"], rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(slopes, case["dx"], rtol=1e-5, atol=3e-6)


def test_rrelu_draws_its_slopes_evenly():
    x = np.random.default_rng(0).normal(size=(100, 50)).astype("float32")
    layer = layers.RReLU(0.2, 0.6)
    one, same, other = (np.asarray(layer(x, train=True, key=k)) for k in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert np.array_equal(one[x > 0], x[x > 0])
    slopes = (one / x)[x < 0]
    assert slopes.min() >= 0.2 - 1e-6 and slopes.max() <= 0.6 + 1e-6
    counts = np.histogram(slopes, 8, (0.2 - 1e-6, 0.6 + 1e-6))[0]
    assert abs(counts / counts.mean() - 1).max() < 0.15
    still = layers.RReLU(0.3, 0.3)
    assert np.allclose(still(x, train=True), still(x))


MADE = [name for name in activation.__all__ if isinstance(getattr(layers, name), type)]
NEEDS = {"Activation": ("gelu",), "Threshold": (0.1, -1.0)}


@pytest.mark.parametrize("name", MADE)
def test_saved_loaded_and_dtypes(name, tmp_path):
    x = draw(3, 4)
    model = cn.Sequential([getattr(layers, name)(*NEEDS.get(name, ()))]).build(x)
    model.save(tmp_path / "m.cenote")
    loaded = cn.load(tmp_path / "m.cenote")
    assert np.array_equal(loaded(x), model(x))
    params = model.arrays()[0]
    half = jax.eval_shape(lambda x: model.apply(params, {}, x, train=True, key=0)[0], jnp.ones((3, 4), jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        wide = jax.eval_shape(lambda x: model.apply(params, {}, x)[0], jnp.ones((3, 4), jnp.float64))
    assert wide.dtype == jnp.float64


def test_made_classes_look_like_written_ones():
    assert str(inspect.signature(layers.Hardtanh)) == "(min_val=-1.0, max_val=1.0, **options)"
    assert layers.Hardtanh(0, name="h").name == "h" and layers.Softplus(2.0).arguments() == {"beta": 2.0}
    assert "min(max(x, min_val), max_val)" in layers.Hardtanh.__doc__
    node = cn.Input((4,))
    assert cn.Model(node, layers.GLU()(node)).build()(np.ones((1, 4), "float32")).shape == (1, 2)
    assert layers.GELU("tanh").settings == {"approximate": True}


def test_gradients_are_the_slopes():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
        layer = layers.PReLU(shared_axes=1, alpha_initializer=cn.initializers.Constant(0.3))
        params = {"alpha": jnp.full((1,), 0.3)}
        value = jax.jit(lambda p, x: jnp.sum(layer.apply(p, {}, x)[0] ** 2))
        by_p, by_x = jax.grad(value, (0, 1))(params, x)
        moved = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
        ahead, behind = (value({"alpha": params["alpha"] + s * 1e-6}, x + s * 1e-6 * moved) for s in (1, -1))
        np.testing.assert_allclose(by_p["alpha"].sum() + jnp.vdot(by_x, moved), (ahead - behind) / 2e-6, rtol=1e-6)


WRONG = [
    (lambda: layers.LeakyReLU(-0.1), "LeakyReLU needs negative_slope of 0 or more, got -0.1"),
    (lambda: layers.CELU("1"), "CELU needs alpha to be a number, got '1'"),
    (lambda: layers.CELU(beta=1), "unknown argument of CELU 'beta'"),
    (lambda: layers.CELU(1.0, 2.0), "CELU takes alpha"),
    (lambda: layers.Tanh(1.0), "Tanh takes no arguments by place"),
    (lambda: layers.Threshold(1.0), "Threshold needs value"),
    (lambda: layers.GELU("exact"), "true or false"),
    (lambda: layers.RReLU(0.5, 0.2), "RReLU needs lower up to upper"),
    (lambda: layers.GLU(axis=(1, 2)).build(np.ones((2, 3))), "even"),
    (lambda: layers.Softmin(axis=2)(np.ones((2, 3))), "lacks"),
    (lambda: layers.PReLU(shared_axes=0).build(np.ones((2, 3))), "names the batch"),
    (lambda: layers.PReLU(shared_axes=4).build(np.ones((2, 3))), "lacks"),
    (lambda: layers.Softmax()(np.ones((2, 3)), mask=np.ones((3, 2))), "mask of shape (3, 2)"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[m for _, m in WRONG])
def test_refused(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
