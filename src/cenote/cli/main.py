"""The entry of the command: the words of ``--help``, and what happens to errors."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .trouble import DONE, ERROR, INTERRUPTED, USAGE, Trouble, UsageTrouble, unknown

VERBS = {
    "train": "train a network on a data set; leaves the model and a report in runs/",
    "evaluate": "measure a trained model on data it has not learned from",
    "predict": "name what is in pictures, or in rows of numbers",
    "summary": "show a model layer by layer",
    "layers": "everything to build and train with, a line each",
    "info": "versions, devices, folders, and the data sets at hand",
}

ABOUT = """\
Cenote trains neural networks that you can see to the bottom of.

usage: cenote VERB ...

Verbs:
{verbs}

Start here:
  cenote train digits                  real handwritten digits, no network needed
  cenote predict latest picture.png    what is on a picture of yours
  cenote summary latest                what the network looks like

More:
  cenote VERB --help                   options and examples of a verb
  cenote --version
  --debug                              after any verb: show where an error comes from

Exit codes: 0 done, 1 an error, 2 a wrong command line, 130 interrupted (Ctrl-C).
"""

CODES = "Exit codes: 0 done, 1 an error, 2 a wrong command line, 130 interrupted (Ctrl-C)."


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving the process, so that `main` can be called from Python."""

    def error(self, message: str) -> NoReturn:
        raise UsageTrouble(f"{message}\n{self.prog} --help explains")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (by default those of the process); the exit code comes back.

    >>> main(["trian", "digits"])
    2
    """
    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given
    if hasattr(sys.stdout, "reconfigure"):  # names of files may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args = parse(given)
        if args is None:
            return DONE
        return int(importlib.import_module(f"cenote.cli.{args.verb}").run(args) or DONE)
    except SystemExit as stop:  # argparse, after --help of a verb
        return stop.code if isinstance(stop.code, int) else DONE
    except KeyboardInterrupt as stop:
        _complain(str(stop) or "interrupted", debug)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Trouble as trouble:
        _complain(str(trouble), debug)
        return trouble.code
    except Exception as error:
        foreseen = isinstance(error, (OSError, ValueError, FloatingPointError, MemoryError))
        text = str(error) if foreseen and str(error) else f"{type(error).__name__}: {error}"
        _complain(text + ("" if foreseen else "\nthis should not happen; --debug shows where it comes from"), debug)
        return ERROR


def _complain(text: str, debug: bool) -> None:
    sys.stdout.flush()
    if debug:
        import traceback

        traceback.print_exc()
    print(f"cenote: {text}", file=sys.stderr, flush=True)


def parse(given: list[str]) -> argparse.Namespace | None:
    """The arguments of a verb; None where only help or the version was asked for."""
    verb = given[0] if given else "--help"
    if verb in ("-h", "--help", "help"):
        if verb == "help" and len(given) > 1 and given[1] in VERBS:
            return parse([given[1], "--help"])
        print(ABOUT.format(verbs="\n".join(f"  {name:<9}  {text}" for name, text in VERBS.items())), end="")
        return None
    if verb == "--version":
        from .. import __version__

        print(f"cenote {__version__}")
        return None
    if verb.startswith("-"):
        raise UsageTrouble(f"the verb comes first: cenote VERB ..., with VERB one of {', '.join(VERBS)}; got {verb!r}")
    if verb not in VERBS:
        raise UsageTrouble(unknown("verb", verb, VERBS))
    return _PARSERS[verb]().parse_args(given[1:], argparse.Namespace(verb=verb))


# -- the verbs -------------------------------------------------------------------------------------------------------------


def _parser(verb: str, usage: str, text: str, examples: str) -> Parser:
    return Parser(
        prog=f"cenote {verb}",
        usage=f"cenote {verb} {usage}",
        description=text,
        epilog=f"Examples:\n{examples}\n\n{CODES}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=27, width=100),
        add_help=False,
        allow_abbrev=False,
    )


def _more(parser: Parser, *, json: str, quiet: bool = False) -> None:
    group = parser.add_argument_group("Output")
    if quiet:
        group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    group.add_argument("--json", action="store_true", help=json)
    group.add_argument("--debug", action="store_true", help="show where an error comes from")
    group.add_argument("-h", "--help", action="help", help="show this text")


def _where(parser: Any) -> None:
    parser.add_argument("--runs", metavar="DIR", default="runs", help="the folder of all runs (default: runs)")


def _model(parser: Any, *, optional: bool = True) -> None:
    text = "a run by its name or folder, a .cenote file, or latest: the run that ended last"
    more: dict[str, Any] = {"nargs": "?", "default": "latest"} if optional else {}
    parser.add_argument("model", metavar="MODEL", help=text + (" (the default)" if optional else ""), **more)


def _train() -> Parser:
    parser = _parser(
        "train",
        "DATASET [options]",
        "Train a network on a data set: load, split, standardise, build, train with early stopping on a validation part,\n"
        "and measure it once on the test part. Leaves in runs/NAME/ the model (model.cenote), its history\n"
        "(history.json) and a page to look at (report.html); runs/latest points there. Ctrl-C keeps what was learned.",
        "  cenote train digits\n"
        "  cenote train mnist --model cnn --epochs 5\n"
        "  cenote train fashion_mnist --optimizer sgd --learning-rate 0.05 --name slow-but-steady\n"
        "  cenote train mnist --resume          go on with a run that was killed or interrupted",
    )
    group = parser.add_argument_group("What")
    group.add_argument("dataset", metavar="DATASET", help="digits (offline), mnist, fashion_mnist or cifar10")
    group.add_argument("--model", metavar="KIND", help="mlp, cnn, lstm or linear (default: mlp; cnn for cifar10)")
    group = parser.add_argument_group("How")
    group.add_argument("--epochs", type=_positive, metavar="N", help="at most so many passes over the data")
    group.add_argument("--batch-size", type=_positive, metavar="N", help="examples in a step")
    group.add_argument("--learning-rate", type=_rate, metavar="X", help="the optimizer's step size")
    group.add_argument("--optimizer", metavar="NAME", help="adam (default), adamw, sgd, momentum, nesterov, rmsprop, adagrad")
    group.add_argument("--seed", type=_seed, metavar="N", help="of weights, order and dropout (default: 0)")
    group = parser.add_argument_group("Where")
    group.add_argument("--name", help="of the run (default: DATASET-KIND, with a number if that is taken)")
    _where(group)
    group.add_argument("--resume", action="store_true", help="go on with the unfinished run of this name, or the last one")
    group.add_argument("--language", choices=("en", "zh"), help="of the report (default: en)")
    _more(parser, json="print the results as one JSON object, and nothing else", quiet=True)
    return parser


def _evaluate() -> Parser:
    parser = _parser(
        "evaluate",
        "[MODEL] [DATA] [options]",
        "Measure a trained model: accuracy with its 95% interval, the baseline, and what it confuses most.",
        "  cenote evaluate                      the latest run, on the test part of its own data set\n"
        "  cenote evaluate digits-mlp\n"
        "  cenote evaluate model.cenote my-data.npz --report my-report.html",
    )
    group = parser.add_argument_group("What")
    _model(group)
    text = "a data set by its name (its test part), or an .npz file with arrays x and y (or x_test and y_test)"
    group.add_argument("data", metavar="DATA", nargs="?", help=text + "; default: the model's own")
    _where(group)
    group = parser.add_argument_group("Report")
    group.add_argument("--report", metavar="FILE", help="write a page like that of train")
    group.add_argument("--language", choices=("en", "zh"), default="en", help="of the page (default: en)")
    _more(parser, json="print the results as one JSON object")
    return parser


def _predict() -> Parser:
    parser = _parser(
        "predict",
        "MODEL FILE... [options]",
        "Say what is in pictures, or in rows of numbers: the label, its probability, and the runner-up.\n"
        "Pictures of any size and colour are made what the model knows; a row of a CSV file is one example.",
        "  cenote predict latest seven.png\n"
        "  cenote predict digits-mlp scans/ --invert      a folder of dark writing on light paper\n"
        "  cenote predict latest rows.csv\n"
        "  cat rows.csv | cenote predict latest - --json",
    )
    group = parser.add_argument_group("What")
    _model(group, optional=False)
    group.add_argument("files", metavar="FILE", nargs="+", help="pictures, folders of pictures, CSV files, or - for CSV rows")
    group.add_argument("--invert", action="store_true", help="turn pictures to their negative first")
    _where(group)
    _more(parser, json="print one JSON object a line")
    return parser


def _summary() -> Parser:
    parser = _parser(
        "summary",
        "[MODEL] [options]",
        "Show a model layer by layer: output shapes, parameters, operations, and what it was trained on.",
        "  cenote summary\n  cenote summary digits-mlp\n  cenote summary model.cenote --json",
    )
    group = parser.add_argument_group("What")
    _model(group)
    _where(group)
    _more(parser, json="print it as one JSON object")
    return parser


def _layers() -> Parser:
    parser = _parser(
        "layers",
        "[WORD] [options]",
        "List the layers by family, a line each; with a word, those that have it in their name or line.",
        "  cenote layers\n  cenote layers pooling\n  cenote layers entropy --all",
    )
    group = parser.add_argument_group("What")
    group.add_argument("word", metavar="WORD", nargs="?", help="what the name or the line must hold")
    group.add_argument("--all", action="store_true", help="losses, metrics, optimizers, schedules, callbacks and the rest, too")
    _more(parser, json="print them as one JSON list")
    return parser


def _info() -> Parser:
    parser = _parser(
        "info",
        "[options]",
        "Show versions, devices, folders, and which data sets are at hand.",
        "  cenote info\n  cenote info --json",
    )
    _more(parser, json="print it as one JSON object")
    return parser


_PARSERS = {"train": _train, "evaluate": _evaluate, "predict": _predict, "summary": _summary, "layers": _layers, "info": _info}


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**31 - 1}, got {text!r}")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, such as 0.001, got {text!r}")
    return value


assert USAGE == 2  # argparse's own code for a wrong command line
