"""Categories as numbers: indices to vectors, and stable hashes of texts, the same on every machine and in every version.

The hashes work on NumPy arrays: all texts of one length are one matrix of bytes, and each step of the hash is a few operations
on columns of 64-bit words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# -- indices to vectors ----------------------------------------------------------------------------------------------------


def encode(indices: Any, mode: str, depth: int, weights: Any = None, dtype: Any = jnp.float32) -> jax.Array:
    """Indices as vectors of ``depth`` numbers; an index outside 0 to depth - 1 adds nothing.

    ``one_hot`` gives each index a vector (a last axis of size 1 makes room for it); ``multi_hot`` and ``count`` give one vector
    for the whole last axis: which indices occur, or how often (or the sum of their ``weights``).

    >>> encode(jnp.array([[0, 2, 2]]), "count", 4).tolist()
    [[1.0, 0.0, 2.0, 0.0]]
    """
    indices = jnp.asarray(indices)
    if mode == "one_hot":
        indices = _squeezed(indices)
        return (indices[..., None] == jnp.arange(depth, dtype=indices.dtype)).astype(dtype)
    lead, rows = indices.shape[:-1], indices.reshape(-1, indices.shape[-1] if indices.ndim else 1)
    # `at` counts negative indices from the end; those out of range above are dropped.
    rows = jnp.where(rows < 0, depth, rows)
    which = jnp.arange(rows.shape[0])[:, None]
    vectors = jnp.zeros((rows.shape[0], depth), dtype)
    if mode == "multi_hot":
        vectors = vectors.at[which, rows].set(1, mode="drop")
    else:
        added = 1 if weights is None else jnp.asarray(weights, dtype).reshape(rows.shape)
        vectors = vectors.at[which, rows].add(added, mode="drop")
    return vectors.reshape(*lead, depth)


def encode_host(indices: np.ndarray, mode: str, depth: int) -> np.ndarray:
    """The same in NumPy, for layers that work before the compiled model."""
    if mode == "one_hot":
        indices = _squeezed(indices)
        flat = indices.reshape(-1)
        return tally(flat, np.arange(flat.size), flat.size, depth, True).reshape(*indices.shape, depth)
    lead = indices.shape[:-1]
    count = int(np.prod(lead))
    rows = np.repeat(np.arange(count), indices.shape[-1] if indices.ndim else 1)
    return tally(indices.reshape(-1), rows, count, depth, mode == "multi_hot").reshape(*lead, depth)


def tally(indices: np.ndarray, rows: np.ndarray, count: int, depth: int, binary: bool) -> np.ndarray:
    """How often each index occurs in each row (or whether it does), (count, depth), for indices and the rows they are in."""
    inside = (indices >= 0) & (indices < depth)
    rows, indices = rows[inside], indices[inside]
    vectors = np.zeros((count, depth), "float32")
    if binary:
        vectors[rows, indices] = 1
    else:
        np.add.at(vectors, (rows, indices), np.float32(1))
    return vectors


def _squeezed(indices: Any) -> Any:
    return indices[..., 0] if indices.ndim > 1 and indices.shape[-1] == 1 else indices


# -- hashes ----------------------------------------------------------------------------------------------------------------

_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_CAT = np.uint64(0xC6A4A7935BD1E995)


def hash_texts(texts: Sequence[bytes], key: tuple[int, int] | None = None) -> np.ndarray:
    """A 64-bit number for each text: FarmHash64, or with a key SipHash-2-4.

    Source: G. Pike, FarmHash (farmhashna::Hash64), 2014; Aumasson and Bernstein, SipHash, 2012.

    >>> (hash_texts([b"A", b"B", b"C"]) % 3).tolist()
    [1, 0, 1]
    """
    lengths = np.fromiter(map(len, texts), "int64", len(texts))
    hashes = np.zeros(len(texts), "uint64")
    with np.errstate(over="ignore"):
        for length in np.unique(lengths).tolist():
            where = np.flatnonzero(lengths == length)
            joined = b"".join([texts[i] for i in where.tolist()])
            data = np.frombuffer(joined, "uint8").reshape(len(where), length)
            hashes[where] = _farm(data) if key is None else _sip(data, key)
    return hashes


def combine_hashes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One 64-bit number from two; the order matters."""
    with np.errstate(over="ignore"):
        mixed = first ^ _CAT ^ (_shift_mix(second * _CAT) * _CAT)
        return _shift_mix(_shift_mix(mixed * _CAT) * _CAT)


def _word(data: np.ndarray, start: int, size: int = 8) -> Any:
    """The little-endian number in bytes ``start`` to ``start + size`` of each row."""
    start = start + data.shape[1] if start < 0 else start
    part = np.ascontiguousarray(data[:, start : start + size])
    return part.view(f"<u{size}")[:, 0].astype("uint64")


def _rotate(x: np.ndarray, right: int) -> np.ndarray:
    return (x >> np.uint64(right)) | (x << np.uint64(64 - right))


def _shift_mix(x: np.ndarray) -> np.ndarray:
    return x ^ (x >> np.uint64(47))


