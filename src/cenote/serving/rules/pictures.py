"""Convolutions of pictures, with zeros around them and bias, sum, rectifier, windows of 2x2 in the same step; pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph import Node, Value
from ..plan import Plan, Unsupported, rule
from .dense import Finish, finish

__all__ = ["pictured"]

FEW = 64  # channels of which a vector may hold more
Margins = tuple[int, int]  # rows of zeros above a picture, columns before it


def pictured(plan: Plan, node: Node) -> bool:
    """Do a `pad` or `slice` together with the convolution or the pooling that it begins, if it does; whether that was done."""
    return _pad(plan, node) or _pool(plan, node)


def _pad(plan: Plan, node: Node) -> bool:
    """Do a `pad` together with the convolution that follows it."""
    if node.name != "pad" or (margins := _margins(node)) is None or node.inputs[0].dtype != np.float32:
        return False
    found = plan.follower(node.outputs[0])
    if found is None or found[0].name not in ("cenote_convolution_joined", "cenote_convolution_forward"):
        return False
    next_, value = found
    if value is not node.outputs[0] or next_.inputs[0] is not value:
        return False
    plan.take(next_)
    _convolve(plan, next_, node.inputs[0], margins)
    return True


def _margins(node: Node) -> Margins | None:
    """What a `pad` of zeros around pictures puts above and before them; None for another one."""
    x, fill = node.inputs
    config = node.options["padding_config"]
    zeros = isinstance(fill, np.ndarray) and not fill.any()
    if not zeros or len(config) != 4 or min(map(min, config)) < 0 or any(step for _, _, step in config):
        return None
    if any(config[0]) or any(config[3]) or not isinstance(x, Value):
        return None
    return config[1][0], config[2][0]


@rule("cenote_convolution_joined", "cenote_convolution_forward")
def _convolution(plan: Plan, node: Node) -> None:
    _convolve(plan, node, node.inputs[0])


def _convolve(plan: Plan, node: Node, x: Any, margins: Margins = (0, 0)) -> None:
    """A convolution of what has that many more zeros above and before it."""
    step, places = [int(node.options[key]) for key in ("down", "across")], _begins(node)
    places = [place + margin for place, margin in zip(places, margins, strict=True)]
    options = {key: bool(node.options.get(key)) for key in ("rectify", "windows")}
    bias = next(iter(node.inputs[2:]), None)
    _emit(plan, "convolution", node, x, node.inputs[1], [*step, *places, 1, 1], bias, **options)


def _begins(node: Node) -> list[int]:
    return [int(node.options[key]) for key in ("above", "before")]


@rule("cenote_convolution_input")
def _transposed(plan: Plan, node: Node) -> None:
    """From the result of a convolution back to its picture, as layers do that make pictures larger."""
    x, kernel = node.inputs
    step, places = [int(node.options[key]) for key in ("down", "across")], _begins(node)
    if step == [1, 1] and isinstance(kernel, np.ndarray):
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        places = [size - 1 - place for size, place in zip(kernel.shape, places, strict=False)]
        return _emit(plan, "convolution", node, x, turned, [*step, *places, 1, 1])
    _emit(plan, "convolution.transposed", node, x, kernel, [*step, *places, 1, 1])


@rule("cenote_depthwise_forward")
def _depthwise(plan: Plan, node: Node) -> None:
    x, kernel = node.inputs
    step = [int(node.options[key]) for key in ("down", "across")]
    _emit(plan, "depthwise", node, x, kernel, [*step, *_begins(node), 1, 1])


CHANNELS_LAST = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # of pictures, of kernels (height, width, input, output), of results


@rule("conv_general_dilated")
def _plain(plan: Plan, node: Node) -> None:
    """What layers leave to XLA: kernels with holes."""
    options = node.options
    pads, numbers = options["padding"], options["dimension_numbers"]
    groups = options["feature_group_count"], options["batch_group_count"]
    if tuple(numbers) != CHANNELS_LAST or groups != (1, 1) or max(options["lhs_dilation"]) > 1 or min(map(min, pads)) < 0:
        raise Unsupported("no step does this kind of convolution")
    places = [*options["window_strides"], pads[0][0], pads[1][0], *options["rhs_dilation"]]
    x, kernel = node.inputs
    _emit(plan, "convolution", node, x, kernel, places)


def _emit(
    plan: Plan,
    step: str,
    node: Node,
    x: Any,
    kernel: Any,
    places: Any,
    bias: Any = None,
    rectify: bool = False,
    windows: bool = False,
) -> None:
    """A convolution and what follows it; `places`: rows and columns from one place to the next, above and before the picture,
    from one number of the kernel to the next."""
    y = node.outputs[0]
    if not isinstance(x, Value) or not isinstance(kernel, np.ndarray) or isinstance(bias, Value):
        raise Unsupported("no step convolves with a kernel that is reckoned")
    if {x.dtype, kernel.dtype, y.dtype} != {np.dtype(np.float32)}:
        raise Unsupported(f"no step convolves {x.dtype} pictures with {kernel.dtype} kernels to {y.dtype}")
    bias = None if bias is None or not bias.size else bias
    if windows:  # after them come no sums: it would be another order
        done = Finish(y, bias, None, rectify)
    else:
        result, scale, bias = (y, None, bias) if rectify else _scaled(plan, y, bias)
        if scale is not None:
            kernel = kernel * (scale[:, None] if step == "convolution.transposed" else scale)
        done = finish(plan, result, y.shape[3], bias, rectify)
    plan.emit(
        step,
        [*x.shape, *y.shape[1:], *kernel.shape[:2], *places, *done.options, windows],
        [kernel, *done.constants],
        [plan.read(x), *done.inputs],
        [plan.write(done.result)],
        math.prod(y.shape) * math.prod(kernel.shape[:2]) * (1 if step == "depthwise" else x.shape[3]) * (4 if windows else 1),
    )


def _scaled(plan: Plan, y: Value, bias: np.ndarray | None) -> tuple[Value, np.ndarray | None, np.ndarray | None]:
    """What normalisation by constants leads to, if it follows, and by what it multiplies kernel and bias, and adds to it."""
    result, units = y, y.shape[3]
    scale, shift = np.ones(units), np.zeros(units) if bias is None else bias.astype(np.float64)
    while (found := plan.follower(result)) is not None and found[0].name in ("add", "sub", "mul"):
        node, value = found
        other = node.inputs[node.inputs[0] is value]
        turned = node.name == "sub" and node.inputs[0] is not value
        if not isinstance(other, np.ndarray) or other.dtype != np.float32 or turned:
            break
        if other.size != 1 and not (other.size == units == other.shape[-1] == value.shape[-1]):
            break
        row = np.broadcast_to(other.reshape(-1), units)
        if node.name == "mul":
            scale, shift = scale * row, shift * row
        else:
            shift = shift + row if node.name == "add" else shift - row
        result = plan.take(node)
    if result is y:
        return y, None, bias
    return result, None if (scale == 1).all() else scale.astype(np.float32), shift.astype(np.float32)


# -- pooling, which layers leave as slices of a picture and what joins them --------------------------------------------------


def _pool(plan: Plan, node: Node) -> bool:
    """Do the slices of an array, or of a padded one, that `max` or `add` joins, in one step; whether that was done."""
    x, pads, slices = node.inputs[0], [(0, 0, 0)] * len(node.outputs[0].shape), [node]
    if not isinstance(x, Value) or x.dtype != np.float32:
        return False
    if node.name == "pad":
        fill, pads, slices = node.inputs[1], node.options["padding_config"], plan.users(node.outputs[0])
        if any(user.name != "slice" for user in slices):
            return False
        if any(n < 0 for pad in pads for n in pad) or any(between for _, _, between in pads) or not slices:
            return False
        if not isinstance(fill, np.ndarray) or plan.asked(node.outputs[0]):
            return False
    chain = _Chain(plan, slices[0])
    axes = [i for i, sizes in enumerate(zip(chain.window, chain.strides, pads, strict=True)) if sizes != (1, 1, (0, 0, 0))]
    if not chain.fits or not axes or axes[0] == 0 or len(axes) > 2 or axes[-1] - axes[0] > 1:
        return False
    if any(n != chain.result.shape[i] for i, n in enumerate(x.shape) if i not in axes):
        return False  # cut along an axis that it is not pooled along
    if node.name == "pad":
        none = 0 if chain.join == "add" else -np.inf
        if node.inputs[1].item() != none or {id(n) for n in slices} != {id(n) for n in chain.slices}:
            return False
    for taken in chain.nodes:
        plan.take(taken)
    first = axes[0]
    sizes = (
        x.shape,
        chain.result.shape,
        chain.window,
        chain.strides,
        [p[0] - o for p, o in zip(pads, chain.origin, strict=True)],
    )
    tall = [int(size[first]) for size in sizes]
    wide = [int(size[first + 1]) for size in sizes] if len(axes) == 2 else [1, 1, 1, 1, 0]
    channels, outer = math.prod(x.shape[axes[-1] + 1 :]), math.prod(x.shape[:first])
    if len(axes) == 1 and channels < FEW:  # places of a row lie side by side
        tall, wide = wide, tall
    picture = [outer, tall[0], wide[0], channels]
    places = [n for pair in zip(tall[1:], wide[1:], strict=True) for n in pair]
    result, divisor = _divided(plan, chain.result) if chain.join == "add" and first == 1 else (chain.result, np.ones(1))
    alike = bool((divisor == divisor.flat[0]).all())
    plan.emit(
        "pooling",
        [*picture, *places, chain.join == "add", divisor.flat[0] if alike else 0],
        [] if alike else [divisor],
        [plan.read(x)],
        [plan.write(result)],
        math.prod(chain.result.shape) * math.prod(chain.window) * 4,
    )
    return True


class _Chain:
    """Slices of one array and what joins them, as far as they do: of each axis window, strides, where the first one begins."""

    def __init__(self, plan: Plan, first: Node) -> None:
        self.result, self.slices, self.nodes, self.join = first.outputs[0], [first], [first], ""
        of = first.inputs[0]
        others = {id(node.outputs[0]): node for node in plan.users(of) if node.name == "slice"} if isinstance(of, Value) else {}
        while id(first.outputs[0]) in others and not plan.asked(self.result) and len(users := plan.users(self.result)) == 1:
            node = users[0]
            other = next((others[id(v)] for v in node.inputs if id(v) in others and others[id(v)] not in self.slices), None)
            if node.name not in ("max", "add") or (self.join or node.name) != node.name or other is None:
                break
            value = other.outputs[0]
            if _strides(other) != _strides(first) or value.shape != self.result.shape:
                break
            if plan.asked(value) or len(plan.users(value)) != 1:
                break
            self.join, self.result = node.name, node.outputs[0]
            self.slices.append(other)
            self.nodes += [other, node]
        self.strides = _strides(first)
        starts = [tuple(node.options["start_indices"]) for node in self.slices]
        self.origin = tuple(map(min, zip(*starts, strict=True)))
        self.window = tuple(max(axis) - low + 1 for axis, low in zip(zip(*starts, strict=True), self.origin, strict=True))
        # Every place of the window, each once.
        self.fits = len(self.slices) > 1 and len(set(starts)) == len(starts) == math.prod(self.window)


def _strides(node: Node) -> tuple[int, ...]:
    return tuple(node.options["strides"] or (1,) * len(node.outputs[0].shape)) if node.name == "slice" else ()


def _divided(plan: Plan, total: Value) -> tuple[Value, np.ndarray]:
    """What is left of sums that are divided by numbers that stay the same, and these for each number of an example."""
    found = plan.follower(total)
    if found is None or found[0].name != "div" or found[0].inputs[0] is not total:
        return total, np.ones(1, np.float32)
    divisor = found[0].inputs[1]
    if not isinstance(divisor, np.ndarray) or (divisor.ndim == len(total.shape) and divisor.shape[0] != 1):
        return total, np.ones(1, np.float32)
    one = np.broadcast_to(divisor, (1, *total.shape[1:]))
    if not one.all():
        return total, np.ones(1, np.float32)
    return plan.take(found[0]), np.ascontiguousarray(one, np.float32)
