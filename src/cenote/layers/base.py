"""Layer: a Module that takes Keras's common arguments, handled here once for every weight of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from .. import constraints, initializers, regularizers
from ..core import Module, annotate, annotation
from ..core.configurable import parameters
from ..core.errors import unknown
from ..core.notes import add_loss

__all__ = ["Layer"]


class Layer(Module):
    """The base of all layers: names, freezing, and initializer, regularizer and constraint of each weight.

    ``weight_options`` maps Keras's option prefix to our weight name: ``{"gamma": "scale"}`` lets BatchNormalization take
    ``gamma_initializer=``, ``gamma_regularizer=`` and ``gamma_constraint=`` for its weight ``scale``.

    >>> class Scale(Layer):
    ...     weight_options = {"gamma": "scale"}
    ...     def forward(self, x):
    ...         return x * self.param("scale", (x.shape[-1],), "ones")
    >>> Scale(gamma_initialiser="zeros")
    Traceback (most recent call last):
    ValueError: unknown argument of Scale 'gamma_initialiser': did you mean 'gamma_initializer' or ...
    """

    weight_options: dict[str, str] = {}
    supports_masking: bool = False
    _learned: Mapping[str, Any] = MappingProxyType({})  # constructor arguments that adapt has found
    _bookkeeping = Module._bookkeeping | {"_learned"}

    # Defaults here, so that a subclass that forgets super().__init__() works, too.
    input_shape: tuple[int | None, ...] | None = None
    activity_regularizer: Any = None
    options: dict[str, dict[str, Any]] = MappingProxyType({})  # type: ignore[assignment]

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        input_shape: tuple[int | None, ...] | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self._trainable = bool(trainable)  # of this layer alone: parts that it was given keep theirs
        self.input_shape = _input_shape(input_shape, options)
        if dtype not in (None, "float32"):
            raise ValueError(
                f"{type(self).__name__}(dtype={dtype!r}): precision is a policy of the whole model here; "
                f"use model.compile(precision='mixed_bfloat16')"
            )
        known = ["activity_regularizer", *(f"{p}_{kind}" for p in self.weight_options for kind in _KINDS)]
        for option in options:
            if option not in known:
                own = [name for name, p in parameters(type(self)).items() if p.kind is not p.VAR_KEYWORD]
                takes = dict.fromkeys([*own, *known, "name", "trainable", "input_shape"])
                raise unknown(f"argument of {type(self).__name__}", option, [*takes])
        self.activity_regularizer = regularizers.get(options.pop("activity_regularizer", None))
        self.options: dict[str, dict[str, Any]] = {}
        for option, value in options.items():
            prefix, _, kind = option.rpartition("_")
            self.options.setdefault(self.weight_options[prefix], {})[kind] = _KINDS[kind](value)

    def param(self, name: str, shape: tuple[int, ...], init: Any = "glorot_uniform", **said: Any) -> Any:
        """Declare and read a weight; what the user's options say about it wins over the layer's default."""
        options = self.options.get(name, {})
        init = options.get("initializer") or initializers.get(init)
        said = {"regularizer": options.get("regularizer"), "constraint": options.get("constraint")} | said
        return super().param(name, shape, init, **said)

    def state(self, name: str, shape: tuple[int, ...], init: Any = "zeros", **said: Any) -> Any:
        init = self.options.get(name, {}).get("initializer") or initializers.get(init)
        return super().state(name, shape, init, **said)

    def _adapted(self, **learned: Any) -> None:
        """Keep what ``adapt`` learned as if it had been given to the constructor: that is how it is saved."""
        self._constructor = ((), {**self.arguments(), **learned})
        self._learned = {**self._learned, **learned}
        Module._changes += 1

    def _learn_again(self, **learned: Any) -> None:
        """What another object of this class has learned, as a file brings it."""
        type(self).__init__(self, **{**self.arguments(), **learned})
        self._adapted(**learned)

    def seeded_key(self) -> jax.Array:
        """A fresh key of the call, to which the layer's own ``seed`` adds, if it has one."""
        key, seed = self.next_key(), getattr(self, "seed", None)
        return key if seed is None else jax.random.fold_in(key, seed & 0xFFFFFFFF)

    def mask(self, x: Any) -> Any:
        """The mask (batch, time) that came with a sequence, or None."""
        return annotation(x, "mask")

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        y = self.forward(*args, **kwargs)
        if self.supports_masking and args:
            annotate(y, "mask", annotation(args[0], "mask"))
        if self.activity_regularizer is not None:
            self._inside("activity_regularizer").forbid_inner_trace("an activity regularizer")
            # Keras divides by the batch, so that the penalty does not grow with it.
            for leaf in jax.tree.leaves(y):
                add_loss(self.activity_regularizer(leaf) / jnp.shape(leaf)[0])
        return y


_KINDS: dict[str, Callable] = {
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}


def _input_shape(shape: Any, options: dict[str, Any]) -> tuple[int | None, ...] | None:
    """Keras's older spellings of the same thing: ``input_dim=4``, ``batch_input_shape=(None, 4)``, ``input_length=``."""
    length, width = (
        options.pop("input_length", None),
        options.pop("input_dim", None) if "input_dim" in options else None,
    )
    batch = options.pop("batch_input_shape", None)
    if shape is None and batch is not None:
        shape = tuple(batch)[1:]
    if shape is None and width is not None:
        shape = (width,) if length is None else (length, width)
    if shape is None:
        return None
    return (shape,) if isinstance(shape, int) else tuple(shape)
