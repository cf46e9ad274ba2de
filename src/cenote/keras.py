"""Cenote under Keras's module names: a door for listings that were written for Keras, with nothing behind it but Cenote.

``from cenote import keras`` stands in for ``from tensorflow import keras``, and ``import cenote as tf`` for
``import tensorflow as tf`` where only ``tf.keras`` is used. What is not here has no counterpart in Cenote yet; asking for it
lists what there is.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from . import (
    __version__,
    activations,
    callbacks,
    constraints,
    datasets,
    initializers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
)
from . import (
    layers as _layers,
)
from .core import Input
from .core.errors import unknown
from .model import Model, set_seed
from .networks import Functional, Sequential
from .saving import load

__path__: list[str] = []  # lets `from cenote.keras.layers import Dense` find the modules below


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers as one-hot rows.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    labels = np.asarray(x).astype("int64")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    return np.eye(int(labels.max()) + 1 if num_classes is None else num_classes)[labels]


def load_model(filepath: Any, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """Read a model that ``model.save`` wrote; nothing in the file is executed, with or without ``safe_mode``."""
    return load(filepath, custom_objects)


def _module(name: str, doc: str, /, *sources: Any, **names: Any) -> ModuleType:
    """A module of this door: the public names of ours, and a few that Keras keeps elsewhere."""
    module = ModuleType(f"{__name__}.{name}", doc)
    for source in sources:
        module.__dict__.update({n: getattr(source, n) for n in getattr(source, "__all__", dir(source)) if n[0] != "_"})
    module.__dict__.update(names)

    def missing(asked: str) -> Any:
        raise AttributeError(str(unknown(f"name in keras.{name}", asked, [n for n in vars(module) if n[0] != "_"])))

    module.__dict__["__getattr__"] = missing
    sys.modules[module.__name__] = module
    return module


layers = _module("layers", "Keras's layers.", _layers, Input=Input, InputLayer=Input)
models = _module("models", "Models.", Model=Model, Sequential=Sequential, Functional=Functional, load_model=load_model)
utils = _module("utils", "Small helpers.", to_categorical=to_categorical, set_random_seed=set_seed)
saving = _module("saving", "Saving.", load_model=load_model)
for _name, _source in {
    "activations": activations,
    "callbacks": callbacks,
    "constraints": constraints,
    "datasets": datasets,
    "initializers": initializers,
    "losses": losses,
    "metrics": metrics,
    "optimizers": optimizers,
    "regularizers": regularizers,
}.items():
    sys.modules[f"{__name__}.{_name}"] = _source
sys.modules[f"{__name__}.optimizers.schedules"] = schedules

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "saving",
    "utils",
]
