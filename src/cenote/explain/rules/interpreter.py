"""One forward pass that keeps what each operation saw, and one backward pass that hands multipliers from outputs to inputs.

A value that depends on the input is a tuple with an array for each point at which the function is looked at: (at x,
at the baseline) for DeepLIFT, (at x,) for LRP. Any other value is the array itself. A rule takes a `Site`, one operation with
what goes in, and returns what comes out, and a function from the multipliers of the outputs to those of the inputs. Multipliers
are real numbers for whole numbers and truth values, too; None stands for one that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from ..walk import bind

# Operations of which only these operands are data, and others say where data go.
DATA: dict[str, tuple[int, ...]] = {
    "gather": (0,),
    "dynamic_slice": (0,),
    "dynamic_update_slice": (0, 1),
    "scatter": (0, 2),
    "scatter-add": (0, 2),
    "scatter_add": (0, 2),
    "scatter-sub": (0, 2),
    "triangular_solve": (1,),
    "select_n": tuple(range(1, 99)),
}
Back = Callable[[list], Sequence[Any]]
Rule = Callable[["Site"], tuple[list, Back]]


@dataclass(frozen=True)
class Rules:
    """What a method does at each operation: ``table`` by the primitive's name, ``constants`` what passes nothing on."""

    method: str
    table: Mapping[str, Rule]
    constants: frozenset[str] = frozenset()
    at_x: bool = False  # products take the other factor as it is at x, instead of half way
    options: Mapping[str, Any] = field(default_factory=dict)

    def of(self, name: str) -> Rule:
        return self.table.get(name, _unknown)


@dataclass(eq=False)
class Site:
    """One operation in its place: what goes in, and which operations that came from."""

    rules: Rules
    eqn: Any
    ins: list
    makers: list[Site | None]
    only: bool = False  # its output is read once
    continued: bool = False  # a constant is added to its output next: the sum ends there

    @property
    def name(self) -> str:
        return self.eqn.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        return self.eqn.params

    @property
    def dependent(self) -> list[int]:
        """Which operands depend on the input."""
        return [i for i, v in enumerate(self.ins) if depends(v)]

    def bind(self, values: Sequence[Any]) -> list:
        """The operation itself."""
        return bind(self.eqn, list(values))

    def at_points(self) -> list:
        """What the operation gives at each point."""
        count = len(self.ins[self.dependent[0]])
        each = [self.bind([v[p] if depends(v) else v for v in self.ins]) for p in range(count)]
        return [tuple(values) for values in zip(*each, strict=True)]

    def of(self, *places: int) -> Callable[..., Any]:
        """The operation as a function of some of its operands, at x for the others; one output as it is, several in a list."""

        def function(*values: Any) -> Any:
            operands = [v[0] if depends(v) else v for v in self.ins]
            data = DATA.get(self.name, range(len(operands)))
            for place, value in zip(places, values, strict=True):
                if jnp.result_type(value) != jnp.result_type(operands[place]):  # whole numbers as real ones: all of them
                    operands = [real(v) if i in data else v for i, v in enumerate(operands)]
                operands[place] = value
            out = self.bind(operands)
            return out if self.eqn.primitive.multiple_results else out[0]

        return function

    def first(self, *places: int) -> Callable[..., Any]:
        """The same, its first output only."""
        function = self.of(*places)
        return (lambda *values: function(*values)[0]) if self.eqn.primitive.multiple_results else function

    def scatter(self, found: Mapping[int, Any]) -> list:
        """Multipliers of some operands, None for the others."""
        return [found.get(i) for i in range(len(self.ins))]


def named(text: str) -> list[str]:
    """The names in a text.

    >>> named("add sub")
    ['add', 'sub']
    """
    return text.split()


def depends(value: Any) -> bool:
    return isinstance(value, tuple)


def ends(value: tuple) -> tuple[Any, Any]:
    """Where a change starts from and where it leads: (at x, at the baseline); with one point only, from zero."""
    return (value[0], value[1]) if len(value) == 2 else (value[0], jnp.zeros_like(value[0]))


def lifted(value: Any, points: int) -> tuple:
    """A value as one that depends on the input."""
    return value if depends(value) else (value,) * points


def real(value: Any) -> Any:
    """Whole numbers and truth values as float32."""
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(jnp.float32)


def zeros(value: tuple) -> Any:
    """The multiplier of a value that nothing depends on."""
    return jnp.zeros_like(real(value[0]))


