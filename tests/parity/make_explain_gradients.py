"""Writes explain_gradients.json: what Captum answers for small networks of PyTorch, with their weights and inputs.

python tests/parity/make_explain_gradients.py        # needs torch and captum
"""

import json
from pathlib import Path

import captum.attr as ca
import torch
from torch import nn

torch.manual_seed(0)


def plain(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().reshape(-1).tolist()]


def stored(tensor):
    return {"shape": list(tensor.shape), "values": plain(tensor)}


def last(tensor):  # channels last
    return tensor.movedim(1, -1)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.c(torch.tanh(self.b(torch.relu(self.a(x)))))


class Smooth(Mlp):
    def forward(self, x):
        return self.c(torch.tanh(self.b(torch.sigmoid(self.a(x)))))


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        return self.c(self.second(self.b(self.first(self.a(x)))).mean((2, 3)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.a, self.b = nn.Embedding(12, 4), nn.Linear(20, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(torch.tanh(self.a(self.table(x).reshape(len(x), -1))))


def dense(layer):
    return {"kernel": stored(layer.weight.T), "bias": stored(layer.bias)}


def conv(layer):
    return {"kernel": stored(layer.weight.permute(2, 3, 1, 0)), "bias": stored(layer.bias)}


RULES = {
    "gauss_legendre": "gausslegendre",
    "midpoint": "riemann_middle",
    "trapezoid": "riemann_trapezoid",
    "left": "riemann_left",
    "right": "riemann_right",
}


def mlp(net):
    x, b, t = torch.randn(5, 6), torch.randn(1, 6), torch.tensor([0, 1, 2, 1, 0])
    rows = torch.randn(7, 6)
    exact = torch.stack([ca.IntegratedGradients(net).attribute(x, r[None], target=t, n_steps=2000) for r in rows]).mean(0)
    ca_unit = ca.NeuronIntegratedGradients(net, net.b)
    hidden = ca.LayerConductance(net, net.b)
    return {
        "weights": [dense(net.a), dense(net.b), dense(net.c)],
        "x": stored(x),
        "baseline": stored(b),
        "background": stored(rows),
        "target": t.tolist(),
        "saliency": stored(ca.Saliency(net).attribute(x, t)),
        "input_x_gradient": stored(ca.InputXGradient(net).attribute(x, t)),
        "integrated": {
            rule: stored(ca.IntegratedGradients(net).attribute(x, b.expand_as(x), target=t, n_steps=50, method=name).float())
            for rule, name in RULES.items()
        },
        "expected": stored(exact.float()),
        "gradient_shap": stored(ca.GradientShap(net).attribute(x.repeat(1, 1), rows, target=t, n_samples=4000)),
        "layer_integrated": stored(
            ca.LayerIntegratedGradients(net, net.b).attribute(x, b.expand_as(x), target=t, n_steps=50).float()
        ),
        "layer_x_gradient": stored(ca.LayerGradientXActivation(net, net.b).attribute(x, t)),
        "conductance": stored(hidden.attribute(x, b.expand_as(x), target=t, n_steps=4000).float()),
        "unit_conductance": stored(
            ca.NeuronConductance(net, net.b).attribute(x, 2, b.expand_as(x), target=t, n_steps=1000).float()
        ),
        "unit_gradient": stored(ca.NeuronGradient(net, net.b).attribute(x, 2)),
        "unit_integrated": stored(ca_unit.attribute(x, 2, b.expand_as(x), n_steps=50).float()),
    }


def pictures(net):
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 2, 1])
    zero = torch.zeros_like(x)
    return {
        "weights": [conv(net.a), conv(net.b), dense(net.c)],
        "x": stored(last(x)),
        "target": t.tolist(),
        "saliency": stored(last(ca.Saliency(net).attribute(x, t))),
        "integrated": stored(last(ca.IntegratedGradients(net).attribute(x, zero, target=t, n_steps=50).float())),
        "cam_first": stored(ca.LayerGradCam(net, net.first).attribute(x, t)[:, 0]),
        "cam_second": stored(ca.LayerGradCam(net, net.second).attribute(x, t, relu_attributions=True)[:, 0]),
        "unit_gradient": stored(last(ca.NeuronGradient(net, net.b).attribute(x, (3, 1, 2)))),
        "layer_integrated": stored(
            last(ca.LayerIntegratedGradients(net, net.first).attribute(x, zero, target=t, n_steps=50).float())
        ),
    }


def words(net):
    x, t = torch.randint(0, 12, (4, 5)), torch.tensor([0, 1, 1, 0])
    found = ca.LayerIntegratedGradients(net, net.table).attribute(x, torch.zeros_like(x), target=t, n_steps=50)
    return {
        "weights": [{"table": stored(net.table.weight)}, dense(net.a), dense(net.b)],
        "x": x.tolist(),
        "target": t.tolist(),
        "integrated": stored(found.float()),
    }


if __name__ == "__main__":
    made = {"mlp": mlp(Mlp()), "smooth": mlp(Smooth()), "pictures": pictures(Conv()), "words": words(Words())}
    path = Path(__file__).with_name("explain_gradients.json")
    path.write_text(json.dumps({"captum": __import__("captum").__version__, "torch": torch.__version__, **made}) + "\n")
    print(path, path.stat().st_size)
