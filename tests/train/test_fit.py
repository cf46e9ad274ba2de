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


class Hears(cn.callbacks.Callback):
    decides = watches_model = False

    def on_epoch_end(self, epoch, logs=None):
        pass


def test_epochs_that_nobody_hears_of_leave_the_same_records(monkeypatch):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e9)  # from the third epoch on they run together, however busy the machine is

    def records(**options):
        model = cn.Sequential([layers.Dense(3, "softmax")])
        rate = cn.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
        metrics = [cn.metrics.ConfusionMatrix(3), "acc"]
        model.compile(cn.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=metrics)
        history = model.fit(X, LABELS, epochs=40, verbose=0, **options)
        assert len(history.chunks) < 10
        return history, [list({**r, "seconds": 0}.items()) for r in history.records]

    (heard, told), (silent, found) = records(callbacks=[Hears()]), records()
    assert str(found) == str(told) and heard.history == silent.history and heard.epoch == silent.epoch
    assert [len(row) for row in silent.history["confusion_matrix"][7]] == [3, 3, 3]


def test_a_nan_among_short_epochs_leaves_the_weights_of_the_epoch_before():
    def spoiled(**options):
        model = cn.Sequential([layers.Dense(1, kernel_initializer="ones")])
        model.compile(cn.optimizers.SGD(0.9), "mse")  # each epoch is farther off than the one before
        with pytest.raises(FloatingPointError, match="the loss became inf in epoch") as caught:
            model.fit(X, TARGET, batch_size=70, epochs=2000, verbose=0, **options)
        return model.get_weights(), str(caught.value).split(",")[0], len(model.history.records)

    apart, together = spoiled(callbacks=[Decides()]), spoiled()
    assert apart[1:] == together[1:] and same(apart[0], together[0])


def test_states_that_are_given_away_train_the_same(monkeypatch):
    def trained():
        model = classifier(seed=4)
        best = cn.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
        held = {"validation_data": (X[::-1], LABELS), "callbacks": best}
        fits = [model.fit(X, LABELS, batch_size=8, verbose=0, **o).history for o in ({"epochs": 8, **held}, {"epochs": 2})]
        with pytest.raises(FloatingPointError):
            model.fit(X * 1e30, LABELS, batch_size=8, verbose=0)
        return model.get_weights(), fits

    kept, one = trained()
    monkeypatch.setattr("cenote.train.trainer.LARGE", 0)
    given, other = trained()
    assert same(kept, given) and one == other


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


@pytest.mark.usefixtures("quick_programs")
@pytest.mark.parametrize(
    "options",
    [
        {"sample_weight": np.linspace(0, 2, 70).astype("float32")},
        {"class_weight": {0: 1.0, 1: 5.0, 2: 0.1}},
        {"validation_data": (X[:30], LABELS[:30], np.linspace(0, 2, 30)), "validation_freq": 2, "epochs": 4},
    ],
    ids=["sample_weight", "class_weight", "validation_freq"],
)
def test_weights_and_validation_are_those_of_keras(options):
    told = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
    told = told if "sample_weight" in options else {"loss": told["loss"], "metrics": told["metrics"]}
    if "weighted_metrics" in told:
        told.pop("metrics")
    beside_keras(small, told, options)


@pytest.mark.usefixtures("quick_programs")
def test_regularizers_and_constraints_are_those_of_keras_in_training_and_evaluation():
    def build(family, kinds):
        return family.Sequential(
            [
                kinds.Dense(5, activation="tanh", kernel_regularizer="l2", trainable=False),
                kinds.Dense(
                    4,
                    activation="tanh",
                    kernel_regularizer=family.regularizers.L1L2(0.01, 0.02),
                    bias_regularizer="l2",
                    activity_regularizer=family.regularizers.L1L2(0.3, 0.03),
                ),
                kinds.Dense(
                    3, activation="softmax", kernel_regularizer="l1", kernel_constraint=family.constraints.MaxNorm(0.5)
                ),
            ]
        )

    # 70 = 2 * 32 + 6: what pads the last batch of evaluation must not be penalised.
    beside_keras(build, {"loss": "sparse_categorical_crossentropy"}, {"validation_data": (X, LABELS)})


