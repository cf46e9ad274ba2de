"""What belongs to no family: masks, plain functions, nothing at all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core import annotate
from .base import Layer

__all__ = ["Identity", "Lambda", "Masking"]


class Identity(Layer):
    """Nothing: the input comes out.

    >>> Identity()(jnp.arange(3)).tolist()
    [0, 1, 2]
    """

    supports_masking = True

    def forward(self, x: Any) -> Any:
        return x


class Masking(Layer):
    """Steps whose features all equal ``mask_value`` are zeroed and masked: later layers and the loss leave them out.

    Shapes: (batch, time, feature) -> the same, with the mask (batch, time).

    >>> Masking()(jnp.array([[[1.0, 2.0], [0.0, 0.0]]])).tolist()
    [[[1.0, 2.0], [0.0, 0.0]]]
    """

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def forward(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        mask = (x != self.mask_value).any(-1)
        return annotate(jnp.where(mask[..., None], x, jnp.zeros((), x.dtype)), "mask", mask)


class Lambda(Layer):
    """A function of arrays as a layer, without weights: ``y = function(x, **arguments)``.

    ``function`` may take ``mask`` and ``train`` (or ``training``), and gets those of the call. ``mask`` is the mask of the
    result, or a function ``(inputs, mask) -> mask``. ``output_shape`` is accepted, not needed. A model with a Lambda is saved
    with the function's name and loads when that is passed in: ``cn.load(path, custom_objects={"name": function})``.
    Raises: TypeError for what is no function.

    >>> Lambda(lambda x: x**2)(jnp.array([3.0])).tolist()
    [9.0]
    """

    def __init__(
        self,
        function: Callable,
        output_shape: Any = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not callable(function):
            raise TypeError(f"Lambda needs a function of arrays, such as jax.numpy.square, got {function!r}")
        self.function, self.given_mask, self.constants = function, mask, dict(arguments or {})
        try:
            takes = set(inspect.signature(function).parameters) - set(self.constants)
        except ValueError:  # some functions written in C do not say
            takes = set()
        self.takes_mask = "mask" in takes
        self.mode = next((name for name in ("train", "training") if name in takes), None)

    def forward(self, x: Any) -> Any:
        mask = [self.mask(a) for a in x] if isinstance(x, (list, tuple)) else self.mask(x)
        told = {"mask": mask} if self.takes_mask else {}
        if self.mode is not None:
            told[self.mode] = self.train
        y = self.function(x, **self.constants, **told)
        given = self.given_mask(x, mask) if callable(self.given_mask) else self.given_mask
        return y if given is None else annotate(y, "mask", jnp.asarray(given, bool))
