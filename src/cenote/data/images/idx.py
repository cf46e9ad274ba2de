"""IDX, the format of MNIST: two zeros, the type, the rank, big-endian sizes, then the values; with gzip or without."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path

import numpy as np

from ...files import BadFile
from ..media import PARTS, memory_share

__all__ = ["IdxPair", "find_idx", "read_idx"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, gzipped or not.

    Raises: BadFile where it is cut off, is of another kind, or unpacks to more than a quarter of the memory.
    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    path, limit = Path(path), memory_share(4)
    try:
        with gzip.open(path, "rb") if _gzipped(path) else path.open("rb") as file:
            data = file.read(limit + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path} is not a whole gzip file: {error}") from None
    if len(data) > limit:
        raise BadFile(f"{path} unpacks to more than {limit:,} bytes")
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 1 <= data[3] <= 8:
        raise BadFile(f"{path} is no IDX file: it begins with {data[:4].hex(' ') or 'nothing'}")
    rank, dtype = data[3], np.dtype(_TYPES[data[2]])
    start = 4 + 4 * rank
    shape = tuple(int(size) for size in np.frombuffer(data[4:start].ljust(4 * rank, b"\0"), ">u4"))
    if len(data) != start + math.prod(shape) * dtype.itemsize:
        raise BadFile(
            f"{path} is damaged: its head says {'x'.join(map(str, shape))} values of {dtype.itemsize} bytes, but "
            f"{len(data) - start:,} bytes follow"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def looks_idx(path: Path) -> int:
    """The rank that an IDX file's head says; 0 for other files."""
    try:
        with gzip.open(path, "rb") if _gzipped(path) else path.open("rb") as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return 0
    return head[3] if len(head) == 4 and head[:2] == b"\0\0" and head[2] in _TYPES and head[3] <= 8 else 0


class IdxPair:
    """A file of pictures, that of their labels (None if there is none), and the part that the name says ("" if none)."""

    def __init__(self, pictures: Path, labels: Path | None) -> None:
        self.pictures, self.labels = pictures, labels
        words = re.split(r"[^a-z0-9]+", pictures.name.lower())
        self.part = next(
            (PARTS[w] for w in words if w in PARTS), "test" if any(re.fullmatch(r"t\d+k", w) for w in words) else ""
        )


def find_idx(source: Path) -> list[IdxPair]:
    """The IDX files of pictures in a folder (or the one given), each with the labels that lie beside it under a like name."""
    near = sorted(
        p for p in (source if source.is_dir() else source.parent).iterdir() if p.is_file() and "idx" in p.name.lower()
    )
    if source.is_file() and source not in near:
        near.append(source)
    ranks = {p: looks_idx(p) for p in near}
    labels = [p for p, rank in ranks.items() if rank == 1]
    wanted = [p for p, rank in ranks.items() if rank in (3, 4) and (source.is_dir() or p == source)]
    return [IdxPair(p, next((q for q in labels if _plain(q) == _plain(p)), None)) for p in wanted]


def _plain(path: Path) -> str:
    """A name without what tells pictures from labels."""
    return re.sub(r"images?|labels?|idx\d|\.gz$|[^a-z0-9]", "", path.name.lower())
