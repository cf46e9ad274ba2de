"""The data sets on real data: known counts, means and checksums. Skipped where CENOTE_DATA names no such folder."""

from __future__ import annotations

import collections
import hashlib
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from cenote import datasets
from cenote.datasets import cifar, store

MD5 = {
    "mnist": ("6bbc9ace898e44ae57da46a324031adb", None, "2646ac647ad5339dbf082846283269ea", None),
    "fashion_mnist": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}


@pytest.fixture(autouse=True)
def no_network(real, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(store, "fetch", refuse)


def idx_md5(array):
    """The checksum that the array's IDX file had."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return hashlib.md5(header + array.tobytes()).hexdigest()


@pytest.mark.parametrize(("name", "mean", "std"), [("mnist", 0.1307, 0.3081), ("fashion_mnist", 0.2860, 0.3530)])
def test_mnist_and_fashion_mnist(name, mean, std):
    (x_train, y_train), (x_test, y_test) = getattr(datasets, name).load_data()
    assert x_train.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28)
    assert y_train.shape == (60000,) and y_test.shape == (10000,) and x_train.dtype == y_train.dtype == np.uint8
    assert abs(x_train.mean() / 255 - mean) < 5e-5 and abs(x_train.std() / 255 - std) < 5e-5
    for array, md5 in zip((x_train, y_train, x_test, y_test), MD5[name], strict=True):
        assert md5 is None or idx_md5(array) == md5
    if name == "mnist":
        assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and y_test[:5].tolist() == [7, 2, 1, 0, 4]
    else:
        assert set(np.bincount(y_train)) == {6000} and set(np.bincount(y_test)) == {1000}


def test_cifar10_from_jpeg_says_so_and_decodes_once(real, monkeypatch):
    """All 60,000 pictures are found and counted; those that the small set holds as well are decoded."""
    found, every = collections.Counter(), cifar.members

    def first(path, limit, wanted):
        part, count = ("train", 4000) if "train" in path.name else ("test", 1000)
        for name, content in every(path, limit, wanted):
            *_, label, index = Path(name).parts
            found[part, label] += 1
            if int(Path(index).stem) < count:
                yield name, content

    monkeypatch.setattr(cifar, "members", first)
    with pytest.warns(datasets.DataNote, match="lossy") as notes:
        (x_train, y_train), (x_test, y_test) = datasets.cifar10.load_data()
    assert notes[0].filename == __file__
    assert found == {(part, name): n for part, n in (("train", 5000), ("test", 1000)) for name in cifar.CLASSES}
    assert x_train.shape == (4000, 32, 32, 3) and y_train.shape == (4000, 1) and x_train.dtype == y_train.dtype == np.uint8
    assert x_test.shape == (1000, 32, 32, 3) and y_test.shape == (1000, 1)
    # The small set holds exact originals to train with, and the same JPEG images to test with, in the original order.
    small = np.load(f"{real}/cifar10/cifar10-small.npz")
    assert np.array_equal(small["y_train"], y_train[:, 0]) and np.array_equal(small["y_test"], y_test[:, 0])
    assert tuple(small["classes"]) == datasets.cifar10.get_label_names()
    assert np.array_equal(small["x_test"], x_test)
    assert 5 < np.abs(small["x_train"].astype(int) - x_train).mean() < 6.5

    monkeypatch.setattr(cifar, "_decode", None)
    with pytest.warns(datasets.DataNote):
        (again, _), (_, labels) = datasets.cifar10.load_data()
    assert np.array_equal(again, x_train) and np.array_equal(labels, y_test)


def test_california_housing_is_keras_up_to_the_gaps():
    with pytest.warns(datasets.DataNote, match="lacks 207 values"):
        (x_train, y_train), (x_test, _) = datasets.california_housing.load_data()
    assert x_train.shape == (16512, 8) and x_test.shape == (4128, 8) and x_train.dtype == y_train.dtype == np.float32
    assert np.isfinite(x_train).all() and np.isfinite(x_test).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", datasets.DataNote)
        (x_small, y_small), (x_rest, _) = datasets.california_housing.load_data(version="small")
    # What readers of Keras's own copy print.
    assert x_small.shape == (480, 8) and x_rest.shape == (120, 8)
    assert y_small[:5].tolist() == [228400, 132900, 60000, 95200, 107000]
    assert y_train[:3].tolist() == [252300, 146900, 290900]
    longitude, latitude, *_, income = x_train.T
    assert longitude.min() > -125 and longitude.max() < -114 and latitude.min() > 32 and latitude.max() < 42
    assert income.min() > 0.4 and income.max() < 15.1


def test_breast_cancer_in_the_package_is_the_table_in_the_folder(real):
    table = np.loadtxt(f"{real}/tabular/breast-cancer-wdbc.csv", delimiter=",", skiprows=1)
    (x, y), _ = datasets.breast_cancer.load_data(test_fraction=0)
    ours = np.column_stack([x, y])
    assert np.array_equal(ours[np.lexsort(ours.T)], table[np.lexsort(table.T)])
    assert np.bincount(y).tolist() == [212, 357]


def test_sentence_polarity():
    (texts, labels), (texts_test, labels_test) = datasets.sentence_polarity.load_data(test_fraction=0.1, seed=1)
    assert len(texts) == len(labels) == 9596 and len(texts_test) == len(labels_test) == 1066
    assert np.bincount(labels).tolist() == [4798, 4798] and np.bincount(labels_test).tolist() == [533, 533]
    where = [*texts, *texts_test].index("simplistic , silly and tedious .")
    assert [*labels, *labels_test][where] == 0
    assert datasets.sentence_polarity.load_data(seed=1)[1][0] == texts_test
    assert datasets.sentence_polarity.load_data(seed=2)[1][0] != texts_test


def test_trec():
    (texts, labels), (texts_test, labels_test) = datasets.trec.load_data()
    names = datasets.trec.get_label_names()
    assert names == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert len(texts) == 5452 and len(texts_test) == 500
    assert (labels == 0).sum() == 86 and (labels_test == 0).sum() == 9
    assert texts_test[0] == "How far is it from Denver to Aspen ?" and names[labels_test[0]] == "NUM"
    (_, fine), _ = datasets.trec.load_data("fine")
    assert len(datasets.trec.get_label_names("fine")) == 50 and len(np.unique(fine)) == 50
    with pytest.raises(ValueError, match="expected 'coarse' or 'fine'"):
        datasets.trec.load_data("medium")


def test_available_finds_the_folder(real):
    rows = {row.name: row for row in datasets.available()}
    assert rows["mnist"].source == f"CENOTE_DATA: {real}" and 11e6 < rows["mnist"].size < 12e6
