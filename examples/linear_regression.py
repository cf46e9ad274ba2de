"""Linear regression as a class with an explicit loop: 100 random rows of 2 features, SGD 0.01, MSE, 1000 epochs."""

import numpy as np

import cenote as cn
from cenote import layers


class LinearRegression(cn.Model):
    def __init__(self):
        super().__init__()
        self.linear = layers.Dense(1)

    def forward(self, x):
        return self.linear(x)


rng = np.random.default_rng(0)
x = rng.normal(size=(100, 2))
y = x @ [[2.0], [-3.4]] + 4.2 + rng.normal(0, 0.01, size=(100, 1))

model = LinearRegression()
model.compile(optimizer=cn.optimizers.SGD(learning_rate=0.01), loss="mse")

for epoch in range(1000):
    loss = model.train_on_batch(x, y)
    if (epoch + 1) % 100 == 0:
        print(f"epoch {epoch + 1:4d}  loss {loss:.6f}")

kernel, bias = model.get_weights()
print(f"learned  y = {kernel[0, 0]:.3f} a + {kernel[1, 0]:.3f} b + {bias[0]:.3f}")
print("true     y = 2.000 a + -3.400 b + 4.200")
assert np.allclose([*kernel.ravel(), *bias], [2.0, -3.4, 4.2], atol=0.01)
