"""Texts and their classes: sentiment, topics, kinds of questions; one class each, or any number of labels."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..data.answers import Answers
from ..data.examples import Examples
from ..data.preparation import Preparation
from ..data.split import Parts
from ..data.text.prepare import TextPreparation
from ..data.text.read import read_classes
from ..data.text.tell import tell
from .base import Choice, cosine
from .kinds import Classification
from .scores import Baseline, of_classes, of_labels

__all__ = ["TextClassification"]

FEW = 500  # texts; below it a validation part is too small to choose by
MANY = 20_000  # texts
STRENGTH = 2.0, 5.0  # of few, of many: how much the data count against the penalty on weights, as a support vector machine's C


class TextClassification(Classification):
    """A class, or labels, for each text; any language.

    The usual model is linear on bags of weighted n-grams (`TextPreparation`), which on corpora of some thousand texts is hard
    to beat; "cnn" reads the words in their order.

    Options: ``text`` names the column of the texts; ``separator`` splits the target into labels; ``fine`` takes whole labels
    LABEL:fine; ``encoding``; ``words`` and ``letters`` of the n-grams, ``most`` of them; ``length`` of texts for "cnn".

    >>> texts = ["a good film", "good fun", "great fun", "a bad film", "bad, bad", "so dull"] * 5
    >>> trained = TextClassification().train((texts, ["+", "+", "+", "-", "-", "-"] * 5), verbose=0)
    >>> trained.predict("what a good film")[0]["label"]
    '+'
    """

    name = "text-classification"
    about = "a class for each text: sentiment, topic, language"
    kind = "text"
    models = ("linear", "cnn")
    options: ClassVar[dict[str, Any]] = {
        "text": None, "separator": None, "fine": False, "encoding": "utf-8",
        "words": None, "letters": None, "most": None, "length": None,
    }  # fmt: skip

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        found = tell(source, target if isinstance(target, str) else None)
        return found[1] if found is not None and found[0] == "classes" else None

    def read(self, source: Any) -> Examples:
        given = {name: self.option[name] for name in ("text", "separator", "fine", "encoding")}
        return read_classes(source, self.target, **given)

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        answers = self.fit_answers(training)
        if self.kind_of_model("linear") == "linear":
            given = {name: self.option[name] for name in ("words", "letters", "most")}
            return TextPreparation.fit(training, **given), answers
        return TextPreparation.fit(training, form="tokens", length=self.option["length"]), answers

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        loss, metrics = self.objective()
        build = {"linear": self._linear, "cnn": self._cnn}[self.kind_of_model("linear")]
        return build(len(training), x, loss, metrics)

    def _linear(self, count: int, x: Any, loss: Any, metrics: list[Any]) -> Choice:
        from .. import Input, Model, layers, regularizers

        outputs = len(self.answers.names)
        penalty = regularizers.L2(1 / (2 * STRENGTH[count >= MANY] * count))
        inputs = {
            "numbers": Input((x["numbers"].shape[1],), dtype="int32", name="numbers"),
            "weights": Input((x["weights"].shape[1],), name="weights"),
        }
        bag = layers.EmbeddingBag(
            self.preparation.size, outputs, mode="sum", embeddings_initializer="zeros", embeddings_regularizer=penalty
        )
        logits = bag(inputs["numbers"], per_sample_weights=inputs["weights"])
        model = Model(inputs, layers.Activation("sigmoid" if self.multi_label else "softmax")(logits))
        size = int(np.clip(2 ** round(math.log2(max(count, 1) / 150)), 16, 256))
        epochs = int(np.clip(600 * size / count, 10, 200))
        kind = f"{count:,} texts: weighted n-grams and a linear model, hard to beat on so few and trained in seconds"
        if count > 50_000:
            kind = f"{count:,} texts: weighted n-grams and a linear model, in minutes; model='cnn' may learn more"
        return Choice(
            model,
            "linear",
            loss,
            [*metrics, loss],
            learning_rate=0.02,
            schedule=cosine,
            epochs=epochs,
            patience=epochs,
            monitor="loss",
            batch_size=size,
            reasons={
                "model": kind,
                "learning_rate": "large, since the problem is convex, and falling to zero",
                "patience": "the last weights stay: the penalty keeps texts from being learned by heart",
            },
        )

    def _cnn(self, count: int, x: Any, loss: Any, metrics: list[Any]) -> Choice:
        from .. import Input, Model, layers

        tokens = Input((x.shape[1],), dtype="int32", name="tokens")
        h = layers.Embedding(self.preparation.size, 128)(tokens)
        h = layers.SpatialDropout1D(0.2)(h)
        runs = [layers.GlobalMaxPooling1D()(layers.Conv1D(96, n, padding="same", activation="relu")(h)) for n in (2, 3, 4)]
        h = layers.Concatenate()([*runs, layers.GlobalAveragePooling1D()(h)])
        model = Model(tokens, self.head()(layers.Dropout(0.5)(h)))
        size = int(np.clip(2 ** round(math.log2(max(count, 1) / 150)), 32, 128))
        why = {"model": "runs of two, three and four words, wherever they stand (Kim 2014)"}
        choice = Choice(model, "cnn", loss, metrics, schedule=cosine, epochs=12, patience=3, batch_size=size, reasons=why)
        if count < FEW:
            choice.monitor, choice.patience = "loss", choice.epochs
            why["patience"] = f"the last weights stay: with {count:,} examples a validation part is too small to choose by"
        return choice

    def baselines(self, parts: Parts) -> list[Baseline]:
        found = super().baselines(parts)
        if self.preparation.form != "ngrams":  # type: ignore[attr-defined]
            return found
        bags = [self.preparation(part.inputs) for part in (parts.train, parts.test)]
        y = [self.answers(part.targets) for part in (parts.train, parts.test)]
        said = naive_bayes(bags[0], self._member(y[0]), bags[1], self.preparation.size, self.multi_label)  # type: ignore[attr-defined]
        score = (of_labels if self.multi_label else of_classes)(said, y[1], self.answers.names).main
        return [*found, Baseline("naive Bayes", score.value, "naive Bayes on the same n-grams")]

    def _member(self, y: np.ndarray) -> np.ndarray:
        return y if self.multi_label else np.eye(len(self.answers.names), dtype=np.float32)[y]


def naive_bayes(
    train: dict[str, np.ndarray], y: np.ndarray, test: dict[str, np.ndarray], size: int, labels: bool, prior: float = 1.0
) -> np.ndarray:
    """Probabilities by multinomial naive Bayes, (rows, classes): ``P(c) prod_j P(j | c)`` over the n-grams j of a text.

    ``y`` (rows, classes) holds ones and zeros; with ``labels`` each class is told from its absence by itself.
    """
    numbers, rows = train["numbers"], np.arange(len(y))
    counts = np.zeros((size, y.shape[1]))
    at = np.nonzero(numbers > 1)
    for c in range(y.shape[1]):
        counts[:, c] = np.bincount(numbers[at], y[at[0], c], minlength=size)
    whole = np.bincount(numbers[at], minlength=size)[:, None]
    share = np.log(counts + prior) - np.log((counts + prior)[2:].sum(0))
    before = np.log(np.maximum(y.sum(0), 0.5) / len(rows))
    if labels:
        without = whole - counts + prior
        share = share - (np.log(without) - np.log(without[2:].sum(0)))
        before = before - np.log(np.maximum(len(rows) - y.sum(0), 0.5) / len(rows))
    share[:2] = 0
    logits = np.stack([before + share[row].sum(0) for row in test["numbers"]])
    if labels:
        return 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)
