"""From modules to flat dicts of named arrays and back: dotted paths, init, apply, build, the pytree view."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import notes
from .errors import describe
from .keys import as_key, fold
from .module import Call, Module, Weight, join, opened

# -- walking -------------------------------------------------------------------------------------------------------------


def children(value: Any, path: str = "") -> Iterator[tuple[str, Module]]:
    """The modules directly inside a module, list, tuple or dict, with their dotted paths."""
    if isinstance(value, Module):
        items: Iterable = ((k, v) for k, v in vars(value).items() if not k.startswith("_"))
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return
    for name, item in items:
        inner = join(path, str(name))
        if isinstance(item, Module):
            yield inner, item
        elif isinstance(item, (dict, list, tuple)):
            yield from children(item, inner)


def members(root: Module, path: str = "") -> dict[str, Module]:
    """Every module in ``root`` by dotted path, itself first; one object met twice counts once, under its first path."""
    found: dict[str, Module] = {}
    seen: set[int] = set()

    def visit(path: str, module: Module) -> None:
        if id(module) in seen:
            return
        if path in found:
            raise ValueError(f"two layers have the path {path!r}: name the keys of a dict of layers apart, without dots")
        seen.add(id(module))
        found[path] = module
        for inner, child in children(module, path):
            visit(inner, child)

    visit(path, root)
    return found


def paths_of(root: Module, path: str = "") -> dict[int, str]:
    return {id(module): p for p, module in members(root, path).items()}


def find(root: Module, path: str) -> Module:
    """The module at a dotted path."""
    found = members(root)
    if path not in found:
        from .errors import unknown

        raise unknown("path", path, found)
    return found[path]


# -- the pure pair -------------------------------------------------------------------------------------------------------


def spec_of(value: Any) -> Any:
    """Shapes and dtypes of a tree of arrays, as the building trace takes them."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        leaf = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))

    return jax.tree.map(one, value)


def declare(module: Module, *specs: Any, observer: Callable | None = None, **kwargs: Any) -> tuple[dict[str, Weight], Any]:
    """One abstract trace in training mode: every weight by path, and the spec of the output. Computes nothing.

    Arrays and specs are traced as shapes; flags, numbers and text are passed on as they are. ``observer(path, module, args,
    kwargs, y)`` is told of each layer's call, in order.
    """
    building: dict[str, Weight] = {}
    leaves, structure = jax.tree.flatten((specs, kwargs))
    traced = [hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves]

    def trace(*arrays: Any) -> Any:
        given = iter(arrays)
        args, kw = structure.unflatten(next(given) if t else leaf for leaf, t in zip(leaves, traced, strict=True))
        call = Call({}, {}, paths_of(module), train=True, key=jax.random.key(0), building=building, observer=observer)
        with opened(call), notes.collecting():
            return module._enter(call, args, kw)

    out = jax.eval_shape(trace, *spec_of([leaf for leaf, t in zip(leaves, traced, strict=True) if t]))
    return building, out


