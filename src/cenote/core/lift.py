"""Three lifted helpers: layers inside ``jax.checkpoint``, ``lax.scan`` and ``vmap``, with their weights, state and keys.

A transformation of JAX needs a pure function; a layer inside ``forward`` is not one, since it reads weights from the call
and writes state to it. Each helper turns its block into a pure function of its own slice of the call, transforms that, and
hands back what the block wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from . import notes
from .errors import describe
from .module import Call, Module, Weight, opened
from .tree import paths_of


class _Lifted(Module):
    """What the three helpers share: running a block as a pure function of its arrays."""

    def _slice(self, arrays: dict[str, Any], block: Module) -> dict[str, Any]:
        prefix = self._inside("forward").path(block) + "."
        return {k: v for k, v in arrays.items() if k.startswith(prefix)}

    def _pure(self, block: Module) -> Callable:
        """``run(params, state, key, nudges, *args) -> (y, (written, losses, captured, mask))``."""
        outer = self._inside("forward")
        path = outer.path(block)

        def run(params: dict, state: dict, key: Any, nudges: dict, *args: Any) -> Any:
            inner = Call(
                params,
                state,
                paths_of(block, path),
                train=outer.train,
                key=key,
                dtype=outer.dtype,
                wanted=outer.wanted,
                nudges=nudges,
            )
            with opened(inner), notes.collecting(fresh=True) as table:
                y = block._enter(inner, args, {})
            return y, (inner.written, list(table.losses), inner.captured)

        return run

    def _receive(self, extras: tuple, reduce: Callable = lambda v: v) -> None:
        written, losses, captured = extras
        outer = self._inside("forward")
        outer.written.update(written)
        outer.captured.update(captured)
        for value in losses:
            notes.add_loss(reduce(value))

    def _block_key(self) -> Any:
        return None if self._inside("forward").key is None else self.next_key()

    def _declare_stacked(self, block: Module, count: int, *args: Any) -> Any:
        """Building: run the block once, and declare each of its weights ``count`` times along a new first axis."""
        outer = self._inside("forward")
        found: dict[str, Weight] = {}
        inner = Call({}, {}, paths_of(block, outer.path(block)), train=True, key=jax.random.key(0), building=found)
        with opened(inner), notes.collecting(fresh=True):
            y = block._enter(inner, args, {})
        assert outer.building is not None
        for path, w in found.items():
            stacked = Weight(**{**w.__dict__, "shape": (count, *w.shape), "init": _stacked(w.init, count)})
            outer.building.setdefault(path, stacked)
        return y


def _stacked(init: Callable, count: int) -> Callable:
    def draw(key: Any, shape: tuple, dtype: Any) -> Any:
        return jnp.stack([jnp.asarray(init(jax.random.fold_in(key, i), shape[1:], dtype)) for i in range(count)])

    return draw


class Remat(_Lifted):
    """A block whose inner values are computed again in the backward pass instead of being kept: less memory, more time.

    ``y = block(x)``, and the gradient is the same. The block may hold any layers, BatchNormalization and Dropout too.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost"; ``jax.checkpoint``.
    """

    def __init__(self, block: Module) -> None:
        self.block = block

    def forward(self, *args: Any) -> Any:
        call = self._inside("forward")
        if call.building is not None:
            return self.block(*args)
        run = jax.checkpoint(self._pure(self.block))
        params, state = self._slice(call.params, self.block), self._slice({**call.state, **call.written}, self.block)
        y, extras = run(params, state, self._block_key(), self._slice(call.nudges, self.block), *args)
        self._receive(extras)
        return y


class Repeat(_Lifted):
    """``count`` equal blocks one after the other, each with its own weights, compiled once: ``x = block_i(x)``.

    The weights carry a leading axis ``(count, ...)`` and the blocks run in a ``lax.scan``, so that compile time does not
    grow with depth. The block's output must have the shape and dtype of its input. Outputs captured inside the block come
    back stacked as ``(count, ...)``.
    """

    def __init__(self, block: Module, count: int) -> None:
        if not 1 <= count <= 100_000:
            raise ValueError(f"Repeat needs a count from 1 to 100000, got {count}")
        self.block, self.count = block, count

    def forward(self, x: Any) -> Any:
        call = self._inside("forward")
        if call.building is not None:
            y = self._declare_stacked(self.block, self.count, x)
            if describe(y) != describe(x):
                raise ValueError(f"Repeat needs a block whose output is like its input, got {describe(x)} -> {describe(y)}")
            return y
        run = self._pure(self.block)
        key = self._block_key()
        keys = None if key is None else jax.random.split(key, self.count)
        params, state = self._slice(call.params, self.block), self._slice({**call.state, **call.written}, self.block)
        nudges = self._slice(call.nudges, self.block)

        def body(carry: Any, each: tuple) -> tuple:
            y, extras = run(*each, carry)
            return jax.tree.map(lambda new, old: new.astype(old.dtype), y, carry), extras

        y, extras = jax.lax.scan(body, x, (params, state, keys, nudges), length=self.count)
        self._receive(extras, reduce=jnp.sum)
        return y


class Ensemble(_Lifted):
    """``count`` copies of a model with different start weights, run side by side on the same input.

    The output is their mean, or with ``reduce=None`` every member's: ``(batch, member, ...)``. The weights carry a leading
    axis ``(count, ...)``; each member draws its own dropout. Good for small models; large ones leave the caches.
    """

    def __init__(self, model: Module, count: int, *, reduce: str | None = "mean") -> None:
        if not 1 <= count <= 100_000:
            raise ValueError(f"Ensemble needs a count from 1 to 100000, got {count}")
        if reduce not in ("mean", None):
            raise ValueError(f"Ensemble reduces by 'mean' or None, got {reduce!r}")
        self.model, self.count, self.reduce = model, count, reduce

    def forward(self, *args: Any) -> Any:
        call = self._inside("forward")
        if call.building is not None:
            y = self._declare_stacked(self.model, self.count, *args)
            return jax.tree.map(lambda leaf: self._join(jnp.stack([leaf] * self.count)), y)
        key = self._block_key()
        keys = None if key is None else jax.random.split(key, self.count)
        params, state = self._slice(call.params, self.model), self._slice({**call.state, **call.written}, self.model)
        run = jax.vmap(self._pure(self.model), in_axes=(0, 0, None if keys is None else 0, 0, *[None] * len(args)))
        y, extras = run(params, state, keys, self._slice(call.nudges, self.model), *args)
        self._receive(extras, reduce=jnp.sum)
        return jax.tree.map(self._join, y)

    def _join(self, stacked: Any) -> Any:
        return stacked.mean(0) if self.reduce == "mean" else jnp.moveaxis(stacked, 0, 1)
