"""Two ways to make a model without a class of one's own: a list of layers, and a graph of nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .core import Graph, Input, Module, Node
from .layers.base import Layer
from .model import Model


class Sequential(Model):
    """Layers one after the other; sizes are inferred from the first input, ``input_shape=`` is accepted and not needed.

    >>> from cenote import layers
    >>> model = Sequential([layers.Dense(4, activation="relu", input_shape=(3,)), layers.Dense(2)])
    >>> model.count_params()
    26
    """

    def __init__(self, layers: Iterable[Any] | None = None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.layers: list[Module] = []
        self._given: Any = None
        for layer in [] if layers is None else layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Append a layer (or, first, an Input)."""
        if isinstance(layer, Node):
            if self.layers or layer.op.target is not None:
                raise ValueError("an Input can only be the first entry of a Sequential model")
            self._given = layer.spec(1)
            return
        if not isinstance(layer, Module):
            hint = "; add an instance, not the class" if isinstance(layer, type) else ""
            raise TypeError(f"a Sequential model is made of layers, got {layer!r}{hint}")
        self.layers.append(layer)
        self._changed()

    def pop(self) -> Module:
        """Take the last layer off."""
        layer = self.layers.pop()
        self._changed()
        return layer

    def _changed(self) -> None:
        # Another shape of network needs another build, which keeps the weights that still fit.
        self._forget()
        self._spec = self._kept = None
        Module._changes += 1

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def _input_specs(self) -> tuple:
        if self._given is not None:
            return (self._given,)
        first: Any = self.layers[0] if self.layers else None
        shape = getattr(first, "input_shape", None)
        if shape is None:
            return first._input_specs() if isinstance(first, Model) else ()
        dtype = "int32" if type(first).__name__ == "Embedding" else "float32"
        return (Input(shape, dtype=dtype).spec(1),)


class Functional(Graph, Model):
    """The model that ``Model(inputs, outputs)`` makes from nodes."""

    _bookkeeping = Graph._bookkeeping | Model._bookkeeping

    def __init__(self, inputs: Any, outputs: Any, *, name: str | None = None) -> None:
        Layer.__init__(self, name=name)
        Graph.__init__(self, inputs, outputs, name=name)

    def build(self, *specs: Any, key: Any = None) -> Any:
        return Model.build(self, *specs, key=key)

    def _draw(self) -> None:
        self.arrays()

    def _input_specs(self) -> tuple:
        return (self.input_spec(),)

    @property
    def output_names(self) -> list[str] | None:
        if isinstance(self._outputs, dict):
            return list(self._outputs)
        names = [node.name.split(".")[0] for node in self._output_nodes]
        return names if len(set(names)) == len(names) else None

    @property
    def _input_count(self) -> int:
        return len(self._input_nodes)

    @property
    def inputs(self) -> Any:
        return self._inputs

    @property
    def outputs(self) -> Any:
        return self._outputs
