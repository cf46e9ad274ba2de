"""Layers that work on the host, in front of the compiled model: texts, categories, whatever no accelerator holds."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..core.notes import find_symbolic
from .base import Layer

__all__ = ["HostLayer"]


class HostLayer(Layer):
    """A layer of NumPy: write ``prepare(x)``, from an array of anything (texts, too) to an array of numbers.

    It stands where data comes in: first in a Sequential, or called on an Input. `fit`, `evaluate` and `predict` run it on each
    batch before the compiled program. What it learns by ``adapt(data)`` it keeps as constructor arguments (`_adapted`), so that
    it is saved with the model.
    Raises: TypeError when it is called inside a compiled computation.

    >>> class Length(HostLayer):
    ...     def prepare(self, x):
    ...         return np.vectorize(len)(x).astype("float32")
    >>> Length()(np.array(["one", "three"])).tolist()
    [3.0, 5.0]
    """

    def prepare(self, x: np.ndarray) -> np.ndarray:
        """The numbers for a batch: (batch, ...) -> (batch, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no prepare(self, x): write the preparation there")

    def __call__(self, x: Any, *, train: bool | None = None, key: Any = None) -> Any:
        symbolic = find_symbolic(x)
        if symbolic is not None:
            return symbolic.record(self, (x,), {})
        if isinstance(x, jax.core.Tracer):
            return self.forward(x)
        return self.prepare(np.asarray(x))

    def forward(self, x: Any) -> Any:
        raise TypeError(
            f"{type(self).__name__} works on the host, before the compiled model: put it first in a Sequential, or call it on "
            f"an Input, or prepare the data with it before"
        )

    def on_host(self, spec: jax.ShapeDtypeStruct, free: int = 2) -> Any:
        """What comes out for an input of that shape: seen by trying it, with texts of ``free`` words."""
        text = np.dtype(spec.dtype).kind in "US"
        sample = np.full(spec.shape, " ".join(["a"] * free)) if text else np.zeros(spec.shape, spec.dtype)
        return jax.eval_shape(lambda: self.prepare(sample))
