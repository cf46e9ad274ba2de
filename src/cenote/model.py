"""Model: the verbs compile, fit, evaluate, predict, save; each a few lines that call a package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from . import optimizers
from .built import Built
from .core import Module, declared, members
from .core.errors import unknown
from .core.tree import spec_of
from .data.feed import Resident, as_feed, background_of, hold_out, is_iterable_of_batches
from .train import Checkpoints, History, Plan, Trainer, TrainState, evaluate, fit
from .train.callbacks import Callback, Progress
from .train.compiling import check_labels, check_names, infer, predict_spec, resolve_outputs, warn_of_logits
from .train.objective import augmentation
from .train.predict import predict
from .train.step import trained_names

if TYPE_CHECKING:
    from .serving import Compiled

_PRECISIONS = {"float32": None, "mixed_bfloat16": jnp.bfloat16}
_default_seed = 0


def set_seed(seed: int) -> None:
    """The seed of every model that is compiled without one, for start values, the order of the data and dropout."""
    global _default_seed
    _default_seed = int(seed)


class Model(Built):
    """A network with verbs: subclass it and write ``forward``, or give it nodes: ``Model(inputs, outputs)``.

    >>> import numpy as np
    >>> from cenote import layers
    >>> class Line(Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = layers.Dense(1)
    ...     def forward(self, x):
    ...         return self.dense(x)
    >>> model = Line()
    >>> model.compile(optimizer="sgd", loss="mse")
    >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=2, verbose=0)
    >>> model.predict(np.ones((3, 2))).shape
    (3, 1)
    """

    stop_training = False
    history: History | None = None  # of the last fit, however it ended
    background: Any = None  # some training rows (or their mean), as `explain` compares with
    _compiled: dict[str, Any] | None
    _trainer: Trainer | None
    _kept: TrainState | None  # optimizer state and step, kept between calls
    _predictors: dict[Any, Any]
    _outputs_seen: dict[Any, Any]
    _shown: dict[str, Any]  # the arrays that the engine last saw or put here: others are the user's doing
    _rates_seen: int  # at which count of learning rates set to the optimizer its state was last looked at
    _schedule_seen: Any
    _augment: Any  # the layer that changes batches in training
    _frozen_seen: frozenset[str]
    _trainer_seen: int  # at which count of changes to modules the trainer was last looked at

    _bookkeeping = Built._bookkeeping | {
        *("stop_training", "history", "background", "_compiled", "_trainer", "_kept", "_predictors", "_outputs_seen"),
        *("_trainer_seen", "_shown", "_rates_seen", "_schedule_seen", "_augment", "_frozen_seen"),
    }

    def __new__(cls, *args: Any, **kwargs: Any):
        kind: Any = cls
        if cls is Model and (args or "inputs" in kwargs):
            from .networks import Functional as kind
        self: Any = super().__new__(kind, *args, **kwargs)
        self._compiled = self._trainer = self._kept = self._schedule_seen = self._augment = None
        self._predictors, self._outputs_seen, self._shown = {}, {}, {}
        self._frozen_seen = frozenset()
        self._trainer_seen = self._rates_seen = -1
        return self

    # -- compile -----------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        *,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        precision: str = "float32",
        seed: int | None = None,
        **keras: Any,
    ) -> None:
        """Say what to minimise, how, and what to measure; names, objects and functions as in Keras.

        ``precision="mixed_bfloat16"`` computes in bfloat16 and keeps the weights in float32. ``seed`` fixes start values, the
        order of the data and dropout (0 unless `set_seed` said otherwise).
        """
        for option in keras:
            if option not in _IGNORED:
                raise unknown("argument of compile", option, [*_IGNORED, "optimizer", "loss", "metrics", "precision", "seed"])
        if precision not in _PRECISIONS:
            raise unknown("precision", precision, _PRECISIONS)
        self._compiled = {
            "optimizer": optimizers.get(optimizer),
            "loss": loss,
            "metrics": metrics,
            "loss_weights": loss_weights,
            "weighted_metrics": weighted_metrics,
            "precision": precision,
            "seed": seed,
        }
        check_names(loss, metrics, weighted_metrics)
        self._forget()
        self._kept = None

    @property
    def _seed(self) -> int:
        seed = (self._compiled or {}).get("seed")
        return _default_seed if seed is None else seed

    def _forget(self) -> None:
        """Drop compiled programs: the model, its objective or what is frozen has changed."""
        super()._forget()
        self._trainer = None
        self._predictors, self._outputs_seen = {}, {}

    def _replaced(self) -> None:
        super()._replaced()
        self._kept = None

    def _cloned(self) -> None:
        super()._cloned()
        self._kept = None

    @property
    def optimizer(self) -> Any:
        if self._compiled is None:
            raise ValueError("the model is not compiled: call compile(optimizer=..., loss=...)")
        return self._compiled["optimizer"]

    def _prepare(self, x: Any, y: Any, labels: Any = None, *, check: bool = True, augment: Any = None) -> Trainer:
        """The trainer for batches like ``x``, ``y``; builds the model and infers the objective where that was not done.

        ``labels`` are all targets, where there are more than those of the batch: one batch may look like another problem.
        """
        if self._spec is None:
            self.build(_batch_spec(x))
        elif self._places_seen != Module._changes:
            self._look_again(*self._spread(_batch_spec(x)))
        if self._compiled is None:
            chosen, said = infer(self, x, y if labels is None else labels)
            self.compile(**chosen)
            print(said)
        assert self._compiled is not None
        old = self._trainer if self._trainer_seen != Module._changes else None
        if self._trainer_seen != Module._changes:
            frozen = frozenset(path for path, layer in members(self).items() if not layer.trainable)
            if old is not None and trained_names(old.weights) != trained_names(declared(self)):
                self._trainer = self._kept = None
            elif frozen != self._frozen_seen:  # batch statistics, say, stay as they are in a frozen layer
                self._trainer = None
            self._frozen_seen = frozen
        rate = getattr(self.optimizer, "learning_rate", None)
        schedule = rate if callable(rate) else None
        if schedule is not self._schedule_seen:  # a schedule is part of the compiled step, a number is not
            self._trainer, self._schedule_seen = None, schedule
        if augment is not self._augment:
            self._trainer, self._augment = None, augment
        if self._trainer is None:
            change = None if augment is None else augmentation(augment)
            self._trainer = Trainer(self._pure, self._outputs_for(x, y), self.optimizer, declared(self), change)
        self._trainer_seen = Module._changes
        if check:
            check_labels(self._trainer.objective.outputs, self._prediction(x), y)
        return self._trainer

    def _outputs_for(self, x: Any, y: Any) -> Any:
        c = self._compiled
        assert c is not None
        target = None if y is None else spec_of(y)
        prediction, links, adds_losses = self._seen(x)
        outputs = resolve_outputs(
            prediction,
            target,
            loss=c["loss"],
            loss_weights=c["loss_weights"],
            metrics=c["metrics"],
            weighted_metrics=c["weighted_metrics"],
            names=self.output_names,
            adds_losses=adds_losses,
        )
        warn_of_logits(outputs, links)
        return outputs

    def _prediction(self, x: Any) -> Any:
        """Specs of the outputs for inputs like x."""
        return self._seen(x)[0]

    def _seen(self, x: Any) -> tuple[Any, Any, bool]:
        """What `predict_spec` finds for inputs like x."""
        leaves, structure = jax.tree.flatten(x)
        key = (structure, *((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
        if key not in self._outputs_seen:
            self._outputs_seen[key] = predict_spec(self, spec_of(x))
        return self._outputs_seen[key]

    def _pure(self, params: dict, state: dict, x: Any, *, train: bool = False, key: Any = None, **looking: Any) -> Any:
        dtype = _PRECISIONS[(self._compiled or {}).get("precision", "float32")]
        return self.apply(params, state, *self._spread(x), train=train, key=key, dtype=dtype, **looking)

    # -- train, evaluate, apply --------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callback | Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
        *,
        augment: Any = None,
        checkpoint: str | os.PathLike | Checkpoints | None = None,
    ) -> History:
        """Train for ``epochs`` over the data; Keras's arguments, and ``checkpoint=folder`` to survive a crash.

        ``x`` is an array, a frame, a list, a dict or tuple of them, or an iterable of batches ``(x, y)``; ``y`` may name a
        column of a frame. ``augment`` is a layer that changes inputs and labels at random in training, such as
        ``layers.RandomFlip()`` or ``layers.MixUp()``; it is compiled into the step. With ``checkpoint`` the same call made
        again goes on where the last one stopped, to the bit. Ctrl-C stops at the end of the current chunk, keeps what was
        learned, and raises KeyboardInterrupt.

        Raises: ValueError or TypeError for data that does not fit, saying what came in and what to do; FloatingPointError
        when the loss is no longer finite.
        """
        if x is None:
            raise ValueError("fit needs data: fit(x, y)")
        x, y = self._ready(x, y)
        if epochs < 0 or initial_epoch < 0:
            raise ValueError(f"epochs and initial_epoch must not be negative, got {epochs} and {initial_epoch}")
        own = validation_data is not None
        x, y, sample_weight, validation_data = hold_out(
            x, y, sample_weight, validation_data, validation_split, inputs=self._input_count, outputs=self._output_count
        )
        whole = getattr((self._compiled or {}).get("optimizer"), "full_batch", False)
        feed = as_feed(
            x,
            y,
            sample_weight,
            batch_size=1 << 62 if whole and batch_size is None else batch_size,
            class_weight=class_weight,
            steps=steps_per_epoch,
            inputs=self._input_count,
            outputs=self._output_count,
            seed=self._seed,
            shuffle=shuffle,
        )
        if isinstance(feed, Resident) and batch_size is not None and batch_size > feed.count:
            print(f"batch_size={batch_size} is larger than the data: each step takes all {feed.count} examples")
        self._places_seen = -1  # look again: a list of layers may have been changed in place, which nobody notices
        example = feed.example()
        labels = feed.data["y"] if isinstance(feed, Resident) else example["y"]
        self.background = background_of(feed.data["x"] if isinstance(feed, Resident) else example["x"])
        trainer = self._prepare(example["x"], example["y"], labels, check=False, augment=augment)
        if isinstance(feed, Resident):
            check_labels(trainer.objective.outputs, self._prediction(example["x"]), feed.data["y"])
        validation = None
        if validation_data is not None:
            validation = self._validation_feed(validation_data, validation_batch_size, validation_steps, held_out=not own)
            if isinstance(validation, Resident):
                check_labels(trainer.objective.outputs, self._prediction(example["x"]), validation.data["y"], "validation y")
        plan = Plan(
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=shuffle,
            seed=self._seed,
            steps=steps_per_epoch,
            validation=validation,
            validation_freq=validation_freq,
            validation_steps=validation_steps,
            checkpoints=Checkpoints(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else checkpoint,
            tells=verbose not in (0, "0"),
        )
        self.stop_training = False
        shown = Progress(verbose)
        watchers = [callbacks, shown] if shown.verbose else [callbacks]
        start = trainer.own(self._start(trainer))
        try:
            outside = {"publish": partial(self._publish, trainer), "listen": partial(self._listen, trainer)}
            return fit(trainer, start, feed, plan, watchers, model=self, **outside).history
        finally:
            self._take_rate()

    def _take_rate(self) -> None:
        """A rate that callbacks have changed is the optimizer's from now on: it is shown, and saved."""
        rate = getattr(self.optimizer, "learning_rate", None)
        state = self._kept.opt_state if self._kept is not None else None
        if isinstance(rate, float) and isinstance(state, dict) and "learning_rate" in state:
            found = float(state["learning_rate"])
            if np.float32(rate) != np.float32(found):
                self.optimizer.learning_rate = found
                self._rates_seen = getattr(self.optimizer, "_rates_set", 0)

    def _start(self, trainer: Trainer) -> TrainState:
        """The state to go on from: the model's weights, and the optimizer's memory of earlier calls."""
        params, state = self.arrays()
        self._shown = {**params, **state}
        if self._kept is None:
            self._rates_seen = getattr(self.optimizer, "_rates_set", 0)
            return trainer.start(params, state, self._seed)
        return self._with_new_rate(self._kept.with_arrays(params, state))

    def _with_new_rate(self, run: TrainState) -> TrainState:
        """The learning rate that was set since (``model.optimizer.learning_rate = 1e-4``) goes into the optimizer's state."""
        rate, rates_set = getattr(self.optimizer, "learning_rate", None), getattr(self.optimizer, "_rates_set", 0)
        if rates_set == self._rates_seen:
            return run
        self._rates_seen = rates_set
        return (
            run
            if callable(rate)
            else replace(run, opt_state={**run.opt_state, "learning_rate": jax.device_put(np.float32(rate))})
        )

    def _listen(self, trainer: Trainer, run: Any) -> None:
        """Weights and a learning rate that callbacks set on the model go into the run."""
        params, state = self.arrays()
        changed = {k: v for k, v in {**params, **state}.items() if v is not self._shown.get(k)}
        if changed:
            own = {**run.state.params, **run.state.state, **trainer.own(changed)}
            run.state = run.state.with_arrays({k: own[k] for k in params}, {k: own[k] for k in state})
            self._shown = self._shown | changed
        run.state = self._with_new_rate(run.state)

    def _publish(self, trainer: Trainer, run: Any) -> None:
        """Put the run's weights into the model, in arrays that the next step leaves alone."""
        kept: TrainState = trainer.own(run.state)
        self._kept = kept
        self._shown = {**kept.params, **kept.state}
        self._put(self._shown)

    def _validation_feed(self, data: Any, batch_size: int | None, steps: int | None, *, held_out: bool) -> Any:
        if is_iterable_of_batches(data):
            data, _ = self._ready(data)
            return as_feed(data, steps=steps, inputs=self._input_count, outputs=self._output_count)
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ValueError("validation_data must be (x, y), (x, y, sample_weight) or an iterable of batches")
        if not held_out:
            data = (*self._ready(*data[:2]), *data[2:])
        return as_feed(*data, batch_size=batch_size or 256, inputs=self._input_count, outputs=self._output_count)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over data, without dropout: ``[loss, metric, ...]`` (a number if there is no metric), or a dict."""
        if x is None:
            raise ValueError("evaluate needs data: evaluate(x, y)")
        x, y = self._ready(x, y)
        feed = as_feed(
            x,
            y,
            sample_weight,
            batch_size=batch_size or 256,
            steps=steps,
            inputs=self._input_count,
            outputs=self._output_count,
        )
        self._places_seen = -1  # as in fit
        example = feed.example()
        self._require_built("evaluated")
        trainer = self._prepare(example["x"], example["y"], check=False, augment=self._augment)
        if isinstance(feed, Resident):
            check_labels(trainer.objective.outputs, self._prediction(example["x"]), feed.data["y"])
        progress = Progress(verbose)
        for callback in _list(callbacks):
            callback.set_model(self)
            callback.on_test_begin()
        params, state = self.arrays()
        logs = evaluate(trainer, params, state, feed, steps=steps)
        progress.evaluated(logs, feed.count)
        for callback in _list(callbacks):
            callback.on_test_end(logs)
        return logs if return_dict else _keras_result(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The model's outputs for data, as numpy arrays in the form of the output."""
        self._require_built("used to predict")
        for callback in _list(callbacks):
            callback.set_model(self)
            callback.on_predict_begin()
        y = predict(self, self._ready(x)[0], batch_size=batch_size, steps=steps)
        for callback in _list(callbacks):
            callback.on_predict_end()
        return y

    def compiled(self, spec: Any = None) -> Compiled:
        """The model as it is now, compiled ahead for inputs of one shape: for serving, where each microsecond counts.

        ``spec`` is an example input, a shape with the number of rows (of the dtype that the model was built for), or
        `jax.ShapeDtypeStruct`s; several inputs are a tuple or dict of those. Without it: one row. Later training does not reach
        the handle. Raises: ValueError for a shape with unknown sizes, or that does not fit the model.

        >>> import numpy as np
        >>> from cenote import Sequential, layers
        >>> serve = Sequential([layers.Dense(2, input_shape=(3,))]).compiled((4, 3))
        >>> serve, serve(np.zeros((4, 3), "float32"))[0].tolist()
        (Compiled(float32[4, 3] -> float32[4, 2]), [0.0, 0.0])
        """
        from .serving import compiled

        self._require_built("compiled")
        return compiled(self, spec)

    def explain(self, x: Any, method: str = "auto", **options: Any) -> Any:
        """Why the model answered as it did for ``x``: see `cenote.explain.explain`, which takes the same arguments."""
        from .explain import explain

        return explain(self, x, method, **options)

    def _require_built(self, what: str) -> None:
        self.arrays()
        if self._spec is None and not self.built:
            raise ValueError(
                f"the model has no weights yet, so it cannot be {what}: call fit, or build(x) with an example input"
            )

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One optimizer step on one batch: the loss, ``[loss, metric, ...]``, or a dict."""
        batch = self._one_batch(x, y, sample_weight, class_weight)
        trainer = self._prepare(batch["x"], batch["y"])
        run, totals = trainer.one_kept(self._start(trainer), trainer.new_totals(), batch)
        self._kept = run
        self._put({**run.params, **run.state})
        logs = trainer.logs(totals)
        return logs if return_dict else _keras_result(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, without training."""
        batch = self._one_batch(x, y, sample_weight, None)
        self._require_built("tested")
        trainer = self._prepare(batch["x"], batch["y"], augment=self._augment)
        logs = trainer.logs(trainer.evaluate_one(*self.arrays(), trainer.new_totals(), batch))
        return logs if return_dict else _keras_result(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch."""
        return self.predict(x)

    def _one_batch(self, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> Any:
        x, y = self._ready(x, y)
        feed = as_feed(
            x,
            y,
            sample_weight,
            batch_size=1 << 62,
            class_weight=class_weight,
            inputs=self._input_count,
            outputs=self._output_count,
        )
        return feed.data if isinstance(feed, Resident) else feed.example()


_IGNORED = {
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
    "auto_scale_loss",
}  # Keras's knobs that have no meaning here


def _batch_spec(batch: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), batch)


def _list(callbacks: Any) -> list:
    return [] if callbacks is None else [callbacks] if isinstance(callbacks, Callback) else list(callbacks)


def _keras_result(logs: dict[str, float]) -> Any:
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
