"""Any pair of pure functions as a layer; the other adapters stand on it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Module

Trees = tuple[Any, Any]


class FunctionLayer(Module):
    """A layer from ``init(key, *inputs) -> params`` and ``apply(params, key, *inputs) -> y``, as Haiku's transform gives them.

    The leaves of ``params``, a tree of arrays, become the layer's weights under their dotted paths, trained like any others.

    >>> import numpy as np
    >>> line = FunctionLayer(lambda key, x: {"w": jnp.ones(x.shape[-1])}, lambda params, key, x: x @ params["w"])
    >>> line.build(np.ones((2, 3)))(np.ones((2, 3))).tolist(), list(line._weights)
    ([3.0, 3.0], ['w'])
    """

    def __init__(self, init: Callable, apply: Callable) -> None:
        self.init_function, self.apply_function = init, apply

    def start(self, key: Any, *inputs: Any) -> Trees:
        """``(params, state)`` trees for inputs; state is what is not trained."""
        return self.init_function(key, *inputs), {}

    def run(self, params: Any, state: Any, *inputs: Any) -> Trees:
        """``(y, new_state)``."""
        key = self.next_key() if self._inside("forward").key is not None else None
        return self.apply_function(params, key, *inputs), state

    def forward(self, *inputs: Any) -> Any:
        specs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), inputs)
        # One program draws all leaves; each weight takes its leaf from a run with its own key.
        draw = jax.jit(lambda key: self.start(key, *jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), specs)))
        shapes = jax.eval_shape(draw, jax.random.key(0))
        params, state = (self._declare(shapes[i], i, draw) for i in (0, 1))
        y, new_state = self.run(params, state, *inputs)
        leaves = jax.tree_util.tree_leaves_with_path(state)
        for (path, old), new in zip(leaves, jax.tree.leaves(new_state), strict=True):
            if new is not old:
                self.set_state(_name(path), new)
        return y

    def _declare(self, tree: Any, which: int, draw: Callable) -> Any:
        """Every leaf of a tree as a weight (0) or a state variable (1) of this layer; the tree of their values."""

        def one(path: Any, leaf: Any) -> Any:
            def init(key: Any, shape: tuple, dtype: Any) -> Any:
                return next(v for p, v in jax.tree_util.tree_leaves_with_path(draw(key)[which]) if p == path)

            return (self.state if which else self.param)(_name(path), leaf.shape, init, dtype=leaf.dtype)

        return jax.tree_util.tree_map_with_path(one, tree)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "value"


def require(name: str, extra: str) -> Any:
    """A library that is an extra of Cenote, or an error that names the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}, which is not installed: pip install 'cenote[{extra}]'") from error
