"""California housing: the median house prices of 20,640 districts, 1990."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np

from cenote.datasets.archive import BadFile, gunzip, members
from cenote.datasets.boston_housing import read_xy
from cenote.datasets.mnist import GOOGLE
from cenote.datasets.split import Split, as_keras
from cenote.datasets.store import DataNote, DataSet, File, Form

_COLUMNS = (
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
)
_TARGET = "median_house_value"
_BEDROOMS, _ROOMS = _COLUMNS.index("total_bedrooms"), _COLUMNS.index("total_rooms")


def _read_statlib(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """StatLib's own table: the eight columns and the target, separated by commas, no header."""
    tables = [text for _, text in members(path, 16 << 20, lambda name: name.endswith("cal_housing.data"))]
    try:
        (text,) = tables
        table = np.loadtxt(io.BytesIO(text), np.float32, delimiter=",", ndmin=2)
        return table[:, :8].copy(), table[:, 8].copy()
    except (ValueError, IndexError) as error:
        raise BadFile(f"{path}: holds no table of nine columns ({error})") from None


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The copy with a header, a text column `ocean_proximity` (left out) and gaps in `total_bedrooms` (filled)."""
    rows = list(csv.DictReader(io.StringIO(gunzip(path, 16 << 20).decode("utf-8", "replace"))))
    try:
        table = np.array([[float(row[name] or "nan") for name in (*_COLUMNS, _TARGET)] for row in rows], np.float32)
        x, y = table[:, :8].copy(), table[:, 8].copy()
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadFile(f"{path}: not the California housing table ({error})") from None
    gaps = np.isnan(x[:, _BEDROOMS])
    x[gaps, _BEDROOMS] = np.round(x[gaps, _ROOMS] * (x[~gaps, _BEDROOMS].sum() / x[~gaps, _ROOMS].sum()))
    warnings.warn(
        f"California housing is read from {path}, which lacks {gaps.sum()} values of total_bedrooms: they are "
        "estimated from total_rooms. All other values are the published ones.",
        DataNote,
        stacklevel=4,
    )
    return x, y


# Keras publishes the checksum of its file, scikit-learn that of the StatLib archive.
SET = DataSet(
    "california_housing",
    "20,640 districts, 8 features, median house price",
    "https://www.dcc.fc.up.pt/~ltorgo/Regression/cal_housing.html",
    (
        Form(
            (
                File(
                    "california_housing.npz",
                    743_530,
                    "sha256:1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
                    (GOOGLE + "california_housing.npz",),
                ),
            ),
            read_xy,
        ),
        Form(
            (
                File(
                    "cal_housing.tgz",
                    450_000,  # about: the publisher gives no size
                    "sha256:aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
                    ("https://ndownloader.figshare.com/files/5976036",),
                ),
            ),
            _read_statlib,
        ),
        Form((File("tabular/california-housing.csv.gz", 395_971),), _read_csv),
    ),
)


def load_data(version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2, seed: int = 113) -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: features float32 (16512, 8) and (4128, 8), prices in $.

    The features are longitude, latitude, housing_median_age, total_rooms, total_bedrooms, population, households and
    median_income (in $10,000), see `get_feature_names`; Keras's own page lists others, which its file does not hold.

    Args:
        version: `"large"`, or `"small"` for the first 600 districts, all of them around Oakland.
        path: name in the cache folder, or the full path of a `california_housing.npz`.
        test_split: the part of the districts that is for test.
        seed: of the order of the districts.

    Raises:
        ValueError: another `version`, or `test_split` not in [0, 1).
        DataNotFound: there is no copy on this machine, and none can be downloaded.

    Source: Pace, Barry, "Sparse spatial autoregressions", 1997.

    >>> (x_train, y_train), (x_test, y_test) = load_data(version="small")  # doctest: +SKIP
    """
    if version not in ("large", "small"):
        raise ValueError(f"version is {version!r}; expected 'large' or 'small'")
    x, y = SET.at(path).load()
    size = 600 if version == "small" else len(x)
    return as_keras(x[:size], y[:size], test_split, seed)


def get_feature_names() -> tuple[str, ...]:
    """The eight features in the order of the columns.

    >>> get_feature_names()[0]
    'longitude'
    """
    return _COLUMNS
