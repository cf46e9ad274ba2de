"""Augmentation that moves pixels: crops, flips, and warps of pictures with their boxes and masks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels import image
from .augment import Augmentation, Moving, choice, chosen, limits, span, uniform
from .check import positive

__all__ = [
    "RandomCrop",
    "RandomElasticTransform",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
]

_FILLS = ("reflect", "wrap", "constant", "nearest")


class RandomFlip(Moving):
    """A mirror image, with probability 1/2: ``mode`` is "horizontal", "vertical" or "horizontal_and_vertical".

    As in Keras, "horizontal_and_vertical" is one coin for both: a picture is turned upside down and left to right, or stays.
    Source: Keras's layer of this name.

    >>> x = np.arange(4.0).reshape(1, 1, 4, 1)
    >>> RandomFlip("horizontal")(x, train=True, key=1).ravel().tolist() in ([0, 1, 2, 3], [3, 2, 1, 0])
    True
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.mode = choice(self, "mode", mode, ("horizontal", "vertical", "horizontal_and_vertical"))
        self._across, self._down = "horizontal" in mode, "vertical" in mode

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"flip": uniform(key, shape[0], (0.0, 1.0)) <= 0.5}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        flipped = jnp.flip(images, [axis for axis, wanted in ((1, self._down), (2, self._across)) if wanted])
        return jnp.where(drawn["flip"].reshape(-1, 1, 1, 1), flipped, images)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self.transform_images(masks, drawn)

    def move(self, boxes: jax.Array, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
        if self._across:
            left, right = shape[2] - right, shape[2] - left
        if self._down:
            top, bottom = shape[1] - bottom, shape[1] - top
        return jnp.where(drawn["flip"].reshape(-1, 1, 1), jnp.stack([left, top, right, bottom], -1), boxes)


class RandomCrop(Moving):
    """A window of ``height`` by ``width`` at a random place of each picture.

    Outside training, and where a picture is not larger than the window on both axes, it is the largest window in the middle
    that has the shape of the target, resized to it.
    Source: Keras's layer of this name, which gives the whole batch one place.

    >>> RandomCrop(6, 6)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 6, 6, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, name=name, **options)
        self.height, self.width = positive(self, "height", height), positive(self, "width", width)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        down, across = shape[1] - self.height, shape[2] - self.width
        if down <= 0 or across <= 0:
            return self.rest(shape)
        one, two = jax.random.split(key)
        draw = jax.random.randint
        return {"top": draw(one, shape[:1], 0, down + 1), "left": draw(two, shape[:1], 0, across + 1)}

    def rest(self, shape: tuple[int, ...]) -> Any:
        return {}  # the window in the middle

    def size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return self.height, self.width

    def _middle(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        height = max(min(shape[1], int(shape[2] * self.height / self.width)), 1)
        width = max(min(shape[2], int(shape[1] * self.width / self.height)), 1)
        return (shape[1] - height) // 2, (shape[2] - width) // 2, height, width

    def _cut(self, images: jax.Array, drawn: Any, method: str) -> jax.Array:
        if drawn:
            return image.crop(images, drawn["top"], drawn["left"], self.height, self.width)
        top, left, height, width = self._middle(images.shape)
        images = images[:, top : top + height, left : left + width]
        if (height, width) == (self.height, self.width):
            return images
        shape = (images.shape[0], self.height, self.width, images.shape[3])
        return jax.image.resize(images, shape, method, antialias=False).astype(images.dtype)

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return self._cut(images, drawn, "bilinear")

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self._cut(masks, drawn, "nearest")

    def move(self, boxes: jax.Array, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        if drawn:
            corner = jnp.stack([drawn["left"], drawn["top"]], -1)[:, None].astype(boxes.dtype)
            return boxes - jnp.concatenate([corner, corner], -1)
        top, left, height, width = self._middle(shape)
        scale = np.array([self.width / width, self.height / height] * 2)
        return (boxes - jnp.array([left, top, left, top])) * jnp.asarray(scale, boxes.dtype)


class Warp(Moving):
    """The base of layers whose change is a map from each pixel of the output to its place in the input: write ``where``."""

    def __init__(self, interpolation: str, fill_mode: str, fill_value: float, **options: Any) -> None:
        super().__init__(**options)
        self.interpolation = choice(self, "interpolation", interpolation, image.INTERPOLATIONS)
        self.fill_mode, self.fill_value = choice(self, "fill_mode", fill_mode, _FILLS), fill_value

    def where(self, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        """The map, as `kernels.image.warp` takes it: (batch, 6) or (batch, 8)."""
        raise NotImplementedError

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return image.warp(images, self.where(drawn, images.shape), self.interpolation, self.fill_mode, self.fill_value)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return image.warp(masks, self.where(drawn, masks.shape), "nearest", self.fill_mode, self.fill_value)

    def move(self, boxes: jax.Array, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        return carry(boxes, self.where(drawn, shape))


def carry(boxes: jax.Array, transform: jax.Array) -> jax.Array:
    """The boxes round the four moved corners of boxes (left, top, right, bottom), for a map as `warp` takes it."""
    t = transform.astype(boxes.dtype)
    if t.shape[-1] == 6:
        t = jnp.pad(t, [(0, 0), (0, 2)])
    rows = jnp.pad(t, [(0, 0), (0, 1)], constant_values=1).reshape(-1, 3, 3)
    # The map goes from the output to the input; its adjugate goes back, up to a factor that the division takes out.
    one, two, three = rows[:, 0], rows[:, 1], rows[:, 2]
    back = jnp.stack([jnp.cross(two, three), jnp.cross(three, one), jnp.cross(one, two)], -1)
    left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
    x, y = jnp.stack([left, right, right, left], -1), jnp.stack([top, top, bottom, bottom], -1)
    to_x, to_y, depth = (b[..., 0] * x + b[..., 1] * y + b[..., 2] for b in jnp.moveaxis(back[:, None, None], -2, 0))
    to_x, to_y = to_x / depth, to_y / depth
    return jnp.stack([to_x.min(-1), to_y.min(-1), to_x.max(-1), to_y.max(-1)], -1)


class RandomRotation(Warp):
    """A turn about the centre by an angle between the factors, in whole turns: 0.1 is up to 36 degrees either way.

    A positive angle turns counter-clockwise, as in Keras.
    Source: Keras's layer of this name.

    >>> RandomRotation(0.1)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, seed=seed, data_format=data_format, **options)
        self.factor = span(self, "factor", factor, -1, 1)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"angle": uniform(key, shape[0], self.factor) * (2 * np.pi)}

    def where(self, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        return image.affine(shape, drawn["angle"])


class RandomTranslation(Warp):
    """A shift by a part of the height and of the width, each drawn between its factors; positive is down and to the right.

    Source: Keras's layer of this name.

    >>> RandomTranslation(0.1, 0.1)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, seed=seed, data_format=data_format, **options)
        self.height_factor = span(self, "height_factor", height_factor, -1, 1)
        self.width_factor = span(self, "width_factor", width_factor, -1, 1)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        down, across = jax.random.split(key)
        x = uniform(across, shape[0], self.width_factor) * shape[2]
        return {"x": x, "y": uniform(down, shape[0], self.height_factor) * shape[1]}

    def where(self, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        one, zero = jnp.ones_like(drawn["x"]), jnp.zeros_like(drawn["x"])
        return jnp.stack([one, zero, -drawn["x"], zero, one, -drawn["y"]], -1)


class RandomZoom(Warp):
    """A zoom about the centre by ``1 + factor`` on each axis: positive factors zoom out, negative ones zoom in.

    Without a ``width_factor`` both axes zoom alike. Source: Keras's layer of this name.

    >>> RandomZoom(0.2)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, seed=seed, data_format=data_format, **options)
        self.height_factor = span(self, "height_factor", height_factor, -1, 1)
        self.width_factor = None if width_factor is None else span(self, "width_factor", width_factor, -1, 1)
        for name in ("height_factor", "width_factor"):
            if -1 in (getattr(self, name) or ()):
                raise ValueError(
                    f"RandomZoom needs {name} above -1, got {getattr(self, name)}: -1 shrinks what is seen to a point"
                )

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        down, across = jax.random.split(key)
        y = 1 + uniform(down, shape[0], self.height_factor)
        return {"y": y, "x": y if self.width_factor is None else 1 + uniform(across, shape[0], self.width_factor)}

    def where(self, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        x, y, zero = drawn["x"], drawn["y"], jnp.zeros_like(drawn["x"])
        return jnp.stack([x, zero, (shape[2] - 1) / 2 * (1 - x), zero, y, (shape[1] - 1) / 2 * (1 - y)], -1)


class RandomShear(Warp):
    """A shear: x is read at ``x + sx y``, y at ``y + sy x``, each factor drawn between its bounds, both with one random sign.

    Source: Keras's layer of this name, whose boxes follow the picture only where it is square and one factor is 0.

    >>> RandomShear(0.2, 0.1)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(interpolation, fill_mode, fill_value, seed=seed, data_format=data_format, **options)
        self.x_factor = span(self, "x_factor", x_factor, 0, 1)
        self.y_factor = span(self, "y_factor", y_factor, 0, 1)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        sign, across, down = jax.random.split(key, 3)
        sign = jnp.where(uniform(sign, shape[0], (0.0, 1.0)) > 0.5, -1, 1)
        return {"x": sign * uniform(across, shape[0], self.x_factor), "y": sign * uniform(down, shape[0], self.y_factor)}

    def where(self, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        one, zero = jnp.ones_like(drawn["x"]), jnp.zeros_like(drawn["x"])
        return jnp.stack([one, drawn["x"], zero, drawn["y"], one, zero], -1)


class RandomPerspective(Warp):
    """A look from another side: three corners move by up to half of ``scale`` of the picture, the one at the origin stays.

    ``factor`` is the probability; two numbers, or 0 and one, are bounds between which each example's probability is drawn, so
    that ``factor=1.0`` changes half of the examples and ``factor=(1.0, 1.0)`` all.
    Source: Keras's layer of this name.

    >>> RandomPerspective(scale=0.3)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(interpolation, "constant", fill_value, seed=seed, data_format=data_format, **options)
        self.factor = span(self, "factor", factor, 0, 1, "zero")
        self.scale = span(self, "scale", scale, 0, 1, "same")[1]

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        who, how = jax.random.split(key)
        moved = 1 + uniform(how, (shape[0], 4, 2), (-0.5 * self.scale, 0.5 * self.scale))
        return {"apply": chosen(who, shape[0], self.factor), "end": self._corners(shape) * moved}

    def _corners(self, shape: tuple[int, ...]) -> jax.Array:
        right, bottom = shape[2] - 1, shape[1] - 1
        return jnp.array([[[0, 0], [right, 0], [0, bottom], [right, bottom]]], jnp.float32)

    def where(self, drawn: Any, shape: tuple[int, ...]) -> jax.Array:
        start = jnp.broadcast_to(self._corners(shape), drawn["end"].shape)
        same = jnp.array([1.0, 0, 0, 0, 1, 0, 0, 0])
        return jnp.where(drawn["apply"][:, None], image.homography(start, drawn["end"]), same)


class RandomElasticTransform(Augmentation):
    """A picture as on rubber: each pixel is read some way off, by a smooth random field.

    The field is Gaussian noise of deviation s, blurred with the same s, times a: ``s = 0.05 scale min(height, width)`` and
    ``a = 0.1 scale max(height, width)``, with ``scale`` drawn between its bounds; ``factor`` is the probability, as in
    `RandomPerspective`.
    Raises: ValueError for bounding boxes, which such a field does not carry.
    Source: Simard, Steinkraus and Platt 2003, ICDAR.

    >>> RandomElasticTransform(scale=0.5)(np.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.scale = span(self, "factor", factor, 0, 1, "zero"), span(self, "scale", scale, 0, 1, "zero")
        self.interpolation = choice(self, "interpolation", interpolation, image.INTERPOLATIONS)
        self.fill_mode, self.fill_value = choice(self, "fill_mode", fill_mode, image.FILL_MODES), fill_value
        self.value_range = limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        who, how, across, down = jax.random.split(key, 4)
        return {
            "apply": chosen(who, shape[0], self.factor),
            "scale": uniform(how, shape[0], self.scale),
            "x": jax.random.normal(across, shape[:3], jnp.float32),
            "y": jax.random.normal(down, shape[:3], jnp.float32),
        }

    def _warp(self, images: jax.Array, drawn: Any, interpolation: str) -> jax.Array:
        height, width = images.shape[1:3]
        sigma = drawn["scale"] * (0.05 * min(height, width))
        reach = jnp.where(drawn["apply"], drawn["scale"] * (0.1 * max(height, width)) * sigma, 0)[:, None, None]
        x = jnp.arange(width) + reach * image.spread(drawn["x"], sigma)
        y = jnp.arange(height)[:, None] + reach * image.spread(drawn["y"], sigma)
        return image.sample(images, y, x, interpolation, self.fill_mode, self.fill_value)

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return jnp.clip(self._warp(images, drawn, self.interpolation), *self.value_range)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self._warp(masks, drawn, "nearest")

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        raise ValueError(
            "RandomElasticTransform bends pictures, and a bent box is none: leave the bounding boxes out, or use RandomShear, "
            "RandomRotation or RandomPerspective"
        )