def fork(family, kinds):
    given = family.Input((6,))
    h = kinds.Dense(5, activation="tanh")(given)
    return family.Model(given, [kinds.Dense(3, activation="softmax", name="kind")(h), kinds.Dense(1, name="size")(h)])


WEIGHTS = np.linspace(0, 2, 70).astype("float32")
FORK = {"loss": ["sparse_categorical_crossentropy", "mse"], "loss_weights": [1.0, 0.3]}


@pytest.mark.usefixtures("quick_programs")
@pytest.mark.parametrize(
    ("told", "options"),
    [
        (FORK | {"metrics": [["accuracy"], ["mae", "mse"]]}, {"validation_split": 0.3}),
        (
            {k: dict(zip(("kind", "size"), v, strict=True)) for k, v in FORK.items()} | {"metrics": {"size": "mae"}},
            {"sample_weight": {"kind": WEIGHTS, "size": WEIGHTS[::-1].copy()}},
        ),
    ],
    ids=["lists", "dicts"],
)
def test_several_outputs_are_those_of_keras(told, options):
    y = [LABELS, TARGET] if isinstance(told["loss"], list) else {"kind": LABELS, "size": TARGET}
    if isinstance(y, dict):
        pytest.importorskip("keras")

        def build(family, kinds):
            model = fork(family, kinds)
            return model if family is cn else family.Model(model.inputs, dict(zip(y, model.outputs, strict=True)))

        beside_keras(build, told, options, y=y)
    else:
        beside_keras(fork, told, options, y=y)


@pytest.mark.usefixtures("quick_programs")
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


@pytest.mark.usefixtures("quick_programs")
def test_initial_epoch_steps_and_validation_steps():
    model = classifier()
    history = model.fit(
        X, LABELS, batch_size=8, initial_epoch=2, epochs=5, steps_per_epoch=3, validation_data=(X, LABELS), verbose=0
    )
    assert history.epoch == [2, 3, 4] and [r["step"] for r in history.records] == [3, 6, 9]
    one = model.evaluate(X, LABELS, batch_size=10, steps=1, verbose=0, return_dict=True)
    assert one == pytest.approx(model.evaluate(X[:10], LABELS[:10], verbose=0, return_dict=True), rel=1e-5)


def test_the_last_part_is_held_out():
    model = cn.Sequential([layers.Dense(1)])
    model.compile(cn.optimizers.SGD(0.0), "mse")
    history = model.fit(X, TARGET, validation_split=0.3, epochs=3, validation_freq=[1, 3], verbose=0)
    assert [("val_loss" in r) for r in history.records] == [True, False, True]
    assert history.history["val_loss"][0] == pytest.approx(model.evaluate(X[49:], TARGET[49:], verbose=0), rel=1e-5)
    assert history.history["loss"][0] == pytest.approx(model.evaluate(X[:49], TARGET[:49], verbose=0), rel=1e-5)
    for wrong in (1.0, -0.1, 0.999):
        with pytest.raises(ValueError, match="validation_split"):
            model.fit(X, TARGET, validation_split=wrong, verbose=0)


