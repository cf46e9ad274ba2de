"""What PyTorch answers where Keras has nothing like it: LPPool, places of largest values, MaxUnpool. Writes pool.json.

Everything is written channels last; run with PyTorch installed: python tests/parity/make_pool.py
"""

import json
from pathlib import Path

import torch

torch.manual_seed(0)
nn = torch.nn


def last(x):
    """Channels from the second axis to the last."""
    return x.movedim(1, -1)


def plain(x):
    if not isinstance(x, list):
        x = x.detach().tolist()
    return [plain(v) for v in x] if isinstance(x, list) and x and isinstance(x[0], list) else [round(v, 6) for v in x]


def lp_pool(n, p, window, strides, size):
    x = torch.round(torch.rand(2, 2, *size) * 2, decimals=3)
    if p == 2:
        x = x - 1
        x[0, 0] = 0  # where the sum is zero, so is the gradient
    x.requires_grad_()
    y = [nn.LPPool1d, nn.LPPool2d, nn.LPPool3d][n - 1](p, window, strides)(x)
    (y**3).sum().backward()
    how = {"norm_type": p, "pool_size": window, "strides": strides}
    return {"layer": f"LPPool{n}D", "arguments": how, "x": plain(last(x)), "y": plain(last(y)), "dx": plain(last(x.grad))}


def unpool(n, window, strides, size, output_size=None):
    """Pooling with places, and back; ties among the values: the first of them counts."""
    x = torch.randint(0, 9, (2, 2, *size)).float()
    y, places = [nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d][n - 1](window, strides, return_indices=True)(x)
    there = None if output_size is None else output_size
    back = [nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d][n - 1](window, strides)(y, places, output_size=there)
    return {
        "layer": f"MaxUnpool{n}D",
        "arguments": {"pool_size": window, "strides": strides},
        "output_size": output_size,
        "x": plain(last(x)),
        "y": plain(last(y)),
        "places": plain(last(places)),
        "back": plain(last(back)),
    }


cases = [
    lp_pool(1, 2, 3, 2, (7,)),
    lp_pool(2, 1.5, (2, 3), None, (4, 6)),
    lp_pool(2, 2, 3, 1, (4, 5)),
    lp_pool(3, 3, 2, None, (2, 4, 3)),
    unpool(1, 2, None, (6,)),
    unpool(1, 3, 2, (7,)),
    unpool(2, 2, None, (4, 6)),
    unpool(2, 2, None, (5, 5), (5, 5)),
    unpool(2, (3, 2), (2, 2), (7, 6)),
    unpool(3, 2, None, (2, 4, 2)),
]
Path(__file__).with_name("pool.json").write_text(
    "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n"
)
