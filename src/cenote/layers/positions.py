"""Where in the sequence a token stands: learned, sinusoidal and rotary positions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import initializers
from ..core import annotate
from .base import Layer
from .check import floating, positive
from .embedding import ReversibleEmbedding

__all__ = ["PositionEmbedding", "RotaryEmbedding", "SinePositionEncoding", "TokenAndPositionEmbedding"]


def _positions(length: int, start_index: Any, given: Any, dtype: Any) -> jax.Array:
    """The place of each token, (time) or (batch, time): those given, or counted from ``start_index``."""
    places = jnp.arange(length) + jnp.asarray(start_index) if given is None else jnp.asarray(given)
    return places.astype(jnp.promote_types(dtype, jnp.float32))


def _known(value: Any) -> bool:
    """Whether a number can be looked at now: it cannot while a program is being compiled."""
    return not isinstance(value, jax.core.Tracer)


def _sequence(layer: Layer, x: Any) -> jax.Array:
    x = floating(x)
    if x.ndim < 2:
        raise ValueError(f"{type(layer).__name__} takes (batch, time, feature), but the input has shape {x.shape}")
    return x


class SinePositionEncoding(Layer):
    """Waves of growing length, to be added to a sequence: ``sin(p w^(-i/d))`` for even i, ``cos(p w^(-(i-1)/d))`` for odd i.

    p is the position, w the ``max_wavelength``, i the feature, d their number. Only the shape of the input counts; the output
    is the encoding alone: ``x + SinePositionEncoding()(x)``.
    Call: ``layer(x, start_index=0, positions=None)``; ``start_index`` is the position of the first token, or ``positions``
    (time), or (batch, time), says each.
    Shapes: (batch, ..., time, feature) -> the same.
    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> import numpy as np
    >>> SinePositionEncoding()(np.zeros((1, 2, 2)))[0, 0].tolist()
    [0.0, 1.0]
    """

    def __init__(self, max_wavelength: float = 10000, **options: Any) -> None:
        super().__init__(**options)
        self.max_wavelength = _wavelength(self, max_wavelength)

    def forward(self, x: Any, start_index: Any = 0, positions: Any = None) -> jax.Array:
        x = _sequence(self, x)
        places = _positions(x.shape[-2], start_index, positions, x.dtype)
        feature = jnp.arange(x.shape[-1])
        angles = places[..., None] * self.max_wavelength ** (-(feature // 2 * 2).astype(places.dtype) / x.shape[-1])
        waves = jnp.where(feature % 2 == 0, jnp.sin(angles), jnp.cos(angles))
        return jnp.broadcast_to(waves.astype(x.dtype), x.shape)


class PositionEmbedding(Layer):
    """A learned vector for each position, to be added to a sequence: ``table[position]``.

    Args: ``sequence_length``, the longest sequence; ``initializer`` of the table. Only the shape of the input counts; the
    output is the encoding alone: ``x + PositionEmbedding(100)(x)``.
    Call: ``layer(x, start_index=0, positions=None)``; ``start_index`` is the position of the first token, or ``positions``
    (time), or (batch, time), says each.
    Shapes: (batch, ..., time, feature) -> the same; table (sequence_length, feature).
    Raises: ValueError for a sequence that reaches beyond the table, as far as that is known outside compiled code.
    Source: Devlin et al. 2018, arXiv:1810.04805.

    >>> import numpy as np
    >>> x = np.zeros((1, 2, 3))
    >>> PositionEmbedding(5).build(x)(x).shape
    (1, 2, 3)
    """

    weight_options = {"embeddings": "table"}

    def __init__(self, sequence_length: int, initializer: Any = "glorot_uniform", **options: Any) -> None:
        super().__init__(**options)
        self.sequence_length = positive(self, "sequence_length", sequence_length)
        self.initializer = initializers.get(initializer)

    def forward(self, x: Any, start_index: Any = 0, positions: Any = None) -> jax.Array:
        x = _sequence(self, x)
        length = x.shape[-2]
        table = self.param("table", (self.sequence_length, x.shape[-1]), self.initializer)
        end = length if positions is None else 0
        if positions is None and _known(start_index):
            end += int(start_index)
        elif positions is not None and _known(positions):
            end = int(np.max(np.asarray(positions))) + 1
        if end > self.sequence_length:
            raise ValueError(
                f"PositionEmbedding(sequence_length={self.sequence_length}) is asked for position {end - 1}: "
                f"cut the input of shape {x.shape} shorter, or give the layer a larger sequence_length"
            )
        if positions is None:
            found = jax.lax.dynamic_slice_in_dim(table, start_index, length)
        else:
            found = jnp.take(table, jnp.asarray(positions), axis=0, mode="clip")
        return jnp.broadcast_to(found.astype(x.dtype), x.shape)


class RotaryEmbedding(Layer):
    """Turns pairs of features by an angle that grows with the position: products of queries and keys then tell their distance.

    ``(a, b) -> (a cos t - b sin t, a sin t + b cos t)`` with ``t = position / scaling_factor * max_wavelength^(-2 i / d)``
    for the pair i of features i and i + d/2. Inside attention: ``MultiHeadAttention(..., rotary=True)``.
    Args: ``max_wavelength``; ``scaling_factor`` of positions, above 1 for texts longer than those of the training;
    ``sequence_axis`` and ``feature_axis`` of the input.
    Call: ``layer(x, start_index=0, positions=None)``; ``start_index`` is the position of the first token, or ``positions``
    (time), or (batch, time), says each.
    Shapes: (batch, time, ..., feature) -> the same.
    Raises: ValueError for an odd number of features.
    Source: Su et al. 2021, arXiv:2104.09864.

    >>> import numpy as np
    >>> np.round(RotaryEmbedding()(np.array([[[1.0, 0.0], [1.0, 0.0]]])), 3).tolist()
    [[[1.0, 0.0], [0.5400000214576721, 0.8410000205039978]]]
    """

    supports_masking = True

    def __init__(
        self,
        max_wavelength: float = 10000,
        scaling_factor: float = 1.0,
        sequence_axis: int = 1,
        feature_axis: int = -1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.max_wavelength = _wavelength(self, max_wavelength)
        if not scaling_factor > 0:
            raise ValueError(f"RotaryEmbedding needs scaling_factor above 0, got {scaling_factor!r}")
        self.scaling_factor = float(scaling_factor)
        self.sequence_axis, self.feature_axis = sequence_axis, feature_axis

    def forward(self, x: Any, start_index: Any = 0, positions: Any = None) -> jax.Array:
        x = _sequence(self, x)
        moved = jnp.moveaxis(x, (self.sequence_axis, self.feature_axis), (1, -1))
        places = _positions(moved.shape[1], start_index, positions, x.dtype) / self.scaling_factor
        return jnp.moveaxis(self._turned(moved, places), (1, -1), (self.sequence_axis, self.feature_axis))

    def _turned(self, x: jax.Array, places: jax.Array) -> jax.Array:
        """(batch, time, ..., feature) turned by places (time) or (batch, time)."""
        width = x.shape[-1]
        if width % 2:
            raise ValueError(
                f"RotaryEmbedding turns pairs of features, but the input has {width}: give each head an even number of them"
            )
        angles = places[..., None] * self.max_wavelength ** (-jnp.arange(0, width, 2, dtype=places.dtype) / width)
        between = (1,) * (x.ndim - 3)
        angles = angles.reshape(*angles.shape[:-1], *between, width // 2)  # (time, ..., pair), with the batch or without
        # In half precision the angles of far positions would be rounded to nothing: they, and their waves, are float32.
        cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
        a, b = x[..., : width // 2], x[..., width // 2 :]
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class TokenAndPositionEmbedding(Layer):
    """What a transformer reads: ``table[token] + table_of_positions[position]``, an Embedding and a PositionEmbedding in one.

    Args: ``vocabulary_size`` tokens, ``sequence_length`` at most, ``embedding_dim`` features; ``mask_zero`` makes token 0
    stand for padding. ``layer.token_embedding(x, reverse=True)`` goes back from features to logits, by the same table unless
    ``tie_weights=False``.
    Call: ``layer(tokens, start_index=0, positions=None)``.
    Shapes: (batch, time) of whole numbers -> (batch, time, embedding_dim).

    >>> import numpy as np
    >>> tokens = np.array([[3, 1, 2]])
    >>> TokenAndPositionEmbedding(10, 5, 4).build(tokens)(tokens).shape
    (1, 3, 4)
    """

    weight_options = {"embeddings": "table"}

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        embedding_dim: int,
        tie_weights: bool = True,
        *,
        mask_zero: bool = False,
        **options: Any,
    ) -> None:
        shared = {k: v for k, v in options.items() if k.rpartition("_")[0] == "embeddings"}
        super().__init__(**options)
        self.token_embedding = ReversibleEmbedding(
            positive(self, "vocabulary_size", vocabulary_size),
            positive(self, "embedding_dim", embedding_dim),
            tie_weights,
            mask_zero=mask_zero,
            **shared,
        )
        self.position_embedding = PositionEmbedding(sequence_length, shared.get("embeddings_initializer", "uniform"))

    def forward(self, tokens: Any, start_index: Any = 0, positions: Any = None) -> jax.Array:
        y = self.token_embedding(tokens)
        return annotate(y + self.position_embedding(y, start_index, positions), "mask", self.mask(y))


def _wavelength(layer: Layer, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{type(layer).__name__} needs max_wavelength above 0, got {value!r}")
    return float(value)
