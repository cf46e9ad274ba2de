"""Read me first: what Cenote does, one small test after the other."""

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import layers

(X_TRAIN, Y_TRAIN), (X_TEST, Y_TEST) = cn.datasets.digits.load_data()


def network(**options):
    model = cn.Sequential(
        [
            layers.Rescaling(1 / 16),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


@pytest.fixture(scope="module")
def trained():
    model = network()
    model.history = model.fit(X_TRAIN, Y_TRAIN, epochs=20, validation_data=(X_TEST, Y_TEST), verbose=0)
    return model


def test_prepare_build_train_evaluate_apply(trained):
    history = trained.history.history
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert len(history["loss"]) == 20 and history["loss"][-1] < history["loss"][0] / 4
    loss, accuracy = trained.evaluate(X_TEST, Y_TEST, verbose=0)
    assert accuracy > 0.95 and np.isclose(loss, history["val_loss"][-1], rtol=1e-5)
    probabilities = trained.predict(X_TEST)
    assert probabilities.shape == (len(X_TEST), 10) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.isclose((probabilities.argmax(1) == Y_TEST).mean(), accuracy)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    runs = []
    for seed in (1, 1, 2):
        model = network(seed=seed)
        model.fit(X_TRAIN[:300], Y_TRAIN[:300], epochs=2, verbose=0)
        runs.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_a_class_with_an_explicit_loop():
    class Net(cn.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(16, "tanh")
            self.out = layers.Dense(1)

        def forward(self, x):
            return self.out(self.hidden(x))

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    y = np.sin(x.sum(1, keepdims=True))
    net = Net()
    net.compile(cn.optimizers.Adam(0.02), "mse")
    losses = [net.train_on_batch(x, y) for _ in range(150)]
    assert losses[-1] < losses[0] / 10
    assert list(net.params) == ["hidden.kernel", "hidden.bias", "out.kernel", "out.bias"]


def test_a_graph_of_several_inputs_and_outputs():
    pixels, extra = cn.Input((8, 8), name="pixels"), cn.Input((1,), name="extra")
    h = layers.Dense(32, "relu")(layers.Flatten()(pixels) / 16.0)
    digit = layers.Dense(10, "softmax", name="digit")(h)
    sums = layers.Dense(1, name="total")(h) + extra
    model = cn.Model({"pixels": pixels, "extra": extra}, {"digit": digit, "total": sums})
    model.compile(
        "adam",
        loss={"digit": "sparse_categorical_crossentropy", "total": "mse"},
        loss_weights={"digit": 1.0, "total": 0.1},
        metrics={"digit": ["accuracy"]},
    )
    x = {"pixels": X_TRAIN, "extra": np.zeros((len(X_TRAIN), 1))}
    y = {"digit": Y_TRAIN, "total": X_TRAIN.mean((1, 2)).reshape(-1, 1)}
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert set(history) == {"loss", "digit_loss", "total_loss", "digit_accuracy"}
    assert np.allclose(history["loss"], np.array(history["digit_loss"]) + 0.1 * np.array(history["total_loss"]), rtol=1e-4)
    answer = model.predict(x)
    assert answer["digit"].shape == (len(X_TRAIN), 10) and answer["total"].shape == (len(X_TRAIN), 1)


def test_whoever_writes_jax_gets_the_pure_pair(trained):
    params, state = trained.init(jax.random.key(0), X_TEST[:1])
    assert list(params) == ["layers.2.kernel", "layers.2.bias", "layers.4.kernel", "layers.4.bias"] and state == {}
    y, state = trained.apply(params, state, X_TEST[:4])
    assert y.shape == (4, 10)
    grads = jax.grad(lambda p: trained.apply(p, state, X_TEST[:4])[0][:, 0].sum())(params)
    assert jax.tree.map(np.shape, grads) == jax.tree.map(np.shape, params)


def test_without_compile_fit_says_what_it_chose(capsys):
    model = cn.Sequential([layers.Flatten(), layers.Dense(10)])
    model.fit(X_TRAIN, Y_TRAIN, epochs=1, verbose=0)
    said = capsys.readouterr().out
    assert "loss sparse_categorical_crossentropy" in said and "logits" in said and "adam" in said


def test_look_inside(trained):
    shapes = {path: y.shape for path, y in cn.core.outputs(trained, X_TEST[:3]).items()}
    assert shapes["layers.2"] == (3, 64)
    _, grads = cn.core.gradients(trained, lambda y: y[:, 7].sum(), X_TEST[:3], paths=["layers.2"])
    assert grads["layers.2"].shape == (3, 64)
    assert "layers.2" in str(trained.summary(show=False))


def test_keep_and_load(trained, tmp_path):
    trained.save(tmp_path / "digits.cenote")
    assert np.array_equal(cn.load(tmp_path / "digits.cenote").predict(X_TEST), trained.predict(X_TEST))


def test_a_trained_part_in_a_new_model(trained):
    trunk = trained.layers[:3]
    for layer in trunk:
        layer.trainable = False
    before = np.array(trunk[2]._arrays["kernel"])
    model = cn.Sequential([*trunk, layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(X_TRAIN, Y_TRAIN % 2, epochs=10, verbose=0).history
    assert history["accuracy"][-1] > 0.85
    assert np.array_equal(before, trunk[2]._arrays["kernel"])
    for layer in trunk:
        layer.trainable = True


def test_mixed_precision_trains_and_keeps_float32_weights():
    model = network(precision="mixed_bfloat16")
    model.fit(X_TRAIN, Y_TRAIN, epochs=15, verbose=0)
    assert all(str(w.dtype) == "float32" for w in model.params.values())
    assert model.evaluate(X_TEST, Y_TEST, verbose=0)[1] > 0.93
