"""What a run shows: on a terminal, in a notebook, in a log file; with few epochs and with a thousand."""

from __future__ import annotations

import io
import math
import re
from types import SimpleNamespace

import pytest

from cenote.train.callbacks import CallbackList, LambdaCallback, Progress, StopAt
from cenote.train.callbacks.progress import _Rewriting, bar_line
from cenote.train.history import History


def play(callbacks, logs):
    """A run of ten steps an epoch in two chunks, as the engine tells it to callbacks."""
    run = SimpleNamespace(epochs=len(logs), epoch=0, steps=10, batch_size=32, examples=0, model=None, history=History())
    run.stop_reason, run.interrupted, run.learning_rate, run.state = None, False, 0.1, SimpleNamespace(step=0)
    run.stop = lambda reason: setattr(run, "stop_reason", reason)
    with CallbackList(callbacks, run) as hooks:
        hooks.on_train_begin()
        while run.epoch < run.epochs and run.stop_reason is None:
            hooks.on_epoch_begin(run.epoch)
            for step in (5, 10):
                run.examples += 160
                hooks.on_chunk_end(step, {k: v for k, v in logs[run.epoch].items() if k[:4] != "val_"})
            hooks.on_test_begin()
            run.history.add(run, logs[run.epoch])
            hooks.on_epoch_end(run.epoch, dict(logs[run.epoch]))
            run.epoch += 1
        hooks.on_train_end()


def shown(verbose, count, logs=None, callbacks=(), file=None):
    file = file or io.StringIO()
    logs = logs or [{"loss": 0.25, "accuracy": 0.5, "val_loss": 2e-5}] * count
    play([*callbacks, Progress(verbose, file=file)], logs)
    return file.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    lines = shown("auto", 2).splitlines()
    assert len(lines) == 2 and lines[0].startswith("Epoch 1/2  ")
    assert "examples/s" in lines[1] and lines[1].endswith("loss 0.2500  accuracy 0.5000  val_loss 2.0000e-05")
    assert shown(0, 2) == ""
    assert len(shown(1, 40).splitlines()) == 40


def test_many_epochs_leave_few_lines_the_first_and_the_last_among_them():
    lines = shown("auto", 1000).splitlines()
    assert len(lines) == 26 and lines[0].startswith("Epoch    1/1000") and lines[-2].startswith("Epoch 1000/1000")
    assert lines[-1].startswith("1000 epochs in ")
    logs = [{"loss": 1 / (i + 1)} for i in range(1000)]
    lines = shown("auto", 1000, logs, [StopAt("loss", below=0.01)]).splitlines()
    assert lines[-2].startswith("Epoch  101/1000") and lines[-2].endswith("loss 0.0099")
    assert lines[-1] == "Stopped after 101 of 1000 epochs: loss 0.009901 is below 0.01"


def test_epochs_that_ran_in_one_program_claim_no_time_of_their_own():
    file = io.StringIO()
    run = SimpleNamespace(epochs=3, epoch=0, steps=10, batch_size=32, examples=0, position=10, stop_reason=None, model=None)
    hooks = CallbackList(Progress(1, file=file), run)
    hooks.on_train_begin()
    for run.epoch in range(3):
        run.examples += 320
        hooks.on_epoch_begin(run.epoch)
        hooks.on_epoch_end(run.epoch, {"loss": 0.5})
    hooks.on_train_end()
    assert file.getvalue().splitlines() == [f"Epoch {n}/3  loss 0.5000" for n in (1, 2, 3)]


def test_verbose_2_speaks_as_keras_does(capsys):
    keras = pytest.importorskip("keras")
    lines = shown(2, 2).splitlines()
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2" and len(lines) == 4
    keras.utils.Progbar(10, verbose=2).update(10, [("loss", 0.25), ("accuracy", 0.5), ("val_loss", 2e-5)])
    theirs = capsys.readouterr().out.strip()
    ours, theirs = (re.sub(r"\d+(us|ms|s)/step", "pace", line) for line in (lines[1], theirs))
    assert ours == theirs == "10/10 - 0s - pace - loss: 0.2500 - accuracy: 0.5000 - val_loss: 2.0000e-05"


def test_unknown_verbosity_is_refused():
    with pytest.raises(ValueError, match="unknown verbose '3'"):
        Progress(3)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_on_a_terminal_the_bar_moves_and_one_line_an_epoch_stays(monkeypatch):
    for name in ("NO_COLOR", "TERM", "CI", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    text = shown(1, 3, [{"loss": math.nan if i == 2 else 0.5} for i in range(3)], file=Terminal())
    assert "━" in text and "examples/s" in text and "compiling" in text
    assert text.count("Epoch 3/3") >= 1 and "loss nan" in text
    assert text.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in text  # the cursor is back


def test_a_failure_gives_the_terminal_back(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = Terminal()
    progress = Progress(1, file=file)
    fails = LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        play([fails, progress], [{"loss": 0.5}])
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_lines_fit_their_width_and_keep_the_losses_longest(width):
    pieces = [("1200/1875", "", 2), ("0:07 left", "", 3), ("53,000 examples/s", "", 4), ("loss 0.1234", "", 0)]
    text = "".join(t for t, _ in bar_line("Epoch 3/10", 0.64, pieces, width))
    assert len(text) <= width
    assert ("loss 0.1234" in text) == (width >= 40)
    assert ("examples/s" in text) == (width >= 80)


def test_a_notebook_line_is_written_over():
    file = io.StringIO()
    screen = _Rewriting(file)
    screen.show("Epoch 1/2", 0.5, [("5/10", "", 2), ("loss 0.1234", "", 0)])
    screen.leave([("Epoch 1/2", ""), ("loss 0.1", "")])
    screen.show("Epoch 2/2", 0.0, [("0/10", "", 2)])
    screen.close()
    last_line_of = [line.split("\r")[-1].rstrip() for line in file.getvalue().split("\n")]
    assert last_line_of == ["Epoch 1/2  loss 0.1", ""]
