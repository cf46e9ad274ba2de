"""One picture, whatever its file: opened within bounds, upright, opaque, eight bits deep, in grey or colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ...files import BadFile

__all__ = ["ENDINGS", "MAX_PIXELS", "decode", "decode_sized", "flat"]

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jfif")
MAX_PIXELS = 89_478_485  # of one picture: a few bytes of a file can ask for any number
# What decoders are trusted with; others that Pillow knows start programs, or are no pictures.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_BEGINNINGS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_ORIENTATION = 0x0112
_TURNS = {2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (4,), 7: (6,), 8: (2,)}  # EXIF's orientation to Pillow's transpositions


def _open(data: bytes, name: str) -> Any:
    from PIL import Image

    if not data:
        raise BadFile(f"{name} is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise BadFile(f"{name} asks for more than {MAX_PIXELS:,} pixels: {error}") from None
    except Exception:  # decoders raise all kinds of errors, whose words say little
        raise BadFile(f"{name} is {_no_picture(data)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise BadFile(f"{name} has {image.width}x{image.height} pixels; {MAX_PIXELS:,} are the most that is read")
    return image


def _no_picture(data: bytes) -> str:
    """What is to be said of bytes that no decoder takes."""
    kind = next((kind for begins, kind in _BEGINNINGS.items() if data.startswith(begins)), None)
    kind = "WebP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else kind
    if kind is not None:
        return f"cut off or damaged: its {len(data):,} bytes begin as {kind}, but cannot be decoded"
    return f"no picture that can be read: it begins with {data[:8]!r}"


def decode(data: bytes, name: str = "the picture", side: int | None = None) -> Any:
    """The first frame of a picture file as a Pillow image of mode L or RGB, upright, transparent parts white.

    ``side``: it may be smaller than in the file, but neither side below this; JPEG is then decoded at a half, a quarter or an
    eighth, several times faster.
    Raises: BadFile, with ``name``, for what is no picture, is cut off, or has more than `MAX_PIXELS`.
    """
    return decode_sized(data, name, side)[0]


def decode_sized(data: bytes, name: str = "the picture", side: int | None = None) -> tuple[Any, int, int]:
    """What `decode` gives, and the width and height that the whole picture has, upright."""
    from PIL import Image

    image = _open(data, name)
    width, height = image.size
    try:
        if side is not None and min(image.size) >= 2 * side:
            image.draft(None, (side, side))  # does nothing for other formats than JPEG
        turn = _orientation(image)
        image.load()
        if image.format == "TIFF":  # Pillow has turned it, pixels and size
            turn, (width, height) = 1, image.size
        if side is not None and (by := min(image.size) // side) > 1:
            image = flat(image).reduce(by)
        image = flat(image)
        for step in _TURNS.get(turn, ()):
            image = image.transpose(Image.Transpose(step))
    except MemoryError:
        raise
    except Exception as error:
        raise BadFile(f"{name} is cut off or damaged: {error}") from None
    return (image, height, width) if turn >= 5 else (image, width, height)


def _orientation(image: Any) -> int:
    if "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block does not make a broken picture
        return 1


def flat(image: Any) -> Any:
    """An opaque picture in grey ("L") or colour ("RGB"), eight bits deep, from one of any of Pillow's modes.

    Sixteen bits are divided by 257; deeper and floating greys by what they plainly are scaled to (1, 255 or 65,535).
    """
    from PIL import Image

    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, np.float32))
        high = float(values.max(initial=0))
        top = 65535.0 if image.mode.startswith("I;16") or high > 255 else 255.0 if high > 1 or image.mode == "I" else 1.0
        return Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La", "1")
        image = image.convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return opaque.convert("L" if grey else "RGB")
    if image.mode == "P":
        colours = image.palette.mode if image.palette is not None else "RGB"
        return image.convert("RGB" if colours else "L")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
