"""A network as a thing of its own: it prepares inputs, builds itself, keeps its weights, is looked at, and is saved."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .core import Module, children, current_call, declared, members
from .core.errors import unknown
from .core.notes import find_symbolic
from .core.tree import Places, spec_of
from .core.tree import build as build_tree
from .data.arrays import as_arrays
from .data.feed import prepared
from .layers.base import Layer


class Built(Layer):
    """The base of models: everything about a network that has nothing to do with training.

    >>> from cenote import Sequential, layers
    >>> model = Sequential([layers.Dense(2, input_shape=(3,))])
    >>> model.count_params(), list(model.params), [w.shape for w in model.get_weights()]
    (8, ['layers.0.kernel', 'layers.0.bias'], [(3, 2), (2,)])
    """

    info: dict[str, Any]  # whatever should travel with the model: class names, the kind of input
    _spec: Any  # what one call takes
    _places: Places | None
    _carriers: list[Any]
    _places_seen: int  # at which count of changes to modules the places were last looked at

    _bookkeeping = Layer._bookkeeping | {"info", "_spec", "_places", "_places_seen", "_carriers"}

    def __new__(cls, *args: Any, **kwargs: Any):
        self: Any = super().__new__(cls, *args, **kwargs)
        self.info, self._spec, self._places, self._places_seen, self._carriers = {}, None, None, -1, []
        return self

    # -- prepare -----------------------------------------------------------------------------------------------------------

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything."""
        return type(self).prepare is not Built.prepare

    def prepare(self, x: Any) -> Any:
        """What happens to inputs on the host, before the compiled model: its `HostLayer`s. Override it in a class of your own.

        >>> import numpy as np
        >>> from cenote import Sequential, layers
        >>> class Length(layers.HostLayer):
        ...     def prepare(self, x):
        ...         return np.array([[len(text)] for text in x], "float32")
        >>> Sequential([Length(), layers.Rescaling(0.5)]).build(["a"]).predict(["abc", "ab"]).tolist()
        [[1.5], [1.0]]
        """
        return x

    def _ready(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Data as the compiled model takes them."""
        return prepared(self.prepare, x, y) if self.prepares else (x, y)

    # -- build -------------------------------------------------------------------------------------------------------------

    def build(self, *specs: Any, key: Any = None) -> Any:
        """Draw weights for inputs like ``specs`` (arrays, ShapeDtypeStructs, or a shape as in Keras with None for the batch).

        Weights that layers already have are kept, unless a ``key`` (a seed or a JAX key) is given.
        """
        specs = specs or self._input_specs()
        if not specs:
            raise ValueError(
                "the size of the input is not known: build(x) with an example input, or give the first layer input_shape="
            )
        specs = tuple(as_arrays(self._ready(s)[0], "x") if _said(s) is None else _said(s) for s in specs)
        specs = self._spread(specs[0]) if len(specs) == 1 else specs
        build_tree(self, *specs, key=key, seed=self._seed)
        self._spec = spec_of(specs)
        self._forget()
        return self

    def _input_specs(self) -> tuple:
        return ()

    def _spread(self, x: Any) -> tuple:
        """The arguments of a call for the inputs of a batch: one each, where ``forward(self, a, b)`` takes several."""
        names = _inputs_of(type(self))
        if len(names) > 1 and isinstance(x, (tuple, list)) and len(x) == len(names):
            return tuple(x)
        if len(names) > 1 and isinstance(x, dict) and set(x) == set(names):
            return tuple(x[name] for name in names)
        return (x,)

    @property
    def _seed(self) -> int:
        return 0

    def _forget(self) -> None:
        """Drop what was found out about the network: it has changed."""
        self._places = None

    def _replaced(self) -> None:
        """A part was put in place of another."""
        self._forget()

    def _cloned(self) -> None:
        super()._cloned()
        self._forget()

    def arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(params, state)``: the model's weights and layer state, flat dicts by dotted path."""
        if self._spec is None and self._input_specs():
            self.build()
        if self._places is None or self._places_seen != Module._changes:
            self._look_again()
        assert self._places is not None
        return self._places.read()

    def _look_again(self, *specs: Any) -> None:
        """Find where the weights lie. A part that was put in place of another gets weights, and compiled programs go."""
        old, self._places = self._places, Places(self)
        if old is not None and not self._places.same_members(old):
            self._replaced()
            if self._spec is not None:
                self._spec = specs or self._spec
                build_tree(self, *self._spec, seed=self._seed)
            self._places = Places(self)
        # Layers that carry what they remember from one batch to the next.
        layers = [layer for path, layer in members(self).items() if path]
        self._carriers = [m for m in layers if hasattr(m, "reset_state") and getattr(m, "stateful", False)]
        self._places_seen = Module._changes

    def _put(self, arrays: dict[str, Any]) -> None:
        self.arrays()
        assert self._places is not None
        self._places.write(arrays)

    @property
    def params(self) -> dict[str, Any]:
        return self.arrays()[0]

    @property
    def state_arrays(self) -> dict[str, Any]:
        return self.arrays()[1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "training" in kwargs and "training" not in inspect.signature(self.forward).parameters:
            kwargs["train"] = kwargs.pop("training")  # Keras's word
        if current_call() is None and find_symbolic((args, kwargs)) is None:
            if self.prepares:
                args = tuple(map(self.prepare, args))
            if self._places_seen != Module._changes:
                self.arrays()  # builds what can be built
        return super().__call__(*args, **kwargs)

    @property
    def output_names(self) -> list[str] | None:
        return None

    @property
    def _input_count(self) -> int:
        return max(1, len(_inputs_of(type(self))))

    @property
    def _output_count(self) -> int:
        return len(self.output_names or [""])

    # -- looking and keeping -----------------------------------------------------------------------------------------------

    def summary(self, x: Any = None, *, show: bool = True) -> Any:
        """Layers, paths, output shapes, parameters, operations and memory; prints the table and returns it."""
        from .summary import summarize

        if x is not None:
            specs: Any = (as_arrays(self._ready(x)[0], "x", parts=self._input_count),)
        else:
            specs = self._spec or self._input_specs()
        if not specs:
            raise ValueError("the size of the input is not known yet: summary(x) with an example input, or build or fit first")
        table = summarize(self, *specs)
        if show:
            print(table)
        return table

    def save(self, path: str | os.PathLike) -> None:
        """Write the model into one file: constructor arguments, input spec, tensors, what compile was told; no code.

        The optimizer's memory (momenta and the like) is not in it: ``fit(checkpoint=folder)`` keeps that.
        """
        from .saving import save

        save(self, path)

    def get_weights(self) -> list[np.ndarray]:
        """Every weight and state variable as numpy arrays, in Keras's order."""
        params, state = self.arrays()
        both = {**params, **state}
        return [np.array(both[path]) for path in self._in_order()]

    def _in_order(self) -> list[str]:
        """The paths of all weights as Keras lists them: layer by layer, in each first what is trained, then the state."""
        layers: dict[str, list[str]] = {}
        for kind in ("param", "state"):
            for path, weight in declared(self).items():
                layers.setdefault(path.rpartition(".")[0], [])
                if weight.kind == kind:
                    layers[path.rpartition(".")[0]].append(path)
        return [path for paths in layers.values() for path in paths]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Put a list like that of ``get_weights`` back, or a dict by path (which may hold only some of the paths)."""
        self.arrays()
        known = declared(self)
        if not isinstance(weights, dict):
            weights = list(weights)
            if len(weights) != len(known):
                raise ValueError(f"the model has {len(known)} weights, but {len(weights)} were given")
            weights = dict(zip(self._in_order(), weights, strict=True))
        for path, value in weights.items():
            if path not in known:
                raise unknown("weight", path, known)
            if np.shape(value) != known[path].shape:
                raise ValueError(f"weight {path!r} has shape {known[path].shape}, but {np.shape(value)} was given")
        # Copies: the caller may change his. Made on the host, where nothing is compiled for each shape.
        self._put({k: jax.device_put(np.array(v, known[k].dtype)) for k, v in weights.items()})

    def freeze(self, *patterns: str) -> list[str]:
        """Keep training away from layers whose dotted paths match (``"layers.0"``, ``"encoder.*"``), and from what is in them.

        Raises: ValueError for a pattern that no layer matches. Returns the paths that matched.

        >>> from cenote import Sequential, layers
        >>> model = Sequential([layers.Dense(4), layers.Dense(2)])
        >>> model.freeze("layers.0"), model.layers[0].trainable
        (['layers.0'], False)
        """
        return self._set_trainable(patterns, False)

    def unfreeze(self, *patterns: str) -> list[str]:
        """Let training change layers again whose dotted paths match."""
        return self._set_trainable(patterns, True)

    def _set_trainable(self, patterns: Iterable[str], trainable: bool) -> list[str]:
        layers = members(self)
        chosen = [path for path in layers if path and any(fnmatchcase(path, p) for p in patterns)]
        for pattern in patterns:
            if not any(fnmatchcase(path, pattern) for path in layers if path):
                raise unknown("layer", pattern, [path for path in layers if path])
        for path in chosen:
            layers[path].trainable = trainable
        return chosen

    def transfer_weights(self, source: Any, *patterns: str) -> list[str]:
        """Take over the weights of another model (or a ``.cenote`` file, or a dict) that have the same path and shape.

        ``patterns`` say which paths are wanted (all). Returns the paths; raises ValueError if none fits.

        >>> from cenote import Sequential, layers
        >>> small = Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(2)])
        >>> large = Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(7)])
        >>> large.transfer_weights(small)
        ['layers.0.kernel', 'layers.0.bias']
        """
        if isinstance(source, (str, os.PathLike)):
            from .saving import weights_in

            source = weights_in(source)
        elif isinstance(source, Built):
            params, state = source.arrays()
            source = {**params, **state}
        self.arrays()
        known = declared(self)
        wanted = [path for path in known if not patterns or any(fnmatchcase(path, p) for p in patterns)]
        taken = [path for path in wanted if path in source and np.shape(source[path]) == known[path].shape]
        if not taken:
            raise ValueError(
                f"no weight could be taken over: the model has {', '.join(wanted[:4]) or 'none that match'}, the source has "
                f"{', '.join(f'{k} {np.shape(v)}' for k, v in list(source.items())[:4])}; paths and shapes must be the same"
            )
        self._put({path: jax.device_put(np.array(source[path], known[path].dtype)) for path in taken})
        return taken

    def reset_states(self) -> None:
        """Let stateful layers start from zeros again, as between two texts."""
        self.arrays()
        for layer in self._carriers:
            layer.reset_state()

    def count_params(self) -> int:
        """The number of trained and untrained weights, and of state variables' values, as Keras counts."""
        self.arrays()
        return sum(int(np.prod(w.shape)) for w in declared(self).values())

    def get_layer(self, name: str | int) -> Module:
        """A layer by its dotted path, its name, or its number."""
        layers = dict(list(members(self).items())[1:])
        if isinstance(name, int):
            return [m for _, m in children(self)][name]
        for path, layer in layers.items():
            if name in (path, path.rpartition(".")[2], layer.name):
                return layer
        raise unknown("layer", name, layers)


@functools.cache
def _inputs_of(cls: type) -> tuple[str, ...]:
    """The names of what ``forward`` must be given."""
    taken = list(inspect.signature(cls.forward).parameters.values())[1:]  # type: ignore[attr-defined]
    return tuple(p.name for p in taken if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def _said(spec: Any) -> Any:
    """A spec as it stands, or as Keras says it, ``build((None, 784))``; None for an example."""
    if isinstance(spec, (tuple, list)) and spec and all(s is None or isinstance(s, int) for s in spec):
        return jax.ShapeDtypeStruct(tuple(s or 1 for s in spec), jnp.float32)
    return spec if _is_spec(spec) else None


def _is_spec(spec: Any) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(spec))
