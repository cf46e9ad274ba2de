"""What is asked of an explanation: of which function, for which examples, about which output, compared with what."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module
from ..core.errors import describe, unknown
from ..core.notes import annotation, collecting
from ..core.tree import apply, spec_of, weights_of
from ..data.arrays import as_arrays, check_finite, count_examples, take_rows
from .tokens import looked_up

Score = Callable[[Any, Any, Any], Any]  # (weights, x, target) -> one number an example; pure


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


def subject_of(function: Any, x: Any) -> Subject:
    """The subject for a model, a JAX function or a Python function, found out with the examples ``x``."""
    if isinstance(function, Subject):
        return function
    if isinstance(function, Module):
        return _of_module(function)
    check_function(function)
    wrapped = isinstance(function, jax.stages.Wrapped)
    try:
        y = jax.eval_shape(function, spec_of(x))
    except Exception:  # whatever a function of numpy arrays does with a tracer: it is asked as it is
        if wrapped:
            raise
        return Subject(lambda _, x: _rows(function(x), x), (), differentiable=False, says=_OWN)
    _rows(y, x)
    return _of_jitted(function) if wrapped else Subject(lambda _, x: _rows(function(x), x), (), differentiable=True, says=_OWN)


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


@dataclass
class Question:
    """Some examples and what is wanted of them; methods read it and ask `score`."""

    subject: Subject
    x: Any  # arrays as the compiled model takes them, rows first
    target: Any  # (rows,) flat output numbers, or a function of the outputs
    given_baseline: Any = None
    background: Any = None  # training rows, arrays like x
    seed: int = 0
    names: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    tokens: list[bool] = field(default_factory=list)  # of each array of x: are its numbers only looked up, as words are?

    @property
    def weights(self) -> Any:
        return self.subject.weights

    @property
    def count(self) -> int:
        return count_examples(self.x)

    @property
    def score(self) -> Score:
        """``score(weights, x, target) -> (rows,)``, the numbers that are explained."""
        outputs, chosen = self.subject.outputs, self.target

        def score(weights: Any, x: Any, target: Any) -> Any:
            y = outputs(weights, x)
            if callable(chosen):
                return chosen(y)
            return jnp.take_along_axis(jnp.reshape(y, (y.shape[0], -1)), jnp.reshape(target, (-1, 1)), axis=1)[:, 0]

        return score

    @property
    def targets(self) -> Any:
        """What to hand to `score` and to programs as their target: the numbers, (rows,)."""
        return np.zeros(self.count, np.int32) if callable(self.target) else self.target

    def program(self, build: Callable[..., Callable], *static: Any) -> Callable:
        """``jax.jit(build(score, *static))``, compiled once for a model and kept: the same ``build`` must mean the same."""
        key = (build, static, self.target if callable(self.target) else None)
        if key not in self.subject.programs:
            self.subject.programs[key] = jax.jit(build(self.score, *static))
        return self.subject.programs[key]

    def ask(self, x: Any, target: Any = None, *, batch_size: int = 1024) -> np.ndarray:
        """The explained number of each row of ``x``, (rows,), for any function, by batches of one size."""
        target = self.targets if target is None else target
        count = count_examples(x)
        if len(target) != count:
            target = np.broadcast_to(target[:1], (count,)) if len(target) == 1 else np.repeat(target, count // len(target))
        if not self.subject.differentiable:
            y = np.asarray(self.subject.outputs((), x))
            if callable(self.target):
                return np.asarray(self.target(y), np.float64)
            return np.take_along_axis(y.reshape(count, -1), np.reshape(target, (-1, 1)), axis=1)[:, 0].astype(np.float64)
        run = self.program(plain)
        return in_batches(lambda x, target: run(self.weights, x, target), (x, target), batch_size)

    @property
    def baseline(self) -> Any:
        """What the examples are compared with, arrays like x with a row each: as given, else the mean of the training rows."""
        shown = jax.tree.leaves(self.x)
        if self.given_baseline is not None:
            given = jax.tree.leaves(self.given_baseline)
            given = given * len(shown) if len(given) == 1 else given
            if len(given) != len(shown):
                raise ValueError(f"the baseline has {len(given)} arrays, but the input has {len(shown)}")
            leaves = [_baseline(g, leaf) for g, leaf in zip(given, shown, strict=True)]
        elif self.background is not None:
            self.note(self.means)
            leaves = [_middle(b, leaf) for b, leaf in zip(jax.tree.leaves(self.background), shown, strict=True)]
        else:
            raise ValueError(
                "there is nothing to compare with: give background=some training rows, or baseline=one example (a number "
                "means that number everywhere). A model that was fitted here remembers some of its training rows"
            )
        return jax.tree.unflatten(jax.tree.structure(self.x), leaves)

    @property
    def means(self) -> str:
        """In words, what the background makes of a baseline that was not given."""
        if all(self.tokens):
            return "compared with the number 0 in each place"
        return f"compared with the mean of {self.known}{', and the number 0 for words' if any(self.tokens) else ''}"

    @property
    def known(self) -> str:
        """The background in words."""
        rows = count_examples(self.background)
        return f"{rows} background rows" if rows > 1 else "one background row"

    def every_background_row(self, name: str, instead: str) -> Any:
        """The background, for a method that compares with each of its rows and with nothing else.

        Raises: ValueError where there is none, with the method to take ``instead``.
        """
        if self.background is None:
            raise ValueError(
                f"{name} compares with many rows: give background=some training rows (a model that was fitted here remembers "
                f"some), or take {instead}, which compares with one baseline"
            )
        self.note(f"compared with {self.known}")
        if self.given_baseline is not None:
            self.note(f"the baseline is not used: take {instead}, which compares with it")
        return self.background

    def note(self, text: str) -> None:
        """Something that the explanation's reason is to say, once."""
        if text not in self.notes:
            self.notes.append(text)

    def rows(self, start: int, stop: int) -> Question:
        """The same question about some of the examples."""
        pick = np.arange(start, stop)
        target = self.target if callable(self.target) else self.target[start:stop]
        given = self.given_baseline
        if given is not None:
            whole = jax.tree.leaves(self.x)
            leaves, structure = jax.tree.flatten(given)
            if len(leaves) == len(whole):
                leaves = [
                    g[start:stop] if np.shape(g) == np.shape(leaf) and len(leaf) == self.count > 1 else g
                    for g, leaf in zip(leaves, whole, strict=True)
                ]
            given = jax.tree.unflatten(structure, leaves)
        return replace(self, x=take_rows(self.x, pick), target=target, given_baseline=given)


