"""Flax models as layers: Linen modules, whose weights come from the first input, and NNX modules, which hold them."""

from __future__ import annotations

import inspect
from typing import Any

import jax

from .functions import FunctionLayer, require


class FlaxLayer(FunctionLayer):
    """A Flax Linen module as a layer: its ``params`` are weights, its other collections (``batch_stats``) are state.

    In training the module is called with ``train=True`` (or ``training=True``, ``deterministic=False``,
    ``use_running_average=False``, whichever its ``__call__`` takes) and with a ``dropout`` key.
    Raises: ImportError naming the extra where Flax is not installed.
    """

    def __init__(self, module: Any) -> None:
        require("flax", "flax")
        self.module = module
        self._flag = _training_flag(type(module).__call__)

    def _mode(self, train: bool) -> dict[str, bool]:
        return {} if self._flag is None else {self._flag[0]: train is self._flag[1]}

    def start(self, key: Any, *inputs: Any) -> tuple[Any, Any]:
        first, second = jax.random.split(key)
        variables = self.module.init({"params": first, "dropout": second}, *inputs, **self._mode(False))
        return variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}

    def run(self, params: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        random = self._inside("forward").key is not None
        rngs = {"dropout": self.next_key()} if random else None
        options = {**self._mode(self.train), "rngs": rngs}
        if self.train and state:
            return self.module.apply({"params": params, **state}, *inputs, mutable=list(state), **options)
        return self.module.apply({"params": params, **state}, *inputs, **options), state


class NNXLayer(FunctionLayer):
    """A Flax NNX module as a layer: its ``Param`` variables are weights, its other arrays (batch statistics) state.

    The module's own values are the start values. In training it is called in the mode of ``module.train()``, with keys of
    the run for its dropout, otherwise in that of ``module.eval()``. The module that was passed in is not changed.
    Raises: ImportError naming the extra where Flax is not installed.
    """

    def __init__(self, module: Any) -> None:
        nnx = self._nnx = require("flax.nnx", "flax")
        self.module = module
        # Taken apart once, outside of any trace: NNX forbids touching a module from within another one.
        self._graph, params, self._random, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
        self._params, self._others = _Flat(params), _Flat(others)

    def start(self, key: Any, *inputs: Any) -> tuple[Any, Any]:
        return self._params.values, self._others.values

    def run(self, params: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        nnx = self._nnx
        module = nnx.merge(self._graph, self._params.tree(params), self._random, self._others.tree(state), copy=True)
        if self.train:
            module.train()
            if self._inside("forward").key is not None:
                nnx.reseed(module, default=self.next_key())
        else:
            module.eval()
        y = module(*inputs)
        after = nnx.split(module, nnx.Param, nnx.RngState, ...)[3]
        return y, _Flat(after).values if self.train else state


class _Flat:
    """A tree of NNX state as a flat dict of arrays by dotted path, and back."""

    def __init__(self, state: Any) -> None:
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(state)
        paths = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
        self.values = {p.removesuffix(".value").removesuffix(".raw_value"): v for p, (_, v) in zip(paths, leaves, strict=True)}

    def tree(self, values: dict[str, Any]) -> Any:
        return jax.tree.unflatten(self._structure, [values[name] for name in self.values])


def _training_flag(call: Any) -> tuple[str, bool] | None:
    """The argument by which a module is told that it trains, and the value that says so."""
    names = inspect.signature(call).parameters
    for name, value in (("train", True), ("training", True), ("deterministic", False), ("use_running_average", False)):
        if name in names:
            return name, value
    return None
