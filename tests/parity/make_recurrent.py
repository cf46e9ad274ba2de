"""What PyTorch answers for recurrent layers: run it where torch is, it writes recurrent.json beside this file."""

import json
from pathlib import Path

import torch

torch.manual_seed(0)
X = torch.randn(2, 4, 2)  # (batch, time, feature)


def plain(tensor):
    return [plain(t) for t in tensor] if tensor.ndim else float(f"{tensor.item():.7g}")


answers = {"x": plain(X)}
for kind in ("RNN", "LSTM", "GRU"):
    layer = getattr(torch.nn, kind)(2, 3, batch_first=True, bidirectional=True)
    states = [torch.randn(2, 2, 3) for _ in range(2 if kind == "LSTM" else 1)]  # (direction, batch, unit)
    y, last = layer(X, tuple(states) if kind == "LSTM" else states[0])
    answers[kind] = {
        "weights": {name: plain(value) for name, value in layer.state_dict().items()},
        "start": [plain(s) for s in states],
        "y": plain(y),
        "last": [plain(s) for s in (last if kind == "LSTM" else [last])],
    }
Path(__file__).with_name("recurrent.json").write_text(json.dumps(answers) + "\n")
