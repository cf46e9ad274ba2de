"""LIME for tables, pictures and texts: closed forms, lime's stored answers, refusal; superpixels and words."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cenote import Sequential, explain, layers

STORED = json.loads((Path(__file__).parents[1] / "parity" / "explain_shapley.json").read_text())
X, BACKGROUND = (np.array(STORED[k], np.float32) for k in ("x", "background"))
W = [np.array(w, np.float32) for w in STORED["weights"]]


def smooth(x):
    return jnp.tanh((x @ W[0] + W[1]) / 4) @ W[3][np.array([0, 1, 2, 3, 4, 5, 0, 1])]


def linear(x):
    return x @ W[0][:, 0]


# -- tables ------------------------------------------------------------------------------------------------------------------


def test_a_linear_function_gives_its_slopes_times_the_standard_deviations():
    found = explain.lime(linear, X, background=BACKGROUND, ridge=0.0, samples=500)
    assert np.abs(found.values - W[0][:, 0] * BACKGROUND.astype(float).std(0)).max() < 1e-6
    assert found.details["r2"] == pytest.approx(np.ones(4))
    assert found.details["stability"] == pytest.approx(np.ones(4))
    assert found.error.max() < 1e-6
    shrunk = explain.lime(linear, X, background=BACKGROUND, ridge=1e6, samples=500, insist=True)
    assert np.abs(shrunk.values).max() < 0.01 * np.abs(found.values).max()


def test_it_says_what_lime_says():
    found = explain.lime(smooth, X, background=BACKGROUND, samples=20000)
    scale = np.abs(STORED["lime_table"]).max()
    assert np.abs(found.values - STORED["lime_table"]).max() < 0.05 * scale
    assert found.details["r2"][-1] == pytest.approx(STORED["lime_table_r2"], abs=0.02)
    assert found.error.max() < 0.03 * scale


def test_a_function_that_is_not_linear_is_refused_unless_one_insists():
    def wavy(x):
        return jnp.sin(3 * x[:, 0]) * x[:, 1] + x[:, 2] ** 2

    x = np.zeros((2, 6), np.float32)
    x[1, 2] = 5
    with pytest.raises(ValueError, match=r"explains for 1 of 2 examples only R2 = 0\.\d+ .*permutation_shapley.*insist=True"):
        explain.lime(wavy, x, scale=1.0, samples=2000)
    found = explain.lime(wavy, x, scale=1.0, samples=2000, insist=True)
    assert found.details["r2"][0] < 0.5 < found.details["r2"][1]
    assert found.details["stability"][0] < found.details["stability"][1] <= 1


def test_a_constant_function_and_a_constant_feature_give_exactly_nothing():
    flat = explain.lime(lambda x: 0 * x[:, 0] + 7.0, X, background=BACKGROUND, samples=200)
    assert (flat.values == 0).all()
    assert (flat.details["r2"] == 1).all()
    still = BACKGROUND.copy()
    still[:, 3] = 1.0
    found = explain.lime(linear, X, background=still, samples=200)
    assert (found.values[:, 3] == 0).all()
    assert "1 features do not vary" in found.reason


def test_categories_and_quarters_are_drawn_from_the_background():
    rng = np.random.default_rng(0)
    others = np.stack([rng.normal(size=300), rng.integers(0, 3, 300)], 1).astype(np.float32)

    def f(x):
        return x[:, 0] + 2.0 * (x[:, 1] == 1)

    x = np.array([[0.0, 1.0]], np.float32)
    found = explain.lime(f, x, background=others, categories=["kind"], names=["size", "kind"], ridge=0.0)
    assert found.values[0] == pytest.approx([others[:, 0].std(), 2.0], abs=1e-4)
    quarters = explain.lime(f, x, background=others, discretise=True, categories=[1], ridge=0.0)
    inside = others[(others[:, 0] > np.percentile(others[:, 0], 25)) & (others[:, 0] <= np.percentile(others[:, 0], 50)), 0]
    middle = inside if inside.min() <= 0 <= inside.max() else None
    assert quarters.values[0, 1] == pytest.approx(2.0, abs=0.1)
    if middle is not None:
        rest = others[~np.isin(others[:, 0], middle), 0]
        assert quarters.values[0, 0] == pytest.approx(middle.mean() - rest.mean(), abs=0.1)


# -- pictures ----------------------------------------------------------------------------------------------------------------


def _blocks():
    picture = np.zeros((12, 16, 3), np.float32)
    picture[:6, :8], picture[:6, 8:], picture[6:, :8] = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    return picture


def test_superpixels_follow_edges_and_are_connected():
    from scipy import ndimage

    pieces = explain.superpixels(_blocks(), 4)
    assert pieces.shape == (12, 16)
    assert pieces[0, 0] == 0
    assert all(np.ptp(block) == 0 for half in np.split(pieces, 2) for block in np.split(half, 2, axis=1))
    noise = np.random.default_rng(0).random((30, 40))
    pieces = explain.superpixels(noise, 20)
    assert 10 <= pieces.max() + 1 <= 25
    assert all(ndimage.label(pieces == n)[1] == 1 for n in range(pieces.max() + 1))
    assert np.array_equal(pieces, explain.superpixels(noise * 255, 20))
    assert explain.superpixels(np.zeros((5, 5)), 1).max() == 0
    with pytest.raises(ValueError, match=r"shape \(height, width\) or .*got \(4,\)"):
        explain.superpixels(np.zeros(4))


def test_the_piece_of_a_picture_that_matters_is_found():
    """The function looks at the red of the upper left block alone; grey noise keeps the pieces from being of one colour."""
    rng = np.random.default_rng(0)
    pictures = np.stack([_blocks(), _blocks()[:, ::-1]]) + 0.2 * rng.random((2, 12, 16, 3)).astype(np.float32)

    def red(x):
        return x[:, :6, :8, 0].mean((1, 2)) - x[:, :6, 8:, 0].mean((1, 2))

    found = explain.lime(red, pictures, samples=300, baseline=0.0)
    assert found.values.shape == pictures.shape
    by_column = np.abs(found.values).sum((1, 3, 2))
    assert found.details["segments"].shape == pictures.shape
    upper = np.abs(found.values[:, :6]).sum((1, 2, 3))
    assert (upper > 0.95 * by_column).all()
    assert (found.details["r2"] > 0.99).all()
    mean_filled = explain.lime(red, pictures, samples=300, insist=True)
    assert np.abs(mean_filled.values).max() < 0.05 * np.abs(found.values).max()
    by_orders = explain.permutation_shapley(red, pictures, groups=explain.superpixels, baseline=0.0)
    assert by_orders.completeness.max() < 1e-5
    assert by_orders.values.sum((1, 2, 3)) == pytest.approx(found.values.sum((1, 2, 3)), rel=0.05)


def test_grey_pictures_of_whole_numbers_and_a_function_of_numpy():
    seen = []

    def left(x):
        assert isinstance(x, np.ndarray), "a tracer"
        seen.append(x.dtype)
        return x[:, :, :4].mean((1, 2)) / 255.0

    pictures = np.zeros((2, 6, 8), np.uint8)
    pictures[:, :3, :4] = 255
    pictures[1] = pictures[1, ::-1]
    found = explain.lime(left, pictures, groups=lambda p: explain.superpixels(p, 4), samples=200, target=lambda y: 2 * y)
    assert found.values.shape == pictures.shape
    assert (found.values == 0).all()  # each piece is of one grey: its mean changes nothing
    found = explain.lime(left, pictures, groups=lambda p: explain.superpixels(p, 4), samples=200, baseline=0, ridge=0.0)
    assert found.values[0].sum() == pytest.approx(0.5, abs=0.01) == found.values[0, :3, :4].sum()
    assert set(seen) == {np.dtype(np.uint8)}


# -- texts -------------------------------------------------------------------------------------------------------------------


def of_words(said):
    """The function of make_explain_shapley.py."""
    rows = []
    for text in said:
        words = text.split()
        score = 0.8 * ("good" in words) - 0.3 * ("but" in words) + 0.5 * ("surprise" in words)
        score -= 1.1 * ("good" in words and "not" in words)
        rows.append([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))])
    return np.array(rows)


def test_words_as_lime_weighs_them():
    text = " ".join(STORED["words"])
    found = explain.explain_text(of_words, text, "lime", target=1)
    assert found.details["words"][0] == STORED["words"]
    assert np.abs(found.values[0] - STORED["lime_text"]).max() < 0.01
    assert found.details["r2"][0] == pytest.approx(STORED["lime_text_r2"], abs=0.02)
    assert [name for name, _ in found.top(3)] == ["not", "surprise", "but"]


def test_words_by_orders_exactly_and_by_kernel_agree():
    text = " ".join(STORED["words"])
    exact = explain.explain_text(of_words, text, "exact_shapley", target=1)
    orders = explain.explain_text(of_words, text, target=1, permutations=64)
    kernel = explain.explain_text(of_words, text, "kernel_shap", target=1)
    assert exact.completeness.max() < 1e-5
    assert np.abs(orders.values - exact.values).max() < 4 * orders.error.max() + 1e-6
    assert np.abs(kernel.values - exact.values).max() < 1e-6
    assert exact.kind == "text"
    assert exact.names == STORED["words"]


def test_texts_of_any_language_tokens_and_pieces_of_ones_own():
    asked = []

    def f(texts):
        asked.extend(texts)
        return np.array([[t.count("好") - t.count("不") + t.count("great!")] for t in texts], float)

    found = explain.explain_text(f, ["服务不好。", "great! 很好", ["a", "great!"]], fill="_")
    assert [list(w) for w in found.details["words"]] == [list("服务不好。"), ["great", "!", "很", "好"], ["a", "great!"]]
    assert found.values[0].tolist() == [0, 0, -1, 1, 0]
    assert found.values[1] == pytest.approx([0.5, 0.5, 0, 1, 0])
    assert found.values[2].tolist() == [0, 1, 0, 0, 0]
    assert found.output.tolist() == [0, 2, 1]
    assert "__不_。" in asked or any(t.count("_") for t in asked)
    assert len(asked) < 250
    assert found[1].values.shape == (1, 5)
    assert found[1].raw == ["great! 很好"]
    own = explain.explain_text(f, "服务不好。", split=lambda text: ["服务", "不好"])
    assert own.details["words"][0] == ["服务", "不好"]
    assert own.values.tolist() == [[0, 0]]


def test_a_model_that_takes_texts():
    words = layers.TextVectorization(max_tokens=20)  # it pads a batch to its longest text
    words.adapt(["the film was good", "the film was bad", "a good end"])
    model = Sequential([words, layers.Embedding(20, 4), layers.GlobalAveragePooling1D(), layers.Dense(2, "softmax")])
    model.build(np.array(["the film was good"]), key=0)
    texts = ["the film was good", "bad end"]
    found = explain.explain_text(model, texts, "exact_shapley")
    assert found.values.shape == (2, 4)
    assert (found.values[1, 2:] == 0).all()
    assert found.completeness.max() < 1e-4
    assert (found.target == model.predict(np.array(texts)).argmax(1)).all()

    def chances(asked):  # the same by hand: with the longest text beside them, so that all are padded alike
        return np.log(model.predict(np.array([*asked, texts[0]]), verbose=0))[:-1]

    by_hand = explain.explain_text(chances, texts, "exact_shapley", target=lambda y: y[:, 1] - y[:, 0])
    logits = explain.explain_text(model, texts, "exact_shapley", target=lambda y: y[:, 1] - y[:, 0])
    assert np.abs(by_hand.values - logits.values).max() < 1e-5
    assert np.abs(logits.values).max() > 1e-3


# -- bad input ---------------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="give background= with at least two training rows, or scale="):
        explain.lime(linear, X, baseline=0.0)
    with pytest.raises(ValueError, match=r"scale is a number, or one for each of the 10 features"):
        explain.lime(linear, X, scale=[1.0, 2.0])
    with pytest.raises(ValueError, match="draws categorical and discretised columns from training rows"):
        explain.lime(linear, X, scale=1.0, discretise=True)
    with pytest.raises(ValueError, match="unknown column in categories 'colour'"):
        explain.lime(linear, X, background=BACKGROUND, categories=["colour"])
    with pytest.raises(ValueError, match=r"lime takes tables .*\(1, 3, 2\).* groups="):
        explain.lime(lambda x: x.sum((1, 2)), np.ones((1, 3, 2), np.float32), baseline=0.0)
    with pytest.raises(ValueError, match="width=0: expected a number above 0"):
        explain.lime(linear, X, background=BACKGROUND, width=0)
    with pytest.raises(ValueError, match="gave NaN or infinity near example 0"):
        explain.lime(lambda x: jnp.log(x[:, 0]), np.ones((1, 2), np.float32), scale=1.0)
    with pytest.raises(ValueError, match=r"text 1, '  ', has no words"):
        explain.explain_text(of_words, ["good", "  "])
    with pytest.raises(ValueError, match="split gave 'bad', which does not stand in text 0"):
        explain.explain_text(of_words, "good", split=lambda text: ["bad"])
    with pytest.raises(TypeError, match="text 0 is a int"):
        explain.explain_text(of_words, [3])
    with pytest.raises(ValueError, match="unknown method 'lima': did you mean 'lime'"):
        explain.explain_text(of_words, "good", "lima")
    with pytest.raises(ValueError, match=r"expected outputs for \d texts, one row each, but the function gave shape \(1,\)"):
        explain.explain_text(lambda texts: np.ones(1), "good bad day")
    with pytest.raises(TypeError, match="the model takes numbers, not texts"):
        explain.explain_text(Sequential([layers.Dense(2)]).build((None, 3)), "good")
