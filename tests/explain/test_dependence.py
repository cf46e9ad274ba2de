"""Permutation importance, partial dependence, ICE and ALE: beside scikit-learn, known functions, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn import inspection
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import cenote as cn
from cenote import explain, layers

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 4)).astype(np.float32)
X[:, 1] += 0.8 * X[:, 0]
WEIGHTS = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
Y = X @ WEIGHTS + 0.3 * RANDOM.normal(size=200).astype(np.float32)


@pytest.fixture
def random():
    """Numbers of each test's own."""
    return np.random.default_rng(0)


def linear(x):
    return x @ WEIGHTS


@pytest.fixture(scope="module")
def forest():
    """A forest of scikit-learn for three classes: a Python function to us."""
    classes = np.digitize(Y, np.quantile(Y, [0.3, 0.7]))
    return RandomForestClassifier(8, max_depth=4, random_state=0).fit(X, classes), classes


@pytest.fixture(scope="module")
def classifier():
    """A model of ours for breast cancer, with the rows it was not trained on."""
    (x, y), (x_test, y_test) = cn.datasets.breast_cancer.load_data()
    middle, scale = x.mean(0), x.std(0)
    model = cn.Sequential([layers.Dense(2, "softmax")])
    model.compile(cn.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(((x - middle) / scale).astype(np.float32), y, epochs=15, verbose=0)
    return model, ((x_test - middle) / scale).astype(np.float32), y_test


# -- permutation importance ------------------------------------------------------------------------------------------------


def same_in_distribution(found, theirs, repeats):
    spread = np.sqrt((found.details["each"].var(1) + theirs.importances.var(1)) / repeats) + 1e-6
    assert np.all(np.abs(found.values - theirs.importances_mean) < 4 * spread)


def test_permutation_importance_is_scikit_learns_in_distribution():
    reference = LinearRegression()
    reference.coef_, reference.intercept_ = WEIGHTS, 0.0
    theirs = inspection.permutation_importance(reference, X, Y, n_repeats=30, random_state=0, scoring="r2")
    found = explain.permutation_importance(linear, X, Y, repeats=30)
    same_in_distribution(found, theirs, 30)
    assert found.values[3] == 0.0 and found.error[3] == 0.0  # not read, so exactly nothing
    assert found.order[0] == 1 and found.unit == "r2_score lost"
    np.testing.assert_allclose(found.details["baseline"], reference.score(X, Y), rtol=1e-5)
    # The spread of the repeats is that of scikit-learn, too, and the standard error is of their mean.
    np.testing.assert_allclose(found.details["each"].std(1), theirs.importances_std, rtol=0.5, atol=1e-6)
    np.testing.assert_allclose(found.error, found.details["each"].std(1, ddof=1) / np.sqrt(30))


def test_permutation_importance_of_a_python_function(forest):
    model, classes = forest
    theirs = inspection.permutation_importance(model, X, classes, n_repeats=10, random_state=0)
    sizes = []

    def predict(x):
        sizes.append(len(x))
        return model.predict(x)

    found = explain.permutation_importance(predict, X, classes, repeats=10)
    same_in_distribution(found, theirs, 10)
    assert found.unit == "accuracy lost" and max(sizes) == 2000 and len(sizes) < 10  # ten repeats in one call


def test_a_model_is_measured_by_what_fits_its_loss(classifier):
    model, x, y = classifier
    found = explain.permutation_importance(model, x, y, repeats=3)
    assert found.unit == "accuracy lost"
    assert found.details["baseline"] == pytest.approx(float((model.predict(x, verbose=0).argmax(1) == y).mean()))
    loss = explain.permutation_importance(model, x, y, repeats=3, metric="sparse_categorical_crossentropy")
    assert loss.unit.endswith("gained") and np.all(loss.values > -0.01) and loss.values.max() > 0.01  # less is better
    by_hand = explain.permutation_importance(lambda x: model.predict(x, verbose=0), x, y, repeats=3, metric="accuracy")
    np.testing.assert_allclose(found.values, by_hand.values, atol=1e-6)  # the seed decides, compiled or not


def test_blocks_of_rows_change_nothing(monkeypatch):
    whole = explain.permutation_importance(linear, X, Y, repeats=2)
    monkeypatch.setattr("cenote.explain.importance.TOGETHER", 64)
    blocks = explain.permutation_importance(linear, X, Y, repeats=2)
    np.testing.assert_allclose(blocks.values, whole.values, rtol=1e-4, atol=1e-6)


def test_groups_own_metrics_and_frames():
    frame = pd.DataFrame(X, columns=["age", "height", "weight", "noise"])
    found = explain.permutation_importance(linear, frame, Y, groups={"body": ["height", "weight"], "rest": ["age", 3]})
    assert found.names == ["body", "rest"] and found.order[0] == 0

    def minus_largest_error(y, predicted):
        return -np.abs(y - predicted).max()

    own = explain.permutation_importance(linear, frame, Y, metric=minus_largest_error)
    assert own.names[3] == "noise" and own.values[3] == 0.0 and own.values[1] > 1.0 and "minus_largest_error" in own.unit


# -- partial dependence ----------------------------------------------------------------------------------------------------


def test_partial_dependence_of_a_linear_function_has_its_slopes():
    for feature, weight in enumerate(WEIGHTS):
        curve = explain.partial_dependence(linear, X, feature)
        slope = np.diff(curve.mean) / np.diff(curve.grid)
        np.testing.assert_allclose(slope, weight, atol=2e-3)
        assert len(curve.grid) == 40 and np.quantile(X[:, feature], 0.05) == pytest.approx(curve.grid[0])


@pytest.mark.parametrize("feature", [1, (0, 2)])
def test_partial_dependence_is_scikit_learns(forest, feature):
    model, _ = forest
    theirs = inspection.partial_dependence(model, X, feature, grid_resolution=7, kind="average", method="brute")
    grids = theirs["grid_values"]
    found = explain.partial_dependence(
        model.predict_proba, X, feature, target=2, grid=grids if isinstance(feature, tuple) else grids[0]
    )
    np.testing.assert_allclose(found.mean, theirs["average"][2], atol=1e-6)
    assert found.output == "output 2" and found.feature == ("0 x 2" if isinstance(feature, tuple) else "1")


def test_individual_lines_and_their_mean(forest):
    model, _ = forest
    theirs = inspection.partial_dependence(model, X, [1], grid_resolution=7, kind="individual", method="brute")
    found = explain.ice(model.predict_proba, X, 1, target=0, grid=theirs["grid_values"][0])
    np.testing.assert_allclose(found.each, theirs["individual"][0], atol=1e-6)
    np.testing.assert_allclose(found.mean, found.each.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.error, found.each.std(0, ddof=1) / np.sqrt(len(X)), atol=1e-6)
    centred = explain.ice(model.predict_proba, X, 1, target=0, grid=theirs["grid_values"][0], centred=True)
    assert np.all(centred.each[:, 0] == 0)


def test_probabilities_or_logits_of_a_model(classifier):
    model, x, _ = classifier
    curve = explain.partial_dependence(model, x, 3, points=5)
    changed = np.repeat(x[None], 5, 0)
    changed[:, :, 3] = curve.grid[:, None]
    by_hand = model.predict(changed.reshape(-1, 30), verbose=0)[:, 1].reshape(5, -1).mean(1)
    np.testing.assert_allclose(curve.mean, by_hand, atol=1e-5)
    logits = explain.partial_dependence(model, x, 3, points=5, scale="logits")
    slope = np.diff(logits.mean) / np.diff(logits.grid)
    np.testing.assert_allclose(slope, model.params["layers.0.kernel"][3, 1], atol=1e-3)
    assert curve.plot() is not None


def test_words_and_missing_values_in_a_frame(random):
    colours = np.array(["blue", "green", "red"])[random.integers(3, size=200)]
    frame = pd.DataFrame({"size": X[:, 0], "colour": colours})
    y = X[:, 0] + 2.0 * (colours == "red")
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough"), LinearRegression()
    ).fit(frame, y)
    curve = explain.partial_dependence(pipeline.predict, frame, "colour")
    assert curve.grid.tolist() == ["blue", "green", "red"]
    np.testing.assert_allclose(curve.mean - curve.mean[0], [0, 0, 2], atol=1e-5)
    effect = explain.ale(pipeline.predict, frame, "colour", order=["red", "blue", "green"])
    np.testing.assert_allclose(np.diff(effect.mean), [-2, 0], atol=1e-5)
    assert effect.details["counts"].tolist() == [(colours == c).sum() for c in ("red", "blue", "green")]
    np.testing.assert_allclose((effect.mean * effect.details["counts"]).sum(), 0, atol=1e-4)
    importance = explain.permutation_importance(pipeline.predict, frame, y)
    assert importance.names == ["size", "colour"] and np.all(importance.values > 0.1)


