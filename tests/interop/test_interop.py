"""Models of other libraries as layers: the same answers as there, trained by our engine."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import interop, layers

X = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
Y = (X[:, :1] - X[:, 1:2]).astype("float32")


@functools.cache
def in_training(layer):
    """``layer.apply`` for training, compiled once: alone, each of its operations would be compiled by itself."""
    return jax.jit(lambda params, state, key: layer.apply(params, state, X, train=True, key=jax.random.key(key)))


def trains(layer):
    model = cn.Sequential([layers.Dense(5), layer, layers.Dense(1)])
    model.compile(cn.optimizers.Adam(0.02), "mse")
    model.build(X)
    before = {k: np.array(v) for k, v in model.params.items()}
    first = model.evaluate(X, Y, verbose=0)
    model.fit(X, Y, batch_size=8, epochs=40, verbose=0)
    assert model.evaluate(X, Y, verbose=0) < first / 3
    moved = [k for k, v in model.params.items() if not np.array_equal(before[k], v)]
    assert any(k.startswith("layers.1.") for k in moved)
    return model


def linen_net():
    linen = pytest.importorskip("flax.linen")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            x = linen.Dense(8)(x)
            x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = linen.Dropout(0.5, deterministic=not train)(jnp.tanh(x))
            return linen.Dense(3)(x)

    return Net()


def test_linen():
    net = linen_net()
    layer = interop.FlaxLayer(net).build(X)
    assert {"Dense_0.kernel", "Dense_1.bias", "batch_stats.BatchNorm_0.mean"} <= set(layer._weights)
    params, state = cn.core.weights_of(layer)
    variables = {
        "params": {
            "Dense_0": {k: params[f"Dense_0.{k}"] for k in ("kernel", "bias")},
            "BatchNorm_0": {k: params[f"BatchNorm_0.{k}"] for k in ("scale", "bias")},
            "Dense_1": {k: params[f"Dense_1.{k}"] for k in ("kernel", "bias")},
        },
        "batch_stats": {"BatchNorm_0": {k: state[f"batch_stats.BatchNorm_0.{k}"] for k in ("mean", "var")}},
    }
    assert np.allclose(layer(X), jax.jit(net.apply)(variables, X), atol=1e-6)
    one, new_state = in_training(layer)(params, state, 1)
    other, _ = in_training(layer)(params, state, 2)
    assert not np.allclose(one, other)  # dropout
    assert not np.allclose(new_state["batch_stats.BatchNorm_0.mean"], 0)
    model = trains(interop.FlaxLayer(net))
    assert np.abs(model.state_arrays["layers.1.batch_stats.BatchNorm_0.mean"]).sum() > 0


def test_nnx():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(5, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.last = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.dropout(jnp.tanh(self.norm(self.first(x)))))

    net = Net(nnx.Rngs(0))
    layer = interop.NNXLayer(net).build(X)
    assert {"first.kernel", "last.bias", "norm.mean"} <= set(layer._weights)
    net.eval()
    assert np.allclose(layer(X), net(X), atol=1e-6)
    params, state = cn.core.weights_of(layer)
    one, new_state = in_training(layer)(params, state, 1)
    other, _ = in_training(layer)(params, state, 2)
    assert not np.allclose(one, other) and not np.allclose(new_state["norm.mean"], 0)
    trains(interop.NNXLayer(Net(nnx.Rngs(1))))


def test_equinox():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        mlp: eqx.nn.MLP
        dropout: eqx.nn.Dropout

        def __init__(self, key):
            self.mlp = eqx.nn.MLP(5, 3, 8, 1, key=key)
            self.dropout = eqx.nn.Dropout(0.5)

        def __call__(self, x, *, key=None):
            return self.dropout(self.mlp(x), key=key)

    net = Net(jax.random.key(0))
    layer = interop.EquinoxLayer(net).build(X)
    assert "mlp.layers.0.weight" in layer._weights
    assert np.allclose(layer(X), jax.vmap(eqx.nn.inference_mode(net))(X), atol=1e-6)
    one, other = (layer(X, train=True, key=k) for k in (1, 2))
    assert not np.allclose(one, other)
    trains(interop.EquinoxLayer(eqx.nn.MLP(5, 3, 8, 1, key=jax.random.key(0))))


def test_an_equinox_module_with_state():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        norm: eqx.nn.BatchNorm
        last: eqx.nn.Linear

        def __init__(self, key):
            self.norm = eqx.nn.BatchNorm(5, axis_name="batch", mode="batch")
            self.last = eqx.nn.Linear(5, 3, key=key)

        def __call__(self, x, state):
            x, state = self.norm(x, state)
            return self.last(x), state

    with pytest.raises(TypeError, match=r"keeps an equinox\.nn\.State, .*make_with_state\(Net\)"):
        interop.EquinoxLayer(Net(jax.random.key(0)))
    net, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    layer = interop.EquinoxLayer(net, state).build(X)
    params, begun = cn.core.weights_of(layer)
    y, new = layer.apply(params, begun, X, train=True, key=0)
    expected, after = jax.vmap(net, (0, None), (0, None), axis_name="batch")(X, state)
    assert np.allclose(y, expected, atol=1e-5)
    for got, want in zip(new.values(), jax.tree.leaves(after), strict=True):
        assert np.allclose(got, want, atol=1e-6)
    trains(interop.EquinoxLayer(net, state))


def test_a_plain_pair_of_functions():
    def init(key, x):
        return {"w": jax.random.normal(key, (x.shape[-1], 4)), "b": jnp.zeros(4)}

    layer = interop.FunctionLayer(init, lambda params, key, x: jnp.tanh(x @ params["w"] + params["b"]))
    model = trains(layer)
    assert model.params["layers.1.w"].shape == (5, 4)


def test_a_foreign_model_cannot_be_saved_and_says_so(tmp_path):
    model = cn.Sequential([interop.FlaxLayer(linen_net())])
    model.build(X)
    with pytest.raises(ValueError, match="cannot be written into a model file"):
        model.save(tmp_path / "m.cenote")


def test_what_is_not_installed_is_named(monkeypatch):
    from cenote.interop.functions import require

    with pytest.raises(ImportError, match=r"needs nowhere, which is not installed: pip install 'cenote\[flax\]'"):
        require("nowhere", "flax")
