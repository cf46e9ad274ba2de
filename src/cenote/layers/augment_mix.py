"""Augmentation that mixes examples, erases parts of them, or draws from the other layers; SpecAugment for spectrograms."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels import image, random
from . import augment_color as color
from . import augment_geometry as geometry
from .augment import Augmentation, choice, chosen, cut, from_xyxy, limits, span, to_xyxy, uniform
from .base import Layer
from .check import floating, positive

__all__ = ["AugMix", "CutMix", "MixUp", "RandAugment", "RandomErasing", "SpecAugment"]


def _blend(layer: Any, what: str, y: jax.Array, weight: jax.Array, order: jax.Array) -> jax.Array:
    """``weight`` of each example and the rest of its partner; class numbers cannot be mixed."""
    if not jnp.issubdtype(y.dtype, jnp.inexact):
        if what == "segmentation_masks" or y.ndim == 1 or y.shape[-1] == 1:
            raise ValueError(
                f"{type(layer).__name__} mixes {what}, but these are whole numbers of shape {y.shape}: class numbers cannot be "
                f"mixed; one-hot them first, jax.nn.one_hot(y, number_of_classes)"
            )
        y = y.astype(jnp.float32)
    weight = image.column(weight, y)
    return weight * y + (1 - weight) * y[order]


def _log_gamma(key: jax.Array, alpha: Any, shape: tuple[int, ...]) -> jax.Array:
    """The logarithm of draws from Gamma(alpha, 1), for alpha above 0.

    Marsaglia and Tsang's method for alpha + 1, and a power of a uniform number for the step down. Eight candidates are drawn at
    once and the first good one is taken: each is good with a probability above 0.95, and a loop would compile and run longer.
    Source: Marsaglia and Tsang 2000, ACM TOMS 26(3).
    """
    one, two, three = jax.random.split(key, 3)
    d = jnp.asarray(alpha, jnp.float32) + (1 - 1 / 3)
    x = jax.random.normal(one, (8, *shape), jnp.float32)
    v = (1 + x / (3 * jnp.sqrt(d))) ** 3
    log_v = jnp.log(jnp.maximum(v, 1e-30))
    good = (v > 0) & (jnp.log(uniform(two, (8, *shape), (1e-30, 1.0))) < 0.5 * x**2 + d * (1 - v + log_v))
    first = jnp.take_along_axis(log_v, jnp.argmax(good, 0)[None], 0)[0]
    return jnp.log(d) + first + jnp.log(uniform(three, shape, (1e-30, 1.0))) / alpha


def _beta(key: jax.Array, alpha: Any, batch: int) -> jax.Array:
    """Draws from Beta(alpha, alpha), one an example."""
    one, two = jax.random.split(key)
    return jax.nn.sigmoid(_log_gamma(one, alpha, (batch,)) - _log_gamma(two, alpha, (batch,)))


def _bounds(key: jax.Array, ratio: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Where a part of an axis begins and ends, anywhere inside: (batch,) -> (batch,), (batch,)."""
    length = ratio * size
    start = uniform(key, ratio.shape, (0.0, 1.0)) * (size - length)
    return start, start + length


