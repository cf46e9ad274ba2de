"""The functional graph: inputs, layers called on nodes, and a Graph that feeds any node and fetches any node.

    x = Input((784,), name="x")
    h = Dense(64, "relu")(x)
    logits = Dense(10)(h)
    graph = Graph(x, logits)
    graph.run(fetches=logits, feeds={"x": batch})

A `Node` stands for one array that is not there yet. An `Op` is one call of a layer or function on nodes; its outputs are nodes.
"""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import notes
from .errors import describe, unknown
from .module import Module, Weight, as_key
from .tree import Places, apply, build, declare, declared, weights_of

_counter = itertools.count()


class Op:
    """One call of a layer or a function: what is called, with which arguments (nodes among them), and what comes out."""

    def __init__(self, target: Callable | None, args: tuple = (), kwargs: dict | None = None, name: str = "") -> None:
        self.target, self.args, self.kwargs, self.name = target, args, kwargs or {}, name
        self.number = next(_counter)
        self.outputs: list[Node] = []
        self.room = 0  # the size that was tried in place of None, where there is one beside the batch
        self.result: Any = None  # the tree of nodes that the call returned

    @property
    def parents(self) -> list[Node]:
        return [leaf for leaf in jax.tree.leaves((self.args, self.kwargs), is_leaf=_is_node) if isinstance(leaf, Node)]

    def call(self, values: dict[Node, Any], target: Callable | None = None) -> Any:
        """Run it on arrays: ``values`` holds the parents'; ``target`` stands in for a layer that was copied."""
        target = target or self.target
        assert target is not None
        args, kwargs = jax.tree.map(
            lambda leaf: values[leaf] if isinstance(leaf, Node) else leaf, (self.args, self.kwargs), is_leaf=_is_node
        )
        return target(*args, **kwargs)


def _is_node(value: Any) -> bool:
    return isinstance(value, Node) or value is None


class Node(notes.Symbolic):
    """An array of the graph that is not there yet: ``shape`` (None where any size goes), ``dtype``, ``name``.

    Arithmetic and indexing of nodes make nodes: ``(a + b) * 2``, ``a @ b``, ``a[:, 0]``.
    """

    __array_ufunc__ = None  # numpy leaves ``array * node`` to the node

    def __init__(self, op: Op, shape: tuple[int | None, ...], dtype: Any, name: str) -> None:
        self.op, self.shape, self.dtype, self.name = op, tuple(shape), jnp.dtype(dtype), name

    def spec(self, free: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype with ``free`` in place of every unknown size."""
        return jax.ShapeDtypeStruct(tuple(free if s is None else s for s in self.shape), self.dtype)

    def record(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Call a layer or function on nodes: a new op, and the node (or tree of nodes) that it returns."""
        owner = getattr(function, "name", None) if isinstance(function, Module) else None
        base = owner or _snake(type(function).__name__ if isinstance(function, Module) else getattr(function, "__name__", "op"))
        op = Op(function, args, kwargs, base)
        small, large = _traces(op)
        several = len(jax.tree.leaves(small)) > 1

        def node(path: Any, a: Any, b: Any) -> Node:
            shape = tuple(m if m == n else None for m, n in zip(a.shape, b.shape, strict=True))
            suffix = jax.tree_util.keystr(path, simple=True, separator=".")
            made = Node(op, shape, a.dtype, f"{base}.{suffix}" if several else base)
            op.outputs.append(made)
            return made

        op.result = jax.tree_util.tree_map_with_path(node, small, large)
        return op.result

    def __repr__(self) -> str:
        return f"Node({self.name!r}, shape={self.shape}, dtype={self.dtype})"

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no value while the graph is being built, so it cannot decide an `if`")

    def __getitem__(self, index: Any) -> Any:
        return self.record(_take, (self, _to_slices(index)), {})

    def __iter__(self) -> Any:
        if not self.shape or self.shape[0] is None:
            raise TypeError(f"{self!r} has no known first size to iterate over")
        return (self[i] for i in range(self.shape[0]))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self!r} is not an array yet: call layers on it, or use cenote.core.graph_function(numpy_function)")


# What stands in for sizes that are not known. A batch may be small; a picture or a text must have room for convolutions and
# pooling, after which the two shall still differ, unless it is too long for something, such as a table of positions.
_BATCHES, _ROOMY = (2, 3), (128, 192)


