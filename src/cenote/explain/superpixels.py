"""Superpixels: a picture cut into connected pieces of one colour each."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["superpixels"]

ROUNDS = 10  # of moving centres; SLIC's own number


def superpixels(picture: Any, count: int | None = None, *, compactness: float = 0.2) -> np.ndarray:
    """The number of the piece that each pixel is in, (height, width), 0, 1, 2 ...; the pieces are connected.

    k-means over colour and place, each centre looking only about itself: with ``S`` the side of a piece of middle size,
    ``distance^2 = |colour - centre's|^2 + compactness^2 |place - centre's|^2 / S^2``, colours scaled to 0 ... 1 over the
    picture, all channels alike (not in CIELAB). Small ``compactness`` follows edges, large makes squares; it is doubled where
    there would be less than half as many pieces as wanted, as in noise. ``count`` (default about 50, and fewer in pictures
    under 400 pixels) is how many pieces there are, more or less.
    Raises: ValueError for what is no picture, a count that is no number of pieces, or NaN.
    Source: Achanta et al., 2012, SLIC Superpixels, IEEE TPAMI 34.

    >>> picture = np.zeros((6, 8)); picture[:, 4:] = 1
    >>> superpixels(picture, 2).tolist()[0]
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    colours = np.asarray(picture, np.float64)
    if colours.ndim == 2:
        colours = colours[:, :, None]
    if colours.ndim != 3 or 0 in colours.shape:
        raise ValueError(
            f"one picture has the shape (height, width) or (height, width, channels), got {np.shape(picture)}; of a batch take "
            f"one, x[0]"
        )
    if not np.all(np.isfinite(colours)):
        raise ValueError("the picture holds NaN or infinity")
    height, width = colours.shape[:2]
    count = max(4, min(50, height * width // 8)) if count is None else count
    if not (count >= 1 and compactness > 0):
        raise ValueError(f"count is at least 1 and compactness above 0, got count={count}, compactness={compactness}")
    low, high = colours.min(), colours.max()
    colours = (colours - low) / (high - low if high > low else 1.0)
    side = max(np.sqrt(height * width / count), 1.0)
    centres = _centres(height, width, count)
    for _ in range(12):
        place = _places(height, width) * (compactness / side)
        pieces = _connected(_clustered(np.concatenate([colours, place], axis=-1), centres, side), count)
        if 2 * (pieces.max() + 1) >= len(centres):
            break
        compactness *= 2  # colours change too fast for pieces of one colour: squares, rather than crumbs of one piece
    return pieces


def _places(height: int, width: int) -> np.ndarray:
    """The row and column of each pixel, (height, width, 2)."""
    return np.moveaxis(np.indices((height, width)), 0, -1).astype(np.float64)


def _centres(height: int, width: int, count: int) -> np.ndarray:
    """Places on a grid of about ``count`` cells, (centres, 2)."""
    rows = min(max(round(np.sqrt(count * height / width)), 1), height)
    columns = min(max(round(count / rows), 1), width)
    down = (np.arange(rows) + 0.5) * height / rows
    across = (np.arange(columns) + 0.5) * width / columns
    return np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)


def _clustered(points: np.ndarray, centres: np.ndarray, side: float) -> np.ndarray:
    """The nearest centre of each pixel, after some rounds."""
    height, width = points.shape[:2]
    where = centres.copy()
    middle = points[where[:, 0].astype(int), where[:, 1].astype(int)]
    reach = int(np.ceil(1.5 * side)) + 1
    label = np.zeros((height, width), np.int64)
    for _ in range(ROUNDS):
        best = np.full((height, width), np.inf)
        for number, (down, across) in enumerate(where.astype(int)):
            window = (slice(max(down - reach, 0), down + reach + 1), slice(max(across - reach, 0), across + reach + 1))
            distance = ((points[window] - middle[number]) ** 2).sum(-1)
            nearer = distance < best[window]
            best[window] = np.where(nearer, distance, best[window])
            label[window] = np.where(nearer, number, label[window])
        many = np.bincount(label.ravel(), minlength=len(where))
        alive = many > 0

        def mean(of: np.ndarray, many: np.ndarray = many) -> np.ndarray:
            sums = [np.bincount(label.ravel(), column, minlength=len(many)) for column in of.reshape(-1, of.shape[-1]).T]
            return np.stack(sums, axis=-1) / np.maximum(many, 1)[:, None]

        middle = np.where(alive[:, None], mean(points), middle)
        moved = np.where(alive[:, None], mean(_places(height, width)), where)
        if np.abs(moved - where).max() < 0.01:
            break
        where = moved
    return label


def _connected(label: np.ndarray, count: int) -> np.ndarray:
    """Pieces in one part: scattered bits and crumbs go to the piece beside them; numbers from 0 in reading order."""
    from scipy import ndimage

    parts, total = np.zeros(label.shape, np.int64), 0
    for number in np.unique(label):
        found, some = ndimage.label(label == number)  # type: ignore[misc]
        parts = np.where(found > 0, found + total, parts)
        total += some
    sizes = np.bincount(parts.ravel())
    owner = np.zeros(total + 1, np.int64)
    owner[parts.ravel()] = label.ravel()
    largest = np.zeros(label.max() + 1, np.int64)
    for part in np.argsort(sizes[1:], kind="stable") + 1:  # the largest comes last
        largest[owner[part]] = part
    kept = largest[np.unique(label)]
    enough = kept[sizes[kept] >= label.size / count / 8]
    kept = enough if len(enough) else kept[np.argmax(sizes[kept])][None]
    stays = np.isin(parts, kept)
    while not stays.all():  # grow what stays by a pixel at a time, so that it remains in one part
        near: Any = ndimage.distance_transform_edt(~stays, return_distances=True, return_indices=True)
        distance, nearest = near
        border = (distance > 0) & (distance <= 1)
        parts = np.where(border, parts[tuple(nearest)], parts)
        stays |= border
    _, first, index = np.unique(parts, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[index.reshape(label.shape)].astype(np.int32)


def filled(picture: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The picture with every piece in its mean colour; ``segments`` has the picture's shape, or lacks the channels."""
    channels = picture.reshape(*segments.shape, -1) if picture.ndim > segments.ndim else picture[..., None]
    flat = segments.ravel()
    many = np.maximum(np.bincount(flat), 1)
    sums = [np.bincount(flat, column) / many for column in channels.reshape(flat.size, -1).T]
    means = np.stack(sums, axis=-1)[flat].reshape(picture.shape)
    return (np.round(means) if picture.dtype.kind in "iu" else means).astype(picture.dtype)
