"""Callbacks: what happens beside the training, at the ends of chunks and epochs. Keras's names and hooks."""

from ..history import History
from .base import Callback, CallbackList, LambdaCallback, overrides_batches
from .logs import CSVLogger, TensorBoard
from .monitor import Monitor
from .progress import Progress
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .saving import ModelCheckpoint
from .stopping import EarlyStopping, StopAt, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "Monitor",
    "Progress",
    "ReduceLROnPlateau",
    "StopAt",
    "TensorBoard",
    "TerminateOnNaN",
    "overrides_batches",
]
