"""Cenote: deep learning that you can see to the bottom of. The public list, lazily imported, and nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = [
    "activations",
    "callbacks",
    "constraints",
    "core",
    "data",
    "datasets",
    "initializers",
    "interop",
    "keras",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "schedules",
    "train",
]
_NAMES = {
    "Model": "cenote.model",
    "Sequential": "cenote.model",
    "set_seed": "cenote.model",
    "Input": "cenote.core",
    "Graph": "cenote.core",
    "Module": "cenote.core",
    "load": "cenote.saving",
}

__all__ = [*_MODULES, *_NAMES]  # noqa: PLE0604

if TYPE_CHECKING:
    from . import (
        activations as activations,
        callbacks as callbacks,
        constraints as constraints,
        core as core,
        data as data,
        datasets as datasets,
        initializers as initializers,
        interop as interop,
        keras as keras,
        layers as layers,
        losses as losses,
        metrics as metrics,
        optimizers as optimizers,
        regularizers as regularizers,
        schedules as schedules,
        train as train,
    )
    from .core import Graph as Graph, Input as Input, Module as Module
    from .model import Model as Model, Sequential as Sequential, set_seed as set_seed
    from .saving import load as load


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"cenote.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    from .core.errors import unknown

    raise AttributeError(str(unknown("name in cenote", name, __all__)))


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
