"""What PyTorch answers for its activation layers; writes activations.json beside this file. Needs torch."""

import json
from pathlib import Path

import numpy as np
import torch

X = np.array([-30.0, -7.5, -3.0, -2.2, -1.1, -0.5, -0.3, 0.25, 0.5, 0.7, 1.1, 2.4, 3.0, 6.5, 9.0, 41.0], "float32").reshape(
    2, 8
)
CASES = [
    ("CELU", {}),
    ("CELU", {"alpha": 1.7}),
    ("ELU", {"alpha": 0.6}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("GLU", {}),
    ("GLU", {"dim": 0}),
    ("Hardshrink", {}),
    ("Hardshrink", {"lambd": 1.5}),
    ("Hardsigmoid", {}),
    ("Hardswish", {}),
    ("Hardtanh", {}),
    ("Hardtanh", {"min_val": -2.0, "max_val": 0.6}),
    ("LeakyReLU", {"negative_slope": 0.05}),
    ("LogSigmoid", {}),
    ("LogSoftmax", {"dim": -1}),
    ("Mish", {}),
    ("RReLU", {}),
    ("RReLU", {"lower": 0.2, "upper": 0.6}),
    ("ReLU", {}),
    ("ReLU6", {}),
    ("SELU", {}),
    ("SiLU", {}),
    ("Sigmoid", {}),
    ("Softmax", {"dim": 0}),
    ("Softmin", {"dim": -1}),
    ("Softplus", {}),
    ("Softplus", {"beta": 2.0, "threshold": 3.0}),
    ("Softshrink", {}),
    ("Softshrink", {"lambd": 0.2}),
    ("Softsign", {}),
    ("Tanh", {}),
    ("Tanhshrink", {}),
    ("Threshold", {"threshold": 0.6, "value": -2.0}),
]


def listed(t):
    """Numbers with the digits that float32 has."""
    return np.vectorize(lambda v: float(f"{v:.8g}"), otypes=[float])(t.detach().numpy()).tolist()


cases = []
for name, options in CASES:
    x = torch.tensor(X, requires_grad=True)
    y = getattr(torch.nn, name)(**options).eval()(x)
    mark = torch.cos(torch.arange(y.numel(), dtype=torch.float32)).reshape(y.shape)
    (y * mark).sum().backward()
    said = {{"dim": "axis"}.get(k, k): v for k, v in options.items()}
    cases.append({"name": name, "options": said, "y": listed(y), "dx": listed(x.grad)})
target = Path(__file__).with_name("activations.json")
target.write_text(json.dumps({"torch": torch.__version__, "x": listed(torch.tensor(X)), "cases": cases}) + "\n")
print(target, target.stat().st_size, "bytes")
