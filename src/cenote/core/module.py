"""Module: a plain Python object whose weights are declared where they are used.

A layer writes one method, ``forward``, and inside it asks for its weights::

    class Affine(Module):
        def __init__(self, units):
            self.units = units

        def forward(self, x):                                     # (batch, feature) -> (batch, units)
            kernel = self.param("kernel", (x.shape[-1], self.units), jax.nn.initializers.glorot_uniform())
            return x @ kernel

The outermost call opens a `Call`: it holds the arrays by dotted path, collects what layers write, and is gone when the call
ends. ``forward`` never changes the object. See ``docs/how-a-call-works.md``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from . import notes
from .errors import describe
from .keys import as_key as as_key
from .keys import fold

Init = Callable[..., Any]


@dataclass(frozen=True)
class Weight:
    """What a layer said about one weight or state variable when it declared it."""

    shape: tuple[int, ...]
    dtype: Any
    init: Init
    kind: str = "param"  # or "state"
    trainable: bool = True
    regularizer: Callable | None = None
    constraint: Callable | None = None


@dataclass
class Call:
    """One outermost call: arrays by path on the way in, writes by path on the way out."""

    params: dict[str, Any]
    state: dict[str, Any]
    paths: dict[int, str]
    train: bool = False
    key: Any = None
    dtype: Any = None  # compute dtype; None leaves every array as it is
    building: dict[str, Weight] | None = None
    wanted: frozenset[str] = frozenset()
    nudges: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    captured: dict[str, Any] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    keys_used: dict[str, int] = field(default_factory=dict)
    observer: Callable | None = None  # observer(path, module, args, kwargs, y) after each layer's call
    trace: Any = field(default_factory=lambda: get_opaque_trace_state(convention="flax"))

    def path(self, module: Module) -> str:
        try:
            return self.paths[id(module)]
        except KeyError:
            raise RuntimeError(
                f"{module!r} is called inside another module but is not part of it, so its weights have no home: "
                f"create it in __init__ and keep it as an attribute (self.layer = ..., or in a list, tuple or dict)"
            ) from None

    def at_home(self) -> bool:
        """Whether what is computed now may leave by this call, not being inside a transformation of the user's own."""
        return get_opaque_trace_state(convention="flax") == self.trace

    def forbid_inner_trace(self, what: str) -> None:
        if not self.at_home():
            raise RuntimeError(
                f"{what} inside a jax.checkpoint, scan, vmap, grad or jit of your own would leak a traced value out of it: "
                f"use cenote.core.Remat, Repeat or Ensemble round the layers, or move the layer out of the transformation"
            )


_call: ContextVar[Call | None] = ContextVar("cenote_call", default=None)


@contextmanager
def opened(call: Call) -> Iterator[Call]:
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


