"""Activation functions as layers: Keras's, and PyTorch's by PyTorch's names, made from one factory."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import activations
from ..kernels import random
from .base import Layer
from .check import axes, floating, inside
from .dropout import Noisy

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Activation",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class Activation(Layer):
    """An activation function as a layer: ``y = activation(x)``, of any shape.

    >>> import numpy as np
    >>> Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)
        self.looks_once = getattr(self.activation, "looks_once", False)

    def forward(self, x: Any) -> jax.Array:
        return self.activation(floating(x))


class ReLU(Layer):
    """The rectifier with Keras's knobs: ``y = min(max(x, 0), max_value)``, with ``negative_slope`` below ``threshold``.

    >>> import numpy as np
    >>> ReLU(max_value=1.0)(np.array([[-1.0, 0.5, 2.0]])).tolist()
    [[0.0, 0.5, 1.0]]
    """

    supports_masking = True
    looks_once = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if value is not None and not value >= 0:
                raise ValueError(f"ReLU needs {name} of 0 or more, got {value!r}")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: Any) -> jax.Array:
        return activations.relu(
            floating(x), negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )


class LeakyReLU(Layer):
    """``x`` above zero, ``negative_slope x`` below. Source: Maas et al. 2013, ICML.

    >>> import numpy as np
    >>> LeakyReLU(0.5)(np.array([[-1.0, 2.0]])).tolist()
    [[-0.5, 2.0]]
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        negative_slope = options.pop("alpha", negative_slope)  # the older name
        super().__init__(**options)
        if not isinstance(negative_slope, numbers.Real) or not float(negative_slope) >= 0:
            raise ValueError(f"LeakyReLU needs negative_slope of 0 or more, got {negative_slope!r}")
        self.negative_slope = float(negative_slope)

    def forward(self, x: Any) -> jax.Array:
        return activations.leaky_relu(floating(x), self.negative_slope)


class PReLU(Layer):
    """``x`` above zero, ``alpha x`` below, with alpha learned for each feature.

    ``shared_axes`` have one alpha for all their places, such as (1, 2) for the places of a picture.
    Shapes: (batch, ...) -> the same; alpha (...), 1 along shared axes.
    Raises: ValueError for a shared axis that the input lacks.
    Source: He et al. 2015, arXiv:1502.01852.

    >>> import numpy as np
    >>> x = np.array([[-1.0, 2.0]])
    >>> PReLU(alpha_initializer="ones").build(x)(x).tolist()
    [[-1.0, 2.0]]
    """

    weight_options = {"alpha": "alpha"}
    supports_masking = True

    def __init__(self, *, shared_axes: int | tuple[int, ...] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.shared_axes = () if shared_axes in (None, (), []) else axes(self, shared_axes)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        shared = inside(self, self.shared_axes, x.shape) if self.shared_axes else []
        if 0 in shared:
            raise ValueError(
                f"PReLU(shared_axes={self.shared_axes}) names the batch, which every alpha is shared over: leave it out"
            )
        alpha = self.param("alpha", tuple(1 if a in shared else n for a, n in enumerate(x.shape) if a), "zeros")
        return activations.prelu(x, alpha)


class Softmax(Layer):
    """Probabilities along an axis, or several together: ``y_i = exp(x_i) / sum_j exp(x_j)``.

    ``mask`` (true: keep), given in the call or of the shape of the input and come with it, takes places out: they get 0.
    Raises: ValueError for a mask that does not broadcast to the input.

    >>> import numpy as np
    >>> Softmax()(np.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    supports_masking = True

    def __init__(self, axis: int | tuple[int, ...] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axes(self, axis)

    def forward(self, x: Any, mask: Any = None) -> jax.Array:
        came = self.mask(x)
        x = floating(x)
        along = tuple(inside(self, self.axis, x.shape))
        if mask is None and came is not None and came.shape == x.shape:
            mask = came
        if mask is not None:
            mask = jnp.asarray(mask)
            mask = mask if mask.dtype == bool else mask > 0.5
            sizes = x.shape[x.ndim - mask.ndim :]
            if mask.ndim > x.ndim or any(m not in (1, n) for m, n in zip(mask.shape, sizes, strict=True)):
                raise ValueError(
                    f"Softmax got a mask of shape {mask.shape} with an input of shape {x.shape}: each axis of the mask, "
                    f"counted from the last, must be 1 or that of the input"
                )
            x = jnp.where(mask, x, -3e4 if x.dtype == jnp.float16 else -1e9)
        y = activations.softmax(x, axis=along[0] if len(along) == 1 else along)
        # Where nothing is allowed, a softmax would be even.
        return y if mask is None else jnp.where(mask, y, 0)


class RReLU(Noisy):
    """``x`` above zero, ``a x`` below: in training a is drawn between lower and upper for each value, else it is their mean.

    Source: Xu et al. 2015, arXiv:1505.00853.

    >>> import numpy as np
    >>> RReLU(0.25, 0.75)(np.array([[-1.0, 2.0]])).tolist()
    [[-0.5, 2.0]]
    """

    strength = "noisy"

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not all(isinstance(v, numbers.Real) for v in (lower, upper)) or not float(lower) <= float(upper):
            raise ValueError(f"RReLU needs lower up to upper, got lower={lower!r}, upper={upper!r}")
        self.lower, self.upper, self.seed = float(lower), float(upper), seed
        self.noisy = self.upper > self.lower

    def disturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        slopes = self.lower + (self.upper - self.lower) * random.uniform(key, x.shape)
        return activations.prelu(x, slopes.astype(x.dtype))

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        if self.train and self.noisy:
            return super().forward(x)
        return activations.leaky_relu(x, (self.lower + self.upper) / 2)


class _Function(Layer):
    """An activation function as a layer, with the function's further arguments as the constructor's."""

    function: Callable
    knobs: dict[str, tuple[str, Any]]  # name in the constructor: name in the function, default
    supports_masking = True

    def _take(self, *args: Any, **options: Any) -> None:
        name = type(self).__name__
        said = dict(zip(self.knobs, args, strict=False))
        if len(args) > len(self.knobs) or set(said) & set(options):
            raise ValueError(f"{name} takes {', '.join(self.knobs) or 'no arguments by place'}, got {args} and {options}")
        said |= {knob: options.pop(knob) for knob in self.knobs if knob in options}
        Layer.__init__(self, **options)
        self.settings = {inner: self._setting(knob, said.get(knob, usual)) for knob, (inner, usual) in self.knobs.items()}

    def _setting(self, knob: str, value: Any) -> Any:
        name, usual = type(self).__name__, self.knobs[knob][1]
        if value is _REQUIRED:
            raise ValueError(f"{name} needs {knob}: {name}({', '.join(f'{k}=...' for k in self.knobs)})")
        if knob == "axis":
            return axes(self, value)[0]
        if isinstance(usual, bool):
            value = {"none": False, "tanh": True}.get(value, value)  # PyTorch's words for GELU's form
        if not isinstance(value, bool if isinstance(usual, bool) else numbers.Real):
            raise ValueError(
                f"{name} needs {knob} to be {'true or false' if isinstance(usual, bool) else 'a number'}, got {value!r}"
            )
        return value

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        if "axis" in self.settings:
            inside(self, (self.settings["axis"],), x.shape)
        return type(self).function(x, **self.settings)


_REQUIRED = inspect.Parameter.empty


def _made(name: str, function: Callable, **renamed: tuple[str, Any]) -> type[_Function]:
    """A class of layers for a function; ``threshold=("lambd", 0.5)`` gives an argument another name and default."""
    given = list(inspect.signature(function).parameters.values())[1:]
    named = [(renamed.get(p.name, (p.name, p.default)), p.name) for p in given]
    knobs = {outer: (inner, usual) for (outer, usual), inner in named}

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        self._take(*args, **options)

    kind = inspect.Parameter
    places = [kind(knob, kind.POSITIONAL_OR_KEYWORD, default=usual) for knob, (_, usual) in knobs.items()]
    first, rest = kind("self", kind.POSITIONAL_OR_KEYWORD), kind("options", kind.VAR_KEYWORD)
    __init__.__signature__ = inspect.Signature([first, *places, rest])  # type: ignore[attr-defined]
    example = f"{name}({', '.join('1.0' for _, usual in knobs.values() if usual is _REQUIRED)})"
    return type(
        name,
        (_Function,),
        {
            "__init__": __init__,
            "__module__": __name__,
            "__doc__": f"{inspect.getdoc(function)!s:.200}".split("\n")[0]
            + f"\n\n>>> {example}(jnp.ones((2, 4))).shape[0]\n2\n",
            "function": staticmethod(function),
            "knobs": knobs,
        },
    )


ELU = _made("ELU", activations.elu)
CELU = _made("CELU", activations.celu)
SELU = _made("SELU", activations.selu)
GELU = _made("GELU", activations.gelu)
SiLU = _made("SiLU", activations.silu)
GLU = _made("GLU", activations.glu)
Mish = _made("Mish", activations.mish)
ReLU6 = _made("ReLU6", activations.relu6)
Tanh = _made("Tanh", activations.tanh)
Sigmoid = _made("Sigmoid", activations.sigmoid)
LogSigmoid = _made("LogSigmoid", activations.log_sigmoid)
LogSoftmax = _made("LogSoftmax", activations.log_softmax)
Softmin = _made("Softmin", activations.softmin)
Softplus = _made("Softplus", activations.softplus, threshold=("threshold", 20.0))
Softsign = _made("Softsign", activations.softsign)
Softshrink = _made("Softshrink", activations.soft_shrink, threshold=("lambd", 0.5))
Hardshrink = _made("Hardshrink", activations.hard_shrink, threshold=("lambd", 0.5))
Tanhshrink = _made("Tanhshrink", activations.tanh_shrink)
Hardtanh = _made("Hardtanh", activations.hard_tanh)
Hardsigmoid = _made("Hardsigmoid", activations.hard_sigmoid)
Hardswish = _made("Hardswish", activations.hard_silu)
Threshold = _made("Threshold", activations.threshold, default_value=("value", _REQUIRED))
