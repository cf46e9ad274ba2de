"""Layers with weights, state and randomness inside checkpoint, scan and vmap."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.core import Ensemble, Module, Remat, Repeat, apply, gradients, outputs, weights_of

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
# Arrays of this size run for microseconds: what makes programs fast takes longer than it saves.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


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

    _, (y, new) = quick(jax.grad(lambda p: loss(Remat(block), p, remat[1]), has_aux=True))(remat[0])
    assert (np.asarray(y) == 0).any()  # dropout is on
    assert not np.allclose(new["block.norm.mean"], 0)
    quiet = Remat(Chain())
    p, s = quiet.init(0, X)
    inner = {k.removeprefix("block."): v for k, v in p.items()}
    state = {k.removeprefix("block."): v for k, v in s.items()}
    a = quick(jax.grad(lambda p: (quiet.apply(p, s, X, train=True)[0] ** 2).sum()))(p)
    b = quick(jax.grad(lambda p: (Chain().apply(p, state, X, train=True)[0] ** 2).sum()))(inner)
    for name, value in b.items():
        np.testing.assert_allclose(a[f"block.{name}"], value, rtol=1e-4, atol=1e-6)


def test_remat_with_dropout_differs_from_the_plain_block_in_nothing(monkeypatch):
    model = Remat(Block())
    params, state = model.init(0, X)

    def slopes():
        def loss(p):
            y, new = model.apply(p, state, X, train=True, key=1)
            return (y**2).sum(), new

        return quick(jax.grad(loss, has_aux=True))(params)

    remat = slopes()
    monkeypatch.setattr(jax, "checkpoint", lambda function: function)
    plain = slopes()
    for part, expected in zip(remat, plain, strict=True):
        assert part.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(part[name], value, rtol=1e-4, atol=1e-6)


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
    y, new, captured = quick(lambda p, s: apply(stack, p, s, X, train=True, capture="block.dense"))(params, state)
    one = quick(lambda p, s, x: apply(Chain(), p, s, x, train=True, capture="dense"))
    x = X
    for i in range(3):
        p, s = ({k.removeprefix("block."): v[i] for k, v in d.items()} for d in (params, state))
        x, after, inner = one(p, s, x)
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
    y, new = quick(lambda p, s: every.apply(p, s, X, train=True))(params, state)
    one = quick(lambda p, s: Chain().apply(p, s, X, train=True))
    assert y.shape == (6, 3, 4)
    for i in range(3):
        p, s = ({k.removeprefix("model."): v[i] for k, v in d.items()} for d in (params, state))
        single, after = one(p, s)
        np.testing.assert_allclose(y[:, i], single, atol=1e-5)
        np.testing.assert_allclose(new["model.norm.mean"][i], after["norm.mean"], atol=1e-6)
    mean = Ensemble(Chain(), 3).build(X)
    params, state = weights_of(mean)
    expected = quick(lambda p, s: apply(every, p, s, X)[0].mean(1))(params, state)
    np.testing.assert_allclose(quick(lambda m: m(X))(mean), expected, atol=1e-6)


@pytest.mark.parametrize(
    "lifted", [Remat, lambda b: Repeat(b, 2), lambda b: Ensemble(b, 2)], ids=["remat", "repeat", "ensemble"]
)
def test_gradients_at_a_block_and_inside_it_are_the_slopes_there(lifted):
    model = Wrapped(lifted(Chain())).build(X)
    inner = "lifted.model" if hasattr(model.lifted, "model") else "lifted.block"
    params, state = weights_of(model)
    for path in (inner, f"{inner}.dense"):
        values, grads = gradients(model, lambda y: (y**2).sum(), X, paths=[path])
        nudge = np.random.default_rng(1).normal(size=values[path].shape).astype("float32")
        value = quick(lambda nudge: (apply(model, params, state, X, nudge=nudge)[0] ** 2).sum())
        ahead, behind = (value({path: s * np.float32(1e-2) * nudge}) for s in (1, -1))
        assert np.isclose((grads[path] * nudge).sum(), (ahead - behind) / 2e-2, rtol=1e-2) and np.abs(grads[path]).max() > 0.01


class Wrapped(Module):
    def __init__(self, lifted):
        self.lifted, self.head = lifted, layers.Dense(2)

    def forward(self, x):
        return self.head(self.lifted(x))


def test_masks_go_in_and_come_out():
    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])

    def answer(*after, weights=None, count=1):
        model = cn.Sequential([layers.Embedding(5, 4, mask_zero=True), *after])
        model.build(ids)
        if weights is not None:
            model.set_weights([weights[0], *(np.stack([w] * count) if count > 1 else w for w in weights[1:])])
        return model.predict(ids), model.get_weights()

    expected, weights = answer(layers.LSTM(3))
    assert not np.allclose(answer(Deaf(), layers.LSTM(3), weights=weights)[0], expected)  # the mask matters
    for after, count in (
        ([Remat(layers.LSTM(3))], 1),
        ([Remat(layers.Dropout(0.5)), layers.LSTM(3)], 1),
        ([Repeat(layers.Dropout(0.5), 2), layers.LSTM(3)], 1),
        ([Ensemble(layers.LSTM(3), 2)], 2),
        ([Ensemble(layers.Dropout(0.5), 2), layers.LSTM(3)], 1),
    ):
        np.testing.assert_allclose(answer(*after, weights=weights, count=count)[0], expected, atol=1e-6)


class Deaf(Module):
    def forward(self, x):
        return x * 1.0


def test_a_layer_shared_with_the_outside_is_shared_in_remat_and_refused_where_weights_are_stacked():
    class Tied(Module):
        def __init__(self, lift):
            self.dense = layers.Dense(4)
            self.lifted = lift(Through(self.dense))

        def forward(self, x):
            return self.lifted(self.dense(x))

    tied = Tied(Remat).build(X)
    assert list(weights_of(tied)[0]) == ["dense.kernel", "dense.bias"]
    np.testing.assert_allclose(tied(X), tied.dense(tied.dense(X)), atol=1e-5)
    grads = quick(jax.grad(lambda p: (tied.apply(p, {}, X)[0] ** 2).sum()))(weights_of(tied)[0])
    twice = quick(jax.grad(lambda m: (m(m(X)) ** 2).sum()))(tied.dense)
    np.testing.assert_allclose(grads["dense.kernel"], twice._arrays["kernel"], rtol=1e-4)
    for lift, name in ((lambda b: Repeat(b, 2), "Repeat"), (lambda b: Ensemble(b, 2), "Ensemble")):
        with pytest.raises(ValueError, match=rf"{name} gives each of its 2 blocks weights of its own, but the layer 'dense'"):
            Tied(lift).build(X)


class Through(Module):
    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_the_second_call_of_a_shared_remat_has_its_own_outputs():
    shared = Remat(layers.Dense(4, "tanh"))
    model = Twice(shared).build(X)
    found = outputs(model, X)
    assert {"shared", "shared:1", "shared.block", "shared.block:1"} <= set(found)
    np.testing.assert_allclose(found["shared.block:1"], shared(shared(X)), atol=1e-6)


class Twice(Module):
    def __init__(self, shared):
        self.shared = shared

    def forward(self, x):
        return self.shared(self.shared(x))


def test_regularizers_and_constraints_look_at_each_block_alone():
    dense = layers.Dense(4, kernel_regularizer="l2", kernel_constraint=cn.constraints.UnitNorm())
    model = cn.Sequential([Repeat(dense, 3)])
    model.compile(cn.optimizers.SGD(0.1), "mse")
    model.fit(X, X, verbose=0)
    kernels = model.params["layers.0.block.kernel"]
    np.testing.assert_allclose(np.linalg.norm(kernels, axis=1), 1, rtol=1e-4)
    assert model.evaluate(X, model.predict(X), verbose=0) == pytest.approx(0.01 * 3 * 4, rel=1e-4)


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
    model = cn.Sequential([layers.Dense(4), Repeat(Chain(), 2), Remat(Block()), layers.Dense(1)])
    model.compile(cn.optimizers.Adam(0.02), "mse", seed=0)
    history = model.fit(X, X[:, :1], epochs=60, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_no_traced_value_gets_out():
    model = cn.Sequential([layers.Dense(4), Repeat(Chain(), 2), Remat(Block()), Ensemble(Chain(), 2)])
    model.build(X)
    (params, state), kept = weights_of(model), []
    gc.freeze()  # leaks are looked for among all objects; those from before cannot be any
    try:
        with jax.checking_leaks():  # which looks at traces: nothing needs to be compiled
            jax.jit(lambda x: model(x, train=True, key=0)).trace(X)
            jax.jit(jax.grad(lambda p: model.apply(p, state, X, train=True, key=0)[0].sum())).trace(params)
            jax.jit(lambda m: m(X)).trace(model)
            with pytest.raises(Exception, match="Leaked"):
                jax.jit(lambda x: kept.append(x * 2)).trace(X)
    finally:
        gc.unfreeze()
