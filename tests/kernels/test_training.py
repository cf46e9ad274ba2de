"""C++ of the training step: products of few rows, their gradients, Adam; and that `fit` learns the same with it and without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.kernels import native, training

needs_native = pytest.mark.skipif(native.library("training") is None, reason=f"no native kernels: {native.status()}")
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def close(a, b, tolerance=3e-6):
    assert np.shape(a) == np.shape(b)
    assert np.abs(np.asarray(a, np.float64) - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


@needs_native
@pytest.mark.parametrize(
    ("rows", "features", "units"), [(2, 1, 32), (15, 29, 33), (32, 784, 128), (33, 43, 7), (3, 16, 96), (200, 70, 64)]
)
def test_product_and_its_gradients(rows, features, units):
    x, kernel, bias, dy = draw(rows, features), draw(features, units), draw(units), draw(rows, units)
    x[:, features // 3 : features // 2] = 0  # nothing there in any row
    x[:, features // 2] = -0.0
    exact = [a.astype(np.float64) for a in (x, kernel, bias, dy)]

    def pulled(x, kernel, bias, dy):
        y, pull = jax.vjp(training.dense, x, kernel, bias)
        return y, *pull(dy)

    y, dx, dkernel, dbias = quick(pulled)(x, kernel, bias, dy)
    close(y, exact[0] @ exact[1] + exact[2])
    close(dx, exact[3] @ exact[1].T)
    close(dkernel, exact[0].T @ exact[3])
    close(dbias, exact[3].sum(0))
    # Each number has one order of its sum, whatever is computed beside it, and so whatever the threads.
    half = native.dense_gradient(x[:, : features // 2 + 1], dy, (0,))
    assert np.array_equal(half[0], np.asarray(dkernel)[: features // 2 + 1]) and half[1].shape == (0,)
    assert np.array_equal(native.dense(x[1:], kernel, bias), np.asarray(y)[1:])


@needs_native
def test_what_is_not_finite_is_not_lost():
    x, dy = np.zeros((4, 40), np.float32), draw(4, 32)
    dy[2, 3] = np.inf
    dkernel, dbias = native.dense_gradient(x, dy, (32,))
    assert np.isnan(dkernel[:, 3]).all() and np.isfinite(np.delete(dkernel, 3, 1)).all() and np.isinf(dbias[3])
    x[1, 5] = np.nan
    assert np.isnan(native.dense(x, draw(40, 32), np.zeros(0, np.float32))).tolist() == [[i == 1] * 32 for i in range(4)]


@needs_native
def test_higher_derivatives_and_batches_of_it_are_plain():
    x, kernel, bias = draw(3, 5), draw(5, 32), draw(32)

    def second(product, x, kernel):
        def first(kernel):
            return jax.grad(lambda k: (jnp.tanh(product(x, k, bias)) ** 2).sum())(kernel)

        return jax.jvp(first, (kernel,), (kernel,))[1], jax.grad(lambda k: (first(k) ** 2).sum())(kernel)

    def plain(x, kernel, bias):
        return x @ kernel + bias

    both = quick(functools.partial(second, training.dense))(x, kernel)
    for found, expected in zip(both, second(plain, x, kernel), strict=True):
        close(found, np.asarray(expected, np.float64), 1e-5)
    several = jax.vmap(functools.partial(training.dense, bias=None), (0, None))(np.stack([x, 2 * x]), kernel)
    close(several[1], 2 * (x.astype(np.float64) @ kernel))


@needs_native
def test_adam_of_several_arrays():
    shapes, rates, decays = [(7, 3), (40_000,), (1,), (129, 65)], [0.1, 0.01, 1.0, 0.001], [0.0, 0.5, 0.0, 0.1]
    p, m, g = ([draw(*shape) for shape in shapes] for _ in range(3))
    v = [np.abs(a) for a in m]
    v[0][:], m[0][:], g[0] = 0, 0, np.zeros(shapes[0], np.float32)  # a weight that never moved stays
    found = quick(functools.partial(training.adam, beta_1=0.9, beta_2=0.99, epsilon=1e-7))(p, m, v, g, rates, decays)
    for i, (rate, decay) in enumerate(zip(rates, decays, strict=True)):
        q, mean, square, grad = (a[i].astype(np.float64) for a in (p, m, v, g))
        mean, square = 0.9 * mean + 0.1 * grad, 0.99 * square + 0.01 * grad**2
        close(found[1][i], mean)
        close(found[2][i], square)
        close(found[0][i], q - decay * q - rate * mean / (np.sqrt(square) + 1e-7))


def learned(optimizer, *, frozen=False, steps=3):
    """Losses and weights after two epochs of a network of 43,000 numbers; what is kept of the first stays as it was."""
    cn.set_seed(0)
    x = np.maximum(draw(40 * steps, 300), 0)
    x[:, :30] = 0
    model = cn.Sequential([cn.Input((300,)), layers.Dense(128, "relu"), layers.Dropout(0.2), layers.Dense(32), layers.Dense(5)])
    model.layers[2].trainable = not frozen
    model.compile(optimizer, cn.losses.SparseCategoricalCrossentropy(from_logits=True))
    kept = []
    keep = cn.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.append((dict(model.arrays()[0]), model.get_weights()))
    )
    # The last batch is shorter.
    history = model.fit(x, np.arange(len(x)) % 5, batch_size=32, epochs=2, verbose=0, callbacks=[keep])
    assert all(np.array_equal(a, b) for a, b in zip(kept[0][0].values(), kept[0][1], strict=True))
    assert not np.array_equal(kept[0][1][0], kept[1][1][0])
    return history.history["loss"], model.get_weights()


@needs_native
@pytest.mark.parametrize("donated", [False, True], ids=["copied", "in place"])
@pytest.mark.parametrize(
    "optimizer",
    [
        cn.optimizers.Adam(0.01, clipnorm=0.5, loss_scale_factor=8.0),
        cn.optimizers.AdamW(
            cn.schedules.ExponentialDecay(0.01, 2, 0.5),
            groups={"*.bias": {"multiplier": 2.0, "weight_decay": 0}, "layers.3.*": {"learning_rate": 1e-4}},
        ),
    ],
)
def test_fit_learns_the_same(optimizer, donated, monkeypatch):
    if donated:  # larger models than this one are
        monkeypatch.setattr("cenote.train.trainer.LARGE", 0)
    called = []
    for name in ("adam", "dense", "dense_gradient"):
        real = getattr(native, name)
        monkeypatch.setattr(native, name, lambda *a, name=name, real=real, **more: called.append(name) or real(*a, **more))
    losses, weights = learned(optimizer, frozen=isinstance(optimizer, cn.optimizers.AdamW))
    assert set(called) == {"adam", "dense", "dense_gradient"}
    monkeypatch.setattr(native, "fits", lambda name, *arrays: False)  # as without a compiler
    plain_losses, plain_weights = learned(optimizer, frozen=isinstance(optimizer, cn.optimizers.AdamW))
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-5)
    for a, b in zip(weights, plain_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


class Sloped(cn.Model):
    """What is learned is a function together with its slope, by forward mode."""

    def __init__(self):
        super().__init__()
        self.inner, self.middle, self.outer = layers.Dense(128, "tanh"), layers.Dense(128, "tanh"), layers.Dense(1)

    def forward(self, x):
        def function(x):
            return self.outer(self.middle(self.inner(x)))

        value, slope = jax.jvp(function, (x,), (jnp.ones_like(x),))
        return value + slope


@needs_native
def test_transformations_of_a_users_own_have_all_derivatives(monkeypatch):
    def learned():
        cn.set_seed(0)
        model = Sloped()
        model.compile("adam", "mse")
        return model.fit(draw(64, 2), draw(64, 1), epochs=2, verbose=0).history["loss"]

    found = learned()
    monkeypatch.setattr(native, "fits", lambda name, *arrays: False)
    np.testing.assert_allclose(found, learned(), rtol=1e-5)


def test_small_networks_and_other_programs_ask_for_no_compiler(monkeypatch):
    def fits(name, *arrays):
        raise AssertionError(f"{name} was asked for")

    monkeypatch.setattr(native, "fits", fits)
    model = cn.Sequential([cn.Input((3,)), layers.Dense(40, "relu"), layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(draw(40, 3), draw(40, 2), verbose=0)
    large = cn.Sequential([cn.Input((300,)), layers.Dense(128, "relu")]).build(draw(1, 300))
    params, state = large.arrays()
    jax.eval_shape(lambda p: large.apply(p, state, draw(4, 300), train=True)[0], params)  # a step of the user's own
    cn.optimizers.Adam().update(params, cn.optimizers.Adam().init(params), params)
