"""A question about words as one about the vectors that are looked up for them, which has an answer by gradients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .question import Question, Score
from .subject import Subject
from .tokens import OTHERS, Lookups, rounds

_ZERO = "compared with row 0 of the table (give background=training rows, or baseline=, to compare with something else)"
_MEAN = "compared with the mean of the vectors that the training rows look up"


@jax.tree_util.register_dataclass
@dataclass
class Parts:
    """An input taken apart: what it looks up, (rows, number, feature ...) for each lookup, and its arrays of quantities."""

    vectors: list[Any]
    rest: list[Any]


def summed(values: Any) -> Any:
    """Values of vectors summed over their features, so that each word has one; any others as they are.

    >>> summed(Parts([jnp.ones((1, 2, 3))], [])).vectors[0].tolist()
    [[3.0, 3.0]]
    """
    if not isinstance(values, Parts):
        return values
    return Parts([jnp.sum(v, axis=tuple(range(2, v.ndim))) for v in values.vectors], values.rest)


@dataclass
class HeldQuestion(Question):
    """A question about something that the function makes on its way, the examples themselves held fast.

    ``targets`` are numbers of rows, under which the examples and the outputs lie in ``weights``: a method may repeat rows as
    it likes, with their targets.
    """

    origin: Any = None  # the question about the examples

    @property
    def weights(self) -> Any:
        return self.subject.weights, jax.tree.leaves(self.origin.x), self.origin.targets

    @property
    def targets(self) -> Any:
        return np.arange(self.count, dtype=np.int32)

    @property
    def score(self) -> Score:
        chosen, outputs = self.origin.target, self.inside()

        def score(weights: Any, x: Any, target: Any) -> Any:
            weights, held, numbers = weights
            y = outputs(weights, [jnp.asarray(leaf)[target] for leaf in held], x)
            if callable(chosen):
                return chosen(y)
            number = jnp.asarray(numbers)[target]
            return jnp.take_along_axis(jnp.reshape(y, (y.shape[0], -1)), number[:, None], axis=1)[:, 0]

        return score

    def inside(self) -> Any:
        """``outputs(weights, held, x)``, the function from there on; ``held`` are the arrays of the examples."""
        raise NotImplementedError

    def folded(self, answer: Any) -> Any:
        """The method's answer, as it is to be shown."""
        raise NotImplementedError


@dataclass
class VectorQuestion(HeldQuestion):
    """The same question about `Parts`: words are floats here, and their comparisons (masks) those of the words there are."""

    places: list[np.ndarray] = field(default_factory=list)  # of each lookup, as in `tokens.Site`

    def inside(self) -> Any:
        structure, floating = jax.tree.structure(self.origin.x), _floating(self.origin.x)
        outputs = Lookups(self.subject.outputs)

        def run(weights: Any, held: list[Any], x: Parts) -> Any:
            rest = iter(x.rest)
            leaves = [next(rest) if f else h for f, h in zip(floating, held, strict=True)]
            return outputs(weights, structure.unflatten(leaves), x.vectors)

        return run

    @property
    def baseline(self) -> Any:
        if self.given_baseline is None and self.background is None and not self.x.rest:
            nothing = jax.tree.map(np.zeros_like, self.origin.x)
            self.note(_ZERO)
            return _parts(self.subject, self.subject.weights, nothing)[0]
        return super().baseline

    @property
    def means(self) -> str:
        return _MEAN if self.x.vectors else super().means

    def take(self, pick: np.ndarray) -> Question:
        return over_vectors(self.origin.take(pick))

    def folded(self, answer: Any) -> Any:
        """The answer about words: the values of a word's vectors, summed. Sums of standard errors are upper bounds."""
        parts = jax.tree.map(np.asarray, (answer.values, answer.error))
        return replace(answer, values=self._folded(parts[0]), error=self._folded(parts[1]))

    def _folded(self, values: Any) -> Any:
        if not isinstance(values, Parts):
            return values
        leaves, rest = jax.tree.leaves(self.origin.x), iter(values.rest)
        sizes = np.cumsum([0, *[leaf.size for leaf in leaves]])
        flat = np.zeros(sizes[-1], np.float64)
        for found, places in zip(values.vectors, self.places, strict=True):
            np.add.at(flat, places, found.sum(axis=tuple(range(2, found.ndim)), dtype=np.float64))
        result = []
        for i, (leaf, floating) in enumerate(zip(leaves, _floating(self.origin.x), strict=True)):
            own = flat[sizes[i] : sizes[i + 1]].reshape(leaf.shape).astype(np.float32)
            result.append(own + np.asarray(next(rest)) if floating else own)
        return jax.tree.unflatten(jax.tree.structure(self.origin.x), result)


