"""The rates of torch.optim.lr_scheduler over 60 steps: writes schedules.json beside this file."""

import json
from pathlib import Path

import torch
from torch.optim import lr_scheduler as torch_schedules

STEPS = 60
CASES = {  # their name: (rate of the optimizer, how it is made)
    "StepLR": (0.1, lambda o: torch_schedules.StepLR(o, 7, 0.5)),
    "MultiStepLR": (0.1, lambda o: torch_schedules.MultiStepLR(o, [5, 20, 21], 0.3)),
    "ConstantLR": (0.1, lambda o: torch_schedules.ConstantLR(o, factor=0.25, total_iters=9)),
    "LinearLR": (0.1, lambda o: torch_schedules.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=12)),
    "ExponentialLR": (0.1, lambda o: torch_schedules.ExponentialLR(o, 0.95)),
    "PolynomialLR": (0.1, lambda o: torch_schedules.PolynomialLR(o, total_iters=25, power=2.0)),
    "CosineAnnealingLR": (0.1, lambda o: torch_schedules.CosineAnnealingLR(o, T_max=59, eta_min=0.01)),
    "CosineAnnealingWarmRestarts": (
        0.1,
        lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, T_0=6, T_mult=2, eta_min=0.02),
    ),
    "LambdaLR": (0.1, lambda o: torch_schedules.LambdaLR(o, lambda step: 0.9**step)),
    "MultiplicativeLR": (0.1, lambda o: torch_schedules.MultiplicativeLR(o, lambda step: 1 - 1 / (step + 2))),
    "CyclicLR": (0.1, lambda o: torch_schedules.CyclicLR(o, 0.01, 0.3, 5, 9, cycle_momentum=False)),
    "CyclicLR triangular2": (
        0.1,
        lambda o: torch_schedules.CyclicLR(o, 0.01, 0.3, 6, mode="triangular2", cycle_momentum=False),
    ),
    "CyclicLR exp_range": (
        0.1,
        lambda o: torch_schedules.CyclicLR(o, 0.01, 0.3, 6, 4, mode="exp_range", gamma=0.97, cycle_momentum=False),
    ),
    "CyclicLR scale_fn": (
        0.1,
        lambda o: torch_schedules.CyclicLR(o, 0.01, 0.3, 6, scale_fn=lambda cycle: 1 / cycle, cycle_momentum=False),
    ),
    "OneCycleLR": (0.1, lambda o: torch_schedules.OneCycleLR(o, 0.3, total_steps=STEPS, cycle_momentum=False)),
    "OneCycleLR linear": (
        0.1,
        lambda o: torch_schedules.OneCycleLR(
            o,
            0.3,
            total_steps=STEPS,
            pct_start=0.4,
            anneal_strategy="linear",
            div_factor=10.0,
            final_div_factor=100.0,
            cycle_momentum=False,
        ),
    ),
    "OneCycleLR three_phase": (
        0.1,
        lambda o: torch_schedules.OneCycleLR(o, 0.3, total_steps=STEPS, three_phase=True, cycle_momentum=False),
    ),
    "SequentialLR": (
        0.1,
        lambda o: torch_schedules.SequentialLR(
            o, [torch_schedules.ConstantLR(o, 0.1, total_iters=100), torch_schedules.ExponentialLR(o, 0.9)], [20]
        ),
    ),
    "ChainedScheduler": (
        0.1,
        lambda o: torch_schedules.ChainedScheduler(
            [torch_schedules.ConstantLR(o, 0.25, total_iters=9), torch_schedules.ExponentialLR(o, 0.95)]
        ),
    ),
}

answers = {}
for name, (rate, make) in CASES.items():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedule = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(float(f"{optimizer.param_groups[0]['lr']:.7g}"))
        optimizer.step()
        if len(rates) < STEPS:
            schedule.step()
    answers[name] = rates
Path(__file__).with_name("schedules.json").write_text(json.dumps(answers, separators=(",", ":")) + "\n")
