"""The C++ kernels against the plain formulations, on odd shapes and numbers; nothing fails where they cannot be built."""

import functools
import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels import native, recurrence
from cenote.kernels.convolution import conv
from cenote.kernels.native import build

needs_native = pytest.mark.skipif(native.library() is None, reason=f"no native kernels: {native.status()}")
RNG = np.random.default_rng(0)
PROGRAMS = Path(__file__).parent.parent / "serving"  # steps of programs for serving that the sanitizers watch, too
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # each program runs once


@pytest.fixture(autouse=True)
def the_same_numbers():
    """Whichever tests ran before."""
    global RNG
    RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def close(a, b, tolerance=3e-6):
    size = max(float(np.abs(b).max()), 1e-30)
    assert a.shape == b.shape
    assert float(np.abs(np.asarray(a) - np.asarray(b)).max()) / size < tolerance


CONVOLUTIONS = {
    # batch, height, width, input, output, kernel, strides, pads
    "small": (2, 5, 6, 3, 4, (3, 3), (1, 1), ((1, 1), (1, 1))),
    "odd": (1, 7, 7, 5, 17, (3, 2), (2, 2), ((0, 1), (1, 0))),
    "five": (3, 8, 8, 16, 16, (5, 5), (1, 1), ((2, 2), (2, 2))),
    "unequal strides": (2, 9, 5, 1, 6, (3, 3), (3, 2), ((0, 0), (0, 0))),
    "one by one": (2, 6, 6, 33, 40, (1, 1), (1, 1), ((0, 0), (0, 0))),
    "one by one, strided": (2, 6, 6, 8, 8, (1, 1), (2, 2), ((0, 0), (0, 0))),
    "a line": (1, 1, 31, 2, 50, (1, 7), (1, 3), ((0, 0), (3, 3))),
    "many images": (37, 4, 4, 3, 3, (3, 3), (2, 2), ((1, 1), (1, 1))),
    "more frame than picture": (2, 3, 3, 2, 2, (3, 3), (1, 1), ((2, 2), (2, 2))),
    "stride beyond the kernel": (1, 9, 9, 2, 3, (2, 2), (4, 3), ((0, 0), (1, 0))),
    "first of a ResNet": (1, 20, 20, 3, 64, (7, 7), (2, 2), ((2, 3), (2, 3))),
}


def plain(x, kernel, strides, pads):
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@needs_native
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(case):
    n, height, width, ci, co, window, strides, pads = CONVOLUTIONS[case]
    x, kernel = draw(n, height, width, ci), draw(*window, ci, co)
    dy = draw(*jax.eval_shape(lambda *a: plain(*a, strides, pads), x, kernel).shape)

    @jax.jit
    def both(x, kernel, dy):
        y, back = jax.vjp(lambda *a: plain(*a, strides, pads), x, kernel)
        ours = (
            native.convolution("forward", x, kernel, y.shape, strides, pads),
            native.convolution("input", dy, kernel, x.shape, strides, pads),
            native.convolution("kernel", x, dy, kernel.shape, strides, pads),
        )
        return ours, (y, *back(dy))

    for got, want in zip(*both(x, kernel, dy), strict=True):
        close(got, want)


