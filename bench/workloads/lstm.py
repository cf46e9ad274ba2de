"""An LSTM that reads the pictures of MNIST row by row."""

from . import data as sources
from .count import dense, lstm

SAYS = "LSTM of 128 units over the 28 rows of MNIST's pictures, batch 64, Adam"
ROWS, BATCH, EPOCHS = 64 * 100, 64, 1
CHECK = (256, 2)
LOSS, OPTIMIZER, RATE = "classes", "adam", 0.001
INFER = (1, 64, 1024)
INPUTS = 784  # numbers of one example
GOAL = 1.0


def data():
    x, y = sources.mnist()
    return x[:ROWS], y[:ROWS]


def keras(keras, layers, dropout):
    return keras.Sequential([keras.Input((28, 28)), layers.LSTM(128), layers.Dense(10)])


def torch(dropout):
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(28, 128, batch_first=True), nn.Linear(128, 10)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    return Network()


def parts():
    return [lstm(28, 28, 128), dense(128, 10)]
