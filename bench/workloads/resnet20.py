"""ResNet-20 for pictures of 32x32 (He et al. 2015, section 4.2), shortcuts by 1x1 convolutions where the size changes."""

from . import data as sources
from .count import convolution, dense

SAYS = "ResNet-20, pictures of 32x32x3, 10 classes, batch 128, SGD with momentum 0.9"
ROWS, BATCH, EPOCHS = 128 * 5, 128, 1
CHECK = (256, 2)
LOSS, OPTIMIZER, RATE = "classes", "momentum", 0.01
INFER = (1, 64)
INPUTS = 3072  # numbers of one example
GOAL = 1.0
STAGES = ((16, 1), (32, 2), (64, 2))  # channels and stride of the first of three blocks


def data():
    return sources.numbers(ROWS, 32, 32, 3), sources.integers(10, ROWS)


def keras(keras, layers, dropout):
    def convolved(h, channels, size, stride=1):
        # PyTorch's padding on both sides, also where the stride is 2 (Keras's "same" would pad behind only).
        if size == 3 and stride == 2:
            h, padding = layers.ZeroPadding2D(1)(h), "valid"
        else:
            padding = "same"
        h = layers.Conv2D(channels, size, strides=stride, padding=padding, use_bias=False)(h)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(h)

    x = keras.Input((32, 32, 3))
    h = layers.Activation("relu")(convolved(x, 16, 3))
    for channels, first in STAGES:
        for stride in (first, 1, 1):
            y = layers.Activation("relu")(convolved(h, channels, 3, stride))
            y = convolved(y, channels, 3)
            h = convolved(h, channels, 1, stride) if stride == 2 else h
            h = layers.Activation("relu")(layers.add([y, h]))
    return keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling2D()(h)))


def torch(dropout):
    from torch import nn

    def convolved(inputs, channels, size, stride=1):
        conv = nn.Conv2d(inputs, channels, size, stride, padding=size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels))

    class Block(nn.Module):
        def __init__(self, inputs, channels, stride):
            super().__init__()
            self.first = convolved(inputs, channels, 3, stride)
            self.second = convolved(channels, channels, 3)
            self.shortcut = convolved(inputs, channels, 1, stride) if stride == 2 else nn.Identity()

        def forward(self, x):
            y = self.second(nn.functional.relu(self.first(x)))
            return nn.functional.relu(y + self.shortcut(x))

    blocks, inputs = [], 16
    for channels, first in STAGES:
        for stride in (first, 1, 1):
            blocks.append(Block(inputs, channels, stride))
            inputs = channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(convolved(3, 16, 3), nn.ReLU(), *blocks, *head)


def parts():
    found, inputs, side = [convolution(32, 3, 3, 16, made=2)], 16, 32
    for channels, first in STAGES:
        for stride in (first, 1, 1):
            side //= stride
            found += [convolution(side, 3, inputs, channels, made=2), convolution(side, 3, channels, channels, made=2)]
            found += [convolution(side, 1, inputs, channels)] if stride == 2 else []
            inputs = channels
    return [*found, dense(64, 10)]
