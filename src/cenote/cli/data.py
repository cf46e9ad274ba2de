"""The data sets of ``cenote train``, in the form that it needs: three parts, class names, and what the pictures are like."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .trouble import Trouble, UsageTrouble, near, unknown

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10")
VALIDATION = {"digits": 0.15}  # of the examples that are not for the test
VALIDATION_ELSE = 0.1


@dataclass
class Data:
    """Pictures (n, height, width[, channel]) and labels (n,) in parts, and what is known of them."""

    name: str
    about: str
    classes: list[str]
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    input: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, np.ndarray]:
        return {"training": self.train[1], "validation": self.validation[1], "test": self.test[1]}


def check_name(name: str) -> str:
    """The data set's name as we write it; ``fashion-mnist`` is understood."""
    plain = name.lower().replace("-", "_")
    if plain in NAMES:
        return plain
    raise UsageTrouble(unknown("data set", name, NAMES))


def load(name: str, seed: int = 0) -> Data:
    """A data set by name, parted: the validation part is taken from the training part, stratified, by the seed."""
    from .. import datasets
    from ..datasets.split import stratified

    source: Any = getattr(datasets, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", datasets.DataNote)
        (x, y), (x_test, y_test) = source.load_data()
    y, y_test = (np.asarray(labels).reshape(-1).astype(np.int32) for labels in (y, y_test))
    train, held = stratified(y, VALIDATION.get(name, VALIDATION_ELSE), seed)
    names = source.get_label_names() if hasattr(source, "get_label_names") else range(int(y.max()) + 1)
    return Data(
        name,
        source.SET.about,
        [str(n) for n in names],
        (x[train], y[train]),
        (x[held], y[held]),
        (x_test, y_test),
        describe(x[train], 16.0 if name == "digits" else 255.0),
        [str(w.message) for w in caught if issubclass(w.category, datasets.DataNote)],
    )


def describe(x: np.ndarray, white: float) -> dict[str, Any]:
    """What a picture must be like to be understood: its size, its colours, its range, and how bright its rim usually is."""
    some = x[:2000].astype(np.float32) / white
    rim = np.concatenate([some[:, 0], some[:, -1], some[:, :, 0], some[:, :, -1]], axis=1).reshape(len(some), -1)
    return {
        "kind": "image",
        "height": int(x.shape[1]),
        "width": int(x.shape[2]),
        "mode": "RGB" if x.ndim == 4 and x.shape[3] == 3 else "L",
        "low": 0.0,
        "high": white,
        "background": round(float(np.median(rim.mean(1))), 4),
    }


def load_test(name: str) -> tuple[np.ndarray, np.ndarray, Data | None]:
    """What a model is measured on: a data set's test part, or an .npz file; pictures, labels, and the data set."""
    plain = name.lower().replace("-", "_")
    if plain not in NAMES:
        if name.endswith(".npz") or Path(name).is_file():
            return *read_npz(Path(name)), None
        hint = near(name, NAMES)
        raise Trouble(
            f"there is no data set and no file {name!r}{': ' + hint if hint else '.'} Data sets: {', '.join(NAMES)}; "
            f"or give an .npz file with arrays x and y"
        )
    found = load(plain)
    return *found.test, found


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Arrays x and y (or x_test and y_test) of an .npz file; nothing in it is executed."""
    if not path.exists():
        raise Trouble(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            for x, y in (("x_test", "y_test"), ("x", "y")):
                if x in names and y in names:
                    return file[x], np.asarray(file[y])
    except Exception as error:  # numpy and zipfile raise all kinds for a file that is damaged or none of theirs
        raise Trouble(f"{path} is not an .npz file of plain arrays: {error}") from error
    raise Trouble(f"{path} holds {', '.join(names) or 'nothing'}; expected arrays x and y, or x_test and y_test")
