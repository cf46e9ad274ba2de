"""What can be explained: a model of ours, any JAX function of a batch, any Python function; asked in one way."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..core import Module
from ..core.errors import describe, unknown
from ..core.notes import annotation, collecting
from ..core.tree import apply, spec_of, weights_of
from ..data.arrays import count_examples, take_rows


class Subject:
    """A function that can be explained: a model of ours, any JAX function of a batch, or any Python function ``predict``.

    ``outputs(weights, x)`` is pure and gives ``(rows, ...)``: logits where the model makes probabilities of them last, since
    probabilities saturate (the advice of Captum's maintainers, too). ``differentiable`` says whether JAX can trace it.
    ``inputs`` is the model whose raw inputs it takes, to be prepared and compared as that model's; none for a subject that is
    asked with arrays as they are.
    """

    inputs: Module | None = None

    def __init__(
        self, outputs: Callable[[Any, Any], Any], weights: Any, *, differentiable: bool, model: Module | None = None, says: str
    ) -> None:
        self.outputs, self.weights, self.differentiable, self.model, self.says = outputs, weights, differentiable, model, says
        self.programs: dict[Any, Callable] = {}

    @property
    def classes(self) -> list[str] | None:
        """Names of the outputs, where the model was told them."""
        names = getattr(self.model, "info", {}).get("classes") if self.model is not None else None
        return [str(n) for n in names] if names else None

    def class_number(self, name: str) -> int:
        """The output that a class name means.

        Raises: ValueError for a name that is not known, with the near ones.
        """
        known = self.classes
        if not known:
            raise ValueError(
                f"the outputs have no names, so that there is no {name!r}: give the output's number (a model takes names from "
                f"model.info['classes'] = [...])"
            )
        if name not in known:
            raise unknown("class", name, known)
        return known.index(name)

    def everything(self, x: Any) -> np.ndarray:
        """All outputs of each row, (rows, ...), for any function."""
        if not self.differentiable:
            try:
                return np.asarray(self.outputs((), x))
            except Exception as error:
                error.add_note(f"This is the function that is explained, asked about a batch: x is {describe(x)}, rows first.")
                raise
        run = self.programs.setdefault("outputs", jax.jit(self.outputs))
        return in_batches(lambda x: run(self.weights, x), (x,))


_OWN = "the function's own values"


def subject_of(function: Any, x: Any, frame: Any = None) -> Subject:
    """The subject for a model, a JAX function or a Python function, found out with the examples ``x``.

    A Python function gets frames where the examples were given as a ``frame`` and it takes such.
    """
    if isinstance(function, Subject):
        return function
    if isinstance(function, Module):
        return _of_module(function)
    check_function(function)
    wrapped = isinstance(function, jax.stages.Wrapped)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a function of numpy arrays thinks of a tracer
            y = jax.eval_shape(function, spec_of(x))
    except Exception:  # whatever it does with a tracer: it is asked as it is
        if wrapped:
            raise
        asked = function if frame is None else _of_frames(function, frame)
        return Subject(lambda _, x: _on_host(_rows(asked(x), x)), (), differentiable=False, says=_OWN)
    _rows(y, x)
    return _of_jitted(function) if wrapped else Subject(lambda _, x: _rows(function(x), x), (), differentiable=True, says=_OWN)


def _of_frames(function: Callable, frame: Any) -> Callable:
    """The function with frames in place of arrays, such as a pipeline that goes by the names of columns; if it takes them."""
    try:
        function(frame.iloc[:1])
    except Exception:
        return function
    return lambda x: function(type(frame)(x, columns=frame.columns))


def _on_host(y: Any) -> np.ndarray:
    """As a numpy array; a PyTorch tensor may lie on a GPU and need a gradient."""
    return np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)


def check_function(function: Any) -> None:
    """Raises a TypeError for what cannot be asked, with what to give instead."""
    if not callable(function):
        hint = ""
        if isinstance(function, tuple):
            hint = ": of a pair (init, apply) give lambda x: apply(params, state, x)[0]"
        elif hasattr(function, "predict"):
            hint = ": give its function, such as .predict_proba or .predict"
        raise TypeError(f"expected a model or a function of a batch, got {type(function).__name__}{hint}")


@functools.lru_cache(maxsize=16)
def _of_jitted(function: Any) -> Subject:
    """jax.jit has taken the function's closure as fixed already, so the programs made of it may be kept, too."""
    return Subject(lambda _, x: _rows(function(x), x), (), differentiable=True, says=_OWN)


def _of_module(model: Module) -> Subject:
    weights = model.arrays() if hasattr(model, "arrays") else weights_of(model)  # type: ignore[operator]
    known: tuple[int, Any, Subject] | None = vars(model).get("_explained")
    if known is not None and (known[0] == Module._changes or known[1] == jax.tree.structure(model)):
        vars(model)["_explained"] = (Module._changes, *known[1:])
        known[2].weights = weights
        return known[2]
    if not weights[0] and not weights[1] and getattr(model, "_spec", None) is None and hasattr(model, "_require_built"):
        model._require_built("explained")  # type: ignore[attr-defined]
    pure: Callable = getattr(model, "_pure", None) or (lambda p, s, x: apply(model, p, s, x))

    def outputs(weights: Any, x: Any) -> Any:
        with collecting(fresh=True):
            y = pure(*weights, x)[0]
            logits = annotation(y, "logits") if hasattr(y, "shape") else None
        return _rows(y if logits is None else logits, x)

    subject = Subject(
        outputs, weights, differentiable=True, model=model, says="the logits, or the outputs where there are none"
    )
    # Kept with the model, so that it goes when the model goes.
    vars(model)["_explained"] = (Module._changes, jax.tree.structure(model), subject)
    return subject


def _rows(y: Any, x: Any) -> Any:
    if isinstance(y, (dict, list, tuple)) and len(jax.tree.leaves(y)) != 1:
        raise ValueError("the model has several outputs: explain a function that picks one, lambda x: model(x)['name']")
    y = jax.tree.leaves(y)[0] if not hasattr(y, "shape") else y
    count = jax.tree.leaves(x)[0].shape[0]
    if not y.shape or y.shape[0] != count:
        raise ValueError(f"expected one output an example, {count} rows, but the function gave shape {tuple(y.shape)}")
    return y


def in_batches(run: Callable[..., Any], arguments: tuple, batch_size: int = 1024) -> np.ndarray:
    """``run(*arguments)`` for arrays of any length, by batches of one size: one compilation, bounded memory."""
    count = count_examples(arguments)
    size = min(batch_size, 1 << (count - 1).bit_length())
    parts = []
    for i in range(0, count, size):
        rows = np.minimum(np.arange(i, i + size), count - 1)  # the last row again and again fills the last batch
        parts.append(np.asarray(run(*take_rows(arguments, rows)))[: count - i])
    return np.concatenate(parts)
