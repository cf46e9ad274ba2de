"""Recurrent layers: a state that is carried through time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import activations, initializers
from ..core import annotate
from ..kernels import random
from ..kernels.recurrence import lstm, scan_cell
from .base import Layer
from .check import floating, fraction, positive, rank


class _Recurrent(Layer):
    """What recurrent layers share: time, masks, states, direction, dropout. A subclass projects its input and steps a cell."""

    weights = {"kernel": "kernel", "recurrent": "recurrent_kernel", "bias": "bias"}
    gates = 1
    states = ("h",)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
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
        state = self._start(batch, x.dtype, initial_state)
        if self.train and self.dropout:
            x = random.dropout(x, self.dropout, self.next_key(), (batch, 1, x.shape[-1]))
        keep = None
        if self.train and self.recurrent_dropout:
            keep = random.dropout(jnp.ones((batch, self.units), x.dtype), self.recurrent_dropout, self.next_key())
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

    def _start(self, batch: int, dtype: Any, given: Any) -> tuple:
        if given is not None:
            state = tuple(given) if isinstance(given, (list, tuple)) else (given,)
            if len(state) != len(self.states):
                raise ValueError(f"{type(self).__name__} carries {len(self.states)} states, initial_state holds {len(state)}")
            for value in state:
                if jnp.shape(value) != (batch, self.units):
                    raise ValueError(
                        f"{type(self).__name__} needs initial states of shape {(batch, self.units)}, got {jnp.shape(value)}"
                    )
            return tuple(jnp.asarray(value, dtype) for value in state)
        if self.stateful:
            return tuple(self.state(name, (batch, self.units), "zeros").astype(dtype) for name in self.states)
        return tuple(jnp.zeros((batch, self.units), dtype) for _ in self.states)

    def _kernels(self, width: int) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", (width, self.gates * self.units))
        return kernel, self.param("recurrent_kernel", (self.units, self.gates * self.units), "orthogonal")

    def _steps(self, x: jax.Array, state: tuple, mask: Any, keep: Any) -> tuple:
        raise NotImplementedError


def _project(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """All time steps in one product: (time, batch, feature) -> (time, batch, gates * unit)."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:2], -1)


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
        xp = _project(x, kernel)
        if self.use_bias:
            xp = xp + self.param("bias", (self.units,), "zeros")

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
        xp = _project(x, kernel)
        if self.use_bias:
            xp = xp + self._bias()
        usual = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        if usual and keep is None:
            return lstm(xp, state[0], state[1], recurrent, mask)

        def cell(x: Any, state: tuple) -> tuple:
            h, c = state
            i, f, g, o = jnp.split(x + (h if keep is None else h * keep) @ recurrent, 4, axis=-1)
            gate = self.recurrent_activation
            c = gate(f) * c + gate(i) * self.activation(g)
            return gate(o) * self.activation(c), c

        return scan_cell(cell, xp, state, mask)


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
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _steps(self, x: jax.Array, state: tuple, mask: Any, keep: Any) -> tuple:
        kernel, recurrent = self._kernels(x.shape[-1])
        units, gate = self.units, self.recurrent_activation
        xp, after = _project(x, kernel), None
        if self.use_bias:
            shape = (2, 3 * units) if self.reset_after else (3 * units,)
            bias = self.param("bias", shape, "zeros")
            xp, after = (xp + bias[0], bias[1]) if self.reset_after else (xp + bias, None)

        def cell(x: Any, state: tuple) -> tuple:
            h = state[0]
            seen = h if keep is None else h * keep
            xz, xr, xg = jnp.split(x, 3, axis=-1)
            if self.reset_after:
                hp = seen @ recurrent if after is None else seen @ recurrent + after
                hz, hr, hg = jnp.split(hp, 3, axis=-1)
                z, r = gate(xz + hz), gate(xr + hr)
                g = self.activation(xg + r * hg)
            else:
                hz, hr = jnp.split(seen @ recurrent[:, : 2 * units], 2, axis=-1)
                z, r = gate(xz + hz), gate(xr + hr)
                g = self.activation(xg + (r * seen) @ recurrent[:, 2 * units :])
            return (z * h + (1 - z) * g,)

        return scan_cell(cell, xp, state, mask)
