"""Classes, or labels, for pictures: network and augmentation follow from their size, their number and what they show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..data.answers import Answers
from ..data.examples import Examples
from ..data.images import ImagePreparation, Pictures, read
from ..data.images.decode import ENDINGS
from ..data.media import any_file, named_in
from ..data.preparation import Preparation
from ..data.split import Parts
from .base import Baseline, Choice, cosine
from .kinds import Classification
from .linear import edges_and_colours, linear_baseline, shrunk
from .patches import patch_network

__all__ = ["ImageClassification", "epochs_for", "mirror_share"]

SPEED = {"cpu": 120e9, "gpu": 10e12, "tpu": 10e12}  # floating point operations a second that training may hope for
SECONDS = 120.0  # that training may take, about, unless the least number of epochs takes longer
LEAST = 8  # epochs
FEW = 500  # examples; below it a validation part is too small to choose by
SCARCE = 5000  # examples; below it labels are softened and pictures mixed
SMALL = 48  # pixels; pictures up to this side need no first reduction
MOMENTUM = 0.9  # of batch statistics: with 0.99 they would lag behind for hundreds of steps
MIRRORED = 0.62  # the share of mirrored pictures that may be told apart by chance


class ImageClassification(Classification):
    """A class for each picture, or several labels, from folders, tables of names, or arrays; see `cenote.data.images.read`.

    Options: ``size`` (a side, or (height, width)), ``mode`` ("L", "RGB") and ``fit`` ("crop", "pad", "stretch") of the prepared
    pictures; ``flip`` (True, False) for mirrored pictures in training; ``skip_broken`` to leave broken files out.
    """

    name: ClassVar[str] = "image-classification"
    about: ClassVar[str] = "a class, or several labels, for each picture"
    kind: ClassVar[str] = "image"
    models: ClassVar[tuple[str, ...]] = ("cnn", "resnet", "patches", "mlp", "linear")
    options: ClassVar[dict[str, Any]] = {"size": None, "mode": None, "fit": None, "flip": None, "skip_broken": False}

    preparation: ImagePreparation
    choosing: ClassVar[int] = FEW
    soft = False  # are targets rows of probabilities, so that they can be mixed?

    @classmethod
    def fits(cls, source: Any, target: Any = None, **options: Any) -> str | None:
        if isinstance(source, (str, os.PathLike)):
            return _fits_path(Path(source))
        x = source[0] if isinstance(source, tuple) and len(source) == 2 else source
        x = x[0] if isinstance(x, tuple) and len(x) == 2 else x
        if hasattr(x, "ndim") and hasattr(x, "dtype") and x.ndim in (3, 4) and min(x.shape[1:3]) > 4:
            usual = x.ndim == 4 and x.shape[3] in (1, 3, 4)
            return "an array of pictures" if usual or np.dtype(x.dtype) == np.uint8 else None
        return None

    def read(self, source: Any) -> Examples:
        return read(source, target=self.target, skip_broken=bool(self.option["skip_broken"]))

    def prepare(self, training: Examples) -> tuple[Preparation, Answers]:
        options = {name: self.option[name] for name in ("size", "mode", "fit")}
        answers = self.fit_answers(training)
        self.answers = answers
        preparation = ImagePreparation.fit(training, **options)
        kind = self._kind(len(training), preparation.shape)
        self.soft = not self.multi_label and len(training) < SCARCE and kind in ("cnn", "resnet")
        return preparation, answers

    def _kind(self, count: int, shape: tuple[int, ...]) -> str:
        """The kind of network: what was asked for, or what fits so many training pictures of this size."""
        few = count < FEW and self.model is None  # what surrounds a network of the user's own is chosen for one that learns
        return self.kind_of_model("cnn" if max(shape[:2]) <= SMALL else "patches" if few else "resnet")

    def arrays(self, examples: Examples, training: bool = False) -> Any:
        y = None if examples.targets is None else self.answers(examples.targets)
        if y is not None and self.soft:
            y = np.eye(len(self.answers.names), dtype=np.float32)[y]
        inputs = examples.inputs
        if isinstance(inputs, Pictures) and len(inputs) * int(np.prod(self.preparation.shape)) > _most_bytes():
            from ..data.workers import streamed

            return streamed(self.preparation, inputs.items, y)
        return self.preparation(inputs), y

    # -- what is chosen ----------------------------------------------------------------------------------------------------

    def choose(self, training: Examples, x: Any, y: Any) -> Choice:
        count, shape = len(training), x.shape[1:]
        kind = self._kind(count, shape)
        reasons = {"model": _model_reason(kind, count, shape)}
        if kind == "patches":
            return self._of_patches(x, y, reasons)
        layers, work = _network(kind, shape, x, self.head())
        useful = 120 if count < FEW else 60 if count < SCARCE else 30 if count < 20000 else 15
        epochs, why = epochs_for(count, work, useful)
        reasons["epochs"] = why
        batch = 128 if count >= 10000 else 64 if count >= 2000 else 32 if count >= FEW else 16
        augment, reasons["augment"] = self._augmentation(kind, count, x, y)
        loss, metrics = self.objective()
        rate = {"cnn": 2e-3, "resnet": 2e-3, "mlp": 1e-3, "linear": 1e-3}[kind]
        choice = Choice(
            layers,
            kind,
            loss,
            metrics,
            optimizer=_optimizer(kind),
            learning_rate=rate,
            schedule=cosine,
            epochs=epochs,
            batch_size=batch,
            patience=max(4, epochs // 3),
            augment=augment,
            reasons=reasons,
        )
        if self.soft:
            from ..losses import CategoricalCrossentropy

            choice.loss, choice.metrics = CategoricalCrossentropy(label_smoothing=0.1), ["categorical_accuracy"]
        if count < FEW:
            choice.monitor, choice.patience = "loss", epochs
            reasons["patience"] = f"the last weights stay: with {count:,} examples a validation part is too small to choose by"
        return choice

    def _of_patches(self, x: np.ndarray, y: Any, reasons: dict[str, str]) -> Choice:
        """Filters that are not trained, and a last layer that is solved at once: training only goes on from there."""
        model, work = patch_network(x, None if self.multi_label else y, self.head())
        loss, metrics = self.objective()
        epochs, _ = epochs_for(len(x), work / 3, 60 if self.multi_label else LEAST)  # the filters have no way backward
        reasons["epochs"] = "only the last layer learns" + ("" if self.multi_label else ", and begins as logistic regression")
        reasons["patience"] = "the last weights stay: a validation part is too small to choose by"
        rate, batch = 3e-3 if self.multi_label else 1e-4, 16
        options: dict[str, Any] = {"learning_rate": rate, "schedule": cosine, "batch_size": batch, "monitor": "loss"}
        return Choice(model, "patches", loss, metrics, epochs=epochs, patience=epochs, reasons=reasons, **options)

    def _augmentation(self, kind: str, count: int, x: np.ndarray, y: Any) -> tuple[Any, str]:
        from .. import layers

        if kind in ("mlp", "linear"):
            return None, "none for this model"
        edge: dict[str, Any] = {"fill_mode": "constant", "fill_value": 255 * self.preparation.ground}
        if self.preparation.how != "pad":
            edge = {"fill_mode": "reflect"}
        shift = 0.08 if count >= SCARCE else 0.1
        chosen: list[Any] = [layers.RandomTranslation(shift, shift, **edge)]
        said = [f"shifts up to {shift:.0%}"]
        flip, why = self._flip(x, y)
        if flip:
            chosen.append(layers.RandomFlip("horizontal"))
        if count < SCARCE:
            chosen.append(layers.RandomZoom((-0.2, 0.1), **edge))
            said.append("zooms")
            if x.shape[3] == 3:
                chosen += [layers.RandomBrightness(0.15), layers.RandomContrast(0.2)]
                said.append("light and contrast")
            if self.soft:
                chosen.append(layers.MixUp(0.2))
                said.append(f"pictures are mixed and labels softened by 0.1, since {count:,} are few")
        return layers.Pipeline(chosen), ", ".join([*said, why])

    def _flip(self, x: np.ndarray, y: Any) -> tuple[bool, str]:
        if self.option["flip"] is not None:
            return bool(self.option["flip"]), "mirrored as asked" if self.option["flip"] else "never mirrored, as asked"
        share = mirror_share(x, None if self.multi_label or y is None else y.argmax(1) if np.ndim(y) == 2 else y)
        if share is None:
            return False, "not mirrored: too few to tell whether that changes what they show"
        flip = share < MIRRORED
        word = "mirrored" if flip else "not mirrored"
        return flip, f"{word}: {share:.0%} of mirrored pictures can be told from others of their class (50% is chance)"

    # -- baselines ---------------------------------------------------------------------------------------------------------

    def baselines(self, parts: Parts) -> list[Baseline]:
        found = super().baselines(parts)
        if self.multi_label:
            return found
        train, test = (p if len(p) <= 20000 else p.take(np.arange(20000)) for p in (_shuffled(parts.train), parts.test))
        x, x_test = self.preparation(train.inputs, show=False), self.preparation(test.inputs, show=False)
        y, y_test = self.answers(train.targets), self.answers(test.targets)
        count = len(self.answers.names)
        side = 28 if x.shape[3] == 1 else 16
        value = linear_baseline(shrunk(x, side), y, shrunk(x_test, side), y_test, count)
        found.append(Baseline("logistic regression", value, f"on pixels, at most about {side} a side"))
        value = linear_baseline(edges_and_colours(x), y, edges_and_colours(x_test), y_test, count)
        found.append(Baseline("edges and colours", value, "logistic regression on histograms of edges and of colours"))
        return found


def _shuffled(examples: Examples) -> Examples:
    return examples.take(np.random.RandomState(0).permutation(len(examples)))


def _most_bytes() -> int:
    """Bytes of prepared pictures that are held in memory; more are streamed."""
    from ..data.media import memory_share

    return memory_share(4)


def _fits_path(path: Path) -> str | None:
    if path.suffix.lower() in (".csv", ".tsv"):
        column = named_in(path, ENDINGS)
        return f"its column {column!r} names pictures" if column else None
    if path.suffix.lower() in ENDINGS:
        return None  # one picture is nothing to learn from
    if (name := any_file(path, ENDINGS)) is not None:
        return f"it holds pictures, such as {name}"
    if path.exists() and (path.is_dir() or "idx" in path.name.lower()):
        from ..data.images.idx import find_idx

        if pairs := find_idx(path):
            return f"{pairs[0].pictures.name} is an IDX file of pictures"
    if path.suffix == ".npz" and path.is_file():
        return _fits_npz(path)
    return None


def _fits_npz(path: Path) -> str | None:
    from ..files import BadFile

    try:
        with np.load(path, allow_pickle=False) as file:
            for name in ("x_train", "train_images", "x", "images"):
                if name in file.files:
                    shape = file[name].shape
                    return (
                        f"its array {name!r} has the shape of pictures"
                        if len(shape) in (3, 4) and min(shape[1:3]) > 4
                        else None
                    )
    except Exception as error:
        raise BadFile(f"{path} is not an .npz file of plain arrays: {error}") from error
    return None


# -- networks ------------------------------------------------------------------------------------------------------------------


def _network(kind: str, shape: tuple[int, ...], x: np.ndarray, head: Any) -> tuple[Any, float]:
    """A network of a kind for pictures (height, width, colours), and its multiplications for one of them."""
    from .. import Input, Model, Sequential, layers

    mean, variance = _statistics(x)
    first = layers.Normalization(axis=-1, mean=mean, variance=variance)
    size = int(np.prod(shape))
    if kind == "linear":
        return Sequential([first, layers.Flatten(), head]), size * 10.0
    if kind == "mlp":
        hidden = [layer for _ in range(2) for layer in (layers.Dense(256, activation="relu"), layers.Dropout(0.3))]
        return Sequential([first, layers.Flatten(), *hidden, head]), size * 256.0
    if kind == "cnn":
        blocks, work = _plain_blocks(shape)
        return Sequential([first, *blocks, head]), work
    inputs = Input(shape, dtype="uint8")
    h, work = _residual(first(inputs), shape)
    return Model(inputs, head(h)), work


def _statistics(x: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and variance of each colour, in double precision and bounded memory."""
    parts = [x[i : i + 1024].reshape(-1, x.shape[-1]) for i in range(0, len(x), 1024)]
    count = sum(len(p) for p in parts)
    mean = np.sum([p.sum(0, dtype=np.float64) for p in parts], axis=0) / count
    variance = np.sum([np.square(p - mean).sum(0) for p in parts], axis=0) / count
    return mean.tolist(), np.maximum(variance, 1.0).tolist()  # a grey level at least