def _traces(op: Op) -> tuple[Any, Any]:
    """What a call gives for two different sizes in place of None: where the two results differ, the result is free, too."""
    inner = any(size is None for node in op.parents for size in node.shape[1:])
    for sizes in (_ROOMY, _BATCHES) if inner else (_BATCHES,):
        try:
            (small, first), (large, second) = (_trace(op, size) for size in sizes)
            break
        except Exception:
            if sizes is _BATCHES:
                raise
    op.room = sizes[0] if inner else 0
    for path, weight in first.items():
        if weight.kind == "param" and weight.shape != second[path].shape:
            shapes = ", ".join(str(node.shape) for node in op.parents)
            raise ValueError(
                f"{op.target!r} cannot be built on {shapes}: its weight {path!r} would depend on a size that is not known; "
                f"give that size to the Input in place of None"
            )
    return small, large


def _trace(op: Op, free: int) -> tuple[Any, dict[str, Weight]]:
    specs = {node: node.spec(free) for node in op.parents}
    on_host = getattr(op.target, "on_host", None)
    if on_host is not None:  # tried on the host, since it cannot be traced
        return on_host(*specs.values(), free=free), {}
    if isinstance(op.target, Module):
        args, kwargs = jax.tree.map(
            lambda leaf: specs[leaf] if isinstance(leaf, Node) else leaf, (op.args, op.kwargs), is_leaf=_is_node
        )
        weights, result = declare(op.target, *args, **kwargs)
        return result, weights
    nodes = list(specs)
    return jax.eval_shape(lambda *values: op.call(dict(zip(nodes, values, strict=True))), *specs.values()), {}


def Input(
    shape: tuple[int | None, ...] | int | None = None,
    *,
    name: str | None = None,
    dtype: Any = "float32",
    batch_size: int | None = None,
    batch_shape: tuple[int | None, ...] | None = None,
) -> Node:
    """A node that is fed from outside; ``shape`` is that of one example, None where any size goes.

    >>> Input((784,), name="pixels")
    Node('pixels', shape=(None, 784), dtype=float32)
    """
    if shape is None and batch_shape is None:
        raise ValueError("Input needs the shape of one example: Input(shape=(784,))")
    full = (
        tuple(batch_shape) if batch_shape is not None else (batch_size, *((shape,) if isinstance(shape, int) else shape or ()))
    )
    op = Op(None, name=name or "input")
    text = dtype in (str, "str", "string", "object")  # for layers that work on the host
    node = Node(op, full, str if text else jax.dtypes.canonicalize_dtype(dtype), op.name)
    op.outputs, op.result = [node], node
    return node


def _snake(name: str) -> str:
    """Keras's way from a class to a layer's name: ``MaxPooling2D`` -> ``max_pooling2d``, ``LSTM`` -> ``lstm``."""
    out = ""
    for before, char, after in zip(" " + name, name, name[1:] + " ", strict=False):
        starts = char.isupper() and (before.islower() or (before.isalpha() and after.islower()))
        out += ("_" if starts else "") + char.lower()
    return out


def operators() -> dict[str, Callable]:
    """The functions that nodes' operators record, by name: what a saved graph may call."""
    return dict(_OPERATORS)


def _take(x: Any, index: Any) -> Any:
    return x[_from_slices(index)]


def _to_slices(index: Any) -> Any:
    """Indices as plain values, so that a graph with ``a[:, 0]`` can be saved."""
    if isinstance(index, tuple):
        return tuple(map(_to_slices, index))
    if isinstance(index, slice):
        return {"slice": [index.start, index.stop, index.step]}
    if index is Ellipsis:
        return {"slice": "..."}
    return index


def _from_slices(index: Any) -> Any:
    if isinstance(index, (tuple, list)):
        return tuple(map(_from_slices, index))
    if isinstance(index, dict):
        return Ellipsis if index["slice"] == "..." else slice(*index["slice"])
    return index


def _reverse(function: Callable) -> Callable:
    return lambda a, b: function(b, a)


_OPERATORS: dict[str, Callable] = {}


def _install_operators() -> None:
    binary = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "matmul": "@", "pow": "**"}
    for name in [*binary, "lt", "le", "gt", "ge", "mod", "floordiv"]:
        forward = getattr(operator, name)
        backward = _reverse(forward)
        backward.__name__ = f"r{name}"
        for function, method in ((forward, f"__{name}__"), (backward, f"__r{name}__")):
            _OPERATORS[function.__name__] = function
            setattr(Node, method, lambda self, other, function=function: self.record(function, (self, other), {}))
    for name in ("neg", "abs"):
        function = _OPERATORS[name] = getattr(operator, name)
        setattr(Node, f"__{name}__", lambda self, function=function: self.record(function, (self,), {}))
    _take.__name__ = "take"
    _OPERATORS["take"] = _take


_install_operators()


