"""Feature selection: which columns a model needs, measured on rows it was not trained on, beside what chance would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module, declared
from ..core.errors import unknown
from ..core.tree import bind, clone, draw
from ..data.arrays import check_pair, take_rows
from ..data.feed import as_feed
from ..progress import track
from ..train import Plan, fit
from ..train.step import trained_names
from .columns import Columns, about
from .importance import Shuffler, shuffler, targets_of
from .method import METHODS
from .question import all_outputs

__all__ = ["Selection", "select_features"]

WAYS = ("permutation", "shapley", "elimination", "gates")
FEW = 12  # features up to which Shapley values are exact
SPREAD = 0.5  # of the noise on a gate, as in the paper
PENALTIES = (0.01, 0.02, 0.05, 0.1, 0.2)  # of an open gate, that are tried


@dataclass
class Selection:
    """Which features were chosen, and why.

    ``values`` (features,): the importance, the place in the elimination (1: dropped first), or the chance that a gate is open.
    ``null`` (runs, features): the same for models that learnt shuffled targets, and ``threshold`` what the largest of a run
    stays below in 95% of them. ``details`` holds "scores" for eliminations: (features left, metric) at each step.
    """

    method: str
    names: list[str]
    values: np.ndarray
    chosen: list[int]
    null: np.ndarray | None = None
    threshold: float | None = None
    unit: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> np.ndarray:
        """Numbers of the features, the most important first."""
        return np.argsort(-self.values, kind="stable")

    @property
    def p_values(self) -> np.ndarray:
        """The share of runs with shuffled targets in which some feature seemed as important, ``(1 + count) / (1 + runs)``."""
        if self.null is None:
            raise ValueError("there is no null distribution: select_features(..., null=20)")
        most = self.null.max(1)
        return (1 + (most[:, None] >= self.values[None]).sum(0)) / (1 + len(most))

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most important features.

        >>> Selection("any", ["a", "b"], np.array([0.1, 0.7]), [1]).top(1)
        [('b', 0.7)]
        """
        return [(self.names[i], float(self.values[i])) for i in self.order[:count]]

    def take(self, x: Any) -> Any:
        """The chosen columns of a matrix or a frame.

        >>> Selection("any", ["a", "b"], np.array([0.1, 0.7]), [1]).take(np.array([[1, 2], [3, 4]])).tolist()
        [[2], [4]]
        """
        return x.iloc[:, self.chosen] if hasattr(x, "iloc") else np.asarray(x)[:, self.chosen]

    def __repr__(self) -> str:
        shown = ", ".join(self.names[i] for i in self.chosen[:12]) + (", ..." if len(self.chosen) > 12 else "")
        lines = [f"{self.method}: {len(self.chosen)} of {len(self.names)} features chosen: {shown or 'none'}"]
        lines.append(
            "  " + ", ".join(f"{name} {value:.3g}" for name, value in self.top(8)) + (f" ({self.unit})" if self.unit else "")
        )
        if self.null is not None:
            lines.append(f"  by chance up to {self.threshold:.3g} ({len(self.null)} trainings with shuffled targets)")
        return "\n".join(lines)


