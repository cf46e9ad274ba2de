"""Twenty steps of an optimizer, ours or Keras's, on the same arrays with the same gradients."""

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

RNG = np.random.default_rng(0)
SHAPES = {"layers.0.kernel": (5, 4), "layers.0.bias": (4,), "scale": ()}
PARAMS = {k: RNG.normal(size=s).astype("float32") for k, s in SHAPES.items()}
GRADS = [{k: RNG.normal(size=s).astype("float32") for k, s in SHAPES.items()} for _ in range(20)]
TORCH = json.loads((Path(__file__).parents[1] / "parity" / "optimizers.json").read_text())

# The weights of the quotients by squares of Adafactor's and Nadam's kin lose a few more digits than those of SGD.
CLOSE = {"rtol": 5e-6, "atol": 2e-6}


def run(optimizer, params=PARAMS, grads=GRADS):
    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)
    step = jax.jit(optimizer.update)
    for g in grads:
        updates, state = step(g, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params, state


def run_keras(optimizer, params=PARAMS, grads=GRADS):
    keras = pytest.importorskip("keras")
    variables = [keras.Variable(v, name=k.replace(".", "_")) for k, v in params.items()]
    optimizer.build(variables)

    @jax.jit
    def step(values, slots, grads):
        return optimizer.stateless_apply(slots, grads, values)

    if isinstance(optimizer, keras.optimizers.Nadam):  # its product of momenta is no variable, so it is lost in a pure step
        for g in grads:
            optimizer.apply(list(g.values()), variables)
        return {k: np.asarray(v) for k, v in zip(params, variables, strict=True)}
    values, slots = [v.value for v in variables], [v.value for v in optimizer.variables]
    for g in grads:
        values, slots = step(values, slots, list(g.values()))
    return {k: np.asarray(v) for k, v in zip(params, values, strict=True)}


def assert_same(ours, theirs, **tolerance):
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, err_msg=name, **(tolerance or CLOSE))
