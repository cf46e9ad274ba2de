"""KernelSHAP against shap's stored answers, exact values and closed forms."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cenote import explain
from cenote.explain.kernel_shap import design
from cenote.explain.question import Subject

STORED = json.loads((Path(__file__).parents[1] / "parity" / "explain_shapley.json").read_text())
X, BACKGROUND = (np.array(STORED[k], np.float32) for k in ("x", "background"))
W = [np.array(w, np.float32) for w in STORED["weights"]]


def network(x):
    return jnp.tanh(jnp.maximum(x @ W[0] + W[1], 0) @ W[2]) @ W[3]


# A function that is asked again and again: as for a model, what was compiled is kept.
NETWORK = Subject(lambda _, x: network(x), (), differentiable=True, says="")


def test_with_every_coalition_it_is_exact_as_in_shap():
    found = explain.kernel_shap(NETWORK, X, background=BACKGROUND)
    assert (found.details["coalitions"] == 1024).all()
    assert np.abs(found.values - STORED["kernel_all"]).max() < 1e-6
    assert np.abs(found.values - STORED["exact"]).max() < 1e-6
    assert (found.error == 0).all()


def test_with_some_coalitions_it_is_as_near_as_shap_and_says_how_near():
    found = explain.kernel_shap(NETWORK, X, background=BACKGROUND, samples=300)
    away, theirs = (np.abs(np.array(v) - STORED["exact"]) for v in (found.values, STORED["kernel_300"]))
    assert (away**2).mean() < 1.5 * (theirs**2).mean()
    assert (away**2).mean() < 2 * (found.error**2).mean() < 4 * (theirs**2).mean()
    assert found.completeness.max() < 1e-5
    assert (found.details["coalitions"] == 302).all()


def test_a_linear_function_is_explained_without_error_and_no_feature_is_left_out():
    """shap's default leaves 4 of 14 features out here, with the sums still right."""
    rng = np.random.default_rng(0)
    w, x, others = rng.normal(size=14), rng.normal(size=(3, 14)).astype("f"), rng.normal(size=(20, 14)).astype("f")
    found = explain.kernel_shap(lambda x: x @ w.astype("f"), x, background=others, samples=300)
    assert np.abs(found.values - w * (x - others.mean(0))).max() < 1e-5
    assert (found.values != 0).all()
    assert found.error.max() < 1e-5
    of_stored = explain.kernel_shap(lambda x: x @ W[0][:, 0], X, background=BACKGROUND, samples=300)
    assert np.abs(of_stored.values - STORED["kernel_linear"]).max() < 1e-5


def test_coalitions_are_listed_from_the_ends_and_drawn_in_pairs():
    plan = design(12, 500, 0)
    size = plan.masks.sum(1)
    assert len(plan.masks) == 500
    assert [int((size == s).sum()) for s in (1, 11, 2, 10)] == [12, 12, 66, 66]
    m = plan.pairs
    assert m == (500 - 24 - 132) // 2
    assert np.array_equal(plan.masks[-2 * m : -m], ~plan.masks[-m:])
    assert set(size[-2 * m :]) <= set(range(3, 10))
    assert plan.weight.sum() == pytest.approx(1)
    assert design(12, 10**6, 0).pairs == 0
    assert len(np.unique(design(5, 10**6, 0).masks, axis=0)) == 30


def test_rows_that_vary_in_different_features():
    others = BACKGROUND.copy()
    others[:, 2] = X[0, 2]
    others[:, 7] = X[1, 7]
    found = explain.kernel_shap(NETWORK, X, background=others)
    exact = explain.exact_shapley(NETWORK, X, background=others)
    assert np.abs(found.values - exact.values).max() < 1e-6
    assert found.values[0, 2] == 0 == found.values[1, 7]


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match=r"samples=6 coalitions do not tell 10 features apart: give more \(at least 20"):
        explain.kernel_shap(NETWORK, X, background=BACKGROUND, samples=6)
