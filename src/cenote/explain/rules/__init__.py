"""Going back through a jaxpr by rules: one backward pass that every method shares, and a table of rules for each method.

`interpreter` runs a function forward at one or two points at once and backward by the rules of a table; `deeplift` holds
DeepLIFT's table and `relevance` LRP's, which differ in a few entries. `secants`, `shifts`, `control` and `rewrites` are the
pieces: slopes between two points, softmax's shift, loops and branches, and operations that are stated by simpler ones.
"""

from .interpreter import Rules, multipliers

__all__ = ["Rules", "multipliers"]
