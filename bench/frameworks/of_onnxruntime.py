"""onnxruntime: predicts with the PyTorch network, which a process of its own exports, so that this one never holds PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

EXPORT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import workloads
from frameworks.of_torch import fill
workload = workloads.find(sys.argv[2])
network = workload.torch(False)
fill(network)
x = torch.from_numpy(workload.data()[0][:2])
if x.ndim == 4:
    x = x.permute(0, 3, 1, 2).contiguous()
network.eval()
torch.onnx.export(network, (x,), sys.argv[3], input_names=["x"], dynamic_axes={"x": {0: "n"}}, dynamo=False)
"""


class Framework:
    def __init__(self, name: str, workload: Any) -> None:
        self.version = onnxruntime.__version__
        self.numbers = workload.data()[0]
        bench = Path(__file__).resolve().parent.parent
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "network.onnx")
            command = [sys.executable, "-c", EXPORT, str(bench), workload.__name__.rpartition(".")[2], path]
            done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the export failed: {done.stderr.strip().splitlines()[-1]}")
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def restore(self) -> None:
        """It was never trained."""

    def given(self, rows: int) -> np.ndarray:
        """Pictures with channels first, as the exported network takes them."""
        x = np.resize(self.numbers, (rows, *self.numbers.shape[1:]))
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)

    def ways(self) -> dict[str, Any]:
        return {"run": lambda x: self.session.run(None, {"x": x})[0]}
