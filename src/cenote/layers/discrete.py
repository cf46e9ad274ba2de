"""Numbers and categories to indices and vectors."""

from __future__ import annotations

__all__: list[str] = []
