"""Every layer in every place: under jit, grad and vmap, in float64 and bfloat16, in a Sequential and a graph, saved and loaded.

Most of this is looked at in traces, since compiling takes the time: a layer that came back from a file must give the same
program. Augmentation is only traced here; tests of its own run it.
"""
# ruff: noqa: F403, F405

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.layers import *

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype("float32")


VECTOR, SIGNAL, IMAGE, VOLUME = floats(3, 4), floats(2, 8, 4), floats(2, 8, 8, 4), floats(2, 6, 6, 6, 4)
LINES, FILMS, SCANS = floats(2, 3, 5, 2), floats(2, 3, 5, 5, 2), floats(2, 3, 4, 4, 4, 2)
PIXELS = RNG.integers(0, 256, (2, 8, 8, 3)).astype("float32")
WAVE, FEATURES = floats(2, 512), floats(2, 20, 8)
IDS, TEXTS = RNG.integers(1, 6, (2, 5)).astype("int32"), np.array(["a green tree", "a red house", "tree"])
WORDS, NUMBERS = np.array([["red"], ["green"], ["blue"]]), np.array([[1], [7], [9]], "int32")
PAIR = [floats(3, 4), floats(3, 4)]
STATE = floats(3, 6)
PARTS = {"images": PIXELS, "labels": np.eye(2, dtype="float32")}
BOXED = {
    "images": PIXELS,
    "bounding_boxes": {"boxes": np.full((2, 1, 4), 3, "float32"), "labels": np.ones((2, 1), "int32")},
}

# -- the table: name -> (constructor, inputs of a call, without their batch being special) ---------------------------------

