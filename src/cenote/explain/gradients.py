"""Attribution by gradients: saliency, input times gradient, Integrated Gradients, SmoothGrad, expected gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from .lookups import summed
from .method import Answer, method
from .question import Question, Score

__all__ = [
    "expected_gradients",
    "input_x_gradient",
    "integrated_gradients",
    "saliency",
    "smooth_grad",
    "var_grad",
]

ROUNDING = 1e-6  # a gap below this part of the outputs themselves is that of float32
ROUNDS = 8  # of expected gradients, whose spread gives the standard error
STEADY = 10  # a row is done when its values changed by at most so many times the tolerance with the last doubling


def gradient(score: Score) -> Callable:
    """``run(weights, x, target)``: the slope of each row's number by its own features."""

    def run(weights: Any, x: Any, target: Any) -> Any:
        return jax.grad(lambda x: score(weights, x, target).sum())(x)

    return run


@method(gradients=True)
def saliency(question: Question, *, absolute: bool = True) -> Answer:
    """How steeply the output rises or falls with each feature: ``|df/dx|``, or the slope itself with ``absolute=False``.

    Source: Simonyan, Vedaldi and Zisserman, 2013, arXiv:1312.6034.

    >>> import numpy as np
    >>> saliency(lambda x: x[:, 0] * 3 - x[:, 1], np.ones((1, 2), "float32")).values.tolist()
    [[3.0, 1.0]]
    """
    slopes = question.program(gradient)(question.weights, question.x, question.targets)
    return Answer(jax.tree.map(jnp.abs, slopes) if absolute else slopes)


@method(gradients=True)
def input_x_gradient(question: Question) -> Answer:
    """Each feature times its slope, ``x df/dx``: adds up to the output of a piecewise linear network without biases.

    Source: Shrikumar et al. 2016, arXiv:1605.01713.

    >>> import numpy as np
    >>> input_x_gradient(lambda x: x[:, 0] * 3 - x[:, 1], np.array([[2, 1]], "float32")).values.tolist()
    [[6.0, -1.0]]
    """
    slopes = question.program(gradient)(question.weights, question.x, question.targets)
    return Answer(jax.tree.map(jnp.multiply, question.x, slopes))


# -- Integrated Gradients --------------------------------------------------------------------------------------------------


@method(gradients=True)
def integrated_gradients(
    question: Question,
    *,
    tol: float = 1e-3,
    max_nodes: int = 1025,
    nodes: int | None = None,
    rule: str = "gauss_legendre",
) -> Answer:
    """Slopes summed up on the straight way from the baseline: ``(x - x')_i int_0^1 df/dx_i (x' + a (x - x')) da``.

    The values add up to ``f(x) - f(x')``. The nodes of the integral are doubled until, for every row, what is missing of that
    is at most ``tol`` of ``max(|f(x) - f(x')|, sum |values|)`` and the values stand still, or until the next doubling would
    take more than ``max_nodes`` slopes; ``details`` say the ``nodes`` used and whether each row ``converged``. ``nodes=50``
    takes so many and looks no further, by the ``rule`` "gauss_legendre", "midpoint", "trapezoid", "left" or "right".
    Raises: ValueError without a baseline or background, and for a ``tol``, ``nodes`` or ``max_nodes`` that means nothing.
    Source: Sundararajan, Taly and Yan 2017, arXiv:1703.01365.

    >>> import numpy as np
    >>> found = integrated_gradients(lambda x: x[:, 0] * x[:, 1], np.array([[2, 3]], "float32"), baseline=0)
    >>> np.round(found.values, 5).tolist(), bool(found.details["converged"][0])
    ([[3.0, 3.0]], True)
    """
    shared = (question.weights, question.x, question.baseline, question.targets)
    if nodes is not None:
        places, shares = quadrature(rule, nodes)
        values, base = question.program(_fixed)(*shared, places, shares)
        return Answer(values, base, details={"nodes": nodes}, reason=f"{nodes} nodes by the rule {rule}")
    if not tol > 0:
        raise ValueError(f"tol is the part of the whole that may be missing, above 0, got {tol}")
    levels = int(np.log2(max(max_nodes - 1, 1))) - 1
    if levels < 2:
        raise ValueError(f"max_nodes is at least 9 (the two ends, and 1 + 2 + 4 between them), got {max_nodes}")
    values, base, used, done = question.program(_doubled)(*shared, np.float32(tol), np.int32(levels))
    used, done = np.asarray(used), np.asarray(done)
    reason = f"nodes doubled until the gap was at most {tol:g} of the whole: {used.max()}"
    if not done.all():
        reason = f"the gap is still above {tol:g} of the whole for some rows after {used.max()} nodes: raise max_nodes"
    return Answer(values, base, details={"nodes": used, "converged": done}, reason=reason)


