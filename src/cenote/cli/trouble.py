"""What the command says when something is wrong: one message, no traceback, and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

DONE, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130


class Trouble(Exception):
    """Something that the user can mend; the message says how."""

    code = ERROR


class UsageTrouble(Trouble):
    """The command line itself is wrong."""

    code = USAGE


def near(name: str, known: Iterable[str]) -> str:
    """``did you mean 'mnist'?``, or nothing.

    >>> near("mnsit", ["mnist", "digits"])
    "did you mean 'mnist'?"
    """
    found = difflib.get_close_matches(name.lower(), list(known), 3, 0.5)
    return f"did you mean {' or '.join(repr(n) for n in found)}?" if found else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that nobody knows.

    >>> unknown("data set", "mnsit", ["digits", "mnist"])
    "unknown data set 'mnsit': did you mean 'mnist'? There are: digits, mnist"
    """
    known = list(known)
    hint = near(name, known)
    return f"unknown {kind} {name!r}{': ' + hint if hint else '.'} There are: {', '.join(known)}"
