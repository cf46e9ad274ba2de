"""Several inputs into one."""

from __future__ import annotations

__all__: list[str] = []
