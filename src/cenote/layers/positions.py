"""Where in the sequence a token stands: learned, sinusoidal and rotary positions."""

from __future__ import annotations

__all__: list[str] = []
