"""Class activation maps: where in the picture the last features that still have a place speak for an output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module
from ..core.tree import members, spec_of
from ..layers.attention import Heads
from .layers import applied, at_layer, check_path
from .method import Answer, method
from .question import Question, Score

__all__ = ["grad_cam", "grad_cam_plus_plus"]


@method(gradients=True)
def grad_cam(question: Question, *, layer: str | None = None, relu: bool = True) -> Answer:
    """Where a layer's features speak for the output: ``relu(sum_k mean(df/dA_k) A_k)``, enlarged to the picture.

    ``layer`` is the path of a layer whose output is (rows, height, width, channel), or one with one or three axes of space; the
    last such one is taken unless it is named. ``relu=False`` keeps what speaks against the output.
    Shapes: ``values`` (rows, height, width) of the picture; ``details["map"]`` as large as the layer's output.
    Raises: ValueError for a model without such a layer.
    Source: Selvaraju et al. 2017, arXiv:1610.02391.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> x = np.ones((2, 8, 8, 1), "float32")
    >>> model = Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)]).build(x)
    >>> found = grad_cam(model, x)
    >>> found.values.shape, found.details["map"].shape, found.details["layer"]
    ((2, 8, 8), (2, 6, 6), 'layers.0')
    """
    return _cam(question, layer, _mean_slopes, relu)


@method(gradients=True)
def grad_cam_plus_plus(question: Question, *, layer: str | None = None, relu: bool = True) -> Answer:
    """As `grad_cam`, with places weighted, for several things of a kind in one picture: ``relu(sum_k w_k A_k)``.

    ``w_k = sum_ij a_ijk relu(g_ijk)`` with ``g = df/dA`` and ``a = g^2 / (2 g^2 + sum_ij A_ijk g^3)``.
    Source: Chattopadhyay et al. 2018, arXiv:1710.11063.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> x = np.ones((2, 8, 8, 1), "float32")
    >>> model = Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)]).build(x)
    >>> grad_cam_plus_plus(model, x).values.shape
    (2, 8, 8)
    """
    return _cam(question, layer, _weighted_slopes, relu)


def _cam(question: Question, layer: str | None, weigh: Callable, relu: bool) -> Answer:
    question = getattr(question, "origin", question)  # a map belongs to a layer, whatever words the input has
    model = question.subject.model
    if model is None:
        raise TypeError("a class activation map needs a model made of layers: for any other function, use occlusion")
    path, reason = layer, ""
    if path is None:
        known: Any = question.subject.programs
        path = known["spatial"] = known.get("spatial") or spatial_layer(model, question.weights, question.x)
        reason = f"the map of {path}, the last layer whose output has places"
    assert path is not None
    check_path(model, path)
    inner = at_layer(question, path)
    found = jax.tree.leaves(inner.x)
    if len(found) != 1 or found[0].ndim not in (3, 4, 5):
        shown = ", ".join(str(leaf.shape[1:]) for leaf in found)
        raise ValueError(
            f"the output of {path!r} has shape {shown} for an example, not (height, width, channel): take a convolution"
        )
    run = inner.program(_map, weigh, relu)
    small = np.asarray(run(inner.weights, inner.x, inner.targets))
    return Answer(enlarged(small, question.x), details={"layer": path, "map": small}, reason=reason)


def spatial_layer(model: Module, weights: Any, x: Any) -> str:
    """The path of the last layer that gives features with places, behind a layer whose weights know of neighbours."""
    layers, best = members(model), {}
    # The projections of attention have axes for heads, which are no places.
    heads = tuple(path + "." for path, layer in layers.items() if isinstance(layer, Heads))

    def look(weights: Any, x: Any) -> None:
        seen, looked = set(), False
        for spot, output in applied(model, weights, x, capture="*")[2].items():  # in the order of the calls, inner ones first
            leaves = jax.tree.leaves(output)
            if heads and spot.startswith(heads):
                continue
            looked = looked or any(len(w.shape) > 2 for w in layers[spot.split(":")[0]]._weights.values())
            if spot and looked and len(leaves) == 1 and jnp.issubdtype(leaves[0].dtype, jnp.floating):
                shape = leaves[0].shape
                # A container gives what its last layer gave, or something of its own, such as the sum round a block.
                if len(shape) in (3, 4, 5) and all(n > 1 for n in shape[1:-1]) and id(leaves[0]) not in seen:
                    best[len(shape)] = spot
            seen |= {id(leaf) for leaf in leaves}

    jax.eval_shape(look, weights, spec_of(x))
    for rank in (4, 5, 3):
        if rank in best:
            return best[rank]
    raise ValueError(
        "the model has no layer whose output has places, such as a convolution's (height, width, channel), so there is no map "
        "to draw: use integrated_gradients or occlusion, which need none"
    )


def _map(score: Score, weigh: Callable, relu: bool) -> Callable:
    def run(weights: Any, x: Any, target: Any) -> Any:
        slopes = jax.grad(lambda x: score(weights, x, target).sum())(x)
        (features,), (slopes,) = jax.tree.leaves(x), jax.tree.leaves(slopes)
        axes = tuple(range(1, features.ndim - 1))
        found = jnp.sum(weigh(features, slopes, axes) * features, axis=-1)
        return jnp.maximum(found, 0) if relu else found

    return run


def _mean_slopes(features: Any, slopes: Any, axes: tuple[int, ...]) -> Any:
    return slopes.mean(axes, keepdims=True)


def _weighted_slopes(features: Any, slopes: Any, axes: tuple[int, ...]) -> Any:
    below = 2 * slopes**2 + features.sum(axes, keepdims=True) * slopes**3
    share = jnp.where(below != 0, slopes**2 / jnp.where(below != 0, below, 1), 0)
    return (share * jnp.maximum(slopes, 0)).sum(axes, keepdims=True)


def enlarged(small: np.ndarray, x: Any) -> np.ndarray:
    """The map as large as the input that has as many axes, linear between places."""
    for leaf in jax.tree.leaves(x):
        if leaf.ndim >= small.ndim:
            return np.asarray(jax.image.resize(small, leaf.shape[: small.ndim], "linear", antialias=False))
    return small
