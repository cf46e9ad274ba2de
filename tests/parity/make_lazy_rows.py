"""Writes lazy_rows.json: tables moved by torch.optim.SparseAdam; run with PyTorch installed, not by the tests."""

import json
from pathlib import Path

import numpy as np
import torch

rng = np.random.default_rng(0)
start = rng.normal(size=(7, 3)).round(3)
numbers = [[1, 4, 1], [4, 6, 0], [1, 1, 1], [5, 4, 6], [0, 4, 0]]
steps = [(n, (size * rng.normal(size=(3, 3))).round(3)) for n, size in zip(numbers, (1, 1, 1, 100, 1), strict=True)]

table = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
optimizer = torch.optim.SparseAdam([table], lr=0.05)
told = []
for which, values in steps:
    table.grad = torch.sparse_coo_tensor(torch.tensor([which]), torch.tensor(values, dtype=torch.float32), table.shape)
    optimizer.step()
    told.append([which, values.tolist(), table.detach().numpy().astype(float).tolist()])

answers = {"torch": torch.__version__, "rate": 0.05, "start": start.tolist(), "steps": told}
Path(__file__).with_name("lazy_rows.json").write_text(json.dumps(answers) + "\n")
