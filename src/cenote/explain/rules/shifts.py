"""Where a jaxpr takes the largest logit away before ``exp``, which changes nothing but the rounding: found by its form.

``softmax(z) = exp(z - c) / sum(exp(z - c))`` holds for every c, and so do the logarithms of it and of the sum. With c the
largest logit at each point, c would seem to change from the baseline to x, and would be given a part of the change. The same c
at both points gives the multipliers of the function itself.
"""

from __future__ import annotations

from typing import Any

_CHAIN = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "stop_gradient", "max", "select_n", "convert_element_type"}
_CHECKS = {"is_finite", "eq", "ne"}
_SUMS = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "abs", "log", "sign", "select_n", "ne"}


def shifts(jaxpr: Any) -> set[int]:
    """The ids of those equations of a jaxpr that find the largest logit for a softmax, its logarithm, or a logsumexp."""
    names = [eqn.primitive.name for eqn in jaxpr.eqns]
    if "exp" not in names or "reduce_max" not in names:
        return set()
    readers: dict[Any, list] = {}
    for eqn in jaxpr.eqns:
        for v in eqn.invars:
            if not hasattr(v, "val"):
                readers.setdefault(v, []).append(eqn)
    given = {v for v in jaxpr.outvars if not hasattr(v, "val")}
    return {id(e) for e in jaxpr.eqns if e.primitive.name == "reduce_max" and _cancels(e, readers, given)}


def _follow(v: Any, through: set[str], readers: dict) -> tuple[set, list]:
    """All that is made of ``v`` by some operations, and the others that read it."""
    reached, ends, queue = {v}, [], [v]
    while queue:
        for eqn in readers.get(queue.pop(), []):
            if eqn.primitive.name in through:
                queue.extend(v for v in eqn.outvars if v not in reached)
                reached.update(eqn.outvars)
            elif eqn.primitive.name not in _CHECKS:
                ends.append(eqn)
    return reached, ends


def _cancels(largest: Any, readers: dict, given: set) -> bool:
    x = largest.invars[0]
    chain, ends = _follow(largest.outvars[0], _CHAIN, readers)
    shifted = [e for e in ends if e.primitive.name == "sub" and e.invars[0] is x and _in(e.invars[1], chain)]
    added = [e for e in ends if e.primitive.name == "add"]
    if len(shifted) != 1 or len(shifted) + len(added) != len(ends) or chain & given:
        return False
    difference = shifted[0].outvars[0]
    after = readers.get(difference, [])
    exps = [e for e in after if e.primitive.name == "exp"]
    if len(exps) != 1 or difference in given:
        return False
    e = exps[0].outvars[0]
    totals = [r for r in readers.get(e, []) if r.primitive.name == "reduce_sum"]
    shares = [r for r in readers.get(e, []) if r.primitive.name == "div" and r.invars[0] is e]
    if len(totals) != 1 or len(totals) + len(shares) != len(readers[e]) or e in given:
        return False
    sums, uses = _follow(totals[0].outvars[0], _SUMS, readers)
    rest = [a for a in after if a is not exps[0]]
    if sums & given:
        return False
    if shares:  # exp(z - c) / sum
        return uses == shares and not rest and not added
    if rest:  # (z - c) - log(sum)
        return len(rest) == 1 and uses == rest and rest[0].primitive.name == "sub" and not added
    return len(added) == 1 and uses == added  # log(sum) + c


def _in(v: Any, found: set) -> bool:
    return not hasattr(v, "val") and v in found
