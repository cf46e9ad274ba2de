"""Sound as frames, spectra and mel bands."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_SLICES = 32  # frames are cut by at most as many slices of the signal; beyond that by their indices


def frames(x: jax.Array, length: int, step: int) -> jax.Array:
    """Pieces of ``length`` numbers, each ``step`` further on: (..., time) -> (..., frame, length); a short rest is left out.

    >>> frames(jnp.arange(6.0), 4, 2).tolist()
    [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]]
    """
    count = 1 + (x.shape[-1] - length) // step
    unit = math.gcd(length, step)
    if length // unit > _SLICES:
        return x[..., np.arange(count)[:, None] * step + np.arange(length)]
    # A frame is a row of units; its n-th unit lies at equal distances for all frames, which is a strided slice.
    units = x[..., : x.shape[-1] // unit * unit].reshape(*x.shape[:-1], -1, unit)
    stride = step // unit
    parts = [units[..., n : n + (count - 1) * stride + 1 : stride, :] for n in range(length // unit)]
    return jnp.concatenate(parts, -1)


def window_of(window: Any, length: int, periodic: bool) -> np.ndarray:
    """A window by name, or its given values, in double precision; None is all ones.

    A periodic window is one of ``length + 1`` without its last value.
    >>> window_of("hann", 4, True).round(2).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    if window is None:
        return np.ones(length)
    if not isinstance(window, str):
        values = np.asarray(window, "float64")
        if values.shape != (length,):
            raise ValueError(f"a window for frames of {length} needs shape ({length},), got {values.shape}")
        return values
    if length == 1:
        return np.ones(1)
    if window in ("hann", "hamming"):
        low = 0.5 if window == "hann" else 0.54
        return low - (1 - low) * np.cos(2 * np.pi * np.arange(length) / (length if periodic else length - 1))
    from scipy.signal import get_window

    try:
        return np.asarray(get_window(window, length, periodic))
    except ValueError:
        raise ValueError(f"unknown window {window!r}: take 'hann', 'hamming', one of scipy.signal, or its values") from None


def fourier_kernel(side: str, window: np.ndarray | None, scaling: str | None, length: int, bins: int) -> np.ndarray:
    """The waves that a frame is multiplied with, (time, frequency): cosines for ``real``, negative sines for ``imag``.

    ``scaling`` divides by the window's size: ``density`` by the root of its squares' sum, ``spectrum`` by its sum.
    """
    angle = 2 * np.pi * np.outer(np.arange(length), np.arange(bins)) / (2 * (bins - 1))
    kernel = np.cos(angle) if side == "real" else -np.sin(angle)
    if window is None:
        return kernel
    size = {"density": np.sqrt(np.sum(window**2)), "spectrum": np.sum(np.abs(window)), None: 1.0}[scaling]
    return kernel * window[:, None] / size


def power_spectrum(x: jax.Array, window: np.ndarray, fft_length: int, step: int) -> jax.Array:
    """Squared sizes of the Fourier transform of frames in the middle of each step: (..., time) -> (..., frame, frequency).

    The signal is mirrored at its ends by half a frame, so that the first frame stands about its first number.
    """
    half = fft_length // 2
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    before = (fft_length - len(window)) // 2
    padded = np.pad(window, (before, fft_length - len(window) - before))
    found = jnp.fft.rfft(frames(x, fft_length, step) * jnp.asarray(padded, x.dtype))
    return found.real**2 + found.imag**2


@functools.lru_cache(maxsize=32)
def mel_bank(bands: int, bins: int, rate: float, lowest: float, highest: float) -> np.ndarray:
    """Triangles on the mel scale, (frequency, band): band by band up to 1 at its middle; ``mel = 1127 log(1 + hertz / 700)``.

    Source: the HTK book, section 5.4.

    >>> mel_bank(2, 5, 8000, 0, 4000).round(2).T.tolist()
    [[0.0, 0.6, 0.0, 0.0, 0.0], [0.0, 0.4, 0.87, 0.38, 0.0]]
    """

    def mel(hertz: Any) -> Any:
        return 1127.0 * np.log1p(np.asarray(hertz, "float64") / 700.0)

    edges = np.linspace(mel(lowest), mel(highest), bands + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    found = mel(np.linspace(0, rate / 2, bins)[1:, None])  # the constant part belongs to no band
    rising, falling = (found - low) / (middle - low), (high - found) / (high - middle)
    return np.pad(np.maximum(0, np.minimum(rising, falling)), ((1, 0), (0, 0)))


def cosine_transform(size: int, kept: int) -> np.ndarray:
    """The first coefficients of the orthonormal DCT-II as a matrix, (size, kept)."""
    wave = np.cos(np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(kept)))
    return wave * np.where(np.arange(kept) == 0, math.sqrt(1 / size), math.sqrt(2 / size))
