"""Sound to pictures of its frequencies over time."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from ..kernels.spectrum import cosine_transform, fourier_kernel, frames, mel_bank, power_spectrum, window_of
from .base import Layer
from .check import channels_last, floating, positive, rank
from .check import padding as known_padding

__all__ = ["MFCC", "MelSpectrogram", "STFTSpectrogram"]

_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
_LEAST = 1e-7  # under roots and logarithms


class STFTSpectrogram(Layer):
    """The short-time Fourier transform: ``X[t, f] = sum_n x[t step + n] window[n] e^(-2 pi i f n / fft_length)``.

    The waves are weights that can be trained (``real_kernel``, ``imag_kernel``); ``trainable=False`` keeps them. ``mode``: the
    real and imaginary parts (``real``, ``imag``, ``stft`` both), ``angle``, ``magnitude`` = sqrt(max(|X|^2, 1e-7)), its
    ``log``, or ``psd``, |X|^2 doubled but for the first and last frequency. ``scaling`` divides the window by the root of its
    squares' sum (``density``) or by its sum (``spectrum``). ``padding="same"`` gives a frame for each step of the signal.
    Shapes: (batch, time, channel) -> (batch, frame, channel * frequency), frequencies of a channel together; with
    ``expand_dims`` (batch, frame, frequency, channel).

    >>> import numpy as np
    >>> x = np.zeros((2, 1000, 1), "float32")
    >>> STFTSpectrogram().build(x)(x).shape
    (2, 6, 129)
    """

    def __init__(
        self,
        mode: str = "log",
        frame_length: int = 256,
        frame_step: int | None = None,
        fft_length: int | None = None,
        window: Any = "hann",
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        channels_last(self, data_format)
        if mode not in _MODES:
            raise unknown("mode of STFTSpectrogram", mode, _MODES)
        if scaling not in ("density", "spectrum", None):
            raise unknown("scaling of STFTSpectrogram", scaling, ["density", "spectrum", "None"])
        self.mode, self.scaling, self.expand_dims = mode, scaling, expand_dims
        self.frame_length = positive(self, "frame_length", frame_length)
        self.frame_step = positive(self, "frame_step", frame_length // 2 if frame_step is None else frame_step)
        self.fft_length = positive(self, "fft_length", fft_length or 2 ** math.ceil(math.log2(self.frame_length)))
        if self.frame_step > self.frame_length:
            raise ValueError(f"STFTSpectrogram(frame_step={frame_step}) would skip what lies between frames of {frame_length}")
        if self.fft_length < self.frame_length:
            raise ValueError(f"STFTSpectrogram needs fft_length of at least frame_length={frame_length}, got {fft_length}")
        self.padding = known_padding(self, padding)
        self._window = None if window is None else window_of(window, self.frame_length, periodic)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        rank(self, x, 3, "(batch, time, channel)", "a signal of one channel is x[..., None]")
        x = jnp.moveaxis(x, -1, 1)
        length, step = self.frame_length, self.frame_step
        if self.padding == "same":
            total = max((math.ceil(x.shape[-1] / step) - 1) * step + length - x.shape[-1], 0)
            x = jnp.pad(x, ((0, 0), (0, 0), (total // 2, total - total // 2)))
        if x.shape[-1] < length:
            raise ValueError(
                f"STFTSpectrogram(frame_length={length}) was given a signal of {x.shape[-1]} numbers, which is less than a "
                f"frame: say padding='same', or take shorter frames"
            )
        cut = frames(x, length, step)  # (batch, channel, frame, time)
        bins = self.fft_length // 2 + 1
        parts = []
        for side in ("real", "imag"):
            if self.mode not in ("real", "imag") or self.mode == side:
                kernel = self.param(f"{side}_kernel", (length, 1, bins), self._waves(side))
                parts.append(cut @ kernel[:, 0].astype(x.dtype))
        y = self._shown(parts)
        if self.expand_dims:
            return jnp.moveaxis(y, 1, -1)
        y = jnp.moveaxis(y, 1, 2)
        return y.reshape(*y.shape[:2], -1)

    def _shown(self, parts: list[jax.Array]) -> jax.Array:
        if self.mode in ("real", "imag"):
            return parts[0]
        real, imag = parts
        if self.mode == "stft":
            return jnp.concatenate([real, imag], -1)
        if self.mode == "angle":
            return jnp.arctan2(imag, real)
        power = real**2 + imag**2
        if self.mode == "psd":
            return power * jnp.asarray(np.r_[1, [2] * (power.shape[-1] - 2), 1], power.dtype)
        size = jnp.sqrt(jnp.maximum(power, _LEAST))
        return size if self.mode == "magnitude" else jnp.log(jnp.maximum(size, _LEAST))

    def _waves(self, side: str) -> Any:
        def start(key: Any, shape: tuple, dtype: Any) -> Any:
            return jnp.asarray(fourier_kernel(side, self._window, self.scaling, shape[0], shape[2])[:, None], dtype)

        return start


class MelSpectrogram(Layer):
    """How strong each band of the mel scale is, in decibels: ``10 log10(max(mel(|X|^mag_exp), min_power) / ref_power)``.

    X is the Fourier transform of frames of ``sequence_length`` (``fft_length`` if not given), each ``sequence_stride`` further
    on, about its middle: the signal is mirrored at its ends. As in Keras, what lies ``top_db`` below the loudest value *of the
    batch* is raised to that. ``power_to_db=False`` leaves the powers as they are. Nothing is trained.
    Shapes: (time) -> (band, frame), (batch, time) -> (batch, band, frame).
    Raises: ValueError for a signal that is not longer than half of ``fft_length``, which cannot be mirrored.

    >>> import numpy as np
    >>> MelSpectrogram(num_mel_bins=64, sampling_rate=8000, sequence_stride=256)(np.zeros(16000, "float32")).shape
    (64, 63)
    """

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.fft_length = positive(self, "fft_length", fft_length)
        self.sequence_stride = positive(self, "sequence_stride", sequence_stride)
        self.sequence_length = positive(self, "sequence_length", sequence_length or fft_length)
        if self.fft_length < self.sequence_length:
            raise ValueError(
                f"{type(self).__name__} needs fft_length of at least sequence_length={sequence_length}, got {fft_length}"
            )
        self.sampling_rate = sampling_rate
        self.num_mel_bins = positive(self, "num_mel_bins", num_mel_bins)
        self.min_freq, self.max_freq = min_freq, max_freq or int(sampling_rate / 2)
        if not 0 <= self.min_freq < self.max_freq:
            raise ValueError(
                f"{type(self).__name__} needs 0 <= min_freq < max_freq (half of sampling_rate if not given), got {min_freq} "
                f"and {self.max_freq}"
            )
        self.power_to_db, self.top_db, self.mag_exp = power_to_db, top_db, mag_exp
        self.min_power, self.ref_power = min_power, ref_power
        self._window = window_of(window, self.sequence_length, True)

    def forward(self, x: Any) -> jax.Array:
        return self._bands(x)

    def _bands(self, x: Any) -> jax.Array:
        x = floating(x)
        if x.ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__} takes (batch, time) or (time), but the input has shape {x.shape}")
        if x.shape[-1] <= self.fft_length // 2:
            raise ValueError(
                f"{type(self).__name__}(fft_length={self.fft_length}) needs a signal of more than {self.fft_length // 2} "
                f"numbers, got {x.shape[-1]}: pad it, or take a smaller fft_length"
            )
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        power = power_spectrum(wide, self._window, self.fft_length, self.sequence_stride)
        if self.mag_exp != 2:
            # The root has no slope at 0; the true value there is 0 for any exponent.
            power = jnp.where(power > 0, jnp.where(power > 0, power, 1) ** (self.mag_exp / 2), 0)
        bank = mel_bank(self.num_mel_bins, power.shape[-1], self.sampling_rate, self.min_freq, self.max_freq)
        y = jnp.matmul(power, jnp.asarray(bank, power.dtype), precision=jax.lax.Precision.HIGHEST)
        if self.power_to_db:
            y = 10 * jnp.log10(jnp.maximum(y, self.min_power)) - 10 * math.log10(max(abs(self.ref_power), self.min_power))
            y = jnp.maximum(y, jnp.max(y) - self.top_db)
        return jnp.swapaxes(y, -1, -2).astype(x.dtype)


class MFCC(MelSpectrogram):
    """Mel-frequency cepstral coefficients: the first ``num_coefficients`` of the orthonormal DCT-II of a mel spectrogram.

    ``c[k] = s[k] sum_b mel_db[b] cos(pi k (b + 1/2) / bands)``, with ``s[0] = sqrt(1 / bands)`` and else ``sqrt(2 / bands)``.
    The other arguments are those of `MelSpectrogram`. Not in Keras; as in torchaudio.
    Shapes: (batch, time) -> (batch, coefficient, frame).
    Source: Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.

    >>> import numpy as np
    >>> MFCC(13)(np.zeros((2, 16000), "float32")).shape
    (2, 13, 32)
    """

    def __init__(self, num_coefficients: int = 13, **options: Any) -> None:
        super().__init__(**options)
        self.num_coefficients = positive(self, "num_coefficients", num_coefficients)
        if self.num_coefficients > self.num_mel_bins:
            raise ValueError(f"MFCC of {self.num_mel_bins} bands has at most as many coefficients, got {num_coefficients}")

    def forward(self, x: Any) -> jax.Array:
        bands = self._bands(x)
        waves = jnp.asarray(cosine_transform(self.num_mel_bins, self.num_coefficients), bands.dtype)
        return jnp.matmul(waves.T, bands, precision=jax.lax.Precision.HIGHEST)
