"""One `.cenote` file for a model: what it was built from, its tensors, and how it was compiled. Reading it runs no code.

The description is JSON: classes by name, constructor arguments as plain values, arrays by reference into the tensors. Names
are looked up among Cenote's own classes and those that the caller passes in; a file cannot name anything else.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import activations, constraints, initializers, losses, metrics, optimizers, regularizers, schedules
from .core import Input, Module, bind, declare, members
from .core.configurable import Configurable, is_own, named_function, parameters, plain, resolve
from .core.errors import unknown
from .core.graph import Graph, Node, Op, operators, sort_ops
from .core.tree import adopt, spec_of
from .data.feed import mean_row
from .files import BadFile, load_tensors, save_tensors
from .layers.base import Layer
from .networks import Sequential

VERSION = 1  # of the description

# What a file may ask for: a few bytes must not take hours or all memory. Where a size is known to be paid for with weights,
# the file must hold them anyway; these are for what costs nothing to write.
MAX_DEPTH = 200  # of nested values
MAX_ITEMS = 1_000_000  # values in a description
MAX_OPS = 20_000  # calls in a graph
MAX_CALLS = 50_000  # of layers and functions in all, shared ones counted at each use
MAX_ELEMENTS = 1 << 28  # of an input, and of any size that a layer of ours is given
MAX_TAPS = 1 << 14  # of a kernel or pool, and rounds of whatever runs in rounds
_TAPS = ("kernel_size", "pool_size", "size")
_LIMITS = {
    **dict.fromkeys(_TAPS, MAX_TAPS),
    **dict.fromkeys(("power_iterations", "num_ops", "num_chains", "chain_depth", "ngrams"), MAX_TAPS),
    **dict.fromkeys(("num_mel_bins", "num_coefficients"), MAX_TAPS),
    **dict.fromkeys(("fft_length", "frame_length", "height", "width"), 1 << 15),
}
_NO_SIZES = re.compile(
    "seed|salt|mask_token|oov_token|value(?!_dim)|vocabulary$|num_bins|boundaries|mean|variance|scale|offset"
)


def check_sizes(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse constructor arguments of a layer of ours that are sizes out of all proportion."""
    axes = re.search(r"(\d)D", name)
    for argument, value in arguments.items():
        given = value if isinstance(value, (list, tuple)) else [value]
        sizes = [abs(int(v)) for v in given if isinstance(v, (int, np.integer)) and not isinstance(v, bool)]
        if not sizes or _NO_SIZES.search(argument):
            continue
        if argument in _TAPS and len(sizes) == 1 and axes:
            sizes *= int(axes[1])
        product = argument in _TAPS or "shape" in argument or "size" in argument
        found = math.prod(max(1, n) for n in sizes) if product else max(sizes)
        limit = _LIMITS.get(argument, MAX_ELEMENTS)
        if found > limit:
            raise BadFile(f"{name}({argument}={value!r:.60}) is more than a model file may ask for ({limit:,} in all)")


def _read_shape(shape: Any) -> tuple[int | None, ...]:
    if not isinstance(shape, list) or not all(s is None or (type(s) is int and s >= 0) for s in shape):
        raise BadFile(f"the file gives {shape!r:.60} as a shape")
    if max(math.prod(s or 1 for s in shape[1:]), *(s or 1 for s in shape[:1]), 1) > MAX_ELEMENTS:  # build may see all data
        raise BadFile(f"the file describes an array of shape {tuple(shape)!r:.60}: {MAX_ELEMENTS:,} elements are allowed")
    return tuple(shape)


class Needed(ValueError):
    """Something that the caller has to pass in."""


