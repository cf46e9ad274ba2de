"""Attribution by gradients: saliency, input times gradient, Integrated Gradients, SmoothGrad, expected gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .method import Answer, method
from .question import Question, Score

__all__ = ["saliency"]


def _gradients(score: Score) -> Callable:
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
    slopes = question.program(_gradients)(question.weights, question.x, question.targets)
    return Answer(jax.tree.map(jnp.abs, slopes) if absolute else slopes)
