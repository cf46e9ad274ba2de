"""From what people have (arrays, frames, loaders, generators) to batches."""

from .arrays import as_arrays, count_examples, take_rows
from .feed import Resident, Stream, as_feed

__all__ = ["Resident", "Stream", "as_arrays", "as_feed", "count_examples", "take_rows"]
