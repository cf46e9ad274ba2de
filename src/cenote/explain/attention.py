"""Attention maps of a model, and what they say together: rollout, and attention weighted by its slope.

Attention is found among the equations of the traced model, wherever it stands: in a layer, a block, a repeated stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module
from ..core.tree import declare, spec_of
from ..data.arrays import take_rows
from ..kernels.attention import mix
from ..layers.attention import Attention, Heads
from .cam import enlarged
from .method import Answer, method
from .question import Question, Score, ask
from .walk import Walk, bind, within

__all__ = ["attention_maps", "attention_rollout", "gradient_attention"]

_KERNELS = {"_attend", "_attend_blocks"}


def attention_maps(model: Module, x: Any, *, batch_size: int = 64) -> dict[str, np.ndarray]:
    """How much each place looks at each other one, for each attention of a model: (rows, head, query, key), by layer's path.

    The second call of a shared layer is "path:1"; repeated blocks are numbered, "attention 0" and on.
    Raises: ValueError for a model without attention.

    >>> from cenote import Sequential, layers
    >>> x = np.ones((1, 5, 8), "float32")
    >>> model = Sequential([layers.TransformerEncoder(16, 2), layers.GlobalAveragePooling1D(), layers.Dense(3)]).build(x)
    >>> {path: found.shape for path, found in attention_maps(model, x).items()}
    {'layers.0.attention': (1, 2, 5, 5)}
    """
    question = ask(model, x, target=_first)
    run, parts, count = question.program(_seen), [], question.count
    size = min(batch_size, count)
    for start in range(0, count, size):
        some = take_rows(question.x, np.minimum(np.arange(start, start + size), count - 1))  # the last row fills the last batch
        parts.append([np.asarray(m)[: count - start] for m in run(question.weights, some, _UNUSED)])
    found = _some([np.concatenate(column) for column in zip(*parts, strict=True)])
    return dict(zip(_names(model, question.x, len(found)), found, strict=True))


@method(gradients=True)
def attention_rollout(question: Question, *, query: int | None = None) -> Answer:
    """How attention passes on from layer to layer: ``A_n ... A_2 A_1`` with ``A = (mean over heads + I) / 2``, rows of sum 1.

    What place ``query`` sees of each place of the input; unless it is named, places count by how much the output hangs on
    them. It says where a model looks, not what it makes of it: the values do not depend on the output's sign.
    Shapes: ``values`` (rows, place), or (rows, height, width) for a picture cut into patches; ``details["maps"]`` hold the
    attention itself, (rows, layer, query, key), averaged over heads.
    Raises: ValueError for a model without self-attention.
    Source: Abnar and Zuidema 2020, arXiv:2005.00928.

    >>> from cenote import Sequential, layers
    >>> x = np.ones((1, 4, 8), "float32")
    >>> model = Sequential([layers.TransformerEncoder(16, 2), layers.GlobalAveragePooling1D(), layers.Dense(3)]).build(x)
    >>> np.round(attention_rollout(model, x).values, 4).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    question = getattr(question, "origin", question)
    maps, slopes = _of_itself(*_maps(question))
    rolled = np.eye(maps[0].shape[-1])[None]
    for one in maps:
        mixed = one.mean(1) + np.eye(one.shape[-1])
        rolled = mixed / mixed.sum(-1, keepdims=True) @ rolled
    return _answer(rolled, maps, slopes, query, question)


@method(gradients=True)
def gradient_attention(question: Question, *, query: int | None = None) -> Answer:
    """Attention weighted by how the output rises with it: ``R <- R + mean_heads(relu(dA * A)) R``, from ``R = I`` on.

    ``dA`` is the slope of the output by the attention weights, so that the values are about this output, unlike those of
    `attention_rollout`; ``query`` and shapes as there.
    Raises: ValueError for a model without self-attention.
    Source: Chefer, Gur and Wolf 2021, arXiv:2103.15679.

    >>> from cenote import Sequential, layers
    >>> x = np.ones((1, 4, 8), "float32")
    >>> model = Sequential([layers.TransformerEncoder(16, 2), layers.GlobalAveragePooling1D(), layers.Dense(3)]).build(x)
    >>> gradient_attention(model, x).values.shape
    (1, 4)
    """
    question = getattr(question, "origin", question)
    maps, slopes = _of_itself(*_maps(question))
    passed = np.eye(maps[0].shape[-1])[None]
    for one, slope in zip(maps, slopes, strict=True):
        passed = passed + np.maximum(one * slope, 0).mean(1) @ passed
    return _answer(passed, maps, slopes, query, question)


def _answer(passed: np.ndarray, maps: list, slopes: list, query: int | None, question: Question) -> Answer:
    places = passed.shape[-1]
    if query is not None and not -places <= query < places:
        raise ValueError(f"there is no place {query}: the attention is between {places} places")
    if query is None:
        shares = np.abs(maps[-1] * slopes[-1]).sum((1, 3))  # (rows, query)
        whole = shares.sum(1, keepdims=True)
        shares = np.where(whole > 0, shares / np.where(whole > 0, whole, 1), 1 / places)
        values, reason = np.einsum("rq,rqk->rk", shares, passed), "places count by how much the output hangs on them"
    else:
        values, reason = passed[:, query], f"what place {query} sees"
    details = {"maps": np.stack([one.mean(1) for one in maps], axis=1)}
    return Answer(_on_picture(values, question.x).astype(np.float32), details=details, reason=reason)


