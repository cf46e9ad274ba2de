"""Normalisation between layers: over the batch, the features, groups of channels, neighbouring channels, and of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .. import initializers
from ..core import Module, annotate, annotation
from ..core.errors import unknown
from ..core.module import join
from ..kernels import normalization as kernels
from .base import Layer
from .check import axes, floating, fraction, inside, positive

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LocalResponseNormalization",
    "RMSNormalization",
    "SpectralNormalization",
    "UnitNormalization",
    "WeightNormalization",
]


class _Scaled(Layer):
    """What normalising layers share: a positive epsilon, and a scale and a bias for what comes out."""

    weight_options = {"gamma": "scale", "beta": "bias"}
    supports_masking = True

    def __init__(self, epsilon: float, center: bool, scale: bool, **options: Any) -> None:
        super().__init__(**options)
        if not epsilon > 0:
            raise ValueError(f"{type(self).__name__} needs epsilon above 0, got {epsilon!r}")
        self.epsilon, self.center, self.scale = float(epsilon), center, scale

    def _one_axis(self, axis: Any) -> int:
        if len(axes(self, axis)) > 1:
            raise ValueError(f"{type(self).__name__} takes one axis, that of the channels, got axis={axis!r}")
        return axes(self, axis)[0]

    def _finish(self, y: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """``y * scale + bias`` over (..., feature), as far as the layer has them; both have ``shape``."""
        if self.scale:
            y = y * self.param("scale", shape, "ones").reshape(-1)
        if self.center:
            y = y + self.param("bias", shape, "zeros").reshape(-1)
        return y.astype(dtype)


def _exact(dtype: Any) -> Any:
    """What statistics are computed in: float32, or float64 for inputs of that."""
    return jnp.promote_types(dtype, jnp.float32)


class BatchNormalization(_Scaled):
    """Each channel with mean 0 and variance 1 over the batch: ``y = scale (x - mean) / sqrt(variance + epsilon) + bias``.

    In training, mean and variance are those of the batch, and running averages are kept: ``mean <- momentum mean + (1 -
    momentum) batch mean``, the same for the variance (biased, as in Keras). Otherwise the running averages are used; so they
    are in a frozen layer (``trainable=False``). What a mask hides (that of the input, or ``mask`` in the call) does
    not count in the statistics of the batch.

    ``renorm`` corrects a small batch by slower averages of their own (``renorm_momentum``): ``y = (x - mean) / std * r + d``,
    ``r = std / renorm_std`` and ``d = (mean - renorm_mean) / renorm_std`` without gradient, kept within
    ``renorm_clipping={"rmin": ..., "rmax": ..., "dmax": ...}``. ``synchronized`` is accepted and changes nothing: a batch that
    is spread over several devices is one batch in one program here, so its statistics are always those of the whole.
    Shapes: (batch, ..., channel) -> the same; scale, bias, mean, var (channel).
    Raises: ValueError for an axis that the input lacks, for a mask that does not fit.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167; renorm: Ioffe 2017, arXiv:1702.03275.

    >>> import numpy as np
    >>> BatchNormalization().build(np.ones((4, 3)))(np.ones((4, 3))).shape
    (4, 3)
    """

    weight_options = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
    looks_once = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        renorm: bool = False,
        renorm_clipping: Mapping[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, **options)
        self.axis = self._one_axis(axis)
        self.synchronized = synchronized
        self.momentum = fraction(self, "momentum", momentum)
        self.renorm, self.renorm_momentum = renorm, fraction(self, "renorm_momentum", renorm_momentum)
        self.renorm_clipping = dict(renorm_clipping or {})
        for limit in self.renorm_clipping:
            if limit not in ("rmin", "rmax", "dmax"):
                raise unknown("limit in renorm_clipping of BatchNormalization", limit, ["rmin", "rmax", "dmax"])
        low, high, shift = (self.renorm_clipping.get(k) for k in ("rmin", "rmax", "dmax"))
        if (low is not None and high is not None and low > high) or (shift is not None and shift < 0):
            raise ValueError(
                f"BatchNormalization needs rmin up to rmax and dmax of 0 or more, got renorm_clipping={self.renorm_clipping}"
            )

    def forward(self, x: Any, mask: Any = None) -> jax.Array:
        mask, x = annotation(x, "mask") if mask is None else mask, floating(x)
        (axis,) = inside(self, (self.axis,), x.shape)
        moved = jnp.moveaxis(x, axis, -1)
        size = moved.shape[-1]
        rows = moved.reshape(-1, size).astype(_exact(x.dtype))
        mean, var = self.state("mean", (size,), "zeros"), self.state("var", (size,), "ones")
        slow = self._slow(size) if self.renorm else None
        if not (self.train and self.trainable):
            if (scaled := annotation(x, "scaled")) is not None and annotation(x, "only here") and axis == moved.ndim - 1:
                by = jax.lax.rsqrt(var + self.epsilon)  # in the pass of the convolution that x comes from
                by = by * self.param("scale", (size,), "ones") if self.scale else by
                return scaled(by, (self.param("bias", (size,), "zeros") if self.center else 0) - mean * by)
            y = (rows - mean) * jax.lax.rsqrt(var + self.epsilon)
        else:
            if mask is None and slow is None:
                return self._in_one_pass(rows, mean, var, moved.shape, axis, x.dtype)
            if mask is None:
                y, *found = kernels.standardize_columns(rows, self.epsilon)
            else:
                allowed = jnp.moveaxis(self._fitting(mask, x.shape), axis, -1).reshape(-1, size)
                y, *found = kernels.standardize_some(rows, allowed, self.epsilon)
            found = jax.lax.stop_gradient(found)
            if slow is None:
                self._keep(self.momentum, mean=(mean, found[0]), var=(var, found[1]))
            else:
                y = self._renormed(y, mean, slow, *found)
        return jnp.moveaxis(self._finish(y, (size,), x.dtype).reshape(moved.shape), -1, axis)

    def _in_one_pass(self, rows: jax.Array, mean: Any, var: Any, shape: tuple, axis: int, dtype: Any) -> jax.Array:
        """The usual case; a sum and a rectifier that follow may be done in the same pass, as the note on the output says."""
        scale = self.param("scale", (shape[-1],), "ones") if self.scale else None
        bias = self.param("bias", (shape[-1],), "zeros") if self.center else None
        scale, bias = (None if w is None else w.astype(rows.dtype) for w in (scale, bias))

        def whole(y: jax.Array) -> jax.Array:
            return jnp.moveaxis(y.reshape(shape).astype(dtype), -1, axis)

        def rectified(rest: Any = None) -> jax.Array:
            rest = None if rest is None else jnp.moveaxis(rest, axis, -1).reshape(rows.shape).astype(rows.dtype)
            return whole(kernels.normalize_columns(rows, scale, bias, self.epsilon, rest, rectify=True)[0])

        y, *found = kernels.normalize_columns(rows, scale, bias, self.epsilon)
        found = jax.lax.stop_gradient(found)
        self._keep(self.momentum, mean=(mean, found[0]), var=(var, found[1]))
        y = whole(y)
        if isinstance(y, jax.core.Tracer):  # what is traced and not used is never computed
            annotate(y, "rectified", rectified)
        return y

    def _keep(self, momentum: float, **averages: tuple[jax.Array, jax.Array]) -> None:
        for name, (old, new) in averages.items():
            self.set_state(name, old * momentum + new * (1 - momentum))

    def _fitting(self, mask: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        mask = jnp.asarray(mask, bool)
        if mask.ndim > len(shape) or any(m not in (1, n) for m, n in zip(mask.shape, shape, strict=False)):
            raise ValueError(
                f"BatchNormalization got a mask of shape {mask.shape} with an input of shape {shape}: a mask has the first "
                f"axes of its input, such as (batch, time)"
            )
        return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)

    def _slow(self, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The states that renorm adds: the running deviation for prediction, and mean and deviation to correct by."""
        first = {k: self.options.get(k, {}).get("initializer") for k in ("mean", "var")}
        start = first["var"] or initializers.get("ones")

        def deviation(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            return jnp.sqrt(start(key, shape, dtype))

        return (
            self.state("std", (size,), deviation),
            self.state("renorm_mean", (size,), first["mean"] or "zeros"),
            self.state("renorm_std", (size,), deviation),
        )

    def _renormed(self, y: jax.Array, mean: jax.Array, slow: tuple, batch_mean: jax.Array, batch_var: jax.Array) -> jax.Array:
        std, slow_mean, slow_std = slow
        batch_std = jnp.sqrt(batch_var + self.epsilon)
        by = jnp.maximum(slow_std, math.sqrt(self.epsilon))  # early in training the average may be near zero
        limits = self.renorm_clipping
        r = jnp.clip(batch_std / by, limits.get("rmin"), limits.get("rmax"))
        shift = limits.get("dmax")
        d = jnp.clip((batch_mean - slow_mean) / by, None if shift is None else -shift, shift)
        self._keep(self.renorm_momentum, renorm_mean=(slow_mean, batch_mean), renorm_std=(slow_std, batch_std))
        self._keep(self.momentum, mean=(mean, batch_mean), std=(std, batch_std))
        new = std * self.momentum + batch_std * (1 - self.momentum)
        self.set_state("var", jnp.maximum(new * new - self.epsilon, 0))
        return y * r + d


class LayerNormalization(_Scaled):
    """Each example's features with mean 0 and variance 1: ``y = scale (x - mean) / sqrt(variance + epsilon) + bias``.

    ``axis`` names the axes that are normalised together, the last by default; scale and bias have their shape.
    ``rms_scaling`` is Keras's deprecated option: ``y = scale x / sqrt(variance + epsilon)``; see RMSNormalization.
    Source: Ba et al. 2016, arXiv:1607.06450.

    >>> import numpy as np
    >>> LayerNormalization().build(np.ones((4, 3)))(np.ones((4, 3))).shape
    (4, 3)
    """

    def __init__(
        self,
        axis: int | tuple[int, ...] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        *,
        rms_scaling: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(epsilon, center and not rms_scaling, scale or rms_scaling, **options)
        self.axis, self.rms_scaling = axes(self, axis), rms_scaling

    def forward(self, x: Any) -> jax.Array:
        def normal(rows: jax.Array, scale: Any, bias: Any) -> jax.Array:
            if self.rms_scaling:
                return kernels.finish(rows * jax.lax.rsqrt(rows.var(-1, keepdims=True) + self.epsilon), scale, bias)
            return kernels.normalize_rows(rows, scale, bias, self.epsilon)

        return _by_rows(self, floating(x), normal)


def _by_rows(layer: Any, x: jax.Array, normal: Any) -> jax.Array:
    """Normalise over ``layer.axis`` together: as rows of those axes, then scale and bias of their shape."""
    together = inside(layer, layer.axis, x.shape)
    last = list(range(x.ndim - len(together), x.ndim))
    moved = jnp.moveaxis(x, together, last)
    shape = moved.shape[x.ndim - len(together) :]
    rows = moved.reshape(-1, math.prod(shape)).astype(_exact(x.dtype))
    scale = layer.param("scale", shape, "ones").reshape(-1).astype(rows.dtype) if layer.scale else None
    bias = layer.param("bias", shape, "zeros").reshape(-1).astype(rows.dtype) if layer.center else None
    return jnp.moveaxis(normal(rows, scale, bias).astype(x.dtype).reshape(moved.shape), last, together)


class RMSNormalization(_Scaled):
    """Features with mean square 1: ``y = scale x / sqrt(mean(x^2) + epsilon)``, over the axes that ``axis`` names.

    Shapes: any -> the same; scale has the shape of those axes.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> import numpy as np
    >>> RMSNormalization().build(np.ones((1, 2)))(np.array([[3.0, 3.0]])).round(3).tolist()
    [[1.0, 1.0]]
    """

    weight_options = {"scale": "scale"}

    def __init__(self, axis: int | tuple[int, ...] = -1, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(epsilon, False, True, **options)
        self.axis = axes(self, axis)

    def forward(self, x: Any) -> jax.Array:
        return _by_rows(
            self, floating(x), lambda rows, scale, _: kernels.normalize_rows(rows, scale, None, self.epsilon, centre=False)
        )


class UnitNormalization(Layer):
    """Each example's features as a vector of length 1: ``y = x / |x|``, over the axes that ``axis`` names; zeros stay zeros.

    >>> import numpy as np
    >>> UnitNormalization()(np.array([[3.0, 4.0]])).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """

    supports_masking = True

    def __init__(self, axis: int | tuple[int, ...] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axes(self, axis)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        over = tuple(inside(self, self.axis, x.shape))
        return kernels.unit_length(x.astype(_exact(x.dtype)), over).astype(x.dtype)


class GroupNormalization(_Scaled):
    """Each group of channels of an example with mean 0 and variance 1, over all places: then ``scale`` and ``bias``.

    Args: ``groups`` of neighbouring channels, which must divide them (-1: each channel is its own group); ``axis`` of the
    channels.
    Shapes: (batch, ..., channel) -> the same; scale and bias (channel).
    Raises: ValueError for channels that do not divide by ``groups``.
    Source: Wu and He 2018, arXiv:1803.08494.

    >>> import numpy as np
    >>> GroupNormalization(2).build(np.ones((1, 5, 5, 4)))(np.ones((1, 5, 5, 4))).shape
    (1, 5, 5, 4)
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, **options)
        self.groups = groups if groups == -1 else positive(self, "groups", groups)
        self.axis = self._one_axis(axis)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        (axis,) = inside(self, (self.axis,), x.shape)
        if axis == 0:
            raise ValueError(f"{type(self).__name__} takes the channels from an axis after the batch, got axis={self.axis}")
        moved = jnp.moveaxis(x, axis, -1)
        size = moved.shape[-1]
        groups = size if self.groups == -1 else self.groups
        if size % groups:
            raise ValueError(
                f"{type(self).__name__}(groups={groups}) needs channels that divide by it, the input of shape {x.shape} has "
                f"{size}: choose groups that divide {size}"
            )
        flat = moved.reshape(moved.shape[0], math.prod(moved.shape[1:-1]), size)
        y = kernels.standardize_groups(flat.astype(_exact(x.dtype)), groups, self.epsilon)
        return jnp.moveaxis(self._finish(y, (size,), x.dtype).reshape(moved.shape), -1, axis)


class InstanceNormalization(GroupNormalization):
    """Each channel of each example with mean 0 and variance 1 over all places: ``y = (x - mean) / sqrt(variance + epsilon)``.

    One layer for sequences, pictures and volumes. Keras has none, so the defaults are PyTorch's (InstanceNorm1d/2d/3d):
    no scale and bias unless ``scale=True`` and ``center=True`` (its ``affine=True``). Running statistics are not kept.
    Shapes: (batch, ..., channel) -> the same; scale and bias (channel).
    Source: Ulyanov et al. 2016, arXiv:1607.08022.

    >>> import numpy as np
    >>> InstanceNormalization()(np.ones((1, 5, 5, 3))).shape
    (1, 5, 5, 3)
    """

    def __init__(
        self, axis: int = -1, epsilon: float = 1e-5, center: bool = False, scale: bool = False, **options: Any
    ) -> None:
        super().__init__(-1, axis, epsilon, center, scale, **options)


class LocalResponseNormalization(Layer):
    """Each value damped by the squares around it: ``y = x / (k + alpha mean(x^2 of size neighbouring channels))^beta``.

    The neighbours are ``size // 2`` channels before and ``(size - 1) // 2`` after; beyond the ends stand zeros, which count in
    the mean. Arguments and defaults are PyTorch's LocalResponseNorm.
    Source: Krizhevsky et al. 2012, NeurIPS 25.

    >>> import numpy as np
    >>> LocalResponseNormalization(2, alpha=2.0, beta=1.0, k=0.0)(np.ones((1, 1, 2))).tolist()
    [[[1.0, 0.5]]]
    """

    supports_masking = True

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.size = positive(self, "size", size)
        self.alpha, self.beta, self.k = float(alpha), float(beta), float(k)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        wide = x.astype(_exact(x.dtype))
        around = kernels.neighbour_sums(wide * wide, self.size) / self.size
        return (wide / (self.k + self.alpha * around) ** self.beta).astype(x.dtype)


class _OtherWeight(Layer):
    """A wrapper whose layer computes with another value for one of its weights, which ``_other`` makes of the true one.

    The inner layer is told nothing: for the length of its call, the array under its weight's path is another one, and
    gradients reach the true one through what made it.
    """

    def __init__(self, layer: Any, weight: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, Module):
            raise ValueError(f"{type(self).__name__} wraps a layer, such as layers.Dense(4), got {layer!r}")
        self.layer, self.weight = layer, weight

    def _other(self, value: jax.Array) -> jax.Array:
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        call = self._inside("forward")
        if call.building is not None:
            y = self.layer(*args, **kwargs)
            declared = call.building[self._path(call.building)]
            self._other(jnp.zeros(declared.shape, declared.dtype))
            return y
        before = call.params
        if before:  # without weights, the layer itself says what to do
            path = self._path(before)
            call.params = {**before, path: self._other(before[path])}
        try:
            return self.layer(*args, **kwargs)
        finally:
            call.params = before

    def _path(self, known: Mapping[str, Any]) -> str:
        home = self._inside("forward").path(self.layer)
        for name in ("kernel", "table") if self.weight is None else (self.weight,):
            if join(home, name) in known:
                return join(home, name)
        inner = [path.removeprefix(home + ".") for path in known if path.startswith(home + ".")]
        raise ValueError(
            f"{type(self).__name__} finds no {self.weight or 'kernel or table'} in {type(self.layer).__name__}, whose weights "
            f"are {', '.join(inner) or 'none'}: wrap the layer that has it, or say weight='its name'"
        )


class SpectralNormalization(_OtherWeight):
    """A layer with its kernel (or table) divided by its largest singular value: ``y = layer(x; kernel / sigma)``.

    In training, ``power_iterations`` steps from the state ``u`` estimate sigma, which is kept; otherwise the kept one is used
    (1 before any training, as in Keras). A kernel of more than two axes counts as the matrix (all others, last axis).
    ``weight`` names another weight of the layer. A regularizer or constraint of the kernel sees it undivided.
    Source: Miyato et al. 2018, arXiv:1802.05957.

    >>> import numpy as np
    >>> from cenote.layers import Dense
    >>> SpectralNormalization(Dense(4)).build(np.ones((2, 3)))(np.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(self, layer: Any, power_iterations: int = 1, weight: str | None = None, **options: Any) -> None:
        super().__init__(layer, weight, **options)
        self.power_iterations = positive(self, "power_iterations", power_iterations)

    def _other(self, value: jax.Array) -> jax.Array:
        u = self.state("u", (1, value.shape[-1]), initializers.TruncatedNormal(stddev=0.02))
        sigma = self.state("sigma", (), "ones")
        if self.train:
            found, new = kernels.largest_singular(value.reshape(-1, value.shape[-1]), u, self.power_iterations)
            some = jnp.any(value != 0)  # of a kernel of zeros nothing can be learned
            sigma = jnp.where(some, found, 1)
            self.set_state("u", jax.lax.stop_gradient(jnp.where(some, new, u)))
            self.set_state("sigma", jax.lax.stop_gradient(sigma))
        return (value / sigma).astype(value.dtype)


class WeightNormalization(_OtherWeight):
    """A layer with the length of its kernel learned apart from its direction: ``y = layer(x; g v / |v|)``.

    v is the layer's own kernel (or table, or what ``weight`` names); g is a weight of the wrapper with one length for each
    index of ``axis`` (the outputs; None: one length for all). Around a layer that has weights, g starts as their lengths, and
    the layer computes what it did; otherwise as the lengths of another draw of the kernel, so that ``g v / |v|`` starts as the
    layer's initializer says. A regularizer or constraint of the kernel sees v.
    Source: Salimans and Kingma 2016, arXiv:1602.07868.

    >>> import numpy as np
    >>> from cenote.layers import Dense
    >>> WeightNormalization(Dense(4)).build(np.ones((2, 3)))(np.ones((2, 3))).shape
    (2, 4)
    """

    weight_options = {"g": "g"}

    def __init__(self, layer: Any, weight: str | None = None, axis: int | None = -1, **options: Any) -> None:
        super().__init__(layer, weight, **options)
        self.axis = None if axis is None else axes(self, axis)[0]

    def _other(self, value: jax.Array) -> jax.Array:
        kept = () if self.axis is None else tuple(inside(self, (self.axis,), value.shape))
        over = tuple(a for a in range(value.ndim) if a not in kept)
        squares = (value * value).sum(over, keepdims=True)
        lengths = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        g = self.param("g", tuple(value.shape[a] for a in kept), self._lengths(over))
        return jnp.where(squares > 0, value * (g.reshape(lengths.shape) / lengths), value).astype(value.dtype)

    def _lengths(self, over: tuple[int, ...]) -> Any:
        """The initializer of g."""
        call = self._inside("forward")
        if call.building is None:
            return "ones"  # asked for only when building
        path = self._path(call.building)
        declared, held = call.building[path], self.layer._arrays.get(path.rpartition(".")[2])
        wrapped_now = "g" not in self._weights and held is not None and held.shape == declared.shape

        def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            kernel = held if wrapped_now else declared.init(key, declared.shape, declared.dtype)
            return jnp.sqrt(jnp.square(jnp.asarray(kernel, dtype)).sum(over)).reshape(shape)

        return draw
