"""Depthwise convolution in C++ against XLA's own: values, gradients, second derivatives, what is no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels import native
from cenote.kernels.convolution import conv

needs_native = pytest.mark.skipif(native.library("depthwise") is None, reason=f"no native kernels: {native.status()}")
RNG = np.random.default_rng(0)
CASES = {
    # batch, height, width, channels, kernels of each, kernel, strides, pads
    "whole vectors": (2, 7, 12, 16, 1, (3, 3), (1, 1), ((1, 1), (1, 1))),
    "odd": (1, 9, 8, 37, 1, (3, 3), (2, 2), ((0, 1), (1, 1))),
    "several kernels": (3, 6, 11, 3, 2, (5, 5), (1, 2), ((2, 2), (2, 1))),
    "seven": (17, 8, 8, 20, 1, (7, 7), (1, 1), ((3, 3), (3, 3))),
    "longer than the line": (2, 5, 5, 4, 1, (2, 9), (3, 1), ((0, 0), (8, 0))),
    "stride beyond the kernel": (1, 5, 5, 48, 2, (3, 3), (4, 4), ((2, 2), (2, 2))),
}


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def plain(strides, pads):
    def function(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, strides, pads, dimension_numbers=numbers, feature_group_count=x.shape[-1]
        )

    return function


def ours(strides, pads):
    return lambda x, kernel: conv(x, kernel, strides=strides, padding=pads, groups=x.shape[-1])


def same(found, expected, tolerance=5e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and float(jnp.abs(a - b).max()) <= tolerance * float(jnp.abs(b).max())


@needs_native
def test_values_and_gradients():
    def both():
        found = []
        for n, height, width, channels, several, window, *how in CASES.values():
            point = draw(n, height, width, channels), draw(*window, 1, channels * several)
            y, back = jax.vjp(plain(*how), *point)
            dy, (mine, ours_back) = draw(*y.shape), jax.vjp(ours(*how), *point)
            found.append(((mine, ours_back(dy)), (y, back(dy))))
        return found

    assert "cenote_depthwise_kernel" in str(jax.make_jaxpr(both)())
    for case, (found, expected) in zip(CASES, jax.jit(both)(), strict=True):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert float(jnp.abs(a - b).max()) <= 5e-6 * float(jnp.abs(b).max()), case


@needs_native
def test_second_derivatives():
    point, how = (draw(2, 5, 4, 3), draw(3, 3, 1, 6)), ((1, 2), ((1, 1), (0, 1)))

    def second(function):
        def size(*point):
            return sum(jnp.sum(g**2) for g in jax.grad(lambda *p: jnp.sum(jnp.sin(function(*p))), (0, 1))(*point))

        return jax.grad(size, (0, 1))(*point)

    same(*jax.jit(lambda: (second(ours(*how)), second(plain(*how))))(), tolerance=2e-5)


@needs_native
def test_what_is_no_number_comes_through_and_stays_in_its_channel():
    x = np.zeros((2, 5, 5, 17), "float32")
    x[0, 0, 0, 16], x[1, 4, 4, 1] = np.nan, np.inf
    y = np.asarray(ours((1, 1), ((1, 1), (1, 1)))(jnp.asarray(x), jnp.ones((3, 3, 1, 17))))
    assert np.isnan(y[0, :2, :2, 16]).all() and np.isinf(y[1, 3:, 3:, 1]).all()
    assert np.isfinite(y).sum() == y.size - 8


@needs_native
def test_the_same_bits_each_time():
    x, dy = draw(9, 13, 11, 20), draw(9, 13, 11, 20)
    run = jax.jit(lambda: native.convolution("kernel", x, dy, (3, 3, 1, 20), (1, 1), ((1, 1), (1, 1)), kind="depthwise"))
    expected = np.asarray(run())
    assert all(np.array_equal(run(), expected) for _ in range(5))
