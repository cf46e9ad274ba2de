"""Callbacks: what happens beside the training, at the ends of chunks and epochs. Keras's names and hooks."""

from ..history import History
from .averages import SwapEMAWeights
from .backup import BackupAndRestore
from .base import Callback, CallbackList, LambdaCallback, overrides_batches
from .logs import CSVLogger, TensorBoard
from .monitor import Monitor
from .progress import Progress
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .saving import ModelCheckpoint
from .stopping import EarlyStopping, StopAt, TerminateOnNaN
from .trackers import MLflowLogger, RemoteMonitor, WandbLogger

ProgbarLogger = Progress  # Keras's name

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "MLflowLogger",
    "ModelCheckpoint",
    "Monitor",
    "ProgbarLogger",
    "Progress",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "StopAt",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "WandbLogger",
    "overrides_batches",
]
