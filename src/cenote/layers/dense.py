"""Dense layers: every output is a weighted sum of every input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import activations
from ..kernels import training
from ..kernels.product import product
from .base import Layer
from .check import floating, positive

__all__ = ["Bilinear", "Dense", "EinsumDense"]


class Dense(Layer):
    """A fully connected layer: ``y = activation(x @ kernel + bias)``.

    Args: ``units`` outputs; ``activation`` by name or function; ``use_bias``; initializers, regularizers and constraints of
    ``kernel`` and ``bias``.
    Shapes: (batch, ..., feature) -> (batch, ..., unit); kernel (feature, unit), bias (unit).
    Raises: ValueError for an input without a feature axis.

    >>> import numpy as np
    >>> Dense(4, "relu").build(np.ones((2, 3)))(np.ones((2, 3))).shape
    (2, 4)
    """

    weight_options = {"kernel": "kernel", "bias": "bias"}
    supports_masking = True

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        if x.ndim < 2:
            raise ValueError(
                f"Dense takes (batch, ..., feature), but the input has shape {x.shape}: give each a row, x.reshape(-1, 1)"
            )
        kernel = self.param("kernel", (x.shape[-1], self.units))
        bias = self.param("bias", (self.units,), "zeros") if self.use_bias else None
        rows, shape = x.reshape(-1, x.shape[-1]), (*x.shape[:-1], self.units)
        # One product of two matrices: more axes make XLA choose slower forms of it. Outside training it is the plain one,
        # which those who walk through a jaxpr know.
        # Inside a transformation of the user's own it has to have derivatives of every order.
        if self.train and self._inside("forward").at_home() and training.takes_dense(rows, kernel):
            return self.activation(training.dense(rows, kernel, bias).reshape(shape))
        y = (product if self.train else jnp.matmul)(rows, kernel).reshape(shape)
        return self.activation(y if bias is None else y + bias)


class EinsumDense(Layer):
    """A weighted sum along any axes, as an equation says: ``y = activation(einsum(equation, x, kernel) + bias)``.

    ``equation`` such as "abc,cd->abd", with "..." for axes that are left alone ("...x,xy->...y" or "ax...,xy->ay...");
    ``output_shape`` the sizes of the result without the batch (and without what "..." stands for), None for those of the
    input; ``bias_axes`` the letters of the result that have a bias of their own.
    Raises: ValueError for an equation that does not fit, naming the letter.

    >>> import numpy as np
    >>> EinsumDense("abc,cd->abd", (None, 4), bias_axes="d").build(np.ones((2, 3, 5)))(np.ones((2, 3, 5))).shape
    (2, 3, 4)
    """

    weight_options = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self, equation: str, output_shape: Any, activation: Any = None, bias_axes: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.equation = equation.replace(" ", "")
        self.output_shape = tuple(output_shape) if isinstance(output_shape, (tuple, list)) else (output_shape,)
        self.activation = activations.get(activation)
        self.bias_axes = bias_axes
        terms = self.equation.replace("->", ",").split(",")
        if len(terms) != 3 or "->" not in self.equation or ("..." in terms[0]) != ("..." in terms[2]) or "..." in terms[1]:
            raise ValueError(
                f"EinsumDense needs an equation input,kernel->result such as 'abc,cd->abd' or '...x,xy->...y', got {equation!r}"
            )
        self.terms = terms

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        source, kernel, result = self._letters(x.ndim)
        sizes = dict(zip(source, x.shape, strict=True))
        given = iter(self.output_shape if result[0].isdigit() else (None, *self.output_shape))  # the batch has its own size
        for letter in result:
            size = None if letter.isdigit() else next(given, None)
            if size is not None and sizes.setdefault(letter, size) != size:
                raise ValueError(
                    f"EinsumDense({self.equation!r}): {letter!r} is {sizes[letter]} in the input, {size} in the result"
                )
        for letter in (*kernel, *result):
            if letter not in sizes:
                raise ValueError(
                    f"EinsumDense({self.equation!r}): the size of {letter!r} is said neither by the input {x.shape} nor by "
                    f"output_shape={self.output_shape}"
                )
        equation = f"{''.join(map(_letter, source))},{kernel}->{''.join(map(_letter, result))}"
        y = jnp.einsum(equation, x, self.param("kernel", tuple(sizes[c] for c in kernel)))
        if self.bias_axes:
            strangers = [c for c in self.bias_axes if c not in result]
            if strangers:
                raise ValueError(f"EinsumDense({self.equation!r}): bias axis {strangers[0]!r} is not in the result")
            first = min(result.index(c) for c in self.bias_axes)
            y = y + self.param("bias", tuple(sizes[c] if c in self.bias_axes else 1 for c in result[first:]), "zeros")
        return self.activation(y)

    def _letters(self, axes: int) -> tuple[list[str], str, list[str]]:
        """The letters of input, kernel and result, digits for what "..." stands for."""
        free = axes - len(self.terms[0].replace("...", ""))
        if free < 0 or (free and "..." not in self.terms[0]):
            raise ValueError(f"EinsumDense({self.equation!r}) does not fit an input with {axes} axes")

        def spelled(term: str) -> list[str]:
            before, dots, after = term.partition("...")
            return [*before, *(str(i) for i in range(free if dots else 0)), *after]

        return spelled(self.terms[0]), self.terms[1], spelled(self.terms[2])


def _letter(letter: str) -> str:
    """A letter that equations do not use, for each axis behind "..."."""
    return chr(0x3B1 + int(letter)) if letter.isdigit() else letter


class Bilinear(Layer):
    """Every product of a number of one input with a number of the other: ``y_k = activation(a K_k b + bias_k)``.

    Called on two arrays: (batch, ..., a), (batch, ..., b) -> (batch, ..., unit); kernel (a, unit, b), bias (unit).
    PyTorch's torch.nn.Bilinear, whose weight is (unit, a, b).

    >>> import numpy as np
    >>> a, b = np.ones((2, 3)), np.ones((2, 5))
    >>> Bilinear(4).build(a, b)(a, b).shape
    (2, 4)
    """

    weight_options = {"kernel": "kernel", "bias": "bias"}

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def forward(self, a: Any, b: Any) -> jax.Array:
        a, b = floating(a), floating(b)
        if a.shape[:-1] != b.shape[:-1]:
            raise ValueError(
                f"Bilinear takes two arrays (batch, ..., feature) alike but for features, got {a.shape} and {b.shape}"
            )
        kernel = self.param("kernel", (a.shape[-1], self.units, b.shape[-1]))
        y = jnp.einsum("...i,ikj,...j->...k", a, kernel, b)
        if self.use_bias:
            y = y + self.param("bias", (self.units,), "zeros")
        return self.activation(y)