def over_vectors(question: Question) -> Question:
    """The question as gradients can answer it: unchanged where there are no words.

    Raises: ValueError where words are not looked up in a table, so that nothing can be differentiated by.
    """
    subject, floating = question.subject, _floating(question.x)
    if all(floating) and not _rounds(question):
        return question
    parts, places = _parts(subject, subject.weights, question.x)
    if not places and all(floating):
        return question
    if not jax.tree.leaves(parts):
        raise ValueError(
            f"x holds whole numbers that the function compares or counts, but does not look up in a table, so there is nothing "
            f"to differentiate by: use {OTHERS}"
        )
    given = None if question.given_baseline is None else _parts(subject, subject.weights, question.baseline)[0]
    background = None if question.background is None else _parts(subject, subject.weights, question.background)[0]
    return VectorQuestion(
        subject=apart(subject, "vectors", jax.tree.structure(question.x), tuple(floating)),
        x=parts,
        target=question.target if callable(question.target) else np.arange(question.count, dtype=np.int32),
        given_baseline=given,
        background=background,
        seed=question.seed,
        names=question.names,
        notes=question.notes,
        tokens=[False] * len(jax.tree.leaves(parts)),
        origin=question,
        places=places,
    )


def _floating(x: Any) -> list[bool]:
    return [np.asarray(leaf).dtype.kind == "f" for leaf in jax.tree.leaves(x)]


def _rounds(question: Question) -> bool:
    """Whether floats become whole numbers on their way, as categories in a table of floats do."""
    kept: Any = question.subject.programs
    x = jax.tree.map(lambda a: a[:1], question.x)
    key = ("rounds", str(jax.tree.map(np.shape, x)))
    if key not in kept:
        kept[key] = rounds(question.subject.outputs, question.subject.weights, x)
    return kept[key]


def apart(subject: Subject, *form: Any) -> Subject:
    """The subject with a place of its own for programs, kept with the model."""
    kept: Any = subject.programs.setdefault(form, {})  # pyright: ignore[reportArgumentType]
    other = Subject(
        subject.outputs,
        subject.weights,
        differentiable=subject.differentiable,
        model=subject.model,
        says=subject.says,
    )
    other.programs = kept
    return other


def _parts(subject: Subject, weights: Any, x: Any) -> tuple[Parts, list[np.ndarray]]:
    """The input taken apart, and the places of its lookups."""
    key: Any = ("lookups", str(jax.tree.map(lambda a: (np.shape(a), np.asarray(a).dtype), x)))
    if key not in subject.programs:
        found: list[np.ndarray] = []
        lookups = Lookups(subject.outputs)

        def run(weights: Any, x: Any) -> list[Any]:
            sites = lookups.sites(weights, x)
            found[:] = [site.places for site in sites]
            return [site.vectors.astype(jnp.float32) for site in sites]

        subject.programs[key] = (jax.jit(run), found)  # pyright: ignore[reportArgumentType]
    program, places = subject.programs[key]  # type: ignore[misc]
    vectors = [np.asarray(v) for v in program(weights, x)]
    floating = _floating(x)
    return Parts(vectors, [leaf for leaf, f in zip(jax.tree.leaves(x), floating, strict=True) if f]), places
