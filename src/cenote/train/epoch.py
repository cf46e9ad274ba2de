"""An epoch on one screen: steps fused into one compiled program, batches gathered by index from data on the device.

``order`` holds the example numbers of an epoch, (step, batch); it is a function of (seed, epoch). A chunk runs the steps
``start`` to ``stop`` of it. Both are run-time numbers, so one compilation serves every chunk length, and cutting an epoch
into other chunks, or stopping and resuming in the middle, changes no bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .objective import Batch, Objective, Totals
from .state import TrainState
from .step import Step


def epoch_order(count: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool) -> tuple[np.ndarray, np.ndarray]:
    """Example numbers of one epoch: the full batches (step, batch), and the last short one (size, may be empty)."""
    order = np.arange(count, dtype=np.int32)
    if shuffle and batch_size < count:  # a single batch of everything is the same in any order
        order = np.random.Generator(np.random.Philox([seed, epoch])).permutation(order)
    full = count // batch_size * batch_size
    return order[:full].reshape(-1, batch_size), order[full:]


def take(data: Any, rows: Any) -> Any:
    """The examples at these rows, from every array of the data."""
    return jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data)


def train_chunk(step: Step) -> Callable:
    """``run(state, totals, data, order, start, stop) -> (state, totals)``: many steps, one program."""

    def run(state: TrainState, totals: Totals, data: Batch, order: Any, start: Any, stop: Any) -> Any:
        def body(i: Any, carry: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
            return step(*carry, take(data, order[i]))

        return jax.lax.fori_loop(start, stop, body, (state, totals))

    return jax.jit(run, donate_argnums=(0, 1))


def train_epochs(objective: Objective, step: Step) -> Callable:
    """``run(state, data, full, tails, count) -> (state, numbers)``: whole epochs in one program, for those that are short.

    ``full`` holds the batches of each epoch, (epoch, step, batch), ``tails`` the last short one, (epoch, size); ``numbers`` are
    the losses and metrics of each epoch, and its learning rate if the optimizer keeps one.
    """

    def run(state: TrainState, data: Batch, full: Any, tails: Any, count: Any) -> Any:
        def epoch(i: Any, carry: tuple) -> tuple:
            state, numbers = carry

            def body(j: Any, carry: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
                return step(*carry, take(data, full[i, j]))

            state, totals = jax.lax.fori_loop(0, full.shape[1], body, (state, objective.totals()))
            if tails.shape[1]:
                state, totals = step(state, totals, take(data, tails[i]))
            return state, jax.tree.map(lambda all, one: all.at[i].set(one), numbers, summary(state, totals))

        def summary(state: TrainState, totals: Totals) -> dict:
            rate = state.opt_state.get("learning_rate") if isinstance(state.opt_state, dict) else None
            return {**objective.compute(totals), **({} if rate is None else {" learning_rate": rate})}

        like = jax.eval_shape(summary, state, objective.totals())
        numbers = jax.tree.map(lambda s: jnp.zeros((full.shape[0], *s.shape), s.dtype), like)
        return jax.lax.fori_loop(0, count, epoch, (state, numbers))

    return jax.jit(run)


def evaluate_chunk(objective: Objective) -> Callable:
    """``run(params, state, totals, data, order, start, stop) -> totals``; rows beyond the data (-1) are masked out."""

    def run(params: dict, state: dict, totals: Totals, data: Batch, order: Any, start: Any, stop: Any) -> Totals:
        def body(i: Any, totals: Totals) -> Totals:
            rows = order[i]
            batch = take(data, jnp.maximum(rows, 0))
            return objective.loss(params, state, totals, batch, train=False, valid=rows >= 0)[1][1]

        return jax.lax.fori_loop(start, stop, body, totals)

    return jax.jit(run, donate_argnums=(2,))


def padded_order(count: int, batch_size: int) -> np.ndarray:
    """Every example once, in order, in equal batches; the last one is filled up with -1."""
    steps = -(-count // batch_size)
    order = np.full(steps * batch_size, -1, np.int32)
    order[:count] = np.arange(count)
    return order.reshape(steps, batch_size)


def has_foreign_convolution(function: Callable, *args: Any) -> bool:
    """Whether tracing ``function`` meets a convolution that XLA's CPU backend runs many times slower inside a loop.

    Our kernels state every convolution, backward ones too, with channels last and the usual kernel layout; any other
    arrangement falls to a naive loop there (measured 50 times slower).
    """

    def foreign(jaxpr: Any) -> bool:
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                spec = equation.params["dimension_numbers"]
                rank = len(spec.lhs_spec)
                last = (0, rank - 1, *range(1, rank - 1))
                if tuple(spec.lhs_spec) != last or tuple(spec.out_spec) != last:
                    return True
                if tuple(spec.rhs_spec) != (rank - 1, rank - 2, *range(rank - 2)):
                    return True
            for value in equation.params.values():
                for inner in value if isinstance(value, (tuple, list)) else [value]:
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns") and foreign(inner):
                        return True
        return False

    return foreign(jax.make_jaxpr(function)(*args).jaxpr)