CASES = {
    # core
    "Activation": (lambda: Activation("gelu"), VECTOR),
    "ActivityRegularization": (lambda: ActivityRegularization(l2=0.1), VECTOR),
    "Bilinear": (lambda: Bilinear(3), floats(3, 4), floats(3, 5)),
    "Dense": (lambda: Dense(5, "relu"), VECTOR),
    "EinsumDense": (lambda: EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"), SIGNAL),
    "Embedding": (lambda: Embedding(6, 4, mask_zero=True), IDS),
    "EmbeddingBag": (lambda: EmbeddingBag(6, 4), IDS),
    "Identity": (Identity, VECTOR),
    "Lambda": (lambda: Lambda(cn.activations.tanh), VECTOR),
    "Masking": (Masking, SIGNAL),
    "ReversibleEmbedding": (lambda: ReversibleEmbedding(6, 4), IDS),
    # convolution
    "Conv1D": (lambda: Conv1D(6, 3, padding="causal", groups=2), SIGNAL),
    "Conv2D": (lambda: Conv2D(6, 3, 2, "same"), IMAGE),
    "Conv3D": (lambda: Conv3D(3, 3, dilation_rate=2), VOLUME),
    "Conv1DTranspose": (lambda: Conv1DTranspose(3, 3, 2), SIGNAL),
    "Conv2DTranspose": (lambda: Conv2DTranspose(3, 3, 2, "same"), IMAGE),
    "Conv3DTranspose": (lambda: Conv3DTranspose(2, 3, 2), VOLUME),
    "DepthwiseConv1D": (lambda: DepthwiseConv1D(3, depth_multiplier=2), SIGNAL),
    "DepthwiseConv2D": (lambda: DepthwiseConv2D(3, 2), IMAGE),
    "SeparableConv1D": (lambda: SeparableConv1D(5, 3), SIGNAL),
    "SeparableConv2D": (lambda: SeparableConv2D(5, 3, padding="same"), IMAGE),
    "Unfold": (lambda: Unfold(3), IMAGE),
    "Fold": (lambda: Fold(4, 3), floats(2, 4, 18)),
    "PixelShuffle": (lambda: PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (lambda: PixelUnshuffle(2), IMAGE),
    "ChannelShuffle": (lambda: ChannelShuffle(2), IMAGE),
    # pooling
    **{
        f"{kind}{n}D": (functools.partial(getattr(layers, f"{kind}{n}D"), *given), {1: SIGNAL, 2: IMAGE, 3: VOLUME}[n])
        for kind, given in {
            "MaxPooling": (2,),
            "AveragePooling": (2,),
            "GlobalMaxPooling": (),
            "GlobalAveragePooling": (),
            "AdaptiveMaxPooling": (3,),
            "AdaptiveAveragePooling": (3,),
            "LPPool": (2, 2),
        }.items()
        for n in (1, 2, 3)
    },
    "MaxUnpool1D": (MaxUnpool1D, floats(2, 4, 4), np.tile(np.arange(4)[None, :, None] * 2, (2, 1, 4)).astype("int32")),
    "MaxUnpool2D": (MaxUnpool2D, floats(1, 2, 2, 1), np.array([0, 3, 9, 15], "int32").reshape(1, 2, 2, 1)),
    "MaxUnpool3D": (MaxUnpool3D, floats(1, 1, 1, 2, 1), np.array([1, 6], "int32").reshape(1, 1, 1, 2, 1)),
    # recurrent
    "SimpleRNN": (lambda: SimpleRNN(6, return_sequences=True), SIGNAL),
    "LSTM": (lambda: LSTM(6, dropout=0.1, recurrent_dropout=0.1), SIGNAL),
    "GRU": (lambda: GRU(6, return_state=True), SIGNAL),
    "SimpleRNNCell": (lambda: SimpleRNNCell(6), VECTOR, STATE),
    "LSTMCell": (lambda: LSTMCell(6), VECTOR, [STATE, STATE]),
    "GRUCell": (lambda: GRUCell(6), VECTOR, STATE),
    "StackedRNNCells": (lambda: StackedRNNCells([GRUCell(6), GRUCell(6)]), VECTOR, [STATE, STATE]),
    "RNN": (lambda: RNN([LSTMCell(3), GRUCell(4)]), SIGNAL),
    "Bidirectional": (lambda: Bidirectional(LSTM(3, return_sequences=True)), SIGNAL),
    "TimeDistributed": (lambda: TimeDistributed(Dense(3)), SIGNAL),
    "ConvLSTM1D": (lambda: ConvLSTM1D(3, 3), LINES),
    "ConvLSTM2D": (lambda: ConvLSTM2D(2, 3, return_sequences=True), FILMS),
    "ConvLSTM3D": (lambda: ConvLSTM3D(2, 3), SCANS),
    "ConvLSTM1DCell": (lambda: ConvLSTM1DCell(3, 3, padding="same"), LINES[:, 0], [floats(2, 5, 3), floats(2, 5, 3)]),
    "ConvLSTM2DCell": (lambda: ConvLSTM2DCell(3, 3, padding="same"), FILMS[:, 0], [floats(2, 5, 5, 3)] * 2),
    "ConvLSTM3DCell": (lambda: ConvLSTM3DCell(2, 3, padding="same"), SCANS[:, 0], [floats(2, 4, 4, 4, 2)] * 2),
    # attention
    "Attention": (lambda: Attention(use_scale=True, dropout=0.1), [SIGNAL, floats(2, 6, 4)]),
    "AdditiveAttention": (AdditiveAttention, [SIGNAL, floats(2, 6, 4)]),
    "MultiHeadAttention": (lambda: MultiHeadAttention(2, 3), SIGNAL, floats(2, 6, 4)),
    "GroupQueryAttention": (lambda: GroupQueryAttention(4, 4, 2), SIGNAL, SIGNAL),
    "TransformerEncoder": (lambda: TransformerEncoder(8, 2, 0.1), SIGNAL),
    "TransformerDecoder": (lambda: TransformerDecoder(8, 2), SIGNAL, floats(2, 6, 4)),
    "RotaryEmbedding": (RotaryEmbedding, SIGNAL),
    "SinePositionEncoding": (SinePositionEncoding, SIGNAL),
    "PositionEmbedding": (lambda: PositionEmbedding(10), SIGNAL),
    "TokenAndPositionEmbedding": (lambda: TokenAndPositionEmbedding(6, 5, 4), IDS),
    # normalisation
    "BatchNormalization": (lambda: BatchNormalization(momentum=0.5), IMAGE),
    "LayerNormalization": (LayerNormalization, SIGNAL),
    "GroupNormalization": (lambda: GroupNormalization(2), IMAGE),
    "InstanceNormalization": (lambda: InstanceNormalization(center=True, scale=True), IMAGE),
    "LocalResponseNormalization": (lambda: LocalResponseNormalization(3), IMAGE),
    "RMSNormalization": (RMSNormalization, SIGNAL),
    "UnitNormalization": (UnitNormalization, SIGNAL),
    "SpectralNormalization": (lambda: SpectralNormalization(Dense(3)), VECTOR),
    "WeightNormalization": (lambda: WeightNormalization(Conv2D(3, 3)), IMAGE),
    # noise
    "AlphaDropout": (lambda: AlphaDropout(0.2), VECTOR),
    "Dropout": (lambda: Dropout(0.2), VECTOR),
    "DropPath": (lambda: DropPath(0.2), IMAGE),
    "FeatureAlphaDropout": (lambda: FeatureAlphaDropout(0.2), IMAGE),
    "GaussianDropout": (lambda: GaussianDropout(0.2), VECTOR),
    "GaussianNoise": (lambda: GaussianNoise(0.2), VECTOR),
    "SpatialDropout1D": (lambda: SpatialDropout1D(0.2), SIGNAL),
    "SpatialDropout2D": (lambda: SpatialDropout2D(0.2), IMAGE),
    "SpatialDropout3D": (lambda: SpatialDropout3D(0.2), VOLUME),
    # shape
    "Flatten": (Flatten, IMAGE),
    "Reshape": (lambda: Reshape((4, -1)), SIGNAL),
    "Permute": (lambda: Permute((2, 1)), SIGNAL),
    "RepeatVector": (lambda: RepeatVector(3), VECTOR),
    "Cropping1D": (lambda: Cropping1D(1), SIGNAL),
    "Cropping2D": (lambda: Cropping2D((1, 2)), IMAGE),
    "Cropping3D": (lambda: Cropping3D(1), VOLUME),
    "ZeroPadding1D": (lambda: ZeroPadding1D((1, 2)), SIGNAL),
    "ZeroPadding2D": (lambda: ZeroPadding2D(1), IMAGE),
    "ZeroPadding3D": (lambda: ZeroPadding3D(1), VOLUME),
    "UpSampling1D": (UpSampling1D, SIGNAL),
    "UpSampling2D": (lambda: UpSampling2D(2, interpolation="bilinear"), IMAGE),
    "UpSampling3D": (UpSampling3D, VOLUME),
    # merge
    **{
        name: (getattr(layers, name), PAIR)
        for name in ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"]
    },
    "Dot": (lambda: Dot(1), PAIR),
    # activations
    "CELU": (CELU, VECTOR),
    "ELU": (ELU, VECTOR),
    "GELU": (GELU, VECTOR),
    "GLU": (GLU, VECTOR),
    "Hardshrink": (Hardshrink, VECTOR),
    "Hardsigmoid": (Hardsigmoid, VECTOR),
    "Hardswish": (Hardswish, VECTOR),
    "Hardtanh": (Hardtanh, VECTOR),
    "LeakyReLU": (LeakyReLU, VECTOR),
    "LogSigmoid": (LogSigmoid, VECTOR),
    "LogSoftmax": (LogSoftmax, VECTOR),
    "Mish": (Mish, VECTOR),
    "PReLU": (PReLU, VECTOR),
    "ReLU": (ReLU, VECTOR),
    "ReLU6": (ReLU6, VECTOR),
    "RReLU": (RReLU, VECTOR),
    "SELU": (SELU, VECTOR),
    "SiLU": (SiLU, VECTOR),
    "Sigmoid": (Sigmoid, VECTOR),
    "Softmax": (Softmax, VECTOR),
    "Softmin": (Softmin, VECTOR),
    "Softplus": (Softplus, VECTOR),
    "Softshrink": (Softshrink, VECTOR),
    "Softsign": (Softsign, VECTOR),
    "Tanh": (Tanh, VECTOR),
    "Tanhshrink": (Tanhshrink, VECTOR),
    "Threshold": (lambda: Threshold(0.1, 0.0), VECTOR),
    # preprocessing
    "CategoryEncoding": (lambda: CategoryEncoding(6), IDS),
    "CenterCrop": (lambda: CenterCrop(5, 5), IMAGE),
    "Discretization": (lambda: Discretization([-0.5, 0.5]), VECTOR),
    "HashedCrossing": (lambda: HashedCrossing(5), [WORDS, WORDS[::-1]]),
    "Hashing": (lambda: Hashing(5), WORDS),
    "IntegerLookup": (lambda: IntegerLookup(vocabulary=[1, 7]), NUMBERS),
    "MaxNumBoundingBoxes": (lambda: MaxNumBoundingBoxes(3, bounding_box_format="xyxy"), BOXED),
    "MelSpectrogram": (lambda: MelSpectrogram(128, 64, num_mel_bins=8), WAVE),
    "MFCC": (lambda: MFCC(5, fft_length=128, sequence_stride=64, num_mel_bins=8), WAVE),
    "Normalization": (lambda: Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 2, 3, 4]), VECTOR),
    "Rescaling": (lambda: Rescaling(2.0, 1.0), IMAGE),
    "Resizing": (lambda: Resizing(5, 12), IMAGE),
    "STFTSpectrogram": (lambda: STFTSpectrogram(frame_length=64), floats(2, 256, 1)),
    "StringLookup": (lambda: StringLookup(vocabulary=["red", "blue"]), WORDS),
    "TextVectorization": (lambda: TextVectorization(vocabulary=["tree", "a"], output_sequence_length=4), TEXTS),
    # augmentation
    "Augmentation": (layers.Augmentation, PIXELS),
    "AugMix": (AugMix, PIXELS),
    "AutoContrast": (AutoContrast, PIXELS),
    "ContrastLimitedAdaptiveHistogramEqualization": (
        lambda: ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2)),
        PIXELS,
    ),
    "CutMix": (CutMix, PARTS),
    "Equalization": (Equalization, PIXELS),
    "MixUp": (MixUp, PARTS),
    "Pipeline": (lambda: Pipeline([RandomFlip(), RandomContrast(0.2)]), PIXELS),
    "RandAugment": (RandAugment, PIXELS),
    "RandomBrightness": (lambda: RandomBrightness(0.2), PIXELS),
    "RandomColorDegeneration": (lambda: RandomColorDegeneration(0.5), PIXELS),
    "RandomColorJitter": (lambda: RandomColorJitter((0, 255), 0.2, 0.2, 0.2, 0.2), PIXELS),
    "RandomContrast": (lambda: RandomContrast(0.2), PIXELS),
    "RandomCrop": (lambda: RandomCrop(6, 6), PIXELS),
    "RandomElasticTransform": (RandomElasticTransform, PIXELS),
    "RandomErasing": (RandomErasing, PIXELS),
    "RandomFlip": (RandomFlip, PIXELS),
    "RandomGaussianBlur": (RandomGaussianBlur, PIXELS),
    "RandomGrayscale": (RandomGrayscale, PIXELS),
    "RandomHue": (lambda: RandomHue(0.2), PIXELS),
    "RandomInvert": (RandomInvert, PIXELS),
    "RandomPerspective": (RandomPerspective, PIXELS),
    "RandomPosterization": (lambda: RandomPosterization(4), PIXELS),
    "RandomRotation": (lambda: RandomRotation(0.1), PIXELS),
    "RandomSaturation": (lambda: RandomSaturation(0.2), PIXELS),
    "RandomSharpness": (lambda: RandomSharpness(0.2), PIXELS),
    "RandomShear": (lambda: RandomShear(0.2, 0.2), PIXELS),
    "RandomTranslation": (lambda: RandomTranslation(0.2, 0.2), PIXELS),
    "RandomZoom": (lambda: RandomZoom(0.2), PIXELS),
    "Solarization": (Solarization, PIXELS),
    "SpecAugment": (lambda: SpecAugment(freq_width=2, time_width=4), FEATURES),
}
BASES = {"Layer", "HostLayer", "Wrapper"}  # they have no forward of their own
# What has no gradient, since its output is whole numbers.
WHOLE = {
    "Discretization",
    "CategoryEncoding",
    "Hashing",
    "HashedCrossing",
    "IntegerLookup",
    "StringLookup",
    "TextVectorization",
}

