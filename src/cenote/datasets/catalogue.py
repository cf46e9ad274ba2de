"""What data sets there are, how large they are, and where each would come from."""

from __future__ import annotations

import importlib
from typing import NamedTuple

NAMES = (
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
)


class Listing(NamedTuple):
    """One data set: `size` in bytes as stored or downloaded, `source` in words."""

    name: str
    about: str
    size: int
    source: str


class Catalogue(list[Listing]):
    """A list of listings that prints as a table."""

    def __repr__(self) -> str:
        cells = [(row.name, f"{row.size / 1e6:.2f} MB", row.about, row.source) for row in self]
        name, size, about = (max(len(row[column]) for row in cells) for column in range(3))
        return "\n".join(f"{a:<{name}}  {b:>{size}}  {c:<{about}}  {d}" for a, b, c, d in cells)


def available() -> Catalogue:
    """The data sets, with their sizes and where `load_data` would take each from. Reads no data and asks no server.

    >>> [row.name for row in available() if row.source == "bundled"]
    ['breast_cancer', 'digits']
    """
    rows = Catalogue()
    for name in NAMES:
        found = importlib.import_module(f"cenote.datasets.{name}").SET
        rows.append(Listing(name, found.about, *found.whence()))
    return rows
