"""The options of every optimizer beside Keras: exclusions, averages, accumulation, loss scales; and groups of parameters."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from steps import GRADS, PARAMS, assert_same, run, run_keras

from cenote import optimizers, schedules


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


OPTIONS = [
    ("SGD", {"use_ema": True, "ema_momentum": 0.8}),
    ("Adam", {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3}),
    ("SGD", {"gradient_accumulation_steps": 3, "momentum": 0.9}),
    ("Adam", {"gradient_accumulation_steps": 4, "clipnorm": 0.5, "weight_decay": 0.1}),
    ("RMSprop", {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2, "ema_momentum": 0.5}),
    ("Lamb", {"loss_scale_factor": 8.0, "global_clipnorm": 0.3}),
    ("Muon", {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0, "learning_rate": 0.1}),
    ("Adam", {"gradient_accumulation_steps": 5, "schedule": True}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_twenty_steps_with_options_are_those_of_keras(keras, name, options):
    ours, theirs = dict(options), dict(options)
    if ours.pop("schedule", False):
        theirs.pop("schedule")
        ours["learning_rate"] = schedules.ExponentialDecay(0.1, 4, 0.5)  # it looks at the steps, not at the updates
        theirs["learning_rate"] = keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.5)
    optimizer = getattr(keras.optimizers, name)(**theirs)
    found, state = run(getattr(optimizers, name)(**ours))
    assert_same(found, run_keras(optimizer))
    assert int(state["step"]) == 20


def test_averages_are_those_of_keras(keras):
    ours, theirs = (
        optimizers.Adam(0.01, use_ema=True, ema_momentum=0.8),
        keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.8),
    )
    variables = [keras.Variable(v) for v in PARAMS.values()]
    for g in GRADS:
        theirs.apply(list(g.values()), variables)
    _, state = run(ours)
    averages = dict(zip(PARAMS, theirs._model_variables_moving_average, strict=True))
    assert_same(optimizers.averages(state), {k: np.asarray(v) for k, v in averages.items()})


def test_decay_is_kept_from_what_is_excluded_as_in_keras(keras):
    theirs = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    theirs.exclude_from_weight_decay(var_names=["bias", "^scale"])
    ours = optimizers.AdamW(0.01, weight_decay=0.5)
    ours.exclude_from_weight_decay(var_names=["bias", "^scale"])
    expected = run_keras(theirs)
    for optimizer in (
        ours,
        optimizers.get(ours.config()),
        optimizers.AdamW(0.01, weight_decay=0.5, exclude_from_weight_decay=["*.bias", "scale"]),
    ):
        assert_same(run(optimizer)[0], expected)
    ours.exclude_from_weight_decay(var_list=["layers.0.bias", "scale"])
    assert_same(run(ours)[0], expected)


def test_clipping_leaves_zero_gradients_alone_and_shows_infinite_ones():
    for clip in ("clipnorm", "global_clipnorm"):
        ours, _ = run(optimizers.SGD(0.1, **{clip: 1.0}), grads=[jax.tree.map(np.zeros_like, PARAMS)])
        assert_same(ours, PARAMS, rtol=0)
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    optimizer = optimizers.SGD(global_clipnorm=1.0)
    updates, _ = optimizer.update({"a": jnp.array([jnp.inf, 1]), "b": jnp.ones(2)}, optimizer.init(params), params)
    assert all(bool(jnp.isnan(u).all()) for u in updates.values()), "as in Keras: one infinite gradient spoils all"


# -- groups ----------------------------------------------------------------------------------------------------------------


def alone(optimizer, name):
    """What an optimizer makes of one array, with all others left out."""
    return np.asarray(run(optimizer, {name: PARAMS[name]}, [{name: g[name]} for g in GRADS])[0][name])


def test_each_group_moves_as_under_an_optimizer_of_its_own():
    groups = {
        "layers.0.kernel": {"learning_rate": 0.5, "weight_decay": 0.0},
        "layers.*": {"multiplier": 0.1},
        "scale": {"learning_rate": schedules.ExponentialDecay(0.3, 5, 0.5)},
    }
    for make in (
        lambda *args, **options: optimizers.Adam(*args, **options),
        lambda *args, **options: optimizers.SGD(*args, momentum=0.9, **options),
    ):
        optimizer = make(0.01, weight_decay=0.2, groups=groups)
        for same in (optimizer, optimizers.get(optimizer.config())):
            found, _ = run(same)
            expected = {
                "layers.0.kernel": alone(make(0.5, weight_decay=0.0), "layers.0.kernel"),
                "layers.0.bias": alone(make(0.001, weight_decay=0.2), "layers.0.bias"),
                "scale": alone(make(schedules.ExponentialDecay(0.3, 5, 0.5), weight_decay=0.2), "scale"),
            }
            assert_same(found, expected)


def test_a_multiplier_follows_the_rate_and_a_rate_of_its_own_does_not():
    optimizer = optimizers.SGD(1.0, groups={"a": {"multiplier": 0.1}, "b": {"learning_rate": 0.3}})
    params = {name: jnp.zeros(()) for name in "abc"}
    state = {**optimizer.init(params), "learning_rate": jnp.float32(0.5)}
    updates, _ = optimizer.update({name: jnp.ones(()) for name in "abc"}, state, params)
    np.testing.assert_allclose([updates[name] for name in "abc"], [-0.05, -0.3, -0.5])


def test_a_group_that_holds_nothing_is_told_and_a_slip_is_refused():
    with pytest.warns(UserWarning, match=r"group 'encodr.\*' holds no trained weight; the weights are layers.0.kernel"):
        optimizers.Adam(groups={"encodr.*": {"multiplier": 0.1}}).init({"layers.0.kernel": jnp.ones(1)})
    with pytest.raises(ValueError, match="did you mean 'multiplier'"):
        optimizers.Adam(groups={"a": {"multiplyer": 0.1}})
    with pytest.raises(ValueError, match="give one of them"):
        optimizers.Adam(groups={"a": {"multiplier": 0.1, "learning_rate": 0.1}})


# -- optax -----------------------------------------------------------------------------------------------------------------


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


# -- names and messages ----------------------------------------------------------------------------------------------------


def test_names():
    assert optimizers.get("nesterov").nesterov and optimizers.get("momentum").momentum == 0.9
    assert isinstance(optimizers.get("gradient_descent"), optimizers.GradientDescent)
    assert optimizers.get("rmsprop").name == "rmsprop"
    assert optimizers.get(optimizers.AdamW).weight_decay == 0.004
    assert optimizers.Adam(0.3).learning_rate == 0.3
    for name in ("adadelta", "schedule_free_adamw", "lbfgs", "radam", "Nadam", "muon"):
        assert optimizers.get(name).init({"w": jnp.ones((2, 2))})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.SGD(clipnorm=1.0, clipvalue=1.0), "only one of clipnorm, clipvalue, global_clipnorm"),
        (lambda: optimizers.Adam(-0.1), r"learning_rate=-0\.1"),
        (lambda: optimizers.Adam(beta_1=1.0), "beta_1=1"),
        (lambda: optimizers.SGD(momentum=2), "momentum=2"),
        (lambda: optimizers.SGD(gradient_accumulation_steps=1), "gradient_accumulation_steps=1.*at least 2"),
        (lambda: optimizers.Adam(use_ema=True, ema_momentum=1.5), r"ema_momentum=1\.5"),
        (lambda: optimizers.Adam(use_ema=True, ema_overwrite_frequency=0), "ema_overwrite_frequency=0"),
        (lambda: optimizers.Lion(beta_1=0), "Lion needs a number above 0"),
        (lambda: optimizers.Ftrl(l1_regularization_strength=-1), "l1_regularization_strength=-1"),
        (lambda: optimizers.Ftrl(learning_rate_power=1), "up to 0, such as -0.5"),
        (lambda: optimizers.Rprop(etas=(1.2, 0.5)), "a factor below 1 and one above it"),
        (lambda: optimizers.ASGD(use_ema=True), "ASGD keeps an average itself"),
        (lambda: optimizers.ScheduleFreeAdamW(beta_1=0.0), "needs a number above 0"),
        (lambda: optimizers.LBFGS(line_search_fn="armijo"), "'strong_wolfe' or None"),
        (lambda: optimizers.get("adamm"), "did you mean 'adam"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_argument_that_there_is_not_lists_those_that_there_are():
    with pytest.raises(TypeError, match=r"Adam has no argument 'beta1'.*beta_1.*gradient_accumulation_steps.*groups"):
        optimizers.Adam(beta1=0.9)
