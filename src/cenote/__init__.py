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
    "explain",
    "initializers",
    "interop",
    "keras",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
    "schedules",
    "tasks",
    "train",
]
_NAMES = {
    "Model": "cenote.model",
    "Sequential": "cenote.networks",
    "set_seed": "cenote.model",
    "Input": "cenote.core",
    "Graph": "cenote.core",
    "Module": "cenote.core",
    "load": "cenote.saving",
}

__all__ = [*_MODULES, *_NAMES]

if TYPE_CHECKING:
    from . import (
        activations as activations,
    )
    from . import (
        callbacks as callbacks,
    )
    from . import (
        constraints as constraints,
    )
    from . import (
        core as core,
    )
    from . import (
        data as data,
    )
    from . import (
        datasets as datasets,
    )
    from . import (
        explain as explain,
    )
    from . import (
        initializers as initializers,
    )
    from . import (
        interop as interop,
    )
    from . import (
        keras as keras,
    )
    from . import (
        layers as layers,
    )
    from . import (
        losses as losses,
    )
    from . import (
        metrics as metrics,
    )
    from . import (
        optimizers as optimizers,
    )
    from . import (
        regularizers as regularizers,
    )
    from . import (
        schedules as schedules,
    )
    from . import (
        tasks as tasks,
    )
    from . import (
        train as train,
    )
    from .core import Graph as Graph
    from .core import Input as Input
    from .core import Module as Module
    from .model import Model as Model
    from .model import set_seed as set_seed
    from .networks import Sequential as Sequential
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
