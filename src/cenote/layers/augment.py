"""Random changes of pictures in training."""

from __future__ import annotations

__all__: list[str] = []
