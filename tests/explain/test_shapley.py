"""Shapley values against shap's stored answers, the axioms, closed forms, and the promise of their error bars."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import Sequential, explain, layers
from cenote.explain.question import Subject

STORED = json.loads((Path(__file__).parents[1] / "parity" / "explain_shapley.json").read_text())
X, BACKGROUND = (np.array(STORED[k], np.float32) for k in ("x", "background"))
W = [np.array(w, np.float32) for w in STORED["weights"]]


def network(x):
    xp = jnp if isinstance(x, jax.Array) else np
    return xp.tanh(xp.maximum(x @ W[0] + W[1], 0) @ W[2]) @ W[3]


# A function that is asked again and again: as for a model, what was compiled is kept.
NETWORK = Subject(lambda _, x: network(x), (), differentiable=True, says="")


def only_numpy(x):
    """The same for NumPy alone: JAX cannot trace it."""
    assert isinstance(x, np.ndarray), "a tracer"
    return network(x)


@pytest.mark.parametrize("function", [NETWORK, network, only_numpy])
def test_exact_values_are_those_of_shap(function):
    found = explain.exact_shapley(function, X, background=BACKGROUND)
    assert np.abs(found.values - STORED["exact"]).max() < 1e-6
    assert np.abs(found.base - STORED["base"]).max() < 1e-6
    assert found.completeness.max() < 1e-5
    assert found.details["coalitions"] == 1024


def test_interactions_are_those_of_shap():
    taylor = explain.shapley_interactions(NETWORK, X, background=BACKGROUND, index="taylor")  # it is this index in shap
    assert np.abs(taylor.values - STORED["interactions"]).max() < 1e-6
    found = explain.shapley_interactions(NETWORK, X, background=BACKGROUND, names=[f"f{i}" for i in range(10)])
    assert np.abs(found.shapley - STORED["exact"]).max() < 1e-6
    assert found.gap.max() < 1e-5
    strongest = found.top(1)[0]
    assert strongest[2] == pytest.approx(np.abs(found.pairs[0]).max() * np.sign(strongest[2]))
    assert strongest[0].startswith("f")


def test_orders_come_as_near_the_exact_values_as_shap():
    found = explain.permutation_shapley(NETWORK, X, background=BACKGROUND, permutations=20)
    away, theirs = (np.abs(np.array(v) - STORED["exact"]) for v in (found.values, STORED["permutation"]))
    assert (away**2).mean() < 1.5 * (theirs**2).mean()
    assert (away**2).mean() < 2 * (found.error**2).mean() < 4 * (theirs**2).mean()
    assert found.completeness.max() < 1e-5
    assert (away <= found.details["t"][:, None] * found.error).mean() > 0.85


# -- closed forms and axioms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exact_shapley", "permutation_shapley", "kernel_shap"])
def test_closed_forms_and_axioms(name):
    """One function, of all parts: linear, additive, a product, a feature that does nothing, two that are alike."""

    def f(x):
        return 2 * x[:, 0] + jnp.sin(x[:, 1]) + x[:, 2] * x[:, 3] + 0 * x[:, 4] + jnp.tanh(x[:, 5] + x[:, 6])

    x, others = X[:3, :7].copy(), BACKGROUND[:, :7].copy()
    x[:, 6] = x[:, 5]
    others[:, 6] = others[:, 5]
    found = getattr(explain, name)(f, x, background=others)
    values = found.values
    assert values[:, 0] == pytest.approx(2 * (x[:, 0] - others[:, 0].mean()), abs=1e-5)
    assert values[:, 1] == pytest.approx(np.sin(x[:, 1]) - np.sin(others[:, 1]).mean(), abs=1e-5)
    assert np.abs(values[:, 4]).max() < 1e-6
    assert values[:, 5] == pytest.approx(values[:, 6], abs=1e-5)
    together = (x[:, 2] * x[:, 3]) - (others[:, 2] * others[:, 3]).mean()
    assert values[:, 2] + values[:, 3] == pytest.approx(together, abs=1e-5)
    assert found.completeness.max() < 1e-5


def test_interactions_by_their_definition():
    """The mean, over all orders of the others with the pair as one, of what the pair adds beyond its two parts."""
    from itertools import permutations

    x, base = X[:1, :4].astype(float), BACKGROUND[0, :4].astype(float)

    def f(x):
        assert isinstance(x, np.ndarray), "a tracer"
        return np.array([np.tanh(z @ W[0][:4, :3] + z[0] * z[1] * z[2]).sum() for z in x])

    def v(members):
        z = base.copy()
        z[list(members)] = x[0, list(members)]
        return f(z[None])[0]

    found = explain.shapley_interactions(f, x, baseline=base)
    for i, j in ((0, 1), (1, 3)):
        gains = []
        for order in permutations([(i, j), *({0, 1, 2, 3} - {i, j})]):
            before = list(order[: order.index((i, j))])
            gains.append(v([*before, i, j]) - v([*before, i]) - v([*before, j]) + v(before))
        assert found.pairs[0, i, j] == pytest.approx(np.mean(gains), abs=1e-5)


def test_a_product_is_shared_by_halves_and_sums_do_not_interact():
    def f(x):
        return x[:, 0] * x[:, 1] + jnp.exp(x[:, 2])

    x = np.array([[3.0, 2.0, 1.0]], np.float32)
    found = explain.shapley_interactions(f, x, baseline=0.0)
    assert found.pairs[0, 0, 1] == pytest.approx(6, abs=1e-5)
    assert np.abs(found.pairs[0, 2]).max() < 1e-6
    assert found.shapley[0] == pytest.approx([3, 3, np.e - 1], abs=1e-5)


@pytest.mark.parametrize("name", ["exact_shapley", "kernel_shap"])
def test_values_go_with_the_features_when_these_change_places(name):
    order = np.random.default_rng(2).permutation(10)
    back = np.argsort(order)
    found = getattr(explain, name)(lambda x: network(x[:, back]), X[:, order], background=BACKGROUND[:, order])
    assert np.abs(found.values - np.array(STORED["exact"])[:, order]).max() < 1e-5


def test_what_does_not_vary_gets_exactly_nothing():
    others = BACKGROUND.copy()
    others[:, [2, 7]] = X[0, [2, 7]]
    for name in ("exact_shapley", "permutation_shapley", "kernel_shap"):
        found = getattr(explain, name)(NETWORK, X[:2], background=others)
        assert (found.values[0, [2, 7]] == 0).all(), name
        assert (np.abs(found.values[1, [2, 7]]) > 0).all(), name
        assert found.completeness.max() < 1e-5
        same = getattr(explain, name)(NETWORK, X[:1], baseline=X[:1])
        assert (same.values == 0).all(), name


# -- groups ------------------------------------------------------------------------------------------------------------------


def test_groups_by_name_in_lists_as_numbers_and_by_a_function():
    names = list("abcdefghij")
    lists = {"first": ["a", "b", "c"], "rest": [3, 4, 5, 6, 7], "i": ["i"], "j": [-1]}
    numbers = np.array([5, 5, 5, 7, 7, 7, 7, 7, 8, 9])
    asked = {"background": BACKGROUND, "names": names}
    named = explain.exact_shapley(NETWORK, X, groups=lists, **asked)
    assert named.values.shape == (4, 4)
    assert named.names == ["first", "rest", "i", "j"]
    assert np.isnan(named.x[:, 0]).all()
    assert named.x[:, 2] == pytest.approx(X[:, 8])
    assert named.completeness.max() < 1e-5

    listed = explain.exact_shapley(NETWORK, X, groups=[["a", "b", "c"], [3, 4, 5, 6, 7]], **asked)
    assert listed.names == ["a + b + c", "d + e + f + g + h", "i", "j"]
    assert np.array_equal(listed.values, named.values)

    for groups in (numbers, lambda example: numbers):
        spread = explain.exact_shapley(NETWORK, X, groups=groups, **asked)
        assert spread.values.shape == X.shape
        assert np.ptp(spread.values[:, :3], axis=1).max() == 0
        assert spread.values[:, :3].sum(1) == pytest.approx(named.values[:, 0], abs=1e-6)
        assert spread.completeness.max() < 1e-5

    kernel = explain.kernel_shap(NETWORK, X, groups=lists, **asked)
    assert np.abs(kernel.values - named.values).max() < 1e-6
    orders = explain.permutation_shapley(NETWORK, X, groups=lists, **asked)
    assert (np.abs(orders.values - named.values) <= 4 * orders.error + 1e-6).all()


def test_a_feature_in_the_group_minus_one_stays_as_it_is():
    found = explain.exact_shapley(NETWORK, X, background=BACKGROUND, groups=np.array([-1, *range(9)]))
    assert (found.values[:, 0] == 0).all()
    fixed = np.repeat(BACKGROUND[None], 4, 0)
    fixed[:, :, 0] = X[:, None, 0]
    assert found.base == pytest.approx([network(f).mean() for f in fixed], abs=1e-6)


def test_each_input_of_several_as_one_group():
    def f(x):
        return (x["picture"].sum((1, 2)) * x["age"][:, 0])[:, None]

    x = {"age": np.array([[2.0], [3.0]], np.float32), "picture": np.ones((2, 2, 3), np.float32)}
    found = explain.exact_shapley(f, x, baseline={"age": np.zeros(1), "picture": np.zeros((2, 3))}, groups="inputs")
    assert found.names == ["age", "picture"]
    assert found.values.tolist() == [[6, 6], [9, 9]]
    single = explain.exact_shapley(f, x, baseline=0.0)
    assert single.values["age"][:, 0] == pytest.approx([6, 9], abs=1e-4)
    assert single.values["picture"].sum((1, 2)) == pytest.approx([6, 9], abs=1e-4)


def test_a_picture_and_a_model_of_ours_in_bounded_pieces(monkeypatch):
    """However large the examples and the background are, evaluations go by parts, and the values stay."""
    model = Sequential([layers.Flatten(), layers.Dense(4, "tanh"), layers.Dense(2, "softmax")]).build((None, 4, 4, 1), key=1)
    rng = np.random.default_rng(0)
    x, others = rng.normal(size=(3, 4, 4, 1)).astype("f"), rng.normal(size=(7, 4, 4, 1)).astype("f")
    segments = np.repeat(np.arange(4), 4).reshape(4, 4)
    whole = model.explain(x, "exact_shapley", background=others, groups=segments)
    monkeypatch.setattr("cenote.explain.coalitions.ELEMENTS", 16 * 3)
    parts = explain.exact_shapley(model, x, background=others, groups=segments, batch_size=2)
    assert whole.values.shape == x.shape
    assert np.abs(parts.values - whole.values).max() < 1e-6
    assert whole.details["segments"].shape == x.shape
    assert whole.completeness.max() < 1e-5


# -- error bars --------------------------------------------------------------------------------------------------------------

NETS, HIDDEN = 1000, 8


def _networks():
    """1,000 random networks of ten features in one function: the eleventh feature, never switched off, says which."""
    rng = np.random.default_rng(4)
    weights = {
        "a": rng.normal(size=(NETS, 10, HIDDEN)) / 2,
        "b": rng.normal(size=(NETS, HIDDEN)),
        "c": rng.normal(size=(NETS, HIDDEN, HIDDEN)) / 2,
        "d": rng.normal(size=(NETS, HIDDEN)) / 3,
    }

    def outputs(w, x):
        k = x[:, 10].astype(int)
        h = jax.nn.relu(jnp.einsum("ri,rij->rj", x[:, :10], w["a"][k]) + w["b"][k])
        h = jnp.tanh(jnp.einsum("ri,rij->rj", h, w["c"][k]))
        return (h * w["d"][k]).sum(-1, keepdims=True)

    x = np.concatenate([rng.normal(size=(NETS, 10)), np.arange(NETS)[:, None]], 1).astype(np.float32)
    others = np.concatenate([rng.normal(size=(3, 10)), np.zeros((3, 1))], 1).astype(np.float32)
    weights = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), weights)
    subject = Subject(outputs, weights, differentiable=True, says="")
    asked = {"background": others, "groups": np.array([*range(10), -1])}
    return subject, x, asked, explain.exact_shapley(subject, x, batch_size=NETS, **asked).values


@pytest.fixture(scope="module")
def networks():
    return _networks()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("permutation_shapley", {"permutations": 8}),
        ("permutation_shapley", {"permutations": 16}),
        ("permutation_shapley", {"permutations": 8, "tol": 0.04}),
        ("kernel_shap", {"samples": 100}),
        ("kernel_shap", {"samples": 400}),
    ],
)
def test_nominal_95_percent_intervals_cover_the_exact_values(networks, name, options):
    subject, x, asked, exact = networks
    size, inside = 50, []
    for seed in range(NETS // size):  # some seeds, so that what is drawn is not the same for all
        rows = slice(seed * size, (seed + 1) * size)
        found = getattr(explain, name)(subject, x[rows], seed=seed, **asked, **options)
        away = np.abs(found.values - exact[rows])[:, :10]
        inside.append(away <= found.details["t"][:, None] * found.error[:, :10] + 1e-7)
        if "tol" in options:
            assert found.details["reached"].all() and found.details["permutations"][0] > 8
            assert found.error.max() <= options["tol"]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_a_tolerance_that_is_out_of_reach_is_said():
    asked = {"background": BACKGROUND[:2], "permutations": 2}
    found = explain.permutation_shapley(NETWORK, X[:1], tol=1e-6, max_evaluations=400, **asked)
    assert not found.details["reached"].any()
    assert "did not get within 1e-06" in found.reason
    assert found.details["permutations"][0] * 2 * 9 * 2 <= 400
    with pytest.raises(ValueError, match=r"max_evaluations=50 is too few: 2 permutations of 10 features.*need 76"):
        explain.permutation_shapley(NETWORK, X[:1], max_evaluations=50, **asked)


def test_one_and_two_features_need_no_luck():
    one = explain.permutation_shapley(lambda x: x[:, 0] ** 2, X[:2, :1], baseline=0.0)
    assert one.values[:, 0] == pytest.approx(X[:2, 0] ** 2, rel=1e-5)
    assert (one.error == 0).all()
    two = explain.permutation_shapley(lambda x: x[:, 0] * x[:, 1] ** 2, X[:2, :2], background=BACKGROUND[:, :2])
    exact = explain.exact_shapley(lambda x: x[:, 0] * x[:, 1] ** 2, X[:2, :2], background=BACKGROUND[:, :2])
    assert np.abs(two.values - exact.values).max() < 1e-5
    assert explain.kernel_shap(lambda x: x[:, 0] ** 2, X[:2, :1], baseline=0.0).values == pytest.approx(one.values)


def test_a_row_alone_is_explained_as_among_others():
    many = explain.permutation_shapley(NETWORK, X, background=BACKGROUND, batch_size=3)
    alone = explain.permutation_shapley(NETWORK, X[3:], background=BACKGROUND)
    assert np.abs(many.values[3] - alone.values[0]).max() < 1e-6


# -- bad input ---------------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said():
    wide = np.ones((1, 20), np.float32)
    with pytest.raises(ValueError, match=r"of 20 features there are 2\^20: it takes at most 15.*permutation_shapley"):
        explain.exact_shapley(lambda x: x.sum(1), wide, baseline=0.0)
    with pytest.raises(ValueError, match=r"nothing to compare with: give background="):
        explain.exact_shapley(network, X)
    with pytest.raises(ValueError, match="the background holds no rows"):
        explain.exact_shapley(NETWORK, X, background=BACKGROUND[:0])
    with pytest.raises(ValueError, match=r"x holds NaN .* at \[0, 1\]"):
        explain.exact_shapley(network, np.where(np.arange(10) == 1, np.nan, X), background=BACKGROUND)
    with pytest.raises(ValueError, match=r"gave nan for example 0 with 10 of 10 features switched off"):
        explain.exact_shapley(lambda x: jnp.log(x.sum(1)), np.ones((1, 10), np.float32), baseline=-1.0)
    with pytest.raises(ValueError, match="permutations=1: at least 2"):
        explain.permutation_shapley(NETWORK, X, background=BACKGROUND, permutations=1)
    with pytest.raises(ValueError, match="tol=0 is a standard error"):
        explain.permutation_shapley(NETWORK, X, background=BACKGROUND, tol=0)
    for groups, said in [
        ({"a": [0, 10]}, "the feature 10, but an example has 10 features"),
        ({"a": [0, 1], "b": [1]}, "the feature 1 is in two groups"),
        ({"a": []}, "group a has no features"),
        ([["age"]], "unknown feature in groups 'age'"),
        (np.zeros(9, int), r"whole numbers in the form of one example, \(10,\).*got int64 of shape \(9,\)"),
        (np.zeros(10), "got float64"),
        (np.full(10, -1), "nothing to switch off"),
        ("input", "unknown groups 'input': did you mean 'inputs'"),
    ]:
        with pytest.raises(ValueError, match=said):
            explain.exact_shapley(NETWORK, X, background=BACKGROUND, groups=groups)
    with pytest.raises(ValueError, match=r"here, give whole numbers in the form of one example, \(2, 3\)"):
        explain.exact_shapley(lambda x: x.sum((1, 2)), np.ones((1, 2, 3), np.float32), baseline=0.0, groups=[[0], [1]])
    with pytest.raises(ValueError, match="unknown index 'tailor': did you mean 'taylor'"):
        explain.shapley_interactions(NETWORK, X, background=BACKGROUND, index="tailor")


# -- real data ---------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_pixels_of_digits_that_speak_for_the_class_are_found():
    """Without the ten pixels that speak most for it, the class is hardly ever found; without any ten, nearly always."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    x = (data.data / 16).astype(np.float32)
    fitted = MLPClassifier((32,), max_iter=40, random_state=0, learning_rate_init=0.01).fit(x[:1000], data.target[:1000])
    rows, mean = x[1000:1012], x[:1000].mean(0)
    found = explain.permutation_shapley(fitted.predict_log_proba, rows, background=x[:5], permutations=3)
    guess = fitted.predict(rows)
    assert (found.target == guess).all()

    def kept(order):
        changed = rows.copy()
        np.put_along_axis(changed, order[:, :10], mean[order[:, :10]], axis=1)
        return (fitted.predict(changed) == guess).mean()

    anywhere = np.argsort(np.random.default_rng(0).random(rows.shape), axis=1)
    assert kept(np.argsort(-found.values, axis=1)) < 0.4 < 0.7 < kept(anywhere)