def save(
    model: Module, path: str | os.PathLike, *, beside: tuple[Mapping[str, Any], Mapping[str, np.ndarray]] | None = None
) -> None:
    """Write a model (see the module's docstring); raises ValueError for parts that cannot be written down.

    What compile was told is left out, with a warning, if there is code in it that has no name. ``beside`` are plain values and
    arrays that a `cenote.tasks.Trained` keeps with its model: what is needed to take raw input.
    """
    params, state = model.arrays() if hasattr(model, "arrays") else _weights(model)  # type: ignore[attr-defined]
    writer = _Writer()
    compiled = getattr(model, "_compiled", None)
    try:
        compiled = None if compiled is None else {k: plain(v, k) for k, v in compiled.items()}
    except TypeError as error:
        compiled = None
        warnings.warn(f"{path} is saved without what compile was told: {error}", stacklevel=3)
    info = {
        "version": VERSION,
        "model": writer.write(model, "model"),
        "ops": writer.ops,
        "spec": writer.write(getattr(model, "_spec", None), "spec"),
        "trainable": {p: bool(m.trainable) for p, m in members(model).items()},
        # Inside a class of the user's own the constructor makes the layers, and knows nothing of what they have learned.
        "learned": {p: writer.write(dict(m._learned), p) for p, m in members(model).items() if getattr(m, "_learned", None)},
        "info": getattr(model, "info", {}),
        "compiled": compiled,
        # Their mean only: a model that is handed on must not carry somebody's rows.
        "background": writer.write(mean_row(getattr(model, "background", None)), "background"),
    }
    tensors = {**{f"weights/{k}": np.asarray(v) for k, v in {**params, **state}.items()}, **writer.tensors}
    if beside is not None:
        info["trained"] = beside[0]
        tensors |= {f"trained/{k}": np.asarray(v) for k, v in beside[1].items()}
    save_tensors(path, tensors, info, kind="model")


