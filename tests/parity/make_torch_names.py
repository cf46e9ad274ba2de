"""Writes torch_names.json: the public names of torch.nn, torch.optim and its schedulers, for the test of the docs' table."""

import inspect
import json
from pathlib import Path

import torch

nn, optim, schedulers = torch.nn, torch.optim, torch.optim.lr_scheduler
names = {
    "version": torch.__version__.split("+")[0],
    "nn": sorted(n for n in nn.modules.__all__ if inspect.isclass(getattr(nn, n))),
    "init": sorted(n for n in dir(nn.init) if n.endswith("_") and not n.startswith("_")),
    "optim": sorted(n for n in dir(optim) if inspect.isclass(getattr(optim, n))),
    "lr_scheduler": sorted(
        n
        for n in dir(schedulers)
        if not n.startswith("_")
        and inspect.isclass(getattr(schedulers, n))
        and issubclass(getattr(schedulers, n), schedulers.LRScheduler)
    ),
}
Path(__file__).with_name("torch_names.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
