"""``cenote layers``: what there is to build and train with, a line each, from the docstrings."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import shutil
import sys
from typing import Any

from .trouble import Trouble

KINDS = ["layers", "activations", "losses", "metrics", "optimizers", "schedules", "initializers", "regularizers", "constraints"]
KINDS.append("callbacks")


def run(args: argparse.Namespace) -> int:
    """Run the verb; the exit code comes back."""
    entries = [entry for kind in (KINDS if args.all else ["layers"]) for entry in inventory(kind)]
    if args.word:
        word = args.word.lower()
        entries = [e for e in entries if word in f"{e['name']} {' '.join(e['also'])} {e['says']}".lower()]
        if not entries:
            raise Trouble(f"nothing here has {args.word!r} in its name or line" + ("" if args.all else "; --all looks further"))
    if args.json:
        print(json.dumps(entries, ensure_ascii=False))
        return 0
    width = min(shutil.get_terminal_size((120, 24)).columns, 160)
    wide = max(len(e["name"]) for e in entries)
    family = None
    for entry in entries:
        if entry["family"] != family:
            family = entry["family"]
            print(f"{'' if entry is entries[0] else chr(10)}{entry['kind']}: {family}")
        also = f" (also {', '.join(entry['also'])})" if entry["also"] else ""
        line = f"  {entry['name']:<{wide}}  {entry['says']}{also}"
        print(line if len(line) <= width or not sys.stdout.isatty() else line[: width - 3] + "...")
    return 0


def inventory(kind: str) -> list[dict[str, Any]]:
    """Name, other names, family and one line for each public class or function of a package.

    >>> [e["says"] for e in inventory("layers") if e["name"] == "Identity"]
    ['Nothing: the input comes out.']
    """
    package = importlib.import_module(f"cenote.{kind}")
    found: dict[int, dict[str, Any]] = {}
    for name in getattr(package, "__all__", None) or [n for n in vars(package) if not n.startswith("_")]:
        thing = getattr(package, name)
        home = getattr(thing, "__module__", "") or ""
        if not (inspect.isclass(thing) or inspect.isfunction(thing)) or not home.startswith("cenote.") or name == "get":
            continue
        own = getattr(thing, "__name__", name)
        entry = found.setdefault(
            id(thing),
            {"kind": kind, "family": _first(sys.modules[home].__doc__), "name": own, "also": [], "says": _first(thing.__doc__)},
        )
        if name != own:
            entry["also"].append(name)
    listed = [e for e in found.values() if e["name"] in vars(package)]
    return sorted(listed, key=lambda e: (e["family"], e["name"].lower()))


def _first(doc: str | None) -> str:
    """The first sentence of a docstring."""
    line = " ".join((doc or "").strip().split("\n\n")[0].split())
    end = line.find(". ")
    return (line if end < 0 else line[: end + 1]).replace("``", "")
