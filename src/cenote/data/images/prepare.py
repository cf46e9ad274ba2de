"""Pictures of many sizes and modes to arrays of one: the size and mode are chosen from the training part, and said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ...core.errors import unknown
from ..examples import Examples, Finding
from ..media import File, gather, in_threads, is_archive
from ..preparation import Preparation
from .decode import ENDINGS, decode
from .pictures import KEPT_SIDE, Pictures, to_bytes, value_range
from .read import as_item, as_pictures

__all__ = ["ImagePreparation"]

FITS = ("crop", "pad", "stretch")
MODES = ("L", "RGB")
MAX_SIDE = 4096
_BYTES = (0.0, 255.0)
SAMPLE = 64  # pictures that are looked at closely


class ImagePreparation(Preparation):
    """Pictures as uint8 (picture, height, width, colours): one size, grey (1) or colour (3), upright and opaque.

    ``fit`` says what happens to pictures of another shape: "crop" cuts the middle out, "pad" adds a margin in the colour of
    their rim, "stretch" changes their shape. ``limits`` are the values of black and white in arrays that are no uint8.
    """

    kind: ClassVar[str] = "image"

    def __init__(
        self,
        height: int,
        width: int,
        mode: str = "RGB",
        *,
        fit: str = "crop",
        limits: tuple[float, float] = (0.0, 255.0),
        ground: float = 0.5,
        reasons: Sequence[str] = (),
    ) -> None:
        for name, side in (("height", height), ("width", width)):
            if isinstance(side, bool) or int(side) != side or not 1 <= side <= MAX_SIDE:
                raise ValueError(f"ImagePreparation needs {name} to be a whole number from 1 to {MAX_SIDE}, got {side!r}")
        if mode not in MODES:
            raise unknown("mode of pictures", mode, MODES)
        if fit not in FITS:
            raise unknown("fit of pictures", fit, FITS)
        self.height, self.width, self.mode, self.how = int(height), int(width), mode, fit
        self.limits, self.ground = (float(limits[0]), float(limits[1])), float(ground)
        self.reasons = list(reasons)
        self.findings: list[Finding] = []

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, colours) of what comes out."""
        return self.height, self.width, 1 if self.mode == "L" else 3

    @classmethod
    def fit(
        cls,
        examples: Examples,
        *,
        size: int | tuple[int, int] | None = None,
        mode: str | None = None,
        fit: str | None = None,
        **options: Any,
    ) -> Self:
        """Choose size, mode and fit for the training part, unless they are given (``size`` is a side, or (height, width))."""
        if options:
            raise unknown("option of ImagePreparation", next(iter(options)), ["size", "mode", "fit"])
        if not len(examples):
            raise ValueError("there are no pictures to learn a preparation from")
        inputs, reasons = examples.inputs, []
        limits, findings = _limits(inputs, examples.about)
        sample = np.unique(np.linspace(0, len(inputs) - 1, SAMPLE).astype(int))
        looks = [to_bytes(v, limits) if isinstance(inputs, np.ndarray) else v for v in (np.asarray(inputs[i]) for i in sample)]
        if mode is None:
            mode, why = _choose_mode(inputs, looks)
            reasons.append(why)
        if size is None:
            (height, width), why = _choose_size(inputs)
            reasons.append(why)
        else:
            height, width = (size, size) if isinstance(size, (int, np.integer)) else size
            reasons.append(f"size {height}x{width}: as asked")
        ground, framed = _ground(looks)
        if fit is None:
            fit = "pad" if framed else "crop"
            why = "most have an even rim: others get a margin like it" if framed else "they fill their frame: others are cut"
            reasons.append(f"pictures of another shape: {fit} ({why})")
        made = cls(height, width, mode, fit=fit, limits=limits, ground=ground, reasons=reasons)
        made.findings = findings
        return made

    def __call__(self, inputs: Any, *, show: bool | None = None) -> np.ndarray:
        inputs = self.raw(inputs) if not isinstance(inputs, (Pictures, np.ndarray)) else inputs
        if isinstance(inputs, np.ndarray):
            return self._arrays(inputs)
        out = np.empty((len(inputs), *self.shape), np.uint8)
        made = in_threads(lambda i: self._row(inputs, i), range(len(inputs)), "preparing", show=show)
        for i, values in enumerate(made):
            out[i] = values
        return out

    def _row(self, inputs: Pictures, number: int) -> np.ndarray:
        values = inputs.ready(number, self.height, self.width, self.mode)
        if values is None:
            return self.one(inputs.image(number, self._side))
        return values[..., None] if values.ndim == 2 else values

    @property
    def _side(self) -> int:
        """The shorter side that pictures are decoded at, at least; the same wherever they come from."""
        return max(KEPT_SIDE, self.height, self.width)

    def one(self, image: Any) -> np.ndarray:
        """A Pillow image as (height, width, colours)."""
        image = image if image.mode == self.mode else image.convert(self.mode)
        values = np.asarray(_resized(image, (self.width, self.height), self.how))
        return values[..., None] if values.ndim == 2 else values

    def _arrays(self, array: np.ndarray) -> np.ndarray:
        array = as_pictures(array)
        array = to_bytes(array, self._limits_of(array))
        grey = array.ndim == 3
        if array.shape[1:3] == (self.height, self.width) and grey == (self.mode == "L"):
            return array[..., None] if grey else np.ascontiguousarray(array)
        from PIL import Image

        return np.stack([self.one(Image.fromarray(picture)) for picture in array])

    def _limits_of(self, array: np.ndarray) -> tuple[float, float]:
        """Black and white of an array: as in the training, unless it plainly has other values."""
        high = float(np.max(array, initial=0))
        if self.limits == _BYTES or high > self.limits[1]:
            return value_range(array)
        return self.limits

    def batch(self, items: Sequence[Sequence[str]]) -> np.ndarray:
        """Pictures by ``[path, member]``, as worker processes are told them."""
        return np.stack([self.one(decode(f.read(), f.name, self._side)) for f in (File(str(p), str(m)) for p, m in items)])

    def raw(self, source: Any) -> Any:
        """Pictures from a path, a folder, an archive, a Pillow image, an array, or a list of them."""
        if isinstance(source, (Pictures, Examples)):
            return source.inputs if isinstance(source, Examples) else source
        if isinstance(source, (str, os.PathLike)):
            path = Path(source)
            if path.is_dir() or is_archive(path):
                return Pictures.look(gather(path, ENDINGS, "pictures").files)[0]
            return Pictures.look([as_item(path)])[0]
        if isinstance(source, (list, tuple)):
            return Pictures.look([as_item(value, i) for i, value in enumerate(source)])[0]
        if hasattr(source, "shape") and hasattr(source, "dtype"):
            array = np.asarray(source)
            alone = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.shape[1] not in (1, 3, 4))
            return as_pictures(array[None] if alone else array)
        return Pictures.look([as_item(source)])[0]

    def look(self, inputs: Any) -> list[Finding]:
        """What seems odd about pictures at prediction: dark on light where those of the training were light on dark."""
        if abs(self.ground - 0.5) <= 0.25:
            return []
        odd = []
        for i in range(len(inputs)):
            rim = _rim(np.asarray(inputs[i])).mean() / 255
            if abs((1 - rim) - self.ground) + 0.4 < abs(rim - self.ground):
                odd.append(i)
        if not odd:
            return []
        usual = "light on dark" if self.ground < 0.5 else "dark on light"
        return [Finding(f"{len(odd)} of {len(inputs)} pictures look inverted: the training pictures are {usual}", "warning")]

    def config(self) -> dict[str, Any]:
        return {
            **{"height": self.height, "width": self.width, "mode": self.mode, "fit": self.how, "limits": list(self.limits)},
            **{"ground": self.ground, "reasons": self.reasons},
        }

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        try:
            limits = tuple(float(v) for v in config.get("limits", (0, 255)))
            return cls(
                *(config[name] for name in ("height", "width", "mode")),
                fit=config["fit"],
                limits=(limits[0], limits[1]),
                ground=float(config.get("ground", 0.5)),
                reasons=[str(r) for r in config.get("reasons", ())],
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"this is no configuration of an ImagePreparation: {error!r}") from None

    def describe(self) -> list[str]:
        return self.reasons or [f"{self.height}x{self.width}, {self.mode}, {self.how}"]


