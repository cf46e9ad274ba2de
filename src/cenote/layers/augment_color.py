"""Augmentation that changes colours and sharpness, and leaves every pixel, box and mask where it is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..kernels import image
from .augment import Augmentation, chosen, limits, span, uniform
from .check import pair, positive

__all__ = [
    "AutoContrast",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Equalization",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPosterization",
    "RandomSaturation",
    "RandomSharpness",
    "Solarization",
]

_BYTES = (0, 255)
_UNIT = (0, 1)


def _colours(layer: Any, images: jax.Array, channels: tuple[int, ...] = (3,)) -> None:
    if images.shape[-1] not in channels:
        raise ValueError(
            f"{type(layer).__name__} needs red, green and blue in the last axis, but the input has {images.shape[-1]} channels"
            f": leave it out for such pictures, or repeat a grey channel, jax.numpy.repeat(x, 3, -1)"
        )


class RandomBrightness(Augmentation):
    """Brighter or darker: ``x + d (high - low)``, cut to the ``value_range`` (low, high), with d between the factors.

    One number f means from -f to f. Source: Keras's layer of this name.

    >>> RandomBrightness((0.5, 0.5))(jnp.zeros((1, 1, 2, 1)), train=True, key=0).ravel().tolist()
    [127.5, 127.5]
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        self.factor, self.value_range = span(self, "factor", factor, -1, 1), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"shift": uniform(key, shape[0], self.factor) * (self.value_range[1] - self.value_range[0])}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return jnp.clip(images + image.column(drawn["shift"], images), *self.value_range)


class RandomContrast(Augmentation):
    """More or less contrast: ``(x - mean) c + mean`` with the mean of each channel, and c from 1 - lower to 1 + upper.

    One number f means from 1 - f to 1 + f. Source: Keras's layer of this name, as its documentation has it.

    >>> RandomContrast((1.0, 0.0))(jnp.array([[[[0.0], [8.0]]]]), train=True, key=0).shape
    (1, 1, 2, 1)
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        self.factor, self.value_range = span(self, "factor", factor, 0, 1, "same"), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"contrast": uniform(key, shape[0], (1 - self.factor[0], 1 + self.factor[1]))}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        mean = images.mean((1, 2), keepdims=True)
        return jnp.clip((images - mean) * image.column(drawn["contrast"], images) + mean, *self.value_range)


class RandomHue(Augmentation):
    """Other colours: the hue turns by up to half the factor of the colour circle, either way.

    Raises: ValueError for pictures that do not have three channels. Source: Keras's layer of this name.

    >>> RandomHue((1.0, 1.0), value_range=(0, 1))(jnp.array([[[[1.0, 0, 0]]]]), train=True, key=0).round(3).ravel().tolist()
    [0.0, 1.0, 1.0]
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.value_range = span(self, "factor", factor, 0, 1, "zero"), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        sign, size = jax.random.split(key)
        sign = jnp.where(uniform(sign, shape[0], (0.0, 1.0)) > 0.5, -0.5, 0.5)
        return {"turn": sign * uniform(size, shape[0], self.factor)}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        _colours(self, images)
        hsv = image.rgb_to_hsv(image.rescale(images, self.value_range, _UNIT))
        hue = (hsv[..., :1] + image.column(drawn["turn"], images)) % 1
        rgb = jnp.clip(image.hsv_to_rgb(jnp.concatenate([hue, hsv[..., 1:]], -1)), 0, 1)
        return image.rescale(rgb, _UNIT, self.value_range)


class RandomSaturation(Augmentation):
    """Paler or stronger colours: the saturation times ``f / (1 - f)``; a factor f of 0 is grey, 0.5 is no change, 1 is full.

    One number means from 0 to it. Raises: ValueError for pictures that do not have three channels.
    Source: Keras's layer of this name, as its documentation has it.

    >>> RandomSaturation((0.0, 0.0), value_range=(0, 1))(jnp.array([[[[1.0, 0, 0.5]]]]), train=True, key=0).ravel().tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.value_range = span(self, "factor", factor, 0, 1, "zero"), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        factor = uniform(key, shape[0], self.factor)
        return {"times": factor / (1 - factor + 1e-7)}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        _colours(self, images)
        hsv = image.rgb_to_hsv(image.rescale(images, self.value_range, _UNIT))
        saturation = jnp.clip(hsv[..., 1:2] * image.column(drawn["times"], images), 0, 1)
        rgb = image.hsv_to_rgb(jnp.concatenate([hsv[..., :1], saturation, hsv[..., 2:]], -1))
        return image.rescale(rgb, _UNIT, self.value_range)


class RandomColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue, in this order, each where its factor is given.

    Source: Keras's layer of this name; the factors are those of the layers of these names.

    >>> RandomColorJitter(brightness_factor=0.2, hue_factor=0.1)(jnp.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        brightness_factor: Any = None,
        contrast_factor: Any = None,
        saturation_factor: Any = None,
        hue_factor: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        wanted = {
            "brightness": (RandomBrightness, brightness_factor),
            "contrast": (RandomContrast, contrast_factor),
            "saturation": (RandomSaturation, saturation_factor),
            "hue": (RandomHue, hue_factor),
        }
        self.value_range = limits(self, value_range)
        self.steps = {name: make(factor, value_range) for name, (make, factor) in wanted.items() if factor is not None}

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        keys = jax.random.split(key, 4)
        return {name: layer.draw(k, shape) for k, (name, layer) in zip(keys, self.steps.items(), strict=False)}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        for name, layer in self.steps.items():
            images = layer.transform_images(images, drawn[name])
        return images


class RandomColorDegeneration(Augmentation):
    """Duller colours: ``x + f (grey - x)``, cut to the ``value_range``, with f between the factors; 1 is grey.

    One number means from 0 to it; a negative f makes colours stronger. Raises: ValueError for pictures that have neither three
    channels nor one. Source: Keras's layer of this name, as its documentation has it.

    >>> RandomColorDegeneration((1.0, 1.0))(jnp.array([[[[100.0, 0, 0]]]]), train=True, key=0).round(2).ravel().tolist()
    [29.889999389648438, 29.889999389648438, 29.889999389648438]
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.value_range = span(self, "factor", factor, -1, 1, "zero"), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"factor": uniform(key, shape[0], self.factor)}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        _colours(self, images, (1, 3))
        mixed = images + image.column(drawn["factor"], images) * (image.grayscale(images) - images)
        return jnp.clip(mixed, *self.value_range)


