"""Preparation: raw inputs to arrays, with what it learned from the training part; saved with the model, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from .examples import Finding

__all__ = ["Learned", "Preparation"]


class Learned:
    """What turns raw values into arrays, by what it learned from the training part alone: a `Preparation`, or `Answers`.

    It means the same ever after: whatever it learned stands in `config` (plain JSON values) and `arrays` (tensors), from which
    `restore` makes it again. It holds no code and opens no path that was written into it.
    """

    kind: ClassVar[str]
    findings: Sequence[Finding] = ()

    @classmethod
    def fit(cls, training: Any, **options: Any) -> Self:
        """Learn from the training part."""
        raise NotImplementedError

    def __call__(self, values: Any) -> Any:
        """Arrays, rows first, for raw values like those of the training part."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What was learned and chosen, as JSON values."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned, as tensors."""
        return {}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """What `config` and `arrays` came from; ValueError for values that make no sense."""
        raise NotImplementedError


class Preparation(Learned):
    """Turns raw inputs, as `Examples.inputs` holds them, into the arrays that a model takes: one for each kind of data.

    ``kind`` is what `Examples.kind` says: "table", "image", "text", "audio", "series". `fit` takes the `Examples` of the
    training part.
    """

    findings: list[Finding]

    def raw(self, source: Any) -> Any:
        """Raw inputs from what a user hands to predict: a path, a row, a dict, a sentence, a frame, or lists of them."""
        raise NotImplementedError

    def features(self) -> list[str] | None:
        """Names for people of the features of the prepared arrays, where they have names."""
        return None

    def describe(self) -> list[str]:
        """What it does, a line each, for people."""
        return []
