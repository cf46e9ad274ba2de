"""One step of a recurrence, and the loop over time that any cell can run in."""

from __future__ import annotations

__all__: list[str] = []
