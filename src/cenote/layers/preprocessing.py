"""Preparation as layers: it is part of the model, is compiled with it and saved with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Module, Node, current_call
from ..kernels.categories import encode
from .base import Layer
from .check import axes, floating, inside, positive
from .vocabulary import output_mode as known_mode

__all__ = ["Discretization", "Normalization", "Rescaling"]


class Rescaling(Layer):
    """Another scale: ``y = x * scale + offset``; pixels from 0 to 255 become 0 to 1 by ``Rescaling(1 / 255)``.

    >>> import numpy as np
    >>> Rescaling(1 / 255)(np.array([[0, 255]], "uint8")).tolist()
    [[0.0, 1.0]]
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale, self.offset = _numbers(self, "scale", scale), _numbers(self, "offset", offset)

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        return x * jnp.asarray(self.scale, x.dtype) + jnp.asarray(self.offset, x.dtype)


def _numbers(layer: Any, name: str, value: Any) -> np.ndarray:
    try:
        found = np.asarray(value, "float64")
    except (TypeError, ValueError):
        raise ValueError(
            f"{type(layer).__name__} needs {name} to be a number, or one for each feature; got {value!r}"
        ) from None
    if not np.isfinite(found).all():
        raise ValueError(f"{type(layer).__name__} was given {name}={value!r}, which holds NaN or infinity")
    return found


