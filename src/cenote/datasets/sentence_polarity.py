"""Sentence polarity (MR): 10,662 sentences of film reviews, liked or disliked, as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cenote.datasets.archive import BadFile
from cenote.datasets.split import stratified
from cenote.datasets.store import DataSet, File, Form

TextSplit = tuple[tuple[list[str], np.ndarray], tuple[list[str], np.ndarray]]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file of moderate size, without blanks at their ends and without empty ones."""
    if path.stat().st_size > 64 << 20:
        raise BadFile(f"{path}: is {path.stat().st_size:,} bytes, far more than this data set")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: not UTF-8 text ({error})") from None
    # Only at line feeds: str.splitlines would also break a sentence at the rarer separators of Unicode.
    return [line.strip() for line in text.split("\n") if line.strip()]


# Never downloaded: the authors' page publishes no checksum, and no other copy is one to trust.
SET = DataSet(
    "sentence_polarity",
    "10,662 sentences of film reviews as text, liked or disliked",
    "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
    (
        Form(
            (
                File("mr-sentence-polarity/rt-polarity.neg", 612_506),
                File("mr-sentence-polarity/rt-polarity.pos", 626_395),
            ),
            lambda *paths: [read_lines(path) for path in paths],
        ),
    ),
)


def load_data(*, test_fraction: float = 0.1, seed: int = 0) -> TextSplit:
    """`(texts_train, y_train), (texts_test, y_test)`: lists of sentences, labels int32, 0 disliked, 1 liked.

    The sentences are English, tokenised and in small letters. Custom has no fixed split; this one is stratified,
    and the same for the same seed.

    Raises:
        ValueError: `test_fraction` is not in [0, 1).
        DataNotFound: the folder in `CENOTE_DATA` does not hold it; it is never downloaded.

    Source: Pang, Lee, "Seeing stars: exploiting class relationships for sentiment categorization", 2005.

    >>> (texts, labels), _ = load_data()  # doctest: +SKIP
    """
    negative, positive = SET.load()
    texts = negative + positive
    labels = np.array([0] * len(negative) + [1] * len(positive), np.int32)
    train, test = stratified(labels, test_fraction, seed)
    return ([texts[i] for i in train], labels[train]), ([texts[i] for i in test], labels[test])


def get_label_names() -> tuple[str, ...]:
    """The two classes in the order of their labels.

    >>> get_label_names()
    ('disliked', 'liked')
    """
    return "disliked", "liked"
