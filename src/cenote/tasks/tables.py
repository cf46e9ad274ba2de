"""Tables: a class, or one or several quantities, for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from ..data.answers import Answers, Quantities, numbers_of
from ..data.examples import Examples
from ..data.preparation import Preparation
from ..data.split import Parts
from ..data.tables import TablePreparation, looks_like_table, read, target_kind
from ..data.tables.columns import infer
from ..data.tables.read import glance, read_table, target_names
from .base import Choice, Task
from .kinds import Classification, Regression
from .scores import Baseline, of_classes, of_quantities
from .table_linear import logistic, logistic_weights, ridge, ridge_weights
from .table_network import CosineLog, TableNetwork

__all__ = ["TabularClassification", "TabularRegression"]

OPTIONS: dict[str, Any] = {
    "types": None, "drop": (), "groups": None, "time": None, "delimiter": None, "header": None, "encoding": "utf-8",
    "ragged": "error", "memory": None,
}  # fmt: skip
READING = ("delimiter", "header", "encoding", "ragged", "memory")


class _Tabular(Task):
    """What both tasks of tables share: reading, preparing, and the choice of the network."""

    kind = "table"
    models = ("network", "linear")
    options: ClassVar[Mapping[str, Any]] = OPTIONS
    wanted: ClassVar[str]  # the kind of target: "classes", "quantity"
    preparation: TablePreparation

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        if not looks_like_table(source):
            return None
        reading = {k: v for k, v in options.items() if k in READING}
        table = glance(source, **_for_files(source, reading))
        (name, *others) = target_names(table, target)
        kinds = {n: infer(table[n], n) for n in (name, *others)}
        types = options.get("types") or {}
        kind, why = target_kind(table[name], kinds[name])
        if str(types.get(name, "")).startswith("category"):
            kind, why = "classes", "types says so"
        if others:
            kind, why = "quantity", f"there are {1 + len(others)} targets"
        return f"a table whose target {name!r} is {_KINDS[kind]}: {why}" if kind == cls.wanted else None

    def read(self, source: Any) -> Examples:
        given: dict[str, Any] = {name: self.option[name] for name in ("types", "drop", "groups", "time")}
        reading = _for_files(source, {name: self.option[name] for name in READING})
        known = getattr(self, "answers", None) is not None
        target: Any = self.target
        if known and not self._has_target(source, reading):  # a table to predict, without answers
            table, found = read_table(source, **reading)
            return Examples("table", table, None, table.places(), {"file": table.file}, found)
        if known:  # the preparation knows its columns; those that served to part the rows need not be there
            names = [self.target] if isinstance(self.target, str) else list(self.target)
            given = {"types": {n: t for n, t in (self.option["types"] or {}).items() if n in names}}
        examples = read(source, target, **given, kind=self.wanted, **reading)
        about = examples.about["target"]
        self.target = about["names"][0] if len(about["names"]) == 1 else list(about["names"])
        facts = f"{examples.about['rows']:,} rows, {examples.about['columns']} columns"
        examples.about["text"] = facts
        return examples

    def _has_target(self, source: Any, reading: dict[str, Any]) -> bool:
        names = [self.target] if isinstance(self.target, str) else list(self.target or ())
        table = glance(source, **reading)
        return any(name in table for name in names)

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        return TablePreparation.fit(training), self.fit_answers(training)

    def fit_answers(self, training: Examples) -> Answers:
        raise NotImplementedError

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        from .. import optimizers

        rows, classes = len(training), self.wanted == "classes"
        outputs = len(self.answers.names)  # type: ignore[union-attr]
        loss: Any = "mse"
        metrics, monitor = ["mae"], "val_loss"
        if classes:
            from .. import losses

            loss = losses.SparseCategoricalCrossentropy(label_smoothing=0.1 if rows < 100_000 else 0.0)
            metrics = ["accuracy", "brier_score"]
            monitor = "val_brier_score" if self.metrics is None else monitor
        # Batches of one size: each step is as long as any other, and one of a few rows would be a step at random.
        batch = -(-rows // max(1, round(rows / (256 if rows < 50_000 else 1024))))
        kind = self.kind_of_model("network")
        if kind == "linear":
            if self.preparation.sizes():
                raise ValueError(
                    "model='linear' needs one-hot categories; this table has one with too many levels: use 'network'"
                )
            from .. import Sequential, layers

            model: Any = Sequential([layers.Dense(outputs, activation="softmax" if classes else None)])
            reasons = {"model": "one layer, as you asked"}
            return Choice(
                model,
                "linear",
                loss,
                metrics,
                learning_rate=0.01,
                epochs=200,
                batch_size=batch,
                patience=20,
                monitor=monitor,
                reasons=reasons,
            )
        members, width = (4, 96) if rows < 5000 else (2, 256)
        epochs = int(np.clip(2_000_000 // rows, np.clip(8_000_000 // rows, 2, 10), 500))
        sizes = tuple(self.preparation.sizes())
        model = TableNetwork(outputs, classes=classes, sizes=sizes, members=members, width=width)
        features = one_hot_arrays(x, sizes)
        if features is not None:
            model.build(jax.tree.map(lambda a: a[:1], x))
            model.start_linear(*(logistic_weights(features, y, outputs) if classes else ridge_weights(features, y)))
        optimizer = optimizers.AdamW(
            0.04,
            weight_decay=0.02,
            beta_2=0.95,
            groups={"*bias": {"multiplier": 0.1, "weight_decay": 0.0}, "*scale": {"multiplier": 6.0}},
        )
        reasons = {
            "model": f"{members} small networks that answer together: on tables of {rows:,} rows the mean of several is the "
            f"safest choice" + ("" if features is None else "; they learn what a linear model leaves"),
            "epochs": "as many as the size of the table allows in minutes; the best one is kept"
            + (", by the Brier score, which overconfident mistakes spoil less than the loss" if classes else ""),
        }
        return Choice(
            model,
            "network",
            loss,
            metrics,
            optimizer=optimizer,
            learning_rate=0.04,
            schedule=CosineLog,
            epochs=epochs,
            batch_size=batch,
            patience=epochs,
            monitor=monitor,
            reasons=reasons,
        )

    def baselines(self, parts: Parts) -> list[Baseline]:
        found = super().baselines(parts)
        x, z = (one_hot(self.preparation, part.inputs) for part in (parts.train, parts.test))
        return found if x is None or z is None else [*found, self._linear(x, z, parts)]

    def _linear(self, x: np.ndarray, z: np.ndarray, parts: Parts) -> Baseline:
        raise NotImplementedError


class TabularClassification(_Tabular, Classification):
    """A class for each row of a table.

    The usual model is `TableNetwork`; "linear" is one layer. Options: ``types`` overrides what columns are taken for
    (``{"zip": "category"}``); ``drop`` leaves columns out; ``groups`` names the column of what must stay together when the rows
    are parted, ``time`` that of their time; ``delimiter``, ``header``, ``encoding`` and ``ragged`` of the file.

    >>> rows = {"size": [1.0, 2.0, 3.0, 4.0] * 10, "fit": ["no", "no", "yes", "yes"] * 10}
    >>> trained = TabularClassification(target="fit", epochs=20).train(rows, verbose=0)
    >>> trained.predict({"size": 3.5})[0]["label"]
    'yes'
    """

    name = "tabular-classification"
    about = "a class for each row of a table"
    wanted = "classes"

    def fit_answers(self, training: Examples) -> Answers:
        return Classification.fit_answers(self, training)

    def _linear(self, x: np.ndarray, z: np.ndarray, parts: Parts) -> Baseline:
        answers: Any = self.answers
        y, truth = answers(parts.train.targets), answers(parts.test.targets)
        value = of_classes(logistic(x, y, len(answers.names))(z), truth, answers.names).main.value
        return Baseline("linear model", value, "logistic regression on the same columns")


class TabularRegression(_Tabular, Regression):
    """One quantity, or several, for each row of a table. Options: those of `TabularClassification`.

    >>> rows = {"size": [i / 2 for i in range(40)], "price": [3.0 * i + 1 for i in range(40)]}
    >>> trained = TabularRegression(target="price", epochs=50).train(rows, verbose=0)
    >>> 40 < trained.predict({"size": 10.0})[0]["value"] < 80
    True
    """

    name = "tabular-regression"
    about = "a quantity (or several) for each row of a table"
    wanted = "quantity"

    def fit_answers(self, training: Examples) -> Answers:
        names = training.about.get("target", {}).get("names", ())
        return Quantities.fit(training.targets, names=names)

    def _linear(self, x: np.ndarray, z: np.ndarray, parts: Parts) -> Baseline:
        answers: Any = self.answers
        said = ridge(x, answers(parts.train.targets))(z)
        value = of_quantities(answers.back(said), numbers_of(parts.test.targets), answers.names).main.value
        return Baseline("linear model", value, "ridge regression on the same columns")


_KINDS = {"classes": "classes", "quantity": "a quantity"}


def _for_files(source: Any, reading: Mapping[str, Any]) -> dict[str, Any]:
    """Options of reading, where the source is a file that has use for them."""
    import os

    memory = reading.get("memory")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, (int, float)) or memory <= 0):
        raise ValueError(f"memory={memory!r}: give a number of bytes, such as 1000000000")
    if not isinstance(source, (str, os.PathLike)):
        return {}
    of_all = ("memory",) if str(source).lower().endswith((".parquet", ".pq")) else READING
    return {k: v for k, v in reading.items() if v is not None and k in of_all}


def one_hot(preparation: TablePreparation, inputs: Any) -> np.ndarray | None:
    """Prepared rows as one array, embedded categories as ones and zeros; None where that would be very wide."""
    return one_hot_arrays(preparation(inputs), preparation.sizes())


def one_hot_arrays(x: Any, sizes: Sequence[int]) -> np.ndarray | None:
    """The same of rows that are prepared."""
    if not isinstance(x, dict):
        return x
    if sum(sizes) > 5000:
        return None
    parts = [x["numbers"]] if "numbers" in x else []
    parts += [np.eye(size, dtype=np.float32)[x["categories"][:, i]] for i, size in enumerate(sizes)]
    return np.concatenate(parts, axis=1)
