"""Texts to numbers, on the host."""

from __future__ import annotations

__all__: list[str] = []
