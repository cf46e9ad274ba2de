"""Logistic regression on the Wisconsin breast-cancer table: 569 rows of 30 measurements, malignant or benign."""

import numpy as np

import cenote as cn
from cenote import layers

(x_train, y_train), (x_test, y_test) = cn.datasets.breast_cancer.load_data()

standardise = layers.Normalization()
standardise.adapt(x_train)
model = cn.Sequential([standardise, layers.Dense(1, activation="sigmoid", kernel_regularizer=cn.regularizers.L2(1e-3))])
model.compile(optimizer=cn.optimizers.Adam(0.02), loss="binary_crossentropy", metrics=["accuracy", "auc"])
history = model.fit(x_train, y_train, epochs=100, verbose=0)
print(f"loss {history.history['loss'][0]:.3f} -> {history.history['loss'][-1]:.3f}")

scores = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
majority = max(np.mean(y_test), 1 - np.mean(y_test))
print(f"test accuracy {scores['accuracy']:.3f}, AUC {scores['auc']:.3f}; always the larger class: {majority:.3f}")

probability = model.predict(x_test[:5]).ravel()
for p, label in zip(probability, y_test[:5], strict=True):
    print(f"probability of benign {p:.3f}, in truth {'benign' if label else 'malignant'}")
assert scores["accuracy"] > 0.94
