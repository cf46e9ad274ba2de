"""What torch.optim does in twenty steps with the rules that Keras lacks: writes optimizers.json beside this file."""

import json
from pathlib import Path

import numpy as np
import torch

RNG = np.random.default_rng(7)
SHAPES = {"w": (3, 2), "b": (2,)}
CASES = [
    ("RAdam", {"learning_rate": 0.01}, {"lr": 0.01}),
    (
        "RAdam",
        {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
        {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    ("ASGD", {"learning_rate": 0.1}, {"lr": 0.1}),
    (
        "ASGD",
        {"learning_rate": 0.1, "lambd": 0.05, "alpha": 0.5, "t0": 4},
        {"lr": 0.1, "lambd": 0.05, "alpha": 0.5, "t0": 4},
    ),
    ("Rprop", {}, {}),
    (
        "Rprop",
        {"learning_rate": 0.1, "etas": [0.3, 1.5], "step_sizes": [0.05, 0.2]},
        {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (0.05, 0.2)},
    ),
]


def draw():
    return {k: RNG.normal(size=s).astype("float32") for k, s in SHAPES.items()}


def rounded(values):
    """As many digits as float32 has."""
    return [rounded(v) for v in values] if np.ndim(values) else float(f"{values:.8g}")


def plain(arrays):
    return {k: rounded(v) for k, v in arrays.items()}


def run(name, options, start, grads):
    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
    optimizer = getattr(torch.optim, name)(list(params.values()), **options)
    for g in grads:
        for k, p in params.items():
            p.grad = torch.tensor(g[k])
        optimizer.step()
    found = {"params": plain({k: p.detach().numpy() for k, p in params.items()})}
    if name == "ASGD":
        found["average"] = plain({k: optimizer.state[p]["ax"].numpy() for k, p in params.items()})
    return found


def rosenbrock(p):
    return torch.sum(10 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)


def lbfgs(options, updates):
    p = torch.nn.Parameter(torch.tensor([-1.0, 0.8, 0.3, -0.5]))
    optimizer = torch.optim.LBFGS([p], **options)
    path = []
    for _ in range(updates):

        def closure():
            optimizer.zero_grad()
            loss = rosenbrock(p)
            loss.backward()
            return loss

        optimizer.step(closure)
        path.append(rounded(p.detach().numpy()))
    return path


start, grads = draw(), [draw() for _ in range(20)]
answers = {
    "params": plain(start),
    "grads": [plain(g) for g in grads],
    "rules": [{"name": name, "options": ours, **run(name, theirs, start, grads)} for name, ours, theirs in CASES],
    "nadam": run("NAdam", {"lr": 0.01}, start, grads)["params"],
    "lbfgs": [
        {"options": {"learning_rate": 0.1, "max_iter": 4}, "path": lbfgs({"lr": 0.1, "max_iter": 4}, 5)},
        {
            "options": {"learning_rate": 0.05, "max_iter": 6, "history_size": 3, "max_eval": 5},
            "path": lbfgs({"lr": 0.05, "max_iter": 6, "history_size": 3, "max_eval": 5}, 5),
        },
    ],
    "lbfgs_wolfe": lbfgs({"line_search_fn": "strong_wolfe", "max_iter": 3, "max_eval": 100}, 6),
}
Path(__file__).with_name("optimizers.json").write_text(json.dumps(answers, separators=(",", ":")) + "\n")