def quadrature(rule: str, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Places between 0 and 1 and their shares of an integral, (nodes,) both.

    >>> quadrature("midpoint", 2)[0].tolist()
    [0.25, 0.75]
    """
    rules = ("gauss_legendre", "midpoint", "trapezoid", "left", "right")
    if rule not in rules:
        raise unknown("rule", rule, rules)
    if not isinstance(nodes, (int, np.integer)) or nodes < (2 if rule == "trapezoid" else 1):
        raise ValueError(f"nodes is a whole number, at least {2 if rule == 'trapezoid' else 1} for {rule}, got {nodes!r}")
    even, steps = np.full(nodes, 1 / nodes), np.arange(nodes)
    if rule == "gauss_legendre":
        places, even = np.polynomial.legendre.leggauss(nodes)
        places, even = (places + 1) / 2, even / 2
    elif rule == "trapezoid":
        places, even = steps / (nodes - 1), np.full(nodes, 1 / (nodes - 1))
        even[[0, -1]] /= 2
    else:
        places = (steps + {"midpoint": 0.5, "left": 0.0, "right": 1.0}[rule]) / nodes
    return places.astype(np.float32), even.astype(np.float32)


def on_way(baseline: Any, x: Any, part: Any) -> Any:
    """The point so far on the straight way from the baseline to x."""
    return jax.tree.map(lambda b, a: b + part * (a - b), baseline, x)


def _times_way(slopes: Any, baseline: Any, x: Any) -> Any:
    return jax.tree.map(lambda s, b, a: s * (a - b), slopes, baseline, x)


def _fixed(score: Score) -> Callable:
    slope = gradient(score)

    def run(weights: Any, x: Any, baseline: Any, target: Any, places: Any, shares: Any) -> tuple:
        def add(i: Any, total: Any) -> Any:
            found = slope(weights, on_way(baseline, x, places[i]), target)
            return jax.tree.map(lambda t, s: t + shares[i] * s, total, found)

        slopes = jax.lax.fori_loop(0, places.shape[0], add, jax.tree.map(jnp.zeros_like, x))
        return _times_way(slopes, baseline, x), score(weights, baseline, target)

    return run


def _doubled(score: Score) -> Callable:
    """Each level puts a node into every gap between those that are there: ``2 + (1 + 2 + 4 + ...)`` of them.

    The middles of a level alone (M), all nodes so far with the ends (T), and what both say together, Simpson's rule: each row
    takes the one with the smallest gap. M is exact where a network without biases has a kink at the very baseline, Simpson
    where the function is smooth; none has an edge at kinks on the way.
    """
    slope = gradient(score)

    def run(weights: Any, x: Any, baseline: Any, target: Any, tol: Any, levels: Any) -> tuple:
        base = score(weights, baseline, target)
        output = score(weights, x, target)
        rounding = ROUNDING * (jnp.abs(base) + jnp.abs(output))

        def at(part: Any) -> Any:
            return _times_way(slope(weights, on_way(baseline, x, part), target), baseline, x)

        def refine(state: tuple) -> tuple:
            level, ends, best, used, done = state
            count = 2**level
            nothing = jax.tree.map(jnp.zeros_like, x)
            middles = jax.lax.fori_loop(0, count, lambda i, total: jax.tree.map(jnp.add, total, at((i + 0.5) / count)), nothing)
            middles = jax.tree.map(lambda m: m / count, middles)
            both = jax.tree.map(lambda m, e: (m + e) / 2, middles, ends)
            simpson = jax.tree.map(lambda m, e: (2 * m + e) / 3, middles, ends)
            gaps = jnp.stack([jnp.abs(_total(v) - (output - base)) for v in (middles, both, simpson)])
            first = jnp.argmin(gaps, axis=0)
            chosen = jax.tree.map(lambda *v: _by_row(first, v), middles, both, simpson)
            change = _total(jax.tree.map(lambda a, b: jnp.abs(a - b), chosen, best))
            whole = jnp.maximum(jnp.abs(output - base), _total(jax.tree.map(jnp.abs, summed(chosen))))
            near = (gaps.min(0) <= tol * whole + rounding) & (change <= STEADY * tol * whole + rounding) & (level >= 2)
            best = jax.tree.map(lambda b, c: jnp.where(_like(done, b), b, c), best, chosen)
            return level + 1, both, best, jnp.where(done, used, 2 * count + 1), done | near

        def on(state: tuple) -> Any:
            return (state[0] <= levels) & ~state[-1].all()

        ends = jax.tree.map(lambda a, b: (a + b) / 2, at(0.0), at(1.0))
        start = (jnp.int32(0), ends, ends, jnp.zeros(base.shape, jnp.int32), jnp.zeros(base.shape, bool))
        _, _, best, used, done = jax.lax.while_loop(on, refine, start)
        return best, base, used, done

    return run


def _total(values: Any) -> Any:
    """The sum of each row over all arrays."""
    return sum(v.reshape(v.shape[0], -1).sum(1) for v in jax.tree.leaves(values))


def _like(rows: Any, array: Any) -> Any:
    return rows.reshape(-1, *(1,) * (array.ndim - 1))


def _by_row(number: Any, choices: tuple) -> Any:
    return jnp.select([_like(number, choices[0]) == i for i in range(len(choices))], choices)


# -- slopes round about ----------------------------------------------------------------------------------------------------


@method(gradients=True)
def smooth_grad(question: Question, *, sigma: float = 0.15, samples: int = 25) -> Answer:
    """The mean slope round about each example: ``E df/dx (x + noise)``, the noise normal, ``sigma`` times the feature's range.

    The range is that of the training rows (of each channel, for inputs with more axes than one), or without them that of the
    example itself. Noise is drawn in pairs, ``+e`` and ``-e`` (an odd number of ``samples`` is rounded up), which makes the
    mean exact for quadratic functions; ``error`` is its standard error.
    Source: Smilkov et al. 2017, arXiv:1706.03825.

    >>> import numpy as np
    >>> found = smooth_grad(lambda x: x[:, 0] ** 2, np.array([[2.0]], "float32"), background=np.array([[0.0], [10.0]]))
    >>> np.round(found.values, 4).tolist()
    [[4.0]]
    """
    pairs = -(-_at_least(samples, 2) // 2)
    spread, reason = _spread(question, sigma)
    run = question.program(_smoothed, pairs)
    mean, error = run(question.weights, question.x, question.targets, spread, jax.random.key(question.seed))
    return Answer(mean, error=error, details={"samples": 2 * pairs}, reason=reason)


@method(gradients=True)
def var_grad(question: Question, *, sigma: float = 0.15, samples: int = 25) -> Answer:
    """How much the slope varies round about each example: ``Var df/dx (x + noise)``, the noise as in `smooth_grad`.

    Source: Adebayo et al. 2018, arXiv:1810.03307.

    >>> import numpy as np
    >>> var_grad(lambda x: 3 * x[:, 0], np.array([[2.0]], "float32"), background=np.array([[0.0], [10.0]])).values.tolist()
    [[0.0]]
    """
    spread, reason = _spread(question, sigma)
    run = question.program(_varied, _at_least(samples, 2))
    return Answer(run(question.weights, question.x, question.targets, spread, jax.random.key(question.seed)), reason=reason)


def _at_least(samples: Any, least: int) -> int:
    if not isinstance(samples, (int, np.integer)) or samples < least:
        raise ValueError(f"samples is a whole number, at least {least}, got {samples!r}")
    return int(samples)


def _spread(question: Question, sigma: float) -> tuple[Any, str]:
    """The standard deviation of the noise, broadcast to x, and what it was made of."""
    if not sigma > 0:
        raise ValueError(f"sigma is a part of the features' range, above 0, got {sigma}")
    known = question.background
    if known is not None and len(jax.tree.leaves(known)[0]) > 1:

        def of(rows: Any) -> np.ndarray:
            axes = tuple(range(max(rows.ndim - 1, 1)))
            return np.float32(sigma) * np.ptp(np.asarray(rows, np.float32), axis=axes, keepdims=True)

        return jax.tree.map(of, known), f"noise of {sigma:g} times the range of the training rows"

    def own(rows: Any) -> np.ndarray:
        return np.float32(sigma) * np.ptp(np.asarray(rows), axis=tuple(range(1, rows.ndim)), keepdims=True)

    return jax.tree.map(own, question.x), f"noise of {sigma:g} times each example's own range, there being no training rows"


def _noise(key: Any, x: Any) -> Any:
    """Normal noise for an example, the same one for all rows, so that results do not hang on how rows are batched."""
    leaves, structure = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(jax.random.normal(k, (1, *leaf.shape[1:])) for k, leaf in zip(keys, leaves, strict=True))


def _moved(x: Any, spread: Any, noise: Any, sign: float = 1.0) -> Any:
    return jax.tree.map(lambda a, s, n: a + sign * s * n, x, spread, noise)


def _smoothed(score: Score, pairs: int) -> Callable:
    slope = gradient(score)

    def run(weights: Any, x: Any, target: Any, spread: Any, key: Any) -> tuple:
        def draw(key: Any) -> Any:
            noise = _noise(key, x)
            both = (slope(weights, _moved(x, spread, noise, sign), target) for sign in (1.0, -1.0))
            return summed(jax.tree.map(lambda a, b: (a + b) / 2, *both))

        return mean_and_error(draw, jax.random.split(key, pairs))

    return run


def _varied(score: Score, samples: int) -> Callable:
    slope = gradient(score)

    def run(weights: Any, x: Any, target: Any, spread: Any, key: Any) -> Any:
        _, error = mean_and_error(
            lambda key: slope(weights, _moved(x, spread, _noise(key, x)), target), jax.random.split(key, samples)
        )
        return jax.tree.map(lambda e: e * e * samples, error)

    return run


def mean_and_error(draw: Callable[[Any], Any], keys: Any) -> tuple[Any, Any]:
    """The mean of independent draws, one for each key, and its standard error, in fixed memory (Welford's way)."""
    count = len(keys)
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(draw, keys[0]))

    def add(state: tuple, step: tuple) -> tuple:
        mean, squares = state
        number, key = step
        found = draw(key)
        new = jax.tree.map(lambda m, f: m + (f - m) / number, mean, found)
        return (new, jax.tree.map(lambda q, f, m, n: q + (f - m) * (f - n), squares, found, mean, new)), None

    steps = (jnp.arange(1, count + 1, dtype=jnp.float32), keys)
    (mean, squares), _ = jax.lax.scan(add, (nothing, nothing), steps)
    return mean, jax.tree.map(lambda q: jnp.sqrt(jnp.maximum(q, 0) / (count * max(count - 1, 1))), squares)


# -- expected gradients ----------------------------------------------------------------------------------------------------


@method(gradients=True, rows=32)
def expected_gradients(question: Question, *, samples: int = 800) -> Answer:
    """The mean of Integrated Gradients over many baselines: ``E_{b, a} (x - b) df/dx (b + a (x - b))`` (GradientSHAP).

    Every row of the background is used equally often, at places ``a`` and ``1 - a``, each drawn from a stratum of its own, in
    eight rounds, and as often in a round as it takes to have ``samples`` slopes for an example. ``base`` is the mean of f over
    the background; the values add up to ``f(x) - base`` in the mean, and ``error`` holds their standard errors over the rounds.
    Raises: ValueError without a background.
    Source: Erion et al. 2021, arXiv:1906.10670.

    >>> import numpy as np
    >>> rows = np.array([[0.0, 0.0], [2.0, 4.0]])
    >>> found = expected_gradients(lambda x: x[:, 0] * 3 - x[:, 1], np.array([[2.0, 1.0]]), background=rows)
    >>> np.round(found.values, 4).tolist(), found.base.tolist()
    ([[3.0, 1.0]], [1.0])
    """
    known = question.every_background_row("expected_gradients", "integrated_gradients")
    count = len(jax.tree.leaves(known)[0])
    often = -(-_at_least(samples, 2) // (2 * count * ROUNDS))
    run = question.program(_expected, often)
    values, error, base = run(question.weights, question.x, known, question.targets, jax.random.key(question.seed))
    each = 2 * ROUNDS * often
    return Answer(values, base, error=error, details={"samples": each * count}, reason=f"{each} slopes for each background row")


def _expected(score: Score, often: int) -> Callable:
    slope = gradient(score)

    def run(weights: Any, x: Any, known: Any, target: Any, key: Any) -> tuple:
        count, rows = jax.tree.leaves(known)[0].shape[0], target.shape[0]
        twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), (x, target))

        def other(i: Any, like: Any) -> Any:
            return jax.tree.map(lambda k, a: jnp.broadcast_to(k[i], a.shape).astype(a.dtype), known, like)

        def draw(key: Any) -> Any:
            first, second = jax.random.split(key)
            # Each use of a row has a stratum of 1/often, in which each row has one of its own.
            within = jax.vmap(lambda key: jax.random.permutation(key, count))(jax.random.split(first, often))
            places = (within + jax.random.uniform(second, (often, count))) / count
            places = ((jnp.arange(often)[:, None] + places) / often).reshape(-1)

            def add(i: Any, total: Any) -> Any:
                part = jnp.repeat(jnp.stack([places[i], 1 - places[i]]), rows)
                base = other(i % count, twice[0])
                point = jax.tree.map(lambda b, a: b + _like(part, a) * (a - b), base, twice[0])
                found = _times_way(slope(weights, point, twice[1]), base, twice[0])
                return jax.tree.map(lambda t, f: t + (f[:rows] + f[rows:]) / (2 * often * count), total, summed(found))

            return jax.lax.fori_loop(0, often * count, add, jax.tree.map(jnp.zeros_like, summed(x)))

        mean, error = mean_and_error(draw, jax.random.split(key, ROUNDS))
        base = jax.lax.fori_loop(
            0, count, lambda i, total: total + score(weights, other(i, x), target) / count, jnp.zeros(rows)
        )
        return mean, error, base

    return run
