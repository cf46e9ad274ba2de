"""The C++ kernels of this folder, compiled once on this machine when one is first needed, and kept in the cache.

Built here they use all that this processor has, and a package without them is the same for every machine. Without a compiler,
or with one that fails, `library` is None and everything goes on in plain JAX; `status` says why. ``CENOTE_NATIVE=0`` turns them
off.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jaxlib

from ...core.runtime import cache_home, machine

SOURCES = ("convolution.cc", "recurrence.cc", "normalization.cc", "attention.cc")
HEADERS = ("parallel.h", "product.h", "functions.h")
BOTH_WAYS = ("lstm", "gru", "columns", "rows", "attention")
TARGETS = (
    *(f"cenote_convolution_{part}" for part in ("forward", "input", "kernel")),
    *(f"cenote_{kind}_{way}" for kind in BOTH_WAYS for way in ("forward", "backward")),
    "cenote_gelu",
)
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden")
SECONDS = 180  # that a compiler may take

_status = "not needed so far"


def status() -> str:
    """In one line: whether the kernels are in use, or why not.

    >>> isinstance(status(), str)
    True
    """
    return _status


@functools.cache
def library() -> Path | None:
    """The compiled kernels, registered with XLA; None where there are none. The first call on a machine takes some seconds."""
    global _status
    if os.environ.get("CENOTE_NATIVE", "1") == "0":
        _status = "off: CENOTE_NATIVE=0"
        return None
    try:
        path = _built()
        loaded = ctypes.CDLL(str(path))
        for target in TARGETS:
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(loaded, target)), platform="cpu")
    except Exception as error:
        _status = f"not in use: {error}"
        return None
    _status = f"in use: {path}"
    return path


def _built() -> Path:
    """The path of the library, which is compiled if it is not there. Raises RuntimeError with the reason if it cannot be."""
    compiler = _compiler()
    if compiler is None:
        raise RuntimeError("no C++ compiler was found (g++, clang++ or c++; CXX names another)")
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    here = Path(__file__).parent
    sources = [here / name for name in SOURCES]
    text = "".join((here / name).read_text(encoding="utf-8") for name in (*SOURCES, *HEADERS))
    told = (*compiler, *FLAGS, version, jaxlib.__version__, machine(), text)
    folder = cache_home() / "native"
    path = folder / f"kernels-{hashlib.sha256(repr(told).encode()).hexdigest()[:16]}.so"
    failed = path.with_suffix(".failed")
    if path.exists():
        _check_ours(folder)
        _check_ours(path)
        return path
    if failed.exists():
        raise RuntimeError(f"the compiler failed before; {failed} says how (delete it to try again)")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    _check_ours(folder)
    if sys.stderr.isatty():
        print("cenote: compiling kernels for this processor (once, some seconds) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        # Not every compiler knows the processor it runs on by this flag.
        for native in (["-march=native"], ["-mcpu=native"], []):
            said = _compile(compiler, [*FLAGS, *native, "-isystem", jax.ffi.include_dir()], sources, Path(room))
            if not said:
                os.replace(Path(room) / "kernels.so", path)  # whole or not at all
                return path
    with contextlib.suppress(OSError):
        failed.write_text(said, encoding="utf-8")
    raise RuntimeError(f"{compiler[0]} failed: {said.strip().splitlines()[0][:200]} ({failed} has all of it)")


def _check_ours(path: Path) -> None:
    """Refuse to run what another user could have put there."""
    info = path.stat()
    if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & 0o022):
        raise RuntimeError(f"{path} belongs to another user, or others may write to it; delete it, or set CENOTE_HOME")


def _compile(compiler: list[str], flags: list[str], sources: list[Path], room: Path) -> str:
    """Compile side by side, then link; what the compiler complained of, or nothing."""
    objects = [room / f"{source.stem}.o" for source in sources]
    running = [
        subprocess.Popen(
            [*compiler, *flags, "-c", str(s), "-o", str(o)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        for s, o in zip(sources, objects, strict=True)
    ]
    complaints = []
    for process in running:
        try:
            _, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{compiler[0]} took more than {SECONDS} seconds") from None
        complaints.append(said or f"exit code {process.returncode}" if process.returncode else "")
    if any(complaints):
        return "\n".join(c for c in complaints if c)
    link = [*compiler, *flags, "-shared", *map(str, objects), "-o", str(room / "kernels.so")]
    done = subprocess.run(link, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.stderr or f"exit code {done.returncode}" if done.returncode else ""


def _compiler() -> list[str] | None:
    given = os.environ.get("CXX", "").split()
    if given:
        return given if shutil.which(given[0]) else None
    return next(([name] for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
