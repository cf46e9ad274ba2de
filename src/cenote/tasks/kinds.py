"""What tasks of one kind share: those that answer with a class (or labels), and those that answer with quantities."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.answers import Answers, Classes, Labels, numbers_of
from ..data.examples import Examples
from ..report.facts import plain
from . import scores
from .base import Task
from .scores import Baseline, Scores

__all__ = ["Classification", "Regression"]


class Classification(Task):
    """One class for each example, or with targets that are lists of labels any number of them.

    A subclass gives read, prepare (with ``self.fit_answers(training)``) and choose; the model ends in ``self.head()``, and the
    loss and the metrics are ``self.objective()``. Its baselines add a linear model to the majority class.
    """

    answers: Any

    def fit_answers(self, training: Examples) -> Answers:
        """Classes, in the order of ``training.about["classes"]`` if there is one; Labels where the targets are collections."""
        first = next((t for t in training.targets if t is not None), None)
        kind = Labels if isinstance(first, (list, tuple, set, frozenset)) else Classes
        return kind.fit(training.targets, order=training.about.get("classes"))

    @property
    def multi_label(self) -> bool:
        return isinstance(self.answers, Labels)

    def head(self) -> Any:
        """The last layer: a probability for each class, or for each label by itself."""
        from .. import layers

        return layers.Dense(len(self.answers.names), activation="sigmoid" if self.multi_label else "softmax")

    def objective(self) -> tuple[str, list[Any]]:
        """Loss and metrics that fit `head`."""
        if self.multi_label:
            return "binary_crossentropy", ["binary_accuracy"]
        return "sparse_categorical_crossentropy", ["accuracy"]

    def score(self, outputs: Any, examples: Examples) -> Scores:
        y = self.answers(examples.targets)
        return (scores.of_labels if self.multi_label else scores.of_classes)(outputs, y, self.answers.names)

    def simplest(self, examples: Examples) -> list[Baseline]:
        y = self.answers(examples.targets)
        if self.multi_label:
            often = np.asarray(self.answers.counts) > self.answers.total / 2
            said = np.broadcast_to(often.astype(np.float64), y.shape)
            about = "always the labels that more than half of the examples have"
            return [Baseline("majority labels", scores.of_labels(said, y, self.answers.names).main.value, about)]
        common = self.answers.commonest
        right = float((y == common).mean())
        return [Baseline("majority class", right, f"always answering {self.answers.names[common]!r}")]

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        labels = self.answers.names
        said = []
        for name, row in zip(names, np.asarray(outputs, np.float64), strict=True):
            order = np.argsort(-row, kind="stable")
            if self.multi_label:
                chosen = [int(i) for i in order if row[i] >= 0.5]
                said.append({"source": name, "labels": {labels[i]: float(row[i]) for i in chosen}})
                continue
            first, second = int(order[0]), int(order[1])
            said.append(
                {
                    "source": name,
                    "label": labels[first],
                    "index": first,
                    "probability": float(row[first]),
                    "runner_up": labels[second],
                    "runner_up_probability": float(row[second]),
                }
            )
        return said

    def line(self, answer: dict[str, Any]) -> str:
        from ..report.facts import sureness

        if "labels" in answer:
            return ", ".join(f"{label} {sureness(p)}" for label, p in answer["labels"].items()) or "no label"
        width = max(len(n) for n in self.answers.names[:200])
        first, second = sureness(answer["probability"]), sureness(answer["runner_up_probability"])
        return f"{answer['label']:<{min(width, 30)}}  {first:>6}   then {answer['runner_up']} {second}"


class Regression(Task):
    """One quantity for each example, or several: the model answers in standardised units, all else is in the target's.

    A subclass gives read, prepare (with ``Quantities.fit``) and choose; the loss is on standardised values.
    """

    answers: Any

    def score(self, outputs: Any, examples: Examples) -> Scores:
        return scores.of_quantities(self.answers.back(outputs), numbers_of(examples.targets), self.answers.names)

    def simplest(self, examples: Examples) -> list[Baseline]:
        true = numbers_of(examples.targets)
        said = np.broadcast_to(self.answers.mean, true.shape)
        shown = ", ".join(plain(m) for m in self.answers.mean[:3])
        return [Baseline("mean", float(np.sqrt(((said - true) ** 2).mean())), f"always answering {shown}")]

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        found = self.answers.back(outputs)
        if found.shape[1] == 1:
            return [{"source": name, "value": float(row[0])} for name, row in zip(names, found, strict=True)]
        return [
            {"source": name, "values": dict(zip(self.answers.names, row.tolist(), strict=True))}
            for name, row in zip(names, found, strict=True)
        ]

    def line(self, answer: dict[str, Any]) -> str:
        if "value" in answer:
            return f"{answer['value']:.6g}"
        return "  ".join(f"{name} {value:.6g}" for name, value in answer["values"].items())
