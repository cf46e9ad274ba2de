"""Cenote and Keras, which are written the same way: only the imports differ, and how weights are put into single layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import weights

LOSSES = {
    "mse": ("MeanSquaredError", {}),
    "classes": ("SparseCategoricalCrossentropy", {"from_logits": True}),
    "bits": ("BinaryCrossentropy", {"from_logits": True}),
}
OPTIMIZERS = {"sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}), "adam": ("Adam", {})}


class Recorded:
    """``keras.layers``, and all layers that were made of it, in that order."""

    def __init__(self, layers: Any) -> None:
        self.layers, self.made = layers, []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.layers, name)
        if not isinstance(found, type):
            return found

        def make(*args: Any, **options: Any) -> Any:
            self.made.append(found(*args, **options))
            return self.made[-1]

        return make


class Framework:
    def __init__(self, name: str, workload: Any) -> None:
        if name == "cenote":
            import cenote as keras
        else:
            import keras
        self.keras, self.workload, self.ours = keras, workload, name == "cenote"
        self.version = keras.__version__
        self.x, self.y = workload.data()
        self.model: Any = None
        self.recorded: list = []
        self.first: list[np.ndarray] | None = None

    # -- training ----------------------------------------------------------------------------------------------------------

    def built(self, *, dropout: bool) -> tuple[Any, list]:
        layers = Recorded(self.keras.layers)
        model = self.workload.keras(self.keras, layers, dropout)
        self.compile(model)
        self.fill(model, layers.made)
        return model, layers.made

    def compile(self, model: Any) -> None:
        loss, options = LOSSES[self.workload.LOSS]
        optimizer, more = OPTIMIZERS[self.workload.OPTIMIZER]
        model.compile(
            optimizer=getattr(self.keras.optimizers, optimizer)(learning_rate=self.workload.RATE, **more),
            loss=getattr(self.keras.losses, loss)(**options),
            metrics=["accuracy"] if self.workload.LOSS == "classes" else [],
        )

    def fill(self, model: Any, made: list) -> None:
        """Put the drawn weights in, layer after layer in the order in which they were made."""
        if self.ours:
            model.build(self.x[:1])
            holders = [model]  # its weights are in that order
        else:
            holders = [layer for layer in made if layer.weights and "Dropout" not in type(layer).__name__]
        if self.first is None:
            self.first = weights.drawn([w for holder in holders for w in holder.get_weights()])
        rest = list(self.first)
        for holder in holders:
            count = len(holder.get_weights())
            holder.set_weights(rest[:count])
            del rest[:count]

    def check(self) -> list[float]:
        rows, epochs = self.workload.CHECK
        self.model, self.recorded = self.built(dropout=False)
        x, y = self.x[:rows], self.y[:rows]
        losses = self.model.fit(x, y, batch_size=self.workload.BATCH, epochs=epochs, shuffle=False, verbose=0).history["loss"]
        return [float(losses[0]), float(losses[-1])]

    def begin(self) -> bool:
        """The model that is timed: whether it is another one, since the check was without its dropout."""
        layers = Recorded(self.keras.layers)
        self.workload.keras(self.keras, layers, True)
        fresh = any("Dropout" in type(layer).__name__ for layer in layers.made)
        if fresh:
            self.model, self.recorded = self.built(dropout=True)
        return fresh

    def train(self, epochs: int) -> float:
        history = self.model.fit(self.x, self.y, batch_size=self.workload.BATCH, epochs=epochs, verbose=0)
        return float(history.history["loss"][-1])

    def restore(self) -> None:
        self.fill(self.model, self.recorded)

    # -- prediction --------------------------------------------------------------------------------------------------------

    def given(self, rows: int) -> np.ndarray:
        return np.ascontiguousarray(np.resize(self.x, (rows, *self.x.shape[1:])))

    def ways(self) -> dict[str, Any]:
        model = self.model
        found = {"predict": lambda x: model.predict(x, batch_size=len(x), verbose=0)}
        if not self.ours:
            found["predict_on_batch"] = model.predict_on_batch
        elif hasattr(model, "compiled"):
            handles = {}

            def compiled(x: np.ndarray) -> np.ndarray:
                if len(x) not in handles:
                    handles[len(x)] = model.compiled(x)
                return handles[len(x)](x)

            found["compiled"] = compiled
        return found

    # -- growth ------------------------------------------------------------------------------------------------------------

    def grown(self, rows: int, batch: int, width: int, epochs: int) -> Any:
        layers = self.keras.layers
        parts = [layers.Flatten(), layers.Dense(width, activation="relu"), layers.Dropout(0.2), layers.Dense(10)]
        model = self.keras.Sequential([self.keras.Input((28, 28)), *parts])
        self.compile(model)
        x, y = self.x[:rows], self.y[:rows]
        return lambda: model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)
