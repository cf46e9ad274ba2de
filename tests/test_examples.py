"""Every example runs as it stands, in a process of its own, and prints what its reader expects."""

import gzip
import os
import re
import struct
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
    "mnist_cnn": {"EPOCHS": "1", "ROWS": "10000"},
    "mnist_lstm": {"EPOCHS": "1", "ROWS": "6000"},
    "mnist_autoencoder": {"EPOCHS": "8", "ROWS": "20000"},
    "text_self_attention": {"EPOCHS": "6"},
}


SEEDS = EXAMPLES / "mnist_quickstart.py"  # takes a seed, and runs below


@pytest.fixture(scope="module")
def part_of_mnist(data_folder, tmp_path_factory):
    """A data folder that holds the first 20,000 digits to train with and the first 2,000 to test on, for the short runs."""
    folder = tmp_path_factory.mktemp("data") / "mnist"
    folder.mkdir()
    for split, rows in (("train", 20_000), ("t10k", 2_000)):
        for kind, size in (("images-idx3", 784), ("labels-idx1", 1)):
            name = f"{split}-{kind}-ubyte.gz"
            with gzip.open(data_folder / "mnist" / name) as whole, gzip.open(folder / name, "wb", compresslevel=1) as part:
                axes = int(kind[-1])
                header = whole.read(4 + 4 * axes)
                part.write(header[:4] + struct.pack(">I", rows) + header[8:] + whole.read(rows * size))
    return folder.parent


@pytest.mark.parametrize("path", [p for p in sorted(EXAMPLES.glob("*.py")) if p != SEEDS], ids=lambda p: p.stem)
def test_the_example_runs(path, tmp_path, request):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 100
    if path.stem not in OFFLINE:
        request.getfixturevalue("data_folder")
    env = {**os.environ, **SHORT.get(path.stem, {})}
    if path.stem.startswith("mnist"):
        env["CENOTE_DATA"] = str(request.getfixturevalue("part_of_mnist"))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    for text in SAYS[path.stem]:
        assert text in done.stdout, done.stdout[-2000:]
    if path.stem == "mnist_autoencoder":
        assert (tmp_path / "reconstructions.png").stat().st_size > 1000


def test_the_quickstart_reaches_what_it_promises(data_folder):
    assert len(SEEDS.read_text(encoding="utf-8").splitlines()) < 100
    done = subprocess.run([sys.executable, str(SEEDS), "0"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-1000:] + done.stdout[-300:]
    assert "picture is a 7" in done.stdout
    found = float(re.search(r"test accuracy ([\d.]+)", done.stdout)[1])
    assert found >= 0.97, found
