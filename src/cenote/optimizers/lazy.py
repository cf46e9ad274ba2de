"""LazyAdam: Adam that moves only those rows of an embedding table that the batch looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .adam import Adam, adam_step


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """Some rows of a table: their numbers (n,), and what belongs to each (n, features); a number may come several times.

    >>> Rows(jnp.array([2, 0]), jnp.ones((2, 3))).added_to(jnp.zeros((4, 3)))[:, 0].tolist()
    [1.0, 0.0, 1.0, 0.0]
    """

    numbers: jax.Array
    values: jax.Array

    def once(self, count: int) -> Rows:
        """Each number once, with the sum of its values; what is left over gets the number ``count``, beyond the table.

        >>> rows = Rows(jnp.array([1, 3, 1]), jnp.array([[1.0], [2.0], [4.0]])).once(5)
        >>> dict(zip(rows.numbers.tolist(), rows.values[:, 0].tolist()))[1]
        5.0
        """
        place = jnp.arange(len(self.numbers), dtype=jnp.int32)
        # Of the places of one number the last is its owner: read back from a table of places, which costs no sorting.
        owner = jnp.zeros(count, jnp.int32).at[self.numbers].set(place)[self.numbers]
        sums = jnp.zeros_like(self.values).at[owner].add(self.values)
        return Rows(jnp.where(owner == place, self.numbers, count), sums)

    def added_to(self, table: jax.Array) -> jax.Array:
        return table.at[self.numbers].add(self.values.astype(table.dtype), mode="drop")


class LazyAdam(Adam):
    """Adam for large embedding tables: rows that a batch does not look up are neither read nor written.

    For the rows that it does look up, and for all other weights, the rule is that of `Adam`. The other rows keep their means
    as they are, where Adam lets these decay and goes on moving the rows by momentum: the numbers differ. The correction of the
    start at zero counts all steps. This is the rule of ``torch.optim.SparseAdam`` (whose epsilon is 1e-8).

    It is lazy for the tables of ``layers.Embedding`` without a regularizer, a constraint, LoRA, or an activity regularizer,
    that are called in the open (not in `Remat`, `Repeat` or a scan). All else is moved by plain Adam, also tables that are
    read backwards, as in `ReversibleEmbedding`. Clipping, weight decay, averages and accumulation are not to be had: each would
    read the whole table. Inside `MultiOptimizer` and `LossScaleOptimizer` it is plain Adam.
    Source: TensorFlow Addons' LazyAdam.

    >>> adam, params = LazyAdam(0.1), {"table": jnp.zeros((4, 1))}
    >>> rows = Rows(jnp.array([2, 2]), jnp.ones((2, 1)))
    >>> changes, state = adam.update({"table": rows}, adam.init(params), params)
    >>> [round(value, 4) for value in changes["table"].added_to(params["table"])[:, 0].tolist()]
    [0.0, 0.0, -0.1, 0.0]
    """

    wants_rows = True  # gradients of tables come as `Rows`, and so do their changes

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str | None = None,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name)

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        tables = {k: g for k, g in grads.items() if isinstance(g, Rows)} if isinstance(grads, dict) else {}
        if not tables:
            return super().update(grads, state, params)

        def dense(tree: dict[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in tree.items() if k not in tables}

        kept = {slot: dense(state[slot]) for slot in self.slots}
        changes, new = super().update(dense(grads), {**state, **kept}, dense(params))
        scalars = self.scalars(state["step"], new["learning_rate"])
        for path, given in tables.items():
            rows = given.once(len(params[path]))
            near = {slot: state[slot][path].at[rows.numbers].get(mode="clip") for slot in self.slots}
            g, rate = rows.values.astype(params[path].dtype), scalars["rate"].astype(params[path].dtype)
            change, moved = adam_step(g, near, rate, self.beta_1, self.beta_2, self.epsilon)
            changes[path] = Rows(rows.numbers, change)
            for slot in self.slots:
                new[slot][path] = state[slot][path].at[rows.numbers].set(moved[slot], mode="drop")
        return changes, new
