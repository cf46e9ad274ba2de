"""Two ways to make a model without a class of one's own: a list of layers, and a graph of nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from .core import Graph, Input, Module, Node, annotation
from .core.graph import sort_ops
from .core.notes import hand_on
from .layers.base import Layer
from .layers.host import HostLayer
from .model import Model


class Sequential(Model):
    """Layers one after the other; sizes are inferred from the first input, ``input_shape=`` is accepted and not needed.

    >>> from cenote import layers
    >>> model = Sequential([layers.Dense(4, activation="relu", input_shape=(3,)), layers.Dense(2)])
    >>> model.count_params()
    26
    """

    looks_once = True

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
            self._given = None if layer.dtype.kind == "U" else layer.spec(1)  # texts become numbers before the model is built
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

    @property
    def _on_host(self) -> int:
        """How many of the first layers work on the host."""
        return next((i for i, layer in enumerate(self.layers) if not isinstance(layer, HostLayer)), len(self.layers))

    @property
    def prepares(self) -> bool:
        first = self.layers[0] if self.layers else None
        return isinstance(first, HostLayer) or (isinstance(first, Model) and first.prepares)

    def prepare(self, x: Any) -> Any:
        for layer in self.layers[: self._on_host]:
            x = layer(x)
        rest = self.layers[self._on_host :]
        return rest[0].prepare(x) if rest and isinstance(rest[0], Model) else x

    def forward(self, x: Any) -> Any:
        alone = bool(annotation(x, "only here"))
        for layer in self.layers[self._on_host :]:
            y = layer(hand_on(x, layer, alone))
            alone = alone or y is not x  # what one layer makes goes to the next and nowhere else
            x = y
        return x

    def _input_specs(self) -> tuple:
        if self.prepares:  # what comes out of them is seen with the first data
            return ()
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
        self._host = _host_part(inputs, outputs)
        Graph.__init__(self, inputs if self._host is None else self._host._outputs, outputs, name=name)

    @property
    def prepares(self) -> bool:
        return self._host is not None

    def prepare(self, x: Any) -> Any:
        if self._host is None:
            return x
        nodes = self._host._input_nodes
        if isinstance(x, dict):
            named = {node.name: node for node in nodes}
            return self._host.forward({name: _fed(named.get(name), value) for name, value in x.items()})
        parts = x if isinstance(x, tuple) or (isinstance(x, list) and len(nodes) > 1) else (x,)
        return self._host.forward([_fed(*pair) for pair in zip(nodes, parts, strict=False)])

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


def _fed(node: Node | None, value: Any) -> np.ndarray:
    """An input of the host as an array; where examples of one text are asked for, a list of texts will do."""
    array = np.asarray(value)
    return array[:, None] if node is not None and node.shape[1:] == (1,) and array.ndim == 1 else array


def _host_part(inputs: Any, outputs: Any) -> Graph | None:
    """The layers that work on the host as a graph of their own, up to the nodes where the compiled part begins."""
    wanted = jax.tree.leaves(outputs)
    ops = sort_ops(wanted)
    host = [op for op in ops if isinstance(op.target, HostLayer)]
    if not host:
        return None
    used = [node for op in ops if op.target is not None and op not in host for node in op.parents]
    border = {node: None for node in [*used, *wanted] if node.op.target is None or node.op in host}
    return Graph(inputs, tuple(border) if len(border) > 1 else next(iter(border)))
