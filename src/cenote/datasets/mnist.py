"""MNIST: 70,000 handwritten digits."""

from __future__ import annotations

from pathlib import Path

from cenote.datasets.archive import BadFile, read_idx, read_npz
from cenote.datasets.split import Split
from cenote.datasets.store import DataSet, File, Form

GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


def idx_form(folder: str, homes: tuple[str, ...], sums: tuple[tuple[int, str], ...]) -> Form:
    """The four IDX files of MNIST and its likes: train images, train labels, test images, test labels."""
    names = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    files = (
        File(f"{folder}/{name}", size, f"sha256:{digest}", tuple(home + name for home in homes))
        for name, (size, digest) in zip(names, sums, strict=True)
    )
    return Form(tuple(files), read_idx_files)


def read_idx_files(x_train: Path, y_train: Path, x_test: Path, y_test: Path) -> Split:
    """The arrays in four IDX files."""
    x_train_, y_train_, x_test_, y_test_ = (read_idx(path, 64 << 20) for path in (x_train, y_train, x_test, y_test))
    return checked((x_train_, y_train_), (x_test_, y_test_), x_train)


def read_npz_file(path: Path) -> Split:
    """The arrays in Keras's mnist.npz."""
    found = read_npz(path, 64 << 20)
    try:
        return checked((found["x_train"], found["y_train"]), (found["x_test"], found["y_test"]), path)
    except KeyError as error:
        raise BadFile(f"{path}: holds no array {error}, only {sorted(found)}") from None


def checked(train, test, path: Path) -> Split:
    """The arrays, if they are images and labels in equal number."""
    for x, y in (train, test):
        if getattr(x, "ndim", 0) != 3 or getattr(y, "ndim", 0) != 1 or len(x) != len(y):
            shapes = f"{getattr(x, 'shape', '?')} and {getattr(y, 'shape', '?')}"
            raise BadFile(f"{path}: expected images (n, height, width) and labels (n,), found {shapes}")
    return train, test


# The checksum of mnist.npz is the one that Keras publishes; those of the IDX files are TensorFlow Datasets'.
SET = DataSet(
    "mnist",
    "70,000 handwritten digits, 28x28, grey",
    "http://yann.lecun.com/exdb/mnist/",
    (
        Form(
            (
                File(
                    "mnist.npz",
                    11_490_434,
                    "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                    (GOOGLE + "mnist.npz", "https://s3.amazonaws.com/img-datasets/mnist.npz"),
                ),
            ),
            read_npz_file,
        ),
        idx_form(
            "mnist",
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
            (
                (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
                (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
                (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
                (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
            ),
        ),
    ),
)


def load_data(path: str = "mnist.npz") -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: images (60000, 28, 28) and (10000, 28, 28), all uint8.

    Grey values go from 0 (paper) to 255 (ink).

    Args:
        path: name in the cache folder, or the full path of an `mnist.npz`.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.

    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    return SET.at(path).load()
