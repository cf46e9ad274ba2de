"""Recurrent layers beside Keras's: many pairs in one compiled program each, since compiling is what such tests cost."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from parity import draw, keras, our_name, undrawn

from cenote.core import apply, bind, declare
from cenote.core.tree import adopt

WEIGHTS = ("recurrent_kernel", "kernel", "bias")  # the first that a Keras path ends with counts
MASK = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1]], bool)
# Compiling is most of what these tests cost, and they run each program once.
quick = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)


def names(**prefixes):
    """``names(a="cell.")``: the weights below Keras's layer called a are our ``cell.kernel`` and so on."""
    return {f"{theirs}/{w}": ours + w for theirs, ours in prefixes.items() for w in WEIGHTS}


def made(layer, *inputs):
    """A built layer, its weights from numpy: what initializers draw is compiled for each shape."""
    weights, _ = declare(layer, *inputs)
    adopt(layer, weights)
    params = {k: jnp.asarray(draw(*w.shape) * 0.5) for k, w in weights.items() if w.kind == "param"}
    bind(layer, params | {k: w.init(None, w.shape, w.dtype) for k, w in weights.items() if w.kind == "state"})
    return layer


def mark(leaf):
    return jnp.cos(0.7 * jnp.arange(leaf.size) + leaf.ndim).reshape(leaf.shape)


def alike(x, *cases, slopes=True, atol=2e-5):
    """Assert for each case ``(ours, theirs, names, call)`` the same outputs, and gradients; return our outputs."""
    ours, theirs, sides = [], [], []
    for mine, other, table, call in cases:
        if not other.built:
            with undrawn():
                other.build(x.shape)
        values = {our_name(v, table): draw(*v.shape) * 0.5 for v in other.trainable_variables}
        weights, _ = declare(mine, x, **call)
        assert {k: w.shape for k, w in weights.items() if w.kind == "param"} == {k: v.shape for k, v in values.items()}
        ours.append({k: jnp.asarray(v) for k, v in values.items()})
        theirs.append([ours[-1][our_name(v, table)] for v in other.trainable_variables])
        sides.append([v.value for v in other.non_trainable_variables])

    def our_run(params, x):
        return [apply(case[0], p, {}, x, **case[3])[0] for case, p in zip(cases, params, strict=True)]

    def their_run(trained, x):
        every = zip(cases, trained, sides, strict=True)
        return [other.stateless_call(t, fixed, x, **call)[0] for (_, other, _, call), t, fixed in every]

    def both(run):
        def scalar(weights, x):
            y = run(weights, x)
            return sum(jnp.vdot(leaf, mark(leaf)) for leaf in jax.tree.leaves(y)), y

        return quick(jax.grad(scalar, (0, 1), has_aux=True))

    x = jnp.asarray(x)
    if slopes:
        ((mine, dx), y), ((other, other_dx), expected) = both(our_run)(ours, x), both(their_run)(theirs, x)
    else:
        y, expected = quick(our_run)(ours, x), quick(their_run)(theirs, x)
    for i in range(len(cases)):
        for a, b in zip(jax.tree.leaves(y[i]), jax.tree.leaves(expected[i]), strict=True):
            np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4, err_msg=f"case {i}")
    if not slopes:
        return y
    for i, (_, layer, table, _) in enumerate(cases):
        for variable, b in zip(layer.trainable_variables, other[i], strict=True):
            name = our_name(variable, table)
            np.testing.assert_allclose(mine[i][name], b, atol=10 * atol, rtol=1e-3, err_msg=f"case {i}, {name}")
    np.testing.assert_allclose(dx, other_dx, atol=10 * atol, rtol=1e-3)
    return y


__all__ = ["MASK", "alike", "draw", "keras", "made", "names", "quick"]
