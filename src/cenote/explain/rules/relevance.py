"""LRP's table. LRP is DeepLIFT in which every operation starts from zero: ``y(x) - y(0)``, with what y(0) is lost to no input.

From zero, a function with ``f(0) = 0`` gives back what it gets (``f(x) / x`` times its multiplier), a product gives each factor
a half, a weighted sum each term its share, and a bias keeps its own. The entries below say where LRP differs.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..walk import inner_of
from . import deeplift
from .control import call
from .interpreter import Back, Rule, Site, depends, named, real
from .local import KINKED, PRODUCTS, SMOOTH, elementwise, half_way, pulled, slope_at_x, weighted
from .secants import slope

CONSTANTS = frozenset(
    named("rsqrt eq ne lt le gt ge not and or xor is_finite sign floor ceil round argmax argmin stop_gradient")
)
_AS_THEY_ARE = named("exp exp2 log reduce_max reduce_min reduce_window_max reduce_window_min cummax cummin cumlogsumexp sort")
_ELEMENTWISE = {*KINKED, *SMOOTH, "mul", "add", "sub", "neg", "div", "select_n", "copy", "stop_gradient", "broadcast_in_dim"}
_SUMS = (*PRODUCTS[1:], "custom_vjp_call", "custom_vjp_call_jaxpr")


def away_from_zero(value: Any, eps: float) -> Any:
    """``value + eps sign(value)``, with ``sign(0) = 1``."""
    return value + jnp.where(value < 0, -eps, eps).astype(value.dtype)


def weighted_sum(site: Site) -> tuple[list, Back]:
    """Products with weights and convolutions: each term its share, of all terms or of those of one sign."""
    outs, options = site.at_points(), site.rules.options
    two = len(site.dependent) == 2
    if two and options["softmax"] == "constant":
        shares = [_is_softmax(maker) for maker in site.makers]
        if any(shares) and not all(shares):  # attention: what is looked at, not where
            place = shares.index(False)
            kept = [v if i == place else v[0] for i, v in enumerate(site.ins)]
            return weighted_sum(Site(site.rules, site.eqn, kept, site.makers, site.only))

    def back(multipliers: list) -> list:
        y, g = outs[0][0], multipliers[0]
        if options["rule"] == "epsilon" and not site.continued:
            g = g * y / away_from_zero(y, options["eps"])
        found = pulled(site, [g], half_way(site)) if two or options["rule"] == "epsilon" else [by_sign(site, g * y)]
        return site.scatter(dict(zip(site.dependent, found, strict=True)))

    return outs, back


def by_sign(site: Site, relevance: Any) -> Any:
    """``alpha`` of the relevance to the positive terms by their size, ``-beta`` of it to the negative ones.

    All of it goes to the terms of one sign where there are none of the other.
    """
    options, (place,) = site.rules.options, site.dependent
    alpha, eps = options["alpha"], options["eps"]
    (other,) = [i for i in range(len(site.ins)) if i != place]
    x, w, f = site.ins[place][0], site.ins[other], site.first(place, other)
    up, down = jnp.maximum(w, 0), jnp.minimum(w, 0)

    def total(first: Any, second: Any) -> Any:
        return f(jnp.maximum(x, 0), first) + f(jnp.minimum(x, 0), second)

    def pull(weights: Any, share: Any) -> Any:
        return jax.vjp(lambda x: f(x, weights), x)[1](share)[0]

    positive, negative = total(up, down), total(down, up)
    part = jnp.where(positive == 0, 0, jnp.where(negative == 0, 1, alpha))
    more = part * relevance / (positive + eps)
    less = (1 - part) * relevance / (negative - eps)
    return jnp.where(x > 0, pull(up, more) + pull(down, less), pull(down, more) + pull(up, less))


def shifted(site: Site) -> tuple[list, Back]:
    """A sum of two: each its share. A bias keeps its own by the epsilon rule, and gets nothing by the others."""
    if len(site.dependent) == 2:
        return weighted(site)
    (place,) = site.dependent
    outs, options, before = site.at_points(), site.rules.options, site.makers[place]
    if before is not None and before.only and before.name in _SUMS:
        before.continued = True
    ends_sum = before is not None and before.continued

    def back(multipliers: list) -> list:
        y, x, g = outs[0][0], site.ins[place][0], multipliers[0]
        if options["rule"] == "epsilon":
            g = g * y / away_from_zero(y, options["eps"]) if ends_sum else g
            return site.scatter({place: pulled(site, [g], half_way(site))[0]})
        through = g * y / away_from_zero(x, options["eps"])
        spread = [a for a, (n, k) in enumerate(zip(through.shape[-x.ndim or None :], x.shape, strict=False)) if n != k]
        if through.ndim != x.ndim or spread:  # one number met many: shares as they are
            return site.scatter({place: pulled(site, [g], half_way(site))[0]})
        return site.scatter({place: through})

    return outs, back


def quotient(site: Site) -> tuple[list, Back]:
    """``x / y`` as it is at x; where y is a root, x is being normalised, and y counts as a constant."""
    if not (depends(site.ins[0]) and depends(site.ins[1]) and _is_root(site.makers[1])):
        return slope_at_x(site)

    def back(multipliers: list) -> list:
        return [jax.vjp(site.of(0), real(site.ins[0][0]))[1](multipliers[0])[0], None]

    return site.at_points(), back


def _is_softmax(site: Site | None) -> bool:
    """Whether this made shares of attention, ``exp(z) / sum(exp(z))``, perhaps moved about since."""
    while site is not None and site.name in ("reshape", "transpose", "convert_element_type", "broadcast_in_dim", "squeeze"):
        site = site.makers[0]
    return site is not None and site.name == "div" and site.makers[0] is not None and site.makers[0].name == "exp"


def _is_root(site: Site | None) -> bool:
    while site is not None:
        if site.name in ("sqrt", "rsqrt"):
            return True
        if site.name not in ("broadcast_in_dim", "reshape", "add", "max", "squeeze", "expand_dims"):
            return False
        site = next((m for m, v in zip(site.makers, site.ins, strict=True) if depends(v)), None)
    return False


def maximum(site: Site) -> tuple[list, Back]:
    """Of two that depend on the input, the larger takes all; of one and a constant, as any function of one number."""
    return slope_at_x(site) if len(site.dependent) == 2 else elementwise(site)


def product(site: Site) -> tuple[list, Back]:
    """Two activations: a half to each. Two functions of one number, as in GELU and SiLU: all to the one that is that number."""
    if len(site.dependent) == 1:
        return weighted(site)
    sources = [_sources(v, maker, every=False) for v, maker in zip(site.eqn.invars, site.makers, strict=True)]
    multiples = [_sources(v, maker, every=True) for v, maker in zip(site.eqn.invars, site.makers, strict=True)]
    signal = [i for i in (0, 1) if multiples[i] & sources[1 - i]]
    if not signal:
        return weighted(site)
    place = signal[0]

    def back(multipliers: list) -> list:
        return site.scatter({place: jax.vjp(site.of(place), site.ins[place][0])[1](multipliers[0])[0]})

    return site.at_points(), back


def _sources(v: Any, site: Site | None, *, every: bool) -> set:
    """Of which variables another is made, number by number: of each alone. With ``every``, only those it is a multiple of."""
    through = _ELEMENTWISE - {"broadcast_in_dim"} if not every else {"mul", "div", "neg", "copy"}
    if site is None or site.name not in through or (every and len(site.dependent) > 1):
        return {v}
    found = [_sources(site.eqn.invars[i], site.makers[i], every=every) for i in site.dependent]
    return {v} | set.intersection(*found) if found else {v}


def power(site: Site) -> tuple[list, Back]:
    return slope_at_x(site) if site.params["y"] < 0 else elementwise(site)


def go_in(site: Site) -> tuple[list, Back]:
    """A call that makes each number of another by itself is an activation, and passes all on: ``f(x) / x`` as a whole."""
    inner = inner_of(site.eqn)
    if inner is None or len(site.dependent) != 1 or not _is_activation(inner[0], site.dependent[0]):
        return call(site)
    (place,) = site.dependent
    f = site.first(place)

    def back(multipliers: list) -> list:
        x = site.ins[place][0]
        return site.scatter({place: multipliers[0] * slope(f, x, jnp.zeros_like(x))})

    return site.at_points(), back


def _is_activation(jaxpr: Any, place: int) -> bool:
    """Whether the one output is made of this argument number by number."""
    x = jaxpr.invars[place]
    live = {x}
    if len(jaxpr.outvars) != 1 or not jnp.issubdtype(x.aval.dtype, jnp.floating):
        return False
    for eqn in jaxpr.eqns:
        hit = [i for i, v in enumerate(eqn.invars) if not hasattr(v, "val") and v in live]
        if not hit:
            continue
        inner = inner_of(eqn)
        if any(v.aval.shape != x.aval.shape for v in eqn.outvars):
            return False
        if inner is not None:
            if len(inner[0].invars) != len(eqn.invars) or any(
                e.primitive.name not in _ELEMENTWISE and inner_of(e) is None for e in inner[0].eqns
            ):
                return False
        elif eqn.primitive.name not in _ELEMENTWISE:
            return False
        live.update(eqn.outvars)
    out = jaxpr.outvars[0]
    return not hasattr(out, "val") and out in live and out.aval.dtype == x.aval.dtype


TABLE: dict[str, Rule] = (
    deeplift.TABLE
    | dict.fromkeys(PRODUCTS[1:], weighted_sum)
    | dict.fromkeys(_AS_THEY_ARE, slope_at_x)
    | dict.fromkeys(["pjit", "jit", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"], go_in)
    | {"add": shifted, "mul": product, "sub": shifted, "div": quotient, "max": maximum, "integer_pow": power}
)