def draw(weights: dict[str, Weight], key: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start values, each weight from the key folded with its path."""
    key = as_key(key)
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for path, w in weights.items():
        value = w.init(fold(key, path), w.shape, w.dtype)
        # A copy of what may be somebody's own array; unlike jnp.array, device_put compiles nothing.
        value = jax.device_put(value.copy() if isinstance(value, np.ndarray) else value)
        if value.shape != w.shape:
            raise ValueError(f"the initializer of {path!r} returned shape {value.shape}, expected {w.shape}")
        (params if w.kind == "param" else state)[path] = value
    return params, state


def init(module: Module, key: Any, *specs: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(params, state)`` for inputs like ``specs``: flat dicts keyed by dotted path. Pure: the module is not changed."""
    return draw(declare(module, *specs, **kwargs)[0], key)


def apply(
    module: Module,
    params: dict[str, Any],
    state: dict[str, Any],
    *args: Any,
    train: bool = False,
    key: Any = None,
    dtype: Any = None,
    capture: Iterable[str] = (),
    nudge: dict[str, Any] | None = None,
    observer: Callable | None = None,
    **kwargs: Any,
) -> Any:
    """Run a module as a pure function of its arrays: ``(y, new_state)``, or ``(y, new_state, captured)`` with ``capture``.

    ``capture`` names the layers whose outputs are wanted, by path (``"*"``: all; the second call of a shared layer is
    ``"path:1"``). ``nudge`` adds an array to a layer's output: differentiate by it for the gradient there.
    ``observer(path, module, args, kwargs, y)`` is told of each layer's call, in order. ``dtype`` is the compute dtype: weights
    and floating inputs are cast to it on the way in, outputs back to float32.
    """
    wanted = frozenset([capture] if isinstance(capture, str) else capture)
    known = members(module)
    for spot in (wanted | set(nudge or ())) - {"*"}:
        if spot.split(":")[0] not in known:
            from .errors import unknown

            raise unknown("path of a layer", spot, known)
    paths = {id(m): p for p, m in known.items()}
    call = Call(
        params,
        state,
        paths,
        train=train,
        key=None if key is None else as_key(key),
        dtype=dtype,
        wanted=wanted,
        nudges=dict(nudge or {}),
        observer=observer,
    )
    args = jax.tree.map(lambda leaf: _enter_array(leaf, dtype), args)
    with opened(call), notes.collecting():
        y = module._enter(call, args, kwargs)
    missing = wanted - {"*"} - set(call.captured)
    if missing:
        raise ValueError(f"layers {sorted(missing)} were not called, so their outputs cannot be captured")
    if dtype is not None:
        y = jax.tree.map(lambda leaf: _leave_array(leaf, dtype), y)
    new_state = {**state, **call.written}
    return (y, new_state, call.captured) if wanted else (y, new_state)


def _enter_array(leaf: Any, dtype: Any) -> Any:
    if leaf is None or isinstance(leaf, (bool, int, float, complex, str)) or callable(leaf):
        return leaf  # what is no array when building is none here
    array = np.asarray(leaf) if not hasattr(leaf, "dtype") else leaf
    if array.dtype.kind in "OUST" or array.dtype.kind == "M":
        raise TypeError(
            f"the input holds {array.dtype} values (first: {np.ravel(array)[0]!r}), not numbers: turn text into numbers first"
            if np.size(array)
            else f"the input has dtype {array.dtype}, not numbers"
        )
    array = jnp.asarray(array)
    return array.astype(dtype) if dtype is not None and jnp.issubdtype(array.dtype, jnp.floating) else array


def _leave_array(leaf: Any, dtype: Any) -> Any:
    if not (hasattr(leaf, "dtype") and leaf.dtype == dtype):
        return leaf
    out = leaf.astype(jnp.float32)
    logits = notes.annotation(leaf, "logits")
    notes.annotate(out, "logits", None if logits is None else logits.astype(jnp.float32))
    notes.annotate(out, "link", notes.annotation(leaf, "link"))
    return notes.annotate(out, "mask", notes.annotation(leaf, "mask"))


# -- weights inside the objects --------------------------------------------------------------------------------------------


def build(module: Module, *specs: Any, key: Any = None, seed: int = 0, **kwargs: Any) -> Module:
    """Give a module weights for inputs like ``specs``.

    Without a key, weights that layers already have are kept (a trained part inside a new model) and the missing ones are
    drawn with ``seed``; with a key, all are drawn.
    """
    weights, _ = declare(module, *specs, **kwargs)
    kept = {} if key is not None else {**weights_of(module)[0], **weights_of(module)[1]}
    missing = {path: w for path, w in weights.items() if path not in kept or jnp.shape(kept[path]) != w.shape}
    params, state = draw(missing, seed if key is None else key)
    adopt(module, weights)  # not before all are drawn: what an initializer refuses leaves the module as it was
    bind(module, {**{path: kept[path] for path in weights if path not in missing}, **params, **state})
    return module


def adopt(module: Module, weights: dict[str, Weight]) -> None:
    """Store what each member declared in the member itself, in place of what it had."""
    owners = members(module)
    by_owner: dict[str, dict[str, Weight]] = {}
    for path, weight in weights.items():
        owner, name = path.rpartition(".")[::2]
        while owner not in owners:  # a weight's own name may hold dots, as those of foreign models do
            owner, _, more = owner.rpartition(".")
            name = f"{more}.{name}"
        by_owner.setdefault(owner, {})[name] = weight
    for owner, declared_ones in by_owner.items():
        owners[owner]._weights, owners[owner]._arrays = declared_ones, {}
    Module._changes += 1


class Places:
    """Where a built module's arrays live: found once, so that reading and writing all of them takes microseconds."""

    def __init__(self, module: Module) -> None:
        self.members = members(module)
        self.entries = [
            (join(path, name), member, name, weight.kind)
            for path, member in self.members.items()
            for name, weight in member._weights.items()
        ]

    def same_members(self, other: Places) -> bool:
        """Whether both were found in the same parts at the same paths."""
        return [(p, id(m)) for p, m in self.members.items()] == [(p, id(m)) for p, m in other.members.items()]

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for path, member, name, kind in self.entries:
            (params if kind == "param" else state)[path] = member._arrays[name]
        return params, state

    def write(self, arrays: dict[str, Any]) -> None:
        for path, member, name, _ in self.entries:
            if path in arrays:
                member._arrays[name] = arrays[path]


def bind(module: Module, arrays: dict[str, Any]) -> None:
    """Put arrays, by path, into the members they belong to."""
    Places(module).write(arrays)


def declared(module: Module) -> dict[str, Weight]:
    """Every declared weight of a built module, by path; not trainable where a module above it is frozen."""
    frozen = [p for p, m in members(module).items() if not m.trainable]
    result = {}
    for path, member in members(module).items():
        for name, weight in member._weights.items():
            full = join(path, name)
            if weight.trainable and any(p == "" or full.startswith(p + ".") for p in frozen):
                weight = Weight(**{**weight.__dict__, "trainable": False})
            result[full] = weight
    return result


def weights_of(module: Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(params, state)`` that a built module holds, as flat dicts by path."""
    return Places(module).read()


# -- the pytree view -------------------------------------------------------------------------------------------------------


class Skeleton:
    """A module without its arrays; equal to another when class, structure and plain attributes are equal.

    It stands in the caches of ``jax.jit``, so it is of the moment it was made in: a copy, which what is done to the module
    later does not reach, and which keeps no arrays alive. Private attributes count, too, since ``forward`` may read them;
    a class's own ``_bookkeeping`` does not.
    """

    def __init__(self, module: Module, signature: tuple) -> None:
        self.signature = signature
        self.module = clone(module, arrays=False)
        self.names = tuple(join(p, n) for p, m in members(module).items() for n in m._weights)

    def __eq__(self, other: Any) -> bool:
        return self is other or (isinstance(other, Skeleton) and self.signature == other.signature)

    def __repr__(self) -> str:
        return repr(self.module)

    def __hash__(self) -> int:
        return hash((type(self.module), self.names))


def _signature(parts: dict[str, Module]) -> tuple:
    return tuple(
        (path, type(m), tuple(m._weights), tuple([(k, _plain(v)) for k, v in vars(m).items() if k not in m._bookkeeping]))
        for path, m in parts.items()
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Module):
        return "module"
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_plain, value))
    if isinstance(value, dict):
        return tuple((k, _plain(v)) for k, v in value.items())
    if isinstance(value, jax.Array):
        return _Constant(value)
    if isinstance(value, np.ndarray):  # it may be written to later
        return (describe(value), value.tobytes())
    return value


class _Constant:
    """A JAX array as an attribute; it cannot change, so it is fetched only to be compared with another one."""

    def __init__(self, array: jax.Array) -> None:
        self.array = array

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, _Constant):
            return False
        pair = (self.array, other.array)
        if pair[0] is pair[1] or any(isinstance(a, jax.core.Tracer) for a in pair):
            return pair[0] is pair[1]
        return describe(pair[0]) == describe(pair[1]) and np.asarray(pair[0]).tobytes() == np.asarray(pair[1]).tobytes()


def clone(module: Module, memo: dict[int, Module] | None = None, *, arrays: bool = True) -> Module:
    """A copy of the object tree with shared members still shared; arrays are the same objects, or left out."""
    memo = {} if memo is None else memo

    def copied(value: Any) -> Any:
        if isinstance(value, Module):
            return clone(value, memo, arrays=arrays)
        if isinstance(value, tuple):
            made = map(copied, value)
            return value._make(made) if hasattr(value, "_make") else type(value)(made)  # type: ignore[attr-defined]
        if isinstance(value, (list, dict)):
            new = copy.copy(value)  # of its own class, with what else it holds
            for k in range(len(value)) if isinstance(value, list) else value:
                new[k] = copied(value[k])
            return new
        return value

    if id(module) not in memo:
        new = memo[id(module)] = copy.copy(module)
        new._weights, new._arrays = dict(module._weights), dict(module._arrays) if arrays else {}
        new._constructor = copied(module._constructor)
        for name, value in vars(module).items():
            if not name.startswith("_"):
                new.__dict__[name] = copied(value)
        new._cloned()
    return memo[id(module)]


def register(cls: type[Module]) -> None:
    def flatten(module: Module) -> tuple[tuple, Skeleton]:
        parts = members(module)
        signature, skeleton = _signature(parts), module._skeleton
        if skeleton is None or skeleton.signature != signature:
            skeleton = module._skeleton = Skeleton(module, signature)
        return tuple([m._arrays[n] for m in parts.values() for n in m._weights]), skeleton

    def flatten_with_keys(module: Module) -> tuple[tuple, Skeleton]:
        leaves, skeleton = flatten(module)
        return tuple((jax.tree_util.DictKey(n), v) for n, v in zip(skeleton.names, leaves, strict=True)), skeleton

    def unflatten(skeleton: Skeleton, leaves: Iterable) -> Module:
        new = clone(skeleton.module)
        bind(new, dict(zip(skeleton.names, leaves, strict=True)))
        return new

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


# -- looking inside --------------------------------------------------------------------------------------------------------


def outputs(module: Module, *args: Any, paths: str | Iterable[str] = "*", **kwargs: Any) -> dict[str, Any]:
    """The outputs of layers by path, for one input: ``outputs(model, x, paths=["layers.0"])``; ``"*"`` is every layer."""
    params, state = weights_of(module)
    return apply(module, params, state, *args, capture=paths, **kwargs)[2]


def gradients(
    module: Module, function: Callable[[Any], Any], *args: Any, paths: str | Iterable[str], **kwargs: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(outputs, gradients)`` by path: d function(module(x)) / d output of the layer at each path.

    ``function`` turns the module's output into a scalar. A zero array is added at each path and differentiated by.
    """
    paths = [paths] if isinstance(paths, str) else list(paths)
    params, state = weights_of(module)
    shapes = jax.eval_shape(lambda a: apply(module, params, state, *a, capture=paths, **kwargs)[2], args)
    whole = {p for p, s in shapes.items() if not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(s))}
    for path in whole & set(paths):
        raise ValueError(f"the output of {path!r} is {describe(shapes[path])}: whole numbers have no gradient")
    zeros = {p: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), s) for p, s in shapes.items() if p not in whole}

    def scalar(nudge: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        y, _, captured = apply(module, params, state, *args, capture=paths, nudge=nudge, **kwargs)
        return function(y), captured

    grads, captured = jax.grad(scalar, has_aux=True)(zeros)
    return captured, grads
