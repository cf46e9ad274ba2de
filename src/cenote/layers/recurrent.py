"""Recurrent layers: a state that is carried through time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import activations, initializers
from ..core import annotate
from ..kernels import random
from ..kernels.recurrence import gates, gru, lstm, scan_cell, simple
from .base import Layer
from .check import floating, fraction, positive, rank

__all__ = ["GRU", "LSTM", "SimpleRNN"]


class _Recurrent(Layer):
    """What recurrent layers share: time, masks, states, direction, dropout. A subclass projects its input and steps a cell.

    ``return_sequences`` gives the output of every step, ``return_state`` adds the last state, ``go_backwards`` reads time from
    the end, ``stateful`` starts each call where the last one of the same batch ended (`reset_state` goes back to zeros).
    ``dropout`` acts on the input and ``recurrent_dropout`` on the state, with one draw for all steps, in training only;
    ``seed`` adds to the seed of the run. ``unroll`` and ``use_cudnn`` say how to compute, not what: they are accepted, without
    effect.
    """

    weights = {"kernel": "kernel", "recurrent": "recurrent_kernel", "bias": "bias"}
    gates = 1
    states = ("h",)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: bool | str | None = "auto",
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.dropout = fraction(self, "dropout", dropout)
        self.recurrent_dropout = fraction(self, "recurrent_dropout", recurrent_dropout)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll, self.seed = go_backwards, stateful, unroll, seed

    def forward(self, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
        given = self.mask(x) if mask is None else jnp.asarray(mask, bool)
        x = floating(x)
        rank(self, x, 3, "(batch, time, feature)", "add a time or a feature axis, e.g. x[..., None]")
        batch = x.shape[0]
        if given is not None and given.shape != x.shape[:2]:
            raise ValueError(
                f"{type(self).__name__} needs a mask (batch, time) of shape {x.shape[:2]}, True where a step counts, "
                f"got {given.shape}"
            )
        state = self._start(batch, x.dtype, initial_state)
        if self.train and self.dropout:
            x = random.dropout(x, self.dropout, self._key(), (batch, 1, x.shape[-1]))
        keep = None
        if self.train and self.recurrent_dropout:
            keep = random.dropout(jnp.ones((batch, self.units), x.dtype), self.recurrent_dropout, self._key())
        steps = x.transpose(1, 0, 2)
        along = None if given is None else given.transpose(1, 0)
        if self.go_backwards:
            steps, along = steps[::-1], None if along is None else along[::-1]
        outputs, last = self._steps(steps, state, along, keep)
        if self.stateful:
            for name, value in zip(self.states, last, strict=True):
                self.set_state(name, value)
        y = outputs.transpose(1, 0, 2) if self.return_sequences else last[0]
        if self.return_sequences:
            annotate(y, "mask", given)
        return (y, *last) if self.return_state else y

    def reset_state(self) -> None:
        """Let a stateful layer start from zeros again, as between two texts."""
        for name in self.states:
            if name in self._arrays:
                self._arrays[name] = jnp.zeros_like(self._arrays[name])

    def _key(self) -> jax.Array:
        key = self.next_key()
        return key if self.seed is None else jax.random.fold_in(key, self.seed)

    def _start(self, batch: int, dtype: Any, given: Any) -> tuple:
        shape = (batch, self.units)
        if self.stateful:  # declared on every call, whether it is read or not
            try:
                kept = tuple(self.state(name, shape, "zeros").astype(dtype) for name in self.states)
            except ValueError as error:
                error.add_note(f"a stateful {type(self).__name__} keeps a state for each example: all batches have one size")
                raise
        else:
            kept = tuple(jnp.zeros(shape, dtype) for _ in self.states)
        if given is None:
            return kept
        state = tuple(given) if isinstance(given, (list, tuple)) else (given,)
        if len(state) != len(self.states):
            raise ValueError(f"{type(self).__name__} carries {len(self.states)} states, initial_state holds {len(state)}")
        for value in state:
            if jnp.shape(value) != shape:
                raise ValueError(f"{type(self).__name__} needs initial states of shape {shape}, got {jnp.shape(value)}")
        return tuple(jnp.asarray(value, dtype) for value in state)

    def _kernels(self, width: int) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", (width, self.gates * self.units))
        return kernel, self.param("recurrent_kernel", (self.units, self.gates * self.units), "orthogonal")

    def _steps(self, x: jax.Array, state: tuple, mask: Any, keep: Any) -> tuple:
        raise NotImplementedError


def _project(x: jax.Array, kernel: jax.Array, bias: Any = None) -> jax.Array:
    """All time steps in one product: (time, batch, feature) -> (time, batch, gates * unit)."""
    y = x.reshape(-1, x.shape[-1]) @ kernel
    # Added to the matrix: the gradient of a bias added to (time, batch, unit) is a sum over two axes, ten times slower.
    return (y if bias is None else y + bias).reshape(*x.shape[:2], -1)


class SimpleRNN(_Recurrent):
    """The plain recurrence: ``h = activation(x @ kernel + h @ recurrent_kernel + bias)``.

    Shapes: (batch, time, feature) -> (batch, unit), or (batch, time, unit) with ``return_sequences``; with ``return_state`` the
    last state, too. Masked steps keep the state. ``dropout`` acts on the input, ``recurrent_dropout`` on the state.
    Source: Elman 1990, "Finding structure in time".

    >>> import numpy as np
    >>> SimpleRNN(4).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 4)
    """

    def _steps(self, x: jax.Array, state: tuple, mask: Any, keep: Any) -> tuple:
        kernel, recurrent = self._kernels(x.shape[-1])
        xp = _project(x, kernel, self.param("bias", (self.units,), "zeros") if self.use_bias else None)
        if self.activation is activations.tanh and keep is None:
            return simple(xp, state[0], recurrent, mask)

        def cell(x: Any, state: tuple) -> tuple:
            h = state[0] if keep is None else state[0] * keep
            return (self.activation(x + h @ recurrent),)

        return scan_cell(cell, xp, state, mask)


class LSTM(_Recurrent):
    """A memory that gates guard: ``c = f c + i g``, ``h = o tanh(c)``, with ``i, f, g, o`` from ``x @ kernel + h @ recurrent``.

    Gates stand in Keras's order input, forget, candidate, output. ``unit_forget_bias`` starts the forget gate's bias at 1.
    Shapes: (batch, time, feature) -> (batch, unit), or (batch, time, unit) with ``return_sequences``; ``return_state`` adds
    h and c.
    Source: Hochreiter and Schmidhuber 1997, Neural Computation 9; Gers et al. 2000.

    >>> import numpy as np
    >>> LSTM(4, return_sequences=True).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    gates = 4
    states = ("h", "c")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        unit_forget_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _bias(self) -> jax.Array:
        said = self.options.get("bias", {})
        start, units = said.get("initializer") or initializers.get("zeros"), self.units

        def draw(key: Any, shape: tuple, dtype: Any) -> Any:
            if not self.unit_forget_bias:
                return start(key, shape, dtype)
            keys = jax.random.split(key)
            first, rest = start(keys[0], (units,), dtype), start(keys[1], (2 * units,), dtype)
            return jnp.concatenate([jnp.asarray(first), jnp.ones((units,), dtype), jnp.asarray(rest)])

        return super(Layer, self).param(
            "bias", (4 * units,), draw, regularizer=said.get("regularizer"), constraint=said.get("constraint")
        )

    def _steps(self, x: jax.Array, state: tuple, mask: Any, keep: Any) -> tuple:
        kernel, recurrent = self._kernels(x.shape[-1])
        xp = _project(x, kernel, self._bias() if self.use_bias else None)
        usual = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        if usual and keep is None:
            return lstm(xp, state[0], state[1], recurrent, mask)

        def cell(x: Any, state: tuple) -> tuple:
            h, c = state
            u = gates((h if keep is None else h * keep) @ recurrent, 4)
            i, f, g, o = (a + b for a, b in zip(x, u, strict=True))
            gate = self.recurrent_activation
            c = gate(f) * c + gate(i) * self.activation(g)
            return gate(o) * self.activation(c), c

        return scan_cell(cell, gates(xp, 4), state, mask)