def _mix(u: Any, v: Any, factor: Any) -> np.ndarray:
    """The step that ends each branch of FarmHash: two words and a factor to one word."""
    a = _shift_mix((u ^ v) * factor)
    return _shift_mix((v ^ a) * factor) * factor


def _farm(data: np.ndarray) -> np.ndarray:
    """FarmHash64 of rows of equal length, by the branch for that length."""
    count, length = data.shape
    factor = _K2 + np.uint64(2 * length)
    if length == 0:
        return np.full(count, _K2)
    if length < 4:
        first, middle, last = (data[:, i].astype("uint64") for i in (0, length >> 1, length - 1))
        y, z = first + (middle << np.uint64(8)), np.uint64(length) + (last << np.uint64(2))
        return _shift_mix(y * _K2 ^ z * _K0) * _K2
    if length < 8:
        return _mix(np.uint64(length) + (_word(data, 0, 4) << np.uint64(3)), _word(data, -4, 4), factor)
    if length <= 16:
        a, b = _word(data, 0) + _K2, _word(data, -8)
        return _mix(_rotate(b, 37) * factor + a, (_rotate(a, 25) + b) * factor, factor)
    if length <= 64:
        a, b = _word(data, 0) * (_K1 if length <= 32 else _K2), _word(data, 8)
        c, d = _word(data, -8) * factor, _word(data, -16) * _K2
        y = _rotate(a + b, 43) + _rotate(c, 30) + d
        z = _mix(y, a + _rotate(b + _K2, 18) + c, factor)
        if length <= 32:
            return z
        e, f = _word(data, 16) * factor, _word(data, 24)
        g, h = (y + _word(data, -32)) * factor, (z + _word(data, -24)) * factor
        return _mix(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, factor)
    return _farm_long(data)


def _farm_long(data: np.ndarray) -> np.ndarray:
    """FarmHash64 of rows of more than 64 bytes: a state of seven words takes 64 bytes a round, the last ones overlapping."""
    count, length = data.shape
    seed = np.uint64(81)
    x, y = np.full(count, seed * _K2), np.full(count, seed * _K1 + np.uint64(113))
    z = _shift_mix(y * _K2 + np.uint64(113)) * _K2
    v1, v2, w1, w2 = (np.zeros(count, "uint64") for _ in range(4))
    x = x + _word(data, 0)
    last = (length - 1) // 64 * 64
    for start in range(0, last, 64):
        x, y, z, v1, v2, w1, w2 = _round(data, start, (x, y, z, v1, v2, w1, w2), _K1, np.uint64(1))
    factor = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w1 = w1 + np.uint64((length - 1) & 63)
    v1 = v1 + w1
    w1 = w1 + v1
    x, y, z, v1, v2, w1, w2 = _round(data, length - 64, (x, y, z, v1, v2, w1, w2), factor, np.uint64(9))
    return _mix(_mix(v1, w1, factor) + _shift_mix(y) * _K0 + z, _mix(v2, w2, factor) + x, factor)


def _round(data: np.ndarray, start: int, state: tuple, factor: Any, scale: Any) -> tuple:
    x, y, z, v1, v2, w1, w2 = state
    words = [_word(data, start + i) for i in range(0, 64, 8)]
    x = _rotate(x + y + v1 + words[1], 37) * factor
    y = _rotate(y + v2 + words[6], 42) * factor
    x = x ^ (w2 * scale)
    y = y + v1 * scale + words[5]
    z = _rotate(z + w1, 33) * factor
    v1, v2 = _weak(words[:4], v2 * factor, x + w1)
    w1, w2 = _weak(words[4:], z + w2, y + words[2])
    return z, y, x, v1, v2, w1, w2


def _weak(words: list[np.ndarray], a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = a + words[0]
    b = _rotate(b + a + words[3], 21)
    c, a = a, a + words[1] + words[2]
    return a + words[3], b + _rotate(a, 44) + c


def _sip(data: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """SipHash-2-4 of rows of equal length: two rounds for each word, four at the end."""
    count, length = data.shape
    k0, k1 = (np.uint64(k) for k in key)
    constants = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    v = [np.full(count, np.uint64(c) ^ k) for c, k in zip(constants, (k0, k1, k0, k1), strict=True)]
    padded = np.zeros((count, length // 8 * 8 + 8), "uint8")
    padded[:, :length] = data
    padded[:, -1] = length & 0xFF
    for start in range(0, padded.shape[1], 8):
        word = _word(padded, start)
        v[3] = v[3] ^ word
        v = _sip_round(_sip_round(v))
        v[0] = v[0] ^ word
    v[2] = v[2] ^ np.uint64(0xFF)
    for _ in range(4):
        v = _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_round(v: list[np.ndarray]) -> list[np.ndarray]:
    a, b, c, d = v
    a, c = a + b, c + d
    b, d = _rotate(b, 51) ^ a, _rotate(d, 48) ^ c
    a = _rotate(a, 32)
    c, a = c + b, a + d
    b, d = _rotate(b, 47) ^ c, _rotate(d, 43) ^ a
    return [a, b, _rotate(c, 32), d]
