"""Breast cancer: 569 tumours, malignant or benign, in the package itself."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from cenote.datasets.archive import gunzip
from cenote.datasets.split import Split, split
from cenote.datasets.store import DataSet

SET = DataSet(
    "breast_cancer",
    "569 tumours, 30 features, malignant or benign",
    "https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic",
    bundled="breast_cancer.csv.gz",
)


def _rows() -> list[list[str]]:
    text = gunzip(Path(__file__).parent / "bundled" / SET.bundled, 1 << 20).decode("ascii")
    return list(csv.reader(io.StringIO(text)))


def load_data(*, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """`(x_train, y_train), (x_test, y_test)`: features float64 (n, 30), labels int32, 0 malignant, 1 benign.

    The features measure the nuclei of the cells. The split is stratified, and the same for the same seed. Works
    without a network and without any data folder. The features differ in scale a thousandfold: standardise them.

    Raises:
        ValueError: `test_fraction` is not in [0, 1).

    Source: Wolberg, Mangasarian, Street, Street, "Breast cancer Wisconsin (diagnostic)", UCI, 1995 (CC BY 4.0), as
    scikit-learn has it.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape, round(float(y_train.mean()), 2)
    ((455, 30), (114, 30), 0.63)
    """
    table = np.array(_rows()[1:], dtype=np.float64)
    return split(table[:, :-1], table[:, -1].astype(np.int32), test_fraction, seed)


def get_feature_names() -> tuple[str, ...]:
    """The 30 features in the order of the columns.

    >>> get_feature_names()[:2]
    ('mean radius', 'mean texture')
    """
    return tuple(name.replace("_", " ") for name in _rows()[0][:-1])


def get_label_names() -> tuple[str, ...]:
    """The two classes in the order of their labels.

    >>> get_label_names()
    ('malignant', 'benign')
    """
    return "malignant", "benign"
