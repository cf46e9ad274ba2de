"""Which layers and activations Cenote's own programs do, and which stay with XLA: a layer that comes or goes fails here.

Whoever changes that changes `XLA` below, to what the failing test says it found. The answers are held against `predict`.
"""

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import activations, layers
from cenote.kernels import native

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.status())

# What there is no step for, in the words of `engine`.
XLA = {
    "activations": {"sparsemax": "no step does sort"},
    "sequences": {
        "AdaptiveMaxPooling1D": "no step takes anything but rows of a table",
        "SimpleRNN": "no step does transpose over the batch",  # and then a loop of any cell
        "RNN": "no step does transpose over the batch",
    },
    "pictures": {
        "Resizing": "no step does this kind of product",  # with the rows in the middle
        "UpSampling2D, bilinear": "no step does this kind of product",
        "Unfold": "no step does stack",
    },
    "volumes": {"AdaptiveMaxPooling3D": "no step takes anything but rows of a table"},
    "vectors": {"Discretization": "no step does scan"},
    "films": {"ConvLSTM1D": "no step does transpose over the batch"},
    "sounds": {"MelSpectrogram": "no step does fft"},
    "words": {"CategoryEncoding": "no step does scatter"},
}

VECTOR, SEQUENCE, PICTURE, VOLUME = (6,), (5, 4), (6, 8, 4), (4, 6, 5, 2)
ROWS = 3


def plain(names, *arguments):
    return {name: getattr(layers, name)(*arguments) for name in names.split()}


def sized(rank):
    """The layers that come for one, two and three axes."""

    def of(names, *arguments):
        return plain(" ".join(f"{name}{rank}D" for name in names.split()), *arguments)

    found = {
        **of("AveragePooling MaxPooling GlobalAveragePooling GlobalMaxPooling UpSampling ZeroPadding"),
        **of("AdaptiveAveragePooling AdaptiveMaxPooling", 2),
        **of("LPPool", 2.0, 2),
        **of("Cropping", 1),
        **of("SpatialDropout", 0.5),
        **of("Conv", 3, 3),
        f"Conv{rank}DTranspose": getattr(layers, f"Conv{rank}DTranspose")(3, 3),
    }
    return found if rank == 3 else found | of("DepthwiseConv", 3) | of("SeparableConv", 3, 3)


def then(*chain):
    """Layers one after another."""

    def call(x):
        for layer in chain:
            x = layer(x)
        return x

    return call


def threshold(x):
    return activations.threshold(x, 0.3, -1.0)


def families():
    """Inputs (shapes, and the number of words where they are such), and layers by their names."""
    ones = sorted({f.__name__ for f in activations.NAMES.values()} - {"threshold"})
    yield (
        "activations",
        [(4, 6)],
        None,
        {name: layers.Activation(name) for name in ones} | {"threshold": layers.Lambda(threshold)},
    )
    yield (
        "sequences",
        [SEQUENCE],
        None,
        {
            **plain("CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish PReLU"),
            **plain("RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink Softsign Tanh Tanhshrink"),
            **plain("Identity Flatten LayerNormalization RMSNormalization UnitNormalization BatchNormalization"),
            **plain("ActivityRegularization RotaryEmbedding SinePositionEncoding Masking"),
            **plain("AlphaDropout DropPath GaussianDropout GaussianNoise FeatureAlphaDropout Dropout", 0.5),
            **plain("LSTM GRU SimpleRNN Dense", 3),
            **sized(1),
            "Threshold": layers.Threshold(0.1, 0.2),
            "Dense, gelu": layers.Dense(3, "gelu"),
            "EinsumDense": layers.EinsumDense("abc,cd->abd", output_shape=(None, 3)),
            "Conv1D, causal": layers.Conv1D(3, 2, padding="causal"),
            "Permute": layers.Permute((2, 1)),
            "Reshape": layers.Reshape((2, 10)),
            "TimeDistributed": layers.TimeDistributed(layers.Dense(3)),
            "PositionEmbedding": layers.PositionEmbedding(5),
            "TransformerEncoder": layers.TransformerEncoder(8, 2),
            "TransformerDecoder": layers.TransformerDecoder(8, 2),
            "MultiHeadAttention": (lambda layer: lambda x: layer(x, x))(layers.MultiHeadAttention(2, 3)),
            "GroupQueryAttention": (lambda layer: lambda x: layer(x, x))(layers.GroupQueryAttention(3, 4, 2)),
            "LSTM, sequences": layers.LSTM(3, return_sequences=True),
            "GRU, sequences": layers.GRU(3, return_sequences=True),
            "Masking, LSTM": then(layers.Masking(), layers.LSTM(3)),
            "Bidirectional": layers.Bidirectional(layers.GRU(3)),
            "RNN": layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]),
        },
    )
    yield (
        "pictures",
        [PICTURE],
        None,
        {
            **sized(2),
            **plain("BatchNormalization InstanceNormalization Flatten"),
            **plain("PixelShuffle PixelUnshuffle ChannelShuffle Unfold GroupNormalization", 2),
            **plain("CenterCrop Resizing", 4, 4),
            "Rescaling": layers.Rescaling(1 / 255, 0.5),
            "Normalization": layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=2.0),
            "LocalResponseNormalization": layers.LocalResponseNormalization(3),
            "PReLU": layers.PReLU(shared_axes=(1, 2)),
            "Softmax": layers.Softmax(axis=1),
            "BatchNormalization, axis": layers.BatchNormalization(axis=1),
            "UnitNormalization, axis": layers.UnitNormalization(axis=(1, 2)),
            "Conv2D, dilated": layers.Conv2D(3, 3, dilation_rate=2, padding="same"),
            "Conv2D, groups": layers.Conv2D(4, 3, groups=2),
            "UpSampling2D, bilinear": layers.UpSampling2D(interpolation="bilinear"),
            "RandomFlip": layers.RandomFlip(),
            "SqueezeExcite": squeeze_excite(),
        },
    )
    yield "volumes", [VOLUME], None, sized(3)
    yield (
        "vectors",
        [VECTOR],
        None,
        {
            "RepeatVector": layers.RepeatVector(3),
            "SpectralNormalization": layers.SpectralNormalization(layers.Dense(3)),
            "WeightNormalization": layers.WeightNormalization(layers.Dense(3)),
            "Discretization": layers.Discretization([0.0, 1.0]),
        },
    )
    yield (
        "films",
        [(2, 4, 2)],
        None,
        {"ConvLSTM1D": layers.ConvLSTM1D(2, 3), "Flatten": layers.Flatten(), "ELU": layers.ELU()},
    )
    sounds = {"MelSpectrogram": layers.MelSpectrogram(fft_length=16, sequence_stride=8, num_mel_bins=4, sampling_rate=100)}
    yield "sounds", [(64,)], None, {"Dense": layers.Dense(2), "Rescaling": layers.Rescaling(0.1), **sounds}
    merging = plain("Attention AdditiveAttention Add Average Concatenate Maximum Minimum Multiply Subtract")
    merging |= {"Dot": layers.Dot(axes=2), "Dot, normalized": layers.Dot(axes=-1, normalize=True)}
    merging["Bilinear"] = (lambda layer: lambda pair: layer(*pair))(layers.Bilinear(3))
    yield "merging", [SEQUENCE, SEQUENCE], None, merging
    yield (
        "words",
        [VECTOR],
        9,
        {
            **plain("Embedding EmbeddingBag ReversibleEmbedding", 9, 3),
            "TokenAndPositionEmbedding": layers.TokenAndPositionEmbedding(9, 6, 4),
            "CategoryEncoding": layers.CategoryEncoding(9, output_mode="multi_hot"),
            "Embedding, mean of some": then(layers.Embedding(9, 3, mask_zero=True), layers.GlobalAveragePooling1D()),
            "Embedding, LSTM of some": then(layers.Embedding(9, 3, mask_zero=True), layers.LSTM(3)),
        },
    )


