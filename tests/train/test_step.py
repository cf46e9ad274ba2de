"""The training step with what optimizers ask of it: scaled losses, the loss as a function, averages, groups."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cenote as cn
from cenote import layers, losses, optimizers
from cenote.core import Graph, Input
from cenote.train.step import finished

RNG = np.random.default_rng(3)
X = RNG.normal(size=(48, 3)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5]] + 0.3).astype("float32")


def model(optimizer, **options):
    net = cn.Sequential([layers.Dense(4, "tanh"), layers.Dense(1)])
    net.compile(optimizer, "mse", seed=1, **options)
    return net


def trained(optimizer, epochs=2, **options):
    net = model(optimizer)
    history = net.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, shuffle=False, **options)
    return net, history


def keras_model(keras, optimizer, weights):
    net = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    net.build((None, 3))
    net.set_weights(weights)
    net.compile(optimizer, "mse")
    return net


OPTIONS = [
    {"use_ema": True, "ema_momentum": 0.7, "gradient_accumulation_steps": 2, "clipnorm": 0.5, "loss_scale_factor": 16.0},
    {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2, "weight_decay": 0.1},
]


@pytest.mark.usefixtures("quick_programs")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fits_with_options_end_with_keras_weights(options):
    keras = pytest.importorskip("keras")
    ours = model(optimizers.Adam(0.01, **options))
    ours.build((None, 3))
    theirs = keras_model(keras, keras.optimizers.Adam(0.01, **options), ours.get_weights())
    for net in (ours, theirs):
        net.fit(X, Y, batch_size=16, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_loss_scale_changes_no_number_that_is_shown():
    plain, expected = trained("sgd")
    for optimizer in (
        optimizers.SGD(loss_scale_factor=2.0**10),
        optimizers.LossScaleOptimizer("sgd", initial_scale=2.0**10, dynamic_growth_steps=2),
    ):
        net, history = trained(optimizer)
        np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-6)
        for a, b in zip(net.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_scales_that_are_too_large_leave_steps_out_and_fall():
    net, history = trained(optimizers.LossScaleOptimizer("sgd", initial_scale=1e38), epochs=4)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert float(net._kept.opt_state["dynamic_scale"]) < 1e38


def test_lbfgs_fits_the_whole_data_at_once():
    net, heard = model("lbfgs"), []
    look = cn.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append(logs["loss"]))
    net.fit(X, Y, epochs=8, verbose=0, callbacks=look)
    assert heard[-1] < 1e-3 < heard[0] and sorted(heard, reverse=True) == heard
    assert int(net._kept.step) == 8, "without a batch_size it gets all of the data"


def test_what_optax_calls_extra_arguments_is_given():
    """A rule that moves along the gradient only where the loss as a function says that this is a way down."""

    def update(grads, state, params, *, value, grad, value_fn):
        change = jax.tree.map(lambda g: -0.1 * g, grads)
        down = value_fn(optax.apply_updates(params, change)) < value
        return jax.tree.map(lambda c: jnp.where(down, c, 0), change), state + down

    rule = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), jnp.int32), update)
    net, expected = model(rule), model(optimizers.SGD(0.1))
    for each in (net, expected):
        each.train_on_batch(X, Y)
    np.testing.assert_allclose(net.get_weights()[0], expected.get_weights()[0], rtol=1e-6)
    assert int(net._kept.opt_state["optax"]) == 1


def test_layers_learn_at_rates_of_their_own():
    net = model(optimizers.Adam(0.01, groups={"layers.0": {"learning_rate": 0.0}, "layers.1.bias": {"multiplier": 2.0}}))
    net.build((None, 3))
    before = {k: np.asarray(v) for k, v in net.params.items()}
    net.train_on_batch(X, Y)
    moved = {k: float(np.abs(np.asarray(v) - before[k]).max()) for k, v in net.params.items()}
    assert moved["layers.0.kernel"] == moved["layers.0.bias"] == 0.0
    assert moved["layers.1.kernel"] == pytest.approx(0.01, rel=1e-3) and moved["layers.1.bias"] == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.MultiOptimizer(optimizers.OptimizerMap("sgd", {"layers.0": optimizers.Adam(0.02)})),
        optimizers.LossScaleOptimizer(optimizers.AdamW(groups={"layers.1": {"multiplier": 0.5}})),
        optimizers.Muon(cn.schedules.Warmup(0.1, 3), exclude_from_weight_decay=["bias"]),
        optimizers.LBFGS(history_size=3),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_models_with_such_optimizers_are_saved_and_loaded(optimizer, tmp_path):
    net = model(optimizer)
    net.build((None, 3))
    net.save(tmp_path / "model.cenote")
    again = cn.load(tmp_path / "model.cenote").optimizer
    assert type(again) is type(optimizer) and again.config() == optimizer.config()
    assert jax.tree.structure(again.init(net.params)) == jax.tree.structure(optimizer.init(net.params))


KILLED = {
    "averages, sums and scales": lambda: optimizers.LossScaleOptimizer(
        optimizers.Nadam(0.02, use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=2), dynamic_growth_steps=2
    ),
    "parts": lambda: optimizers.MultiOptimizer(
        optimizers.OptimizerMap(
            optimizers.Muon(cn.schedules.OneCycle(0.1, 12)), {"*.bias": "rprop", "layers.1.kernel": "adafactor"}
        )
    ),
    "newton": lambda: optimizers.LBFGS(max_iter=3, history_size=4),
}


@pytest.mark.parametrize("kind", KILLED)
def test_a_killed_run_goes_on_to_the_bit(kind, tmp_path):
    class Killed(Exception):
        pass

    def kill(batch, logs):
        heard.append(batch)
        if len(heard) == 5:
            raise Killed

    heard = []
    options = {"x": X, "y": Y, "batch_size": 16, "epochs": 4, "verbose": 0}
    whole = model(KILLED[kind]())
    whole.fit(**options)
    saved = cn.train.Checkpoints(tmp_path, every_seconds=0)
    with pytest.raises(Killed):
        model(KILLED[kind]()).fit(**options, checkpoint=saved, callbacks=cn.callbacks.LambdaCallback(on_train_batch_end=kill))
    net = model(KILLED[kind]())
    net.fit(**options, checkpoint=saved)
    assert saved.notes[0].startswith("resumed from")
    for ours, theirs in zip(net.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_end_of_a_fit_leaves_averages_only_where_they_were_asked_for():
    state = cn.train.TrainState.create({"w": jnp.ones(2)}, {}, {"average": {"w": jnp.zeros(2)}}, 0)
    assert finished(optimizers.SGD(use_ema=True), state).params["w"].tolist() == [0, 0]
    assert finished(optimizers.ASGD(), state) is state and finished(optax.sgd(0.1), state) is state
    ended = finished(optimizers.SGD(use_ema=True), state)
    jax.jit(lambda s: s, donate_argnums=0)(ended)  # no array stands in two places of what a step consumes


def test_graphs_give_optimizers_what_they_ask_for():
    def losses_of(optimizer):
        x, y = Input((3,), name="x"), Input((1,), name="y")
        out = layers.Dense(1)(x)
        loss = losses.mean_squared_error(y, out)
        train = optimizer.minimize(loss)
        graph = Graph([x, y], out, also=[train, loss])
        return [float(graph.run([loss, train], {"x": X, "y": Y})[0].mean()) for _ in range(3)]

    plain = losses_of(optimizers.SGD(0.1))
    np.testing.assert_allclose(losses_of(optimizers.SGD(0.1, loss_scale_factor=64.0)), plain, rtol=1e-6)
    assert losses_of(optimizers.LBFGS(max_iter=8))[2] < 1e-6 < plain[2]
