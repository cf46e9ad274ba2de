"""Objects that remember the arguments they were built with, and the tables that find them by name.

A `Configurable` can be written down as a dict of plain values (`config`) and built again from it (`resolve`), which is
how losses, optimizers, initializers and the like travel in a saved model: names and numbers, never code.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from .errors import unknown


class Configurable:
    """Base of objects whose constructor arguments are kept, so that `config` can write them down.

    Raises: TypeError at construction, listing the arguments there are, for one that there is not.

    >>> class Shift(Configurable):
    ...     def __init__(self, by=1.0, *, name=None):
    ...         self.by = by
    >>> Shift(2)
    Shift(by=2)
    >>> Shift(2).config()
    {'class': 'Shift', 'by': 2, 'name': None}
    """

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        object.__setattr__(self, "_arguments", _bind(cls, args, kwargs))
        return self

    def config(self) -> dict[str, Any]:
        """The class name and the constructor arguments as plain values, ready for JSON; ``own: False`` for a user's class."""
        name, own = type(self).__name__, {} if is_own(type(self)) else {"own": False}
        return {"class": name, **own, **{k: plain(v, f"{name}.{k}") for k, v in self._given()}}

    def _given(self) -> list[tuple[str, Any]]:
        return list(self._arguments.items())

    def __repr__(self) -> str:
        defaults = {k: p.default for k, p in parameters(type(self)).items()}
        shown = [
            f"{k}={getattr(v, '__name__', v)!s}" if callable(v) else f"{k}={v!r}"
            for k, v in self._given()
            if not _same(v, defaults.get(k, inspect.Parameter.empty))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, (str, int, float, bool, tuple)) and a == b)


def parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """What the constructor takes, without self."""
    return _constructor(cls).parameters


@functools.cache
def _constructor(cls: type) -> inspect.Signature:
    """The signature of a class; read once, since layers look their initializers up at each call."""
    if cls.__init__ is object.__init__:
        return inspect.Signature()
    return inspect.Signature(list(inspect.signature(cls.__init__).parameters.values())[1:])


def _bind(cls: type, args: tuple, kwargs: dict) -> dict[str, Any]:
    """Constructor arguments by name, defaults filled in, `**options` laid flat."""
    known = parameters(cls)
    try:
        bound = _constructor(cls).bind(*args, **kwargs)
    except TypeError as error:
        if set(kwargs) - set(known) or len(args) > len(known):
            raise TypeError(f"{cls.__name__}: {error}. It takes: {', '.join(known) or 'no arguments'}") from None
        # Something required is missing: the constructor says so itself, and copy.copy may come this way rightly.
        return {}
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        flat = known[name].kind is inspect.Parameter.VAR_KEYWORD
        found.update(value if flat else {name: value})
    return found


def plain(value: Any, where: str = "value") -> Any:
    """A value as JSON can hold it: numbers, text, lists, dicts; objects by their `config`, functions by `named_function`.

    Raises: TypeError for anything else, saying where it sits.

    >>> plain({"rate": np.float32(0.5), "axes": (0, 1), "f": len})
    {'rate': 0.5, 'axes': [0, 1], 'f': {'function': 'len', 'own': False}}
    """
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return np.asarray(value).tolist()
    if isinstance(value, type) and issubclass(value, Configurable):  # stands for an object with the defaults
        return {"class": value.__name__} | ({} if is_own(value) else {"own": False})
    function = named_function(value)
    if function is not None:
        return function
    kind = type(value).__name__ + (" without a name" if callable(value) else "")
    raise TypeError(
        f"{where} is a {kind}, which cannot be written down as plain values: give a number, a text, "
        "a list, a named function, or an object of a class derived from cenote.core.configurable.Configurable"
    )


def named_function(function: Any) -> dict[str, Any] | None:
    """A function by its name, and whether it is Cenote's own: a user's ``gelu`` is not ours. None if it has no name.

    >>> named_function(tidy), named_function(lambda x: x)
    ({'function': 'tidy', 'own': True}, None)
    """
    name = getattr(function, "__name__", "")
    if not callable(function) or not isinstance(name, str) or not name.isidentifier():
        return None
    return {"function": name, "own": is_own(function)}


def is_own(thing: Any) -> bool:
    """Whether a class or function is Cenote's own: defined in it, or what an operator of graph nodes records."""
    from .graph import operators

    return (getattr(thing, "__module__", "") or "").split(".")[0] == "cenote" or any(thing is f for f in operators().values())