def plain(score: Score) -> Score:
    """The numbers explained themselves, for `Question.program`."""
    return score


def all_outputs(y: Any) -> Any:
    """The target of a question about all outputs at once."""
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


def _baseline(given: Any, leaf: Any) -> np.ndarray:
    given = np.asarray(given)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"a baseline is numbers, got {given.dtype}")
    if not np.all(np.isfinite(given)):
        raise ValueError("the baseline holds NaN or infinity")
    if given.shape in ((), leaf.shape[1:], (1, *leaf.shape[1:]), leaf.shape):
        return np.broadcast_to(given, leaf.shape).astype(leaf.dtype)
    raise ValueError(
        f"the baseline has shape {given.shape}, but an example has {tuple(leaf.shape[1:])}: give a number, one example, or "
        f"one a row {tuple(leaf.shape)}"
    )


def _middle(background: Any, leaf: Any) -> np.ndarray:
    """Mean of floating features; for whole numbers (words, categories) the commonest is no word like any other: zero."""
    if np.asarray(leaf).dtype.kind == "f":
        middle = np.mean(background, axis=0, dtype=np.float64)
    else:
        middle = np.zeros(leaf.shape[1:])
    return np.broadcast_to(middle, leaf.shape).astype(leaf.dtype)


def ask(
    function: Any,
    x: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    seed: int = 0,
    names: Any = None,
) -> Question:
    """The question about ``x``: inputs checked and turned into arrays, the target resolved."""
    named = names if names is not None else getattr(x, "columns", None)
    model = function if isinstance(function, Module) else getattr(function, "inputs", None)
    parts = getattr(model, "_input_count", 1)

    def arrays(value: Any, what: str) -> Any:
        ready = model._ready(value)[0] if hasattr(model, "_ready") else value  # type: ignore[union-attr]
        value = as_arrays(ready, what, parts=parts)
        check_finite(value, what)
        return jax.tree.map(lambda a: np.asarray(a, jax.dtypes.canonicalize_dtype(a.dtype)), value)

    x = arrays(x, "x")
    if not count_examples(x):
        raise ValueError("there is nothing to explain: x holds no examples")
    if background is not None:
        background = arrays(background, "background")
        if not count_examples(background, "background"):
            raise ValueError("the background holds no rows: give some training rows")
    elif model is not None:
        background = getattr(model, "background", None)
    if background is not None:
        _check_form(background, x, "the background (training rows that the model remembers, unless given)")
        for b, leaf in zip(jax.tree.leaves(background), jax.tree.leaves(x), strict=True):
            if leaf.shape == b.shape[1:]:
                raise ValueError(
                    f"x has the shape of one example, {leaf.shape}: give a batch of them, such as x[None] or data[3:4]"
                )
            if b.shape[1:] != leaf.shape[1:]:
                raise ValueError(f"a row of the background has shape {b.shape[1:]}, but an example has {leaf.shape[1:]}")
    subject = subject_of(function, x)
    tokens = [False] * len(jax.tree.leaves(x))
    if subject.differentiable:
        tokens = looked_up(lambda x: subject.outputs(subject.weights, x), take_rows(x, slice(0, 1)))
        x, background = _quantities(x, tokens), _quantities(background, tokens)
    notes: list[str] = []
    resolved = _target(target, subject, x, notes)
    if isinstance(baseline, (list, tuple)):  # one example in numbers, or an array for each input
        several = len(jax.tree.leaves(x)) > 1
        baseline = tuple(b if isinstance(b, dict) else np.asarray(b) for b in baseline) if several else np.asarray(baseline)
    if len(jax.tree.leaves(baseline)) > 1:
        _check_form(baseline, x, "the baseline")
    return Question(subject, x, resolved, baseline, background, seed, _names(named, x, names is None), notes, tokens)


