"""Rules for one operation by itself: what a change of its operands, from the baseline to x, contributes to that of its output.

Every rule is complete: multipliers of the operands times their changes add up to the multiplier of the output times its change.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .interpreter import DATA, Back, Rule, Site, depends, ends, named, real
from .secants import EXACT, difference, middle, slope

# Operations whose output is a sum of their operands, weighed by nothing that depends on them; the places of those that may
# depend on the input, if not all may.
LINEAR: dict[str, tuple[int, ...] | None] = dict.fromkeys(
    named("""add add_any sub neg reduce_sum cumsum reduce_window_sum broadcast_in_dim reshape squeeze expand_dims transpose rev
    concatenate stack unstack tile pad slice split copy copy_p real imag complex conj convert_element_type reduce_precision
    fft optimization_barrier stop_gradient sharding_constraint pvary reshard""")
) | {name: places for name, places in DATA.items() if name != "select_n"}
PRODUCTS = ("mul", "dot_general", "conv_general_dilated")  # linear in each of two operands
KINKED = named(
    "abs sign floor ceil round rem is_finite not and or xor eq ne lt le gt ge max min convert_element_type clamp nextafter"
)
SMOOTH = named("""exp exp2 expm1 log log1p tanh logistic sqrt rsqrt square integer_pow sin cos tan asin acos atan sinh cosh
    asinh acosh atanh cbrt erf erfc erf_inv lgamma digamma polygamma zeta igamma igammac bessel_i0e bessel_i1e pow atan2""")
BRANCHED = ("max", "reduce_max")
_FAR = 1e15


def weighted(site: Site) -> tuple[list, Back]:
    """Functions of at most the second degree: their derivative half way is exact, and gives each factor of a product its half.

    For ``y = a b`` it is ``y(x) - y(x') = mean(b) (a - a') + mean(a) (b - b')``, the Shapley value of the two factors.
    """
    allowed = LINEAR.get(site.name)
    if allowed is not None and any(i not in allowed for i in site.dependent):
        return refused(site, "with places that depend on the input")
    if site.name == "convert_element_type" and not jnp.issubdtype(site.params["new_dtype"], jnp.inexact):
        return elementwise(site)

    def back(multipliers: list) -> list:
        return site.scatter(dict(zip(site.dependent, pulled(site, multipliers, half_way(site)), strict=True)))

    return site.at_points(), back


def half_way(site: Site) -> list:
    """The dependent operands half way; or at x, for products that are to be treated so."""
    where = (lambda a, b: real(a)) if site.rules.at_x else middle
    return [where(*ends(site.ins[i])) for i in site.dependent]


def pulled(site: Site, multipliers: Sequence[Any], operands: Sequence[Any]) -> tuple:
    """The multipliers of the dependent operands by the derivative with these in their places."""
    out, pull = jax.vjp(site.of(*site.dependent), *operands)
    several = site.eqn.primitive.multiple_results
    outs = list(out) if several else [out]
    given = [jnp.zeros_like(o) if m is None else m.astype(o.dtype) for m, o in zip(multipliers, outs, strict=True)]
    tree = jax.tree.structure(out)
    return pull(jax.tree.unflatten(tree, given))


def elementwise(site: Site) -> tuple[list, Back]:
    """The slope between the two points; for two operands that change, the mean of the slopes with the other at either end.

    That is the Shapley value of the two operands.
    """
    exact, kinked = EXACT.get(site.name), site.name in KINKED
    if exact is not None and "y" in site.params:
        exact = _with_power(exact, site.params["y"])
    kinked = kinked or site.name == "convert_element_type"

    def back(multipliers: list) -> list:
        found = {}
        for i in site.dependent:
            others = [j for j in site.dependent if j != i]
            slopes = []
            for values in itertools.product(*(ends(site.ins[j]) for j in others)):
                f = _varied(site, i, others, values)
                slopes.append(slope(f, *ends(site.ins[i]), exact, kinked=kinked))
            # What nobody asked for may have no slope: where(x > 0, sqrt(x), 0) below zero.
            g = multipliers[0]
            found[i] = _fitted(jnp.where(g == 0, 0, g * (sum(slopes) / len(slopes))), site.ins[i][0])
        return site.scatter(found)

    return site.at_points(), back


def _with_power(exact: Callable, y: int) -> Callable:
    return lambda a, b: exact(a, b, y)


def _varied(site: Site, place: int, others: list[int], values: tuple) -> Callable:
    function = site.of(place, *others)
    return lambda value: function(value, *values)


def _fitted(m: Any, operand: Any) -> Any:
    """Summed where one number met many."""
    if m.shape == operand.shape:
        return m
    lead = m.ndim - operand.ndim
    m = m.sum(tuple(range(lead)))
    spread = [axis for axis, (n, k) in enumerate(zip(m.shape, operand.shape, strict=True)) if n != k]
    return m.sum(spread, keepdims=True) if spread else m


def largest(site: Site) -> tuple[list, Back]:
    """``max``: the change goes to the operand that is the largest where the maximum is larger, at x or at the baseline.

    That operand changes by at least as much, in the same direction, so that its multiplier is between 0 and 1 and the rule
    complete; where several are the largest, they share it. It is Captum's and shap's rule for maximum pooling.
    """
    outs = site.at_points()

    def back(multipliers: list) -> list:
        high, low = ends(outs[0])
        rises, each = high >= low, [ends(site.ins[i]) for i in site.dependent]
        if "axes" in site.params:
            rises = jnp.expand_dims(rises, site.params["axes"])
        else:
            each = [tuple(jnp.broadcast_to(v, high.shape) for v in pair) for pair in each]
        picked = [real(jnp.where(rises, a, b)) for a, b in each]
        shares = pulled(site, [multipliers[0] * difference(high, low)], picked)
        slopes = pulled(site, multipliers, picked)
        found = {}
        for i, (a, b), share, still in zip(site.dependent, each, shares, slopes, strict=True):
            d = difference(a, b)
            found[i] = _fitted(jnp.where(d == 0, still, share / jnp.where(d == 0, 1, d)), site.ins[i][0])
        return site.scatter(found)

    return outs, back


def chosen(site: Site) -> tuple[list, Back]:
    """``select_n``: a change of the values, and one of the choice, each the mean of what it does before and after the other.

    What stands in a place that is not chosen may be no number: then the whole change is that of the choice.
    """
    if not depends(site.ins[0]):
        return weighted(site)
    # Infinity as a number beyond all others: so is 1e15, and differences from it are numbers.
    site.ins = [v if depends(v) or not i else _finite(v) for i, v in enumerate(site.ins)]
    outs = site.at_points()

    def back(multipliers: list) -> list:
        (new, old), g = ends(site.ins[0]), multipliers[0]
        starts = [ends(v) if depends(v) else (v, v) for v in site.ins[1:]]

        def pick(which: Any, at: int) -> Any:
            return real(site.bind([which, *(s[at] for s in starts)])[0])

        before, after = pick(new, 1), pick(old, 0)
        by_values = 0.5 * (difference(pick(new, 0), before) + difference(after, pick(old, 1)))
        same = jnp.broadcast_to(new == old, g.shape)
        use = same | (jnp.isfinite(before) & jnp.isfinite(after))
        by_choice = difference(pick(new, 0), pick(old, 1)) - jnp.where(use, by_values, 0)
        step = jnp.where(new == old, 1, real(new) - real(old))
        found = {0: _fitted(jnp.where(same, 0, g * by_choice / step), new)}
        for i in site.dependent:
            if i:
                share = 0.5 * (real(new == i - 1) + real(old == i - 1))
                found[i] = g * jnp.where(use, share, 0)
        return site.scatter(found)

    return outs, back


def _finite(value: Any) -> Any:
    return jnp.clip(value, -_FAR, _FAR) if jnp.issubdtype(jnp.result_type(value), jnp.floating) else value


def unchanged(site: Site) -> tuple[list, Back]:
    """What gives back what it gets; a gradient that is stopped is no number that is not used."""
    return site.at_points(), lambda multipliers: multipliers


def slope_at_x(site: Site) -> tuple[list, Back]:
    """The derivative at x: for operations that are followed as they are, such as the choice that a maximum makes."""

    def back(multipliers: list) -> list:
        operands = [real(site.ins[i][0]) for i in site.dependent]
        return site.scatter(dict(zip(site.dependent, pulled(site, multipliers, operands), strict=True)))

    return site.at_points(), back


def refused(site: Site, why: str) -> tuple[list, Back]:
    """An operation that has a rule, but not for this."""

    def back(_: list) -> list:
        raise ValueError(
            f"{site.rules.method} has no rule for the operation '{site.name}' {why}, and a guess would give wrong numbers: "
            "use a method that needs no rules, integrated_gradients, or, for any function, permutation_shapley"
        )

    return site.at_points(), back


def table() -> dict[str, Rule]:
    """The rules of this module by primitive."""
    rules: dict[str, Rule] = dict.fromkeys([*LINEAR, *PRODUCTS], weighted)
    rules |= dict.fromkeys([*KINKED, *SMOOTH], elementwise)
    rules |= dict.fromkeys(BRANCHED, largest)
    rules |= dict.fromkeys(["stop_gradient", "name", "device_put"], unchanged)
    return rules | {"select_n": chosen, "convert_element_type": weighted}
