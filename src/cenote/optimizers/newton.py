"""L-BFGS: steps by an estimate of the curvature, over the whole data at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .base import Optimizer


class LBFGS(Optimizer):
    """Quasi-Newton steps along ``-H g``, where H is built from the last ``history_size`` moves and turns of the gradient.

    Each update makes up to ``max_iter`` iterations on its batch, with up to ``max_eval`` (1.25 ``max_iter``) evaluations of the
    loss, and ends sooner when the largest gradient is below ``tolerance_grad``, or the loss or the weights change by less than
    ``tolerance_change``. It is made for smooth losses without dropout, and for the whole data in one batch, which `fit` gives
    it where no batch_size is given.

    ``line_search_fn="strong_wolfe"`` looks for a good length along the direction; None takes ``learning_rate`` (first step:
    ``learning_rate / max(1, |g|_1)``), as ``torch.optim.LBFGS`` does by default, whose arguments and numbers these are. The
    state holds ``2 history_size`` copies of the weights. Source: Liu and Nocedal 1989, Mathematical Programming 45.

    >>> lbfgs, params = LBFGS(), {"w": jnp.array([3.0, -2.0])}
    >>> loss = lambda p: jnp.sum((p["w"] - 1) ** 2 * jnp.array([1.0, 10.0]))
    >>> value, grad = jax.value_and_grad(loss)(params)
    >>> updates, _ = lbfgs.update(grad, lbfgs.init(params), params, value=value, grad=grad, value_fn=loss)
    >>> (params["w"] + updates["w"]).round(3).tolist()
    [1.0, 1.0]
    """

    wants_value = True
    full_batch = True

    def __init__(
        self,
        learning_rate: Any = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = "strong_wolfe",
        name: str | None = None,
    ):
        super().__init__(learning_rate, name=name)
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS(line_search_fn={line_search_fn!r}): give 'strong_wolfe' or None")
        for key, value in {"max_iter": max_iter, "history_size": history_size}.items():
            if value < 1:
                raise ValueError(f"LBFGS({key}={value}): give a whole number of at least 1")
        self.max_iter, self.max_eval = max_iter, max_iter * 5 // 4 if max_eval is None else max_eval
        self.tolerance_grad, self.tolerance_change = tolerance_grad, tolerance_change
        self.history_size, self.line_search_fn = history_size, line_search_fn

    def init(self, params: Any) -> dict[str, Any]:
        arrays = jax.tree.leaves(params)
        size, dtype = sum(int(np.prod(jnp.shape(p))) for p in arrays), jnp.result_type(*arrays)
        zeros = {
            "moves": (self.history_size, size),
            "turns": (self.history_size, size),
            "gradient": (size,),
            "direction": (size,),
            "length": (),
        }
        state = super().init({})
        state.update({name: jnp.zeros(shape, dtype) for name, shape in zeros.items()})
        state.update(iterations=jnp.zeros((), jnp.int32), pairs=jnp.zeros((), jnp.int32), scale=jnp.ones((), dtype))
        return state

    def update(
        self, grads: Any, state: dict[str, Any], params: Any, *, value: Any = None, grad: Any = None, value_fn: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        if value_fn is None:
            raise ValueError(
                "LBFGS evaluates the loss several times in a step: train with fit, or call update(grads, state, params, "
                "value=loss, grad=grads, value_fn=function of the params)"
            )
        step, rate = state["step"], state["learning_rate"]
        if callable(self.learning_rate):
            rate = jnp.asarray(self.learning_rate(step), jnp.float32)
        start, unravel = ravel_pytree(params)
        g = ravel_pytree(grads)[0]

        def loss(x: jax.Array) -> jax.Array:
            return value_fn(unravel(x)).astype(start.dtype)

        memory = {k: v for k, v in state.items() if k not in ("step", "learning_rate")}
        done = jnp.max(jnp.abs(g)) <= self.tolerance_grad
        carry = (start, jnp.asarray(value, start.dtype), g, memory, jnp.int32(0), jnp.int32(1), done)
        x, _, _, memory, *_ = jax.lax.while_loop(
            lambda carry: ~carry[-1], lambda carry: self._iterate(loss, rate.astype(start.dtype), carry), carry
        )
        return unravel(x - start), {"step": step + 1, "learning_rate": rate, **memory}

    def _iterate(self, loss: Callable, rate: jax.Array, carry: tuple) -> tuple:
        x, value, g, memory, count, evaluations, _ = carry
        memory = self._remember(memory, g)
        d = self._direction(memory, g)
        first = memory["iterations"] == 0
        t = rate * jnp.where(first, jnp.minimum(1, 1 / jnp.sum(jnp.abs(g))), 1)
        count = count + 1
        flat = jnp.vdot(g, d) > -self.tolerance_change  # no way down along d: stay

        def move() -> tuple:
            if self.line_search_fn is not None:
                return self._search(loss, x, value, g, d, t)
            new = x + t * d
            again = lambda: (*jax.value_and_grad(loss)(new), jnp.int32(1))  # noqa: E731
            # After the last iteration nobody asks: the next update begins with an evaluation of its own.
            value_new, g_new, calls = jax.lax.cond(count < self.max_iter, again, lambda: (value, g, jnp.int32(0)))
            return new, value_new, g_new, t, calls

        new, value_new, g_new, t, calls = jax.lax.cond(flat, lambda: (x, value, g, t, jnp.int32(0)), move)
        evaluations = evaluations + calls
        done = (
            flat
            | (count >= self.max_iter)
            | (evaluations >= self.max_eval)
            | (jnp.max(jnp.abs(g_new)) <= self.tolerance_grad)
            | (jnp.max(jnp.abs(d * t)) <= self.tolerance_change)
            | (jnp.abs(value_new - value) < self.tolerance_change)
        )
        memory = {**memory, "gradient": g, "direction": d, "length": t, "iterations": memory["iterations"] + 1}
        return new, value_new, g_new, memory, count, evaluations, done

    def _remember(self, memory: dict[str, Any], g: jax.Array) -> dict[str, Any]:
        """Keep the last move and the turn of the gradient, if the curvature along it is positive."""
        turn, move = g - memory["gradient"], memory["direction"] * memory["length"]
        curvature = jnp.vdot(turn, move)
        good = (memory["iterations"] > 0) & (curvature > 1e-10)
        at = memory["pairs"] % self.history_size
        rows = {"moves": move, "turns": turn}
        kept = {name: memory[name].at[at].set(jnp.where(good, row, memory[name][at])) for name, row in rows.items()}
        size = jnp.where(good, jnp.vdot(turn, turn), 1)
        return {
            **memory,
            **kept,
            "pairs": memory["pairs"] + good.astype(jnp.int32),
            "scale": jnp.where(good, curvature / size, memory["scale"]),
        }

    def _direction(self, memory: dict[str, Any], g: jax.Array) -> jax.Array:
        """``-H g`` by the two loops over the kept pairs, the newest first and then the oldest first."""
        moves, turns, pairs = memory["moves"], memory["turns"], memory["pairs"]
        held = jnp.minimum(pairs, self.history_size)

        def down(i: Any, carry: tuple) -> tuple:
            q, parts = carry
            at = (pairs - 1 - i) % self.history_size
            part = jnp.vdot(moves[at], q) / jnp.vdot(turns[at], moves[at])
            return q - part * turns[at], parts.at[at].set(part)

        def up(i: Any, d: jax.Array) -> jax.Array:
            at = (pairs - held + i) % self.history_size
            return d + moves[at] * (parts[at] - jnp.vdot(turns[at], d) / jnp.vdot(turns[at], moves[at]))

        q, parts = jax.lax.fori_loop(0, held, down, (-g, jnp.zeros(self.history_size, g.dtype)))
        return jax.lax.fori_loop(0, held, up, q * memory["scale"])

    def _search(self, loss: Callable, x: jax.Array, value: jax.Array, g: jax.Array, d: jax.Array, t: jax.Array) -> tuple:
        """A length along d that meets the strong Wolfe conditions, tried from t: the point, what is there, the length."""
        at = lambda t: jax.value_and_grad(loss)(x + t * d)  # noqa: E731
        least = self.tolerance_change / jnp.max(jnp.abs(d))
        t, value, g, calls = strong_wolfe(at, d, t, value, g, least)
        return x + t * d, value, g, t, calls


def strong_wolfe(
    at: Callable, d: jax.Array, t: jax.Array, value: jax.Array, g: jax.Array, least: Any, enough=1e-4, flatter=0.9, most=25
) -> tuple:
    """A length t with ``f(t) <= f(0) + enough t f'(0)`` and ``|f'(t)| <= flatter |f'(0)|``, its value, gradient and trials.

    First the length grows until the minimum must lie between two trials, then that bracket shrinks; new trials are the minima
    of cubics through both ends. ``at(t)`` gives value and gradient. Everything is one loop with one evaluation in it, which
    compiles small. Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 3.5 and 3.6.
    """
    slope = jnp.vdot(g, d)
    start = jnp.stack([jnp.zeros_like(t), value, slope])  # a point is a length, its value, its slope

    def turn(carry: tuple) -> tuple:
        count, _, shrinking, near_edge, t, low, high, g_low = carry
        f, g_t = at(t)
        f = jnp.where(jnp.isfinite(f), f, jnp.inf)
        point = jnp.stack([t, f, jnp.vdot(g_t, d)])
        above = (f > value + enough * t * slope) | ((f >= low[1]) & (shrinking | (count > 1)))
        good = ~above & (jnp.abs(point[2]) <= -flatter * slope)
        # Growing, `low` is the trial before. The bracket is there when the value or the slope has risen.
        found = ~shrinking & (above | (point[2] >= 0)) & ~good
        beyond = point[2] * (high[0] - low[0]) >= 0  # shrinking: the minimum lies on the side of the old low end
        take = good | jnp.where(shrinking, ~above, ~found | (f < low[1]))
        other = jnp.where(shrinking & ~above & ~beyond, high, jnp.where(take, low, point))
        low, g_low = jnp.where(take, point, low), jnp.where(take, g_t, g_low)
        shrinking, high = shrinking | found, other
        down, up = jnp.minimum(low[0], high[0]), jnp.maximum(low[0], high[0])
        done = good | (shrinking & (up - down < least))
        inside, near_edge = _within(_cubic(low, high, down, up), down, up, near_edge)
        ahead = _cubic(high, low, low[0] + 0.01 * (low[0] - high[0]), 10 * low[0])
        return count + 1, done, shrinking, near_edge & shrinking, jnp.where(shrinking, inside, ahead), low, high, g_low

    begin = (jnp.int32(0), jnp.bool_(False), jnp.bool_(False), jnp.bool_(False), t, start, start, g)
    count, *_, low, _, g = jax.lax.while_loop(lambda carry: ~carry[1] & (carry[0] <= most), turn, begin)
    return low[0], low[1], g, count


def _cubic(a: jax.Array, b: jax.Array, least: jax.Array, most: jax.Array) -> jax.Array:
    """The minimum of the cubic through two points with their slopes, kept within bounds; their middle if there is none."""
    span = b[0] - a[0]
    bend = a[2] + b[2] - 3 * (a[1] - b[1]) / (a[0] - b[0])
    square = bend**2 - a[2] * b[2]
    root = jnp.sign(span) * jnp.sqrt(jnp.maximum(square, 0))
    found = b[0] - span * (b[2] + root - bend) / (b[2] - a[2] + 2 * root)
    return jnp.where((square >= 0) & jnp.isfinite(found), jnp.clip(found, least, most), (least + most) / 2)


def _within(t: jax.Array, down: jax.Array, up: jax.Array, near_edge: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A trial that is too near an end of the bracket twice, or on it, is moved a tenth inwards, so that it shrinks."""
    margin = 0.1 * (up - down)
    close = jnp.minimum(up - t, t - down) < margin
    move = close & (near_edge | (t >= up) | (t <= down))
    moved = jnp.where(jnp.abs(t - up) < jnp.abs(t - down), up - margin, down + margin)
    return jnp.where(move, moved, t), close & ~move


def SparseAdam(*args: Any, **options: Any) -> Any:
    """Refused by this name: no gradient says that it is sparse here; `LazyAdam` is the same rule for embedding tables.

    >>> SparseAdam()
    Traceback (most recent call last):
    ...
    ValueError: SparseAdam needs sparse gradients, and JAX's are dense arrays: use LazyAdam, which moves only looked-up rows
    """
    raise ValueError(
        "SparseAdam needs sparse gradients, and JAX's are dense arrays: use LazyAdam, which moves only looked-up rows"
    )
