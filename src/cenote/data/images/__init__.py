"""Pictures: from folders, archives, tables of names, arrays and IDX files to arrays of one size and mode."""

from .prepare import ImagePreparation
from .read import Pictures, read

__all__ = ["ImagePreparation", "Pictures", "read"]
