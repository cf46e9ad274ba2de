"""An LSTM that reads a picture of MNIST row by row, as a sequence of 28 vectors: at least 0.97 on the test set."""

import os

import cenote as cn
from cenote import layers

EPOCHS = int(os.environ.get("EPOCHS", 5))

(x_train, y_train), (x_test, y_test) = cn.datasets.mnist.load_data()
if "ROWS" in os.environ:  # a quick look
    x_train, y_train = x_train[: int(os.environ["ROWS"])], y_train[: int(os.environ["ROWS"])]

model = cn.Sequential(
    [
        layers.Rescaling(1 / 255),  # (batch, row, column): the rows are the time steps
        layers.LSTM(128),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, validation_data=(x_test, y_test))
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(f"test accuracy {accuracy:.4f}")
assert accuracy > (0.97 if EPOCHS >= 5 and len(x_train) == 60_000 else 0.5)
