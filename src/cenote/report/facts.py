"""What a report tells of a run besides its results, and how numbers, times and sizes are written."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass(kw_only=True)
class Facts:
    """What was done, in words; whatever is empty is left out of the report.

    Attributes:
        title: the name of the run.
        about: the data set in words.
        command: what to type to do the same again.
        settings: names and values to show, in order.
        seconds: "loading", "training", "testing" and how long each took.
        memory: peak memory in bytes.
        device: what it ran on.
        versions: of the packages that matter.
        stopped: why training ended.
        interrupted: whether that was Ctrl-C.
        kept_epoch: the epoch (from 1) whose weights the model has, where that was chosen by the validation part.
    """

    title: str = ""
    about: str = ""
    command: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""
    interrupted: bool = False
    kept_epoch: int | None = None

    @classmethod
    def here(cls, **known: Any) -> Facts:
        """Facts with what can be told of this process: versions, device, peak memory."""
        return cls(**{"versions": versions(), "device": device(), "memory": peak_memory(), **known})


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    from .. import __version__

    found = {"cenote": __version__, "python": platform.python_version()}
    for name in ("jax", "jaxlib", "numpy", "optax"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"system": f"{platform.system()} {platform.machine()}"}


def device() -> str:
    """The device that JAX uses first, and how many of its kind there are."""
    import jax

    devices = jax.devices()
    kind = devices[0].device_kind if devices[0].platform != "cpu" else "CPU"
    return kind if len(devices) == 1 else f"{len(devices)} × {kind}"


def peak_memory() -> int | None:
    """The most memory that this process has had, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def percent(value: float, count: int = 0) -> str:
    """A share in percent, with two decimals where so many examples (10,000 or more) bear them.

    >>> percent(0.97774), percent(0.97774, 10_000), percent(float("nan"))
    ('97.8%', '97.77%', '–')
    """
    if value != value:
        return "–"
    return f"{value:.2%}" if count >= 10_000 else f"{value:.1%}"


def plain(value: float, digits: int = 4) -> str:
    """A number of any size with so many digits that count, large ones without an exponent.

    >>> plain(48213.2), plain(0.0012345), plain(1.5e12), plain(7.0)
    ('48,213', '0.001234', '1.5e+12', '7')
    """
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"


def sureness(probability: float) -> str:
    """A probability in percent that is not rounded up to certainty, nor down to impossibility.

    >>> sureness(0.9312), sureness(0.99999), sureness(0.00002), sureness(1.0)
    ('93.1%', '>99.9%', '<0.1%', '100.0%')
    """
    if 0.9995 <= probability < 1:
        return ">99.9%"
    return "<0.1%" if 0 < probability < 0.0005 else f"{probability:.1%}"


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(532), size(1_300_000), size(2.5e9)
    ('532 B', '1.3 MB', '2.5 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def count(value: float) -> str:
    """A large number as people read it.

    >>> count(512), count(33_280), count(1_234_567), count(7.5e9)
    ('512', '33.3 k', '1.23 M', '7.5 G')
    """
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= factor:
            return f"{value / (1e3 if unit == 'k' else factor):.3g} {unit}"
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    """A time as people read it.

    >>> seconds(0.015), seconds(12.34), seconds(75), seconds(3723)
    ('15 ms', '12.3 s', '1 min 15 s', '1 h 2 min')
    """
    if value < 0.9995:
        return f"{1000 * value:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
