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
from .tree import members, paths_of


class Lifted(Module):
    """What the three helpers share: running a block as a pure function of its arrays."""

    def _homes(self, block: Module) -> tuple[str, ...]:
        """The paths under which the block's weights lie: its own, and those of members that it shares with layers outside."""
        call = self._inside("forward")
        own = call.path(block)
        inside = tuple(f"{own}.{path}" if path else own for path in members(block))
        return (own, *[path for path in map(call.path, members(block).values()) if path not in inside])

    def _slice(self, arrays: dict[str, Any], homes: tuple[str, ...]) -> dict[str, Any]:
        """What belongs to the block, of weights (``path.name``) or of nudges (``path``, ``path:1``)."""
        prefixes = tuple(f"{home}{mark}" for home in homes for mark in ".:")
        return {k: v for k, v in arrays.items() if k in homes or k.startswith(prefixes)}

    def _arrays_of(self, homes: tuple[str, ...]) -> tuple[dict, dict, dict]:
        """``(params, state, nudges)`` of the block."""
        call = self._inside("forward")
        parts = (call.params, {**call.state, **call.written}, call.nudges)
        return tuple(self._slice(part, homes) for part in parts)  # type: ignore[return-value]

    def _own_home(self, block: Module) -> tuple[str, ...]:
        """The same for a block whose weights are stacked, and so cannot be those of a layer outside it, too."""
        own, *others = self._homes(block)
        if others:
            raise ValueError(
                f"{type(self).__name__} gives each of its {self.count} blocks weights of its own, but the layer {others[0]!r} "  # type: ignore[attr-defined]
                f"is used in the block and outside it: give the block a layer of its own, or call the blocks in a loop"
            )
        return (own,)

    def _pure(self, block: Module, paths: dict[int, str]) -> Callable:
        """``run(params, state, key, nudges, masks, *args) -> (y, (written, losses, captured, masks))``."""
        outer = self._inside("forward")
        before = dict(outer.visits)  # the same at each trace: a scan may trace its body twice

        def run(params: dict, state: dict, key: Any, nudges: dict, masks: list, *args: Any) -> Any:
            inner = Call(
                params,
                state,
                paths,
                train=outer.train,
                key=key,
                dtype=outer.dtype,
                wanted=outer.wanted,
                nudges=nudges,
                visits=dict(before),
            )
            with opened(inner), notes.collecting(fresh=True) as table:
                _with_masks(args, masks)
                y = block._enter(inner, args, {})
                masks = masks_of(y)
            outer.visits.update(inner.visits)
            return y, (inner.written, list(table.losses), inner.captured, masks)

        return run

    def _receive(self, extras: tuple, reduce: Callable = lambda v: v) -> None:
        written, losses, captured, _ = extras
        outer = self._inside("forward")
        if written or captured or losses:
            outer.forbid_inner_trace("what a lifted block writes, adds or captures")
        outer.written.update(written)
        outer.captured.update(captured)
        for value in losses:
            notes.add_loss(reduce(value))

    def _block_key(self) -> Any:
        return None if self._inside("forward").key is None else self.next_key()

    def _declare_stacked(self, block: Module, count: int, *args: Any) -> Any:
        """Building: run the block once, and declare each of its weights ``count`` times along a new first axis."""
        outer = self._inside("forward")
        (own,) = self._own_home(block)
        found: dict[str, Weight] = {}
        inner = Call({}, {}, paths_of(block, own), train=True, key=jax.random.key(0), building=found, observer=outer.observer)
        masks = masks_of(args)
        with opened(inner), notes.collecting(fresh=True):
            _with_masks(args, masks)
            y = block._enter(inner, args, {})
        assert outer.building is not None
        for path, w in found.items():
            stacked = Weight(
                (count, *w.shape),
                w.dtype,
                _stacked(w.init, count),
                w.kind,
                w.trainable,
                None if w.regularizer is None else lambda a, each=w.regularizer: jnp.sum(jax.vmap(each)(a)),
                None if w.constraint is None else jax.vmap(w.constraint),
            )
            outer.building.setdefault(path, stacked)
        return y


def masks_of(tree: Any) -> list:
    """The mask of each array in a tree, None where it has none."""
    return [notes.annotation(leaf, "mask") for leaf in jax.tree.leaves(tree)]


def _with_masks(tree: Any, masks: list) -> Any:
    for leaf, mask in zip(jax.tree.leaves(tree), masks, strict=True):
        notes.annotate(leaf, "mask", mask)
    return tree


def _stacked(init: Callable, count: int) -> Callable:
    def draw(key: Any, shape: tuple, dtype: Any) -> Any:
        return jnp.stack([jnp.asarray(init(jax.random.fold_in(key, i), shape[1:], dtype)) for i in range(count)])

    return draw


class Remat(Lifted):
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
        params, state, nudges = self._arrays_of(self._homes(self.block))
        run = jax.checkpoint(self._pure(self.block, call.paths))
        y, extras = run(params, state, self._block_key(), nudges, masks_of(args), *args)
        self._receive(extras)
        return _with_masks(y, extras[-1])


class Repeat(Lifted):
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
        run = self._pure(self.block, paths_of(self.block, call.path(self.block)))
        key = self._block_key()
        keys = None if key is None else jax.random.split(key, self.count)
        params, state, nudges = self._arrays_of(self._own_home(self.block))

        def body(carry: tuple, each: tuple) -> tuple:
            x, masks = carry
            y, extras = run(*each, masks, x)
            # A block that drops the mask hides nothing from the next one: the same as a mask that is true everywhere.
            kept = [
                old if old is None else jnp.ones_like(old) if new is None else new
                for old, new in zip(masks, extras[-1], strict=True)
            ]
            return (jax.tree.map(lambda new, old: new.astype(old.dtype), y, x), kept), extras

        (y, _), extras = jax.lax.scan(body, (x, masks_of(x)), (params, state, keys, nudges), length=self.count)
        self._receive(extras, reduce=jnp.sum)
        return _with_masks(y, [mask if mask is None else mask[-1] for mask in extras[-1]])


class Ensemble(Lifted):
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
        params, state, nudges = self._arrays_of(self._own_home(self.model))
        pure = self._pure(self.model, paths_of(self.model, call.path(self.model)))
        axes = (0, 0, None if keys is None else 0, 0, None, *[None] * len(args))
        run = jax.vmap(pure, in_axes=axes, axis_size=self.count)
        y, extras = run(params, state, keys, nudges, masks_of(args), *args)
        self._receive(extras, reduce=jnp.sum)
        joined = jax.tree.map(self._join, y)
        if self.reduce == "mean":  # the members are alike, and so are their masks
            _with_masks(joined, [mask if mask is None else mask[0] for mask in extras[-1]])
        return joined

    def _join(self, stacked: Any) -> Any:
        return stacked.mean(0) if self.reduce == "mean" else jnp.moveaxis(stacked, 0, 1)