class MixUp(Augmentation):
    """Each example blended with another of its batch: ``w x + (1 - w) x'``, labels alike, with w from Beta(alpha, alpha).

    Give it a dict of ``images`` and ``labels``: on pictures alone nothing can change the labels along. Boxes and box labels of
    both pictures are put one after the other, so that there are twice as many.
    Raises: ValueError for labels or masks that are class numbers. Source: Zhang et al. 2018, arXiv:1710.09412.

    >>> batch = {"images": np.zeros((2, 8, 8, 3)), "labels": np.eye(2)}
    >>> MixUp()(batch, train=True, key=0)["labels"].sum(-1).round(4).tolist()
    [1.0, 1.0]
    """

    def __init__(self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not float(alpha) > 0:
            raise ValueError(f"MixUp needs alpha to be a number above 0, got {alpha!r}")
        self.alpha = float(alpha)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        one, two = jax.random.split(key)
        weight = _beta(one, self.alpha, shape[0])
        return {"order": jax.random.permutation(two, shape[0]), "weight": weight}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        weight = image.column(drawn["weight"], images)
        return weight * images + (1 - weight) * images[drawn["order"]]

    def transform_labels(self, labels: Any, drawn: Any) -> Any:
        return _blend(self, "labels", labels, drawn["weight"], drawn["order"])

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return _blend(self, "segmentation_masks", masks, drawn["weight"], drawn["order"])

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        both = {name: bounding_boxes[name] for name in ("boxes", "labels")}
        return {**bounding_boxes, **{name: jnp.concatenate([a, a[drawn["order"]]], 1) for name, a in both.items()}}


class CutMix(Augmentation):
    """A rectangle of each picture replaced by that of another of its batch; labels are mixed by the areas.

    The area kept is drawn from Beta(a, a), with a between the factors; one number means from 0 to it. Give it a dict of
    ``images`` and ``labels``, as `MixUp`.
    Raises: ValueError for labels that are class numbers, and for bounding boxes. Source: Yun et al. 2019, arXiv:1905.04899.

    >>> batch = {"images": np.zeros((2, 8, 8, 3)), "labels": np.eye(2)}
    >>> CutMix()(batch, train=True, key=0)["labels"].sum(-1).round(4).tolist()
    [1.0, 1.0]
    """

    def __init__(self, factor: Any = 1.0, seed: int | None = None, data_format: str | None = None, **options: Any) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor = span(self, "factor", factor, 0, 1, "zero")

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        keys = jax.random.split(key, 5)
        alpha = uniform(keys[0], shape[0], self.factor) + 1e-6
        ratio = jnp.sqrt(1 - _beta(keys[1], alpha, shape[0]))
        left, right = _bounds(keys[2], ratio, shape[2])
        top, bottom = _bounds(keys[3], ratio, shape[1])
        weight = 1 - (right - left) * (bottom - top) / (shape[1] * shape[2])
        edges = {"left": left, "right": right, "top": top, "bottom": bottom}
        return {"order": jax.random.permutation(keys[4], shape[0]), "weight": weight, **edges}

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return jnp.where(_rectangle(images.shape, drawn), images[drawn["order"]], images)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self.transform_images(masks, drawn)

    def transform_labels(self, labels: Any, drawn: Any) -> Any:
        return _blend(self, "labels", labels, drawn["weight"], drawn["order"])

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        raise ValueError(
            "CutMix covers objects by parts of others, and no box tells: leave the bounding boxes out, or use MixUp"
        )


def _rectangle(shape: tuple[int, ...], drawn: Any) -> jax.Array:
    return image.rectangle(shape, drawn["left"], drawn["right"], drawn["top"], drawn["bottom"])


class RandomErasing(Augmentation):
    """A rectangle of each picture filled with noise, or with ``fill_value``, a number or one for each channel.

    Its width and height are, each for itself, the root of a draw between ``scale``'s bounds, times those of the picture. Noise
    is Gaussian of deviation ``high``, cut to the ``value_range`` (low, high). ``factor`` is the probability: one number means
    one drawn from 0 to it, so that 1.0 acts on half of the pictures, and (1.0, 1.0) on all.
    Source: Zhong et al. 2020, arXiv:1708.04896; Keras's layer of this name.

    >>> y = RandomErasing((1.0, 1.0), (0.25, 0.25), fill_value=1)(np.zeros((1, 8, 8, 1)), train=True, key=0)
    >>> int(y.sum())
    16
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.factor, self.scale = span(self, "factor", factor, 0, 1, "zero"), span(self, "scale", scale, 0, 1, "zero")
        self.value_range = limits(self, value_range)
        several = fill_value if isinstance(fill_value, (tuple, list)) else (0 if fill_value is None else fill_value,)
        if not several or not all(isinstance(v, numbers.Real) for v in several):
            raise ValueError(f"RandomErasing needs fill_value to be None, a number, or a number a channel, got {fill_value!r}")
        self.fill_value = fill_value

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        who, how, across, down, noise = jax.random.split(key, 5)
        ratio = jnp.sqrt(uniform(how, (shape[0], 2), self.scale))
        left, right = _bounds(across, ratio[:, 0], shape[2])
        top, bottom = _bounds(down, ratio[:, 1], shape[1])
        drawn = {"apply": chosen(who, shape[0], self.factor), "left": left, "right": right, "top": top, "bottom": bottom}
        if self.fill_value is None:
            # The hash of dropout: Gaussian noise for every pixel of a batch would cost more than all else here.
            flat = ((random.bits(noise, shape) >> 8).astype(jnp.float32) + 0.5) * 2**-23 - 1
            drawn["noise"] = jax.lax.erf_inv(flat) * np.sqrt(2).astype(np.float32)
        return drawn

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        if self.fill_value is None:
            fill = drawn["noise"].astype(images.dtype) * self.value_range[1]
        elif isinstance(self.fill_value, (tuple, list)) and len(self.fill_value) != images.shape[-1]:
            raise ValueError(
                f"RandomErasing(fill_value={self.fill_value!r}) has {len(self.fill_value)} numbers for pictures of "
                f"{images.shape[-1]} channels: give one for each, or one for all"
            )
        else:
            fill = jnp.asarray(self.fill_value, images.dtype)
        erased = _rectangle(images.shape, drawn) & drawn["apply"].reshape(-1, 1, 1, 1)
        return jnp.where(erased, jnp.clip(fill, *self.value_range), images)


# -- policies: layers drawn by lot -------------------------------------------------------------------------------------


class _Policy(Augmentation):
    """What RandAugment and AugMix share: eleven layers, and for each example the number of the one that acts."""

    def _make(self, value_range: Any, factor: tuple[float, float], interpolation: str) -> dict[str, Augmentation]:
        moving: dict[str, Any] = {"interpolation": interpolation}
        colour: dict[str, Any] = {"value_range": value_range}
        return {
            "random_shear": geometry.RandomShear(factor, factor, **moving),
            "random_translation": geometry.RandomTranslation(factor, factor, **moving),
            "random_rotation": geometry.RandomRotation(factor, **moving),
            "random_posterization": color.RandomPosterization(max(1, int(8 * factor[1])), **colour),
            "solarization": color.Solarization(factor, factor, **colour),
            "auto_contrast": color.AutoContrast(**colour),
            "equalization": color.Equalization(**colour),
            "random_brightness": color.RandomBrightness(factor, **colour),
            "random_color_degeneration": color.RandomColorDegeneration(factor, **colour),
            "random_contrast": color.RandomContrast(factor, **colour),
            "random_sharpness": color.RandomSharpness(factor, **colour),
        }

    operations: dict[str, Any]
    interpolation: str

    def _steps(self, key: jax.Array, shape: tuple[int, ...], count: int, choices: int) -> dict[str, Any]:
        """For each example and each of ``count`` steps, which layer acts, and what each would draw: leaves (batch, count)."""

        def step(key: jax.Array) -> dict[str, Any]:
            which, *keys = jax.random.split(key, 1 + len(self.operations))
            draws = {name: layer.draw(k, shape) for k, (name, layer) in zip(keys, self.operations.items(), strict=True)}
            return {"which": jax.random.randint(which, shape[:1], 0, choices), "draws": draws}

        return jax.vmap(step, out_axes=1)(jax.random.split(key, count))

    def _follow(self, images: jax.Array, steps: dict[str, Any], masks: bool = False) -> jax.Array:
        """The steps one after the other, as one loop, so that they are compiled once."""

        def step(x: jax.Array, now: dict[str, Any]) -> tuple[jax.Array, None]:
            return self._step(x, now["which"], now["draws"], masks), None

        return jax.lax.scan(step, images, jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), steps))[0]

    def _step(self, x: jax.Array, which: jax.Array, draws: dict[str, Any], masks: bool) -> jax.Array:
        # All layers that move pixels share one warp: each example brings its own map, and most bring the identity.
        x = image.warp(x, self._map(x.shape, which, draws), "nearest" if masks else self.interpolation, "reflect")
        if masks:
            return x
        y = x
        for i, (name, layer) in enumerate(self.operations.items()):
            if not isinstance(layer, geometry.Warp):
                y = jnp.where((which == i).reshape(-1, 1, 1, 1), layer.transform_images(x, draws[name]), y)
        return y

    def _map(self, shape: tuple[int, ...], which: jax.Array, draws: dict[str, Any]) -> jax.Array:
        found = jnp.array([[1.0, 0, 0, 0, 1, 0]])
        for i, (name, layer) in enumerate(self.operations.items()):
            if isinstance(layer, geometry.Warp):
                found = jnp.where((which == i)[:, None], layer.where(draws[name], shape), found)
        return found


class RandAugment(_Policy):
    """``num_ops`` layers one after the other, drawn by lot for each example, all with the same strength ``factor``.

    They are RandomShear, RandomTranslation, RandomRotation, RandomPosterization, Solarization, AutoContrast, Equalization,
    RandomBrightness, RandomColorDegeneration, RandomContrast and RandomSharpness.
    Source: Cubuk et al. 2020, arXiv:1909.13719; Keras's layer of this name, which draws once for the whole batch.

    >>> RandAugment()(np.zeros((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_ops: int = 2,
        factor: Any = 0.5,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.num_ops, self.factor = positive(self, "num_ops", num_ops), span(self, "factor", factor, 0, 1, "zero")
        self.interpolation = choice(self, "interpolation", interpolation, image.INTERPOLATIONS)
        self.operations = self._make(limits(self, value_range), self.factor, interpolation)

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        return self._steps(key, shape, self.num_ops, len(self.operations))

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return self._follow(images, drawn)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        return self._follow(masks, drawn, masks=True)

    def transform_bounding_boxes(self, bounding_boxes: dict[str, Any], drawn: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        form = self.bounding_box_format or "xyxy"
        boxes, labels = to_xyxy(bounding_boxes["boxes"], form, *shape[1:3]), bounding_boxes["labels"]
        for i in range(self.num_ops):
            now = jax.tree.map(lambda a, i=i: a[:, i], drawn)
            boxes, labels = cut(geometry.carry(boxes, self._map(shape, now["which"], now["draws"])), labels, *shape[1:3])
        return {**bounding_boxes, "boxes": from_xyxy(boxes, form, *shape[1:3]), "labels": labels}


class AugMix(_Policy):
    """A blend of the picture with several chains of changes: ``w x + (1 - w) sum_i v_i chain_i(x)``.

    Each of ``num_chains`` chains is ``chain_depth`` layers of RandAugment's, or none, drawn by lot for each example; the v come
    from Dirichlet(alpha), and w from Beta(alpha, alpha). ``all_ops=False`` leaves out brightness, colour, contrast, sharpness.
    Bounding boxes stay as they are. Raises: ValueError for masks that are class numbers.
    Source: Hendrycks et al. 2020, arXiv:1912.02781; Keras's layer of this name, which draws once for the whole batch.

    >>> AugMix()(np.zeros((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_chains: int = 3,
        chain_depth: int = 3,
        factor: Any = 0.3,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, data_format=data_format, **options)
        self.num_chains = positive(self, "num_chains", num_chains)
        self.chain_depth = positive(self, "chain_depth", chain_depth)
        if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not float(alpha) > 0:
            raise ValueError(f"AugMix needs alpha to be a number above 0, got {alpha!r}")
        self.alpha, self.factor = float(alpha), span(self, "factor", factor, 0, 1, "zero")
        self.value_range = limits(self, value_range)
        self.interpolation = choice(self, "interpolation", interpolation, image.INTERPOLATIONS)
        operations = self._make(self.value_range, self.factor, interpolation)
        self.operations = operations if all_ops else dict(list(operations.items())[:7])

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        one, two, three = jax.random.split(key, 3)
        steps = self._steps(three, shape, self.num_chains * self.chain_depth, len(self.operations) + 1)
        return {
            "share": _beta(one, self.alpha, shape[0]),
            "weights": jax.nn.softmax(_log_gamma(two, self.alpha, (shape[0], self.num_chains))),
            "steps": jax.tree.map(lambda a: a.reshape(shape[0], self.num_chains, self.chain_depth, *a.shape[2:]), steps),
        }

    def _mix(self, x: jax.Array, drawn: Any, masks: bool = False) -> jax.Array:
        # All chains of all examples are one batch.
        chains = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), drawn["steps"])
        changed = self._follow(jnp.repeat(x, self.num_chains, 0), chains, masks)
        changed = changed.reshape(x.shape[0], self.num_chains, *x.shape[1:])
        blend = (changed * image.column(drawn["weights"], x).reshape(*drawn["weights"].shape, 1, 1, 1)).sum(1)
        share = image.column(drawn["share"], x)
        return share * x + (1 - share) * blend

    def transform_images(self, images: jax.Array, drawn: Any) -> jax.Array:
        return jnp.clip(self._mix(images, drawn), *self.value_range)

    def transform_segmentation_masks(self, masks: jax.Array, drawn: Any) -> jax.Array:
        if not jnp.issubdtype(masks.dtype, jnp.inexact):
            raise ValueError(
                f"AugMix blends pictures with moved copies, and these segmentation_masks are whole numbers of shape "
                f"{masks.shape}: class numbers cannot be blended; one-hot them first, or use RandAugment"
            )
        return self._mix(masks, drawn, masks=True)


# -- spectrograms --------------------------------------------------------------------------------------------------------


class SpecAugment(Layer):
    """In training, bands of frequencies and stretches of time of each spectrogram (batch, time, feature) set to ``fill_value``.

    Each of ``freq_masks`` bands covers 0 to ``freq_width`` features, each of ``time_masks`` stretches 0 to ``time_width`` steps
    and at most ``time_fraction`` of the sequence, whose length a mask (batch, time) says; each begins anywhere it fits. The
    warping of time, which the paper found to matter least, is left out.
    Raises: ValueError for an input of another rank. Source: Park et al. 2019, arXiv:1904.08779.

    >>> y = SpecAugment(1, 4, 1, 4)(np.ones((2, 20, 16), "float32"), train=True, key=0)
    >>> y.shape, set(np.unique(y).tolist()) <= {0.0, 1.0}
    ((2, 20, 16), True)
    """

    supports_masking = True

    def __init__(
        self,
        freq_masks: int = 2,
        freq_width: int = 27,
        time_masks: int = 2,
        time_width: int = 100,
        time_fraction: float = 1.0,
        fill_value: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        counts = {"freq_masks": freq_masks, "freq_width": freq_width, "time_masks": time_masks, "time_width": time_width}
        for name, value in counts.items():
            if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
                raise ValueError(f"SpecAugment needs {name} to be a whole number of at least 0, got {value!r}")
            setattr(self, name, int(value))
        self.time_fraction = span(self, "time_fraction", time_fraction, 0, 1, "same")[1]
        self.fill_value, self.seed = fill_value, seed

    freq_masks: int
    freq_width: int
    time_masks: int
    time_width: int

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> Any:
        """How wide and where each band is, as parts of what is possible: (batch, mask, 2)."""
        one, two = jax.random.split(key)
        freq = uniform(one, (shape[0], self.freq_masks, 2), (0.0, 1.0))
        return {"freq": freq, "time": uniform(two, (shape[0], self.time_masks, 2), (0.0, 1.0))}

    def forward(self, x: Any) -> jax.Array:
        mask = self.mask(x)
        x = floating(x)
        if x.ndim not in (2, 3):
            raise ValueError(
                f"SpecAugment takes spectrograms (batch, time, feature) or one (time, feature), but the input has shape "
                f"{x.shape}: leave out an axis of one channel, x[..., 0]"
            )
        if not self.train:
            return x
        key = self.seeded_key()
        batch = x if x.ndim == 3 else x[None]
        length = jnp.full(batch.shape[0], batch.shape[1]) if mask is None else mask.sum(-1).reshape(-1)
        return self.transform(batch, self.draw(key, batch.shape), length).reshape(x.shape)

    def transform(self, x: jax.Array, drawn: Any, length: jax.Array) -> jax.Array:
        """(batch, time, feature) with what was drawn, for sequences of these lengths."""
        features = jnp.full(x.shape[0], x.shape[2])
        gone_freq = _bands(drawn["freq"], jnp.minimum(self.freq_width, features), features, x.shape[2])
        longest = jnp.minimum(self.time_width, jnp.floor(self.time_fraction * length))
        gone_time = _bands(drawn["time"], longest, length, x.shape[1])
        return jnp.where(gone_time[:, :, None] | gone_freq[:, None, :], jnp.asarray(self.fill_value, x.dtype), x)


def _bands(drawn: jax.Array, widest: jax.Array, length: jax.Array, size: int) -> jax.Array:
    """Which places of an axis are covered by any band: (batch, mask, 2), (batch,), (batch,) -> (batch, size) of bool."""
    width = jnp.floor(drawn[..., 0] * (widest[:, None] + 1))
    start = jnp.floor(drawn[..., 1] * (length[:, None] - width))
    place = jnp.arange(size)
    return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(1)
