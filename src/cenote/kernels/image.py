"""Pictures to pictures, batched and pure: colours, warps, blurs, histograms; (batch, height, width, channel) throughout."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

GRAY = (0.2989, 0.5870, 0.1140)  # the weights of red, green and blue: ITU-R BT.601
FILL_MODES = ("reflect", "wrap", "constant", "nearest", "mirror")
INTERPOLATIONS = ("nearest", "bilinear")
_EXACT = jax.lax.Precision.HIGHEST


def column(values: Any, x: jax.Array) -> jax.Array:
    """One number an example, shaped and typed to meet a batch ``x``: (batch,) -> (batch, 1, ..., 1)."""
    return jnp.asarray(values).reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)


# -- colours -----------------------------------------------------------------------------------------------------------


def rescale(x: jax.Array, source: tuple, target: tuple) -> jax.Array:
    """Values of the range ``source`` to the range ``target``: the least to the least, the greatest to the greatest.

    >>> rescale(jnp.array([0.0, 51.0, 255.0]), (0, 255), (-1, 1)).round(1).tolist()
    [-1.0, -0.6000000238418579, 1.0]
    """
    if tuple(source) == tuple(target):
        return x
    return (x - source[0]) / (source[1] - source[0]) * (target[1] - target[0]) + target[0]


def grayscale(x: jax.Array) -> jax.Array:
    """Luminance: (..., 3) -> (..., 1); what has one channel stays as it is.

    >>> grayscale(jnp.ones((1, 1, 1, 3))).round(2).tolist()
    [[[[1.0]]]]
    """
    if x.shape[-1] == 1:
        return x
    return sum(weight * x[..., i : i + 1] for i, weight in enumerate(GRAY))  # type: ignore[return-value]


def rgb_to_hsv(x: jax.Array) -> jax.Array:
    """Red, green and blue from 0 to 1 as hue, saturation and value, all from 0 to 1: (..., 3) -> (..., 3).

    >>> rgb_to_hsv(jnp.array([0.0, 0.5, 0.0])).round(3).tolist()
    [0.3330000042915344, 1.0, 0.5]
    """
    x = jnp.where(jnp.abs(x) < jnp.finfo(x.dtype).eps, 0, x)
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    spread = value - jnp.minimum(jnp.minimum(red, green), blue)
    sixth = 1 / (6 * jnp.where(spread > 0, spread, 1))
    hue = jnp.where(value == green, sixth * (blue - red) + 2 / 6, sixth * (red - green) + 4 / 6)
    hue = jnp.where(value == red, sixth * (green - blue), hue)
    hue = jnp.where(spread > 0, hue, 0)
    hue = hue + (hue < 0)
    saturation = jnp.where(value > 0, spread / jnp.where(value > 0, value, 1), 0)
    return jnp.stack([hue, saturation, value], -1)


def hsv_to_rgb(x: jax.Array) -> jax.Array:
    """The way back from `rgb_to_hsv`: (..., 3) -> (..., 3).

    >>> hsv_to_rgb(jnp.array([1 / 3, 1.0, 0.5])).round(3).tolist()
    [0.0, 0.5, 0.0]
    """
    hue, saturation, value = x[..., 0] % 1 * 6, x[..., 1], x[..., 2]
    pure = (jnp.abs(hue - 3) - 1, 2 - jnp.abs(hue - 2), 2 - jnp.abs(hue - 4))
    return jnp.stack([value * (1 - saturation + saturation * jnp.clip(p, 0, 1)) for p in pure], -1)


def posterize(x: jax.Array, bits: jax.Array) -> jax.Array:
    """Whole numbers from 0 to 255 with only their ``bits`` highest bits: (batch, ...), (batch,) -> (batch, ...)."""
    shift = (8 - bits.astype(jnp.uint8)).reshape(-1, *[1] * (x.ndim - 1))
    return ((jnp.clip(x, 0, 255).astype(jnp.uint8) >> shift) << shift).astype(x.dtype)


def autocontrast(x: jax.Array) -> jax.Array:
    """Each channel of each picture stretched to 0 to 255; a channel of one value stays as it is."""
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    flat = high == low
    return jnp.where(flat, x, jnp.clip((x - low) / jnp.where(flat, 1, high - low) * 255, 0, 255))


def histogram(x: jax.Array, bins: int) -> jax.Array:
    """How many pixels of each channel fall into each bin, for bin numbers: (batch, h, w, channel) -> (batch, channel, bin)."""
    batch, _, _, channels = x.shape
    counts = jnp.zeros(batch * channels * bins, jnp.float32).at[_places(x, bins)].add(1, mode="promise_in_bounds")
    return counts.reshape(batch, channels, bins)


def _places(x: jax.Array, bins: int) -> jax.Array:
    """Where the bins of each channel of each picture stand, when all are written one after the other."""
    return (jnp.arange(x.shape[0])[:, None] * x.shape[3] + jnp.arange(x.shape[3]))[:, None, None, :] * bins + x


def equalize(x: jax.Array, bins: int = 256) -> jax.Array:
    """Each channel of each picture, 0 to 255, mapped so that its values are spread evenly; a flat channel stays as it is."""
    batch, _, _, channels = x.shape
    number = jnp.clip((x.astype(jnp.float32) * (bins - 1) / 255).astype(jnp.int32), 0, bins - 1)
    counts = histogram(number, bins)
    below = jnp.cumsum(counts, -1)
    least = jnp.min(jnp.where(below > 0, below, jnp.inf), -1, keepdims=True)
    rest = below[..., -1:] - least
    table = jnp.clip(jnp.round((below - least) * 255 / jnp.where(rest == 0, 1, rest)), 0, 255)
    mapped = table.reshape(-1).at[_places(number, bins)].get(mode="promise_in_bounds").astype(x.dtype)
    return jnp.where((rest > 0).reshape(batch, 1, 1, channels), mapped, x)


def equalize_locally(x: jax.Array, clip_limit: float, tiles: tuple[int, int]) -> jax.Array:
    """Equalization, 0 to 255, by the histogram of the tiles near each pixel, whose peaks are cut off ("CLAHE").

    Source: Zuiderveld 1994, Graphics Gems IV; the tables of the four nearest tiles are blended bilinearly.
    """
    batch, height, width, channels = x.shape
    down, across = -(-height // tiles[0]), -(-width // tiles[1])  # the size of a tile
    margin = [(0, 0), (0, down * tiles[0] - height), (0, across * tiles[1] - width), (0, 0)]
    number = jnp.clip(jnp.pad(x, margin, mode="symmetric"), 0, 255).astype(jnp.int32)
    split = number.reshape(batch, tiles[0], down, tiles[1], across, channels).transpose(0, 1, 3, 2, 4, 5)
    counts = histogram(split.reshape(-1, down, across, channels), 256)
    if clip_limit > 0:
        kept = jnp.minimum(counts, clip_limit * down * across / 256)
        counts = kept + (counts - kept).sum(-1, keepdims=True) / 256
    below = jnp.cumsum(counts, -1)
    rest = down * across - below[..., :1]
    table = jnp.clip((below - below[..., :1]) * 255 / jnp.where(rest == 0, 1, rest), 0, 255).reshape(-1)

    def near(size: int, tile: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tiles before and behind each pixel of an axis, and how much the second one weighs."""
        at = (np.arange(size, dtype="float32") - np.float32(tile / 2)) / np.float32(tile)
        first = np.floor(at)
        before, behind = (np.clip(first + i, 0, count - 1).astype("int32") for i in (0, 1))
        return before, behind, at - first

    top, bottom, low = near(height, down, tiles[0])
    left, right, far = near(width, across, tiles[1])

    def look(rows: np.ndarray, columns: np.ndarray) -> jax.Array:
        tile = jnp.arange(batch)[:, None, None] * (tiles[0] * tiles[1]) + rows[:, None] * tiles[1] + columns
        place = (tile[..., None] * channels + jnp.arange(channels)) * 256 + number[:, :height, :width]
        return table.at[place].get(mode="promise_in_bounds")

    low, far = low[:, None, None], far[:, None]
    upper = look(top, left) * (1 - far) + look(top, right) * far
    lower = look(bottom, left) * (1 - far) + look(bottom, right) * far
    return (upper * (1 - low) + lower * low).astype(x.dtype)


