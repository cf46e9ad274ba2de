"""Preparation: raw inputs to arrays, with what it learned from the training part; saved with the model, as plain values."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from .examples import Examples, Finding


class Preparation:
    """Turns raw inputs into the arrays that a model takes. Subclasses are one for each kind of data.

    A preparation learns from the training part alone (`fit`), and means the same ever after: whatever it learned stands in
    `config` (plain JSON values) and `arrays` (tensors), from which `restore` makes it again. It holds no code and opens no
    path that was written into it.
    """

    kind: ClassVar[str]  # "table", "image", "text", "audio", "series": what Examples.kind says
    findings: list[Finding]

    @classmethod
    def fit(cls, examples: Examples, **options: Any) -> Self:
        """Learn from the training part."""
        raise NotImplementedError

    def __call__(self, inputs: Any) -> Any:
        """Arrays for the model, rows first, for raw inputs like those of `Examples.inputs`."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What was learned and chosen, as JSON values."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned, as tensors."""
        return {}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """The preparation that `config` and `arrays` came from; ValueError for values that make no sense."""
        raise NotImplementedError

    def raw(self, source: Any) -> Any:
        """Raw inputs from what a user hands to predict: a path, a row, a dict, a sentence, a frame, or lists of them."""
        raise NotImplementedError

    def features(self) -> list[str] | None:
        """Names for people of the features of the prepared arrays, where they have names."""
        return None

    def describe(self) -> list[str]:
        """What it does, a line each, for people."""
        return []
