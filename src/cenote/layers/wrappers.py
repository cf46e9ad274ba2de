"""Layers around layers: both directions, every time step."""

from __future__ import annotations

__all__: list[str] = []
