"""The product with few outputs: its derivatives of both modes and of higher order are those of the plain product."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.kernels import native
from cenote.kernels import product as module
from cenote.kernels.answers import answering
from cenote.kernels.product import affine, product

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(module, "_suits", lambda x, kernel: True)


def test_derivatives_are_those_of_the_plain_product(always):
    rng = np.random.default_rng(0)
    x, kernel, mark = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((6, 5), (5, 3), (6, 3)))

    def everything(times):
        def loss(x, kernel):
            return jnp.sum(jnp.tanh(times(x, kernel)) * mark[: len(x)])

        def of_gradient(x, kernel):
            return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(x, kernel))

        def all_of_them(x, kernel):
            yield jax.value_and_grad(loss, (0, 1))(x, kernel)
            yield jax.grad(loss, 1)(x, kernel)
            yield jax.grad(of_gradient, (0, 1))(x, kernel)
            yield jax.jvp(loss, (x, kernel), (kernel.sum() * x, kernel))
            yield jax.jvp(lambda x: loss(x, kernel), (x,), (x,))
            yield jax.vmap(jax.grad(loss, 1), (0, None))(x[:, None], kernel)  # a gradient for each example

        return quick(lambda *a: list(all_of_them(*a)))(x, kernel)

    for ours, plain in zip(jax.tree.leaves(everything(product)), jax.tree.leaves(everything(jnp.matmul)), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=1e-5)


def test_it_stands_in_training_alone():
    """What predictions and explanations see is the plain product."""
    x = np.ones((1024, 9), "float32")
    layer = layers.Dense(4).build(x)

    def calls(train):
        return str(jax.make_jaxpr(lambda x: layer(x, train=train))(x)).count("custom_jvp_call")

    assert (calls(train=True), calls(train=False)) == (1, 0)


@pytest.mark.skipif(native.library("dense") is None, reason="no native kernels")
@pytest.mark.parametrize("shape", [(2, 3, 33), (130, 7, 48), (70, 200, 100)])
def test_products_with_bias_and_rectifier(shape):
    """Whole blocks of columns, one of half the width, and what is left over; also what is not a number."""
    rows, features, units = shape
    rng = np.random.default_rng(0)
    x, kernel, bias = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((rows, features), (features, units), (units,)))
    x = x.at[0, 0].set(jnp.nan).at[1, 1].set(jnp.inf)
    for added in (bias, None):
        with np.errstate(invalid="ignore"):
            want = np.asarray(x) @ np.asarray(kernel) + (0 if added is None else np.asarray(bias))
        for rectify in (False, True):
            found = np.asarray(affine(x, kernel, added, rectify=rectify))
            np.testing.assert_allclose(found, np.maximum(want, 0) if rectify else want, rtol=2e-5, atol=2e-5)


@pytest.mark.skipif(native.library("dense") is None, reason="no native kernels")
def test_handles_take_it_and_have_the_derivatives_of_the_plain_product():
    x = np.random.default_rng(0).normal(size=(6, 4, 5)).astype("float32")  # more axes, too
    model = cn.Sequential([layers.Dense(7, "relu"), layers.Dense(3, "softmax")]).build(x)
    plain = model(x)
    np.testing.assert_allclose(model.compiled(x)(x), plain, rtol=1e-5)
    with answering(serving=True):
        text = str(jax.make_jaxpr(lambda x: model(x))(x))
        slope = jax.grad(lambda x: model(x)[..., 0].sum())(x)
    assert text.count("cenote_dense") == 2
    np.testing.assert_allclose(slope, jax.grad(lambda x: model(x)[..., 0].sum())(x), rtol=1e-4, atol=1e-6)
