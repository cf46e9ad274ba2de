"""One run of the main job, made once and looked at by all tests of the command."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cenote.cli.main import main


@dataclass
class Trained:
    """A run: its folder, the folder of runs, and what the command printed."""

    folder: Path
    runs: Path
    printed: str
    code: int

    @property
    def results(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text("utf-8"))["results"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """``cenote train digits --model mlp`` with nothing changed but the folder of runs."""
    runs = tmp_path_factory.mktemp("main-job") / "runs"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["train", "digits", "--model", "mlp", "--runs", str(runs)])
    return Trained(runs / "digits-mlp", runs, out.getvalue(), code)
