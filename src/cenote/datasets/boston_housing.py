"""Boston housing: the prices of 506 homes, 1978."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cenote.datasets.archive import BadFile, read_npz
from cenote.datasets.mnist import GOOGLE
from cenote.datasets.split import Split, as_keras
from cenote.datasets.store import DataSet, File, Form


def read_xy(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The table `x` and the targets `y` in an .npz of Keras's."""
    found = read_npz(path, 16 << 20)
    x, y = found.get("x"), found.get("y")
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.ndim == 2 and y.shape == (len(x),)):
        raise BadFile(f"{path}: expected a table 'x' and as many targets 'y', found {sorted(found)}")
    return x, y


SET = DataSet(
    "boston_housing",
    "506 homes, 13 features, price in k$; california_housing is the better choice",
    "http://lib.stat.cmu.edu/datasets/boston",
    (
        Form(
            (
                File(
                    "boston_housing.npz",
                    57_026,
                    "sha256:f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
                    (GOOGLE + "boston_housing.npz", "https://s3.amazonaws.com/keras-datasets/boston_housing.npz"),
                ),
            ),
            read_xy,
        ),
    ),
)


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: features float64 (404, 13) and (102, 13), prices in $1000.

    One of the features (B) presumes that segregation by race moves prices. For anything but the ethics of data, take
    `california_housing`.

    Raises:
        ValueError: `test_split` is not in [0, 1).
        DataNotFound: there is no copy on this machine, and none can be downloaded.

    Source: Harrison, Rubinfeld, "Hedonic housing prices and the demand for clean air", 1978.

    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    x, y = SET.at(path).load()
    return as_keras(x, y, test_split, seed)
