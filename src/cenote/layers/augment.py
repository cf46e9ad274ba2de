"""Augmentation: what all layers share that change pictures at random in training, with their boxes, masks and labels."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from .base import Layer
from .check import channels_last, floating, positive

__all__ = ["Augmentation", "MaxNumBoundingBoxes", "Pipeline"]

_PARTS = ("images", "labels", "bounding_boxes", "segmentation_masks")
_FORMATS = ("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")


class Augmentation(Layer):
    """The base of layers that change pictures at random in training: write ``draw`` and ``transform_images``.

    ``draw(key, shape)`` gives what is random, a pytree whose leaves have the batch as their first axis, for pictures of
    ``shape`` (batch, height, width, channel); every example gets its own. ``transform_images(images, drawn)`` and the other
    ``transform_`` methods follow from that alone. The input is an array of pictures (batch, height, width, channel), one
    picture (height, width, channel), or a dict with ``images`` and any of ``labels``, ``bounding_boxes`` (a dict of ``boxes``
    in the ``bounding_box_format`` and ``labels``) and ``segmentation_masks``, whose parts change along. Pictures come out as
    floats. Outside training nothing changes, unless the layer says otherwise by ``rest(shape)``.
    Raises: ValueError for pictures of another rank, boxes without a format, or an unknown format.

    >>> class Darker(Augmentation):
    ...     def draw(self, key, shape):
    ...         return jax.random.uniform(key, (shape[0], 1, 1, 1))
    ...     def transform_images(self, images, drawn):
    ...         return images * drawn
    >>> picture = np.ones((2, 4, 4, 3), "float32")
    >>> layer = Darker()
    >>> bool((layer(picture) == 1).all()), bool((layer(picture, train=True, key=0) < 1).all())
    (True, True)
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        data_format: str | None = None,
        bounding_box_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        channels_last(self, data_format)
        if bounding_box_format is not None and str(bounding_box_format).lower() not in _FORMATS:
            raise unknown(f"bounding_box_format of {type(self).__name__}", bounding_box_format, _FORMATS)
        self.seed, self.bounding_box_format = seed, bounding_box_format and bounding_box_format.lower()

    # -- what a layer writes ---------------------------------------------------------------------------------------------

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        """What is random, for pictures of this shape: a pytree with a leading batch axis."""
        return ()

    def rest(self, shape: tuple[int, ...]) -> Any:
        """What takes the place of a draw outside training; None where nothing changes."""
        return None

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        """(batch, height, width, channel), in floats, to the same."""
        return images

    def transform_labels(self, labels: Any, drawn: Any) -> Any:
        return labels

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        """(batch, height, width, channel) of any type, to the same."""
        return masks

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        """``boxes`` (batch, box, 4) in this layer's format, and ``labels`` (batch, box), for pictures of ``shape``."""
        return bounding_boxes

    # -- the call --------------------------------------------------------------------------------------------------------

    def forward(self, data: Any) -> Any:
        if isinstance(data, dict) and "images" not in data:
            raise ValueError(
                f"{type(self).__name__} takes pictures, or a dict that has 'images' and any of {', '.join(_PARTS[1:])}; "
                f"this dict has {', '.join(map(repr, data)) or 'nothing'}"
            )
        parts = dict(data) if isinstance(data, dict) else {"images": data}
        parts["images"] = floating(parts["images"])
        if parts["images"].ndim not in (3, 4):
            raise ValueError(
                f"{type(self).__name__} takes pictures (batch, height, width, channel) or one (height, width, channel), but "
                f"the input has shape {parts['images'].shape}: give grey pictures a channel axis, x[..., None]"
            )
        alone = parts["images"].ndim == 3
        if alone:
            parts |= {name: jax.tree.map(lambda a: jnp.asarray(a)[None], parts[name]) for name in _PARTS if name in parts}
        drawn = self._drawn(parts["images"].shape)
        if drawn is not None:
            parts = self._transform(parts, drawn)
        if alone:
            parts |= {name: jax.tree.map(lambda a: a[0], parts[name]) for name in _PARTS if name in parts}
        return parts if isinstance(data, dict) else parts["images"]

    def _drawn(self, shape: tuple[int, ...]) -> Any:
        if not self.train:
            return self.rest(shape)
        return self.draw(self.seeded_key(), shape)

    def _transform(self, parts: dict[str, Any], drawn: Any) -> dict[str, Any]:
        shape = parts["images"].shape
        changed = dict(parts)
        if "bounding_boxes" in parts:
            changed["bounding_boxes"] = self.transform_bounding_boxes(self._boxes(parts["bounding_boxes"]), drawn, shape)
        changed["images"] = self.transform_images(parts["images"], drawn)
        if "labels" in parts:
            changed["labels"] = self.transform_labels(jnp.asarray(parts["labels"]), drawn)
        if "segmentation_masks" in parts:
            masks = jnp.asarray(parts["segmentation_masks"])
            if masks.shape[:3] != shape[:3] or masks.ndim > 4:
                raise ValueError(
                    f"{type(self).__name__} got pictures of shape {shape} with segmentation_masks of shape {masks.shape}: "
                    f"a mask has the size of its picture, (batch, height, width) or (batch, height, width, channel)"
                )
            flat = masks.ndim == 3
            masks = self.transform_segmentation_masks(masks[..., None] if flat else masks, drawn)
            changed["segmentation_masks"] = masks[..., 0] if flat else masks
        return changed

    def _boxes(self, given: Any) -> dict[str, Any]:
        if self.bounding_box_format is None:
            raise ValueError(
                f"{type(self).__name__} got bounding boxes, but not what their four numbers mean: say it, e.g. "
                f"{type(self).__name__}(..., bounding_box_format='xyxy')"
            )
        if not isinstance(given, dict) or "boxes" not in given or "labels" not in given:
            raise ValueError(
                f"{type(self).__name__} takes bounding_boxes as a dict of 'boxes' (batch, box, 4) and 'labels' (batch, box)"
            )
        boxes, labels = jnp.asarray(given["boxes"]), jnp.asarray(given["labels"])
        if boxes.ndim != 3 or boxes.shape[-1] != 4 or labels.shape[:2] != boxes.shape[:2]:
            raise ValueError(
                f"{type(self).__name__} takes boxes (batch, box, 4) and their labels (batch, box), but got shapes "
                f"{boxes.shape} and {labels.shape}"
            )
        return {**given, "boxes": floating(boxes), "labels": labels}


