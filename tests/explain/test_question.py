"""What is asked, and by which method if none is named: default target, baseline and method, forms of input, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import explain, layers
from cenote.explain.question import ask

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 4)).astype("float32")
X = RNG.normal(size=(20, 3)).astype("float32")


@jax.jit
def network(x):
    return jnp.tanh(x @ W) @ W.T


def wide(x):
    return (x**2).sum(1)


def test_the_method_follows_from_the_function_and_the_data():
    rows = np.ones((2, 13), "float32")
    known = np.zeros((3, 13), "float32")
    for function, x, given, wanted, why in [
        (network, X[:2], {"background": X}, "exact_shapley", "only 3 features"),
        (wide, rows, {"background": known}, "deepshap", "the function is differentiable; compared with 3 background rows"),
        (wide, rows, {"baseline": 0.0}, "deeplift", "the function is differentiable"),
        (lambda x: np.asarray(x).sum(1), rows, {"baseline": 0.0}, "permutation_shapley", "JAX cannot differentiate"),
        (lambda x: (x == 1).sum(1) * 1.0, rows.astype(int), {"baseline": 0}, "permutation_shapley", "not looked up"),
    ]:
        found = explain.explain(function, x, **given)
        assert found.method == wanted and why in found.reason
        assert found.completeness.max() < 1e-5


def test_the_default_output_is_the_predicted_class_before_softmax():
    model = cn.Sequential([layers.Dense(3, activation="softmax")]).build(X)
    logits = X[:5] @ np.asarray(model.params["layers.0.kernel"])
    found = model.explain(X[:5], "saliency")
    assert np.array_equal(found.target, logits.argmax(1)) and "the predicted class's" in found.reason
    assert np.allclose(found.output, logits.max(1), atol=1e-5)
    assert np.array_equal(explain.saliency(model, X[:2], target=-1).target, [2, 2])


def test_the_default_baseline_is_the_mean_of_the_background_and_that_is_said():
    found = explain.deeplift(network, X[:2], background=X, target=0)
    assert np.allclose(found.base, network(X.mean(0, keepdims=True))[0, 0], atol=1e-6)
    assert found.reason == "compared with the mean of 20 background rows"
    many = explain.deepshap(network, X[:2], background=X, baseline=0.0, target=0)
    assert "compared with 20 background rows; the baseline is not used: take deeplift" in many.reason


def test_several_inputs_take_a_list_of_baselines_and_keep_their_order():
    def both(x):
        return x[0].sum(1) * 2 + x[1].sum(1)

    x = (np.ones((2, 2), "float32"), np.ones((2, 3), "float32"))
    for baseline in ([np.zeros(2), np.zeros(3)], ([0.0, 0.0], [0.0] * 3), 0.0, [0, np.zeros((1, 3))]):
        found = explain.deeplift(both, x, baseline=baseline)
        assert [v.tolist() for v in found.values] == [[[2.0, 2.0]] * 2, [[1.0] * 3] * 2]
    for given in ({"baseline": [np.zeros(2)] * 3}, {"background": x[0]}, {"background": {"a": x[0], "b": x[1]}}):
        with pytest.raises(ValueError, match="give the same arrays in the same form"):
            explain.deeplift(both, x, **given)
    one = explain.deeplift(wide, np.ones((1, 3), "float32"), baseline=(0.0, 0.0, 1.0))
    assert np.allclose(one.values, [[1, 1, 0]])


def test_inputs_by_name_and_training_rows_in_a_list_are_brought_together():
    b, a = cn.Input((2,), name="b"), cn.Input((2,), name="a")
    model = cn.Model([b, a], layers.Subtract()([b, a]))
    first, second = np.ones((1, 2), "float32"), np.full((1, 2), 3, "float32")
    for given in ({"background": [first, second]}, {"baseline": [first, second]}):
        found = explain.deeplift(model, {"a": second + 5, "b": first}, target=0, **given)
        assert found.values["a"].tolist() == [[-5.0, 0.0]] and found.values["b"].tolist() == [[0.0, 0.0]]


def test_one_baseline_for_all_rows_however_many_are_in_the_last_batch():
    found = explain.deeplift(wide, np.ones((5, 3), "float32"), baseline=[0.0, 0.0, 1.0], batch_size=2)
    three = explain.deeplift(wide, np.ones((7, 3), "float32"), baseline=[0.0, 0.0, 1.0], batch_size=4)  # three are left over
    each = explain.deeplift(wide, np.ones((3, 3), "float32"), baseline=np.eye(3), batch_size=2)
    assert np.allclose(found.values, [1, 1, 0]) and np.allclose(three.values, [1, 1, 0])
    assert np.allclose(each.values, 1 - np.eye(3))


def test_what_is_compiled_is_kept_with_a_jitted_function():
    traced = []

    @jax.jit
    def counted(x):
        traced.append(x.shape)
        return x.sum(1)

    explain.deeplift(counted, X, baseline=0.0)
    before = len(traced)
    explain.deeplift(counted, X + 1, baseline=1.0)
    assert len(traced) == before


def test_names_fit_the_features_or_the_last_axis():
    assert ask(wide, X, names="abc").names == ["a", "b", "c"]
    assert ask(lambda x: x.sum((1, 2)), np.ones((2, 5, 3), "float32"), names=("x", "y", "z")).names == ["x", "y", "z"]
    with pytest.raises(ValueError, match="names has 2 entries, but there are 3 features"):
        ask(wide, X, names=["a", "b"])


@pytest.mark.parametrize(
    "problem, given",
    [
        (r"x has the shape of one example, \(3,\): give a batch of them, such as x\[None\]", {"x": X[0], "background": X}),
        (r"a row of the background has shape \(2,\), but an example has \(3,\)", {"background": X[:, :2]}),
        ("the background holds no rows", {"background": X[:0]}),
        ("background holds NaN", {"background": X * np.nan}),
        ("there is nothing to explain", {"x": X[:0]}),
        ("the baseline holds NaN", {"baseline": np.full(3, np.nan)}),
        (r"the baseline has shape \(2,\), but an example has \(3,\)", {"baseline": [0.0, 0.0]}),
        ("there is no output 3: the function has 3", {"target": 3}),
        ("the outputs have no names, so that there is no 'cat': give the output's number", {"target": "cat"}),
        ("target is the number of an output", {"target": [0, 1]}),
    ],
)
def test_what_is_wrong_is_said(problem, given):
    given = {"x": X[:3], "baseline": None if "background" in given else 0.0} | given
    with pytest.raises(ValueError, match=problem):
        explain.deeplift(network, given.pop("x"), **given)


def test_a_python_function_gets_the_frames_that_it_takes():
    import pandas as pd

    frame = pd.DataFrame(X.astype("float64"), columns=["a", "b", "c"])
    found = explain.explain(lambda f: f["a"].to_numpy() - 2 * f["c"], frame[:2], baseline=0.0)
    assert np.allclose(found.values, X[:2] * [1, 0, -2], atol=1e-5) and found.names == ["a", "b", "c"]
    arrays = explain.explain(lambda x: np.asarray(x)[:, 0], frame[:2], baseline=0.0)  # and arrays, if it takes no frames
    assert np.allclose(arrays.values, X[:2] * [1, 0, 0], atol=1e-5)
    with pytest.raises(ValueError, match="which is no number: give one that gives numbers"):
        explain.explain(lambda x: np.array(["yes"] * len(x)), X[:2], baseline=0.0)
    named = explain.permutation_importance(
        lambda x: np.where(np.asarray(x)[:, 1] > 0, "yes", "no"), X, np.where(X[:, 1] > 0, "yes", "no")
    )
    assert named.top(1)[0][0] == "1" and named.values[0] == 0


def test_what_is_no_function_says_what_to_give():
    class Estimator:
        def predict(self, x):
            return x

    for function, problem in [
        ((0, 0), "lambda x: apply"),
        (Estimator(), "got Estimator: give its function, such as"),
        (1, "int"),
    ]:
        with pytest.raises(TypeError, match=problem):
            explain.explain(function, X)


def test_a_function_of_one_example_is_told_from_one_of_a_batch():
    with pytest.raises(ValueError, match=r"expected one output an example, 3 rows, but the function gave shape \(\)"):
        explain.explain(lambda row: jnp.tanh(row @ W)[0], X[0], baseline=0.0)
    with pytest.raises(IndexError) as caught:
        explain.explain(lambda x: np.asarray(x)[:, 7], X[:2], baseline=0.0)
    assert "asked about a batch: x is float32[2, 3], rows first" in " ".join(caught.value.__notes__)


# -- texts -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader():
    """A fitted model that begins with texts."""
    words = layers.TextVectorization(output_sequence_length=4, vocabulary=["good", "bad", "day"])
    model = cn.Sequential([words, layers.Embedding(5, 4), layers.GlobalAveragePooling1D(), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.array(["good day", "bad day", "bad", "good"] * 4), np.array([1.0, 0, 0, 1] * 4), epochs=1, verbose=0)
    return model


def test_a_fitted_model_explains_texts_by_their_words_however_they_come(reader):
    import pandas as pd

    for texts in ("good day", ["good day"], np.array(["good day"]), pd.Series(["good day"], index=[7])):
        found = reader.explain(texts)
        assert found.kind == "text" and [name for name, _ in found.top()] in (["good", "day"], ["day", "good"])
        assert found.reason.startswith("Shapley values of words by permutations") and found.completeness.max() < 1e-4
    by_hand = explain.exact_shapley(reader, ["good day", "bad"])
    assert by_hand.method == "exact_shapley" and by_hand.values.shape == (2, 2)
    slopes = reader.explain("good day", "deeplift")  # by the vectors of the words that the model reads
    assert slopes.values.shape == (1, 4) and slopes.completeness.max() < 1e-4


def test_methods_are_checked_on_texts(reader):
    found = explain.check(reader, ["good day", "bad"], ["deeplift"], baseline=0)
    assert found.methods == ["deeplift", "random"]


def test_what_makes_no_sense_with_texts_is_said(reader):
    with pytest.raises(ValueError, match="no baseline, no background, but fill="):
        reader.explain("good day", background=["bad"])
    with pytest.raises(ValueError, match="saliency needs gradients, and there is none by a word: use a method that only asks"):
        explain.explain(lambda texts: np.array([len(t) for t in texts]), ["good"], "saliency")
    with pytest.raises(ValueError, match="none is nearer than another: name the features in categories="):
        explain.counterfactuals(reader, np.array(["good day"]), (1.0, None))
