"""An autoencoder 784-32-784 on MNIST."""

from . import data as sources
from .count import dense

SAYS = "autoencoder 784-32-784 on MNIST, batch 256, Adam, cross-entropy of each pixel"
ROWS, BATCH, EPOCHS = 256 * 234, 256, 2
CHECK = (1024, 2)
LOSS, OPTIMIZER, RATE = "bits", "adam", 0.001
INFER = (1, 64, 1024)
INPUTS = 784  # numbers of one example
GOAL = 1.5


def data():
    x = sources.mnist()[0][:ROWS].reshape(-1, 784)
    return x, x


def keras(keras, layers, dropout):
    return keras.Sequential([keras.Input((784,)), layers.Dense(32, activation="relu"), layers.Dense(784)])


def torch(dropout):
    from torch import nn

    return nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 784))


def parts():
    return [dense(784, 32), dense(32, 784)]
