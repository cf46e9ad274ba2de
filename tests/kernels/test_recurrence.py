"""The recurrent kernels, whose gradients are written by hand, against the plain loop that JAX differentiates itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cenote.kernels.recurrence import conv_lstm, gates, gru, lstm, scan_cell, simple

UNITS = 3
# Compiling is most of what these tests cost, and each program runs once.
quick = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)


def lstm_cell(recurrent, bias):
    def cell(x, state):
        h, c = state
        i, f, g, o = jnp.split(x + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    return cell


def gru_cell(recurrent, bias):
    def cell(x, state):
        (h,) = state
        (xz, xr, xg), (uz, ur, ug) = jnp.split(x, 3, axis=-1), jnp.split(h @ recurrent + bias, 3, axis=-1)
        z, r = jax.nn.sigmoid(xz + uz), jax.nn.sigmoid(xr + ur)
        return (z * h + (1 - z) * jnp.tanh(xg + r * ug),)

    return cell


def simple_cell(recurrent, bias):
    return lambda x, state: (jnp.tanh(x + state[0] @ recurrent),)


KINDS = {
    "lstm": (4, 2, lambda xp, s, w, b, m: lstm(xp, s[0], s[1], w, m), lstm_cell),
    "gru": (3, 1, lambda xp, s, w, b, m: gru(xp, s[0], w, b, m), gru_cell),
    "simple": (1, 1, lambda xp, s, w, b, m: simple(xp, s[0], w, m), simple_cell),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("time", "batch", "masked"), [(5, 4, False), (5, 4, True), (1, 1, False)])
def test_kernel_is_the_plain_loop(kind, time, batch, masked):
    count, states, kernel, cell = KINDS[kind]
    rng = np.random.default_rng(time)
    with jax.enable_x64(True):
        draw = lambda *shape: jnp.asarray(rng.normal(size=shape))  # noqa: E731
        mask = None
        if masked:  # first steps, last steps, a hole, and a row without any step
            mask = jnp.asarray([[0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool).T
        xp, recurrent, bias = draw(time, batch, count * UNITS), draw(UNITS, count * UNITS), draw(count * UNITS)
        start = tuple(draw(batch, UNITS) for _ in range(states))
        marks = (draw(time, batch, UNITS), tuple(draw(batch, UNITS) for _ in range(states)))

        def obvious(xp, start, recurrent, bias):
            return scan_cell(cell(recurrent, bias), xp, start, mask)

        def ours(xp, start, recurrent, bias):
            return kernel(xp, start, recurrent, bias, mask)

        def value(f):
            def scalar(*args):
                y = f(*args)
                return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, y, marks))), y

            return quick(jax.value_and_grad(scalar, (0, 1, 2, 3), has_aux=True))

        (_, y), grads = value(ours)(xp, start, recurrent, bias)
        (_, expected), slopes = value(obvious)(xp, start, recurrent, bias)
        for a, b in zip(jax.tree.leaves((y, grads)), jax.tree.leaves((expected, slopes)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        if masked:
            assert np.array_equal(y[0][:, 3], np.broadcast_to(start[0][3], y[0][:, 3].shape))
            assert not grads[0][:, 3].any()


def test_what_padding_holds_does_not_matter():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape).astype("float32"))  # noqa: E731
    mask = jnp.asarray([[1, 1, 0, 0]], bool).T
    zero, recurrent = jnp.zeros((1, UNITS)), draw(UNITS, 4 * UNITS)
    xp = draw(4, 1, 4 * UNITS)
    wild = xp.at[2:].set(jnp.inf)
    run = quick(jax.value_and_grad(lambda xp, w: lstm(xp, zero, zero, w, mask)[0].sum(), (0, 1)))
    for a, b in zip(jax.tree.leaves(run(xp, recurrent)), jax.tree.leaves(run(wild, recurrent)), strict=True):
        assert np.isfinite(b).all() and np.allclose(a, b)


def test_scan_cell_takes_gates():
    xs = gates(jnp.arange(8.0).reshape(2, 1, 4), 2)
    outputs, _ = scan_cell(lambda x, state: (state[0] + x[0] * x[1],), xs, (jnp.zeros((1, 2)),))
    assert outputs[:, 0].tolist() == [[0.0, 3.0], [24.0, 38.0]]


@pytest.mark.parametrize(("space", "masked"), [((4,), True), ((2, 3), False)], ids=str)
def test_convolutions_in_the_loop_are_the_plain_loop(space, masked):
    rng, n = np.random.default_rng(0), len(space)
    layout = lax.conv_dimension_numbers((2, *space, 2), (1,) * (n + 2), _plain(n))

    def cell(recurrent):
        def step(x, state):
            h, c = state
            u = lax.conv_general_dilated(h, recurrent, (1,) * n, "SAME", dimension_numbers=layout)
            i, f, g, o = jnp.split(x + u, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(c), c

        return step

    with jax.enable_x64(True):
        draw = lambda *shape: jnp.asarray(rng.normal(size=shape))  # noqa: E731
        mask = jnp.asarray([[0, 1], [1, 0], [1, 1]], bool) if masked else None
        xp, start = draw(3, 2, *space, 8), (draw(2, *space, 2), draw(2, *space, 2))
        recurrent, marks = draw(*[3] * n, 2, 8), (draw(3, 2, *space, 2), (draw(2, *space, 2), draw(2, *space, 2)))

        def value(run):
            def scalar(*args):
                y = run(*args)
                return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, y, marks))), y

            return quick(jax.grad(scalar, (0, 1, 2), has_aux=True))(xp, start, recurrent)

        ours = value(lambda xp, s, w: conv_lstm(xp, *s, w, mask))
        plain = value(lambda xp, s, w: scan_cell(cell(w), xp, s, mask))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def _plain(n):
    letters = "DHW"[3 - n :]
    return (f"N{letters}C", f"{letters}IO", f"N{letters}C")
