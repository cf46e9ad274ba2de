"""Programs in C++: rows are cut only where they do not depend on each other; memory, threads and forks."""

import os
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.kernels import native
from cenote.kernels.native import build
from cenote.serving.graph import alike, graph
from cenote.serving.plan import Unsupported
from cenote.serving.program import Program

needs_native = pytest.mark.skipif(native.library("program", "dense") is None, reason=f"no native kernels: {native.status()}")
RNG = np.random.default_rng(0)
WIDE, NARROW, BIAS = (RNG.normal(size=s).astype("float32") / 8 for s in ((70, 150), (150, 70), (150,)))


def spec(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def products(x):
    return jax.nn.relu(x @ WIDE + BIAS) @ NARROW + x


def expected(x):
    return np.maximum(x @ WIDE + BIAS, 0) @ NARROW + x


@needs_native
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 64, 1001])
def test_any_number_of_rows(rows):
    x = draw(rows, 70)
    program = Program(products, [spec(rows, 70)])
    np.testing.assert_allclose(program(x)[0], expected(x), rtol=1e-4, atol=1e-5)
    assert program.rows < rows or rows < 300  # many rows are done a few at a time
    y = program(x)[0]
    np.testing.assert_array_equal(program(np.asfortranarray(x))[0], y)
    x.flags.writeable = False
    np.testing.assert_array_equal(program(x)[0], y)


@needs_native
def test_rows_do_not_depend_on_how_many_there_are():
    x = draw(200, 70)
    few, many = Program(products, [spec(100, 70)]), Program(products, [spec(200, 70)])
    assert few.rows != 100 and np.array_equal(many(x)[0][:100], few(x[:100])[0])


@needs_native
def test_what_is_no_number_stays_in_its_row():
    x = draw(300, 70)
    x[5, 3], x[7, 0] = np.nan, np.inf
    y = Program(lambda x: jax.nn.relu(x @ WIDE), [spec(300, 70)])(x)[0]
    assert np.isnan(y[5]).all() and np.isinf(y[7]).any()
    rest = np.delete(np.arange(300), [5, 7])
    np.testing.assert_allclose(y[rest], np.maximum(x[rest] @ WIDE, 0), rtol=1e-4, atol=1e-5)


@needs_native
def test_arrays_that_are_needed_longer_are_not_written_over():
    """Networks drawn at random, in which any earlier array may be used again, and several are asked for."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        weights = [rng.normal(size=(40, 40)).astype("float32") / 6 for _ in range(9)]
        uses = [int(rng.integers(0, i + 1)) for i in range(9)]
        kept = sorted({int(i) for i in rng.integers(1, 10, 3)})

        def network(x, tanh=jnp.maximum, weights=weights, uses=uses, kept=kept):
            found = [x]
            for i, w in enumerate(weights):
                found.append(tanh(found[i] @ w + found[uses[i]], 0.0))
            return [found[i] for i in kept]

        x = draw(33, 40)
        for got, want in zip(Program(network, [spec(33, 40)])(x), network(x, np.maximum), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_functions_that_look_at_the_rows_are_not_cut():
    def same(function, **dtypes):
        return alike(*(graph(function, spec(rows, 6, **dtypes)) for rows in (12, 4)))

    assert same(lambda x: (x * 2 + np.arange(6)).reshape(x.shape[0], 3, 2).sum(1))
    assert same(lambda x: jnp.concatenate([jnp.zeros((x.shape[0], 2)), x], 1))
    assert not same(lambda x: x / x.shape[0])
    assert not same(lambda x: x + jnp.arange(x.shape[0])[:, None])
    assert not same(lambda x: x - x.mean(0))
    assert not same(lambda x: x.reshape(6, x.shape[0]))
    assert not same(lambda x: x[: x.shape[0] // 2])
    assert not same(lambda x: x * 2 if x.shape[0] > 5 else x * 3)
    assert not same(lambda x: x[:4])


@needs_native
def test_products_across_rows_are_refused():
    for function in (lambda x: x.T @ draw(300, 5), lambda x: x @ x.T, lambda x: jnp.sort(x)):
        with pytest.raises(Unsupported):
            Program(function, [spec(300, 70)])


class Odd(cn.Model):
    """Each row is seen beside the largest of all rows."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def forward(self, x):
        return self.dense(x - x.max(axis=0))