def sort_ops(nodes: Iterable[Node], stop: Iterable[Node] = ()) -> list[Op]:
    """Every op that the nodes depend on, in the order of creation (parents first); ``stop`` nodes are not looked behind."""
    found: dict[int, Op] = {}
    cut = set(stop)
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node in cut or node.op.number in found:
            continue
        found[node.op.number] = node.op
        todo.extend(node.op.parents)
    return [found[number] for number in sorted(found)]


class Graph(Module):
    """Nodes made into a module: call it like any layer, or ``run`` it by feeding and fetching any of its nodes.

    ``inputs`` and ``outputs`` are a node, or a list, tuple or dict of nodes; more nodes that ``run`` shall reach (a loss, a
    training node) go into ``also``. Layers are kept by name in ``layers``, functions as they are.

    >>> import numpy as np
    >>> a, b = Input((), name="a"), Input((), name="b")
    >>> total = (a + b) * 2
    >>> Graph([a, b], total).run(total, {a: np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])})
    array([ 8., 12.], dtype=float32)
    """

    _bookkeeping = Module._bookkeeping | {"_train_state", "_programs", "_drawn", "_looked"}
    looks_once = True  # it tells its layers what it was told

    def __init__(self, inputs: Any, outputs: Any, *, also: Iterable[Node] = (), name: str | None = None) -> None:
        self.name = name
        self._inputs, self._outputs = inputs, outputs
        self._input_nodes = jax.tree.leaves(inputs, is_leaf=_is_node)
        self._output_nodes = jax.tree.leaves(outputs, is_leaf=_is_node)
        for node in [*self._input_nodes, *self._output_nodes]:
            if not isinstance(node, Node):
                raise TypeError(f"a graph goes from nodes to nodes, got {describe(node)}: begin with cenote.Input(shape)")
        inner = [node for node in self._input_nodes if node.op.target is not None]  # what lies behind them is not wanted
        self._ops = sort_ops([*self._output_nodes, *also], stop=inner)
        loose = [op for op in self._ops if op.target is None and op.outputs[0] not in self._input_nodes]
        if loose and not also:
            names = ", ".join(repr(op.name) for op in loose)
            raise ValueError(f"the outputs depend on input {names}, which is not among the graph's inputs: add it there")
        self.layers: dict[str, Module] = {}
        self._names: dict[str, Node] = {node.name: node for node in inner}
        self._layer_of: dict[int, str] = {}  # op number -> name in `layers`: a copied graph then calls its own layers
        for op in self._ops:
            if isinstance(op.target, Module):
                known = next((k for k, m in self.layers.items() if m is op.target), None)
                self._layer_of[op.number] = known or _unique(op.name, self.layers)
                self.layers[self._layer_of[op.number]] = op.target
            for node in op.outputs:
                self._names[_unique(node.name, self._names)] = node
        self._train_state: dict[Any, Any] = {}
        self._programs: dict[Any, Callable] = {}
        self._drawn = False  # whether all layers have weights: some may have come with theirs from another model
        self._looked: tuple = (-1, {}, None)  # at which count of changes what was declared and where it lies were looked up

    def forward(self, inputs: Any) -> Any:
        given = jax.tree.leaves(inputs)
        if isinstance(self._inputs, dict) and isinstance(inputs, dict):
            missing = set(self._inputs) - set(inputs)
            if missing:
                raise ValueError(f"the graph has an input {sorted(missing)[0]!r} that was not given; got {sorted(inputs)}")
            given = jax.tree.leaves({k: inputs[k] for k in self._inputs})  # dicts of dicts, too
        elif isinstance(inputs, dict):
            names = [n.name for n in self._input_nodes]
            given = [inputs[n] if n in inputs else _missing_input(n, inputs) for n in names]
        if len(given) != len(self._input_nodes):
            names = ", ".join(n.name for n in self._input_nodes)
            raise ValueError(f"the graph has {len(self._input_nodes)} inputs ({names}), but {len(given)} arrays came in")
        values = dict(zip(self._input_nodes, given, strict=True))
        for node, value in values.items():
            _check_input(node, value)
        self._evaluate(values, self._output_nodes)
        return jax.tree.map(lambda node: values[node], self._outputs, is_leaf=_is_node)

    def _evaluate(self, values: dict[Node, Any], wanted: list[Node]) -> None:
        """Fill ``values`` with everything that the wanted nodes need."""
        ops = sort_ops(wanted, stop=values)
        users = Counter(parent for op in ops for parent in op.parents)

        def alone(node: Node, elsewhere: bool) -> bool:
            return users[node] == 1 and node not in wanted and not elsewhere

        # Which arrays go to one op alone; what comes in or is passed on as it is may have other users, too.
        single = {node: alone(node, not notes.annotation(value, "only here")) for node, value in values.items()}
        for op in ops:
            if op.target is None:
                raise ValueError(f"node {op.name!r} must be fed: add it to feeds, e.g. feeds={{{op.name!r}: array}}")
            layer = self._layer_of.get(op.number)
            if layer is None and isinstance(op.target, Module):
                raise ValueError(
                    f"node {op.name!r} is not in this graph, which has no weights for {op.target!r}: "
                    f"make it with Graph(inputs, outputs, also=[node])"
                )
            target = self.layers[layer] if layer else op.target
            for parent in op.parents:
                notes.hand_on(values[parent], target, single[parent])
            result = op.call(values, target)
            for node, value in zip(op.outputs, jax.tree.leaves(result), strict=True):
                values.setdefault(node, value)  # one of several outputs may have been fed
                passed = any(values[parent] is value and not single[parent] for parent in op.parents)
                single.setdefault(node, alone(node, passed))

    def input_spec(self, free: int | None = None) -> Any:
        """What one call takes, with ``free`` for unknown sizes, or else a batch of one and sizes for which there is room."""
        room = min((op.room for op in self._ops if op.room), default=1)

        def spec(node: Node) -> jax.ShapeDtypeStruct:
            known = node.shape if free is not None else (*(1 if s is None else s for s in node.shape[:1]), *node.shape[1:])
            return jax.ShapeDtypeStruct(tuple((free or room) if s is None else s for s in known), node.dtype)

        return jax.tree.map(spec, self._inputs, is_leaf=_is_node)

    # -- feeding and fetching ----------------------------------------------------------------------------------------------

    def node(self, which: Node | str) -> Node:
        """A node by name, or the node itself."""
        if isinstance(which, Node):
            return which
        if which not in self._names:
            raise unknown("node of the graph", which, self._names)
        return self._names[which]

    def run(self, fetches: Any, feeds: dict[Node | str, Any] | None = None, *, train: bool = False, key: Any = None) -> Any:
        """The values of the fetched nodes, given the fed ones; any node can be fed and any fetched, by object or by name.

        ``fetches`` is a node, a name, or a list, tuple or dict of them; the answer has its form, in numpy. A node made by
        ``optimizer.minimize(loss)`` trains: fetching it takes one step on what is fed, and gives the step's number.
        """
        self._draw()
        fed = {self.node(k): jnp.asarray(v) for k, v in (feeds or {}).items()}
        for node, value in fed.items():
            _check_input(node, value)
        wanted = jax.tree.map(self.node, fetches, is_leaf=lambda v: isinstance(v, (Node, str)))
        leaves = jax.tree.leaves(wanted, is_leaf=_is_node)
        trainers = [n for n in leaves if isinstance(n, TrainNode)]
        if len(trainers) > 1:
            raise ValueError("fetch one training node at a time: two would both change the same weights")
        if trainers:
            return _numpy(wanted, self._train(trainers[0], leaves, fed, key))
        values = self._program(leaves, fed, train)(*weights_of(self), list(fed.values()), as_key(key if key is not None else 0))
        return _numpy(wanted, dict(zip(leaves, values[0], strict=True)))

    def _cloned(self) -> None:
        super()._cloned()
        self._train_state, self._programs = {}, {}

    def _draw(self) -> None:
        if not self._drawn and self.layers:
            self.build()
        self._drawn = True

    def _program(self, leaves: list[Node], fed: dict[Node, Any], train: bool) -> Callable:
        signature = (tuple(leaves), tuple(fed), train)
        if signature not in self._programs:
            nodes = list(fed)

            def program(params: dict, state: dict, values: list, key: Any) -> Any:
                part = _Part(self, nodes, leaves)
                return apply(part, _prefixed(params), _prefixed(state), values, train=train, key=key)

            self._programs[signature] = jax.jit(program)
        return self._programs[signature]

    def _train(self, trainer: TrainNode, leaves: list[Node], fed: dict[Node, Any], key: Any) -> dict[Node, Any]:
        """One optimizer step on the fed values; the other fetches are those of the same forward pass."""
        others = [n for n in leaves if n is not trainer]
        if self._looked[0] != Module._changes:
            self._looked = (Module._changes, declared(self), Places(self))
        _, weights, places = self._looked
        trained = frozenset(path for path, w in weights.items() if w.kind == "param" and w.trainable)
        rate = getattr(trainer.optimizer, "learning_rate", None)
        signature = ("train", tuple(leaves), tuple(fed), trained, rate if callable(rate) else None)
        if signature not in self._programs:
            step = self._train_step(trainer, others, list(fed), {k: w for k, w in weights.items() if k in trained})
            self._programs[signature] = jax.jit(step, donate_argnums=(2,))
        params, state = places.read()
        memory = self._train_state.get(trainer)
        if memory is None or memory["trained"] != trained:
            slots = trainer.optimizer.init({k: v for k, v in params.items() if k in trained})
            memory = {"slots": slots, "step": 0 if memory is None else memory["step"], "trained": trained}
            self._train_state[trainer] = memory
        elif memory["rates_set"] != getattr(trainer.optimizer, "_rates_set", 0) and not callable(rate):
            memory["slots"] = {**memory["slots"], "learning_rate": jnp.float32(rate)}
        memory["rates_set"] = getattr(trainer.optimizer, "_rates_set", 0)
        key = jax.random.fold_in(as_key(key if key is not None else 0), memory["step"])
        params, state, memory["slots"], rest = self._programs[signature](
            params, state, memory["slots"], list(fed.values()), key
        )
        places.write({**params, **state})
        memory["step"] += 1
        return {**dict(zip(others, rest, strict=True)), trainer: np.int64(memory["step"])}

    def _train_step(self, trainer: TrainNode, others: list[Node], nodes: list[Node], weights: dict[str, Weight]) -> Callable:
        """``step(params, state, slots, values, key)``; ``weights`` are those that are trained."""

        def step(params: dict, state: dict, slots: Any, values: list, key: Any) -> Any:
            fixed = {k: v for k, v in params.items() if k not in weights}

            def loss(params: dict) -> Any:
                part, arrays = _Part(self, nodes, [trainer.loss, *others]), _prefixed({**fixed, **params})
                with notes.collecting() as table:
                    (value, *rest), new = apply(part, arrays, _prefixed(state), values, train=True, key=key)
                    total = jnp.mean(value) + sum(table.losses, start=jnp.zeros(()))
                for path, w in weights.items():
                    total = total + (0 if w.regularizer is None else w.regularizer(params[path]))
                return trainer.optimizer.scale_loss(total, slots), (rest, new)

            params = {k: v for k, v in params.items() if k in weights}
            (value, (rest, new)), grads = jax.value_and_grad(loss, has_aux=True)(params)
            asked = {}
            if trainer.optimizer.wants_value:
                asked = {"value": value, "grad": grads, "value_fn": lambda params: loss(params)[0]}
            updates, slots = trainer.optimizer.update(grads, slots, params, **asked)
            params = {k: v + updates[k] for k, v in params.items()}
            for path, w in weights.items():
                params[path] = params[path] if w.constraint is None else w.constraint(params[path])
            return {**fixed, **params}, {k.removeprefix("graph."): v for k, v in new.items()}, slots, rest

        return step

    def build(self, *specs: Any, key: Any = None) -> Graph:
        build(self, *(specs or (self.input_spec(),)), key=key)
        self._drawn = True
        return self


