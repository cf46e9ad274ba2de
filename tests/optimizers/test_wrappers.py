"""Optimizers made of optimizers beside Keras's: loss scales that find themselves, one optimizer a part; and L-BFGS."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from steps import GRADS, TORCH, assert_same, run, run_keras

from cenote import optimizers
from cenote.optimizers import LBFGS, LossScaleOptimizer, MultiOptimizer, OptimizerMap


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def test_a_dynamic_loss_scale_goes_as_in_keras(keras):
    grads = [dict(g) for g in GRADS]
    for i in (2, 3, 11):
        grads[i]["layers.0.bias"] = np.full(4, np.inf if i == 2 else np.nan, "float32")
    theirs = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=64.0, dynamic_growth_steps=3)
    expected = run_keras(theirs, grads=grads)
    ours, state = run(LossScaleOptimizer(optimizers.Adam(0.01), 64.0, 3), grads=grads)
    assert_same(ours, expected)
    # scales: 64, halved at steps 2, 3 and 11, doubled after each third good step
    assert state["dynamic_scale"] == 64.0 * 0.5**3 * 2**4 and state["good_steps"] == 2
    assert int(state["inner"]["step"]) == 17 and int(state["step"]) == 20


def test_a_loss_scale_passes_on_rates_averages_and_its_config():
    optimizer = LossScaleOptimizer(optimizers.SGD(0.1, use_ema=True), initial_scale=4.0)
    params = {"w": jnp.ones(2)}
    state = {**optimizer.init(params), "learning_rate": jnp.float32(0.5)}
    updates, new = jax.jit(optimizer.update)({"w": jnp.full(2, 4.0)}, state, params)
    assert updates["w"].tolist() == [-0.5, -0.5] and new["learning_rate"] == 0.5
    assert optimizer.scale_loss(jnp.float32(3.0), state) == 12.0 and optimizers.averages(new)["w"].tolist() == [0.5, 0.5]
    optimizer.learning_rate = 0.25
    assert optimizer.inner_optimizer.learning_rate == 0.25
    again = optimizers.get(optimizer.config())
    assert again.config() == optimizer.config() and again.initial_scale == 4.0 and again.inner_optimizer.use_ema


def test_several_optimizers_move_their_parts_as_in_keras(keras):
    make = lambda module: {  # noqa: E731
        "default_optimizer": module.SGD(0.1, momentum=0.9),
        "optimizer_map": {".*kernel": module.Adam(0.05, clipnorm=0.5), "scale": module.RMSprop(0.02)},
    }
    theirs = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(**make(keras.optimizers)))
    expected = run_keras(theirs)
    ours = MultiOptimizer(OptimizerMap(**make(optimizers)))
    for optimizer in (ours, optimizers.get(ours.config())):
        found, state = run(optimizer)
        assert_same(found, expected)
        assert [sorted(s.get("velocity", s.get("momentum"))) for s in state["optimizers"]] == [
            ["layers.0.kernel"],
            ["scale"],
            ["layers.0.bias"],
        ]
    kernels, others = optimizers.Adam(0.05, clipnorm=0.5), optimizers.SGD(0.1, momentum=0.9)
    chosen = MultiOptimizer(lambda path: kernels if path.endswith("kernel") else others)
    assert_same({k: v for k, v in run(chosen)[0].items() if k != "scale"}, {k: v for k, v in expected.items() if k != "scale"})


def test_maps_of_optimizers_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"several patterns of the OptimizerMap: encoder, encoder\.0"):
        OptimizerMap("sgd", {"encoder": "adam", "encoder.0": "sgd"})["encoder.0.kernel"]
    with pytest.raises(ValueError, match="LossScaleOptimizer cannot be one of several"):
        OptimizerMap("sgd", {"a": LossScaleOptimizer("adam")})
    with pytest.raises(AttributeError, match="has no learning rate of its own"):
        _ = MultiOptimizer(OptimizerMap("sgd")).learning_rate
    with pytest.raises(TypeError, match="OptimizerMap or a function"):
        MultiOptimizer(3)


# -- L-BFGS ----------------------------------------------------------------------------------------------------------------


def rosenbrock(params):
    p = params["p"]
    return jnp.sum(10 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)


def follow(optimizer, updates, function=rosenbrock, start=(-1.0, 0.8, 0.3, -0.5)):
    params = {"p": jnp.array(start)}
    state, path = optimizer.init(params), []

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(function)(params)
        updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=function)
        return optax.apply_updates(params, updates), state

    for _ in range(updates):
        params, state = step(params, state)
        path.append(np.asarray(params["p"]))
    return path, state


@pytest.mark.parametrize("case", TORCH["lbfgs"], ids=lambda case: str(case["options"]))
def test_lbfgs_with_a_fixed_length_goes_pytorchs_way(case):
    path, _ = follow(LBFGS(line_search_fn=None, **case["options"]), len(case["path"]))
    np.testing.assert_allclose(path, case["path"], rtol=2e-4, atol=2e-4)


def test_lbfgs_with_a_line_search_goes_pytorchs_way():
    path, state = follow(LBFGS(max_iter=3, max_eval=100), len(TORCH["lbfgs_wolfe"]))
    np.testing.assert_allclose(path, TORCH["lbfgs_wolfe"], rtol=2e-3, atol=2e-3)
    assert int(state["iterations"]) == 3 * len(path)


def test_lbfgs_ends_at_the_bottom_and_stays_there():
    path, state = follow(LBFGS(max_iter=60), 3)
    np.testing.assert_allclose(path[0], 1.0, atol=1e-3)
    np.testing.assert_allclose(path[-1], 1.0, atol=1e-3)
    assert int(state["iterations"]) < 60


def test_a_line_search_steps_back_from_where_the_loss_is_no_number():
    function = lambda params: -jnp.log(1 - params["p"][0] ** 2) + (params["p"][0] - 0.5) ** 2  # noqa: E731
    path, _ = follow(LBFGS(), 1, function, start=(-0.9,))
    grad = jax.grad(lambda p: function({"p": p}))(jnp.asarray(path[-1]))
    assert abs(path[-1][0]) < 1 and abs(float(grad[0])) < 1e-3


def test_lbfgs_without_the_loss_says_what_to_do():
    with pytest.raises(ValueError, match="train with fit, or call update"):
        LBFGS().update({"w": jnp.ones(1)}, LBFGS().init({"w": jnp.ones(1)}), {"w": jnp.ones(1)})
    with pytest.raises(TypeError, match=r"LBFGS.*clipnorm"):
        LBFGS(clipnorm=1.0)
