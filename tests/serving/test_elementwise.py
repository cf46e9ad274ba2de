"""Steps for operations on numbers one by one, and over axes: against numpy in double precision, and against JAX."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cenote import activations
from cenote.kernels import native
from cenote.kernels.answers import answering
from cenote.serving.plan import Unsupported
from cenote.serving.program import Program

pytestmark = pytest.mark.skipif(native.library("elementwise", "program") is None, reason=native.status())
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def the_same_numbers():
    """Whichever tests ran before."""
    global RNG
    RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


def program(function, *inputs):
    """Its answers, and its steps."""

    def listed(*given):
        with answering():
            return jax.tree.leaves(function(*given))

    made = Program(listed, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs])
    return made(*inputs), [step.name for step in made._plan.steps]


def same(function, *inputs, rows=(), rtol=2e-6):
    """A program gives what XLA does; so do those for the first of the rows."""
    wanted = jax.tree.leaves(jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})(*inputs))
    for n in (*rows, len(inputs[0])):
        found, _ = program(function, *(x[:n] for x in inputs))
        for a, b in zip(found, wanted, strict=True):
            assert (a.shape, a.dtype) == (b[:n].shape, b.dtype)
            finite = np.abs(np.where(np.isfinite(b), b, 0))
            np.testing.assert_allclose(a, b[:n], rtol=rtol, atol=rtol * float(finite.max()))


# -- accuracy ----------------------------------------------------------------------------------------------------------------

each = np.vectorize
TO_EVEN, AWAY = lax.RoundingMethod.TO_NEAREST_EVEN, lax.RoundingMethod.AWAY_FROM_ZERO
POWER = float(np.float32(2.7))
SHARE = each(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
FUNCTIONS = {  # what JAX calls it, the same by numpy, units in the last place that it may be away
    "exp": (lax.exp, np.exp, 1.5),
    "exp2": (lax.exp2, np.exp2, 1.5),
    "log": (lax.log, np.log, 1.5),
    "log1p": (lax.log1p, np.log1p, 2),
    "expm1": (lax.expm1, np.expm1, 2),
    "tanh": (lax.tanh, np.tanh, 2),
    "logistic": (lax.logistic, lambda x: 1 / (1 + np.exp(-x)), 3),
    "erf": (lax.erf, each(math.erf), 2),
    "sqrt": (lax.sqrt, np.sqrt, 0.5),
    "rsqrt": (lax.rsqrt, lambda x: 1 / np.sqrt(x), 2),
    "pow": (lambda x: lax.pow(x, np.float32(2.7)), lambda x: x**POWER, 1),
    "square": (lax.square, np.square, 0.5),
    "integer_pow": (lambda x: lax.integer_pow(x, -3), lambda x: x**-3.0, 4),
    "div": (lambda x: lax.div(np.float32(1), x), lambda x: 1 / x, 0.5),
    "abs": (lax.abs, np.abs, 0),
    "neg": (lax.neg, np.negative, 0),
    "sign": (lax.sign, np.sign, 0),
    "floor": (lax.floor, np.floor, 0),
    "ceil": (lax.ceil, np.ceil, 0),
    "round to even": (lambda x: lax.round(x, TO_EVEN), np.rint, 0),
    "round away": (lambda x: lax.round(x, AWAY), lambda x: np.copysign(np.floor(abs(x) + 0.5), x), 0),
    "sin": (lax.sin, np.sin, 1),
    "cos": (lax.cos, np.cos, 1),
    "max": (lambda x: lax.max(x, np.float32(0.5)), lambda x: np.maximum(x, 0.5), 0),
    "min": (lambda x: lax.min(np.float32(0.5), x), lambda x: np.minimum(0.5, x), 0),
    "clamp": (lambda x: lax.clamp(np.float32(-1), x, np.float32(2)), lambda x: np.clip(x, -1, 2), 0),
}
SPECIAL = [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 88.7, 88.73, -87.3, -87.4, -103.9, -104, 1e-40, -1e-40, 1e-45, 127.9]
SPECIAL += [128, -126, -149, -150, 3.4e38, -3.4e38, 0.5, -0.5, 1.5, 2.5, -2.5, 2.0**23 + 1, 2.0**31, -(2.0**31), 2.0**40]


def test_functions_are_good_to_a_few_units_in_the_last_place():
    """Over all bit patterns, and where numbers usually are; what is too small for a normal number may be zero."""
    bits = RNG.integers(0, 1 << 32, 40_000, dtype=np.uint32).view(np.float32)
    x = np.concatenate([bits, draw(20_000) * 5, draw(20_000) * 30, np.float32(SPECIAL)])[None]
    found, steps = program(lambda x: [function(x) for function, *_ in FUNCTIONS.values()], x)
    assert steps == ["map"]  # all in one pass
    least = float(np.finfo(np.float32).tiny)
    with np.errstate(all="ignore"):
        for (name, (_, exact, most)), y in zip(FUNCTIONS.items(), found, strict=True):
            wanted = exact(x.astype("float64"))
            rounded = wanted.astype("float32")
            assert np.array_equal(np.isnan(y), np.isnan(wanted)), name
            known = ~np.isnan(wanted)
            beyond = np.isinf(rounded) | np.isinf(y)
            edge = np.abs(wanted) > 3.4028e38  # rounding decides between the largest number and infinity
            assert np.array_equal(y[known & beyond & ~edge], rounded[known & beyond & ~edge]), name
            good = known & ~beyond
            away = np.maximum(np.abs(y[good] - wanted[good]) - least, 0)
            assert (away / np.spacing(np.maximum(np.abs(rounded[good]), least))).max() <= most, name


def test_gelu_is_its_formula():
    x = np.linspace(-12, 12, 4001, dtype="float32")[None]
    (exact, tanh), steps = program(lambda x: [activations.gelu(x), activations.gelu(x, True)], x)
    assert steps == ["map"]
    wide = x.astype("float64")
    np.testing.assert_allclose(exact, wide * SHARE(wide), rtol=2e-6, atol=1e-12)
    by_tanh = 0.5 * wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    np.testing.assert_allclose(tanh, by_tanh, rtol=3e-6, atol=1e-7)


# -- chains, dtypes, shapes --------------------------------------------------------------------------------------------------

ROWS = (1, 2, 7)
PASSES = {"softmin": 2, "log_softmax": 5}  # all others are one
ONES = sorted({f.__name__ for f in activations.NAMES.values()} - {"sparsemax", "glu", "threshold"})


def test_activations_are_one_pass():
    x = draw(7, 5, 9) * 3
    x[0, 0, :5] = [np.inf, -np.inf, np.nan, 0, 100]
    for name in ONES:
        _, steps = program(getattr(activations, name), x)
        assert len(steps) == PASSES.get(name, 1), name
    same(lambda x: [getattr(activations, name)(x) for name in (*ONES, "glu")], x[..., :8], rtol=3e-6)


def test_operands_of_all_forms():
    row, column, last, whole = draw(4, 3), draw(5, 1, 1), draw(3), draw(5, 4, 3)

    def forms(x, other, narrow, middle, small):
        y = (x * other + whole - 2.0) * row / jnp.exp(last) + column * narrow
        flat = (y.reshape(-1, 3) * last).reshape(x.shape) + middle  # as BatchNormalization joins the axes
        return flat, jnp.broadcast_to(small[:, None, :, None], x.shape), x + small[:, None, :, None], narrow + middle

    shapes = ((5, 4, 3), (5, 4, 3), (5, 1, 1), (1, 1, 3), (4,))
    same(forms, *(draw(33, *shape) for shape in shapes), rows=ROWS)


def test_whole_numbers_and_truth():
    many = RNG.integers(-(2**31), 2**31, (33, 37), dtype=np.int64).astype("int32")
    ids, picture, x = many % 5, (many % 256).astype("uint8"), draw(33, 37) * 3

    def mixed(many, ids, picture, x):
        seen = (ids != 0) & ~(x > 1) | (ids == 3)
        yield seen
        yield jnp.where(seen, x, -jnp.inf), jnp.where(seen, many, ids), seen == (x < 0)
        yield picture.astype("float32") / 255 - x, picture.astype("int32") + ids
        yield many * ids + 7, -many, jnp.maximum(many, ids), many >= ids, many < 5, jnp.clip(many, -3, 9)
        yield (x * 1e9).astype("int32"), x.astype(bool), ids.astype(bool), seen.astype("float32"), seen.astype("int32")
        yield jnp.isfinite(x), ids.astype("float32") ** 2, seen.any(1), seen.all(-1), ids.sum(1), many.max(1), many.min(1)

    same(lambda *given: list(mixed(*given)), many, ids, picture, x, rows=ROWS)


def test_real_numbers_become_whole_ones_towards_zero():
    x = np.float32([[-2.7, 2.7, np.nan, np.inf, -np.inf, 2147483648.0, -2147483648.0, 2147483520.0]])
    (y,), _ = program(lambda x: x.astype("int32"), x)
    most = 2**31 - 1
    assert y.tolist() == [[-2, 2, 0, most, -most - 1, most, -most - 1, 2147483520]]


def test_what_is_used_several_times_is_reckoned_once():
    """Also where it is among the outputs, reshaped, or the very input."""
    x = draw(3, 8)

    def several(x):
        y = jnp.exp(x)
        z = y.reshape(3, 2, 4) * 2
        return y, z, z.reshape(3, 8) + y, jnp.maximum(x, -jnp.inf)

    assert program(several, x)[1] == ["map", "copy"]
    same(several, x)


def test_as_many_threads_or_one():
    """A large array is shared between threads; what they do does not depend on it."""
    x = draw(1, 700, 999)
    (alone,), _ = program(lambda x: jax.nn.silu(x) + x.mean(2, keepdims=True), x[:, :3])
    (shared,), _ = program(lambda x: jax.nn.silu(x) + x.mean(2, keepdims=True), x)
    assert np.array_equal(shared[:, :3], alone)


# -- over axes ---------------------------------------------------------------------------------------------------------------


def test_softmax_is_one_step():
    for width in (1, 3, 15, 16, 17, 49, 63, 1500):
        x = draw(33, width) * 5
        x[:5, 0] = [np.inf, -np.inf, np.nan, 200, -200]
        x[5] = -np.inf
        found, steps = program(activations.softmax, x)
        assert steps == ["softmax"]
        wide = x.astype("float64")
        with np.errstate(all="ignore"):
            e = np.exp(wide - wide.max(1, keepdims=True))
            np.testing.assert_allclose(found[0], e / e.sum(1, keepdims=True), rtol=5e-6, atol=1e-37)
    # What looks like one and is not, or is asked for on the way.
    x = draw(4, 4)

    def halves(x):
        e = jnp.exp(x - x.max(1, keepdims=True))
        other = jnp.exp(x - x.min(1, keepdims=True))
        return e, e / e.sum(1, keepdims=True), other / other.sum(1, keepdims=True), e / e.sum(1)[:, None] * 2

    same(halves, x)


def test_sums_and_extremes():
    x, wide = draw(33, 3, 5, 7), draw(33, 6, 83)
    x[0, 0, 0, :2] = [np.inf, 3e38]

    def all_of(x, wide):
        for axes in ((1,), (2,), (3,), (1, 2), (2, 3), (1, 3), (1, 2, 3)):
            yield x.max(axes), x.min(axes), (x < 0).astype("int32").sum(axes), jnp.minimum(x, 3).sum(axes)
        yield wide.sum(1), wide.sum(2), wide.max(1, keepdims=True), wide.min(2), jnp.abs(wide).sum((1, 2))

    same(lambda x, wide: list(all_of(x, wide)), x, wide, rows=ROWS)
    nothing = np.full((3, 4), np.nan, "float32")
    (largest, total), _ = program(lambda x: [x.max(1), x.sum(1)], nothing)
    assert np.isnan(largest).all() and np.isnan(total).all()


@pytest.mark.parametrize("shape,axis", [((1, 1_000_003), 1), ((1, 60_000, 5), 1), ((1, 20_000, 70), 1)])
def test_long_sums_lose_no_digits(shape, axis):
    x = RNG.uniform(0, 1, shape).astype("float32")
    (y,), _ = program(lambda x: x.sum(axis), x)
    np.testing.assert_allclose(y, x.astype("float64").sum(axis), rtol=4e-7)


def test_products_of_pairs():
    """Along any axes, with others before and after; nothing is read or written beside them."""
    a, b, c = draw(33, 5, 3, 7), draw(33, 7, 5, 2), draw(33, 3, 7)

    def products(a, b, c):
        for form in ("bijk,bkil->bjl", "bijk,bkml->bijml"):
            yield jnp.einsum(form, a, b)
        yield jnp.einsum("bijk,bjk->bi", a, c), jnp.einsum("bjk,bjk->b", c, c), jnp.einsum("bjk,bmk->bjm", c, c)
        yield jnp.einsum("bijk,jl->bikl", a, kernel)

    kernel = draw(3, 4)
    same(lambda *given: list(products(*given)), a, b, c, rows=ROWS)
    for rows, inner, columns in ((1, 1, 1), (4, 9, 16), (9, 3, 33), (70, 50, 90)):
        x, y = draw(2, rows, inner), draw(2, inner, columns)
        (z,), steps = program(jnp.matmul, x, y)
        assert steps == ["pairs"]
        np.testing.assert_allclose(z, x.astype("float64") @ y, rtol=1e-5, atol=1e-5)
    one, other = draw(1, 5, 4), draw(1, 4, 3)  # of which JAX leaves out the first axis
    np.testing.assert_allclose(program(jnp.matmul, one, other)[0][0], one @ other, rtol=1e-5, atol=1e-6)
    whole = draw(64, 3000)  # rows with each other: correct, and never cut
    (z,), _ = program(lambda x: jnp.einsum("ik,jk->ij", x, x), whole)
    np.testing.assert_allclose(z, whole @ whole.T, rtol=1e-4, atol=1e-3)


def test_what_there_is_no_step_for_is_said():
    x = draw(4, 6)
    for function, said in (
        (lambda x: x.sum(0), "no step does reduce_sum over the rows"),
        (lambda x: jnp.cumsum(x, 1), "no step does cumsum"),
        (lambda x: x.astype("float16"), "no step works on float16"),
        (lambda x: x.astype("uint8"), "no step makes uint8 of float32"),
        (lambda x: x.astype("int32") % 3, "no step does rem"),
    ):
        with pytest.raises(Unsupported, match=said):
            program(function, x)


def test_a_step_has_only_so_many_operations():
    """What is longer goes on in the next one."""

    def long(x):
        for i in range(200):
            x = x * (1 + i / 1000) + i
        return x / 1e3

    x = draw(2, 9)
    (y,), steps = program(long, x)
    assert len(steps) > 3
    np.testing.assert_allclose(y, long(x.astype("float64")), rtol=1e-5)