NAMES = sorted(CASES)
HOST = {name for name in NAMES if issubclass(getattr(layers, name), layers.HostLayer)}
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def test_every_layer_is_in_the_table():
    classes = {name: getattr(layers, name) for name in layers.__all__ if isinstance(getattr(layers, name), type)}
    assert {name for name, cls in classes.items() if cls.__name__ == name} - BASES <= set(CASES)


def made(name):
    make, *inputs = CASES[name]
    layer = make()
    return layer, inputs, *layer.init(0, *inputs)


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def cast(tree, dtype):
    """What stands for these arrays in a trace, the real ones among them in another precision."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype if is_float(leaf) else leaf.dtype), tree)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in HOST])
def test_under_jit_grad_and_vmap_and_in_training(name):
    layer, inputs, params, state = made(name)

    def loss(params, inputs):
        y, new = layer.apply(params, state, *inputs, train=True, key=0)
        return sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(y) if is_float(leaf)), (y, new)

    if isinstance(layer, layers.Augmentation):
        y, new = jax.eval_shape(lambda: loss(params, inputs)[1])
    elif name in WHOLE:
        y, new = quick(lambda: loss(params, inputs)[1])()
    else:
        grads, (y, new) = quick(jax.grad(loss, has_aux=True, allow_int=True))(params, inputs)
        assert all(np.isfinite(g).all() for g in grads.values())
        assert {k: g.shape for k, g in grads.items()} == {k: p.shape for k, p in params.items()}
    if not isinstance(layer, layers.Augmentation):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(y) if is_float(leaf))
    assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in state.items()}
    several = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), inputs)
    mapped = jax.eval_shape(jax.vmap(lambda *x: layer.apply(params, state, *x)[0]), *several)
    once = jax.eval_shape(lambda *x: layer.apply(params, state, *x)[0], *inputs)
    assert jax.tree.map(lambda leaf: leaf.shape[1:], mapped) == jax.tree.map(lambda leaf: leaf.shape, once)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in HOST | WHOLE])
def test_precision_follows_the_input(name):
    layer, inputs, params, state = made(name)
    if not any(is_float(leaf) for leaf in jax.tree.leaves(inputs)):
        pytest.skip("whole numbers go in")
    for dtype in ("bfloat16", "float64"):
        with jax.enable_x64(dtype == "float64"):
            given = cast((params, state, inputs), dtype)
            y = jax.eval_shape(lambda p, s, x: layer.apply(p, s, *x, train=True, key=0)[0], *given)
            found = {str(leaf.dtype) for leaf in jax.tree.leaves(y) if is_float(leaf)}
            assert found <= {dtype, "float32"} - ({"float32"} if dtype == "float64" else set()), found


class Inside(cn.core.Module):
    """The layer as a part of a class."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, *inputs):
        return self.inner(*inputs)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in HOST])
