"""IMDB: 50,000 film reviews, liked or disliked, as word numbers."""

from __future__ import annotations

import numpy as np

from cenote.datasets import words
from cenote.datasets.mnist import GOOGLE
from cenote.datasets.split import Split
from cenote.datasets.store import DataSet, File, Form

HOME = "https://ai.stanford.edu/~amaas/data/sentiment/"
AMAZON = "https://s3.amazonaws.com/text-datasets/"

SET = DataSet(
    "imdb",
    "50,000 film reviews as word numbers, liked or disliked",
    HOME,
    (
        Form(
            (
                File(
                    "imdb.npz",
                    17_464_789,
                    "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
                    (GOOGLE + "imdb.npz", AMAZON + "imdb.npz"),
                ),
            ),
            lambda path: words.read(path, "_train", "_test"),
        ),
    ),
)

# Keras publishes no better checksum of the index than MD5, which guards against accidents, not against malice: the file
# is parsed as plain JSON.
INDEX = DataSet(
    "imdb word index",
    "88,584 words and their numbers",
    HOME,
    (
        Form(
            (
                File(
                    "imdb_word_index.json",
                    1_641_221,
                    "md5:bfafd718b763782e994055a2d397834f",
                    (GOOGLE + "imdb_word_index.json", AMAZON + "imdb_word_index.json"),
                ),
            ),
            words.read_index,
        ),
    ),
)


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: object arrays (25000,) of lists of numbers, labels 0 or 1.

    Words are numbered by how often they occur. The file is read without unpickling anything.

    Args:
        path: name in the cache folder, or the full path of an `imdb.npz`.
        num_words: words with this number and above become `oov_char`. None stands for the highest number there is, so
            that, as in Keras, that one word becomes `oov_char` too.
        skip_top: words with a number below this one become `oov_char`.
        maxlen: reviews of this length and longer are left out.
        seed: of the order of the reviews.
        start_char: a number put before each review, or None.
        oov_char: stands for words outside the vocabulary; None leaves them out.
        index_from: added to every word's number.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.
        ValueError: `maxlen` leaves nothing.

    Source: Maas et al., "Learning word vectors for sentiment analysis", 2011.

    >>> (x_train, y_train), (x_test, y_test) = load_data(num_words=10_000)  # doctest: +SKIP
    """
    (train, y_train), (test, y_test) = SET.at(path).load()
    random = np.random.RandomState(seed)
    orders = [np.arange(len(y_train)), np.arange(len(y_test))]
    for order in orders:
        random.shuffle(order)
    train, y_train = words.prepare(train, y_train, orders[0], start_char, index_from, maxlen)
    test, y_test = words.prepare(test, y_test, orders[1], start_char, index_from, maxlen)
    num_words = num_words or int(max(train.words.max(), test.words.max()))
    train, test = (words.cut(texts, num_words, skip_top, oov_char) for texts in (train, test))
    return (train.lists(), y_train), (test.lists(), y_test)


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Each word's number; `load_data` adds `index_from` to it.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.
    """
    return INDEX.at(path).load()
