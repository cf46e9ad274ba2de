"""Which training rows made an answer what it is: influence functions and TracIn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..core import Module, annotate, annotation, collecting, declared
from ..core.errors import unknown
from ..core.tree import spec_of
from ..data.arrays import as_arrays, check_finite, check_pair, count_examples, take_rows
from ..progress import track
from ..train.step import trained_names
from .subject import subject_of

__all__ = ["Influence", "influence", "tracin"]

TESTS = 16  # test rows that are handled together
ROWS = 256  # training rows that are handled together
NUMBERS = 1 << 24  # of gradients that are kept at a time


@dataclass
class Influence:
    """What each training row did to each test row.

    ``values`` (tests, trains). For ``of="loss"`` a positive number says that the row helped: without it the test row's loss
    would be higher by that much. For ``of="output"`` a positive number says that the row raised the explained output by it.
    ``details`` holds "residual", the relative error of the solution for each test row, and "iterations".
    """

    method: str
    values: np.ndarray
    of: str
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def helpful(self, count: int = 5, test: int = 0) -> list[tuple[int, float]]:
        """The training rows that lowered a test row's loss most (for an output: raised it most), with their numbers.

        >>> Influence("any", np.array([[0.1, -2.0, 0.5]]), "loss").helpful(2)
        [(2, 0.5), (0, 0.1)]
        """
        return [(int(i), float(self.values[test, i])) for i in np.argsort(-self.values[test], kind="stable")[:count]]

    def harmful(self, count: int = 5, test: int = 0) -> list[tuple[int, float]]:
        """The training rows that raised a test row's loss most (for an output: lowered it most), with their numbers.

        >>> Influence("any", np.array([[0.1, -2.0, 0.5]]), "loss").harmful(1)
        [(1, -2.0)]
        """
        return [(int(i), float(self.values[test, i])) for i in np.argsort(self.values[test], kind="stable")[:count]]

    def __repr__(self) -> str:
        tests, trains = self.values.shape
        lines = [f"{self.method}: of {trains} training rows on the {self.of} of {tests} test rows, {self.seconds:.2g} s"]
        if "residual" in self.details:
            worst, bad = float(np.max(self.details["residual"])), int(np.sum(~self.details["solved"]))
            lines.append(f"  solved to a relative residual of {worst:.1g} in {self.details['iterations']} steps")
            if bad:
                lines.append(f"  not solved for {bad} test rows: raise damping or iterations, their numbers are rough")
        if self.details.get("alone"):
            most = ", ".join(f"{i} ({v:.2g})" for i, v in self.helpful(5))
            return "\n".join([lines[0], f"  each row on itself; most, and so learnt by heart if any are: {most}"])
        up, down = ("helped", "harmed") if self.of == "loss" else ("raised", "lowered")
        for test in range(min(tests, 3)):
            best, worst_ones = (
                ", ".join(f"{i} ({v:+.2g})" for i, v in found) for found in (self.helpful(3, test), self.harmful(3, test))
            )
            lines.append(f"  test row {test}: {up} most by rows {best}; {down} most by {worst_ones}")
        return "\n".join(lines)


def influence(
    model: Any,
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any = None,
    *,
    weights: Any = None,
    penalty: Callable[[Any], Any] | None = None,
    damping: float = 1e-3,
    curvature: str | None = None,
    layers: Any = None,
    target: Any = None,
    iterations: int = 100,
    tol: float = 1e-4,
    rows: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Influence:
    """How the test rows would change if a training row had been left out, without training again.

    To first order ``loss_i(without j) - loss_i = (1/N) g_i' H^-1 g_j``, with gradients g of the losses by the weights and H the
    curvature of the mean training loss with its regularizers, plus ``damping`` times the identity. Without ``y_test`` it is
    the change of the output ``target`` (its logit; default: the predicted class's). H^-1 g_i is found by conjugate
    gradients over all training rows (or ``rows`` of them, drawn with ``seed``) in one compiled call for several test rows, and
    the products with the g_j as derivatives along it: no gradient of a training row, and no matrix, is ever stored.

    ``model`` is a compiled model, or a function ``loss(weights, x, y)`` of a batch, (rows,) or a mean, with its ``weights``
    and the ``penalty(weights)`` that was minimised with the mean loss. ``curvature``: "gauss_newton" (never negative; default
    for models) or "hessian" (default for functions). ``layers`` restricts the weights to layers, by path or number:
    ``layers=-1`` is the last one. The weights should be a minimum; dropout is off.
    Raises: ValueError for data of other lengths, unknown layers, models that were not compiled.
    Source: Koh and Liang, 2017, arXiv:1703.04730; Gauss-Newton: Bae et al., 2022, arXiv:2209.05364.

    >>> x, y = np.array([[1.0], [1.0], [1.0]], "float32"), np.array([0.0, 0.0, 3.0], "float32")
    >>> squared = lambda w, x, y: (x @ w - y) ** 2 / 2
    >>> found = influence(squared, x, y, x[:1], y[:1], weights=jnp.ones(1), damping=0.0)
    >>> np.round(found.values, 3).tolist()
    [[0.333, 0.333, -0.667]]
    """
    began = time.perf_counter()
    problem, params, rest, data, tests = _problem(model, weights, penalty, layers, x_train, y_train, x_test, y_test, target)
    curvature = curvature or ("gauss_newton" if problem.splits else "hessian")
    if curvature not in ("gauss_newton", "hessian"):
        raise unknown("curvature", curvature, ("gauss_newton", "hessian"))
    if curvature == "gauss_newton" and not problem.splits:
        raise ValueError("Gauss-Newton needs a model; for a loss function of your own take curvature='hessian'")
    if damping < 0 or iterations < 1:
        raise ValueError(f"damping must be 0 or more and iterations 1 or more, got {damping} and {iterations}")
    count = count_examples(data)
    some = data
    if rows is not None and rows < count:
        some = take_rows(data, np.sort(np.random.default_rng(seed).permutation(count)[:rows]))
    blocks, valid = _blocks(some)
    gradients, solve = problem.program(_gradients), problem.program(_solve, curvature)
    products = problem.program(_products)
    values, residuals, fine, steps = [], [], [], 0
    number = count_examples(tests)
    for start in track(range(0, number, TESTS), "influence of training rows", unit=min(TESTS, number), show=progress):
        here = min(TESTS, number - start)
        right = gradients(params, rest, _taken(tests, start, min(TESTS, number)))
        found, residual, curved, step = solve(
            params, rest, blocks, valid, right, np.float32(damping), np.int32(iterations), np.float32(tol)
        )
        values.append(_over_rows(products, params, rest, data, found)[:here] / count)
        residuals.append(np.asarray(residual)[:here])
        fine.append(((residual <= tol) & ~curved)[:here])
        steps = max(steps, int(step))
    details = {
        "residual": np.concatenate(residuals),
        "solved": np.concatenate([np.asarray(f) for f in fine]),
        "iterations": steps,
        "damping": damping,
        "curvature": curvature,
        "weights": int(sum(np.size(p) for p in jax.tree.leaves(params))),
    }
    sign = 1.0 if problem.of == "loss" else -1.0
    return Influence("influence", sign * np.concatenate(values), problem.of, time.perf_counter() - began, details)


def tracin(
    model: Any,
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    checkpoints: Sequence[Any] | None = None,
    learning_rates: Any = None,
    weights: Any = None,
    layers: Any = None,
    progress: bool | None = None,
) -> Influence:
    """What steps on each training row did to the loss of each test row: ``sum_t rate_t g_i(w_t) . g_j(w_t)``.

    ``checkpoints`` are snapshots of the weights in the course of the training (``model.get_weights()``, or dicts by path as
    ``dict(model.params)``); without them the present weights are the only one. ``learning_rates`` is a number or one for each;
    the default is the optimizer's. Positive: a step on the row lowers the test row's loss. Without ``x_test`` it is each
    training row on itself, (1, trains): large for rows that had to be learnt by heart, such as wrong labels. Models and
    functions as in `influence`.
    Raises: as `influence`; for snapshots that do not fit the model.
    Source: Pruthi, Liu, Kale and Sundararajan, 2020, arXiv:2002.08484.

    >>> x, y = np.array([[1.0], [2.0]], "float32"), np.zeros(2, "float32")
    >>> squared = lambda w, x, y: (x @ w - y) ** 2 / 2
    >>> tracin(squared, x, y, x[:1], y[:1], weights=jnp.ones(1), learning_rates=0.1).values.round(4).tolist()
    [[0.1, 0.4]]
    """
    began = time.perf_counter()
    alone = x_test is None
    problem, params, rest, data, tests = _problem(
        model, weights, None, layers, x_train, y_train, x_train if alone else x_test, y_train if alone else y_test, None
    )
    snapshots = [None] if checkpoints is None else list(checkpoints)
    if not snapshots:
        raise ValueError("checkpoints is empty: give snapshots of the weights, or leave it out for the present ones")
    rates = _rates(learning_rates, model, len(snapshots))
    number, total = count_examples(tests), np.zeros((1 if alone else count_examples(tests), count_examples(data)))
    gradients, products, norms = problem.program(_gradients), problem.program(_products), problem.program(_norms)
    for snapshot, rate in zip(track(snapshots, "going through checkpoints", show=progress), rates, strict=True):
        here, others = (params, rest) if snapshot is None else _restored(model, snapshot, params, rest)
        if alone:
            size = max(1, min(ROWS, NUMBERS // max(1, sum(np.size(p) for p in jax.tree.leaves(params)))))
            total[0] += rate * _over_rows(norms, here, others, data, None, size)
            continue
        for start in range(0, number, TESTS):
            block = _taken(tests, start, min(TESTS, number))
            found = _over_rows(products, here, others, data, gradients(here, others, block))
            total[start : start + TESTS] += rate * found[: number - start]
    details = {"checkpoints": len(snapshots), "learning_rates": rates, "alone": alone}
    sign = 1.0 if problem.of == "loss" else -1.0
    return Influence("tracin", sign * total, problem.of, time.perf_counter() - began, details)


# -- the problem: losses of single rows as functions of the chosen weights -------------------------------------------------


@dataclass
class _Problem:
    """Pure functions of ``(params, rest)``, the weights that count and those that do not."""

    losses: Callable  # (params, rest, x, y) -> (rows,)
    measured: Callable  # the same for test rows: their losses, or the output asked about
    penalty: Callable | None  # (params, rest) -> a number
    outputs: Callable | None  # (params, rest, x) -> (logits, notes), and
    loss_of: Callable | None  # (logits, notes, y) -> (rows,): the two halves of losses
    of: str
    programs: dict[Any, Any]
    key: Any

    @property
    def splits(self) -> bool:
        return self.outputs is not None

    def program(self, build: Callable, *static: Any) -> Callable:
        key = (build, static, self.key)
        if key not in self.programs:
            self.programs[key] = jax.jit(build(self, *static))
        return self.programs[key]


def _problem(
    model: Any, weights: Any, penalty: Any, layers: Any, x: Any, y: Any, x_test: Any, y_test: Any, target: Any
) -> tuple[_Problem, Any, Any, Any, Any]:
    """The problem, the chosen weights, the rest, the training data and the test data."""
    module = isinstance(model, Module)
    if not module and not callable(model):
        raise TypeError(f"expected a compiled model, or a function loss(weights, x, y), got {type(model).__name__}")
    if not module and weights is None:
        raise ValueError("for a loss function give its weights, too: influence(loss, ..., weights=...)")
    ready = model._ready if hasattr(model, "_ready") else lambda x, y=None: (x, y)
    inputs = getattr(model, "_input_count", 1)
    x, y = _arrays(ready(x, y), ("x_train", "y_train"), inputs)
    if y is None:
        raise ValueError("the influence of training rows needs their targets: y_train")
    check_pair(x, y)
    x_test, y_test = _arrays(ready(x_test, y_test), ("x_test", "y_test"), inputs)
    check_pair(x_test, y_test)
    if jax.tree.map(lambda a: a.shape[1:], x) != jax.tree.map(lambda a: a.shape[1:], x_test):
        raise ValueError(f"the examples differ: x_train has {_shapes(x)}, but x_test has {_shapes(x_test)}")
    of = "loss" if y_test is not None else "output"
    if module:
        problem, params, rest = _of_model(model, x, y, of, layers)
    else:
        if of == "output":
            raise ValueError("a loss function needs targets of the test rows: y_test")
        if layers is not None and not isinstance(weights, dict):
            raise ValueError("layers= chooses among the names of weights, so the weights must be a dict")
        chosen, rest = _chosen(weights, layers) if isinstance(weights, dict) else (weights, {})
        problem, params = _of_function(model, penalty, x, y, weights), chosen
    if of == "output":
        y_test = _targets(problem, params, rest, x_test, target)
    return problem, params, rest, (x, y), (x_test, y_test)


def _arrays(pair: tuple, names: tuple[str, str], inputs: int) -> list[Any]:
    found = []
    for value, name, parts in zip(pair, names, (inputs, 1), strict=True):
        value = as_arrays(value, name, parts=parts)
        if value is not None:
            check_finite(value, name)
            value = jax.tree.map(lambda a: np.asarray(a, jax.dtypes.canonicalize_dtype(a.dtype)), value)
        found.append(value)
    return found


def _shapes(x: Any) -> str:
    return ", ".join(str(leaf.shape[1:]) for leaf in jax.tree.leaves(x))


def _of_function(loss: Callable, penalty: Any, x: Any, y: Any, weights: Any) -> _Problem:
    some = jax.tree.map(lambda a: a[: min(2, len(a))], (x, y))
    shape = jax.eval_shape(loss, spec_of(weights), *spec_of(some)).shape
    if shape not in ((), (len(jax.tree.leaves(some)[0]),)):
        raise ValueError(f"loss(weights, x, y) must give one number a row, or one for the batch; it gave shape {shape}")

    def whole(params: Any, rest: Any) -> Any:
        return {**rest, **params} if isinstance(params, dict) else params

    def losses(params: Any, rest: Any, x: Any, y: Any) -> Any:
        if shape:
            return loss(whole(params, rest), x, y)
        return jax.vmap(lambda *row: loss(whole(params, rest), *jax.tree.map(lambda a: a[None], row)))(x, y)

    extra = None if penalty is None else lambda params, rest: penalty(whole(params, rest))
    return _Problem(losses, losses, extra, None, None, "loss", {}, None)


def _of_model(model: Any, x: Any, y: Any, of: str, layers: Any) -> tuple[_Problem, Any, Any]:
    if getattr(model, "_compiled", None) is None:
        raise ValueError(
            "the model's loss is not known: call compile(loss=...) or fit first, or give a function loss(weights, x, y)"
        )
    model._require_built("asked about its training rows")
    some = take_rows((x, y), slice(0, 2))
    objective = model._prepare(*some, augment=model._augment).objective
    if len(objective.outputs) != 1:
        raise ValueError("the model has several outputs: give a function loss(weights, x, y) with model.apply inside")
    loss = objective.outputs[0].loss
    params, state = model.arrays()
    trained = trained_names(declared(model))
    chosen, others = _chosen({k: v for k, v in params.items() if k in trained}, layers)
    rest = {"params": {**{k: v for k, v in params.items() if k not in trained}, **others}, "state": state}
    link: list[str] = []

    def outputs(params: Any, rest: Any, x: Any) -> tuple[Any, Any]:
        with collecting(fresh=True):
            y = jax.tree.leaves(objective.apply({**rest["params"], **params}, rest["state"], x, train=False, key=None)[0])[0]
            logits, made_by, mask = (annotation(y, note) for note in ("logits", "link", "mask"))
        link[:] = [made_by] if made_by in ("softmax", "sigmoid") and logits is not None else []
        return (logits if link else y), mask

    def loss_of(z: Any, mask: Any, y: Any) -> Any:
        def one(z: Any, mask: Any, y: Any) -> Any:
            with collecting(fresh=True):
                p = z[None]
                if link:
                    p = jax.nn.softmax(p) if link[0] == "softmax" else jax.nn.sigmoid(p)
                    annotate(annotate(p, "logits", z[None]), "link", link[0])
                annotate(p, "mask", None if mask is None else mask[None])
                total, number = loss.totals(y[None], p)
            return total if loss.reduction == "sum" else total / jnp.maximum(number, jnp.finfo(total.dtype).tiny)

        return jax.vmap(one)(z, mask, jax.tree.leaves(y)[0])

    def losses(params: Any, rest: Any, x: Any, y: Any) -> Any:
        return loss_of(*outputs(params, rest, x), y)

    def output(params: Any, rest: Any, x: Any, target: Any) -> Any:
        z = outputs(params, rest, x)[0]
        return jnp.take_along_axis(z.reshape(len(z), -1), target[:, None], axis=1)[:, 0]

    def penalty(params: Any, rest: Any) -> Any:
        every = {**rest["params"], **params}
        return sum((r(every[path]) for path, r in objective.regularizers.items()), jnp.zeros(()))

    programs = subject_of(model, x).programs
    key = (objective, tuple(chosen), of)
    measured = losses if of == "loss" else output
    return _Problem(losses, measured, penalty, outputs, loss_of, of, programs, key), chosen, rest


def _chosen(params: dict[str, Any], layers: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights of some layers, and the others."""
    if layers is None:
        return params, {}
    paths = list(dict.fromkeys(p.rpartition(".")[0] or p for p in params))
    wanted = []
    for layer in layers if isinstance(layers, (list, tuple)) else [layers]:
        if isinstance(layer, int) and -len(paths) <= layer < len(paths):
            wanted.append(paths[layer])
        elif isinstance(layer, str) and any(p == layer or p.startswith(layer + ".") for p in params):
            wanted.append(layer)
        else:
            raise unknown("layer with weights", layer, paths)
    chosen = {k: v for k, v in params.items() if any(k == w or k.startswith(w + ".") for w in wanted)}
    return chosen, {k: v for k, v in params.items() if k not in chosen}


def _targets(problem: _Problem, params: Any, rest: Any, x: Any, target: Any) -> np.ndarray:
    assert problem.outputs is not None
    z = np.asarray(jax.jit(lambda p, r, x: problem.outputs(p, r, x)[0])(params, rest, x))  # type: ignore[misc]
    z = z.reshape(len(z), -1)
    if target is None:
        return z.argmax(1).astype(np.int32)
    numbers = np.asarray(target)
    if (
        numbers.dtype.kind not in "iu"
        or numbers.shape not in ((), (len(z),))
        or numbers.min() < 0
        or numbers.max() >= z.shape[1]
    ):
        raise ValueError(f"target is the number of an output, 0 to {z.shape[1] - 1}, or one a test row; got {target!r:.80}")
    return np.broadcast_to(numbers, (len(z),)).astype(np.int32)


def _rates(given: Any, model: Any, count: int) -> list[float]:
    if given is None:
        rate = getattr((getattr(model, "_compiled", None) or {}).get("optimizer"), "learning_rate", None)
        if not isinstance(rate, (int, float)):
            raise ValueError("the learning rates of the checkpoints are not known: give learning_rates=")
        given = rate
    rates = np.broadcast_to(np.asarray(given, np.float64), (count,)) if np.ndim(given) == 0 else np.asarray(given, np.float64)
    if rates.shape != (count,):
        raise ValueError(f"there are {count} checkpoints, but {np.size(given)} learning rates")
    return rates.tolist()


def _restored(model: Any, snapshot: Any, params: Any, rest: Any) -> tuple[Any, Any]:
    """The chosen weights and the rest as a snapshot has them."""
    if not isinstance(model, Module):
        if jax.tree.structure(snapshot) != jax.tree.structure(params if not rest else {**rest, **params}):
            raise ValueError("a checkpoint must have the form of weights=")
        return (snapshot, rest) if not rest else ({k: snapshot[k] for k in params}, {k: snapshot[k] for k in rest})
    every: dict[str, Any] = {**rest["params"], **params, **rest["state"]}
    if not isinstance(snapshot, dict):
        order = list(declared(model))
        snapshot = list(snapshot)
        if len(snapshot) != len(order):
            raise ValueError(f"a checkpoint has {len(snapshot)} arrays, but the model has {len(order)}")
        snapshot = dict(zip(order, snapshot, strict=True))
    for name, value in snapshot.items():
        if name not in every:
            raise unknown("weight in a checkpoint", name, every)
        if np.shape(value) != np.shape(every[name]):
            raise ValueError(f"a checkpoint has {name!r} of shape {np.shape(value)}, but the model {np.shape(every[name])}")
    every |= snapshot
    others = {part: {k: every[k] for k in rest[part]} for part in rest}
    return {k: jnp.asarray(every[k]) for k in params}, others


# -- what is compiled ------------------------------------------------------------------------------------------------------


def _gradients(problem: _Problem) -> Callable:
    def run(params: Any, rest: Any, tests: Any) -> Any:
        flat, back = ravel_pytree(params)

        def one(row: Any) -> Any:
            x, y = jax.tree.map(lambda a: a[None], row)
            return jax.grad(lambda w: problem.measured(back(w), rest, x, y)[0])(flat)

        return jax.lax.map(one, tests)

    return run


def _norms(problem: _Problem) -> Callable:
    def run(params: Any, rest: Any, data: Any, _: Any) -> Any:
        flat, back = ravel_pytree(params)

        def one(row: Any) -> Any:
            x, y = jax.tree.map(lambda a: a[None], row)
            slope = jax.grad(lambda w: problem.losses(back(w), rest, x, y)[0])(flat)
            return jnp.vdot(slope, slope)

        return jax.vmap(one)(data)

    return run


def _products(problem: _Problem) -> Callable:
    """``g_j . v`` for the rows of a block and each direction v: the derivative of the losses along v."""

    def run(params: Any, rest: Any, data: Any, directions: Any) -> Any:
        flat, back = ravel_pytree(params)
        _, forward, _ = _forward(lambda w: (problem.losses(back(w), rest, *data), None), flat)
        return jax.vmap(forward)(directions).T  # (rows, tests)

    return run


def _forward(function: Callable, w: Any) -> tuple[Any, Callable, Callable]:
    """``(values, notes)`` of a function with notes, ``v -> J v`` and ``u -> J' u``.

    J v is the transpose of J' u, which is linear in u: kernels with a derivative of their own have it backward only.
    """
    z, pull, notes = jax.vjp(function, w, has_aux=True)
    push = jax.vjp(lambda u: pull(u)[0], jnp.zeros_like(z))[1]
    return (z, notes), lambda v: push(v)[0], lambda u: pull(u)[0]


def _bent(function: Callable, w: Any, v: Any) -> Any:
    """The second derivative of a function along v, ``H v``."""
    return jax.grad(lambda w: jnp.vdot(jax.grad(function)(w), v))(w)


def _solve(problem: _Problem, curvature: str) -> Callable:
    """Conjugate gradients for several right sides at once."""

    def run(
        params: Any, rest: Any, blocks: Any, valid: Any, right: Any, damping: Any, iterations: Any, tol: Any
    ) -> tuple[Any, Any, Any, Any]:
        flat, back = ravel_pytree(params)
        count = valid.sum()

        def of_block(w: Any, v: Any, block: Any, share: Any) -> Any:
            x, y = block
            if curvature == "hessian":
                return _bent(lambda w: problem.losses(back(w), rest, x, y) @ share, w, v)
            assert problem.outputs is not None and problem.loss_of is not None
            (z, notes), forward, backward = _forward(lambda w: problem.outputs(back(w), rest, x), w)  # type: ignore[misc]
            return backward(_bent(lambda z: problem.loss_of(z, notes, y) @ share, z, forward(v)))  # type: ignore[misc]

        def times(v: Any) -> Any:
            def add(total: Any, part: Any) -> tuple[Any, None]:
                return total + of_block(flat, v, *part), None

            total = jax.lax.scan(add, jnp.zeros_like(flat), (blocks, valid / count))[0]
            if problem.penalty is not None:
                total = total + _bent(lambda w: problem.penalty(back(w), rest), flat, v)  # type: ignore[misc]
            return total + damping.astype(flat.dtype) * v

        start = jnp.sum(right * right, axis=1)
        limit = (tol**2 * start).astype(flat.dtype)

        def going(carry: Any) -> Any:
            _, _, _, squares, curved, step = carry
            return jnp.any((squares > limit) & ~curved) & (step < iterations)

        def more(carry: Any) -> Any:
            x, r, p, squares, curved, step = carry
            bent = jax.vmap(times)(p)
            along = jnp.sum(p * bent, axis=1)
            curved = curved | ((along <= 0) & (squares > limit))
            live = (squares > limit) & ~curved
            length = jnp.where(live, squares / jnp.where(live, along, 1), 0)[:, None]
            x, r = x + length * p, r - length * bent
            new = jnp.where(live, jnp.sum(r * r, axis=1), squares)
            p = jnp.where(live[:, None], r + (new / jnp.where(squares > 0, squares, 1))[:, None] * p, p)
            return x, r, p, new, curved, step + 1

        none = jnp.zeros(len(right), bool)
        x, _, _, squares, curved, step = jax.lax.while_loop(going, more, (jnp.zeros_like(right), right, right, start, none, 0))
        return x, jnp.sqrt(squares / jnp.where(start > 0, start, 1)), curved, step

    return run


# -- data in blocks --------------------------------------------------------------------------------------------------------


def _blocks(data: Any) -> tuple[Any, np.ndarray]:
    """All rows as (blocks, rows, ...), and which of them are real."""
    count = count_examples(data)
    number = -(-count // ROWS)
    size = -(-count // number)
    places = np.minimum(np.arange(number * size), count - 1)
    valid = (np.arange(number * size) < count).astype(np.float32).reshape(number, size)
    return jax.tree.map(lambda a: jnp.asarray(a[places].reshape(number, size, *a.shape[1:])), data), valid


def _taken(data: Any, start: int, size: int) -> Any:
    return take_rows(data, np.minimum(np.arange(start, start + size), count_examples(data) - 1))


def _over_rows(run: Callable, params: Any, rest: Any, data: Any, directions: Any, size: int = ROWS) -> np.ndarray:
    """What a program says about the training rows, block by block: (directions, rows)."""
    count = count_examples(data)
    size = min(size, count)
    parts = [run(params, rest, _taken(data, start, size), directions) for start in range(0, count, size)]
    return np.concatenate([np.asarray(p, np.float64) for p in parts])[:count].T
