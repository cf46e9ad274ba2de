"""Programs in C++ that test_native.py runs under sanitizers: each family of steps, sizes that fit nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cenote.kernels import native
from cenote.kernels.convolution import conv, conv_transpose
from cenote.kernels.joined import can_join, conv_joined
from cenote.kernels.pooling import average_pool, max_pool
from cenote.serving import program as programs
from cenote.serving.program import Program


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def products():
    for rows, features, units in (
        (1, 1, 1),
        (2, 3, 33),
        (3, 256, 200),
        (130, 7, 48),
        (70, 256, 100),
        (5, 4, 16),
        (1, 1000, 1001),
    ):
        kernel, bias, square = draw(features, units), draw(units), draw(units, units)
        yield lambda x, k=kernel, b=bias, s=square: jax.nn.relu((x @ k + b) @ s + x @ k), draw(rows, features)


def elementwise():
    def all_of(x, row, ids, picture, narrow):
        seen = (ids > 3) | (picture == 7)
        yield jnp.where(seen, x, jnp.exp(-x) * row), seen, ids * 2 + picture.astype("int32")
        yield jax.nn.softmax(x), jnp.tanh(x) / (1 + narrow), jax.nn.gelu(x), jnp.log(jnp.abs(x)), (x * 1e12).astype("int32")
        for axis in range(1, x.ndim):
            yield x.sum(axis), x.max(axis), ids.min(axis), seen.any(axis)

    for shape in ((1, 1), (1, 15), (2, 16), (3, 17), (1, 257), (5, 300), (3, 5, 7), (2, 9, 70), (2, 150, 3), (1, 300, 70, 5)):
        x = draw(*shape)
        ids, picture = (x * 9).astype("int32"), np.abs(x * 9).astype("uint8")
        row, narrow = draw(*shape[-1:]), np.abs(draw(*shape[:-1], 1))
        yield lambda x, i, p, n, row=row: list(all_of(x, row, i, p, n)), x, ids, picture, narrow
    for batch, rows, inner, columns in ((1, 1, 1, 1), (2, 5, 3, 33), (3, 4, 7, 16), (1, 200, 100, 70), (2, 3, 1, 15)):
        yield jnp.matmul, draw(batch, rows, inner), draw(batch, inner, columns)


def sequences():
    none, nothing = np.zeros((0, 0), "float32"), np.zeros(0, "uint32")
    for rows, time, units in ((1, 1, 1), (1, 5, 33), (3, 4, 19), (70, 3, 16)):
        x, w, k, b = draw(rows, time, 5), draw(units, 4 * units), draw(5, 4 * units), draw(4 * units)
        h, mask, three = draw(rows, units), (draw(rows, time) > 0).astype("float32"), slice(0, 3 * units)
        for last in (False, True):
            asked = {"keep": False, "last": last}
            yield lambda x, h, m, k=k, b=b, w=w, a=asked: native.lstm_forward(x, k, b, h, h, w, m, **a)[:2], x, h, mask
            yield lambda x, h, k=k, w=w, a=asked: native.lstm_forward(x @ k, None, None, h, h, w, **a)[:2], x, h
            k3, b3, w3 = k[:, three], b[three], w[:, three]
            yield lambda x, h, m, k=k3, b=b3, w=w3, a=asked: native.gru_forward(x, k, None, h, w, b, m, **a)[:1], x, h, mask
            yield lambda x, h, k=k3, b=b3, w=w3, a=asked: native.gru_forward(x @ k, None, b, h, w, None, None, **a)[:1], x, h
    for rows, queries, keys, heads, width, wide in ((1, 2, 2, 1, 1, 1), (1, 31, 31, 3, 5, 33), (9, 17, 40, 2, 20, 16)):
        q, k, v = draw(rows, queries, heads, width), draw(rows, keys, heads, width), draw(rows, keys, heads, wide)
        for shown in (none, (draw(rows, keys) > 0).astype("float32")):
            for causal in (False, True):
                call = functools.partial(native.attention_forward, scale=0.5, rate=0.0, causal=causal)
                given = [shown] if shown.size else []
                yield lambda q, k, v, *s, f=call: f(q, k, v, s[0] if s else none, nothing)[:1], q, k, v, *given
                yield lambda q, k, v, *s, f=call: f(q, k, v, s[0] if s else none, nothing), q, k, v, *given
    for shape in ((1, 1), (7, 33), (300, 65)):
        scale = draw(shape[1])
        yield lambda x, s=scale: native.rows_forward(x, s, s, epsilon=1e-3, centre=True)[:1], draw(*shape)


def moves():
    def all_of(x, i):
        yield x.transpose(0, 2, 1), x[:, ::-1], x[:, 1:, ::2], jnp.concatenate([x, x[:, :1]], 1)
        yield lax.pad(x, np.float32(0), ((0, 0, 0), (-1, 2, 1), (1, -1, 0))), jnp.split(x, [1], axis=2)
        yield (
            jnp.take(draw(9, 5), i, axis=0, mode="clip"),
            jnp.take(draw(9, 5), i, axis=0, mode="fill"),
            x > 0,
            (x > 0)[:, ::-1],
        )

    for shape in ((1, 3, 2), (3, 17, 33), (70, 4, 5), (1, 300, 301)):
        index = (draw(*shape) * 9).astype("int32")
        yield lambda x, i: jax.tree.leaves(list(all_of(x, i))), draw(*shape), index


def pictures():
    def follows(x, kernel, strides, pads, dilation):
        y = conv(x, kernel, strides=strides, padding=pads, dilation=dilation)
        yield jax.nn.relu(y + draw(kernel.shape[3])), y
        if dilation == (1, 1):
            yield conv_transpose(x, kernel.swapaxes(2, 3), strides=strides, padding="same"), y
        if can_join(x, kernel, strides, pads) and dilation == (1, 1) and min(y.shape[1:3]) > 1:
            yield conv_joined(x, kernel, jnp.zeros(0), strides, pads, rectify=True, windows=True), y
        yield max_pool(x, (3, 2), strides, "same"), average_pool(x, (2, 3), strides, "same")
        if kernel.shape[3] % x.shape[3] == 0:
            depthwise = kernel.reshape(-1)[: 9 * kernel.shape[3]].reshape(3, 3, 1, -1)
            yield conv(x, depthwise, strides=strides, padding="same", groups=x.shape[3]), y

    for batch, height, width, inputs, outputs, size, strides, dilation in (
        (1, 5, 33, 2, 50, 3, (1, 1), (1, 1)),
        (2, 1, 1, 3, 3, 3, (1, 1), (1, 1)),
        (3, 7, 6, 16, 16, 5, (1, 1), (1, 1)),
        (2, 9, 8, 5, 35, 3, (2, 2), (1, 1)),
        (1, 6, 7, 3, 18, 4, (1, 3), (1, 1)),
        (2, 8, 9, 2, 9, 3, (1, 1), (1, 2)),
    ):
        pads = ((size // 2 * dilation[0],) * 2, (size // 2 * dilation[1],) * 2)
        kernel = jnp.asarray(draw(size, size, inputs, outputs))
        asked = functools.partial(follows, kernel=kernel, strides=strides, pads=pads, dilation=dilation)
        yield lambda x, asked=asked: jax.tree.leaves(list(asked(x))), draw(batch, height, width, inputs)


def neighbours():
    """Slices that are joined as a pooling layer's are, but cut along other axes, too."""
    x = draw(3, 10, 5)
    yield lambda x: jax.numpy.maximum(x[:, :-1, :2], x[:, 1:, :2]), x
    yield lambda x: x[:, :-1, 2:3] + x[:, 1:, 2:3], x
    yield lambda x: jax.numpy.maximum(*(jax.numpy.pad(x, ((0, 0), (1, 1), (0, 0)))[:, i : i + 9, 1:4] for i in range(2))), x


FAMILIES = [pictures, neighbours, products, elementwise, sequences, moves]


def run():
    """Every program as it is and cut into parts of few rows, the last of which shares rows with the one before it."""
    usual = programs.CACHE, programs.ALONE
    for family in FAMILIES:
        for function, *inputs in family():
            found = []
            for programs.CACHE, programs.ALONE in (usual, (1 << 9, 1)):
                program = Program(function, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs])
                found.append(program(*inputs))
            for whole, cut in zip(*found, strict=True):
                np.testing.assert_allclose(cut, whole, rtol=1e-4, atol=1e-4)
