"""Convolution along one to three axes and its transpose: against XLA's own, and without a convolution of unusual layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cenote.kernels import convolution
from cenote.kernels.convolution import conv, conv_transpose
from cenote.train.epoch import has_foreign_convolution

RNG = np.random.default_rng(0)
NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}

CONVOLUTIONS = [
    ((2, 9, 3), (3, 3, 4), {"padding": "same"}),
    ((1, 9, 3), (4, 3, 2), {"strides": (3,)}),
    ((2, 7, 1), (3, 1, 2), {"dilation": (2,)}),
    ((2, 7, 4), (3, 1, 8), {"groups": 4, "padding": "same"}),
    ((2, 4, 5, 6, 2), (2, 3, 1, 2, 3), {"padding": "same", "strides": (1, 2, 3)}),
    ((1, 5, 4, 6, 2), (2, 2, 3, 2, 3), {"dilation": (1, 2, 1)}),
    ((2, 4, 3, 4, 1), (2, 2, 2, 1, 2), {"padding": "same"}),
    ((2, 4, 3, 4, 4), (1, 1, 1, 4, 3), {"strides": (2, 1, 2)}),
    ((1, 4, 3, 4, 4), (2, 2, 2, 2, 6), {"groups": 2}),
    ((1, 4, 3, 4, 2), (2, 2, 2, 1, 4), {"groups": 2, "padding": "same", "strides": (2, 1, 1)}),
    ((1, 6, 5, 2), (3, 2, 2, 3), {"padding": ((2, 0), (1, 3))}),
]
# As in Keras: x, kernel (..., filter, channel), options; then the pads of the plain convolution, and the size of the result.
TRANSPOSED = [
    ((2, 5, 3), (3, 2, 3), {"strides": (2,)}, ((0, 0),), (11,)),
    ((2, 4, 4, 3), (3, 3, 2, 3), {"padding": "same"}, ((1, 1), (1, 1)), (4, 4)),
    ((1, 3, 4, 3), (2, 4, 2, 3), {"strides": (3, 2), "padding": "same"}, ((0, 0), (1, 1)), (9, 8)),
    ((1, 3, 4, 3), (2, 3, 2, 3), {"dilation": (2, 1)}, ((0, 0), (0, 0)), (5, 6)),
    ((1, 2, 3, 2, 2), (2, 3, 1, 2, 2), {"strides": (2, 2, 2)}, ((0, 0),) * 3, (4, 7, 4)),
]


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape))


def plain(x, kernel, strides=1, padding="valid", dilation=1, groups=1):
    n = x.ndim - 2
    strides, dilation = ((v,) * n if isinstance(v, int) else v for v in (strides, dilation))
    pads = padding.upper() if isinstance(padding, str) else padding
    how = {"rhs_dilation": dilation, "dimension_numbers": NUMBERS[n], "feature_group_count": groups}
    return lax.conv_general_dilated(x, kernel, strides, pads, **how)


def same_value_and_slopes(ours, obvious, *shapes, second=False):
    """Values, gradients, and, if asked for, gradients of a gradient, in float64; no gradient of ours has an unusual layout."""
    with jax.enable_x64(True):
        point = [draw(*s) for s in shapes]
        mark = draw(*jax.eval_shape(obvious, *point).shape)

        def slope(f):
            return jax.grad(lambda *a: jnp.vdot(f(*a) ** 2, mark), (0, 1))

        def all_of(f):
            bend = jax.grad(lambda *a: sum(jnp.vdot(g, g) for g in slope(f)(*a)), (0, 1))
            return (f(*point), slope(f)(*point), bend(*point) if second else ())

        mine, other = jax.jit(lambda: (all_of(ours), all_of(obvious)))()
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        assert not has_foreign_convolution(slope(ours), *point)


@pytest.mark.parametrize(("x", "kernel", "options"), CONVOLUTIONS, ids=str)
def test_convolution(x, kernel, options):
    second = options.get("strides") == (1, 2, 3)
    same_value_and_slopes(lambda *a: conv(*a, **options), lambda *a: plain(*a, **options), x, kernel, second=second)


@pytest.mark.parametrize(("x", "kernel", "options", "pads", "size"), TRANSPOSED, ids=str)
def test_transposed_convolution_is_the_transpose(x, kernel, options, pads, size):
    def obvious(x, kernel):
        whole = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[-2]), x.dtype)
        how = {k: v for k, v in options.items() if k != "padding"}
        return jax.linear_transpose(lambda a: plain(a, kernel, padding=pads, **how), whole)(x)[0]

    same_value_and_slopes(lambda *a: conv_transpose(*a, **options), obvious, x, kernel, second=len(size) == 1)


def test_other_devices_get_the_same_numbers(monkeypatch):
    cases = [(conv, *CONVOLUTIONS[3]), (conv_transpose, *TRANSPOSED[2][:3]), (conv_transpose, *TRANSPOSED[0][:3])]
    arrays = [tuple(draw(*shape).astype("float32") for shape in case[1:3]) for case in cases]

    def run():
        return jax.jit(lambda: [f(*a, **options) for (f, _, _, options), a in zip(cases, arrays, strict=True)])()

    here = run()
    monkeypatch.setattr(convolution.jax, "default_backend", lambda: "gpu")
    for a, b in zip(run(), here, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_many_kernels_at_once():
    x, kernels = draw(2, 6, 3), draw(3, 3, 3, 2)

    def loss(kernels, many):
        ends = 0.0
        for f, order in ((conv, kernels), (lambda a, k: conv_transpose(a, k, strides=2), kernels.swapaxes(-2, -1))):
            y = jax.vmap(f, (None, 0))(x, order) if many else jnp.stack([f(x, k) for k in order])
            ends += (jnp.sin(y) * jnp.arange(1.0, y[0].size + 1).reshape(y.shape[1:])).sum()
        return ends

    one, other = jax.jit(lambda k: [jax.value_and_grad(loss)(k, many) for many in (True, False)])(kernels)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
