"""MNIST: Flatten, Dense 128 relu, Dropout 0.2, Dense 10 softmax; Adam, 5 epochs; evaluate and predict."""

import os
import sys

import cenote as cn
from cenote import layers

EPOCHS = int(os.environ.get("EPOCHS", 5))
SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 0

(x_train, y_train), (x_test, y_test) = cn.datasets.mnist.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0

model = cn.Sequential(
    [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"], seed=SEED)
model.fit(x_train, y_train, epochs=EPOCHS)
loss, accuracy = model.evaluate(x_test, y_test)
print(f"test accuracy {accuracy:.4f}")

probabilities = model.predict(x_test[:1])
print("the first test picture is a", probabilities.argmax(), "with probability", probabilities.max().round(4))
assert accuracy > 0.97
