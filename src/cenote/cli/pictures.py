"""Files as examples: pictures made what a model knows, and rows of CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .trouble import Trouble

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
MOST_PIXELS = 200_000_000


class Example(NamedTuple):
    """One example: where it comes from, its values, and what must be said of it."""

    source: str
    values: np.ndarray
    note: str = ""


def picture(path: Path, wanted: dict[str, Any], *, invert: bool = False) -> Example:
    """A picture file in the size, colours and range of the training data.

    Transparent parts become white paper, the aspect is kept: what is not square gets a margin in the colour of its own rim
    (photographs, which fill their frame, are cut). Its note tells when the picture is dark on light, and the training data
    light on dark, or the other way round.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            if file.width * file.height > MOST_PIXELS:
                raise Trouble(f"{path} has {file.width}x{file.height} pixels; that is too large a picture")
            image = ImageOps.exif_transpose(file)
            image = _flat(image, wanted["mode"])
    except Trouble:
        raise
    except FileNotFoundError:
        raise Trouble(f"there is no file {path}") from None
    except Exception as error:  # decoders raise all kinds of errors
        raise Trouble(f"{path} is not a picture that can be read: {error}") from error
    if invert:
        image = ImageOps.invert(image)
    height, width, usual = wanted["height"], wanted["width"], float(wanted.get("background", 0.5))
    framed = abs(usual - 0.5) > 0.25  # drawings on a ground, not photographs
    small = _resized(image, (width, height), framed)
    values = np.asarray(small, np.float32) / 255
    rim = float(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]).mean())
    note = ""
    if framed and abs((1 - rim) - usual) + 0.4 < abs(rim - usual):
        ground = "light on dark" if usual < 0.5 else "dark on light"
        note = f"looks inverted: the training pictures are {ground}; try {'without ' if invert else ''}--invert"
    low, high = wanted["low"], wanted["high"]
    return Example(str(path), low + values * (high - low), note)


def _flat(image: Any, mode: str) -> Any:
    """An opaque picture in grey ("L") or colour ("RGB"), 8 bits deep."""
    from PIL import Image

    if image.mode.startswith(("I;16", "I", "F")):  # deep greys, which Pillow would cut off at 255
        values = np.asarray(image, np.float32)
        top = 65535.0 if image.mode.startswith("I") and values.max(initial=0) > 255 else max(float(values.max(initial=0)), 1.0)
        top = 255.0 if 1.0 < top <= 255 else top
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _resized(image: Any, size: tuple[int, int], framed: bool) -> Any:
    from PIL import Image, ImageOps

    shrinks = image.width >= 2 * size[0] and image.height >= 2 * size[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    if image.width * size[1] == image.height * size[0]:
        return image.resize(size, method) if image.size != size else image
    if not framed:
        return ImageOps.fit(image, size, method)
    values = np.asarray(image)
    rim = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    colour = np.median(rim, axis=0).astype(int)
    return ImageOps.pad(image, size, method, color=int(colour) if colour.ndim == 0 else tuple(int(c) for c in colour))


def rows(path: Path | None, shape: tuple[int, ...]) -> Iterator[Example]:
    """The rows of a CSV file (None: the standard input), one example each; a first line without any number is a heading."""
    name = "standard input" if path is None else str(path)
    width = int(np.prod(shape))
    try:
        file = sys.stdin if path is None else path.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise Trouble(f"there is no file {path}") from None
    try:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or (number == 1 and not any(_is_number(cell) for cell in row)):
                continue
            where = f"{name}, row {number}"
            if len(row) != width:
                size = "x".join(str(s) for s in shape)
                hint = "; is the label among them? leave it away" if len(row) == width + 1 else ""
                raise Trouble(f"{where} has {len(row):,} values, but the model reads {width:,} ({size}){hint}")
            yield Example(f"{name}:{number}", _numbers(row, where).reshape(shape))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Trouble(f"{name} is not a CSV text: {error}") from error
    finally:
        if path is not None:
            file.close()


def _numbers(row: list[str], where: str) -> np.ndarray:
    try:
        values = np.array(row, np.float32)
    except ValueError:
        column = next(i for i, cell in enumerate(row, 1) if not _is_number(cell))
        raise Trouble(f"{where}, column {column}: {row[column - 1]!r} is not a number") from None
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise Trouble(f"{where}, column {column}: {row[column - 1]!r} is not a finite number")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
