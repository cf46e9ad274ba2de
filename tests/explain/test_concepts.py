"""Concepts: those that the model uses are found, those that it does not are not, and the probe is scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from cenote import Sequential, layers
from cenote.explain import tcav
from cenote.explain.concepts import _moved, _probe

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(80, 4)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """tanh(x0) + tanh(3 x1) x2, of four features of which the last does nothing."""

    class Form(layers.Layer):
        def forward(self, h):
            return (h[:, :1] + h[:, 1:2] * h[:, 2:3]) * 1.0

    made = Sequential([layers.Dense(4), layers.Activation("tanh"), Form()]).build(ROWS)
    made.set_weights([np.diag([1.0, 3, 1, 1]), np.zeros(4)])
    return made


def along(place):
    return ROWS[:40] + 2 * np.eye(4, dtype="float32")[place]


def test_a_concept_that_the_model_uses_is_found(model):
    found = tcav(model, ROWS[:30], along(0), "layers.0", random=ROWS)
    assert found.score > 0.95 and found.accuracy > 0.8 and found.error < 0.1
    assert found.direction.shape == (4,) and found.direction[0] > 0.9
    assert found.p == 0.001 and found.effect > 0.3 and found.significant and found.layer == "layers.0"
    against = tcav(model, ROWS[:30], -along(0), "layers.0", random=ROWS)
    assert against.score < 0.1 and against.effect < 0 and against.significant


def test_a_concept_that_the_model_does_not_use_is_not(model):
    found = tcav(model, ROWS[:30], along(3), "layers.0", random=ROWS)
    assert found.accuracy > 0.7 and not found.significant  # the layer knows it, the output does not


def test_random_rows_are_no_concept(model):
    others = np.random.default_rng(5).normal(size=(40, 4)).astype("float32")
    found = tcav(model, ROWS[:30], others, "layers.0", random=ROWS)
    assert found.accuracy < 0.65 and not found.significant


def test_chance_is_called_something_in_one_of_twenty_cases():
    small = [np.random.default_rng(i).normal(size=30) for i in range(200)]
    found = [_moved(rows[:12], rows[12:], np.random.default_rng(0), 99)[1] for rows in small]
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.09


def test_chunks_do_not_matter(model):
    one, other = (tcav(model, ROWS[:30], along(0), "layers.0", random=ROWS, batch_size=n) for n in (30, 16))
    np.testing.assert_allclose(one.scores, other.scores)


def test_a_linear_end_says_that_every_direction_is_alike():
    linear = Sequential([layers.Dense(4), layers.Dense(1)]).build(ROWS)
    found = tcav(linear, ROWS[:10], along(0), "layers.0", random=ROWS)
    assert "every direction scores 0 or 1" in found.reason and found.score in (0, 1)


@pytest.mark.parametrize("features", [5, 60])
def test_the_probe_is_a_ridge_regression(features):
    inside, outside = RNG.normal(size=(15, features)) + 0.3, RNG.normal(size=(25, features))
    direction, offset = _probe(inside, outside, 2.0)
    share = np.r_[np.full(15, 0.5 / 15), np.full(25, 0.5 / 25)]
    rows, sides = np.r_[inside, outside], np.r_[np.ones(15), -np.ones(25)]
    scale = np.mean(((rows - share @ rows) * np.sqrt(share)[:, None]) ** 2)
    other = Ridge(alpha=2.0 * scale).fit(rows, sides, sample_weight=share)
    np.testing.assert_allclose(direction, other.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(-offset, other.intercept_, atol=1e-9)


@pytest.mark.parametrize(
    "problem, options",
    [
        ("give random=some rows of any kind", {}),
        ("concept holds 3 rows: a direction needs 10", {"concept": ROWS[:3], "random": ROWS}),
        ("unknown path of a layer 'layer.0': did you mean 'layers.0'", {"path": "layer.0", "random": ROWS}),
        ("repeats is at least 2", {"random": ROWS, "repeats": 1}),
        ("strength is that of a ridge", {"random": ROWS, "strength": 0}),
    ],
)
def test_bad_input_is_said(model, problem, options):
    given = {"concept": along(0), "path": "layers.0", **options}
    with pytest.raises(ValueError, match=problem):
        tcav(model, ROWS[:10], **given)
