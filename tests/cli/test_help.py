"""Help is there, light, and complete; a wrong command line is answered with what was meant."""

import subprocess
import sys

import pytest

from cenote.cli.main import VERBS, main

LIGHT = """
import sys
from cenote.cli.main import main
for words in ("--help", "--version", "train --help", "predict --help", "trian", "train digits --epochs 0"):
    main(words.split())
heavy = {"jax", "numpy", "rich", "PIL", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_help_names_every_verb_on_one_line_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [verb for line in text.splitlines() for verb in VERBS if line.startswith(f"  {verb} ")] == list(VERBS)
    assert "130 interrupted" in text and max(map(len, text.splitlines())) <= 100
    assert main([]) == 0 and capsys.readouterr().out == text
    assert main(["help", "train"]) == 0 and "--resume" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself_with_examples(verb, capsys):
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: cenote {verb}" in text and "Examples:" in text and f"  cenote {verb}" in text
    assert "--json" in text and "Exit codes:" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "digits"], "unknown verb 'trian': did you mean 'train'?"),
        (["--quiet", "train"], "the verb comes first"),
        (["train"], "the following arguments are required: SOURCE"),
        (["train", "mnsit"], "there is no file, folder or data set 'mnsit': did you mean 'mnist'?"),
        (["train", "digits", "--model", "ccn"], "unknown model of image-classification 'ccn': did you mean 'cnn'?"),
        (["train", "digits", "--optimizer", "adm"], "unknown optimizer 'adm': did you mean 'adam'"),
        (["train", "digits", "--epochs", "none"], "argument --epochs: expected a whole number from 1 up, got 'none'"),
        (["train", "digits", "--learning-rate", "-1"], "expected a number above 0"),
        (["train", "digits", "--seed", "-3"], "expected a whole number from 0"),
        (["train", "digits", "--name", "../out"], "a run cannot be named '../out'"),
        (["train", "digits", "--name", "latest"], "a run cannot be named 'latest'"),
        (["train", "digits", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["train", "digits", "--task", "forcast"], "unknown task 'forcast': did you mean 'forecast'"),
        (["train", "digits", "--task", "images", "--horizon", "3"], "unknown option of image-classification 'horizon'"),
        (["train", "digits", "--set", "size"], "--set size: expected NAME=VALUE"),
        (["train", "digits", "--test", "1.5"], "argument --test: expected a share such as 0.1, a number of examples"),
        (["predict", "latest"], "the following arguments are required: INPUT"),
    ],
)
def test_wrong_command_lines(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("cenote: ") and said in printed.err
    assert "Traceback" not in printed.err and printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_info_tells_versions_folders_and_data_sets(capsys, monkeypatch, tmp_path):
    import json

    from cenote.kernels import native

    native.library()  # before the home moves: in another one it would be built again
    monkeypatch.setenv("CENOTE_HOME", str(tmp_path))
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "jax" in text and "digits" in text and "bundled" in text
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folders"]["cache"].startswith(str(tmp_path))
    assert found["versions"]["cenote"] and {"name": "digits", "size": "45.4 kB", "source": "bundled"} in found["data_sets"]
