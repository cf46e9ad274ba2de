"""Two ways to part a data set into training and test data; both give the same rows for the same seed, for good.

Both use `numpy.random.RandomState`, whose streams NumPy has frozen; those of `Generator` may change between versions.
"""

from __future__ import annotations

import numpy as np

Split = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def stratified(labels: np.ndarray, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for test, shuffled, with the classes in the same proportions in both.

    Of n rows, `round(n * test_fraction)` are for test; each class gives its share, rounded down, and those with the
    largest remainders give one more.

    Raises:
        ValueError: `test_fraction` is not in [0, 1).

    >>> train, test = stratified(np.array([0, 0, 0, 0, 1, 1]), test_fraction=0.5, seed=0)
    >>> sorted(test.tolist())[-1] in (4, 5), len(train), len(test)
    (True, 3, 3)
    """
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}; expected a number from 0 up to, not including, 1")
    draw = np.random.RandomState(seed)
    order = draw.permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    share = counts * test_fraction
    take = np.floor(share).astype(int)
    missing = round(len(labels) * test_fraction) - take.sum()
    take[np.argsort(take - share, kind="stable")[:missing]] += 1
    test = np.zeros(len(labels), bool)
    for label, count in zip(classes, take, strict=True):
        test[order[labels[order] == label][:count]] = True
    # Another order: in the first one the classes that filled their share early would stand at the front.
    order = draw.permutation(len(labels))
    return order[~test[order]], order[test[order]]


def split(x: np.ndarray, y: np.ndarray, test_fraction: float, seed: int) -> Split:
    """Arrays parted by `stratified`."""
    train, test = stratified(y, test_fraction, seed)
    return (x[train], y[train]), (x[test], y[test])


def as_keras(x: np.ndarray, y: np.ndarray, test_split: float, seed: int) -> Split:
    """Shuffle and cut the last `test_split` off, row for row as Keras does.

    Raises:
        ValueError: `test_split` is not in [0, 1).
    """
    if not 0 <= test_split < 1:
        raise ValueError(f"test_split is {test_split}; expected a number from 0 up to, not including, 1")
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    cut = int(len(x) * (1 - test_split))
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])
