"""Inside a model: the outputs of any layer, attribution to them, and through them, each layer named by its path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module
from ..core.errors import describe, unknown
from ..core.notes import annotation, collecting
from ..core.tree import apply, members
from ..data.arrays import as_arrays, check_finite, count_examples, take_rows
from ..progress import track
from .gradients import gradient, on_way
from .lookups import HeldQuestion, apart, over_vectors
from .method import METHODS, Answer, explained
from .question import Question, Score, ask
from .result import Explanation
from .subject import Subject, subject_of

__all__ = ["features", "layer_attribution", "layer_conductance", "up_to"]


def features(
    model: Module,
    x: Any,
    path: str | Iterable[str],
    *,
    batch_size: int = 256,
    progress: bool | None = None,
) -> Any:
    """What a layer gives for each example, (rows, ...): features for another model, or for a look inside.

    ``path`` names the layer as in ``model.summary()``, such as "layers.2"; the second call of a shared layer is "layers.2:1".
    Several paths give a dict. Batches of one size go through the model, and nothing but these outputs is kept.
    Raises: ValueError for a path that is not there, naming the near ones, and for inputs that are not finite.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> model = Sequential([layers.Dense(4, activation="relu"), layers.Dense(2)]).build(np.ones((1, 3), "float32"))
    >>> features(model, np.ones((5, 3), "float32"), "layers.0").shape
    (5, 4)
    """
    paths = [path] if isinstance(path, str) else list(path)
    for one in paths:
        check_path(model, one)
    ready: Any = getattr(model, "_ready", lambda x: (x, None))
    x = as_arrays(ready(x)[0], "x", parts=getattr(model, "_input_count", 1))
    check_finite(x, "x")
    count, subject = count_examples(x), subject_of(model, x)
    if not count:
        raise ValueError("there is nothing to look at: x holds no examples")
    if ("features", *paths) not in subject.programs:
        subject.programs["features", *paths] = jax.jit(outputs_of(model, paths))
    run, size, parts = subject.programs["features", *paths], min(batch_size, count), []
    for start in track(range(0, count, size), f"features of {', '.join(paths)}", unit=size, show=progress):
        rows = np.minimum(np.arange(start, start + size), count - 1)  # the last row again fills the last batch
        found = run(subject.weights, take_rows(x, rows))
        parts.append(jax.tree.map(lambda a, start=start: np.asarray(a)[: count - start], found))
    joined = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    return joined[path] if isinstance(path, str) else {one: joined[one] for one in paths}


def up_to(model: Module, path: str) -> Subject:
    """The model up to a layer, as a function to be explained: its outputs are the layer's, ``target=(3,)`` picks a unit.

    Every method explains a unit in this way: ``integrated_gradients(up_to(model, "layers.0"), x, target=(3,), baseline=0)``.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> from cenote.explain import saliency
    >>> x = np.ones((1, 3), "float32")
    >>> model = Sequential([layers.Dense(4), layers.Dense(2)]).build(x)
    >>> found = saliency(up_to(model, "layers.0"), x, target=(3,), absolute=False)
    >>> bool(np.allclose(found.values[0], model.params["layers.0.kernel"][:, 3]))
    True
    """
    check_path(model, path)
    subject = apart(subject_of(model, None), "up to", path)
    inner = outputs_of(model, [path])

    def outputs(weights: Any, x: Any) -> Any:
        found = jax.tree.leaves(inner(weights, x)[path])
        if len(found) != 1:
            raise ValueError(f"the layer {path!r} has {len(found)} outputs: take a layer with one")
        return found[0]

    subject.outputs, subject.says, subject.inputs = outputs, f"the outputs of {path}", model
    return subject


def layer_attribution(
    model: Module,
    x: Any,
    path: str,
    method: str = "integrated_gradients",
    *,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    seed: int = 0,
    batch_size: int = 32,
    progress: bool | None = None,
    **options: Any,
) -> Explanation:
    """How much each output of a layer moved the model's: any method by gradients, asked about the layer instead of the input.

    ``method`` is "integrated_gradients", "input_x_gradient" (activation times slope), "saliency", "deeplift" or another one by
    gradients, with its options. Baseline and background are inputs; what is compared is what the layer makes of them.
    Shapes: ``values`` and ``x`` have the form of the layer's output, (rows, ...).
    Raises: ValueError for a path that is not there, and for a method that is not by gradients.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> x = np.ones((2, 3), "float32")
    >>> model = Sequential([layers.Dense(4, activation="tanh"), layers.Dense(2)]).build(x)
    >>> found = layer_attribution(model, x, "layers.0", baseline=0)
    >>> found.values.shape, bool(found.gap.max() < 1e-5)
    ((2, 4), True)
    """
    began = time.perf_counter()
    check_path(model, path)
    known = [name for name, one in METHODS.items() if one.gradients]  # type: ignore[attr-defined]
    if method not in known:
        raise unknown("method", method, known)
    question = ask(model, x, target=target, baseline=baseline, background=background, seed=seed)
    answer: Callable[..., Answer] = METHODS[method].__wrapped__  # type: ignore[attr-defined]
    found = explained(method, answer, question, x, options, batch_size, progress, began, lambda q: at_layer(q, path))
    found.reason = "; ".join(n for n in (f"attribution to the outputs of {path}", found.reason) if n)
    found.names = None  # those of the input
    found.details["layer"] = path
    return found


def layer_conductance(
    model: Module,
    x: Any,
    path: str,
    *,
    unit: tuple[int, ...] | int | None = None,
    nodes: int = 50,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    batch_size: int = 32,
    progress: bool | None = None,
) -> Explanation:
    """How much of Integrated Gradients flows through each unit of a layer: ``int df/dy_j dy_j/da da`` on the input's way.

    The values have the form of the layer's output and add up to ``f(x) - f(x')``. With ``unit``, the place of one unit, they
    have that of the input: how much of each feature's attribution flows through it.
    Raises: ValueError for a path or unit that is not there, and for words, between which there is no straight way.
    Source: Dhamdhere, Sundararajan and Yan 2018, arXiv:1805.12233.

    >>> import numpy as np
    >>> from cenote import Sequential, layers
    >>> x = np.ones((2, 3), "float32")
    >>> model = Sequential([layers.Dense(4, activation="tanh"), layers.Dense(2)]).build(x)
    >>> found = layer_conductance(model, x, "layers.0", baseline=0)
    >>> found.values.shape, bool(found.completeness.max() < 1e-3)
    ((2, 4), True)
    """
    began = time.perf_counter()
    check_path(model, path)
    if nodes < 1:
        raise ValueError(f"nodes is a whole number, at least 1, got {nodes!r}")
    question = ask(model, x, target=target, baseline=baseline, background=background)
    if over_vectors(question.rows(0, 1)).subject is not question.subject:
        raise ValueError(
            "conductance goes straight from the baseline to the input, but between two words there is no way: use "
            "layer_attribution, from the layer that looks the words up on"
        )
    name = "layer_conductance" if unit is None else "unit_conductance"
    place = (unit,) if isinstance(unit, int) else unit
    options = {"nodes": nodes, "unit": place}
    return replace(
        explained(name, _conductance, question, x, options, batch_size, progress, began, lambda q: at_layer(q, path)),
        reason=f"through {path if unit is None else f'unit {place} of {path}'}, {nodes} nodes",
        names=question.names if unit is not None else None,
    )


# -- a question about a layer ----------------------------------------------------------------------------------------------


@dataclass
class LayerQuestion(HeldQuestion):
    """A question about the outputs of a layer: ``score`` is the rest of the model, the examples stay as they are."""

    path: str = ""

    def inside(self) -> Any:
        model, path, structure = self.subject.model, self.path, jax.tree.structure(self.origin.x)
        inner = outputs_of(model, [path])  # type: ignore[arg-type]

        def run(weights: Any, held: list[Any], x: Any) -> Any:
            shown = structure.unflatten(held)
            nudge = jax.tree.map(lambda new, old: new - old, x, inner(weights, shown)[path])
            with collecting(fresh=True):
                y = applied(model, weights, shown, nudge={path: nudge})[0]  # type: ignore[arg-type]
                logits = annotation(y, "logits") if hasattr(y, "shape") else None
            return jax.tree.leaves(y)[0] if logits is None else logits

        return run

    @property
    def baseline(self) -> Any:
        return self.at(self.origin.baseline)

    def at(self, x: Any) -> Any:
        """What the layer makes of inputs."""
        model: Any = self.subject.model
        run = self.subject.programs.setdefault("inner", jax.jit(outputs_of(model, [self.path])))
        return jax.tree.map(np.asarray, run(self.subject.weights, x)[self.path])

    def take(self, pick: np.ndarray) -> Question:
        return at_layer(self.origin.take(pick), self.path)

    def folded(self, answer: Answer) -> Answer:
        return replace(answer, x=self.x if answer.x is None else answer.x)


def at_layer(question: Question, path: str) -> LayerQuestion:
    """The question about the outputs of a layer instead of the input's features."""
    subject = apart(question.subject, "layer", path, jax.tree.structure(question.x))
    made = LayerQuestion(
        subject=subject,
        x=None,
        target=question.target if callable(question.target) else np.arange(question.count, dtype=np.int32),
        seed=question.seed,
        notes=question.notes,
        origin=question,
        path=path,
    )
    made.x = made.at(question.x)
    for leaf in jax.tree.leaves(made.x):
        if leaf.dtype.kind != "f":
            raise ValueError(f"the output of {path!r} is {describe(leaf)}: whole numbers have no slope; take a later layer")
        if leaf.ndim < 1 or leaf.shape[0] != question.count:
            raise ValueError(
                f"the output of {path!r} is {describe(leaf)}, with no row for each of the {question.count} examples: take a "
                f"layer outside repeated blocks and before rows are mixed"
            )
    made.background = None if question.background is None else made.at(question.background)
    made.tokens = [False] * len(jax.tree.leaves(made.x))
    return made


