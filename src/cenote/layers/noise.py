"""Noise against overfitting beside Dropout."""

from __future__ import annotations

__all__: list[str] = []
