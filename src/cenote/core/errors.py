"""What Cenote says when something is wrong: what came in, where, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def unknown(kind: str, name: Any, known: Iterable[str]) -> ValueError:
    """The error for a name that nobody knows, with the near ones (or all, if they are few).

    >>> print(unknown("optimizer", "adm", ["adam", "sgd"]))
    unknown optimizer 'adm': did you mean 'adam'? Known: adam, sgd
    """
    name = str(name) if isinstance(name, str) else name  # numpy's texts show their type
    names = sorted({str(known) for known in known})
    near = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
    by_lower = {n.lower(): n for n in names}
    near = near or [by_lower[n] for n in difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = ", ".join(names[:60]) + (", ..." if len(names) > 60 else "")
    return ValueError(f"unknown {kind} {name!r}{hint} Known: {listed}")


def describe(value: Any) -> str:
    """A short text for an argument: arrays as ``float32[2, 5]``, containers by their parts.

    >>> import numpy as np
    >>> describe({"a": np.zeros((2, 5), "float32"), "b": 3})
    '{a: float32[2, 5], b: 3}'
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {describe(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(describe(v) for v in value[:8]) + (", ..." if len(value) > 8 else "")
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
