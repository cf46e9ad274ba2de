"""What a run shows while it goes on: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from ...core.errors import unknown
from ..history import number
from .base import Callback, Logs

MOST_LINES = 25  # that "auto" leaves of a run of many epochs
REFRESH = 0.1  # seconds

Line = list[tuple[str, str]]  # pieces of text, each with a style


class Progress(Callback):
    """Show how training goes on.

    Args:
        verbose: 0 shows nothing. 1 shows a moving bar on a terminal, with the rate and the time left, and leaves one line
            for each epoch. 2 prints plain lines in Keras's manner. "auto" is as 1, but leaves at most about 25 lines of a
            run of many epochs, evenly and always the first and the last. Where the output is no terminal, 1 and "auto"
            print plain lines.
        file: where to; the standard output by default.

    The training numbers are averages over the epoch so far, of weights that move, with dropout on; those with ``val_`` are of
    the weights at the epoch's end. The rate leaves the first chunk of the run out, which is mostly compilation; the seconds
    of a finished epoch hold everything, validation too.
    """

    watches_model = False
    decides = False
    only_one = True  # fit brings one of its own

    def __init__(self, verbose: str | int | bool = "auto", *, file: TextIO | None = None) -> None:
        if verbose not in ("auto", 0, 1, 2):
            raise unknown("verbose", str(verbose), ("auto", "0", "1", "2"))
        self.verbose = verbose if isinstance(verbose, str) else int(verbose)
        self._file = file
        self._screen: Any = None
        self._began = self._run_began = time.perf_counter()
        self._reset()

    def _reset(self) -> None:
        self._left: set[int] | None = None  # the epochs that leave a line; None: all
        self._last_line: tuple[int, Line] | None = None  # of an epoch that left none
        self._warm = self._settled = False  # has a chunk, an epoch of this run ended?
        self._logs: Logs = {}
        self._shown = [0.0, 0.0]  # when a line, and when one with a note, was shown

    # -- training ----------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()
        self._run_began = time.perf_counter()
        first, epochs = self.run.epoch, self.run.epochs
        if self.verbose == "auto" and epochs - first > MOST_LINES + 5:
            gap = (epochs - 1 - first) / (MOST_LINES - 1)
            self._left = {round(first + i * gap) for i in range(MOST_LINES)}
        self._open()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._done = getattr(self.run, "position", 0)
        self._start(self.run.examples)
        if self.verbose == 2:
            self._print(f"Epoch {epoch + 1}/{self.run.epochs}")
        self._refresh("" if self._warm else "compiling")

    def on_chunk_end(self, step: int, logs: Logs | None = None) -> None:
        self._done, self._logs, self._timed = step, logs or {}, True
        now = (time.perf_counter(), self.run.examples)
        if not self._warm:
            self._warm, self._mark, self._heard = True, now, now
        elif self._settled or step != self.run.steps:  # the run's first short batch is compiled, too
            self._heard = now
        self._refresh()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._logs = logs or {}
        if self.verbose == 2:
            self._print(self._keras_line(self.run.steps or self._done))
            return
        line = self._finished(self._epoch_label(), self._rate()) if self._timed else self._untimed()
        self._settled = True
        if self._left is None or epoch in self._left:
            self._leave(line)
            self._last_line = None
        else:
            self._last_line = (epoch, line)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._last_line is not None:
            self._leave(self._last_line[1])
        reason = self.run.stop_reason
        if getattr(self.run, "interrupted", False):
            reason = reason or "interrupted; the model keeps what it has learned"
        if reason:
            done = len(self.run.history.epoch) if getattr(self.run, "history", None) is not None else self.run.epoch
            self._leave([(f"Stopped after {done} of {self.run.epochs} epochs: {reason}", "bold")])
        elif self._left is not None:
            self._leave([(f"{self.run.epochs} epochs in {duration(time.perf_counter() - self._run_began)}", "bold")])
        self.close()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if self.run is not None:
            self._refresh("validating")

    def evaluated(self, logs: Logs, examples: int | None) -> None:
        """A line for an evaluation outside of training, which began when this object was made."""
        seconds = time.perf_counter() - self._began
        self._logs = logs
        if self.verbose == 2:
            counted = [] if examples is None else [f"{examples}/{examples}"]
            self._print(" - ".join([*counted, f"{seconds:.0f}s", *self._keras_quantities()]))
            return
        self._open()
        self._leave(self._finished("Evaluate", None if examples is None else examples / max(seconds, 1e-9)))
        self.close()

    # -- what a line says --------------------------------------------------------------------------------------------------

    def _start(self, examples: int) -> None:
        self._began = time.perf_counter()
        self._mark = self._heard = (self._began, examples)
        self._logs, self._timed = {}, False  # several epochs that are run in one program have no time of their own

    def _epoch_label(self) -> str:
        width = len(str(self.run.epochs))
        return f"Epoch {self.run.epoch + 1:{width}}/{self.run.epochs}"

    def _rate(self) -> float | None:
        """Examples a second, from the epoch's beginning, or the end of the run's first chunk, to the last chunk."""
        seconds, examples = (now - then for now, then in zip(self._heard, self._mark, strict=True))
        return examples / seconds if examples and seconds > 0 else None

    def _refresh(self, note: str = "") -> None:
        """Move the bar, at most about ten times a second."""
        now = time.perf_counter()
        if self._screen is None or now - self._shown[bool(note)] < REFRESH:
            return
        self._shown[bool(note)] = now
        steps, rate = self.run.steps, self._rate()
        count = f"{self._done:>{len(str(steps))}}/{steps}" if steps else f"step {self._done}"
        left = ""
        if note:
            left = note
        elif steps and 0 < self._done < steps:
            # The first chunk compiles: what is left is reckoned from the rate after it.
            if rate and self.run.batch_size:
                left = duration((steps - self._done) * self.run.batch_size / rate) + " left"
            else:
                left = duration((now - self._began) / self._done * (steps - self._done)) + " left"
        share = min(self._done / steps, 1.0) if steps else None
        self._screen.show(self._epoch_label(), share, self._pieces(count, left, rate))

    def _pieces(self, count: str, time_text: str, rate: float | None) -> list[tuple[str, str, int]]:
        """Parts of a line: text, style, and how early it is left out where the line is too long (0: never)."""
        pieces = [(count, "", 2), (time_text, "cyan", 3)]
        if rate is not None:
            pieces.append((f"{rate:,.0f} examples/s", "dim", 4))
        return [p for p in pieces if p[0]] + [(piece, style, 0) for piece, style in self._quantities()]

    def _quantities(self) -> Line:
        found = []
        for name, value in self._logs.items():
            if isinstance(value, (int, float)):
                bad = value != value or value in (float("inf"), float("-inf"))
                found.append((f"{name} {number(value)}", "bold red" if bad else "magenta" if name[:4] == "val_" else "green"))
        return found

    def _untimed(self) -> Line:
        return [(self._epoch_label(), "bold"), *self._quantities()]

    def _finished(self, label: str, rate: float | None) -> Line:
        seconds = duration(time.perf_counter() - self._began)
        speed = [(f"{rate:,.0f} examples/s", "dim")] if rate is not None else []
        return [(label, "bold"), (seconds, "cyan"), *speed, *self._quantities()]

    def _keras_line(self, steps: int) -> str:
        seconds = time.perf_counter() - self._began
        each = seconds / max(steps, 1)
        pace = f"{each:.0f}s" if each >= 1 else f"{each * 1e3:.0f}ms" if each >= 1e-3 else f"{each * 1e6:.0f}us"
        paces = [f"{pace}/step"] if self._timed else []
        return " - ".join([f"{steps}/{steps}", f"{seconds:.0f}s", *paces, *self._keras_quantities()])

    def _keras_quantities(self) -> list[str]:
        return [f"{k}: {number(v)}" for k, v in self._logs.items() if isinstance(v, (int, float))]

    # -- where it goes -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self.close()
        file = self._file or sys.stdout
        if self.verbose in (1, "auto"):
            if self._file is None and _notebook():
                self._screen = _Rewriting(file)
            elif getattr(file, "isatty", lambda: False)():
                self._screen = _Terminal.open(self._file)

    def _leave(self, line: Line) -> None:
        """A line that stays."""
        if not self.verbose:
            return
        if self._screen is not None:
            self._screen.leave(line)
        else:
            self._print("  ".join(text for text, _ in line))

    def _print(self, text: str) -> None:
        print(text, file=self._file or sys.stdout, flush=True)

    def close(self) -> None:
        if self._screen is not None:
            self._screen.close()
            self._screen = None


class _Terminal:
    """A live last line by rich; what others print meanwhile appears above it."""

    @classmethod
    def open(cls, file: TextIO | None) -> _Terminal | None:
        from rich.console import Console

        console = Console(file=file, highlight=False)
        return None if console.is_dumb_terminal or not console.is_terminal else cls(console)

    def __init__(self, console: Any) -> None:
        from rich.live import Live

        self.console = console
        # No thread of its own: the line moves when the engine has news.
        self.live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self.live.start()

    def show(self, label: str, share: float | None, pieces: list[tuple[str, str, int]]) -> None:
        from rich.text import Text

        plain = not str(self.console.encoding).lower().startswith("utf")
        self.live.update(Text.assemble(*bar_line(label, share, pieces, self.console.width, ascii_only=plain)), refresh=True)

    def leave(self, line: Line) -> None:
        from rich.text import Text

        self.live.update(Text(""), refresh=True)
        text = Text("  ").join(Text(piece, style=style) for piece, style in line)
        self.console.print(text, soft_wrap=True)

    def close(self) -> None:
        from rich.text import Text

        self.live.update(Text(""))
        self.live.stop()


class _Rewriting:
    """A notebook's output: the last line is written over."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.width = file, 0

    def show(self, label: str, share: float | None, pieces: list[tuple[str, str, int]]) -> None:
        self._write("".join(text for text, _ in bar_line(label, share, pieces, 120)))

    def leave(self, line: Line) -> None:
        self._write("  ".join(text for text, _ in line))
        self.file.write("\n")
        self.width = 0

    def _write(self, text: str) -> None:
        self.file.write("\r" + text.ljust(self.width))
        self.file.flush()
        self.width = len(text)

    def close(self) -> None:
        if self.width:
            self._write("")
            self.file.write("\r")
            self.width = 0


