"""Fashion-MNIST: 70,000 pictures of clothes, in MNIST's form."""

from __future__ import annotations

from cenote.datasets.mnist import GOOGLE, idx_form
from cenote.datasets.split import Split
from cenote.datasets.store import DataSet

# Keras publishes no checksums for these files; these are TensorFlow Datasets', for the files of Zalando's own bucket.
SET = DataSet(
    "fashion_mnist",
    "70,000 pictures of clothes, 28x28, grey",
    "https://github.com/zalandoresearch/fashion-mnist",
    (
        idx_form(
            "fashion-mnist",
            (
                GOOGLE,
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ),
            (
                (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
                (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
                (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
                (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
            ),
        ),
    ),
)


def load_data() -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: images (60000, 28, 28) and (10000, 28, 28), all uint8.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.

    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking", arXiv:1708.07747, 2017.

    >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
    """
    return SET.load()


def get_label_names() -> tuple[str, ...]:
    """The ten classes in the order of their labels.

    >>> get_label_names()[9]
    'ankle boot'
    """
    return ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