def _on_picture(values: np.ndarray, x: Any) -> np.ndarray:
    """Values of patches, (rows, patch), as a map over the pictures that were cut into them; a token before them falls away."""
    picture = next((leaf for leaf in jax.tree.leaves(x) if leaf.ndim == 4), None)
    if picture is None:
        return values
    tall = picture.shape[1] / picture.shape[2]
    for patches in (values.shape[1], values.shape[1] - 1):
        height = round(np.sqrt(patches * tall))
        if height and patches % height == 0 and np.isclose(height / (patches // height), tall):
            return enlarged(values[:, -patches:].reshape(len(values), height, -1), x)
    return values


# -- finding it ------------------------------------------------------------------------------------------------------------


class _Watch(Walk):
    """Runs equations, keeps the weights of every attention, and adds arrays to them to differentiate by."""

    def __init__(self, nudges: Iterator[Any] | None) -> None:
        self.nudges = nudges
        self.maps: list[Any] = []

    def step(self, eqn: Any, ins: list[Any]) -> list[Any]:
        if _is_attention(eqn):
            return [self.attend(eqn, ins)]
        if any(_holds_attention(part) for part in within(eqn)):
            out = self.inside(eqn, ins)
            if out is None:
                raise ValueError(f"there is attention inside a {eqn.primitive.name}, whose rounds cannot be told apart")
            return out
        return bind(eqn, ins)

    def attend(self, eqn: Any, ins: list[Any]) -> Any:
        """The weights are what attention gives for values that are rows of the identity: it is linear in the values."""
        first = eqn.params.get("num_consts", 0)
        value = ins[first + 2]
        batch, heads, keys, wide = value.shape
        parts = []
        for start in range(0, keys, wide):
            rows = jnp.eye(keys, wide, -start, dtype=value.dtype)
            ins = [*ins[: first + 2], jnp.broadcast_to(rows, (batch, heads, keys, wide)), *ins[first + 3 :]]
            parts += bind(eqn, ins)
        weights = jnp.concatenate(parts, axis=-1)[..., :keys].astype(jnp.float32)
        self.maps.append(weights)
        if self.nudges is not None:
            weights = weights + next(self.nudges)
        return mix(weights.astype(value.dtype), value)


def _is_attention(eqn: Any) -> bool:
    if eqn.primitive.name != "custom_vjp_call":
        return False
    body = getattr(eqn.params["call_jaxpr"], "jaxpr", eqn.params["call_jaxpr"])
    return getattr(body.debug_info, "func_name", "") in _KERNELS


def _holds_attention(jaxpr: Any) -> bool:
    return any(_is_attention(eqn) or any(map(_holds_attention, within(eqn))) for eqn in jaxpr.eqns)


def _watch(score: Score, weights: Any, x: Any, target: Any, nudges: list[Any] | None) -> tuple[Any, list[Any]]:
    """The numbers explained, and the weights of each attention on their way."""
    closed = jax.make_jaxpr(score)(*spec_of((weights, x, target)))
    watch = _Watch(None if nudges is None else iter(nudges))
    (out,) = watch.run(closed.jaxpr, closed.consts, jax.tree.leaves((weights, x, target)))
    return out, watch.maps


def _seen(score: Score) -> Callable:
    return lambda weights, x, target: _watch(score, weights, x, target, None)[1]


def _watched(score: Score) -> Callable:
    def run(weights: Any, x: Any, target: Any) -> tuple[list[Any], list[Any]]:
        def total(nudges: list[Any] | None) -> tuple[Any, list[Any]]:
            out, maps = _watch(score, weights, x, target, nudges)
            return out.sum(), maps

        nothing = [jnp.zeros(m.shape, m.dtype) for m in jax.eval_shape(lambda: total(None)[1])]
        slopes, maps = jax.grad(total, has_aux=True)(nothing)
        return maps, slopes

    return run


_UNUSED = np.zeros(1, np.int32)  # the target of a question about nothing in particular


def _first(y: Any) -> Any:
    return y.reshape(y.shape[0], -1)[:, 0]


def _maps(question: Question) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Every attention of the model in the order of its layers, and the output's slopes by them."""
    maps, slopes = question.program(_watched)(question.weights, question.x, question.targets)
    return _some([np.asarray(m) for m in maps]), [np.asarray(s) for s in slopes]


def _some(maps: list[np.ndarray]) -> list[np.ndarray]:
    if not maps:
        raise ValueError(
            "the model has no attention of ours (MultiHeadAttention, TransformerEncoder and the like), so there are no maps of "
            "it: use integrated_gradients or deeplift, which need none"
        )
    return maps


def _of_itself(maps: list, slopes: list) -> tuple[list, list]:
    """The attentions of one sequence to itself, as the last one is; others, such as to an encoder, lead elsewhere."""
    square = [i for i, m in enumerate(maps) if m.shape[-1] == m.shape[-2]]
    if not square:
        shapes = ", ".join(str(m.shape[-2:]) for m in maps)
        raise ValueError(f"no sequence attends to itself in this model (query, key: {shapes}), so nothing can be passed on")
    kept = [i for i in square if maps[i].shape[-1] == maps[square[-1]].shape[-1] and len(maps[i]) == len(maps[square[-1]])]
    return [maps[i] for i in kept], [slopes[i] for i in kept]


def _names(model: Module, x: Any, count: int) -> list[str]:
    called: list[str] = []

    def see(path: str, module: Module, *_: Any) -> None:
        if isinstance(module, (Heads, Attention)):
            called.append(path)

    declare(model, *getattr(model, "_spread", lambda x: (x,))(spec_of(x)), observer=see)
    return called if len(called) == count else [f"attention {i}" for i in range(count)]
