"""Gradients of every layer against finite differences, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import layers

CASES = {
    "dense": (lambda: layers.Dense(3, "tanh"), (2, 4)),
    "activation": (lambda: layers.Activation("gelu"), (2, 4)),
    "relu": (lambda: layers.ReLU(negative_slope=0.2), (2, 4)),
    "softmax": (lambda: layers.Softmax(), (2, 4)),
    "flatten": (lambda: layers.Flatten(), (2, 2, 3)),
    "reshape": (lambda: layers.Reshape((3, 2)), (2, 6)),
    "rescaling": (lambda: layers.Rescaling(0.3, 1.0), (2, 4)),
    "normalization": (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[2.0, 3.0]), (3, 2)),
    "batch_norm": (lambda: layers.BatchNormalization(), (5, 3)),
    "layer_norm": (lambda: layers.LayerNormalization(), (3, 4)),
    "conv": (lambda: layers.Conv2D(2, 3), (1, 5, 4, 2)),
    "conv_strided": (lambda: layers.Conv2D(2, 3, strides=2, padding="same"), (1, 5, 4, 2)),
    "conv_dilated": (lambda: layers.Conv2D(2, 2, dilation_rate=2), (1, 5, 4, 2)),
    "conv_one_channel": (lambda: layers.Conv2D(2, 3, padding="same"), (1, 4, 4, 1)),
    "conv_one_by_one": (lambda: layers.Conv2D(2, 1, strides=2), (1, 4, 4, 3)),
    "conv_groups": (lambda: layers.Conv2D(4, 2, groups=2), (1, 4, 4, 4)),
    "conv_depthwise": (lambda: layers.Conv2D(4, 2, groups=2, padding="same"), (1, 4, 4, 2)),
    "max_pool": (lambda: layers.MaxPooling2D(), (1, 4, 5, 2)),
    "max_pool_overlapping": (lambda: layers.MaxPooling2D(3, 2, "same"), (1, 5, 4, 2)),
    "average_pool": (lambda: layers.AveragePooling2D(3, 2, "same"), (1, 5, 4, 2)),
    "global_pool": (lambda: layers.GlobalAveragePooling2D(), (1, 3, 2, 2)),
    "rnn": (lambda: layers.SimpleRNN(3), (2, 4, 2)),
    "lstm": (lambda: layers.LSTM(3, return_sequences=True), (2, 4, 2)),
    "gru": (lambda: layers.GRU(3), (2, 4, 2)),
    "gru_before": (lambda: layers.GRU(3, reset_after=False), (2, 4, 2)),
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_slopes(name, train):
    make, shape = CASES[name]
    layer, rng = make(), np.random.default_rng(0)
    with jax.enable_x64(True):
        x = rng.normal(size=shape) * 2
        params, state = ({k: np.asarray(v, "float64") + 0.1 for k, v in d.items()} for d in layer.init(0, x))
        mark = rng.normal(size=jax.eval_shape(lambda: layer.apply(params, state, x)[0]).shape)

        @jax.jit
        def both(params, x):
            value = lambda params, x: jnp.vdot(layer.apply(params, state, x, train=train, key=0)[0], mark)  # noqa: E731
            return jax.value_and_grad(value, (0, 1))(params, x)

        point = (params, x)
        grads = jax.tree.leaves(both(*point)[1])
        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), point)
        step = 1e-6
        ahead, behind = (jax.tree.map(lambda p, d, s=s: p + s * step * d, point, direction) for s in (1, -1))
        slope = (float(both(*ahead)[0]) - float(both(*behind)[0])) / (2 * step)
        claimed = sum(np.vdot(g, d) for g, d in zip(grads, jax.tree.leaves(direction), strict=True))
        assert all(g.dtype == np.float64 for g in grads)
        np.testing.assert_allclose(claimed, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_embedding(masked):
    rng = np.random.default_rng(0)
    words = np.array([[1, 2, 0], [3, 1, 2]], "int32")
    embed, attend = layers.Embedding(4, 4, mask_zero=masked), layers.MultiHeadAttention(2, 2)
    from cenote import Sequential

    class Both(Sequential):
        def forward(self, x):
            h = self.layers[0](x)
            return self.layers[1](h, h, use_causal_mask=True)

    model = Both([embed, attend])
    with jax.enable_x64(True):
        params, state = jax.jit(lambda: model.init(0, words))()
        params = {k: np.asarray(v, "float64") for k, v in params.items()}
        mark = rng.normal(size=(2, 3, 4))
        both = jax.jit(jax.value_and_grad(lambda p: jnp.vdot(model.apply(p, state, words)[0], mark)))
        grads = both(params)[1]
        direction = {k: rng.normal(size=v.shape) for k, v in params.items()}
        ahead, behind = ({k: params[k] + s * 1e-6 * direction[k] for k in params} for s in (1, -1))
        slope = (float(both(ahead)[0]) - float(both(behind)[0])) / 2e-6
        np.testing.assert_allclose(sum(np.vdot(grads[k], direction[k]) for k in params), slope, rtol=1e-6)
