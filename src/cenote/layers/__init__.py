"""Layers, a family a file, with Keras's names, arguments and defaults."""

from .activation import Activation, ReLU, Softmax
from .attention import MultiHeadAttention
from .base import Layer
from .conv import Conv2D
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .norm import BatchNormalization, LayerNormalization
from .pool import AveragePooling2D, GlobalAveragePooling2D, MaxPooling2D
from .preprocessing import Normalization, Rescaling
from .recurrent import GRU, LSTM, SimpleRNN
from .shape import Flatten, Reshape

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling2D",
    "Layer",
    "LayerNormalization",
    "MaxPooling2D",
    "MultiHeadAttention",
    "Normalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SimpleRNN",
    "Softmax",
]
