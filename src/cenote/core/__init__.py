"""What a model is: modules, flat dicts of named arrays, graphs of layers. Imports jax and nothing of the house above it."""

from . import runtime
from .errors import describe, unknown
from .graph import Graph, Input, Node
from .keys import as_key, fold
from .lift import Ensemble, Remat, Repeat
from .module import Call, Module, Weight, current_call
from .notes import annotate, annotation, collecting, graph_function
from .tree import (
    apply,
    bind,
    build,
    children,
    clone,
    declare,
    declared,
    find,
    gradients,
    init,
    members,
    outputs,
    weights_of,
)

runtime.configure()

__all__ = [
    "Call",
    "Ensemble",
    "Graph",
    "Input",
    "Module",
    "Node",
    "Remat",
    "Repeat",
    "Weight",
    "annotate",
    "annotation",
    "apply",
    "as_key",
    "bind",
    "build",
    "children",
    "clone",
    "collecting",
    "current_call",
    "declare",
    "declared",
    "describe",
    "find",
    "fold",
    "gradients",
    "graph_function",
    "init",
    "members",
    "outputs",
    "unknown",
    "weights_of",
]
