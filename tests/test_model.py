"""The verbs of a model: building, compiling, weights in and out, parts put in place of others, copies, precision."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.core import declared

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(40, 2)).astype("float32")


class Net(cn.Model):
    def __init__(self, units=3, head=2):
        super().__init__()
        self.trunk, self.head = layers.Dense(units, "tanh"), layers.Dense(head)

    def forward(self, x):
        return self.head(self.trunk(x))


def trained(**options):
    net = Net()
    net.compile(cn.optimizers.Adam(0.01), "mse", **options)
    net.fit(X, Y, verbose=0)
    return net


# -- building ------------------------------------------------------------------------------------------------------------


def test_a_model_is_built_by_an_example_a_spec_a_shape_or_its_first_layer():
    for spec in (X, X[:1].tolist(), jax.ShapeDtypeStruct((7, 4), "float32"), (None, 4)):
        net = Net()
        assert not net.built and net.build(spec) is net and net.built
        assert net.count_params() == 4 * 3 + 3 + 3 * 2 + 2
    known = cn.Sequential([cn.Input((4,)), layers.Dense(2)])
    assert known.count_params() == 10 and known(X).shape == (40, 2)
    assert cn.Sequential([layers.Dense(2, input_shape=(4,))])(X).shape == (40, 2)
    with pytest.raises(ValueError, match=r"size of the input is not known: build\(x\) with an example input"):
        Net().build()


def test_the_seed_decides_the_start():
    first = [np.array(w) for w in Net().build(X).params.values()]
    assert all(np.array_equal(a, b) for a, b in zip(first, Net().build(X).params.values(), strict=True))
    try:
        cn.set_seed(7)
        seven = Net().build(X).params["trunk.kernel"]
    finally:
        cn.set_seed(0)
    assert np.array_equal(seven, Net().build(X, key=7).params["trunk.kernel"]) and not np.array_equal(seven, first[0])
    compiled = Net()
    compiled.compile(loss="mse", seed=7)
    assert np.array_equal(compiled.build(X).params["trunk.kernel"], seven)


def test_a_call_without_weights_says_what_to_do():
    with pytest.raises(ValueError, match=r"the model has no weights yet.*build\(x\)"):
        Net()(X)
    for verb in ("predict", "evaluate"):
        net = Net()
        net.compile("sgd", "mse")
        with pytest.raises(ValueError, match=r"no weights yet, so it cannot be"):
            net.predict(X) if verb == "predict" else net.evaluate(X, Y)


# -- compiling -----------------------------------------------------------------------------------------------------------


def test_names_objects_and_functions_mean_the_same():
    def mean_square(y_true, y_pred):
        return jnp.square(y_true - y_pred).mean(-1)

    ways = [
        ("sgd", "mse", ["mae"]),
        (cn.optimizers.SGD(0.01), cn.losses.MeanSquaredError(), [cn.metrics.MeanAbsoluteError(name="mae")]),
        (cn.optimizers.SGD(), mean_square, "mae"),
    ]
    found = []
    for optimizer, loss, metrics in ways:
        net = Net()
        net.compile(optimizer, loss, metrics)
        found.append(net.fit(X, Y, epochs=2, verbose=0).history)
    for other in found[1:]:
        assert list(other) == ["loss", "mae"]
        np.testing.assert_allclose(other["loss"], found[0]["loss"], rtol=1e-6)


def test_slips_in_compile_are_found_at_once():
    for options, text in (
        ({"optimizer": "adm"}, r"unknown optimizer 'adm': did you mean 'adam'"),
        ({"loss": ["mse", {"a": "msee"}]}, r"unknown loss 'msee'"),
        ({"metrics": {"a": ["acuracy"]}}, r"unknown metric 'acuracy': did you mean 'accuracy'"),
        ({"precision": "mixed_float16"}, r"unknown precision 'mixed_float16': did you mean 'mixed_bfloat16'"),
        ({"los": "mse"}, r"unknown argument of compile 'los': did you mean 'loss'"),
    ):
        with pytest.raises(ValueError, match=text):
            Net().compile(**options)
    Net().compile(loss="mse", run_eagerly=True, jit_compile=False, steps_per_execution=10)  # Keras's knobs pass
    with pytest.raises(ValueError, match=r"not compiled: call compile\(optimizer"):
        _ = Net().optimizer


def test_compiling_again_keeps_the_weights_and_forgets_the_optimizers_memory():
    net = trained()
    before = net.get_weights()
    net.compile(cn.optimizers.SGD(0.0), "mse")
    net.fit(X, Y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    assert int(net._kept.step) == 2


# -- weights -------------------------------------------------------------------------------------------------------------


def test_weights_go_out_and_in_as_a_list_or_by_path():
    net = trained()
    weights = net.get_weights()
    assert [w.shape for w in weights] == [(4, 3), (3,), (3, 2), (2,)] and all(isinstance(w, np.ndarray) for w in weights)
    weights[0][:] = 0  # a copy
    assert net.params["trunk.kernel"].any()
    net.set_weights({"head.kernel": np.zeros((3, 2)), "head.bias": [1, 2]})
    np.testing.assert_array_equal(net.predict(X[:2]), [[1, 2], [1, 2]])
    for wrong, text in (
        ({"head.kernle": 0}, r"unknown weight 'head.kernle': did you mean 'head.kernel'"),
        ({"head.bias": np.zeros(3)}, r"weight 'head.bias' has shape \(2,\), but \(3,\) was given"),
        (weights[:3], r"the model has 4 weights, but 3 were given"),
    ):
        with pytest.raises(ValueError, match=text):
            net.set_weights(wrong)


def test_layers_by_path_name_or_number():
    model = cn.Sequential([layers.Dense(3, name="first"), cn.Sequential([layers.Dense(2)])])
    assert model.get_layer("first") is model.get_layer("layers.0") is model.get_layer(0) is model.layers[0]
    assert model.get_layer("layers.1.layers.0").units == 2
    with pytest.raises(ValueError, match=r"unknown layer 'fist'.*Known: layers.0, layers.1"):
        model.get_layer("fist")


# -- parts put in place of others ----------------------------------------------------------------------------------------


def test_a_new_head_on_a_trained_trunk():
    net = trained()
    trunk, old = np.array(net.params["trunk.kernel"]), net.predict(X)
    net.head = layers.Dense(2, kernel_initializer="zeros")
    assert not net.predict(X).any() and not np.asarray(net(X)).any()
    net.head = layers.Dense(5, "softmax")
    assert net.predict(X).shape == (40, 5) and np.array_equal(net.params["trunk.kernel"], trunk)
    net.trunk.trainable = False
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(X, np.arange(40) % 5, verbose=0)
    assert np.array_equal(net.params["trunk.kernel"], trunk) and not np.allclose(net.predict(X)[:, :2], old)


def test_a_layer_changed_in_place_in_a_list():
    model = cn.Sequential([layers.Dense(3), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    model.layers[1] = layers.Dense(2, kernel_initializer="zeros")
    assert not model.predict(X).any()
    first, second = layers.Dense(3), layers.Dense(4)
    model.layers[:] = [second, first, model.layers[1]]
    model.fit(X, Y, verbose=0)
    assert list(model.params) == [f"layers.{i}.{w}" for i in range(3) for w in ("kernel", "bias")]
    assert model.pop() is not None and model.predict(X).shape == (40, 3)
    model.add(layers.Dense(1))
    assert model.fit(X, Y[:, :1], verbose=0).history["loss"] and model.predict(X).shape == (40, 1)


def test_a_first_layer_for_inputs_of_another_width():
    net = trained()
    net.trunk = layers.Dense(3)
    net.fit(X[:, :2], Y, verbose=0)
    assert net.params["trunk.kernel"].shape == (2, 3)


def test_nothing_is_compiled_again_when_other_models_are_made_and_changed():
    net = trained()
    net.predict(X)
    trainer, predictor = net._trainer, net._predictors["predict"]
    other = trained()
    other.head = layers.Dense(2)
    other.trunk.trainable = False
    net.note = [1, 2, 3]
    net.history = net.fit(X, Y, verbose=0)
    net.predict(X)
    assert net._trainer is trainer and net._predictors["predict"] is predictor


def test_parts_trained_elsewhere_are_seen():
    inner = cn.Sequential([layers.Dense(3, "tanh")])
    assert inner.params == {}
    outer = cn.Sequential([inner, layers.Dense(2)])
    outer.compile("sgd", "mse")
    outer.fit(X, Y, verbose=0)
    assert list(inner.params) == ["layers.0.kernel", "layers.0.bias"]
    np.testing.assert_allclose(
        inner.predict(X), np.tanh(X @ inner.params["layers.0.kernel"] + inner.params["layers.0.bias"]), atol=1e-6
    )
    before = inner.predict(X)
    outer.fit(X, Y, verbose=0)  # as long as before, so that nothing is compiled again
    assert not np.array_equal(before, inner.predict(X))


# -- copies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: jax.tree.map(lambda a: a, m)], ids=["deepcopy", "tree_map"])
@pytest.mark.parametrize("functional", [False, True])
def test_a_copy_lives_its_own_life(copied, functional):
    if functional:
        given = cn.Input((4,))
        net = cn.Model(given, layers.Dense(2)(layers.Dense(3, "tanh")(given)))
        net.compile("adam", "mse")
        net.fit(X, Y, verbose=0)
    else:
        net = trained()
    before = net.predict(X)
    other = copied(net)
    np.testing.assert_array_equal(other.predict(X), before)
    other.fit(X, Y, verbose=0)
    assert not np.array_equal(other.predict(X), before) and np.array_equal(net.predict(X), before)


def test_arithmetic_on_models():
    one, two = trained(), trained(seed=5)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, one, two)
    np.testing.assert_allclose(mean.params["head.kernel"], (one.params["head.kernel"] + two.params["head.kernel"]) / 2)
    assert not np.allclose(mean.predict(X), one.predict(X))
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(mean, X), mean.predict(X), atol=1e-5)


# -- single batches, precision, inputs of several parts ------------------------------------------------------------------


def test_single_batches_are_the_steps_of_fit():
    loop, single = Net(), Net()
    for net in (loop, single):
        net.compile(cn.optimizers.Adam(0.01), "mse", metrics=["mae"])
    history = loop.fit(X, Y, batch_size=40, epochs=3, verbose=0).history
    steps = [single.train_on_batch(X, Y, return_dict=True) for _ in range(3)]
    np.testing.assert_allclose([s["loss"] for s in steps], history["loss"], rtol=1e-6)
    np.testing.assert_allclose([s["mae"] for s in steps], history["mae"], rtol=1e-6)
    for a, b in zip(loop.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    single.fit(X, Y, batch_size=40, verbose=0)  # both ways share one memory of the optimizer
    assert int(single._kept.step) == 4


def test_single_batches_take_weights():
    net = trained()
    w = np.linspace(0, 1, 40).astype("float32")
    each = ((net.predict(X) - Y) ** 2).mean(1)
    assert net.test_on_batch(X, Y, sample_weight=w) == pytest.approx((each * w).mean(), rel=1e-5)
    assert net.train_on_batch(X, Y, sample_weight=w) == pytest.approx((each * w).mean(), rel=1e-5)
    kinds = cn.Sequential([layers.Dense(2, "softmax")])
    kinds.compile("sgd", "sparse_categorical_crossentropy")
    kinds.build(X)
    labels = np.arange(40) % 2
    nll = -np.log(kinds.predict(X)[np.arange(40), labels])
    assert kinds.test_on_batch(X, labels) == pytest.approx(nll.mean(), rel=1e-5)
    assert kinds.train_on_batch(X, labels, class_weight={0: 3.0}) == pytest.approx(
        (nll * np.where(labels == 0, 3, 1)).mean(), rel=1e-5
    )
    kinds.train_on_batch(X, labels, class_weight={})  # no class has a weight of its own


def test_mixed_precision_is_rounded_and_trains_as_well():
    plain, mixed = trained(), trained(precision="mixed_bfloat16")
    assert all(w.dtype == jnp.float32 for w in mixed.params.values()) and mixed.predict(X).dtype == np.float32
    difference = np.abs(mixed.predict(X) - plain.predict(X)).max()
    assert 0 < difference < 0.1
    a, b = (net.fit(X, Y, epochs=30, verbose=0).history["loss"] for net in (plain, mixed))
    assert b[-1] == pytest.approx(a[-1], rel=0.05)


def test_inputs_in_a_dict_or_a_tuple():
    class Both(cn.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(2)

        def forward(self, x):
            a, b = (x["a"], x["b"]) if isinstance(x, dict) else x
            return self.out(a) + b[:, None]

    for x in ({"a": X, "b": X[:, 0]}, (X, X[:, 0])):
        net = Both()
        net.compile("sgd", "mse")
        history = net.fit(x, Y, epochs=2, validation_split=0.25, verbose=0).history
        assert history["val_loss"][1] == pytest.approx(
            net.evaluate(jax.tree.map(lambda a: a[30:], x), Y[30:], verbose=0), rel=1e-5
        )
        assert net.predict(x).shape == (40, 2) and np.isfinite(net.train_on_batch(x, Y))


def test_states_and_params_are_told_apart():
    model = cn.Sequential([layers.Dense(2), layers.BatchNormalization()])
    model.build(X)
    assert set(model.state_arrays) == {"layers.1.mean", "layers.1.var"} and len(model.params) == 4
    assert model.count_params() == 10 + 8


def test_freezing_by_path():
    x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    model = cn.Sequential([cn.Sequential([layers.Dense(4), layers.Dense(4)]), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.build(x)
    assert model.freeze("layers.0.*") == ["layers.0.layers.0", "layers.0.layers.1"]
    before = {k: np.array(v) for k, v in model.params.items()}
    model.fit(x, y, verbose=0)
    moved = [k for k, v in model.params.items() if not np.array_equal(before[k], v)]
    assert moved and all(k.startswith("layers.1.") for k in moved)
    model.unfreeze("*")
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before["layers.0.layers.0.kernel"], model.params["layers.0.layers.0.kernel"])
    with pytest.raises(ValueError, match="unknown layer 'encoder'"):
        model.freeze("encoder")


def test_weights_are_taken_over_by_path(tmp_path):
    def network(classes):
        return cn.Sequential([layers.Dense(4, input_shape=(3,)), layers.BatchNormalization(), layers.Dense(classes)])

    x = np.ones((8, 3), "float32")
    source, target = network(2), network(5)
    source.compile("sgd", "mse")
    source.fit(x, np.ones((8, 2)), verbose=0)
    source.save(tmp_path / "source.cenote")
    paths = [p for p in declared(source) if not p.startswith("layers.2.")]
    assert target.transfer_weights(source) == paths
    other = network(5)
    assert other.transfer_weights(tmp_path / "source.cenote", "layers.0.*") == ["layers.0.kernel", "layers.0.bias"]
    for model in (target, other):
        assert np.array_equal(model.params["layers.0.kernel"], source.params["layers.0.kernel"])
    assert np.array_equal(target.state_arrays["layers.1.mean"], source.state_arrays["layers.1.mean"])
    source.fit(x, np.zeros((8, 2)), verbose=0)  # what was taken over is a copy
    assert np.isfinite(target.predict(x, verbose=0)).all()
    with pytest.raises(ValueError, match="no weight could be taken over"):
        target.transfer_weights({"dense.kernel": np.ones((3, 4))})


class Two(cn.Model):
    def __init__(self):
        super().__init__()
        self.left, self.right = layers.Dense(2), layers.Dense(2)

    def forward(self, a, b):
        return self.left(a) + 2 * self.right(b)


@pytest.mark.parametrize("form", [tuple, list, lambda pair: dict(zip(("b", "a"), reversed(pair), strict=True))])
def test_a_forward_of_several_inputs_is_fed_from_all_of_them(form, tmp_path):
    a, b = X, X[:, :3]
    model = Two()
    model.compile(cn.optimizers.Adam(0.05), "mse")
    data = form((a, b))
    losses = model.fit(data, Y, epochs=3, verbose=0, validation_split=0.2).history["loss"]
    assert losses[-1] < losses[0]
    assert model.params["right.kernel"].shape == (3, 2)
    y = model.predict(data)
    np.testing.assert_allclose(y, model(a, b), atol=1e-6)
    model.save(tmp_path / "m.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote", custom_objects={"Two": Two}).predict(data), y)
    assert np.isfinite(model.evaluate(data, Y, verbose=0)) and np.isfinite(model.train_on_batch(data, Y))


def test_kerass_word_for_the_mode_of_a_call():
    model = cn.Sequential([layers.Dropout(0.5)])
    x = np.ones((4, 50), "float32")
    model.build(x)
    assert np.array_equal(model(x, training=False), x)
    assert not np.array_equal(model(x, training=True, key=0), x)
    with pytest.raises(TypeError, match=r"is frozen: layer\.trainable = False"):
        model(cn.Input((50,)), training=False)


def test_weights_come_in_the_order_of_keras():
    keras = pytest.importorskip("keras")
    theirs = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    theirs(X)
    ours = cn.Sequential([layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)])
    ours.build(X)
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, size=w.shape).astype("float32") for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X, verbose=0), atol=1e-5)
    for a, b in zip(ours.get_weights(), weights, strict=True):
        assert np.array_equal(a, b)


def test_a_rate_that_a_callback_set_is_the_optimizers(tmp_path):
    model = cn.Sequential([layers.Dense(2)])
    model.compile(cn.optimizers.SGD(0.1), "mse")
    model.fit(X, Y, epochs=3, verbose=0, callbacks=cn.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2))
    assert abs(model.optimizer.learning_rate - 0.0125) < 1e-6
    model.save(tmp_path / "m.cenote")
    assert abs(cn.load(tmp_path / "m.cenote").optimizer.learning_rate - 0.0125) < 1e-6
    assert model.fit(X, Y, verbose=0).records[-1]["learning_rate"] == pytest.approx(0.0125)
