"""DeepLIFT, DeepSHAP and LRP: beside Captum's and shap's stored answers, exact solutions, and what is refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers as L
from cenote.explain import deeplift, deepshap, lrp
from cenote.kernels.convolution import conv
from cenote.kernels.pooling import max_pool

STORED = json.loads((Path(__file__).parents[1] / "parity" / "explain_propagate.json").read_text())
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5)).astype("float32")


def array(values):
    return np.asarray(values, "float32")


def dense(weights, activations):
    def f(x):
        for i, activation in enumerate([*activations, lambda v: v]):
            x = activation(x @ array(weights[2 * i]).T + array(weights[2 * i + 1]))
        return x

    return f


def pictures(weights):
    *kernels, last, bias = [array(w).transpose(2, 3, 1, 0) if np.ndim(w) == 4 else array(w) for w in weights]

    def f(x):
        for kernel, shift in zip(kernels[::2], kernels[1::2], strict=True):
            x = max_pool(jax.nn.relu(conv(x, kernel) + shift), (2, 2), (2, 2))
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1) @ last.T + bias

    return f


def pictures_pooled_once(weights):
    *kernels, last, bias = [array(w).transpose(2, 3, 1, 0) if np.ndim(w) == 4 else array(w) for w in weights]

    def f(x):
        x = conv(jax.nn.relu(conv(x, kernels[0]) + kernels[1]), kernels[2]) + kernels[3]
        return max_pool(x, (2, 2), (2, 2)).transpose(0, 3, 1, 2).reshape(len(x), -1) @ last.T + bias

    return f


NETWORKS = {
    "dense": lambda w: dense(w, (jax.nn.relu, jnp.tanh, jax.nn.sigmoid)),
    "conv apart": pictures_pooled_once,
    "conv": pictures,  # where Captum is not complete, and not stored
}


@pytest.mark.parametrize("name", NETWORKS)
def test_captum_and_shap_answer_the_same(name):
    stored = STORED[name]
    f, x, background = NETWORKS[name](stored["weights"]), array(stored["x"]), array(stored["background"])
    if "deeplift" in stored:
        found = deeplift(f, x, baseline=background[0], target=1)
        assert np.allclose(found.values, stored["deeplift"], atol=2e-6) and found.completeness.max() < 5e-6
    found = deepshap(f, x, background=background, target=1)
    assert all(np.allclose(found.values, stored[k], atol=2e-6) for k in ("deeplift_shap", "shap") if k in stored)
    assert np.allclose(found.base, np.mean(jax.jit(f)(background)[:, 1]), atol=1e-5) and found.completeness.max() < 5e-6


@pytest.mark.parametrize("eps", [1e-9, 0.25])
def test_captum_shares_relevance_the_same(eps):
    stored = STORED["lrp"]
    f = dense(stored["dense"]["weights"], (jax.nn.relu, jax.nn.relu, jnp.tanh))
    found = lrp(f, array(stored["dense"]["x"]), target=1, eps=eps)
    assert np.allclose(found.values, stored["dense"][str(eps)], atol=1e-5)
    f = pictures(stored["conv"]["weights"])
    found = lrp(f, array(stored["conv"]["x"]), target=1, eps=eps)
    assert np.allclose(found.values, stored["conv"][str(eps)], atol=1e-5)


def test_captum_shares_positive_terms_the_same():
    stored = STORED["lrp"]["positive"]
    weights = [w for kernel in stored["weights"] for w in (kernel, np.zeros(len(kernel)))]
    f, x = dense(weights, (jax.nn.relu, jax.nn.relu)), array(stored["x"])
    found = lrp(f, x, target=1, rule="z_plus")
    assert np.allclose(found.values, stored["z_plus"], atol=1e-5)


# -- exact solutions -------------------------------------------------------------------------------------------------------


def network(*layers, shape=(5,), seed=1):
    cn.set_seed(seed)
    return cn.Sequential(list(layers)).build(np.zeros((2, *shape), "float32"))


def test_without_biases_relu_makes_all_methods_one():
    model = network(L.Dense(8, "relu", use_bias=False), L.Dense(6, "relu", use_bias=False), L.Dense(2, use_bias=False))
    slopes, whole = jax.jit(jax.grad(lambda x: (model(x)[:, 1].sum(), model(x)[:, 1]), has_aux=True))(X)
    steep = X * np.asarray(slopes)
    for found in (deeplift(model, X, baseline=0.0, target=1), lrp(model, X, target=1)):
        assert np.allclose(found.values, steep, atol=1e-5) and np.allclose(found.values.sum(1), whole, atol=1e-5)


@pytest.mark.parametrize("rule", ["epsilon", "z_plus", "alpha_beta"])
def test_relevance_is_kept_through_attention_norms_and_gates_without_biases(rule):
    x = RNG.normal(size=(3, 4, 6)).astype("float32")
    block = L.TransformerEncoder(8, 2, activation="gelu", normalize_first=True)
    model = network(block, L.RMSNormalization(), L.GlobalAveragePooling1D(), L.Dense(2), shape=(4, 6))  # biases begin as 0
    found = lrp(model, x, target=0, rule=rule)
    assert np.abs(found.details["absorbed"]).max() < 1e-4 * np.abs(found.values).sum((1, 2)).max()
    assert np.ptp(found.values) > 0.01


def test_attnlrp_softmax_is_its_taylor_form():
    z = X.astype("float32")
    w = np.arange(1.0, 6.0, dtype="float32")
    p = np.asarray(jax.nn.softmax(z))
    shares = p * w
    found = lrp(lambda z: (jax.nn.softmax(z) * w).sum(-1), z)
    assert np.allclose(found.values, z * (shares - p * shares.sum(-1, keepdims=True)), atol=1e-6)


def test_attention_by_the_uniform_rule_or_by_what_is_looked_at():
    q, v = RNG.normal(size=(2, 3, 4, 2)).astype("float32")

    def f(x):
        return (jax.nn.softmax(x[0] @ x[0].swapaxes(-1, -2)) @ x[1]).sum((1, 2))

    found = lrp(f, (q, v))
    assert not np.any(found.values[0]) and np.allclose(found.values[1].sum((1, 2)), found.output, atol=1e-5)
    found = lrp(f, (q, v), softmax="taylor")
    assert np.any(found.values[0]) and np.allclose(found.values[1].sum((1, 2)), found.output / 2, atol=1e-5)


def test_one_number_through_anything_gets_the_whole_change():
    x, w = X[:, :1], jnp.arange(1.0, 4.0)
    functions = [
        lambda v: v * jax.scipy.special.erf(v) / (1 + v**2),
        lambda v: jnp.where(v > 0.1, jnp.log1p(jnp.abs(v)), v**3),
        lambda v: jnp.where(v > 0, jnp.sqrt(v), 0.0),  # the other branch is no number
        lambda v: jnp.sort(jnp.sin(v * w), -1) @ w,
        lambda v: jnp.cumsum(jax.lax.cummax(v * jnp.cos(w), axis=1), 1) @ w,
        lambda v: jnp.prod(1 + 0.1 * v * w, -1) + jnp.min(v * w, -1),
        lambda v: jax.nn.log_softmax(v * w)[:, 1] + jax.nn.logsumexp(v * w, -1),
        lambda v: jax.lax.top_k(v * w - v**2, 2)[0].sum(-1),
        lambda v: jnp.abs(jnp.fft.rfft(jnp.tanh(v * w))).sum(-1),
        lambda v: jax.lax.fori_loop(0, 3, lambda i, s: jnp.sin(s + v[:, 0]) + 0.1 * i, v[:, 0]),
        lambda v: jax.vmap(lambda u: jax.lax.cond(u > 0, jnp.tanh, lambda u: 2 * u - 1, u))(v[:, 0]),
        lambda v: jax.lax.reduce_window(v * w, -jnp.inf, jax.lax.max, (1, 2), (1, 1), "VALID").sum(-1),
        lambda v: jnp.clip(v, -0.5, 0.5)[:, 0] + jnp.arctan2(v, 1 + v**2)[:, 0] + 2.0 ** v[:, 0] + jnp.floor(3 * v)[:, 0],
        lambda v: (v[:, 0] > 0) & (v[:, 0] < 1) | jnp.any(v * w > 2, 1),
    ]

    def f(v):
        return jnp.stack([jnp.reshape(g(v), (len(v),)).astype(jnp.float32) for g in functions], -1)

    once = jax.jit(f)
    change = np.asarray(once(x)) - np.asarray(once(np.full_like(x, -0.3)))
    repeated = np.repeat(x, len(functions), 0)  # each function by itself, as one output of a row
    found = deeplift(f, repeated, baseline=-0.3, target=np.tile(np.arange(len(functions)), 3))
    assert np.allclose(found.values[:, 0], change.reshape(-1), atol=1e-5)


@pytest.mark.parametrize("explain", [deeplift, lrp])
def test_branches_loops_and_memory_savers(explain):
    w = RNG.normal(size=(5, 5)).astype("float32")

    def f(x):
        x = jax.checkpoint(lambda x: jnp.tanh(x @ w))(x)
        x = jax.lax.cond(w[0, 0] > 9, lambda x: x @ w, lambda x: x * x @ w, x)  # decided without x
        last, ys = jax.lax.scan(lambda c, u: (jnp.tanh(c @ w + u), c * u), x, jnp.stack([x, 2 * x]), reverse=True)
        y = last.sum(-1) + ys.sum((0, 2))
        return jax.lax.cond(y[0] > y[0] ** 2, jnp.tanh, lambda y: 2 * y, y) if explain is deeplift else y  # decided by it

    once = jax.jit(f)
    for row in X:
        options = {"baseline": np.asarray(-row)} if explain is deeplift else {}
        found = explain(f, row[None], **options)
        whole = once(row[None]) - (once(-row[None]) if explain is deeplift else 0)
        assert np.allclose(found.values.sum(1), whole, atol=1e-5)


def test_softmax_counts_as_itself_and_not_as_it_is_computed():
    plain = [
        (jax.nn.softmax, lambda z: jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True)),
        (jax.nn.log_softmax, lambda z: z - jnp.log(jnp.exp(z).sum(-1, keepdims=True))),
        (lambda z: jax.nn.logsumexp(z, -1, keepdims=True) * z, lambda z: jnp.log(jnp.exp(z).sum(-1, keepdims=True)) * z),
    ]
    for target in (0, 6, 12):
        ours = deeplift(lambda z: jnp.concatenate([f(z) for f, _ in plain], -1), X, baseline=0.2, target=target)
        same = deeplift(lambda z: jnp.concatenate([g(z) for _, g in plain], -1), X, baseline=0.2, target=target)
        assert np.allclose(ours.values, same.values, atol=1e-6)
    logits = X + 1e4  # where exp by itself would overflow
    found = deeplift(jax.nn.softmax, logits, baseline=logits[0] + 1, target=1)
    assert np.isfinite(found.values).all() and found.gap.max() < 1e-3


def test_slopes_lose_no_digits_when_points_are_close():
    x = np.array([0.7, 3.0, 1e-3, 9.0], "float32")
    functions = [
        jnp.tanh,
        jnp.exp,
        jnp.log,
        jnp.sqrt,
        jax.lax.rsqrt,
        jax.nn.sigmoid,
        jnp.sin,
        jax.scipy.special.erf,
        jax.nn.gelu,
    ]
    apart = np.array([0, 1e-6, 1e-4, 1e-2], "float32")
    base = (x * (1 + apart[:, None])).astype("float32")
    found = deeplift(lambda x: jnp.stack([f(x).sum(-1) for f in functions], -1), np.tile(x, (4 * 9, 1)),
                     baseline=np.repeat(base, 9, 0), target=np.tile(np.arange(9), 4)).values.reshape(4, 9, 4)  # fmt: skip
    assert not np.any(found[0])
    with jax.enable_x64(True):
        all_of_them = jax.jit(lambda x: jnp.stack([f(x) for f in functions], 1))
        exact = np.subtract(*(all_of_them(a.astype("float64")) for a in (np.tile(x, (4, 1)), base)))
    assert np.allclose(found, exact, rtol=1e-4, atol=5e-8)


def test_more_steps_go_to_integrated_gradients():
    model = network(L.TransformerEncoder(8, 2), L.GlobalAveragePooling1D(), L.Dense(2), shape=(4, 6))
    x, base = RNG.normal(size=(2, 3, 4, 6)).astype("float32")
    nodes, weights = np.polynomial.legendre.leggauss(64)
    slope = jax.jit(jax.grad(lambda x: model(x)[:, 0].sum()))
    exact = sum(
        w / 2 * np.asarray(slope(base + np.float32((n + 1) / 2) * (x - base))) for n, w in zip(nodes, weights, strict=True)
    )
    exact = exact * (x - base)
    errors = []
    for steps in (1, 16):
        found = deeplift(model, x, baseline=base, target=0, steps=steps)
        assert found.completeness.max() < 1e-5
        errors.append(np.abs(found.values - exact).max())
    assert errors[1] < 0.1 * errors[0]


def test_products_half_way_or_at_x():
    f = lambda x: x[:, 0] * x[:, 1]  # noqa: E731
    x, base = np.array([[2.0, 5.0]], "float32"), np.array([1.0, -1.0], "float32")
    assert deeplift(f, x, baseline=base).values.tolist() == [[2.0, 9.0]]
    found = deeplift(f, x, baseline=base, products="gradient")
    assert found.values.tolist() == [[5.0, 12.0]] and np.isclose(found.gap[0], 6)


def test_deepshap_is_the_mean_over_the_background():
    model = network(L.Dense(4, "tanh"), L.Dense(2))
    background = RNG.normal(size=(4, 5)).astype("float32")
    found = deepshap(model, X, background=background, target=0)
    each = [deeplift(model, X, baseline=row, target=0) for row in background]
    assert np.allclose(found.values, np.mean([e.values for e in each], 0), atol=1e-6)
    assert np.allclose(found.base, np.mean([e.base for e in each], 0), atol=1e-6)


# -- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explain", [deeplift, lrp])
def test_an_operation_without_a_rule_is_named(explain):
    square = X[:, :4].reshape(-1, 2, 2)
    options = {"baseline": 0.5} if explain is deeplift else {}
    with pytest.raises(ValueError, match=rf"{explain.__name__} has no rule for the operation 'cholesky'.*integrated_gradients"):
        explain(lambda x: jnp.linalg.cholesky(x @ x.swapaxes(-1, -2) + jnp.eye(2)).sum((1, 2)), square, **options)
    with pytest.raises(ValueError, match=r"'while' whose number of rounds is not fixed: write it as lax.scan"):
        explain(lambda x: jax.lax.while_loop(lambda v: v.sum() < 9, lambda v: v * 2, 1 + x * x).sum(-1), X, **options)
    if explain is lrp:
        return  # to which comparisons are constants
    with pytest.raises(ValueError, match="'gather' with places that depend on the input"):
        explain(lambda x: jnp.take_along_axis(x, (x > 0).astype(int), 1).sum(-1), X, **options)


def test_what_is_not_used_needs_no_rule():
    def f(x):
        jnp.linalg.cholesky(x[:, :1, None] ** 2 + 1)
        return x.sum(1)

    found = deeplift(f, X, baseline=0.0)
    assert np.allclose(found.values, X)


def test_options_are_checked():
    f = lambda x: x.sum(-1)  # noqa: E731
    with pytest.raises(ValueError, match="midpoint"):
        deeplift(f, X, baseline=0.0, products="midpiont")
    with pytest.raises(ValueError, match="at least 1; got 0"):
        deeplift(f, X, baseline=0.0, steps=0)
    with pytest.raises(ValueError, match="deepshap compares with many rows: give background"):
        deepshap(f, X)
    with pytest.raises(ValueError, match="z_plus"):
        lrp(f, X, rule="zplus")
    with pytest.raises(ValueError, match="alpha - beta must be 1"):
        lrp(f, X, rule="alpha_beta", alpha=2.0, beta=2.0)
    with pytest.raises(ValueError, match="a small positive number, got -1"):
        lrp(f, X, eps=-1)
    with pytest.raises(ValueError, match="taylor"):
        lrp(f, X, softmax="tailor")
