"""Equinox modules as layers."""

from __future__ import annotations

import inspect
from typing import Any

import jax

from .functions import FunctionLayer, name_of, require


class EquinoxLayer(FunctionLayer):
    """An Equinox module as a layer: its floating-point arrays are weights, and their values the start values.

    Equinox modules take one example; they are mapped over the batch unless ``batched=True`` says that the module takes a whole
    batch. A module whose ``__call__`` takes ``key`` gets one per example in training; ``inference`` flags follow the mode of
    the call. A module with state (BatchNorm) comes with it: ``EquinoxLayer(*eqx.nn.make_with_state(Net)(...))``, is called as
    ``module(x, state)``, and its state becomes the layer's.
    Raises: ImportError naming the extra where Equinox is not installed; TypeError for a module that lacks its state.

    >>> import equinox as eqx, numpy as np
    >>> layer = EquinoxLayer(eqx.nn.Linear(3, 4, key=jax.random.key(0))).build(np.ones((2, 3)))
    >>> layer(np.ones((2, 3))).shape, sorted(layer._weights)
    ((2, 4), ['bias', 'weight'])
    """

    _holds_values = True

    def __init__(self, module: Any, state: Any = None, *, batched: bool = False, name: str | None = None) -> None:
        eqx = self._equinox = require("equinox", "equinox")
        self.module, self.batched, self.name = module, batched, name
        parts = _parts(module)
        if state is None and any(isinstance(part, eqx.nn.StateIndex) for part in parts):
            raise TypeError(
                f"{type(module).__name__} keeps an equinox.nn.State, which has to come with it: "
                f"module, state = eqx.nn.make_with_state({type(module).__name__})(...), then EquinoxLayer(module, state)"
            )
        self._initial = state
        names = {part.axis_name for part in parts if isinstance(part, eqx.nn.BatchNorm)}
        if len(names) > 1 or any(not isinstance(name, str) for name in names):
            raise TypeError(f"the batch has one name, but the BatchNorm layers of {type(module).__name__} know it as {names}")
        self._axis = next(iter(names), None)

    def start(self, key: Any, *inputs: Any) -> tuple[Any, Any]:
        arrays = self._equinox.filter(self.module, self._equinox.is_inexact_array)
        params = {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}
        return params, {} if self._initial is None else {"state": dict(enumerate(jax.tree.leaves(self._initial)))}

    def run(self, params: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        eqx = self._equinox
        arrays, rest = eqx.partition(self.module, eqx.is_inexact_array)
        arrays = jax.tree_util.tree_map_with_path(lambda path, leaf: params[name_of(path)], arrays)
        module = eqx.nn.inference_mode(eqx.combine(arrays, rest), value=not self.train)
        key = self.next_key() if self.train and self._inside("forward").key is not None and _takes_key(module) else None
        keeps = () if self._initial is None else (jax.tree.structure(self._initial).unflatten(state["state"].values()),)

        def call(key: Any, *inputs: Any) -> Any:
            return module(*inputs, *keeps, **({} if key is None else {"key": key}))

        if self.batched:
            answer = call(key, *inputs)
        else:
            keys = None if key is None else jax.random.split(key, inputs[0].shape[0])
            outputs = 0 if not keeps else (0, None)  # the state is that of the whole batch
            answer = jax.vmap(call, (None if key is None else 0, *[0] * len(inputs)), outputs, axis_name=self._axis)(
                keys, *inputs
            )
        if not keeps:
            return answer, state
        y, after = answer
        return y, {"state": dict(enumerate(jax.tree.leaves(after)))} if self.train else state


def _parts(module: Any) -> list[Any]:
    """A module and everything in it, arrays left out."""
    found: list[Any] = []

    def visit(value: Any) -> bool:
        found.append(value)
        return False

    jax.tree.leaves(module, is_leaf=visit)
    return found


def _takes_key(module: Any) -> bool:
    return "key" in inspect.signature(type(module).__call__).parameters