def test_what_has_no_step_is_left_to_xla():
    net, x = Odd(), draw(300, 70)
    net.build(x)
    serve = net.compiled(x)
    assert serve.engine.startswith("XLA: ")
    np.testing.assert_allclose(serve(x), net.predict(x, batch_size=300), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("setting", "said"), [("CENOTE_NATIVE", "off: CENOTE_NATIVE=0"), ("CXX", "no C++ compiler")])
def test_without_kernels_it_is_xla(setting, said, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_reasons", {})
    monkeypatch.setattr(build, "_libraries", {})
    monkeypatch.setenv("CENOTE_HOME", str(tmp_path))
    monkeypatch.setenv(setting, "0")
    net = cn.Sequential([layers.Dense(3, input_shape=(5,))])
    serve = net.compiled((2, 5))
    assert serve.engine.startswith("XLA: ") and said in serve.engine
    assert serve(draw(2, 5)).shape == (2, 3)


@needs_native
def test_many_threads_share_a_program_and_its_helpers():
    x = draw(512, 70)
    program, wrong = Program(products, [spec(512, 70)]), []
    want = program(x)[0]

    def work():
        for _ in range(40):
            if not np.array_equal(program(x)[0], want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_it_answers_in_a_process_that_was_forked_off():
    x = draw(512, 70)
    program = Program(products, [spec(512, 70)])
    want = program(x)[0]
    child = os.fork()
    if not child:
        signal.alarm(20)  # rather than hang for ever
        os._exit(0 if all(np.array_equal(program(x)[0], want) for _ in range(20)) else 1)
    assert os.waitpid(child, 0)[1] == 0 and np.array_equal(program(x)[0], want)


@needs_native
def test_what_is_made_for_one_number_of_rows_is_not_cut():
    x = draw(300, 70)
    program = Program(lambda x: jax.nn.relu(x.reshape(300, 70) @ WIDE), [spec(300, 70)])
    np.testing.assert_allclose(program(x)[0], np.maximum(x @ WIDE, 0), rtol=1e-4, atol=1e-5)
    assert program.rows == 1


@needs_native
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x.reshape(4, 6, 2).sum(0), "rows"),
        (lambda x: jax.vmap(lambda row: row.reshape(3, 4).reshape(-1, order="F"))(x), "turned"),
        (lambda x: x + jax.random.normal(jax.random.key(0), (2, 12)).sum(0) + jnp.sort(x), "sort"),
        (lambda x: (jax.debug.print("{}", x[0, 0]), x * 2)[1], "side effects"),
        (lambda x: jnp.dot(x, draw(12, 3), preferred_element_type=jnp.bfloat16), "product"),
        (lambda x: x[:, :0] @ np.zeros((0, 5), np.float32), "nothing"),
    ],
    ids=["over rows", "Fortran order", "random keys", "effects", "another dtype", "no features"],
)
def test_what_no_step_does_is_said(function, said):
    with pytest.raises(Unsupported, match=said):
        Program(function, [spec(4, 12)])


@needs_native
def test_random_keys_among_the_constants():
    x = draw(4, 12)
    program = Program(lambda x: x + jax.random.normal(jax.random.key(0), (12,)), [spec(4, 12)])
    np.testing.assert_allclose(program(x)[0], x + np.asarray(jax.random.normal(jax.random.key(0), (12,))), rtol=1e-6)


@needs_native
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes here are not bound to cores")
def test_threads_keep_to_the_cores_that_they_are_given():
    """In a process of its own: one core, one thread, and the same numbers."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import sys, jax, numpy as np\n"
        "from cenote.serving.program import Program\n"
        "x, w = (np.random.default_rng(0).normal(size=s).astype('float32') for s in ((512, 70), (70, 150)))\n"
        "program = Program(lambda x: x @ w, [jax.ShapeDtypeStruct(x.shape, x.dtype)])\n"
        "before = len(os.listdir('/proc/self/task')); y = program(x)[0]\n"
        "print(len(os.listdir('/proc/self/task')) - before, np.abs(y - x @ w).max() < 1e-3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["0", "True"], done.stderr


@needs_native
def test_weights_are_read_once():
    kernel = draw(70, 9)
    program = Program(lambda x: x @ kernel, [spec(4, 70)])
    x = draw(4, 70)
    want = x @ kernel
    kernel[:] = 0
    np.testing.assert_allclose(program(x)[0], want, rtol=1e-4, atol=1e-5)
