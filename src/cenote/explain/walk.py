"""Running a function's equations one by one, so that something can be looked at, or changed, in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Literal

CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat", "remat2"}
LONGEST_LOOP = 512  # steps of a loop that are written out one by one


class Walk:
    """Runs equations on values; who inherits from it does something else at some of them, by `step`.

    >>> import jax
    >>> closed = jax.make_jaxpr(lambda x: jnp.sin(x) * 2)(0.0)
    >>> [float(y) for y in Walk().run(closed.jaxpr, closed.consts, [0.0])]
    [0.0]
    """

    def constant(self, value: Any) -> Any:
        """A constant of the function as a value on its way."""
        return value

    def run(self, jaxpr: Any, consts: list[Any], arguments: list[Any]) -> list[Any]:
        """The results of equations for arguments."""
        known = {id(v): c for v, c in zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True)}

        def read(v: Any) -> Any:
            return self.constant(v.val) if isinstance(v, Literal) else known[id(v)]

        for eqn in jaxpr.eqns:
            results = self.step(eqn, [read(v) for v in eqn.invars])
            known.update((id(v), c) for v, c in zip(eqn.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def step(self, eqn: Any, ins: list[Any]) -> list[Any]:
        """The results of one equation."""
        return bind(eqn, ins)

    def inside(self, eqn: Any, ins: list[Any]) -> list[Any] | None:
        """The results of an equation that stands for others, run one by one; None where that cannot be done."""
        name, inner = eqn.primitive.name, inner_of(eqn)
        if inner is None:
            return None
        body, consts = inner[0], [self.constant(c) for c in inner[1]]
        if name in CALLS and len(body.invars) == len(ins):
            return self.run(body, consts, ins)
        return self.loop(eqn, body, consts, ins) if name == "scan" and eqn.params["length"] <= LONGEST_LOOP else None

    def loop(self, eqn: Any, body: Any, consts: list[Any], ins: list[Any]) -> list[Any]:
        """A scan, step by step."""
        length = eqn.params["length"]
        fixed, states = loop_parts(eqn)
        split = fixed + states
        carry, steps = ins[fixed:split], [[] for _ in range(length)]
        for i in reversed(range(length)) if eqn.params["reverse"] else range(length):
            out = self.run(body, consts, [*ins[:fixed], *carry, *(self.pick(c, i) for c in ins[split:])])
            carry, steps[i] = out[: len(carry)], out[len(carry) :]
        return [*carry, *(self.stack(list(column)) for column in zip(*steps, strict=True))]

    def pick(self, value: Any, i: int) -> Any:
        """What a loop takes of an array in its step i."""
        return value[i]

    def stack(self, values: list[Any]) -> Any:
        """What a loop makes of what its steps gave."""
        return jnp.stack(values)


def bind(eqn: Any, values: list[Any]) -> list[Any]:
    """What an equation gives for these values."""
    found = eqn.primitive.get_bind_params(eqn.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # older and newer JAX
    out = eqn.primitive.bind(*functions, *values, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def inner_of(eqn: Any) -> tuple[Any, list] | None:
    """The equations, and their constants, of an equation that stands for others (jit, custom_vjp, scan, ...)."""
    inner = next((eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params), None)
    return None if inner is None else (getattr(inner, "jaxpr", inner), list(getattr(inner, "consts", ())))


def loop_parts(eqn: Any) -> tuple[int, int]:
    """How many of a scan's arguments are constants, and how many are states; the rest is taken round by round.

    Told by the shapes, since JAX has changed the parameters that say so: what is taken by rounds has an axis more outside.
    """
    inner = inner_of(eqn)
    assert inner is not None
    states = sum(v.aval.ndim == w.aval.ndim for v, w in zip(eqn.outvars, inner[0].outvars, strict=True))
    whole = sum(v.aval.ndim == w.aval.ndim for v, w in zip(eqn.invars, inner[0].invars, strict=True))
    return whole - states, states


def within(eqn: Any) -> Iterator[Any]:
    """All the groups of equations that an equation holds."""
    for value in eqn.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part