@needs_native
@pytest.mark.parametrize(
    ("time", "batch", "units", "features", "masked"), [(5, 7, 19, 3, True), (3, 1, 1, 20, False), (4, 130, 32, None, True)]
)
def test_recurrences(time, batch, units, features, masked):
    """All that the C++ gives, kept or not, against the plain loop: values, and the way back from them."""
    mask = jnp.asarray(RNG.random((batch, time)) > 0.3) if masked else None
    h, c, weights = draw(batch, units), draw(batch, units), draw(units, 4 * units) / 4
    x, after = draw(batch, time, features or 4 * units), draw(4 * units)
    kernel = draw(features, 4 * units) / 4 if features else None  # gates that are not quite open or shut
    dhs, dh, dc = draw(batch, time, units), draw(batch, units), draw(batch, units)

    @quick
    def with_lstm(x, kernel, weights):
        found = []
        for bias, add in ((after if features else None, dhs), (None, None)):
            steps = (x, kernel, bias, h, c, weights, mask)
            want = recurrence.lstm_arrays(*steps)
            hs, cs, gates = native.lstm_forward(*steps)
            back = (add, dh, dc, want[1], c, want[2], weights, mask)
            found.append(((hs, cs, gates), want))
            found.append((native.lstm_backward(*back), recurrence._lstm_back_arrays(*back)))
            for last in (False, True):
                hs, cs, none = native.lstm_forward(*steps, keep=False, last=last)
                assert not none.size
                found.append(((hs, cs), (want[0][:, -1:] if last else want[0], want[1][:, -1:])))
        return found

    @quick
    def with_gru(x, kernel, weights, after):
        found = []
        for bias, inner, add in ((after if features else None, after, dhs), (None, None, None)):
            steps = (x, kernel, bias, h, weights, inner, mask)
            want = recurrence.gru_arrays(*steps)
            back = (add, dh, want[0], h, want[1], weights, mask)
            found.append((native.gru_forward(*steps), want))
            found.append((native.gru_backward(*back), recurrence._gru_back_arrays(*back)))
            for last in (False, True):
                hs, none = native.gru_forward(*steps, keep=False, last=last)
                assert not none.size
                found.append(((hs,), (want[0][:, -1:] if last else want[0],)))
        return found

    three = slice(0, 3 * units)
    narrow = (x, kernel[:, three]) if features else (x[..., three], None)
    for ours, plainly in (*with_lstm(x, kernel, weights), *with_gru(*narrow, weights[:, three], after[three])):
        for got, want in zip(ours, plainly, strict=True):
            close(got, want, 1e-5)  # gates that are nearly 0 or 1 have few digits in their slopes


@needs_native
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("last", [False, True])
def test_recurrences_that_project_their_input(kind, last, monkeypatch):
    """Value and gradients with a kernel, projected inside, are those of the plain formulation."""
    x, h, c, mask = draw(4, 3, 2), draw(3, 5), draw(3, 5), jnp.asarray(RNG.random((4, 3)) > 0.3)
    kernel, weights, bias, after, mark = draw(2, 20), draw(5, 20), draw(20), draw(15), draw(4, 3, 5)

    def loss(x, h, kernel, weights, bias, after):
        if kind == "lstm":
            outputs, states = recurrence.lstm(x, h, c, weights, mask, kernel=kernel, bias=bias, last=last)
        else:
            own = {"kernel": kernel[:, :15], "bias": bias[:15], "last": last}
            outputs, states = recurrence.gru(x, h, weights[:, :15], after, mask, **own)
        assert outputs.shape == (1 if last else 4, 3, 5)
        return jnp.vdot(outputs, mark[-len(outputs) :]) + sum(jnp.sum(jnp.sin(s)) for s in states)

    def everything():
        arrays = (x, h, kernel, weights, bias, after)
        return quick(lambda *a: (loss(*a), *jax.grad(loss, range(6))(*a)))(*arrays)

    found = everything()
    monkeypatch.setattr(native, "fits", lambda *arrays: False)
    for got, want in zip(found, everything(), strict=True):
        close(got, want, 1e-5)