class _Adapted(Layer):
    """What it has learned is state, and complete without data of the model's: called by itself, it needs no build before."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._weights and current_call() is None and not any(isinstance(a, (Node, jax.core.Tracer)) for a in args):
            self.build(*args)
        return super().__call__(*args, **kwargs)


class Normalization(_Adapted):
    """Mean 0 and variance 1 for each feature: ``y = (x - mean) / sqrt(variance)``.

    The statistics come from ``adapt(data)``, or are given as ``mean`` and ``variance``. ``axis`` names the axes that keep their
    own statistics (the features; None: one mean for all). ``invert`` goes the other way. Adapted statistics are state: they are
    saved with the model and are not trained.
    Raises: ValueError when it is used before ``adapt``, for data that are not finite numbers, for a negative variance, for
    statistics of another width than the input.

    >>> import numpy as np
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[1.0], [3.0]]))
    >>> layer(np.array([[5.0]])).tolist()
    [[3.0]]
    """

    supports_masking = True

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization needs both mean and variance, or neither: then call adapt(data)")
        self.axis = None if axis is None else axes(self, axis)
        self.invert = invert
        self._statistics = None
        if mean is not None:
            mean, variance = _numbers(self, "mean", mean), _numbers(self, "variance", variance)
            if (variance < 0).any():
                raise ValueError(f"Normalization was given variance={variance.tolist()}, but a variance is never below 0")
            self._statistics = mean.astype("float32"), variance.astype("float32")

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data: an array (read in pieces, so it may lie on a disk), or an iterable of batches."""
        count, total, squares = 0, 0.0, 0.0
        for batch in _pieces(data):
            kept = self._kept(batch.shape)
            over = tuple(i for i in range(batch.ndim) if i not in kept)
            size = int(np.prod([batch.shape[i] for i in over]))
            mean, variance = batch.mean(over), batch.var(over)
            # Means and squared distances of parts add up without loss (Chan et al. 1983).
            both = count + size
            squares = squares + variance * size + (mean - total) ** 2 * (count * size / both)
            total = total + (mean - total) * (size / both)
            count = both
        if not count:
            raise ValueError("Normalization.adapt was given no data")
        self._statistics = (np.asarray(total, "float32"), np.asarray(squares / count, "float32"))
        if self._arrays:
            for name, value in zip(("mean", "var"), self._statistics, strict=True):
                self._arrays[name] = jnp.asarray(self._fitted(value, self._arrays[name].shape))

    def _kept(self, shape: tuple[int, ...]) -> list[int]:
        kept = [] if self.axis is None else inside(self, self.axis, shape)
        if 0 in kept:
            raise ValueError(
                f"Normalization(axis={self.axis}) would keep a mean for each example of an input of shape {shape}: give each "
                f"example a row, x.reshape(-1, 1), or say axis=None for one mean of all"
            )
        return kept

    def forward(self, x: Any) -> jax.Array:
        x = floating(x)
        kept = self._kept(x.shape)
        shape = tuple(x.shape[i] for i in kept)
        mean, variance = (self.state(name, shape, self._start(i)) for i, name in enumerate(("mean", "var")))
        spread = tuple(x.shape[i] if i in kept else 1 for i in range(x.ndim))
        mean, variance = mean.reshape(spread).astype(x.dtype), variance.reshape(spread).astype(x.dtype)
        deviation = jnp.maximum(jnp.sqrt(variance), 1e-7)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def _start(self, which: int) -> Any:
        def start(key: Any, shape: tuple, dtype: Any) -> Any:
            if self._statistics is None:
                raise ValueError("Normalization has no statistics yet: call adapt(data) first, or give mean= and variance=")
            return self._fitted(self._statistics[which], shape).astype(dtype)

        return start

    def _fitted(self, found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.broadcast_to(found, shape)
        except ValueError:
            raise ValueError(
                f"Normalization has statistics of shape {found.shape}, but axis={self.axis} of its input has shape {shape}: "
                f"adapt it to data like the input"
            ) from None


class Discretization(_Adapted):
    """The bin of each number: ``bin_boundaries=[0, 1]`` makes the bins below 0, from 0 to below 1, and from 1 up.

    The boundaries are given, or ``num_bins`` and ``adapt(data)`` find those of equally filled bins. ``epsilon``: data are
    summed up by 1 / epsilon quantiles of each batch, merged by interpolation. ``output_mode``: ``int``, ``one_hot``,
    ``multi_hot``, ``count`` (see `CategoryEncoding`). NaN falls into the last bin. Numbers are compared in float32.
    Shapes: (...) -> (...), or vectors as of `CategoryEncoding`.
    Raises: ValueError when it is used before ``adapt``, and for data with NaN or infinity.

    >>> import numpy as np
    >>> x = np.array([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])
    >>> Discretization([0.0, 1.0, 2.0])(x).tolist()
    [[0, 2, 3, 1], [1, 3, 2, 1]]
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, **options)
        if (bin_boundaries is None) == (num_bins is None):
            both = "neither" if num_bins is None else "both"
            raise ValueError(f"Discretization takes bin_boundaries, or num_bins and then adapt(data); got {both}")
        if not 0 < epsilon <= 1:
            raise ValueError(f"Discretization needs epsilon above 0 and at most 1, got {epsilon!r}")
        self.num_bins = None if num_bins is None else positive(self, "num_bins", num_bins)
        self.epsilon = float(epsilon)
        self.output_mode = known_mode(self, output_mode, ("int", "one_hot", "multi_hot", "count"), sparse)
        self._boundaries = None
        if bin_boundaries is not None:
            self._boundaries = _numbers(self, "bin_boundaries", bin_boundaries).astype("float32")
            if self._boundaries.ndim != 1 or not (np.diff(self._boundaries) >= 0).all():
                raise ValueError(f"Discretization needs bin_boundaries in one row and in order, got {bin_boundaries!r}")

    @property
    def bin_boundaries(self) -> list[float] | None:
        return None if self._boundaries is None else self._boundaries.tolist()

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find the boundaries between equally filled bins: of an array, or of an iterable of batches (``steps`` of them)."""
        if self.num_bins is None:
            raise ValueError("Discretization was given its bin_boundaries: say num_bins instead to find them by adapt(data)")
        summary = np.zeros((2, 0), "float32")
        numbers = isinstance(data, list) and data and np.ndim(data[0]) == 0
        for batch in [data] if hasattr(data, "shape") or numbers else itertools.islice(data, steps):
            try:
                values = np.asarray(batch, "float32").ravel()
            except (TypeError, ValueError):
                raise ValueError("Discretization.adapt takes numbers: for words there is StringLookup") from None
            if not np.isfinite(values).all():
                raise ValueError(
                    f"Discretization.adapt found {values[~np.isfinite(values)][0]} at position "
                    f"{np.flatnonzero(~np.isfinite(values))[0]}: fill or drop such values first"
                )
            summary = _merged(summary, _summary(values, self.epsilon), self.epsilon)
        if not summary.size:
            raise ValueError("Discretization.adapt was given no data")
        self._boundaries = _compressed(summary, 1 / self.num_bins)[0, :-1].astype("float32")
        self._adapted(num_bins=None, bin_boundaries=self._boundaries)
        Module._changes += 1
        if self._arrays:
            self._arrays["boundaries"] = jnp.asarray(self._boundaries)
            self._weights["boundaries"] = replace(self._weights["boundaries"], shape=self._boundaries.shape)

    def forward(self, x: Any) -> jax.Array:
        if self._boundaries is None:
            raise ValueError("Discretization has no boundaries yet: call adapt(data) first, or give bin_boundaries=")
        boundaries = self.state("boundaries", self._boundaries.shape, lambda *_: jnp.asarray(self._boundaries))
        bins = jnp.searchsorted(boundaries, jnp.asarray(x, jnp.float32), side="right").astype(jnp.int32)
        return bins if self.output_mode == "int" else encode(bins, self.output_mode, len(boundaries) + 1)


def _summary(values: np.ndarray, epsilon: float) -> np.ndarray:
    """About 1 / epsilon of the values at equal distances in their order, and how many each stands for."""
    step = max(values.size * epsilon, 1)
    found = np.sort(values)[int(step - 1) :: int(step)]
    return np.stack([found, np.full_like(found, step)])


def _merged(a: np.ndarray, b: np.ndarray, epsilon: float) -> np.ndarray:
    both = np.concatenate([b, a], 1)
    return _compressed(both[:, np.argsort(both[0])], epsilon)


def _compressed(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """A summary of 1 / epsilon values, between the given ones by interpolation; one that is as short stays as it is."""
    if summary.shape[1] * epsilon < 1:
        return summary
    wanted = epsilon + np.arange(0.0, 1.0, epsilon)
    total = summary[1].cumsum()
    values = np.interp(wanted, total / total[-1], summary[0])
    counts = np.interp(wanted, total / total[-1], total)
    return np.stack([values, np.diff(counts, prepend=0)]).astype("float32")


_PIECE = 1 << 22  # numbers that `adapt` holds in double precision at a time


def _pieces(data: Any) -> Iterator[np.ndarray]:
    """Data in double precision, some rows at a time; an error where they are not finite numbers."""
    for array in [data] if hasattr(data, "shape") else [np.asarray(data)] if isinstance(data, (list, tuple)) else data:
        array = np.atleast_1d(array) if not hasattr(array, "shape") or not array.shape else array
        rows = max(1, _PIECE // max(1, math.prod(array.shape[1:])))
        for start in range(0, len(array), rows):
            try:
                piece = np.asarray(array[start : start + rows], "float64")
            except (TypeError, ValueError):
                raise ValueError("Normalization.adapt takes numbers: leave out columns of words, or encode them") from None
            if not np.isfinite(piece).all():
                row, *rest = (int(i) for i in np.argwhere(~np.isfinite(piece))[0])
                raise ValueError(
                    f"Normalization.adapt found {piece[(row, *rest)]} at position {(start + row, *rest)}: mean and variance "
                    f"would be useless, so fill or drop such values first, e.g. numpy.nan_to_num(x)"
                )
            yield piece
