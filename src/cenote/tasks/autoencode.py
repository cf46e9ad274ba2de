"""Pictures and tables through a narrow code and back: compression, and how unusual an example is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .. import layers
from ..core.errors import unknown
from ..data.answers import Answers
from ..data.examples import Examples
from ..data.images import ImagePreparation
from ..data.preparation import Preparation
from ..data.split import Parts
from ..data.tables import TablePreparation, kinds, looks_like_table, read_table
from ..model import Model
from ..networks import Sequential
from .base import Choice, Task, cosine
from .scores import Baseline, Scores, average, resampled

__all__ = ["Autoencoding", "Decoder", "Encoder", "Reconstruction", "principal_components"]

SIDE = 64  # pixels; larger pictures are made smaller, unless the size is given
WIDEST = 64  # of the usual code
UNUSUAL = 0.99  # of the validation part has a smaller error than what is called unusual
PCA_ROWS = 10_000
CHUNK = 1024


class Encoder(Model):
    """``x W + b + rest(x)``: a linear map to the code, and a network that corrects it. The rest begins as nothing.

    Shapes: (batch, ...) -> (batch, width). ``divisor`` brings the inputs to about 0 to 1.
    """

    def __init__(self, width: int, hidden: tuple[int, ...] = (), divisor: float = 1.0) -> None:
        super().__init__()
        self.divisor = divisor
        self.flat, self.linear = layers.Flatten(), layers.Dense(width)
        self.hidden = [layers.Dense(units, activation="gelu") for units in hidden]
        self.rest = layers.Dense(width, use_bias=False, kernel_initializer="zeros") if hidden else None

    def forward(self, x: Any) -> Any:
        x = self.flat(x.astype("float32")) / self.divisor
        return self.linear(x) + _rest(self, x) if self.rest is not None else self.linear(x)


class Decoder(Model):
    """``z W + b + rest(z)``: from the code back. Shapes: (batch, width) -> (batch, features)."""

    def __init__(self, features: int, hidden: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.linear = layers.Dense(features)
        self.hidden = [layers.Dense(units, activation="gelu") for units in hidden]
        self.rest = layers.Dense(features, use_bias=False, kernel_initializer="zeros") if hidden else None

    def forward(self, x: Any) -> Any:
        return self.linear(x) + _rest(self, x) if self.rest is not None else self.linear(x)


def _rest(model: Any, x: Any) -> Any:
    for layer in model.hidden:
        x = layer(x)
    return model.rest(x)


class Reconstruction(Answers):
    """What a reconstruction is measured against: the mean example, and the errors of the validation part.

    ``errors`` are 101 quantiles of the root mean square errors there, known after training.
    """

    kind = "reconstruction"

    def __init__(self, mean: np.ndarray, errors: np.ndarray | None = None) -> None:
        self.mean, self.errors = np.asarray(mean, np.float32).reshape(-1), None
        if errors is not None:
            self.errors = np.asarray(errors, np.float64).reshape(-1)
            if len(self.errors) != 101 or not np.isfinite(self.errors).all() or (np.diff(self.errors) < 0).any():
                raise ValueError("the errors of a reconstruction are 101 quantiles in order")

    def __call__(self, targets: Any) -> np.ndarray:
        return np.asarray(targets, np.float32).reshape(len(targets), -1)

    def place(self, errors: np.ndarray) -> np.ndarray:
        """The share of the validation part whose error is smaller, (rows,) from 0 to 1; NaN where there was none."""
        if self.errors is None:
            return np.full(len(errors), math.nan)
        return np.interp(errors, self.errors, np.linspace(0, 1, 101))

    def config(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, **({} if self.errors is None else {"errors": self.errors})}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(arrays["mean"], arrays.get("errors"))

    def describe(self) -> str:
        return f"the same {len(self.mean):,} values again"


class Autoencoding(Task):
    """Compression of pictures or rows to a code of few numbers, and how unusual an example is.

    The score is the share of the variance that comes back, beside principal components of the same number; the network begins
    as these components, and learns what they leave. Options: ``width``, the numbers of the code (default: an eighth of the
    features, 2 to 64); ``size`` of the prepared pictures (a side, or (height, width)); ``drop``, columns to leave out (the
    target, if one is given, too); ``skip_broken`` files.

    >>> rows = {"a": np.linspace(0, 9, 60), "b": np.linspace(0, 9, 60) ** 2, "c": np.linspace(5, 1, 60)}
    >>> trained = Autoencoding(width=1, epochs=5).train(rows, verbose=0)
    >>> sorted(trained.predict({"a": 3.0, "b": 80.0, "c": 4.0})[0])
    ['code', 'error', 'rank', 'source', 'unusual']
    """

    name: ClassVar[str] = "autoencoding"
    about: ClassVar[str] = "a short code for each picture or row, and how unusual it is"
    kind: ClassVar[str] = "table"  # or "image": the source tells
    models: ClassVar[tuple[str, ...]] = ("network", "linear")
    labelled: ClassVar[bool] = False
    options: ClassVar[Mapping[str, Any]] = {"width": None, "size": None, "drop": (), "skip_broken": False}

    answers: Any

    def read(self, source: Any) -> Examples:
        if not looks_like_table(source) or _names_pictures(source):
            from ..data.images import read

            return _bare(read(source, labelled=False, skip_broken=bool(self.option["skip_broken"])))
        table, found = read_table(source)
        target = [] if self.target is None else self.target if isinstance(self.target, (list, tuple)) else [self.target]
        known = [self.option["drop"]] if isinstance(self.option["drop"], str) else self.option["drop"]
        for name in target:
            if name not in table:
                raise unknown(f"column of {table.file or 'the table'}", name, list(table.columns))
        table = table.without(*(name for name in [*known, *target] if name in table))
        table.types = kinds(table)
        text = f"{len(table):,} rows, {len(table.columns)} columns"
        return Examples("table", table, None, table.places(), {"text": text}, found)

    def part(self, examples: Examples, validation: float | int, test: float | int) -> Parts:
        return super().part(_bare(examples), validation, test)

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        made: Any
        if training.kind == "image":
            made = ImagePreparation.fit(training, size=self.option["size"])
            if self.option["size"] is None and max(made.shape[:2]) > SIDE:
                made = ImagePreparation.fit(training, size=SIDE)
                made.reasons = [r.replace("as asked", "larger pictures are made smaller for a code") for r in made.reasons]
        else:
            made = TablePreparation.fit(training, one_hot=WIDEST, most=WIDEST)
        self.preparation = made
        return made, Reconstruction(_flat(self._divided(made(training.inputs))).mean(0))

    def _divided(self, x: Any) -> Any:
        return np.asarray(x, np.float32) / np.float32(self._divisor)

    @property
    def _divisor(self) -> float:
        return 255.0 if self.preparation.kind == "image" else 1.0

    def arrays(self, examples: Examples, training: bool = False) -> Any:
        x = self.preparation(examples.inputs)
        return x, _flat(self._divided(x))

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        count, features = y.shape
        width = self.option["width"] or int(np.clip(features // 8, min(2, features), WIDEST))
        if not 1 <= width < features:
            raise ValueError(f"width={width}: a code of {features} features has from 1 to {features - 1} numbers")
        kind = self.kind_of_model("network")
        units = 256 if features > 200 else 128
        hidden = (units, units) if kind == "network" else ()
        model = Sequential([Encoder(width, hidden, self._divisor), Decoder(features, hidden)])
        model.build(x[:1])
        mean, components, scale = principal_components(y, width)
        _start(model, mean, components, scale)
        epochs = 100 if count < 2000 else 60 if count < 10_000 else 20
        return Choice(
            model,
            kind,
            "mse",
            [],
            optimizer="adam",
            learning_rate=1e-3,
            schedule=cosine,
            epochs=epochs,
            batch_size=32 if count < 2000 else 128,
            patience=max(5, epochs // 4),
            reasons={
                "model": f"a code of {width} numbers for {features} ({features / width:.1f} to 1); it begins as principal "
                f"components, and learns what they leave",
                "epochs": f"for {count:,} examples; the best one is kept",
            },
        )

    def calibrate(self, model: Any, validation: Examples) -> None:
        x, y = self.arrays(validation)
        errors = _errors(y, model.predict(x, verbose=0))
        self.answers.errors = np.quantile(errors, np.linspace(0, 1, 101))

    def score(self, outputs: Any, examples: Examples) -> Scores:
        _, y = self.arrays(examples)
        return self._scores(outputs, y)

    def _scores(self, outputs: Any, y: np.ndarray) -> Scores:
        rest = np.square(y - outputs).sum(1, dtype=np.float64)
        whole = np.square(y - self.answers.mean).sum(1, dtype=np.float64)
        errors = np.sqrt(rest / y.shape[1])
        values = [
            resampled("variance kept", lambda r, w: 1 - float(r.sum() / max(w.sum(), 1e-300)), rest, whole, percent=True),
            average("RMSE", errors),
        ]
        return Scores(values, len(y), {}, {"errors": errors})

    def baselines(self, parts: Parts) -> list[Baseline]:
        (_, y), (_, test) = self.arrays(parts.train), self.arrays(parts.test)
        width = self._width
        mean, components, _ = principal_components(y, width)
        back = (test - mean) @ components @ components.T + mean
        value = self._scores(back, test).main.value
        return [*super().baselines(parts), Baseline("principal components", value, f"the same {width} numbers each")]

    def simplest(self, examples: Examples) -> list[Baseline]:
        return [Baseline("mean", 0.0, "always the mean of the training part")]

    def decode(self, model: Any, x: Any) -> Any:
        codes = np.asarray(model.layers[0].predict(x, verbose=0))
        self._width = codes.shape[1]
        return codes, _errors(_flat(self._divided(x)), model.layers[1].predict(codes, verbose=0))

    def outputs(self, model: Any, x: Any) -> Any:
        self._width = model.layers[0].linear.units
        return model.predict(x, verbose=0)

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        codes, errors = outputs
        said = []
        for name, code, error, rank in zip(names, codes, errors, self.answers.place(errors), strict=True):
            known = bool(np.isfinite(rank))
            said.append(
                {
                    "source": name,
                    "error": float(error),
                    "rank": float(rank) if known else None,
                    "unusual": bool(rank >= UNUSUAL) if known else None,
                    "code": [float(v) for v in code],
                }
            )
        return said

    def line(self, answer: dict[str, Any]) -> str:
        text = f"error {answer['error']:.4g}"
        if answer["rank"] is None:
            return text
        return f"{text}, more than {answer['rank']:.0%} of the validation part" + ("   unusual" if answer["unusual"] else "")


def principal_components(x: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (feature,), the ``width`` directions of most variance (feature, width), and the deviations along them (width,).

    By the eigenvectors of the smaller of x'x and xx', of at most 10,000 rows, evenly spread. Source: Pearson 1901.

    >>> x = np.array([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]])
    >>> mean, directions, _ = principal_components(x, 1)
    >>> (((x - mean) @ directions @ directions.T + mean) - x).round(5).tolist()
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    mean = x.mean(0, dtype=np.float64)
    some = x[:: -(-len(x) // PCA_ROWS)] - mean
    if some.shape[1] <= len(some):
        values, vectors = np.linalg.eigh(some.T @ some)
        values, vectors = values[::-1][:width], vectors[:, ::-1][:, :width]
    else:
        values, left = np.linalg.eigh(some @ some.T)
        values, left = values[::-1][:width], left[:, ::-1][:, :width]
        vectors = some.T @ left / np.sqrt(np.maximum(values, 1e-12))
        vectors[:, values <= 1e-9 * max(float(values.max(initial=0)), 1e-12)] = 0
    if vectors.shape[1] < width:  # fewer examples than numbers of the code
        lacking = width - vectors.shape[1]
        vectors, values = np.pad(vectors, ((0, 0), (0, lacking))), np.pad(values, (0, lacking))
    scale = np.sqrt(np.maximum(values, 0) / len(some))
    return mean, vectors, np.where(scale > 1e-6 * max(float(scale.max(initial=0)), 1e-12), scale, 1.0)


def _start(model: Any, mean: np.ndarray, components: np.ndarray, scale: np.ndarray) -> None:
    """Let the linear maps be principal components, with codes of variance 1."""
    into = components / scale
    encoder, decoder = model.layers
    named = {
        "layers.0.linear.kernel": into,
        "layers.0.linear.bias": -mean @ into,
        "layers.1.linear.kernel": (components * scale).T,
        "layers.1.linear.bias": mean,
    }
    assert isinstance(encoder, Encoder) and isinstance(decoder, Decoder)
    model._put({**model.arrays()[0], **{name: np.asarray(value, np.float32) for name, value in named.items()}})


def _flat(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.reshape(len(x), -1)


def _errors(y: np.ndarray, outputs: Any) -> np.ndarray:
    return np.sqrt(np.square(y - np.asarray(outputs)).mean(1))


def _bare(examples: Examples) -> Examples:
    """Without labels: what is learned from are the inputs."""
    from dataclasses import replace

    return replace(examples, targets=None)


def _names_pictures(source: Any) -> bool:
    if not isinstance(source, (str, os.PathLike)) or Path(source).suffix.lower() not in (".csv", ".tsv"):
        return False
    from ..data.images.decode import ENDINGS
    from ..data.media import named_in

    return bool(named_in(Path(source), ENDINGS))
