"""Recordings: from folders, archives and tables of names to arrays of one rate and length."""

from .prepare import AudioPreparation
from .read import Recordings, read
from .resample import resample
from .sound import decode

__all__ = ["AudioPreparation", "Recordings", "decode", "read", "resample"]
