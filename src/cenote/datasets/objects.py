"""Read the few pickled shapes that public data sets come in, without the power to run anything.

Keras's `imdb.npz` and `reuters.npz` hold object arrays, and the CIFAR batches of the Python edition are dictionaries;
both are pickles, programs for a small stack machine that may call any function there is. This module runs that machine
on its own terms: it knows the instructions that make numbers, strings, lists, tuples and dictionaries; a global is
never imported, only compared with a few names; and the only "calls" are three fixed forms, which make a numpy array out
of bytes or a list. Anything else ends in `BadFile`.

Source: the comments of CPython's Lib/pickletools.py describe every instruction.
"""

from __future__ import annotations

import math
import os
import re
from array import array
from typing import Any

import numpy as np


class BadFile(ValueError):
    """A data file is damaged, or holds something that Cenote will not read."""


class _Array:
    """The array under construction: numpy makes it empty first and fills it by a second instruction."""

    content: Any = None


class _Dtype:
    """A type code such as `u1` or `O8`; its byte order is told by a second instruction, too."""

    def __init__(self, code: str):
        self.code = code


class _Global(str):
    """The name of a function that the file asks for; never looked up."""


_MARK = object()
# A byte can ask for a list of sixty bytes: this bounds the memory. IMDB, the largest, takes some 300,000.
MOST_STEPS = 1 << 22
_GLOBALS = {
    ("numpy", "ndarray"): _Global("ndarray"),
    ("numpy", "dtype"): _Global("dtype"),
    ("numpy.core.multiarray", "_reconstruct"): _Global("array"),
    ("numpy._core.multiarray", "_reconstruct"): _Global("array"),
    ("_codecs", "encode"): _Global("encode"),  # how Python 3 writes bytes for Python 2
}
_INT1, _INT2, _INT4, _APPENDS = b"KMJe"


def rebuild(data: bytes, path: str | os.PathLike = "data") -> Any:
    """The value that the pickle in `data` describes; lists of integers come back as lists of `array("q")` runs.

    Raises:
        BadFile: the file wants more than numbers, strings, lists, dictionaries and plain arrays, or it is damaged.
    """
    try:
        return _Machine(data).run()
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from None
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BadFile(f"{path}: damaged object array ({type(error).__name__}: {error})") from None


def sequences(value: Any, limit: int, path: str | os.PathLike = "data") -> list[np.ndarray]:
    """A rebuilt array of integer lists as one int64 array per list, `limit` integers in all at most."""
    rows = value.content if isinstance(value, _Array) else None
    if not isinstance(rows, list):
        raise BadFile(f"{path}: expected an array of integer lists, found {type(value).__name__.strip('_').lower()}")
    found, total = [], 0
    for row in rows:
        found.append(integers(row, path))
        total += len(found[-1])
        if total > limit:  # every integer takes a byte or more, unless one list is referred to again and again
            raise BadFile(f"{path}: refers to the same list over and over ({total:,} numbers from {limit:,} bytes)")
    return found


def integers(row: Any, path: str | os.PathLike = "data") -> np.ndarray:
    """A rebuilt list of integers as an int64 array."""
    if not isinstance(row, list):
        raise BadFile(f"{path}: expected a list of integers, found {type(row).__name__.strip('_').lower()}")
    flat = array("q")
    for item in row:
        if isinstance(item, array):
            flat.extend(item)
        elif type(item) is int and -(2**63) <= item < 2**63:
            flat.append(item)
        else:
            raise BadFile(f"{path}: expected a list of integers, found {type(item).__name__.strip('_').lower()} in it")
    return np.frombuffer(flat, np.int64).copy() if flat else np.empty(0, np.int64)


