"""Products with a kernel that stays the same, and what follows them in the same step: bias, sum, rectifier."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..graph import Node, Value
from ..plan import Plan, Room, Unsupported

__all__ = ["Finish", "finish", "with_kernel"]


@dataclass
class Finish:
    """What is done with the sums of a product or convolution in the same step, and what comes out."""

    result: Value
    bias: np.ndarray | None = None
    rest: Room | None = None
    rectify: bool = False

    @property
    def options(self) -> list[bool]:
        """Whether there is a bias, whether something is added, whether what is below zero is cut: numbers of the step."""
        return [self.bias is not None, self.rest is not None, self.rectify]

    @property
    def constants(self) -> list[np.ndarray]:
        return [] if self.bias is None else [self.bias]

    @property
    def inputs(self) -> list[Room]:
        return [] if self.rest is None else [self.rest]


def finish(plan: Plan, result: Value, units: int, bias: np.ndarray | None = None, rectify: bool = False) -> Finish:
    """Take what follows sums of that many units into their step, as far as it goes: a bias, another array, a rectifier."""
    found = Finish(result, bias, None, rectify)
    while not found.rectify and (next_ := plan.follower(found.result)) is not None:
        node, value = next_
        if node.name not in ("add", "max"):
            break
        other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
        constant = isinstance(other, np.ndarray) and other.dtype == np.float32
        row = constant and other.size == units and other.shape[-1:] == value.shape[-1:] == (units,)
        if node.name == "add" and row:
            if found.rest is not None:
                break  # a sum would be rounded in another order
            found.bias = other.reshape(-1) + (0 if found.bias is None else found.bias)
        elif node.name == "add" and isinstance(other, Value) and other.shape == value.shape and plan.known(other):
            if found.rest is not None or other is value:
                break
            found.rest = plan.read(other)
        elif node.name == "max" and constant and other.size == 1 and not other.any():
            found.rectify = True
        else:
            break
        found.result = plan.take(node)
    return found


def with_kernel(plan: Plan, node: Node) -> None:
    """(row, feature) or (row, ..., feature) by a kernel (feature, unit) or (feature, ...)."""
    x, kernel = node.inputs
    (mine, its), (batch, _) = node.options["dimension_numbers"]
    dtypes = {x.dtype, kernel.dtype, node.outputs[0].dtype}
    if not isinstance(x, Value) or isinstance(kernel, Value) or batch or dtypes != {np.dtype(np.float32)}:
        raise Unsupported("no step does this kind of product")
    if mine != tuple(range(len(x.shape) - len(mine), len(x.shape))) or len(mine) == len(x.shape):
        raise Unsupported("no step does a product over other axes than the last")
    others = [i for i in range(kernel.ndim) if i not in its]
    matrix = kernel.transpose(*its, *others).reshape(
        math.prod(kernel.shape[i] for i in its), math.prod(kernel.shape[i] for i in others)
    )
    features, units = matrix.shape
    if not matrix.size:
        raise Unsupported("no step does products of nothing")
    rows = math.prod(x.shape) // features
    done = finish(plan, node.outputs[0], units)
    numbers = [rows, features, units, *done.options]
    inputs, work = [plan.read(x), *done.inputs], rows * features * units
    plan.emit("dense", numbers, [matrix, *done.constants], inputs, [plan.write(done.result)], work)
