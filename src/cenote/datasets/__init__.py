"""Data sets for learning and testing: `cn.datasets.mnist.load_data()` and its likes, as NumPy arrays.

`digits` and `breast_cancer` are in the package. The others are read from the folder in `CENOTE_DATA`, or downloaded
once into `~/.cache/cenote/datasets` (`CENOTE_HOME/datasets`, if that is set). `available()` lists them. It needs no
JAX.

>>> from cenote import datasets
>>> (x_train, y_train), (x_test, y_test) = datasets.digits.load_data()
>>> x_train.shape
(1438, 8, 8)
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from cenote.datasets.catalogue import NAMES, available

if TYPE_CHECKING:
    from cenote.datasets import (
        boston_housing,
        breast_cancer,
        california_housing,
        cifar10,
        cifar100,
        digits,
        fashion_mnist,
        imdb,
        mnist,
        reuters,
        sentence_polarity,
        trec,
    )
    from cenote.datasets.store import BadFile, DataNote, DataNotFound

__all__ = [  # noqa: RUF022  (the data sets first)
    "boston_housing",
    "breast_cancer",
    "california_housing",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "imdb",
    "mnist",
    "reuters",
    "sentence_polarity",
    "trec",
    "available",
    "BadFile",
    "DataNotFound",
    "DataNote",
]


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in ("BadFile", "DataNotFound", "DataNote"):
        return getattr(importlib.import_module(f"{__name__}.store"), name)
    near = difflib.get_close_matches(name, __all__, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(NAMES)}"
    raise AttributeError(f"cenote.datasets has no {name!r}; {hint}")


def __dir__() -> list[str]:
    return sorted(__all__)
