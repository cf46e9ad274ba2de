"""What a program is traced for: layers choose formulations by it, where nobody asks for a derivative or walks through steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_answering: ContextVar[str] = ContextVar("cenote_answering", default="")


@contextmanager
def answering(serving: bool = False) -> Iterator[None]:
    """What is traced inside this block is asked for its values alone, and may be one operation where it says several.

    With ``serving`` it will be asked often, so that seconds spent once on building a faster kernel are worth it.
    """
    token = _answering.set("serving" if serving else "answering")
    try:
        yield
    finally:
        _answering.reset(token)


def asked_for_answers(serving: bool = False) -> bool:
    """Whether this is traced inside `answering`, or with ``serving`` inside one that says so.

    >>> asked_for_answers()
    False
    """
    return _answering.get() == "serving" if serving else bool(_answering.get())
