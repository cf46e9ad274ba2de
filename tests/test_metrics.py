"""Metrics: values against Keras over several batches with weights, areas against scikit-learn, names and compiled use."""

from __future__ import annotations

import json
import os
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote
from cenote import losses, metrics
from cenote.core.notes import annotate, collecting

RNG = np.random.default_rng(0)
BATCHES = 3
SCORES = RNG.uniform(size=(BATCHES, 8, 6)).astype("float32")
LABELS = RNG.integers(0, 6, (BATCHES, 8))
ONE_HOT = np.eye(6, dtype="float32")[LABELS]
BITS = (SCORES + RNG.normal(size=SCORES.shape) > 0.5).astype("float32")
REAL = RNG.normal(size=SCORES.shape).astype("float32")
WEIGHTS = RNG.uniform(size=(BATCHES, 8)).astype("float32")
SHARES = np.exp(REAL) / np.exp(REAL).sum(-1, keepdims=True)
SAME = RNG.integers(0, 3, (BATCHES, 8, 6)).astype("float32")

CASES = [
    ("Accuracy", {}, SAME, SAME[::-1]),
    ("BinaryAccuracy", {}, BITS, SCORES),
    ("BinaryAccuracy", {"threshold": 0.3}, BITS, SCORES),
    ("BinaryAccuracy", {}, BITS[..., 0], SCORES[..., :1]),
    ("CategoricalAccuracy", {}, ONE_HOT, SCORES),
    ("SparseCategoricalAccuracy", {}, LABELS, SCORES),
    ("SparseCategoricalAccuracy", {}, LABELS[..., None].astype("float32"), SCORES),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, SCORES),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, LABELS, SCORES),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, LABELS, SCORES.round(1)),  # ties
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, LABELS, np.argsort(-SCORES)),
    ("MeanSquaredError", {}, REAL, SCORES),
    ("RootMeanSquaredError", {}, REAL, SCORES),
    ("MeanAbsoluteError", {}, REAL[..., 0], SCORES[..., :1]),
    ("MeanAbsolutePercentageError", {}, REAL, SCORES),
    ("MeanSquaredLogarithmicError", {}, REAL, SCORES),
    ("CosineSimilarity", {}, REAL, SCORES),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, BITS, SCORES),
    ("BinaryCrossentropy", {"from_logits": True}, BITS, REAL),
    ("CategoricalCrossentropy", {}, ONE_HOT, SCORES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, REAL),
    ("AUC", {}, BITS, SCORES),
    ("AUC", {}, BITS[..., 0], SCORES[..., :1]),
    ("AUC", {"curve": "PR"}, BITS, SCORES),
    ("AUC", {"curve": "PR", "summation_method": "minoring"}, BITS, SCORES),
    ("AUC", {"summation_method": "majoring", "num_thresholds": 20}, BITS, SCORES),
    ("AUC", {"thresholds": [0.3, 0.8, 0.45]}, BITS, SCORES),
    ("AUC", {"from_logits": True}, BITS, REAL),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5, 1.0, 0.0, 1.0]}, BITS, SCORES),
    ("AUC", {"multi_label": True, "num_labels": 6}, BITS, SCORES),
    ("AUC", {"multi_label": True, "num_labels": 6, "label_weights": [1, 2, 1, 1, 0, 1], "curve": "PR"}, BITS, SCORES),
    ("Precision", {}, BITS, SCORES),
    ("Precision", {"thresholds": [0.2, 0.55]}, BITS, SCORES),
    ("Precision", {"top_k": 2}, BITS, SCORES),
    ("Precision", {"class_id": 3}, BITS, SCORES),
    ("Precision", {"top_k": 3, "class_id": 1, "thresholds": 0.4}, BITS, SCORES),
    ("Recall", {}, BITS[..., 0], SCORES[..., 0]),
    ("Recall", {"top_k": 3, "class_id": 2}, BITS, SCORES),
    ("Recall", {"thresholds": [0.1, 0.5, 0.9]}, BITS, SCORES),
    ("AUC", {"curve": "PRGAIN"}, BITS, SCORES),
    ("AUC", {"multi_label": True}, BITS, SCORES),
    ("TruePositives", {}, BITS, SCORES),
    ("TrueNegatives", {"thresholds": [0.2, 0.6]}, BITS, SCORES),
    ("FalsePositives", {"thresholds": 0.3}, BITS[..., 0], SCORES[..., :1]),
    ("FalseNegatives", {}, BITS, SCORES),
    ("SensitivityAtSpecificity", {"specificity": 0.6}, BITS, SCORES),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 20}, BITS, SCORES),
    ("PrecisionAtRecall", {"recall": 0.7, "class_id": 2}, BITS, SCORES),
    ("RecallAtPrecision", {"precision": 0.55}, BITS, SCORES),
    ("RecallAtPrecision", {"precision": 0.3, "num_thresholds": 1}, BITS, SCORES),
    ("F1Score", {}, ONE_HOT, SCORES),
    ("F1Score", {"average": "weighted"}, ONE_HOT, SCORES),
    ("F1Score", {"average": "micro", "threshold": 0.4}, BITS, SCORES),
    ("FBetaScore", {"average": "macro", "beta": 2.0, "threshold": 0.6}, BITS, SCORES),
    ("IoU", {"num_classes": 6, "target_class_ids": [1, 4], "dtype": "float32"}, LABELS, LABELS[::-1]),
    ("BinaryIoU", {"threshold": 0.4, "dtype": "float32"}, BITS[..., 0], SCORES[..., 0]),
    ("BinaryIoU", {"target_class_ids": [1], "dtype": "float32"}, BITS[..., 0], SCORES[..., 0]),
    ("MeanIoU", {"num_classes": 6, "ignore_class": 2, "dtype": "float32"}, LABELS, LABELS[::-1]),
    ("MeanIoU", {"num_classes": 6, "sparse_y_pred": False, "dtype": "float32"}, LABELS, SCORES),
    ("OneHotIoU", {"num_classes": 6, "target_class_ids": [0, 3], "dtype": "float32"}, ONE_HOT, SCORES),
    ("OneHotMeanIoU", {"num_classes": 6, "dtype": "float32"}, ONE_HOT, SCORES),
    ("R2Score", {}, REAL, SCORES),
    ("R2Score", {"class_aggregation": None}, REAL, SCORES),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 3}, REAL, SCORES),
    ("PearsonCorrelation", {}, REAL, SCORES),
    ("ConcordanceCorrelation", {}, REAL, SCORES),
    ("Hinge", {}, BITS, SCORES),
    ("SquaredHinge", {}, BITS, SCORES),
    ("CategoricalHinge", {}, ONE_HOT, SCORES),
    ("KLDivergence", {}, SHARES, SCORES),
    ("Poisson", {}, SHARES, SCORES),
    ("LogCoshError", {}, REAL, SCORES),
]


