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
    "train": "from raw files to a trained network, its scores and a report, in runs/",
    "evaluate": "measure a trained model on data it has not learned from",
    "predict": "ask a trained model about pictures, rows, sentences, recordings",
    "explain": "why a trained model answered as it did: words, pixels, columns",
    "summary": "show a model layer by layer",
    "layers": "everything to build and train with, a line each",
    "info": "versions, devices, folders, tasks, and the data sets at hand",
}

CODES = "Exit codes: 0 done, 1 an error, 2 a wrong command line, 130 interrupted (Ctrl-C)."

ABOUT = """\
Cenote trains neural networks that you can see to the bottom of.

usage: cenote VERB ...

Verbs:
{verbs}

Start here:
  cenote train digits                  real handwritten digits, no network needed
  cenote train table.csv --target NAME a table of yours; or a folder of photos, of recordings
  cenote predict latest picture.png    what is on a picture of yours
  cenote summary latest                what the network looks like

More:
  cenote VERB --help                   options and examples of a verb
  cenote --version
  --debug                              after any verb: show where an error comes from

{codes}
"""


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
        print(ABOUT.format(verbs="\n".join(f"  {name:<9}  {text}" for name, text in VERBS.items()), codes=CODES), end="")
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


def _more(parser: Parser, *, json: str, quiet: str = "") -> None:
    group = parser.add_argument_group("Output")
    if quiet:
        group.add_argument("--quiet", action="store_true", help=quiet)
    group.add_argument("--json", action="store_true", help=json)
    group.add_argument("--debug", action="store_true", help="show where an error comes from")
    group.add_argument("-h", "--help", action="help", help="show this text")


def _where(parser: Any) -> None:
    parser.add_argument("--runs", metavar="DIR", default="runs", help="the folder of all runs (default: runs)")


def _model(parser: Any, *, optional: bool = True) -> None:
    text = "a run by its name or folder (runs/latest), a .cenote file, or latest: the run that ended last"
    more: dict[str, Any] = {"nargs": "?", "default": "latest"} if optional else {}
    parser.add_argument("model", metavar="MODEL", help=text + (" (the default)" if optional else ""), **more)


def _train() -> Parser:
    parser = _parser(
        "train",
        "SOURCE [SOURCE2] [options]",
        "Train a network on raw files: read, part, prepare, choose a model for the size of the data, train with early\n"
        "stopping on a validation part, and measure it once on the test part, beside simple baselines. In runs/NAME/ it\n"
        "leaves the model (model.cenote, which takes raw files, too), its history (history.json) and a page to look at\n"
        "(report.html); runs/latest points there. Ctrl-C keeps what was learned.",
        "  cenote train digits\n"
        "  cenote train photos/                                  a folder with a folder of pictures for each class\n"
        "  cenote train titanic.csv --target Survived\n"
        "  cenote train reviews.tsv --target label\n"
        "  cenote train recordings/ --task speech-commands\n"
        "  cenote train --task translation en.txt de.txt\n"
        "  cenote train ETTh1.csv --task forecast --target OT --horizon 24\n"
        "  cenote train mnist --model cnn --epochs 5\n"
        "  cenote train table.csv --target price --dry-run       what would be done, and how long it would take\n"
        "  cenote train mnist --resume                           go on with a run that was killed or interrupted",
    )
    group = parser.add_argument_group("What")
    group.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="a file or folder (two files for a translation), or a data set: digits (offline), mnist, fashion_mnist, cifar10",
    )
    group.add_argument("--target", action="append", metavar="COLUMN", help="the column to predict; again for several")
    group.add_argument("--task", metavar="NAME", help="what to learn, where the source does not tell; cenote info lists them")
    group.add_argument("--horizon", type=_positive, metavar="N", help="forecasts: how many steps ahead")
    group.add_argument("--time", metavar="COLUMN", help="the column of times: parts by time")
    group.add_argument("--group", metavar="COLUMN", help="the column of what must stay together in one part")
    group.add_argument("--text", metavar="COLUMN", help="the column of texts, where there are several")
    group.add_argument("--skip-broken", action="store_true", help="leave files out that cannot be read, and list them")
    group.add_argument("--validation", type=_part, metavar="PART", help="for early stopping: a share, a number, or a source")
    group.add_argument("--test", type=_part, metavar="PART", help="for the final scores: a share, a number, or a source")
    group = parser.add_argument_group("How")
    group.add_argument("--model", metavar="KIND", help="a kind of network that the task has, such as mlp, cnn or linear")
    group.add_argument("--epochs", type=_positive, metavar="N", help="at most so many passes over the data")
    group.add_argument("--batch-size", type=_positive, metavar="N", help="examples in a step")
    group.add_argument("--learning-rate", type=_rate, metavar="X", help="the optimizer's step size")
    group.add_argument("--optimizer", metavar="NAME", help="adam, adamw, sgd, momentum, nesterov, rmsprop, adagrad ...")
    group.add_argument("--patience", type=_positive, metavar="N", help="epochs without improvement after which to stop")
    group.add_argument("--no-augment", action="store_true", help="do not change examples at random in training")
    group.add_argument("--seed", type=_seed, metavar="N", help="of parts, weights, order and dropout (default: 0)")
    group.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="any other option of the task, such as --set size=8000"
    )
    group = parser.add_argument_group("Where")
    group.add_argument("--name", help="of the run (default: SOURCE-KIND, with a number if that is taken)")
    _where(group)
    group.add_argument("--resume", action="store_true", help="go on with the unfinished run of this name, or the last one")
    group.add_argument("--language", choices=("en", "zh"), help="of the report (default: en)")
    group.add_argument("--tensorboard", action="store_true", help="write event files for TensorBoard, too")
    group.add_argument("--dry-run", action="store_true", help="show what would be done and how long it takes; write nothing")
    _more(parser, json="print one JSON record a line: the plan, each epoch, the results", quiet="print nothing but errors")
    return parser