def outputs_of(model: Module, paths: list[str]) -> Callable[[Any, Any], dict[str, Any]]:
    """``run(weights, x)``: the outputs of layers by path, in float32."""

    def run(weights: Any, x: Any) -> dict[str, Any]:
        found = applied(model, weights, x, capture=paths)[2]
        return jax.tree.map(lambda a: a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, found)

    return run


def applied(model: Module, weights: Any, x: Any, **options: Any) -> Any:
    """The model applied as when it predicts."""
    spread = getattr(model, "_spread", lambda x: (x,))
    half = (getattr(model, "_compiled", None) or {}).get("precision") == "mixed_bfloat16"
    return apply(model, *weights, *spread(x), dtype=jnp.bfloat16 if half else None, **options)


def check_path(model: Any, path: str) -> None:
    """Raises a ValueError for a path that is not the model's, with the near ones."""
    if not isinstance(model, Module):
        raise TypeError(f"expected a model made of layers, which have paths, got {type(model).__name__}")
    known = members(model)
    if path.split(":")[0] not in known:
        raise unknown("path of a layer", path, [p for p in known if p])


# -- conductance -----------------------------------------------------------------------------------------------------------


def _conductance(question: LayerQuestion, *, nodes: int, unit: tuple[int, ...] | None) -> Answer:
    shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(question.x)]
    if unit is not None and (
        len(shapes) != 1 or len(unit) != len(shapes[0]) or any(not -n <= u < n for u, n in zip(unit, shapes[0], strict=True))
    ):
        raise ValueError(f"there is no unit {unit} in {question.path!r}, whose outputs have shape {shapes[0]} for an example")
    origin, model = question.origin, question.subject.model
    assert model is not None
    run = question.program(_through, model, question.path, unit)
    values, base = run(question.weights, origin.x, origin.baseline, question.targets, np.zeros(nodes, np.int8))
    return Answer(values, base if unit is None else None, x=None if unit is None else origin.x, details={"nodes": nodes})


