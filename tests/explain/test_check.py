"""explain.check: sound methods are trusted, guided backpropagation and random values are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import Sequential, datasets, explain, layers


@pytest.fixture(scope="module")
def digits():
    (x, y), (x_test, _) = datasets.digits.load_data()
    x, x_test = (a[..., None].astype("float32") / 16 for a in (x, x_test))
    model = Sequential(
        [
            *(layers.Conv2D(12, 3, activation="relu", padding="same"), layers.Conv2D(12, 3, activation="relu")),
            *(layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(10, "softmax")),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x, y, epochs=12, verbose=0)
    return model, x_test[:8]


@jax.custom_vjp
def relu(v):
    """Lets gradients back that are positive, and from where its input is."""
    return jnp.maximum(v, 0)


relu.defvjp(lambda v: (relu(v), v), lambda v, g: (jnp.where((v > 0) & (g > 0), g, 0.0),))


@jax.jit
def guided_slopes(x, params, target):
    def score(x):
        for i in (0, 1):
            kernel, bias = params[f"layers.{i}.kernel"], params[f"layers.{i}.bias"]
            dims = ("NHWC", "HWIO", "NHWC")
            x = relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), ("SAME", "VALID")[i], dimension_numbers=dims) + bias)
        x = relu(x.reshape(len(x), -1) @ params["layers.3.kernel"] + params["layers.3.bias"])
        y = x @ params["layers.4.kernel"] + params["layers.4.bias"]
        return jnp.take_along_axis(y, target[:, None], axis=1).sum()

    return jax.grad(score)(x)


def guided_backpropagation(function, x, *, target, **_):
    """Gradients with a ReLU on the way back: known to draw edges whatever the weights are (Adebayo et al. 2018)."""
    slopes = guided_slopes(np.asarray(x), function.weights[0], np.asarray(target))
    return explain.Explanation("guided_backpropagation", np.maximum(slopes, 0), x, np.zeros(len(x)), None)


@pytest.fixture(scope="module")
def found(digits):
    return explain.check(*digits, ["deeplift", "integrated_gradients", guided_backpropagation])


def row(found, name):
    return {c: v[found.methods.index(name)] for c, v in found.scores.items()}, found.verdicts[found.methods.index(name)]


def test_exact_methods_are_trusted(found):
    scores, verdict = row(found, "deeplift")
    assert verdict == "trust" and scores["planted"] >= 0.95 and scores["removal"] > 0.3 and abs(scores["randomised"]) < 0.3
    assert found.best in ("deeplift", "integrated_gradients")


def test_guided_backpropagation_fails(found):
    scores, verdict = row(found, "guided_backpropagation")
    assert verdict.startswith("fails"), (scores, verdict)


def test_random_values_score_at_chance(found):
    scores, verdict = row(found, "random")
    assert abs(scores["removal"]) < 0.1 and abs(scores["planted"] - 0.5) < 0.12 and abs(scores["randomised"]) < 0.15
    assert verdict.startswith("fails")


def test_it_reads_as_a_table(found):
    text = repr(found)
    assert "guided_backpropagation" in text and "best here:" in text and "area under the ROC curve" in text
    assert "<table>" in found._repr_html_() and found._repr_html_().count("<tr>") == 5


def test_any_function_can_be_checked_and_what_does_not_suit_is_left_out():
    def predict(x):
        return np.asarray(x)[:, 0] * 2.0 - np.asarray(x)[:, 1]

    x = np.random.RandomState(0).normal(size=(4, 5)).astype("float32")
    found = explain.check(predict, x, ["exact_shapley", "saliency"], baseline=0.0)
    assert found.methods == ["exact_shapley", "random"] and found.best == "exact_shapley"
    assert any("saliency was left out" in note for note in found.notes)
    with pytest.raises(ValueError, match="did you mean 'saliency'"):
        explain.check(predict, x, ["saliensy"], baseline=0.0)


def test_a_tiny_change_is_tiny_for_each_feature_in_its_own_unit():
    x = (np.random.default_rng(0).normal(size=(8, 2)) * [1, 1000]).astype("float32")
    found = explain.check(lambda x: jnp.tanh(x[:, 0]) + x[:, 1] / 1000, x, ["deeplift"], background=x)
    assert found.scores["sensitivity"][0] < 0.1
