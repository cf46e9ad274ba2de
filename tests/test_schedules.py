"""Learning-rate schedules against Keras and against what PyTorch answered, step by step."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote import schedules

STEPS = np.arange(0, 60, 3)
CASES = [
    ("ExponentialDecay", (0.1, 10, 0.7), {}),
    ("ExponentialDecay", (0.1, 10, 0.7), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 10, 0.7), {}),
    ("InverseTimeDecay", (0.1, 10, 0.7), {"staircase": True}),
    ("PiecewiseConstantDecay", ([9, 30], [1.0, 0.5, 0.1]), {}),
    ("PolynomialDecay", (0.1, 25), {}),
    ("PolynomialDecay", (0.1, 25, 0.02, 2.0), {"cycle": True}),
    ("CosineDecay", (0.1, 40), {"alpha": 0.1}),
    ("CosineDecay", (0.01, 30), {"warmup_target": 0.2, "warmup_steps": 12, "alpha": 0.05}),
    ("CosineDecayRestarts", (0.1, 7), {"m_mul": 0.8, "alpha": 0.01}),
    ("CosineDecayRestarts", (0.1, 9), {"t_mul": 1.0, "m_mul": 0.5}),
    ("CosineDecayRestarts", (0.1, 9), {"t_mul": 1.5}),
]


@pytest.mark.parametrize(("name", "args", "options"), CASES, ids=str)
def test_rates_are_those_of_keras(name, args, options):
    keras = pytest.importorskip("keras")
    ours = getattr(schedules, name)(*args, **options)
    theirs = getattr(keras.optimizers.schedules, name)(*args, **options)
    rates = jax.jit(jax.vmap(ours))(jnp.asarray(STEPS))
    np.testing.assert_allclose(rates, [float(theirs(int(s))) for s in STEPS], rtol=1e-5, atol=1e-7)


TORCH = json.loads((Path(__file__).parent / "parity" / "schedules.json").read_text())
THEIRS = {  # PyTorch's schedule of an optimizer with the rate 0.1, and ours
    "StepLR": schedules.ExponentialDecay(0.1, 7, 0.5, staircase=True),
    "MultiStepLR": schedules.MultiStepDecay(0.1, [5, 20, 21], 0.3),
    "ConstantLR": schedules.Sequence([0.025, 0.1], [9]),
    "LinearLR": schedules.PolynomialDecay(0.02, 12, 0.09),
    "ExponentialLR": schedules.ExponentialDecay(0.1, 1, 0.95),
    "PolynomialLR": schedules.PolynomialDecay(0.1, 25, 0.0, power=2.0),
    "CosineAnnealingLR": schedules.CosineDecay(0.1, 59, alpha=0.1),
    "CosineAnnealingWarmRestarts": schedules.CosineDecayRestarts(0.1, 6, t_mul=2.0, alpha=0.2),
    "LambdaLR": lambda step: 0.1 * 0.9**step,
    "MultiplicativeLR": schedules.MultiplicativeDecay(0.1, lambda step: 1 - 1 / (step + 2), decay_steps=60),
    "CyclicLR": schedules.Cyclic(0.01, 0.3, 5, 9),
    "CyclicLR triangular2": schedules.Cyclic(0.01, 0.3, 6, mode="triangular2"),
    "CyclicLR exp_range": schedules.Cyclic(0.01, 0.3, 6, 4, mode="exp_range", gamma=0.97),
    "CyclicLR scale_fn": schedules.Cyclic(0.01, 0.3, 6, scale_fn=lambda cycle: 1 / cycle),
    "OneCycleLR": schedules.OneCycle(0.3, 60),
    "OneCycleLR linear": schedules.OneCycle(0.3, 60, 0.4, "linear", 10.0, 100.0),
    "OneCycleLR three_phase": schedules.OneCycle(0.3, 60, three_phase=True),
    "SequentialLR": schedules.Sequence([0.01, schedules.ExponentialDecay(0.1, 1, 0.9)], [20]),
    "ChainedScheduler": schedules.Product([schedules.ExponentialDecay(0.1, 1, 0.95), schedules.Sequence([0.25, 1.0], [9])]),
}


@pytest.mark.parametrize("name", TORCH)
def test_rates_are_those_of_pytorch(name):
    rates = jax.jit(jax.vmap(THEIRS[name]))(jnp.arange(60))
    np.testing.assert_allclose(rates, TORCH[name], rtol=2e-5, atol=1e-7)


def test_after_the_last_step_the_rate_stays():
    for schedule, last in (
        (schedules.OneCycle(0.3, 60), 0.3 / 25 / 1e4),
        (schedules.WarmupCosineDecay(1.0, 5, 20, alpha=0.1), 0.1),
        (schedules.MultiplicativeDecay(1.0, lambda step: 0.5, decay_steps=3), 0.125),
        (schedules.Warmup(0.5, 7, 0.1), 0.5),
    ):
        assert float(schedule(10_000)) == pytest.approx(last, rel=1e-5)


def test_a_warmup_rises_in_a_line_to_the_schedule():
    rates = jax.vmap(schedules.Warmup(schedules.ExponentialDecay(1.0, 2, 0.5), 4, 0.2))(jnp.arange(7))
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 1.0, 0.5**0.5, 0.5], rtol=1e-6)
    keras = pytest.importorskip("keras")
    ours = schedules.WarmupCosineDecay(0.2, 12, 42, alpha=0.05, initial_learning_rate=0.01)
    theirs = keras.optimizers.schedules.CosineDecay(0.01, 30, 0.05, warmup_target=0.2, warmup_steps=12)
    np.testing.assert_allclose([float(ours(s)) for s in STEPS], [float(theirs(int(s))) for s in STEPS], rtol=1e-5)


def test_schedules_are_written_down_and_built_again():
    for schedule in THEIRS.values():
        if isinstance(schedule, schedules.MultiplicativeDecay) or not isinstance(schedule, schedules.Schedule):
            continue  # a function has no plain values
        if getattr(schedule, "scale_fn", None) is not None:
            continue
        config = json.loads(json.dumps(schedule.config()))
        again = schedules.get(config)
        assert again.config() == schedule.config() and float(again(11)) == float(schedule(11))
    nested = schedules.Warmup(schedules.Sequence([schedules.CosineDecay(0.1, 5), 0.2], [4]), 3)
    assert schedules.get(nested.config())(9).item() == pytest.approx(0.2)


def test_bad_arguments():
    with pytest.raises(ValueError, match="decay_steps=0"):
        schedules.CosineDecay(0.1, 0)
    with pytest.raises(ValueError, match="one value more than boundaries"):
        schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="unknown schedule 'CosinDecay': did you mean 'cosine_decay'"):
        schedules.get({"class": "CosinDecay"})
    with pytest.raises(ValueError, match="one schedule more than boundaries"):
        schedules.Sequence([0.1, 0.2], [3, 4])
    with pytest.raises(ValueError, match="did you mean 'linear'"):
        schedules.OneCycle(0.1, 10, anneal_strategy="line")
    with pytest.raises(ValueError, match="did you mean 'triangular'"):
        schedules.Cyclic(0.1, 0.2, mode="triangle")
    with pytest.raises(ValueError, match="give more than the warmup_steps=10"):
        schedules.WarmupCosineDecay(0.1, 10, 10)
