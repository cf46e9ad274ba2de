"""Pictures of one size: resized, or cut from the middle; what lies in them moves along."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from .augment import Moving
from .check import positive

__all__ = ["CenterCrop", "Resizing"]

_INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


class _Sized(Moving):
    """Nothing is random here, and nothing depends on whether it is training."""

    def __init__(self, height: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.height, self.width = positive(self, "height", height), positive(self, "width", width)

    def size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return self.height, self.width

    def _drawn(self, shape: tuple[int, ...]) -> Any:
        return ()

    def _resized(self, images: jax.Array, interpolation: str, antialias: bool = False) -> jax.Array:
        shape = (images.shape[0], self.height, self.width, images.shape[-1])
        return images if images.shape == shape else jax.image.resize(images, shape, interpolation, antialias)

    def _largest(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the largest window of the target's proportions, in the middle."""
        tall = max(min(height, int(width * self.height / self.width)), 1)
        wide = max(min(width, int(height * self.width / self.height)), 1)
        return (height - tall) // 2, (width - wide) // 2, tall, wide

    def _window(self, images: jax.Array, top: int, left: int, height: int, width: int) -> jax.Array:
        return images[:, top : top + height, left : left + width]


class Resizing(_Sized):
    """Pictures of any size as ``(height, width)``: each new pixel is a weighted mean of those about its place.

    ``interpolation``: ``bilinear``, ``nearest``, ``bicubic``, ``lanczos3``, ``lanczos5``; ``antialias`` widens the mean where
    pictures shrink. Proportions change, unless ``crop_to_aspect_ratio`` first cuts the largest fitting window from the middle,
    or ``pad_to_aspect_ratio`` first adds edges of ``fill_value``. Whole numbers are rounded and stay whole numbers. Also
    takes a dict with boxes and masks (see `Augmentation`).
    Shapes: (batch, height, width, channel) or (height, width, channel) -> the same with the new size.

    >>> import numpy as np
    >>> Resizing(2, 2)(np.arange(16, dtype="uint8").reshape(4, 4, 1))[..., 0].tolist()
    [[2, 4], [10, 12]]
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(height, width, data_format=data_format, **options)
        if interpolation not in _INTERPOLATIONS:
            raise unknown("interpolation of Resizing", interpolation, _INTERPOLATIONS)
        if fill_mode != "constant":
            raise unknown("fill_mode of Resizing", fill_mode, ["constant"])
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Resizing can crop_to_aspect_ratio or pad_to_aspect_ratio, not both")
        self.interpolation, self.antialias, self.fill_value = interpolation, bool(antialias), fill_value
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio

    def forward(self, data: Any) -> Any:
        whole = isinstance(data, dict)
        given = jnp.result_type(data["images"] if whole and "images" in data else 0.0 if whole else data)
        y = super().forward(data)
        images = _back(y["images"] if whole else y, given)
        return {**y, "images": images} if whole else images

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return self._shaped(images, self.interpolation)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self._shaped(masks, "nearest").astype(masks.dtype)

    def _shaped(self, images: jax.Array, interpolation: str) -> jax.Array:
        height, width = images.shape[1:3]
        if self.crop_to_aspect_ratio:
            images = self._window(images, *self._largest(height, width))
        elif self.pad_to_aspect_ratio:
            above = (max(height, int(width * self.height / self.width)) - height) // 2
            beside = 0 if above else (max(width, int(height * self.width / self.height)) - width) // 2
            edges = ((0, 0), (above, above), (beside, beside), (0, 0))
            images = jnp.pad(images, edges, constant_values=jnp.asarray(self.fill_value, images.dtype))
        return self._resized(images, interpolation, self.antialias)

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        boxes = bounding_boxes["boxes"]
        empty = (boxes == -1).all(-1, keepdims=True) | (boxes == 0).all(-1, keepdims=True)
        moved = super().transform_bounding_boxes(bounding_boxes, drawn, shape)
        return {**moved, "boxes": jnp.where(empty, 0, moved["boxes"])}

    def move(self, boxes: jax.Array, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        height, width = shape[1:3]
        down, across = self.height / height, self.width / width
        top = left = 0.0
        if self.pad_to_aspect_ratio:
            down = across = min(down, across)
            top, left = (self.height - height * down) // 2, (self.width - width * across) // 2
        elif self.crop_to_aspect_ratio:
            down = across = max(down, across)
            top, left = -((height * down - self.height) // 2), -((width * across - self.width) // 2)
        scale, offset = np.array([across, down] * 2), np.array([left, top] * 2)
        return boxes * jnp.asarray(scale, boxes.dtype) + jnp.asarray(offset, boxes.dtype)


def _back(images: jax.Array, dtype: Any) -> jax.Array:
    """Pictures in the type they came in: whole numbers rounded, and cut where they do not fit."""
    if images.dtype == dtype or dtype == jnp.bool_:
        return images
    if jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        images = jnp.clip(jnp.round(images), limits.min, limits.max)
    return images.astype(dtype)


class CenterCrop(_Sized):
    """The middle ``(height, width)`` of each picture; what is smaller is cut to those proportions and resized, bilinear.

    Also takes a dict with boxes and masks (see `Augmentation`).
    Shapes: (batch, height, width, channel) or (height, width, channel) -> the same with the new size, as floats.

    >>> import numpy as np
    >>> CenterCrop(2, 2)(np.arange(16.0).reshape(4, 4, 1))[..., 0].tolist()
    [[5.0, 6.0], [9.0, 10.0]]
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **options: Any) -> None:
        super().__init__(height, width, data_format=data_format, **options)

    def _cut(self, height: int, width: int) -> tuple[int, int, int, int]:
        if height >= self.height and width >= self.width:
            return (height - self.height) // 2, (width - self.width) // 2, self.height, self.width
        return self._largest(height, width)

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return self._resized(self._window(images, *self._cut(*images.shape[1:3])), "bilinear")

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self._resized(self._window(masks, *self._cut(*masks.shape[1:3])), "nearest")

    def move(self, boxes: jax.Array, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        top, left, height, width = self._cut(*shape[1:3])
        offset, scale = np.array([left, top] * 2), np.array([self.width / width, self.height / height] * 2)
        return (boxes - jnp.asarray(offset, boxes.dtype)) * jnp.asarray(scale, boxes.dtype)
