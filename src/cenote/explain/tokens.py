"""Numbers that stand for things (words, categories) and those that are quantities: told apart by what the function does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.tree import spec_of


def looked_up(function: Callable[[Any], Any], x: Any) -> list[bool]:
    """For each array of ``x``: are its values only used to look things up, so that their size means nothing?

    Whole numbers that become floats on the way (the grey levels of a picture) are quantities; those that only say which row
    of a table is wanted (`gather`), or are only compared, are not.

    >>> table = jnp.ones((5, 2))
    >>> looked_up(lambda x: table[x[0]].sum() + x[1].astype(float).sum(), (jnp.arange(3), jnp.arange(3)))
    [True, False]
    """
    leaves, structure = jax.tree.flatten(spec_of(x))
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
        inner = next((eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params), None)
        inner = getattr(inner, "jaxpr", inner)
        if inner is not None and len(inner.invars) == len(eqn.invars):
            within, out = _becomes_quantity(inner, hit)
            found |= within
            live |= {id(v) for v, m in zip(eqn.outvars, out, strict=False) if m}
            continue
        for v in eqn.outvars:
            if jnp.issubdtype(v.aval.dtype, jnp.integer):
                live.add(id(v))
            elif eqn.primitive.name == "convert_element_type" and jnp.issubdtype(v.aval.dtype, jnp.floating):
                found = True
    return found, [id(v) in live for v in jaxpr.outvars]
