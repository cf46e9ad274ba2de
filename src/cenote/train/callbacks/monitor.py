"""Callbacks that watch a quantity: what they share."""

from __future__ import annotations

import difflib
import math
import warnings
from typing import Any

import numpy as np

from ...core.errors import unknown
from ..history import direction
from .base import Callback, Logs


class Monitor(Callback):
    """Base of callbacks that ask whether a quantity of the logs has become better.

    Args:
        monitor: its name in the logs, such as "val_loss" or "accuracy".
        mode: "min", "max", or "auto": by the metric, or by its name (accuracies, AUC, scores up; losses and errors down).
        min_delta: a smaller change than this does not count.
    """

    watches_model = False

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise unknown("mode", mode, ("auto", "min", "max"))
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self.best: float | None = None
        self._warned = False

    def better(self, current: float, reference: float | None) -> bool:
        """Whether ``current`` is an improvement; compared in float32 as in Keras, so that no rounding error counts as one.

        A NaN is never one, and anything is better than a NaN.
        """
        if math.isnan(current):
            return False
        if reference is None or math.isnan(reference):
            return True
        if self.goal() == "min":
            return bool(np.float32(current + self.min_delta) < np.float32(reference))
        return bool(np.float32(current - self.min_delta) > np.float32(reference))

    def goal(self) -> str:
        """ "min" or "max"; raises ValueError where "auto" cannot tell."""
        found = self.mode if self.mode != "auto" else direction(self.monitor, self.model)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether more or less of {self.monitor!r} is better: "
                f"give mode='max' or mode='min'"
            )
        return found

    def value(self, logs: Logs | None) -> float | None:
        """The monitored number; None, with one warning that lists the names there are, where the logs have none."""
        logs = logs or {}
        found = logs.get(self.monitor)
        if found is not None:
            return float(found)
        rare = self.without_validation(logs) and getattr(self.run, "validation_freq", 1) != 1
        if not self._warned and not rare:
            self._warned = True
            warnings.warn(f"{type(self).__name__} {self.missing(logs)}", stacklevel=2)
        return None

    def without_validation(self, logs: Logs) -> bool:
        """Whether a quantity of the validation is watched, and this epoch had none."""
        return self.monitor.startswith("val_") and not any(k.startswith("val_") for k in logs)

    def missing(self, logs: Logs) -> str:
        near = difflib.get_close_matches(self.monitor, logs, n=1, cutoff=0.5)
        if self.without_validation(logs):
            cure = ": there was no validation; give fit() validation_data or validation_split."
        else:
            cure = f": did you mean {near[0]!r}?" if near else "."
        return f"watches {self.monitor!r}, which is not in the logs{cure} They have: {', '.join(logs) or 'nothing'}"


def say(verbose: Any, text: str) -> None:
    if verbose:
        print(text, flush=True)
