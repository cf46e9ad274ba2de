"""Kernels that do several steps in one pass, against the plain formulations: values, gradients, odd shapes, NaN, infinity."""

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.core import memory
from cenote.kernels import activation, native, normalization
from cenote.kernels.answers import answering
from cenote.kernels.attention import Allowed, attend

needs_native = pytest.mark.skipif(native.library() is None, reason=f"no native kernels: {native.status()}")
RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def same(function, arrays, monkeypatch, tolerance=3e-6):
    """The value and all gradients of a function, with and without C++."""

    def both(arrays):
        y, back = jax.vjp(lambda arrays: function(*arrays), arrays)
        return y, back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]

    found = jax.jit(both)(arrays)
    assert "cenote_" in str(jax.make_jaxpr(both)(arrays))
    with monkeypatch.context() as without:
        without.setattr(native, "fits", lambda *arrays: False)
        expected = jax.jit(lambda arrays: both(arrays))(arrays)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(got - want).max()) <= tolerance * max(float(jnp.abs(want).max()), 1e-3)


@needs_native
@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("rectify", [False, True])
def test_columns_with_what_follows_them(rectify, rest, monkeypatch):
    arrays = [draw(1031, 19) + 3, draw(19), draw(19)] + ([draw(1031, 19)] if rest else [])
    same(lambda *a: normalization.normalize_columns(*a[:3], 1e-3, *a[3:], rectify=rectify)[0], arrays, monkeypatch)
    _, mean, variance = jax.vjp(lambda x: normalization.normalize_columns(x, None, None, 1e-3), arrays[0])[0]
    np.testing.assert_allclose(mean, arrays[0].mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, arrays[0].var(0), rtol=1e-5)


@needs_native
def test_a_mean_far_from_zero_costs_columns_no_digits():
    x = np.asarray(RNG.normal(size=(4000, 8)) + 1e4, "float32")
    variance = jax.vjp(lambda x: normalization.normalize_columns(x, None, None, 1e-3), jnp.asarray(x))[0][2]
    np.testing.assert_allclose(variance, x.astype("float64").var(0), rtol=1e-3)


@needs_native
@pytest.mark.parametrize("centre", [False, True])
def test_rows(centre, monkeypatch):
    arrays = [draw(301, 37) + 1, draw(37), draw(37)]
    same(lambda x, *more: normalization.normalize_rows(x, *more, 1e-5, centre), arrays, monkeypatch)


@needs_native
@pytest.mark.parametrize("approximate", [False, True])
def test_gelu(approximate, monkeypatch):
    # XLA's slope of the tanh form, from 1 - tanh^2, loses digits in the tails; ours does not.
    same(lambda x: activation.gelu(x, approximate), [jnp.linspace(-9, 9, 1037)], monkeypatch, 2e-5 if approximate else 3e-6)


@needs_native
@pytest.mark.parametrize("kind", ["all", "causal", "padded", "dropped"])
def test_attention(kind, monkeypatch):
    q, k, v = draw(3, 2, 9, 5), draw(3, 2, 21, 5), draw(3, 2, 21, 7)
    shown = jnp.asarray(RNG.random((3, 1, 1, 21)) > 0.3).at[1].set(False)  # one sees nothing
    mask = {"causal": Allowed(causal=True), "padded": Allowed((shown,))}.get(kind)
    drops = (0.4, jax.random.key(3)) if kind == "dropped" else ()
    same(lambda q, k, v: attend(q, k, v, mask, *drops), [q, k, v], monkeypatch)


@needs_native
@pytest.mark.parametrize("drops", [(), (0.4, jax.random.key(3))])
def test_attention_of_several_blocks_of_queries_where_some_see_nothing(drops, monkeypatch):
    q, k, v = draw(2, 2, 37, 19), draw(2, 2, 37, 19), draw(2, 2, 37, 35)
    shown = jnp.ones((2, 1, 1, 37), bool).at[1, ..., :20].set(False)  # the first twenty of one see nothing
    same(lambda q, k, v: attend(q, k, v, Allowed((shown,), causal=True), *drops), [q, k, v], monkeypatch)


