"""What is asked of an explanation: of which function, for which examples, about which output, compared with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module
from ..core.errors import describe
from ..core.tree import spec_of
from ..data.arrays import as_arrays, check_finite, count_examples, take_rows
from .subject import Subject, in_batches, subject_of
from .tokens import looked_up

Score = Callable[[Any, Any, Any], Any]  # (weights, x, target) -> one number an example; pure


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
        """The explained number of each row of ``x``, (rows,), for any function; what JAX compiles, by batches of one size."""
        target = self.targets if target is None else target
        count = count_examples(x)
        if len(target) != count:
            target = np.broadcast_to(target[:1], (count,)) if len(target) == 1 else np.repeat(target, count // len(target))
        if not self.subject.differentiable:
            y = self.subject.everything(x)
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
        return self.take(np.arange(start, stop))

    def take(self, pick: np.ndarray) -> Question:
        """The same question about examples by their numbers; one may come several times."""
        target = self.target if callable(self.target) else self.target[pick]
        given = self.given_baseline
        if given is not None:
            whole = jax.tree.leaves(self.x)
            leaves, structure = jax.tree.flatten(given)
            if len(leaves) == len(whole):
                leaves = [
                    np.asarray(g)[pick] if np.shape(g) == np.shape(leaf) and len(leaf) == self.count > 1 else g
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
    frame = x if hasattr(x, "iloc") and hasattr(x, "columns") else None
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
    x, background = _by_name(x, background, model), _by_name(background, x, model)
    if background is not None:
        _check_form(background, x, "the background (training rows that the model remembers, unless given)")
        for b, leaf in zip(jax.tree.leaves(background), jax.tree.leaves(x), strict=True):
            if leaf.shape == b.shape[1:]:
                raise ValueError(
                    f"x has the shape of one example, {leaf.shape}: give a batch of them, such as x[None] or data[3:4]"
                )
            if b.shape[1:] != leaf.shape[1:]:
                raise ValueError(f"a row of the background has shape {b.shape[1:]}, but an example has {leaf.shape[1:]}")
    subject = subject_of(function, x, frame)
    tokens = [False] * len(jax.tree.leaves(x))
    if subject.differentiable:
        tokens = looked_up(lambda x: subject.outputs(subject.weights, x), take_rows(x, slice(0, 1)))
        x, background = _quantities(x, tokens), _quantities(background, tokens)
    notes: list[str] = []
    resolved = _target(target, subject, x, notes)
    if isinstance(baseline, (list, tuple)):  # one example in numbers, or an array for each input
        several = len(jax.tree.leaves(x)) > 1
        baseline = tuple(b if isinstance(b, dict) else np.asarray(b) for b in baseline) if several else np.asarray(baseline)
        baseline = _by_name(baseline, x, model)
    if len(jax.tree.leaves(baseline)) > 1:
        _check_form(baseline, x, "the baseline")
    return Question(subject, x, resolved, baseline, background, seed, _names(named, x, names is None), notes, tokens)


def _by_name(given: Any, like: Any, model: Any) -> Any:
    """A tuple of arrays as a dict by the names of the model's inputs, where others are given so."""
    names = [node.name for node in getattr(model, "_input_nodes", ())]
    alike = isinstance(given, tuple) and isinstance(like, dict) and set(names) == set(like) and len(names) == len(given)
    return dict(zip(names, given, strict=True)) if alike else given


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
        if y.dtype.kind not in "fiub":
            raise ValueError(
                f"the function gives {str(y.ravel()[0])!r}, which is no number: give one that gives numbers, such as the "
                f"probability of each class (predict_proba)"
            )
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
