"""Learning-rate schedules against Keras, step by step."""

from __future__ import annotations

import os

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


def test_bad_arguments():
    with pytest.raises(ValueError, match="decay_steps=0"):
        schedules.CosineDecay(0.1, 0)
    with pytest.raises(ValueError, match="one value more than boundaries"):
        schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="unknown schedule 'CosinDecay': did you mean 'cosine_decay'"):
        schedules.get({"class": "CosinDecay"})
