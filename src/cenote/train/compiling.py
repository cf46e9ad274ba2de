"""From what people write in ``compile`` to losses and metrics for each output; without ``compile``, from the data."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from .. import losses as loss_family
from .. import metrics as metric_family
from ..core import annotation, collecting, describe
from .objective import Output, output_names, split


def resolve_outputs(
    prediction: Any,
    target: Any,
    *,
    loss: Any,
    loss_weights: Any = None,
    metrics: Any = None,
    weighted_metrics: Any = None,
    names: list[str] | None = None,
    adds_losses: bool = False,
) -> list[Output]:
    """An `Output` for each output of a model, from the specs of a prediction and a target and what ``compile`` was told.

    ``adds_losses``: the layers add losses of their own, so that there need be no other.
    """
    found = output_names(prediction, names)
    predictions = split(prediction, found)
    targets = split(target, found)
    if found == [""]:  # its name may be written all the same: loss={"digit": "mse"}
        own = list(prediction) if isinstance(prediction, dict) else list(names or [])
        loss, loss_weights, metrics, weighted_metrics = (
            _only(given, own) for given in (loss, loss_weights, metrics, weighted_metrics)
        )
    losses = _by_name(loss, found, "loss", single=lambda v: not isinstance(v, (dict, list, tuple)))
    weights = _by_name(loss_weights, found, "loss weight", single=lambda v: isinstance(v, (int, float)))
    plain, weighted = (_metrics_by_name(m, found) for m in (metrics, weighted_metrics))
    outputs = []
    for name in found:
        chosen = None if losses[name] is None else loss_family.get(losses[name])
        if chosen is not None:
            check_targets(chosen, targets[name], predictions[name], name)
        outputs.append(
            Output(
                name,
                chosen,
                1.0 if weights[name] is None else float(weights[name]),
                *(
                    tuple(
                        metric_family.get(
                            m,
                            loss=chosen,
                            target_shape=None if targets[name] is None else targets[name].shape,
                            output_shape=predictions[name].shape,
                        )
                        for m in group[name]
                    )
                    for group in (plain, weighted)
                ),
            )
        )
    _name_apart(outputs)
    if all(out.loss is None for out in outputs) and not adds_losses:
        raise ValueError("compile was given no loss, so there is nothing to minimise: model.compile(loss='mse')")
    return outputs


def _only(given: Any, own: list[str]) -> Any:
    """What a dict says about the only output, by its name."""
    if not isinstance(given, dict) or "class" in given:
        return given
    strangers = sorted(set(given) - set(own))
    if strangers:
        known = f"is called {own[0]!r}" if own else "has no name"
        raise ValueError(f"compile names the output {strangers[0]!r}, but the model's only output {known}")
    return next(iter(given.values()), None)


def _by_name(given: Any, names: list[str], what: str, single: Any) -> dict[str, Any]:
    if given is None or (single(given) and not isinstance(given, dict)):
        return dict.fromkeys(names, given)
    if isinstance(given, dict) and "class" in given:  # one saved loss
        return dict.fromkeys(names, given)
    if isinstance(given, dict):
        strangers = set(given) - set(names)
        if strangers:
            raise ValueError(f"a {what} is given for output {sorted(strangers)[0]!r}, but the outputs are {names}")
        return {n: given.get(n) for n in names}
    if len(given) != len(names):
        several = {"loss": "losses", "list of metrics": "lists of metrics"}.get(what, f"{what}s")
        raise ValueError(f"{len(given)} {several} for {len(names)} outputs ({names}): give one each, or a dict by name")
    return dict(zip(names, given, strict=True))


def warn_of_logits(outputs: list[Output], links: Any) -> None:
    """Say so where a loss takes probabilities and the output has not gone through what makes them: it would learn badly."""
    takes_probabilities = (
        loss_family.BinaryCrossentropy,
        loss_family.CategoricalCrossentropy,
        loss_family.SparseCategoricalCrossentropy,
    )
    for out, link in zip(outputs, jax.tree.leaves(links), strict=False):
        plain = isinstance(out.loss, takes_probabilities) and not out.loss.options.get("from_logits", False)
        if plain and link == "":
            name, last = (
                type(out.loss).__name__,
                "sigmoid" if isinstance(out.loss, loss_family.BinaryCrossentropy) else "softmax",
            )
            warnings.warn(
                f"{name} takes probabilities, but {f'output {out.name!r}' if out.name else 'the output'} has not gone through "
                f"a {last}: say losses.{name}(from_logits=True), or end with activation={last!r}",
                stacklevel=5,
            )


def _name_apart(outputs: list[Output]) -> None:
    """Metrics of one name in one output get another: ``precision_1``; ``weighted_mae`` beside ``mae``, as in Keras."""
    for number, out in enumerate(outputs):
        taken, renamed = {"loss"}, []
        for metric, prefix in [*((m, "") for m in out.metrics), *((m, "weighted_") for m in out.weighted_metrics)]:
            name = metric.name if metric.name not in taken else f"{prefix}{metric.name}"
            count = 1
            while name in taken:
                name, count = f"{prefix}{metric.name}_{count}", count + 1
            taken.add(name)
            if name != metric.name:
                metric = copy.copy(metric)
                metric.name = name
            renamed.append(metric)
        several = len(out.metrics)
        outputs[number] = replace(out, metrics=tuple(renamed[:several]), weighted_metrics=tuple(renamed[several:]))


def check_names(loss: Any, *metrics: Any) -> None:
    """Look names up when they are written, so that a slip is found there and not minutes later."""
    for leaf in _names(loss):
        loss_family.get(leaf)
    for leaf in _names(list(metrics)):
        metric_family.get(leaf)


def _names(given: Any) -> list:
    if isinstance(given, dict) and "class" not in given:
        given = list(given.values())
    if isinstance(given, (list, tuple)):
        return [leaf for g in given for leaf in _names(g)]
    return [] if given is None else [given]


def _metrics_by_name(given: Any, names: list[str]) -> dict[str, list]:
    if given is None:
        return {n: [] for n in names}
    if isinstance(given, dict) and "class" not in given:
        by_name = _by_name(given, names, "metric", single=lambda v: False)
    elif isinstance(given, (list, tuple)) and any(isinstance(g, (list, tuple)) for g in given):
        by_name = _by_name(given, names, "list of metrics", single=lambda v: False)
    else:
        by_name = dict.fromkeys(names, given)
    return {n: list(v) if isinstance(v, (list, tuple)) else [] if v is None else [v] for n, v in by_name.items()}


def check_targets(loss: Any, y: Any, p: Any, name: str) -> None:
    """What can be seen wrong with targets from shapes and dtypes alone, before anything is compiled."""
    if y is None:
        raise ValueError(f"loss {loss.name!r} needs targets, but none were given: fit(x, y)")
    where = f" of output {name!r}" if name else ""
    kind = loss.name
    if kind == "sparse_categorical_crossentropy":
        if y.ndim == p.ndim and y.shape[-1] not in (1,) and y.shape == p.shape:
            raise ValueError(
                f"the targets{where} have shape {_free(y)}, one column a class, but sparse_categorical_crossentropy wants the "
                f"number of the class: use loss='categorical_crossentropy', or y.argmax(-1)"
            )
    elif kind == "categorical_crossentropy" and (y.ndim != p.ndim or y.shape[-1] != p.shape[-1]):
        raise ValueError(
            f"the targets{where} have shape {_free(y)}, but categorical_crossentropy wants one column a class like the output "
            f"{_free(p)}: use loss='sparse_categorical_crossentropy' for class numbers"
        )


def _free(spec: Any) -> tuple:
    return (None, *spec.shape[1:])


def check_labels(outputs: list[Output], prediction: Any, y: Any, what: str = "y") -> None:
    """Labels of sparse cross-entropy must be whole numbers from 0 to the number of classes - 1; says which are not."""
    names = [out.name for out in outputs]
    predictions, targets = split(prediction, names), split(y, names)
    for out in outputs:
        labels = targets[out.name]
        if out.loss is None or labels is None or isinstance(labels, np.memmap):
            continue
        if out.loss.name == "sparse_categorical_crossentropy":
            _check_classes(np.asarray(labels), predictions[out.name].shape[-1], getattr(out.loss, "ignore_class", None), what)
        elif out.loss.name == "binary_crossentropy":
            labels = np.asarray(labels)
            if labels.size and (labels.min() < 0 or labels.max() > 1):
                raise ValueError(
                    f"{what} holds {labels.min()} to {labels.max()}, but binary_crossentropy wants targets between 0 and 1: "
                    f"number the two classes 0 and 1, or use sparse_categorical_crossentropy with one output a class"
                )


def _check_classes(labels: np.ndarray, classes: int, ignored: int | None, what: str) -> None:
    if labels.dtype.kind == "f":
        odd = labels != np.floor(labels)
        if odd.any():
            raise ValueError(
                f"{what} holds the float {labels[odd].ravel()[0]:g}, but sparse_categorical_crossentropy wants whole class "
                f"numbers: for a quantity use loss='mse', for classes give integers"
            )
    bad = (labels < 0) | (labels >= classes)
    if ignored is not None:
        bad &= labels != ignored
    if bad.any():
        first = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"{what}[{first}] is the label {labels[bad].ravel()[0]:g}, but the output has {classes} classes, 0 to "
            f"{classes - 1} ({int(bad.sum())} such labels): give the last layer {int(labels.max()) + 1} units, or number the "
            f"classes from 0"
        )


# -- without compile -------------------------------------------------------------------------------------------------------


def infer(model: Any, x: Any, y: Any) -> tuple[dict[str, Any], str]:
    """Loss, optimizer and metrics for labels and outputs as they are, and a sentence that says what was chosen and why."""
    prediction, links, _ = predict_spec(model, x)
    if len(jax.tree.leaves(prediction)) > 1:
        raise ValueError("the model has several outputs, so the losses cannot be guessed: call compile(loss={name: ...})")
    if y is None:
        raise ValueError("fit was given no targets and compile no loss: fit(x, y), or fit(x, x) for an autoencoder")
    labels = np.asarray(jax.tree.leaves(y)[0])
    out, link = jax.tree.leaves(prediction)[0], jax.tree.leaves(links)[0]
    width = out.shape[-1] if len(out.shape) > 1 else 1
    whole = labels.dtype.kind in "iub" or (labels.size and bool(np.all(labels == np.floor(labels))))
    narrow = labels.ndim < len(out.shape) or labels.shape[-1] == 1
    binary = whole and labels.size and labels.min() >= 0 and labels.max() <= 1
    yes_or_no = binary and (labels.dtype.kind in "iub" or link == "sigmoid")  # quantities may happen to be 0.0 and 1.0
    said = "probabilities" if link else "logits"
    # Losses by class: from_logits belongs to the loss, and a softmax output brings its logits along anyway.
    if width > 1 and whole and narrow and labels.dtype.kind in "iub":
        loss: Any = loss_family.SparseCategoricalCrossentropy(from_logits=not link)
        why = f"whole-number labels {labels.min()} to {labels.max()}, {width} outputs taken as {said}"
        metrics = ["accuracy"]
    elif width > 1 and binary and labels.shape == (len(labels), width) and bool(np.all(labels.sum(-1) == 1)):
        loss = loss_family.CategoricalCrossentropy(from_logits=not link)
        why, metrics = f"one-hot labels of {width} classes, outputs taken as {said}", ["accuracy"]
    elif yes_or_no and (width == 1 or labels.shape[1:] == out.shape[1:]):
        loss = loss_family.BinaryCrossentropy(from_logits=not link)
        one = f"one output taken as a {'probability' if link else 'logit'}"
        why = f"labels 0 and 1, {one if width == 1 else f'{width} outputs taken as {said}'}"
        metrics = [metric_family.BinaryAccuracy(name="accuracy", threshold=0.5 if link else 0.0)]
    else:
        if _of_one(labels) != _of_one(out):
            raise ValueError(
                f"cannot guess a loss for targets {describe(labels)} and an output of shape {(None, *out.shape[1:])}: call "
                f"compile(loss=...)"
            )
        loss, why, metrics = loss_family.MeanSquaredError(), "targets are quantities", ["mae"]
    chosen = {"optimizer": "adam", "loss": loss, "metrics": metrics}
    shown = ", ".join(m if isinstance(m, str) else m.name for m in metrics)
    return chosen, f"compile was not called; chosen: loss {loss.name} ({why}), optimizer adam, metrics {shown}"


def _of_one(array: Any) -> tuple:
    """The shape of one example, without axes of size one at the end."""
    shape = tuple(array.shape[1:])
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def predict_spec(model: Any, x: Any) -> tuple[Any, Any, bool]:
    """Specs of a model's output; for each leaf what made probabilities of it ("softmax", "sigmoid", or "" for nothing); and
    whether layers add losses of their own."""
    seen: list = []

    def trace(x: Any) -> Any:
        with collecting(fresh=True) as table:
            y = model._pure(*model.arrays(), x)[0]
            seen[:] = jax.tree.map(lambda leaf: annotation(leaf, "link") or "", y), bool(table.losses)
        return y

    return jax.eval_shape(trace, x), *seen
