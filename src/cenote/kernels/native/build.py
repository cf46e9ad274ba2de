"""The C++ kernels of this folder: each source is compiled on this machine when it is first needed, and kept in the cache.

Built here they use all that this processor has, and a package without them is the same for every machine. Without a compiler,
or with one that fails, `library` is None and everything goes on in plain JAX; `status` says why. ``CENOTE_NATIVE=0`` turns them
off.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jaxlib

from ...core.runtime import cache_home, machine

# Each source (without .cc) is a library of its own; with it, what XLA finds in it (after cenote_). Programs for serving
# (cenote.serving) also find steps there.
SOURCES = {
    "attention": ("attention_forward", "attention_backward"),
    "convolution": tuple(
        f"convolution_{part}" for part in ("forward", "input", "kernel", "joined", "pooled_input", "pooled_kernel")
    ),
    "dense": (),
    "depthwise": ("depthwise_forward", "depthwise_input", "depthwise_kernel"),
    "elementwise": (),
    "moving": (),
    "normalization": ("columns_forward", "columns_backward", "rows_forward", "rows_backward", "gelu"),
    "pooling": (),
    "program": (),
    "recurrence": ("lstm_forward", "lstm_backward", "gru_forward", "gru_backward"),
    "training": ("adam", "dense", "dense_gradient"),
}
TARGETS = tuple(f"cenote_{target}" for targets in SOURCES.values() for target in targets)
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden")
SECONDS = 600  # that a compiler may take: it needs some ten of a processor that others want, too

_reasons: dict[str, str] = {}  # of each source that was needed so far: why it is not in use, or nothing
_libraries: dict[str, ctypes.CDLL] = {}
_asking = threading.Lock()


def status() -> str:
    """In one line: which kernels are in use, or why none is.

    >>> isinstance(status(), str)
    True
    """
    used = [name for name, reason in _reasons.items() if not reason]
    said = [f"in use: {', '.join(sorted(used))} ({_folder()})"] if used else []
    return "; ".join([*said, *dict.fromkeys(filter(None, _reasons.values()))]) or "not needed so far"


def library(*names: str) -> Path | None:
    """The folder of the compiled kernels of these sources (of all, without names), which are registered with XLA; None where
    one of them cannot be had. The first call on a machine takes some seconds for each source."""
    names = names or tuple(SOURCES)
    with _asking:
        new = [name for name in names if name not in _reasons]
        if new:
            with ThreadPoolExecutor(len(new)) as threads:  # several compile side by side
                _reasons.update(zip(new, threads.map(_loaded, new), strict=True))
    return None if any(_reasons[name] for name in names) else _folder()


def loaded(name: str) -> ctypes.CDLL | None:
    """The compiled kernels of one source, for those who call them without XLA; None where they cannot be had."""
    return _libraries.get(name) if library(name) else None


def _loaded(name: str) -> str:
    """Load a source's library, built if need be, and tell XLA of it; why it cannot be used, or nothing."""
    if os.environ.get("CENOTE_NATIVE", "1") == "0":
        return "off: CENOTE_NATIVE=0"
    try:
        found = ctypes.CDLL(str(_built(name)))
        for target in SOURCES[name]:
            capsule = jax.ffi.pycapsule(getattr(found, f"cenote_{target}"))
            jax.ffi.register_ffi_target(f"cenote_{target}", capsule, platform="cpu")
        _libraries[name] = found
    except Exception as error:
        return f"not in use: {error}"
    return ""


def _folder() -> Path:
    return cache_home() / "native"


def _built(name: str) -> Path:
    """The path of a source's library, compiled if it is not there. Raises RuntimeError with the reason if it cannot be."""
    compiler = _compiler()
    if compiler is None:
        raise RuntimeError("no C++ compiler was found (g++, clang++ or c++; CXX names another)")
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    here, folder = Path(__file__).parent, _folder()
    told = (*compiler, *FLAGS, version, jaxlib.__version__, machine(), _text(here / f"{name}.cc"))
    path = folder / f"{name}-{hashlib.sha256(repr(told).encode()).hexdigest()[:16]}.so"
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
        print(f"cenote: compiling {name} for this processor (once, some seconds) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        made = Path(room) / path.name
        # Not every compiler knows the processor it runs on by this flag.
        for native in (["-march=native"], ["-mcpu=native"], []):
            said = _compile(compiler, [*FLAGS, *native, "-isystem", jax.ffi.include_dir()], here / f"{name}.cc", made)
            if not said:
                os.replace(made, path)  # whole or not at all
                return path
    with contextlib.suppress(OSError):
        failed.write_text(said, encoding="utf-8")
    raise RuntimeError(f"{compiler[0]} failed: {said.strip().splitlines()[0][:200]} ({failed} has all of it)")


def _text(source: Path) -> str:
    """A source with the headers of this folder that it includes."""
    text = source.read_text(encoding="utf-8")
    return text + "".join(_text(source.parent / header) for header in re.findall(r'#include "(\w+\.h)"', text))


def _check_ours(path: Path) -> None:
    """Refuse to run what another user could have put there."""
    info = path.stat()
    if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & 0o022):
        raise RuntimeError(f"{path} belongs to another user, or others may write to it; delete it, or set CENOTE_HOME")


def _compile(compiler: list[str], flags: list[str], source: Path, to: Path) -> str:
    """Make a library of a source; what the compiler complained of, or nothing."""
    command = [*compiler, *flags, "-shared", str(source), "-o", str(to)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{compiler[0]} took more than {SECONDS} seconds") from None
    return done.stderr or f"exit code {done.returncode}" if done.returncode else ""


def _compiler() -> list[str] | None:
    given = os.environ.get("CXX", "").split()
    if given:
        return given if shutil.which(given[0]) else None
    return next(([name] for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
