"""Losses: values and slopes against Keras, slopes against finite differences, weights, masks and messages."""

from __future__ import annotations

import functools
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import activations, losses
from cenote.core.notes import annotate, collecting

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(6, 4)).astype("float32")
SCORES = (3 * RNG.normal(size=(6, 4))).astype("float32")
PROBABILITIES = np.asarray(jax.nn.softmax(SCORES))
SHARES = np.asarray(jax.nn.softmax(REAL))
LABELS = RNG.integers(0, 4, 6)
ONE_HOT = np.eye(4, dtype="float32")[LABELS]
BITS = RNG.integers(0, 2, (6, 4)).astype("float32")
SIGNS = 2 * BITS - 1
COUNTS = RNG.poisson(3.0, (6, 4)).astype("float32")
POSITIVE = np.exp(REAL)
UNIT = SCORES / np.linalg.norm(SCORES, axis=1, keepdims=True)

CASES = [
    ("mean_squared_error", REAL, SCORES, {}),
    ("mean_absolute_error", REAL, SCORES, {}),
    ("mean_absolute_percentage_error", REAL, SCORES, {}),
    ("mean_squared_logarithmic_error", COUNTS, POSITIVE, {}),
    ("huber", REAL, SCORES, {"delta": 1.5}),
    ("log_cosh", REAL, SCORES, {}),
    ("cosine_similarity", REAL, SCORES, {}),
    ("kl_divergence", SHARES, PROBABILITIES, {}),
    ("poisson", COUNTS, POSITIVE, {}),
    ("hinge", SIGNS, SCORES, {}),
    ("hinge", BITS, SCORES, {}),
    ("squared_hinge", SIGNS, SCORES, {}),
    ("categorical_hinge", ONE_HOT, SCORES, {}),
    ("binary_crossentropy", BITS, PROBABILITIES, {}),
    ("binary_crossentropy", BITS, PROBABILITIES, {"label_smoothing": 0.2}),
    ("binary_crossentropy", BITS, SCORES, {"from_logits": True}),
    ("binary_crossentropy", BITS, SCORES, {"from_logits": True, "label_smoothing": 0.2}),
    ("categorical_crossentropy", ONE_HOT, PROBABILITIES, {}),
    ("categorical_crossentropy", ONE_HOT, POSITIVE, {}),  # probabilities that do not sum to one are made to
    ("categorical_crossentropy", SHARES, SCORES, {"from_logits": True, "label_smoothing": 0.1}),
    ("categorical_crossentropy", ONE_HOT, PROBABILITIES, {"label_smoothing": 0.1}),
    ("sparse_categorical_crossentropy", LABELS, PROBABILITIES, {}),
    ("sparse_categorical_crossentropy", LABELS[:, None], PROBABILITIES, {}),
    ("sparse_categorical_crossentropy", LABELS, SCORES, {"from_logits": True}),
    ("sparse_categorical_crossentropy", LABELS, SCORES, {"from_logits": True, "ignore_class": int(LABELS[0])}),
    ("binary_focal_crossentropy", BITS, PROBABILITIES, {"gamma": 1.5}),
    ("binary_focal_crossentropy", BITS, SCORES, {"from_logits": True, "label_smoothing": 0.1, "apply_class_balancing": True}),
    ("categorical_focal_crossentropy", ONE_HOT, PROBABILITIES, {"label_smoothing": 0.1}),
    ("categorical_focal_crossentropy", ONE_HOT, SCORES, {"from_logits": True, "alpha": [0.1, 0.2, 0.3, 0.4], "gamma": 3.0}),
    ("categorical_generalized_cross_entropy", LABELS, PROBABILITIES, {"q": 0.7}),
    ("dice", BITS, PROBABILITIES, {"axis": 1}),
    ("tversky", BITS, PROBABILITIES, {"axis": -1, "alpha": 0.3, "beta": 0.6}),
    ("circle", np.array([0, 0, 1, 1, 2, 0]), UNIT, {"gamma": 8.0}),
    ("circle", np.array([0, 0, 1, 1, 2, 0]), UNIT, {"gamma": 8.0, "margin": 0.2, "remove_diagonal": False}),
]


