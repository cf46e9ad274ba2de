"""Operations that are stated by simpler ones, and C++ kernels by the plain functions that they stand for."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...kernels import recurrence
from .control import restated
from .interpreter import Back, Rule, Site, depends
from .local import elementwise, refused, weighted


def divide(site: Site) -> tuple[list, Back]:
    """``x / y`` is ``x`` times the reciprocal of ``y``."""
    if not depends(site.ins[1]):
        return weighted(site)
    return restated(site, lambda x, y: x * lax.integer_pow(y, -1))


def magnitude(site: Site) -> tuple[list, Back]:
    """``|x|``; of complex numbers, the root of the sum of two squares."""
    if not jnp.issubdtype(site.ins[0][0].dtype, jnp.complexfloating):
        return elementwise(site)
    return restated(site, lambda z: lax.sqrt(lax.square(lax.real(z)) + lax.square(lax.imag(z))))


def sort(site: Site) -> tuple[list, Back]:
    """A network of smaller and larger ones of two, each with the rule of a maximum: Batcher's odd-even merging.

    Source: Batcher 1968, "Sorting networks and their applications".
    """
    if len(site.ins) > 1:
        return refused(site, "of several arrays by one of them")
    axis = site.params["dimension"]
    return restated(site, lambda x: [jnp.moveaxis(_network(jnp.moveaxis(x, axis, -1)), -1, axis)])


def _network(x: jax.Array) -> jax.Array:
    n = x.shape[-1]
    size = 1 << max(n - 1, 0).bit_length()
    high = jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).max
    x = jnp.concatenate([x, jnp.full((*x.shape[:-1], size - n), high, x.dtype)], -1)
    for low, up in _stages(size):
        a, b = x[..., low], x[..., up]
        rest = np.setdiff1d(np.arange(size), np.concatenate([low, up]))
        back = np.argsort(np.concatenate([low, up, rest]))
        x = jnp.concatenate([jnp.minimum(a, b), jnp.maximum(a, b), x[..., rest]], -1)[..., back]
    return x[..., :n]


def _stages(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which places are compared with which, stage by stage, for a power of two."""
    stages, p = [], 1
    while p < size:
        k = p
        while k >= 1:
            pairs = [
                (i + j, i + j + k)
                for j in range(k % p, size - k, 2 * k)
                for i in range(min(k, size - j - k))
                if (i + j) // (2 * p) == (i + j + k) // (2 * p)
            ]
            stages.append(tuple(np.array(pairs).T))
            k //= 2
        p *= 2
    return stages


def top_k(site: Site) -> tuple[list, Back]:
    """The largest of all, sorted; their places may not be used."""
    count = site.params["k"]
    axis = site.params.get("axis", -1) % site.ins[0][0].ndim
    places = [tuple(site.bind([v])[1] for v in site.ins[0])]

    def values(x: jax.Array) -> list:
        return [jnp.moveaxis(jnp.flip(jnp.sort(jnp.moveaxis(x, axis, -1)), -1)[..., :count], -1, axis)]

    outs, way = restated(site, values)

    def back(multipliers: list) -> list:
        if multipliers[1] is not None:
            refused(site, "whose places are used")[1](multipliers)
        return list(way(multipliers[:1]))

    return [*outs, *places], back


def _window(combine: Callable, start: Callable) -> Callable:
    def function(x: jax.Array, *, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
                 window_dilation: Any, **_: Any) -> jax.Array:  # fmt: skip
        config = [(*p, d - 1) for p, d in zip(padding, base_dilation, strict=True)]
        x = lax.pad(x, jnp.asarray(start(x.dtype), x.dtype), config)
        sizes = zip(x.shape, window_dimensions, window_dilation, window_strides, strict=True)
        reach = [(n - (k - 1) * d - 1) // s * s + 1 for n, k, d, s in sizes]
        parts = []
        for place in itertools.product(*map(range, window_dimensions)):
            low = [p * d for p, d in zip(place, window_dilation, strict=True)]
            parts.append(lax.slice(x, low, [a + r for a, r in zip(low, reach, strict=True)], window_strides))
        return functools.reduce(combine, parts)

    return function


def _limit(largest: bool) -> Callable[[Any], Any]:
    def of(dtype: Any) -> Any:
        whole = jnp.issubdtype(dtype, jnp.integer)
        if whole:
            return jnp.iinfo(dtype).max if largest else jnp.iinfo(dtype).min
        return np.inf if largest else -np.inf

    return of


def _running(combine: Callable) -> Callable:
    return lambda x, *, axis, reverse: lax.associative_scan(combine, x, reverse=reverse, axis=axis)


def _product(x: jax.Array, *, axes: Any, **_: Any) -> jax.Array:
    kept = [a for a in range(x.ndim) if a not in axes]
    x = x.transpose(*kept, *axes).reshape(*(x.shape[a] for a in kept), -1)
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = jnp.concatenate([x[..., :half] * x[..., half : 2 * half], x[..., 2 * half :]], -1)
    return x[..., 0]


def _any(x: jax.Array, *, axes: Any, **_: Any) -> jax.Array:
    return x.astype(jnp.float32).max(axes) > 0


def _all(x: jax.Array, *, axes: Any, **_: Any) -> jax.Array:
    return x.astype(jnp.float32).min(axes) > 0


PLAIN: dict[str, Callable] = {  # (operands, parameters of the operation) -> what it gives
    "min": lambda a, b: -jnp.maximum(-a, -b),
    "clamp": lambda low, x, high: jnp.minimum(jnp.maximum(x, low), high),
    "reduce_min": lambda x, *, axes, **_: -jnp.max(-x, axes),
    "reduce_prod": _product,
    "reduce_or": _any,
    "reduce_and": _all,
    "reduce_window_max": _window(jnp.maximum, _limit(False)),
    "reduce_window_min": _window(jnp.minimum, _limit(True)),
    "cummax": _running(jnp.maximum),
    "cummin": _running(jnp.minimum),
    "cumprod": _running(jnp.multiply),
    "cumlogsumexp": _running(jnp.logaddexp),
}

KERNELS: dict[str, Callable] = {  # C++ kernels, by what they are called
    "cenote_lstm_forward": recurrence.lstm_arrays,
    "cenote_gru_forward": recurrence.gru_arrays,
}


def plain(site: Site) -> tuple[list, Back]:
    function, params = PLAIN[site.name], site.params
    return restated(site, lambda *operands: function(*operands, **params))


def kernel(site: Site) -> tuple[list, Back]:
    name = site.params["target_name"]
    if name not in KERNELS:
        return refused(site, f"that calls '{name}'")

    (states, *_, gates), time = (v.aval.shape for v in site.eqn.outvars), site.eqn.invars[0].aval.shape[1]

    def function(*arrays: Any) -> Any:
        *rest, mask = (a if a.size else None for a in arrays)  # what is not there comes as an empty array
        asked = {"keep": 0 not in gates, "last": states[1] < time}
        return KERNELS[name](*rest, None if mask is None else mask > 0, **asked)

    return restated(site, function)


def table() -> dict[str, Rule]:
    """The rules of this module by primitive."""
    own: dict[str, Rule] = {"div": divide, "abs": magnitude, "sort": sort, "top_k": top_k, "ffi_call": kernel}
    return own | dict.fromkeys(PLAIN, plain)
