"""Layers around layers: both directions, every time step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..core import Module, annotate, annotation, clone, members, unknown
from .base import Layer

__all__ = ["Bidirectional", "TimeDistributed", "Wrapper"]


class Wrapper(Layer):
    """The base of layers around another layer: keeps it as ``self.layer``, where its weights are found, as ``layer.kernel``.

    Write ``forward`` and call ``self.layer`` in it. The same layer object inside two wrappers has the same weights in both.
    Raises: ValueError for what is no layer.

    >>> from cenote import layers
    >>> class Twice(Wrapper):
    ...     def forward(self, x):
    ...         return self.layer(self.layer(x))
    >>> list(Twice(layers.Dense(3)).init(0, jnp.ones((2, 3)))[0])
    ['layer.kernel', 'layer.bias']
    """

    def __init__(self, layer: Any, **options: Any) -> None:
        super().__init__(**options)
        self.layer = _module(self, "layer", layer)


def _module(wrapper: Any, name: str, layer: Any) -> Any:
    if not isinstance(layer, Module):
        what = f"the class {layer.__name__}: make a layer of it, with ()" if isinstance(layer, type) else repr(layer)
        raise ValueError(f"{type(wrapper).__name__} needs {name} to be a layer or a model, got {what}")
    return layer


class TimeDistributed(Wrapper):
    """A layer on every time step, with the same weights: ``y[:, t] = layer(x[:, t])``.

    All steps are one batch of (batch * time) examples to the layer: one call, whatever their number. So a BatchNormalization
    inside takes its statistics over batch and time together (Keras: over each step apart). The mask (batch, time) is passed on;
    of a mask with more axes, as that of words in sentences in texts, the layer gets the rest, and a step counts where any of it
    does. Weights: those of the layer, as ``layer.kernel``.
    Shapes: (batch, time, ...) -> (batch, time, ...); trees of arrays work, too.
    Raises: ValueError for what is no layer, for inputs of fewer than 3 axes, for a mask of another shape.

    >>> import numpy as np
    >>> from cenote import layers
    >>> layers.TimeDistributed(layers.Conv2D(4, 3)).build(np.ones((2, 5, 8, 8, 1)))(np.ones((2, 5, 8, 8, 1))).shape
    (2, 5, 6, 6, 4)
    """

    def forward(self, x: Any, mask: Any = None) -> Any:
        arrays = [jnp.asarray(leaf) for leaf in jax.tree.leaves(x)]
        lead = arrays[0].shape[:2]
        if any(a.ndim < 3 or a.shape[:2] != lead for a in arrays):
            raise ValueError(
                f"TimeDistributed takes (batch, time, ...), 3 axes or more, but the input has shape "
                f"{', '.join(str(a.shape) for a in arrays)}: add an axis, e.g. x[..., None], or use the layer itself"
            )
        given = next((m for m in map(self.mask, jax.tree.leaves(x)) if m is not None), None)
        given = given if mask is None else jnp.asarray(mask, bool)
        if given is not None and given.shape[:2] != lead:
            raise ValueError(f"TimeDistributed needs a mask that starts with (batch, time) {lead}, got shape {given.shape}")
        flat = [a.reshape(-1, *a.shape[2:]) for a in arrays]
        if given is not None and given.ndim > 2:
            annotate(flat[0], "mask", given.reshape(-1, *given.shape[2:]))
        y = self.layer(jax.tree.unflatten(jax.tree.structure(x), flat))
        return jax.tree.map(lambda leaf: self._unfold(leaf, lead, given), y)

    def _unfold(self, y: jax.Array, lead: tuple[int, ...], mask: Any) -> jax.Array:
        """Time as an axis again, with the notes that later layers and losses read."""
        out = y.reshape(*lead, *y.shape[1:])
        logits, inner = annotation(y, "logits"), annotation(y, "mask")
        annotate(out, "logits", None if logits is None else logits.reshape(*lead, *logits.shape[1:]))
        annotate(out, "link", annotation(y, "link"))
        if inner is not None:
            return annotate(out, "mask", inner.reshape(*lead, *inner.shape[1:]))
        return annotate(out, "mask", None if mask is None else mask.reshape(*lead, -1).any(-1))


_MERGES = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
    None: lambda a, b: (a, b),
}


class Bidirectional(Layer):
    """A recurrent layer and its mirror image: one reads time from the start, the other from the end, and both are merged.

    ``layer`` is any recurrent layer (``RNN``, ``LSTM``, ``ConvLSTM2D``, ...); the backward one is a copy of it with weights of
    its own, or ``backward_layer``. ``merge_mode`` is "concat", "sum", "ave", "mul", or None for a pair of outputs. With
    ``return_sequences`` both are in the order of time, and masked steps are zeros. With ``return_state`` the states of the
    forward layer follow, then those of the backward one; ``initial_state`` takes them in this order. Weights: those of the two
    layers, as ``forward_layer.kernel`` and ``backward_layer.kernel``.
    Shapes: (batch, time, feature) -> (batch, 2 unit), or (batch, time, 2 unit) with ``return_sequences``.
    Raises: ValueError for what is no recurrent layer, and for two layers that do not fit together.
    Source: Schuster and Paliwal 1997, IEEE Transactions on Signal Processing 45.

    >>> import numpy as np
    >>> from cenote import layers
    >>> layers.Bidirectional(layers.LSTM(4)).build(np.ones((2, 5, 3)))(np.ones((2, 5, 3))).shape
    (2, 8)
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.forward_layer = _recurrent(self, "layer", layer)
        if merge_mode not in _MERGES:
            raise unknown("merge_mode of Bidirectional", merge_mode, [str(m) for m in _MERGES])
        if weights is not None:
            raise ValueError("Bidirectional takes no weights: call set_weights(weights) on the model once it is built")
        self.merge_mode = merge_mode
        self.backward_layer = _mirror(layer) if backward_layer is None else _recurrent(self, "backward_layer", backward_layer)
        ahead, back = self.forward_layer, self.backward_layer
        if ahead.go_backwards == back.go_backwards:
            raise ValueError(
                f"Bidirectional needs one layer that reads forward and one that reads backward, but both have "
                f"go_backwards={ahead.go_backwards}: give backward_layer go_backwards=True"
            )
        for name in ("stateful", "return_sequences", "return_state"):
            if getattr(ahead, name, False) != getattr(back, name, False):
                raise ValueError(
                    f"Bidirectional needs layers that agree in {name}: layer has {getattr(ahead, name, False)}, backward_layer "
                    f"{getattr(back, name, False)}"
                )
        self.stateful = getattr(layer, "stateful", False)
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state

    def forward(self, x: Any, initial_state: Any = None, mask: Any = None) -> Any:
        given = self.mask(x) if mask is None else jnp.asarray(mask, bool)
        starts: tuple = (None, None)
        if initial_state is not None:
            if not isinstance(initial_state, (list, tuple)) or len(initial_state) % 2:
                raise ValueError(
                    "Bidirectional needs initial_state as a list: the states of the forward layer, then as many of the "
                    "backward one"
                )
            half = len(initial_state) // 2
            starts = (list(initial_state[:half]), list(initial_state[half:]))
        outputs, states = [], []
        for layer, start in zip((self.forward_layer, self.backward_layer), starts, strict=True):
            said = {"initial_state": start, "mask": given}
            y = layer(x, **{k: v for k, v in said.items() if v is not None})
            if self.return_state:
                y, *last = y
                states += last
            if self.return_sequences:
                y = y[:, ::-1] if layer.go_backwards else y
                y = y if given is None else jnp.where(given.reshape(*given.shape, *[1] * (y.ndim - 2)), y, 0)
            outputs.append(y)
        merged = _MERGES[self.merge_mode](*outputs)
        if self.return_sequences:
            for leaf in jax.tree.leaves(merged):
                annotate(leaf, "mask", given)
        if not self.return_state:
            return merged
        return (*merged, *states) if self.merge_mode is None else (merged, *states)

    def reset_state(self) -> None:
        """Let both stateful layers start from zeros again."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state


def _recurrent(wrapper: Any, name: str, layer: Any) -> Any:
    missing = [a for a in ("go_backwards", "return_sequences", "return_state") if not hasattr(_module(wrapper, name, layer), a)]
    if missing:
        raise ValueError(
            f"{type(wrapper).__name__} needs {name} to be a recurrent layer, such as LSTM(32); {type(layer).__name__} has no "
            f"{' and no '.join(missing)}"
        )
    return layer


def _mirror(layer: Any) -> Any:
    """A copy that reads time the other way, without weights as yet."""
    new = clone(layer, arrays=False)
    for member in members(new).values():
        member._weights = {}
    new.go_backwards = not layer.go_backwards
    new._constructor = ((), {**new.arguments(), "go_backwards": new.go_backwards})
    return new
