"""The data sets in the package, and how data is parted."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest

from cenote import datasets
from cenote.datasets import split


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("CENOTE_OFFLINE", "1")


def whole(data):
    """Rows of training and test data together, sorted, with their labels."""
    (x_train, y_train), (x_test, y_test) = data
    rows = np.concatenate([x_train, x_test]).reshape(len(y_train) + len(y_test), -1)
    table = np.column_stack([rows, np.concatenate([y_train, y_test])])
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_every_row_is_scikit_learns(name):
    sklearn = pytest.importorskip("sklearn.datasets")
    expected = getattr(sklearn, f"load_{name}")()
    table = np.column_stack([expected.data, expected.target])
    assert np.array_equal(whole(getattr(datasets, name).load_data()), table[np.lexsort(table.T)])


def test_breast_cancer_names_are_scikit_learns():
    expected = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    assert datasets.breast_cancer.get_feature_names() == tuple(expected.feature_names)
    assert datasets.breast_cancer.get_label_names() == tuple(expected.target_names)


def test_digits_shapes_and_types():
    (x_train, y_train), (x_test, y_test) = datasets.digits.load_data(test_fraction=0.25, seed=7)
    assert x_train.shape == (1348, 8, 8) and x_test.shape == (449, 8, 8)
    assert x_train.dtype == y_train.dtype == np.uint8 and x_train.max() == 16
    assert abs(np.bincount(y_test) - np.bincount(y_train) / 3).max() < 1


def test_the_split_is_the_same_for_the_same_seed_for_good():
    (a, _), (b, _) = datasets.digits.load_data(seed=3)
    assert np.array_equal(datasets.digits.load_data(seed=3)[0][0], a)
    assert not np.array_equal(datasets.digits.load_data(seed=4)[0][0], a)
    # No class may stand at the front of either part: validation_split takes the last rows, a quick look the first.
    (_, train), (_, test) = datasets.digits.load_data()
    for part in (train[:200], train[-200:], test[:100]):
        assert min(np.bincount(part, minlength=10)) >= len(part) // 25
    # Stored on the day it was written: whoever compares runs across versions relies on it.
    assert (zlib.crc32(a.tobytes()), zlib.crc32(b.tobytes())) == (1193112881, 2537584215)


def test_a_fraction_of_nothing_and_bad_fractions():
    (x_train, _), (x_test, y_test) = datasets.digits.load_data(test_fraction=0)
    assert len(x_train) == 1797 and len(x_test) == len(y_test) == 0
    for bad in (1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"test_fraction is .*from 0 up to"):
            datasets.digits.load_data(test_fraction=bad)


@pytest.mark.parametrize("fraction", [0.1, 1 / 3, 0.5, 0.9])
def test_stratified_parts_every_class_alike(fraction):
    labels = np.random.RandomState(0).choice(5, 997, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    train, test = split.stratified(labels, fraction, 1)
    assert sorted([*train, *test]) == list(range(997)) and len(test) == round(997 * fraction)
    assert np.abs(np.bincount(labels[test], minlength=5) - np.bincount(labels) * fraction).max() < 1
    assert list(test) != sorted(test)  # shuffled, classes mixed


def test_loading_needs_no_jax_and_no_pillow():
    code = (
        "import sys; from cenote import datasets; datasets.digits.load_data(); datasets.available();"
        "print([name for name in ('jax', 'PIL', 'rich', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]" and done.stderr == ""
