"""One recording from its file: WAV by our own reader, which knows no code but numbers; FLAC and others by soundfile."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

from ...files import BadFile

__all__ = ["ENDINGS", "MAX_SAMPLES", "decode", "read_wav"]

ENDINGS = (".wav", ".wave", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au")
MAX_SAMPLES = 1 << 28  # of one recording, all channels: an hour in stereo at 37 kHz
MAX_RATE, MAX_CHANNELS = 1_000_000, 64


def decode(data: bytes, name: str = "the recording") -> tuple[np.ndarray, int]:
    """``(samples, rate)``: mono, float32 from -1 to 1, the mean of the channels; rate in samples a second.

    Raises: BadFile, with ``name``, for what is no recording, is cut off, empty, or longer than `MAX_SAMPLES`; ImportError
    where soundfile is needed and not installed.
    """
    if not data:
        raise BadFile(f"{name} is empty (0 bytes)")
    if data[:4] in (b"RIFF", b"RF64", b"RIFX") and data[8:12] == b"WAVE":
        samples, rate = read_wav(data, name)
    elif name.lower().endswith((".wav", ".wave")) and data[:4] not in (b"fLaC", b"OggS"):
        raise BadFile(f"{name} is no WAV file: it begins with {data[:8]!r}")
    else:
        samples, rate = _by_soundfile(data, name)
    if not len(samples):
        raise BadFile(f"{name} holds no sound: 0 samples at {rate:,} a second")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)
    if not np.isfinite(mono).all():
        raise BadFile(f"{name} holds samples that are no finite numbers")
    return np.ascontiguousarray(mono, np.float32), rate


def read_wav(data: bytes, name: str = "the recording") -> tuple[np.ndarray, int]:
    """``(samples, rate)`` of a WAV file, (time, channel) of float32: PCM of 8, 16, 24 or 32 bits, floats, A-law and mu-law.

    Whole numbers are divided by half their range, 8 bits having their middle at 128.
    Source: Microsoft and IBM, "Multimedia programming interface and data specifications 1.0", 1991; ITU-T G.711.

    >>> head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 40, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 4)
    >>> samples, rate = read_wav(head + struct.pack("<2h", 16384, -32768))
    >>> samples.ravel().tolist(), rate
    ([0.5, -1.0], 8000)
    """
    order = ">" if data[:4] == b"RIFX" else "<"
    form: tuple | None = None
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], struct.unpack_from(order + "I", data, at + 4)[0]
        at += 8
        if kind == b"fmt ":
            form = _form(data[at : at + size], order, name)
        elif kind == b"data":
            if form is None:
                raise BadFile(f"{name} is damaged: its sound comes before its format")
            left = len(data) - at
            if size > left and size < 0xFFFFFF00:  # programs that write to a pipe put the largest number there
                raise BadFile(f"{name} is cut off: its head says {size:,} bytes of sound, but {left:,} follow")
            return _samples(data[at : at + size], *form, order=order, name=name), form[2]
        at += size + size % 2
    raise BadFile(f"{name} is damaged: it has no {'format' if form is None else 'sound'} in it ({len(data):,} bytes)")


def _form(chunk: bytes, order: str, name: str) -> tuple[int, int, int, int]:
    """``(code, channels, rate, bits)`` of a format chunk."""
    if len(chunk) < 16:
        raise BadFile(f"{name} is cut off in its head")
    code, channels, rate, _, _, bits = struct.unpack_from(order + "HHIIHH", chunk)
    if code == 0xFFFE and len(chunk) >= 26:  # the extensible form keeps the code further on
        code = struct.unpack_from(order + "H", chunk, 24)[0]
    if not 1 <= channels <= MAX_CHANNELS or not 1 <= rate <= MAX_RATE:
        raise BadFile(f"{name} says it has {channels} channels at {rate:,} samples a second, which cannot be")
    if (code, bits) not in _KINDS:
        raise BadFile(f"{name} is WAV of a kind that is not read (code {code}, {bits} bits): convert it to 16-bit PCM or FLAC")
    return code, channels, rate, bits


_KINDS = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8)}


def _samples(raw: bytes, code: int, channels: int, rate: int, bits: int, *, order: str, name: str) -> np.ndarray:
    frame = channels * bits // 8
    raw = raw[: len(raw) // frame * frame]
    if len(raw) // (bits // 8) > MAX_SAMPLES:
        raise BadFile(f"{name} holds {len(raw) // (bits // 8):,} samples; {MAX_SAMPLES:,} are the most that is read: cut it")
    if code == 3:
        values = np.frombuffer(raw, f"{order}f{bits // 8}").astype(np.float32)
    elif code in (6, 7):
        values = (_a_law() if code == 6 else _mu_law())[np.frombuffer(raw, np.uint8)]
    elif bits == 8:
        values = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    elif bits == 24:
        three = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(three), 4), np.uint8)  # three bytes at the top of four, so that the sign is right
        wide[:, slice(1, 4) if order == "<" else slice(0, 3)] = three
        values = wide.view(f"{order}i4")[:, 0].astype(np.float32) / np.float32(2**31)
    else:
        values = np.frombuffer(raw, f"{order}i{bits // 8}").astype(np.float32) / np.float32(2 ** (bits - 1))
    return values.reshape(-1, channels)


def _mu_law() -> np.ndarray:
    """The 256 values of G.711's mu-law."""
    code = ~np.arange(256, dtype=np.uint8)
    size = (((code & 15).astype(np.int32) << 3) + 132 << ((code >> 4) & 7).astype(np.int32)) - 132
    return (np.where(code & 128, -size, size) / 32768).astype(np.float32)


def _a_law() -> np.ndarray:
    """The 256 values of G.711's A-law."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    part, power = (code & 15).astype(np.int32) << 4, ((code >> 4) & 7).astype(np.int32)
    size = np.where(power == 0, part + 8, part + 264 << np.maximum(power - 1, 0))
    return (np.where(code & 128, size, -size) / 32768).astype(np.float32)


def _by_soundfile(data: bytes, name: str) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its own library is not there
        raise ImportError(f'{name} is no WAV file, and reading it needs soundfile: pip install "cenote[audio]"') from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames * file.channels > MAX_SAMPLES:
                raise BadFile(f"{name} holds {file.frames:,} samples in {file.channels} channels, which is too long: cut it")
            samples: Any = file.read(dtype="float32", always_2d=True)
            if len(samples) < file.frames:
                raise BadFile(f"{name} is cut off: its head says {file.frames:,} samples, but {len(samples):,} can be read")
            return samples, int(file.samplerate)
    except BadFile:
        raise
    except Exception as error:
        raise BadFile(f"{name} is no recording that can be read: {error}") from None
