"""The one call: a method chosen for the function and the data, with the reason."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..core.errors import unknown
from .lookups import over_vectors
from .method import METHODS, texts_of
from .question import Question, ask
from .result import Explanation

FEW = 12  # features up to which every coalition is asked


def explain(
    function: Any,
    x: Any,
    method: str = "auto",
    *,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    **options: Any,
) -> Explanation:
    """Why the function answered as it did for the examples ``x``: how much each feature moved the output.

    ``method`` is a name of `cenote.explain` or "auto": few features -> exact Shapley values; differentiable -> DeepLIFT
    (against one baseline) or DeepSHAP (against a background); any other function -> Shapley values by permutations, with
    standard errors. Texts (one, or a list, an array or a column of them) are explained by their words, see `explain_text`.
    ``target`` is the output to explain (default: the predicted class's logit); ``baseline`` one example to compare with and
    ``background`` several (default: training rows that the model remembers).

    What is compiled is kept with a model of ours, and with a function that ``jax.jit`` has wrapped: explaining it again takes
    no compilation. A plain function may have changed since the last call, and is compiled anew in each.

    Raises: ValueError for a target, baseline or background that does not fit, saying what was expected.

    >>> import numpy as np
    >>> found = explain(lambda x: 2 * x[:, 0] + x[:, 1], np.ones((1, 2), "float32"), baseline=0.0)
    >>> np.round(found.values, 5).tolist()
    [[2.0, 1.0]]
    """
    shared = {"target": target, "baseline": baseline, "background": background}
    why = ""
    if method == "auto":
        if texts_of(x) is None:
            method, why = _choose(ask(function, x, **shared, names=options.get("names")))
        else:
            method, why = "permutation_shapley", "Shapley values of words by permutations"
    if method not in METHODS:
        raise unknown("method", method, ["auto", *METHODS])
    found = METHODS[method](function, x, **shared, **options)
    found.reason = "; ".join(part for part in (why, found.reason) if part)
    return found


def _choose(question: Question) -> tuple[str, str]:
    leaves = jax.tree.leaves(question.x)
    features = sum(int(np.prod(leaf.shape[1:])) for leaf in leaves)
    if len(leaves) == 1 and leaves[0].ndim == 2 and features <= FEW:
        return "exact_shapley", f"exact Shapley values, since there are only {features} features"
    if not question.subject.differentiable:
        return "permutation_shapley", "Shapley values by permutations, since JAX cannot differentiate this function"
    try:
        over_vectors(question.rows(0, 1))
    except ValueError:  # words that are compared or counted, not looked up
        return "permutation_shapley", "Shapley values by permutations, since the words are not looked up in a table"
    if question.given_baseline is not None or question.background is None:
        return "deeplift", "DeepLIFT, since the function is differentiable"
    return "deepshap", "DeepSHAP, since the function is differentiable"
