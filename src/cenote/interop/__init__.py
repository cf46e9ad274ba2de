"""Models of other libraries as layers: Flax NNX, Flax Linen, Equinox, and any pair of init and apply functions."""

from .equinox import EquinoxLayer
from .flax import FlaxLayer, NNXLayer
from .functions import FunctionLayer

__all__ = ["EquinoxLayer", "FlaxLayer", "FunctionLayer", "NNXLayer"]
