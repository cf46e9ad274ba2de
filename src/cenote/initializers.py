"""Start values of weights: Keras's names, drawn on the host so that nothing is compiled and every device gets the same.

An initializer is called as ``init(key, shape, dtype)``. The key (new or old style) seeds a counter-based generator of
numpy; under `jax.jit` or `jax.vmap` the same draw is made by a callback, with the same values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cenote.core.configurable import Configurable, family, plain, resolve

# The standard deviation of a standard normal cut at two: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
CUT_NORMAL_STD = 0.8796256610342398


class Initializer(Configurable):
    """Base of initializers: write ``draw(rng, shape, dtype)`` with numpy, and the rest is done here.

    Shapes: any. ``seed`` makes the values independent of the key: the same at every use, as in Keras.
    Raises: ValueError without a key and a seed.

    >>> import jax
    >>> class Dice(Initializer):
    ...     def draw(self, rng, shape, dtype):
    ...         return rng.integers(1, 7, shape)
    >>> values = Dice()(jax.random.key(0), (100,))
    >>> int(values.min()), int(values.max()), values.dtype.name
    (1, 6, 'float32')
    """

    seed: int | None = None

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        """Values of this shape and dtype, a function of the key (or of the seed) alone."""
        shape = tuple(int(n) for n in shape)
        dtype = np.dtype(jax.dtypes.canonicalize_dtype(dtype))
        if self.seed is not None:
            words = np.random.SeedSequence(self.seed).generate_state(4)
        elif key is None:
            raise ValueError(f"{self!r} needs a key: pass jax.random.key(0), or give the initializer a seed")
        else:
            words = _words(key)
        if isinstance(words, jax.core.Tracer):
            spec = jax.ShapeDtypeStruct(shape, dtype)
            return jax.pure_callback(lambda w: self._host(w, shape, dtype), spec, words, vmap_method="sequential")
        return jax.device_put(self._host(words, shape, dtype))  # asarray compiles a program for each shape

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The values, in any precision; `dtype` (float32 or float64) is the one worth drawing in."""
        raise NotImplementedError(f"{type(self).__name__} has no draw(self, rng, shape, dtype): write it")

    def _host(self, words: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        state = np.zeros(4, np.uint32)
        given = np.asarray(words, np.uint32).reshape(-1)
        state[: len(given)] = given[:4]
        rng = np.random.Generator(np.random.Philox(key=state.view(np.uint64)))
        precision = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        return np.asarray(self.draw(rng, shape, precision)).astype(dtype)


def _words(key: Any) -> Any:
    """The 32-bit words of a key: two of threefry's, four of the other generators'."""
    if isinstance(key, (jax.Array, jax.core.Tracer)) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    if isinstance(key, jax.core.Tracer):
        return key
    words = np.asarray(key)
    if words.dtype != np.uint32 or words.ndim != 1:
        raise TypeError(f"an initializer takes one key, such as jax.random.key(0); got {key!r}")
    return words


class Zeros(Initializer):
    """All zero.

    >>> Zeros()(None, (2,)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return _fixed(np.zeros, shape, dtype)


class Ones(Initializer):
    """All one.

    >>> Ones()(None, (2,)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return _fixed(np.ones, shape, dtype)


class Constant(Initializer):
    """One number everywhere, or an array that broadcasts to the shape.

    >>> Constant(0.5)(None, (2,)).tolist()
    [0.5, 0.5]
    """

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return _fixed(lambda shape, dtype: np.full(shape, self.value, dtype), shape, dtype)


class Identity(Initializer):
    """``gain`` on the diagonal of a matrix, zero elsewhere.

    Raises: ValueError for a shape that is not (rows, columns).

    >>> Identity()(None, (2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        if len(shape) != 2:
            raise ValueError(f"Identity makes matrices; the weight has shape {tuple(shape)}: use Orthogonal or Zeros")
        return _fixed(lambda shape, dtype: (self.gain * np.eye(*shape)).astype(dtype), shape, dtype)


class STFT(Initializer):
    """Kernel of the short-time Fourier transform: ``window[t] cos(2 pi t f / F) / scale``; imaginary side ``-sin``.

    Shapes: (window length, 1, F // 2 + 1). ``window`` is a name known to `scipy.signal.get_window`, an array, or None;
    ``scaling`` divides by the 2-norm ("density") or the sum ("spectrum") of the window, or not at all (None).

    >>> STFT("real", None, None)(None, (2, 1, 3)).reshape(2, 3).round(3).tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0]]
    """

    def __init__(self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False):
        if side not in ("real", "imag"):
            raise ValueError(f"side={side!r}: give 'real' or 'imag'")
        if scaling not in ("density", "spectrum", None):
            raise ValueError(f"scaling={scaling!r}: give 'density', 'spectrum' or None")
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return _fixed(self._kernel, shape, dtype)

    def _kernel(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        frame, _, bands = shape
        angle = 2 * np.pi * np.arange(frame)[:, None, None] * np.arange(bands) / (2 * (bands - 1))
        kernel = np.cos(angle) if self.side == "real" else -np.sin(angle)
        if self.window is not None:
            window = self.window
            if isinstance(window, str):
                from scipy.signal import get_window

                window = get_window(window, frame, self.periodic)
            window = np.asarray(window, np.float64)
            if window.shape != (frame,):
                raise ValueError(f"the window has shape {window.shape}, the kernel needs ({frame},)")
            scale = {"density": np.sqrt(np.sum(window**2)), "spectrum": np.sum(np.abs(window)), None: 1.0}[self.scaling]
            kernel = kernel * window[:, None, None] / scale
        return kernel.astype(dtype)


def _fixed(make: Any, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Values that depend on no key."""
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(dtype))
    return jax.device_put(make(tuple(int(n) for n in shape), dtype))


