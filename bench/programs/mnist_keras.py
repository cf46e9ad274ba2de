"""MNIST in Keras, from the start of the process to the score: python mnist_keras.py FILE.npz"""

import json
import sys
import time

began = time.perf_counter()
import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

imported = time.perf_counter() - began
with np.load(sys.argv[1]) as file:
    x_train, y_train, x_test, y_test = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
x_train, x_test = x_train.astype("float32") / 255, x_test.astype("float32") / 255
model = keras.Sequential(
    [
        keras.Input((28, 28)),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=5, verbose=0)
accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
print(json.dumps({"import": imported, "rest": time.perf_counter() - began - imported, "accuracy": accuracy}))