@needs_native
def test_what_is_no_number_comes_through():
    x, kernel = np.zeros((2, 5, 5, 2), "float32"), np.ones((3, 3, 2, 3), "float32")
    x[0, 0, 0, 0], x[1, 4, 4, 1] = np.nan, np.inf
    pads = ((1, 1), (1, 1))
    y = np.asarray(native.convolution("forward", jnp.asarray(x), jnp.asarray(kernel), (2, 5, 5, 3), (1, 1), pads))
    assert np.isnan(y[0, :2, :2]).all() and np.isinf(y[1, 3:, 3:]).all()
    assert np.isfinite(y[0, 2:]).all() and np.isfinite(y[1, :3]).all()
    xp = np.zeros((3, 2, 8), "float32")
    xp[1, 0] = np.nan
    xp[2, 0] = [1e30] * 4 + [-np.inf] * 4
    zeros = jnp.zeros((3, 2))
    hs, cs, _ = native.lstm_forward(jnp.asarray(xp), None, None, zeros, zeros, jnp.zeros((2, 8)))
    assert np.isnan(hs[1]).all() and np.isnan(cs[1]).all()
    assert np.isfinite(hs[0]).all() and np.isfinite(hs[2, 0]).all()  # gates are 0 or 1 there


@needs_native
def test_many_threads_get_the_same_bits():
    x, kernel = draw(9, 13, 11, 5), draw(3, 3, 5, 20)
    dy = draw(9, 13, 11, 20)
    pads = ((1, 1), (1, 1))
    run = jax.jit(lambda x, dy: native.convolution("kernel", x, dy, kernel.shape, (1, 1), pads))
    expected, found = np.asarray(run(x, dy)), []
    threads = [threading.Thread(target=lambda: found.extend(np.asarray(run(x, dy)) for _ in range(5))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 30 and all(np.array_equal(f, expected) for f in found)


@needs_native
def test_inside_loops_and_maps():
    x, kernel = draw(4, 2, 6, 6, 3), draw(3, 3, 3, 8)

    def forward(x):
        return native.convolution("forward", x, kernel, (2, 4, 4, 8), (1, 1), ((0, 0), (0, 0)))

    expected = jnp.stack([plain(each, kernel, (1, 1), "VALID") for each in x])
    close(jax.lax.map(forward, x), expected)
    close(jax.vmap(forward)(x), expected)


@needs_native
@pytest.mark.parametrize("kind", ["lstm", "gru", "conv"])
def test_second_derivatives_are_those_of_the_plain_formulation(kind, monkeypatch):
    xp, h, c, weights, after = draw(3, 2, 12), draw(2, 3), draw(2, 3), draw(3, 12) / 2, draw(9)
    mask = jnp.asarray([[True, True], [True, False], [True, True]])

    def loss(xp, weights):
        if kind == "conv":
            return jnp.sum(jnp.tanh(conv(xp.reshape(1, 6, 6, 2), weights[:, :4].reshape(3, 1, 2, 2), padding="same")))
        if kind == "lstm":
            return jnp.sum(jnp.sin(recurrence.lstm(xp, h, c, weights, mask)[0]))
        return jnp.sum(jnp.sin(recurrence.gru(xp[..., :9], h, weights[:, :9], after, mask)[0]))

    def second(xp, weights):
        return jax.grad(lambda *a: sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(*a)), (0, 1))(xp, weights)

    found = jax.jit(second)(xp, weights)
    monkeypatch.setattr(native, "fits", lambda *arrays: False)
    for got, want in zip(found, jax.jit(second)(xp, weights), strict=True):
        close(got, want, 1e-5)


PROGRAM = """
import numpy as np, cenote as cn
from cenote import layers
from cenote.kernels import native
model = cn.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
x = np.ones((4, 6, 6, 1), "float32")
print(model.build(x)(x).shape, native.library(), native.status())
"""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"CENOTE_NATIVE": "0"}, "off: CENOTE_NATIVE=0"),
        ({"CXX": "/nowhere/c++"}, "no C++ compiler was found"),
        ({"CXX": "false"}, "false failed: exit code 1"),
    ],
    ids=["off", "missing", "broken"],
)
def test_why_there_are_none_is_said(setting, said, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_reasons", {})  # the libraries of this process stay what they are
    for name, value in {"CENOTE_HOME": str(tmp_path), **setting}.items():
        monkeypatch.setenv(name, value)
    assert build.library("convolution") is None and said in native.status()


def test_without_them_everything_works(tmp_path):
    env = {**os.environ, "CXX": "false", "CENOTE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "(4, 2) None" in done.stdout and "false failed: exit code 1" in done.stdout


SANITIZED = """
import ast, ctypes, sys
import jax, jax.numpy as jnp, numpy as np
from cenote.kernels import native
from cenote.kernels.native import build
loaded = ctypes.CDLL(sys.argv[1])
for target in build.TARGETS:
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(loaded, target)), platform="cpu")
draw = lambda *shape: jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
def convolutions():  # in one program, since compiling takes most of the time
    for n, h, w, ci, co, (kh, kw), (sh, sw), ((a, b), (c, d)) in ast.literal_eval(sys.argv[2]):
        y = (n, (h + a + b - kh) // sh + 1, (w + c + d - kw) // sw + 1, co)
        x, k, dy, rest = draw(n, h, w, ci), draw(kh, kw, ci, co), draw(*y), ((sh, sw), ((a, b), (c, d)))
        yield native.convolution("forward", x, k, y, *rest)
        yield native.convolution("input", dy, k, x.shape, *rest)
        yield native.convolution("kernel", x, dy, k.shape, *rest)
        yield native.joined(x, k, draw(co), shape=y, strides=rest[0], pads=rest[1], rectify=True, windows=False, keep=False)
        size, half = y[1:3], (n, y[1] // 2, y[2] // 2, co)
        if min(size) > 1:
            for bias in (draw(co), draw(0)):
                how = dict(strides=rest[0], pads=rest[1])
                yield native.joined(x, k, bias, shape=half, **how, rectify=True, windows=True, keep=False)
                pooled, places = native.joined(x, k, bias, shape=half, **how, rectify=False, windows=True, keep=True)
            yield native.pooled_input(pooled, places, k, shape=x.shape, size=size, **how)
            yield native.pooled_kernel(x, pooled, places, shape=k.shape, size=size, **how)
def depthwise():
    for n, h, w, c, m, kh, kw, sh, sw, before, after in (
        (2, 7, 12, 16, 1, 3, 3, 1, 1, 1, 1), (1, 9, 8, 37, 1, 3, 3, 2, 2, 0, 1), (3, 6, 11, 3, 2, 5, 5, 1, 2, 2, 1),
        (17, 8, 8, 20, 1, 7, 7, 1, 1, 3, 3), (2, 5, 5, 4, 1, 2, 9, 3, 1, 8, 8), (1, 5, 5, 48, 2, 3, 3, 4, 4, 2, 2),
    ):
        y = (n, (h + before + after - kh) // sh + 1, (w + before + after - kw) // sw + 1, c * m)
        x, k, dy, rest = draw(n, h, w, c), draw(kh, kw, 1, c * m), draw(*y), ((sh, sw), ((before, after),) * 2, "depthwise")
        yield native.convolution("forward", x, k, y, *rest)
        yield native.convolution("input", dy, k, x.shape, *rest)
        yield native.convolution("kernel", x, dy, k.shape, *rest)
def recurrences():
    for time, batch, units in ((5, 7, 19), (1, 1, 1), (2, 9, 16)):
        mask = jnp.asarray(np.arange(time * batch).reshape(batch, time) % 3 > 0)
        h, xp, w, three = draw(batch, units), draw(batch, time, 4 * units), draw(units, 4 * units), slice(0, 3 * units)
        x, k, b = draw(batch, time, 5), draw(5, 4 * units), draw(4 * units)
        hs, cs, gates = native.lstm_forward(xp, None, None, h, h, w, mask)
        yield native.lstm_backward(hs, h, h, cs, h, gates, w, mask)
        yield native.lstm_backward(None, h, h, cs, h, native.lstm_forward(x, k, b, h, h, w)[2], w)
        hs, kept = native.gru_forward(xp[..., three], None, None, h, w[:, three], None, mask)
        yield native.gru_backward(hs, h, hs, h, kept, w[:, three], mask)
        yield native.gru_forward(x, k[:, three], b[three], h, w[:, three], b[three], None)
        for last in (False, True):
            yield native.lstm_forward(x, k, None, h, h, w, mask, keep=False, last=last)
            yield native.gru_forward(x, k[:, three], None, h, w[:, three], None, mask, keep=False, last=last)
def steps_in_one():
    for n, c in ((1, 9), (7, 33), (3000, 17)):
        x, w = draw(n, c), draw(c)
        y, mean, variance = native.columns_forward(x, w, w, x, epsilon=1e-3, rectify=True)
        yield native.columns_backward(x, x, y, mean, variance, w, epsilon=1e-3, adds=True)
        y, mean, inverse = native.rows_forward(x, w, w, epsilon=1e-3, centre=True)
        yield native.rows_backward(x, x, mean, inverse, w, centre=True)
        yield native.gelu(native.gelu(x, approximate=False)[1], approximate=True)
    none, drawn = jnp.zeros((0, 0), jnp.float32), jnp.asarray([3, 4], jnp.uint32)
    long, short = (draw(1, 37, 2, 5),) * 3, (draw(1, 2, 1, 1),) * 3
    for q, k, v in ((draw(2, 9, 3, 5), draw(2, 21, 3, 5), draw(2, 21, 3, 7)), short, long):
        for shown, words in ((none, jnp.zeros(0, jnp.uint32)), (jnp.ones((len(k), k.shape[1])), drawn)):
            options = dict(scale=0.5, rate=0.3, causal=shown is none)
            y, weights = native.attention_forward(q, k, v, shown, words, **options)
            yield native.attention_backward(y, q, k, v, shown, words, weights, **options)
def of_training():
    for rows, features, units in ((1, 1, 1), (15, 29, 33), (70, 784, 130), (5, 1000, 1)):
        yield native.dense(draw(rows, features), draw(features, units), draw(units))
        yield native.dense_gradient(draw(rows, features).at[:, 3:9].set(0), draw(rows, units), (units,))
    yield native.adam(draw(2), draw(2), *[draw(5, 7), draw(8193)] * 4, beta_1=0.1, beta_2=0.01, epsilon=1e-7)
quick = {"xla_backend_optimization_level": 0}
everything = lambda: [*convolutions(), *depthwise(), *recurrences(), *steps_in_one(), *of_training()]
jax.block_until_ready(jax.jit(everything, compiler_options=quick)())
sys.path.insert(0, sys.argv[3])
import programs_under_sanitizers
build._libraries.update(dict.fromkeys(build.SOURCES, loaded))
build._reasons.update(dict.fromkeys(build.SOURCES, ""))
programs_under_sanitizers.run()
print("clean")
"""


@needs_native
def test_they_stay_inside_their_arrays(tmp_path):
    """Address and undefined-behaviour sanitizers, where the compiler has them."""
    compiler = build._compiler()
    runtimes = []
    for name in ("libasan.so", "libstdc++.so"):
        runtimes += subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.split()
    if "g++" not in compiler[0] or not all(Path(found).is_file() for found in runtimes):
        pytest.skip("this compiler has no sanitizers at hand")
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    flags = ["-std=c++17", "-O0", "-march=native", "-fPIC", "-fvisibility=hidden", "-isystem", jax.ffi.include_dir(), *checks]
    here = Path(build.__file__).parent
    (tmp_path / "all.cc").write_text("".join(f'#include "{here / name}.cc"\n' for name in build.SOURCES))  # reads headers once
    complaint = build._compile(compiler, flags, tmp_path / "all.cc", tmp_path / "kernels.so")
    assert not complaint, complaint
    env = {**os.environ, "LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0", "CENOTE_COMPILATION_CACHE": "0"}
    run = [sys.executable, "-c", SANITIZED, str(tmp_path / "kernels.so"), repr(list(CONVOLUTIONS.values())), str(PROGRAMS)]
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "clean" in done.stdout, done.stderr[-3000:]
