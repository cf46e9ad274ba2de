"""Bounded readers for files from outside: gzip, tar, npz, IDX. Nothing is unpacked to the disk, nothing executed."""

from __future__ import annotations

import gzip
import io
import math
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cenote.datasets import objects
from cenote.datasets.objects import BadFile


def gunzip(path: Path, limit: int) -> bytes:
    """The content of a .gz file, refused when it unpacks to more than `limit` bytes."""
    try:
        with gzip.open(path, "rb") as file:
            data = file.read(limit + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path}: not a whole gzip file ({error})") from None
    if len(data) > limit:
        raise BadFile(f"{path}: unpacks to more than the {limit:,} bytes expected")
    return data


def members(path: Path, limit: int, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The (name, content) of the wanted plain files in a .tar.gz, read in one pass, `limit` bytes unpacked at most.

    Names are only ever compared and parsed: no name in the archive becomes a path on this machine.
    """
    try:
        with gzip.open(path, "rb") as file, tarfile.open(fileobj=_Bounded(file, limit, path), mode="r|") as tar:
            for member in tar:
                if member.isreg() and wanted(member.name) and (content := tar.extractfile(member)) is not None:
                    yield member.name, content.read()
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise BadFile(f"{path}: not a whole tar.gz archive ({error})") from None


class _Bounded(io.RawIOBase):
    """A reader that refuses to unpack more than so many bytes, also in one big read."""

    def __init__(self, file: io.BufferedIOBase, limit: int, path: Path):
        super().__init__()
        self.file, self.left, self.limit, self.path = file, limit, limit, path

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise BadFile(f"{self.path}: unpacks to more than the {self.limit:,} bytes expected")
        return data


def read_npz(path: Path, limit: int) -> dict[str, np.ndarray | list[np.ndarray]]:
    """The arrays of an .npz archive by name, `limit` bytes unpacked at most.

    An object array of integer lists, which numpy can only store as a pickle, comes back as a list of int64 arrays; it
    is read by `objects`, which can run no code. Any other object array is refused.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            if sum(entry.file_size for entry in entries) > limit:
                raise BadFile(f"{path}: unpacks to more than the {limit:,} bytes expected")
            # zipfile reads no more than the size an entry declares, so that the sum above bounds the memory.
            return {entry.filename.removesuffix(".npy"): _npy(archive.read(entry), path) for entry in entries}
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadFile(f"{path}: not a whole npz archive ({error})") from None


_HEADER = re.compile(
    rb"\{'descr': '([|<>=]?)([biufcSUO]\d*)', 'fortran_order': (True|False), 'shape': \(((?:\d+L?,? ?)*)\),? ?\} *\n"
)


def _npy(data: bytes, path: Path) -> np.ndarray | list[np.ndarray]:
    """One array in numpy's .npy format: a magic word, the header's length and the header, which is text, then the values.

    The header is matched, not evaluated, and sizes are compared before anything is allocated.
    """
    start = 10 if data[6:7] == b"\x01" else 12
    start += int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data, 10 if data[6:7] == b"\x01" else 12, start)
    if data[:6] != b"\x93NUMPY" or header is None:
        raise BadFile(f"{path}: not an array of numbers or text (it begins with {data[:60]!r})")
    order, code, fortran, sizes = (text.decode("ascii") for text in header.groups())
    shape = tuple(int(size) for size in re.findall(r"\d+", sizes))
    if code.startswith("O"):
        return objects.sequences(objects.rebuild(data[start:], path), len(data), path)
    try:
        dtype = np.dtype(order + code)
        if math.prod(shape) * dtype.itemsize != len(data) - start:
            raise ValueError(f"{len(data) - start:,} bytes for an array {shape} of {dtype}")
        array = np.frombuffer(data, dtype, offset=start) if math.prod(shape) else np.empty(0, dtype)
        return array.reshape(shape, order="F" if fortran == "True" else "C").copy()
    except (TypeError, ValueError, OverflowError) as error:
        raise BadFile(f"{path}: a broken array ({error})") from None


def read_idx(path: Path, limit: int) -> np.ndarray:
    """The uint8 array in a gzipped IDX file: two zeros, type 8, rank, big-endian sizes, then the values, row-major.

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    data = gunzip(path, limit)
    rank = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = tuple(int(size) for size in np.frombuffer(data[4 : 4 + 4 * rank].ljust(4 * rank, b"\0"), ">u4"))
    if not rank or len(data) != 4 + 4 * rank + math.prod(shape):
        raise BadFile(f"{path}: not an IDX file of bytes ({len(data):,} bytes that begin with {data[:4].hex(' ')})")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()