class RandomGrayscale(Augmentation):
    """Grey pictures, in three channels still, with probability ``factor``: ``0.2989 red + 0.5870 green + 0.1140 blue``.

    Raises: ValueError for pictures that have neither three channels nor one. Source: Keras's layer of this name.

    >>> RandomGrayscale(1.0)(jnp.array([[[[100.0, 0, 0]]]]), train=True, key=0).round(2).ravel().tolist()
    [29.889999389648438, 29.889999389648438, 29.889999389648438]
    """

    def __init__(self, factor: float = 0.5, data_format: str | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor = span(self, "factor", factor, 0, 1, "same")[1]

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"apply": uniform(key, shape[0], (0.0, 1.0)) < self.factor}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        _colours(self, images, (1, 3))
        return jnp.where(drawn["apply"].reshape(-1, 1, 1, 1), image.grayscale(images), images)


class RandomInvert(Augmentation):
    """The negative, ``low + high - x`` of the ``value_range`` (low, high), with a probability drawn between the factors.

    One number means from 0 to it, so that ``factor=1.0`` inverts half of the pictures and ``factor=(1.0, 1.0)`` all.
    Source: Keras's layer of this name.

    >>> RandomInvert((1.0, 1.0))(jnp.array([[[[0.0], [55.0]]]]), train=True, key=0).ravel().tolist()
    [255.0, 200.0]
    """

    def __init__(
        self,
        factor: Any = 1.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.value_range = span(self, "factor", factor, 0, 1, "zero"), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"apply": chosen(key, shape[0], self.factor)}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return jnp.where(drawn["apply"].reshape(-1, 1, 1, 1), sum(self.value_range) - images, images)


class RandomSharpness(Augmentation):
    """Sharper or softer: ``x + (1 - 2 f) (soft - x)``, cut to the ``value_range``; f = 0 is soft, 0.5 no change, 1 sharp.

    ``soft`` is a 3 by 3 blur of weights 1/13 round a centre of 5/13, with zeros outside, as in Keras (PIL and torchvision leave
    the margin as it is). One number means from 0 to it. Source: Keras's layer of this name.

    >>> RandomSharpness((0.5, 0.5))(jnp.ones((1, 3, 3, 1)), train=True, key=0).mean().item()
    1.0
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.value_range = span(self, "factor", factor, 0, 1, "zero"), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return {"factor": uniform(key, shape[0], self.factor)}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        soft = (1 - 2 * image.column(drawn["factor"], images)) * (image.smooth(images) - images)
        return jnp.clip(images + soft, *self.value_range)


class RandomPosterization(Augmentation):
    """Fewer shades: only the highest bits of each value, counted from 0 to 255 over the ``value_range``.

    ``factor`` is the number of bits, 1 to 8, or two bounds of which the upper one is left out, as in Keras.
    Source: Cubuk et al. 2019, arXiv:1805.09501.

    >>> RandomPosterization(1)(jnp.array([[[[100.0], [200.0]]]]), train=True, key=0).ravel().tolist()
    [0.0, 128.0]
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        low, high = span(self, "factor", factor, 1, 8, "same")
        self.factor, self.value_range = (int(low), int(high)), limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        low, high = self.factor
        return {"bits": jax.random.randint(key, shape[:1], low, max(high, low + 1))}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        kept = image.posterize(image.rescale(images, self.value_range, _BYTES), drawn["bits"])
        return image.rescale(kept, _BYTES, self.value_range)


