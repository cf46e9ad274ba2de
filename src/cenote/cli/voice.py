"""How loud a verb is: text for people, silence, or one JSON record a line for machines."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from typing import Any


class Voice:
    """What a verb says on the standard output, by ``--quiet`` and ``--json``."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.json, self.quiet = bool(args.json), bool(getattr(args, "quiet", False)) or bool(args.json)

    @property
    def verbose(self) -> str | int:
        """What `fit` takes as ``verbose``."""
        return 0 if self.quiet else "auto"

    def say(self, text: str) -> None:
        """A text for people."""
        if not self.quiet:
            print(text, flush=True)

    def record(self, event: str, values: dict[str, Any]) -> None:
        """A record for machines; numbers that JSON does not know are null."""
        if self.json:
            print(json.dumps({"event": event, **_finite(values)}, ensure_ascii=False, allow_nan=False), flush=True)

    def progress(self) -> contextlib.AbstractContextManager[None]:
        """Progress lines of what is done within, unless the verb is quiet."""
        from ..progress import showing

        return showing(False if self.quiet else None)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
