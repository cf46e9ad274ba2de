"""Recordings of many rates and lengths to arrays of one: rate and length are chosen from the training part, and said."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ...core.errors import unknown
from ..examples import Examples, Finding
from ..media import File, gather, in_threads, is_archive
from ..preparation import Preparation
from .read import Recordings, as_item
from .resample import resample
from .sound import ENDINGS, decode

__all__ = ["AudioPreparation"]

SPEECH_RATE = 16000  # samples a second; speech has next to nothing above 8 kHz
MOST_SECONDS = 10.0
MOST_SAMPLES = 1 << 24
_LOUD = 0.5  # the peak that all recordings get


class AudioPreparation(Preparation):
    """Recordings as float32 (recording, time): mono, one rate, one length, the loudest sample of each at 0.5.

    Shorter ones get silence at their end; of longer ones the loudest stretch is taken. ``level=False`` leaves them as loud as
    they are.
    """

    kind: ClassVar[str] = "audio"

    def __init__(self, rate: int, length: int, *, level: bool = True, reasons: Sequence[str] = ()) -> None:
        for name, value, most in (("rate", rate, 1_000_000), ("length", length, MOST_SAMPLES)):
            if isinstance(value, bool) or int(value) != value or not 1 <= value <= most:
                raise ValueError(f"AudioPreparation needs {name} to be a whole number from 1 to {most:,}, got {value!r}")
        self.rate, self.length, self.level, self.reasons = int(rate), int(length), bool(level), list(reasons)
        self.findings: list[Finding] = []

    @property
    def seconds(self) -> float:
        return self.length / self.rate

    @classmethod
    def fit(
        cls,
        examples: Examples,
        *,
        rate: int | None = None,
        seconds: float | None = None,
        most_seconds: float = MOST_SECONDS,
        share: float = 0.98,
        level: bool = True,
        **options: Any,
    ) -> Self:
        """Choose rate and length for the training part: a length that this ``share`` of the recordings does not exceed."""
        if options:
            raise unknown(
                "option of AudioPreparation", next(iter(options)), ["rate", "seconds", "most_seconds", "share", "level"]
            )
        inputs: Recordings = examples.inputs
        if not len(inputs):
            raise ValueError("there are no recordings to learn a preparation from")
        reasons: list[str] = []
        findings: list[Finding] = []
        if rate is None:
            usual = int(Counter(inputs.rates.tolist()).most_common(1)[0][0])
            rate = min(usual, SPEECH_RATE)
            why = "most have it" if rate == usual else f"most have {usual:,}, and speech lies below half of {rate:,}"
            reasons.append(f"{rate:,} samples a second: {why}")
        spans = inputs.seconds
        if seconds is None:
            wanted = float(np.quantile(spans, share))
            same = float(spans.min()) == float(spans.max()) <= most_seconds
            seconds = wanted if same else min(float(np.ceil(wanted * 20)) / 20, most_seconds)
            within = int((spans <= seconds + 1e-9).sum())
            why = "all are so long" if same else f"{within:,} of {len(spans):,} are no longer"
            reasons.append(f"{seconds:.3g} s: {why}; shorter ones get silence at their end")
        if longer := int((spans > seconds + 1e-9).sum()):
            text = f"{longer:,} of {len(spans):,} recordings are longer than {seconds:.3g} s (the longest: {spans.max():.3g} s)"
            findings.append(Finding(f"{text}: their loudest stretch of that length is taken"))
        made = cls(rate, max(1, round(float(seconds) * rate)), level=level, reasons=reasons)
        made.findings = findings
        return made

    def __call__(self, inputs: Any, *, show: bool | None = None) -> np.ndarray:
        inputs = self.raw(inputs) if not isinstance(inputs, Recordings) else inputs
        out = np.zeros((len(inputs), self.length), np.float32)
        made = in_threads(lambda i: self.one(inputs[i], int(inputs.rates[i])), range(len(inputs)), "preparing", show=show)
        for i, samples in enumerate(made):
            out[i, : len(samples)] = samples
        return out

    def one(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Samples at this preparation's rate and loudness, at most as long as its length."""
        if len(samples) / rate > 2 * self.seconds:  # only what may be taken is resampled
            first = _loudest(samples, min(len(samples), round(2 * self.seconds * rate)))
            samples = samples[first : first + round(2 * self.seconds * rate)]
        samples = resample(samples, rate, self.rate)
        if len(samples) > self.length:
            first = _loudest(samples, self.length)
            samples = samples[first : first + self.length]
        peak = float(np.abs(samples).max()) if len(samples) else 0.0
        return samples * (_LOUD / peak) if self.level and peak > 1e-4 else samples

    def batch(self, items: Sequence[Sequence[str]]) -> np.ndarray:
        """Recordings by ``[path, member]``, as worker processes are told them."""
        out = np.zeros((len(items), self.length), np.float32)
        for row, (path, member) in zip(out, items, strict=True):
            file = File(str(path), str(member))
            samples = self.one(*decode(file.read(), file.name))
            row[: len(samples)] = samples
        return out

    def raw(self, source: Any) -> Any:
        """Recordings from a path, a folder, an archive, ``(samples, rate)``, samples at this rate, or a list of them."""
        if isinstance(source, (Recordings, Examples)):
            return source.inputs if isinstance(source, Examples) else source
        if isinstance(source, (str, os.PathLike)) and (Path(source).is_dir() or is_archive(source)):
            return Recordings.hear(gather(source, ENDINGS, "recordings").files)[0]
        pair = isinstance(source, tuple) and len(source) == 2 and np.ndim(source[1]) == 0 and not isinstance(source[1], str)
        if isinstance(source, (list, tuple)) and not pair and not (len(source) and np.isscalar(source[0])):
            return Recordings.hear([as_item(value, self.rate) for value in source])[0]
        if isinstance(source, np.ndarray) and source.ndim == 2 and source.shape[0] <= source.shape[1] and source.shape[0] != 2:
            return Recordings.hear([as_item(row, self.rate) for row in source])[0]
        return Recordings.hear([as_item(source, self.rate)])[0]

    def config(self) -> dict[str, Any]:
        return {"rate": self.rate, "length": self.length, "level": self.level, "reasons": self.reasons}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        try:
            return cls(config["rate"], config["length"], level=config["level"], reasons=[str(r) for r in config["reasons"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no configuration of an AudioPreparation: {error!r}") from None

    def describe(self) -> list[str]:
        return self.reasons or [f"{self.seconds:.3g} s at {self.rate:,} samples a second"]


def _loudest(samples: np.ndarray, length: int) -> int:
    """Where the stretch of this length begins that holds the most energy."""
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    return int(np.argmax(energy[length:] - energy[:-length])) if len(samples) > length else 0
