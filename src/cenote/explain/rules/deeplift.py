"""DeepLIFT's table: the secant for functions of one number, half way for products, and no operation by guess."""

from __future__ import annotations

from . import control, local, rewrites
from .interpreter import Rule

TABLE: dict[str, Rule] = local.table() | rewrites.table() | control.table()
