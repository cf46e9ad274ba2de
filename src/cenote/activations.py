"""Activation functions by Keras's names: arrays to arrays of the same shape; graph nodes give nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.configurable import Configurable, family, resolve
from cenote.core.notes import annotate, annotation, graph_function
from cenote.kernels import activation


def _float(x: Any) -> jax.Array:
    """As an array of real numbers: whole numbers become float32."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def _linked(y: jax.Array, logits: jax.Array, link: str) -> jax.Array:
    """Let probabilities carry their logits, and the link: a loss must not take a softmax's logits for a sigmoid's."""
    annotate(y, "link", link)
    return annotate(y, "logits", logits)


@graph_function
def linear(x: Any) -> Any:
    """The input itself.

    >>> linear(3.0)
    3.0
    """
    return x


def _rectified(x: Any) -> Any:
    """How the layer that ``x`` comes from rectifies it in its own pass. A convolution cannot add anything to it before."""
    return annotation(x, "rectified") or (annotation(x, "rectified alone") if annotation(x, "only here") else None)


@graph_function
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> jax.Array:
    """Rectifier: ``x`` from the threshold up to ``max_value``, ``negative_slope * (x - threshold)`` below.

    Source: Nair and Hinton 2010, ICML.

    >>> relu([-2.0, 1.0, 8.0], max_value=6.0).tolist()
    [0.0, 1.0, 6.0]
    """
    x = _float(x)
    if (negative_slope, max_value, threshold) == (0.0, None, 0.0) and (rectified := _rectified(x)) is not None:
        return rectified()  # by the layer that x comes from, in its own pass
    if threshold == 0.0:
        y = jax.nn.relu(x) if negative_slope == 0.0 else jnp.where(x > 0, x, negative_slope * x)
    else:
        y = jnp.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else jnp.minimum(y, max_value)


setattr(relu, "looks_once", True)  # noqa: B010 (see core.notes.hand_on)


@graph_function
def leaky_relu(x: Any, negative_slope: float = 0.2) -> jax.Array:
    """``x`` above zero, ``negative_slope * x`` below. Source: Maas et al. 2013, ICML.

    >>> leaky_relu([-1.0, 1.0]).tolist()
    [-0.20000000298023224, 1.0]
    """
    return relu(x, negative_slope=negative_slope)


@graph_function
def relu6(x: Any) -> jax.Array:
    """``min(max(x, 0), 6)``. Source: Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10."""
    return jax.nn.relu6(_float(x))


@graph_function
def elu(x: Any, alpha: float = 1.0) -> jax.Array:
    """``x`` above zero, ``alpha (exp(x) - 1)`` below. Source: Clevert et al. 2016, arXiv:1511.07289."""
    return jax.nn.elu(_float(x), alpha)


@graph_function
def selu(x: Any) -> jax.Array:
    """``1.0507 elu(x, 1.6733)``, which keeps mean 0 and variance 1. Source: Klambauer et al. 2017, arXiv:1706.02515."""
    return jax.nn.selu(_float(x))


@graph_function
def gelu(x: Any, approximate: bool = False) -> jax.Array:
    """``x P(X <= x)`` for a standard normal X; ``approximate`` takes the tanh form. Source: arXiv:1606.08415."""
    return activation.gelu(_float(x), approximate)


@graph_function
def silu(x: Any) -> jax.Array:
    """``x sigmoid(x)``, also called swish. Source: Ramachandran et al. 2017, arXiv:1710.05941."""
    return jax.nn.silu(_float(x))


@graph_function
def celu(x: Any, alpha: float = 1.0) -> jax.Array:
    """``x`` above zero, ``alpha (exp(x / alpha) - 1)`` below. Source: Barron 2017, arXiv:1704.07483."""
    return jax.nn.celu(_float(x), alpha)


@graph_function
def glu(x: Any, axis: int = -1) -> jax.Array:
    """``a sigmoid(b)`` of the two halves a and b along an axis. Source: Dauphin et al. 2017, arXiv:1612.08083.

    Raises: ValueError for an axis of odd size.

    >>> glu([[3.0, 0.0]]).tolist()
    [[1.5]]
    """
    x = _float(x)
    if x.shape[axis] % 2:
        raise ValueError(f"glu halves axis {axis} of an input of shape {x.shape}: its size must be even")
    a, b = jnp.split(x, 2, axis)
    return a * jax.nn.sigmoid(b)


