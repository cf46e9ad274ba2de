"""Counterfactuals: valid, sparse beside exhaustive search, within what is allowed, for models and for Python functions."""

import itertools

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import cenote as cn
from cenote import explain, layers

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(150, 5)).astype(np.float32) * np.array([1, 2, 0.5, 1, 3], np.float32)
SLOPES = np.array([1.0, -0.4, 1.5, 0.2, 0.1], np.float32)


@pytest.fixture
def random():
    """Numbers of each test's own."""
    return np.random.default_rng(0)


def linear(x):
    return x @ SLOPES


@pytest.fixture(scope="module")
def doctor():
    """A model of tumours that was told the names of its classes, and rows that it was not trained on."""
    (x, y), (x_test, _) = cn.datasets.breast_cancer.load_data()
    x, x_test = (a[:, [0, 1, 4, 7, 20, 21]].astype(np.float32) for a in (x, x_test))
    model = cn.Sequential(
        [layers.Rescaling(1 / x.std(0), -x.mean(0) / x.std(0)), layers.Dense(6, "tanh"), layers.Dense(2, "softmax")]
    )
    model.compile(cn.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=10, verbose=0)
    model.info["classes"] = ["malignant", "benign"]
    frame = pd.DataFrame(x_test[:12], columns=["radius", "texture", "smoothness", "concavity", "worst radius", "worst texture"])
    return model, frame, x


def test_every_answer_of_a_model_changes_and_that_is_checked(doctor):
    model, frame, _ = doctor
    found = explain.counterfactuals(model, frame)
    before, after = (model.predict(a, verbose=0).argmax(1) for a in (found.x, found.z))
    assert found.valid.all() and np.all(before != after)
    assert found.before == [["malignant", "benign"][k] for k in before]
    assert found.after == [["malignant", "benign"][k] for k in after]
    # Usual values: those of the training rows that the model remembers.
    low, high = model.background.min(0), model.background.max(0)
    moved = found.changed
    assert np.all((found.z >= low - 1e-4)[moved]) and np.all((found.z <= high + 1e-4)[moved])
    assert moved.sum(1).min() >= 1 and moved.sum(1).mean() < 3
    # In units of the median absolute deviation.
    mad = np.median(np.abs(model.background - np.median(model.background, 0)), 0)
    np.testing.assert_allclose(found.distance, (np.abs(found.z - found.x) / mad).sum(1), rtol=1e-4)
    name, start, end = found.changes(0)[0]
    assert name in frame.columns and start == frame[name][0] and end != start
    assert f"{found.before[0]} would be {found.after[0]} with {name} " in repr(found)
    assert "<table>" in found._repr_html_() and name in found._repr_html_()


def test_a_wanted_class_and_frozen_features(doctor):
    model, frame, _ = doctor
    found = explain.counterfactuals(model, frame[:6], "benign", frozen=["worst radius", 0])
    assert not found.changed[:, [0, 4]].any()
    asked = model.predict(found.z, verbose=0).argmax(1) == 1
    np.testing.assert_array_equal(found.valid, asked)
    already = np.array(found.before) == "benign"
    assert already.any() and not found.changed[already].any() and "as wanted already" in found.said(int(already.argmax()))


def needed(x, low, high, aim):
    """For each subset of the features: can they alone lift ``x . slopes`` to ``aim``? The fewest that can."""
    gain = np.maximum(np.maximum((high - x) * SLOPES, (low - x) * SLOPES), 0)
    for size in range(1, len(x) + 1):
        for subset in itertools.combinations(range(len(x)), size):
            if gain[list(subset)].sum() >= aim - x @ SLOPES:
                return size
    return None


@pytest.mark.parametrize("differentiable", [True, False])
def test_as_few_changes_as_exhaustive_search(differentiable):
    low, high = ROWS.min(0), ROWS.max(0)
    x = ROWS[(ROWS @ SLOPES) < 0][:6]
    for aim in (2.0, 5.0):
        function = linear if differentiable else lambda x: np.asarray(x, np.float64) @ SLOPES
        found = explain.counterfactuals(function, x, (aim, None), background=ROWS, sparsity=10.0)
        assert found.valid.all() and np.all(linear(found.z) >= aim)
        assert found.changed.sum(1).tolist() == [needed(row, low, high, aim) for row in x]