class GRU(_Recurrent):
    """A gated recurrence with one state: ``h = z h + (1 - z) g``, with update gate ``z`` and reset gate ``r``.

    ``reset_after=True`` (as in Keras and cuDNN) takes ``g = activation(x_g + r (h @ recurrent_g + bias_g))``; False takes
    ``activation(x_g + (r h) @ recurrent_g)``. Gates stand in the order update, reset, candidate.
    Source: Cho et al. 2014, arXiv:1406.1078.

    >>> import numpy as np
    >>> GRU(4).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 4)
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _steps(self, x: jax.Array, state: tuple, mask: Any, keep: Any) -> tuple:
        kernel, recurrent = self._kernels(x.shape[-1])
        units, gate, first, after = self.units, self.recurrent_activation, None, None
        if self.use_bias and self.reset_after:
            both = self.param("bias", (2, 3 * units), "zeros")
            first, after = both[0], both[1]
        elif self.use_bias:
            first = self.param("bias", (3 * units,), "zeros")
        xp = _project(x, kernel, first)
        usual = self.activation is activations.tanh and gate is activations.sigmoid
        if usual and self.reset_after and keep is None:
            return gru(xp, state[0], recurrent, after, mask)

        def cell(x: Any, state: tuple) -> tuple:
            h, (xz, xr, xg) = state[0], x
            seen = h if keep is None else h * keep
            if self.reset_after:
                hz, hr, hg = gates(seen @ recurrent if after is None else seen @ recurrent + after, 3)
                z, r = gate(xz + hz), gate(xr + hr)
                g = self.activation(xg + r * hg)
            else:
                hz, hr = gates(seen @ recurrent[:, : 2 * units], 2)
                z, r = gate(xz + hz), gate(xr + hr)
                g = self.activation(xg + (r * seen) @ recurrent[:, 2 * units :])
            return (z * h + (1 - z) * g,)

        return scan_cell(cell, gates(xp, 3), state, mask)
