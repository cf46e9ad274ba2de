"""Worker processes that stay alive and are asked in turn: what `run.py`, `reading.py` and `explain.py` share.

A worker answers each line of JSON on its stdin with a line of JSON on its stdout. Whatever a framework prints of its own goes
to stderr, which is kept: its last line tells why a worker ended.
"""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

# -- inside a worker -------------------------------------------------------------------------------------------------------


def channel() -> TextIO:
    """The stdout of this process for answers only: what others print from now on goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return answers


def serve(answer: Callable[[Any], Any], hello: Any = None, answers: TextIO | None = None) -> None:
    """Say hello, then answer each line on stdin until it is closed."""
    out = answers or channel()

    def say(what: Any) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    say(hello)
    for line in sys.stdin:
        say(answer(json.loads(line)))


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def memory(what: str) -> float:
    """MiB of this process: "VmRSS" now, "VmHWM" at most so far; NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), float("nan"))


# -- outside ---------------------------------------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """A worker ended, with the last line that it wrote to stderr."""


class Worker:
    """A process that runs a script with ``--worker`` and its arguments; ``hello`` is what it said first.

    Raises: WorkerError when the process ends where an answer was expected.
    """

    def __init__(self, name: str, script: str, arguments: Iterable[str], python: str = "", env: Mapping[str, str] = {}) -> None:
        self.name = name
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - no pipe: progress bars could fill it
        self.process = subprocess.Popen(
            [python or sys.executable, script, "--worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            errors="replace",
            env={**os.environ, **env},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout

    def hear(self) -> Any:
        while line := self.output.readline():
            with contextlib.suppress(ValueError):  # what a framework prints of its own
                return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        raise WorkerError(said[-1] if said else "it ended without an answer")

    def ask(self, what: Any) -> Any:
        with contextlib.suppress(BrokenPipeError):  # it has ended: hearing it tells why
            self.input.write(json.dumps(what) + "\n")
            self.input.flush()
        return self.hear()

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.input.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()
        self.errors.close()


def in_turn(things: Iterable[Any], rounds: int) -> Iterator[Any]:
    """All things once a round, in reversed order every other round, so that a machine that slows down slows all of them.

    >>> "".join(in_turn("abc", 3))
    'abccbaabc'
    """
    things = list(things)
    for number in range(rounds):
        yield from things if number % 2 == 0 else things[::-1]


def spread(values: list[float]) -> float:
    """How far the largest is from the smallest, as a part of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def pythons(pairs: Iterable[str]) -> dict[str, str]:
    """``["torch=/path/to/python"]`` as a dict.

    Raises: ValueError where there is no "=".
    """
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"--python takes NAME=PATH, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def machine() -> str:
    """Processor, cores, Python, in a few words."""
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="ignore").splitlines():
            if line.startswith("model name"):
                return f"{platform.machine()} ({line.split(':', 1)[1].strip()})"
    return platform.machine()
