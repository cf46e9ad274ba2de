"""What PyTorch answers for the normalisations that Keras lacks; writes norm.json beside this file. Needs torch."""

import json
from pathlib import Path

import numpy as np
import torch

torch.manual_seed(0)
RNG = np.random.default_rng(0)


def draw(*shape):
    return torch.tensor(RNG.normal(size=shape).round(4), dtype=torch.float32)


def last(t):
    """Channels from the second axis to the last."""
    return torch.movedim(t, 1, -1)


def listed(t):
    """Numbers with the digits that float32 has."""
    return np.vectorize(lambda v: float(f"{v:.8g}"), otypes=[float])(t.detach().numpy()).tolist()


def answer(layer, x, mark, name, **said):
    """Output, and gradients of sum(mark * output) by the input and the parameters; all channels last."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * mark).sum().backward()
    grads = {k: listed(p.grad) for k, p in layer.named_parameters()}
    params = {k: listed(p) for k, p in layer.named_parameters()}
    return {
        "name": name,
        **said,
        "x": listed(last(x)),
        "mark": listed(last(mark)),
        "y": listed(last(y)),
        "dx": listed(last(x.grad)),
        "params": params,
        "grads": grads,
    }


cases = []
for shape in [(2, 3, 4), (2, 3, 4, 3), (1, 2, 2, 3, 2)]:
    kind = getattr(torch.nn, f"InstanceNorm{len(shape) - 2}d")
    for affine in (False, True):
        layer = kind(shape[1], affine=affine)
        for p in layer.parameters():
            p.data = draw(*p.shape)
        cases.append(answer(layer, draw(*shape) * 2 + 1, draw(*shape), "instance", affine=affine))
for size, options in [(2, {}), (3, {"alpha": 0.5, "beta": 0.6, "k": 2.0}), (5, {"alpha": 0.3})]:
    cases.append(
        answer(
            torch.nn.LocalResponseNorm(size, **options),
            draw(2, 4, 3, 2),
            draw(2, 4, 3, 2),
            "local",
            options={"size": size, **options},
        )
    )
cases.append(
    answer(torch.nn.LocalResponseNorm(4, alpha=0.4), draw(2, 6, 3), draw(2, 6, 3), "local", options={"size": 4, "alpha": 0.4})
)


class Linear(torch.nn.Module):
    """Features last already: their axis is moved for `answer`."""

    def __init__(self, dim):
        super().__init__()
        self.inner = torch.nn.Linear(3, 4)
        self.inner.weight.data, self.inner.bias.data = draw(4, 3), draw(4)
        torch.nn.utils.parametrizations.weight_norm(self.inner, "weight", dim)
        self.inner.parametrizations.weight.original0.data *= 1.5

    def forward(self, x):
        return self.inner(x)


for dim in (0, 1, None):
    cases.append(answer(Linear(dim), draw(2, 3), draw(2, 4), "weight", dim=dim))
conv = torch.nn.Conv2d(2, 3, 2)
conv.weight.data = draw(*conv.weight.shape)
torch.nn.utils.parametrizations.weight_norm(conv, "weight", 0)
conv.parametrizations.weight.original0.data *= 0.7
cases.append(answer(conv, draw(1, 2, 3, 3), draw(1, 3, 2, 2), "weight", dim=0))

target = Path(__file__).with_name("norm.json")
target.write_text(json.dumps({"torch": torch.__version__, "cases": cases}) + "\n")
print(target, target.stat().st_size, "bytes")