def test_features_of_a_model_with_named_inputs():
    class Price(cn.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(1, use_bias=False, kernel_initializer="ones")

        def forward(self, x):
            return self.out(jnp.stack([x["age"], x["rooms"] ** 2], axis=1)) + x["place"][:, :1]

    inputs = {
        "age": np.arange(6, dtype=np.float32),
        "rooms": np.arange(6, dtype=np.float32)[::-1].copy(),
        "place": np.ones((6, 2), np.float32),
    }
    model = Price()
    model.build(inputs)
    curve = explain.partial_dependence(model, inputs, "rooms")
    np.testing.assert_allclose(curve.mean, np.arange(6.0) ** 2 + 2.5 + 1, atol=1e-4)
    found = explain.permutation_importance(model, inputs, np.arange(6.0), metric="mse")
    assert found.names == ["age", "place.0", "place.1", "rooms"] and found.values[2] == 0.0


# -- accumulated local effects ---------------------------------------------------------------------------------------------


def test_ale_of_an_additive_function_is_its_part_centred():
    def additive(x):
        return jnp.sin(x[:, 0]) + x[:, 1] ** 2

    curve = explain.ale(additive, X, 0)
    part = np.sin(curve.grid)
    np.testing.assert_allclose(curve.mean - curve.mean[0], part - part[0], atol=1e-5)
    np.testing.assert_allclose(np.interp(X[:, 0], curve.grid, curve.mean).mean(), 0, atol=1e-6)
    assert curve.details["counts"].sum() == len(X) and len(curve.grid) == 21
    assert curve.error.max() < 0.05 and np.all(np.diff(curve.error) >= 0)
    pair = explain.ale(additive, X, (0, 1), bins=6)
    np.testing.assert_allclose(pair.mean, 0, atol=1e-4)  # nothing that they do only together


def test_ale_of_a_product_is_what_both_do_together(random):
    x = random.uniform(-1, 1, size=(4000, 2)).astype(np.float32)
    pair = explain.ale(lambda x: 3 * x[:, 0] * x[:, 1] + x[:, 0], x, (0, 1), bins=8)
    first, second = pair.details["grids"]
    np.testing.assert_allclose(pair.mean, 3 * np.outer(first, second), atol=0.15)


def test_ale_asks_about_no_row_far_from_the_data(random):
    same = np.repeat(random.uniform(-2, 2, size=(300, 1)), 2, axis=1).astype(np.float32)  # the second column repeats the first

    def strange(x):  # far from the data, where the columns differ, it is wild
        return x[:, 0] + 100 * (jnp.abs(x[:, 0] - x[:, 1]) > 1.0)

    curve = explain.ale(strange, same, 0, bins=30)
    np.testing.assert_allclose(np.diff(curve.mean), np.diff(curve.grid), atol=1e-3)
    assert np.ptp(explain.partial_dependence(strange, same, 0).mean) > 20  # while partial dependence does ask


def test_categories_stand_beside_those_that_are_alike(random):
    level = random.integers(4, size=400)
    frame = pd.DataFrame({"kind": np.array(["d", "a", "c", "b"])[level], "size": level + 0.5 * random.normal(size=400)})

    def predict(rows):
        return rows["kind"].map({"d": 0.0, "a": 1.0, "c": 2.0, "b": 3.0}).to_numpy()

    curve = explain.ale(predict, frame, "kind")
    assert "".join(curve.grid) in ("dacb", "bcad")
    np.testing.assert_allclose(np.abs(np.diff(curve.mean)), 1.0)


# -- what is refused -------------------------------------------------------------------------------------------------------


def test_what_is_refused(classifier):
    model, x, y = classifier
    constant = np.stack([np.ones(5), np.arange(5)], 1).astype(np.float32)
    with pytest.raises(ValueError, match=r"feature '0' has the value 1\.0 in all 5 rows, so there is no curve of it"):
        explain.partial_dependence(lambda x: x[:, 1], constant, 0)
    with pytest.raises(ValueError, match=r"has the value 1\.0 in all 5 rows"):
        explain.ale(lambda x: x[:, 1], constant, 0)
    assert explain.partial_dependence(lambda x: x[:, 0], constant, 0, grid=[1.0, 2.0]).mean.tolist() == [1.0, 2.0]
    frame = pd.DataFrame(X, columns=["age", "height", "weight", "noise"])
    with pytest.raises(ValueError, match="unknown feature 'hight': did you mean 'height'"):
        explain.partial_dependence(linear, frame, "hight")
    with pytest.raises(ValueError, match="there is no feature 4: there are 4, numbers 0 to 3"):
        explain.ale(linear, X, 4)
    with pytest.raises(ValueError, match="x holds no examples"):
        explain.ice(linear, X[:0], 0)
    with pytest.raises(ValueError, match=r"x holds NaN \(not a number\) at \[1, 2\]"):
        holed = X.copy()
        holed[1, 2] = np.nan
        explain.permutation_importance(linear, holed, Y)
    with pytest.raises(ValueError, match="x has 200 examples, but y has"):
        explain.permutation_importance(linear, X, Y[:10])
    with pytest.raises(ValueError, match="y holds NaN or infinity at row 3"):
        explain.permutation_importance(linear, X, np.where(np.arange(200) == 3, np.nan, Y))
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        explain.permutation_importance(linear, X, Y, repeats=0)
    with pytest.raises(ValueError, match="unknown metric 'acuracy'"):
        explain.permutation_importance(model, x, y, metric="acuracy")
    with pytest.raises(ValueError, match="there are 3 outputs: say which one is meant"):
        explain.ale(lambda x: x[:, :3], X, 0)
    with pytest.raises(ValueError, match="unknown scale 'log'"):
        explain.ice(linear, X, 0, scale="log")
    with pytest.raises(ValueError, match="one number a feature, but an example has shape"):
        explain.permutation_importance(lambda x: x.sum((1, 2, 3)), np.ones((2, 4, 4, 1), np.float32), np.ones(2))


def test_a_compiled_program_is_kept():
    model = cn.Sequential([layers.Dense(1)])
    model.build(X)
    explain.partial_dependence(model, X, 0)
    before = explain.partial_dependence(model, X, 0).mean
    model.set_weights([w + 1 for w in model.get_weights()])  # new weights are seen, without a new program
    after = explain.partial_dependence(model, X, 0).mean
    assert not np.allclose(before, after)
