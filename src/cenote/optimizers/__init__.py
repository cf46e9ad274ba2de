"""Optimizers with Keras's names, arguments, defaults and numbers, and those that only PyTorch has with PyTorch's.

An optimizer is a pure pair in the form of optax, ``init(params) -> state`` and ``update(grads, state, params) ->
(updates, state)``, with new parameters ``params + updates``. The rules are written out here, a few lines each, because
optax's places of the learning rate and of epsilon differ from Keras's (within the momentum, within the root) and because
one pass over each array is what compiles best. Any transformation of optax is accepted where an optimizer is (`get`), and
``optimizer.transformation`` is ours for optax.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from cenote import schedules as schedules
from cenote.core.configurable import family, resolve

from .adam import Adam, Adamax, AdamW, Lamb, Nadam, RAdam, ScheduleFreeAdamW
from .adaptive import Adadelta, Adafactor, Adagrad, Ftrl, RMSprop
from .base import Optimizer
from .base import averages as averages
from .base import full_like as full_like
from .base import matches as matches
from .gradient import ASGD, SGD, GradientDescent, Lion, Rprop
from .lazy import LazyAdam
from .muon import Muon
from .newton import LBFGS, SparseAdam
from .wrappers import LossScaleOptimizer, MultiOptimizer, Optax, OptimizerMap

__all__ = [
    "ASGD",
    "LBFGS",
    "NAMES",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "GradientDescent",
    "Lamb",
    "LazyAdam",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optax",
    "Optimizer",
    "OptimizerMap",
    "RAdam",
    "RMSprop",
    "Rprop",
    "ScheduleFreeAdamW",
    "SparseAdam",
    "get",
    "schedules",
]

NAMES: dict[str, Callable] = family(
    SGD,
    GradientDescent,
    Adam,
    AdamW,
    RMSprop,
    Adagrad,
    Adadelta,
    Adafactor,
    Adamax,
    Ftrl,
    Lamb,
    LazyAdam,
    Lion,
    Muon,
    Nadam,
    RAdam,
    ScheduleFreeAdamW,
    ASGD,
    Rprop,
    LBFGS,
    SparseAdam,
    LossScaleOptimizer,
    MultiOptimizer,
    gd=GradientDescent,
    momentum=functools.partial(SGD, momentum=0.9),
    nesterov=functools.partial(SGD, momentum=0.9, nesterov=True),
)


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Optimizer | None:
    """The optimizer for a name, a config dict, a class, an `Optimizer` or a transformation of optax; None stays None.

    "momentum" is SGD with momentum 0.9, and "nesterov" that with the look ahead.
    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("adam"), get({"class": "SGD", "learning_rate": {"class": "CosineDecay", "initial_learning_rate": 0.1,
    ...                                                     "decay_steps": 5}}).learning_rate(0).round(3).item()
    (Adam(), 0.1...)
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, tuple) and hasattr(identifier, "init") and hasattr(identifier, "update"):
        return Optax(identifier)
    found = resolve("optimizer", identifier, NAMES, custom=custom, within=[schedules.NAMES, _PARTS])
    return found if isinstance(found, Optimizer) else found()


_PARTS = {"optimizer_map": OptimizerMap}
