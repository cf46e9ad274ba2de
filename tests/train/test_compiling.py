"""From what is said in compile to losses and metrics of each output; and what is chosen when nothing is said."""

import warnings

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import layers, losses, metrics
from cenote.train.compiling import check_labels, infer, predict_spec, resolve_outputs

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
CLASSES = np.arange(12) % 3


def spec(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


ONE, TWO = spec(8, 3), {"a": spec(8, 3), "b": spec(8, 1)}
LABELS, TWO_TARGETS = spec(8, dtype="int32"), {"a": spec(8, dtype="int32"), "b": spec(8, 1)}


def said(prediction=ONE, target=LABELS, *, loss="sparse_categorical_crossentropy", **more):
    return resolve_outputs(prediction, target, loss=loss, **more)


def test_one_output_takes_names_objects_and_functions():
    def mine(y_true, y_pred):
        return abs(y_true - y_pred)[..., 0]

    for loss in (
        "sparse_categorical_crossentropy",
        losses.SparseCategoricalCrossentropy(),
        ["sparse_categorical_crossentropy"],
    ):
        (out,) = said(loss=loss, metrics=["accuracy", metrics.SparseCategoricalAccuracy(name="own")])
        assert (out.name, out.loss.name, out.weight) == ("", "sparse_categorical_crossentropy", 1.0)
        assert [m.name for m in out.metrics] == ["accuracy", "own"] and out.label("loss") == "loss"
    (out,) = said(spec(8, 1), spec(8, 1), loss=mine, metrics=mine, loss_weights=3)
    assert out.weight == 3 and out.metrics[0].name == "mine"


def test_the_only_output_may_be_called_by_its_name():
    for given in ({"digit": "mse"}, "mse", ["mse"]):
        (out,) = said(
            spec(8, 3), spec(8, 3), loss=given, metrics={"digit": ["mae"]}, loss_weights={"digit": 2}, names=["digit"]
        )
        assert (out.name, out.loss.name, out.weight, out.metrics[0].name) == ("", "mean_squared_error", 2.0, "mae")
    (out,) = said({"digit": ONE}, {"digit": LABELS}, loss={"digit": "sparse_categorical_crossentropy"})
    assert out.loss.name == "sparse_categorical_crossentropy"
    with pytest.raises(ValueError, match=r"compile names the output 'digits', but the model's only output is called 'digit'"):
        said(loss={"digits": "mse"}, names=["digit"])
    with pytest.raises(ValueError, match=r"names the output 'digits', but the model's only output has no name"):
        said(loss={"digits": "mse"})


def test_several_outputs_by_name_or_in_order():
    by_name = {"a": "sparse_categorical_crossentropy", "b": "mse"}
    for loss, weights in ((by_name, {"b": 0.5}), (list(by_name.values()), [1, 0.5])):
        a, b = said(TWO, TWO_TARGETS, loss=loss, loss_weights=weights, metrics={"a": "accuracy", "b": ["mae", "mse"]})
        assert (a.loss.name, b.loss.name, a.weight, b.weight) == (by_name["a"], "mean_squared_error", 1.0, 0.5)
        assert [m.name for m in b.metrics] == ["mae", "mse"] and b.label("mae") == "b_mae"
    a, b = said(TWO, TWO_TARGETS, loss=by_name, metrics=[["accuracy"], ["mae"]], weighted_metrics=[[], ["mse"]])
    assert [m.name for m in a.metrics + b.metrics + b.weighted_metrics] == ["accuracy", "mae", "mse"]
    a, b = said(TWO, {"a": LABELS, "b": None}, loss={"a": by_name["a"]})
    assert b.loss is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loss": {"c": "mse"}}, r"a loss is given for output 'c', but the outputs are \['a', 'b'\]"),
        ({"loss": ["mse"] * 3}, r"3 losses for 2 outputs"),
        ({"loss": ["mse", "mse"], "loss_weights": [1, 2, 3]}, r"3 loss weights for 2 outputs"),
        ({"loss": None}, r"no loss, so there is nothing to minimise: model.compile\(loss='mse'\)"),
        ({"loss": {"b": "mse"}, "metrics": {"z": "mae"}}, r"a metric is given for output 'z'"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_outputs_is_named(options, text):
    with pytest.raises(ValueError, match=text):
        resolve_outputs(TWO, TWO_TARGETS, **options)


def test_targets_of_the_wrong_form_are_told_which_loss_fits():
    with pytest.raises(ValueError, match=r"one column a class, but sparse_.*use loss='categorical_crossentropy', or y.argmax"):
        said(target=spec(8, 3))
    with pytest.raises(ValueError, match=r"categorical_crossentropy wants one column a class like the output \(None, 3\)"):
        said(loss="categorical_crossentropy")
    with pytest.raises(ValueError, match=r"loss 'mean_squared_error' needs targets, but none were given"):
        said(target=None, loss="mse")
    with pytest.raises(ValueError, match=r"the targets of output 'a' have shape \(None, 3\)"):
        said(TWO, TWO | {"b": spec(8, 1)}, loss={"a": "sparse_categorical_crossentropy", "b": "mse"})


def test_labels_are_looked_at_before_anything_is_compiled():
    (out,) = said()
    check_labels([out], ONE, CLASSES)
    for y, text in (
        (CLASSES - 1, r"y\[0\] is the label -1, but the output has 3 classes, 0 to 2 \(4 such labels\)"),
        (CLASSES * 2, r"y\[2\] is the label 4.*give the last layer 5 units"),
        (CLASSES + 0.5, r"y holds the float 0.5.*loss='mse'"),
    ):
        with pytest.raises(ValueError, match=text):
            check_labels([out], ONE, y)
    (ignoring,) = said(loss=losses.SparseCategoricalCrossentropy(ignore_class=-1))
    check_labels([ignoring], ONE, CLASSES - 1 * (CLASSES == 0))
    (binary,) = said(spec(8, 1), spec(8, 1), loss="binary_crossentropy")
    with pytest.raises(ValueError, match=r"validation y holds -1 to 1, but binary_crossentropy wants targets between 0 and 1"):
        check_labels([binary], spec(8, 1), np.array([-1, 1]), "validation y")


def network(units, activation=None):
    model = cn.Sequential([layers.Dense(units, activation)])
    model.build(X)
    return model


ONE_HOT, SEVERAL = np.eye(3)[CLASSES], np.stack([CLASSES > 0, CLASSES > 1, CLASSES < 9], 1)


@pytest.mark.parametrize(
    ("units", "activation", "y", "loss", "why"),
    [
        (
            3,
            "softmax",
            CLASSES,
            "sparse_categorical_crossentropy",
            "whole-number labels 0 to 2, 3 outputs taken as probabilities",
        ),
        (3, None, CLASSES[:, None], "sparse_categorical_crossentropy", "3 outputs taken as logits"),
        (3, "softmax", ONE_HOT, "categorical_crossentropy", "one-hot labels of 3 classes, outputs taken as probabilities"),
        (3, None, ONE_HOT.astype("uint8"), "categorical_crossentropy", "outputs taken as logits"),
        (1, "sigmoid", CLASSES % 2, "binary_crossentropy", "one output taken as a probability"),
        (1, "sigmoid", (CLASSES % 2).astype(bool)[:, None], "binary_crossentropy", "one output taken as a probability"),
        (1, "sigmoid", (CLASSES % 2).astype("float64"), "binary_crossentropy", "one output taken as a probability"),
        (1, None, CLASSES % 2, "binary_crossentropy", "one output taken as a logit"),
        (3, "sigmoid", SEVERAL, "binary_crossentropy", "3 outputs taken as probabilities"),
        (3, "sigmoid", SEVERAL.astype("float32"), "binary_crossentropy", "3 outputs taken as probabilities"),
        (3, None, SEVERAL, "binary_crossentropy", "3 outputs taken as logits"),
        (1, None, (CLASSES % 2).astype("float32"), "mean_squared_error", "quantities"),
        (1, None, CLASSES, "mean_squared_error", "quantities"),
        (3, None, X[:, :3], "mean_squared_error", "quantities"),
        (1, "sigmoid", X[:, 0], "mean_squared_error", "quantities"),
    ],
)
def test_without_compile_labels_and_output_choose_the_loss(units, activation, y, loss, why):
    model = network(units, activation)
    chosen, text = infer(model, X, y)
    assert chosen["loss"].name == loss and why in text and f"loss {loss}" in text and "adam" in text
    model.compile(**chosen)
    assert getattr(chosen["loss"], "from_logits", False) == (activation is None and "entropy" in loss)
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    if loss == "binary_crossentropy":  # the share of right answers, whichever way the output is given
        p, threshold = model.predict(X), 0.5 if activation else 0
        assert logs["accuracy"] == pytest.approx(((p > threshold) == np.reshape(y, p.shape)).mean())


def test_the_choice_looks_at_all_labels_not_at_the_first_batch(capsys):
    model = cn.Sequential([layers.Dense(1)])
    model.fit(X[[0] * 60], np.repeat([0, 1, 5], 20), batch_size=10, verbose=0)
    assert "loss mean_squared_error" in capsys.readouterr().out


def test_where_nothing_can_be_guessed_it_is_said():
    with pytest.raises(ValueError, match=r"no targets and compile no loss.*fit\(x, x\) for an autoencoder"):
        infer(network(1), X, None)
    with pytest.raises(
        ValueError, match=r"cannot guess a loss for targets float32\[12, 4\] and an output of shape \(None, 3\)"
    ):
        infer(network(3), X, X)
    a = cn.Input((4,))
    two = cn.Model(a, [layers.Dense(1)(a), layers.Dense(1)(a)])
    with pytest.raises(ValueError, match=r"several outputs, so the losses cannot be guessed"):
        two.fit(X, (X[:, :1], X[:, :1]), verbose=0)


def test_what_made_probabilities_is_known():
    for activation, link in (("softmax", "softmax"), ("sigmoid", "sigmoid"), (None, ""), ("tanh", "")):
        out, found, adds_losses = predict_spec(network(3, activation), spec(8, 4))
        assert (out.shape, found, adds_losses) == ((8, 3), link, False)
    penalised = cn.Sequential([layers.Dense(3, activity_regularizer="l2")])
    penalised.build(X)
    assert predict_spec(penalised, spec(8, 4))[2]


def test_logits_into_a_loss_of_probabilities_are_warned_of():
    x, y = np.ones((8, 3), "float32"), np.zeros(8, "int32")
    model = cn.Sequential([layers.Dense(2)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(
        UserWarning, match=r"has not gone through a softmax: say losses\.SparseCategoricalCrossentropy\(from_logits"
    ):
        model.fit(x, y, verbose=0)
    for last, loss in (
        (layers.Dense(2, activation="softmax"), "sparse_categorical_crossentropy"),
        (layers.Dense(2), cn.losses.SparseCategoricalCrossentropy(from_logits=True)),
    ):
        model = cn.Sequential([last])
        model.compile("sgd", loss)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(x, y, verbose=0)
