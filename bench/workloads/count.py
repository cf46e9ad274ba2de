"""What a network costs at least: floating-point operations, and bytes between processor and memory.

A part is one layer, counted for one example: operations of its products (an addition and a multiplication each), its weights,
and the numbers that it makes. A step of training makes each product three times (output, gradient of the input, gradient of
the weights; the first part needs no gradient of its input). The traffic of a step: the input is read; what a part makes is
written and read, and so is its gradient; weights are read twice, their gradient is written; the optimizer reads the gradient
and reads and writes weights and its own memory. What stays in a cache does not cross to the memory: that may be most of it, so
a fraction above 1 is no error.
"""

from dataclasses import dataclass

SLOTS = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers that the optimizer keeps for each weight


@dataclass(frozen=True)
class Part:
    operations: int
    weights: int
    made: int


def dense(inputs: int, outputs: int, places: int = 1) -> Part:
    """A product of (places, inputs) and (inputs, outputs).

    >>> dense(784, 128)
    Part(operations=200704, weights=100480, made=128)
    """
    return Part(2 * inputs * outputs * places, inputs * outputs + outputs, outputs * places)


def convolution(side: int, kernel: int, inputs: int, outputs: int, *, made: int = 1) -> Part:
    """A convolution without bias that makes pictures of ``side``; ``made`` counts what follows it, as normalisation does."""
    places = side * side
    return Part(2 * places * kernel**2 * inputs * outputs, kernel**2 * inputs * outputs, made * places * outputs)


def lstm(steps: int, inputs: int, units: int) -> Part:
    """Four gates of all steps; it makes gates, cells and outputs."""
    return Part(8 * steps * (inputs + units) * units, 4 * units * (inputs + units + 1), 6 * units * steps)


def attention(steps: int, width: int, *, causal: bool = False) -> list[Part]:
    """Projections, and products of queries and keys, weights and values; with a causal mask half of these are needed."""
    products = 4 * steps * steps * width // (2 if causal else 1)
    return [dense(width, 3 * width, steps), Part(products, 0, steps * width), dense(width, width, steps)]


def block(steps: int, width: int, inner: int, *, causal: bool = False) -> list[Part]:
    """A block of a transformer: attention and two dense layers, each with a normalisation and a sum."""
    norm = Part(0, 2 * width, 2 * steps * width)
    return [norm, *attention(steps, width, causal=causal), norm, dense(width, inner, steps), dense(inner, width, steps)]


def training_operations(parts: list[Part], batch: int) -> int:
    """Of one step.

    >>> training_operations([dense(784, 128), dense(128, 10)], 1) == 2 * 200704 + 3 * 2560
    True
    """
    return batch * (3 * sum(p.operations for p in parts) - parts[0].operations)


def training_bytes(parts: list[Part], batch: int, inputs: int, optimizer: str) -> int:
    """Of one step, at least; ``inputs`` are the numbers of one example."""
    weights = sum(p.weights for p in parts) * (3 + 1 + 2 * (1 + SLOTS[optimizer]))
    return 4 * (weights + batch * (inputs + 4 * sum(p.made for p in parts)))