def _limits(inputs: Any, about: dict[str, Any]) -> tuple[tuple[float, float], list[Finding]]:
    """The values of black and white in arrays, and what is to be said of them."""
    if not isinstance(inputs, np.ndarray):
        return _BYTES, []
    given = "high" in about
    limits = (float(about.get("low", 0.0)), float(about["high"])) if given else value_range(inputs)
    if limits == _BYTES or given:
        return limits, []
    usual = limits in ((0.0, 1.0), (-1.0, 1.0), (0.0, 65535.0))
    text = f"values from {limits[0]:g} to {limits[1]:g} become 0 to 255, in whole steps"
    return limits, [Finding(text if usual else f"{text}: check that these are pictures", "note" if usual else "warning")]


def _choose_mode(inputs: Any, looks: list[np.ndarray]) -> tuple[str, str]:
    if isinstance(inputs, np.ndarray):
        grey = inputs.ndim == 3 or inputs.shape[3] == 1
        return ("L", "grey: one channel") if grey else ("RGB", "colour: three channels")
    if "RGB" not in inputs.modes:
        return "L", "grey: all pictures are"
    coloured = sum(v.ndim == 3 and bool((v != v[..., :1]).any()) for v in looks)
    if not coloured:
        return "L", f"grey: stored in colour, but the {len(looks)} looked at are grey in every pixel"
    return "RGB", "colour" if "L" not in inputs.modes else "colour: some pictures are grey, and get three equal channels"


