"""Settings of JAX that Cenote makes when it is imported: compiled programs are kept on disk, small calls are not queued.

``CENOTE_COMPILATION_CACHE`` names another folder, or turns the cache off with ``0``. A setting that the user made before
(``JAX_COMPILATION_CACHE_DIR``, ``jax.config.update``) stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from pathlib import Path

import jax

from .memory import one_heap

MAX_CACHE_BYTES = 1 << 30


def configure() -> None:
    """Make the settings; called once, by ``import cenote.core``."""
    # Queuing a call costs more than a small call itself: predicting one example takes a third of the time without it.
    with contextlib.suppress(Exception):
        if "JAX_CPU_ENABLE_ASYNC_DISPATCH" not in os.environ:
            jax.config.update("jax_cpu_enable_async_dispatch", False)
    one_heap()
    wish = os.environ.get("CENOTE_COMPILATION_CACHE", "")
    if wish == "0" or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    try:  # there may be no home, as for a user that exists by number only
        folder = Path(wish).expanduser() if wish else cache_home() / "compiled"
        # Programs for the CPU hold its instructions: a home shared by several machines needs a folder for each kind.
        folder = folder / machine()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        trim(folder, MAX_CACHE_BYTES)
    except (OSError, RuntimeError):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_home() -> Path:
    """Where Cenote keeps what it can make or fetch again: ``CENOTE_HOME``, or the user's cache folder."""
    if os.environ.get("CENOTE_HOME"):
        return Path(os.environ["CENOTE_HOME"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "cenote"


def trim(folder: Path, limit: int) -> None:
    """Delete the programs that were unused longest until the folder is below ``limit`` bytes; looks once a day."""
    stamp = folder / ".trimmed"
    with contextlib.suppress(OSError):
        if stamp.exists() and time.time() - stamp.stat().st_mtime < 86_400:
            return
        files = [(entry.stat(), entry.path) for entry in os.scandir(folder) if entry.is_file()]
        total = sum(info.st_size for info, _ in files)
        for info, path in sorted(files, key=lambda item: max(item[0].st_atime, item[0].st_mtime)):
            if total <= limit:
                break
            os.unlink(path)
            total -= info.st_size
        stamp.touch()


def machine() -> str:
    """A name for this kind of processor, alike on machines whose programs can be exchanged."""
    flags = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(errors="ignore")
        flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(f'{platform.processor()}{flags}'.encode()).hexdigest()[:8]}"
