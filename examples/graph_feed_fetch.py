"""A graph with named inputs, trained by feeding and fetching: 64 and 32 hidden units, cross-entropy on logits, Adam 0.001."""

import numpy as np

import cenote as cn
from cenote import layers, losses

x = cn.Input((64,), name="x")
y = cn.Input((), name="y", dtype="int32")
hidden = layers.Dense(64, activation="relu", name="hidden_1")(x)
hidden = layers.Dense(32, activation="relu", name="hidden_2")(hidden)
logits = layers.Dense(10, name="logits")(hidden)
loss = losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
train = cn.optimizers.Adam(learning_rate=0.001).minimize(loss)
graph = cn.Graph([x, y], logits, also=[loss, train])

(x_train, y_train), (x_test, y_test) = cn.datasets.digits.load_data()
x_train, x_test = (a.reshape(-1, 64) / 16 for a in (x_train, x_test))

rng = np.random.default_rng(0)
for step in range(1, 1201):
    rows = rng.integers(len(x_train), size=64)
    _, values = graph.run([train, loss], feeds={"x": x_train[rows], "y": y_train[rows]})
    if step % 200 == 0:
        print(f"step {step:4d}  loss {values.mean():.4f}")

scores = graph.run("logits", feeds={x: x_test})
accuracy = (scores.argmax(1) == y_test).mean()
print(f"test accuracy {accuracy:.4f}")

# Any node can be fed: give the second hidden layer's output directly, and fetch by object or by name.
print("logits of a silent layer:", graph.run(logits, feeds={"hidden_2": np.zeros((1, 32))}).round(3))
assert accuracy > 0.93
