"""Optimizers: twenty steps beside Keras, clipping, schedules, and optax on both sides."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cenote import optimizers, schedules

RNG = np.random.default_rng(0)
SHAPES = {"layers.0.kernel": (5, 4), "layers.0.bias": (4,), "scale": ()}
PARAMS = {k: RNG.normal(size=s).astype("float32") for k, s in SHAPES.items()}
GRADS = [{k: RNG.normal(size=s).astype("float32") for k, s in SHAPES.items()} for _ in range(20)]

CASES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"clipnorm": 0.5}),
    ("SGD", {"clipvalue": 0.3}),
    ("SGD", {"global_clipnorm": 0.5}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "amsgrad": True, "epsilon": 1e-3, "beta_1": 0.8, "beta_2": 0.9}),
    ("Adam", {"weight_decay": 0.2, "global_clipnorm": 1.0}),
    ("AdamW", {"learning_rate": 0.02}),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.8, "momentum": 0.9, "epsilon": 1e-4}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("RMSprop", {"centered": True}),
    ("Adagrad", {"learning_rate": 0.1}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "epsilon": 1e-2}),
]


def run(optimizer, params=PARAMS, grads=GRADS):
    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)
    step = jax.jit(optimizer.update)
    for g in grads:
        updates, state = step(g, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params, state


def run_keras(optimizer, params=PARAMS, grads=GRADS):
    keras = pytest.importorskip("keras")
    variables = [keras.Variable(v) for v in params.values()]
    for g in grads:
        optimizer.apply(list(g.values()), variables)
    return {k: np.asarray(v) for k, v in zip(params, variables, strict=True)}


def assert_same(ours, theirs, **tolerance):
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, err_msg=name, **tolerance)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_twenty_steps_are_those_of_keras(name, options):
    keras = pytest.importorskip("keras")
    ours, state = run(getattr(optimizers, name)(**options))
    assert_same(ours, run_keras(getattr(keras.optimizers, name)(**options)), rtol=2e-6, atol=1e-6)
    assert state["step"].dtype == jnp.int32 and int(state["step"]) == 20


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_defaults_are_those_of_keras(name):
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(optimizers, name)(), getattr(keras.optimizers, name)().get_config()
    for key, value in {**ours.config(), "weight_decay": ours.weight_decay}.items():
        if key != "class":
            assert theirs[key] == pytest.approx(value), key


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_schedules_are_followed_as_in_keras(name):
    keras = pytest.importorskip("keras")
    options = {"momentum": 0.9} if name == "SGD" else {}
    ours, state = run(getattr(optimizers, name)(schedules.CosineDecay(0.01, 15), **options))
    theirs = getattr(keras.optimizers, name)(keras.optimizers.schedules.CosineDecay(0.01, 15), **options)
    assert_same(ours, run_keras(theirs), rtol=2e-6, atol=1e-6)
    assert state["learning_rate"].item() == pytest.approx(0.0, abs=1e-6), "the state shows the rate last used"


def test_the_rate_in_the_state_may_be_changed():
    optimizer = optimizers.SGD(0.1)
    params = {"w": jnp.ones(2)}
    state = {**optimizer.init(params), "learning_rate": jnp.float32(0.5)}
    assert optimizer.update({"w": jnp.ones(2)}, state, params)[0]["w"].tolist() == [-0.5, -0.5]


def test_double_precision_keeps_its_digits():
    with jax.enable_x64(True):
        params = {k: v.astype("float64") for k, v in PARAMS.items()}
        grads = [{k: v.astype("float64") for k, v in g.items()} for g in GRADS]
        ours, state = run(optimizers.Adam(0.25), params, grads)
        assert state["momentum"]["scale"].dtype == jnp.float64
        theirs, opt = params, optax.adam(0.25, eps=0.0, eps_root=0.0)  # without epsilon its place does not matter
        ours, _ = run(optimizers.Adam(0.25, epsilon=0.0), params, grads)
        inner = opt.init(theirs)
        for g in grads:
            updates, inner = opt.update(g, inner, theirs)
            theirs = optax.apply_updates(theirs, updates)
        assert_same(ours, theirs, rtol=1e-10)


def test_slots_are_like_the_parameters():
    params = {"w": jnp.ones((2, 3), jnp.bfloat16)}
    state = optimizers.Adagrad().init(params)
    assert state["accumulator"]["w"].dtype == jnp.bfloat16
    assert state["accumulator"]["w"].sharding == params["w"].sharding
    assert set(optimizers.Adam(amsgrad=True).init(params)) == {
        "step",
        "learning_rate",
        "momentum",
        "velocity",
        "velocity_hat",
    }
    assert set(optimizers.SGD().init(params)) == {"step", "learning_rate"}


def test_clipping_leaves_zero_gradients_alone():
    for clip in ("clipnorm", "global_clipnorm"):
        ours, _ = run(optimizers.SGD(0.1, **{clip: 1.0}), grads=[jax.tree.map(np.zeros_like, PARAMS)])
        assert_same(ours, PARAMS, rtol=0)


def test_any_transformation_of_optax_is_an_optimizer():
    ours, state = run(optimizers.get(optax.lion(0.01)))
    params, opt = PARAMS, optax.lion(0.01)
    inner = opt.init(params)
    for g in GRADS:
        updates, inner = opt.update(g, inner, params)
        params = optax.apply_updates(params, updates)
    assert_same(ours, params, rtol=1e-6)
    assert np.isnan(state["learning_rate"])


def test_an_injected_rate_of_optax_is_shown_and_changed():
    optimizer = optimizers.get(optax.inject_hyperparams(optax.sgd)(learning_rate=0.1))
    params = {"w": jnp.ones(2)}
    state = optimizer.init(params)
    assert state["learning_rate"].item() == pytest.approx(0.1)
    state = {**state, "learning_rate": jnp.float32(0.5)}
    assert optimizer.update({"w": jnp.ones(2)}, state, params)[0]["w"].tolist() == [-0.5, -0.5]


def test_ours_is_a_transformation_for_optax():
    chained = optax.chain(optax.scale(0.5), optimizers.SGD(0.1).transformation)
    params = {"w": jnp.ones(1)}
    assert chained.update({"w": jnp.ones(1)}, chained.init(params), params)[0]["w"].item() == pytest.approx(-0.05)


def test_names():
    assert optimizers.get("nesterov").nesterov and optimizers.get("momentum").momentum == 0.9
    assert isinstance(optimizers.get("gradient_descent"), optimizers.GradientDescent)
    assert optimizers.get("rmsprop").name == "rmsprop"
    assert optimizers.get(optimizers.AdamW).weight_decay == 0.004
    assert optimizers.Adam(0.3).learning_rate == 0.3


def test_bad_arguments():
    with pytest.raises(ValueError, match="only one of clipnorm, clipvalue, global_clipnorm"):
        optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match=r"learning_rate=-0\.1"):
        optimizers.Adam(-0.1)
    with pytest.raises(ValueError, match="beta_1=1"):
        optimizers.Adam(beta_1=1.0)
    with pytest.raises(ValueError, match="momentum=2"):
        optimizers.SGD(momentum=2)
