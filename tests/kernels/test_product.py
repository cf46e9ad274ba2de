"""The product with few outputs: its derivatives of both modes and of higher order are those of the plain product."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import layers
from cenote.kernels import product as module
from cenote.kernels.product import product

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("narrow", [True, False], ids=["few outputs", "features a power of two"])
def test_derivatives_are_those_of_the_plain_product(narrow, monkeypatch):
    monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(module, "_narrow", lambda kernel: narrow)
    monkeypatch.setattr(module, "_aliased", lambda x, kernel: True)
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


def test_many_features_are_a_form_of_their_own():
    def form(rows, features, units):
        shapes = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((rows, features), (features, units)))
        return str(jax.make_jaxpr(product)(*shapes))

    assert "custom_jvp" in form(2048, 512, 128) and "custom_jvp" not in form(2048, 512, 256)
    assert "custom_jvp" not in form(2048, 600, 128) and "custom_jvp" not in form(512, 512, 128)
