"""Flax models as layers: Linen modules, whose weights come from the first input, and NNX modules, which hold them."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from .functions import FunctionLayer, name_of, require, training_flag


class FlaxLayer(FunctionLayer):
    """A Flax Linen module as a layer: its ``params`` are weights, its other collections (``batch_stats``) are state.

    In training the module is called with ``train=True`` (or ``training=True``, ``is_training=True``, ``deterministic=False``,
    ``use_running_average=False``, whichever its ``__call__`` takes), and its streams of random numbers come from the call's
    key. What the module sows is not kept.
    Raises: ImportError naming the extra where Flax is not installed.

    >>> import flax.linen as nn, numpy as np
    >>> layer = FlaxLayer(nn.Dense(4)).build(np.ones((2, 3)))
    >>> layer(np.ones((2, 3))).shape, list(layer._weights)
    ((2, 4), ['bias', 'kernel'])
    """

    def __init__(self, module: Any, *, name: str | None = None) -> None:
        require("flax", "flax")
        self.module, self.name = module, name
        self._flag = training_flag(type(module).__call__)

    def start(self, key: Any, *inputs: Any) -> tuple[Any, Any]:
        # Every stream that is not named here draws from that of the params.
        evaluating = {} if self._flag is None else {self._flag[0]: not self._flag[1]}
        variables = self.module.init({"params": key}, *inputs, **evaluating)
        others = {k: v for k, v in variables.items() if k != "params"}
        return variables.get("params", {}), {k: v for k, v in others.items() if not _sown(v)}

    def run(self, params: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        rngs = {"params": self.next_key()} if self._inside("forward").key is not None else None
        variables, options = {"params": params, **state}, {**self._mode(), "rngs": rngs}
        if self.train and state:
            return self.module.apply(variables, *inputs, mutable=list(state), **options)
        return self.module.apply(variables, *inputs, **options), state


def _sown(collection: Any) -> bool:
    """Whether a collection holds what ``sow`` put there: it appends to tuples, so that its form is not the same twice."""
    return any(isinstance(leaf, tuple) for leaf in jax.tree.leaves(collection, is_leaf=lambda v: isinstance(v, tuple)))


class NNXLayer(FunctionLayer):
    """A Flax NNX module as a layer: its ``Param`` variables are weights, its other arrays (batch statistics) state.

    The module's own values are the start values. In training it is called in the mode of ``module.train()``, otherwise in
    that of ``module.eval()``; its streams of random numbers start anew from the call's key. The module that was passed in
    is not changed.
    Raises: ImportError naming the extra where Flax is not installed.

    >>> from flax import nnx
    >>> import numpy as np
    >>> layer = NNXLayer(nnx.Linear(3, 4, rngs=nnx.Rngs(0))).build(np.ones((2, 3)))
    >>> layer(np.ones((2, 3))).shape, list(layer._weights)
    ((2, 4), ['bias', 'kernel'])
    """

    _holds_values = True

    def __init__(self, module: Any, *, name: str | None = None) -> None:
        nnx = self._nnx = require("flax.nnx", "flax")
        self.module, self.name = module, name
        self._flag = training_flag(type(module).__call__)
        self._takes_rngs = "rngs" in inspect.signature(type(module).__call__).parameters
        # Taken apart once, outside of any trace: NNX forbids touching a module from within another one.
        self._graph, params, self._random, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
        self._params, self._others = _Flat(params), _Flat(others)

    def start(self, key: Any, *inputs: Any) -> tuple[Any, Any]:
        return self._params.values, self._others.values

    def run(self, params: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        nnx = self._nnx
        random = bool(jax.tree.leaves(self._random)) or self._takes_rngs
        # Without a key, training says what is missing; the fixed streams would draw the same in every step.
        key = self.next_key() if random and (self.train or self._inside("forward").key is not None) else None
        streams = self._random if key is None else _reseeded(self._random, key)
        module = nnx.merge(self._graph, self._params.tree(params), streams, self._others.tree(state), copy=True)
        module.train() if self.train else module.eval()
        rngs = {} if key is None or not self._takes_rngs else {"rngs": nnx.Rngs(jax.random.fold_in(key, 0))}
        y = module(*inputs, **rngs, **self._mode())
        if not self.train:
            return y, state
        after = _Flat(nnx.split(module, nnx.Param, nnx.RngState, ...)[3]).values
        return y, {name: after[name] for name in state}  # what the module keeps of this call beside that is not state


def _reseeded(streams: Any, key: Any) -> Any:
    """Every stream with a key of its own from ``key``, its count at zero; a stream per copy keeps its shape."""
    leaves, structure = jax.tree.flatten(streams)

    def one(number: int, leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros_like(leaf)
        own = jax.random.fold_in(key, number + 1)
        return jax.random.split(own, leaf.shape) if leaf.shape else own

    return structure.unflatten(one(i, leaf) for i, leaf in enumerate(leaves))


class _Flat:
    """A tree of NNX state as a flat dict of arrays by dotted path, and back."""

    def __init__(self, state: Any) -> None:
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(state)
        paths = [name_of(path) for path, _ in leaves]
        self.values = {p.removesuffix(".value").removesuffix(".raw_value"): v for p, (_, v) in zip(paths, leaves, strict=True)}

    def tree(self, values: dict[str, Any]) -> Any:
        return jax.tree.unflatten(self._structure, [values[name] for name in self.values])