# Each case with weights, and the first of each metric without.
FIRST = {case[0]: i for i, case in reversed(list(enumerate(CASES)))}
GRID = [(i, True) for i in range(len(CASES))] + [(i, False) for i in FIRST.values()]


def over_batches(family, case, weighted):
    name, options, y_true, y_pred = CASES[case]
    metric = getattr(family.metrics, name)(**options)
    for i in range(BATCHES):
        metric.update_state(y_true[i], y_pred[i], sample_weight=WEIGHTS[i] if weighted else None)
    return metric.name, metric.result()


@pytest.fixture(scope="module")
def of_keras():
    """What Keras answers to all of the grid, computed in NumPy by a process of its own: nothing is compiled there."""
    pytest.importorskip("keras")
    env = {**os.environ, "KERAS_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return dict(zip(GRID, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("case", "weighted"), GRID, ids=[f"{CASES[i][0]}-{CASES[i][1]}-{w}" for i, w in GRID])
def test_values_over_batches_are_those_of_keras(case, weighted, of_keras):
    ours, theirs = over_batches(cenote, case, weighted), of_keras[case, weighted]
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-6)
    assert ours[0] == theirs[0].rstrip("_0123456789")


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 6)])
@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_means_of_values_with_every_shape_of_weights(name, shape):
    keras = pytest.importorskip("keras")
    for values in (REAL[0], REAL[0][..., None], REAL[0][:, 0]):
        if len(shape) > values.ndim:
            continue
        weights = RNG.uniform(size=shape).astype("float32")
        ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
        if name == "Sum" and values.ndim > len(shape):
            continue
        ours.update_state(values, weights)
        theirs.update_state(values, weights)
        np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-5)


