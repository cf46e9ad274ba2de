"""The training loop: epochs, chunks, validation, callbacks, checkpoints. Works on any Trainer, with or without a Model."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ..core import memory
from ..data.feed import Resident, Stream
from .callbacks import CallbackList, TerminateOnNaN
from .checkpoint import Checkpoints
from .epoch import epoch_order, epoch_orders, gathered, on_device, padded_order, room, room_of_steps, with_room
from .run import Run, interrupts
from .state import TrainState
from .step import finished
from .trainer import Trainer

CHUNK_SECONDS = 0.1  # how often the host hears from the device
FEWEST_EPOCHS, MOST_EPOCHS, MOST_ROWS = 256, 1024, 1 << 20  # in one program, and the examples that they may go through
FIRST_CHUNK = 16  # steps of the first chunk, before its speed is known


@dataclass(frozen=True)
class Plan:
    """How long and in which order to train, and what to do beside it."""

    epochs: int = 1
    initial_epoch: int = 0
    shuffle: bool = True
    seed: int = 0
    steps: int | None = None  # per epoch; None: all of the data
    validation: Resident | Stream | None = None
    validation_freq: int | Iterable[int] = 1
    validation_steps: int | None = None
    checkpoints: Checkpoints | None = None
    tells: bool = False  # whether to print what the checkpoints did at the start

    def validates(self, epoch: int) -> bool:
        if self.validation is None:
            return False
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in set(self.validation_freq)


def fit(
    trainer: Trainer,
    state: TrainState,
    feed: Resident | Stream,
    plan: Plan,
    callbacks: Any = (),
    *,
    model: Any = None,
    publish: Callable[[Run], None] = lambda run: None,
    listen: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Train from ``state`` over ``feed`` as ``plan`` says; the Run that comes back holds the last state and the history.

    ``publish(run)`` is called when somebody outside may look at the weights: at epoch ends if there are users' callbacks, and
    when the run ends, however it ends. ``listen(run)`` is called when users' callbacks may have changed something outside that
    the run shall take up: weights, the learning rate.
    """
    run = Run(state, plan.epochs, model, plan.initial_epoch, 0, plan.steps or feed.steps, feed.batch_size)
    run.validation_freq = plan.validation_freq
    if model is not None:
        model.history = run.history  # there after an interruption, too
    with memory.kept(), CallbackList(callbacks, run) as hooks, interrupts(run):
        plan = replace(plan, checkpoints=hooks.checkpoints(plan.checkpoints))  # a BackupAndRestore brings its own
        loop = _Loop(trainer, feed, plan, run, hooks, publish, listen)
        if plan.checkpoints is not None:
            plan.checkpoints.begin(run, hooks, trainer, feed, plan)
            for note in plan.checkpoints.notes if plan.tells else ():
                print(note)
        hooks.on_train_begin()
        loop.take_up()
        try:
            while run.epoch < plan.epochs and not run.stopping:
                loop.short_epochs() if loop.runs_several() else loop.epoch()
        finally:
            loop.publish()
        if plan.checkpoints is not None and run.interrupted:
            # Before early stopping puts the best weights back: a resumed run goes on from here.
            plan.checkpoints.end(run, hooks)
        if not run.interrupted:
            run.state = finished(trainer.optimizer, run.state)
        hooks.on_train_end(run.history.records[-1] if run.history.records else None)
        loop.take_up()
        loop.publish()
        if plan.checkpoints is not None and not run.interrupted:
            plan.checkpoints.end(run, hooks)
    if run.interrupted:
        raise KeyboardInterrupt(
            f"stopped by Ctrl-C in epoch {run.epoch + 1} after {int(run.state.step)} steps; the model keeps what it has learned"
        )
    return run


