"""Every example runs as it stands, in a process of its own, and prints what its reader expects."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# What to look for in the output, and settings that make long ones short: the full runs are timed in the README.
SAYS = {
    "linear_regression": ("epoch 1000", "learned"),
    "graph_feed_fetch": ("test accuracy 0.9", "logits of a silent layer"),
    "breast_cancer_logistic": ("test accuracy 0.9", "AUC"),
    "mnist_dropout": ("predicted 7 2 1 0", "label     7 2 1 0"),
    "mnist_cnn": ("test accuracy 0.9", "Conv2D"),
    "mnist_lstm": ("test accuracy 0.",),
    "text_self_attention": ("test accuracy 0.8",),
    "mnist_autoencoder": ("mean squared error", "reconstructions"),
}
OFFLINE = {"linear_regression", "graph_feed_fetch", "breast_cancer_logistic"}
SHORT = {
    "mnist_dropout": {"EPOCHS": "3"},
    "mnist_cnn": {"EPOCHS": "1", "ROWS": "12000"},
    "mnist_lstm": {"EPOCHS": "1", "ROWS": "12000"},
    "mnist_autoencoder": {"EPOCHS": "6", "ROWS": "30000"},
}


SEEDS = EXAMPLES / "mnist_quickstart.py"  # takes a seed, and runs below


@pytest.mark.parametrize("path", [p for p in sorted(EXAMPLES.glob("*.py")) if p != SEEDS], ids=lambda p: p.stem)
def test_the_example_runs(path, tmp_path, request):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 100
    if path.stem not in OFFLINE:
        request.getfixturevalue("data_folder")
    env = {**os.environ, **SHORT.get(path.stem, {})}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    for text in SAYS[path.stem]:
        assert text in done.stdout, done.stdout[-2000:]
    if path.stem == "mnist_autoencoder":
        assert (tmp_path / "reconstructions.png").stat().st_size > 1000


def test_the_quickstart_reaches_what_it_promises_over_three_seeds(data_folder):
    found = []
    for seed in ("0", "1", "2"):
        done = subprocess.run([sys.executable, str(SEEDS), seed], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:] + done.stdout[-300:]
        assert "picture is a 7" in done.stdout and len(SEEDS.read_text(encoding="utf-8").splitlines()) < 100
        found.append(float(re.search(r"test accuracy ([\d.]+)", done.stdout)[1]))
    assert sum(found) / 3 >= 0.975, found
