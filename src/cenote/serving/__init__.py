"""Serving: a model as it is now, as a program of one input shape that answers in microseconds.

`graph` reads what the model does from JAX's trace, `plan` and `rules` say which steps in C++ do it, `program` runs them, a few
rows at a time on each core, and `handle` is what a user holds.
"""

from .handle import Compiled, compiled

__all__ = ["Compiled", "compiled"]