def bar_line(
    label: str, share: float | None, pieces: list[tuple[str, str, int]], width: int, *, ascii_only: bool = False
) -> Line:
    """A line with a bar that fits the width: less important pieces are left out, the bar takes what is left, up to 24.

    >>> "".join(text for text, _ in bar_line("Epoch 1/3", 0.5, [("5/10", "", 2), ("loss 0.1", "", 0)], 40))
    'Epoch 1/3 ━━━━━━━╺━━━━━━ 5/10  loss 0.1'
    """
    pieces = list(pieces)
    wish = 8 if share is not None else 0

    def used() -> int:
        return len(label) + 1 + sum(len(text) + 2 for text, _, _ in pieces)

    for level in (4, 3, 2):
        if used() + wish <= width:
            break
        pieces = [p for p in pieces if p[2] != level]
    size = min(24, width - used()) if share is not None else 0
    line: Line = [(label, "bold"), (" ", "")]
    if size >= 4 and share is not None:
        full = int(share * size)
        done, rest, edge = ("#", "-", "-") if ascii_only else ("━", "━", "╺")
        tail = (edge + rest * (size - full - 1)) if 0 < full < size else rest * (size - full)
        line += [(done * full, "green" if full == size else "blue"), (tail, "bright_black"), (" ", "")]
    for i, (text, style, _) in enumerate(pieces):
        line += [("  ", ""), (text, style)] if i else [(text, style)]
    return _cut(line, width)


def _cut(line: Line, width: int) -> Line:
    left, kept = width, []
    for text, style in line:
        kept.append((text[:left], style))
        left -= len(kept[-1][0])
    return kept


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> duration(0.0042), duration(3.21), duration(75), duration(3723)
    ('4 ms', '3.2 s', '1:15', '1:02:03')
    """
    if seconds < 0.0995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _notebook() -> bool:
    """Whether we write into a Jupyter notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
