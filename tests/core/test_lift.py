"""Layers with weights, state and randomness inside checkpoint, scan and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import layers
from cenote.core import Ensemble, Module, Remat, Repeat, apply, weights_of

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


class Block(Module):
    def __init__(self):
        self.dense, self.norm, self.dropout = layers.Dense(4, "tanh"), layers.BatchNormalization(), layers.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.norm(self.dense(x)))


def test_remat_computes_the_same_gradient_and_state():
    block = Block()
    plain, remat = block.init(0, X), Remat(block).init(0, X)
    params = {k.removeprefix("block."): v for k, v in remat[0].items()}
    assert set(params) == set(plain[0])

    def loss(model, params, state):
        y, new = model.apply(params, state, X, train=True, key=1)
        return (y**2).sum(), (y, new)

    _, (y, new) = jax.grad(lambda p: loss(Remat(block), p, remat[1]), has_aux=True)(remat[0])
    assert (np.asarray(y) == 0).any()  # dropout is on
    assert not np.allclose(new["block.norm.mean"], 0)
    quiet = Remat(Chain())
    p, s = quiet.init(0, X)
    inner = {k.removeprefix("block."): v for k, v in p.items()}
    state = {k.removeprefix("block."): v for k, v in s.items()}
    a = jax.grad(lambda p: (quiet.apply(p, s, X, train=True)[0] ** 2).sum())(p)
    b = jax.grad(lambda p: (Chain().apply(p, state, X, train=True)[0] ** 2).sum())(inner)
    for name, value in b.items():
        np.testing.assert_allclose(a[f"block.{name}"], value, rtol=1e-4, atol=1e-6)


class Chain(Module):
    def __init__(self):
        self.dense, self.norm = layers.Dense(4, "tanh"), layers.BatchNormalization()

    def forward(self, x):
        return self.norm(self.dense(x))


def test_repeat_equals_blocks_one_after_the_other():
    stack = Repeat(Chain(), 3)
    params, state = stack.init(0, X)
    assert params["block.dense.kernel"].shape == (3, 4, 4)
    assert not np.allclose(params["block.dense.kernel"][0], params["block.dense.kernel"][1])
    y, new, captured = apply(stack, params, state, X, train=True, capture="block.dense")
    x = X
    for i in range(3):
        p, s = ({k.removeprefix("block."): v[i] for k, v in d.items()} for d in (params, state))
        x, after, inner = apply(Chain(), p, s, x, train=True, capture="dense")
        np.testing.assert_allclose(new["block.norm.mean"][i], after["norm.mean"], atol=1e-6)
        np.testing.assert_allclose(captured["block.dense"][i], inner["dense"], atol=1e-6)
    np.testing.assert_allclose(y, x, atol=1e-5)


def test_repeat_draws_other_noise_in_each_block():
    stack = Repeat(layers.Dropout(0.5), 2)
    ones = np.ones((50, 40), "float32")
    kept = (np.asarray(stack(ones, train=True, key=0)) > 0).mean()
    assert abs(kept - 0.25) < 0.05


def test_repeat_needs_a_block_that_keeps_the_shape():
    with pytest.raises(ValueError, match=r"output is like its input, got float32\[6, 4\] -> float32\[6, 3\]"):
        Repeat(layers.Dense(3), 2).init(0, X)
    with pytest.raises(ValueError, match="count from 1"):
        Repeat(layers.Dense(4), 0)


def test_the_members_of_an_ensemble_are_models_of_their_own():
    every = Ensemble(Chain(), 3, reduce=None)
    params, state = every.init(0, X)
    y, new = every.apply(params, state, X, train=True)
    assert y.shape == (6, 3, 4)
    for i in range(3):
        p, s = ({k.removeprefix("model."): v[i] for k, v in d.items()} for d in (params, state))
        single, after = Chain().apply(p, s, X, train=True)
        np.testing.assert_allclose(y[:, i], single, atol=1e-5)
        np.testing.assert_allclose(new["model.norm.mean"][i], after["norm.mean"], atol=1e-6)
    mean = Ensemble(Chain(), 3).build(X)
    params, state = weights_of(mean)
    np.testing.assert_allclose(mean(X), apply(every, params, state, X)[0].mean(1), atol=1e-6)


def test_losses_added_inside_come_out():
    from cenote.core.notes import collecting

    dense = layers.Dense(4, activity_regularizer="l2")
    for lifted, count in ((Remat(dense), 1), (Repeat(dense, 2), 2)):
        params, state = lifted.init(0, X)
        with collecting() as table:
            y, _ = lifted.apply(params, state, X)
        assert len(table.losses) == 1
        if count == 1:
            np.testing.assert_allclose(table.losses[0], 0.01 * jnp.sum(y**2) / len(X), rtol=1e-5)


def test_a_lifted_block_trains_in_a_model():
    import cenote as cn

    model = cn.Sequential([layers.Dense(4), Repeat(Chain(), 2), Remat(Block()), layers.Dense(1)])
    model.compile(cn.optimizers.Adam(0.02), "mse", seed=0)
    history = model.fit(X, X[:, :1], epochs=60, verbose=0).history["loss"]
    assert history[-1] < history[0]
