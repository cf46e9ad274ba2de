"""The quickstart: an MLP 784-128-10 with dropout on all of MNIST."""

from . import data as sources
from .count import dense

SAYS = "MLP 784-128-dropout 0.2-10 on MNIST, batch 32, Adam"
ROWS, BATCH, EPOCHS = 60_000, 32, 2
CHECK = (128, 2)
LOSS, OPTIMIZER, RATE = "classes", "adam", 0.001
INFER = (1, 64, 1024)
INPUTS = 784  # numbers of one example
GOAL = 3.0


def data():
    x, y = sources.mnist()
    return x[:ROWS], y[:ROWS]


def keras(keras, layers, dropout):
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            *([layers.Dropout(0.2)] if dropout else []),
            layers.Dense(10),
        ]
    )


def torch(dropout):
    from torch import nn

    middle = [nn.Dropout(0.2)] if dropout else []
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), *middle, nn.Linear(128, 10))


def parts():
    return [dense(784, 128), dense(128, 10)]
