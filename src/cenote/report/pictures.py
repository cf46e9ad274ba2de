"""Arrays as pictures inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from .html import Html, el


def is_pictures(x: Any) -> bool:
    """Whether an array (n, height, width) or (n, height, width, channel) can be shown as n pictures."""
    shape = getattr(x, "shape", ())
    if len(shape) == 3:
        return min(shape[1:]) > 1
    return len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 1


def value_range(x: np.ndarray) -> tuple[float, float]:
    """What is black and what is white: 0 to 255 for bytes that use that range, else from the smallest to the largest.

    >>> value_range(np.array([0, 3, 16])), value_range(np.array([0.0, 0.25, 1.0])), value_range(np.array([7, 200], "uint8"))
    ((0.0, 16.0), (0.0, 1.0), (0.0, 255.0))
    """
    low, high = float(np.min(x)), float(np.max(x))
    if np.asarray(x).dtype == np.uint8 and high > 127:
        return 0.0, 255.0
    return min(low, 0.0) if low > -1e-6 else low, high if high > low else low + 1


def picture(
    array: np.ndarray, span: tuple[float, float], alt: str, title: str | None = None, *, height: int | None = None
) -> Html:
    """One picture, (height, width) or (height, width, channel), as an img element that carries its PNG with it.

    ``height`` is that on the page, where no style sheet says it; by default a pixel is a pixel.
    """
    from PIL import Image

    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    low, high = span
    values = np.nan_to_num((array.astype(np.float32) - low) / (high - low))
    file = io.BytesIO()
    Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8)).save(file, "png", optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    small = max(array.shape[:2]) <= 64
    scale = 1.0 if height is None else height / array.shape[0]
    return el(
        "img",
        src=f"data:image/png;base64,{data}",
        alt=alt,
        title=title,
        width=round(array.shape[1] * scale),
        height=round(array.shape[0] * scale),
        class_="pixels" if small else None,
        style="image-rendering:pixelated" if small and height else None,
    )
