"""Linear regression: 100 rows of 2 numbers, the whole data in each step, 1000 epochs."""

import numpy as np

from . import data as sources
from .count import dense

SAYS = "linear regression of 2 numbers on 100 rows, SGD, 1000 epochs of one step"
ROWS = BATCH = 100
EPOCHS = 1000
CHECK = (100, 8)  # rows and epochs after which losses are compared
LOSS, OPTIMIZER, RATE = "mse", "sgd", 0.01
INFER: tuple[int, ...] = ()
INPUTS = 2  # numbers of one example
GOAL = 20.0


def data():
    x = sources.numbers(ROWS, 2)
    return x, (x @ np.array([[2.0], [-3.4]], "float32") + 4.2).astype("float32")


def keras(keras, layers, dropout):
    return keras.Sequential([keras.Input((2,)), layers.Dense(1)])


def torch(dropout):
    from torch import nn

    return nn.Sequential(nn.Linear(2, 1))


def parts():
    return [dense(2, 1)]
