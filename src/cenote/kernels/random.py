"""Random masks and noise from a counter: a hash of (key, position) that fuses with what uses it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_GOLDEN = np.uint32(0x9E3779B9)


def bits(key: Any, shape: tuple[int, ...]) -> jax.Array:
    """32 random bits for each position of ``shape``, a function of the key and the position alone.

    Two rounds of xor, shift and multiply mix the position with the first word of the key, and then with the second. On a CPU
    this is some ten times faster than Threefry and fuses with its consumer; it is meant for dropout, not for cryptography.
    Source: the finaliser "lowbias32" of C. Wellons, hash-prospector.

    >>> bits(jax.random.key(0), (2, 2)).dtype
    dtype('uint32')
    """
    return _bits(jax.random.key_data(key), shape)


def _bits(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    words = words.astype(jnp.uint32)
    count = math.prod(shape)
    if count >= 1 << 32:
        raise ValueError(f"a random mask of {count} positions is beyond 32 bits: split the array")
    position = jax.lax.iota(jnp.uint32, count).reshape(shape)
    h = _mix(position * _GOLDEN + words[..., 0])
    return _mix(h ^ words[..., -1])


def _mix(h: jax.Array) -> jax.Array:
    h = (h ^ (h >> 16)) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> 15)) * np.uint32(0x846CA68B)
    return h ^ (h >> 16)


def dropout(x: jax.Array, rate: float, key: Any, noise_shape: tuple[int, ...] | None = None) -> jax.Array:
    """Zeros with probability ``rate``, and ``x / (1 - rate)`` elsewhere; axes of size 1 in ``noise_shape`` share one draw.

    Source: Srivastava et al. 2014, JMLR 15.

    >>> dropout(jnp.ones(4), 0.0, jax.random.key(0)).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    return x if rate <= 0 else thin(x, rate, jax.random.key_data(key), noise_shape)


def thin(x: jax.Array, rate: float, words: jax.Array, noise_shape: tuple[int, ...] | None = None) -> jax.Array:
    """Dropout from the words of a key: linear in ``x``, so that a backward pass can draw the same mask again.

    >>> thin(jnp.ones(4), 1.0, jax.random.key_data(jax.random.key(0))).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    if rate >= 1:
        return jnp.zeros_like(x)
    keep = kept(words, rate, x.shape if noise_shape is None else noise_shape)
    # In half precision 1 / (1 - rate) itself would be rounded, and with it the mean of what comes out.
    exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.where(keep, exact * (1 / (1 - rate)), 0).astype(x.dtype)


def kept(words: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """True with probability ``1 - rate`` at each position, from the words of a key.

    >>> kept(jax.random.key_data(jax.random.key(0)), 0.0, (3,)).tolist()
    [True, True, True]
    """
    return _bits(words, shape) >= np.uint32(min(round(rate * 2**32), 2**32 - 1))


def uniform(key: Any, shape: tuple[int, ...]) -> jax.Array:
    """Numbers between 0 and 1, never either of them, in steps of 2^-23: float32.

    >>> uniform(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    return ((bits(key, shape) >> 9).astype(jnp.float32) + 0.5) * np.float32(2.0**-23)


def normal(key: Any, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers, float32: ``sqrt(2) erfinv(2 u - 1)`` of uniform ones, none beyond 5.3.

    >>> normal(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(2 * uniform(key, shape) - 1)
