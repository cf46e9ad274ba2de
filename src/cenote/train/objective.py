"""What a run minimises and measures: losses and metrics of one or several outputs, summed up on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Weight, collecting, describe
from ..kernels.answers import answering

Batch = dict[str, Any]  # {"x": inputs, "y": targets or None, "w": sample weights or None}
Totals = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """One output of a model: its loss and how much it counts, its metrics, and its name in logs ("" if it is the only one)."""

    name: str
    loss: Any  # a Loss, or None for an output that is not trained
    weight: float
    metrics: tuple[Any, ...]
    weighted_metrics: tuple[Any, ...] = ()

    def label(self, quantity: str) -> str:
        return f"{self.name}_{quantity}" if self.name else quantity


class Objective:
    """Losses and metrics over a plain ``apply(params, state, x, train=, key=) -> (y, state)``.

    ``loss`` is differentiable in the params and carries the running totals along, so that a whole epoch of losses and
    metrics is added up inside the compiled program; ``compute`` turns totals into numbers.
    """

    def __init__(
        self, apply: Callable, outputs: list[Output], weights: dict[str, Weight], augment: Callable | None = None
    ) -> None:
        self.apply, self.outputs = apply, outputs
        self.augment = augment  # (batch, key) -> batch, in training
        # As in Keras, the weights of frozen layers cost nothing: nobody can change them.
        self.regularizers = {p: w.regularizer for p, w in weights.items() if w.regularizer is not None and w.trainable}
        self.adds_losses = False  # do layers add losses of their own? Known once the model was traced

    def totals(self) -> Totals:
        zero: Any = np.zeros((), np.float32)
        sums: Totals = {"loss": (zero, zero)}
        for out in self.outputs:
            if out.name and out.loss is not None:
                sums[out.label("loss")] = (zero, zero)
            for metric in (*out.metrics, *out.weighted_metrics):
                sums[out.label(metric.name)] = metric.init()
        return sums

    def loss(
        self,
        params: dict,
        state: dict,
        totals: Totals,
        batch: Batch,
        *,
        train: bool,
        key: Any = None,
        valid: Any = None,
        looking: dict | None = None,
    ) -> tuple[jax.Array, tuple[dict, Totals]]:
        """``(loss, (new_state, new_totals))``; ``valid`` (batch,) marks the rows that are not padding.

        ``looking`` goes to ``apply`` besides: an observer of layers' calls, say.
        """
        if train and self.augment is not None:
            batch = self.augment(batch, key)
        with collecting() as table:
            before = len(table.losses)
            prediction, new_state = self.apply(params, state, batch["x"], train=train, key=key, **(looking or {}))
            predictions = split(prediction, [out.name for out in self.outputs])
            targets = split(batch["y"], [out.name for out in self.outputs])
            weights = split_weights(batch.get("w"), [out.name for out in self.outputs])
            rows = _rows(prediction)
            count = jnp.float32(rows) if valid is None else valid.sum(dtype=jnp.float32)
            total = jnp.zeros((), jnp.float32)
            new: Totals = {}
            for out in self.outputs:
                y, p, w = targets[out.name], predictions[out.name], weights[out.name]
                if out.loss is not None:
                    value = reduce_loss(out.loss, y, p, w, valid)
                    total = total + out.weight * value
                    if out.name:
                        new[out.label("loss")] = _add(totals[out.label("loss")], value, count)
                for metric in out.metrics:
                    new[out.label(metric.name)] = metric.update(totals[out.label(metric.name)], y, p, _weight(None, valid))
                for metric in out.weighted_metrics:
                    new[out.label(metric.name)] = metric.update(totals[out.label(metric.name)], y, p, _weight(w, valid))
            for value in table.losses[before:]:
                self.adds_losses = True
                total = total + value
        for path, regularizer in self.regularizers.items():
            total = total + regularizer(params[path])
        new["loss"] = _add(totals["loss"], total, count)
        new = jax.lax.stop_gradient({k: new[k] for k in totals})
        return total, (new_state, new)

    def measured(self, params: dict, state: dict, totals: Totals, batch: Batch, valid: Any = None) -> Totals:
        """The totals with a batch that is only measured: no derivative will be asked for."""
        with answering():
            return self.loss(params, state, totals, batch, train=False, valid=valid)[1][1]

    def names(self) -> list[str]:
        """What is told, in Keras's order: the loss, those of the outputs, then the metrics in the order they were given."""
        losses = [out.label("loss") for out in self.outputs if out.name and out.loss is not None]
        metrics = [out.label(m.name) for out in self.outputs for m in (*out.metrics, *out.weighted_metrics)]
        return list(dict.fromkeys(["loss", *losses, *metrics]))

    def compute(self, totals: Totals) -> dict[str, jax.Array]:
        """Numbers by name: means of the losses, results of the metrics."""
        names: dict[str, Any] = {out.label(m.name): m for out in self.outputs for m in (*out.metrics, *out.weighted_metrics)}
        return {
            name: names[name].compute(value) if name in names else value[0] / jnp.maximum(value[1], 1)
            for name, value in totals.items()
        }


