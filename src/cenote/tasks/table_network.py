"""The network for tables: several small members side by side, each learning from its share of every batch."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import mish, selu, softmax
from ..layers.base import Layer
from ..model import Model
from ..schedules import Schedule

__all__ = ["CosineLog", "LinearPart", "MemberDense", "NumberEmbedding", "TableNetwork"]


class CosineLog(Schedule):
    """Four waves of a cosine over the logarithm of the step: ``rate (1 - cos(2 pi log2(1 + 15 step / steps))) / 2``.

    Source: Holzmüller et al. 2024, arXiv:2407.04491 (coslog4).

    >>> round(CosineLog(1.0, 15)(1).item(), 3)
    0.0
    """

    def __init__(self, rate: float, steps: int) -> None:
        if not steps > 0:
            raise ValueError(f"CosineLog needs steps above 0, got {steps}")
        self.rate, self.steps = rate, steps

    def __call__(self, step: Any) -> jax.Array:
        done = jnp.minimum(jnp.asarray(step, jnp.float32) / self.steps, 1.0)
        return self.rate * 0.5 * (1 - jnp.cos(2 * jnp.pi * jnp.log2(1 + 15 * done)))


class MemberDense(Layer):
    """A dense layer for each member: ``y_m = x_m K_m / sqrt(feature) + b_m``, with start values of variance 1.

    Shapes: (member, batch, feature), or (batch, feature) for all -> (member, batch, unit); kernel (member, feature, unit).
    The division makes one learning rate fit all widths. Source: Jacot et al. 2018, arXiv:1806.07572.
    """

    def __init__(self, members: int, units: int, start: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.members, self.units, self.start = members, units, start

    def forward(self, x: Any) -> jax.Array:
        features = x.shape[-1]
        kernel = self.param("kernel", (self.members, features, self.units), _Normal(self.start))
        bias = self.param("bias", (self.members, 1, self.units), _Normal(self.start))
        scale = 1 / math.sqrt(features)
        if x.ndim == 2:
            return jnp.einsum("bf,mfu->mbu", x * scale, kernel) + bias
        return jnp.einsum("mbf,mfu->mbu", x * scale, kernel) + bias


class NumberEmbedding(Layer):
    """Each number, and three mixtures of waves of it: ``[x, W cos(2 pi w x + b) + c]``, for each member its own.

    Shapes: (member or 1, batch, feature) -> (member, batch, 4 feature).
    Source: Gorishniy et al. 2022, arXiv:2203.05556; the form (PBLD) is that of Holzmüller et al. 2024.
    """

    def __init__(self, members: int, waves: int = 16, units: int = 3, deviation: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.members, self.waves, self.units, self.deviation = members, waves, units, deviation

    def forward(self, x: Any) -> jax.Array:
        m, f = self.members, x.shape[-1]
        frequency = self.param("frequency", (m, 1, f, self.waves), _Normal(self.deviation))
        phase = self.param("phase", (m, 1, f, self.waves), _Phase())
        kernel = self.param("kernel", (m, f, self.waves, self.units), _Normal(1 / math.sqrt(self.waves)))
        bias = self.param("bias", (m, 1, f, self.units), "zeros")
        waves = jnp.cos(2 * jnp.pi * (x[..., None] * frequency + phase))
        mixed = jnp.einsum("mbfw,mfwu->mbfu", waves, kernel) + bias
        plain = jnp.broadcast_to(x, (m, *x.shape[-2:]))[..., None]
        return jnp.concatenate([plain, mixed], axis=-1).reshape(m, x.shape[-2], -1)


class LinearPart(Layer):
    """``y = x K + sum over columns of T_column[level] + b``, with weights that are not learned by steps.

    Shapes: numbers (..., row, feature), codes (..., row, column), either may be None -> (..., row, output).
    """

    def __init__(self, outputs: int, sizes: tuple[int, ...] = (), **options: Any) -> None:
        super().__init__(**options)
        self.outputs, self.sizes = outputs, tuple(sizes)

    def forward(self, numbers: Any, codes: Any = None) -> jax.Array:
        y = self.state("bias", (self.outputs,), "zeros")
        if numbers is not None:
            y = y + numbers @ self.state("kernel", (numbers.shape[-1], self.outputs), "zeros")
        for i, size in enumerate(self.sizes):
            y = y + jnp.take(self.state(f"table_{i}", (size, self.outputs), "zeros"), codes[..., i], axis=0, mode="clip")
        return y


class TableNetwork(Model):
    """``members`` multilayer perceptrons for rows of a table, as one model.

    In training each member sees its own share of every batch, at random, and answers for it; otherwise all answer, and the
    mean of the probabilities (of the answers, for quantities) comes out. So the members differ, and cost together what
    one costs. What they answer is added to a linear model's answer, which `start_linear` solves for beforehand and which
    stays: they learn what it leaves.

    Args: ``outputs`` classes or quantities; ``classes`` whether these are classes (then probabilities come out); ``sizes`` the
    numbers of levels of embedded categories; ``members``, ``width`` and ``depth`` of the hidden layers; ``dropout``.
    Input: (batch, feature), or a dict of "numbers" and "categories" (batch, column).
    Source: recipe of RealMLP, Holzmüller et al. 2024, arXiv:2407.04491, simplified; members as in Gorishniy et al. 2024,
    arXiv:2410.24210, without shared weights.
    """

    def __init__(
        self,
        outputs: int,
        *,
        classes: bool = True,
        sizes: tuple[int, ...] = (),
        members: int = 8,
        width: int = 128,
        depth: int = 3,
        dropout: float = 0.15,
        waves: bool = True,
    ) -> None:
        super().__init__()
        self.outputs, self.classes, self.sizes = outputs, classes, tuple(sizes)
        self.members, self.width, self.dropout = members, width, dropout
        self.embedding = NumberEmbedding(members) if waves else None
        self.hidden = [MemberDense(members, width) for _ in range(depth)]
        self.head = MemberDense(members, outputs, start=0.1)
        self.linear = LinearPart(outputs, self.sizes)

    def start_linear(self, weights: np.ndarray, bias: np.ndarray) -> None:
        """Set the linear part of a built model: weights (feature, output), the levels of categories behind the numbers."""
        pieces = np.split(weights, len(weights) - np.cumsum(self.sizes[::-1])[::-1])
        found = {"linear.bias": bias, "linear.kernel": pieces[0]}
        found |= {f"linear.table_{i}": piece for i, piece in enumerate(pieces[1:])}
        self.set_weights({name: np.asarray(value, np.float32) for name, value in found.items() if value.size})

    def forward(self, x: Any) -> jax.Array:
        numbers, categories = (x.get("numbers"), x.get("categories")) if isinstance(x, dict) else (x, None)
        rows = jax.tree.leaves(x)[0].shape[0]
        parts = []
        numbers, codes = (None if a is None else self._shared_out(a) for a in (numbers, categories))
        if numbers is not None:
            parts.append(self.embedding(numbers) if self.embedding is not None else numbers)
        if codes is not None:
            for i, size in enumerate(self.sizes):
                table = self.param(f"table_{i}", (self.members, size, 8), _Normal(1.0))
                code = jnp.broadcast_to(codes[..., i], (self.members, codes.shape[-2]))
                parts.append(jnp.take_along_axis(table, jnp.clip(code, 0, size - 1)[..., None], axis=1))
        parts = [jnp.broadcast_to(p, (self.members, *p.shape[1:])) for p in parts]
        h = jnp.concatenate(parts, axis=-1)
        h = h * self.param("scale", (self.members, 1, h.shape[-1]), "ones")
        for layer in self.hidden:
            h = self._drop((selu if self.classes else mish)(layer(h)))
        y = self.head(h) + self.linear(numbers, codes)
        if self.train:
            y = y.reshape(-1, self.outputs)[:rows]
            return softmax(y) if self.classes else y
        if not self.classes:
            return y.mean(0)
        # The mean of the probabilities as logits, so that the softmax gives it back and losses stay exact.
        return softmax(jax.nn.logsumexp(jax.nn.log_softmax(y), axis=0) - math.log(self.members))

    def _shared_out(self, x: Any) -> jax.Array:
        """(member, share, feature) in training; (1, batch, feature) otherwise."""
        if not self.train:
            return x[None]
        share = -(-x.shape[0] // self.members)
        lacking = share * self.members - x.shape[0]
        x = jnp.concatenate([x, x[:1].repeat(lacking, axis=0)]) if lacking else x
        return x.reshape(self.members, share, x.shape[-1])

    def _drop(self, h: jax.Array) -> jax.Array:
        if not self.train or not self.dropout:
            return h
        keep = jax.random.bernoulli(self.next_key(), 1 - self.dropout, h.shape)
        return jnp.where(keep, h / (1 - self.dropout), 0)


class _Normal:
    """Normal start values of one deviation, whatever the shape."""

    def __init__(self, deviation: float) -> None:
        self.deviation = deviation

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return self.deviation * jax.random.normal(key, shape, dtype)


class _Phase:
    """Phases from -1/2 to 1/2 of a turn."""

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -0.5, 0.5)