class Moving(Augmentation):
    """The base of what moves things: boxes move along, are cut at the edge, and lose their label when nothing is left."""

    def move(self, boxes: jax.Array, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        """Boxes (batch, box, 4) as left, top, right, bottom in pixels, to the same."""
        raise NotImplementedError

    def size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of what comes out."""
        return shape[1], shape[2]

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        form = self.bounding_box_format or "xyxy"
        boxes = self.move(to_xyxy(bounding_boxes["boxes"], form, *shape[1:3]), drawn, shape)
        boxes, labels = cut(boxes, bounding_boxes["labels"], *self.size(shape))
        return {**bounding_boxes, "boxes": from_xyxy(boxes, form, *self.size(shape)), "labels": labels}


def cut(boxes: jax.Array, labels: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Boxes (left, top, right, bottom) cut at the edge of their picture; one of which nothing is left gets the label -1."""
    boxes = jnp.clip(boxes, 0, jnp.asarray([width, height, width, height], boxes.dtype))
    left = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    if jnp.issubdtype(labels.dtype, jnp.unsignedinteger):
        labels = labels.astype(jnp.int32)
    return boxes, jnp.where(left.reshape(left.shape + (1,) * (labels.ndim - 2)), labels, -1)


def to_xyxy(boxes: jax.Array, form: str, height: int, width: int) -> jax.Array:
    """Boxes of any of Keras's formats as left, top, right, bottom in pixels.

    >>> to_xyxy(jnp.array([[0.5, 0.5, 0.5, 0.25]]), "rel_center_xywh", 8, 16).tolist()
    [[4.0, 3.0, 12.0, 5.0]]
    """
    relative, kind = form.startswith("rel_"), form.removeprefix("rel_")
    a, b, c, d = jnp.moveaxis(boxes, -1, 0)
    if kind in ("yxyx", "center_yxhw"):
        a, b, c, d = b, a, d, c
    if kind.startswith("center"):
        a, b = a - c / 2, b - d / 2
    if kind not in ("xyxy", "yxyx"):
        c, d = a + c, b + d
    if relative:
        a, b, c, d = a * width, b * height, c * width, d * height
    return jnp.stack([a, b, c, d], -1)


def from_xyxy(boxes: jax.Array, form: str, height: int, width: int) -> jax.Array:
    """The way back from `to_xyxy`."""
    relative, kind = form.startswith("rel_"), form.removeprefix("rel_")
    a, b, c, d = jnp.moveaxis(boxes, -1, 0)
    if relative:
        a, b, c, d = a / width, b / height, c / width, d / height
    if kind not in ("xyxy", "yxyx"):
        c, d = c - a, d - b
    if kind.startswith("center"):
        a, b = a + c / 2, b + d / 2
    if kind in ("yxyx", "center_yxhw"):
        a, b, c, d = b, a, d, c
    return jnp.stack([a, b, c, d], -1)


# -- arguments and draws that the families share -----------------------------------------------------------------------


def span(layer: Any, name: str, value: Any, low: float, high: float, lone: str = "both") -> tuple[float, float]:
    """A factor: two numbers to draw between, or one; ``lone`` says what one means: from -f, from 0, or just f."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else None
    values: tuple[Any, ...] = (value,) if pair is None else pair
    bad = any(isinstance(v, bool) or not isinstance(v, numbers.Real) or not low <= float(v) <= high for v in values)
    if bad or len(values) != (1 if pair is None else 2):
        raise ValueError(
            f"{type(layer).__name__} needs {name} to be a number from {low:g} to {high:g} or two of them, got {value!r}"
        )
    if pair is not None:
        return float(min(pair)), float(max(pair))
    f = float(values[0])
    return {"both": (-abs(f), abs(f)), "zero": (0.0, f), "same": (f, f)}[lone]


def limits(layer: Any, value: Any) -> tuple[float, float]:
    """The least and the greatest value of a pixel."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(v, numbers.Real) for v in pair) or pair[0] == pair[1]:
        raise ValueError(
            f"{type(layer).__name__} needs value_range to be the least and the greatest value of a pixel, (0, 255) or (0, 1), "
            f"got {value!r}"
        )
    return float(min(pair)), float(max(pair))


def choice(layer: Any, name: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise unknown(f"{name} of {type(layer).__name__}", value, known)
    return value


def uniform(key: jax.Array, shape: tuple[int, ...] | int, bounds: tuple[float, float]) -> jax.Array:
    """Draws between two bounds, in float32 whatever the precision of the pictures."""
    shape = (shape,) if isinstance(shape, int) else shape
    return jax.random.uniform(key, shape, jnp.float32, *bounds)


def chosen(key: jax.Array, batch: int, bounds: tuple[float, float]) -> jax.Array:
    """Which examples a layer acts on: each with its own probability, drawn between two bounds."""
    chance, coin = jax.random.split(key)
    return uniform(coin, batch, (0.0, 1.0)) < uniform(chance, batch, bounds)


# -- layers that hold no randomness of their own -----------------------------------------------------------------------


class Pipeline(Layer):
    """Layers one after the other, on pictures or on a dict of pictures, boxes, masks and labels.

    Source: Keras's layer of this name.

    >>> from cenote import layers
    >>> augment = Pipeline([layers.RandomFlip(), layers.RandomContrast(0.2)])
    >>> augment(np.zeros((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(self, layers: list, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name, **options)
        if not isinstance(layers, (list, tuple)) or not all(callable(layer) for layer in layers):
            raise ValueError(f"Pipeline takes a list of layers, got {layers!r}")
        self.layers = list(layers)

    def forward(self, data: Any) -> Any:
        for layer in self.layers:
            data = layer(data)
        return data


class MaxNumBoundingBoxes(Augmentation):
    """The same number of boxes for every picture: the first ``max_number``, filled up with boxes and labels of ``fill_value``.

    In training and outside it. Source: Keras's layer of this name.

    >>> boxes = {"boxes": np.ones((1, 1, 4)), "labels": np.ones((1, 1), int)}
    >>> layer = MaxNumBoundingBoxes(3, bounding_box_format="xyxy")
    >>> layer({"images": np.zeros((1, 8, 8, 3)), "bounding_boxes": boxes})["bounding_boxes"]["labels"].tolist()
    [[1, -1, -1]]
    """

    def __init__(self, max_number: int, fill_value: float = -1, **options: Any) -> None:
        super().__init__(**options)
        self.max_number, self.fill_value = positive(self, "max_number", max_number), fill_value

    def rest(self, shape: tuple[int, ...]) -> Any:
        return ()

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        def fit(a: jax.Array) -> jax.Array:
            missing = max(self.max_number - a.shape[1], 0)
            if jnp.issubdtype(a.dtype, jnp.unsignedinteger) and self.fill_value < 0:
                a = a.astype(jnp.int32)
            pad = [(0, missing if axis == 1 else 0) for axis in range(a.ndim)]
            return jnp.pad(a[:, : self.max_number], pad, constant_values=np.asarray(self.fill_value, a.dtype))

        return {**bounding_boxes, "boxes": fit(bounding_boxes["boxes"]), "labels": fit(bounding_boxes["labels"])}