def current_call() -> Call | None:
    return _call.get()


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class Module:
    """The base of every layer and model: write ``forward``, declare weights in it with ``param`` and ``state``.

    ``module(x)`` uses the weights that ``build`` gave it. ``init`` and ``apply`` are the pure pair for whoever writes JAX:
    flat dicts of arrays keyed by dotted path. A Module is also a pytree of its arrays.

    >>> import jax, numpy as np
    >>> class Scale(Module):
    ...     def forward(self, x):
    ...         return x * self.param("scale", (x.shape[-1],), jax.nn.initializers.ones)
    >>> params, state = Scale().init(jax.random.key(0), np.zeros((4, 2), "float32"))
    >>> list(params), params["scale"].shape
    (['scale'], (2,))
    >>> y, state = Scale().apply(params, state, np.ones((4, 2), "float32"))
    """

    name: str | None = None
    _trainable: bool = True
    looks_once: bool = False  # whether forward looks at its input in one place, and so may have it computed in another way

    # How often any module was made, frozen, or given a part: tells whoever keeps something about modules to look again.
    _changes: ClassVar[int] = 0
    # Attributes that say nothing of what forward does.
    _bookkeeping: ClassVar[frozenset[str]] = frozenset({"_constructor", "_weights", "_arrays", "_skeleton", "_explained"})
    _constructor: tuple[tuple, dict]
    _weights: dict[str, Weight]  # declared by the build, by local name
    _arrays: dict[str, Any]  # current values, by local name
    _skeleton: Any = None  # the last one made, for as long as nothing else has changed

    def __new__(cls, *args: Any, **kwargs: Any):
        self = super().__new__(cls)
        self._constructor = (args, kwargs)
        self._weights = {}
        self._arrays = {}
        Module._changes += 1
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and isinstance(value, (Module, list, tuple, dict)):
            Module._changes += 1
        elif isinstance(value, jax.core.Tracer):
            raise AttributeError(
                f"{type(self).__name__}.{name} was set to an array of a computation that is being traced: forward changes "
                f"nothing; look at outputs with cenote.core.outputs(model, x, ...), keep numbers with self.set_state(name, ...)"
            )
        super().__setattr__(name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        from .tree import register

        register(cls)

    @property
    def trainable(self) -> bool:
        """Whether training changes this layer's weights and those of the layers in it; set it to False to freeze them."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        from .tree import children

        self._trainable = bool(value)
        for _, child in children(self):  # as in Keras; what was frozen by itself before goes along, too
            child.trainable = value
        Module._changes += 1

    # -- what a layer uses inside forward ------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, x): write the computation there")

    def param(
        self,
        name: str,
        shape: tuple[int, ...],
        init: Init,
        *,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Callable | None = None,
        constraint: Callable | None = None,
    ) -> jax.Array:
        """Declare a weight where it is used, and read it; ``init`` is called as ``init(key, shape, dtype)``."""
        weight = Weight(_shape(shape, name), dtype or jnp.float32, init, "param", trainable, regularizer, constraint)
        return _cast(self._read(name, weight), self._inside("param").dtype)

    def state(self, name: str, shape: tuple[int, ...], init: Init, *, dtype: Any = None) -> jax.Array:
        """Declare a variable that is not trained (a running mean, a position) and read its value."""
        return self._read(name, Weight(_shape(shape, name), dtype or jnp.float32, init, "state", trainable=False))

    def set_state(self, name: str, value: Any) -> None:
        """Write a state variable: the object stays as it is, the new value comes back from ``apply``."""
        call = self._inside("set_state")
        path = join(call.path(self), name)
        call.forbid_inner_trace(f"writing the state {path!r}")
        old = call.state.get(path) if call.building is None else call.building.get(path)
        if old is None:
            raise ValueError(f"state {path!r} is written but not declared: say self.state({name!r}, shape, init) before")
        value = jnp.asarray(value, old.dtype)
        if value.shape != old.shape:
            raise ValueError(f"state {path!r} has shape {old.shape}, but {value.shape} was written to it")
        call.written[path] = value

    @property
    def train(self) -> bool:
        """Inside ``forward``: is this a training call? Said once, by the outermost call."""
        return self._inside("train").train

    def next_key(self) -> jax.Array:
        """A fresh random key for this layer, this call and this use: the call's key folded with the layer's path."""
        call = self._inside("next_key")
        path = call.path(self)
        if call.key is None:
            raise ValueError(
                f"layer {path or type(self).__name__!r} draws random numbers, but the outermost call got no key: "
                f"pass key=jax.random.key(seed)"
            )
        use = call.keys_used[path] = call.keys_used.get(path, -1) + 1
        return fold(call.key, f"{path}#{use}")

    def add_loss(self, value: Any) -> None:
        """Add a scalar to the training loss."""
        call = self._inside("add_loss")
        call.forbid_inner_trace("adding a loss")
        notes.add_loss(value)

    # -- the call ------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, train: bool | None = None, key: Any = None, **kwargs: Any) -> Any:
        if key is not None and _takes_key(type(self)) and not _seeds(key):
            # Attention: the key to a query and a value, not to random numbers. Its place says so.
            bound = inspect.signature(self.forward).bind(*args, key=key, **kwargs)
            bound.apply_defaults()
            args, kwargs, key = bound.args, bound.kwargs, None
        symbolic = notes.find_symbolic((args, kwargs))
        if symbolic is not None:
            if train is not None or key is not None:
                raise TypeError(
                    f"{type(self).__name__} was called on a node with train= or key=: a graph gets both when it is run, "
                    f"graph.run(..., train=True, key=...); leave them out here. A part that shall stay as it is in training, "
                    f"batch statistics and all, is frozen: layer.trainable = False"
                )
            return symbolic.record(self, args, kwargs)
        call = current_call()
        if call is not None:
            if train is not None or key is not None:
                raise TypeError(
                    f"{type(self).__name__} was called with train= or key= inside another module: both belong to the "
                    f"outermost call and are inherited; leave them out here"
                )
            return self._enter(call, args, kwargs)
        from .tree import apply, weights_of

        params, state = weights_of(self)
        return apply(self, params, state, *args, train=bool(train), key=key, **kwargs)[0]

    def _enter(self, call: Call, args: tuple, kwargs: dict) -> Any:
        path = call.path(self)
        try:
            y = self._run(*args, **kwargs)
        except Exception as error:
            if not getattr(error, "_cenote_noted", False):
                shown = [describe(a) for a in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()]
                where = f"in layer {path!r}: " if path else "in "
                error.add_note(f"{where}{self!r} called with {', '.join(shown) or 'nothing'}")
                error._cenote_noted = True  # type: ignore[attr-defined]
            raise
        visit = call.visits[path] = call.visits.get(path, -1) + 1
        spot = f"{path}:{visit}" if visit else path
        if spot in call.nudges:
            y = jax.tree.map(_add, y, call.nudges[spot])
        if spot in call.wanted:
            call.forbid_inner_trace(f"keeping the output of {spot!r}")
            call.captured[spot] = y
        elif "*" in call.wanted and call.at_home():  # all that can be had
            call.captured[spot] = y
        if call.observer is not None:
            call.observer(spot, self, args, kwargs, y)
        return y

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """Where a family of layers adds what all its members share round ``forward``."""
        return self.forward(*args, **kwargs)

    def _inside(self, what: str) -> Call:
        call = current_call()
        if call is None:
            raise RuntimeError(f"{type(self).__name__}.{what} works only inside forward, while the module is called")
        return call

    def _read(self, name: str, weight: Weight) -> Any:
        call = self._inside(weight.kind)
        path = join(call.path(self), name)
        arrays = call.params if weight.kind == "param" else call.state
        if call.building is not None:
            declared = call.building.setdefault(path, weight)
            _check_shape(path, declared.shape, weight.shape)
            return call.written.get(path, jnp.zeros(declared.shape, declared.dtype))
        if path not in arrays and not call.params and not call.state:
            raise ValueError(
                f"the model has no weights yet, so it cannot be called: call build(x) with an example input, fit, or give the "
                f"first layer input_shape= (missing: {path!r})"
            )
        if path not in arrays:
            raise ValueError(
                f"{weight.kind} {path!r} was not built: it is declared only on some calls, or the weights belong to another "
                f"model; declare every weight unconditionally, and build with build(x), fit or init"
            )
        value = call.written.get(path, arrays[path])
        _check_shape(path, jnp.shape(value), weight.shape)
        return value

    # -- the pure pair ---------------------------------------------------------------------------------------------------

    def init(self, key: Any, *specs: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start values for inputs like ``specs`` (arrays or ShapeDtypeStructs): ``(params, state)``, flat dicts by path."""
        from .tree import init

        return init(self, key, *specs, **kwargs)

    def apply(self, params: dict, state: dict, *args: Any, train: bool = False, key: Any = None, **kwargs: Any) -> Any:
        """The module as a pure function: ``(y, new_state)``; see `cenote.core.apply`."""
        from .tree import apply

        return apply(self, params, state, *args, train=train, key=key, **kwargs)

    def build(self, *specs: Any, key: Any = None) -> Module:
        """Give the module weights for inputs like ``specs``; ``key`` is a seed or a JAX key. Returns the module.

        Without a key, weights that layers already have are kept and the missing ones are drawn with seed 0.
        """
        from .tree import build

        return build(self, *specs, key=key)

    def _cloned(self) -> None:
        """Called on a new copy of this module: what was kept about the original's parts is to be let go."""
        vars(self).pop("_explained", None)

    @property
    def built(self) -> bool:
        from .tree import members

        return any(m._weights for m in members(self).values())

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as given, by name; ``*args`` under the starred name."""
        args, kwargs = self._constructor
        try:
            bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        except TypeError:
            return dict(kwargs)
        named: dict[str, Any] = {}
        parameters = inspect.signature(type(self).__init__).parameters
        for k, v in list(bound.arguments.items())[1:]:
            kind = parameters[k].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named.update(v)
            else:
                named["*" + k if kind is inspect.Parameter.VAR_POSITIONAL else k] = v
        return named

    def __repr__(self) -> str:
        args, kwargs = self._constructor
        inner = [describe(a) for a in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()]
        return f"{type(self).__name__}({', '.join(inner)})"


@functools.cache
def _takes_key(cls: type[Module]) -> bool:
    return "key" in inspect.signature(cls.forward).parameters


def _seeds(key: Any) -> bool:
    """Whether a ``key=`` is a seed or a key of JAX, old or new; an array of features is neither."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or isinstance(key, notes.Symbolic):
        return isinstance(key, int)
    return jnp.issubdtype(dtype, jax.dtypes.prng_key) or (jnp.issubdtype(dtype, jnp.integer) and len(key.shape) < 2)


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    for size in shape:
        if not hasattr(size, "__index__") or int(size) < 0:
            raise ValueError(f"weight {name!r} needs a shape of known sizes, got {shape}: say them, or build with an input")
    return tuple(int(size) for size in shape)


def _check_shape(path: str, have: tuple, need: tuple) -> None:
    if tuple(have) != tuple(need):
        raise ValueError(
            f"{path!r} was built with shape {tuple(have)}, but this input needs {tuple(need)}: the input has another width "
            f"than the one the model was built with"
        )


def _add(array: Any, nudge: Any) -> Any:
    """The sum, with the array's mask: what comes after shall see the same sequence."""
    return notes.annotate(array + nudge, "mask", notes.annotation(array, "mask"))


def _cast(array: Any, dtype: Any) -> Any:
    if dtype is not None and jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(dtype)
    return array