def test_areas_come_near_the_exact_ones():
    sklearn = pytest.importorskip("sklearn.metrics")
    scores = RNG.uniform(size=2000)
    bits = RNG.uniform(size=2000) < scores
    fine = {"num_thresholds": 2000}
    assert metrics.AUC(**fine)(bits, scores) == pytest.approx(sklearn.roc_auc_score(bits, scores), abs=1e-3)
    exact = sklearn.average_precision_score(bits, scores)
    assert metrics.AUC(curve="PR", **fine)(bits, scores) == pytest.approx(exact, abs=3e-3)


@pytest.mark.parametrize("name", ["auc", "precision", "accuracy", "mse"])
def test_compiled_loops_add_up_to_the_whole(name):
    metric = metrics.get(name, target_shape=BITS[0, :, :1].shape, output_shape=SCORES[0, :, :1].shape)
    y_true, y_pred = jnp.asarray(BITS[..., :1]), jnp.asarray(SCORES[..., :1])

    @jax.jit
    def whole(y_true, y_pred, weights):
        def step(sums, batch):
            return metric.update(sums, *batch), None

        return metric.compute(jax.lax.scan(step, metric.init(), (y_true, y_pred, weights))[0])

    one = metric(y_true.reshape(-1, 1), y_pred.reshape(-1, 1), WEIGHTS.reshape(-1))
    np.testing.assert_allclose(whole(y_true, y_pred, WEIGHTS), one, rtol=1e-5)


def test_metrics_may_be_updated_inside_a_differentiated_function():
    found = [metrics.AUC(), metrics.AUC(thresholds=[0.2, 0.9]), metrics.Precision(top_k=2), metrics.BinaryAccuracy()]

    def loss(y_pred):
        return jnp.sum(y_pred**2), [m.update(m.init(), BITS[0], y_pred) for m in found]

    slope, sums = jax.jit(jax.grad(loss, has_aux=True))(SCORES[0])
    np.testing.assert_allclose(slope, 2 * SCORES[0], rtol=1e-6)
    for metric, s in zip(found, sums, strict=True):
        np.testing.assert_allclose(metric.compute(s), type(metric).__call__(metric, BITS[0], SCORES[0]), rtol=1e-6)


def test_padding_of_weight_zero_counts_nowhere():
    for metric in (metrics.get("mse"), metrics.AUC(), metrics.Recall()):
        alone = metric.compute(metric.update(metric.init(), BITS[0], SCORES[0]))
        padded = metric.update(
            metric.init(),
            np.concatenate([BITS[0], np.ones((2, 6), "float32")]),
            np.concatenate([SCORES[0], np.full((2, 6), np.nan, "float32")]),
            np.array([1.0] * 8 + [0.0] * 2),
        )
        np.testing.assert_allclose(metric.compute(padded), alone, rtol=1e-6)


def test_masked_positions_do_not_count():
    mask = np.array([[True, True, False], [True, False, False]])
    y_true = np.where(mask, 1, 0)
    with collecting():
        y_pred = annotate(jnp.broadcast_to(jnp.array([0.1, 0.9]), (2, 3, 2)), "mask", mask)
        metric = metrics.SparseCategoricalAccuracy()
        assert metric.compute(metric.update(metric.init(), y_true, y_pred)).item() == 1.0
        weights = np.array([1.0, 0.0])
        assert metric.compute(metric.update(metric.init(), y_true, y_pred, weights)).item() == 1.0