def test_a_generator_validates_on_its_next_batches_each_time():
    def batches():
        for i in range(6):
            yield np.full((2, 6), i, "float32"), np.zeros((2, 1), "float32")

    model = cn.Sequential([layers.Dense(1, kernel_initializer="ones")])
    model.compile(cn.optimizers.SGD(0.0), "mse")
    history = model.fit(X, TARGET, epochs=3, validation_data=batches(), validation_steps=2, verbose=0).history
    assert history["val_loss"] == pytest.approx([(0 + 36) / 2, 36 * (4 + 9) / 2, 36 * (16 + 25) / 2])


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 32), (31, 32), (33, 32), (70, 7), (70, 69)])
def test_evaluation_of_odd_sizes_is_that_by_hand(rows, batch_size):
    model = cn.Sequential([layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.build(X)
    p = np.asarray(model(X[:rows]))
    loss, accuracy = model.evaluate(X[:rows], LABELS[:rows], batch_size=batch_size, verbose=0)
    assert loss == pytest.approx(-np.log(p[np.arange(rows), LABELS[:rows]]).mean(), rel=1e-5)
    assert accuracy == pytest.approx((p.argmax(1) == LABELS[:rows]).mean())


def test_a_callback_may_stop_within_an_epoch():
    class Enough(cn.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 3

    model = classifier()
    history = model.fit(X, LABELS, batch_size=8, epochs=9, callbacks=[Enough()], verbose=0)
    assert int(model._kept.step) == 4 and len(history.epoch) == 1
    model.fit(X, LABELS, batch_size=8, epochs=1, verbose=0)
    assert int(model._kept.step) == 13  # stop_training was for that run


def test_an_error_in_a_callback_keeps_what_was_learned():
    class Breaks(cn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError("no disk")

    model, twin = classifier(seed=4), classifier(seed=4)
    with pytest.raises(RuntimeError, match="no disk"):
        model.fit(X, LABELS, epochs=5, callbacks=[Breaks()], verbose=0)
    twin.fit(X, LABELS, epochs=2, verbose=0)
    assert same(model.get_weights(), twin.get_weights())


def test_ctrl_c_while_short_epochs_run_together(monkeypatch):
    import signal

    class Presses(cn.callbacks.Callback):
        decides = watches_model = False

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 20:
                signal.raise_signal(signal.SIGINT)

    model, before = classifier(seed=4), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)  # pytest may have its own
    with pytest.raises(KeyboardInterrupt, match=r"stopped by Ctrl-C in epoch \d+ after \d+ steps; the model keeps"):
        model.fit(X, LABELS, epochs=100_000, callbacks=[Presses()], verbose=0)
    signal.signal(signal.SIGINT, before)
    assert int(model._kept.step) > 20 * 3 and model.evaluate(X, LABELS, verbose=0)[0] < np.log(3)


def test_a_callback_may_stop_the_run_in_keras_manner():
    class Enough(cn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    assert len(outcome(epochs=9, callbacks=[Enough()])[1].epoch) == 3


HOOKS = ["on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end"]


def line():
    model = cn.Sequential([layers.Dense(1)])
    model.compile(cn.optimizers.SGD(0.1), "mse")
    model.build(X)
    return model


@pytest.mark.parametrize("hook", HOOKS)
def test_weights_that_a_callback_sets_are_trained_on(hook):
    def clip(model):
        model.set_weights([np.clip(w, -0.01, 0.01) for w in model.get_weights()])

    by_callback, by_hand = line(), line()
    sets = type("Hooked", (cn.callbacks.Callback,), {hook: lambda self, *_: clip(self.model)})()
    by_callback.fit(X, TARGET, batch_size=35, epochs=2, shuffle=False, callbacks=[sets], verbose=0)
    before_step = {"on_train_begin": [0], "on_epoch_begin": [0, 2], "on_train_batch_begin": [0, 1, 2, 3]}.get(hook, [])
    after_step = {"on_train_batch_end": [0, 1, 2, 3], "on_epoch_end": [1, 3], "on_train_end": [3]}.get(hook, [])
    for step in range(4):
        if step in before_step:
            clip(by_hand)
        rows = slice(35 * (step % 2), 35 * (step % 2) + 35)
        by_hand.train_on_batch(X[rows], TARGET[rows])
        if step in after_step:
            clip(by_hand)
    for a, b in zip(by_callback.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_learning_rate_that_is_set_is_used_from_then_on():
    model = line()
    model.fit(X, TARGET, verbose=0)
    trainer = model._trainer
    before = model.get_weights()
    model.optimizer.learning_rate = 0.0
    model.fit(X, TARGET, verbose=0)
    model.train_on_batch(X, TARGET)
    assert same(model.get_weights(), before) and model._trainer is trainer  # nothing was compiled for it
    model.optimizer.learning_rate = 0.1
    model.train_on_batch(X, TARGET)
    assert not same(model.get_weights(), before)
    model.optimizer.learning_rate = cn.schedules.ExponentialDecay(0.1, 10, 0.5)
    records = model.fit(X, TARGET, epochs=2, verbose=0).records
    assert 0 < records[1]["learning_rate"] < records[0]["learning_rate"] < 0.1

    class Halves(cn.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.5**epoch

    model.compile(cn.optimizers.SGD(0.0), "mse")
    assert [r["learning_rate"] for r in model.fit(X, TARGET, epochs=3, callbacks=[Halves()], verbose=0).records] == [
        1,
        0.5,
        0.25,
    ]


def test_a_model_saved_within_an_epoch_holds_the_weights_of_that_step(tmp_path):
    model, twin = line(), line()
    saver = cn.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}-{batch}.cenote"), save_freq=3)
    model.fit(X, TARGET, batch_size=10, shuffle=False, callbacks=[saver], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-3.cenote", "1-6.cenote"]
    for step in range(6):
        twin.train_on_batch(X[step * 10 : step * 10 + 10], TARGET[step * 10 : step * 10 + 10])
        if step in (2, 5):
            saved = cn.load(tmp_path / f"1-{step + 1}.cenote").get_weights()
            np.testing.assert_allclose(saved[0], twin.get_weights()[0], atol=1e-6)


def test_losses_of_layers_alone_can_be_trained():
    class Rebuilds(cn.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(6)

        def forward(self, x):
            y = self.out(x)
            self.add_loss(jnp.square(y - x).mean())
            return y

    model = Rebuilds()
    model.compile("adam")
    history = model.fit(X, epochs=3, batch_size=32, validation_data=(X[:33], None), verbose=0).history
    assert history["loss"][2] < history["loss"][0]
    batches = [np.square(model.predict(part) - part).mean() for part in (X[:32], X[32:33])]
    assert history["val_loss"][-1] == pytest.approx((32 * batches[0] + batches[1]) / 33, rel=1e-4)
    plain = cn.Sequential([layers.Dense(6)])
    plain.compile("adam")
    with pytest.raises(ValueError, match="no loss, so there is nothing to minimise"):
        plain.fit(X, X, verbose=0)


@pytest.mark.usefixtures("quick_programs")
def test_a_list_of_targets_is_one_for_each_output_of_a_class_of_ones_own():
    class Two(cn.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = layers.Dense(1), layers.Dense(3, "softmax")

        def forward(self, x):
            return self.a(x), self.b(x)

    found = []
    for y in ([TARGET, LABELS], (TARGET, LABELS)):
        model = Two()
        model.compile("sgd", ["mse", "sparse_categorical_crossentropy"])
        found.append(model.fit(X, y, validation_split=0.2, verbose=0).history)
    assert found[0] == found[1] and set(found[0]) >= {"output_0_loss", "val_output_1_loss"}


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


@pytest.mark.usefixtures("quick_programs")
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


@pytest.mark.usefixtures("quick_programs")
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


@pytest.mark.usefixtures("quick_programs")
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


@pytest.mark.usefixtures("quick_programs")
def test_metrics_come_in_the_order_they_were_given():
    x = cn.Input((3,))
    model = cn.Model(x, {"b": layers.Dense(1)(x), "a": layers.Dense(1)(x)})
    model.compile("sgd", "mse", metrics={"a": ["mse", "mae"], "b": ["mape"]})
    inputs, targets = np.ones((40, 3), "float32"), np.ones((40, 1), "float32")
    said = model.fit(inputs, {"a": targets, "b": targets}, epochs=3, verbose=0).history
    assert list(said) == ["loss", "a_loss", "b_loss", "a_mse", "a_mae", "b_mape"]
    single = cn.Sequential([layers.Dense(1)])
    single.compile("sgd", "mse", metrics=["mse", "mae"])
    assert list(single.fit(inputs, targets, epochs=60, verbose=0).history) == ["loss", "mse", "mae"]
    loss, mse, mae = single.evaluate(inputs, 2 * targets, verbose=0)
    assert mse == loss and abs(mae - np.sqrt(mse)) < 1e-3


@pytest.mark.usefixtures("quick_programs")
def test_after_a_loss_that_is_no_number_the_model_trains_again():
    x, y = np.ones((64, 2), "float32"), np.ones((64, 1), "float32")
    bad = y.copy()
    bad[40] = 3e38
    for optimizer in ("adam", cn.optimizers.SGD(0.01, momentum=0.9)):
        model = cn.Sequential([layers.Dense(1)])
        model.compile(optimizer, "mse")
        with pytest.raises(FloatingPointError):
            model.fit(x, bad, verbose=0)
        assert np.isfinite(model.fit(x, y, epochs=2, verbose=0).history["loss"]).all()


@pytest.mark.usefixtures("quick_programs")
def test_metrics_of_one_name_are_told_apart():
    x, y = np.random.default_rng(0).normal(size=(64, 2)).astype("float32"), np.ones((64, 1), "float32")
    y[::3] = 0
    model = cn.Sequential([layers.Dense(1, activation="sigmoid")])
    precisions = [cn.metrics.Precision(thresholds=0.1), cn.metrics.Precision(thresholds=0.9)]
    model.compile("sgd", "binary_crossentropy", metrics=[*precisions, "mae"], weighted_metrics=["mae"])
    said = model.fit(x, y, sample_weight=np.arange(64.0), verbose=0).history
    assert list(said) == ["loss", "precision", "precision_1", "mae", "weighted_mae"]
    assert said["precision"] != said["precision_1"]
    assert len(said) == 5 and len(set(map(str, said.values()))) == 5


@pytest.mark.usefixtures("quick_programs")
def test_batch_statistics_of_a_frozen_block_stay():
    x, y = np.random.default_rng(0).normal(size=(64, 3)).astype("float32") + 5, np.ones((64, 1), "float32")
    model = cn.Sequential([cn.Sequential([layers.BatchNormalization(center=False, scale=False)]), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    before = np.array(model.state_arrays["layers.0.layers.0.mean"])
    assert before.any()
    model.freeze("layers.0")
    model.fit(x, y, verbose=0)
    assert np.array_equal(model.state_arrays["layers.0.layers.0.mean"], before)
    model.unfreeze("layers.0")
    model.fit(x, y, verbose=0)
    assert not np.array_equal(model.state_arrays["layers.0.layers.0.mean"], before)


def test_weights_are_copies_of_what_was_given():
    kernel = np.zeros(64, "float32").reshape(4, 16)
    model = cn.Sequential([layers.Dense(16, kernel_initializer=lambda key, shape, dtype: kernel, input_shape=(4,))])
    model.build()
    kernel[:] = 9
    assert not np.asarray(model.params["layers.0.kernel"]).any()
    model.set_weights({"layers.0.kernel": kernel})
    kernel[:] = 7
    assert (np.asarray(model.params["layers.0.kernel"]) == 9).all()


def test_the_end_of_a_stream_is_heard():
    class Batches:
        def __init__(self, last):
            self.last = last

        def __iter__(self):
            x, y = np.ones((16, 2), "float32"), np.ones((16, 1), "float32")
            yield x, y
            yield x * self.last, y

    model = cn.Sequential([layers.Dense(1)])
    model.compile(cn.optimizers.SGD(1e-3), "mse")
    with pytest.raises(FloatingPointError):
        model.fit(Batches(np.float32(1e25)), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert np.isfinite(model.fit(Batches(np.float32(1)), verbose=0).history["loss"]).all()
    assert model.history.history["loss"]


def test_weights_spoiled_by_the_last_step_show_in_the_validation():
    x, y = np.ones((16, 2), "float32"), np.ones((16, 1), "float32")
    model = cn.Sequential([layers.Dense(1)])
    model.compile(cn.optimizers.SGD(1e30), "mse")
    with pytest.raises(FloatingPointError, match="validation loss became"):
        model.fit(x, 0 * y - 3, batch_size=16, validation_data=(x, y), epochs=1, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_a_checkpoint_folder_says_what_it_did(tmp_path, capsys):
    x, y = np.ones((16, 2), "float32"), np.ones((16, 1), "float32")
    model = cn.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    for _ in range(2):
        model.fit(x, y, epochs=2, checkpoint=tmp_path, verbose=2)
    assert "is finished (2 epochs): its weights are back, nothing was trained" in capsys.readouterr().out
    model.fit(x, y, epochs=3, checkpoint=tmp_path, verbose=2)
    assert "resumed from step-" in capsys.readouterr().out
