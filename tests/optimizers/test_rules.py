"""Every rule for twenty steps beside Keras, or beside what PyTorch answered (tests/parity/make_optimizers.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from steps import GRADS, PARAMS, TORCH, assert_same, run, run_keras

from cenote import optimizers, schedules

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
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-3, "weight_decay": 0.01}),
    ("Adafactor", {"learning_rate": 0.5}),
    ("Adafactor", {"learning_rate": 0.01, "beta_2_decay": -0.5, "clip_threshold": 0.4, "weight_decay": 0.1}),
    ("Adafactor", {"relative_step": False, "epsilon_2": 0.1, "epsilon_1": 1e-4}),
    ("Adamax", {}),
    ("Adamax", {"learning_rate": 0.05, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-2, "clipvalue": 0.5}),
    ("Ftrl", {"learning_rate": 0.1}),
    ("Ftrl", {"learning_rate": 0.5, "learning_rate_power": -0.3, "l1_regularization_strength": 0.3, "beta": 0.2}),
    ("Ftrl", {"l2_regularization_strength": 0.1, "l2_shrinkage_regularization_strength": 0.2, "weight_decay": 0.1}),
    ("Ftrl", {"learning_rate_power": 0.0, "initial_accumulator_value": 0.5}),
    ("Lamb", {"learning_rate": 0.02}),
    ("Lamb", {"learning_rate": 0.02, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-2, "weight_decay": 0.1}),
    ("Lion", {"learning_rate": 0.01}),
    ("Lion", {"learning_rate": 0.01, "beta_1": 0.5, "beta_2": 0.7, "weight_decay": 0.5}),
    ("Muon", {"learning_rate": 0.01}),
    ("Muon", {"learning_rate": 0.01, "nesterov": False, "rms_rate": None, "momentum": 0.5, "ns_steps": 3}),
    ("Muon", {"adam_weight_decay": None, "weight_decay": 0.5, "adam_lr_ratio": 0.1, "muon_a": 3.0, "adam_beta_1": 0.5}),
    ("Muon", {"exclude_layers": ["kernel"], "weight_decay": None}),
    ("Nadam", {"learning_rate": 0.01}),
    ("Nadam", {"learning_rate": 0.01, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2, "weight_decay": 0.1}),
    ("ScheduleFreeAdamW", {"learning_rate": 0.05}),
    ("ScheduleFreeAdamW", {"warmup_steps": 8, "beta_1": 0.6, "beta_2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1}),
]
NAMES = sorted({name for name, _ in CASES})


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_twenty_steps_are_those_of_keras(name, options):
    keras = pytest.importorskip("keras")
    ours, state = run(getattr(optimizers, name)(**options))
    assert_same(ours, run_keras(getattr(keras.optimizers, name)(**options)))
    assert state["step"].dtype == jnp.int32 and int(state["step"]) == 20


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_are_those_of_keras(name):
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(optimizers, name)(), getattr(keras.optimizers, name)().get_config()
    for key, value in {**ours.config(), "weight_decay": ours.weight_decay}.items():
        if key != "class":
            assert theirs[key] == pytest.approx(value or theirs[key]), key
    own = set(theirs) - {"learning_rate", "name"}
    taken = set(optimizers.Optimizer.__init__.__annotations__) | set(type(ours).__init__.__annotations__)
    assert own <= taken, "an argument of Keras's is missing"
    again = optimizers.get(ours.config())
    assert type(again) is type(ours) and again.config() == ours.config()


@pytest.mark.parametrize("case", TORCH["rules"], ids=lambda c: f"{c['name']} {c['options']}")
def test_twenty_steps_are_those_of_pytorch(case):
    params = {k: np.asarray(v, "float32") for k, v in TORCH["params"].items()}
    grads = [{k: np.asarray(v, "float32") for k, v in g.items()} for g in TORCH["grads"]]
    optimizer = getattr(optimizers, case["name"])(**case["options"])
    ours, state = run(optimizer, params, grads)
    assert_same(ours, {k: np.asarray(v) for k, v in case["params"].items()})
    if "average" in case:
        assert_same(state["average"], {k: np.asarray(v) for k, v in case["average"].items()})


def test_pytorch_differs_where_the_table_says_so():
    """Nadam's momentum grows by 0.96^t in Keras, by 0.96^(0.004 t) in PyTorch: the numbers are really others."""
    params = {k: np.asarray(v, "float32") for k, v in TORCH["params"].items()}
    grads = [{k: np.asarray(v, "float32") for k, v in g.items()} for g in TORCH["grads"]]
    ours, _ = run(optimizers.Nadam(0.01, epsilon=1e-8), params, grads)
    theirs = np.asarray(TORCH["nadam"]["w"])
    assert 1e-3 < np.abs(np.asarray(ours["w"]) - theirs).max() < 0.3
    with pytest.raises(ValueError, match="sparse gradients, and JAX's are dense"):
        optimizers.get("sparse_adam")


def test_muon_knows_embeddings_and_named_layers_by_their_path():
    muon = optimizers.Muon(exclude_layers=["head"])
    state = muon.init({k: jnp.ones((3, 3)) for k in ("layers.0.table", "embedding.kernel", "dense.kernel", "head.kernel")})
    assert [k for k, v in state["velocity"].items() if v is None] == ["dense.kernel"]
    assert optimizers.Muon(exclude_embeddings=False).init({"layers.0.table": jnp.ones((3, 3))})["velocity"] == {
        "layers.0.table": None
    }


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adafactor"])
def test_schedules_are_followed_as_in_keras(name):
    keras = pytest.importorskip("keras")
    options = {"momentum": 0.9} if name == "SGD" else {}
    ours, state = run(getattr(optimizers, name)(schedules.CosineDecay(0.01, 15), **options))
    theirs = getattr(keras.optimizers, name)(keras.optimizers.schedules.CosineDecay(0.01, 15), **options)
    assert_same(ours, run_keras(theirs))
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


def test_slots_are_like_the_parameters_in_every_precision():
    for name in [*NAMES, "RAdam", "ASGD", "Rprop"]:
        for dtype in ("bfloat16", "float64"):
            with jax.enable_x64(dtype == "float64"):
                params = {"w": jnp.ones((2, 3), dtype), "b": jnp.ones((), dtype)}
                optimizer = getattr(optimizers, name)(weight_decay=0.1, use_ema=name != "ASGD", clipnorm=1.0)
                state = optimizer.init(params)
                assert state.get("momentum", {}).get("w", params["w"]).sharding == params["w"].sharding
                specs = jax.eval_shape(optimizer.update, params, state, params)
                assert {v.dtype for v in specs[0].values()} == {jnp.dtype(dtype)}, name
                same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), specs[1], state)
                assert all(jax.tree.leaves(same)), f"{name}: a compiled loop needs a state that keeps its form"


def test_weights_and_gradients_of_zero_give_no_nan():
    zeros = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}
    for name in [*NAMES, "RAdam", "ASGD", "Rprop"]:
        for grads in (zeros, {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}):
            optimizer = getattr(optimizers, name)()
            updates, _ = optimizer.update(grads, optimizer.init(zeros), zeros)
            assert all(bool(jnp.isfinite(u).all()) for u in updates.values()), name
