"""What a task is: one small class that says how raw examples become a trained model and an honest score.

The engine is shared (`cenote.tasks.job`). It calls the methods of a `Task` in this order; a new task writes those that differ:

    fits       why a source looks like one for this task               (no reading of everything)
    read       source -> Examples, raw, with findings
    part       Examples -> training, validation, test                  (by data.split; forecasts part by time)
    prepare    training part -> Preparation, Answers                   (never sees validation or test)
    arrays     examples -> (x, y), or batches where they do not fit into memory
    choose     counts and shapes -> model, loss, optimizer, epochs ... each with its reason
    (the engine builds, compiles, fits with early stopping on the validation part, and keeps the best weights)
    calibrate  model, validation part -> thresholds and the like, where a task has such
    outputs    model, x -> what is scored: `model.predict`, or what a decoder makes of it (beam search, CTC)
    score      outputs, examples -> named numbers with 95% intervals, the main one first
    baselines  parts -> what the simplest answers would score on the same test part
    decode     model, x -> what is said: the outputs, unless predicting is another thing than scoring (text generation)
    say        decoded -> what `predict` tells of each example; `line` makes a line of it

After `prepare` the task holds `self.preparation` and `self.answers`; `config` and they are what a `.cenote` file keeps beside
the model. Import the preparation's class at the top of the task's module: what a file names is looked up among the
subclasses of `Preparation` and `Answers` that are defined then.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import jax
import numpy as np

from ..core import Module
from ..core.errors import unknown
from ..data.answers import Answers
from ..data.examples import Examples
from ..data.preparation import Preparation
from ..data.split import Parts, part
from ..progress import showing, track
from .scores import Baseline, Score, Scores

__all__ = ["Baseline", "Batches", "Choice", "Score", "Scores", "Task", "cosine"]


class Batches(Protocol):
    """Data larger than memory: a call gives the batches of one pass, as often as it is asked to."""

    def __call__(self, size: int, seed: int | None) -> Iterable[tuple[Any, Any]]:
        """Batches ``(x, y)`` of ``size`` rows, the last one may be short; an iterable that can be begun again.

        ``seed`` None keeps the order of the examples; else each pass is in another order, a function of the seed. Where the
        iterable has ``open_epoch(epoch, skip)``, a killed run goes on with the very batches that it would have had.
        """
        ...


@dataclass
class Choice:
    """What a task chose for the size and the kind of the data. Every field can be replaced by an argument of the task.

    ``reasons`` say why, by field name, in words that people read: ``{"model": "a small CNN: 1,200 pictures of 64x64"}``.
    ``schedule(rate, steps)`` makes the learning rate's schedule once the number of steps is known; None keeps it constant.
    """

    model: Any  # a cenote model, neither compiled nor built
    name: str  # of its kind, as ``--model`` says it: "mlp"
    loss: Any
    metrics: list[Any] = field(default_factory=list)
    optimizer: Any = "adam"  # a name, or an Optimizer with its options
    learning_rate: float = 1e-3
    schedule: Callable[[float, int], Any] | None = None
    epochs: int = 20
    batch_size: int = 32
    patience: int = 5  # epochs without a better `monitor` after which training stops
    monitor: str = "val_loss"
    augment: Any = None  # a layer, compiled into the step
    class_weight: dict[int, float] | None = None
    callbacks: list[Any] = field(default_factory=list)
    precision: str = "float32"
    reasons: dict[str, str] = field(default_factory=dict)


def cosine(rate: float, steps: int) -> Any:
    """A schedule for `Choice`: 5% of the steps up to the rate, then half a cosine down to a hundredth of it."""
    from ..schedules import WarmupCosineDecay

    warmup = max(1, steps // 20)
    return WarmupCosineDecay(rate, warmup, max(steps, warmup + 1), alpha=0.01)


class Task:
    """A kind of problem, from raw examples to a trained model: see the module's text for what is called when.

    Args:
        target: what is to be answered: a column's name (or several, where the task takes that). Folders need none.
        model: a name among ``models``, or a model of your own that fits the prepared arrays.
        augment: a layer that changes inputs at random in training; False: none.
        optimizer, learning_rate, epochs, batch_size, patience, loss, metrics: instead of what the task would choose.
        seed: of the parting, the start values, the order and dropout.
        options: those of the task, listed with their defaults in its ``options``.

    Raises: ValueError for a model's name or an option that the task does not have.
    """

    name: ClassVar[str]  # "tabular-classification": what --task says
    about: ClassVar[str]  # one line for help: "a class for each row of a table"
    kind: ClassVar[str]  # what Examples.kind says: "table", "image", "text", "audio", "series"
    models: ClassVar[tuple[str, ...]] = ()  # names that ``model`` takes, the usual one first
    labelled: ClassVar[bool] = True  # whether examples without targets cannot be measured
    choosing: ClassVar[int] = 0  # with fewer to train on, no validation part is held out: it would be too small to choose by
    options: ClassVar[Mapping[str, Any]] = {}  # further keyword arguments and their defaults; ``self.option["horizon"]``

    preparation: Preparation
    answers: Answers | None = None

    def __init__(
        self,
        *,
        target: Any = None,
        model: Any = None,
        augment: Any = None,
        optimizer: Any = None,
        learning_rate: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        patience: int | None = None,
        loss: Any = None,
        metrics: list[Any] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if isinstance(model, str) and model not in self.models:
            raise unknown(f"model of {self.name}", model, self.models)
        for option in options:
            if option not in self.options:
                raise unknown(f"option of {self.name}", option, [*self.options, *_ARGUMENTS])
        self.target, self.model, self.augment, self.seed = target, model, augment, seed
        self.optimizer, self.learning_rate, self.epochs = optimizer, learning_rate, epochs
        self.batch_size, self.patience, self.loss, self.metrics = batch_size, patience, loss, metrics
        self.option: dict[str, Any] = {**self.options, **options}

    # -- what a task writes ------------------------------------------------------------------------------------------------

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        """Why this source looks like one for this task (a sentence), or None. It may raise ValueError to say what is missing.

        ``options`` are those that the user gave. Look at names, heads and types only; do not read a large file through.
        """
        return None

    def read(self, source: Any) -> Examples:
        """The raw examples of a source, targets too; what was dropped, filled or guessed is among its findings."""
        raise NotImplementedError

    def part(self, examples: Examples, validation: float | int, test: float | int) -> Parts:
        """Training, validation and test part; shares of the examples, or numbers of them."""
        return part(examples, validation=validation, test=test, seed=self.seed)

    def prepare(self, training: Examples) -> tuple[Preparation, Answers | None]:
        """What turns inputs and targets into arrays, learned from the training part alone."""
        raise NotImplementedError

    def arrays(self, examples: Examples, training: bool = False) -> tuple[Any, Any] | Batches:
        """Inputs and targets as the model and its loss take them; `Batches` where they do not fit into memory.

        ``training`` says whether it is the training part, for tasks that draw windows at random.
        """
        y = None if self.answers is None or examples.targets is None else self.answers(examples.targets)
        return self.preparation(examples.inputs), y

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        """A sound default for so many examples of this shape; ``self.kind_of_model(default)`` is the kind to build.

        ``x`` and ``y`` are the arrays of the training part, or a first batch of them where they are streamed.
        """
        raise NotImplementedError

    def calibrate(self, model: Any, validation: Examples) -> None:
        """Learn from the validation part after training what only then can be known, such as thresholds; before any scoring."""

    def outputs(self, model: Any, x: Any) -> Any:
        """What the model says of prepared inputs (arrays, or an iterable of batches), rows first."""
        return model.predict(_watched(x), verbose=0)

    def decode(self, model: Any, x: Any) -> Any:
        """What `say` is told: by default the `outputs`. Tasks that generate (a translation, a text) write it here."""
        return self.outputs(model, x)

    def score(self, outputs: Any, examples: Examples) -> Scores:
        """How good the outputs are for these examples."""
        raise NotImplementedError

    def baselines(self, parts: Parts) -> list[Baseline]:
        """What simple answers score on the test part, learned from the training part; in the main score's units.

        By default the `simplest`; add to them, for instance a linear model.
        """
        return self.simplest(parts.test)

    def simplest(self, examples: Examples) -> list[Baseline]:
        """Baselines that need no training part, only what the answers remember of it: majority class, mean, last value."""
        return []

    def say(self, outputs: Any, names: list[str]) -> list[dict[str, Any]]:
        """What predict tells of each example, as plain values; "source" is its name."""
        raise NotImplementedError

    def line(self, answer: dict[str, Any]) -> str:
        """One answer as a line for people, without its source.

        >>> Task().line({"source": "row 1", "value": 3.25, "text": "a dog"})
        '3.25  a dog'
        """
        return "  ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in answer.items() if k != "source")

    # -- what the base does ------------------------------------------------------------------------------------------------

    def kind_of_model(self, default: str) -> str:
        """The kind that the user asked for, or the default; where the user gave a model, the default too."""
        return self.model if isinstance(self.model, str) else default

    def settled(self, choice: Choice) -> Choice:
        """The choice with what the user wants instead."""
        asked: dict[str, Any] = {
            name: value
            for name in ("optimizer", "learning_rate", "epochs", "batch_size", "patience", "loss", "metrics", "augment")
            if (value := getattr(self, name)) is not None
        }
        if asked.get("augment") is False:
            asked["augment"] = None
        if isinstance(self.model, Module):
            asked |= {"model": self.model, "name": type(self.model).__name__.lower()}
        # A name that is the chosen optimizer's own keeps its options, so that a written-out command does the same again.
        if isinstance(asked.get("optimizer"), str):
            from .. import optimizers

            wanted, has = optimizers.get(asked["optimizer"]), optimizers.get(choice.optimizer)
            if type(wanted) is not type(has):
                asked = {
                    "learning_rate": float(getattr(wanted, "learning_rate", choice.learning_rate)),
                    "schedule": None,
                } | asked
            elif not isinstance(choice.optimizer, str):
                del asked["optimizer"]
        reasons = {k: v for k, v in choice.reasons.items() if k not in asked} | dict.fromkeys(asked, "as you asked")
        return replace(choice, **asked, reasons=reasons)

    def config(self) -> dict[str, Any]:
        """What predict and evaluate need of the task, as JSON values."""
        return {"target": self.target, "seed": self.seed, **{k: v for k, v in self.option.items() if _plain(v)}}

    def plan(self, source: Any, *, validation: Any = None, test: Any = None, verbose: str | int = "auto") -> Any:
        """Read, part, prepare, choose and build: a `cenote.tasks.job.Job`, ready to fit, that has written nothing."""
        from .job import plan

        with showing(False if verbose in (0, "0") else None):
            return plan(self, source, validation=validation, test=test)

    def train(
        self,
        source: Any,
        *,
        validation: Any = None,
        test: Any = None,
        folder: Any = None,
        verbose: str | int = "auto",
    ) -> Any:
        """From a source to a `Trained` model: read, part, prepare, choose, fit, and measure once on the test part.

        Args:
            source: what the task reads: a path (or two), a frame, arrays.
            validation, test: shares (0.1), numbers of examples, or sources of their own.
            folder: where to leave model.cenote, history.json and report.html, and checkpoints while it runs: the same call
                made again goes on where a killed one stopped. None: nothing is written.
            verbose: 0 for silence.

        Ctrl-C keeps what was learned: the model that comes back has the weights that would stay, of the epochs so far.
        Raises: ValueError or OSError for a source that cannot be learned from, saying what is wrong and where.
        """
        quiet = verbose in (0, "0")
        with showing(False if quiet else None):
            job = self.plan(source, validation=validation, test=test, verbose=verbose)
            if not quiet:
                print(job.announcement(), flush=True)
            job.fit(verbose=verbose, checkpoint=None if folder is None else _checkpoints(folder))
            trained = job.finish()
            if not quiet:
                print(trained.conclusion(), flush=True)
            if folder is not None:
                trained.write(folder)
        if folder is not None and not trained.interrupted:
            shutil.rmtree(Path(folder) / "checkpoint", ignore_errors=True)
        return trained


_ARGUMENTS = ("target", "model", "augment", "optimizer", "learning_rate", "epochs", "batch_size", "patience", "loss", "metrics")


@dataclass
class _Pieces:
    """The rows of arrays piece by piece, each as a batch that has inputs only, with progress."""

    x: Any
    count: int
    size: int = 256

    def __iter__(self) -> Iterator[tuple[Any]]:
        for begin in track(range(0, self.count, self.size), "predicting", unit=self.size):
            yield (jax.tree.map(lambda a, i=begin: a[i : i + self.size], self.x),)


def _watched(x: Any) -> Any:
    """Arrays as pieces, where there are several; an iterable of batches as it is."""
    leaves = jax.tree.leaves(x)
    if not leaves or not all(isinstance(leaf, (np.ndarray, jax.Array)) for leaf in leaves):
        return x
    return _Pieces(x, len(leaves[0])) if len(leaves[0]) > 256 else x


def _checkpoints(folder: Any) -> Any:
    from ..train import Checkpoints

    return Checkpoints(Path(folder) / "checkpoint", every_seconds=30.0, keep=2)


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or (isinstance(value, (str, bool, int, float)) and not isinstance(value, np.generic))
