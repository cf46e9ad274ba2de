"""Data of the workloads. Only MNIST is real; elsewhere the numbers do not change the speed, and random ones need no files."""

import os

import numpy as np


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """The training pictures as floats from 0 to 1, (60000, 28, 28), and their labels: a file that `run.py` has made."""
    with np.load(os.environ["BENCH_MNIST"]) as file:
        return (file["x_train"] / 255).astype("float32"), file["y_train"].astype("int32")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, "float32")


def integers(high: int, *shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(high, size=shape, dtype="int32")