IDS = [f"{name}-{options}" for name, _, _, options in CASES]
UPWARD = np.arange(1.0, 7.0)


def weighed(module, case):
    """The sum of a loss's values, weighed 1, 2, 3, ..., as a function of the prediction; and the values."""
    name, y_true, _, options = CASES[case]

    def total(y_pred):
        values = getattr(module, name)(y_true, y_pred, **options)
        return jnp.vdot(values, UPWARD.astype(values.dtype)), values

    return total


@functools.cache
def values_and_slopes(module):
    """Of all cases: one program compiles sooner than one for each."""
    run = jax.jit(lambda p: [jax.grad(weighed(module, i), has_aux=True)(p[i]) for i in range(len(CASES))])
    return run([jnp.asarray(case[2]) for case in CASES])


@functools.cache
def slopes_and_quotients():
    """Of all cases along one random direction, in float64."""
    directions = [RNG.normal(size=case[2].shape) for case in CASES]

    @jax.jit
    def run(points):
        found = []
        for i, (p, d) in enumerate(zip(points, directions, strict=True)):
            total, step = weighed(losses, i), 1e-6 * d
            found.append((jnp.vdot(jax.grad(total, has_aux=True)(p)[0], d), (total(p + step)[0] - total(p - step)[0]) / 2e-6))
        return found

    with jax.enable_x64(True):
        return run([np.asarray(case[2], "float64") + 1e-3 for case in CASES])


@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_values_and_slopes_are_those_of_keras(case):
    keras = pytest.importorskip("keras")
    slope, values = values_and_slopes(losses)[case]
    their_slope, their_values = values_and_slopes(keras.losses)[case]
    assert values.shape == (6,)
    np.testing.assert_allclose(values, their_values, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(slope, their_slope, rtol=2e-5, atol=4e-6)


@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_slopes_against_finite_differences(case):
    slope, quotient = slopes_and_quotients()[case]
    np.testing.assert_allclose(quotient, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.0, 0.5, 1.0, 3.0]], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", ["MeanSquaredError", "Huber", "SparseCategoricalCrossentropy"])
def test_classes_reduce_as_keras(name, weights, reduction):
    keras = pytest.importorskip("keras")
    y_true, y_pred = (LABELS, PROBABILITIES) if name.startswith("Sparse") else (REAL, SCORES)
    weights = None if weights is None else np.asarray(weights, "float32")
    ours = getattr(losses, name)(reduction=reduction)(y_true, y_pred, weights)
    theirs = getattr(keras.losses, name)(reduction=reduction)(y_true, y_pred, weights)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6)


@pytest.mark.parametrize(("true", "pred"), [((6,), (6, 1)), ((6, 1), (6,)), ((6, 1), (6, 1)), ((6, 3, 1), (6, 3))])
def test_a_last_axis_of_one_is_added_or_dropped_as_in_keras(true, pred):
    keras = pytest.importorskip("keras")
    y_true = RNG.normal(size=true).astype("float32")
    y_pred = RNG.normal(size=pred).astype("float32")
    np.testing.assert_allclose(
        losses.MeanSquaredError()(y_true, y_pred), keras.losses.MeanSquaredError()(y_true, y_pred), rtol=1e-6
    )


def test_temporal_weights_and_ignored_classes_are_those_of_keras():
    keras = pytest.importorskip("keras")
    y_pred = RNG.normal(size=(3, 5, 4)).astype("float32")
    y_true = RNG.integers(0, 4, (3, 5))
    weights = RNG.uniform(size=(3, 5)).astype("float32")
    options = {"from_logits": True, "ignore_class": 2}
    for w in (None, weights):
        ours = losses.SparseCategoricalCrossentropy(**options)(y_true, y_pred, w)
        theirs = keras.losses.SparseCategoricalCrossentropy(**options)(y_true, y_pred, w)
        np.testing.assert_allclose(ours, theirs, rtol=2e-6)


