"""From the outputs of a network trained with CTC to texts: the best path, and a search over prefixes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

__all__ = ["best_path", "prefix_search"]

LEAST = 1e-4  # probability; labels below it at a frame are not followed


def best_path(logits: np.ndarray, blank: int = 0) -> list[int]:
    """The labels of the most probable path: the largest class of each frame, repetitions joined, blanks left out.

    Shapes: (time, class) -> label numbers.

    >>> best_path(np.eye(3)[[0, 1, 1, 0, 1, 2]])
    [1, 1, 2]
    """
    path = np.asarray(logits).argmax(1)
    fresh = np.r_[True, path[1:] != path[:-1]]
    return [int(label) for label in path[fresh] if label != blank]


def prefix_search(logits: np.ndarray, width: int = 8, blank: int = 0) -> tuple[list[int], float]:
    """The labelling whose paths together are most probable, among the ``width`` best prefixes kept at each frame.

    ``p(prefix)`` is the sum over all paths that spell it, those that end in a blank and those that end in its last label kept
    apart, since only after a blank may that label come again. Gives the labels and the log of their probability; with a
    width no smaller than the number of labellings it is exact.
    Shapes: (time, class) logits -> label numbers. Raises: ValueError for a width below 1.
    Source: Hannun et al. 2014, arXiv:1408.2873.

    >>> labels, log_p = prefix_search(np.log([[0.4, 0.6], [0.4, 0.6]]))
    >>> labels, round(float(np.exp(log_p)), 2)
    ([1], 0.84)
    """
    if width < 1:
        raise ValueError(f"the search must keep at least one prefix, got width={width}")
    logits = np.asarray(logits, np.float64)
    top = logits.max(1, keepdims=True)
    probabilities = np.exp(logits - top)
    probabilities /= probabilities.sum(1, keepdims=True)
    # Probabilities are scaled to 1 at each frame, and the scale kept as a logarithm, so that long recordings do not underflow.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}  # prefix: (ends in blank, ends in its last label)
    scale = 0.0
    for frame in probabilities:
        followed = [(int(label), float(frame[label])) for label in np.flatnonzero(frame > LEAST) if label != blank]
        at_blank = float(frame[blank])
        grown: defaultdict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (ended, held) in beams.items():
            here = grown[prefix]
            here[0] += (ended + held) * at_blank
            if prefix:
                here[1] += held * float(frame[prefix[-1]])
            for label, p in followed:
                grown[(*prefix, label)][1] += (ended if prefix and label == prefix[-1] else ended + held) * p
        best = sorted(grown.items(), key=lambda item: (-sum(item[1]), item[0]))[:width]
        total = sum(sum(parts) for _, parts in best)
        if total <= 0:  # only labels that were not followed
            continue
        scale += math.log(total)
        beams = {prefix: (parts[0] / total, parts[1] / total) for prefix, parts in best}
    prefix, parts = max(beams.items(), key=lambda item: sum(item[1]))
    return list(prefix), math.log(max(sum(parts), 1e-300)) + scale


def spell(labels: Sequence[int], characters: Sequence[str]) -> str:
    """Label numbers from 1 as text.

    >>> spell([2, 1], "ab")
    'ba'
    """
    return "".join(characters[label - 1] for label in labels)
