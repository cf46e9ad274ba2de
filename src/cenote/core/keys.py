"""Random keys from seeds and names, reckoned on the host: JAX compiles four small programs for the first."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))


def as_key(key: Any) -> jax.Array:
    """A typed JAX key from a seed, an old-style uint32 key or a typed key."""
    if isinstance(key, int):
        # As jax.random.key does it for its usual generator: the seed's 32 low bits behind a zero.
        usual = jax.config.jax_default_prng_impl == "threefry2x32"  # type: ignore[attr-defined]
        if usual and 0 <= key < 1 << 31 and not getattr(jax.config, "jax_random_seed_offset", 0):
            return _typed(np.array([0, key], np.uint32))
        return jax.random.key(key)
    key = jnp.asarray(key)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(key) if key.shape == (2,) else jax.random.key(key)


def fold(key: Any, text: str) -> jax.Array:
    """A key for a name: adding a layer elsewhere does not change it."""
    key, number = as_key(key), zlib.crc32(text.encode())
    if isinstance(key, jax.core.Tracer) or key.shape or str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.fold_in(key, number)
    with jax.ensure_compile_time_eval():  # the key is known, though a function around may be traced
        return _typed(threefry(np.asarray(jax.random.key_data(key)), np.array([0, number], np.uint32)))


def _typed(words: np.ndarray) -> jax.Array:
    return jax.random.wrap_key_data(jax.device_put(words), impl="threefry2x32")


def threefry(key: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The block cipher behind JAX's keys, Threefry-2x32 with 20 rounds, for one block of two 32-bit words.

    Source: Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3.

    >>> key = jax.random.key_data(jax.random.fold_in(jax.random.key(3), 7))
    >>> (threefry(np.array([0, 3], np.uint32), np.array([0, 7], np.uint32)) == np.asarray(key)).all().item()
    True
    """
    mask = 0xFFFFFFFF
    words = [int(key[0]), int(key[1])]
    words.append(words[0] ^ words[1] ^ 0x1BD11BDA)
    a, b = (int(count[0]) + words[0]) & mask, (int(count[1]) + words[1]) & mask
    for i in range(5):
        for turn in _TURNS[i % 2]:
            a = (a + b) & mask
            b = ((b << turn | b >> (32 - turn)) & mask) ^ a
        a = (a + words[(i + 1) % 3]) & mask
        b = (b + words[(i + 2) % 3] + i + 1) & mask
    return np.array([a, b], np.uint32)