def _choose_size(inputs: Any) -> tuple[tuple[int, int], str]:
    """One size for all: theirs if they have one that is small, else near their median and within what the number allows."""
    count = len(inputs)
    most = 128 if count <= 4000 else 96 if count <= 20000 else 64
    sizes = np.array([inputs.shape[2:0:-1]]) if isinstance(inputs, np.ndarray) else np.unique(inputs.sizes, axis=0)
    if len(sizes) == 1:
        width, height = map(int, sizes[0])
        if max(width, height) <= most:
            return (height, width), f"size {height}x{width}: all pictures have it"
    every = sizes if isinstance(inputs, np.ndarray) else inputs.sizes
    ratios = every[:, 0] / every[:, 1]
    ratio = float(np.median(ratios))
    alike = bool(np.mean(np.abs(np.log(ratios / ratio)) < 0.05) > 0.9)
    short = float(np.median(every.min(1)))
    ratio = ratio if alike else 1.0
    side = min(short, most / max(ratio, 1 / ratio) ** 0.5)
    width, height = (max(1, round(side * f)) for f in ((ratio if ratio > 1 else 1.0), (1 / ratio if ratio < 1 else 1.0)))
    if min(width, height) >= 32:
        width, height = (max(8 * round(v / 8), 8) for v in (width, height))
    shape = "the shape most have" if alike else "square, since their shapes differ"
    return (height, width), (
        f"size {height}x{width}: {shape}; the median of their shorter sides is {short:.0f}, and {count:,} pictures are trained "
        f"in minutes up to about {most}"
    )


def _rim(values: np.ndarray) -> np.ndarray:
    grey = values if values.ndim == 2 else values.mean(-1)
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]).astype(np.float32)


def _ground(looks: list[np.ndarray]) -> tuple[float, bool]:
    """How light the rims are (0 to 1), and whether most are even: things on a ground, not photographs."""
    rims = [_rim(values) for values in looks]
    light = float(np.mean([rim.mean() for rim in rims])) / 255
    even = float(np.mean([np.percentile(rim, 90) - np.percentile(rim, 10) < 24 for rim in rims]))
    return light, even > 0.6


def _resized(image: Any, size: tuple[int, int], how: str) -> Any:
    from PIL import Image, ImageOps

    if image.size == size:
        return image
    method = Image.Resampling.BILINEAR  # Pillow's averages over all of the source when it shrinks
    same = abs(image.width * size[1] - image.height * size[0]) <= max(image.size)  # shapes equal, up to rounding
    if how == "stretch" or same:
        return image.resize(size, method, reducing_gap=2.0)
    if how == "crop":
        scale = min(image.width / size[0], image.height / size[1])
        width, height = size[0] * scale, size[1] * scale
        left, top = (image.width - width) / 2, (image.height - height) / 2
        return image.resize(size, method, box=(left, top, left + width, top + height), reducing_gap=2.0)
    values = np.asarray(image)
    rim = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    colour = np.median(rim, axis=0).astype(int)
    return ImageOps.pad(image, size, method, color=int(colour) if colour.ndim == 0 else tuple(int(c) for c in colour))
