"""Augmentation that mixes examples, or chains others."""

from __future__ import annotations

__all__: list[str] = []
