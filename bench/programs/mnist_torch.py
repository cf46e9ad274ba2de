"""MNIST in PyTorch by a hand-written loop, from the start of the process to the score: python mnist_torch.py FILE.npz"""

import json
import sys
import time

began = time.perf_counter()
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

imported = time.perf_counter() - began
with np.load(sys.argv[1]) as file:
    x_train, y_train, x_test, y_test = (torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test"))
x_train, x_test = x_train.float() / 255, x_test.float() / 255
y_train, y_test = y_train.long(), y_test.long()
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), fused=True)
for _ in range(5):
    for rows in torch.randperm(len(x_train)).split(32):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x_train[rows]), y_train[rows])
        loss.backward()
        optimizer.step()
model.eval()
with torch.inference_mode():
    accuracy = float((model(x_test).argmax(1) == y_test).float().mean())
print(json.dumps({"import": imported, "rest": time.perf_counter() - began - imported, "accuracy": accuracy}))