class _Machine:
    """The stack machine: `run` reads one instruction after the other until the stop sign."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.left = MOST_STEPS

    def run(self) -> Any:
        while True:
            code = self.data[self.at]
            if code in (_INT1, _INT2, _INT4):
                self.numbers()
                continue
            self.at += 1
            self.spend(1)
            if code == ord("."):
                (value,) = self.stack
                return value
            try:
                step = _STEPS[code]
            except KeyError:
                raise BadFile(f"byte {self.at - 1} asks for instruction {code:#04x}, which no data set needs") from None
            step(self)

    def numbers(self) -> None:
        """A run of small integers, which is what these files are made of: this loop reads millions of them."""
        data, at, run = self.data, self.at, array("q")
        push = run.append
        while True:
            code = data[at]
            if code == _INT1:
                push(data[at + 1])
                at += 2
            elif code == _INT2:
                push(data[at + 1] | data[at + 2] << 8)
                at += 3
            elif code == _INT4:
                push(int.from_bytes(data[at + 1 : at + 5], "little", signed=True))
                at += 5
            else:
                break
        self.at = at
        # A run that ends a list stays packed; numbers meant for tuples go on the stack one by one.
        if code == _APPENDS and self.stack and self.stack[-1] is _MARK:
            self.stack.append(run)
        else:
            self.spend(len(run))
            self.stack.extend(run)

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise BadFile(f"it takes more than {MOST_STEPS:,} instructions, besides the numbers in lists")

    # Reading

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise BadFile("the object array ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        end = self.data.index(b"\n", self.at)
        text = self.take(end - self.at).decode("ascii")
        self.at += 1
        return text

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, kind: type = object) -> Any:
        value = self.stack.pop()
        if not isinstance(value, kind) or value is _MARK:
            raise BadFile(f"byte {self.at - 1} expects {kind.__name__.strip('_').lower()} and finds something else")
        return value

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise BadFile("a list ends that never began")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def top(self, kind: type) -> Any:
        self.stack.append(self.pop(kind))
        return self.stack[-1]

    # What is more than one line

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes):
                raise BadFile("a dictionary has a key that is not a string")
            target[key if isinstance(key, str) else key.decode("ascii")] = value

    def name(self, module: str, name: str) -> None:
        if (module, name) not in _GLOBALS:
            raise BadFile(f"it asks for {module}.{name}, which Cenote refuses to touch; the file may be hostile")
        self.push(_GLOBALS[module, name])

    def stack_name(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(module, name)

    def call(self) -> None:
        """The three admitted calls: an empty array, a type code, a string turned into bytes."""
        match self.pop(tuple), self.pop(_Global):
            case ("ndarray", (0,), _), "array":
                self.push(_Array())
            case (str() | bytes() as code, *_), "dtype":
                self.push(_Dtype(code if isinstance(code, str) else code.decode("ascii")))
            case (str() as text, "latin1"), "encode":
                self.push(text.encode("latin1"))
            case _, name:
                raise BadFile(f"it calls {name} in an unknown way")

    def build(self) -> None:
        """Fill the array below the state, or tell a type its byte order."""
        state, target = self.pop(tuple), self.pop()
        if isinstance(target, _Dtype):
            order = state[1] if isinstance(state[1], str) else state[1].decode("ascii")
            target.code = order + target.code.lstrip("|<>=")
            self.push(target)
            return
        _, shape, dtype, fortran, content = state
        if not isinstance(target, _Array) or target.content is not None or not isinstance(dtype, _Dtype):
            raise BadFile("it builds something other than an array")
        count = math.prod(size if type(size) is int and size >= 0 else -1 for size in shape)
        if re.fullmatch(r"[|<>=]?O[48]?", dtype.code) and isinstance(content, list) and len(shape) == 1:
            target.content = content
            if sum(len(item) if isinstance(item, array) else 1 for item in content) != count:
                raise BadFile("it builds an array whose length is not that of its list")
        elif re.fullmatch(r"[|<>=]?[uif][1248]", dtype.code) and isinstance(content, bytes):
            values = np.frombuffer(content, np.dtype(dtype.code))
            target.content = values.reshape(shape, order="F" if fortran else "C")
        else:
            raise BadFile(f"it builds an array of type {dtype.code}")
        self.push(target)


_STEPS = {
    ord("("): lambda m: m.push(_MARK),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    ord("}"): lambda m: m.push({}),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    0x8A: lambda m: m.push(int.from_bytes(m.take(m.number(1)), "little", signed=True)),
    ord("U"): lambda m: m.push(m.take(m.number(1))),
    ord("T"): lambda m: m.push(m.take(m.number(4))),
    ord("C"): lambda m: m.push(m.take(m.number(1))),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    ord("X"): lambda m: m.push(m.take(m.number(4)).decode("utf-8")),
    0x8C: lambda m: m.push(m.take(m.number(1)).decode("utf-8")),
    ord("q"): lambda m: m.memo.update({m.number(1): m.stack[-1]}),
    ord("r"): lambda m: m.memo.update({m.number(4): m.stack[-1]}),
    0x94: lambda m: m.memo.update({len(m.memo): m.stack[-1]}),
    ord("h"): lambda m: m.push(m.memo[m.number(1)]),
    ord("j"): lambda m: m.push(m.memo[m.number(4)]),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _Machine.stack_name,
    ord("a"): lambda m: (item := m.pop(), m.top(list).append(item)),
    ord("e"): lambda m: (items := m.since_mark(), m.top(list).extend(items)),
    ord("s"): lambda m: (value := m.pop(), key := m.pop(), m.set_items([key, value])),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.push((m.pop(),)),
    0x86: lambda m: m.push((m.pop(), m.pop())[::-1]),
    0x87: lambda m: m.push((m.pop(), m.pop(), m.pop())[::-1]),
    ord("R"): _Machine.call,
    ord("b"): _Machine.build,
    0x80: lambda m: m.take(1),
    0x95: lambda m: m.take(8),
}