def squeeze_excite():
    mean, down, up, product = (
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Dense(2, "relu"),
        layers.Dense(4, "sigmoid"),
        layers.Multiply(),
    )
    return lambda x: product([x, up(down(mean(x)))])


@pytest.fixture(scope="module", autouse=True)
def quickly():
    """Each program runs once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def modelled(inputs, calls, x):
    """A model of several layers side by side, whose weights are as if it had been trained."""
    given = inputs[0] if len(inputs) == 1 else inputs
    outputs = [call(given) for call in calls]
    model = cn.Model(given, outputs if len(outputs) > 1 else outputs[0])
    model.build(x)
    rng = np.random.default_rng(1)
    model.set_weights(
        [w + rng.uniform(0.1, 0.4, w.shape).astype("float32") if w.dtype.kind == "f" else w for w in model.get_weights()]
    )
    return model


@pytest.mark.parametrize("family", list(families()), ids=lambda family: family[0])
def test_who_does_which_layer(family):
    name, shapes, words, calls = family
    rng = np.random.default_rng(0)
    inputs = [cn.Input(shape, dtype="int32" if words else "float32") for shape in shapes]
    xs = [
        rng.integers(0, words, (ROWS, *s)).astype("int32") if words else rng.normal(size=(ROWS, *s)).astype("float32")
        for s in shapes
    ]
    x = xs[0] if len(xs) == 1 else tuple(xs)
    stay = XLA.get(name, {})
    ours = [layer for layer in calls if layer not in stay]
    model = modelled(inputs, [calls[layer] for layer in ours], x)
    serve = model.compiled(x)
    if serve.engine != "C++":  # of which layers?
        engines = {layer: modelled(inputs, [calls[layer]], x).compiled(x).engine for layer in ours}
        assert {layer: engine for layer, engine in engines.items() if engine != "C++"} == {}
    assert serve.engine == "C++"
    one = jax.tree.map(lambda a: a[:1], x)  # traced for itself: JAX leaves out axes of size 1 here and there
    alone = model.compiled(one)
    assert alone.engine == "C++"
    for layer, a, first, b in zip(ours, serve(x), alone(one), model.predict(x, batch_size=ROWS), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-5, atol=3e-6, err_msg=layer)
        np.testing.assert_allclose(first, b[:1], rtol=3e-5, atol=3e-6, err_msg=f"{layer}, one row")
    engines = {layer: modelled(inputs, [calls[layer]], x).compiled(x).engine for layer in stay}
    assert engines == {layer: f"XLA: {reason}" for layer, reason in stay.items()}
