"""TREC questions: 5,952 English questions by the kind of answer they want, as text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cenote.datasets.archive import BadFile
from cenote.datasets.sentence_polarity import TextSplit, read_lines
from cenote.datasets.store import DataSet, File, Form

Questions = list[tuple[str, str, str]]


def _read(path: Path) -> Questions:
    """(coarse class, fine class, question) of each line `COARSE:fine question`."""
    questions = []
    for number, line in enumerate(read_lines(path), 1):
        found = re.fullmatch(r"([A-Z]+):([a-z]+) (.+)", line)
        if not found:
            raise BadFile(f"{path}: line {number}: expected 'COARSE:fine question', found {line[:60]!r}")
        questions.append((found[1], f"{found[1]}:{found[2]}", found[3]))
    return questions


# Never downloaded: the authors' page publishes no checksum, and no other copy is one to trust.
SET = DataSet(
    "trec",
    "5,952 questions as text, 6 or 50 kinds of answer",
    "https://cogcomp.seas.upenn.edu/Data/QA/QC/",
    (
        Form(
            (File("trec-questions/train_5500.label", 335_826), File("trec-questions/TREC_10.label", 23_354)),
            lambda *paths: [_read(path) for path in paths],
        ),
    ),
)


def load_data(label_mode: str = "coarse") -> TextSplit:
    """`(texts_train, y_train), (texts_test, y_test)`: lists of 5,452 and 500 tokenised questions, labels int32.

    Args:
        label_mode: `"coarse"` for 6 classes or `"fine"` for 50, in the order of `get_label_names(label_mode)`.

    Raises:
        ValueError: another `label_mode`.
        DataNotFound: the folder in `CENOTE_DATA` does not hold it; it is never downloaded.

    Source: Li, Roth, "Learning question classifiers", 2002.

    >>> (texts, labels), _ = load_data()  # doctest: +SKIP
    """
    (train, test), names = _load(label_mode)
    column = ("coarse", "fine").index(label_mode)

    def part(questions: Questions) -> tuple[list[str], np.ndarray]:
        labels = [names.index(question[column]) for question in questions]
        return [text for *_, text in questions], np.array(labels, np.int32)

    return part(train), part(test)


def get_label_names(label_mode: str = "coarse") -> tuple[str, ...]:
    """The classes in the order of their labels, which is that of the alphabet; read from the data.

    Raises:
        ValueError: another `label_mode`.
        DataNotFound: the folder in `CENOTE_DATA` does not hold the data.
    """
    return _load(label_mode)[1]


def _load(label_mode: str) -> tuple[list[Questions], tuple[str, ...]]:
    if label_mode not in ("coarse", "fine"):
        raise ValueError(f"label_mode is {label_mode!r}; expected 'coarse' or 'fine'")
    parts = SET.load()
    column = ("coarse", "fine").index(label_mode)
    return parts, tuple(sorted({question[column] for questions in parts for question in questions}))
