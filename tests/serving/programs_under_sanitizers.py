"""Programs in C++ that test_native.py runs under sanitizers: each family of steps, sizes that fit nothing."""

import jax
import numpy as np

from cenote.serving.program import Program


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def products():
    for rows, features, units in (
        (1, 1, 1),
        (2, 3, 33),
        (3, 256, 200),
        (130, 7, 48),
        (70, 256, 100),
        (5, 4, 16),
        (1, 1000, 1001),
    ):
        kernel, bias, square = draw(features, units), draw(units), draw(units, units)
        yield lambda x, k=kernel, b=bias, s=square: jax.nn.relu((x @ k + b) @ s + x @ k), draw(rows, features)


FAMILIES = [products]


def run():
    """Every program, with all threads and with those of a part; numbers are held elsewhere."""
    for family in FAMILIES:
        for function, *inputs in family():
            program = Program(function, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs])
            first = program(*inputs)
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, program(*inputs), strict=True))