def select_features(
    model: Any,
    x: Any,
    y: Any,
    *,
    method: str = "permutation",
    keep: int | None = None,
    null: int | None = None,
    epochs: int = 30,
    batch_size: int = 32,
    held_out: float = 0.3,
    metric: Any = None,
    repeats: int = 5,
    penalty: float | None = None,
    seed: int = 0,
    names: Any = None,
    progress: bool | None = None,
) -> Selection:
    """Which features a model needs: trained afresh on a part of the rows, measured on the ``held_out`` part.

    ``model`` is a compiled model for a table (rows, features); it is not changed. ``method``:

    - "permutation": how much worse ``metric`` becomes when a feature is shuffled, as in `permutation_importance`;
    - "shapley": the mean size of a feature's Shapley values, exact for up to 12 features;
    - "elimination": the least important feature by permutation is replaced by its mean, the model trained again, and so on;
      chosen is the smallest set whose score is no more than a standard error below the best;
    - "gates": trained together with the model, ``x_d -> mean_d + g_d (x_d - mean_d)`` with
      ``g_d = clip(mu_d + noise, 0, 1)``; each gate's chance to be open, ``Phi(mu_d / 0.5)``, costs ``penalty`` times the loss
      at the start (default: of five, the largest with which the loss on the held-out rows is within a standard error of the
      best). In the first third of the training all gates are open: a feature is first learnt, then weighed.

    For the first two, ``null`` models (default 20; 0 for none) learn shuffled targets: chosen are features above what the
    largest importance among them stays below in 95% of the runs. ``keep`` chooses that many features in place of these rules.
    Duplicated columns share what they bring, or stand in for each other.
    Raises: ValueError for unknown methods, ``keep`` beyond the features, y of another length, a model that was not compiled.
    Source: Altmann et al., 2010, Bioinformatics 26 (null); Guyon et al., 2002, Machine Learning 46 (elimination); Yamada et
    al., 2020, arXiv:1810.04247 (gates).

    >>> from cenote import Sequential, layers
    >>> model = Sequential([layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
    >>> select_features(model, x, 2 * x[:, 1], null=0, keep=1, epochs=100).chosen
    [1]
    """
    if method not in WAYS:
        raise unknown("method of feature selection", method, WAYS)
    if not isinstance(model, Module) or getattr(model, "_compiled", None) is None:
        raise TypeError(
            "select_features trains a compiled model again and again: give one, model.compile(loss=...); for other functions "
            "use permutation_importance"
        )
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is the share of the rows that is measured on, between 0 and 1, got {held_out}")
    if null is not None and null < 0:
        raise ValueError(f"null is a number of trainings, 0 or more, got {null}")
    work = _Work(model, x, y, names, epochs, batch_size, held_out, seed)
    if keep is not None and not 1 <= keep <= len(work.names):
        raise ValueError(f"keep must be 1 to {len(work.names)}, the number of features, got {keep}")
    if method == "gates":
        found = _gates(work, penalty)
    elif method == "elimination":
        found = _elimination(work, metric, repeats, progress)
    else:
        found = _against_null(work, method, metric, repeats, 20 if null is None else null, progress)
    if keep is not None:
        found.chosen = found.order[:keep].tolist()
    return found


class _Work:
    """The model's training, from new start values each time, on one part of the rows; the other part to measure on."""

    def __init__(
        self, model: Any, x: Any, y: Any, names: Any, epochs: int, batch_size: int, held_out: float, seed: int
    ) -> None:
        if y is None:
            raise ValueError("feature selection needs targets: select_features(model, x, y)")
        if not model.built and model._spec is None:
            model = clone(model)
            model.build(np.asarray(x[:1] if not hasattr(x, "iloc") else x.iloc[:1], np.float32))
        question, columns = about(model, x, target=all_outputs, names=names)
        leaves = jax.tree.leaves(question.x)
        if len(leaves) != 1 or leaves[0].ndim != 2:
            raise ValueError("feature selection is for a table, one array (rows, features)")
        self.x: np.ndarray = np.asarray(leaves[0])
        self.names = columns.names
        self.y = targets_of(question, y)
        self.y = self.y.astype(jax.dtypes.canonicalize_dtype(self.y.dtype))
        check_pair(self.x, self.y)
        count = len(self.x)
        order = np.random.default_rng(seed).permutation(count)
        measured = max(2, round(held_out * count))
        if count - measured < 2:
            raise ValueError(f"{count} rows are too few to train on some and measure on {measured} others")
        self.training, self.measured = order[measured:], order[:measured]
        self.seed, self.epochs, self.batch_size = seed, epochs, min(batch_size, len(self.training))
        self.model = clone(model)
        self.trainer = self.model._prepare(*take_rows((self.x, self.y), self.training[: self.batch_size]))
        self.question, self.columns = about(self.model, self.x[self.measured], target=all_outputs, names=self.names)

    def train(self, seed: int, x: np.ndarray | None = None, y: np.ndarray | None = None) -> None:
        """Train from new start values, and put the weights into the model."""
        x = self.x if x is None else x
        y = self.y if y is None else y
        params, state = draw(declared(self.model), seed)
        feed = as_feed(
            x[self.training], y[self.training], batch_size=self.batch_size, inputs=1, outputs=1, seed=seed, shuffle=True
        )
        run = fit(self.trainer, self.trainer.start(params, state, seed), feed, Plan(epochs=self.epochs, seed=seed))
        bind(self.model, {**run.state.params, **run.state.state})
        self.question.subject.weights = self.model.arrays()

    def shuffler(self, metric: Any, x: np.ndarray | None = None, y: np.ndarray | None = None) -> Shuffler:
        question = self.question
        if x is not None:
            question, _ = about(self.model, x[self.measured], target=all_outputs, names=self.names)
        columns = Columns(question.x, self.names)
        return shuffler(question, columns, (self.y if y is None else y)[self.measured], metric)


