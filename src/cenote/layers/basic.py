"""What belongs to no family: masks, plain functions, nothing at all."""

from __future__ import annotations

__all__: list[str] = []
