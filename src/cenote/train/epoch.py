"""An epoch on one screen: steps fused into one compiled program, batches gathered by index from data on the device.

``order`` holds the example numbers of an epoch, (step, batch); it is a function of (seed, epoch). A chunk runs the steps
``start`` to ``stop`` of it. Both are run-time numbers, so one compilation serves every chunk length, and cutting an epoch
into other chunks, or stopping and resuming in the middle, changes no bit of the result.
"""

from __future__ import annotations

import math
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


def epoch_orders(room: int, epochs: range, count: int, batch_size: int, *, seed: int, shuffle: bool) -> list[np.ndarray]:
    """`epoch_order` of several epochs in two arrays, (epoch, step, batch) and (epoch, size), with ``room`` for that many."""
    shuffles = shuffle and batch_size < count
    found = [epoch_order(count, batch_size, seed=seed, epoch=e, shuffle=shuffle) for e in (epochs if shuffles else epochs[:1])]
    orders = [np.zeros((room, *part.shape), np.int32) for part in found[0]]
    for order, *parts in zip(orders, *found, strict=True):
        order[: len(epochs)] = parts  # one order serves all, where nothing is shuffled
    return orders


def take(data: Any, rows: Any) -> Any:
    """The examples at these rows, from every array of the data."""
    return jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data)


_taken = jax.jit(take)


def gathered(data: Any, rows: Any) -> Any:
    """The examples at these rows, or in this slice; on the host where the data lie there, so that nothing is compiled."""
    if jax.default_backend() == "cpu" or all(isinstance(a, np.ndarray) for a in jax.tree.leaves(data)):
        return jax.tree.map(lambda a: np.asarray(a)[rows], data)
    return _taken(data, np.arange(jax.tree.leaves(data)[0].shape[0])[rows])


def room(count: int) -> int:
    """The next number of at most five binary digits and zeros (a power of two up to 32): at most 7 % more, for large ones.

    Programs are compiled for shapes. Data with room to spare let sizes that differ a little share one.

    >>> [room(n) for n in (3, 32, 1000, 1010, 60000)]
    [4, 32, 1024, 1024, 61440]
    """
    unit = 1 << max(count.bit_length() - 5, 0)
    return 1 << max(count - 1, 0).bit_length() if count <= 32 else -(-count // unit) * unit


def on_device(data: Any) -> Any:
    """Whole arrays on the device, with room: rows of zeros behind the examples, which nobody reads."""

    def roomy(a: Any) -> Any:
        if not isinstance(a, np.ndarray) or len(a) == room(len(a)):
            return a
        rows = room(len(a))
        size = a.dtype.itemsize * math.prod(a.shape[1:]) * rows
        memory = np.empty(size + 64, np.uint8)
        start = -memory.ctypes.data % 64  # on the CPU, memory that begins at a multiple of 64 is taken over without a copy
        new = memory[start : start + size].view(a.dtype).reshape(rows, *a.shape[1:])
        new[: len(a)], new[len(a) :] = a, 0
        return new

    return jax.tree.map(lambda a: jax.device_put(roomy(a)), data)


def room_of_steps(steps: int) -> int:
    return max(room(steps), 32)


def with_room(order: np.ndarray) -> jax.Array:
    """The order of an epoch on the device, with steps to spare."""
    spare = room_of_steps(len(order)) - len(order)
    return jax.device_put(np.concatenate([order, np.zeros((spare, *order.shape[1:]), order.dtype)]))


def train_chunk(step: Step, donates: bool) -> Callable:
    """``run(state, totals, data, order, start, stop) -> (state, totals)``: many steps, one program, which consumes the first
    two of its arguments if it ``donates``."""

    def run(state: TrainState, totals: Totals, data: Batch, order: Any, start: Any, stop: Any) -> Any:
        def body(i: Any, carry: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
            return step(*carry, take(data, order[i]))

        return jax.lax.fori_loop(start, stop, body, (state, totals))

    return jax.jit(run, donate_argnums=(0, 1) if donates else ())


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


def evaluate_chunk(objective: Objective, donates: bool) -> Callable:
    """``run(params, state, totals, data, order, start, stop) -> totals``; rows beyond the data (-1) are masked out."""

    def run(params: dict, state: dict, totals: Totals, data: Batch, order: Any, start: Any, stop: Any) -> Totals:
        def body(i: Any, totals: Totals) -> Totals:
            rows = order[i]
            batch = take(data, jnp.maximum(rows, 0))
            return objective.measured(params, state, totals, batch, valid=rows >= 0)

        return jax.lax.fori_loop(start, stop, body, totals)

    return jax.jit(run, donate_argnums=(2,) if donates else ())


def padded_order(count: int, batch_size: int) -> np.ndarray:
    """Every example once, in order, in equal batches (step, batch); the last one is filled up with -1."""
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

    # A compiled function keeps its trace for the call that follows.
    return foreign(function.trace(*args).jaxpr.jaxpr if hasattr(function, "trace") else jax.make_jaxpr(function)(*args).jaxpr)
