"""The handle for serving: a model as one program for inputs of one shape, numpy in and numpy out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import describe
from ..data.arrays import as_arrays
from ..kernels.answers import answering
from .plan import Unsupported
from .program import Program

__all__ = ["Compiled", "compiled"]

MOST_CONSTANT_BYTES = 4 << 20  # up to this size the weights are part of XLA's program


class Compiled:
    """A model as it is now, compiled for inputs of one shape and dtype: ``y = compiled(x)``, numpy in and numpy out.

    It is compiled when it is made, not at the first call. Later training, new weights or new layers of the model do not reach
    it: make another one. It may be called from several threads. NaN in the input comes out as NaN, unlike in `predict`, which
    looks for it.

    On the CPU it is a program of Cenote's own C++, where there is a compiler and a step for each of the model's operations, and
    holds the weights a second time, in the form that the steps read; otherwise XLA compiles it. ``engine`` says which, and why.
    ``inputs`` and ``outputs`` are the shapes and dtypes that go in and come out.
    Raises: ValueError for another shape or number of inputs than it was compiled for, TypeError for another dtype; float64 and
    int64 are narrowed to 32 bits as everywhere in Cenote.

    >>> from cenote import Sequential, layers
    >>> model = Sequential([layers.Dense(2, input_shape=(3,))])
    >>> serve = model.compiled((1, 3))
    >>> serve(np.ones((1, 3), "float32")).shape
    (1, 2)
    >>> serve(np.ones((2, 3), "float32"))
    Traceback (most recent call last):
    ...
    ValueError: this program was compiled for x of shape (1, 3), but got float32[2, 3]: make one for it with ...
    """

    def __init__(self, model: Any, inputs: Any) -> None:
        self.inputs, self._prepare = inputs, model.prepare if model.prepares else None
        params, state = model.arrays()
        if model._carriers:
            raise ValueError(
                f"{type(model).__name__} carries state from one call to the next ({describe(model._carriers[0])}), which a "
                f"compiled program without memory cannot: use predict"
            )
        leaves, structure = jax.tree.flatten(inputs)
        self._structure, self._count = structure, model._input_count
        self._expected = [(leaf.shape, leaf.dtype) for leaf in leaves]
        # One array is compared and passed on as it is; other forms take the longer way through `_checked`.
        self._shape, self._dtype = self._expected[0] if structure == jax.tree.structure(0) else (None, None)

        def run(params: dict, state: dict, x: Any) -> Any:
            with answering():
                return model._pure(params, state, x, train=False)[0]

        weights = (params, state)
        try:
            self._run, self.outputs = _steps(lambda x: run(*weights, x), inputs)
            self.engine = "C++"
        except Unsupported as reason:
            self._run, self.outputs = _xla(run, weights, inputs)
            self.engine = f"XLA: {reason}"

    def __call__(self, x: Any) -> Any:
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != self._dtype:
            x = self._checked(x)
        return self._run(x)

    def _checked(self, x: Any) -> Any:
        if self._prepare is not None:
            x = self._prepare(x)
        x = as_arrays(x, "x", parts=self._count)
        found, structure = jax.tree.flatten(x)
        if structure != self._structure:
            raise ValueError(f"this program was compiled for x = {describe(self.inputs)}, but got {describe(x)}")
        names = [f"x{jax.tree_util.keystr(path)}" for path, _ in jax.tree_util.tree_leaves_with_path(x)]
        for name, array, (shape, dtype) in zip(names, found, self._expected, strict=True):
            if array.shape != shape:
                raise ValueError(
                    f"this program was compiled for {name} of shape {shape}, but got {describe(array)}: make one for it with "
                    f"model.compiled({tuple(array.shape)}), or use predict, which takes any number of rows"
                )
            if array.dtype != dtype:
                raise TypeError(
                    f"this program was compiled for {name} of dtype {dtype}, but got {describe(array)}: convert it "
                    f"(x.astype({dtype.name!r})), or compile for what comes in: model.compiled(example)"
                )
        return x

    def __repr__(self) -> str:
        return f"Compiled({describe(self.inputs)} -> {describe(self.outputs)})"


def _steps(function: Callable, inputs: Any) -> tuple[Callable, Any]:
    """A function of arrays as a program in C++, and what comes out of it. Raises Unsupported where that cannot be."""
    specs, structure = jax.tree.flatten(inputs)
    if jax.default_backend() != "cpu":
        raise Unsupported(f"the model is on {jax.default_backend()}")
    outputs: Any = None

    def flat(*given: Any) -> list:
        nonlocal outputs
        found, outputs = jax.tree.flatten(function(jax.tree.unflatten(structure, given)))
        return found

    program = Program(flat, specs)
    found = jax.tree.unflatten(outputs, program.outputs)
    if outputs == structure == jax.tree.structure(0):
        return lambda x: program(x)[0], found
    return lambda x: jax.tree.unflatten(outputs, program(*jax.tree.leaves(x))), found


def _xla(run: Callable, weights: tuple, inputs: Any) -> tuple[Callable, Any]:
    """The same by XLA."""
    if sum(a.nbytes for a in jax.tree.leaves(weights)) <= MOST_CONSTANT_BYTES:
        # Each argument of a call costs about half a microsecond, as much as a small layer.
        program: Any = jax.jit(lambda x: run(*weights, x))
        given: tuple = ()
    else:
        program = jax.jit(lambda x, params, state: run(params, state, x))
        given = weights
    # A call compiles, and makes all later ones take JAX's short way, which `lower().compile()` would not.
    y = program(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), inputs), *given)
    found = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), y)
    return lambda x: jax.tree.map(np.array, program(x, *given)), found  # copies: the caller may write to his answer


def compiled(model: Any, spec: Any = None) -> Compiled:
    """The serving handle of a built model for a spec: see ``Model.compiled``."""
    return Compiled(model, _inputs(model, spec))


def _inputs(model: Any, spec: Any) -> Any:
    """Shapes and dtypes of one call's inputs, from what somebody says about them."""
    built = model._spec or model._input_specs()
    usual = (built[0] if len(built) == 1 else tuple(built)) if built else None
    if spec is None:
        if usual is None:
            raise ValueError("the size of the input is not known: say compiled((1, features)), or give an example input")
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((1, *s.shape[1:]), s.dtype), usual)
    if _is_shape(spec):
        leaves = jax.tree.leaves(usual)
        dtype = leaves[0].dtype if len(leaves) == 1 else np.dtype("float32")
        return jax.ShapeDtypeStruct(_known(spec), dtype)
    if isinstance(spec, (list, tuple)) and spec and all(map(_is_shape, spec)):
        leaves = jax.tree.leaves(usual)
        dtypes = [leaf.dtype for leaf in leaves] if len(leaves) == len(spec) else [np.dtype("float32")] * len(spec)
        return tuple(jax.ShapeDtypeStruct(_known(s), d) for s, d in zip(spec, dtypes, strict=True))
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(spec)):
        narrow = jax.dtypes.canonicalize_dtype
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(_known(s.shape), narrow(s.dtype)), spec)
    example = as_arrays(model._ready(spec)[0], "spec", parts=model._input_count)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), example)


def _is_shape(spec: Any) -> bool:
    whole = (int, np.integer, type(None))
    return isinstance(spec, (tuple, list)) and bool(spec) and all(isinstance(n, whole) for n in spec)


def _known(shape: Any) -> tuple[int, ...]:
    if any(n is None or n < 1 for n in shape):
        raise ValueError(
            f"a program is compiled for known sizes, got the shape {tuple(shape)}: say the number of rows too, such as "
            f"compiled({(1, *(n or 1 for n in shape[1:]))}), or use predict, which takes any number of rows"
        )
    return tuple(int(n) for n in shape)
