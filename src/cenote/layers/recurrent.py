"""Recurrent layers: a state that is carried through time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core import annotate
from ..core.lift import Lifted, masks_of
from .base import Layer
from .cells import _GRU, _LSTM, StackedRNNCells, _Cell, _Simple, checked_cell, like_states, start_of
from .check import floating, rank

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


class _OverTime(Layer):
    """What recurrent layers share: time, masks, states, direction. A subclass says how states start and how steps are run.

    ``return_sequences`` gives the output of every step, ``return_state`` adds the last states, ``go_backwards`` reads time from
    the end, ``stateful`` starts each call where the last one of the same batch ended (`reset_state` goes back to zeros). A
    masked step keeps the states; its output is that of the step before, or with ``zero_output_for_mask`` zeros. ``unroll`` and
    ``use_cudnn`` say how to compute, not what: they are accepted, without effect.
    """

    axes = "(batch, time, feature)"

    def __init__(
        self,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        use_cudnn: bool | str | None = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.zero_output_for_mask = zero_output_for_mask

    def forward(self, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
        given = self.mask(x) if mask is None else jnp.asarray(mask, bool)
        x = floating(x)
        self._check(x)
        if given is not None and given.shape != x.shape[:2]:
            raise ValueError(
                f"{type(self).__name__} needs a mask (batch, time) of shape {x.shape[:2]}, True where a step counts, "
                f"got {given.shape}"
            )
        state = self._begin(self._start(jnp.zeros((x.shape[0], *x.shape[2:]), x.dtype)), initial_state)
        # Turned round while the batch is first, so that programs for serving may cut it.
        read = (lambda a: a[:, ::-1]) if self.go_backwards else (lambda a: a)
        steps = jnp.swapaxes(read(x), 0, 1)
        along = None if given is None else read(given).transpose(1, 0)
        outputs, last = self._all_steps(steps, state, along)
        if self.zero_output_for_mask and along is not None:
            outputs = jnp.where(along.reshape(*along.shape, *[1] * (outputs.ndim - 2)), outputs, 0)
        if self.stateful:
            leaves = jax.tree.leaves(last)
            for name, value in zip(self._names(len(leaves)), leaves, strict=True):
                self.set_state(name, value)
        y = jnp.swapaxes(outputs, 0, 1) if self.return_sequences else self._end(outputs, last, along)
        if self.return_sequences:
            annotate(y, "mask", given)
        return (y, *last) if self.return_state else y

    def reset_state(self) -> None:
        """Let a stateful layer start from zeros again, as between two texts."""
        for name, weight in self._weights.items():
            if weight.kind == "state" and name in self._arrays:
                self._arrays[name] = jnp.zeros_like(self._arrays[name])

    reset_states = reset_state

    def _check(self, x: jax.Array) -> None:
        rank(self, x, 3, self.axes, "add a time or a feature axis, e.g. x[..., None]")

    def _start(self, x: jax.Array) -> Any:
        raise NotImplementedError

    def _all_steps(self, x: jax.Array, state: Any, mask: Any) -> tuple:
        raise NotImplementedError

    def _end(self, outputs: jax.Array, last: Any, mask: Any) -> jax.Array:
        return outputs[-1]

    def _names(self, count: int) -> tuple[str, ...]:
        return tuple(f"state_{i}" for i in range(count))

    def _begin(self, zeros: Any, given: Any) -> Any:
        """The states to begin with: those given, those kept from the last batch, or the start itself."""
        leaves, structure = jax.tree.flatten(zeros)
        if self.stateful:  # declared on every call, whether it is read or not
            names = self._names(len(leaves))
            try:
                kept = [self.state(n, a.shape, "zeros").astype(a.dtype) for n, a in zip(names, leaves, strict=True)]
            except ValueError as error:
                error.add_note(f"a stateful {type(self).__name__} keeps a state for each example: all batches have one size")
                raise
            leaves = kept
        if given is not None:
            said = jax.tree.leaves(given)
            if len(said) != len(leaves):
                raise ValueError(f"{type(self).__name__} carries {len(leaves)} states, initial_state holds {len(said)}")
            for value, wanted in zip(said, leaves, strict=True):
                if jnp.shape(value) != wanted.shape:
                    raise ValueError(
                        f"{type(self).__name__} needs initial states of shape {wanted.shape}, got {jnp.shape(value)}"
                    )
            leaves = [jnp.asarray(value, wanted.dtype) for value, wanted in zip(said, leaves, strict=True)]
        return jax.tree.unflatten(structure, leaves)


class RNN(_OverTime, Lifted):
    """Any cell over time: ``y_t, states = cell(x_t, states)`` for each step.

    A cell is a layer with ``forward(x, states) -> (y, states)``, where x is one step (batch, feature) and states a tuple of
    arrays, and with an attribute ``state_size``: the number of features of its state, or a list of them, one for each state.
    It may have ``output_size`` and ``get_initial_state(batch_size)``; without the latter, states start as zeros. Its weights
    are declared as everywhere, by ``self.param`` in ``forward``. Layers with dropout inside draw once for all steps; state that
    they write (BatchNormalization) is carried from step to step, and losses that they add are summed. A list of cells is
    `StackedRNNCells`.

    Arguments and call: as all recurrent layers; ``zero_output_for_mask`` gives zeros at masked steps in place of the output of
    the step before. Shapes: (batch, time, ...) -> output of the last step, or (batch, time, ...) with ``return_sequences``;
    with ``return_state`` the last states follow.
    Raises: ValueError for what is no cell, and for a cell that returns other states than it was given.

    >>> import numpy as np
    >>> class Decay(Layer):
    ...     state_size = 3
    ...     def forward(self, x, states):
    ...         y = states[0] * self.param("rate", (3,), "ones") / 2 + x
    ...         return y, [y]
    >>> RNN(Decay(), return_sequences=True).build(np.ones((1, 3, 3)))(np.ones((1, 3, 3)))[0, :, 0].tolist()
    [1.0, 1.5, 1.75]
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **options,
        )
        self.cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else checked_cell("RNN", cell)

    @property
    def state_size(self) -> Any:
        return self.cell.state_size

    def _check(self, x: jax.Array) -> None:
        if x.ndim < 3:
            rank(self, x, 3, self.axes, "add a time or a feature axis, e.g. x[..., None]")

    def _start(self, x: jax.Array) -> tuple:
        def cast(a: Any) -> jax.Array:
            a = jnp.asarray(a)
            return a.astype(x.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a

        return tuple(jax.tree.map(cast, start_of(self.cell, x)))

    def _all_steps(self, x: jax.Array, state: Any, mask: Any) -> tuple:
        call = self._inside("forward")
        if call.building is not None:
            y, new = self._result(self.cell(jnp.zeros(x.shape[1:], x.dtype), state), state)
            return jnp.broadcast_to(y, (x.shape[0], *y.shape)), new
        cells = self.cell.cells if isinstance(self.cell, StackedRNNCells) else [self.cell]
        if all(map(self._is_plain, cells)):
            return self._cell_by_cell(x, state, mask)
        run = self._pure(self.cell, call.paths)
        params, written, nudges = self._arrays_of(self._homes(self.cell))
        key, none = self._block_key(), masks_of((x, state))
        first = jax.eval_shape(lambda: run(params, written, key, _first(nudges), none, x[0], state)[0][0])
        before = self._before(first, state)

        def step(carry: tuple, each: tuple) -> tuple:
            state, written, before = carry
            x, m, nudges = each
            out, (wrote, *extras) = run(params, written, key, nudges, none, x, state)
            y, new = self._result(out, state)
            if m is not None:
                y, new = _select(m, y, before), jax.tree.map(lambda a, b: _select(m, a, b), new, state)
                before = y
            return (new, {**written, **wrote}, before), (y, wrote, extras)

        (last, written, _), (outputs, wrote, extras) = jax.lax.scan(step, (state, written, before), (x, mask, nudges))
        self._receive(({k: written[k] for k in wrote}, *extras), reduce=jnp.sum)
        return outputs, last

    def _is_plain(self, cell: Any) -> bool:
        """Whether nothing but its rule happens in a cell: then all its steps can be run at once, inputs before the loop."""
        call = self._inside("forward")
        watched = {spot.split(":")[0] for spot in (*call.wanted, *call.nudges)}
        return (
            isinstance(cell, _Cell)
            and type(cell).forward is _Cell.forward
            and cell.activity_regularizer is None
            and not (call.train and (cell.dropout or cell.recurrent_dropout))
            and not watched & {"*", call.path(cell), call.path(self.cell)}
        )

    def _cell_by_cell(self, x: jax.Array, state: Any, mask: Any) -> tuple:
        if not isinstance(self.cell, StackedRNNCells):
            return self.cell._all_steps(x, state, mask)
        last = []
        for cell, start in zip(self.cell.cells, state, strict=True):
            x, new = cell._all_steps(x, tuple(start), mask)
            last.append(type(start)(new))
        return x, tuple(last)

    def _result(self, out: Any, state: Any) -> tuple:
        if not isinstance(out, (list, tuple)) or len(out) != 2:
            raise ValueError(f"{type(self.cell).__name__}.forward(x, states) must return (y, states), got {type(out).__name__}")
        return jnp.asarray(out[0]), like_states(self.cell, out[1], state)

    def _before(self, first: Any, state: Any) -> jax.Array:
        """What stands at masked steps before any other: the first state, as in Keras, where it is like an output."""
        last = state[-1] if isinstance(self.cell, StackedRNNCells) else state
        like = jax.tree.leaves(last)[0]
        return like.astype(first.dtype) if like.shape == first.shape else jnp.zeros(first.shape, first.dtype)


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[0], tree)


