"""Pictures of many sizes and modes, as they came: opened when needed, kept decoded where memory allows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..examples import Finding
from ..media import File, decode_all
from .decode import decode, decode_sized, flat

__all__ = ["Pictures", "as_image"]

KEPT_SIDE = 256  # pictures are kept with no side below this, unless they came smaller


@dataclass
class _Look:
    """What one look at a picture file found."""

    width: int
    height: int
    mode: str
    print: int
    kept: Any


class Pictures:
    """Pictures of many sizes: ``pictures[i]`` is one as an array of uint8, (height, width) or (height, width, 3).

    ``sizes`` are (picture, 2) of widths and heights as in the files, upright; ``modes`` L or RGB. Decoded pictures are kept,
    reduced to no side below 256, where all of them fit into an eighth of the memory.
    """

    def __init__(
        self,
        items: Sequence[File | np.ndarray],
        sizes: np.ndarray,
        modes: Sequence[str],
        prints: np.ndarray,
        kept: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.items, self.sizes, self.modes, self._prints, self._kept = list(items), sizes, list(modes), prints, kept

    @classmethod
    def look(
        cls,
        items: Sequence[File | np.ndarray],
        *,
        skip_broken: bool = False,
        keep: bool = True,
        show: bool | None = None,
        threads: int | None = None,
    ) -> tuple[Pictures, np.ndarray, list[Finding]]:
        """Decode each once, to know what is broken: the pictures, the numbers of those that are whole, and findings.

        Raises: BadFile that lists the broken ones, unless ``skip_broken``.
        """
        chosen, good, findings = decode_all(
            _look, items, "pictures", skip_broken=skip_broken, keep=keep, show=show, threads=threads
        )
        kept = [look.kept for look in chosen]
        pictures = cls(
            [items[i] for i in good],
            np.array([(look.width, look.height) for look in chosen], np.int32).reshape(-1, 2),
            [look.mode for look in chosen],
            np.array([look.print for look in chosen], np.uint64),
            None if any(values is None for values in kept) else kept,
        )
        return pictures, good, findings

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> np.ndarray:
        return np.asarray(self.image(number, KEPT_SIDE))

    def take_rows(self, rows: Any) -> Pictures:
        rows = np.arange(len(self))[rows]  # slices, masks and negative numbers, too
        kept = None if self._kept is None else [self._kept[i] for i in rows]
        return Pictures(
            [self.items[i] for i in rows], self.sizes[rows], [self.modes[i] for i in rows], self._prints[rows], kept
        )

    def fingerprints(self) -> np.ndarray:
        """A 64-bit number for each picture, equal for equal files."""
        return self._prints

    def ready(self, number: int, height: int, width: int, mode: str) -> np.ndarray | None:
        """One as it is, where it is kept and has this size and mode already."""
        if self._kept is None or tuple(self.sizes[number]) != (width, height) or self.modes[number] != mode:
            return None
        kept = self._kept[number]
        return kept if kept.shape[:2] == (height, width) else None

    def image(self, number: int, side: int | None = None) -> Any:
        """One as a Pillow image, upright, L or RGB; reduced perhaps, but to no side below ``side``."""
        from PIL import Image

        if self._kept is not None:
            kept = self._kept[number]
            whole = kept.shape[1] == self.sizes[number][0]
            if whole or (side is not None and side <= min(kept.shape[:2])):
                return Image.fromarray(kept)
        item = self.items[number]
        return decode(item.read(), item.name, side) if isinstance(item, File) else as_image(item)


def _look(item: File | np.ndarray) -> _Look:
    if not isinstance(item, File):
        image = as_image(item)
        values = np.asarray(image)
        return _Look(image.width, image.height, image.mode, _print(values.tobytes()), values)
    data = item.read()
    image, width, height = decode_sized(data, item.name, KEPT_SIDE)
    return _Look(width, height, image.mode, _print(data), np.asarray(image))


def _print(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def as_image(value: Any, name: str = "the picture") -> Any:
    """A Pillow image, L or RGB, from a path, a Pillow image, or an array (height, width) or (height, width, 1, 3 or 4)."""
    from PIL import Image, ImageOps

    if isinstance(value, (str, os.PathLike)):
        return decode(File(os.fspath(value)).read(), os.fspath(value))
    if isinstance(value, Image.Image):
        return flat(ImageOps.exif_transpose(value))
    array = np.asarray(value)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.dtype.kind not in "uifb":
        raise ValueError(
            f"{name} is an array of {array.dtype} with shape {array.shape}: a picture is (height, width), or (height, width, "
            f"colours) with 1, 3 or 4 colours, of numbers"
        )
    if array.dtype != np.uint8:
        array = to_bytes(array, value_range(array))
    return flat(Image.fromarray(array))


def value_range(array: np.ndarray) -> tuple[float, float]:
    """The values that black and white have, as the type and the extremes of an array say."""
    if array.dtype.kind == "b":
        return 0.0, 1.0
    if array.dtype == np.uint16:
        return 0.0, 65535.0
    low, high = (float(np.nanmin(array)), float(np.nanmax(array))) if array.size else (0.0, 0.0)
    for black, white in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0)):
        if black <= low and high <= white and not (array.dtype.kind in "ui" and white == 1.0 and high > 1):
            return black, white
    return low, high


def to_bytes(array: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values between black and white as 0 to 255, rounded; what lies outside is cut off."""
    low, high = limits
    if array.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return array
    scaled = (np.asarray(array, np.float32) - low) * np.float32(255.0 / max(high - low, 1e-12))
    return np.clip(np.nan_to_num(scaled), 0, 255).round().astype(np.uint8)
