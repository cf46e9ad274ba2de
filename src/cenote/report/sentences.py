"""Sentences that are made elsewhere, said in Chinese: findings, reasons, how things were done.

What makes a finding or a reason says it in English, values and all, and knows nothing of languages. In ``sentences.txt`` each
such sentence stands as a template, its Chinese one below it. What no template fits stays English, so that nothing is lost;
``tests/report`` holds the templates against the sources.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

__all__ = ["catalogue", "in_chinese"]

_PLACE = re.compile(r"\{(\w+)\}")


@functools.cache
def catalogue() -> dict[str, str]:
    """English templates and their Chinese ones."""
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    kept = [line for line in lines if line and not line.startswith("# ")]
    return dict(zip(kept[::2], kept[1::2], strict=True))


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    found = []
    for template, chinese in catalogue().items():
        parts = _PLACE.split(template)  # text, name, text, name, ... text
        pattern = "".join(f"(?P<{part}>.+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        if len(parts) > 1:
            found.append((re.compile(pattern, re.DOTALL), chinese))
    return found


def in_chinese(text: str) -> str | None:
    """A sentence of the catalogue in Chinese; None for one that is not in it.

    >>> in_chinese("left out: each row has its own")
    '略去：每行各不相同'
    >>> in_chinese("nobody says this") is None
    True
    """
    plain = catalogue().get(text)
    if plain is not None:
        return plain
    for pattern, chinese in _patterns():
        if fits := pattern.fullmatch(text):
            values = {k: (in_chinese(v) or v) if k.endswith("_") else v for k, v in fits.groupdict().items()}
            return chinese.format(**values)
    return None