def _plain_blocks(shape: tuple[int, ...]) -> tuple[list[Any], float]:
    """Convolution, pooling, batch normalisation: 32 filters, then twice as many at half the side, down to a side below 8.

    Pooling comes first, so that all that follows costs a quarter. Where the side is small, one more convolution, and then the
    head sees every place by itself; else their mean.
    """
    from .. import layers

    height, width, channels = shape
    blocks: list[Any] = []
    work, filters = 0.0, 32

    def convolve(pool: bool) -> None:
        nonlocal work
        work += 9.0 * height * width * channels * filters
        blocks.append(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        blocks.extend([layers.MaxPooling2D(2)] if pool else [])
        blocks.extend([layers.BatchNormalization(momentum=MOMENTUM), layers.ReLU()])

    while min(height, width) >= 4:
        convolve(pool=True)
        height, width, channels = height // 2, width // 2, filters
        if min(height, width) < 8 or filters >= 256:
            break
        filters *= 2
    if min(height, width) > 1 or not blocks:
        convolve(pool=False)
    flat = height * width <= 64
    return [*blocks, layers.Flatten() if flat else layers.GlobalAveragePooling2D(), layers.Dropout(0.3)], work


def _residual(h: Any, shape: tuple[int, ...]) -> tuple[Any, float]:
    """A residual network: pictures above 48 are reduced to a quarter first; 32 to 256 filters, a block each, down to 8 or less.

    Source: He et al. 2016, arXiv:1512.03385.
    """
    from .. import layers

    height, width, channels = shape
    work, filters = 0.0, 32

    def convolve(h: Any, filters: int, size: int, strides: int = 1) -> Any:
        nonlocal work
        at = -(-height // strides) * -(-width // strides)
        work += float(size * size * channels * filters * at)
        return layers.BatchNormalization(momentum=MOMENTUM)(
            layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(h)
        )

    if max(shape[:2]) > SMALL:
        h = layers.MaxPooling2D(2)(layers.ReLU()(convolve(h, filters, 5, 2)))
        height, width = -(-height // 2) // 2, -(-width // 2) // 2
    else:
        h = layers.ReLU()(convolve(h, filters, 3))
    channels, strides = filters, 1
    while True:
        short = h if channels == filters and strides == 1 else convolve(h, filters, 1, strides)
        inner = layers.ReLU()(convolve(h, filters, 3, strides))
        height, width, channels = -(-height // strides), -(-width // strides), filters
        h = layers.ReLU()(layers.Add()([convolve(inner, filters, 3), short]))
        if min(height, width) <= 8 or filters >= 256:
            break
        filters, strides = filters * 2, 2
    return layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(h)), work


def _optimizer(kind: str) -> Any:
    from .. import optimizers

    return optimizers.AdamW(weight_decay=0.02) if kind in ("cnn", "resnet") else "adam"


def _model_reason(kind: str, count: int, shape: tuple[int, ...]) -> str:
    size = f"{count:,} pictures of {shape[0]}x{shape[1]}"
    small = max(shape[:2]) <= SMALL
    texts = {
        "cnn": f"convolutions and pooling{': ' if small else ' for '}{size}{' are small, and need no more' if small else ''}",
        "patches": f"filters found among patches, frozen, and a linear layer: {size} are too few to train filters on",
        "resnet": f"a compact residual network for {size}",
        "mlp": f"dense layers on {size}, which know nothing of neighbourhood",
        "linear": f"one linear layer on {size}",
    }
    return texts[kind]


def epochs_for(count: int, work: float, useful: int, seconds: float = SECONDS) -> tuple[int, str]:
    """As many epochs as a few minutes allow, and no more than are of use, with the reason.

    ``work`` is the multiplications of a forward pass for one example.
    """
    import jax

    device = jax.default_backend()
    each = count * work * 6 / SPEED.get(device, SPEED["cpu"])  # forward, and twice as much backward; two operations each
    epochs = int(np.clip(seconds / max(each, 1e-9), LEAST, useful))
    return (
        epochs,
        f"about {each:.2g} s each on {'two cores' if device == 'cpu' else device}, of {useful} that {count:,} have use for",
    )


# -- may pictures be mirrored? -------------------------------------------------------------------------------------------------


def mirror_share(x: np.ndarray, y: np.ndarray | None = None, most: int = 4000) -> float | None:
    """The share of pictures that a linear rule tells from their mirror images, learned and asked within each class.

    For each class the rule is the mean difference d of a picture and its mirror image, in half of the pictures; the share is
    that of the other half whose own difference points the same way. One half means that nothing tells left from right, so
    that mirrored pictures are as likely as others; digits and letters come near one. None for classes below 8 examples.

    >>> rng = np.random.RandomState(0)
    >>> x = rng.randint(0, 255, (200, 8, 8, 1)).astype("uint8")
    >>> left = x // 4 + np.linspace(0, 150, 8).astype("uint8")[None, None, :, None]
    >>> mirror_share(x) < 0.62 < mirror_share(left)
    True
    """
    rows = np.random.RandomState(0).permutation(len(x))[:most]
    small = shrunk(x[rows].mean(3, keepdims=True), 16)
    sides = _blocks(x.shape[1:3])
    small = small.reshape(len(rows), *sides)
    d = (small - small[:, :, ::-1]).reshape(len(rows), -1)
    labels = np.zeros(len(rows), np.int64) if y is None else np.asarray(y)[rows]
    right = asked = 0.0
    for label in np.unique(labels):
        mine = d[labels == label]
        if len(mine) < 8:
            continue
        for half in (0, 1):
            rule = mine[half::2].mean(0)
            side = np.sign(mine[1 - half :: 2] @ rule)
            right, asked = right + float((side > 0).sum() + 0.5 * (side == 0).sum()), asked + len(side)
    return right / asked if asked else None


def _blocks(shape: tuple[int, ...], side: int = 16) -> tuple[int, int]:
    by = max(1, round(max(shape) / side))
    return shape[0] // by, shape[1] // by
