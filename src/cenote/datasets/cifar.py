"""What CIFAR-10 and CIFAR-100 share: three forms of the same pictures."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
import warnings
from pathlib import Path

import numpy as np

from cenote.datasets import objects
from cenote.datasets.archive import BadFile, members, read_npz
from cenote.datasets.fetch import digest
from cenote.datasets.split import Split
from cenote.datasets.store import DataNote, cache_folder

TORONTO = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LIMIT = 256 << 20  # all pictures are 184 MB


def read_binary(path: Path, train: tuple[str, ...], test: str, label: int, labels: int) -> Split:
    """The binary edition: records of `labels` label bytes, of which one counts, and 3 x 32 x 32 pixel bytes."""
    found = dict(members(path, LIMIT, lambda name: name.endswith(".bin")))

    def part(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        records = np.frombuffer(b"".join(_member(found, name, path) for name in names), np.uint8)
        if len(records) % (3072 + labels):
            raise BadFile(f"{path}: {names[0]} is not made of records of {3072 + labels} bytes")
        records = records.reshape(-1, 3072 + labels)
        return _pictures(records[:, labels:]), records[:, label : label + 1].copy()

    return part(train), part((test,))


def read_python(path: Path, train: tuple[str, ...], test: str, key: str) -> Split:
    """The Python edition: pickled dictionaries, read by `objects` without running anything."""
    found = dict(members(path, LIMIT, lambda name: name.rpartition("/")[2] in {Path(n).name for n in (*train, test)}))

    def part(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        batches = [objects.rebuild(_member(found, name, path), f"{path}: {name}") for name in names]
        try:
            pixels = np.concatenate([batch["data"].content for batch in batches])
            labels = np.concatenate([objects.integers(batch[key], path) for batch in batches])
            return _pictures(pixels), labels.astype(np.uint8).reshape(len(pixels), 1)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadFile(f"{path}: {names[0]} is not a batch of pictures ({error})") from None

    return part(train), part((test,))


def read_jpeg(train: Path, test: Path) -> Split:
    """CIFAR-10 as archives of `<split>/<class>/<index>.jpg`, in the order of the index; JPEG is lossy, so with a note.

    Decoding takes seconds, so that the arrays are kept in the cache folder where that can be written.
    """
    warnings.warn(
        f"CIFAR-10 is read from JPEG copies ({train.parent}): they are lossy, about 6 grey levels off on average, so "
        "that accuracies do not compare exactly with published ones.",
        DataNote,
        stacklevel=4,
    )
    kept = cache_folder() / f"cifar10-jpeg-{digest(train, 'sha256')[:16]}-{digest(test, 'sha256')[:16]}.npz"
    with contextlib.suppress(OSError, BadFile, KeyError):
        found = {name: np.asarray(array) for name, array in read_npz(kept, LIMIT).items()}
        return (found["x_train"], found["y_train"]), (found["x_test"], found["y_test"])
    (x_train, y_train), (x_test, y_test) = _decode(train), _decode(test)
    part = kept.with_name(f".{kept.name}.{uuid.uuid4().hex}.part")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            np.savez(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        os.replace(part, kept)
    except OSError:  # a cache is a convenience
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return (x_train, y_train), (x_test, y_test)


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    pictures: dict[int, tuple[np.ndarray, int]] = {}
    for name, content in members(path, LIMIT, lambda name: name.endswith(".jpg")):
        folder, _, stem = name.removesuffix(".jpg").rpartition("/")
        label = folder.rpartition("/")[2]
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                if image.size != (32, 32) or image.mode != "RGB":
                    raise BadFile(f"{path}: {name} is {image.size} {image.mode}, expected (32, 32) RGB")
                pictures[int(stem)] = np.asarray(image), CLASSES.index(label)
        except (OSError, SyntaxError, ValueError) as error:
            raise error if isinstance(error, BadFile) else BadFile(f"{path}: {name}: {error}") from None
    if not pictures or sorted(pictures) != list(range(len(pictures))):
        raise BadFile(f"{path}: {len(pictures)} pictures, and their numbers are not 0, 1, 2, ...")
    ordered = [pictures[index] for index in range(len(pictures))]
    return np.stack([x for x, _ in ordered]), np.array([[y] for _, y in ordered], np.uint8)


def _member(found: dict[str, bytes], name: str, path: Path) -> bytes:
    try:
        return found[name]
    except KeyError:
        raise BadFile(f"{path}: holds no {name}, only {sorted(found)}") from None


def _pictures(pixels: np.ndarray) -> np.ndarray:
    """Rows of red, green and blue planes to (picture, row, column, colour)."""
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