def _through(score: Score, model: Module, path: str, unit: tuple[int, ...] | None) -> Callable:
    slope, inner = gradient(score), outputs_of(model, [path])

    def run(weights: Any, x: Any, baseline: Any, target: Any, steps: Any) -> tuple:
        own, _, numbers = weights
        nodes, spot = steps.shape[0], (slice(None), *(unit or ()))

        def layer(x: Any) -> Any:
            return inner(own, x)[path]

        def slopes(point: Any) -> Any:
            return slope((own, jax.tree.leaves(point), numbers), layer(point), target)

        def add(i: Any, total: Any) -> Any:
            middle = on_way(baseline, x, (i + 0.5) / nodes)
            there = slopes(middle)
            if unit is None:
                ends = (layer(on_way(baseline, x, (i + k) / nodes)) for k in (0, 1))
                return jax.tree.map(lambda t, s, a, b: t + s * (b - a), total, there, *ends)
            y, back = jax.vjp(layer, middle)
            one = jax.tree.map(lambda s, a: jnp.zeros_like(a).at[spot].set(s[spot]), there, y)
            return jax.tree.map(lambda t, g, a, b: t + g * (a - b) / nodes, total, back(one)[0], x, baseline)

        nothing = jax.tree.map(jnp.zeros_like, layer(x) if unit is None else x)
        values = jax.lax.fori_loop(0, nodes, add, nothing)
        return values, score((own, jax.tree.leaves(baseline), numbers), layer(baseline), target)

    return run
