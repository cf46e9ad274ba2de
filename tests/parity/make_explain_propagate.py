"""Stored answers of Captum and shap for DeepLIFT, DeepSHAP and LRP: run with an interpreter that has captum, shap and torch."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from captum.attr import LRP, DeepLift, DeepLiftShap
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from shap import DeepExplainer

warnings.filterwarnings("ignore")
torch.manual_seed(0)
RNG = np.random.default_rng(0)
TARGET = 1


def dense(bias=True, activations=(torch.nn.ReLU, torch.nn.Tanh, torch.nn.Sigmoid)):
    sizes, layers = [6, 5, 5, 4], []
    for a, b, activation in zip(sizes, sizes[1:], activations, strict=False):
        layers += [torch.nn.Linear(a, b, bias=bias), activation()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[len(activations)], 3, bias=bias)).double()
    for p in model.parameters():
        p.data *= 2  # so that answers are well above rounding
    return model


class Conv(torch.nn.Sequential):
    """With the last layer after the places in one row; Captum's LRP has no rule for Flatten."""

    def forward(self, x):
        for layer in list(self)[:-1]:
            x = layer(x)
        return self[-1](x.flatten(1))


def conv():
    """Captum 0.9 is not complete where an activation stands next to a pooling: here by some 0.2 of outputs about 1."""
    layers = [torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.Conv2d(3, 4, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    return Conv(*layers, torch.nn.Linear(16, 3)).double()


def conv_apart():
    layers = [torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(2)]
    return Conv(*layers, torch.nn.Linear(64, 3)).double()


def rounded(array):
    return np.round(np.asarray(array.detach() if hasattr(array, "detach") else array, np.float64), 9).tolist()


def seen(model, x, background):
    """Channels first in, channels last out."""
    x, background = torch.tensor(x), torch.tensor(background)

    def last(values):
        return rounded(values.permute(0, 2, 3, 1) if values.dim() == 4 else values)

    answer = {"weights": [rounded(p) for p in model.parameters()], "x": last(x), "background": last(background)}
    answer["deeplift"], gap = DeepLift(model).attribute(x, background[:1], target=TARGET, return_convergence_delta=True)
    answer["deeplift"] = last(answer["deeplift"])
    print("Captum's DeepLift misses completeness by", gap)
    answer["deeplift_shap"] = last(DeepLiftShap(model).attribute(x, background, target=TARGET))
    model = model.float()
    values = DeepExplainer(model, background.float()).shap_values(x.float())
    answer["shap"] = last(torch.tensor(np.asarray(values)[..., TARGET]))
    return answer


def relevance(model, x, rule):
    x = torch.tensor(x)
    for module in model:
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.rule = rule()
    values = LRP(model).attribute(x, target=TARGET)
    return rounded(values.permute(0, 2, 3, 1) if values.dim() == 4 else values)


x, background = RNG.normal(size=(3, 6)), RNG.normal(size=(4, 6))
pictures, others = RNG.normal(size=(2, 1, 12, 12)), RNG.normal(size=(3, 1, 12, 12))
answers = {"dense": seen(dense(), x, background), "conv": seen(conv(), pictures, others)}
answers["conv apart"] = seen(conv_apart(), pictures, others)
del answers["conv"]["deeplift"], answers["conv"]["deeplift_shap"]

relu = dense(activations=(torch.nn.ReLU, torch.nn.ReLU, torch.nn.Tanh))
net = conv()
free = dense(bias=False, activations=(torch.nn.ReLU, torch.nn.ReLU))
free[-1].weight.data[TARGET].abs_()  # so that the output is positive
answers["lrp"] = {
    "dense": {"weights": [rounded(p) for p in relu.parameters()], "x": rounded(x)},
    "conv": {"weights": [rounded(p) for p in net.parameters()], "x": rounded(pictures.transpose(0, 2, 3, 1))},
    "positive": {"weights": [rounded(p) for p in free.parameters()], "x": rounded(np.abs(x))},
}
for eps in (1e-9, 0.25):
    answers["lrp"]["dense"][str(eps)] = relevance(relu, x, lambda eps=eps: EpsilonRule(eps))
    answers["lrp"]["conv"][str(eps)] = relevance(net, pictures, lambda eps=eps: EpsilonRule(eps))
answers["lrp"]["positive"]["z_plus"] = relevance(free, np.abs(x), Alpha1_Beta0_Rule)
Path(__file__).with_name("explain_propagate.json").write_text(json.dumps(answers) + "\n")
print(sys.version)
