"""From one rate of samples to another, by a windowed sinc in its polyphase form."""

from __future__ import annotations

import functools
import math

import numpy as np

__all__ = ["resample"]

CROSSINGS = 24  # zero crossings of the sinc on each side
BETA = 9.0  # of the Kaiser window: what lies beyond the band is 90 dB down
BAND = 0.945  # the part of the lower Nyquist frequency that is kept whole
_BLOCK = 1 << 15  # outputs at a time, so that memory is bounded
_MOST_PHASES = 4096


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The same sound at ``wanted`` samples a second: ``y[n] = sum_k x[k] h(n rate / wanted - k)``, h a sinc in a Kaiser window.

    h cuts off at 0.945 of the lower of the two Nyquist frequencies; beyond the ends the sound is 0. The output has
    ceil(length wanted / rate) samples. Shapes: (time) -> (new time), float32.
    Raises: ValueError for rates that are not positive whole numbers, and for another shape.
    Source: Smith, "Digital audio resampling", 2002, https://ccrma.stanford.edu/~jos/resample/.

    >>> resample(np.ones(800, "float32"), 8000, 4000)[200:203].round(3).tolist()
    [1.0, 1.0, 1.0]
    """
    for what, value in (("rate", rate), ("wanted rate", wanted)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise ValueError(f"the {what} must be a positive whole number of samples a second, got {value!r}")
    x = np.asarray(samples, np.float32)
    if x.ndim != 1:
        raise ValueError(f"resample takes the samples of one channel, (time), got shape {x.shape}")
    if rate == wanted or not len(x):
        return x
    up, down = wanted // math.gcd(rate, wanted), rate // math.gcd(rate, wanted)
    count = -(-len(x) * up // down)
    phases = min(up, _MOST_PHASES)  # rates without a common divisor would need a filter for each sample
    bank, reach = _bank(up, down, phases)
    padded = np.pad(x, (reach, reach + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)
    out = np.empty(count, np.float32)
    for start in range(0, count, _BLOCK):
        n = np.arange(start, min(start + _BLOCK, count), dtype=np.int64) * down
        base, phase = n // up, n % up * phases // up
        out[start : start + len(n)] = np.einsum("nk,nk->n", windows[base + 1], bank[phase])
    return out


@functools.lru_cache(maxsize=16)
def _bank(up: int, down: int, phases: int) -> tuple[np.ndarray, int]:
    """The filter of each phase (phase, tap), for the samples from ``reach - 1`` before a place to ``reach`` after it."""
    cut = BAND * min(1.0, up / down)
    reach = math.ceil(CROSSINGS / cut)
    place = np.arange(phases)[:, None] / phases - np.arange(1 - reach, reach + 1)[None]
    window = np.i0(BETA * np.sqrt(np.maximum(1 - (place / reach) ** 2, 0))) / np.i0(BETA)
    taps = cut * np.sinc(cut * place) * window
    return (taps / taps.sum(1, keepdims=True)).astype(np.float32), reach  # a constant stays what it is