def _against_null(work: _Work, method: str, metric: Any, repeats: int, runs: int, progress: bool | None) -> Selection:
    def measure(y: np.ndarray, seed: int) -> tuple[np.ndarray, str, Any]:
        work.train(seed, y=y)
        if method == "shapley":
            return _shapley(work), "mean size of Shapley values", None
        shuffle = work.shuffler(metric, y=y)
        each, base = _importances(shuffle, range(len(work.names)), repeats, seed)
        return each.mean(1), f"{shuffle.said} {'gained' if shuffle.less else 'lost'}", base

    values, unit, base = measure(work.y, work.seed)
    random = np.random.default_rng([work.seed, 1])
    chance = [
        measure(work.y[random.permutation(len(work.y))], work.seed + 1 + run)[0]
        for run in track(range(runs), "training with shuffled targets", show=progress)
    ]
    null = np.stack(chance) if chance else None
    threshold = float(np.quantile(null.max(1), 0.95)) if null is not None else 0.0
    chosen = [int(i) for i in np.argsort(-values, kind="stable") if values[i] > threshold]
    details = {} if base is None else {"baseline": base}
    return Selection(method, work.names, values, chosen, null, threshold, unit, details)


def _importances(shuffle: Shuffler, features: Any, repeats: int, seed: int) -> tuple[np.ndarray, float]:
    base, each = 0.0, []
    for n in features:
        base, scores = shuffle(n, repeats, seed)
        each.append((scores - base) if shuffle.less else (base - scores))
    return np.stack(each), base


def _shapley(work: _Work) -> np.ndarray:
    """Mean absolute Shapley values over rows that were not trained on, and over the outputs."""
    method = METHODS["exact_shapley" if len(work.names) <= FEW else "permutation_shapley"]
    rows, behind = work.measured[:32], work.training[:32]
    wide = int(np.prod(jax.eval_shape(work.question.subject.outputs, work.question.weights, work.x[:1]).shape[1:]))
    outputs = range(wide) if wide > 2 else [wide - 1]
    found = [method(work.model, work.x[rows], target=k, background=work.x[behind], seed=work.seed) for k in outputs]
    return np.mean([np.abs(np.asarray(f.values, np.float64)).mean(0) for f in found], axis=0)


def _elimination(work: _Work, metric: Any, repeats: int, progress: bool | None) -> Selection:
    count = len(work.names)
    left, place = list(range(count)), np.zeros(count)
    x, middle = work.x.copy(), work.x[work.training].mean(0)
    scores, sets, spreads, unit = [], [], [], ""
    less = False
    for step in track(range(count), "eliminating features", show=progress):
        work.train(work.seed, x=x)
        shuffle = work.shuffler(metric, x=x)
        each, base = _importances(shuffle, left, repeats, work.seed)
        less, unit = shuffle.less, shuffle.said
        scores.append((len(left), base))
        sets.append(list(left))
        spreads.append(_spread(base, unit, len(work.measured)))
        weakest = left[int(np.argmin(each.mean(1)))]
        place[weakest] = step + 1
        left.remove(weakest)
        x[:, weakest] = middle[weakest]
    values = np.array([s for _, s in scores])
    goodness = -values if less else values
    best = int(np.argmax(goodness))
    fine = [k for k in range(count) if goodness[k] >= goodness[best] - spreads[best]]
    chosen = sorted(sets[max(fine)], key=lambda n: -place[n])
    details = {"scores": scores, "metric": unit}
    return Selection("elimination", work.names, place, chosen, None, None, "place in the elimination", details)


def _spread(score: float, said: str, rows: int) -> float:
    """A standard error of a score: of a share for accuracies, else about that of R2."""
    part = min(max(score, 0.0), 1.0)
    return float(np.sqrt(part * (1 - part) / rows)) if "acc" in said else float(2 * np.sqrt(part) * (1 - part) / np.sqrt(rows))


