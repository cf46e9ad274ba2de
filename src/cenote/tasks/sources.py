"""What a source may be besides what tasks read: the name of a built-in data set; and how sources are named."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.examples import Examples, Finding

__all__ = ["NAMES", "Builtin", "builtin", "shown"]

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10")
WHITE = {"digits": 16.0}  # the value of white, where it is not 255


@dataclass(frozen=True)
class Builtin:
    """A data set of `cenote.datasets`: its name, and the task that it is for."""

    name: str
    kind: str = "image"
    task: str = "image-classification"

    def read(self) -> Examples:
        """Its examples, parted as it is given."""
        from .. import datasets

        source: Any = getattr(datasets, self.name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", datasets.DataNote)
            (x, y), (x_test, y_test) = source.load_data()
        numbers = np.concatenate([np.asarray(y).reshape(-1), np.asarray(y_test).reshape(-1)]).astype(np.int64)
        labels = source.get_label_names() if hasattr(source, "get_label_names") else range(int(numbers.max()) + 1)
        names = [str(name) for name in labels]
        return Examples(
            self.kind,
            np.concatenate([x, x_test]),
            np.array(names)[numbers],
            [f"{self.name}:{part}:{i}" for part, rows in (("train", x), ("test", x_test)) for i in range(len(rows))],
            about={"text": source.SET.about, "classes": names, "low": 0.0, "high": WHITE.get(self.name, 255.0)},
            findings=[Finding(str(w.message)) for w in caught if issubclass(w.category, datasets.DataNote)],
            parts=np.repeat(["train", "test"], [len(x), len(x_test)]),
        )


def builtin(source: Any) -> Builtin | None:
    """The built-in data set of this name; ``fashion-mnist`` is understood, and a file of the name goes before."""
    if not isinstance(source, str) or len(source) > 100 or Path(source).exists():  # a long text is no name
        return None
    plain = source.lower().replace("-", "_")
    return Builtin(plain) if plain in NAMES else None


def shown(source: Any) -> str:
    """A source in a few words, for titles and messages.

    >>> shown("data/photos/"), shown(["en.txt", "de.txt"])
    ('photos', 'en.txt, de.txt')
    >>> shown(np.zeros((10, 8, 8))), shown([1, 2])
    ('an array of 10×8×8', 'a list')
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return path.name or path.resolve().name
    if isinstance(source, (list, tuple)) and len(source) <= 3 and all(isinstance(s, (str, os.PathLike)) for s in source):
        return ", ".join(shown(s) for s in source)
    if isinstance(source, Examples):
        return f"{len(source):,} examples"
    name = type(source).__name__
    if (shape := getattr(source, "shape", None)) is not None:  # arrays and frames
        size = "×".join(map(str, shape))
        return f"{_article(name if name == 'DataFrame' else 'array')} of {size}"
    return _article(name)


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
