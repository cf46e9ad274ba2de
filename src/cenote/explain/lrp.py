"""Layer-wise relevance propagation through any JAX function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..core.errors import unknown
from .method import Answer, method
from .question import Question, Score
from .rules.interpreter import Rules, multipliers
from .rules.relevance import CONSTANTS, TABLE

__all__ = ["lrp"]

_RULES = ("epsilon", "z_plus", "alpha_beta")
_SOFTMAX = ("constant", "taylor")


def _lrp(score: Score, rule: str, eps: float, alpha: float, softmax: str) -> Callable:
    options = {"rule": rule, "eps": eps, "alpha": alpha, "softmax": softmax}
    rules = Rules("lrp", TABLE, CONSTANTS, options=options)

    def run(weights: Any, x: Any, target: Any) -> Any:
        found, (output,) = multipliers(rules, lambda x: score(weights, x, target), x)
        return jax.tree.map(lambda m, a: m * a.astype(m.dtype), found, x), output

    return run


@method(gradients=True)
def lrp(
    question: Question,
    *,
    rule: str = "epsilon",
    eps: float = 1e-9,
    alpha: float = 2.0,
    beta: float | None = None,
    softmax: str = "constant",
) -> Answer:
    """The output shared out backwards, layer by layer, in proportion to what each number contributed to the next.

    With ``z_ij = x_i w_ij`` the terms of a weighted sum ``z_j = sum_i z_ij + b_j`` of relevance R_j, by ``rule``:

    - "epsilon": ``R_i = sum_j z_ij / (z_j + eps sign(z_j)) R_j``; the bias keeps its share;
    - "z_plus": ``R_i = sum_j z_ij^+ / sum_i z_ij^+ R_j``, positive terms only;
    - "alpha_beta": ``R_i = sum_j (alpha z_ij^+ / sum z_ij^+ - beta z_ij^- / sum z_ij^-) R_j`` with ``alpha - beta = 1``.

    The last two give biases nothing, and all to the terms of one sign where a sum has none of the other. Elsewhere, for all
    three: activations pass on what they get; of a maximum the largest takes all; the scale of LayerNorm, RMSNorm and their
    kind, ``1 / sqrt(variance)``, is a constant (Ali et al. 2022), and so are comparisons and what `stop_gradient` holds; a
    product of two activations, such as a gate and what it lets through, gives each a half (the uniform rule of AttnLRP).
    Attention: with ``softmax="constant"`` its weights say where to look and get nothing (Ali et al.); with "taylor" they and
    the values get a half each, and softmax hands on ``R_i = z_i (R_i - p_i sum_k R_k)`` (AttnLRP, proposition 3.1), which does
    not keep the sum, least with "z_plus" and "alpha_beta".

    Values have the form of x, in the unit of the output. Without biases they add up to the output, also through normalisation
    and attention; ``details["absorbed"]`` is what biases, constants and ``eps`` took, a number a row.

    Raises: ValueError for an unknown rule, ``eps <= 0``, ``alpha - beta`` other than 1, or an operation without a rule.
    Sources: Bach et al. 2015, PLOS ONE 10(7); Montavon et al. 2017, arXiv:1512.02479; Ali et al. 2022, arXiv:2202.07304;
    Achtibat et al. 2024 (AttnLRP), arXiv:2402.05602.

    >>> found = lrp(lambda x: 2 * x[:, 0] + x[:, 1], np.array([[1.0, 3.0]], "float32"))
    >>> np.round(found.values, 4).tolist()
    [[2.0, 3.0]]
    """
    if rule not in _RULES:
        raise unknown("rule", rule, list(_RULES))
    if softmax not in _SOFTMAX:
        raise unknown("treatment of softmax", softmax, list(_SOFTMAX))
    if not eps > 0:
        raise ValueError(f"eps keeps divisions away from zero: a small positive number, got {eps!r}")
    if rule != "alpha_beta":
        alpha, beta = 1.0, 0.0
    beta = alpha - 1 if beta is None else beta
    if alpha < 1 or beta < 0 or abs(alpha - beta - 1) > 1e-6:
        raise ValueError(f"alpha - beta must be 1, with beta at least 0: got alpha={alpha:g}, beta={beta:g}")
    run = question.program(_lrp, rule, float(eps), float(alpha), softmax)
    values, output = run(question.weights, question.x, question.targets)
    found = sum(np.asarray(v, np.float64).reshape(question.count, -1).sum(1) for v in jax.tree.leaves(values))
    return Answer(values, details={"absorbed": np.asarray(np.asarray(output) - found)})
