"""What SciPy and Pillow answer for warps, blurs and colours; writes augment.json beside this file. Run by hand.

python tests/parity/make_augment.py
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

HEIGHT, WIDTH, CHANNELS = 5, 7, 3
MODES = {"reflect": "reflect", "mirror": "mirror", "nearest": "nearest", "wrap": "grid-wrap", "constant": "grid-constant"}


def picture() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, CHANNELS)).astype("uint8")


def places() -> np.ndarray:
    """Rows and columns, some far outside: (2, height, width)."""
    return np.random.default_rng(8).uniform(-12, 18, (2, HEIGHT, WIDTH)).astype("float32")


def write() -> None:
    x, at = picture(), places()
    stored: dict = {"sample": {}}
    for ours, theirs in MODES.items():
        for order, name in ((0, "nearest"), (1, "bilinear")):
            planes = [
                ndimage.map_coordinates(x[..., c].astype("float64"), at, order=order, mode=theirs, cval=3.0)
                for c in range(CHANNELS)
            ]
            stored["sample"][f"{ours} {name}"] = rounded(np.stack(planes, -1))
    weights = np.exp(-0.5 * (np.arange(-2, 3) / 0.8) ** 2)
    blurred = x.astype("float64")
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights / weights.sum(), axis, mode="constant")
    stored["blur"] = rounded(blurred)
    field = x[..., 0].astype("float64")
    for axis in (0, 1):
        taps = np.exp(-0.5 * (np.arange(-2, 3) / 0.7) ** 2)
        field = ndimage.correlate1d(field, taps / taps.sum(), axis, mode="constant")
    stored["spread"] = rounded(field)
    whole = Image.fromarray(x)
    stored["posterize"] = np.asarray(ImageOps.posterize(whole, 3)).tolist()
    stored["solarize"] = np.asarray(ImageOps.solarize(whole, 100)).tolist()
    stored["autocontrast"] = np.asarray(ImageOps.autocontrast(whole)).tolist()
    stored["invert"] = np.asarray(ImageOps.invert(whole)).tolist()
    Path(__file__).with_name("augment.json").write_text(json.dumps(stored))


def rounded(x: np.ndarray) -> list:
    return np.round(x, 3).tolist()


if __name__ == "__main__":
    write()
