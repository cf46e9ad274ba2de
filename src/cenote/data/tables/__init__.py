"""Tables: read from files and frames, typed column by column, and prepared for networks."""

from .column import Column, Table
from .columns import Kind, infer, kinds, target_kind
from .csv import read_csv
from .prepare import TablePreparation
from .read import looks_like_table, read, read_table

__all__ = [
    "Column",
    "Kind",
    "Table",
    "TablePreparation",
    "infer",
    "kinds",
    "looks_like_table",
    "read",
    "read_csv",
    "read_table",
    "target_kind",
]
