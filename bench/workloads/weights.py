"""Initial weights for all frameworks alike, in Keras's layout.

Weights that begin as zeros and ones (biases, scales, statistics) stay so; the others are drawn from their number among these,
in the order in which the layers are made, and their shape.
"""

import numpy as np


def draw(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """The ``number``-th kernel or table of a network."""
    return np.random.default_rng(1000 + number).normal(0, fan_in(shape) ** -0.5, shape).astype("float32")


def fan_in(shape: tuple[int, ...]) -> int:
    """How many numbers a kernel adds up: of (in, out), (height, width, in, out), and of heads (width, heads, size) or back.

    >>> fan_in((784, 128)), fan_in((3, 3, 32, 64)), fan_in((128, 4, 32)), fan_in((4, 32, 128))
    (784, 288, 128, 128)
    """
    if len(shape) == 3:
        return max(shape)
    return int(np.prod(shape[:-1]))


def drawn(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Those weights, and in place of what is not of zeros and ones alone, what is drawn for it."""
    found, number = [], 0
    for array in arrays:
        plain = bool(np.isin(array, (0, 1)).all())
        found.append(array if plain else draw(number, array.shape))
        number += not plain
    return found
