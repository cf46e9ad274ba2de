"""Gradients of tables by the rows that were looked up, not as arrays of the table's size: for optimizers that want them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core import Weight, current_call
from ..layers.embedding import Embedding
from ..optimizers.lazy import Rows


class Lookups:
    """The calls of `Embedding` layers in one forward pass, by spot (the layer's path, then ``path:1`` for a second call).

    Adding zeros to a lookup's output and differentiating by them gives the gradient of the rows, without one of the table.
    """

    def __init__(self, weights: dict[str, Weight], trained: frozenset[str]) -> None:
        plain = {p for p, w in weights.items() if w.regularizer is None and w.constraint is None}
        self.tables = {p for p in plain & trained if p.rpartition(".")[2] == "table"}
        self.numbers: dict[str, jax.Array] = {}
        self.outputs: dict[str, Any] = {}

    def hear(self, spot: str, module: Any, args: tuple, kwargs: dict, y: Any) -> None:
        """What `core.apply` tells its observer of each layer's call."""
        call = current_call()
        if type(module) is not Embedding or table_of(spot) not in self.tables or call is None:
            return
        if module.lora_rank is None and module.activity_regularizer is None and call.at_home():
            numbers = jnp.asarray(args[0])
            if y.shape == (*numbers.shape, module.output_dim):
                self.numbers[spot] = jnp.clip(numbers.astype(jnp.int32), 0, module.input_dim - 1)
                self.outputs[spot] = jax.ShapeDtypeStruct(y.shape, y.dtype)
                return
        self.tables.discard(table_of(spot))  # one call that is not plain, and the whole table is moved as usual


def table_of(spot: str) -> str:
    return f"{spot.split(':')[0]}.table"


def gradients(
    loss: Callable, params: dict[str, Any], weights: dict[str, Weight], trained: frozenset[str]
) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """``((value, rest), gradients)`` of ``loss(params, looking) -> (value, rest)``, with `Rows` for tables.

    ``looking`` is what goes on to `core.apply` besides: whom to tell of layers' calls, and what to add to their outputs.
    """
    seen = Lookups(weights, trained)
    jax.eval_shape(lambda p: loss(p, {"observer": seen.hear}), params)
    spots = {spot: spec for spot, spec in seen.outputs.items() if table_of(spot) in seen.tables}
    tables = {table_of(spot) for spot in spots}
    fixed = {k: v for k, v in params.items() if k in tables}
    zeros = {spot: jnp.zeros(spec.shape, spec.dtype) for spot, spec in spots.items()}

    def of(dense: dict[str, Any], nudges: dict[str, Any]) -> tuple[Any, tuple]:
        again = Lookups(weights, trained)
        value, rest = loss({**fixed, **dense}, {"observer": again.hear, "nudge": nudges})
        return value, (rest, {spot: again.numbers[spot] for spot in spots})

    dense = {k: v for k, v in params.items() if k not in tables}
    (value, (rest, numbers)), (grads, rows) = jax.value_and_grad(of, argnums=(0, 1), has_aux=True)(dense, zeros)
    for table in sorted(tables):
        parts = [spot for spot in spots if table_of(spot) == table]
        found = jnp.concatenate([numbers[spot].reshape(-1) for spot in parts])
        values = jnp.concatenate([rows[spot].reshape(-1, rows[spot].shape[-1]) for spot in parts])
        grads[table] = Rows(found, values)
    return (value, rest), {k: grads[k] for k in params}