def filled(multipliers: Sequence[Any], values: Sequence[Any]) -> list:
    """Zeros instead of None for values that depend on the input."""
    return [zeros(v) if m is None and depends(v) else m for m, v in zip(multipliers, values, strict=True)]


def propagate(
    rules: Rules, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], makers: Sequence[Site | None] = ()
) -> tuple[list, Back]:
    """What a jaxpr gives for these values, and the way back from the multipliers of its outputs to those of ``args``.

    ``makers`` says which operations the arguments came from, where that is known.
    """
    from .shifts import shifts

    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    made: dict[Any, Site | None] = dict(zip(jaxpr.invars, makers, strict=False))
    tape: list[tuple[Site, Back]] = []
    common = shifts(jaxpr)
    reads = _reads(jaxpr)
    for eqn in jaxpr.eqns:
        named = [not hasattr(v, "val") for v in eqn.invars]
        ins = [known[v] if n else v.val for v, n in zip(eqn.invars, named, strict=True)]
        makers = [made.get(v) if n else None for v, n in zip(eqn.invars, named, strict=True)]
        site = Site(rules, eqn, ins, makers, only=reads.get(eqn.outvars[0], 0) == 1 if eqn.outvars else False)
        if not site.dependent:
            outs = site.bind(ins)
        elif (
            id(eqn) in common
        ):  # the largest logit, taken away from all of them: the same at all points, so that it is no change
            outs = [_largest(out) for out in site.at_points()]
        elif site.name in rules.constants:
            outs = [out[0] for out in site.at_points()]
        else:
            outs, back = rules.of(site.name)(site)
            tape.append((site, back))
        for v, out in zip(eqn.outvars, outs, strict=True):
            known[v] = out
            made[v] = site

    def read(v: Any) -> Any:
        return v.val if hasattr(v, "val") else known[v]

    def back(wanted: list, /) -> Sequence[Any]:
        total: dict[Any, Any] = {}

        def add(v: Any, m: Any) -> None:
            if m is not None and not hasattr(v, "val") and depends(known[v]):
                total[v] = total[v] + m if v in total else m

        for v, m in zip(jaxpr.outvars, wanted, strict=True):
            add(v, m)
        for site, rule in reversed(tape):
            here = [total.pop(v, None) for v in site.eqn.outvars]
            if any(m is not None for m in here):
                for v, m in zip(site.eqn.invars, rule(here), strict=True):
                    add(v, m)
        return [total.get(v) for v in jaxpr.invars]

    return [read(v) for v in jaxpr.outvars], back


def multipliers(rules: Rules, function: Callable[[Any], Any], *points: Any) -> tuple[Any, tuple]:
    """Multipliers of the input, one for each number of it, and what the function gives at each point.

    ``function`` takes one pytree of arrays, rows first, and gives one number a row; ``points`` are such pytrees: x, and the
    baseline for DeepLIFT.
    """
    leaves, structure = jax.tree.flatten(points[0])
    others = [jax.tree.leaves(point) for point in points[1:]]
    closed = jax.make_jaxpr(lambda *leaves: function(structure.unflatten(leaves)))(*leaves)
    seen: list[Any] = list(zip(leaves, *others, strict=True))
    seen = [v if jnp.issubdtype(jnp.result_type(v[0]), jnp.floating) else v[0] for v in seen]
    (out,), back = propagate(rules, closed.jaxpr, closed.consts, seen)
    found: Sequence[Any] = back([jnp.ones_like(lifted(out, 1)[0])])
    found = [jnp.zeros(leaf.shape) if m is None else m for m, leaf in zip(found, leaves, strict=True)]
    return structure.unflatten(found), lifted(out, len(points))


def _reads(jaxpr: Any) -> dict[Any, int]:
    """How often each variable is read."""
    count: dict[Any, int] = {}
    for v in [v for eqn in jaxpr.eqns for v in eqn.invars] + list(jaxpr.outvars):
        if not hasattr(v, "val"):
            count[v] = count.get(v, 0) + 1
    return count


def _largest(values: tuple) -> Any:
    return values[0] if len(values) == 1 else jnp.maximum(*values)


def _unknown(site: Site) -> tuple[list, Back]:
    """An operation without a rule may be passed by, but not gone through."""
    name, method = site.params.get("target_name", site.name), site.rules.method

    def back(_: list) -> list:
        raise ValueError(
            f"{method} has no rule for the operation '{name}', and a guess would give wrong numbers. Write the function "
            "without it, or use a method that needs no rules: integrated_gradients, or, for any function, permutation_shapley"
        )

    return site.at_points(), back
