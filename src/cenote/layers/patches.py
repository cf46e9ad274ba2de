"""Pictures to patches and back: fold, unfold, shuffles of channels and pixels."""

from __future__ import annotations

__all__: list[str] = []
