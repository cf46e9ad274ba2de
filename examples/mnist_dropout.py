"""MNIST: 784 inputs, Dense 128 relu, Dropout 0.5, Dense 10 softmax; Adam, batch 64, 10 epochs, validated on the test set."""

import os

import cenote as cn
from cenote import layers

EPOCHS = int(os.environ.get("EPOCHS", 10))

(x_train, y_train), (x_test, y_test) = cn.datasets.mnist.load_data()
x_train = x_train.reshape(-1, 784) / 255
x_test = x_test.reshape(-1, 784) / 255

model = cn.Sequential(
    [
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, validation_data=(x_test, y_test))

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test loss {loss:.4f}, test accuracy {accuracy:.4f}")

predicted = model.predict(x_test[:10]).argmax(1)
print("predicted", *predicted)
print("label    ", *y_test[:10])
assert accuracy > 0.9
