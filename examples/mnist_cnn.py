"""A small convolutional network on MNIST: at least 0.99 on the test set within 5 epochs."""

import os

import cenote as cn
from cenote import layers

EPOCHS = int(os.environ.get("EPOCHS", 5))

(x_train, y_train), (x_test, y_test) = cn.datasets.mnist.load_data()
if "ROWS" in os.environ:  # a quick look
    x_train, y_train = x_train[: int(os.environ["ROWS"])], y_train[: int(os.environ["ROWS"])]

model = cn.Sequential(
    [
        layers.Rescaling(1 / 255),
        layers.Reshape((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=128, epochs=EPOCHS, validation_data=(x_test, y_test))
model.summary()
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(f"test accuracy {accuracy:.4f}")
assert accuracy > (0.99 if EPOCHS >= 5 and len(x_train) == 60_000 else 0.9)