def _select(mask: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)


class _Recurrent(_OverTime):
    """A rule over time: its states go by their names, and its output is the first of them."""

    states: tuple[str, ...]

    def _end(self, outputs: jax.Array, last: Any, mask: Any) -> jax.Array:
        # The gradient of the last state costs nothing; that of the last output is an array over all steps.
        return last[0] if mask is None or not self.zero_output_for_mask else outputs[-1]

    def _names(self, count: int) -> tuple[str, ...]:
        return self.states


class SimpleRNN(_Simple, _Recurrent):
    """The plain recurrence: ``h = activation(x @ kernel + h @ recurrent_kernel + bias)``.

    Shapes: (batch, time, feature) -> (batch, unit), or (batch, time, unit) with ``return_sequences``; with ``return_state`` the
    last state, too. Masked steps keep the state. ``dropout`` acts on the input, ``recurrent_dropout`` on the state.
    Source: Elman 1990, "Finding structure in time".

    >>> import numpy as np
    >>> SimpleRNN(4).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 4)
    """


class LSTM(_LSTM, _Recurrent):
    """A memory that gates guard: ``c = f c + i g``, ``h = o tanh(c)``, with ``i, f, g, o`` from ``x @ kernel + h @ recurrent``.

    Gates stand in Keras's order input, forget, candidate, output. ``unit_forget_bias`` starts the forget gate's bias at 1.
    Shapes: (batch, time, feature) -> (batch, unit), or (batch, time, unit) with ``return_sequences``; ``return_state`` adds
    h and c.
    Source: Hochreiter and Schmidhuber 1997, Neural Computation 9; Gers et al. 2000.

    >>> import numpy as np
    >>> LSTM(4, return_sequences=True).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 5, 4)
    """


class GRU(_GRU, _Recurrent):
    """A gated recurrence with one state: ``h = z h + (1 - z) g``, with update gate ``z`` and reset gate ``r``.

    ``reset_after=True`` (as in Keras and cuDNN) takes ``g = activation(x_g + r (h @ recurrent_g + bias_g))``; False takes
    ``activation(x_g + (r h) @ recurrent_g)``. Gates stand in the order update, reset, candidate.
    Source: Cho et al. 2014, arXiv:1406.1078.

    >>> import numpy as np
    >>> GRU(4).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 4)
    """
