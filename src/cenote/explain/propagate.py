"""DeepLIFT and DeepSHAP through any JAX function: exact multipliers from one pair of passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from .method import Answer, method
from .question import Question, Score
from .rules.deeplift import TABLE
from .rules.interpreter import Rules, multipliers

__all__ = ["deeplift", "deepshap"]

_PRODUCTS = ("midpoint", "gradient")


def _rules(name: str, products: str) -> Rules:
    if products not in _PRODUCTS:
        raise unknown("rule for products", products, list(_PRODUCTS))
    return Rules(name, TABLE, at_x=products == "gradient")


def _deeplift(score: Score, products: str, steps: int) -> Callable:
    rules = _rules("deeplift", products)

    def run(weights: Any, x: Any, baseline: Any, target: Any) -> Any:
        return _along(rules, score, steps, weights, x, baseline, target)

    return run


def _along(rules: Rules, score: Score, steps: int, weights: Any, x: Any, baseline: Any, target: Any) -> Any:
    """Contributions of the inputs along the straight way from the baseline to x, in some pieces."""

    def between(start: Any, end: Any) -> Any:
        found, _ = multipliers(rules, lambda x: score(weights, x, target), end, start)
        return jax.tree.map(_contribution, found, end, start)

    if steps == 1:
        return between(baseline, x)

    def place(part: Any) -> Any:
        return jax.tree.map(lambda a, b: (b + part * (a - b)).astype(a.dtype), x, baseline)

    def piece(total: Any, k: Any) -> tuple:
        return jax.tree.map(jnp.add, total, between(place(k / steps), place((k + 1) / steps))), None

    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.result_type(a, jnp.float32)), x)
    return jax.lax.scan(piece, zeros, jnp.arange(steps))[0]


def _contribution(m: Any, x: Any, baseline: Any) -> Any:
    return m * (x - baseline).astype(m.dtype)


@method(gradients=True)
def deeplift(question: Question, *, products: str = "midpoint", steps: int = 1) -> Answer:
    """How much of the difference from the baseline each feature made, by multipliers that go back through every operation.

    A multiplier is a derivative over a finite change, from the baseline x' to x, and obeys the chain rule:
    ``sum_i m_i (x_i - x'_i) = f(x) - f(x')``, exactly, in one pass forward and one back. Values have the form of x, in the unit
    of the output. The rules, written for the operations of JAX and not for layers, hold through anything made of them,
    normalisation, attention, recurrence and reused layers too:

    - weighted sums, and whatever moves numbers: their own derivative;
    - functions of one number: the slope between the two points, ``(f(x) - f(x')) / (x - x')`` (the Rescale rule), in a form
      that loses no digits, or the derivative half way where the points are closer than float32 resolves;
    - products: each factor with the mean of the other at the two points, which is the Shapley value of the two factors
      (``products="midpoint"``); a quotient is a product with the reciprocal. ``products="gradient"`` takes the other factor at
      x instead, as Captum does for the products it finds: not complete, and ``gap`` says by how much;
    - maximum: the change goes to what is largest where the maximum is larger, which is shap's rule and Captum's; sorting and
      pooling follow from it. What several windows send to one place is added up. Captum 0.9 is not complete where an
      activation stands next to a pooling, and differs there;
    - choices (``where``): the values and the choice each have the mean of what they do before and after the other;
    - softmax: by its exponentials and its sum, with one shift for both points.

    An operation without a rule is an error. ``steps`` cuts the straight way from x' to x into pieces and adds up DeepLIFT of
    each: complete for any number, and nearing Integrated Gradients, from which one step may differ where products and
    softmax bend the way (correlation 0.8 on a random Transformer block).

    Raises: ValueError for an operation without a rule, unknown ``products``, or fewer than one step.
    Source: Shrikumar, Greenside and Kundaje 2017, arXiv:1704.02685 (Rescale).

    >>> found = deeplift(lambda x: x[:, 0] * x[:, 1], np.array([[2.0, 3.0]], "float32"), baseline=0.0)
    >>> found.values.tolist()
    [[3.0, 3.0]]
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ValueError(f"steps is the number of pieces of the way, at least 1; got {steps!r}")
    baseline, targets = question.baseline, question.targets
    values = question.program(_deeplift, products, int(steps))(question.weights, question.x, baseline, targets)
    return Answer(values, base=question.ask(baseline, targets))


def _deepshap(score: Score, products: str) -> Callable:
    rules = _rules("deepshap", products)

    def run(weights: Any, x: Any, background: Any, target: Any) -> Any:
        count = jax.tree.leaves(background)[0].shape[0]

        def one(total: Any, row: Any) -> tuple:
            baseline = jax.tree.map(lambda b, a: jnp.broadcast_to(b, a.shape).astype(a.dtype), row, x)
            here = _along(rules, score, 1, weights, x, baseline, target), score(weights, baseline, target)
            return jax.tree.map(jnp.add, total, here), None

        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.result_type(a, jnp.float32)), x)
        base = jax.eval_shape(score, weights, x, target)
        total, _ = jax.lax.scan(one, (zeros, jnp.zeros(base.shape, base.dtype)), background)
        return jax.tree.map(lambda a: a / count, total)

    return run


@method(gradients=True)
def deepshap(question: Question, *, products: str = "midpoint") -> Answer:
    """The mean of `deeplift` over the background rows: ``sum_i values_i = f(x) - mean f(background)``.

    An approximation of Shapley values with the background standing for features that are not known: exact for linear
    functions, and for products of two factors. One background row is handled at a time, so that memory does not grow with
    their number. ``products`` as in `deeplift`. Values have the form of x.

    Raises: ValueError without a background, or as `deeplift` does.
    Source: Lundberg and Lee 2017, arXiv:1705.07874; Chen, Lundberg and Lee 2019, arXiv:1911.11888.

    >>> x, rows = np.array([[1.0, 2.0]], "float32"), np.array([[0.0, 0.0], [2.0, 0.0]], "float32")
    >>> deepshap(lambda x: x[:, 0] + 3 * x[:, 1], x, background=rows).values.tolist()
    [[0.0, 6.0]]
    """
    background = question.every_background_row("deepshap", "deeplift")
    run = question.program(_deepshap, products)
    values, base = run(question.weights, question.x, background, question.targets)
    return Answer(values, base=np.asarray(base))
