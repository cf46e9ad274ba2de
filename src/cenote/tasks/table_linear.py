"""Linear models of rows of numbers, in NumPy: ridge regression in closed form, logistic regression by L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["logistic", "logistic_weights", "ridge", "ridge_weights"]

PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
ROWS = 100_000  # of larger data this many rows, evenly spread, are used


def _some(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    step = -(-len(x) // ROWS)
    return np.asarray(x, np.float64)[::step], np.asarray(y)[::step]


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = x.mean(0), x.std(0)
    scale[scale < 1e-12] = 1.0
    return mean, scale


def ridge(x: Any, y: Any, penalties: Any = PENALTIES) -> Callable[[Any], np.ndarray]:
    """``w = (X'X + a I)^-1 X'y`` on standardised features; ``a`` has the least leave-one-out error among ``penalties``.

    Shapes: x (row, feature), y (row,) or (row, target). What comes back gives predictions (row, target).
    Source: Golub, Heath and Wahba 1979 (leave-one-out by the diagonal of the hat matrix).

    >>> x = np.arange(10.0)[:, None]
    >>> ridge(x, 2 * x)(np.array([[20.0]])).round(1).tolist()
    [[40.0]]
    """
    x, y = _some(x, y)
    mean, scale = _standard(x)
    weights, bias = ridge_weights((x - mean) / scale, y, penalties)
    return lambda z: (np.asarray(z, np.float64) - mean) / scale @ weights + bias


def ridge_weights(x: Any, y: Any, penalties: Any = PENALTIES, *, hold_out: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (feature, target) and bias (target,) of the same, on the features as they are.

    With ``hold_out`` the penalty is that which is best on the last rows, a share so large, after learning from the others: in
    a series neighbours are alike, and leaving one out says nothing.
    """
    x, y = _some(x, y)
    y = y.reshape(len(y), -1).astype(np.float64)
    if hold_out:
        cut = int(len(x) * (1 - hold_out))
        errors = []
        for a in penalties:
            weights, bias = ridge_weights(x[:cut], y[:cut], (a,))
            errors.append(float(((x[cut:] @ weights + bias - y[cut:]) ** 2).mean()))
        penalties = (penalties[int(np.argmin(errors))],)
    center, middle = x.mean(0), y.mean(0)
    features = x - center
    values, vectors = np.linalg.eigh(features.T @ features)
    turned, best, weights = features @ vectors, np.inf, np.zeros((x.shape[1], y.shape[1]))
    products = turned.T @ (y - middle)
    for a in penalties:
        shrunk = 1 / (np.maximum(values, 0) + a)
        found = vectors @ (shrunk[:, None] * products)
        if len(penalties) == 1:
            weights = found
            break
        leverage = (turned**2) @ shrunk + 1 / len(y)
        error = float((((y - middle) - features @ found) ** 2 / np.maximum(1 - leverage, 1e-9)[:, None] ** 2).mean())
        if error < best:
            best, weights = error, found
    return weights, middle - center @ weights


def logistic(x: Any, y: Any, classes: int, strength: float = 1.0, steps: int = 200) -> Callable[[Any], np.ndarray]:
    """``softmax(x W + b)`` with the least ``strength sum(cross-entropy) + ||W||^2 / 2``, on standardised features.

    Shapes: x (row, feature), y (row,) class numbers. What comes back gives probabilities (row, class).
    For two classes the strength is halved, as then two columns share the weight. Source: the objective of scikit-learn's
    LogisticRegression; L-BFGS after Nocedal 1980.

    >>> x = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    >>> logistic(x, np.array([0, 0, 1, 1]), 2)(x).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    weights, bias = logistic_weights(x, y, classes, strength, steps)
    return lambda z: _softmax(np.asarray(z, np.float64) @ weights + bias)


def logistic_weights(x: Any, y: Any, classes: int, strength: float = 1.0, steps: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Weights (feature, class) and bias (class,) of the same, for the features as they are."""
    x, y = _some(x, y)
    mean, scale = _standard(x)
    features, wanted = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], axis=1), np.eye(classes)[y]
    strength = strength / 2 if classes == 2 else strength
    shape = (features.shape[1], classes)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        w = w.reshape(shape)
        p = _softmax(features @ w)
        held = w.copy()
        held[-1] = 0  # the bias is free
        cost = -strength * float(np.log(np.maximum((p * wanted).sum(1), 1e-300)).sum()) + 0.5 * float((held**2).sum())
        return cost / len(y), (strength * features.T @ (p - wanted) + held).ravel() / len(y)

    *weights, bias = _lbfgs(loss, np.zeros(shape[0] * shape[1]), steps).reshape(shape)
    weights = np.asarray(weights) / scale[:, None]
    return weights, bias - mean @ weights


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _lbfgs(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], w: np.ndarray, steps: int, memory: int = 10) -> np.ndarray:
    """The minimum of a smooth convex function that gives its value and gradient."""
    value, gradient = loss(w)
    past: list[tuple[np.ndarray, np.ndarray, float]] = []
    for _ in range(steps):
        direction, kept = gradient.copy(), []
        for s, d, rho in reversed(past):
            a = rho * (s @ direction)
            direction -= a * d
            kept.append(a)
        if past:
            s, d, _rho = past[-1]
            direction *= (s @ d) / (d @ d)
        for (s, d, rho), a in zip(past, reversed(kept), strict=True):
            direction += (a - rho * (d @ direction)) * s
        slope, size = -(gradient @ direction), 1.0
        if not past:
            size = min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-12))
        for _ in range(30):
            new = w - size * direction
            found, new_gradient = loss(new)
            if found <= value + 1e-4 * size * slope:
                break
            size /= 2
        else:
            break
        step, turn = new - w, new_gradient - gradient
        done = abs(value - found) <= 1e-10 * max(abs(value), 1.0)
        w, value, gradient = new, found, new_gradient
        if done or np.abs(gradient).max() < 1e-7:
            break
        if step @ turn > 1e-12:
            past = [*past, (step, turn, 1 / float(step @ turn))][-memory:]
    return w
