"""Reuters: 11,228 newswires of 46 topics, as word numbers."""

from __future__ import annotations

import numpy as np

from cenote.datasets import words
from cenote.datasets.imdb import AMAZON
from cenote.datasets.mnist import GOOGLE
from cenote.datasets.split import Split
from cenote.datasets.store import DataSet, File, Form

HOME = "https://martin-thoma.com/nlp-reuters/"

SET = DataSet(
    "reuters",
    "11,228 newswires as word numbers, 46 topics",
    HOME,
    (
        Form(
            (
                File(
                    "reuters.npz",
                    2_110_848,
                    "sha256:d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
                    (GOOGLE + "reuters.npz", AMAZON + "reuters.npz"),
                ),
            ),
            lambda path: words.read(path, ""),
        ),
    ),
)

# As for IMDB's index, no better checksum than MD5 is published; the file is parsed as plain JSON.
INDEX = DataSet(
    "reuters word index",
    "30,979 words and their numbers",
    HOME,
    (
        Form(
            (
                File(
                    "reuters_word_index.json",
                    550_378,
                    "md5:4d44cc38712099c9e383dc6e5f11a921",
                    (GOOGLE + "reuters_word_index.json", AMAZON + "reuters_word_index.json"),
                ),
            ),
            words.read_index,
        ),
    ),
)

_TOPICS = """cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton
carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi
iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"""


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int | None = 3,
) -> Split:
    """`(x_train, y_train), (x_test, y_test)` as in Keras: object arrays of lists of word numbers, labels 0 to 45.

    There are 8,982 newswires to train with and 2,246 to test. The arguments are those of `imdb.load_data`, and
    `test_split`, the part of the newswires that is for test. The file is read without unpickling anything.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.
        ValueError: `maxlen` leaves nothing.

    Source: the Reuters-21578 collection of David D. Lewis.

    >>> (x_train, y_train), (x_test, y_test) = load_data(num_words=10_000)  # doctest: +SKIP
    """
    if not 0 <= test_split <= 1:
        raise ValueError(f"test_split is {test_split}; expected a number from 0 to 1")
    ((texts, labels),) = SET.at(path).load()
    order = np.arange(len(labels))
    np.random.RandomState(seed).shuffle(order)
    texts, labels = words.prepare(texts, labels, order, start_char, index_from, maxlen)
    texts = words.cut(texts, num_words or int(texts.words.max()), skip_top, oov_char)
    rows, end = texts.lists(), int(len(labels) * (1 - test_split))
    return (rows[:end], labels[:end]), (rows[end:], labels[end:])


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Each word's number; `load_data` adds `index_from` to it.

    Raises:
        DataNotFound: there is no copy on this machine, and none can be downloaded.
    """
    return INDEX.at(path).load()


def get_label_names() -> tuple[str, ...]:
    """The 46 topics in the order of their labels.

    >>> get_label_names()[3]
    'earn'
    """
    return tuple(_TOPICS.split())
