"""Attention maps: those that the layers return, wherever attention stands; what is passed on through several layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import explain, layers
from cenote.core import Repeat
from cenote.explain import attention_maps, attention_rollout, gradient_attention


class Pick(layers.Layer):
    def forward(self, x):
        return x[:, 0]


@pytest.fixture(scope="module")
def texts():
    x = np.random.default_rng(0).integers(1, 9, (3, 5)).astype("int32")
    x[0, 3:] = 0
    blocks = [layers.TransformerEncoder(8, 2), layers.TransformerEncoder(8, 2)]
    model = cn.Sequential([layers.Embedding(9, 4, mask_zero=True), *blocks, Pick(), layers.Dense(2)]).build(x)
    model.set_weights([4 * w if w.ndim > 1 else w for w in model.get_weights()])  # so that attention is not nearly even
    return model, x


def test_maps_are_those_that_the_layer_returns(texts):
    model, x = texts
    found = attention_maps(model, x)
    assert list(found) == ["layers.1.attention", "layers.2.attention"]
    inner = explain.features(model, x, "layers.0")
    _, weights = jax.jit(lambda h: model.layers[1](h, padding_mask=x != 0, return_attention_scores=True))(inner)
    np.testing.assert_allclose(found["layers.1.attention"], weights, atol=1e-6)
    assert (found["layers.1.attention"][0, :, :, 3:] == 0).all()


def test_rollout_is_the_product_of_the_layers(texts):
    model, x = texts
    a, b = (m.mean(1) for m in attention_maps(model, x).values())
    eye = np.eye(5)
    exact = ((b + eye) / 2) @ ((a + eye) / 2)
    found = attention_rollout(model, x)
    np.testing.assert_allclose(found.values, exact[:, 0], atol=1e-6)  # the output hangs on the first place alone
    np.testing.assert_allclose(attention_rollout(model, x, query=3).values, exact[:, 3], atol=1e-6)
    np.testing.assert_allclose(found.values.sum(1), 1, atol=1e-6)
    assert (found.values[0, 3:] == 0).all() and found.details["maps"].shape == (3, 2, 5, 5)
    np.testing.assert_allclose(model.explain(x, "attention_rollout", batch_size=2).values, found.values, atol=1e-6)


def test_attention_is_weighted_by_its_slope():
    """One attention without softmax's help: the slope by a weight is known."""
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")

    def f(x):
        weights = layers.Attention()([x, x])
        return weights[:, 0].sum(-1)

    found = gradient_attention(f, x)
    logits = x @ x.transpose(0, 2, 1)
    a = np.exp(logits - logits.max(-1, keepdims=True))
    a /= a.sum(-1, keepdims=True)
    exact = np.maximum(a[:, 0] * x.sum(-1), 0) + np.array([1, 0, 0, 0])
    np.testing.assert_allclose(found.values, exact, rtol=1e-4, atol=1e-6)


def test_repeated_blocks_and_long_sequences():
    x = np.random.default_rng(0).normal(size=(1, 6, 4)).astype("float32")
    stack = cn.Sequential([Repeat(layers.TransformerEncoder(8, 2), 3), Pick(), layers.Dense(2)]).build(x)
    maps = attention_maps(stack, x)
    assert list(maps) == ["attention 0", "attention 1", "attention 2"]
    assert not np.allclose(maps["attention 0"], maps["attention 1"])
    blocked = layers.MultiHeadAttention(2, 3, flash_attention=True)
    model = cn.Sequential([Self(blocked), Pick(), layers.Dense(2)]).build(x)
    _, weights = jax.jit(lambda x: blocked(x, x, return_attention_scores=True))(x)
    np.testing.assert_allclose(attention_maps(model, x)["layers.0.attention"], weights, atol=1e-6)


class Self(layers.Layer):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x):
        return self.attention(x, x)


class Patches(layers.Layer):
    def forward(self, x):
        return jax.lax.reshape(x, (x.shape[0], 4, 2, 4, 2)).transpose(0, 1, 3, 2, 4).reshape(x.shape[0], 16, 4)


def test_patches_of_pictures_make_a_map():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    model = cn.Sequential([Patches(), layers.TransformerEncoder(8, 2), layers.GlobalAveragePooling1D(), layers.Dense(2)])
    assert attention_rollout(model.build(x), x).values.shape == (2, 8, 8)


def test_bad_input_is_said(texts):
    model, x = texts
    with pytest.raises(ValueError, match="there is no place 7: the attention is between 5 places"):
        attention_rollout(model, x, query=7)
    dense = cn.Sequential([layers.Dense(2)]).build(np.ones((1, 3), "float32"))
    for method in (attention_rollout, gradient_attention):
        with pytest.raises(ValueError, match="the model has no attention of ours"):
            method(dense, np.ones((1, 3), "float32"))
    with pytest.raises(ValueError, match="no sequence attends to itself"):
        attention_rollout(lambda x: layers.Attention()([x[:, :2], x])[:, 0, 0], jnp.ones((1, 4, 3)))
