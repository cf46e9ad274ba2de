"""The workloads of `run.py`, a file each: the same network in Keras's words (for Cenote and Keras alike) and in PyTorch's.

A file says, in capitals, what is trained and how, and holds three functions:

``keras(keras, layers, dropout)``    the model, not compiled; ``dropout=False`` leaves the dropout out, for the check
``torch(dropout)``                   the same as a `torch.nn.Module`, whose parts are registered in the order of ``keras``
``parts()``                          what one example costs (`count.py`)

Outputs are logits. Weights are drawn by `weights.py` from the place of a layer among those with weights: the order in which the
two functions make their layers is what makes them equal, and `run.py` compares the losses after some steps.
"""

import importlib
import os
from types import ModuleType

NAMES = ["linear", "mlp", "autoencoder", "cnn", "resnet20", "lstm", "transformer", "gpt"]


def find(name: str) -> ModuleType:
    """The workload of that name; with BENCH_TINY in the environment a few steps of it, to see whether everything works."""
    found = importlib.import_module(f"workloads.{name}")
    if os.environ.get("BENCH_TINY"):
        found.BATCH = min(found.BATCH, 4 if found.ROWS > found.BATCH else found.ROWS)
        found.ROWS, found.EPOCHS, found.CHECK = min(found.ROWS, 2 * found.BATCH), min(found.EPOCHS, 10), (found.BATCH, 2)
    return found
