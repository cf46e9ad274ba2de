"""An autoencoder 784-32-784 on MNIST: each picture squeezed into 32 numbers and drawn again from them."""

import os

import numpy as np
from PIL import Image

import cenote as cn
from cenote import layers

EPOCHS = int(os.environ.get("EPOCHS", 20))

(x_train, _), (x_test, _) = cn.datasets.mnist.load_data()
x_train, x_test = (a.reshape(-1, 784).astype("float32") / 255 for a in (x_train, x_test))
if "ROWS" in os.environ:  # a quick look
    x_train = x_train[: int(os.environ["ROWS"])]

pixels = cn.Input((784,), name="pixels")
code = layers.Dense(32, activation="relu", name="code")(pixels)
drawn = layers.Dense(784, activation="sigmoid", name="drawn")(code)
autoencoder = cn.Model(pixels, drawn)
autoencoder.compile(optimizer="adam", loss="binary_crossentropy", metrics=["mse"])
autoencoder.fit(x_train, x_train, batch_size=256, epochs=EPOCHS, validation_data=(x_test, x_test))

error = autoencoder.evaluate(x_test, x_test, verbose=0)[1]
mean_picture = float(np.mean((x_test - x_train.mean(0)) ** 2))
print(f"mean squared error {error:.4f}; drawing the mean picture each time: {mean_picture:.4f}")

encoder = cn.Model(pixels, code)  # the same layers, so the same weights
print("codes:", encoder.predict(x_test[:1000]).shape)

pairs = np.stack([x_test[:10], autoencoder.predict(x_test[:10])]).reshape(2, 10, 28, 28)
sheet = np.vstack([np.hstack(row) for row in pairs])
path = os.environ.get("PICTURE", "reconstructions.png")
Image.fromarray((sheet * 255).astype("uint8")).resize((sheet.shape[1] * 3, sheet.shape[0] * 3), 0).save(path)
print(f"{path}: ten test pictures above, their reconstructions below")
assert error < mean_picture / 2
