"""Numbers that stand for things (words, categories) and those that are quantities: told apart by what the function does.

A function of words has no slope: half a word is none. It has one in the vectors that it looks up for them. `Lookups` runs a
function's equations one by one and stops at each lookup, to hand out the vectors or to take others in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.tree import spec_of
from .walk import CALLS, Walk, bind, inner_of, within


def looked_up(function: Callable[[Any], Any], x: Any) -> list[bool]:
    """For each array of ``x``: are its values only used to look things up, so that their size means nothing?

    Whole numbers that become floats on the way (the grey levels of a picture) are quantities; those that only say which row
    of a table is wanted (`gather`), or are only compared, are not.

    >>> table = jnp.ones((5, 2))
    >>> looked_up(lambda x: table[x[0]].sum() + x[1].astype(float).sum(), (jnp.arange(3), jnp.arange(3)))
    [True, False]
    """
    leaves, structure = jax.tree.flatten(spec_of(x))
    if not any(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in leaves):  # most inputs: nothing to trace
        return [False] * len(leaves)
    closed = jax.make_jaxpr(lambda *leaves: function(structure.unflatten(leaves)))(*leaves)
    result = []
    for number, leaf in enumerate(leaves):
        whole = jnp.issubdtype(leaf.dtype, jnp.integer)
        start = [i == number for i in range(len(leaves))]
        result.append(bool(whole) and not _becomes_quantity(closed.jaxpr, start)[0])
    return result


def _becomes_quantity(jaxpr: Any, marked: list[bool]) -> tuple[bool, list[bool]]:
    """Whether a marked whole number is turned into a float, and which outputs are still marked."""
    live = {id(v) for v, m in zip(jaxpr.invars, marked, strict=True) if m}
    found = False
    for eqn in jaxpr.eqns:
        hit = [id(v) in live for v in eqn.invars]
        if not any(hit):
            continue
        inner = inner_of(eqn)
        if inner is not None and len(inner[0].invars) == len(eqn.invars):
            within, out = _becomes_quantity(inner[0], hit)
            found |= within
            live |= {id(v) for v, m in zip(eqn.outvars, out, strict=False) if m}
            continue
        for v in eqn.outvars:
            if jnp.issubdtype(v.aval.dtype, jnp.integer):
                live.add(id(v))
            elif eqn.primitive.name == "convert_element_type" and jnp.issubdtype(v.aval.dtype, jnp.floating):
                found = True
    return found, [id(v) in live for v in jaxpr.outvars]


def rounds(outputs: Callable[[Any, Any], Any], weights: Any, x: Any) -> bool:
    """Whether the function makes whole numbers of floats anywhere, as it does to look up the categories in a table of floats.

    >>> rounds(lambda table, x: table[x.astype(int)], jnp.ones(3), jnp.ones(2)), rounds(lambda _, x: x * 2, (), jnp.ones(2))
    (True, False)
    """
    return _rounds(jax.make_jaxpr(outputs)(*spec_of((weights, x))).jaxpr)


def _rounds(jaxpr: Any) -> bool:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "convert_element_type":
            kinds = eqn.invars[0].aval.dtype, eqn.outvars[0].aval.dtype
            if jnp.issubdtype(kinds[0], jnp.floating) and jnp.issubdtype(kinds[1], jnp.integer):
                return True
        if any(map(_rounds, within(eqn))):
            return True
    return False


# -- lookups ---------------------------------------------------------------------------------------------------------------

OTHERS = "a method that only asks the function, such as permutation_shapley, kernel_shap, lime or occlusion"
_NOWHERE, _SEVERAL = -1, -2  # the places of numbers that come from no word, and from more than one
_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "is_finite"}
_SAME_PLACE = {"convert_element_type", "copy", "copy_p", "stop_gradient", "floor", "ceil", "round", "device_put"}
_PLACEWISE = {"add", "sub", "mul", "div", "rem", "max", "min", "neg", "abs", "sign", "clamp", "select_n", "integer_pow"} | {
    *("and", "or", "xor", "not", "shift_left", "shift_right_logical", "shift_right_arithmetic", "add_any", *_SAME_PLACE)
}


@dataclass
class _Cell:
    """A value on its way through the equations."""

    value: Any
    follows: bool = False  # does it depend on the input?
    # Where it still is the number of a word (as it is, moved, or reckoned with): the place of that word in the input, counted
    # over all its arrays; a text where that was lost, the name of the operation that lost it.
    places: np.ndarray | str | None = None


@dataclass
class Site:
    """One lookup: ``vectors`` (rows, number, ...), what was found for each row; ``places`` (rows, number), for which words."""

    places: np.ndarray
    vectors: Any


class Lookups:
    """Runs ``outputs(weights, x)`` and keeps what it looks up in tables, or puts other vectors in its place.

    Comparisons of words, such as masks of padding, are those of the words that are there.

    Raises: ValueError where it cannot be said which word a lookup is of.

    >>> table = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> found = Lookups(lambda _, x: table[x].sum((1, 2)))
    >>> [site.vectors.tolist() for site in found.sites((), jnp.array([[1]]))]
    [[[[3.0, 4.0]]]]
    >>> found((), jnp.array([[1]]), [jnp.ones((1, 1, 2))]).tolist()
    [2.0]
    """

    def __init__(self, outputs: Callable[[Any, Any], Any]) -> None:
        self.outputs = outputs

    def sites(self, weights: Any, x: Any) -> list[Site]:
        """The lookups of the words in x, in the order in which they are made."""
        return self._run(weights, x, None)[1]

    def __call__(self, weights: Any, x: Any, vectors: list[Any]) -> Any:
        """The outputs with these vectors in place of those of the words."""
        return self._run(weights, x, vectors)[0]

    def _run(self, weights: Any, x: Any, vectors: list[Any] | None) -> tuple[Any, list[Site]]:
        leaves = jax.tree.leaves((weights, x))
        closed, shape = jax.make_jaxpr(self.outputs, return_shape=True)(*spec_of((weights, x)))
        shown = jax.tree.leaves(x)
        cells = [_Cell(leaf) for leaf in leaves[: len(leaves) - len(shown)]]
        start, rounded = 0, _rounds(closed.jaxpr)
        for leaf in shown:
            stands = rounded or not jnp.issubdtype(leaf.dtype, jnp.floating)
            cells.append(_Cell(leaf, True, start + np.arange(leaf.size).reshape(leaf.shape) if stands else None))
            start += leaf.size
        walk = _Words(shown[0].shape[0], [leaf.size for leaf in shown], None if vectors is None else iter(vectors))
        out = walk.run(closed.jaxpr, [_Cell(c) for c in closed.consts], cells)
        return jax.tree.unflatten(jax.tree.structure(shape), [c.value for c in out]), walk.sites


class _Words(Walk):
    """Runs equations on `_Cell`s."""

    def __init__(self, rows: int, sizes: list[int], given: Iterator[Any] | None) -> None:
        self.rows, self.given = rows, given
        self.row_of = np.concatenate([np.repeat(np.arange(rows), size // rows) for size in sizes])
        self.sites: list[Site] = []

    def constant(self, value: Any) -> _Cell:
        return _Cell(value)

    def step(self, eqn: Any, ins: list[_Cell]) -> list[_Cell]:
        name = eqn.primitive.name
        numbers = any(c.places is not None for c in ins)  # of words
        if numbers and name in ("gather", "dynamic_slice") and not ins[0].follows:
            return [self.lookup(eqn, ins)]
        if numbers and (name in CALLS or _looks_up(eqn)):
            out = self.inside(eqn, ins)
            if out is not None:
                return out
            raise ValueError(
                f"words are looked up inside a {name}, where their vectors cannot be told apart: look them up before it, or "
                f"use {OTHERS}"
            )
        values = bind(eqn, [c.value for c in ins])
        follows = any(c.follows for c in ins)
        places = _moved(eqn, ins) if numbers and name not in _COMPARISONS else None
        return [
            _Cell(v, follows, places if jnp.issubdtype(v.dtype, jnp.integer) or isinstance(places, np.ndarray) else None)
            for v in values
        ]

    def pick(self, value: _Cell, i: int) -> _Cell:
        places = value.places[i] if isinstance(value.places, np.ndarray) else value.places
        return _Cell(value.value[i], value.follows, places)

    def stack(self, values: list[_Cell]) -> _Cell:
        parts: list[Any] = [c.places for c in values]
        whole = np.stack(parts) if all(isinstance(p, np.ndarray) for p in parts) else None
        lost = next((p for p in parts if isinstance(p, str)), None)
        return _Cell(jnp.stack([c.value for c in values]), any(c.follows for c in values), whole if lost is None else lost)

    def lookup(self, eqn: Any, ins: list[_Cell]) -> _Cell:
        """The vectors, sorted by row, kept; and those that were given put in their place."""
        (found,) = bind(eqn, [c.value for c in ins])
        if not jnp.issubdtype(found.dtype, jnp.floating):  # a table of other numbers, such as that from words to their roots
            return _Cell(found, True, _at_sites(eqn, ins) if jnp.issubdtype(found.dtype, jnp.integer) else None)
        places, inside = _at_sites(eqn, ins), _inside(eqn)
        if isinstance(places, str):
            raise ValueError(f"it cannot be said which word a lookup is of, behind the operation {places}: use {OTHERS}")
        outside = [a for a in range(found.ndim) if a not in inside]
        order = [*outside, *inside]
        if isinstance(places, np.ndarray) and places.ndim == found.ndim:  # whole numbers have no inner axes to be left out
            places = places.transpose(order).reshape(*[found.shape[a] for a in outside], -1)[..., 0]
        flat = places.reshape(-1)
        if (flat == _SEVERAL).any():
            raise ValueError(
                f"a lookup is of several words at once (their numbers were added up), so it belongs to none of them: use "
                f"{OTHERS}"
            )
        vectors = jnp.transpose(found, order).reshape(flat.size, *[found.shape[a] for a in inside])
        there = np.flatnonzero(flat >= 0)
        rows = self.row_of[flat[there]]
        there, each = there[np.argsort(rows, kind="stable")], np.bincount(rows, minlength=self.rows)
        if not there.size or (each != each[0]).any():
            raise ValueError("a lookup is not of equally many words in each row, so that their vectors cannot be told apart")
        shape = (self.rows, int(each[0]), *vectors.shape[1:])
        straight = there.size == flat.size and (there == np.arange(flat.size)).all()
        own = (vectors if straight else vectors[there]).reshape(shape)
        self.sites.append(Site(flat[there].reshape(shape[:2]), own))
        if self.given is None:
            return _Cell(found, True)
        other = jnp.reshape(next(self.given), (-1, *shape[2:]))
        if not straight:
            other = vectors.at[there].set(other) if there.size < flat.size else other[np.argsort(there)]
        other = other.reshape([found.shape[a] for a in order]).transpose(np.argsort(order))
        return _Cell(other.astype(found.dtype), True)


def _looks_up(eqn: Any) -> bool:
    """Whether an equation holds others that look something up."""
    return any(e.primitive.name == "gather" or _looks_up(e) for part in within(eqn) for e in part.eqns)


def _inside(eqn: Any) -> list[int]:
    """The axes of what is looked up that lie within one entry of the table."""
    if eqn.primitive.name == "dynamic_slice":
        return list(range(len(eqn.outvars[0].aval.shape)))
    return list(eqn.params["dimension_numbers"].offset_dims)


def _at_sites(eqn: Any, ins: list[_Cell]) -> np.ndarray | str:
    """The places of the words that are looked up, without the inner axes."""
    if eqn.primitive.name == "dynamic_slice":
        return _merged([c.places for c in ins[1:]], ())
    places = ins[1].places
    if isinstance(places, str) or places is None:
        return places or "gather"
    return _merged([places[..., i] for i in range(places.shape[-1])], places.shape[:-1])


def _merged(parts: list[Any], shape: tuple[int, ...]) -> np.ndarray | str:
    """The places of numbers that were made of several: those of the word among them, if it is one."""
    merged = np.full(shape, _NOWHERE)
    for part in parts:
        if isinstance(part, str):
            return part
        if part is not None:
            part = np.broadcast_to(part, shape)
            both = (merged != _NOWHERE) & (part != _NOWHERE) & (merged != part)
            merged = np.where(both, _SEVERAL, np.where(merged == _NOWHERE, part, merged))
    return merged


def _moved(eqn: Any, ins: list[_Cell]) -> np.ndarray | str | None:
    """Where an operation puts the numbers of words."""
    name, shape, params = eqn.primitive.name, eqn.outvars[0].aval.shape, eqn.params
    lost = next((c.places for c in ins if isinstance(c.places, str)), None)
    if lost is not None:
        return lost
    places: Any = ins[0].places
    if places is not None and len(ins) == 1:
        if name in ("reshape", "squeeze", "expand_dims") and places.size == np.prod(shape):
            return places.reshape(shape)
        if name == "transpose":
            return places.transpose(params["permutation"])
        if name == "broadcast_in_dim":
            wide = [1] * len(shape)
            for size, axis in zip(places.shape, params["broadcast_dimensions"], strict=True):
                wide[axis] = size
            return np.broadcast_to(places.reshape(wide), shape)
        if name == "slice":
            strides = params["strides"] or (1,) * len(shape)
            return places[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]
        if name == "tile":
            return np.tile(places, params["reps"])
        if name == "rev":
            return np.flip(places, params["dimensions"])
    if name in ("concatenate", "stack"):
        parts = [np.full(c.value.shape, _NOWHERE) if c.places is None else c.places for c in ins]
        return np.concatenate(parts, params["dimension"]) if name == "concatenate" else np.stack(parts, params["axis"])
    if name == "split" and places is not None:
        return name if len(eqn.outvars) > 1 else places
    if name == "pad" and places is not None and all(min(low, high) >= 0 and not i for low, high, i in params["padding_config"]):
        return np.pad(places, [edges[:2] for edges in params["padding_config"]], constant_values=_NOWHERE)
    whole = [c for c in ins if c.places is not None and not jnp.issubdtype(c.value.dtype, jnp.floating)]
    if name in (_PLACEWISE if whole else _SAME_PLACE):
        cells = ins[1:] if name == "select_n" else ins
        return _merged([c.places for c in cells], shape)
    return name if whole else None  # what is done to quantities makes other quantities of them