@functools.lru_cache(4096)
def tidy(name: str) -> str:
    """The spelling under which names are compared: `GlorotUniform`, `glorot_uniform` and `glorotuniform` are one.

    >>> tidy("GlorotUniform") == tidy("glorot_uniform")
    True
    """
    return name.replace("_", "").replace("-", "").lower()


def snake(name: str) -> str:
    """A class name in snake case, as Keras writes it.

    >>> snake("MeanSquaredError"), snake("TopKCategoricalAccuracy"), snake("AUC"), snake("L1L2"), snake("AdamW")
    ('mean_squared_error', 'top_k_categorical_accuracy', 'auc', 'l1l2', 'adamw')
    """
    name = name.replace("RMSprop", "Rmsprop")  # the one name whose capitals do not say where the words begin
    words: list[str] = []
    for i, letter in enumerate(name):
        follows_lower = i > 0 and letter.isupper() and name[i - 1].islower() and i + 1 < len(name)
        starts_word = 0 < i < len(name) - 1 and letter.isupper() and name[i - 1].isupper() and name[i + 1].islower()
        words.append(("_" if follows_lower or starts_word else "") + letter.lower())
    return "".join(words)


def resolve(
    kind: str,
    identifier: Any,
    table: Mapping[str, Any],
    *,
    custom: Mapping[str, Any] | None = None,
    within: Sequence[Mapping[str, Any]] = (),
) -> Any:
    """What a name, a config dict, a class, a function or an instance stands for in one family.

    Args: `kind` is the word for error messages; `table` maps names to classes (called without arguments) or functions
    (returned as they are); `custom` holds the user's own by name; `within` are tables of what may stand inside arguments.
    Raises: ValueError for an unknown name, with the near ones; TypeError for what is none of these.

    >>> class Shift(Configurable):
    ...     def __init__(self, by=1.0):
    ...         self.by = by
    >>> resolve("shift", "shift", {"shift": Shift}), resolve("shift", {"class": "Shift", "by": 3}, {"shift": Shift})
    (Shift(), Shift(by=3))
    """
    if isinstance(identifier, Mapping) and "class_name" in identifier:  # as Keras writes it
        identifier = {"class": identifier["class_name"], **identifier.get("config", {})}
    found = _found(kind, identifier, (table,), custom, within)
    if isinstance(found, type):
        return found()
    if callable(found) or isinstance(found, Configurable):
        return found
    a, some = ("an" if kind[0] in "aeiou" else "a"), ", ".join(sorted(table)[:4])
    raise TypeError(
        f"cannot take {found!r} as {a} {kind}: give a name ({some}, ...), a function, an object of a class, "
        "or a dict with 'class' as its `config()` writes it"
    )


def _found(kind: str, value: Any, tables: Sequence[Mapping], custom: Mapping | None, within: Sequence[Mapping]) -> Any:
    if isinstance(value, str):
        return _look_up(kind, value, tables, custom, lambda found: True)
    if isinstance(value, Mapping) and "class" in value:
        own = value.get("own")
        cls = _look_up(kind, value["class"], tables, custom, lambda found: isinstance(found, type), own)
        # A text inside arguments is a text; only dicts stand for objects there.
        nested = {k: v for k, v in value.items() if isinstance(v, Mapping) and ("class" in v or "function" in v)}
        objects = {k: _found(kind, v, (*tables, *within), custom, within) for k, v in nested.items()}
        return cls(**{str(k): v for k, v in {**value, **objects}.items() if k not in ("class", "own")})
    if isinstance(value, Mapping) and "function" in value:
        return _look_up(kind, value["function"], tables, custom, lambda found: not isinstance(found, type), value.get("own"))
    return value


def _look_up(
    kind: str, name: Any, tables: Sequence[Mapping], custom: Mapping | None, fits: Callable, own: bool | None = None
) -> Any:
    """``own`` says whose it was when it was written down: ours are not taken for the user's, nor the user's for ours."""
    if custom and name in custom and not own:
        return custom[name]
    for table in tables if own in (None, True) else ():
        for known, found in table.items():
            if tidy(known) == tidy(str(name)) and fits(found):
                return found
    if custom and name in custom:
        return custom[name]
    raise unknown(kind, name, [*tables[0], *(custom or ())])


def family(*members: Any, **aliases: Any) -> dict[str, Callable]:
    """The table of a family: each member under its snake-case name, then the other names people know.

    >>> class MaxNorm(Configurable): pass
    >>> sorted(family(MaxNorm, maximum=MaxNorm))
    ['max_norm', 'maximum']
    """
    return {**{snake(m.__name__): m for m in members}, **aliases}
