"""Which method to trust here: sanity checks of explanations, on the model and the examples at hand."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from ..data.arrays import spread_rows
from ..progress import track
from .method import METHODS
from .question import Question, ask
from .result import Explanation
from .subject import Subject

__all__ = ["Check", "check"]

FRACTIONS = np.linspace(0, 1, 11)
PLANTED = 0.1  # of the features carry a planted effect
BACKGROUND = 16  # rows of it that are compared with
CHANCE_ORDERS = 8  # random orders of removal that stand for chance

COLUMNS = {  # name: (in words, the best value)
    "randomised": ("rank correlation with the explanation of the same network with random weights; near 0 is right", 0.0),
    "removal": ("how much sooner the output falls, and recovers, than in random order; 0 is chance", 1.0),
    "infidelity": ("part of the change under random removals that the values do not predict; 0 is best, 1 says nothing", 0.0),
    "sensitivity": ("largest relative change of the values under tiny changes of the input", 0.0),
    "planted": ("area under the ROC curve of finding features whose effect was planted; 0.5 is chance", 1.0),
}


@dataclass
class Check:
    """A row of scores for each method, and what follows from them; ``random`` is a control that knows nothing."""

    methods: list[str]
    scores: dict[str, np.ndarray]  # column -> (methods,); NaN where it could not be asked
    verdicts: list[str]  # "trust", "caution: ...", "fails: ..."
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> str | None:
        """The method to trust here: of those that fail nothing, the one whose values predict removals best."""
        good = [i for i, v in enumerate(self.verdicts) if v == "trust"] or [
            i for i, v in enumerate(self.verdicts) if v.startswith("caution")
        ]
        if not good:
            return None
        worth = self.scores["removal"] - self.scores["infidelity"]
        return self.methods[max(good, key=lambda i: np.nan_to_num(worth[i], nan=-9.0))]

    def __repr__(self) -> str:
        wide = max(len(m) for m in self.methods)
        lines = [f"{'':{wide}}  " + "  ".join(f"{c:>11}" for c in self.scores) + "  verdict"]
        for i, name in enumerate(self.methods):
            cells = "  ".join(f"{'-' if np.isnan(v[i]) else format(v[i], '.2f'):>11}" for v in self.scores.values())
            lines.append(f"{name:{wide}}  {cells}  {self.verdicts[i]}")
        lines += [f"{name}: {COLUMNS[name][0]}" for name in self.scores]
        lines += self.notes
        lines.append(f"best here: {self.best}" if self.best else "no method is to be trusted here")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from ..report.html import table

        rows = [
            [m, *("-" if np.isnan(v[i]) else f"{v[i]:.2f}" for v in self.scores.values()), self.verdicts[i]]
            for i, m in enumerate(self.methods)
        ]
        return table(["method", *self.scores, "verdict"], rows, text=(0, len(self.scores) + 1))


def check(
    function: Any,
    x: Any,
    methods: Sequence[str | Callable[..., Explanation]] | None = None,
    *,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    rows: int = 16,
    seed: int = 0,
    progress: bool | None = None,
) -> Check:
    """Put methods to the test on this function and these examples: five questions whose right answer is known.

    - randomised: does the explanation change when the network's weights are replaced by random ones? (models only)
    - removal: does the output fall when the features said to matter are set to the baseline, and recover when they are put
      back, sooner than in random order? (deletion and insertion; 1 would be at once)
    - infidelity: do the values predict how the output changes when random sets of features go?
    - sensitivity: do the values stay when the input hardly changes?
    - planted: is an effect found that was added to the function at known features?

    ``methods`` are names, or functions ``f(function, x, target=, baseline=, background=, seed=)`` of your own; by default
    those that suit the function. ``rows`` examples are used, the first ones, and at most
    16 rows of the background.

    Sources: Adebayo et al. 2018, arXiv:1810.03292; Petsiuk et al. 2018, arXiv:1806.07421; Yeh et al. 2019, arXiv:1901.09392.
    Raises: as the methods do; a method that cannot be used here is left out with a note.

    >>> import numpy as np
    >>> found = check(lambda x: x[:, 0] * x[:, 1], np.ones((4, 6), "float32"), ["exact_shapley"], baseline=0.0)
    >>> found.methods, float(found.scores["planted"][0])
    (['exact_shapley', 'random'], 1.0)
    """
    shared = {"target": target, "baseline": baseline, "background": background, "seed": seed}
    question = ask(function, x, target=target, baseline=baseline, background=background, seed=seed)
    question = replace(question.rows(0, min(rows, question.count)), background=_some(question.background))
    shared |= {"target": question.target, "baseline": question.given_baseline, "background": question.background}
    trial = _Trial(question, seed)
    if methods is None:
        methods = [m for m in _suited(question) if m in METHODS]
    named: list[tuple[str, Callable]] = []
    for m in methods:
        if isinstance(m, str) and m not in METHODS:
            raise unknown("method", m, METHODS)
        named.append((m, METHODS[m]) if isinstance(m, str) else (getattr(m, "__name__", "yours"), m))
    names, table, notes = [], [], []
    for name, method in track(named, "checking", show=progress):
        try:
            table.append(_scores(trial, method, shared))
            names.append(name)
        except (ValueError, TypeError, NotImplementedError) as error:
            notes.append(f"{name} was left out: {str(error).splitlines()[0][:120]}")
    if not names and named:
        raise ValueError("none of the methods can be used here:\n" + "\n".join(notes))
    table.append(_scores(trial, _Random(seed), shared))
    names.append("random")
    scores = {c: np.array([row.get(c, np.nan) for row in table]) for c in COLUMNS}
    return Check(names, scores, [_verdict({c: v[i] for c, v in scores.items()}) for i in range(len(names))], notes)


def _suited(question: Question) -> list[str]:
    """Methods worth trying: those that differ in kind, and are not too slow for the number of features."""
    features = sum(int(np.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(question.x))
    found = ["saliency", "input_x_gradient", "integrated_gradients", "deeplift", "lrp", "smooth_grad", "grad_cam"]
    found = found if question.subject.differentiable else []
    if question.background is not None and question.subject.differentiable:
        found += ["expected_gradients", "deepshap"]
    if features <= 12:
        found.append("exact_shapley")
    if features <= 256:
        found += ["permutation_shapley", "kernel_shap"]
    return [*found, "occlusion"]


def _verdict(scores: dict[str, float]) -> str:
    """What the scores mean; the bounds are where random values and guided backpropagation are told from sound methods."""
    fails, doubts = [], []
    if scores["randomised"] > 0.6:
        fails.append("hardly looks at the weights")
    if scores["removal"] < 0.05:
        fails.append("no better than chance at removal")
    if scores["planted"] < 0.75:
        fails.append("misses planted features")
    elif scores["planted"] < 0.95:
        doubts.append("planted features found in part")
    if scores["infidelity"] > 0.7:
        doubts.append("does not predict removals")
    if scores["sensitivity"] > 1:
        doubts.append("unstable")
    return f"fails: {', '.join(fails)}" if fails else f"caution: {', '.join(doubts)}" if doubts else "trust"


def _some(background: Any) -> Any:
    """A few rows of the background, evenly taken: the same for all methods, and enough to tell them apart."""
    return None if background is None else spread_rows(background, BACKGROUND)


class _Random:
    """The control: values drawn from a hat, in the form of the input."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.RandomState(seed + 1)

    def __call__(self, function: Any, x: Any, **_: Any) -> Explanation:
        values = jax.tree.map(lambda a: self.draw.normal(size=np.shape(a)), x)
        count = len(jax.tree.leaves(x)[0])
        return Explanation("random", values, x, np.zeros(count), None)