def _evaluate() -> Parser:
    parser = _parser(
        "evaluate",
        "[MODEL] [DATA] [options]",
        "Measure a trained model: its scores with their 95% intervals, the baseline, and what it confuses most.",
        "  cenote evaluate                      the latest run, on the test part of its own data\n"
        "  cenote evaluate digits-mlp\n"
        "  cenote evaluate runs/latest test.csv\n"
        "  cenote evaluate model.cenote my-data.npz --report my-report.html",
    )
    group = parser.add_argument_group("What")
    _model(group)
    text = "labelled data as in training: a file or folder, a data set by its name (its test part), or an .npz file"
    group.add_argument(
        "data", metavar="DATA", nargs="*", help=text + " with arrays x and y; default: the model's own test part"
    )
    _where(group)
    group = parser.add_argument_group("Report")
    group.add_argument("--report", metavar="FILE", help="write a page like that of train")
    group.add_argument("--language", choices=("en", "zh"), default="en", help="of the page (default: en)")
    _more(parser, json="print the results as one JSON object", quiet="print nothing but errors")
    return parser


def _predict() -> Parser:
    parser = _parser(
        "predict",
        "MODEL INPUT... [options]",
        "Ask a trained model about raw input of the kind that it was trained on: pictures, recordings, tables, sentences.",
        "  cenote predict runs/latest new_photo.jpg\n"
        "  cenote predict digits-mlp scans/ --invert      a folder of dark writing on light paper\n"
        "  cenote predict latest rows.csv\n"
        '  cenote predict latest "What a waste of time"\n'
        "  cat rows.csv | cenote predict latest - --json",
    )
    group = parser.add_argument_group("What")
    _model(group, optional=False)
    text = "files and folders, sentences, or - for the standard input: CSV rows, or a sentence a line"
    group.add_argument("inputs", metavar="INPUT", nargs="+", help=text)
    group.add_argument("--invert", action="store_true", help="turn pictures to their negative first")
    _where(group)
    _more(parser, json="print one JSON object a line", quiet="print the answers only: no notes, no progress")
    return parser


def _explain() -> Parser:
    parser = _parser(
        "explain",
        "MODEL INPUT [options]",
        "Say why a trained model answered as it did for raw input: which columns, words, parts of a picture or of a recording\n"
        "moved its answer, and by how much. Leaves a page to look at beside the model.",
        "  cenote explain runs/latest photo.jpg\n"
        "  cenote explain latest rows.csv --rows 5\n"
        '  cenote explain latest "What a waste of time" --language zh\n'
        "  cenote explain latest rows.csv --target yes --background train.csv\n"
        "  cenote explain latest photo.jpg --method integrated_gradients --report why.html",
    )
    group = parser.add_argument_group("What")
    _model(group, optional=False)
    group.add_argument(
        "input", metavar="INPUT", help="a file, a folder, or a sentence, of the kind that the model was trained on"
    )
    group.add_argument("--rows", type=_positive, metavar="N", help="only the first N examples of the input")
    group.add_argument("--target", metavar="CLASS", help="the answer to explain (default: the one that the model gave)")
    _where(group)
    group = parser.add_argument_group("How")
    group.add_argument(
        "--method", metavar="NAME", default="auto", help="deeplift, permutation_shapley, lime ... (default: auto)"
    )
    group.add_argument("--background", metavar="DATA", help="what to compare with, such as the training data")
    group.add_argument("--features", type=_positive, metavar="N", default=8, help="how many are told of (default: 8)")
    group.add_argument("--seed", type=_seed, metavar="N", default=0, help="of methods that sample (default: 0)")
    group = parser.add_argument_group("Page")
    group.add_argument("--report", metavar="FILE", help="where to write it (default: why-INPUT.html beside the model)")
    group.add_argument("--language", choices=("en", "zh"), default="en", help="of the page (default: en)")
    _more(parser, json="print one JSON object a line for each example", quiet="print nothing but errors")
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
        "Show versions, devices, folders, the tasks, and which data sets are at hand.",
        "  cenote info\n  cenote info --json",
    )
    _more(parser, json="print it as one JSON object")
    return parser


_PARSERS = {
    "train": _train, "evaluate": _evaluate, "predict": _predict, "explain": _explain, "summary": _summary, "layers": _layers,
    "info": _info,
}  # fmt: skip


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


def _part(text: str) -> int | float | str:
    """A share below 1, a number of examples, or a source."""
    try:
        value = float(text)
    except ValueError:
        return text
    if value < 0 or value != value or (value >= 1 and value != int(value)):
        raise argparse.ArgumentTypeError(f"expected a share such as 0.1, a number of examples, or a source, got {text!r}")
    return int(value) if value >= 1 or value == 0 else value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, such as 0.001, got {text!r}")
    return value


assert USAGE == 2  # argparse's own code for a wrong command line
