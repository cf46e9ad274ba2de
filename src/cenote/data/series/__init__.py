"""Time series: regular tables of numbers, windows of them, and what a network takes of these."""

from .prepare import Ahead, SeriesPreparation
from .read import read
from .series import Series, Step, Windows

__all__ = ["Ahead", "Series", "SeriesPreparation", "Step", "Windows", "read"]