def test_in_a_class(name):
    layer, inputs, params, state = made(name)
    whole = Inside(layer)
    outer = [{f"inner.{k}": v for k, v in arrays.items()} for arrays in (params, state)]
    run = jax.make_jaxpr(lambda p, s, *x: whole.apply(p, s, *x)[0])(*outer, *inputs)
    alone = jax.make_jaxpr(lambda p, s, *x: layer.apply(p, s, *x)[0])(params, state, *inputs)
    assert str(run) == str(alone)


def program(model, inputs):
    """What a model computes, as text: equal texts are equal programs."""
    params, state = model.arrays()
    return str(jax.make_jaxpr(lambda p, s, *x: model.apply(p, s, *x)[0])(params, state, *inputs))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded(name, tmp_path):
    make, *inputs = CASES[name]
    host = name in HOST
    single = len(inputs) == 1 and not isinstance(inputs[0], (dict, list))
    if single:
        model = cn.Sequential([make()])
        model.build(inputs[0])
    else:
        dtype = str if host else None
        nodes = jax.tree.map(lambda leaf: cn.Input(leaf.shape[1:], dtype=dtype or leaf.dtype), inputs)
        model = cn.Model(jax.tree.leaves(nodes), make()(*nodes))
        model.build()
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    for ours, theirs in zip(model.arrays(), again.arrays(), strict=True):
        assert list(ours) == list(theirs) and all(np.array_equal(ours[k], theirs[k]) for k in ours)
    if host:
        given = inputs[0] if single else tuple(jax.tree.leaves(inputs))
        np.testing.assert_array_equal(model.prepare(given), again.prepare(given))
    else:
        given = inputs if single else [jax.tree.leaves(inputs)]
        assert program(model, given) == program(again, given)


def test_branches_keep_their_weights_through_a_file(tmp_path):
    """Layers of one class in several branches, which a file may hold in another order than they were made."""
    x = cn.Input((4,))
    short, long = layers.Dense(4)(x), layers.Dense(4, activation="relu")(x)
    other = layers.Dense(6)(x)
    model = cn.Model(x, [layers.Add()([long, short]), long - short * 2, layers.Concatenate()([other, long])])
    y = model.build(key=3)(VECTOR)
    model.save(tmp_path / "m.cenote")
    for a, b in zip(cn.load(tmp_path / "m.cenote")(VECTOR), y, strict=True):
        np.testing.assert_array_equal(a, b)
