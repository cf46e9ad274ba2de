"""Start values: distributions against theory, the same values on every way to them."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from cenote import initializers

SHAPE = (200, 300)
KEY = jax.random.key(0)


def draw(initializer, shape=SHAPE):
    return np.asarray(initializer(KEY, shape), np.float64).ravel()


@pytest.mark.parametrize(
    ("initializer", "law"),
    [
        (initializers.RandomNormal(0.5, 2.0), scipy.stats.norm(0.5, 2.0)),
        (initializers.RandomUniform(-1.0, 3.0), scipy.stats.uniform(-1.0, 4.0)),
        (initializers.TruncatedNormal(1.0, 0.5), scipy.stats.truncnorm(-2, 2, 1.0, 0.5)),
        (initializers.GlorotUniform(), scipy.stats.uniform(-np.sqrt(6 / 500), 2 * np.sqrt(6 / 500))),
        (initializers.HeUniform(), scipy.stats.uniform(-np.sqrt(6 / 200), 2 * np.sqrt(6 / 200))),
        (initializers.LecunUniform(), scipy.stats.uniform(-np.sqrt(3 / 200), 2 * np.sqrt(3 / 200))),
        (initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"), scipy.stats.norm(0, np.sqrt(2 / 300))),
    ],
    ids=lambda value: repr(value) if isinstance(value, initializers.Initializer) else "",
)
def test_distribution(initializer, law):
    assert scipy.stats.kstest(draw(initializer), law.cdf).pvalue > 1e-3


def cut(variance):
    std = np.sqrt(variance) / 0.87962566103423978
    return scipy.stats.truncnorm(-2, 2, 0, std)


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (initializers.GlorotNormal(), 2 / 500),
        (initializers.HeNormal(), 2 / 200),
        (initializers.LecunNormal(), 1 / 200),
        (initializers.VarianceScaling(), 1 / 200),
        (initializers.VarianceScaling(3.0, "fan_avg", "normal"), 6 / 500),
        (initializers.VarianceScaling(mode="fan_out", input_axes=(1,), output_axes=(0,)), 1 / 200),
    ],
    ids=repr,
)
def test_truncated_ones_have_the_wanted_variance(initializer, variance):
    values = draw(initializer)
    assert values.var() == pytest.approx(variance, rel=0.02)
    assert scipy.stats.kstest(values, cut(variance).cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", [n for n in initializers.NAMES if "normal" in n or "uniform" in n or n == "variance_scaling"])
def test_spread_as_those_of_keras(name):
    """Moments and quantiles of a convolution's kernel, ours beside Keras's."""
    keras = pytest.importorskip("keras")
    ours, theirs = draw(initializers.get(name), (3, 3, 40, 50)), keras.initializers.get(name)
    theirs.seed = 3
    theirs = np.asarray(theirs((3, 3, 40, 50)), np.float64).ravel()
    assert ours.mean() == pytest.approx(theirs.mean(), abs=5 * ours.std() * np.sqrt(2 / ours.size))
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    marks = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(np.quantile(ours, marks), np.quantile(theirs, marks), atol=0.1 * ours.std())
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3


def test_orthogonal_spreads_as_that_of_keras():
    keras = pytest.importorskip("keras")
    ours = [draw(initializers.Orthogonal(seed=i), (3, 2)) for i in range(300)]
    theirs = [np.asarray(keras.initializers.Orthogonal(seed=i)((3, 2))).ravel() for i in range(60)]
    for place in (0, 3):
        assert scipy.stats.ks_2samp([q[place] for q in ours], [q[place] for q in theirs]).pvalue > 1e-3
    # The first entry of a column that is uniform on the sphere is uniform itself (Archimedes).
    assert scipy.stats.kstest([q[0] for q in ours], scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_every_name_of_keras_is_here():
    keras = pytest.importorskip("keras")
    assert [n for n in dir(keras.initializers) if n[0] != "_" and not hasattr(initializers, n)] == []
    for name in ("IdentityInitializer", "STFTInitializer", "OrthogonalInitializer", "normal", "uniform", "zero", "one"):
        assert type(initializers.get(name)).__name__ == type(keras.initializers.get(name)).__name__
    again = initializers.deserialize(initializers.serialize(initializers.VarianceScaling(2.0, "fan_out")))
    assert (again.scale, again.mode) == (2.0, "fan_out")


def test_an_array_is_an_initializer():
    values = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(initializers.get(values)(KEY, (2, 3)), values)


def test_fans_are_those_of_keras():
    keras = pytest.importorskip("keras")
    for shape in [(7, 5), (3, 3, 8, 16), (5, 2, 4), (6,)]:
        # Uniform bounds show the fans: the largest of many draws comes near the bound.
        theirs = keras.initializers.GlorotUniform(seed=1)((1000, *shape[1:]) if len(shape) == 1 else shape)
        limit = np.sqrt(6 / sum(initializers.fans(shape)))
        if len(shape) > 1:
            assert np.abs(np.asarray(theirs)).max() <= limit
            assert np.abs(np.asarray(theirs)).max() > 0.7 * limit
    assert initializers.fans((3, 3, 8, 16)) == (72, 144)
    assert initializers.fans((4, 2, 6), input_axes=(0,), output_axes=(1, 2)) == (4, 12)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 2, 5)])
def test_orthogonal(shape):
    q = draw(initializers.Orthogonal(gain=2.0), shape).reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_orthogonal_has_no_preferred_sign():
    firsts = [draw(initializers.Orthogonal(seed=i), (2, 2))[0] for i in range(40)]
    assert 8 < sum(f > 0 for f in firsts) < 32


def test_fixed_values():
    assert draw(initializers.Zeros(), (2, 3)).tolist() == [0] * 6
    assert draw(initializers.Ones(), (2,)).tolist() == [1, 1]
    assert draw(initializers.Constant([1.0, 2.0]), (2, 2)).tolist() == [1, 2, 1, 2]
    assert draw(initializers.Identity(3.0), (2, 3)).tolist() == [3, 0, 0, 0, 3, 0]


@pytest.mark.parametrize(
    "options",
    [("real", "hann", "density"), ("imag", "hamming", "spectrum"), ("real", None, None), ("imag", "hann", None)],
)
def test_stft_is_that_of_keras(options):
    keras = pytest.importorskip("keras")
    theirs = keras.initializers.STFT(*options)((16, 1, 9))
    np.testing.assert_allclose(initializers.STFT(*options)(None, (16, 1, 9)), theirs, atol=1e-5)


def test_stft_takes_windows_and_refuses_what_does_not_fit():
    keras = pytest.importorskip("keras")
    options = ("real", np.linspace(0, 1, 16).astype("float32"), "spectrum")
    np.testing.assert_allclose(
        initializers.STFT(*options)(None, (16, 1, 9)), keras.initializers.STFT(*options)((16, 1, 9)), atol=1e-5
    )
    theirs = keras.initializers.STFT("real", "hann", periodic=True)((12, 1, 9))
    np.testing.assert_allclose(initializers.STFT("real", "hann", periodic=True)(None, (12, 1, 9)), theirs, atol=1e-5)
    with pytest.raises(ValueError, match="side='left'"):
        initializers.STFT("left")
    with pytest.raises(ValueError, match="scaling='loud'"):
        initializers.STFT(scaling="loud")
    with pytest.raises(ValueError, match=r"window has shape \(3,\)"):
        initializers.STFT(window=np.ones(3))(None, (16, 1, 9))


def test_values_are_a_function_of_the_key():
    init = initializers.GlorotUniform()
    a = init(KEY, (5, 4))
    assert jnp.array_equal(a, init(jax.random.key(0), (5, 4)))
    assert jnp.array_equal(a, init(jax.random.PRNGKey(0), (5, 4))), "an old-style key gives the same"
    assert not jnp.array_equal(a, init(jax.random.key(1), (5, 4)))
    assert not jnp.array_equal(a, init(jax.random.fold_in(KEY, 1), (5, 4)))


def test_compiled_and_mapped_draws_are_the_same():
    init = initializers.TruncatedNormal()
    keys = jax.random.split(KEY, 3)
    eager = jnp.stack([init(k, (4,)) for k in keys])
    assert jnp.array_equal(jax.jit(lambda k: init(k, (4,)))(keys[1]), eager[1])
    assert jnp.array_equal(jax.jit(jax.vmap(lambda k: init(k, (4,))))(keys), eager)
    assert jax.eval_shape(lambda k: init(k, (4,), jnp.bfloat16), KEY).dtype == jnp.bfloat16


def test_a_seed_makes_the_key_idle():
    init = initializers.HeNormal(seed=7)
    assert jnp.array_equal(init(None, (3, 3)), init(KEY, (3, 3)))
    with pytest.raises(ValueError, match="needs a key"):
        initializers.HeNormal()(None, (3, 3))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.int32])
def test_dtype(dtype):
    assert initializers.RandomUniform(0, 10)(KEY, (3,), dtype).dtype == dtype
    assert initializers.Zeros()(KEY, (3,), dtype).dtype == dtype


def test_double_precision_has_its_digits():
    with jax.enable_x64(True):
        values = initializers.RandomNormal()(KEY, (5,), jnp.float64)
        assert values.dtype == jnp.float64
        assert not np.array_equal(values, np.asarray(values, np.float32))


def test_names():
    assert isinstance(initializers.get("glorot_uniform"), initializers.GlorotUniform)
    assert isinstance(initializers.get("HeNormal"), initializers.HeNormal)
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    function = jax.nn.initializers.ones
    assert initializers.get(function) is function


def test_bad_arguments():
    with pytest.raises(ValueError, match="mode='fan'"):
        initializers.VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="distribution='gamma'"):
        initializers.VarianceScaling(distribution="gamma")
    with pytest.raises(ValueError, match="scale=0"):
        initializers.VarianceScaling(0)
    with pytest.raises(ValueError, match="use Orthogonal or Zeros"):
        initializers.Identity()(KEY, (3,))
    with pytest.raises(ValueError, match="use RandomNormal or Zeros"):
        initializers.Orthogonal()(KEY, (3,))
    with pytest.raises(TypeError, match="takes one key"):
        initializers.HeNormal()(jax.random.split(KEY), (3, 3))
