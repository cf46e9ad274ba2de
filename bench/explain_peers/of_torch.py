"""The networks of the workloads in PyTorch, for captum and shap."""

import torch

from . import work


def mlp(sizes):
    weights = [torch.tensor(w) for w in work.dense(sizes)]
    parts = []
    for number, after in enumerate((torch.nn.ReLU(), torch.nn.Tanh(), None)):
        kernel, bias = weights[2 * number : 2 * number + 2]
        part = torch.nn.Linear(*kernel.shape)
        part.weight.data, part.bias.data = kernel.T.contiguous(), bias
        parts += [part] if after is None else [part, after]
    return torch.nn.Sequential(*parts).eval()


def cnn():
    weights = [torch.tensor(w) for w in work.convolutions()]
    first, second, last = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.Linear(12 * 12 * 16, 10)
    for part, kernel, bias in zip((first, second), weights[0:4:2], weights[1:4:2], strict=True):
        part.weight.data, part.bias.data = kernel.permute(3, 2, 0, 1).contiguous(), bias
    kernel = weights[4].reshape(12, 12, 16, 10).permute(2, 0, 1, 3).reshape(-1, 10)  # channels come first here
    last.weight.data, last.bias.data = kernel.T.contiguous(), weights[5]
    return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), torch.nn.Flatten(), last).eval()


def pictures():
    return torch.tensor(work.pictures()).permute(0, 3, 1, 2).contiguous()


def channels_last(values):
    return values.detach().permute(0, 2, 3, 1).numpy()
