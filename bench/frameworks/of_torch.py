"""PyTorch: a hand-written loop over tensors in memory, without a DataLoader, which would be slower.

Best settings: Adam in one fused call, gradients set to None, sums kept as tensors, `inference_mode`. "torch" is eager, with
pictures as (batch, channel, row, column); "torch-channels-last" is eager with pictures in that layout of the memory;
"torch-compile" compiles network and loss, with pictures in channels-last layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from workloads import weights

LOSSES = {
    "mse": nn.functional.mse_loss,
    "classes": lambda logits, y: nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten()),
    "bits": nn.functional.binary_cross_entropy_with_logits,
}

EPSILON = 1e-7  # Keras's


class Framework:
    def __init__(self, name: str, workload: Any) -> None:
        self.workload, self.version, self.compiles = workload, torch.__version__, name == "torch-compile"
        x, y = workload.data()
        self.numbers = x
        self.pictures = x.ndim == 4
        self.format = torch.channels_last if self.pictures and name != "torch" else torch.contiguous_format
        self.x, self.y = self.tensor(x), torch.from_numpy(y)
        if workload.LOSS == "classes":
            self.y = self.y.long()

    def tensor(self, x: np.ndarray) -> torch.Tensor:
        found = torch.from_numpy(x)
        return found.permute(0, 3, 1, 2).contiguous(memory_format=self.format) if self.pictures else found

    # -- training ----------------------------------------------------------------------------------------------------------

    def built(self, *, dropout: bool) -> nn.Module:
        network = self.workload.torch(dropout)
        fill(network)
        return network.to(memory_format=self.format) if self.pictures else network

    def begin(self) -> bool:
        """The network that is timed: whether it is another one, since the check was without its dropout."""
        fresh = any(isinstance(m, nn.Dropout) for m in self.workload.torch(True).modules())
        if fresh:
            self.use(self.built(dropout=True))
        return fresh

    def use(self, network: nn.Module) -> None:
        measure = LOSSES[self.workload.LOSS]

        def loss_of(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = network(x)
            return measure(logits, y), logits

        self.network = network
        self.loss_of = torch.compile(loss_of) if self.compiles else loss_of
        self.answer = torch.compile(network, dynamic=False) if self.compiles else network
        trained = [p for p in network.parameters() if p.requires_grad]
        if self.workload.OPTIMIZER == "adam":
            self.optimizer = torch.optim.Adam(trained, lr=self.workload.RATE, eps=EPSILON, fused=True)
        else:
            momentum = 0.9 if self.workload.OPTIMIZER == "momentum" else 0
            self.optimizer = torch.optim.SGD(trained, lr=self.workload.RATE, momentum=momentum, fused=True)

    def epoch(self, x: torch.Tensor, y: torch.Tensor, batch: int, *, shuffled: bool = True, done: int = 0) -> float:
        """The mean loss; the number of right answers is counted, as the others do, where there are classes.

        In the check, which is not shuffled, Adam's epsilon moves with the steps ``done``: Keras adds it to the root before
        that is corrected for its start, PyTorch after.
        """
        as_keras = not shuffled and self.workload.OPTIMIZER == "adam"
        self.network.train()
        order = torch.randperm(len(x)) if shuffled else torch.arange(len(x))
        whole = batch >= len(x)  # then nobody would pick rows
        total, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for number, rows in enumerate(order.split(batch), done + 1):
            if as_keras:
                for group in self.optimizer.param_groups:
                    group["eps"] = EPSILON / (1 - 0.999**number) ** 0.5
            xs, ys = (x, y) if whole else (x[rows], y[rows])
            self.optimizer.zero_grad()
            loss, logits = self.loss_of(xs, ys)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
            if self.workload.LOSS == "classes":
                right += (logits.detach().argmax(-1) == ys).sum()
        return float(total) / len(x)

    def check(self) -> list[float]:
        rows, epochs = self.workload.CHECK
        self.use(self.built(dropout=False))
        steps = -(-rows // self.workload.BATCH)
        x, y = self.x[:rows], self.y[:rows]
        losses = [self.epoch(x, y, self.workload.BATCH, shuffled=False, done=n * steps) for n in range(epochs)]
        for group in self.optimizer.param_groups:
            if "eps" in group:
                group["eps"] = EPSILON
        return [losses[0], losses[-1]]

    def train(self, epochs: int) -> float:
        for _ in range(epochs):
            loss = self.epoch(self.x, self.y, self.workload.BATCH)
        return loss

    def restore(self) -> None:
        fill(self.network)

    # -- prediction --------------------------------------------------------------------------------------------------------

    def given(self, rows: int) -> np.ndarray:
        """Pictures lie in the memory as the network wants them."""
        x = np.resize(self.numbers, (rows, *self.numbers.shape[1:]))
        first = self.pictures and self.format == torch.contiguous_format
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if first else x)

    def ways(self) -> dict[str, Any]:
        self.network.eval()
        torch._dynamo.config.recompile_limit = 64  # one program for each batch size

        def inference_mode(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found = torch.from_numpy(x)
                if self.pictures and self.format == torch.channels_last:
                    found = found.permute(0, 3, 1, 2)  # says how it lies, and copies nothing
                return self.answer(found).numpy()

        return {"inference_mode": inference_mode}

    # -- growth ------------------------------------------------------------------------------------------------------------

    def grown(self, rows: int, batch: int, width: int, epochs: int) -> Any:
        made = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10))
        self.use(made)
        used = (self.network, self.loss_of, self.optimizer)
        x, y = self.x[:rows], self.y[:rows]

        def train() -> None:
            self.network, self.loss_of, self.optimizer = used
            for _ in range(epochs):
                self.epoch(x, y, batch)

        return train


@torch.no_grad()
def fill(network: nn.Module) -> None:
    """Put the drawn weights in, in place, module after module in the order in which they are registered."""
    number = 0

    def next_kernel(*shape: int) -> torch.Tensor:
        nonlocal number
        number += 1
        return torch.from_numpy(weights.draw(number - 1, shape))

    done = set()
    modules: list[Any] = list(network.modules())
    for module in modules:
        if id(module) in done:
            continue
        if hasattr(module, "qkv"):  # three kernels of (width, heads, size) in Keras, and one of (heads, size, width)
            width, heads = module.out.in_features, module.heads
            kernels = [next_kernel(width, heads, width // heads).reshape(width, width).T for _ in range(3)]
            module.qkv.weight.copy_(torch.cat(kernels))
            module.out.weight.copy_(next_kernel(heads, width // heads, width).reshape(width, width).T)
            module.qkv.bias.zero_()
            module.out.bias.zero_()
            done |= {id(module.qkv), id(module.out)}
        elif isinstance(module, nn.Linear):
            module.weight.copy_(next_kernel(module.in_features, module.out_features).T)
            module.bias.zero_()
        elif isinstance(module, nn.Conv2d):
            kernel = next_kernel(*module.kernel_size, module.in_channels, module.out_channels)
            module.weight.copy_(kernel.permute(3, 2, 0, 1))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.copy_(next_kernel(module.num_embeddings, module.embedding_dim))
        elif isinstance(module, nn.LSTM):  # Keras has one bias, with ones for the forget gate
            size = module.hidden_size
            module.weight_ih_l0.copy_(next_kernel(module.input_size, 4 * size).T)
            module.weight_hh_l0.copy_(next_kernel(size, 4 * size).T)
            module.bias_ih_l0.zero_()
            module.bias_ih_l0[size : 2 * size] = 1
            module.bias_hh_l0.zero_()
            module.bias_hh_l0.requires_grad_(False)
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.weight.fill_(1)
            module.bias.zero_()
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
                module.running_var.fill_(1)
