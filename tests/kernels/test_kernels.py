"""Kernels against the obvious formulation, and what makes them worth having: no convolution of unusual layout anywhere."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cenote import layers
from cenote.kernels import random
from cenote.kernels.convolution import conv
from cenote.kernels.pooling import average_pool, max_pool
from cenote.train.epoch import has_foreign_convolution

RNG = np.random.default_rng(0)
# Arrays of this size run for microseconds: what makes programs fast takes longer than it saves.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape).astype("float32"))


CONVOLUTIONS = [
    ((2, 7, 5, 3), (3, 3, 3, 4), {}),
    ((2, 7, 5, 3), (3, 2, 3, 4), {"strides": (2, 1), "padding": "same"}),
    ((2, 8, 8, 3), (4, 4, 3, 2), {"strides": (3, 2)}),
    ((2, 9, 9, 2), (3, 3, 2, 4), {"dilation": (2, 3), "padding": "same"}),
    ((2, 6, 6, 1), (5, 5, 1, 3), {"padding": "same"}),
    ((2, 6, 7, 1), (3, 3, 1, 3), {"strides": (2, 2), "padding": "same"}),
    ((2, 6, 7, 4), (1, 1, 4, 3), {"strides": (2, 2)}),
    ((2, 6, 7, 4), (3, 3, 2, 6), {"groups": 2}),
    ((2, 6, 7, 4), (3, 3, 1, 8), {"groups": 4, "strides": (2, 2), "padding": "same"}),
]


@pytest.mark.parametrize(("x", "kernel", "options"), CONVOLUTIONS, ids=str)
def test_convolution(x, kernel, options):
    x, kernel = draw(*x), draw(*kernel)

    def obvious(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            options.get("strides", (1, 1)),
            options.get("padding", "valid").upper(),
            rhs_dilation=options.get("dilation", (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=options.get("groups", 1),
        )

    mark = draw(*jax.eval_shape(obvious, x, kernel).shape)

    def both(x, kernel):
        runs = (functools.partial(conv, **options), obvious)
        return [(run(x, kernel), *jax.grad(lambda *a, run=run: jnp.vdot(run(*a), mark), (0, 1))(x, kernel)) for run in runs]

    (y, *ours), (expected, *theirs) = quick(both)(x, kernel)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert not has_foreign_convolution(jax.grad(lambda *a: jnp.vdot(conv(*a, **options), mark), (0, 1)), x, kernel)
    if options.get("groups", 1) == 1:
        assert has_foreign_convolution(jax.grad(lambda *a: jnp.vdot(obvious(*a), mark), (0, 1)), x, kernel)


def by_hand(x, window, strides, padding):
    """Both poolings and their gradients along a mark, in NumPy, window by window."""
    sizes = [
        -(-n // s) if padding == "same" else (n - w) // s + 1 for n, w, s in zip(x.shape[1:3], window, strides, strict=True)
    ]
    over = [max((o - 1) * s + w - n, 0) for o, s, w, n in zip(sizes, strides, window, x.shape[1:3], strict=True)]
    over = over if padding == "same" else [0, 0]
    mark = RNG.normal(size=(len(x), *sizes, x.shape[3])).astype("float32")
    largest, mean, slopes = np.empty_like(mark), np.empty_like(mark), np.zeros((2, *x.shape), "float32")
    for i, j in itertools.product(*map(range, sizes)):
        corner = [k * s - o // 2 for k, s, o in zip((i, j), strides, over, strict=True)]
        rows, columns = (slice(max(c, 0), c + w) for c, w in zip(corner, window, strict=True))
        part = x[:, rows, columns]
        largest[:, i, j], mean[:, i, j] = part.max((1, 2)), part.mean((1, 2))
        here = mark[:, i, j][:, None, None]
        slopes[0][:, rows, columns] += here * (part == largest[:, i, j][:, None, None])
        slopes[1][:, rows, columns] += here / (part.shape[1] * part.shape[2])
    return mark, (largest, slopes[0]), (mean, slopes[1])


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (5, 3)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling(window, strides, padding):
    x = draw(2, 7, 6, 3)
    mark, *expected = by_hand(np.asarray(x), window, strides, padding)

    @quick
    def values_and_gradients(x):
        runs = [functools.partial(f, window=window, strides=strides, padding=padding) for f in (max_pool, average_pool)]
        return [(run(x), jax.grad(lambda x, run=run: jnp.vdot(run(x), mark))(x)) for run in runs]

    for found, wanted in zip(values_and_gradients(x), expected, strict=True):
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
        np.testing.assert_allclose(found[1], wanted[1], atol=1e-5)


def test_ties_in_a_window_send_the_gradient_to_one_place():
    x = jnp.zeros((1, 4, 4, 1))
    grad = jax.grad(lambda x: max_pool(x, (2, 2), (2, 2)).sum())(x)
    assert float(grad.sum()) == 4 and set(np.unique(grad)) == {0.0, 1.0}


def test_random_bits_are_even_and_independent():
    from scipy import stats

    keys = [jax.random.fold_in(jax.random.key(3), i) for i in range(8)]
    draws = [np.asarray(random.bits(k, (250, 400))) for k in keys]
    for bits in draws[:4]:
        for shift in (0, 8, 16, 24):  # every byte of the word
            counts = np.bincount(((bits >> shift) & 255).ravel(), minlength=256)
            assert stats.chisquare(counts).pvalue > 1e-4
    unit = [d.ravel() / 2**32 - 0.5 for d in draws]
    bound = 5 / np.sqrt(unit[0].size)
    for a, b in itertools.pairwise(unit):  # the steps of a run, the layers of a model
        assert abs(np.corrcoef(a, b)[0, 1]) < bound
    for lag in (1, 2, 400, 401):  # neighbours in a row, in a column
        assert abs(np.corrcoef(unit[0][:-lag], unit[0][lag:])[0, 1]) < bound
    masks = np.array([np.asarray(random.dropout(jnp.ones((250, 400)), 0.25, k)) > 0 for k in keys])
    assert np.allclose(masks.mean((1, 2)), 0.75, atol=5 * np.sqrt(0.75 * 0.25 / 1e5))
    # How often a unit is dropped in 8 steps must be binomial, or some units would never learn.
    counts = np.bincount((~masks).sum(0).ravel(), minlength=9)
    expected = stats.binom(8, 0.25).pmf(np.arange(9)) * counts.sum()
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4


def test_a_model_of_our_layers_is_fused():
    import cenote as cn

    model = cn.Sequential(
        [
            layers.Conv2D(4, 3, strides=2),
            layers.Conv2D(4, 3, padding="same", dilation_rate=2),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 9, 9, 2), "float32"), np.zeros((4, 1), "float32")
    trainer = model._prepare(x, y)
    assert trainer.fuses(trainer.step, model._start(trainer), trainer.new_totals(), {"x": x, "y": y, "w": None})
