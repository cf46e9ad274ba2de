"""Large temporary memory that is kept while a loop takes it again and again, and given back afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["kept", "one_heap"]

# Numbers of mallopt's options (malloc.h), and what they stand at without us, once glibc has seen large arrays come and go.
_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -4, -3, -1, -8
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
_LITTLE = 32 << 20  # bytes that are not worth waiting for the next block
_FEW_CORES = 16  # with more of them threads might wait for each other in one heap; not measured

SECONDS = 60.0  # for which memory waits for the next block

_lock, _users = threading.Lock(), 0
_waiting: threading.Timer | None = None


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside this block, freed memory stays with the process, and for a minute after the last block, unless it is little.

    Each call of a compiled program takes its temporary arrays anew. From 32 MB on, glibc asks the system for them and returns
    them each time, and every page is cleared and mapped again: a quarter of a ResNet-20's step. A minute, since one `fit` is
    often followed by another. Elsewhere than on Linux with glibc nothing happens.

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
        if _waiting is not None:
            _waiting.cancel()
        if _users == 1:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _wait(library)


def _wait(library: Any) -> None:
    """Give back what is free when its time has come; at once, if that is little. Called with the lock."""
    global _waiting
    if SECONDS <= 0 or _free(library) < _LITTLE:
        return _give_back(library)

    def end() -> None:
        with _lock:
            if _waiting is timer and not _users:
                _give_back(library)

    timer = _waiting = threading.Timer(SECONDS, end)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # the interpreter ends, or there may be no more threads
        _give_back(library)


def _free(library: Any) -> int:
    """Bytes of the heap that nobody uses; taken for many where nobody tells, before glibc 2.33 of 2021."""
    figures = getattr(library, "mallinfo2", None)
    if figures is None:
        return _LITTLE
    figures.restype = _Figures
    return figures().fordblks


def _give_back(library: Any) -> None:
    for option, value in _USUAL.items():
        library.mallopt(option, value)
    library.malloc_trim(0)


def one_heap() -> None:
    """Let threads that begin from now on share one heap, unless the user has said how many there are to be.

    XLA takes a program's temporary memory in whichever thread runs it. In a heap of a thread's own nothing above 64 MiB is ever
    kept, whatever `kept` says. It must be said before JAX starts its threads, and stays.

    >>> one_heap()
    """
    library = _glibc()
    said = "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if library is not None and not said and (os.cpu_count() or 1) <= _FEW_CORES:
        library.mallopt(_ARENA_MAX, 1)


def _alone() -> None:
    """In a process that was forked off nobody trains yet, and no timer runs."""
    global _lock, _users, _waiting
    held, _lock, _users, _waiting = _users or _waiting is not None, threading.Lock(), 0, None
    if held and (library := _glibc()) is not None:
        _give_back(library)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone)


class _Figures(ctypes.Structure):
    """What mallinfo2 tells of the heap."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


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
