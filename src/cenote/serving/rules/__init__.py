"""Which steps do which operations. Each module registers its rules when it is imported."""

from . import dense as dense