def test_masked_positions_do_not_count():
    mask = np.array([[True, True, False], [True, False, False]])
    with collecting():
        y_pred = annotate(jnp.where(mask[..., None], 1.0, jnp.nan), "mask", mask)
        assert losses.MeanSquaredError()(jnp.zeros((2, 3, 1)), y_pred).item() == 1.0
        total, count = losses.MeanSquaredError().totals(jnp.zeros((2, 3, 1)), y_pred, valid=jnp.array([True, False]))
        assert (total.item(), count.item()) == (2.0, 2.0)


def test_totals_of_batches_add_up_to_the_whole():
    loss = losses.MeanSquaredError()
    weights = np.arange(1.0, 7.0)
    padded_true, padded_pred = (np.concatenate([a, np.full((2, 4), np.nan, "float32")]) for a in (REAL, SCORES))
    valid = np.arange(8) < 6
    parts = [
        loss.totals(padded_true[i : i + 4], padded_pred[i : i + 4], np.r_[weights, 0, 0][i : i + 4], valid[i : i + 4])
        for i in (0, 4)
    ]
    total, count = (sum(p) for p in zip(*parts, strict=True))
    np.testing.assert_allclose(total / count, loss(REAL, SCORES, weights), rtol=1e-6)


@pytest.mark.parametrize("where", ["logits", "annotated"])
@pytest.mark.parametrize("name", ["binary", "categorical", "sparse_categorical"])
def test_far_logits_give_finite_slopes(name, where):
    x = jnp.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
    y = {"binary": [[0.0, 1.0], [0.0, 1.0]], "categorical": [[0.0, 1.0], [0.0, 1.0]], "sparse_categorical": [1, 1]}[name]
    link = activations.sigmoid if name == "binary" else activations.softmax
    loss = losses.get(name + "_crossentropy")
    from_logits = type(loss)(from_logits=True)

    def value(x):
        with collecting():
            return from_logits(y, x) if where == "logits" else loss(y, link(x))

    slope = jax.grad(value)(x)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() == (0.25 if name == "binary" else 0.5), (
        "a wrong answer that is sure of itself is pulled back at full strength"
    )
    assert np.isfinite(value(x))


def test_logits_of_another_link_are_not_taken():
    x = jnp.asarray(SCORES)
    with collecting():
        plain = losses.BinaryCrossentropy()(BITS, np.asarray(jax.nn.softmax(x)))
        np.testing.assert_allclose(losses.BinaryCrossentropy()(BITS, activations.softmax(x)), plain, rtol=1e-6)
        plain = losses.CategoricalCrossentropy()(ONE_HOT, np.asarray(jax.nn.sigmoid(x)))
        np.testing.assert_allclose(losses.CategoricalCrossentropy()(ONE_HOT, activations.sigmoid(x)), plain, rtol=1e-6)


def test_a_second_softmax_is_warned_of():
    with collecting(), pytest.warns(UserWarning, match="ends in softmax, which is now applied twice"):
        losses.CategoricalCrossentropy(from_logits=True)(ONE_HOT, activations.softmax(SCORES))


def test_one_number_an_example_without_an_axis_of_features():
    values = losses.get("mse").values(np.zeros(3), np.array([1.0, 2.0, 3.0]))
    assert values.tolist() == [1.0, 4.0, 9.0]
    weighted = losses.get("binary_crossentropy")(np.ones(2), np.array([0.5, 0.25]), sample_weight=[0.0, 1.0])
    np.testing.assert_allclose(weighted, np.log(4) / 2, rtol=1e-6)


def test_half_precision_is_summed_in_full():
    y_pred = jnp.full((1, 3000), 1.0, jnp.bfloat16)
    assert losses.mean_squared_error(np.zeros((1, 3000)), y_pred).dtype == jnp.float32


