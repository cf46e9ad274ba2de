"""The whole of a run: what a step takes and gives back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from ..core import as_key


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Step number (optimizer updates so far), weights, layer state, optimizer state and the key of the run.

    A step is a pure function of this and a batch; its random numbers come from ``key`` folded with ``step``, so that a run
    that is stopped and resumed goes on with the same bits.
    """

    step: jax.Array
    params: dict[str, jax.Array]
    state: dict[str, jax.Array]
    opt_state: Any
    key: jax.Array

    @classmethod
    def create(cls, params: dict, state: dict, opt_state: Any, key: Any) -> TrainState:
        return cls(
            jax.device_put(np.zeros((), np.int32)), dict(params), dict(state), opt_state, jax.random.key_data(as_key(key))
        )

    def step_key(self) -> jax.Array:
        """The key of this step: as data, since saved files hold plain arrays."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.key), self.step)

    def with_arrays(self, params: dict, state: dict) -> TrainState:
        return replace(self, params=dict(params), state=dict(state))


def copy_arrays(tree: Any) -> Any:
    """A tree of arrays with memory of its own, without compiling anything: a step may donate (consume) what it is given."""
    return jax.device_put(tree, may_alias=False)
