"""Dropout's masks against what chance would do, and against JAX's own generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cenote.kernels import random

SHAPE = (200, 500)
drop = jax.jit(lambda key, rate: random.dropout(jnp.ones(SHAPE), rate, key), static_argnums=1)


def masks(keys, rate):
    return np.array([np.asarray(drop(key, rate)) > 0 for key in keys])


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.9])
def test_as_many_are_dropped_as_asked(rate):
    dropped = 1 - masks([jax.random.key(s) for s in range(6)], rate).mean((1, 2))
    assert np.abs(dropped - rate).max() < 5 * np.sqrt(rate * (1 - rate) / np.prod(SHAPE))


def test_seeds_in_a_row_are_independent():
    # key(0), key(1), ... differ in one word only, which is the hardest case for the hash; steps and layers fold their keys.
    for keys in ([jax.random.key(s) for s in range(12)], [jax.random.fold_in(jax.random.key(7), s) for s in range(12)]):
        rows = masks(keys, 0.5).reshape(12, -1) - 0.5
        correlation = rows @ rows.T * 4 / rows.shape[1]
        assert np.abs(correlation - np.eye(12)).max() < 5 / np.sqrt(rows.shape[1])
        # What happens to a unit in three draws: each of the 8 patterns is as frequent as the others.
        patterns = ((rows[::3] > 0) * 4 + (rows[1::3] > 0) * 2 + (rows[2::3] > 0)).ravel()
        assert stats.chisquare(np.bincount(patterns, minlength=8)).pvalue > 1e-4


def test_sums_spread_as_those_of_jax_do():
    keys = [jax.random.key(s) for s in range(20)]
    ours = masks(keys, 0.3)
    theirs = np.array([np.asarray(jax.random.bernoulli(k, 0.7, SHAPE)) for k in keys])
    for axis in (1, 2):
        a, b = ours.sum(axis).ravel(), theirs.sum(axis).ravel()
        expected = SHAPE[axis - 1] * 0.21
        for sums in (a, b):
            assert abs(sums.var() / expected - 1) < 5 * np.sqrt(2 / sums.size)
        assert stats.ks_2samp(a, b).pvalue > 1e-4


def test_runs_are_as_long_as_those_of_a_coin():
    flips = masks([jax.random.key(5)], 0.5).ravel()
    lengths = np.diff(np.flatnonzero(np.diff(flips.astype(int))))
    counts = np.bincount(np.minimum(lengths, 10), minlength=11)[1:]
    expected = np.array([2.0**-n for n in range(1, 10)] + [2.0**-9]) * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_the_mask_of_a_key_can_be_drawn_again():
    key, x = jax.random.key(1), jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)).astype("float32"))
    once = random.dropout(x, 0.5, key)
    assert np.array_equal(once, random.thin(x, 0.5, jax.random.key_data(key)))
    gradient = jax.grad(lambda x: random.dropout(x, 0.5, key).sum())(x)
    assert np.array_equal(np.asarray(gradient), np.where(np.asarray(once) != 0, 2.0, 0.0))


def test_half_precision_keeps_the_mean():
    # Rounded to bfloat16 the factor 1 / 0.7 would be 0.08 % too large; rounding the product errs both ways.
    x = jnp.linspace(1, 2, 2048, dtype=jnp.bfloat16)
    y = np.asarray(random.dropout(x, 0.3, jax.random.key(0)), "float64")
    kept = y != 0
    assert abs(y[kept].sum() * 0.7 / np.asarray(x, "float64")[kept].sum() - 1) < 2e-4


def test_shared_axes_and_limits():
    y = np.asarray(random.dropout(jnp.ones((50, 4, 3)), 0.5, jax.random.key(0), (50, 1, 3)))
    assert (y == y[:, :1]).all() and 0 < (y[:, 0] > 0).mean() < 1
    assert np.array_equal(random.dropout(jnp.ones(5), 1.0, jax.random.key(0)), np.zeros(5))
    with pytest.raises(ValueError, match="beyond 32 bits"):
        jax.eval_shape(lambda: random.bits(jax.random.key(0), (1 << 16, 1 << 16)))


def test_uniform_and_normal_numbers():
    keys = [jax.random.key(0), jax.random.fold_in(jax.random.key(0), 1)]
    even = [np.asarray(random.uniform(k, SHAPE)).ravel() for k in keys]
    bell = [np.asarray(random.normal(k, SHAPE)).ravel() for k in keys]
    assert even[0].min() > 0 and even[0].max() < 1
    assert stats.kstest(even[0], stats.uniform.cdf).pvalue > 1e-3 and stats.kstest(bell[0], stats.norm.cdf).pvalue > 1e-3
    for pair in (even, bell):
        assert abs(np.corrcoef(*pair)[0, 1]) < 5 / np.sqrt(even[0].size)
        assert abs(np.corrcoef(pair[0][1:], pair[0][:-1])[0, 1]) < 5 / np.sqrt(even[0].size)
    tail = (np.abs(bell[0]) > 3).mean()
    assert tail == pytest.approx(2 * stats.norm.sf(3), rel=0.2)
