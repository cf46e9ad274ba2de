"""What PyTorch answers where Keras has nothing like it: padding modes, Fold, Unfold, shuffles. Writes conv.json beside itself.

Everything is written channels last; run with PyTorch installed: python tests/parity/make_conv.py
"""

import json
from pathlib import Path

import torch

torch.manual_seed(0)


def last(x):
    """Channels from the second axis to the last."""
    return x.movedim(1, -1)


def plain(x):
    if not isinstance(x, list):
        x = x.detach().tolist()
    return [plain(v) for v in x] if isinstance(x, list) and x and isinstance(x[0], list) else [round(v, 6) for v in x]


def convolution(n, mode, kernel, stride, size, padding):
    make = [torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d][n - 1]
    layer = make(2, 2, kernel, stride=stride, padding=padding, padding_mode=mode)
    x = torch.round(torch.randn(1, 2, *size), decimals=3).requires_grad_()
    y = layer(x)
    (y**2).sum().backward()
    return {
        "layer": f"Conv{n}D",
        "arguments": {"filters": 2, "kernel_size": kernel, "strides": stride, "padding": mode},
        "x": plain(last(x)),
        "kernel": plain(layer.weight.movedim((0, 1), (-1, -2))),
        "bias": plain(layer.bias),
        "y": plain(last(y)),
        "dx": plain(last(x.grad)),
        "dkernel": plain(layer.weight.grad.movedim((0, 1), (-1, -2))),
    }


def other(name, x, y, /, **arguments):
    return {"layer": name, "arguments": arguments, "x": plain(x), "y": plain(y)}


def unfold(channels, size, **how):
    x = torch.round(torch.randn(2, channels, *size), decimals=3)
    return other("Unfold", last(x), torch.nn.Unfold(**how)(x).mT, **how)


def fold(output_size, channels, patches, **how):
    taps = torch.tensor(how["kernel_size"]).prod() if isinstance(how["kernel_size"], tuple) else how["kernel_size"] ** 2
    x = torch.round(torch.randn(2, channels * int(taps), patches), decimals=3)
    return other("Fold", x.mT, last(torch.nn.Fold(output_size, **how)(x)), output_size=output_size, **how)


def moved(name, layer, shape, **how):
    x = torch.arange(torch.tensor(shape).prod()).reshape(shape).float()
    return other(name, last(x), last(layer(x)), **how)


cases = [
    convolution(1, "reflect", 3, 1, (5,), "same"),
    convolution(1, "circular", 4, 1, (5,), "same"),
    convolution(1, "replicate", 3, 2, (7,), 1),
    convolution(2, "reflect", 3, 2, (5, 5), 1),
    convolution(2, "replicate", 3, 1, (4, 3), "same"),
    convolution(2, "circular", 3, 1, (4, 5), "same"),
    convolution(3, "circular", 3, 1, (3, 2, 3), "same"),
    unfold(2, (4, 5), kernel_size=2),
    unfold(2, (5, 6), kernel_size=(2, 3), dilation=(2, 1), padding=(1, 2), stride=(1, 2)),
    fold((4, 5), 2, 12, kernel_size=2),
    fold((5, 6), 2, 20, kernel_size=(2, 3), dilation=(2, 1), padding=(1, 2), stride=(1, 2)),
    moved("PixelShuffle", torch.nn.PixelShuffle(2), (2, 8, 2, 3), upscale_factor=2),
    moved("PixelUnshuffle", torch.nn.PixelUnshuffle(2), (2, 2, 4, 6), downscale_factor=2),
    moved("ChannelShuffle", torch.nn.ChannelShuffle(3), (2, 6, 2), groups=3),
    moved("ChannelShuffle", torch.nn.ChannelShuffle(2), (2, 6, 2, 2), groups=2),
]
Path(__file__).with_name("conv.json").write_text(
    "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n"
)