def augmentation(layer: Any) -> Callable[[Batch, Any], Batch]:
    """A change of batches from a layer that changes ``{"images": ..., "labels": ...}``, or the parts of inputs in a dict."""

    def change(batch: Batch, key: Any) -> Batch:
        x, y = batch["x"], batch["y"]
        given = {**(x if isinstance(x, dict) else {"images": x}), **({} if y is None else {"labels": y})}
        new = layer.apply({}, {}, given, train=True, key=jax.random.fold_in(key, 0x617567))[0]  # another key than the model's
        changed = {k: new[k] for k in x} if isinstance(x, dict) else new["images"]
        return {**batch, "x": changed, "y": new.get("labels")}

    return change


def _add(total: tuple, value: Any, count: Any) -> tuple:
    return total[0] + value.astype(jnp.float32) * count, total[1] + count


def _rows(prediction: Any) -> int:
    return jax.tree.leaves(prediction)[0].shape[0]


def _weight(w: Any, valid: Any) -> Any:
    if valid is None:
        return w
    valid = valid.astype(jnp.float32)
    return valid if w is None else w * valid.reshape(valid.shape + (1,) * (w.ndim - 1))


def reduce_loss(loss: Any, y: Any, p: Any, w: Any, valid: Any) -> jax.Array:
    """The loss of a batch as one number: the sum of weighted values, over what the loss's reduction divides by."""
    total, count = loss.totals(y, p, w, valid)
    return total if loss.reduction == "sum" else total / jnp.maximum(count, jnp.finfo(total.dtype).tiny)


def split(tree: Any, names: list[str]) -> dict[str, Any]:
    """The parts of a (nested) prediction or target by output name."""
    if names == [""]:
        leaves = jax.tree.leaves(tree)
        if len(leaves) == 1:
            return {"": leaves[0]}
        if tree is None:
            return {"": None}
        raise ValueError(f"the model has one output, but the targets are {describe(tree)}")
    if isinstance(tree, dict):
        absent = [n for n in names if n not in tree]
        if absent:
            raise ValueError(f"no target or output called {absent[0]!r}: the model's outputs are {names}, given {sorted(tree)}")
        return {n: tree[n] for n in names}
    if isinstance(tree, (list, tuple)) and len(tree) == len(names):
        return dict(zip(names, tree, strict=True))
    if tree is None:
        return dict.fromkeys(names)
    raise ValueError(
        f"the model has the outputs {names}, so it needs one target for each (a dict or a list): got {describe(tree)}"
    )


def split_weights(w: Any, names: list[str]) -> dict[str, Any]:
    """Sample weights by output: one array serves all of them."""
    if w is None or not isinstance(w, (dict, list, tuple)):
        return dict.fromkeys(names, w)
    if isinstance(w, dict) and names != [""]:
        strangers = sorted(set(w) - set(names))
        if strangers:
            raise ValueError(f"sample weights are given for output {strangers[0]!r}, but the outputs are {names}")
        return {n: w.get(n) for n in names}
    return split(w, names)


def output_names(prediction: Any, given: list[str] | None = None) -> list[str]:
    """Names of a model's outputs: its own, the keys of a dict, or ``output_0`` and so on; one output has none."""
    if isinstance(prediction, dict) and len(prediction) > 1:
        return list(prediction)
    if isinstance(prediction, (list, tuple)) and len(prediction) > 1:
        return list(given) if given and len(given) == len(prediction) else [f"output_{i}" for i in range(len(prediction))]
    return [""]