def load(path: str | os.PathLike, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Read a model back, ready to predict, evaluate and train on; a `cenote.tasks.Trained` where the file holds one.

    ``custom_objects`` holds your own classes and functions by name; one that the file needs and that is missing is named in
    the error. One that only compile needs is named in a warning, and the model comes uncompiled. Nothing in the file is
    executed, and no weight is allocated that the file does not hold.

    Raises: FileNotFoundError; BadFile (a ValueError) for a damaged or foreign file; ValueError for a missing class.
    """
    tensors, info = load_tensors(path, kind="model")
    version = info.get("version")
    if type(version) is int and version > VERSION:
        raise BadFile(f"{path} was written by a newer Cenote (format {version}, this one knows {VERSION}): upgrade cenote")
    try:
        if version != VERSION:
            raise BadFile(f"the file is of format {version!r:.60}, which never was")
        custom = {**(_configurables_of_tasks() if info.get("trained") is not None else {}), **dict(custom_objects or {})}
        model, lacking = _build(tensors, info, custom)
        if info.get("trained") is not None:
            from .tasks.trained import Trained

            beside = {k.removeprefix("trained/"): v for k, v in tensors.items() if k.startswith("trained/")}
            model = Trained.restore(model, info["trained"], beside, custom)
    except Needed as error:
        raise ValueError(str(error)) from None
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from error
    except Exception as error:  # whatever a constructor makes of nonsense
        raise BadFile(f"{path} does not describe a model that can be built: {type(error).__name__}: {error}") from error
    if lacking:
        warnings.warn(
            f"{path} is loaded uncompiled, since its compile needs {', '.join(map(repr, lacking))}: {_cure(lacking[0])}, or "
            f"call compile",
            stacklevel=2,
        )
    return model


def _build(tensors: dict[str, np.ndarray], info: dict[str, Any], custom: dict[str, Any]) -> tuple[Any, list[str]]:
    """The model, and the names that are lacking to compile it."""
    reader = _Reader(tensors, custom)
    reader.read_ops(info["ops"])
    model, spec = reader.read(info["model"]), reader.read(info["spec"])
    if not isinstance(model, Module):
        raise BadFile("the file does not hold a model")
    for layer, written in info.get("learned", {}).items():
        learned, owner = reader.read(written), members(model).get(layer)
        if not isinstance(owner, Layer) or any(isinstance(learned.get(k), str) for k in getattr(owner, "reads_files", ())):
            raise BadFile(f"the file says what {layer!r} has learned, which is no layer that could have learned that")
        owner._learn_again(**learned)
    arrays = _weights_among(tensors)
    if spec is not None:
        weights, _ = declare(model, *spec)
        _check_weights(weights, arrays)
        adopt(model, weights)
        bind(model, {k: jnp.asarray(v, weights[k].dtype) for k, v in arrays.items()})
        model._spec = spec_of(spec)  # type: ignore[attr-defined]
    found = members(model)
    for layer, trainable in info["trainable"].items():
        if not isinstance(trainable, bool):
            raise BadFile(f"the file says {trainable!r:.60} of whether {layer!r} is trained")
        if layer in found and found[layer].trainable != trainable:
            found[layer].trainable = trainable
    if hasattr(model, "info"):
        model.info = dict(info["info"])  # type: ignore[attr-defined]
    if hasattr(model, "background"):
        model.background = reader.read(info.get("background"))  # type: ignore[attr-defined]
    compiled = info["compiled"]
    if compiled is None or not hasattr(model, "compile"):
        return model, []
    lacking = _lacking(compiled, custom)
    if not lacking:
        model.compile(**{k: reader.revive(k, v) for k, v in compiled.items()})  # type: ignore[attr-defined]
    return model, lacking


def weights_in(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The weights of a saved model by path, without the model; raises as `load` does."""
    tensors, _ = load_tensors(path, kind="model")
    return _weights_among(tensors)


def _weights_among(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}


def _weights(model: Module) -> tuple[dict, dict]:
    from .core import weights_of

    return weights_of(model)


def _check_weights(weights: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    for name, weight in weights.items():
        if name not in arrays:
            raise BadFile(f"it lacks the weight {name!r} that its model declares")
        if arrays[name].shape != weight.shape:
            raise BadFile(f"weight {name!r} has shape {arrays[name].shape}, but its model declares {weight.shape}")
        if _kind(arrays[name].dtype) != _kind(weight.dtype):
            raise BadFile(f"weight {name!r} is {arrays[name].dtype}, but its model declares {jnp.dtype(weight.dtype)}")
    extra = sorted(set(arrays) - set(weights))
    if extra:
        raise BadFile(f"it holds weights that its model does not declare: {', '.join(extra[:5])}")


def _kind(dtype: Any) -> str:
    """Floats of all sizes are exchangeable, and so are integers; NumPy has no kind for bfloat16."""
    return "f" if jnp.issubdtype(dtype, jnp.floating) else np.dtype(dtype).kind


# -- names -----------------------------------------------------------------------------------------------------------------

FAMILIES: dict[str, tuple[Any, type[Configurable]]] = {
    "initializers": (initializers, initializers.Initializer),
    "regularizers": (regularizers, regularizers.Regularizer),
    "constraints": (constraints, constraints.Constraint),
    "losses": (losses, losses.Loss),
    "metrics": (metrics, metrics.Metric),
    "optimizers": (optimizers, optimizers.Optimizer),
    "schedules": (schedules, schedules.Schedule),
}
_OF_COMPILE = {"optimizer": "optimizers", "loss": "losses", "metrics": "metrics", "weighted_metrics": "metrics"}


def own_functions() -> dict[str, Callable]:
    """Cenote's own functions by name: all that a file may name without ``custom_objects``."""
    ours = [*losses.FUNCTIONS.values(), *metrics.FUNCTIONS.values(), *activations.NAMES.values()]
    return {**{f.__name__: f for f in ours if not isinstance(f, type)}, **operators()}


def _lacking(value: Any, custom: Mapping[str, Any]) -> list[str]:
    """The user's own classes and functions in a config that are not there."""
    if isinstance(value, dict):
        name: Any = value.get("class", value.get("function"))
        found = [name] if value.get("own") is False and name not in custom else []
        return [*found, *(n for v in value.values() for n in _lacking(v, custom))]
    return [n for v in value for n in _lacking(v, custom)] if isinstance(value, list) else []


def _marked(value: Any) -> Any:
    """A config with Cenote's own classes marked as such, which `config` leaves out."""
    if isinstance(value, dict):
        return {**({"own": True} if "class" in value else {}), **{k: _marked(v) for k, v in value.items()}}
    return [_marked(v) for v in value] if isinstance(value, list) else value


def _cure(name: str) -> str:
    return f"pass it as cn.load(path, custom_objects={{{name!r}: {name}}})"


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
            return self._node(value, where)
        if isinstance(value, list):
            return [self.write(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [self.write(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if isinstance(value, Mapping):
            return {"dict": [[self.write(k, where), self.write(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        if isinstance(value, Configurable) or (isinstance(value, type) and issubclass(value, Configurable)):
            return self._config(value, where)
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
            return self._function(value, where)
        raise ValueError(
            f"{where} is a {type(value).__name__} ({value!r}), which cannot be written into a model file: give numbers, text, "
            f"arrays, layers, or named functions to constructors"
        )

    def _module(self, module: Module, where: str) -> Any:
        if id(module) in self._seen:
            return {"same": self._seen[id(module)]}
        cls = type(module)
        written: dict[str, Any] = {"class": cls.__name__, "own": is_own(cls), "arguments": {}}
        arguments = module.arguments()
        if written["own"]:
            check_sizes(cls.__name__, arguments)  # what could not be read back is not written
        if cls is Sequential:
            arguments = {**arguments, "layers": list(module.layers)}  # what add() and pop() made of it
        for name, argument in arguments.items():
            written["arguments"][name] = self.write(argument, f"{where}.{name}" if where else name)
        if isinstance(module, Sequential):
            if cls is not Sequential:  # the class may make layers of its own, and add() others
                written["layers"] = self.write(list(module.layers), f"{where}.layers")
            written["given"] = self.write(module._given, where)
        self._seen[id(module)] = written["id"] = len(self._seen)
        self._kept.append(module)
        return written

    def _node(self, node: Node, where: str) -> Any:
        if node.op.number not in self._op_numbers:
            for op in sort_ops([node]):  # parents first: a deep graph needs no deep recursion
                if op.number not in self._op_numbers:
                    self._write_op(op, where)
        return {"node": [self._op_numbers[node.op.number], node.op.outputs.index(node)]}

    def _write_op(self, op: Op, where: str) -> None:
        if op.target is None:
            node = op.outputs[0]
            written: dict[str, Any] = {"input": op.name, "shape": list(node.shape), "dtype": str(node.dtype)}
        else:
            args = self.write(op.args, f"{where}.{op.name}")
            kwargs = self.write(op.kwargs, f"{where}.{op.name}")
            target = self.write(op.target, f"{where}.{op.name}")
            written = {"name": op.name, "target": target, "args": args, "kwargs": kwargs}
        if len(self.ops) >= MAX_OPS:
            raise ValueError(f"{where}: a model file holds graphs of {MAX_OPS:,} calls and no more")
        self.ops.append(written)
        self._op_numbers[op.number] = len(self.ops) - 1

    def _config(self, value: Any, where: str) -> Any:
        cls = value if isinstance(value, type) else type(value)
        family = next((name for name, (_, base) in FAMILIES.items() if issubclass(cls, base)), None)
        try:
            return {"config": plain(value, where), "family": family}
        except TypeError as error:
            raise ValueError(f"{where} cannot be written into a model file: {error}") from error

    def _function(self, function: Callable, where: str) -> Any:
        written = named_function(function)
        if written is None:
            raise ValueError(
                f"{where} is {function!r}, a function without a name, which cannot be written into a model file: define it "
                f"with def and pass it to cn.load(path, custom_objects={{'its_name': its_name}})"
            )
        return written


class _Reader:
    """JSON back to constructor arguments; everything is looked up, nothing is imported or evaluated."""

    def __init__(self, tensors: dict[str, np.ndarray], custom: dict[str, Any]) -> None:
        self.tensors, self.custom = tensors, custom
        self._modules: dict[int, Module] = {}
        self._ops: list[list[Node]] = []
        self._budget = MAX_ITEMS
        self._called = 0
        self._calls: dict[int, int] = {}  # in each module: what shared parts share may be called 2**100 times
        self._op_calls: dict[int, int] = {}
        self._classes, self._functions = own_classes(), own_functions()

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
            self._count(self._calls[value["same"]])
            return self._modules[value["same"]]
        if "node" in value:
            op, index = value["node"]
            if min(op, index) < 0:
                raise BadFile("the file refers to a node that it does not hold")
            return self._ops[op][index]
        if "tuple" in value:
            return tuple(self.read(v, depth + 1) for v in value["tuple"])
        if "dict" in value:
            return {self.read(k, depth + 1): self.read(v, depth + 1) for k, v in value["dict"]}
        if "config" in value:
            return self._config(value["config"], value.get("family"))
        if "spec" in value:
            shape, dtype = value["spec"]
            if np.dtype(dtype).hasobject:
                raise BadFile(f"the file describes an input of {dtype}")
            return jax.ShapeDtypeStruct(_read_shape(shape), np.dtype(dtype))
        if "tensor" in value:
            return self.tensors[value["tensor"]]
        if "function" in value:
            return self._function(value)
        raise BadFile(f"the file holds a value of an unknown kind: {sorted(value)[:3]}")

    def _module(self, written: dict[str, Any], depth: int) -> Module:
        name, before = written["class"], self._called
        self._count(1)
        if written.get("own") and name not in self._classes:
            self._classes = own_classes(of_tasks=True)
        own = bool(written.get("own")) and name in self._classes
        if own:
            cls = self._classes[name]
        elif name in self.custom:
            cls = self.custom[name]
        elif written.get("own"):
            raise Needed(str(unknown("layer of the file", name, [*self._classes, *self.custom])))
        else:
            raise Needed(f"the file needs the class {name!r}, which is not Cenote's own: {_cure(name)}")
        if not (isinstance(cls, type) and issubclass(cls, Module)):
            raise Needed(f"custom_objects[{name!r}] must be a class of layers or models, got {cls!r}")
        arguments = {k: self.read(v, depth + 1) for k, v in written["arguments"].items()}
        if own:
            check_sizes(name, arguments)
        module = _construct(cls, name, arguments)
        if "layers" in written and isinstance(module, Sequential):
            self._restore_layers(module, self.read(written["layers"], depth + 1))
        if written.get("given") is not None:
            module._given = self.read(written["given"], depth + 1)  # type: ignore[attr-defined]
        if isinstance(module, Graph):
            self._count(sum(self._op_calls.get(op.number, 0) for op in module._ops))
        self._modules[written["id"]], self._calls[written["id"]] = module, self._called - before
        return module

    def _count(self, calls: int) -> None:
        self._called += calls
        if self._called > MAX_CALLS:
            raise BadFile(f"the file describes a model of more than {MAX_CALLS:,} calls, which is refused")

    def _restore_layers(self, module: Sequential, layers: list[Module]) -> None:
        """The layers as they were; those that the constructor made alike stay, for it may hold them elsewhere, too."""
        made = dict(enumerate(module.layers))
        for place, layer in enumerate(layers):
            if place not in made or not _alike(made[place], layer):
                continue
            layers[place] = made[place]
            self._modules = {k: made[place] if m is layer else m for k, m in self._modules.items()}
        module.layers = layers
        module._changed()

    def _config(self, config: dict[str, Any], family: str | None) -> Any:
        lacking = _lacking(config, self.custom)
        if lacking:
            raise Needed(f"the file needs {lacking[0]!r}, which is not Cenote's own: {_cure(lacking[0])}")
        if family is None:
            return resolve("object", config, {}, custom=self.custom)
        return FAMILIES[family][0].get(_marked(config), self.custom)

    def _function(self, written: dict[str, Any]) -> Callable:
        name = written["function"]
        if written.get("own") is True and name in self._functions:
            return self._functions[name]
        if name in self.custom:
            return self.custom[name]
        raise Needed(f"the file needs the function {name!r}, which is not Cenote's own: {_cure(name)}")

    def revive(self, kind: str, value: Any) -> Any:
        """What compile was told, from plain values."""
        if isinstance(value, list):
            return [self.revive(kind, v) for v in value]
        if not isinstance(value, dict):
            return value
        if "class" in value and kind in _OF_COMPILE:
            return FAMILIES[_OF_COMPILE[kind]][0].get(_marked(value), self.custom)
        if "function" in value and "own" in value:
            return self._function(value)
        return {k: self.revive(kind, v) for k, v in value.items()}

    def read_ops(self, ops: list[dict[str, Any]]) -> None:
        """Record the graph again, op by op: parents come first."""
        if len(ops) > MAX_OPS:
            raise BadFile(f"the file describes a graph of {len(ops):,} calls: {MAX_OPS:,} are allowed")
        for written in ops:
            if "input" in written:
                node = Input(batch_shape=_read_shape(written["shape"]), dtype=written["dtype"], name=written["input"])
                self._ops.append([node])
                continue
            before = self._called
            self._count(1)
            args, kwargs = self.read(written["args"]), self.read(written["kwargs"])
            target = self.read(written["target"])
            parents = [leaf for leaf in jax.tree.leaves((args, kwargs), is_leaf=_node) if isinstance(leaf, Node)]
            if not parents:
                raise BadFile("the file describes a call that depends on no input")
            result = parents[0].record(target, args, kwargs)
            nodes = [leaf for leaf in jax.tree.leaves(result, is_leaf=_node) if isinstance(leaf, Node)]
            self._ops.append(nodes)
            self._op_calls |= {node.op.number: self._called - before for node in nodes}


def _node(value: Any) -> bool:
    return isinstance(value, Node)


def _construct(cls: type[Module], name: str, arguments: dict[str, Any]) -> Module:
    """Call a constructor with arguments by name: nothing comes in by place that could have come under its name."""
    for path in getattr(cls, "reads_files", ()):
        if isinstance(arguments.get(path), str):  # ours are saved with what they read, not with where it was
            raise BadFile(f"the file would have {name} read {arguments[path]!r}; a model file names no other files")
    kind = inspect.Parameter
    known = list(parameters(cls).values())
    rest = next((i for i, p in enumerate(known) if p.kind is kind.VAR_POSITIONAL), None)
    starred = [k for k in arguments if k.startswith("*")]
    for key in starred:
        if rest is None or key != f"*{known[rest].name}" or hasattr(cls, "reads_files"):
            raise BadFile(f"the file gives {name} the argument {key!r}, which it does not take")
    values = list(arguments.pop(starred[0])) if starred else []
    before = known[:rest] if values else []
    placed = [arguments.pop(p.name) for p in known if p in before or (p.kind is kind.POSITIONAL_ONLY and p.name in arguments)]
    return cls(*placed, *values, **arguments)


def _alike(one: Module, other: Module) -> bool:
    """Whether two modules are of the same class, made with equal arguments."""
    a, b = _Writer(), _Writer()
    same = a.write(one, "") == b.write(other, "") and a.ops == b.ops and a.tensors.keys() == b.tensors.keys()
    return same and all(np.array_equal(v, b.tensors[k]) for k, v in a.tensors.items())


def _configurables_of_tasks() -> dict[str, type[Configurable]]:
    """Schedules and the like that only tasks use, by name."""
    from . import tasks

    tasks.classes()
    found, todo = {}, [Configurable]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            if cls.__module__.startswith("cenote.tasks."):
                found[cls.__name__] = cls
    return found


def own_classes(*, of_tasks: bool = False) -> dict[str, type[Module]]:
    """Cenote's own public module classes by name: all that a file may name without ``custom_objects``.

    ``of_tasks``: the networks that only tasks use, too.
    """
    from . import layers, networks  # noqa: F401

    for name in layers.__all__:
        getattr(layers, name)  # defining them is what puts them on the list
    if of_tasks:
        from . import tasks

        tasks.classes()

    found: dict[str, type[Module]] = {}
    todo: list[type[Module]] = [Module]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            if cls.__module__.split(".")[0] == "cenote" and not cls.__name__.startswith("_"):
                found[cls.__name__] = cls
    return found
