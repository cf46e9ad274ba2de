"""Layers, a family a file, with Keras's names, arguments and defaults. A family is imported when one of it is asked for."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .activation import *  # noqa: F403
    from .attention import *  # noqa: F403
    from .audio import *  # noqa: F403
    from .augment import *  # noqa: F403
    from .augment_color import *  # noqa: F403
    from .augment_geometry import *  # noqa: F403
    from .augment_mix import *  # noqa: F403
    from .base import *  # noqa: F403
    from .basic import *  # noqa: F403
    from .cells import *  # noqa: F403
    from .conv import *  # noqa: F403
    from .conv_lstm import *  # noqa: F403
    from .conv_transpose import *  # noqa: F403
    from .dense import *  # noqa: F403
    from .discrete import *  # noqa: F403
    from .dropout import *  # noqa: F403
    from .embedding import *  # noqa: F403
    from .host import *  # noqa: F403
    from .image import *  # noqa: F403
    from .merge import *  # noqa: F403
    from .noise import *  # noqa: F403
    from .norm import *  # noqa: F403
    from .patches import *  # noqa: F403
    from .pool import *  # noqa: F403
    from .positions import *  # noqa: F403
    from .preprocessing import *  # noqa: F403
    from .recurrent import *  # noqa: F403
    from .shape import *  # noqa: F403
    from .text import *  # noqa: F403
    from .transformer import *  # noqa: F403
    from .wrappers import *  # noqa: F403

# Each family says in its own __all__ what is public; a test keeps this table equal to them.
_FAMILIES = {
    "activation": (
        "Activation CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish "
        "PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink Softsign Tanh Tanhshrink "
        "Threshold"
    ),
    "attention": "AdditiveAttention Attention GroupQueryAttention MultiHeadAttention",
    "audio": "MFCC MelSpectrogram STFTSpectrogram",
    "augment": "Augmentation MaxNumBoundingBoxes Pipeline",
    "augment_color": (
        "AutoContrast ContrastLimitedAdaptiveHistogramEqualization Equalization RandomBrightness "
        "RandomColorDegeneration RandomColorJitter RandomContrast RandomGaussianBlur RandomGrayscale RandomHue "
        "RandomInvert RandomPosterization RandomSaturation RandomSharpness Solarization"
    ),
    "augment_geometry": (
        "RandomCrop RandomElasticTransform RandomFlip RandomPerspective RandomRotation RandomShear RandomTranslation RandomZoom"
    ),
    "augment_mix": "AugMix CutMix MixUp RandAugment RandomErasing SpecAugment",
    "base": "Layer",
    "basic": "Identity Lambda Masking",
    "cells": "GRUCell LSTMCell SimpleRNNCell StackedRNNCells",
    "conv": (
        "Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D DepthwiseConv1D DepthwiseConv2D SeparableConv1D "
        "SeparableConv2D SeparableConvolution1D SeparableConvolution2D"
    ),
    "conv_lstm": "ConvLSTM1D ConvLSTM1DCell ConvLSTM2D ConvLSTM2DCell ConvLSTM3D ConvLSTM3DCell",
    "conv_transpose": (
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose Convolution1DTranspose Convolution2DTranspose Convolution3DTranspose"
    ),
    "dense": "Bilinear Dense EinsumDense",
    "discrete": "CategoryEncoding HashedCrossing Hashing IntegerLookup StringLookup",
    "dropout": (
        "AlphaDropout DropPath Dropout FeatureAlphaDropout GaussianDropout SpatialDropout1D SpatialDropout2D SpatialDropout3D"
    ),
    "embedding": "Embedding EmbeddingBag ReversibleEmbedding",
    "host": "HostLayer",
    "image": "CenterCrop Resizing",
    "merge": (
        "Add Average Concatenate Dot Maximum Minimum Multiply Subtract add average concatenate dot maximum minimum "
        "multiply subtract"
    ),
    "noise": "ActivityRegularization GaussianNoise",
    "norm": (
        "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization LocalResponseNormalization "
        "RMSNormalization SpectralNormalization UnitNormalization WeightNormalization"
    ),
    "patches": "ChannelShuffle Fold PixelShuffle PixelUnshuffle Unfold",
    "pool": (
        "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D "
        "AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D "
        "AvgPool2D AvgPool3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D "
        "GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D "
        "GlobalMaxPooling2D GlobalMaxPooling3D LPPool1D LPPool2D LPPool3D MaxPool1D MaxPool2D MaxPool3D MaxPooling1D "
        "MaxPooling2D MaxPooling3D MaxUnpool1D MaxUnpool2D MaxUnpool3D"
    ),
    "positions": "PositionEmbedding RotaryEmbedding SinePositionEncoding TokenAndPositionEmbedding",
    "preprocessing": "Discretization Normalization Rescaling",
    "recurrent": "GRU LSTM RNN SimpleRNN",
    "shape": (
        "Cropping1D Cropping2D Cropping3D Flatten Permute RepeatVector Reshape UpSampling1D UpSampling2D UpSampling3D "
        "ZeroPadding1D ZeroPadding2D ZeroPadding3D"
    ),
    "text": "TextVectorization",
    "transformer": "TransformerDecoder TransformerEncoder",
    "wrappers": "Bidirectional TimeDistributed Wrapper",
}
_HOMES = {name: family for family, names in _FAMILIES.items() for name in names.split()}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = found  # asked once
        return found
    if name in _FAMILIES:
        return importlib.import_module(f"{__name__}.{name}")
    from ..core.errors import unknown

    raise AttributeError(str(unknown("name in cenote.layers", name, __all__)))


def __dir__() -> list[str]:
    return sorted([*__all__, *_FAMILIES])
