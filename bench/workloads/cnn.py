"""A small convolutional network on MNIST."""

from . import data as sources
from .count import Part, convolution, dense

SAYS = "CNN of 32 and 64 channels and a dense layer of 128 on MNIST, batch 128, Adam"
ROWS, BATCH, EPOCHS = 128 * 50, 128, 1
CHECK = (512, 2)
LOSS, OPTIMIZER, RATE = "classes", "adam", 0.001
INFER = (1, 64, 1024)
INPUTS = 784  # numbers of one example
GOAL = 1.0


def data():
    x, y = sources.mnist()
    return x[:ROWS, ..., None], y[:ROWS]


def keras(keras, layers, dropout):
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )


def torch(dropout):
    from torch import nn

    class Flatten(nn.Module):
        """Rows, columns, channels in Keras's order."""

        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Flatten(),
        nn.Linear(1600, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def parts():
    pools = Part(0, 32 + 64, 13 * 13 * 32 + 5 * 5 * 64)
    return [convolution(26, 3, 1, 32), convolution(11, 3, 32, 64), pools, dense(1600, 128), dense(128, 10)]
