"""The loop: the same bits however it is cut, Keras's numbers for weights and regularizers, and everything fit promises."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers

loop = importlib.import_module("cenote.train.fit")  # the package has a function of this name

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 6)).astype("float32")
LABELS = (np.arange(70) % 3).astype("int32")
TARGET = X[:, :1] * 2 - 1


def classifier(**options):
    model = cn.Sequential(
        [layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3, "softmax")]
    )
    model.compile(cn.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def outcome(**options):
    model = classifier(seed=4)
    history = model.fit(X, LABELS, batch_size=8, epochs=options.pop("epochs", 4), verbose=0, **options)
    return model.get_weights(), history


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


class EachBatch(cn.callbacks.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs["loss"]))


class Decides(cn.callbacks.Callback):
    """Any callback that may change the run keeps short epochs apart."""


def test_the_bits_do_not_depend_on_how_an_epoch_is_cut(monkeypatch):
    plain, history = outcome(callbacks=[Decides()])
    monkeypatch.setattr(loop, "FIRST_CHUNK", 1)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e-9)
    cut, again = outcome(callbacks=[Decides()])
    assert same(plain, cut) and history.history == again.history
    watcher = EachBatch()
    stepwise, third = outcome(callbacks=[watcher])
    assert same(plain, stepwise) and third.history == history.history
    assert [batch for batch, _ in watcher.seen] == list(range(9)) * 4
    assert watcher.seen[8][1] == pytest.approx(history.history["loss"][0])


def test_short_epochs_in_one_program_are_the_same_epochs():
    apart, one = outcome(epochs=30, callbacks=[Decides()])
    together, other = outcome(epochs=30)
    assert same(apart, together)
    assert one.history.keys() == other.history.keys()
    assert np.allclose(one.history["loss"], other.history["loss"], rtol=1e-6)
    assert [r["step"] for r in other.records] == [9 * (i + 1) for i in range(30)] == [r["step"] for r in one.records]
    assert [r["examples"] for r in other.records][-1] == 70 * 30 and len(other.epoch) == 30


def test_the_last_short_batch_is_trained():
    model = cn.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(cn.optimizers.SGD(1.0), "mse")
    x = np.eye(5, dtype="float32")
    model.fit(x, np.ones((5, 1)), batch_size=2, shuffle=False, verbose=0)
    # Full batches give each of their rows 2 * 1/2, the last one of a single row 2 * 1/1.
    assert np.allclose(model.get_weights()[0].ravel(), [1, 1, 1, 1, 2])


def beside_keras(build, compile_options, fit_options, x=X, y=LABELS):
    keras = pytest.importorskip("keras")
    theirs, ours = build(keras, keras.layers), build(cn, layers)
    for model, family in ((theirs, keras), (ours, cn)):
        options = {k: v(family) if callable(v) else v for k, v in compile_options.items()}
        model.compile(optimizer=family.optimizers.SGD(0.1), **options)
        model.build((None, *x.shape[1:]))
    ours.set_weights(theirs.get_weights())
    options = {"batch_size": 16, "epochs": 3, "shuffle": False, "verbose": 0} | fit_options
    a, b = ours.fit(x, y, **options).history, theirs.fit(x, y, **options).history
    assert set(a) == set(b)
    for name in b:
        np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-6, err_msg=name)
    for left, right in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5)


def small(family, kinds):
    return family.Sequential([kinds.Dense(5, activation="tanh"), kinds.Dense(3, activation="softmax")])


@pytest.mark.parametrize(
    "options",
    [
        {"sample_weight": np.linspace(0, 2, 70).astype("float32")},
        {"class_weight": {0: 1.0, 1: 5.0, 2: 0.1}},
        {"validation_split": 0.2},
        {"validation_data": (X[:30], LABELS[:30], np.linspace(0, 2, 30)), "validation_freq": 2, "epochs": 4},
    ],
    ids=["sample_weight", "class_weight", "validation_split", "validation_freq"],
)
def test_weights_and_validation_are_those_of_keras(options):
    told = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    told = told if "sample_weight" in options else {"loss": told["loss"], "metrics": told["metrics"]}
    if "weighted_metrics" in told:
        told.pop("metrics")
    beside_keras(small, told, options)


def test_regularizers_and_constraints_are_those_of_keras():
    def build(family, kinds):
        return family.Sequential(
            [
                kinds.Dense(
                    5,
                    activation="tanh",
                    kernel_regularizer=family.regularizers.L1L2(0.01, 0.02),
                    bias_regularizer="l2",
                    activity_regularizer=family.regularizers.L2(0.03),
                ),
                kinds.Dense(3, activation="softmax", kernel_constraint=family.constraints.MaxNorm(0.5)),
            ]
        )

    beside_keras(build, {"loss": "sparse_categorical_crossentropy"}, {})


def test_frozen_layers_stay_and_have_no_optimizer_state():
    model = classifier()
    model.build(X)
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(X, LABELS, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[-2], after[-2])
    assert not any("layers.0." in k for k in model._kept.opt_state["momentum"])
    model.layers[0].trainable = True
    model.fit(X, LABELS, verbose=0)
    assert not np.array_equal(model.get_weights()[0], before[0])


def test_the_optimizer_remembers_between_calls():
    once, twice = classifier(seed=1), classifier(seed=1)
    once.fit(X, LABELS, epochs=2, shuffle=False, verbose=0)
    twice.fit(X, LABELS, epochs=1, shuffle=False, verbose=0)
    twice.fit(X, LABELS, epochs=1, shuffle=False, verbose=0)
    assert same(once.get_weights(), twice.get_weights())


def test_a_foreign_convolution_runs_step_by_step_with_the_same_numbers():
    from cenote.layers.base import Layer

    class Raw(Layer):
        def forward(self, x):  # (batch, channel, height, width), as PyTorch users write it
            kernel = self.param("kernel", (4, x.shape[1], 3, 3))
            return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))

    class Ours(Layer):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(4, 3, padding="same", use_bias=False)

        def forward(self, x):
            return jnp.moveaxis(self.conv(jnp.moveaxis(x, 1, -1)), -1, 1)

    x, y = RNG.normal(size=(20, 2, 5, 5)).astype("float32"), LABELS[:20]
    kernel = RNG.normal(size=(4, 2, 3, 3)).astype("float32") * 0.3
    found = []
    for first, start in ((Raw(), kernel), (Ours(), kernel.transpose(2, 3, 1, 0))):
        model = cn.Sequential([first, layers.Flatten(), layers.Dense(3, "softmax", kernel_initializer="zeros")])
        model.compile(cn.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.build(x)
        model.set_weights({next(iter(model.params)): start})
        history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, validation_data=(x, y)).history
        trainer = model._trainer
        assert trainer.fuses(trainer.step, model._kept, trainer.new_totals(), {"x": x, "y": y, "w": None}) == (
            start is not kernel
        )
        found.append(history)
    for name in found[0]:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-4)


def test_initial_epoch_steps_and_validation_steps():
    model = classifier()
    history = model.fit(
        X, LABELS, batch_size=8, initial_epoch=2, epochs=5, steps_per_epoch=3, validation_data=(X, LABELS), verbose=0
    )
    assert history.epoch == [2, 3, 4] and [r["step"] for r in history.records] == [3, 6, 9]
    one = model.evaluate(X, LABELS, batch_size=10, steps=1, verbose=0, return_dict=True)
    assert one == pytest.approx(model.evaluate(X[:10], LABELS[:10], verbose=0, return_dict=True), rel=1e-5)


def test_a_callback_may_stop_the_run_in_keras_manner():
    class Enough(cn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    assert len(outcome(epochs=9, callbacks=[Enough()])[1].epoch) == 3


def test_callbacks_see_the_weights_of_the_moment():
    class Watch(cn.callbacks.Callback):
        def __init__(self):
            self.seen = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(self.model.get_weights()[0])

    watch = Watch()
    final, _ = outcome(callbacks=[watch])
    assert len(watch.seen) == 4 and np.array_equal(watch.seen[-1], final[0])
    assert not np.array_equal(watch.seen[0], watch.seen[1])


def test_single_batches():
    model = classifier()
    _loss, accuracy = model.train_on_batch(X, LABELS)
    assert 0 <= accuracy <= 1
    logs = model.test_on_batch(X, LABELS, return_dict=True)
    assert logs == pytest.approx(model.evaluate(X, LABELS, verbose=0, return_dict=True), rel=1e-5)
    assert model.train_on_batch(X, LABELS, return_dict=True).keys() == logs.keys()
    assert np.array_equal(model.predict_on_batch(X), model.predict(X))
    plain = cn.Sequential([layers.Dense(1)])
    plain.compile("sgd", "mse")
    assert isinstance(plain.train_on_batch(X, TARGET), float)


def test_metrics_of_an_epoch_are_those_of_scikit_learn():
    from sklearn import metrics

    model = cn.Sequential([layers.Dense(1, "sigmoid")])
    y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype("int32")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "precision", "recall", "auc", "mse"])
    model.fit(X, y, epochs=3, verbose=0)
    found = model.evaluate(X, y, batch_size=9, verbose=0, return_dict=True)
    p = model.predict(X).ravel()
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, p > 0.5))
    assert found["precision"] == pytest.approx(metrics.precision_score(y, p > 0.5))
    assert found["recall"] == pytest.approx(metrics.recall_score(y, p > 0.5))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(y, p), abs=5e-3)
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(y, p), rel=1e-5)
    assert found["loss"] == pytest.approx(metrics.log_loss(y, p), rel=1e-4)


def test_without_a_model_any_pair_trains():
    from cenote import losses, metrics, optimizers
    from cenote.core import Weight
    from cenote.data import as_feed
    from cenote.train import Output, Plan, Trainer, evaluate, fit

    def apply(params, state, x, *, train=False, key=None):
        return x @ params["w"], {"calls": state["calls"] + train}

    zeros = jax.nn.initializers.zeros
    weights = {"w": Weight((6, 1), jnp.float32, zeros), "calls": Weight((), jnp.float32, zeros, "state", False)}
    outputs = [Output("", losses.get("mse"), 1.0, (metrics.get("mae"),))]
    trainer = Trainer(apply, outputs, optimizers.get("adam"), weights)
    state = trainer.start({"w": jnp.zeros((6, 1))}, {"calls": jnp.zeros(())}, 0)
    run = fit(trainer, state, as_feed(X, TARGET, batch_size=10), Plan(epochs=5))
    assert run.history.history["loss"][-1] < run.history.history["loss"][0]
    assert int(run.state.step) == 35 == int(run.state.state["calls"])
    assert evaluate(trainer, run.state.params, run.state.state, as_feed(X, TARGET)).keys() == {"loss", "mae"}


def test_predictions_row_by_row_and_few_compilations():
    model = classifier()
    model.build(X)
    whole = model.predict(X)
    model.predict(X[:3])
    programs = model._predictors["predict"]._cache_size()
    for count in (1, 2, 3, 4, 5, 33, 69, 70):
        np.testing.assert_allclose(model.predict(X[:count]), whole[:count], rtol=1e-5, atol=1e-7)
    assert model._predictors["predict"]._cache_size() <= programs + 4  # sizes 1, 2, 8, 64: powers of two
    np.testing.assert_allclose(model.predict(X, batch_size=9), whole, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.predict(iter([X[:20], X[20:]])), whole, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="nothing to predict"):
        model.predict(X[:0])


def test_fit_compiles_once():
    model = classifier()
    model.fit(X, LABELS, batch_size=10, epochs=3, verbose=0, validation_data=(X, LABELS))
    trainer = model._trainer
    model.fit(X, LABELS, batch_size=10, epochs=3, verbose=0, validation_data=(X, LABELS))
    model.evaluate(X, LABELS, verbose=0)
    assert model._trainer is trainer
    assert trainer.chunk._cache_size() == trainer.evaluate_chunk._cache_size() == 1


@pytest.mark.parametrize(
    ("labels", "units", "activation", "loss"),
    [
        (LABELS, 3, None, "sparse_categorical_crossentropy"),
        (LABELS, 3, "softmax", "sparse_categorical_crossentropy"),
        (np.eye(3)[LABELS], 3, "softmax", "categorical_crossentropy"),
        (LABELS % 2, 1, "sigmoid", "binary_crossentropy"),
        (LABELS % 2, 1, None, "binary_crossentropy"),
        (TARGET, 1, None, "mean_squared_error"),
    ],
    ids=str,
)
def test_without_compile_the_loss_fits_labels_and_output(labels, units, activation, loss, capsys):
    model = cn.Sequential([layers.Dense(units, activation)])
    history = model.fit(X, labels, epochs=60, batch_size=10, verbose=0).history
    assert f"loss {loss}" in capsys.readouterr().out
    assert history["loss"][-1] < history["loss"][0]
    if "accuracy" in history:
        p = model.predict(X)
        hard = p.argmax(1) if units > 1 else (p.ravel() > (0.5 if activation else 0)).astype(int)
        truth = labels.argmax(1) if labels.ndim > 1 else labels
        assert model.evaluate(X, labels, verbose=0)[1] == pytest.approx((hard == truth).mean())


def test_dicts_tuples_and_frames_of_inputs():
    a, b = cn.Input((6,), name="a"), cn.Input((6,), name="b")
    model = cn.Model([a, b], layers.Dense(1)(a - b))
    model.compile("sgd", "mse")
    for x in ((X, X + 1), [X, X + 1], {"a": X, "b": X + 1}):
        model.fit(x, TARGET, verbose=0)
        assert model.predict(x).shape == (70, 1)
    with pytest.raises(ValueError, match=r"2 inputs \(a, b\), but 1 arrays"):
        model.predict(X)