def _gates(work: _Work, penalty: float | None) -> Selection:
    """Weights and gates by Adam together, in one compiled scan over batches; the same program for every penalty."""
    if penalty is not None and penalty < 0:
        raise ValueError(f"penalty must be 0 or more, got {penalty}")
    params, state = draw(declared(work.model), work.seed)
    (x, y), rows = take_rows((work.x, work.y), work.training), len(work.training)
    steps = work.epochs * -(-rows // work.batch_size)
    random = np.random.default_rng(work.seed)
    orders = np.concatenate([random.permutation(rows) for _ in range(1 + steps * work.batch_size // rows)])
    batches = orders[: steps * work.batch_size].reshape(steps, work.batch_size).astype(np.int32)
    fixed = frozenset(params) - trained_names(declared(work.model))
    run = jax.jit(_with_gates(work.trainer.objective, fixed))
    measured = take_rows((work.x, work.y), work.measured)
    tried = PENALTIES if penalty is None else (penalty,)
    key = jax.random.key(work.seed)
    found = [run(params, state, (x, y), measured, batches, key, np.float32(cost)) for cost in tried]
    gates, losses = (np.stack([np.asarray(f[i], np.float64) for f in found]) for i in (0, 1))  # (penalties, ...)
    behind = losses - losses[losses.mean(1).argmin()]
    near = behind.mean(1) <= behind.std(1, ddof=1) / np.sqrt(losses.shape[1])
    number = int(np.flatnonzero(near).max())
    chance = np.asarray(jax.scipy.stats.norm.cdf(gates[number] / SPREAD), np.float64)
    chosen = [int(i) for i in np.argsort(-chance, kind="stable") if chance[i] > 0.5]
    details = {"penalty": tried[number], "penalties": list(tried), "losses": losses.mean(1).tolist()}
    return Selection("gates", work.names, chance, chosen, None, None, "chance that the gate is open", details)


def _with_gates(objective: Any, fixed: frozenset[str]) -> Callable:
    import optax

    def run(params: Any, state: Any, data: Any, measured: Any, batches: Any, key: Any, penalty: Any) -> Any:
        x, y = data
        middle = x.mean(0)
        still = {k: v for k, v in params.items() if k in fixed}
        start = ({k: v for k, v in params.items() if k not in fixed}, jnp.full(x.shape[1], 0.5, x.dtype))
        rule = optax.multi_transform({"net": optax.adam(3e-3), "gates": optax.adam(1e-2)}, ("net", "gates"))
        totals = objective.totals()
        first = {"x": x[batches[0]], "y": y[batches[0]], "w": None}
        worth = penalty * jnp.abs(objective.loss(params, state, totals, first, train=False)[0])

        def one(carry: Any, given: Any) -> tuple[Any, None]:
            chosen, memory, state = carry
            rows, number = given
            here, own = jax.random.split(jax.random.fold_in(key, number))

            def loss(chosen: Any) -> tuple[Any, Any]:
                weights, gates = chosen
                noise = SPREAD * jax.random.normal(here, (len(rows), len(gates)), x.dtype)
                opening = jnp.where(3 * number < len(batches), 1, jnp.clip(gates + noise, 0, 1))
                opened = middle + opening * (x[rows] - middle)
                batch = {"x": opened, "y": y[rows], "w": None}
                value, (new, _) = objective.loss({**still, **weights}, state, totals, batch, train=True, key=own)
                price = worth * jnp.clip(3 * number / len(batches) - 1, 0, 1)
                return value + price * jax.scipy.stats.norm.cdf(gates / SPREAD).sum(), new

            slope, state = jax.grad(loss, has_aux=True)(chosen)
            moves, memory = rule.update(slope, memory, chosen)
            return (optax.apply_updates(chosen, moves), memory, state), None

        carry = (start, rule.init(start), state)
        ((weights, gates), _, state), _ = jax.lax.scan(one, carry, (batches, jnp.arange(len(batches))))
        opened = middle + jnp.clip(gates, 0, 1) * (measured[0] - middle)

        def alone(x: Any, y: Any) -> Any:
            batch = {"x": x[None], "y": y[None], "w": None}
            return objective.loss({**still, **weights}, state, totals, batch, train=False)[0]

        return gates, jax.vmap(alone)(opened, measured[1])

    return run
