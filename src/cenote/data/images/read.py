"""Sources of pictures to `Examples`: class folders, archives, a CSV of names and labels, arrays, IDX."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import describe
from ...files import BadFile
from ..examples import Examples
from ..labelling import Files, found_in, matching
from ..media import File, as_file, gather, is_archive, memory_share
from .decode import ENDINGS
from .idx import find_idx, read_idx
from .pictures import Pictures, as_image, value_range

__all__ = ["Pictures", "as_pictures", "read"]


def read(
    source: Any,
    labels: Any = None,
    *,
    target: str | Sequence[str] | None = None,
    labelled: bool = True,
    skip_broken: bool = False,
    show: bool | None = None,
) -> Examples:
    """Pictures with their labels, raw, from whatever holds them.

    ``source``: a folder (or zip, tar) of class folders, perhaps in folders named train, val and test; a CSV or TSV whose one
    column names files, with ``target`` the column of labels (several in a cell between ``;`` or ``|``, or several columns of 0
    and 1); a folder or file of IDX; ``.npy``, ``.npz``; an array (picture, height, width) or (picture, height, width, colours)
    with ``labels``; ``(x, y)``; ``((x, y), (x_test, y_test))``; a list of paths, arrays or Pillow images with ``labels``.
    ``labelled=False`` asks for no labels.

    Targets are an array of class names (or numbers), or a list of tuples of names where pictures have several.
    Raises: FileNotFoundError; BadFile that lists broken files, unless ``skip_broken``; ValueError for a source without
    pictures or labels.
    """
    options = {"skip_broken": skip_broken, "show": show}
    if isinstance(source, Examples):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source), labels, target, labelled, options)
    if isinstance(source, tuple) and len(source) in (2, 3) and all(isinstance(p, tuple) and len(p) == 2 for p in source):
        return _from_parts(source)
    if isinstance(source, tuple) and len(source) == 2 and labels is None:
        source, labels = source
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        return _from_array(np.asarray(source), labels, labelled)
    if isinstance(source, (list, tuple)) and len(source):
        return _from_list(source, labels, labelled, options)
    raise TypeError(
        f"{describe(source)} is no source of pictures: give a folder, an archive, a CSV of names and labels, arrays (x, y), or "
        f"a list of paths"
    )


# -- files -------------------------------------------------------------------------------------------------------------------


def _from_path(path: Path, labels: Any, target: Any, labelled: bool, options: dict) -> Examples:
    if not path.exists():
        gather(path, ENDINGS, "pictures")  # says what is near
    ending = path.suffix.lower()
    if path.is_file():
        if ending in (".npy", ".npz"):
            return _from_numpy(path, labels, labelled)
        if not is_archive(path) and ending not in ENDINGS and (pairs := find_idx(path)):
            return _from_idx(pairs, labels, labelled, path)
    elif not any(p.suffix.lower() in ENDINGS or p.is_dir() for p in path.iterdir()) and (pairs := find_idx(path)):
        return _from_idx(pairs, labels, labelled, path)
    found = found_in(path, ENDINGS, "pictures", labels=labels, target=target, labelled=labelled)
    pictures, good, findings = Pictures.look(found.items, **options)
    return _described(found.examples("image", pictures, good, findings))


def _described(examples: Examples) -> Examples:
    examples.about = _about(examples)
    return examples


def _about(examples: Examples) -> dict[str, Any]:
    about: dict[str, Any] = {"count": len(examples)}
    inputs, targets = examples.inputs, examples.targets
    if isinstance(inputs, Pictures):
        about["modes"] = dict(Counter(inputs.modes).most_common())
        sizes = Counter(map(tuple, inputs.sizes.tolist()))
        about["sizes"] = {f"{w}x{h}": n for (w, h), n in sizes.most_common(5)}
        about["size_count"] = len(sizes)
    else:
        about["modes"] = {"L" if inputs.ndim == 3 or inputs.shape[3] == 1 else "RGB": len(inputs)}
        about["sizes"], about["size_count"] = {f"{inputs.shape[2]}x{inputs.shape[1]}": len(inputs)}, 1
    shape = (
        f"of {next(iter(about['sizes']))} (width x height)" if about["size_count"] == 1 else f"of {about['size_count']:,} sizes"
    )
    colours = {"L": "grey", "RGB": "in colour"}
    about["text"] = f"{len(examples):,} pictures {shape}, {' and '.join(colours[m] for m in about['modes'])}"
    if targets is not None:
        flat = [t for ts in targets for t in ts] if isinstance(targets, list) else np.asarray(targets).ravel().tolist()
        about["class_counts"] = {str(k): n for k, n in sorted(Counter(flat).items(), key=lambda kv: str(kv[0]))}
    return about


# -- arrays ------------------------------------------------------------------------------------------------------------------


def _from_parts(source: tuple) -> Examples:
    """``((x, y), (x_test, y_test))``, or three such: training, validation, test."""
    which = ["train", "test"] if len(source) == 2 else ["train", "validation", "test"]
    arrays = [as_pictures(np.asarray(x)) for x, _ in source]
    shapes = {a.shape[1:] for a in arrays}
    if len(shapes) > 1:
        raise ValueError(f"the parts hold pictures of several shapes ({', '.join(map(str, sorted(shapes)))}): give them one")
    targets = [
        matching(y, len(x), f"the {part} part", "pictures") for x, (_, y), part in zip(arrays, source, which, strict=True)
    ]
    if len({isinstance(t, list) for t in targets}) > 1:
        raise ValueError("some parts have one label for each picture, and others several: give all the same form")
    joined = [t for part in targets for t in part] if isinstance(targets[0], list) else np.concatenate(targets)
    return _array_examples(np.concatenate(arrays), joined, np.repeat(which, [len(a) for a in arrays]))


def _from_array(array: np.ndarray, labels: Any, labelled: bool) -> Examples:
    array = as_pictures(array)
    if labelled and labels is None:
        raise ValueError(f"{len(array):,} pictures came without labels: give them as labels=, or as (x, y)")
    return _array_examples(array, None if labels is None else matching(labels, len(array), "the array", "pictures"), None)


def as_pictures(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:  # rows of pixels, if they are squares
        side = round(array.shape[1] ** 0.5)
        if side > 1 and side * side == array.shape[1]:
            array = array.reshape(-1, side, side)
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4) and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)  # channels first, as PyTorch has them
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3, 4)) or array.dtype.kind not in "uifb":
        raise ValueError(
            f"pictures must be an array (picture, height, width), or (picture, height, width, colours) with 1, 3 or 4 colours, "
            f"got {describe(array)}"
        )
    if not len(array):
        raise ValueError(f"the array of pictures is empty: {describe(array)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        number = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(1)))
        raise ValueError(f"picture {number} of the array has values that are no finite numbers")
    if array.ndim == 4 and array.shape[3] == 4:
        return _opaque(array)
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array


def _opaque(array: np.ndarray) -> np.ndarray:
    """Colours with transparency, put on white as files are."""
    black, white = value_range(array)
    alpha = (array[..., 3:].astype(np.float32) - black) / (white - black or 1.0)
    if (alpha >= 1).all():
        return array[..., :3]
    mixed = array[..., :3] * alpha + white * (1 - alpha)
    return (np.round(mixed) if array.dtype.kind in "iu" else mixed).astype(array.dtype)


def _array_examples(x: np.ndarray, targets: Any, parts: Any) -> Examples:
    names = [f"picture {i}" for i in range(len(x))]
    return _described(Files(names, names, targets, parts).examples("image", x))


def _from_list(source: Sequence[Any], labels: Any, labelled: bool, options: dict) -> Examples:
    if labelled and labels is None:
        raise ValueError(f"{len(source):,} pictures came without labels: give them as labels=")
    items = [as_item(value, i) for i, value in enumerate(source)]
    targets = None if labels is None else matching(labels, len(items), "the list", "pictures")
    pictures, good, findings = Pictures.look(items, **options)
    names = [item.name if isinstance(item, File) else f"picture {i}" for i, item in enumerate(items)]
    return _described(Files(items, names, targets).examples("image", pictures, good, findings))


def as_item(value: Any, number: int = 0) -> Any:
    """A file, or an array of uint8, from a path, a Pillow image or an array."""
    if (file := as_file(value)) is not None:
        return file
    return np.asarray(as_image(value, f"picture {number}"))


def _from_numpy(path: Path, labels: Any, labelled: bool) -> Examples:
    try:
        if path.stat().st_size > memory_share(2):
            raise BadFile(f"{path} is larger than half of the memory: give a folder of pictures, which is read in parts")
        loaded = np.load(path, allow_pickle=False)
        found = {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except BadFile:
        raise
    except Exception as error:  # numpy's readers raise all kinds
        raise BadFile(f"{path} holds no plain numpy arrays: {error}") from None
    pick = lambda *names: next((found[n] for n in names if n in found), None)  # noqa: E731
    train = (pick("x_train", "train_images", "train_x"), pick("y_train", "train_labels", "train_y"))
    if train[0] is not None and train[1] is not None:
        parts = [train]
        held = (pick("x_val", "val_images", "x_valid"), pick("y_val", "val_labels", "y_valid"))
        test = (pick("x_test", "test_images", "test_x"), pick("y_test", "test_labels", "test_y"))
        parts += [p for p in (held, test) if p[0] is not None and p[1] is not None]
        names = pick("classes", "class_names", "label_names", "labels")
        if names is not None and names.dtype.kind == "U" and names.ndim == 1:
            parts = [(x, names[np.asarray(y).ravel().astype(int)]) for x, y in parts]
        return _from_parts(tuple(parts)) if len(parts) > 1 else _from_array(np.asarray(train[0]), parts[0][1], labelled)
    x, y = pick("x", "images", "X", "data", "arr_0"), pick("y", "labels", "targets", "arr_1")
    if x is None:
        raise BadFile(f"{path} holds {', '.join(found)}: name the arrays x and y, or x_train, y_train, x_test, y_test")
    return _from_array(x, labels if labels is not None else y, labelled)


def _from_idx(pairs: list, labels: Any, labelled: bool, source: Path) -> Examples:
    if len(pairs) > 1 and labelled and not (all(p.part for p in pairs) and all(p.labels for p in pairs)):
        seen = ", ".join(p.pictures.name for p in pairs)
        raise ValueError(f"{source} holds several IDX files of pictures ({seen}), not all with labels and the name of a part")
    doubled = [part for part, n in Counter(p.part for p in pairs).items() if n > 1]
    if doubled and labelled:
        seen = ", ".join(p.pictures.name for p in pairs if p.part == doubled[0])
        raise ValueError(f"{source} holds several IDX files for the part {doubled[0]!r} ({seen}): give a folder with one set")
    if labelled and labels is None and pairs[0].labels is None:
        raise ValueError(f"{pairs[0].pictures} has no file of labels beside it: give them as labels=")
    loaded = []
    for pair in pairs:
        x = as_pictures(read_idx(pair.pictures))
        y = read_idx(pair.labels) if pair.labels is not None else None
        if y is not None and len(y) != len(x):
            raise BadFile(f"{pair.pictures} holds {len(x):,} pictures, but {pair.labels} {len(y):,} labels")
        loaded.append((x, y))
    x = np.concatenate([a for a, _ in loaded])
    y = labels if labels is not None else None if pairs[0].labels is None else np.concatenate([b for _, b in loaded])
    parts = np.repeat([p.part for p in pairs], [len(a) for a, _ in loaded]) if len(pairs) > 1 and not doubled else None
    targets = None if y is None else matching(y, len(x), source, "pictures")
    examples = _array_examples(x, targets, parts)
    examples.names = [f"{p.pictures.name}:{i}" for p, (a, _) in zip(pairs, loaded, strict=True) for i in range(len(a))]
    return examples