@graph_function
def mish(x: Any) -> jax.Array:
    """``x tanh(softplus(x))``. Source: Misra 2019, arXiv:1908.08681."""
    return jax.nn.mish(_float(x))


@graph_function
def softplus(x: Any, beta: float = 1.0, threshold: float | None = None) -> jax.Array:
    """``log(1 + exp(beta x)) / beta``, without overflow; ``x`` itself where ``beta x`` is above the threshold.

    >>> softplus(1000.0).item()
    1000.0
    """
    x = _float(x)
    y = jax.nn.softplus(x) if beta == 1.0 else jax.nn.softplus(beta * x) / beta
    return y if threshold is None else jnp.where(beta * x > threshold, x, y)


@graph_function
def squareplus(x: Any, b: float = 4) -> jax.Array:
    """``(x + sqrt(x^2 + b)) / 2``. Source: Barron 2021, arXiv:2112.11687.

    >>> squareplus(0.0).item()
    1.0
    """
    return jax.nn.squareplus(_float(x), b)


@graph_function
def sparse_plus(x: Any) -> jax.Array:
    """``0`` up to -1, ``(x + 1)^2 / 4`` up to 1, ``x`` above.

    >>> sparse_plus([-2.0, 0.0, 2.0]).tolist()
    [0.0, 0.25, 2.0]
    """
    return jax.nn.sparse_plus(_float(x))


@graph_function
def hard_shrink(x: Any, threshold: float = 0.5) -> jax.Array:
    """``x`` where ``|x|`` is above the threshold, else 0.

    >>> hard_shrink([-1.0, 0.2, 1.0]).tolist()
    [-1.0, 0.0, 1.0]
    """
    x = _float(x)
    return jnp.where(jnp.abs(x) > threshold, x, 0)


@graph_function
def soft_shrink(x: Any, threshold: float = 0.5) -> jax.Array:
    """``sign(x) max(|x| - threshold, 0)``.

    >>> soft_shrink([-1.0, 0.2, 1.0]).tolist()
    [-0.5, 0.0, 0.5]
    """
    x = _float(x)
    return jnp.where(x > threshold, x - threshold, jnp.where(x < -threshold, x + threshold, 0))


@graph_function
def tanh_shrink(x: Any) -> jax.Array:
    """``x - tanh(x)``."""
    x = _float(x)
    return x - jnp.tanh(x)


@graph_function
def threshold(x: Any, threshold: float, default_value: float) -> jax.Array:
    """``x`` above the threshold, ``default_value`` up to it.

    >>> threshold([0.5, 2.0], 1.0, -1.0).tolist()
    [-1.0, 2.0]
    """
    x = _float(x)
    return jnp.where(x > threshold, x, jnp.asarray(default_value, x.dtype))


@graph_function
def softsign(x: Any) -> jax.Array:
    """``x / (1 + |x|)``."""
    return jax.nn.soft_sign(_float(x))


@graph_function
def exponential(x: Any) -> jax.Array:
    """``exp(x)``."""
    return jnp.exp(_float(x))


@graph_function
def tanh(x: Any) -> jax.Array:
    """Hyperbolic tangent."""
    return jnp.tanh(_float(x))


@graph_function
def hard_tanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> jax.Array:
    """``min(max(x, min_val), max_val)``.

    >>> hard_tanh([-3.0, 0.5, 3.0]).tolist()
    [-1.0, 0.5, 1.0]
    """
    x = _float(x)
    return jnp.where(x > max_val, max_val, jnp.where(x < min_val, min_val, x)).astype(x.dtype)


@graph_function
def hard_sigmoid(x: Any) -> jax.Array:
    """``min(max(x / 6 + 1/2, 0), 1)``."""
    return jax.nn.hard_sigmoid(_float(x))


@graph_function
def sparse_sigmoid(x: Any) -> jax.Array:
    """``min(max((x + 1) / 2, 0), 1)``: the slope of sparse_plus. Source: Blondel et al. 2019, arXiv:1901.02324."""
    return jax.nn.sparse_sigmoid(_float(x))


@graph_function
def log_sigmoid(x: Any) -> jax.Array:
    """``log(1 / (1 + exp(-x)))``, without overflow.

    >>> log_sigmoid(-1000.0).item()
    -1000.0
    """
    return jax.nn.log_sigmoid(_float(x))


@graph_function
def hard_silu(x: Any) -> jax.Array:
    """``x hard_sigmoid(x)``, also called hard_swish. Source: Howard et al. 2019, arXiv:1905.02244."""
    return jax.nn.hard_silu(_float(x))