class RandomNormal(Initializer):
    """Normal with this mean and standard deviation.

    >>> RandomNormal(seed=1)(None, (2, 2)).shape
    (2, 2)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return _normal(rng, shape, dtype, self.mean, self.stddev)


class RandomUniform(Initializer):
    """Uniform in [minval, maxval).

    >>> bool((abs(RandomUniform(seed=1)(None, (9,))) <= 0.05).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return _uniform(rng, shape, dtype, self.minval, self.maxval)


class TruncatedNormal(Initializer):
    """Normal with values beyond two standard deviations drawn again (so the spread is 0.88 ``stddev``).

    >>> bool((abs(TruncatedNormal(seed=1)(None, (99,))) <= 0.1).all())
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return _truncated(rng, shape, dtype, self.mean, self.stddev)


class VarianceScaling(Initializer):
    """Spread chosen from the number of inputs and outputs: variance ``scale / n``.

    n is fan_in, fan_out or their mean ("fan_avg"). For a kernel (..., inputs, outputs) fan_in is inputs times the
    leading sizes; ``input_axes`` and ``output_axes`` say otherwise. ``distribution``: "truncated_normal" (cut at two
    standard deviations and widened again to the wanted variance), "untruncated_normal", or "uniform" in
    +-sqrt(3 scale / n).
    Raises: ValueError for an unknown mode or distribution, or a scale that is not positive.

    >>> bool((abs(VarianceScaling(1.0, "fan_in", "uniform", seed=1)(None, (3, 50))) <= 1.0).all())
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        if not scale > 0:
            raise ValueError(f"scale={scale}: give a positive number")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode={mode!r}: give 'fan_in', 'fan_out' or 'fan_avg'")
        distribution = {"normal": "truncated_normal"}.get(distribution.lower(), distribution.lower())
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(f"distribution={distribution!r}: give 'truncated_normal', 'untruncated_normal' or 'uniform'")
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed
        self.input_axes, self.output_axes = input_axes, output_axes

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        fan_in, fan_out = fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return _uniform(rng, shape, dtype, -limit, limit)
        if self.distribution == "untruncated_normal":
            return _normal(rng, shape, dtype, 0.0, math.sqrt(variance))
        return _truncated(rng, shape, dtype, 0.0, math.sqrt(variance) / CUT_NORMAL_STD)


class _Scaled(VarianceScaling):
    """A named choice of scale, mode and distribution."""

    choice: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(*self.choice, seed=seed, input_axes=input_axes, output_axes=output_axes)


class GlorotUniform(_Scaled):
    """Uniform in +-sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, AISTATS.

    >>> GlorotUniform()(jax.random.key(0), (2, 3)).shape
    (2, 3)
    """

    choice = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010, AISTATS."""

    choice = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform in +-sqrt(6 / fan_in), for ReLU layers. Source: He et al. 2015, arXiv:1502.01852."""

    choice = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal of variance 2 / fan_in, for ReLU layers. Source: He et al. 2015, arXiv:1502.01852."""

    choice = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform in +-sqrt(3 / fan_in). Source: LeCun et al. 1998, Efficient BackProp."""

    choice = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal of variance 1 / fan_in, for SELU layers. Source: LeCun et al. 1998, Efficient BackProp."""

    choice = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """A random matrix with orthonormal columns (or rows, if there are fewer), times ``gain``.

    Shapes: at least two axes; (..., outputs) is drawn as the matrix (product of the leading sizes, outputs).
    Source: Saxe et al. 2014, arXiv:1312.6120.

    >>> q = np.asarray(Orthogonal(seed=1)(None, (4, 2)))
    >>> bool(np.allclose(q.T @ q, np.eye(2), atol=1e-6))
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.gain, self.seed = gain, seed

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal makes matrices; the weight has shape {shape}: use RandomNormal or Zeros")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        # The signs make the distribution uniform over the orthogonal group (Mezzadri 2007, arXiv:math-ph/0609050).
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


def fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """How many inputs one output sees, and how many outputs one input feeds.

    >>> fans((784, 128)), fans((3, 3, 16, 32)), fans((5,))
    ((784, 128), (144, 288), (5, 5))
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def _uniform(rng: np.random.Generator, shape: tuple, dtype: np.dtype, low: float, high: float) -> np.ndarray:
    values = rng.random(shape, dtype)
    values *= dtype.type(high - low)
    values += dtype.type(low)
    return values


def _normal(rng: np.random.Generator, shape: tuple, dtype: np.dtype, mean: float, std: float) -> np.ndarray:
    values = rng.standard_normal(shape, dtype)
    values *= dtype.type(std)
    values += dtype.type(mean)
    return values


def _truncated(rng: np.random.Generator, shape: tuple, dtype: np.dtype, mean: float, std: float) -> np.ndarray:
    values = rng.standard_normal(math.prod(shape), dtype)
    again = np.flatnonzero(np.abs(values) > 2)
    while len(again):  # one value in 22 lies outside, so a few short rounds end it
        values[again] = rng.standard_normal(len(again), dtype)
        again = again[np.abs(values[again]) > 2]
    values *= dtype.type(std)
    values += dtype.type(mean)
    return values.reshape(shape)


NAMES = family(
    Zeros,
    Ones,
    Constant,
    Identity,
    STFT,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Orthogonal,
    zero=Zeros,
    one=Ones,
    normal=RandomNormal,
    uniform=RandomUniform,
    identity_initializer=Identity,
    orthogonal_initializer=Orthogonal,
    stft_initializer=STFT,
)

# Keras also shows the classes under snake-case names, and three under older ones.
zeros, ones, constant, identity, orthogonal, stft = Zeros, Ones, Constant, Identity, Orthogonal, STFT
IdentityInitializer, OrthogonalInitializer, STFTInitializer = Identity, Orthogonal, STFT
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, glorot_uniform, glorot_normal = VarianceScaling, GlorotUniform, GlorotNormal
he_uniform, he_normal, lecun_uniform, lecun_normal = HeUniform, HeNormal, LecunUniform, LecunNormal


def get(identifier: Any, custom: Mapping[str, Any] | None = None) -> Any:
    """The initializer for a name, a config dict, a class, a function ``(key, shape, dtype)`` or an array; None stays None.

    Raises: ValueError for an unknown name, listing the near ones.

    >>> get("he_normal"), get({"class": "Constant", "value": 2.0})
    (HeNormal(), Constant(value=2.0))
    """
    if isinstance(identifier, (np.ndarray, np.generic, jax.Array)):
        return Constant(np.asarray(identifier))
    return None if identifier is None else resolve("initializer", identifier, NAMES, custom=custom)


def serialize(initializer: Any) -> Any:
    """Keras's word for ``initializer.config()``: the class and its arguments as plain values.

    >>> serialize(Constant(0.5)) == {"class": "Constant", "value": 0.5}
    True
    """
    return plain(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Keras's word for `get`.

    >>> deserialize(serialize(Constant(0.5)))
    Constant(value=0.5)
    """
    return get(config, custom_objects)
