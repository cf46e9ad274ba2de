"""The counter hash behind dropout as a source of random numbers: even, and independent between places, steps, layers, seeds.

Each test has fixed seeds, so that it passes or fails for ever. The bounds are those of a two-sided test at one in a million
for a single number, widened for the number of numbers looked at: a true generator passes, a hash with a flaw does not.
"""

import math

import jax
import numpy as np
import pytest
from scipy import stats

from cenote.core import fold
from cenote.kernels.random import bits, kept, normal, uniform

COUNT = 1 << 16
DOUBT = 1e-6


@pytest.fixture(scope="module")
def draw():
    """``draw(words)``: 2^16 random words of 32 bits for each key."""
    program = jax.jit(jax.vmap(lambda words: bits(jax.random.wrap_key_data(words), (COUNT,))))
    return lambda words: np.asarray(program(np.asarray(words, np.uint32).reshape(-1, 2)))


def keys(kind, count=32):
    """Pairs of words as training meets them: steps of one run, layers of one step, runs with neighbouring seeds."""
    root = jax.random.key(7)
    if kind == "steps":
        made = [jax.random.fold_in(jax.random.fold_in(root, step), 3) for step in range(count)]
    elif kind == "layers":
        made = [fold(root, f"layers.{i}#0") for i in range(count)]
    elif kind == "seeds":
        made = [fold(seed, "dropout#0") for seed in range(count)]
    else:  # raw keys that differ in one bit, as no layer gets them: the hash alone must take them apart
        return np.array([(1 << i, 0) for i in range(count // 2)] + [(0, 1 << i) for i in range(count // 2)], np.uint32)
    return np.stack([np.asarray(jax.random.key_data(key)) for key in made])


KINDS = ["steps", "layers", "seeds", "neighbours"]


@pytest.fixture(scope="module")
def drawn(draw):
    return {kind: draw(keys(kind)) for kind in KINDS}


def even(counts):
    """Whether counts of equally likely outcomes may come from chance."""
    p = stats.chisquare(np.ravel(counts)).pvalue
    return DOUBT < p < 1 - DOUBT


@pytest.mark.parametrize("kind", KINDS)
def test_each_value_is_as_likely_as_another(drawn, kind):
    for shift in (24, 16, 8, 0):  # each of the four bytes
        counts = np.stack([np.bincount(row, minlength=256) for row in (drawn[kind] >> shift) & 255])
        assert even(counts.sum(0)), f"byte at {shift}"
        assert all(map(even, counts)), f"byte at {shift} of one key"


def correlations(a, b):
    """How many standard deviations the mean product of two rows of +-1 lies from 0."""
    return (a * b).sum(-1) / np.sqrt(a.shape[-1])


def bound(tests):
    return stats.norm.isf(DOUBT / 2 / tests)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_of_two_keys_have_nothing_in_common(drawn, kind, rate):
    mask = (drawn[kind] >= np.uint32(rate * 2**32)).astype(np.float32)
    signs = (mask - (1 - rate)) / np.sqrt(rate * (1 - rate))
    found = np.corrcoef(signs) * np.sqrt(COUNT)
    pairs = found[np.triu_indices(len(found), 1)]
    assert abs(pairs).max() < bound(len(pairs))
    assert 0.8 < pairs.std() < 1.2  # not too small either: masks that avoid each other are no better
    share = (mask.mean(1) - (1 - rate)) / np.sqrt(rate * (1 - rate) / COUNT)
    assert abs(share).max() < bound(len(share)) and 0.6 < share.std() < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_in_a_mask_have_nothing_in_common(drawn, kind):
    signs = np.where(drawn[kind] >> 31, 1, -1).astype(np.float32)
    apart = [1, 2, 3, 4, 7, 8, 16, 28, 32, 64, 100, 128, 256, 512, 784, 1024, 4096, 1 << 15]  # rows, channels, powers of two
    for distance in apart:
        assert abs(correlations(signs[:, distance:], signs[:, :-distance])).max() < bound(len(signs) * len(apart)), distance


def test_pairs_and_triples_fill_their_cells_evenly(drawn):
    row = drawn["steps"][0]
    for size, cells in ((2, 32), (3, 8)):  # points in the square and the cube: a lattice would show
        digits = (row >> np.uint32(32 - cells.bit_length() + 1)).astype(np.int64)[: COUNT // size * size].reshape(-1, size)
        assert even(np.bincount(digits @ cells ** np.arange(size), minlength=cells**size))
    ends = np.flatnonzero(np.diff(row.astype(np.int64)) < 0)
    ups = np.minimum(np.diff(ends), 5)  # lengths of runs upwards: k has the chance 2 (k^2 + k - 1) / (k + 2)!
    chances = [2 * (k * k + k - 1) / math.factorial(k + 2) for k in range(1, 5)]
    expected = len(ups) * np.array([*chances, 1 - sum(chances)])
    assert abs(np.bincount(ups)[1:] - expected).max() < 6 * np.sqrt(len(ups) / 4)


@pytest.mark.parametrize("kind", ["steps", "neighbours"])
def test_every_bit_of_the_place_and_of_the_key_turns_half_of_the_bits(draw, drawn, kind):
    words = drawn[kind]
    for bit in range(16):  # of the place
        place = np.arange(COUNT)
        turned = words[:4] ^ words[:4, place ^ (1 << bit)]
        share = np.unpackbits(turned.view(np.uint8), axis=-1).mean()
        assert abs(share - 0.5) < 0.005, f"bit {bit} of the place"
    if kind == "neighbours":
        zero = draw([0, 0])[0]
        for i, row in enumerate(words):
            share = np.unpackbits((row ^ zero).view(np.uint8)).mean()
            assert abs(share - 0.5) < 0.005, f"bit {i} of the key"


def test_the_same_key_draws_the_same_whatever_the_shape_and_the_way():
    key = jax.random.key(5)
    flat = np.asarray(bits(key, (24,)))
    assert np.array_equal(np.asarray(bits(key, (2, 3, 4))).ravel(), flat)
    assert np.array_equal(jax.jit(lambda k: bits(k, (24,)))(key), flat)
    assert flat[:4].tolist() == [int(v) for v in reference(0, 5)[:4]]  # by plain Python: on every machine
    words = jax.random.key_data(key)
    assert np.array_equal(kept(words, 0.25, (24,)), flat >= 2**30)


def reference(first, second, count=4):
    def mix(h):
        h = ((h ^ h >> 16) * 0x7FEB352D) & 0xFFFFFFFF
        h = ((h ^ h >> 15) * 0x846CA68B) & 0xFFFFFFFF
        return h ^ h >> 16

    return [mix(mix((i * 0x9E3779B9 + first) & 0xFFFFFFFF) ^ second) for i in range(count)]


def test_uniform_and_normal_numbers_have_their_distributions():
    key = jax.random.key(11)
    u, z = np.asarray(uniform(key, (COUNT,)), np.float64), np.asarray(normal(key, (COUNT,)), np.float64)
    assert u.min() > 0 and u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > DOUBT and stats.kstest(z, "norm").pvalue > DOUBT
    assert abs((z**4).mean() - 3) < 0.15
