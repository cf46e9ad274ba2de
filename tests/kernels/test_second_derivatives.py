"""Kernels with gradients of their own, in float64: first and second derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cenote.kernels.convolution import conv
from cenote.kernels.normalization import standardize_columns, standardize_rows
from cenote.kernels.pooling import average_pool, max_pool

KERNELS = {
    "conv": (conv, [(1, 5, 4, 2), (3, 2, 2, 3)], {"padding": "same"}),
    "conv_strided": (conv, [(1, 7, 6, 2), (3, 3, 2, 2)], {"strides": (2, 3)}),
    "conv_dilated": (conv, [(1, 6, 7, 2), (2, 3, 2, 2)], {"dilation": (2, 1), "padding": "same"}),
    "conv_one_channel": (conv, [(2, 4, 5, 1), (3, 3, 1, 2)], {"padding": "same"}),
    "conv_one_by_one": (conv, [(1, 4, 5, 3), (1, 1, 3, 2)], {"strides": (2, 1)}),
    "conv_groups": (conv, [(1, 4, 4, 4), (2, 2, 2, 2)], {"groups": 2}),
    "depthwise": (conv, [(1, 5, 4, 2), (3, 3, 1, 4)], {"groups": 2, "padding": "same"}),
    "depthwise_strided": (conv, [(1, 6, 5, 2), (3, 2, 1, 2)], {"groups": 2, "strides": (2, 2)}),
    "max_pool": (max_pool, [(1, 5, 4, 2)], {"window": (3, 2), "strides": (2, 1), "padding": "same"}),
    "average_pool": (average_pool, [(1, 5, 4, 2)], {"window": (3, 2), "strides": (2, 1), "padding": "same"}),
    "rows": (lambda x: standardize_rows(x, 0.01), [(3, 5)], {}),
    "columns": (lambda x: standardize_columns(x, 0.01)[0], [(5, 3)], {}),
}


@pytest.mark.parametrize("name", KERNELS)
def test_derivatives_are_the_slopes(name):
    kernel, shapes, options = KERNELS[name]
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        point, first, second = ([rng.normal(size=s) for s in shapes] for _ in range(3))
        mark = rng.normal(size=jax.eval_shape(lambda p: kernel(*map(jnp.asarray, p), **options), point).shape)

        def value(point):
            return jnp.vdot(kernel(*point, **options) ** 3, mark)

        def slope(point, direction):
            return sum(jnp.vdot(g, d) for g, d in zip(jax.grad(value)(point), direction, strict=True))

        @jax.jit
        def all_of_it(point):
            grads = jax.grad(slope)(point, first)
            return value(point), slope(point, first), sum(jnp.vdot(g, d) for g, d in zip(grads, second, strict=True))

        def along(index, direction, step=1e-5):
            ahead, behind = ([p + s * step * d for p, d in zip(point, direction, strict=True)] for s in (1, -1))
            return (float(all_of_it(ahead)[index]) - float(all_of_it(behind)[index])) / (2 * step)

        found = all_of_it(point)
        assert all(f.dtype == np.float64 for f in found)
        np.testing.assert_allclose(found[1], along(0, first), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found[2], along(1, second), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_depthwise_with_several_kernels_a_channel(strides, dilation):
    rng = np.random.default_rng(2)
    x, kernel = (jnp.asarray(rng.normal(size=s).astype("float32")) for s in ((2, 7, 8, 3), (3, 2, 1, 6)))

    def obvious(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, strides, "SAME", rhs_dilation=dilation, dimension_numbers=numbers, feature_group_count=3
        )

    def ours(x, kernel):
        return conv(x, kernel, strides=strides, dilation=dilation, groups=3, padding="same")

    @jax.jit
    def both(x, kernel):
        return [(f(x, kernel), jax.grad(lambda *a, f=f: (f(*a) ** 2).sum(), (0, 1))(x, kernel)) for f in (ours, obvious)]

    (y, grads), (expected, slopes) = both(x, kernel)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for a, b in zip(grads, slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("window", [(3, 3), (5, 2)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_ties_in_large_windows_go_to_the_first_place_as_in_xla(window, padding):
    x = jnp.asarray(np.random.default_rng(3).integers(0, 3, (2, 9, 8, 3)).astype("float32"))

    def obvious(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, 2, 2, 1), padding.upper())

    mark = jnp.asarray(np.random.default_rng(4).integers(1, 9, jax.eval_shape(obvious, x).shape).astype("float32"))
    functions = (lambda x: max_pool(x, window, (2, 2), padding), obvious)
    np.testing.assert_array_equal(*jax.jit(lambda x: [jax.grad(lambda x, f=f: jnp.vdot(f(x), mark))(x) for f in functions])(x))
