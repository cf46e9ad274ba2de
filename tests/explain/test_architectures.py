"""Completeness of DeepLIFT, `sum(values) = f(x) - f(baseline)`, to 1e-5 in float32 through every kind of network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers as L
from cenote.explain import deeplift

RNG = np.random.default_rng(0)
NAMES = (
    "relu leaky_relu relu6 elu selu gelu silu celu mish softplus squareplus sparse_plus hard_shrink soft_shrink tanh_shrink "
    "softsign exponential tanh hard_tanh hard_sigmoid sparse_sigmoid log_sigmoid hard_silu sigmoid softmax log_softmax "
    "softmin sparsemax linear "
)
ACTIVATIONS = NAMES.split()


def rows(*shape):
    return RNG.normal(size=(3, *shape)).astype("float32")


def sequential(*layers):
    return cn.Sequential([*layers, L.Dense(2)])


def every_activation():
    x = cn.Input((5,))
    parts = [L.Activation(name)(L.Dense(4)(x)) for name in ACTIVATIONS]
    parts += [cn.activations.glu(L.Dense(4)(x)), L.PReLU()(L.Dense(4)(x))]
    return cn.Model(x, L.Dense(2)(L.Concatenate()(parts)))


def residual():
    x = cn.Input((6, 6, 3))
    y = L.Conv2D(4, 3, padding="same")(x)
    for _ in range(2):
        y = y + L.Conv2D(4, 3, padding="same")(L.Activation("relu")(L.BatchNormalization()(y)))
    return cn.Model(x, L.Dense(2)(L.GlobalAveragePooling2D()(y)))


def dense_net():
    x = cn.Input((6, 6, 3))
    y = x
    for _ in range(3):
        y = L.Concatenate()([y, L.Conv2D(2, 3, padding="same", activation="relu")(y)])
    return cn.Model(x, L.Dense(2)(L.Flatten()(L.AveragePooling2D(2)(y))))


def squeeze_excite():
    x = cn.Input((6, 6, 3))
    y = L.Conv2D(4, 3, activation="silu")(x)
    gate = L.Dense(4, activation="sigmoid")(L.Dense(2, activation="relu")(L.GlobalAveragePooling2D()(y)))
    return cn.Model(x, L.Dense(2)(L.GlobalMaxPooling2D()(y * L.Reshape((1, 1, 4))(gate))))


def every_pooling():
    x = cn.Input((7, 7, 3))
    y = L.Conv2D(4, 2, activation="relu", padding="same")(x)
    pools = [L.MaxPooling2D(2), L.MaxPooling2D(3, 2, padding="same"), L.AveragePooling2D(2), L.LPPool2D(2, 2)]
    pools += [L.AveragePooling2D(3, 2, padding="same"), L.AdaptiveMaxPooling2D(3), L.AdaptiveAveragePooling2D((2, 3))]
    parts = [L.Flatten()(pool(y)) for pool in pools] + [L.GlobalMaxPooling2D()(y), L.GlobalAveragePooling2D()(y)]
    return cn.Model(x, L.Dense(2)(L.Concatenate()(parts)))


def one_and_three_axes():
    a, b = cn.Input((9, 2)), cn.Input((4, 4, 4, 1))
    y = L.Flatten()(L.MaxPooling1D(2)(L.Conv1D(3, 3, padding="causal", activation="relu")(a)))
    z = L.Flatten()(L.MaxPooling3D(2)(L.Conv3D(2, 2, padding="same", activation="tanh")(b)))
    return cn.Model([a, b], L.Dense(2)(L.Concatenate()([y, z])))


def other_convolutions():
    x = cn.Input((6, 6, 4))
    parts = [L.DepthwiseConv2D(3), L.Conv2D(4, 2, dilation_rate=2), L.Conv2DTranspose(2, 3, strides=2)]
    parts += [L.SeparableConv2D(3, 3), L.Conv2D(4, 3, groups=2), L.Conv2D(2, 3, strides=2, padding="same"), L.Conv2D(3, 1)]
    return cn.Model(x, L.Dense(2)(L.Concatenate()([L.Flatten()(L.Activation("relu")(p(x))) for p in parts])))


def normalisations():
    x = cn.Input((4, 4, 6))
    kinds = [L.BatchNormalization(), L.LayerNormalization(), L.RMSNormalization(), L.GroupNormalization(2)]
    kinds += [L.UnitNormalization(), L.InstanceNormalization(), L.LocalResponseNormalization(3)]
    return cn.Model(x, L.Dense(2)(L.Concatenate()([L.Flatten()(L.Activation("tanh")(k(x))) for k in kinds])))


def decoder():
    x, memory = cn.Input((4, 6)), cn.Input((3, 6))
    return cn.Model([x, memory], L.Dense(2)(L.GlobalAveragePooling1D()(L.TransformerDecoder(8, 2)(x, memory))))


def vision_transformer():
    x = cn.Input((8, 8, 3))
    y = L.Reshape((4, 6))(L.Conv2D(6, 4, strides=4)(x))
    y = y + L.PositionEmbedding(4)(y)
    y = L.TransformerEncoder(8, 2, activation="gelu", normalize_first=True)(y)
    return cn.Model(x, L.Dense(2)(L.LayerNormalization()(y)[:, 0]))


def autoencoder():
    x = cn.Input((8, 8, 1))
    y = L.Dense(3, activation="tanh")(L.Flatten()(L.MaxPooling2D(2)(L.Conv2D(2, 3, padding="same", activation="relu")(x))))
    y = L.Reshape((4, 4, 2))(L.Dense(32, activation="relu")(y))
    return cn.Model(x, L.Flatten()(L.Conv2DTranspose(1, 3, strides=2, padding="same")(y)))


def several_inputs():
    a, b = cn.Input((5,)), cn.Input((3, 4))
    y = L.Concatenate()([L.Dense(4, activation="relu")(a), L.Flatten()(L.Dense(3, activation="gelu")(b))])
    return cn.Model([a, b], L.Dense(2)(y))


def reused():
    x, layer, norm = cn.Input((5,)), L.Dense(5, activation="softplus"), L.LayerNormalization()
    return cn.Model(x, L.Dense(2)(norm(layer(norm(layer(layer(x)))))))


def highway():
    x = cn.Input((5,))
    y = x
    for _ in range(2):
        gate = L.Dense(5, activation="sigmoid")(y)
        y = gate * L.Dense(5, activation="relu")(y) + (1 - gate) * y
    return cn.Model(x, L.Dense(2)(L.Maximum()([y, L.Dense(5)(x), L.Minimum()([x, y])])))


def additive():
    x = cn.Input((4, 6))
    return cn.Model(x, L.Dense(2)(L.GlobalMaxPooling1D()(L.AdditiveAttention()([x, L.Dense(6)(x)]))))


MODELS = {
    "MLP with every activation": (every_activation, [(5,)]),
    "CNN with every pooling": (every_pooling, [(7, 7, 3)]),
    "one and three axes": (one_and_three_axes, [(9, 2), (4, 4, 4, 1)]),
    "depthwise, dilated, transposed, grouped": (other_convolutions, [(6, 6, 4)]),
    "residual with BatchNorm": (residual, [(6, 6, 3)]),
    "DenseNet": (dense_net, [(6, 6, 3)]),
    "squeeze and excite": (squeeze_excite, [(6, 6, 3)]),
    "normalisations": (normalisations, [(4, 4, 6)]),
    "SimpleRNN": (lambda: sequential(L.SimpleRNN(4)), [(5, 3)]),
    "LSTM": (lambda: sequential(L.LSTM(4, return_sequences=True), L.GlobalMaxPooling1D()), [(5, 3)]),
    "GRU": (lambda: sequential(L.GRU(4)), [(5, 3)]),
    "GRU with hard gates": (lambda: sequential(L.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid")), [(5, 3)]),
    "bidirectional": (lambda: sequential(L.Bidirectional(L.GRU(3)), L.BatchNormalization()), [(5, 3)]),
    "ConvLSTM": (lambda: sequential(L.ConvLSTM2D(2, 3, padding="same"), L.Flatten()), [(3, 4, 4, 1)]),
    "Transformer encoder": (lambda: sequential(L.TransformerEncoder(8, 2), L.GlobalAveragePooling1D()), [(4, 6)]),
    "Transformer decoder": (decoder, [(4, 6), (3, 6)]),
    "vision Transformer": (vision_transformer, [(8, 8, 3)]),
    "autoencoder": (autoencoder, [(8, 8, 1)]),
    "several inputs": (several_inputs, [(5,), (3, 4)]),
    "reused layers": (reused, [(5,)]),
    "highway": (highway, [(5,)]),
    "additive attention": (additive, [(4, 6)]),
    "spectrogram": (lambda: sequential(L.STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8), L.Flatten()), [(24, 1)]),
}


TARGETS = {"autoencoder": 27}  # a place in the middle


@pytest.mark.parametrize("name", MODELS)
def test_values_add_up_to_the_change_of_the_output(name):
    make, shapes = MODELS[name]
    x, base = [rows(*s) for s in shapes], [rows(*s) for s in shapes]
    x, base = (x[0], base[0]) if len(shapes) == 1 else (tuple(x), tuple(base))
    cn.set_seed(1)
    model = make().build(x)
    found = deeplift(model, x, baseline=base, target=TARGETS.get(name, 1))
    change = np.abs(found.output - found.base)
    assert change.max() > 1e-2 and found.completeness.max() < 1e-5
    assert (found.gap / np.maximum(change, 0.1)).max() < 1e-5
    assert all(np.isfinite(v).all() and np.any(v) for v in jax.tree.leaves(found.values))


def test_embedded_tokens_and_masks():
    table = RNG.normal(size=(7, 6)).astype("float32")
    cn.set_seed(2)
    model = cn.Sequential([L.Masking(0.0), L.LSTM(4), L.Dense(2)]).build(rows(5, 6))
    words = table[np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]])]
    words[0, 3:] = 0
    found = deeplift(model, words, baseline=np.where(words == 0, 0, 0.3).astype("float32"), target=0)
    assert found.completeness.max() < 1e-5 and np.all(found.values[0, 3:] == 0)


def test_half_precision_inside():
    f = lambda x: jnp.tanh((x.astype(jnp.bfloat16) @ jnp.ones((4, 3), jnp.bfloat16)).astype(jnp.float32)).sum(-1)  # noqa: E731
    found = deeplift(f, rows(4), baseline=0.0)
    assert found.completeness.max() < 2e-2