def test_as_near_as_can_be_with_one_feature():
    mad = np.median(np.abs(ROWS - np.median(ROWS, 0)), 0)
    x = ROWS[(ROWS @ SLOPES) < -0.5][:4]
    found = explain.counterfactuals(linear, x, (0.0, None), background=ROWS, sparsity=10.0)
    for row in range(4):
        gap = -float(x[row] @ SLOPES)
        steps = gap / SLOPES
        inside = (x[row] + steps >= ROWS.min(0)) & (x[row] + steps <= ROWS.max(0))
        exact = np.min(np.where(inside, np.abs(steps) / mad, np.inf))
        if np.isfinite(exact):
            assert found.distance[row] == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("differentiable", [True, False])
def test_whole_numbers_categories_and_ranges(differentiable, random):
    rows = ROWS.copy()
    rows[:, 1] = random.integers(0, 9, size=150)  # whole in every row, so it stays whole
    rows[:, 3] = np.array([1.0, 4.0, 7.0])[random.integers(3, size=150)]
    names = ["a", "count", "b", "kind", "c"]

    def function(x):
        xp = jnp if differentiable else np
        return 0.7 * x[:, 1] + 2.0 * (xp.abs(x[:, 3] - 4.0) < 0.5) + 0.1 * x[:, 0]

    x = rows[(rows[:, 1] < 2) & (rows[:, 3] != 4.0)][:3]
    found = explain.counterfactuals(
        function, x, (5.05, 5.9), background=rows, categories="kind", ranges={"a": (-0.5, 0.5)}, names=names
    )
    assert found.valid.all()
    assert np.all(found.z[:, 1] == np.rint(found.z[:, 1])) and np.all(np.isin(found.z[:, 3], [1.0, 4.0, 7.0]))
    assert np.all(np.abs(found.z[:, 0][found.changed[:, 0]]) <= 0.5)
    assert np.all((function(found.z) >= 5.05) & (function(found.z) <= 5.9))


def test_what_cannot_be_had_is_said():
    found = explain.counterfactuals(linear, ROWS[:2], (100.0, None), background=ROWS)
    assert found.valid.tolist() == [False, False] and "no change was found" in repr(found)
    np.testing.assert_array_equal(found.z, ROWS[:2])
    few = explain.counterfactuals(linear, ROWS[:3], (5.0, None), background=ROWS, most=1)
    assert few.changed.sum(1).max() <= 1


def test_one_probability_tells_two_classes():
    model = cn.Sequential([layers.Dense(1, "sigmoid")])
    model.build(ROWS)
    found = explain.counterfactuals(model, ROWS[:4], [0, 1, 0, 1], background=ROWS)
    assert found.valid.all()
    assert (model.predict(found.z, verbose=0)[:, 0] > 0.5).tolist() == [False, True, False, True]


def test_what_is_refused(doctor):
    model, frame, _ = doctor
    with pytest.raises(ValueError, match="unknown feature in frozen 'radios': did you mean 'radius'"):
        explain.counterfactuals(model, frame, frozen=["radios"])
    with pytest.raises(ValueError, match="unknown class 'begnin': did you mean 'benign'"):
        explain.counterfactuals(model, frame, "begnin")
    with pytest.raises(ValueError, match="target is a class, 0 to 1"):
        explain.counterfactuals(model, frame, 2)
    with pytest.raises(ValueError, match="one output, a quantity: say in which range"):
        explain.counterfactuals(linear, ROWS[:2], background=ROWS)
    with pytest.raises(ValueError, match="give background=some training rows"):
        explain.counterfactuals(linear, ROWS[:2], (0, None))
    with pytest.raises(ValueError, match="range of '1' is empty: 3 to 2"):
        explain.counterfactuals(linear, ROWS[:2], (0, None), background=ROWS, ranges={1: (3, 2)})
    with pytest.raises(ValueError, match="no feature may change"):
        explain.counterfactuals(linear, ROWS[:2], (0, None), background=ROWS, frozen=range(5))
    with pytest.raises(ValueError, match="x holds NaN"):
        explain.counterfactuals(linear, ROWS[:2] * np.nan, (0, None), background=ROWS)
    with pytest.raises(ValueError, match="x holds no examples"):
        explain.counterfactuals(linear, ROWS[:0], (0, None), background=ROWS)
    with pytest.raises(ValueError, match="change single features of a table"):
        explain.counterfactuals(
            lambda x: x.sum((1, 2)), np.ones((1, 3, 3), np.float32), (0, None), background=np.ones((2, 3, 3))
        )
