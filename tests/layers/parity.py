"""Our layers beside Keras's: the same weights, then the same outputs, gradients and state."""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import keras
import numpy as np

from cenote.core import apply, declare

NAMES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var", "embeddings": "table"}
PARTS = {"gate": "gate.", "query": "query.", "key": "key.", "value": "value.", "attention_output": "output."}
DRAWING = ("Orthogonal", "VarianceScaling", "RandomUniform")
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def _nothing(self, shape, dtype=None):
    return np.zeros(shape, "float32")


@contextlib.contextmanager
def undrawn():
    """Keras's layers that are built here start at zero: what they draw is of no interest, and is compiled for each shape."""
    with contextlib.ExitStack() as patched:
        for name in DRAWING:
            patched.enter_context(mock.patch.object(getattr(keras.initializers, name), "__call__", _nothing))
        yield


def our_name(weight, names=None) -> str:
    """Our name of Keras's weight; ``names`` maps the ends of its paths to ours, where the rules below do not do."""
    for end, ours in (names or {}).items():
        if weight.path.endswith(end):
            return ours
    parts = weight.path.split("/")
    prefix = next((PARTS[p] for p in parts if p in PARTS), "")
    return prefix + NAMES.get(parts[-1], parts[-1])


def compare(ours, theirs, *inputs, train=False, atol=2e-5, call=None, names=None, **options):
    """Assert that outputs, gradients by inputs and weights, and written state are the same."""
    theirs_call = {**options, **(call or {})}
    with undrawn():  # on symbols: an answer is of no interest yet, and would be compiled part by part
        theirs(*(keras.KerasTensor(x.shape, x.dtype) for x in map(np.asarray, inputs)), **theirs_call)
    values = {}
    for weight in theirs.weights:
        value = np.asarray(weight.value)
        if not np.issubdtype(value.dtype, np.floating):
            continue  # a seed generator's state
        fresh = draw(*value.shape) * 0.5
        values[our_name(weight, names)] = np.abs(fresh) + 0.5 if weight.path.endswith("variance") else fresh
        weight.assign(values[our_name(weight, names)])
    weights, _ = declare(ours, *inputs, **options)
    assert {k: w.shape for k, w in weights.items()} == {k: v.shape for k, v in values.items()}
    params = {k: jnp.asarray(values[k]) for k, w in weights.items() if w.kind == "param"}
    state = {k: jnp.asarray(values[k]) for k, w in weights.items() if w.kind == "state"}
    floating = [i for i, x in enumerate(inputs) if np.issubdtype(x.dtype, np.floating)]

    def our_run(params, floats):
        given = [floats[floating.index(i)] if i in floating else x for i, x in enumerate(inputs)]
        return apply(ours, params, state, *given, train=train, key=0, **options)

    fixed = [v.value for v in theirs.non_trainable_variables]
    trained = [v.value for v in theirs.trainable_variables]
    extra = {"training": train} if "training" in theirs._call_signature.parameters else {}

    def their_run(trained, floats):
        given = [floats[floating.index(i)] if i in floating else jnp.asarray(x) for i, x in enumerate(inputs)]
        return theirs.stateless_call(trained, fixed, *given, **theirs_call, **extra)

    floats = [jnp.asarray(inputs[i]) for i in floating]

    def all_of(run):
        """Output, state and gradients in one program; what makes programs fast is left out, since it takes the time."""

        def loss(*given):
            y, state = run(*given)
            leaves = jax.tree.leaves(y)
            return sum(jnp.vdot(leaf, mark[: leaf.size].reshape(leaf.shape)) for leaf in leaves), (leaves, state)

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True), compiler_options={"xla_backend_optimization_level": 0})

    sizes = [leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda *a: our_run(*a)[0], params, floats))]
    mark = jnp.asarray(draw(max(sizes)))
    mine, (y, new_state) = all_of(our_run)(params, floats)
    other, (expected, their_state) = all_of(their_run)(trained, floats)
    assert len(y) == len(expected)
    for a, b in zip(y, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4)
    order = [our_name(v, names) for v in theirs.trainable_variables]
    for name, grad in zip(order, other[0], strict=True):
        np.testing.assert_allclose(mine[0][name], grad, atol=10 * atol, rtol=1e-3, err_msg=f"gradient of {name}")
    for a, b in zip(mine[1], other[1], strict=True):
        np.testing.assert_allclose(a, b, atol=10 * atol, rtol=1e-3, err_msg="gradient of an input")
    for variable, value in zip(theirs.non_trainable_variables, their_state, strict=True):
        if np.issubdtype(np.asarray(value).dtype, np.floating):
            np.testing.assert_allclose(
                new_state[our_name(variable, names)], value, atol=atol, err_msg=our_name(variable, names)
            )


__all__ = ["compare", "draw", "keras", "our_name", "undrawn"]
