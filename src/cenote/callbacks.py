"""Callbacks under the name that Keras users know; they live beside the training loop, in `cenote.train.callbacks`."""

from .train.callbacks import *  # noqa: F403
from .train.callbacks import __all__ as __all__