class _Loop:
    """The pieces of `fit` that share its variables."""

    def __init__(
        self, trainer: Trainer, feed: Any, plan: Plan, run: Run, hooks: CallbackList, publish: Callable, listen: Callable
    ) -> None:
        self.trainer, self.feed, self.plan = trainer, feed, plan
        self.run, self.hooks, self.tell, self.listen = run, hooks, publish, listen
        self.told: Any = None  # the state that was last published
        self.stepwise = hooks.overrides_batches  # then Python hears of every step
        self.forgives_nan = any(isinstance(c, TerminateOnNaN) for c in hooks)
        shapes = tuple(a.shape[1:] for a in jax.tree.leaves(feed.data)) if isinstance(feed, Resident) else ()
        self.step_key, self.epoch_key = ("step", feed.batch_size, shapes), ("epoch", feed.batch_size, shapes, feed.count)
        known = trainer.paces.get(self.step_key)
        self.length, self.warm = FIRST_CHUNK if known is None else max(1, int(CHUNK_SECONDS / known)), False
        self.epoch_seconds, self.warm_epochs = trainer.paces.get(self.epoch_key, math.inf), False
        self.unheard, self.heard = 0, 0.0  # steps that the host has not heard of, and when it last did
        self.data = on_device(feed.data) if isinstance(feed, Resident) else None

    def publish(self) -> None:
        """Show the run to those outside, unless they have seen it."""
        if self.run.state is not self.told:
            self.tell(self.run)
            self.told = self.run.state

    def take_up(self) -> None:
        """After callbacks: what they changed outside the run."""
        if self.hooks.watches_model:
            self.listen(self.run)

    def epoch(self) -> None:
        run, plan = self.run, self.plan
        began, warm = time.perf_counter(), self.warm
        self.hooks.on_epoch_begin(run.epoch)
        self.take_up()
        safe = self.trainer.own((run.state.params, run.state.state))
        if run.totals is None:
            run.totals = self.trainer.new_totals()
        try:
            self._resident() if isinstance(self.feed, Resident) else self._stream()
        except FloatingPointError:
            self._undo(safe)
            raise
        if run.interrupted:
            return
        logs = self.trainer.logs(run.totals)
        if plan.validates(run.epoch):
            assert plan.validation is not None
            self.hooks.on_test_begin()
            found = evaluate(self.trainer, run.state.params, run.state.state, plan.validation, steps=plan.validation_steps)
            logs |= {f"val_{k}": v for k, v in found.items()}
            self.hooks.on_test_end(found)
            # The last step of the epoch may have spoiled the weights.
            if not math.isfinite(found["loss"]) and not self.forgives_nan:
                error = self._nan_text(found["loss"], run.learning_rate).replace(
                    "the loss became", "the validation loss became", 1
                )
                self._undo(safe)
                raise FloatingPointError(error)
        run.history.add(run, logs)
        if self.hooks.watches_model:
            self.publish()
        self.hooks.on_epoch_end(run.epoch, logs)
        self.take_up()
        run.history.amend(logs)  # with what callbacks have added
        run.epoch, run.position, run.totals = run.epoch + 1, 0, None
        if warm:
            self.epoch_seconds = time.perf_counter() - began
        if plan.checkpoints is not None:
            plan.checkpoints.epoch_ended(run, self.hooks, logs)

    def runs_several(self) -> bool:
        """Whether to run several epochs in one program: they are short, and nobody waits for the end of each."""
        plan, feed = self.plan, self.feed
        return (
            isinstance(feed, Resident)
            and self.epoch_seconds < CHUNK_SECONDS / 10
            and self.run.position == 0
            and self.run.epochs - self.run.epoch > 1
            and plan.validation is None
            and plan.steps is None
            and plan.checkpoints is None
            and feed.count <= MOST_ROWS // FEWEST_EPOCHS
            and not self.hooks.decide
            and self.fuses
        )

    def _undo(self, safe: tuple) -> None:
        """Back to the weights of before; the optimizer's memory is spoiled, too: it starts anew, at the rate that it had."""
        run, (params, state) = self.run, safe
        slots, spoiled = self.trainer.start(params, state, run.state.key).opt_state, run.state.opt_state
        if isinstance(spoiled, dict) and "learning_rate" in spoiled:
            slots = {**slots, "learning_rate": spoiled["learning_rate"]}
        run.state = replace(run.state.with_arrays(params, state), opt_state=slots)

    def short_epochs(self) -> None:
        """As many epochs as take about `CHUNK_SECONDS`, in one call; then what each recorded is passed on in order."""
        run, feed, plan = self.run, self.feed, self.plan
        most = min(MOST_EPOCHS, MOST_ROWS // feed.count)  # always the same, so that one compilation serves every number
        count = min(most, run.epochs - run.epoch, max(1, int(CHUNK_SECONDS / self.epoch_seconds)))
        epochs = range(run.epoch, run.epoch + count)
        orders = epoch_orders(most, epochs, feed.count, feed.batch_size, seed=plan.seed, shuffle=plan.shuffle)
        began = time.perf_counter()
        first, before = int(run.state.step), run.state
        run.state, numbers = self.trainer.epochs(run.state, self.data, *orders, count)
        columns = {k: np.asarray(v)[:count].tolist() for k, v in numbers.items()}
        if self.warm_epochs:
            self.epoch_seconds = max((time.perf_counter() - began) / count, 1e-6)
        self.warm_epochs = True
        self.trainer.paces[self.epoch_key] = self.epoch_seconds  # not before the program is there: it takes some epochs to pay
        rates = columns.pop(" learning_rate", [float("nan")] * count)
        if not self.hooks.hears_epochs and (self.forgives_nan or all(map(math.isfinite, columns["loss"]))):
            steps = [first + (i + 1) * feed.steps for i in range(count)]
            examples = [run.examples + (i + 1) * feed.count for i in range(count)]
            columns = {name: columns[name] for name in self.trainer.objective.names()}
            run.history.add_several(run, columns, steps, examples, rates)
            run.epoch, run.position, run.examples = run.epoch + count, 0, examples[-1]
            return
        for i in range(count):
            logs = {name: columns[name][i] for name in self.trainer.objective.names()}
            run.position, run.examples = feed.steps, run.examples + feed.count
            if not math.isfinite(logs["loss"]) and not self.forgives_nan:
                run.state = self.trainer.epochs(before, self.data, *orders, i)[0]  # the epochs before it once more
                raise FloatingPointError(self._nan_text(logs["loss"], rates[i]))
            self.hooks.on_epoch_begin(run.epoch)
            run.history.add(run, logs, step=first + (i + 1) * feed.steps, learning_rate=rates[i])
            self.hooks.on_epoch_end(run.epoch, logs)
            run.history.amend(logs)
            run.epoch, run.position = run.epoch + 1, 0

    def _resident(self) -> None:
        run, feed = self.run, self.feed
        full, tail = epoch_order(feed.count, feed.batch_size, seed=self.plan.seed, epoch=run.epoch, shuffle=self.plan.shuffle)
        assert run.steps is not None
        if run.steps > feed.steps:
            raise ValueError(f"steps_per_epoch={run.steps}, but the data gives {feed.steps} batches of {feed.batch_size}")
        full = full[: run.steps]
        if len(full):
            self._fused(full) if self.fuses else self._one_by_one(full)
        if len(tail) and run.position == len(full) < run.steps and not run.stopping:
            self._step(gathered(feed.data, tail), len(tail))

    @cached_property
    def fuses(self) -> bool:
        """Whether steps run in one compiled loop; finding out traces the program that the first chunk then uses."""
        run, trainer, feed = self.run, self.trainer, self.feed
        totals = run.totals if run.totals is not None else trainer.new_totals()
        assert run.steps is not None
        steps = room_of_steps(min(run.steps, feed.count // feed.batch_size))
        order = jax.ShapeDtypeStruct((steps, feed.batch_size), np.int32)
        return trainer.fuses(trainer.chunk, run.state, totals, self.data, order, 0, 0)

    def _fused(self, full: Any) -> None:
        run, trainer = self.run, self.trainer
        order = with_room(full)
        while run.position < len(full) and not run.stopping:
            start = run.position
            stop = min(start + self._chunk_length(), len(full))
            began = time.perf_counter()
            if self.stepwise:
                self.hooks.on_train_batch_begin(start)
                self.take_up()
            run.state, run.totals = trainer.chunk(run.state, run.totals, self.data, order, start, stop)
            self._after(stop - start, (stop - start) * full.shape[1])
            self._pace(stop - start, time.perf_counter() - began)

    def _one_by_one(self, full: Any) -> None:
        for rows in full[self.run.position :]:
            if self.run.stopping:
                return
            self._step(gathered(self.feed.data, rows), len(rows))

    def _stream(self) -> None:
        run = self.run
        batches = self.feed.prefetched(run.epoch, run.position)
        left = None if run.steps is None else run.steps - run.position
        for batch in itertools.islice(batches, left):
            self._step(jax.tree.map(jax.device_put, batch), len(jax.tree.leaves(batch["x"])[0]))
            if run.stopping:
                return
        if run.position == 0:
            raise ValueError(
                f"the data gave no batch in epoch {run.epoch + 1}: a generator runs dry after one pass; give an iterable that "
                f"can be started again (a DataLoader, an object with __iter__), or an endless generator and steps_per_epoch"
            )
        if run.steps is None:
            run.steps = run.position
            if self.unheard:
                self.unheard, self.heard = 0, time.perf_counter()
                self._after(0, 0)

    def _step(self, batch: Any, rows: int) -> None:
        if self.stepwise:
            self.hooks.on_train_batch_begin(self.run.position)
            self.take_up()
        now = time.perf_counter()
        run = self.run
        run.state, run.totals = self.trainer.one(run.state, run.totals, batch)
        self.unheard += 1
        last = run.steps is not None and run.position + 1 >= run.steps
        # Reading the totals waits for the device: do it about ten times a second, not after each step.
        if last or (self.hooks.due() or math.inf) <= self.unheard or self.stepwise or now - self.heard > CHUNK_SECONDS:
            self.unheard, self.heard = 0, now
            self._after(1, rows)
        else:
            run.position += 1
            run.examples += rows

    def _chunk_length(self) -> int:
        """Steps until the host must hear: one if callbacks follow each, less than usual if one wants to be called."""
        return 1 if self.stepwise else min(self.length, self.hooks.due() or self.length)

    def _after(self, steps: int, rows: int) -> None:
        """What the host does when it hears from the device."""
        run = self.run
        run.position += steps
        run.examples += rows
        assert run.totals is not None
        logs = self.trainer.logs(run.totals)
        if not math.isfinite(logs["loss"]) and not self.forgives_nan:
            raise FloatingPointError(self._nan_text(logs["loss"], run.learning_rate))
        run.history.note(run, logs)
        if (self.stepwise and self.hooks.watches_model) or self.hooks.watches_chunks:
            self.publish()
        if self.stepwise:
            self.hooks.on_train_batch_end(run.position - 1, logs)
        self.hooks.on_chunk_end(run.position, logs)
        self.take_up()
        if self.plan.checkpoints is not None:
            self.plan.checkpoints.chunk_ended(run, self.hooks)

    def _nan_text(self, loss: float, rate: float) -> str:
        return (
            f"the loss became {loss} in epoch {self.run.epoch + 1}, by step {self.run.position} (learning rate {rate:g}): "
            f"lower the learning rate, clip the gradients (clipnorm=1.0), or check the data and the range of the targets; the "
            f"model keeps the weights from before it happened"
        )

    def _pace(self, steps: int, seconds: float) -> None:
        """Choose the next chunk's length so that it takes about `CHUNK_SECONDS`."""
        if not self.warm:  # the first chunk's time is mostly compilation
            self.warm = True
            return
        wish = steps * CHUNK_SECONDS / max(seconds, 1e-6)
        self.length = max(1, min(int(wish), 8 * self.length))
        self.trainer.paces[self.step_key] = max(seconds, 1e-6) / steps


def evaluate(
    trainer: Trainer,
    params: dict,
    state: dict,
    feed: Resident | Stream,
    *,
    steps: int | None = None,
    on_batch: Callable[[int, int | None], None] | None = None,
) -> dict[str, float]:
    """Losses and metrics over a feed, without training."""
    totals = trainer.new_totals()
    if isinstance(feed, Resident):
        size = room(feed.count) if feed.batch_size == feed.count else feed.batch_size
        order = padded_order(feed.count, size)
        stop = len(order) if steps is None else min(steps, len(order))
        full = min(stop, feed.count // size)
        fixed = on_device(feed.data), with_room(order)
        if trainer.fuses(trainer.evaluate_chunk, params, state, totals, *fixed, 0, full):
            totals = trainer.evaluate_chunk(params, state, totals, *fixed, 0, full)
            if full < stop and trainer.objective.adds_losses:  # a layer cannot tell the padding from the examples
                totals = trainer.evaluate_one(params, state, totals, gathered(feed.data, slice(full * size, None)))
            elif full < stop:
                totals = trainer.evaluate_chunk(params, state, totals, *fixed, full, stop)
            return trainer.logs(totals)
    batches: Any
    if isinstance(feed, Resident):
        data, size = feed.data, feed.batch_size
        batches = (jax.tree.map(lambda a, i=i: a[i : i + size], data) for i in range(0, feed.count, size))
    else:
        batches = feed.prefetched(0, 0)
    seen = 0
    for batch in itertools.islice(batches, steps):
        totals = trainer.evaluate_one(params, state, totals, jax.tree.map(jax.device_put, batch))
        seen += 1
        if on_batch is not None:
            on_batch(seen, steps)
    if not seen:
        raise ValueError("the data set is empty: there was no batch to evaluate")
    return trainer.logs(totals)