# -- filters -----------------------------------------------------------------------------------------------------------


def slide(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Each picture under its own separable filter, with zeros outside: x, (batch, odd), (batch, odd) -> like x."""
    for axis, taps in ((1, rows), (2, columns)):
        half, size = taps.shape[-1] // 2, x.shape[axis]
        padded = jnp.pad(x, [(half, half) if a == axis else (0, 0) for a in range(x.ndim)])
        parts = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) * column(taps[:, i], x) for i in range(taps.shape[-1])]
        x = sum(parts[1:], parts[0])
    return x


def gaussian(sigma: jax.Array, size: int) -> jax.Array:
    """The taps of a Gaussian of each ``sigma`` (in pixels), adding up to 1: (batch,) -> (batch, size)."""
    offset = jnp.arange(size) - (size - 1) / 2
    taps = jnp.exp(-0.5 * (offset / jnp.maximum(sigma, 1e-6)[:, None]) ** 2)
    return taps / taps.sum(-1, keepdims=True)


def smooth(x: jax.Array) -> jax.Array:
    """A 3 by 3 blur whose centre weighs 5/13 and each neighbour 1/13, with zeros outside: the base of sharpening."""
    around = x
    for axis in (1, 2):
        padded = jnp.pad(around, [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)])
        around = sum(jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in range(3))  # type: ignore[assignment]
    return (around + 4 * x) / 13


def spread(field: jax.Array, sigma: jax.Array) -> jax.Array:
    """A Gaussian blur of fields (batch, height, width), each with its own sigma, cut off at three of them, zeros outside.

    As two products with banded matrices, because a filter of 67 taps is faster so. Three sigmas must fit into the field.
    """

    def band(size: int) -> jax.Array:
        half = (6 * sigma).astype(jnp.int32)[:, None] // 2
        distance = jnp.arange(size)
        taps = jnp.where(distance <= half, jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 1e-6)[:, None]) ** 2), 0)
        taps = taps / (2 * taps.sum(-1, keepdims=True) - 1)  # the whole filter adds up to 1, both sides and the centre
        return taps[:, np.abs(np.subtract.outer(np.arange(size), np.arange(size)))]

    blurred = jnp.einsum("bij,bjk->bik", band(field.shape[1]), field, precision=_EXACT)
    return jnp.einsum("bij,bjk->bik", blurred, band(field.shape[2]), precision=_EXACT)


# -- warps -------------------------------------------------------------------------------------------------------------


def affine(
    shape: tuple[int, ...], angle: Any = 0.0, translate: Any = (0.0, 0.0), scale: Any = 1.0, shear: Any = (0.0, 0.0)
) -> jax.Array:
    """Where each pixel of the output comes from, about the centre: numbers an example -> (batch, 6) for `warp`.

    ``[[a0, a1, a2], [b0, b1, b2]]``, row by row: x is read at ``a0 x + a1 y + a2`` and y at ``b0 x + b1 y + b2``; ``angle`` in
    radians, ``translate`` in pixels, ``shear`` as two tangents.
    """
    x, y = (shape[2] - 1) / 2, (shape[1] - 1) / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a0, a1 = scale * (cos + shear[0] * sin), scale * (-sin + shear[0] * cos)
    b0, b1 = scale * (shear[1] * cos + sin), scale * (-shear[1] * sin + cos)
    parts = (a0, a1, translate[0] + x - x * a0 - y * a1, b0, b1, translate[1] + y - x * b0 - y * b1)
    return jnp.stack([jnp.broadcast_to(jnp.asarray(p, jnp.float32), shape[:1]) for p in parts], -1)


def homography(start: jax.Array, end: jax.Array) -> jax.Array:
    """The projection that brings four points ``start`` to ``end``: (batch, 4, 2) of (x, y), twice -> (batch, 8) for `warp`.

    It is written the way `warp` reads it, from the output to the input. Source: Hartley and Zisserman 2003, section 4.1.
    """
    (sx, sy), (ex, ey) = (jnp.moveaxis(p.astype(jnp.float32), -1, 0) for p in (start, end))
    one, zero = jnp.ones_like(ex), jnp.zeros_like(ex)
    rows = [
        jnp.stack([ex, ey, one, zero, zero, zero, -sx * ex, -sx * ey], -1),
        jnp.stack([zero, zero, zero, ex, ey, one, -sy * ex, -sy * ey], -1),
    ]
    return jnp.linalg.solve(jnp.concatenate(rows, 1), jnp.concatenate([sx, sy], -1)[..., None])[..., 0]


def warp(
    images: jax.Array, transform: jax.Array, interpolation: str = "bilinear", fill_mode: str = "reflect", fill_value: Any = 0.0
) -> jax.Array:
    """Pictures read where an affine (batch, 6) or projective (batch, 8) map says: (batch, h, w, c) -> (batch, h, w, c).

    >>> shift = jnp.array([[1.0, 0, 1, 0, 1, 0]])
    >>> warp(jnp.arange(4.0).reshape(1, 1, 4, 1), shift, fill_mode="constant").ravel().tolist()
    [1.0, 2.0, 3.0, 0.0]
    """
    precise = jnp.promote_types(transform.dtype, jnp.float32)
    t = transform.astype(precise)[:, :, None, None]
    y = jnp.arange(images.shape[1], dtype=precise)[:, None]
    x = jnp.arange(images.shape[2], dtype=precise)[None, :]
    from_x, from_y = t[:, 0] * x + t[:, 1] * y + t[:, 2], t[:, 3] * x + t[:, 4] * y + t[:, 5]
    if transform.shape[-1] == 8:
        depth = t[:, 6] * x + t[:, 7] * y + 1
        from_x, from_y = from_x / depth, from_y / depth
    return sample(images, from_y, from_x, interpolation, fill_mode, fill_value)


def sample(
    images: jax.Array,
    y: jax.Array,
    x: jax.Array,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: Any = 0.0,
) -> jax.Array:
    """Pictures read at places between their pixels: (batch, h, w, c) and (batch, m, n) twice -> (batch, m, n, c).

    One gather of whole pixels for each of the four neighbours (for ``"nearest"``, one in all). Outside, ``fill_mode`` is as in
    SciPy's ``map_coordinates`` ("wrap" and "constant" as its "grid-wrap" and "grid-constant"); whole numbers stay whole.
    """
    batch, height, width, channels = images.shape
    # A coordinate far out, or none at all behind a horizon, must not overflow the whole numbers below.
    far = 1e6
    y, x = (jnp.clip(jnp.nan_to_num(c, nan=-far), -far, far) for c in (y, x))
    margin = 0
    if fill_mode == "constant":  # one pixel of it all round, and then the nearest pixel
        fill = jnp.asarray(fill_value, images.dtype)
        images, margin = jax.lax.pad(images, fill, [(0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0)]), 1
        height, width = height + 2, width + 2
    pixels = images.reshape(-1, channels)
    first = (jnp.arange(batch) * (height * width))[:, None, None]

    def read(row: jax.Array, col: jax.Array) -> jax.Array:
        row, col = _inside(row + margin, height, fill_mode), _inside(col + margin, width, fill_mode)
        return pixels.at[first + row * width + col].get(mode="promise_in_bounds")

    if interpolation == "nearest":
        return read(_round(y), _round(x))
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = (y - top)[..., None], (x - left)[..., None]
    row, col = top.astype(jnp.int32), left.astype(jnp.int32)
    upper = read(row, col) * (1 - right) + read(row, col + 1) * right
    lower = read(row + 1, col) * (1 - right) + read(row + 1, col + 1) * right
    mixed = upper * (1 - down) + lower * down
    if not jnp.issubdtype(images.dtype, jnp.inexact):
        mixed = jnp.round(mixed)
    return mixed.astype(images.dtype)


def _round(c: jax.Array) -> jax.Array:
    return (jnp.sign(c) * jnp.floor(jnp.abs(c) + 0.5)).astype(jnp.int32)


def _inside(index: jax.Array, size: int, fill_mode: str) -> jax.Array:
    """The pixel that stands at a place outside the picture."""
    if fill_mode == "reflect":  # d c b a | a b c d | d c b a
        index = index % (2 * size)
        return jnp.minimum(index, 2 * size - 1 - index)
    if fill_mode == "mirror":  # d c b | a b c d | c b a
        index = index % max(2 * size - 2, 1)
        return jnp.minimum(index, jnp.abs(2 * size - 2 - index))
    return index % size if fill_mode == "wrap" else jnp.clip(index, 0, size - 1)


def crop(images: jax.Array, top: jax.Array, left: jax.Array, height: int, width: int) -> jax.Array:
    """A window of each picture, at whole pixels: (batch, h, w, c), (batch,), (batch,) -> (batch, height, width, c)."""
    batch = jnp.arange(images.shape[0])[:, None, None]
    rows, columns = top[:, None] + jnp.arange(height), left[:, None] + jnp.arange(width)
    return images.at[batch, rows[:, :, None], columns[:, None, :]].get(mode="promise_in_bounds")


def rectangle(shape: tuple[int, ...], left: Any, right: Any, top: Any, bottom: Any) -> jax.Array:
    """Which pixels lie in each picture's rectangle, its far edges left out: -> (batch, height, width, 1) of bool."""
    y, x = jnp.arange(shape[1])[None, :, None, None], jnp.arange(shape[2])[None, None, :, None]
    left, right, top, bottom = (jnp.asarray(edge).reshape(-1, 1, 1, 1) for edge in (left, right, top, bottom))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)
