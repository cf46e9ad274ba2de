"""What a callback is: Keras's hooks, the run it belongs to, and what it remembers when a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...core.errors import unknown

HOOKS = tuple(
    f"on_{name}"
    for name in (
        *("train_begin", "train_end", "epoch_begin", "epoch_end", "chunk_end", "train_batch_begin", "train_batch_end"),
        *("test_begin", "test_end", "test_batch_begin", "test_batch_end"),
        *("predict_begin", "predict_end", "predict_batch_begin", "predict_batch_end"),
    )
)
_OLD_NAMES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}

Logs = dict[str, Any]


class Callback:
    """Something that is called while a model trains; derive from it and write the hooks you need.

    Attributes:
        run: the fit that goes on (`cenote.train.Run`): its state, epoch, steps, history, `stop(reason)`, `learning_rate`.
        model: the model that is trained; None where a plain (init, apply) pair is.
        params: {"verbose", "epochs", "steps"}.

    Hooks get Keras's arguments: the epoch or batch, counted from 0, and ``logs``, the losses and metrics so far as floats.
    ``logs`` of an epoch's end is one dict for all callbacks in turn; what one adds, the next and the history see.
    The training numbers in it are averages over the epoch, taken while the weights moved and with dropout on; the
    ``val_`` numbers are of the weights at the epoch's end.

    A hook for single batches makes the run slower, since the device then waits for Python after each step. Where about ten
    times a second is enough, write ``on_chunk_end(step, logs)`` instead; ``step`` counts the steps done in the epoch.

    >>> class Tell(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(f"epoch {epoch + 1}: {logs['loss']:.2f}")
    >>> CallbackList([Tell()]).on_epoch_end(0, {"loss": 0.25})
    epoch 1: 0.25
    """

    # Class attributes, so that a subclass may forget super().__init__().
    run: Any = None
    model: Any = None
    params: dict[str, Any] | None = None
    watches_model: bool = True  # does it look at `model`'s weights? If not, they need not be handed to the model each epoch

    decides: bool = True  # may it change the run? If not, it may hear of several short epochs at once, after them
    only_one: bool = False  # of several objects of this class in a list the first is kept
    checkpoints: Any = None  # what a callback brings to keep the run in (`cenote.train.Checkpoints`)

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """The first epoch is about to begin."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """The last epoch has ended, or the run was stopped."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch begins, or goes on in its middle if the run was resumed there."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch has ended, its validation too."""

    def on_chunk_end(self, step: int, logs: Logs | None = None) -> None:
        """The host has heard from the device, about ten times a second; ``step`` steps of the epoch are done."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A training step begins."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A training step has ended."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of on_train_batch_begin."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of on_train_batch_end."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """An evaluation begins, the validation at an epoch's end too."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """An evaluation has ended."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of an evaluation begins."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of an evaluation has ended."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """A prediction begins."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """A prediction has ended."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of a prediction begins."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of a prediction has ended."""

    def memory(self) -> dict[str, Any]:
        """What must survive a killed run: a flat dict of numbers, strings, None or numpy arrays. It goes into checkpoints."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take such a dict back in a run that is resumed; called after on_train_begin."""

    def due(self) -> int | None:
        """In how many steps this callback wants an on_chunk_end at the latest; None: whenever it suits."""
        return None

    def close(self) -> None:
        """Let go of files and the terminal; called last, after an error too."""


class LambdaCallback(Callback):
    """A callback from functions: ``LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))``.

    Raises: ValueError for a name that is no hook.

    >>> seen = []
    >>> CallbackList([LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))]).on_epoch_begin(3)
    >>> seen
    [3]
    """

    def __init__(
        self,
        on_epoch_begin: Callable | None = None,
        on_epoch_end: Callable | None = None,
        on_train_begin: Callable | None = None,
        on_train_end: Callable | None = None,
        on_train_batch_begin: Callable | None = None,
        on_train_batch_end: Callable | None = None,
        **hooks: Callable | None,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **hooks,
        }
        for name, function in given.items():
            if name not in HOOKS and name not in _OLD_NAMES.values():
                raise unknown("hook", name, HOOKS)
            if function is not None:
                setattr(self, name, function)


def overrides(callback: Any, hook: str) -> bool:
    """Whether a callback does something of its own in a hook."""
    found = vars(callback).get(hook) or getattr(type(callback), hook, None)
    if found is None or found is getattr(Callback, hook):
        old = _OLD_NAMES.get(hook)
        return old is not None and overrides(callback, old)
    # Keras's own base class marks the hooks that do nothing; its callbacks may be passed to us.
    return not getattr(found, "_is_default", False) or (hook in _OLD_NAMES and overrides(callback, _OLD_NAMES[hook]))


def overrides_batches(callback: Any) -> bool:
    """Whether a callback wants to hear of single training steps.

    >>> overrides_batches(Callback()), overrides_batches(LambdaCallback(on_batch_end=print))
    (False, True)
    """
    return overrides(callback, "on_train_batch_begin") or overrides(callback, "on_train_batch_end")


class CallbackList:
    """Several callbacks as one: each hook calls those that have something to do in it, in order.

    Args:
        callbacks: a callback, or a list of them (nested lists are flattened).
        run: the fit they belong to.
        verbose: what they find in ``params["verbose"]``.

    Used as a context manager it closes them all in the end. Raises: TypeError for what is not a callback.
    """

    def __init__(self, callbacks: Any = (), run: Any = None, verbose: Any = 0) -> None:
        self.callbacks: list[Any] = []
        self.run = run
        self.begun = False
        self._recalled: dict[str, Any] = {}
        self._calls: dict[str, list[Any]] = {}
        self.params = {
            "verbose": verbose,
            "epochs": getattr(run, "epochs", None),
            "steps": getattr(run, "steps", None),
        }
        for callback in _flat(callbacks):
            if not (getattr(callback, "only_one", False) and any(type(c) is type(callback) for c in self.callbacks)):
                self.append(callback)

    def append(self, callback: Any) -> None:
        _check(callback)
        _attach(callback, self.run)
        model = getattr(self.run, "model", None)
        if model is not None:
            callback.set_model(model)
        callback.set_params(self.params)
        self.callbacks.append(callback)
        self._calls = {hook: [c for c in self.callbacks if overrides(c, hook)] for hook in HOOKS}

    def __iter__(self) -> Any:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    @property
    def overrides_batches(self) -> bool:
        return any(overrides_batches(c) for c in self.callbacks)

    @property
    def watches_model(self) -> bool:
        return any(getattr(c, "watches_model", True) for c in self.callbacks)

    @property
    def watches_chunks(self) -> bool:
        """Does anybody look at the model's weights in the middle of an epoch?"""
        called = self._calls.get("on_chunk_end", ())
        return any(getattr(c, "watches_chunks", getattr(c, "watches_model", True)) for c in called)

    def checkpoints(self, given: Any = None) -> Any:
        """Where the run is kept: what ``fit`` was given, or what a callback brings."""
        brought = [getattr(c, "checkpoints", None) for c in self.callbacks]
        found = [given, *(own for own in brought if own is not given and hasattr(own, "chunk_ended"))]
        found = [own for own in found if own is not None]
        if len(found) > 1:
            raise ValueError(f"fit has checkpoints in {found[0].folder}, and a callback in {found[1].folder}: give one of them")
        return found[0] if found else None

    @property
    def hears_epochs(self) -> bool:
        """Does anybody hear of the beginning or end of an epoch?"""
        return bool(self._calls.get("on_epoch_begin") or self._calls.get("on_epoch_end"))

    @property
    def decide(self) -> bool:
        return any(getattr(c, "decides", True) for c in self.callbacks)

    def due(self) -> int | None:
        """In how many steps a chunk must end for some callback; None: whenever it suits."""
        wishes = [wish for c in self.callbacks if (wish := c.due()) is not None]
        return max(1, min(wishes)) if wishes else None

    def _call(self, hook: str, *args: Any) -> None:
        for callback in self._calls.get(hook, ()):
            try:
                getattr(callback, hook)(*args)
            except Exception as error:
                error.add_note(f"in the callback {type(callback).__name__}, {hook}")
                raise

    def _called(self, hook: str, position: int, logs: Logs | None) -> None:
        if self._calls.get(hook):
            self._call(hook, position, as_numbers(logs))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._call("on_train_begin", as_numbers(logs))
        self.begun = True
        recalled, self._recalled = self._recalled, {}
        self._recall(recalled)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._call("on_train_end", as_numbers(logs))
        self.begun = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.params["steps"] = getattr(self.run, "steps", None)
        self._called("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """What callbacks add to ``logs`` is in the caller's dict afterwards, as floats like all the rest."""
        if logs is not None:
            logs.update(as_numbers(logs))
        self._call("on_epoch_end", epoch, {} if logs is None else logs)

    def on_chunk_end(self, step: int, logs: Logs | None = None) -> None:
        self._called("on_chunk_end", step, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._called("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._called("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._call("on_test_begin", as_numbers(logs))

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._call("on_test_end", as_numbers(logs))

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._called("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._called("on_test_batch_end", batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._call("on_predict_begin", as_numbers(logs))

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._call("on_predict_end", as_numbers(logs))

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._called("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._called("on_predict_batch_end", batch, logs)

    def memory(self) -> dict[str, Any]:
        """What all callbacks must remember, one flat dict: ``"EarlyStopping.0/wait": 3``."""
        return {f"{name}/{k}": v for name, c in self._names() for k, v in c.memory().items()}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Give it back to callbacks of the same kind; before on_train_begin it is kept until then."""
        if self.begun:
            self._recall(memory)
        else:
            self._recalled = dict(memory)

    def _recall(self, memory: Mapping[str, Any]) -> None:
        for name, callback in self._names():
            mine = {k.removeprefix(f"{name}/"): v for k, v in memory.items() if k.startswith(f"{name}/")}
            if mine:
                callback.recall(mine)

    def _names(self) -> list[tuple[str, Any]]:
        kinds = [type(c).__name__ for c in self.callbacks]
        return [(f"{kind}.{kinds[:i].count(kind)}", c) for i, (kind, c) in enumerate(zip(kinds, self.callbacks))]  # noqa: B905

    def close(self) -> None:
        for callback in self.callbacks:
            callback.close()

    def __enter__(self) -> CallbackList:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def as_numbers(logs: Mapping[str, Any] | None) -> Logs:
    """Logs with every scalar (numpy, JAX) as a Python float; other values stay as they are."""
    return {k: float(v) if _scalar(v) else v for k, v in (logs or {}).items()}


def _scalar(value: Any) -> bool:
    return not isinstance(value, (str, bool)) and value is not None and np.ndim(value) == 0


def _flat(callbacks: Any) -> Iterable[Any]:
    if callbacks is None:
        return
    if isinstance(callbacks, Iterable) and not isinstance(callbacks, (str, bytes)):
        for item in callbacks:
            yield from _flat(item)
    else:
        yield callbacks


def _check(callback: Any) -> None:
    if isinstance(callback, type):
        raise TypeError(f"callbacks got the class {callback.__name__}, not an object: write {callback.__name__}(...)")
    if not any(hasattr(callback, hook) for hook in HOOKS):
        raise TypeError(
            f"callbacks got {callback!r}, which has none of the hooks on_train_begin, on_epoch_end, ...: derive it from "
            f"cenote.callbacks.Callback, or wrap a function: LambdaCallback(on_epoch_end=function)"
        )


def _attach(callback: Any, run: Any) -> None:
    """Give a callback its run, without touching a ``run`` that its author keeps there; fill in what a foreign one lacks."""
    own = vars(callback)
    if own.get("run") is own.get("_attached"):
        callback.run = callback._attached = run
    for name in ("set_model", "set_params", "memory", "recall", "due", "close"):
        if not callable(getattr(callback, name, None)):
            if name in own:
                raise TypeError(
                    f"{type(callback).__name__}.{name} is {own[name]!r}, but {name}() is a method of callbacks: rename it"
                )
            setattr(callback, name, getattr(Callback, name).__get__(callback))
