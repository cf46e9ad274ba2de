"""The smallest task there can be: points in a plane, in classes or with a height, in memory or streamed."""

from __future__ import annotations

import numpy as np

import cenote as cn
from cenote import layers
from cenote.data.answers import Quantities
from cenote.data.examples import Examples, Finding
from cenote.data.preparation import Preparation
from cenote.tasks.base import Choice
from cenote.tasks.kinds import Classification, Regression


class PointPreparation(Preparation):
    """Standardised points."""

    kind = "points"

    def __init__(self, mean, scale):
        self.mean, self.scale, self.findings = np.asarray(mean), np.asarray(scale), []

    @classmethod
    def fit(cls, examples, **options):
        return cls(examples.inputs.mean(0), examples.inputs.std(0))

    def __call__(self, inputs):
        return ((np.asarray(inputs, np.float64) - self.mean) / self.scale).astype(np.float32)

    def config(self):
        return {"columns": 2}

    def arrays(self):
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def restore(cls, config, arrays):
        if config["columns"] != 2:
            raise ValueError("points have two columns")
        return cls(arrays["mean"], arrays["scale"])

    def raw(self, source):
        return np.atleast_2d(np.asarray(source, np.float64))

    def features(self):
        return ["east", "north"]

    def describe(self):
        return ["2 columns, standardised"]


def small_network(head):
    return cn.Sequential([layers.Dense(16, activation="relu"), head])


class Points(Classification):
    name, about, kind = "points", "which side of a line", "points"
    models = ("mlp", "linear")
    options = {"flip": False}

    def read(self, source):
        return points(**source)

    def prepare(self, training):
        return PointPreparation.fit(training), self.fit_answers(training)

    def choose(self, training, x, y):
        loss, metrics = self.objective()
        kind = self.kind_of_model("mlp")
        model = small_network(self.head()) if kind == "mlp" else cn.Sequential([self.head()])
        reasons = {"model": f"{len(training)} points", "epochs": "few points"}
        return Choice(model, kind, loss, metrics, learning_rate=0.05, epochs=12, batch_size=32, reasons=reasons)


class StreamedPoints(Points):
    """The same, batch by batch."""

    name = "streamed-points"

    def arrays(self, examples, training=False):
        x, y = super().arrays(examples)

        class Pass:
            def __init__(self, size, seed):
                self.size, self.seed, self.count = size, seed, 0

            def __iter__(self):
                self.count += 1
                return self.open_epoch(self.count - 1)

            def open_epoch(self, epoch, skip=0):
                order = np.arange(len(x))
                if self.seed is not None:
                    order = np.random.RandomState(self.seed + epoch).permutation(len(x))
                for i in range(skip * self.size, len(x), self.size):
                    rows = order[i : i + self.size]
                    yield x[rows], y[rows]

        return Pass


class Heights(Regression):
    name, about, kind = "heights", "how high a point lies", "points"

    def read(self, source):
        return points(**source)

    def prepare(self, training):
        return PointPreparation.fit(training), Quantities.fit(training.targets, names=["height"])

    def choose(self, training, x, y):
        return Choice(small_network(layers.Dense(y.shape[1])), "mlp", "mse", learning_rate=0.02, epochs=20, batch_size=32)


def points(count=300, kind="side", seed=0):
    """East and north of points, and on which side of a line each lies, how high, or which labels it has."""
    draw = np.random.RandomState(seed)
    x = draw.normal(3.0, 5.0, (count, 2))
    height = 40 + 3 * x[:, 0] - 2 * x[:, 1]
    side = np.where(height > 44, "upper", "lower").astype(object)
    labels = [
        tuple(n for n, there in (("high", h > 40), ("east", e > 3)) if there) for h, e in zip(height, x[:, 0], strict=True)
    ]
    targets = {"side": side, "height": height, "labels": labels, "one": np.repeat("lower", count)}[kind]
    return Examples(
        "points", x, targets, [f"point {i}" for i in range(count)], about={"text": "points in a plane"},
        findings=[Finding("drawn at random")],
    )  # fmt: skip