class _Part(Module):
    """Some nodes of a graph as a module of some fed nodes."""

    def __init__(self, graph: Graph, fed: list[Node], wanted: list[Node]) -> None:
        self.graph, self._fed, self._wanted = graph, fed, wanted

    def forward(self, values: list) -> list:
        env = dict(zip(self._fed, values, strict=True))
        self.graph._evaluate(env, self._wanted)
        return [env[n] for n in self._wanted]


class TrainNode(Node):
    """What ``optimizer.minimize(loss)`` returns: fetch it to take one training step."""

    def __init__(self, optimizer: Any, loss: Node) -> None:
        super().__init__(Op(lambda value: value, (loss,), name="train"), (), "int32", "train")
        self.op.outputs, self.op.result = [self], self
        self.optimizer, self.loss = optimizer, loss


def _prefixed(arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"graph.{k}": v for k, v in arrays.items()}


def _numpy(wanted: Any, values: dict[Node, Any]) -> Any:
    return jax.tree.map(lambda node: np.asarray(values[node]), wanted, is_leaf=_is_node)


def _unique(name: str, taken: dict[str, Any]) -> str:
    return next(n for n in itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1))) if n not in taken)


def _missing_input(name: str, given: dict) -> Any:
    raise ValueError(f"the graph has an input {name!r} that was not given; got {sorted(given)}")


def _check_input(node: Node, value: Any) -> None:
    shape = np.shape(value)
    fits = len(shape) == len(node.shape) and all(n in (None, s) for n, s in zip(node.shape, shape, strict=True))
    if not fits:
        raise ValueError(f"node {node.name!r} takes shape {node.shape}, but an array of shape {tuple(shape)} was given")
