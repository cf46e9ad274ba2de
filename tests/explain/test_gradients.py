"""Attribution by gradients: Captum's answers, exact solutions, and what is said when it cannot be had."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from captum_nets import answers, network

from cenote import Sequential, explain, layers
from cenote.explain.question import subject_of

RULES = ["gauss_legendre", "midpoint", "trapezoid", "left", "right"]


def close(found, wanted, part=1e-5):
    assert np.abs(found - wanted).max() <= part * np.abs(wanted).max()


@pytest.fixture(scope="module", params=["mlp", "smooth"])
def asked(request):
    stored = answers(request.param)
    shared = {"target": stored["target"], "baseline": stored["baseline"][0]}
    return network(request.param), stored, shared


def test_saliency_and_input_x_gradient_are_captums(asked):
    model, stored, _ = asked
    close(explain.saliency(model, stored["x"], target=stored["target"]).values, stored["saliency"])
    close(explain.input_x_gradient(model, stored["x"], target=stored["target"]).values, stored["input_x_gradient"])


@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients_with_fixed_nodes_are_captums(asked, rule):
    model, stored, shared = asked
    found = explain.integrated_gradients(model, stored["x"], **shared, nodes=50, rule=rule)
    part = 49 / 50 if rule == "trapezoid" else 1  # Captum's shares of this rule add up to 49/50
    close(found.values * part, stored["integrated"][rule], 2e-6)


def test_nodes_are_doubled_until_nothing_is_missing():
    stored, model = answers("smooth"), network("smooth")
    shared = {"target": stored["target"], "baseline": stored["baseline"][0]}
    rough = explain.integrated_gradients(model, stored["x"], **shared, tol=1e-2)
    fine = explain.integrated_gradients(model, stored["x"], **shared, tol=1e-5)
    assert fine.details["converged"].all() and fine.completeness.max() < 1.5e-5
    assert rough.details["nodes"].max() < fine.details["nodes"].max() <= 129
    close(fine.values, stored["integrated"]["gauss_legendre"], 1e-4)


def test_what_does_not_converge_says_so():
    wild = lambda x: jnp.sign(jnp.sin(40 * x[:, 0])) * 0.1 + jnp.abs(jnp.sin(300 * x[:, 1]))  # noqa: E731
    found = explain.integrated_gradients(wild, np.array([[1.0, 2.0]], "float32"), baseline=0, max_nodes=17)
    assert not found.details["converged"][0] and found.details["nodes"][0] == 17
    assert "still above 0.001 of the whole" in found.reason and "raise max_nodes" in found.reason


def test_symmetry_does_not_pass_for_completeness():
    """What is missing on one feature is there too much on the other, so that nothing is missing in sum."""
    found = explain.integrated_gradients(
        lambda x: x[:, 0] ** 8 - x[:, 1] ** 8, np.array([[1.0, 1.0]], "float32"), baseline=0, tol=1e-4
    )
    np.testing.assert_allclose(found.values, [[1, -1]], atol=1e-3)


def test_without_biases_all_agree_and_add_up_to_the_output():
    """Euler: a piecewise linear network without biases is its slope times its input."""
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    model = Sequential([layers.Dense(8, activation="relu", use_bias=False), layers.Dense(3, use_bias=False)]).build(x)
    by_slope = explain.input_x_gradient(model, x)
    by_way = explain.integrated_gradients(model, x, baseline=0)
    close(by_way.values, by_slope.values)
    np.testing.assert_allclose(by_slope.values.sum(1), by_slope.output, rtol=1e-5)
    assert by_way.details["nodes"].max() == 9  # one was enough; the rest says that the values stand still


def test_smooth_grad_of_a_quadratic_is_its_gradient():
    rng = np.random.default_rng(1)
    a, x, rows = (rng.normal(size=s).astype("float32") for s in ((4, 4), (3, 4), (20, 4)))
    found = explain.smooth_grad(lambda x: ((x @ a) * x).sum(1), x, background=rows)
    np.testing.assert_allclose(found.values, x @ (a + a.T), rtol=1e-4, atol=1e-4)
    assert found.error.max() < 1e-5 and found.details["samples"] == 26
    assert "0.15 times the range of the training rows" in found.reason


def test_smooth_grad_says_how_far_it_can_be_trusted():
    x, rows = np.zeros((1, 1), "float32"), np.array([[-2.0], [2.0]])
    truth = 3 * 0.6**2  # of x^3 under noise of 0.15 * 4
    cube = subject_of(lambda x: x[:, 0] ** 3, x)  # compiled once
    found = [explain.smooth_grad(cube, x, background=rows, samples=100, seed=s) for s in range(30)]
    far = np.array([(f.values[0, 0] - truth) / f.error[0, 0] for f in found])
    assert (np.abs(far) < 2).mean() > 0.8 and far.std() > 0.5


def test_var_grad_of_a_quadratic():
    a = np.array([[2.0, 1.0], [0.0, 3.0]], "float32")
    rows = np.array([[0.0, 0.0], [1.0, 10.0]])
    found = explain.var_grad(
        lambda x: ((x @ a) * x).sum(1), np.ones((1, 2), "float32"), background=rows, sigma=0.1, samples=4000
    )
    np.testing.assert_allclose(found.values[0], (a + a.T) ** 2 @ np.array([0.1, 1.0]) ** 2, rtol=0.1)


def test_expected_gradients_are_the_mean_of_integrated_gradients(asked):
    model, stored, shared = asked
    rows = stored["background"]
    found = explain.expected_gradients(model, stored["x"], background=rows, target=shared["target"])
    far = (found.values - stored["expected"]) / found.error
    assert (np.abs(far) < 6).all() and far.std() > 0.3
    assert found.error.max() < 0.02 * np.abs(stored["expected"]).max()
    asked_rows = model.predict(rows)
    np.testing.assert_allclose(found.base, asked_rows[:, shared["target"]].mean(0), atol=1e-5)
    assert found.gap.max() < 0.02
    assert np.abs(stored["gradient_shap"] - stored["expected"]).max() > np.abs(found.values - stored["expected"]).max()


def test_results_do_not_hang_on_the_size_of_batches():
    model, stored = network("mlp"), answers("mlp")
    for name in ("integrated_gradients", "expected_gradients"):
        one, other = (model.explain(stored["x"], name, target=0, background=stored["background"], batch_size=n) for n in (5, 2))
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)
        assert np.shape(one.details.get("nodes", np.zeros(5))) == (5,)


def test_several_inputs():
    x = (np.ones((2, 3), "float32"), np.full((2, 2), 2.0, "float32"))
    rows = tuple(np.random.default_rng(i).normal(size=(9, n)).astype("float32") for i, n in enumerate((3, 2)))
    f = lambda x: (x[0].sum(1) + 1) * x[1][:, 0]  # noqa: E731
    found = explain.integrated_gradients(f, x, baseline=0.0)
    np.testing.assert_allclose(found.values[0], np.ones((2, 3)), atol=1e-4)
    np.testing.assert_allclose(found.values[1], [[5, 0], [5, 0]], atol=1e-4)
    assert explain.expected_gradients(f, x, background=rows).error[1].shape == (2, 2)


@pytest.mark.parametrize(
    "problem, call",
    [
        ("needs gradients, and JAX cannot trace", lambda x: explain.saliency(lambda x: np.asarray(x).sum(1), x)),
        ("NaN", lambda x: explain.saliency(lambda x: x.sum(1), np.where(x > 0, np.nan, x))),
        (r"the baseline has shape \(4,\), but an example has \(3,\)", lambda x: ig(x, baseline=np.zeros(4))),
        ("there is nothing to compare with", lambda x: ig(x)),
        ("unknown rule 'gauss': did you mean 'gauss_legendre'", lambda x: ig(x, baseline=0, nodes=5, rule="gauss")),
        ("nodes is a whole number, at least 1", lambda x: ig(x, baseline=0, nodes=0)),
        ("tol is the part of the whole", lambda x: ig(x, baseline=0, tol=0)),
        ("max_nodes is at least 9", lambda x: ig(x, baseline=0, max_nodes=4)),
        ("compares with many rows", lambda x: explain.expected_gradients(lambda x: x.sum(1), x)),
        ("samples is a whole number, at least 2", lambda x: explain.smooth_grad(lambda x: x.sum(1), x, samples=1)),
        ("sigma is a part of the features' range", lambda x: explain.var_grad(lambda x: x.sum(1), x, sigma=-1.0)),
        ("unknown option of saliency 'absolut'", lambda x: explain.saliency(lambda x: x.sum(1), x, absolut=True)),
    ],
)
def test_bad_input_is_said(problem, call):
    with pytest.raises(ValueError, match=problem):
        call(np.ones((2, 3), "float32"))


def ig(x, **options):
    return explain.integrated_gradients(lambda x: x.sum(1), x, **options)
