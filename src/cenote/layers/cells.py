"""Cells: one step of a recurrence, ``forward(x, states) -> (y, states)``, and the rules that cells and layers share.

A rule holds the arguments, the weights and the formula of one step. A cell runs one step of it, a recurrent layer all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import activations, initializers
from ..core import Module
from ..kernels import random
from ..kernels.recurrence import gates, gru, gru_rule, lstm, lstm_rule, scan_cell, simple
from .base import Layer
from .check import floating, fraction, positive, rank

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]


class _Rule(Layer):
    """One step of a recurrence: what a cell and the layer of the same name have in common.

    ``dropout`` acts on the input and ``recurrent_dropout`` on the state, in training only. As in Keras all gates see the same
    draw; with ``recurrent_dropout`` or ``implementation=1`` each gate has draws of its own, for the input, too.
    """

    weight_options = {"kernel": "kernel", "recurrent": "recurrent_kernel", "bias": "bias"}
    counted = "units"  # what Keras calls the first argument
    gates = 1
    states: tuple[str, ...] = ("h",)
    window: tuple[int, ...] = ()  # of the kernels, where products are convolutions
    projects = False  # whether `_fast` projects the input itself

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        implementation: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = positive(self, self.counted, units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.dropout = fraction(self, "dropout", dropout)
        self.recurrent_dropout = fraction(self, "recurrent_dropout", recurrent_dropout)
        self.seed, self.implementation = seed, implementation

    @property
    def state_size(self) -> Any:
        return self.units if len(self.states) == 1 else [self.units] * len(self.states)

    @property
    def output_size(self) -> int:
        return self.units

    # -- what a rule says: `_step`, and where there is a faster way to run all steps, `_usual` and `_fast` -----------------

    def _step(self, x: tuple, state: tuple, recurrent: Any, after: Any, keep: Any) -> tuple:
        """The new states; ``x`` is each gate's part of the projected input."""
        raise NotImplementedError

    def _usual(self) -> bool:
        """Whether `_fast` computes this rule, dropout apart."""
        return False

    def _fast(self, xp: Any, state: tuple, recurrent: Any, after: Any, mask: Any, **more: Any) -> tuple:
        """All steps; a rule that `projects` takes the input as it is, and in ``more`` its ``kernel`` and ``bias``."""
        raise NotImplementedError

    def _biases(self) -> tuple:
        """``(bias of the input's product, bias of the state's)``."""
        return self.param("bias", (self.gates * self.units,), "zeros"), None

    def _of_input(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return x @ kernel

    def _of_state(self, h: jax.Array, recurrent: jax.Array) -> jax.Array:
        return h @ recurrent

    def _state_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        """For one step of inputs of this shape."""
        return (x[0], self.units)

    def _draws(self) -> int:
        return self.gates if self.recurrent_dropout or self.implementation == 1 else 1

    # -- how it is run ---------------------------------------------------------------------------------------------------

    def _start(self, x: jax.Array) -> tuple:
        """Zeros for one step of inputs like ``x``."""
        return tuple(jnp.zeros(self._state_shape(x.shape), x.dtype) for _ in self.states)

    def _one_step(self, x: jax.Array, state: tuple) -> tuple:
        kernel, recurrent, first, after = self._declare(x)
        drop, keep = self._noise(x, state[0].shape)
        xp = self._project(x, kernel, first, drop)
        return self._step(gates(xp, self.gates), state, recurrent, after, keep)

    def _all_steps(self, x: jax.Array, state: tuple, mask: Any) -> tuple:
        """Time first: ``(outputs, states)``, of a layer that returns the last one only (1, batch, unit)."""
        kernel, recurrent, first, after = self._declare(x)
        drop, keep = self._noise(x[0], state[0].shape)
        usual = keep is None and self._usual()
        if usual and self.projects and drop is None and not self.window:
            # A layer says whether it gives the output of every step; of a cell that is not known here.
            last = not getattr(self, "return_sequences", True)
            return self._fast(x, state, recurrent, after, mask, kernel=kernel, bias=first, last=last)
        xp = self._project(x, kernel, first, drop)
        if usual:
            return self._fast(xp, state, recurrent, after, mask)
        return scan_cell(lambda a, s: self._step(a, s, recurrent, after, keep), gates(xp, self.gates), state, mask)

    def _declare(self, x: jax.Array) -> tuple:
        """``(kernel, recurrent, first, after)``: the kernels, and the biases of input and state."""
        width = self.gates * self.units
        kernel = self.param("kernel", (*self.window, x.shape[-1], width))
        recurrent = self.param("recurrent_kernel", (*self.window, self.units, width), "orthogonal")
        biases = self._biases() if self.use_bias else (None, None)
        return tuple(w if w is None else w.astype(x.dtype) for w in (kernel, recurrent, *biases))

    def _project(self, x: jax.Array, kernel: Any, bias: Any, drop: Any) -> jax.Array:
        """What the input gives to all gates, of one step (batch, ...) or, in one product, of all: (time, batch, ...)."""
        inner = len(self.window) + 1
        copies = (x,) if drop is None else tuple((x * d).astype(x.dtype) for d in drop)
        parts = [
            self._of_input(a.reshape(-1, *x.shape[-inner:]), k) for a, k in zip(copies, gates(kernel, len(copies)), strict=True)
        ]
        y = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        # Added to the matrix: the gradient of a bias added to (time, batch, unit) is a sum over two axes, ten times slower.
        return (y if bias is None else y + bias).reshape(*x.shape[:-inner], *y.shape[1:])

    def _recur(self, h: jax.Array, recurrent: jax.Array, keep: Any) -> tuple:
        """What the state gives to each gate of ``recurrent``, which may hold the first of them only."""
        count = recurrent.shape[-1] // self.units
        if keep is None:
            return gates(self._of_state(h, recurrent), count)
        return tuple(self._of_state(_kept(h, k), r) for k, r in zip(keep, gates(recurrent, count), strict=False))

    def _noise(self, x: jax.Array, state: tuple[int, ...]) -> tuple:
        """Factors of dropout for input and state, (draw, batch, ...), or None: one draw for all gates or one for each."""
        count, wide = self._draws(), jnp.promote_types(x.dtype, jnp.float32)
        return tuple(
            random.dropout(jnp.ones((count, *shape), wide), rate, self.seeded_key()) if self.train and rate else None
            for rate, shape in ((self.dropout, x.shape), (self.recurrent_dropout, state))
        )


def _kept(h: jax.Array, factor: Any) -> jax.Array:
    return h if factor is None else (h * factor).astype(h.dtype)


class _Simple(_Rule):
    def _step(self, x: tuple, state: tuple, recurrent: Any, after: Any, keep: Any) -> tuple:
        return (self.activation(x[0] + self._recur(state[0], recurrent, keep)[0]),)

    def _usual(self) -> bool:
        return self.activation is activations.tanh

    def _fast(self, xp: Any, state: tuple, recurrent: Any, after: Any, mask: Any, **more: Any) -> tuple:
        return simple(xp, state[0], recurrent, mask)


class _Gated(_Rule):
    """What the rules with gates share: the activation of the gates."""

    def __init__(self, units: int, activation: Any, recurrent_activation: Any, use_bias: bool, **options: Any) -> None:
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = activations.get(recurrent_activation)

    def _usual(self) -> bool:
        return self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid


class _LSTM(_Gated):
    gates = 4
    projects = True
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
        super().__init__(units, activation, recurrent_activation, use_bias, **options)
        self.unit_forget_bias = unit_forget_bias

    def _biases(self) -> tuple:
        said = self.options.get("bias", {})
        start, units = said.get("initializer") or initializers.get("zeros"), self.units

        def draw(key: Any, shape: tuple, dtype: Any) -> Any:
            if not self.unit_forget_bias:
                return start(key, shape, dtype)
            keys = jax.random.split(key)
            first, rest = start(keys[0], (units,), dtype), start(keys[1], (2 * units,), dtype)
            return jnp.concatenate([jnp.asarray(first), jnp.ones((units,), dtype), jnp.asarray(rest)])

        # Past Layer.param, where an initializer that was said would take the place of this one.
        regularizer, constraint = said.get("regularizer"), said.get("constraint")
        return super(Layer, self).param("bias", (4 * units,), draw, regularizer=regularizer, constraint=constraint), None

    def _step(self, x: tuple, state: tuple, recurrent: Any, after: Any, keep: Any) -> tuple:
        u = self._recur(state[0], recurrent, keep)
        z = tuple(a + b for a, b in zip(x, u, strict=True))
        return lstm_rule(z, state[1], self.activation, self.recurrent_activation)[:2]

    def _fast(self, xp: Any, state: tuple, recurrent: Any, after: Any, mask: Any, **more: Any) -> tuple:
        return lstm(xp, state[0], state[1], recurrent, mask, **more)


class _GRU(_Gated):
    gates = 3
    projects = True

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
        super().__init__(units, activation, recurrent_activation, use_bias, **options)
        self.reset_after = reset_after

    def _biases(self) -> tuple:
        if not self.reset_after:
            return self.param("bias", (3 * self.units,), "zeros"), None
        both = self.param("bias", (2, 3 * self.units), "zeros")
        return both[0], both[1]

    def _step(self, x: tuple, state: tuple, recurrent: Any, after: Any, keep: Any) -> tuple:
        h, cut = state[0], 2 * self.units
        if self.reset_after:
            u = self._recur(h, recurrent, keep)
            if after is not None:
                u = tuple(a + b for a, b in zip(u, gates(after, 3), strict=True))
            inner = lambda r: r * u[2]  # noqa: E731
        else:
            u = self._recur(h, recurrent[:, :cut], keep)
            seen = h if keep is None else _kept(h, keep[2])
            inner = lambda r: (r * seen) @ recurrent[:, cut:]  # noqa: E731
        return gru_rule(x, u, h, inner, self.activation, self.recurrent_activation)[:1]

    def _usual(self) -> bool:
        return self.reset_after and super()._usual()

    def _fast(self, xp: Any, state: tuple, recurrent: Any, after: Any, mask: Any, **more: Any) -> tuple:
        return gru(xp, state[0], recurrent, after, mask, **more)


# -- cells ---------------------------------------------------------------------------------------------------------------


class _Cell(_Rule):
    """One step of a rule as a layer."""

    axes = "(batch, feature)"

    def get_initial_state(self, batch_size: int = 1) -> list:
        """Zeros (batch, unit) for each state."""
        return [jnp.zeros((batch_size, self.units)) for _ in self.states]

    def forward(self, x: Any, states: Any) -> tuple:
        x = floating(x)
        rank(self, x, 2 + len(self.window), f"one step, {self.axes}", "layers.RNN(cell) runs a cell over time")
        several = isinstance(states, (list, tuple))
        state = tuple(jnp.asarray(s, x.dtype) for s in (states if several else (states,)))
        shape = self._state_shape(x.shape)
        if [s.shape for s in state] != [shape] * len(self.states):
            raise ValueError(
                f"{type(self).__name__} takes {len(self.states)} states of shape {shape}, got {[s.shape for s in state]}: "
                f"start with cell.get_initial_state(batch_size)"
            )
        new = self._one_step(x, state)
        return new[0], type(states)(new) if several else new[0]


class SimpleRNNCell(_Simple, _Cell):
    """One step of `SimpleRNN`: ``h = activation(x @ kernel + h @ recurrent_kernel + bias)``, ``y = h``.

    Shapes: x (batch, feature), states [h] (batch, unit) -> (h, [h]). Dropout draws anew at each call; in `RNN` it is one draw
    for all steps, as in Keras.
    Source: Elman 1990, "Finding structure in time".

    >>> import numpy as np
    >>> cell, x = SimpleRNNCell(4), np.ones((2, 3), "float32")
    >>> h, states = cell.build(x, cell.get_initial_state(2))(x, cell.get_initial_state(2))
    >>> h.shape, len(states)
    ((2, 4), 1)
    """


class LSTMCell(_LSTM, _Cell):
    """One step of `LSTM`: ``c = f c + i g``, ``h = o activation(c)``, ``y = h``.

    Shapes: x (batch, feature), states [h, c] (batch, unit) -> (h, [h, c]). Gates stand in the order input, forget, candidate,
    output. Dropout draws anew at each call; in `RNN` it is one draw for all steps, as in Keras.
    Source: Hochreiter and Schmidhuber 1997, Neural Computation 9; Gers et al. 2000.

    >>> import numpy as np
    >>> cell, x = LSTMCell(4), np.ones((2, 3), "float32")
    >>> h, states = cell.build(x, cell.get_initial_state(2))(x, cell.get_initial_state(2))
    >>> h.shape, len(states)
    ((2, 4), 2)
    """


class GRUCell(_GRU, _Cell):
    """One step of `GRU`: ``h = z h + (1 - z) g``, ``y = h``.

    Shapes: x (batch, feature), states [h] (batch, unit) -> (h, [h]). Gates stand in the order update, reset, candidate. Dropout
    draws anew at each call; in `RNN` it is one draw for all steps, as in Keras.
    Source: Cho et al. 2014, arXiv:1406.1078.

    >>> import numpy as np
    >>> cell, x = GRUCell(4), np.ones((2, 3), "float32")
    >>> h, states = cell.build(x, cell.get_initial_state(2))(x, cell.get_initial_state(2))
    >>> h.shape, len(states)
    ((2, 4), 1)
    """


class StackedRNNCells(Layer):
    """Cells on top of each other that act as one: the output of each is the input of the next.

    ``cells`` are cells in the sense of `RNN`, the lowest first. States: one entry per cell, each what that cell carries.
    Shapes: x (batch, feature), states [states of each cell] -> (output of the last cell, [new states of each cell]).
    Raises: ValueError for an empty list and for what is no cell.

    >>> import numpy as np
    >>> from cenote import layers
    >>> layers.RNN(StackedRNNCells([GRUCell(4), LSTMCell(5)])).build(np.ones((2, 6, 3)))(np.ones((2, 6, 3))).shape
    (2, 5)
    """

    def __init__(self, cells: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(cells, (list, tuple)) or not cells:
            raise ValueError(f"StackedRNNCells needs a list of cells, got {cells!r}")
        self.cells = [checked_cell("StackedRNNCells", cell) for cell in cells]

    @property
    def state_size(self) -> list:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        last = self.cells[-1]
        size = getattr(last, "output_size", None)
        return size if size is not None else jax.tree.leaves(last.state_size)[0]

    def get_initial_state(self, batch_size: int = 1) -> list:
        """The start states of each cell."""
        return start_of(self, jnp.zeros((batch_size, 1)))

    def forward(self, x: Any, states: Any) -> tuple:
        if not isinstance(states, (list, tuple)) or len(states) != len(self.cells):
            count = len(states) if isinstance(states, (list, tuple)) else 1
            raise ValueError(f"StackedRNNCells takes one entry of states for each of its {len(self.cells)} cells, got {count}")
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            x, after = cell(x, state)
            new.append(like_states(cell, after, state))
        return x, type(states)(new)


def checked_cell(owner: str, cell: Any) -> Any:
    """A cell, or an error that says what one is."""
    if not isinstance(cell, Module) or getattr(cell, "state_size", None) is None:
        raise ValueError(
            f"{owner} needs cells: layers with forward(x, states) -> (y, states) and a state_size, as layers.LSTMCell(32) is; "
            f"got {cell!r}"
        )
    if isinstance(cell, _Rule) and not isinstance(cell, _Cell):
        raise ValueError(
            f"{owner} needs a cell, but {type(cell).__name__} runs over time itself: use {type(cell).__name__}Cell"
        )
    return cell


def start_of(cell: Any, x: jax.Array) -> list:
    """The start states for a step like ``x``: what the cell's ``get_initial_state`` says, else zeros of its ``state_size``."""
    if isinstance(cell, StackedRNNCells):
        states = []
        for inner in cell.cells:
            states.append(start_of(inner, x))
            x = jax.tree.leaves(states[-1])[0]  # what the next cell sees has its shape, where shapes matter
        return states
    if isinstance(cell, _Cell):
        return list(cell._start(x))
    if hasattr(cell, "get_initial_state"):
        start = cell.get_initial_state(batch_size=x.shape[0])
    else:
        start = jax.tree.map(lambda size: jnp.zeros((x.shape[0], size)), cell.state_size)
    return list(start) if isinstance(start, (list, tuple)) else [start]


def like_states(cell: Any, new: Any, old: Any) -> Any:
    """The states that a cell returned, in the form of those that it got: the same tree, shapes and dtypes."""
    leaves, wanted = jax.tree.leaves(new), jax.tree.leaves(old)
    if [jnp.shape(a) for a in leaves] != [jnp.shape(a) for a in wanted]:
        raise ValueError(
            f"{type(cell).__name__} was given states of shapes {[jnp.shape(a) for a in wanted]} and returned "
            f"{[jnp.shape(a) for a in leaves]}: forward(x, states) must return (y, states) with states as they came; "
            f"state_size says their sizes, {cell.state_size!r} now"
        )
    same = [jnp.asarray(a, b.dtype) for a, b in zip(leaves, wanted, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(old), same)
