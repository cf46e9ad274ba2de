"""``cenote info``: what is here, and where."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    found = gather()
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for title, part in found.items():
        print(title.replace("_", " ").capitalize())
        if isinstance(part, list):
            widths = {k: max(len(row[k]) for row in part) for k in part[0]}
            for row in part:
                print(f"  {row['name']:<{widths['name']}}  {row['size']:>{widths['size']}}  {row['source']}")
            continue
        width = max(len(k) for k in part)
        for name, value in part.items():
            print(f"  {name:<{width}}  {value}")
    return 0


def gather() -> dict[str, Any]:
    """Versions, devices, folders, tasks and data sets, as plain values."""
    import jax

    from ..core.runtime import cache_home
    from ..datasets import available
    from ..datasets.store import cache_folder
    from ..kernels import native
    from ..report.facts import size, versions
    from ..tasks import classes

    compiled = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    given = os.environ.get("CENOTE_DATA")
    folders = {
        "package": str(Path(__file__).resolve().parents[1]),
        "cache": f"{cache_home()}  (CENOTE_HOME moves it)",
        "compiled programs": f"{compiled}  ({size(_bytes(compiled))} of at most 1 GiB)" if compiled else "not kept",
        "downloads": str(cache_folder()),
        "CENOTE_DATA": given or "not set: a folder of data sets that are already here",
    }
    return {
        "versions": versions(),
        "devices": {str(d.id): f"{d.platform} {d.device_kind}" for d in jax.devices()},
        "folders": folders,
        "kernels": {"native": _native(native)},
        "tasks": {task.name: task.about for task in classes()},
        "data_sets": [{"name": row.name, "size": size(row.size), "source": row.source} for row in available()],
    }


def _native(native: Any) -> str:
    native.library()  # compiles them now, if they can be, so that the answer is true
    return native.status()


def _bytes(folder: str | None) -> int:
    if not folder or not Path(folder).is_dir():
        return 0
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
