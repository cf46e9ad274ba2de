"""Training on any pair of ``init`` and ``apply``: the state, the step, the epoch, the loop, callbacks, checkpoints."""

from .callbacks import *  # noqa: F403
from .checkpoint import Checkpoints
from .fit import Plan, evaluate, fit
from .history import History
from .objective import Objective, Output
from .run import Run
from .state import TrainState
from .step import make_step
from .trainer import Trainer

__all__ = [
    "Checkpoints",
    "History",
    "Objective",
    "Output",
    "Plan",
    "Run",
    "TrainState",
    "Trainer",
    "evaluate",
    "fit",
    "make_step",
]
