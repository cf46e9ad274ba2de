"""Rules for operations that hold a jaxpr: calls are gone into, loops are gone back through with what every round began with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

from ...kernels import convolution
from ..walk import inner_of, loop_parts
from .interpreter import Back, Rule, Site, depends, filled, lifted, named, propagate, zeros
from .local import refused


def call(site: Site) -> tuple[list, Back]:
    """A jaxpr inside: gone into. Our own convolutions have faster forms of their derivative, and are left whole."""
    found = inner_of(site.eqn)
    assert found is not None
    inner, consts = found
    source = getattr(getattr(inner, "debug_info", None), "func_src_info", None) or ""
    if site.name.startswith("custom_vjp_call") and convolution.__file__ in source:
        return site.rules.of("conv_general_dilated")(site)  # each is linear in both of its operands
    return propagate(site.rules, inner, consts, site.ins, site.makers)


def _reached(jaxpr: Any, flags: list[bool]) -> list[bool]:
    """Which outputs can depend on the input, if these arguments do."""
    live = {v for v, f in zip(jaxpr.invars, flags, strict=True) if f}
    for eqn in jaxpr.eqns:
        if any(not hasattr(v, "val") and v in live for v in eqn.invars):
            live.update(eqn.outvars)
    return [not hasattr(v, "val") and v in live for v in jaxpr.outvars]


def _lift(values: list, flags: list[bool], points: int) -> list:
    return [lifted(v, points) if f else v for v, f in zip(values, flags, strict=True)]


def scan(site: Site) -> tuple[list, Back]:
    """A loop of fixed length: forward with both points at once, what each round began with kept; then back, the last first.

    A round is computed a second time on the way back, so that only the states are kept.
    """
    params, rules = site.params, site.rules
    closed, (constants, states) = params["jaxpr"], loop_parts(site.eqn)
    points = len(site.ins[site.dependent[0]])
    flags = [depends(v) for v in site.ins]
    while True:  # a state that depends on the input after a round does so before the next
        out_flags = _reached(closed.jaxpr, flags)
        grown = flags[:constants] + [
            a or b for a, b in zip(flags[constants : constants + states], out_flags[:states], strict=True)
        ]
        grown += flags[constants + states :]
        if grown == flags:
            break
        flags = grown
    ins = _lift(site.ins, flags, points)
    shared, first, each = ins[:constants], ins[constants : constants + states], ins[constants + states :]
    loop: dict[str, Any] = {"length": params["length"], "unroll": params.get("unroll", 1)}

    def round_(carry: list, x: list) -> tuple[list, Any]:
        outs, _ = propagate(rules, closed.jaxpr, closed.consts, [*shared, *carry, *x])
        outs = _lift(outs, out_flags, points)
        return outs[:states], (carry, outs[states:])

    last, (before, ys) = lax.scan(round_, first, each, reverse=params["reverse"], **loop)
    outs = [*last, *ys]

    def back(multipliers: list) -> list:
        wanted = filled(multipliers, outs)

        def round_back(total: tuple, kept: tuple) -> tuple:
            (m_carry, m_shared), (carry, x, m_ys) = total, kept
            outs, way = propagate(rules, closed.jaxpr, closed.consts, [*shared, *carry, *x])
            outs = _lift(outs, out_flags, points)
            found = filled(way([*m_carry, *m_ys]), [*shared, *carry, *x])
            m_shared = [None if a is None else a + b for a, b in zip(m_shared, found[:constants], strict=True)]
            return (found[constants : constants + states], m_shared), found[constants + states :]

        start = (wanted[:states], [zeros(v) if depends(v) else None for v in shared])
        (m_first, m_shared), m_each = lax.scan(
            round_back, start, (before, each, wanted[states:]), reverse=not params["reverse"], **loop
        )
        return [*m_shared, *m_first, *m_each]

    return outs, back


def cond(site: Site) -> tuple[list, Back]:
    """A branch: the one that is taken. If the input decides, all are computed, and the choice between them has a part, too."""
    branches, rules = site.params["branches"], site.rules
    if depends(site.ins[0]):
        return _all_branches(site)
    index, operands = site.ins[0], site.ins[1:]
    points = len(site.ins[site.dependent[0]])
    flags = [depends(v) for v in operands]
    reached = [_reached(b.jaxpr, flags) for b in branches]
    out_flags = [any(f) for f in zip(*reached, strict=True)]

    def forward(branch: Any) -> Any:
        return lambda *values: _lift(propagate(rules, branch.jaxpr, branch.consts, values)[0], out_flags, points)

    def backward(branch: Any) -> Any:
        def run(wanted: list, *values: Any) -> list:
            _, way = propagate(rules, branch.jaxpr, branch.consts, values)
            return filled(way(wanted), values)

        return run

    outs = lax.switch(index, [forward(b) for b in branches], *operands)

    def back(multipliers: list) -> list:
        wanted = filled(multipliers, outs)
        return [None, *lax.switch(index, [backward(b) for b in branches], wanted, *operands)]

    return outs, back


def _all_branches(site: Site) -> tuple[list, Back]:
    branches = site.params["branches"]

    def choose(index: Any, *operands: Any) -> list:
        each = [jaxpr_as_fun(b)(*operands) for b in branches]
        index = jnp.clip(index, 0, len(branches) - 1)
        return [lax.select_n(jnp.broadcast_to(index, values[0].shape), *values) for values in zip(*each, strict=True)]

    return restated(site, choose)


def restated(site: Site, function: Any) -> tuple[list, Back]:
    """An operation by a function of simpler ones, which have rules."""
    shapes = [jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)) for v in (v[0] if depends(v) else v for v in site.ins)]
    closed = jax.make_jaxpr(function)(*shapes)
    return propagate(site.rules, closed.jaxpr, closed.consts, site.ins)


def endless(site: Site) -> tuple[list, Back]:
    return refused(site, "whose number of rounds is not fixed: write it as lax.scan, or as lax.fori_loop with fixed bounds")


def table() -> dict[str, Rule]:
    """The rules of this module by primitive."""
    calls = named(
        "call pjit jit closed_call core_call remat checkpoint remat2 custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr"
    )
    return dict.fromkeys(calls, call) | {"scan": scan, "cond": cond, "while": endless}