@needs_native
def test_answers_take_them_where_explanations_find_plain_steps():
    x, heads = draw(6, 9), draw(1, 2, 3, 4)

    def run(x, heads):
        y = activation.gelu(normalization.normalize_rows(x, None, None, 1e-3))
        return y, attend(heads, heads, heads, Allowed(causal=True))

    plain, names = jax.jit(run)(x, heads), ("cenote_rows_forward", "cenote_gelu", "cenote_attention_forward")
    assert not any(name in str(jax.make_jaxpr(run)(x, heads)) for name in names)
    with answering():
        traced = jax.make_jaxpr(lambda *a: run(*a))(x, heads)
        slopes = jax.grad(lambda *a: sum(jnp.sum(y**2) for y in run(*a)), (0, 1))(x, heads)
    assert all(name in str(traced) for name in names)
    for got, want in zip(jax.core.eval_jaxpr(traced.jaxpr, traced.consts, x, heads), plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    wanted = jax.grad(lambda *a: sum(jnp.sum(y**2) for y in run(*a)), (0, 1))(x, heads)
    for got, want in zip(slopes, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@needs_native
def test_second_derivatives_and_vmap_are_those_of_the_plain_formulation(monkeypatch):
    x, heads = draw(6, 9), draw(1, 2, 3, 4)

    def loss(x, heads):
        y = normalization.normalize_columns(activation.gelu(x), None, None, 1e-3, rectify=True)[0]
        y = jnp.sum(jnp.sin(normalization.normalize_rows(y + x, None, None, 1e-3)))
        return y + jnp.sum(jnp.sin(attend(heads, heads, heads, Allowed(causal=True))))

    def second(x, heads):
        return jax.grad(lambda *a: sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(*a)), (0, 1))(x, heads)

    def mapped(x, heads):
        return jax.vmap(jax.grad(loss, (0, 1)))(jnp.stack([x, -x]), jnp.stack([heads, heads]))

    found = jax.jit(lambda *a: (second(*a), mapped(*a)))(x, heads)
    monkeypatch.setattr(native, "fits", lambda *arrays: False)
    expected = jax.jit(lambda *a: (second(*a), mapped(*a)))(x, heads)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(got - want).max()) < 2e-5 * float(jnp.abs(want).max())


@needs_native
def test_what_is_no_number_comes_through():
    x = np.ones((40, 9), "float32")
    x[3, 4], x[5, 6] = np.nan, np.inf

    @jax.jit
    def all_of_them(x):
        columns = jax.vjp(lambda x: normalization.normalize_columns(x, None, None, 1e-3, rectify=True)[0], x)[0]
        rows = jax.vjp(lambda x: normalization.normalize_rows(x, None, None, 1e-3), x)[0]
        heads = x.reshape(4, 1, 10, 9)
        return columns, rows, jax.vjp(activation.gelu, x)[0], jax.vjp(lambda h: attend(h, h, h), heads)[0]

    columns, rows, gelu, attended = map(np.asarray, all_of_them(x))
    assert np.isnan(columns[:, [4, 6]]).all() and np.isfinite(columns[:, [0, 5, 8]]).all()
    assert np.isnan(rows[[3, 5]]).all() and np.isfinite(rows[[0, 4, 6]]).all()
    assert np.isnan(gelu[3, 4]) and np.isinf(gelu[5, 6]) and np.isfinite(gelu).sum() == x.size - 2
    assert np.isnan(attended[0]).any() and np.isfinite(attended[1:]).all()


def test_float64_and_narrow_arrays_go_the_plain_way():
    with jax.enable_x64(True):
        x = jnp.asarray(RNG.normal(size=(6, 9)))
        wide = jax.make_jaxpr(
            lambda x: jax.vjp(lambda x: normalization.normalize_rows(activation.gelu(x), None, None, 0.1), x)[0]
        )
        assert x.dtype == jnp.float64 and "cenote_" not in str(wide(x))
    narrow = jax.make_jaxpr(lambda x: jax.vjp(lambda x: normalization.normalize_columns(x, None, None, 0.1)[0], x)[0])
    assert "cenote_" not in str(narrow(jnp.ones((6, 3))))


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_memory_is_kept_only_while_somebody_asks_for_it_and_some_time(seconds, monkeypatch):
    if memory._glibc() is None:
        pytest.skip("not glibc")
    monkeypatch.setattr(memory, "SECONDS", seconds)
    size = 256 << 20
    with memory.kept():
        with memory.kept():
            np.ones(size, "uint8")
        kept = resident()
    deadline = time.monotonic() + 10
    while kept - resident() <= size // 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_memory_waits_for_the_next_block(monkeypatch):
    if memory._glibc() is None:
        pytest.skip("not glibc")
    monkeypatch.setattr(memory, "SECONDS", 0.3)
    size, started = 256 << 20, time.monotonic()
    with memory.kept():
        np.ones(size, "uint8")
        kept = resident()
    with memory.kept():  # the time of the block before does not end this one's
        time.sleep(max(0.0, started + 0.6 - time.monotonic()))
        assert kept - resident() < size // 2
    monkeypatch.setattr(memory, "SECONDS", 0)
    with memory.kept():
        pass
    assert kept - resident() > size // 2


def residual(fused):
    """A residual block, and the same with a step between that keeps its parts from being joined."""
    x = cn.Input((4, 4, 8))
    apart = layers.Activation("linear") if fused else layers.Lambda(lambda x: x * 1)
    h = layers.Activation("relu")(apart(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))))
    h = apart(layers.BatchNormalization()(h))
    return cn.Model(x, layers.Activation("relu")(apart(layers.Add()([h, x]))))


def test_a_sum_and_a_rectifier_after_batch_normalisation_change_no_number():
    x, found = np.asarray(RNG.normal(size=(4, 4, 4, 8)), "float32"), []
    for fused in (True, False):
        model = residual(fused).build(x, key=1)
        params, state = model.arrays()

        def loss(params, model=model, state=state):
            y, new = model._pure(params, state, x, train=True)
            return jnp.sum(jnp.sin(y)), new

        (value, new), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        found.append(jax.tree.leaves((value, new, grads)))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)