def test_own_functions_and_classes():
    assert losses.get(lambda y_true, y_pred: jnp.mean(jnp.abs(y_true - y_pred)))(REAL, REAL + 1).item() == pytest.approx(1)

    class Own(losses.Loss):
        def call(self, y_true, y_pred):
            return jnp.max(jnp.abs(y_true - y_pred), axis=-1)

    assert Own().name == "own"
    assert losses.get(Own)(np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 0.0]])).item() == 2.5


def test_names():
    for name in ("mse", "MSE", "mean_squared_error", "MeanSquaredError", losses.mse, losses.MeanSquaredError):
        assert isinstance(losses.get(name), losses.MeanSquaredError)
    assert losses.get("kld").name == "kl_divergence"
    shapes = {"target_shape": (8,), "output_shape": (8, 3)}
    assert isinstance(losses.get("crossentropy", **shapes), losses.SparseCategoricalCrossentropy)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "error", "says"),
    [
        ("mse", np.zeros(32), np.zeros((32, 10)), ValueError, r"\(32,\).*\(32, 10\).*sparse_categorical_crossentropy"),
        ("mse", np.zeros((32, 1)), np.zeros((32, 10)), ValueError, r"end the model in Dense\(1\)"),
        ("mse", np.zeros((32, 3)), np.zeros((32, 1)), ValueError, r"End the model in Dense\(3\)"),
        ("mse", np.zeros((31, 1)), np.zeros((32, 1)), ValueError, "There are 31 targets for 32 examples"),
        ("categorical_crossentropy", LABELS, PROBABILITIES, ValueError, "use loss='sparse_categorical_crossentropy'"),
        ("sparse_categorical_crossentropy", ONE_HOT, PROBABILITIES, ValueError, "use loss='categorical_crossentropy'"),
        ("sparse_categorical_crossentropy", [0, 4], PROBABILITIES[:2], ValueError, r"label 4 .* 0 to 3 .*Dense\(5\)"),
        ("sparse_categorical_crossentropy", [0, -1], PROBABILITIES[:2], ValueError, "label -1 is outside"),
        ("sparse_categorical_crossentropy", [0.0, 1.5], PROBABILITIES[:2], TypeError, r"got .*1\.5.*loss='mse'"),
    ],
)
def test_messages(loss, y_true, y_pred, error, says):
    with pytest.raises(error, match=says):
        losses.get(loss)(y_true, y_pred)


def test_bad_labels_in_compiled_code_give_nan():
    values = jax.jit(losses.sparse_categorical_crossentropy)(jnp.array([1, 4, -1]), PROBABILITIES[:3])
    assert np.isnan(values).tolist() == [False, True, True]
    values = jax.jit(losses.sparse_categorical_crossentropy)(jnp.array([1.0, 0.5, 2.0]), PROBABILITIES[:3])
    assert np.isnan(values).tolist() == [False, True, False]


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match=r"sample_weight of shape \(5,\) does not fit values of shape \(6,\)"):
        losses.get("mse")(REAL, SCORES, np.ones(5))


def test_unknown_reduction():
    with pytest.raises(ValueError, match="unknown reduction 'summ': did you mean 'sum'"):
        losses.MeanSquaredError(reduction="summ")


def test_losses_and_activations_are_nodes_of_a_graph():
    from cenote.core import Graph, Input

    y_true, x = Input((4,), name="target"), Input((4,), name="scores")
    loss = losses.categorical_crossentropy(y_true, activations.softmax(x))
    values = Graph([y_true, x], loss).run(fetches=loss, feeds={"target": ONE_HOT, "scores": SCORES})
    np.testing.assert_allclose(values, losses.categorical_crossentropy(ONE_HOT, SCORES, from_logits=True), rtol=1e-5)


def test_a_loss_of_ones_own_sees_equal_shapes():
    loss = losses.get(lambda y_true, y_pred: jnp.mean((y_true - y_pred) ** 2, axis=-1))
    y, p = jnp.arange(4.0), jnp.array([[1.0], [1.0], [2.0], [5.0]])
    assert loss(y, p).item() == loss(y[:, None], p).item() == losses.get("mse")(y, p).item()