def test_own_functions_and_metrics():
    def largest(y_true, y_pred):
        return jnp.max(jnp.abs(y_true - y_pred))

    metric = metrics.get(largest)
    assert metric.name == "largest"
    metric.update_state(np.zeros((4, 1)), np.ones((4, 1)))
    metric.update_state(np.zeros((4, 1)), np.full((4, 1), 3.0), sample_weight=np.ones(4))
    metric.reset_state()
    metric.update_state(np.zeros((4, 1)), np.full((4, 1), 3.0), sample_weight=np.ones(4))
    assert metric.result().item() == 3.0

    class Count(metrics.Metric):
        def init(self):
            return jnp.zeros(())

        def update(self, sums, y_true, y_pred, sample_weight=None):
            return sums + len(y_pred)

        def compute(self, sums):
            return sums

    assert metrics.get(Count)(np.zeros(3), np.zeros(3)).item() == 3
    assert Count().name == "count"


@pytest.mark.parametrize(
    ("target", "output", "expected"),
    [
        ((32,), (32, 1), metrics.BinaryAccuracy),
        ((32, 1), (32, 1), metrics.BinaryAccuracy),
        ((32,), (32, 10), metrics.SparseCategoricalAccuracy),
        ((32, 1), (32, 10), metrics.SparseCategoricalAccuracy),
        ((32, 10), (32, 10), metrics.CategoricalAccuracy),
        ((32, 7), (32, 7, 10), metrics.SparseCategoricalAccuracy),
    ],
)
def test_accuracy_is_chosen_by_the_shapes_as_in_keras(target, output, expected):
    compile_utils = pytest.importorskip("keras.src.trainers.compile_utils")
    for name in ("accuracy", "acc"):
        ours = metrics.get(name, target_shape=target, output_shape=output)
        theirs = compile_utils.get_metric(name, np.zeros(target), np.zeros(output))
        assert type(ours) is expected
        assert type(theirs).__name__ == expected.__name__
        assert ours.name == theirs.name == name


def test_accuracy_without_shapes_follows_the_loss():
    assert isinstance(
        metrics.get("accuracy", loss=losses.get("sparse_categorical_crossentropy")), metrics.SparseCategoricalAccuracy
    )
    logits = metrics.get("accuracy", loss=losses.BinaryCrossentropy(from_logits=True))
    assert logits(np.array([[1.0]]), np.array([[0.2]])).item() == 1.0, "a logit above 0 is a yes"


def test_names():
    assert metrics.get("mse").name == "mse"
    assert metrics.get("AUC").name == "AUC"
    assert metrics.get("hinge").name == "hinge"
    assert metrics.get("cosine_similarity")([[1.0, 0.0]], [[2.0, 0.0]]).item() == 1.0
    assert metrics.get(losses.Huber(0.5)).name == "huber_loss"
    assert (metrics.get("auc").direction, metrics.get("mae").direction) == ("up", "down")


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "says"),
    [
        ("categorical_accuracy", np.zeros(4), np.zeros((4, 3)), "sparse_categorical_accuracy"),
        ("sparse_categorical_accuracy", np.zeros((4, 3)), np.zeros((4, 3)), "One-hot targets take"),
        ("auc", np.zeros(4), np.zeros((4, 3)), r"auc: .*np\.eye"),
    ],
)
def test_messages(metric, y_true, y_pred, says):
    with pytest.raises(ValueError, match=says):
        metrics.get(metric)(y_true, y_pred)


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown curve 'RC'"):
        metrics.AUC(curve="RC")
    with pytest.raises(ValueError, match="number of columns is not known before the first batch"):
        metrics.AUC(multi_label=True).init()
    with pytest.raises(ValueError, match="class_id=7 is no class"):
        metrics.Precision(class_id=7)(BITS[0], SCORES[0])


if __name__ == "__main__":  # the process that `of_keras` starts
    import keras

    answers = [over_batches(keras, *case) for case in GRID]
    print(json.dumps([(name, np.asarray(value).tolist()) for name, value in answers]))
