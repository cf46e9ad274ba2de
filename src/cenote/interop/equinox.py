"""Equinox modules as layers."""

from __future__ import annotations

from typing import Any

import jax

from .functions import FunctionLayer, require


class EquinoxLayer(FunctionLayer):
    """An Equinox module as a layer: its floating-point arrays are weights, and their values the start values.

    Equinox modules take one example; they are mapped over the batch unless ``batched=True`` says that the module takes a whole
    batch. A module whose ``__call__`` takes ``key`` gets one per example in training; ``inference`` flags follow the mode of
    the call. A module with ``eqx.nn.State`` (BatchNorm) is not supported: use Cenote's own layer there.
    Raises: ImportError naming the extra where Equinox is not installed; TypeError for a module that asks for a State.
    """

    def __init__(self, module: Any, *, batched: bool = False) -> None:
        self._equinox = require("equinox", "equinox")
        self.module, self.batched = module, batched
        stateful = [type(m).__name__ for m in _parts(module) if isinstance(m, self._equinox.nn.StateIndex)]
        if stateful:
            raise TypeError(
                f"{type(module).__name__} keeps an equinox.nn.State, which this adapter does not carry: use cenote.layers for "
                f"layers with state, such as BatchNormalization"
            )

    def start(self, key: Any, *inputs: Any) -> tuple[Any, Any]:
        arrays = self._equinox.filter(self.module, self._equinox.is_inexact_array)
        return {_path(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(arrays)}, {}

    def run(self, params: Any, state: Any, *inputs: Any) -> tuple[Any, Any]:
        eqx = self._equinox
        arrays, rest = eqx.partition(self.module, eqx.is_inexact_array)
        arrays = jax.tree_util.tree_map_with_path(lambda path, leaf: params[_path(path)], arrays)
        module = eqx.nn.inference_mode(eqx.combine(arrays, rest), value=not self.train)
        random = self.train and self._inside("forward").key is not None and _takes_key(module)
        if self.batched:
            return module(*inputs, **({"key": self.next_key()} if random else {})), state
        if not random:
            return jax.vmap(module)(*inputs), state
        keys = jax.random.split(self.next_key(), inputs[0].shape[0])
        return jax.vmap(lambda key, *given: module(*given, key=key))(keys, *inputs), state


def _parts(module: Any) -> list[Any]:
    """A module and everything in it, arrays left out."""
    found: list[Any] = []

    def visit(value: Any) -> bool:
        found.append(value)
        return False

    jax.tree.leaves(module, is_leaf=visit)
    return found


def _takes_key(module: Any) -> bool:
    import inspect

    return "key" in inspect.signature(type(module).__call__).parameters


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