def _check_form(given: Any, x: Any, what: str) -> None:
    """Raises a ValueError where arrays of one could be taken for others of the other, by their order."""
    leaves, structure = jax.tree.flatten(given)
    if structure != jax.tree.structure(x) and (len(leaves) > 1 or len(jax.tree.leaves(x)) > 1):
        raise ValueError(f"{what} is {describe(given)}, but x is {describe(x)}: give the same arrays in the same form")


def _names(given: Any, x: Any, quietly: bool) -> list[str] | None:
    """Names of the features of an example, or of the last axis of the one input array."""
    if given is None:
        return None
    names, shapes = [str(n) for n in given], [leaf.shape[1:] for leaf in jax.tree.leaves(x)]
    features = sum(int(np.prod(shape)) for shape in shapes)
    if len(names) == features or (len(shapes) == 1 and shapes[0] and len(names) == shapes[0][-1]):
        return names
    if quietly:  # a frame whose columns the model's own layers turn into other features
        return None
    raise ValueError(f"names has {len(names)} entries, but there are {features} features")


def _quantities(x: Any, tokens: list[bool]) -> Any:
    """Whole numbers that are quantities, such as grey levels, as floats: one can go half way between two of them."""
    leaves, structure = jax.tree.flatten(x)
    whole = [np.asarray(leaf).dtype.kind in "iub" and not token for leaf, token in zip(leaves, tokens, strict=False)]
    return structure.unflatten(np.asarray(a, np.float32) if w else a for a, w in zip(leaves, whole, strict=True))


def _target(target: Any, subject: Subject, x: Any, notes: list[str]) -> Any:
    """Flat output numbers, one an example; or the caller's own function of the outputs."""
    if callable(target):
        return target
    count, y = count_examples(x), None
    if subject.differentiable:
        shape: tuple[int, ...] = jax.eval_shape(subject.outputs, subject.weights, spec_of(x)).shape
    else:
        y = subject.everything(x)
        shape = y.shape
    outputs = int(np.prod(shape[1:]))
    if target is None:
        if outputs == 1:
            return np.zeros(count, np.int32)
        if len(shape) > 2:
            raise ValueError(
                f"an example has outputs of shape {shape[1:]}: say which is to be explained, target={(0,) * (len(shape) - 1)}"
            )
        y = subject.everything(x) if y is None else y
        notes.append("the output explained is the predicted class's")
        return np.argmax(y.reshape(count, -1), axis=1).astype(np.int32)
    if isinstance(target, str) or (isinstance(target, (list, tuple)) and target and isinstance(target[0], str)):
        wanted = [target] * count if isinstance(target, str) else list(target)
        target = np.array([subject.class_number(name) for name in wanted])
    if isinstance(target, tuple) and len(target) == len(shape) - 1:
        if any(not -n <= int(t) < n for t, n in zip(target, shape[1:], strict=True)):
            raise ValueError(f"there is no output {target}: an example has outputs of shape {shape[1:]}")
        target = int(np.ravel_multi_index([int(t) % n for t, n in zip(target, shape[1:], strict=True)], shape[1:]))
    numbers = np.asarray(target)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (count,)):
        raise ValueError(
            f"target is the number of an output, a class name, one of these for each of the {count} examples, or a function of "
            f"the outputs; got {target!r:.80}"
        )
    if numbers.size and (numbers.min() < -outputs or numbers.max() >= outputs):
        raise ValueError(f"there is no output {int(numbers.flat[np.argmax(np.abs(numbers))])}: the function has {outputs}")
    return np.broadcast_to(numbers % outputs, (count,)).astype(np.int32)