class _Trial:
    """The examples of a check with what all methods share: which features there are, what stands in when one is removed."""

    def __init__(self, question: Question, seed: int) -> None:
        self.question, self.seed = question, seed
        self.leaves, self.structure = jax.tree.flatten(question.x)
        self.base = jax.tree.leaves(question.baseline)
        known = jax.tree.leaves(question.background) or [np.concatenate(p) for p in zip(self.leaves, self.base, strict=True)]
        # How far each feature varies; pixels and steps alike, each channel for itself.
        self.spreads = [np.std(rows, axis=tuple(range(max(rows.ndim - 1, 1)))) for rows in known]
        # A pixel is one feature, whatever its colours.
        self.shapes = [leaf.shape[1:-1] if leaf.ndim == 4 else leaf.shape[1:] for leaf in self.leaves]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.features = sum(self.sizes)
        self.count = question.count
        self.output = question.ask(question.x)
        self.moved = np.abs(self.flat([np.asarray(a, np.float64) - b for a, b in zip(self.leaves, self.base, strict=True)]))
        nothing = np.ones((self.count, 1, self.features), bool)
        if not np.all(np.isfinite(self.without(nothing))):  # such as the mean over no words: one is left
            nothing[np.arange(self.count), 0, self.moved.argmax(1)] = False
        whole = self.without(nothing)[:, 0]
        self.span = np.maximum(np.abs(self.output - whole), 1e-12)
        draw = np.random.RandomState(seed)
        self.orders = np.stack([[draw.permutation(self.features) for _ in range(self.count)] for _ in range(CHANCE_ORDERS)])
        self.chance = np.mean([self.curve(order) for order in self.orders], axis=0)
        self.gone = draw.rand(self.count, 64, self.features) < draw.rand(self.count, 64, 1)
        self.fell = self.output[:, None] - self.without(self.gone)
        known = np.isfinite(self.fell)
        self.gone, self.fell = self.gone & known[..., None], np.where(known, self.fell, 0.0)
        self.spots, self.signs = self.places(draw)
        self.planted = _with_planted(self)  # one for all methods, and so compiled once

    def places(self, draw: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Where something is planted, and whether it adds or takes: features, or squares of a picture as large as a window."""
        planted = max(1, min(round(PLANTED * self.features), 64))
        if len(self.leaves) != 1 or self.leaves[0].ndim != 4:
            return draw.permutation(self.features)[:planted], draw.choice([-1.0, 1.0], planted)
        height, width = self.shapes[0]
        down, across = max(height // 8, 1), max(width // 8, 1)
        cells = [(i, j) for i in range(0, height - down + 1, down) for j in range(0, width - across + 1, across)]
        pick = draw.permutation(len(cells))[: max(1, planted // (down * across))]
        number = np.arange(self.features).reshape(height, width)
        squares = [number[i : i + down, j : j + across].ravel() for i, j in np.array(cells)[pick]]
        return np.concatenate(squares), np.repeat(draw.choice([-1.0, 1.0], len(squares)), down * across)

    def flat(self, values: Any) -> np.ndarray:
        """(rows, features) of values in the form of the input."""
        parts = []
        for leaf, shape, like in zip(jax.tree.leaves(values), self.shapes, self.leaves, strict=True):
            leaf = np.asarray(leaf, np.float64)
            if leaf.shape[1:3] != like.shape[1:3] and leaf.ndim in (3, 4) and like.ndim == 4:
                raise ValueError(f"the values have shape {leaf.shape}, the input {like.shape}")
            leaf = leaf.sum(-1) if leaf.ndim == len(shape) + 2 else leaf
            parts.append(leaf.reshape(self.count, -1))
        found = np.concatenate(parts, axis=1)
        if found.shape[1] != self.features:
            raise ValueError(f"the values have {found.shape[1]} features an example, the input has {self.features}")
        return found

    def without(self, gone: np.ndarray) -> np.ndarray:
        """The output (rows, trials) where the features of ``gone`` (rows, trials, features) are set to the baseline."""
        trials = gone.shape[1]
        inputs, start = [], 0
        for leaf, base, shape, size in zip(self.leaves, self.base, self.shapes, self.sizes, strict=True):
            mask = gone[:, :, start : start + size].reshape(self.count * trials, *shape)
            mask = mask[..., None] if leaf.ndim == 4 else mask
            inputs.append(np.where(mask, np.repeat(base, trials, axis=0), np.repeat(leaf, trials, axis=0)))
            start += size
        target = np.repeat(self.question.targets, trials)
        return self.question.ask(self.structure.unflatten(inputs), target).reshape(self.count, trials)

    def curve(self, order: np.ndarray) -> np.ndarray:
        """(rows, 2): the mean output while the features go in this order, and while they come back in it."""
        rank = np.argsort(order, axis=1)[:, None, :]
        counts = np.round(FRACTIONS * self.features)[None, :, None]
        return np.stack([np.nanmean(self.without(gone), axis=1) for gone in (rank < counts, rank >= counts)], axis=1)


def _scores(trial: _Trial, method: Callable[..., Explanation], shared: dict[str, Any]) -> dict[str, float]:
    question = trial.question
    plain = trial.flat(method(question.subject, question.x, **shared).values)
    scores: dict[str, float] = {}
    # Removal: what raises the output goes first; the area against that of random orders, as part of the whole way down.
    fall, rise = np.moveaxis(trial.curve(np.argsort(-plain, axis=1, kind="stable")), 1, 0)
    gain = ((trial.chance[:, 0] - fall) + (rise - trial.chance[:, 1])) / 2 / trial.span
    scores["removal"] = float(np.median(np.clip(gain, -3, 3)))
    # Infidelity, each row's values scaled best, so that slopes and attributions are judged alike.
    said = np.einsum("rtf,rf->rt", trial.gone, plain)
    scale = (said * trial.fell).sum(1) / np.maximum((said**2).sum(1), 1e-30)
    missed = ((trial.fell - scale[:, None] * said) ** 2).sum(1) / np.maximum((trial.fell**2).sum(1), 1e-30)
    scores["infidelity"] = float(np.median(missed))
    if not any(question.tokens):  # words are not moved a little, and nothing is added to their numbers
        scores["sensitivity"] = _sensitivity(trial, method, shared, plain)
        with contextlib.suppress(ValueError, TypeError):  # maps of a layer need the model itself
            scores["planted"] = _planted(trial, method, shared)
    if question.subject.model is not None:
        other = trial.flat(method(_randomised(question.subject, trial.seed), question.x, **shared).values)
        # What is as in the baseline, such as padding, has nothing to explain under any weights.
        both = [_rank_correlation(a[m], b[m]) for a, b, m in zip(plain, other, trial.moved > 0, strict=True)]
        scores["randomised"] = float(np.mean(both))
    return scores


def _sensitivity(trial: _Trial, method: Callable, shared: dict[str, Any], plain: np.ndarray) -> float:
    draw = np.random.RandomState(trial.seed)
    worst = np.zeros(trial.count)
    for _ in range(2):
        near = [
            a + (0.01 * spread * draw.normal(size=a.shape)).astype(a.dtype) if a.dtype.kind == "f" else a
            for a, spread in zip(trial.leaves, trial.spreads, strict=True)
        ]
        other = trial.flat(method(trial.question.subject, trial.structure.unflatten(near), **shared).values)
        change = np.linalg.norm(other - plain, axis=1) / np.maximum(np.linalg.norm(plain, axis=1), 1e-12)
        worst = np.maximum(worst, change)
    return float(np.median(worst))


def _planted(trial: _Trial, method: Callable, shared: dict[str, Any]) -> float:
    """Add to the function a strong effect at a few features, and see whether they come out on top."""
    found = np.abs(trial.flat(method(trial.planted, trial.question.x, **shared).values))
    chosen = np.zeros(trial.features, bool)
    chosen[trial.spots] = True
    areas, usual = [], trial.moved.mean(0) + 1e-12
    for values, way in zip(found, trial.moved, strict=True):
        here = chosen & (way > 0.25 * usual)  # a feature that stands near the baseline has hardly anything to explain
        if here.any() and (~chosen).any():
            areas.append(_area(values[here], values[~chosen]))
    return float(np.mean(areas)) if areas else float("nan")


def _with_planted(trial: _Trial) -> Subject:
    """The function, and added to each of its outputs a strong linear effect of the chosen features."""
    subject, spots = trial.question.subject, trial.spots
    numpy: Any = jnp if subject.differentiable else np

    def flat(leaves: list[Any]) -> Any:
        rows = leaves[0].shape[0]
        parts = [numpy.asarray(a, np.float32).reshape(rows, n, -1).sum(-1) for a, n in zip(leaves, trial.sizes, strict=True)]
        return numpy.concatenate(parts, axis=1)[:, spots]

    usual = np.maximum(np.abs(np.asarray(flat(trial.leaves)) - np.asarray(flat(trial.base))).mean(0), 1e-6)
    size = 20.0 * max(float(np.std(trial.output)), float(np.abs(trial.fell).mean()), 1e-6)
    weights = (trial.signs * size / usual / len(spots)).astype(np.float32)

    def outputs(given: Any, x: Any) -> Any:
        y = subject.outputs(given, x)
        effect = (flat(jax.tree.leaves(x)) * weights).sum(1)
        return y + numpy.reshape(effect, (y.shape[0],) + (1,) * (y.ndim - 1))

    return Subject(outputs, subject.weights, differentiable=subject.differentiable, says=subject.says)


def _randomised(subject: Subject, seed: int) -> Subject:
    """The same network with each weight array shuffled: same values, no knowledge."""
    draw = np.random.RandomState(seed)
    params, *rest = subject.weights

    def shuffled(array: Any) -> Any:
        flat = np.array(array).reshape(-1)
        return jnp.asarray(draw.permutation(flat).reshape(np.shape(array))) if flat.size > 1 else array

    strange = copy.copy(subject)  # with the programs: it is the same computation
    strange.weights = (jax.tree.map(shuffled, params), *rest)
    return strange


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import rankdata  # slow to import

    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    # Equal values share a rank: where they stand must not make them alike.
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _area(found: np.ndarray, others: np.ndarray) -> float:
    """The chance that one of ``found`` is larger than one of ``others``."""
    return float((found[:, None] > others).mean() + 0.5 * (found[:, None] == others).mean())
