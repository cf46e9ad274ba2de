"""LSTM whose products are convolutions."""

from __future__ import annotations

__all__: list[str] = []
