"""Large temporary memory that is kept while a loop takes it again and again, and given back afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["kept"]

# Numbers of mallopt's options (malloc.h), and what they stand at without us, once glibc has seen large arrays come and go.
_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -4, -3, -1
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}

_lock, _users = threading.Lock(), 0


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside this block, freed memory stays with the process; at its end the process gives back what it does not use.

    Each call of a compiled program takes its temporary arrays anew. From 32 MB on, glibc asks the system for them and returns
    them each time, and every page is cleared and mapped again: a quarter of a ResNet-20's step. Elsewhere than on Linux with
    glibc nothing happens.

    >>> with kept():
    ...     pass
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for option, value in _USUAL.items():
                    library.mallopt(option, value)
                library.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other C libraries lack it, and take these numbers otherwise
        library.mallopt.argtypes, library.malloc_trim.argtypes = [ctypes.c_int, ctypes.c_int], [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None
    return library
