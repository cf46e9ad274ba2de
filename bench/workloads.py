"""The workloads of `side_by_side.py`, once for each framework, written as its users write them."""

import gzip
import os
from pathlib import Path

import numpy as np

CNN_ROWS = 12_800
MLP_EPOCHS = 3  # in a round: what one call of fit costs beside its epochs should not count three times


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """The training pictures of MNIST as floats from 0 to 1, (60000, 28, 28), and their labels."""
    folder = Path(os.environ.get("CENOTE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "mnist"
    x = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    y = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return (x.reshape(-1, 28, 28) / 255).astype("float32"), y.astype("int32")


def line() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
    return x, (x @ np.array([[2.0], [-3.4]], "float32") + 4.2).astype("float32")


class KerasLike:
    """Keras and Cenote are written the same way: only the imports differ."""

    def __init__(self, peer: str) -> None:
        if peer == "cenote":
            import cenote as keras
            from cenote import layers, optimizers

            self.version = keras.__version__
        else:
            import keras
            from keras import layers, optimizers

            self.version = keras.__version__
        self.keras, self.layers, self.optimizers = keras, layers, optimizers

    def prepare(self, workload: str):
        layers, keras = self.layers, self.keras
        if workload in ("linear_regression", "linear_loop"):
            x, y = line()
            model = keras.Sequential([layers.Dense(1)])
            model.compile(optimizer=self.optimizers.SGD(learning_rate=0.01), loss="mse")
            if workload == "linear_loop":
                return lambda: [model.train_on_batch(x, y) for _ in range(1000)], 1000
            return lambda: model.fit(x, y, batch_size=100, epochs=1000, verbose=0), 1000
        x, y = mnist()
        if workload == "mnist_cnn":
            x, y = x[:CNN_ROWS, ..., None], y[:CNN_ROWS]
            body = [
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dropout(0.5),
                layers.Dense(128, activation="relu"),
            ]
            batch = 128
        else:
            rate, batch = (0.2, 32) if workload == "mnist_quickstart" else (0.5, 64)
            body = [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(rate)]
        model = keras.Sequential([*body, layers.Dense(10, activation="softmax")])
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        epochs = 1 if workload == "mnist_cnn" else MLP_EPOCHS
        return lambda: model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0), epochs * -(-len(x) // batch)


class Torch:
    """A hand-written loop over tensors in memory, without a DataLoader (which would be slower)."""

    def __init__(self) -> None:
        import torch

        self.torch, self.version = torch, torch.__version__

    def prepare(self, workload: str):
        torch, nn = self.torch, self.torch.nn
        if workload in ("linear_regression", "linear_loop"):
            x, y = map(torch.tensor, line())
            model = nn.Linear(2, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

            def loop() -> None:
                for _ in range(1000):
                    optimizer.zero_grad()
                    loss = nn.functional.mse_loss(model(x), y)
                    loss.backward()
                    optimizer.step()
                    loss.item() if workload == "linear_loop" else None

            return loop, 1000
        x, y = mnist()
        if workload == "mnist_cnn":
            x, y, batch = x[:CNN_ROWS, None], y[:CNN_ROWS], 128
            body = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
            body += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 128), nn.ReLU()]
        else:
            rate, batch = (0.2, 32) if workload == "mnist_quickstart" else (0.5, 64)
            body = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Dropout(rate)]
        model = nn.Sequential(*body, nn.Linear(128, 10))
        x, y = torch.tensor(x), torch.tensor(y).long()
        if workload == "mnist_cnn":
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters())

        def epoch() -> None:
            order, correct = torch.randperm(len(x)), torch.zeros(())
            for rows in order.split(batch):
                optimizer.zero_grad()
                logits = model(x[rows])
                loss = nn.functional.cross_entropy(logits, y[rows])
                loss.backward()
                optimizer.step()
                correct += (logits.detach().argmax(1) == y[rows]).sum()

        epochs = 1 if workload == "mnist_cnn" else MLP_EPOCHS
        return lambda: [epoch() for _ in range(epochs)], epochs * -(-len(x) // batch)


def load(peer: str):
    return Torch() if peer == "torch" else KerasLike(peer)
