"""What a program is traced for: layers choose formulations by it, where nobody asks for a derivative or walks through steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_answering: ContextVar[bool] = ContextVar("cenote_answering", default=False)


@contextmanager
def answering() -> Iterator[None]:
    """What is traced inside this block is asked for its values alone, and may be one operation where it says several."""
    token = _answering.set(True)
    try:
        yield
    finally:
        _answering.reset(token)


def asked_for_answers() -> bool:
    """Whether this is traced inside `answering`.

    >>> asked_for_answers()
    False
    """
    return _answering.get()
