"""The one call: a method chosen for the function and the data, with the reason."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..core.errors import unknown
from .lookups import over_vectors
from .method import METHODS
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
    standard errors. ``target`` is the output to explain (default: the predicted class's logit); ``baseline`` one example to
    compare with and ``background`` several (default: training rows that the model remembers).

    Raises: ValueError for a target, baseline or background that does not fit, saying what was expected.

    >>> import numpy as np
    >>> found = explain(lambda x: 2 * x[:, 0] + x[:, 1], np.ones((1, 2), "float32"), baseline=0.0)
    >>> np.round(found.values, 5).tolist()
    [[2.0, 1.0]]
    """
    if isinstance(x, str) or (isinstance(x, (list, tuple, np.ndarray)) and len(x) and isinstance(x[0], str)):
        from .words import explain_text

        return explain_text(function, x, "permutation_shapley" if method == "auto" else method, target=target, **options)
    shared = {"target": target, "baseline": baseline, "background": background}
    if method == "auto":
        method, why = _choose(ask(function, x, **shared, names=options.get("names")))
    else:
        why = ""
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
        return "deeplift", "DeepLIFT, since the function is differentiable: exact, against one baseline"
    return "deepshap", "DeepSHAP, since the function is differentiable: exact, against the training rows"