@graph_function
def sigmoid(x: Any) -> jax.Array:
    """``1 / (1 + exp(-x))``; within a call, the result carries its logits to the loss.

    >>> sigmoid([0.0]).tolist()
    [0.5]
    """
    x = _float(x)
    return _linked(jax.nn.sigmoid(x), x, "sigmoid")


@graph_function
def softmax(x: Any, axis: int = -1) -> jax.Array:
    """``exp(x) / sum(exp(x))`` along an axis; within a call, the result carries its logits to the loss.

    >>> softmax([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """
    x = _float(x)
    y = jax.nn.softmax(x, axis=axis)
    # Losses take the classes along the last axis, so only these logits can stand in for the probabilities.
    return _linked(y, x, "softmax") if axis in (-1, x.ndim - 1) else y


@graph_function
def log_softmax(x: Any, axis: int = -1) -> jax.Array:
    """``x - log(sum(exp(x)))`` along an axis."""
    return jax.nn.log_softmax(_float(x), axis=axis)


@graph_function
def softmin(x: Any, axis: int = -1) -> jax.Array:
    """``exp(-x) / sum(exp(-x))`` along an axis; within a call, the result carries its logits to the loss.

    >>> softmin([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """
    return softmax(-_float(x), axis)


@graph_function
def sparsemax(x: Any, axis: int = -1) -> jax.Array:
    """The point of the simplex nearest to ``x``: ``max(x - t, 0)``, with t such that it sums to 1 along an axis.

    Source: Martins and Astudillo 2016, arXiv:1602.02068.

    >>> sparsemax([[3.0, 2.5, -1.0]]).tolist()
    [[0.75, 0.25, 0.0]]
    """
    x = _float(x)
    # The support is found without gradient: t is the mean over it, and its slopes are those of a mean.
    z = jnp.moveaxis(jax.lax.stop_gradient(x), axis, -1)
    falling = -jnp.sort(-z, -1)
    count = jnp.arange(1, z.shape[-1] + 1, dtype=x.dtype)
    inside = 1 + count * falling > jnp.cumsum(falling, -1)
    lowest = jnp.where(inside, falling, jnp.inf).min(-1, keepdims=True)
    support = jnp.moveaxis(z >= lowest, -1, axis)
    t = (jnp.where(support, x, 0).sum(axis, keepdims=True) - 1) / support.sum(axis, keepdims=True).astype(x.dtype)
    return jnp.where(support, x - t, 0)


@graph_function
def prelu(x: Any, alpha: Any) -> jax.Array:
    """``x`` above zero, ``alpha x`` below, with an array of slopes that broadcasts. Source: He et al. 2015, arXiv:1502.01852.

    >>> prelu([-2.0, 2.0], 0.25).tolist()
    [-0.5, 2.0]
    """
    x = _float(x)
    return jnp.where(x > 0, x, alpha * x).astype(x.dtype)


NAMES = family(
    linear,
    relu,
    leaky_relu,
    relu6,
    elu,
    celu,
    selu,
    gelu,
    silu,
    glu,
    mish,
    softplus,
    squareplus,
    sparse_plus,
    softsign,
    exponential,
    tanh,
    hard_tanh,
    tanh_shrink,
    hard_shrink,
    soft_shrink,
    threshold,
    hard_sigmoid,
    hard_silu,
    sigmoid,
    sparse_sigmoid,
    log_sigmoid,
    softmax,
    log_softmax,
    softmin,
    sparsemax,
    swish=silu,
    hard_swish=hard_silu,
    identity=linear,
)

swish, hard_swish = silu, hard_silu


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Callable:
    """The function that a name stands for; None is linear, a function or layer is itself.

    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("swish").__name__, get(None).__name__
    ('silu', 'linear')
    """
    return linear if identifier is None else resolve("activation", identifier, NAMES, custom=custom)


def config(activation: Any) -> Any:
    """How an activation is written down: its name, or the config of an object.

    >>> config(relu), config(None)
    ('relu', 'linear')
    """
    if activation is None or isinstance(activation, str):
        return activation or "linear"
    return activation.config() if isinstance(activation, Configurable) else activation.__name__


def serialize(activation: Any) -> Any:
    """Keras's word for `config`.

    >>> serialize(relu)
    'relu'
    """
    return config(activation)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Callable:
    """Keras's word for `get`.

    >>> deserialize("relu") is relu
    True
    """
    return get(config, custom_objects)
