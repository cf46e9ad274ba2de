"""CIFAR-100: 60,000 small colour photographs of a hundred kinds of thing."""

from __future__ import annotations

from functools import partial

from cenote.datasets import cifar
from cenote.datasets.split import Split
from cenote.datasets.store import DataSet, File, Form

# The checksum of the binary edition is TensorFlow Datasets', that of the Python edition Keras's.
_BINARY = File(
    "cifar-100-binary.tar.gz",
    168_513_733,
    "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    tuple(home + "cifar-100-binary.tar.gz" for home in cifar.TORONTO),
)
_PYTHON = File(
    "cifar-100-python.tar.gz",
    169_001_437,
    "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    tuple(home + "cifar-100-python.tar.gz" for home in cifar.TORONTO),
)


def _set(label_mode: str) -> DataSet:
    binary = partial(
        cifar.read_binary,
        train=("cifar-100-binary/train.bin",),
        test="cifar-100-binary/test.bin",
        label=("coarse", "fine").index(label_mode),
        labels=2,
    )
    python = partial(
        cifar.read_python, train=("cifar-100-python/train",), test="cifar-100-python/test", key=f"{label_mode}_labels"
    )
    return DataSet(
        "cifar100",
        "60,000 photographs of 100 kinds of thing, 32x32, colour",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (Form((_BINARY,), binary), Form((_PYTHON,), python)),
    )


SET = _set("fine")


def load_data(label_mode: str = "fine") -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: images uint8 (n, 32, 32, 3), labels uint8 (n, 1).

    There are 50,000 images to train with and 10,000 to test.

    Args:
        label_mode: `"fine"` for the 100 classes, `"coarse"` for the 20 groups that they fall into.

    Raises:
        ValueError: another `label_mode`.
        DataNotFound: there is no copy on this machine, and none can be downloaded.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    >>> (x_train, y_train), (x_test, y_test) = load_data("coarse")  # doctest: +SKIP
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f"label_mode is {label_mode!r}; expected 'fine' or 'coarse'")
    return _set(label_mode).load()
