"""One `.cenote` file for a model: what it was built from, its tensors, and how it was compiled. Reading it runs no code.

The description is JSON: classes by name, constructor arguments as plain values, arrays by reference into the tensors. Names
are looked up among Cenote's own classes and those that the caller passes in; a file cannot name anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import activations, losses, metrics, optimizers
from .core import Input, Module, bind, declare, members
from .core.configurable import Configurable
from .core.errors import unknown
from .core.graph import Node, Op, operators
from .core.tree import adopt, spec_of
from .files import BadFile, load_tensors, save_tensors

MAX_DEPTH = 200  # of nested values in a file
MAX_ITEMS = 1_000_000  # values in a description


def save(model: Module, path: str | os.PathLike) -> None:
    """Write a model (see the module's docstring); raises ValueError for parts that cannot be written down."""
    params, state = model.arrays() if hasattr(model, "arrays") else _weights(model)  # type: ignore[attr-defined]
    writer = _Writer()
    frozen = [p for p, m in members(model).items() if not m.trainable]
    info = {
        "version": 1,
        "model": writer.write(model, "model"),
        "ops": writer.ops,
        "spec": writer.write(getattr(model, "_spec", None), "spec"),
        "frozen": frozen,
        "info": getattr(model, "info", {}),
        "compiled": _compiled(getattr(model, "_compiled", None)),
        "jax": jax.__version__,
    }
    tensors = {**{f"weights/{k}": np.asarray(v) for k, v in {**params, **state}.items()}, **writer.tensors}
    save_tensors(path, tensors, info, kind="model")


def load(path: str | os.PathLike, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Read a model back, ready to predict, evaluate and train on.

    ``custom_objects`` holds your own classes and functions by name; one that the file needs and that is missing is named in
    the error. Nothing in the file is executed, and no weight is allocated that the file does not hold.

    Raises: FileNotFoundError; BadFile (a ValueError) for a damaged or foreign file; ValueError for a missing class.
    """
    tensors, info = load_tensors(path, kind="model")
    reader = _Reader(tensors, dict(custom_objects or {}))
    try:
        reader.read_ops(info["ops"])
        model = reader.read(info["model"])
        spec = reader.read(info["spec"])
        frozen, extra, compiled = info["frozen"], info["info"], info["compiled"]
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BadFile(f"{path} does not describe a model that can be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, Module):
        raise BadFile(f"{path} does not hold a model")
    arrays = _weights_among(tensors)
    if spec is not None:
        weights, _ = declare(model, *spec)
        _check_weights(path, weights, arrays)
        adopt(model, weights)
        bind(model, {k: jnp.asarray(v) for k, v in arrays.items()})
        model._spec = spec_of(spec)  # type: ignore[attr-defined]
    found = members(model)
    for layer in frozen:
        if layer in found:
            found[layer].trainable = False
    if hasattr(model, "info"):
        model.info = dict(extra)
    if compiled is not None and hasattr(model, "compile"):
        model.compile(**{k: _revive(k, v, reader.custom) for k, v in compiled.items()})  # type: ignore[attr-defined]
    return model


def weights_in(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The weights of a saved model by path, without the model; raises as `load` does."""
    tensors, _ = load_tensors(path, kind="model")
    return _weights_among(tensors)


def _weights_among(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}


def _weights(model: Module) -> tuple[dict, dict]:
    from .core import weights_of

    return weights_of(model)


def _check_weights(path: Any, weights: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    for name, weight in weights.items():
        if name not in arrays:
            raise BadFile(f"{path} lacks the weight {name!r} that its model declares")
        if arrays[name].shape != weight.shape:
            raise BadFile(f"{path}: weight {name!r} has shape {arrays[name].shape}, but its model declares {weight.shape}")
    extra = sorted(set(arrays) - set(weights))
    if extra:
        raise BadFile(f"{path} holds weights that its model does not declare: {', '.join(extra[:5])}")


# -- what compile was told -------------------------------------------------------------------------------------------------


def _compiled(said: dict[str, Any] | None) -> dict[str, Any] | None:
    """Losses, metrics and optimizer as plain values; None where one of them is the user's own code."""
    if said is None:
        return None
    try:
        return {k: _plain(v) for k, v in said.items()}
    except TypeError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{value!r} cannot be written down")


def _revive(kind: str, value: Any, custom: dict[str, Any]) -> Any:
    get: Callable | None = {
        "optimizer": optimizers.get,
        "loss": losses.get,
        "metrics": metrics.get,
        "weighted_metrics": metrics.get,
    }.get(kind)
    if isinstance(value, dict) and "class" in value and get is not None:
        return get(value, custom)
    if isinstance(value, dict):
        return {k: _revive(kind, v, custom) for k, v in value.items()}
    if isinstance(value, list):
        return [_revive(kind, v, custom) for v in value]
    return value


# -- values ----------------------------------------------------------------------------------------------------------------


class _Writer:
    """Constructor arguments as JSON; a module met twice is written once and referred to."""

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self.ops: list[dict[str, Any]] = []
        self._seen: dict[int, int] = {}
        self._op_numbers: dict[int, int] = {}
        self._kept: list[Any] = []
        self._count = 0

    def write(self, value: Any, where: str) -> Any:
        self._count += 1
        if self._count > MAX_ITEMS:
            raise ValueError(
                f"{where}: a model file holds {MAX_ITEMS:,} values in lists and no more: give long lists to constructors as "
                f"arrays"
            )
        if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
            return value
        if isinstance(value, Module):
            return self._module(value, where)
        if isinstance(value, Node):
            return {"node": [self._op(value.op, where), value.op.outputs.index(value)]}
        if isinstance(value, list):
            return [self.write(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [self.write(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if isinstance(value, Mapping):
            return {"dict": [[self.write(k, where), self.write(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        if isinstance(value, Configurable):
            return {"config": value.config()}
        if isinstance(value, jax.ShapeDtypeStruct):
            return {"spec": [list(value.shape), str(value.dtype)]}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray | jax.Array):
            name = f"constants/{len(self.tensors)}"
            self.tensors[name] = np.asarray(value)
            return {"tensor": name}
        if isinstance(value, range):
            return self.write(list(value), where)
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
            return str(np.dtype(value))
        if callable(value):
            return {"function": _function_name(value, where)}
        raise ValueError(
            f"{where} is a {type(value).__name__} ({value!r}), which cannot be written into a model file: give numbers, text, "
            f"arrays, layers, or named functions to constructors"
        )

    def _module(self, module: Module, where: str) -> Any:
        if id(module) in self._seen:
            return {"same": self._seen[id(module)]}
        cls = type(module)
        own = cls.__module__.split(".")[0] == "cenote"
        written: dict[str, Any] = {"class": cls.__name__, "own": own, "arguments": {}}
        arguments = module.arguments()
        if hasattr(module, "layers") and cls.__name__ == "Sequential":
            arguments = {**arguments, "layers": module.layers}  # what add() and pop() made of it
            if getattr(module, "_given", None) is not None:
                written["given"] = self.write(module._given, where)  # type: ignore[attr-defined]
                arguments["layers"] = list(module.layers)
        for name, argument in arguments.items():
            written["arguments"][name] = self.write(argument, f"{where}.{name}" if where else name)
        self._seen[id(module)] = written["id"] = len(self._seen)
        self._kept.append(module)
        return written

    def _op(self, op: Op, where: str) -> int:
        if op.number in self._op_numbers:
            return self._op_numbers[op.number]
        if op.target is None:
            node = op.outputs[0]
            written: dict[str, Any] = {"input": op.name, "shape": list(node.shape), "dtype": str(node.dtype)}
        else:
            args = self.write(op.args, f"{where}.{op.name}")
            kwargs = self.write(op.kwargs, f"{where}.{op.name}")
            target = self.write(op.target, f"{where}.{op.name}")
            written = {"name": op.name, "target": target, "args": args, "kwargs": kwargs}
        self.ops.append(written)
        self._op_numbers[op.number] = len(self.ops) - 1
        return len(self.ops) - 1


def _function_name(function: Callable, where: str) -> str:
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ValueError(
            f"{where} is {function!r}, a function without a name, which cannot be written into a model file: define it with "
            f"def and pass it to cn.load(path, custom_objects={{'its_name': its_name}})"
        )
    return name


class _Reader:
    """JSON back to constructor arguments; everything is looked up, nothing is imported or evaluated."""

    def __init__(self, tensors: dict[str, np.ndarray], custom: dict[str, Any]) -> None:
        self.tensors, self.custom = tensors, custom
        self._modules: dict[int, Module] = {}
        self._ops: list[list[Node]] = []
        self._budget = MAX_ITEMS
        self._classes = own_classes()

    def read(self, value: Any, depth: int = 0) -> Any:
        self._budget -= 1
        if depth > MAX_DEPTH or self._budget < 0:
            raise BadFile("the file describes a model of absurd depth or size; it is refused")
        if isinstance(value, list):
            return [self.read(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        if "class" in value:
            return self._module(value, depth)
        if "same" in value:
            return self._modules[value["same"]]
        if "node" in value:
            op, index = value["node"]
            return self._ops[op][index]
        if "tuple" in value:
            return tuple(self.read(v, depth + 1) for v in value["tuple"])
        if "dict" in value:
            return {self.read(k, depth + 1): self.read(v, depth + 1) for k, v in value["dict"]}
        if "config" in value:
            return dict(value["config"])  # the layer's own `get` looks the names up
        if "spec" in value:
            shape, dtype = value["spec"]
            return jax.ShapeDtypeStruct(tuple(int(s) for s in shape), np.dtype(dtype))
        if "tensor" in value:
            return self.tensors[value["tensor"]]
        if "function" in value:
            return self._function(value["function"])
        raise BadFile(f"the file holds a value of an unknown kind: {sorted(value)[:3]}")

    def _module(self, written: dict[str, Any], depth: int) -> Module:
        name = written["class"]
        classes = {**(self._classes if written.get("own") else {}), **self.custom}
        if name not in classes:
            raise ValueError(
                f"the file needs the class {name!r}, which is not Cenote's own: pass it as "
                f"cn.load(path, custom_objects={{{name!r}: {name}}})"
                if not written.get("own")
                else str(unknown("layer of the file", name, classes))
            )
        cls = classes[name]
        if not (isinstance(cls, type) and issubclass(cls, Module)):
            raise ValueError(f"custom_objects[{name!r}] must be a class of layers or models, got {cls!r}")
        arguments = {k: self.read(v, depth + 1) for k, v in written["arguments"].items()}
        for path in getattr(cls, "reads_files", ()):
            if isinstance(arguments.get(path), str):  # ours are saved with what they read, not with where it was
                raise BadFile(f"the file would have {name} read {arguments[path]!r}; a model file names no other files")
        starred = [k for k in arguments if k.startswith("*")]
        positional = list(arguments.pop(starred[0])) if starred else []
        module = cls(*positional, **arguments)
        if "given" in written:
            module._given = self.read(written["given"], depth + 1)  # type: ignore[attr-defined]
        self._modules[written["id"]] = module
        return module

    def _function(self, name: str) -> Callable:
        if name in self.custom:
            return self.custom[name]
        if name in operators():
            return operators()[name]
        for family in (activations, losses):
            found = getattr(family, name, None)
            if callable(found) and not name.startswith("_") and getattr(found, "__module__", "").startswith("cenote."):
                return found
        raise ValueError(
            f"the file needs the function {name!r}, which is not Cenote's own: pass it as "
            f"cn.load(path, custom_objects={{{name!r}: {name}}})"
        )

    def read_ops(self, ops: list[dict[str, Any]]) -> None:
        """Record the graph again, op by op: parents come first."""
        for written in ops:
            if "input" in written:
                shape = tuple(None if s is None else int(s) for s in written["shape"])
                node = Input(batch_shape=shape, dtype=written["dtype"], name=written["input"])
                self._ops.append([node])
                continue
            args, kwargs = self.read(written["args"]), self.read(written["kwargs"])
            target = self.read(written["target"])
            first = next(leaf for leaf in jax.tree.leaves((args, kwargs), is_leaf=_node) if isinstance(leaf, Node))
            result = first.record(target, args, kwargs)
            nodes = [leaf for leaf in jax.tree.leaves(result, is_leaf=_node) if isinstance(leaf, Node)]
            self._ops.append(nodes)


def _node(value: Any) -> bool:
    return isinstance(value, Node)


def own_classes() -> dict[str, type[Module]]:
    """Cenote's own public module classes by name: all that a file may name without ``custom_objects``."""
    from . import layers, networks  # noqa: F401 - defining them is what puts them on the list

    found: dict[str, type[Module]] = {}
    todo: list[type[Module]] = [Module]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            if cls.__module__.split(".")[0] == "cenote" and not cls.__name__.startswith("_"):
                found[cls.__name__] = cls
    return found
