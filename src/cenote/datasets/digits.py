"""Digits: 1,797 real handwritten digits, in the package itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cenote.datasets.archive import read_npz
from cenote.datasets.split import Split, split
from cenote.datasets.store import DataSet

SET = DataSet(
    "digits",
    "1,797 handwritten digits, 8x8, grey",
    "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    bundled="digits.npz",
)


def load_data(*, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """`(x_train, y_train), (x_test, y_test)`: images uint8 (n, 8, 8) with values from 0 to 16, labels uint8.

    The split is stratified, and the same for the same seed. Works without a network and without any data folder.

    Raises:
        ValueError: `test_fraction` is not in [0, 1).

    Source: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI, 1998 (CC BY 4.0); the test set of it, as
    scikit-learn has it.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape, int(x_train.max())
    ((1438, 8, 8), (359, 8, 8), 16)
    """
    found = read_npz(Path(__file__).parent / "bundled" / SET.bundled, 1 << 20)
    return split(np.asarray(found["x"]), np.asarray(found["y"]), test_fraction, seed)
