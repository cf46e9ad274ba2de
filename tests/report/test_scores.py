"""Scores agree with scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from cenote.report import baseline, score, wilson


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(7)
    y = rng.integers(0, 4, 300)
    logits = rng.normal(size=(300, 5)) + 2 * np.eye(5)[y]  # class 4 never occurs
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return p, y, score(p, y)


@pytest.mark.parametrize(("right", "count"), [(0, 5), (5, 5), (1, 1), (353, 359), (9817, 10000), (1, 1000)])
def test_wilson_interval(right, count):
    theirs = binomtest(right, count).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(right, count), theirs, rtol=1e-9, atol=1e-12)


def test_accuracy_loss_and_confusion(case):
    p, y, s = case
    assert s.accuracy == accuracy_score(y, p.argmax(1)) and s.right == (p.argmax(1) == y).sum()
    assert s.loss == pytest.approx(log_loss(y, p, labels=range(5)))
    np.testing.assert_array_equal(s.confusion, confusion_matrix(y, p.argmax(1), labels=range(5)))


def test_precision_recall_and_f1(case):
    p, y, s = case
    theirs = precision_recall_fscore_support(y, p.argmax(1), labels=range(5), zero_division=np.nan)
    for ours, their in zip(s.classes, zip(*theirs, strict=True), strict=True):
        np.testing.assert_allclose([ours.precision, ours.recall, ours.f1, ours.count], their)


def test_commonest_and_worst_mistakes(case):
    p, y, s = case
    wrong = s.confusion * (1 - np.eye(5, dtype=int))
    assert s.confused(1)[0][2] == wrong.max() and sum(n for *_, n in s.confused(25)) == wrong.sum() == s.count - s.right
    worst = s.worst(10)
    assert (p.argmax(1)[worst] != y[worst]).all()
    sure = p.max(1)[worst]
    assert (np.diff(sure) <= 0).all() and sure[0] == p.max(1)[p.argmax(1) != y].max()


def test_reliability_counts_every_answer(case):
    p, y, s = case
    bins = s.reliability()
    assert sum(b.count for b in bins) == 300 and all(b.low <= b.confidence <= b.high for b in bins)
    assert sum(b.count * b.accuracy for b in bins) == pytest.approx(s.right)
    # by hand, without bins of our making
    place = np.minimum((p.max(1) * 10).astype(int), 9)
    gaps = [abs((p.max(1) - (p.argmax(1) == y))[place == i].sum()) for i in range(10)]
    assert s.calibration_error == pytest.approx(sum(gaps) / 300)


def test_two_classes_from_one_probability():
    s = score(np.array([[0.9], [0.2], [0.6]]), [1, 0, 0])
    assert s.right == 2 and s.confusion.tolist() == [[1, 1], [0, 1]]


def test_baseline():
    assert baseline([2, 2, 1, 0]) == (2, 0.5) and baseline([2, 2, 1, 0], known=[0, 0, 1]) == (0, 0.25)


@pytest.mark.parametrize(
    ("p", "y", "said"),
    [
        (np.ones((3, 2)) / 2, [0, 1], "expected probabilities"),
        (np.ones((2, 2)) / 2, [0, 2], "labels run from 0 to 2, but the model knows 2 classes"),
        (np.ones((2, 2)) / 2, [-1, 0], "labels run from -1 to 0"),
        (np.ones((2, 2)) / 2, [0.5, 0], "labels must be class numbers"),
        (np.full((2, 2), np.nan), [0, 1], "NaN"),
        (np.ones((0, 2)), [], "no example"),
    ],
)
def test_what_does_not_fit_is_said(p, y, said):
    with pytest.raises(ValueError, match=said):
        score(p, y)
