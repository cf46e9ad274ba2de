"""Any pair of pure functions as a layer; the other adapters stand on it."""

from __future__ import annotations

import importlib
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Module

Trees = tuple[Any, Any]


class FunctionLayer(Module):
    """A layer from ``init(key, *inputs) -> params`` and ``apply(params, key, *inputs) -> y``, as Haiku's transform gives them.

    The leaves of ``params``, a tree of arrays, become the layer's weights under their dotted paths, trained like any others.
    With ``stateful=True`` the pair is ``init(key, *inputs) -> (params, state)`` and ``apply(params, state, key, *inputs) ->
    (y, state)``, as of Haiku's ``transform_with_state``; the state is kept as the layer's own. An ``apply`` that takes
    ``train`` (or ``training``, ``is_training``, ``deterministic``) is told the mode of the call.

    >>> import numpy as np
    >>> line = FunctionLayer(lambda key, x: {"w": jnp.ones(x.shape[-1])}, lambda params, key, x: x @ params["w"])
    >>> line.build(np.ones((2, 3)))(np.ones((2, 3))).tolist(), list(line._weights)
    ([3.0, 3.0], ['w'])
    """

    _bookkeeping = Module._bookkeeping | {"_forms"}
    _holds_values = False  # whether `start` gives what the foreign model already holds, and draws nothing
    _forms: dict[Any, Any]

    def __init__(self, init: Callable, apply: Callable, *, stateful: bool = False, name: str | None = None) -> None:
        self.init_function, self.apply_function, self.stateful, self.name = init, apply, stateful, name
        self._flag = training_flag(apply)

    def __new__(cls, *args: Any, **kwargs: Any):
        self = super().__new__(cls, *args, **kwargs)
        self._forms = {}
        return self

    def start(self, key: Any, *inputs: Any) -> Trees:
        """``(params, state)`` trees for inputs; state is what is not trained."""
        found = self.init_function(key, *inputs)
        return (found[0], {"state": found[1]}) if self.stateful else (found, {})

    def run(self, params: Any, state: Any, *inputs: Any) -> Trees:
        """``(y, new_state)``."""
        key = self.next_key() if self._inside("forward").key is not None else None
        if not self.stateful:
            return self.apply_function(params, key, *inputs, **self._mode()), state
        y, new = self.apply_function(params, state["state"], key, *inputs, **self._mode())
        return y, {"state": new} if self.train else state

    def _mode(self) -> dict[str, bool]:
        """The foreign flag that says whether this is training, if there is one."""
        return {} if self._flag is None else {self._flag[0]: self.train is self._flag[1]}

    def forward(self, *inputs: Any) -> Any:
        specs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), inputs)
        form = str(jax.tree.flatten(specs))
        if form not in self._forms:  # so that calls do not trace the foreign init again
            self._forms[form] = jax.eval_shape(self.start, jax.random.key(0), *specs)
        draws = _Draws(self.start, specs, self._holds_values)
        params, state = (self._declare(self._forms[form][which], which, draws) for which in (0, 1))
        y, new_state = self.run(params, state, *inputs)
        if new_state is not state:
            new = dict(jax.tree_util.tree_leaves_with_path(new_state))
            for path, old in jax.tree_util.tree_leaves_with_path(state):
                if new[path] is not old:
                    self.set_state(name_of(path), new[path])
        return y

    def _declare(self, tree: Any, which: int, draws: _Draws) -> Any:
        """Every leaf of a tree as a weight (0) or a state variable (1) of this layer; the tree of their values."""

        def one(path: Any, leaf: Any) -> Any:
            def init(key: Any, shape: tuple, dtype: Any) -> Any:
                return draws.take(key, which, path)

            return (self.state if which else self.param)(name_of(path), leaf.shape, init, dtype=leaf.dtype)

        return jax.tree_util.tree_map_with_path(one, tree)


class _Draws:
    """The start values of one building: the foreign init draws all leaves at once, and each weight takes its own.

    It runs with the key of the weight that comes first, and again where a leaf is wanted more often, as by Repeat.
    """

    def __init__(self, start: Callable, specs: tuple, holds_values: bool) -> None:
        self.start, self.specs, self.holds_values = start, specs, holds_values
        self.waiting: dict[tuple[int, Any], deque] = {}

    def take(self, key: Any, which: int, path: Any) -> Any:
        if not self.waiting.get((which, path)):
            for number, tree in enumerate(self._values(key)):
                for each, value in jax.tree_util.tree_leaves_with_path(tree):
                    self.waiting.setdefault((number, each), deque()).append(value)
        return self.waiting[which, path].popleft()

    def _values(self, key: Any) -> Trees:
        if self.holds_values:  # copies: training may give the memory of its own away
            return jax.tree.map(lambda a: jnp.array(a, copy=True), self.start(key, *self.specs))
        return jax.jit(lambda key: self.start(key, *jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.specs)))(key)


def name_of(path: Any) -> str:
    """The dotted name of a leaf in a foreign tree."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "value"


def training_flag(call: Callable) -> tuple[str, bool] | None:
    """The argument by which a foreign model is told that it trains, and the value that says so."""
    names = inspect.signature(call).parameters
    for name, value in (("train", True), ("training", True), ("is_training", True)):
        if name in names:
            return name, value
    return next(((name, False) for name in ("deterministic", "use_running_average", "inference") if name in names), None)


def require(name: str, extra: str) -> Any:
    """A library that is an extra of Cenote, or an error that names the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}, which is not installed: pip install 'cenote[{extra}]'") from error