class RandomGaussianBlur(Augmentation):
    """A blur by a Gaussian whose two deviations, in pixels, are drawn between ``sigma``'s bounds, with zeros outside.

    ``kernel_size`` is odd, one for both axes or (width, height); ``factor`` is the probability, and one number means from 0 to
    it, for ``factor`` as for ``sigma``. Source: Keras's layer of this name.

    >>> RandomGaussianBlur(kernel_size=5)(jnp.zeros((2, 8, 8, 3)), train=True, key=0).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.sigma = span(self, "factor", factor, 0, 1, "zero"), span(self, "sigma", sigma, 0, 1, "zero")
        sizes = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
        self.kernel_size = tuple(positive(self, "kernel_size", size) for size in sizes)
        if len(sizes) != 2 or any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(f"RandomGaussianBlur needs kernel_size to be an odd number or two of them, got {kernel_size!r}")
        self.value_range = limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        who, how = jax.random.split(key)
        return {"apply": chosen(who, shape[0], self.factor), "sigma": uniform(how, (shape[0], 2), self.sigma) + 1e-6}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        across, down = (image.gaussian(drawn["sigma"][:, i], self.kernel_size[i]) for i in (0, 1))
        blurred = image.slide(images, down, across)
        return jnp.clip(jnp.where(drawn["apply"].reshape(-1, 1, 1, 1), blurred, images), *self.value_range)


class AutoContrast(Augmentation):
    """Each channel of each picture stretched over the whole ``value_range``, in training and outside it.

    A channel of one value stays as it is. Source: Keras's layer of this name.

    >>> AutoContrast()(jnp.array([[[[10.0], [20.0], [30.0]]]])).ravel().tolist()
    [0.0, 127.5, 255.0]
    """

    def __init__(self, value_range: Any = (0, 255), **options: Any) -> None:
        super().__init__(**options)
        self.value_range = limits(self, value_range)

    def rest(self, shape: tuple[int, ...]) -> Any:
        return ()

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        stretched = image.autocontrast(image.rescale(images, self.value_range, _BYTES))
        return image.rescale(stretched, _BYTES, self.value_range)


class Equalization(Augmentation):
    """In training, each channel of each picture with its values spread evenly over the ``value_range``, in ``bins`` steps.

    ``x -> 255 (n(x) - n(least)) / (pixels - n(least))`` with n(x) the number of values up to x.
    Source: Keras's layer of this name, which counts over the whole batch.

    >>> Equalization()(jnp.array([[[[10.0], [20.0], [30.0]]]]), train=True, key=0).ravel().tolist()
    [0.0, 128.0, 255.0]
    """

    def __init__(self, value_range: Any = (0, 255), bins: int = 256, data_format: str | None = None, **options: Any) -> None:
        super().__init__(data_format=data_format, **options)
        self.bins, self.value_range = positive(self, "bins", bins), limits(self, value_range)

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        equalized = image.equalize(image.rescale(images, self.value_range, _BYTES), self.bins)
        return image.rescale(equalized, _BYTES, self.value_range)


class ContrastLimitedAdaptiveHistogramEqualization(Augmentation):
    """Equalization by the tiles near each pixel, whose histograms are cut off at ``clip_limit`` times their mean.

    ``tile_grid_size`` is the number of tiles, (down, across). In training and outside it. ``CLAHE`` is its usual name.
    Source: Zuiderveld 1994, Graphics Gems IV; Keras's layer of this name.

    >>> ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2))(jnp.zeros((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        clip_limit: float = 4.0,
        tile_grid_size: Any = (8, 8),
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data_format=data_format, **options)
        self.value_range, self.clip_limit = limits(self, value_range), clip_limit
        self.tile_grid_size = pair(self, "tile_grid_size", tile_grid_size)

    def rest(self, shape: tuple[int, ...]) -> Any:
        return ()

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        levelled = image.equalize_locally(image.rescale(images, self.value_range, _BYTES), self.clip_limit, self.tile_grid_size)
        return image.rescale(levelled, _BYTES, self.value_range)


class Solarization(Augmentation):
    """In training, ``x + addition``, cut to the range, and then the negative of what is not below the ``threshold``.

    Both are parts of the ``value_range``, drawn between their factors; one number means from 0 to it.
    Source: Cubuk et al. 2019, arXiv:1805.09501; Keras's layer of this name.

    >>> Solarization(threshold_factor=(0.5, 0.5))(jnp.array([[[[100.0], [200.0]]]]), train=True, key=0).ravel().tolist()
    [100.0, 55.0]
    """

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, **options)
        self.addition_factor = span(self, "addition_factor", addition_factor, 0, 1, "zero")
        self.threshold_factor = span(self, "threshold_factor", threshold_factor, 0, 1, "zero")
        self.value_range = limits(self, value_range)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        one, two = jax.random.split(key)
        addition = uniform(one, shape[0], self.addition_factor) * 255
        return {"addition": addition, "threshold": uniform(two, shape[0], self.threshold_factor) * 255}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        x = image.rescale(images, self.value_range, _BYTES) + image.column(drawn["addition"], images)
        x = jnp.clip(x, 0, 255)
        x = jnp.where(x < image.column(drawn["threshold"], images), x, 255 - x)
        return image.rescale(x, _BYTES, self.value_range)
